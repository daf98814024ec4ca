"""The contract of every search space, held over the table SPACES."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from benchmarks.model_sizes import XS, L, M, S
from gaitforge.cost import count
from gaitforge.layout import LAYOUTS
from gaitforge.losses import LOSSES, temperature_of
from gaitforge.models import FAMILIES, Sizes, make_sizes
from gaitforge.models.dynstg_mamba import DynstgMambaSizes
from search_spaces import SPACES, Proposal, propose

every_space = pytest.mark.parametrize("family", SPACES)


def random_trials(number: int) -> Iterator[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(number):
        yield study.ask()


def end(distribution: BaseDistribution, *, high: bool) -> object:
    """The least or the greatest value of a range; the last of categories is the largest."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[-1 if high else 0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.high if high else distribution.low


def extreme(family: str, *, high: bool) -> Sizes:
    (trial,) = random_trials(1)
    SPACES[family].suggest(trial)
    ends = {name: end(kind, high=high) for name, kind in trial.distributions.items()}
    return SPACES[family].suggest(optuna.trial.FixedTrial(ends))


def params(sizes: Sizes) -> int:
    return count(sizes, LAYOUTS["coco17"], channels=3, classes=4, frames=32).params


def proposal(families: list[str], terms: list[str], trial: optuna.Trial) -> Proposal:
    return propose(trial, {family: SPACES[family].suggest for family in families}, terms)


@every_space
def test_every_space_is_that_of_a_model_family(family: str) -> None:
    assert isinstance(SPACES[family].smallest, FAMILIES[family])


@every_space
def test_every_proposal_can_be_stored_and_made_again(family: str) -> None:
    for trial in random_trials(50):
        sizes = SPACES[family].suggest(trial)
        assert make_sizes(family, sizes.as_dict()) == sizes


@every_space
def test_the_searched_values_alone_make_the_same_student(family: str) -> None:
    """A search that starts from others, or goes on after a kill, has no more than these."""
    for trial in random_trials(20):
        sizes = SPACES[family].suggest(trial)
        assert SPACES[family].suggest(optuna.trial.FixedTrial(trial.params)) == sizes


@every_space
def test_names_carry_the_family_so_that_one_study_can_hold_all(family: str) -> None:
    (trial,) = random_trials(1)
    SPACES[family].suggest(trial)
    assert trial.params
    assert all(name.startswith(f"{family}.") for name in trial.params)


@pytest.mark.slow
@every_space
def test_the_smallest_of_a_space_is_the_least_it_can_give(family: str) -> None:
    assert params(extreme(family, high=False)) == params(SPACES[family].smallest)
    for trial in random_trials(4):
        assert params(SPACES[family].suggest(trial)) >= params(SPACES[family].smallest)


@every_space
def test_every_space_reaches_from_a_thousand_to_a_million_parameters(family: str) -> None:
    assert 300 < params(extreme(family, high=False)) < 3_000
    assert 300_000 < params(extreme(family, high=True)) < 3_000_000


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        (XS, {"width": 16, "depth": 3, "stage": 1, "stages": 2, "halve": 1, "again": 1, "filter": "static"}),
        (S, {"width": 32, "depth": 3, "stage": 2, "stages": 2, "halve": 2, "again": 1}),
        (M, {"width": 64, "depth": 4, "stage": 2, "stages": 2, "halve": 2, "again": 2}),
        (L, {"width": 64, "depth": 6, "stage": 2, "stages": 3, "halve": 3, "again": 2}),
    ],
    ids=["XS", "S", "M", "L"],
)  # fmt: skip
def test_the_named_sizes_of_dynstg_mamba_can_be_searched(
    sizes: DynstgMambaSizes, asked: dict[str, int | str]
) -> None:
    values = {
        "growth": 2.0, "filter": "dynamic", "phases": 1, "states": sizes.states, "expand": sizes.expand,
        "bidirectional": False, "kalman": False, "dropout": sizes.dropout, **asked,
    }  # fmt: skip
    trial = optuna.trial.FixedTrial(
        {f"dynstg_mamba.{name}": value for name, value in values.items()}
    )
    assert SPACES["dynstg_mamba"].suggest(trial) == sizes


def test_a_proposal_has_weights_and_temperatures_from_the_ranges_of_the_losses() -> None:
    met = set()
    for trial in random_trials(60):
        made = proposal(["tcn"], list(LOSSES), trial).distillation
        for name, weight in made.weights.items():
            met.add(name)
            assert LOSSES[name].weight[0] <= weight <= LOSSES[name].weight[1]
            if (ends := LOSSES[name].temperature) is not None:
                assert ends[0] <= temperature_of(name, made) <= ends[1]
        assert set(made.temperatures) <= set(made.weights)
    assert met == set(LOSSES)


def test_of_several_terms_a_search_takes_one_of_each_choice_at_most() -> None:
    some = ["cgrkd_nodes", "kd", "dkd", "rkd"]
    taken = set()
    for trial in random_trials(60):
        terms = proposal(["tcn"], some, trial).distillation.terms
        choices = [LOSSES[name].choice for name in terms]
        assert len(set(choices)) == len(choices)
        assert set(terms) <= set(some)
        taken.add(terms)
        assert {"terms.logits", "terms.windows", "terms.cgrkd_nodes"} <= set(trial.params)
        assert {name for name in trial.params if name.startswith("weight.")} == {
            f"weight.{name}" for name in terms
        }
    assert () in taken
    assert ("dkd", "rkd", "cgrkd_nodes") in taken


def test_a_term_that_is_named_alone_is_always_on() -> None:
    """And soft labels alone are searched under the names that stored searches have."""
    for trial in random_trials(5):
        assert proposal(["tcn"], ["dkd"], trial).distillation.terms == ("dkd",)
        assert {"weight.dkd", "temperature.dkd"} <= set(trial.params)
    (trial,) = random_trials(1)
    made = proposal(["tcn"], ["kd"], trial).distillation
    assert made.weights == {"kd": trial.params["weight.kd"]}
    assert made.temperature == trial.params["temperature"]
    names = {name for name in trial.params if not name.startswith("tcn.")}
    assert names == {"family", "lr", "weight_decay", "weight.kd", "temperature"}


def test_the_warm_up_of_the_terms_is_that_of_the_settings() -> None:
    (trial,) = random_trials(1)
    spaces = {"tcn": SPACES["tcn"].suggest}
    assert propose(trial, spaces, ["kd"], 0.25).distillation.warmup == 0.25
    (trial,) = random_trials(1)
    assert propose(trial, spaces, [], 0.25).distillation.warmup == 0.0


def test_the_searched_values_alone_make_the_same_distillation() -> None:
    for trial in random_trials(20):
        made = proposal(["tcn"], list(LOSSES), trial)
        fixed = optuna.trial.FixedTrial(trial.params)
        assert propose(fixed, {"tcn": SPACES["tcn"].suggest}, list(LOSSES)) == made


def test_without_terms_a_student_learns_alone() -> None:
    (trial,) = random_trials(1)
    made = proposal(["tcn"], [], trial)
    assert made.distillation.weights == {}
    assert "temperature" not in trial.params


def test_the_order_of_the_families_does_not_matter() -> None:
    first, second = (
        [proposal(families, ["kd"], trial) for trial in random_trials(5)]
        for families in (["stgcn", "tcn"], ["tcn", "stgcn"])
    )
    assert first == second
    assert {made.family for made in first} == {"stgcn", "tcn"}


def test_a_proposal_of_one_family_is_of_that_family() -> None:
    for trial in random_trials(5):
        assert proposal(["tcn"], [], trial).family == "tcn"
