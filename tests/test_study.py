"""The Optuna study: what it is told, what it forgets, and that one rebuilt from the log is the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState

from gaitforge.losses import Distillation
from gaitforge.models.tcn import TcnSizes
from gaitforge.recipe import Recipe
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import SAMPLERS
from search_spaces import Proposal
from trainers.search import genetic
from trainers.search import study as study_module
from trainers.search.study import (
    FEWEST_FOR_IMPORTANCE,
    RANDOM_ATTEMPTS,
    RANDOM_FIRST,
    Study,
    make_sampler,
)

DEFAULT = ("macro_f1", "params")


def propose(trial: optuna.trial.BaseTrial) -> Proposal:
    """A space of two values: one for the size and, a little, for the score; one for nothing."""
    return Proposal(
        family="tcn",
        sizes=TcnSizes(channels=trial.suggest_int("channels", 4, 128, log=True), layers=1),
        lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        weight_decay=0.01,
        distillation=Distillation(weights={}, temperature=1.0),
    )


class ByHand:
    """A study whose trials are trained by a formula; `log` holds what has ended, as files would."""

    def __init__(
        self,
        sampler: str = "tpe",
        objectives: Sequence[str] = DEFAULT,
        log: Sequence[Trial] = (),
        score: Callable[[Trial], float] = lambda trial: 1 - 1 / math.log(trial.params),
    ) -> None:
        self.score = score
        self.log = {trial.number: trial for trial in log}
        self.study = Study(objectives, sampler, 0, propose)
        self.study.add(list(log))

    def ask(self, number: int | None = None, rejects: int = 0) -> tuple[optuna.Trial, Trial]:
        """A proposal, after so many that are refused as too large."""
        number = len(self.log) if number is None else number
        rejected = []
        for attempt in range(rejects):
            asked, _ = self.study.ask(number, attempt)
            rejected.append({**self.study.describe_choice(asked), "excess": 3.5})
            self.study.reject(asked, 3.5)
        asked, proposal = self.study.ask(number, rejects)
        channels = asked.params["channels"]
        trial = Trial(
            number=number, state="running", family="tcn", sizes=proposal.sizes.as_dict(), params=channels**2,
            macs=channels**3, seed=number, hash=f"{channels} {proposal.lr}", recipe=Recipe(lr=proposal.lr),
            distill=Distillation(),
            rejected=tuple(rejected), **self.study.describe_choice(asked),
        )  # fmt: skip
        return asked, trial

    def end(self, asked: optuna.Trial, trial: Trial, **change: Any) -> Trial:
        f1 = self.score(trial)
        scores = {"val_macro_f1": f1, "val_accuracy": f1, "val_calibration_error": 1 - f1}
        ended = replace(trial, **{"state": "finished", "scores": scores, **change})
        # as it comes back from its file
        ended = TRIAL.parse(TRIAL.as_json(ended), Path())
        self.log[trial.number] = ended
        self.study.tell(asked, ended)
        return ended

    def one(self, rejects: int = 0, **change: Any) -> Trial:
        return self.end(*self.ask(rejects=rejects), **change)

    def stopped(self, violation: float) -> Trial:
        return self.one(state="stopped", reason="it fell behind", violation=violation)

    def told(self) -> list[tuple[Any, ...]]:
        """All that a sampler learns from."""
        return [
            (t.state, t.values, t.params, t.constraints, t.distributions)
            for t in self.study.study.trials
        ]


# what is told


def test_a_finished_trial_is_told_with_its_score_and_the_logarithm_of_its_size() -> None:
    search = ByHand(score=lambda trial: 0.75)
    trial = search.one()
    (told,) = search.study.study.trials
    assert told.state == TrialState.COMPLETE
    assert told.values == pytest.approx([0.75, math.log10(trial.params)])
    assert told.params == trial.suggested
    assert [str(d) for d in search.study.study.directions] == ["2", "1"]  # up, and down


def test_an_error_is_told_as_it_is_and_made_small() -> None:
    search = ByHand(objectives=("calibration_error", "macs"), score=lambda trial: 0.75)
    trial = search.one()
    (told,) = search.study.study.trials
    assert told.values == pytest.approx([0.25, math.log10(trial.macs)])
    assert [str(d) for d in search.study.study.directions] == ["1", "1"]


def test_the_score_of_a_trial_that_was_stopped_is_not_told_but_how_near_it_came() -> None:
    """A score of few epochs would pass for that of a bad student, or of a good one."""
    search = ByHand()
    search.stopped(violation=1.5)
    (told,) = search.study.study.trials
    assert (told.state, told.values) == (TrialState.PRUNED, None)
    assert list(told.constraints.values()) == [1.5]


def test_of_a_failed_trial_nothing_is_learnt() -> None:
    search = ByHand()
    search.one(state="failed", reason="RuntimeError: no", scores=None)
    (told,) = search.study.study.trials
    assert (told.state, told.values, told.constraints) == (TrialState.FAIL, None, {})


def test_a_proposal_over_budget_is_told_as_worse_than_what_was_stopped() -> None:
    search = ByHand()
    search.stopped(violation=2.0)
    search.one(rejects=1)
    constraints = [list(trial.constraints.values()) for trial in search.study.study.trials]
    assert constraints == [[2.0], [3.5], []]


def test_a_configuration_with_several_seeds_is_told_with_their_mean() -> None:
    scores = iter([0.5, 0.9, 0.1])
    search = ByHand(score=lambda trial: next(scores))
    first = search.one()
    for number in (1, 2):
        asked, _ = search.study.ask(number, values=first.suggested)
        search.end(asked, replace(first, number=number, seed=number, state="running"))
    told = [trial.values[0] for trial in search.study.study.trials]
    assert told == pytest.approx([0.5, 0.7, 0.5])
    assert search.told() == ByHand(log=list(search.log.values())).told()


def test_a_trial_of_another_search_is_refused_by_its_number() -> None:
    trial = ByHand().one()
    with pytest.raises(ValueError, match="Trial 0 has no balanced accuracy"):
        ByHand(objectives=("balanced_accuracy", "params"), log=[trial])


def test_a_number_that_another_process_took_is_told_as_it_is_in_the_log() -> None:
    """And ours, which nobody will end, as failed."""
    search, other = ByHand(), ByHand(log=[ByHand().one()])
    asked, ours = search.ask()
    theirs = replace(other.one(), number=0)
    search.study.tell(asked, theirs)
    states = {trial.params["lr"]: trial.state for trial in search.study.study.trials}
    assert states == {
        ours.suggested["lr"]: TrialState.FAIL,
        theirs.suggested["lr"]: TrialState.COMPLETE,
    }


# what is proposed


def test_the_first_trials_are_proposed_at_random() -> None:
    """A sampler that learns has nothing to learn from yet, but the first few would bind it."""
    blind, learned = ByHand("random"), ByHand("tpe")
    for _ in range(RANDOM_FIRST):
        assert blind.one().suggested == learned.one().suggested
    assert blind.one().suggested != learned.one().suggested


def test_where_many_in_a_row_are_too_large_the_sampler_is_asked_at_once() -> None:
    blind, learned = ByHand("random"), ByHand("tpe")
    for search in (blind, learned):
        search.ask(rejects=RANDOM_ATTEMPTS)
    proposed = [
        [trial.params for trial in search.study.study.trials] for search in (blind, learned)
    ]
    assert proposed[0][:RANDOM_ATTEMPTS] == proposed[1][:RANDOM_ATTEMPTS]
    assert proposed[0][RANDOM_ATTEMPTS] != proposed[1][RANDOM_ATTEMPTS]


@pytest.mark.parametrize("sampler", genetic.GENETIC)
def test_a_first_generation_is_full_after_as_many_trials(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """Random ones of somebody else would belong to no generation."""
    monkeypatch.setattr(genetic, "POPULATION", 3)
    search = ByHand(sampler)
    generations = [next(iter(search.one().sampler.values())) for _ in range(7)]
    assert generations == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_given_values_are_proposed_as_they_are(sampler: str) -> None:
    values = {"channels": 17, "lr": 2e-3}
    asked, proposal = ByHand(sampler).study.ask(0, values=values)
    assert asked.params == values
    assert proposal.sizes == TcnSizes(channels=17, layers=1)


def test_the_same_number_is_asked_the_same_by_whoever_asks() -> None:
    first, second = ByHand(), ByHand()
    first.study.ask(7)
    assert first.study.ask(3)[0].params == second.study.ask(3)[0].params
    assert first.study.ask(3, 1)[0].params != second.study.ask(3, 0)[0].params


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_the_settings_can_be_made(name: str) -> None:
    samplers = optuna.samplers
    kinds = {
        "tpe": samplers.TPESampler,
        "nsga2": samplers.NSGAIISampler,
        "nsga3": samplers.NSGAIIISampler,
        "gp": samplers.GPSampler,
        "random": samplers.RandomSampler,
    }
    assert isinstance(make_sampler(name, 2**32 - 1), kinds[name])


# rebuilt


def mixed(search: ByHand, number: int) -> Trial:
    """Every kind of end in turn, and proposals over budget before some."""
    if number % 5 == 1:
        return search.stopped(violation=1 + 1 / (number + 2))
    if number % 7 == 3:
        return search.one(state="failed", reason="RuntimeError: no", scores=None)
    return search.one(rejects=int(number % 4 == 2))


@pytest.mark.parametrize("sampler", ["tpe", *genetic.GENETIC])
def test_a_study_rebuilt_from_the_log_is_the_one_before_it(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """At every length, also where it has begun to forget."""
    monkeypatch.setattr(study_module, "REMEMBERED", 6)
    monkeypatch.setattr(study_module, "RANDOM_FIRST", 3)
    monkeypatch.setattr(genetic, "POPULATION", 4)
    live = ByHand(sampler)
    for number in range(27):
        rebuilt = ByHand(sampler, log=list(live.log.values()))
        assert rebuilt.told() == live.told()
        assert mixed(rebuilt, number) == mixed(live, number)
    assert len(live.study.study.trials) < 27


def test_of_a_long_log_the_front_most_and_the_newest_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By front, and those with the most room: the ends first."""
    monkeypatch.setattr(study_module, "REMEMBERED", 4)
    search = ByHand("random", score=lambda trial: 0.5)
    for number in range(7):
        search.end(*search.ask(), params=10 ** (9 - number))
    assert len(search.study.study.trials) == 7
    search.end(*search.ask(), params=10)
    # the smallest two of the older six, and the newest two
    held = [round(trial.values[1]) for trial in search.study.study.trials]
    assert held == [5, 4, 3, 1]
    assert len(search.study.ended) == 8


def test_what_was_in_flight_when_the_study_was_rebuilt_is_told_to_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study_module, "REMEMBERED", 4)
    search = ByHand()
    for _ in range(7):
        search.one()
    in_flight = search.ask(8, rejects=2)
    search.one()
    search.end(*in_flight)
    assert search.told() == ByHand(log=list(search.log.values())).told()


def test_a_trial_in_flight_is_asked_again_with_what_was_rejected_before_it() -> None:
    killed = ByHand()
    for _ in range(11):
        killed.one()
    _, trial = killed.ask(rejects=2)
    again = ByHand(log=list(killed.log.values()))
    asked = again.study.ask_again(trial)
    again.end(asked, trial)
    assert again.told() == ByHand(log=list(again.log.values())).told()
    assert asked.params == trial.suggested


@pytest.mark.parametrize("sampler", ["tpe", *genetic.GENETIC])
def test_all_that_a_sampler_keeps_survives_the_log(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """Several trials in flight at a time, that end in another order."""
    monkeypatch.setattr(study_module, "RANDOM_FIRST", 2)
    monkeypatch.setattr(genetic, "POPULATION", 2)
    search = ByHand(sampler)
    for start in (0, 3):
        flying = [search.ask(start + i) for i in range(3)]
        for i in (2, 0, 1):
            search.end(*flying[i])
    rebuilt = ByHand(sampler, log=[search.log[number] for number in sorted(search.log)])
    assert rebuilt.told() == search.told()
    assert rebuilt.ask()[1] == search.ask()[1]


# what mattered


def test_importance_needs_trials_enough() -> None:
    search = ByHand("random")
    for _ in range(FEWEST_FOR_IMPORTANCE - 1):
        search.one()
    search.stopped(1.0)
    assert search.study.measure_importance() == {}
    search.one()
    assert search.study.measure_importance().keys() == {"macro_f1"}


def test_importance_finds_what_decides_each_score() -> None:
    """The size is left out; an error is a score as any other."""
    search = ByHand(
        "random",
        objectives=("macro_f1", "calibration_error", "params"),
        score=lambda trial: 0.9 - 30 * trial.recipe.lr,
    )
    for _ in range(30):
        search.one()
    importance = search.study.measure_importance()
    assert importance.keys() == {"macro_f1", "calibration_error"}
    for shares in importance.values():
        assert shares["lr"] > 0.6
        assert sum(shares.values()) == pytest.approx(1.0)


def test_importance_of_a_score_that_never_changes_is_told_without_a_warning() -> None:
    search = ByHand("random", score=lambda trial: 0.5)
    for _ in range(FEWEST_FOR_IMPORTANCE):
        search.one()
    assert set(search.study.measure_importance()["macro_f1"]) == {"channels", "lr"}


def test_importance_within_a_family_tells_of_its_own_sizes() -> None:
    """What decides the size of its students is one of them, and no learning rate."""
    search = ByHand("random")
    for _ in range(FEWEST_FOR_IMPORTANCE):
        search.one()
    study = Study(DEFAULT, "random", 0, propose)
    study.add([named_by_family(trial) for trial in search.log.values()])
    within = study.measure_importance("tcn")
    assert set(within["macro_f1"]) == {"tcn.channels", "lr"}
    assert within["params"] == {"tcn.channels": pytest.approx(1.0)}
    assert study.measure_importance().keys() == {"macro_f1"}
    assert study.measure_importance("stgcn") == {}


def test_streams_are_among_a_familys_own_sizes() -> None:
    search = ByHand("random")
    for _ in range(FEWEST_FOR_IMPORTANCE):
        search.one()
    study = Study(DEFAULT, "random", 0, propose)
    names = ["joints", "joints+bones"]
    kind = distribution_to_json(optuna.distributions.CategoricalDistribution(names))
    for trial in map(named_by_family, search.log.values()):
        searched = {**trial.suggested, "streams": names[trial.number % 2]}
        kinds = {**trial.distributions, "streams": kind}
        study.add([replace(trial, suggested=searched, distributions=kinds)])
    assert set(study.measure_importance("tcn")["params"]) == {"tcn.channels", "streams"}
    assert study.measure_importance().keys() == {"macro_f1"}


def named_by_family(trial: Trial) -> Trial:
    """Its size under the name that the search spaces give it."""
    kinds = {
        f"tcn.{name}" if name == "channels" else name: kind
        for name, kind in trial.distributions.items()
    }
    values = {f"tcn.{n}" if n == "channels" else n: v for n, v in trial.suggested.items()}
    return replace(trial, suggested=values, distributions=kinds)
