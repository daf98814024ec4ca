"""The searcher without Tune: what it proposes, what it never proposes, and what it learns from the log."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from gaitforge.cost import Cost
from gaitforge.models import Sizes
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.settings import FitPlan, SearchSettings
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder
from trainers import searcher as searcher_module
from trainers.searcher import Budget, StudySearcher

UNLIMITED = Budget(params=None, macs=None)


def cost_of(sizes: Sizes) -> Cost:
    """A count without a model: quick, and the same for the same sizes."""
    if isinstance(sizes, TcnSizes):
        params = sizes.channels**2 * sizes.layers
    else:
        assert isinstance(sizes, StgcnSizes)
        params = sum(width**2 for width in sizes.widths)
    return Cost(params=params, macs=10 * params)


class ByHand:
    """A searcher whose trials are trained by a formula, and Tune's calls made by this class."""

    def __init__(self, folder: Path, budget: Budget = UNLIMITED, **settings: Any) -> None:
        self.shown: list[int] = []
        self.searcher = StudySearcher(
            SearchSettings(**{"trials": 20, **settings}),
            TrialLog(SplitFolder(folder)),
            budget,
            cost_of,
            lambda trial: self.shown.append(trial.number),
        )
        self.calls = 0

    def ask(self) -> tuple[str, Trial]:
        self.calls += 1
        trial_id = f"tune-{self.calls}"
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict), config
        return trial_id, Trial.from_dict(config["trial"], Path())

    def is_over(self) -> bool:
        return bool(self.searcher.suggest("last") == Searcher.FINISHED)

    def end(self, trial_id: str, trial: Trial, **change: Any) -> Trial:
        """The worker writes, then Tune tells the searcher."""
        f1 = 0.9 - 0.5 * trial.params**-0.2 - trial.recipe["lr"]
        scores = {"val_macro_f1": f1, "val_accuracy": f1}
        ended = replace(trial, **{"state": "finished", "scores": scores, **change})
        self.searcher.log.add(ended)
        self.searcher.on_trial_complete(trial_id, {"done": True})
        return ended

    def one(self, **change: Any) -> Trial:
        return self.end(*self.ask(), **change)

    def fail(self, reason: str = "RuntimeError: no") -> Trial:
        return self.one(state="failed", reason=reason, scores=None)


# what is proposed


def test_a_proposal_holds_all_that_decides_a_student(tmp_path: Path) -> None:
    _, trial = ByHand(tmp_path, fit=FitPlan(epochs=3, seed=50), families=("tcn",)).ask()
    assert (trial.number, trial.state, trial.family, trial.seed) == (0, "running", "tcn", 50)
    plan = FitPlan(**trial.recipe)
    assert plan.epochs == 3
    assert plan.lr == trial.suggested["lr"]
    assert plan.weight_decay == trial.suggested["weight_decay"]
    assert trial.distill["weights"] == {"kd": trial.suggested["weight.kd"]}
    assert trial.params == cost_of(TcnSizes(**trial.sizes)).params
    assert trial.suggested.keys() == trial.distributions.keys()


def test_the_hash_is_that_of_the_configuration_without_its_seed(tmp_path: Path) -> None:
    first = ByHand(tmp_path / "a", fit=FitPlan(seed=0)).one()
    second = ByHand(tmp_path / "b", fit=FitPlan(seed=9)).one()
    other = ByHand(tmp_path / "c", seed=1).one()
    assert first.hash == second.hash != other.hash
    assert first.seed != second.seed


def test_trials_get_the_next_numbers_and_seeds(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    assert [(search.one().number, search.one().seed) for _ in range(2)] == [(0, 1), (2, 3)]
    assert search.shown == [0, 1, 2, 3]


def test_numbers_go_on_after_a_restart_and_fill_what_was_in_flight(tmp_path: Path) -> None:
    killed = ByHand(tmp_path)
    running = [killed.ask() for _ in range(3)]
    killed.end(*running[0])
    killed.end(*running[2])

    again = ByHand(tmp_path)
    assert [again.ask()[1].number for _ in range(2)] == [1, 3]


def test_the_search_ends_when_enough_trials_have_ended_or_run(tmp_path: Path) -> None:
    search = ByHand(tmp_path, trials=3)
    search.one()
    trial_id, trial = search.ask()
    search.ask()
    assert search.is_over()
    search.end(trial_id, trial)
    assert search.is_over()
    assert search.searcher.gave_up is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("limit", [None, 3000], ids=["no budget", "budget"])
def test_a_search_that_was_stopped_proposes_what_it_would_have_proposed(
    tmp_path: Path, sampler: str, limit: int | None
) -> None:
    """Also where proposals over budget, which only the sampler knew, came in between."""
    budget = Budget(params=limit, macs=None)

    def next_of(search: ByHand) -> Trial:
        return search.fail() if len(search.searcher.ended) == 3 else search.one()

    def restarted() -> ByHand:
        return ByHand(tmp_path / "stopped", budget, sampler=sampler)

    whole = ByHand(tmp_path / "whole", budget, sampler=sampler)
    expected = [next_of(whole) for _ in range(14)]
    assert [next_of(restarted()) for _ in range(14)] == expected
    assert restarted().searcher.rejected == whole.searcher.rejected
    assert (limit is None) == (whole.searcher.rejected == 0)


def test_any_whole_number_is_a_seed(tmp_path: Path) -> None:
    """numpy's own generators take no seed beyond 32 bits."""
    for seed in (20261120, -1, 2**40):
        ByHand(tmp_path / str(seed), seed=seed).one()


# the budget


def test_a_proposal_over_budget_never_comes_out_and_is_counted(tmp_path: Path) -> None:
    search = ByHand(tmp_path, Budget(params=2000, macs=None), sampler="random")
    trials = [search.one() for _ in range(20)]
    assert max(trial.params for trial in trials) <= 2000
    assert search.searcher.rejected > 0
    assert search.searcher.rejected == sum(len(trial.rejected) for trial in trials)
    assert min(tried["params"] for trial in trials for tried in trial.rejected) > 2000


def test_the_sampler_learns_what_the_budget_allows(tmp_path: Path) -> None:
    budget = Budget(params=300, macs=None)
    blind = ByHand(tmp_path / "random", budget, sampler="random")
    learned = ByHand(tmp_path / "tpe", budget, sampler="tpe")
    for _ in range(20):
        blind.one()
        learned.one()
    assert learned.searcher.rejected < blind.searcher.rejected / 2


def test_a_budget_that_no_proposal_meets_ends_the_search_with_advice(tmp_path: Path) -> None:
    search = ByHand(tmp_path, Budget(params=3, macs=None), sampler="random")
    assert search.is_over()
    assert search.searcher.rejected == searcher_module.ATTEMPTS
    assert search.searcher.gave_up is not None
    assert "larger than 3 parameters; raise the budget" in search.searcher.gave_up


@pytest.mark.parametrize(
    ("budget", "allowed", "excess"),
    [
        (UNLIMITED, True, -1.0),
        (Budget(params=100, macs=None), True, 0.0),
        (Budget(params=10, macs=None), False, 1.0),
        (Budget(params=None, macs=100), False, 1.0),
        (Budget(params=10, macs=10), False, 2.0),
    ],
)
def test_a_budget_limits_parameters_and_operations(
    budget: Budget, allowed: bool, excess: float
) -> None:
    cost = Cost(params=100, macs=1000)
    assert budget.allows(cost) is allowed
    assert budget.excess(cost) == pytest.approx(excess)


# how trials end


def told(search: ByHand) -> list[tuple[TrialState, list[float] | None]]:
    return [(trial.state, trial.values) for trial in search.searcher.study.trials]


def test_a_finished_trial_is_told_with_its_score_and_size(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial = search.one()
    assert trial.scores is not None
    values = [trial.scores["val_macro_f1"], trial.params]
    assert told(search) == told(ByHand(tmp_path)) == [(TrialState.COMPLETE, values)]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_the_score_of_a_trial_that_did_not_finish_is_not_told(tmp_path: Path, state: str) -> None:
    """A score of few epochs would pass for that of a bad student, or of a good one."""
    search = ByHand(tmp_path)
    search.one(state=state, reason="why", scores={"val_macro_f1": 1.0, "val_accuracy": 1.0})
    assert told(search) == told(ByHand(tmp_path)) == [(TrialState.FAIL, None)]
    assert search.searcher.study.best_trials == []


def test_a_worker_that_died_leaves_a_failed_trial_with_its_reason(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, trial = search.ask()
    search.searcher.on_trial_complete(trial_id, None, error=True)
    (died,) = search.searcher.log
    assert (died.number, died.state, died.hash) == (0, "failed", trial.hash)
    assert died.reason == "the worker process died (out of memory, or killed)"
    assert search.shown == [0]
    assert search.one().number == 1


def test_what_the_worker_wrote_counts_and_not_what_tune_says(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, trial = search.ask()
    search.searcher.log.add(replace(trial, state="failed", reason="ValueError: odd"))
    search.searcher.on_trial_complete(trial_id, {"val_macro_f1": 0.9, "done": True}, error=False)
    assert search.searcher.ended[0].reason == "ValueError: odd"


def test_too_many_failures_end_the_search_with_the_most_common_reason(tmp_path: Path) -> None:
    search = ByHand(tmp_path, max_failed=0.5)
    search.fail("rare")
    search.fail()
    search.fail()
    search.one()
    assert search.searcher.gave_up is None
    assert search.is_over()
    assert search.searcher.gave_up == "3 of 4 trials failed; most often: RuntimeError: no"


@pytest.mark.parametrize("max_failed", [0.5, 1.0])
def test_as_many_failures_as_are_allowed_do_not_end_the_search(
    tmp_path: Path, max_failed: float
) -> None:
    search = ByHand(tmp_path, max_failed=max_failed)
    ends: list[Callable[[], Trial]] = [search.fail, search.fail]
    ends += [search.one, search.one] if max_failed < 1 else [search.fail, search.fail]
    for end in ends:
        end()
    assert search.ask()[1].number == 4


def test_three_failures_are_too_few_to_give_up(tmp_path: Path) -> None:
    search = ByHand(tmp_path, max_failed=0.0)
    for _ in range(3):
        search.fail()
    assert search.ask()[1].number == 3


# what Tune may not keep


def test_a_copy_of_the_searcher_is_no_second_truth(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    search.one()
    assert copy.deepcopy(search.searcher) is search.searcher
    assert vars(pickle.loads(pickle.dumps(search.searcher))) == {}
    search.searcher.save(str(tmp_path / "state"))
    assert not (tmp_path / "state").exists()


# what mattered


def test_importance_needs_trials_enough_and_finds_what_decides(tmp_path: Path) -> None:
    search = ByHand(tmp_path, sampler="random")
    for _ in range(7):
        search.one()
    assert search.searcher.importance() == {}
    for _ in range(13):
        search.one()
    importance = search.searcher.importance()
    assert set(importance) >= {"family", "lr", "weight_decay", "weight.kd", "temperature"}
    assert not any(name.startswith(("tcn.", "stgcn.")) for name in importance)
