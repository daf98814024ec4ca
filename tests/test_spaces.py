"""The contract of every search space, held over the table SPACES."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest

from benchmarks.model_sizes import XS, L, M, S
from gaitforge.losses import LOSSES, Distillation, temperature_of
from gaitforge.models import FAMILIES
from gaitforge.models.dynstg_mamba import DynstgMambaSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.spaces import Space, Suggester
from gaitforge.testing import spaces
from gaitforge.testing.spaces import count_params, highest_answers, lowest_answers
from search_spaces import SPACES, Proposal, answer_terms, propose
from search_spaces.common import FAINT

every_space = pytest.mark.parametrize("family", SPACES)


def random_trials(number: int) -> Iterator[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(number):
        yield study.ask()


def proposal(families: list[str], terms: list[str], trial: optuna.Trial) -> Proposal:
    return propose(trial, {family: SPACES[family].suggest for family in families}, terms)


@every_space
def test_every_space_is_that_of_a_model_family(family: str) -> None:
    spaces.check_kind(family, SPACES[family], FAMILIES[family])


@every_space
@pytest.mark.parametrize(
    "check",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name == "smallest"))
        for name in spaces.CHECKS
    ],
)
def test_every_space_holds(check: str, family: str) -> None:
    spaces.CHECKS[check](family, SPACES[family])


@every_space
def test_optunas_trials_are_answered_alike(family: str) -> None:
    """A stored trial has no more than its values."""
    for trial in random_trials(20):
        sizes = SPACES[family].suggest(trial)
        assert SPACES[family].suggest(optuna.trial.FixedTrial(trial.params)) == sizes


@pytest.mark.parametrize("family", ["ctrgcn", "dynstg_mamba", "stgcn", "tcn"])
def test_our_spaces_reach_from_a_thousand_to_a_million_parameters(family: str) -> None:
    assert 300 < count_params(SPACES[family].suggest(lowest_answers())) < 3_000
    assert 300_000 < count_params(SPACES[family].suggest(highest_answers())) < 3_000_000


# what the contract refuses


def tcn(trial: Suggester) -> TcnSizes:
    return TcnSizes(channels=trial.suggest_int("tcn.channels", 4, 8), layers=1)


def two_ranges(trial: Suggester) -> TcnSizes:
    layers = trial.suggest_int("tcn.layers", 1, 3)
    return TcnSizes(layers=layers, channels=trial.suggest_int("tcn.channels", 4, 4 * layers))


def nameless(trial: Suggester) -> TcnSizes:
    return TcnSizes(channels=trial.suggest_int("channels", 4, 8))


def forgetful() -> Space:
    """A space that counts how often it was asked."""
    asked: list[int] = []

    def suggest(trial: Suggester) -> TcnSizes:
        asked.append(trial.suggest_int("tcn.layers", 1, 3))
        return TcnSizes(channels=4 + len(asked), layers=1)

    return Space(suggest, TcnSizes(channels=4, layers=1))


def test_a_space_of_anybody_is_checked_whole() -> None:
    spaces.check("tcn", Space(tcn, TcnSizes(channels=4, layers=1)), TcnSizes)


@pytest.mark.parametrize(
    ("check", "space", "sentence"),
    [
        ("names", Space(nameless, TcnSizes()), r"asks for 'channels', but its names must begin with 'tcn\.'"),
        ("names", Space(two_ranges, TcnSizes()), "'tcn.channels' in the ranges .* one range for one name"),
        ("names", Space(lambda _: TcnSizes(), TcnSizes()), "asks for nothing"),
        ("repeated", forgetful(), "of the same values; let nothing else decide"),
        ("smallest", Space(tcn, TcnSizes(channels=5, layers=1)), "but the lowest of all ranges gives"),
    ],
)  # fmt: skip
def test_a_space_that_breaks_a_rule_is_told_which(check: str, space: Space, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        spaces.CHECKS[check]("tcn", space)


def test_a_space_of_another_family_is_told() -> None:
    with pytest.raises(AssertionError, match=r"gives TcnSizes.*, but must give StgcnSizes"):
        spaces.check_kind("stgcn", Space(tcn, TcnSizes()), FAMILIES["stgcn"])


# proposals


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
            assert LOSSES[name].weight[0] / FAINT <= weight <= LOSSES[name].weight[1]
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


@pytest.mark.parametrize("name", LOSSES)
def test_every_term_can_be_refused_also_where_it_is_named_alone(name: str) -> None:
    taken = set()
    for trial in random_trials(20):
        made = proposal(["tcn"], [name], trial).distillation
        taken.add(made.terms)
        refused = trial.params[f"terms.{LOSSES[name].choice}"] == "none"
        assert made.weights == ({} if refused else {name: trial.params[f"weight.{name}"]})
    assert taken == {(), (name,)}


def test_soft_labels_alone_are_searched_under_the_names_that_stored_searches_have() -> None:
    shared = {"family", "lr", "weight_decay", "terms.logits"}
    for trial in random_trials(5):
        made = proposal(["tcn"], ["kd"], trial).distillation
        names = {name for name in trial.params if not name.startswith("tcn.")}
        assert names == shared | ({"weight.kd", "temperature"} if made.terms else set())
        if made.terms:
            assert made.temperature == trial.params["temperature"]


def test_weights_begin_where_a_student_hardly_notices_them_and_soft_labels_may_be_sharpened() -> (
    None
):
    lowest = {"terms.logits": "kd", "weight.kd": 0.005, "temperature": 0.5}
    values = {"family": "tcn", "lr": 1e-3, "weight_decay": 1e-2, **lowest}
    sizes = {"tcn": lambda _: TcnSizes(channels=4, layers=1)}
    made = propose(optuna.trial.FixedTrial(values), sizes, ["kd"]).distillation
    assert made == Distillation(weights={"kd": 0.005}, temperature=0.5)
    lowest_of = {"wttm": 1.0, **dict.fromkeys((n for n in LOSSES if n.startswith("cgrkd")), 0.05)}
    assert all(
        term.temperature is None or term.temperature[0] == lowest_of.get(name, 0.5)
        for name, term in LOSSES.items()
    )


def test_values_of_a_search_that_did_not_ask_about_a_term_are_answered_by_their_weights() -> None:
    some = ["kd", "dkd", "rkd"]
    assert answer_terms({"weight.dkd": 0.5}, some) == {
        "weight.dkd": 0.5, "terms.logits": "dkd", "terms.windows": "none",
    }  # fmt: skip
    assert answer_terms({}, ["kd"]) == {"terms.logits": "none"}
    told = {"terms.logits": "none", "terms.windows": "rkd", "weight.rkd": 0.1}
    assert answer_terms(told, some) == told
    assert answer_terms({"lr": 1.0}, []) == {"lr": 1.0}


def test_the_warm_up_of_the_terms_is_that_of_the_settings() -> None:
    spaces = {"tcn": SPACES["tcn"].suggest}
    made = [propose(trial, spaces, ["kd"], 0.25).distillation for trial in random_trials(20)]
    assert {(one.terms, one.warmup) for one in made} == {(("kd",), 0.25), ((), 0.0)}
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
