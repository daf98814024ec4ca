"""The searcher without Tune: what it proposes, what it never proposes, and what it learns from the log."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray.tune.search import Searcher

from gaitforge.cost import Cost
from gaitforge.losses import Distillation
from gaitforge.models import Sizes, make_sizes
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import SAMPLERS, FitPlan, SearchSettings, StoppingSettings
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder
from search_spaces import Proposal
from trainers.cluster.deaths import LIVES, LOST_NODES
from trainers.search import genetic, study
from trainers.search import searcher as searcher_module
from trainers.search.budget import Budget
from trainers.search.search import propose
from trainers.search.searcher import StudySearcher

UNLIMITED = Budget()


def cost_of(sizes: Sizes) -> Cost:
    """A count without a model: quick, and the same for the same sizes."""
    if isinstance(sizes, TcnSizes):
        params = sizes.channels**2 * sizes.layers
    else:
        assert isinstance(sizes, StgcnSizes)
        params = sum(width**2 for width in sizes.widths)
    return Cost(params=params, macs=10 * params, bytes=4 * params)


class ByHand:
    """A searcher whose trials are trained by a formula, and Tune's calls made by this class."""

    def __init__(
        self,
        folder: Path,
        budget: Budget = UNLIMITED,
        starts: Sequence[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> None:
        self.shown: list[int] = []
        self.retried: list[tuple[int, str]] = []
        stopping = StoppingSettings(first=1, keep=0.2)
        self.settings = SearchSettings(**{"trials": 20, "stopping": stopping, **settings})
        self.searcher = StudySearcher(
            self.settings,
            TrialLog(SplitFolder(folder)),
            budget,
            partial(propose, self.settings),
            cost_of,
            lambda trial: self.shown.append(trial.number),
            starts,
            lambda trial, why: self.retried.append((trial.number, why)),
        )
        self.calls = 0

    def ask(self) -> tuple[str, Trial]:
        self.calls += 1
        trial_id = f"tune-{self.calls}"
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict), config
        return trial_id, TRIAL.parse(config["trial"], Path())

    def is_over(self) -> bool:
        return bool(self.searcher.suggest("last") == Searcher.FINISHED)

    def end(self, trial_id: str, trial: Trial, **change: Any) -> Trial:
        """The worker writes, then Tune tells the searcher."""
        f1 = 0.9 - 0.5 * trial.params**-0.2 - trial.recipe.lr
        scores = {"val_macro_f1": f1, "val_accuracy": f1}
        ended = replace(trial, **{"state": "finished", "scores": scores, **change})
        self.searcher.log.add(ended)
        self.searcher.on_trial_complete(trial_id, {"done": True})
        return ended

    def at_rung(self, trial_id: str, epoch: int, f1: float) -> bool:
        """The worker reports from a rung; whether its trial goes on."""
        return self.searcher.on_rung(trial_id, {"epoch": epoch, "val_macro_f1": f1})

    def one(self, **change: Any) -> Trial:
        return self.end(*self.ask(), **change)

    def fail(self, reason: str = "RuntimeError: no") -> Trial:
        return self.one(state="failed", reason=reason, scores=None)


# what is proposed


def test_a_proposal_holds_all_that_decides_a_student(tmp_path: Path) -> None:
    _, trial = ByHand(tmp_path, fit=FitPlan(epochs=3, seed=50), families=("tcn",)).ask()
    assert (trial.number, trial.state, trial.family, trial.seed) == (0, "running", "tcn", 50)
    plan = trial.recipe
    assert plan.epochs == 3
    assert plan.lr == trial.suggested["lr"]
    assert plan.weight_decay == trial.suggested["weight_decay"]
    is_taught = trial.suggested["terms.logits"] == "kd"
    assert trial.distill.weights == ({"kd": trial.suggested["weight.kd"]} if is_taught else {})
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


def test_what_was_in_flight_comes_first_again_as_the_same_students(tmp_path: Path) -> None:
    """Rejected proposals that came before them, and how far they had come, are not lost."""
    budget = Budget(params=3000)
    killed = ByHand(tmp_path, budget, seed=4)
    running = [killed.ask() for _ in range(4)]
    killed.end(*running[1])
    far = replace(running[2][1], epochs=2, rungs=({"epoch": 1, "val_macro_f1": 0.5},))
    killed.searcher.log.show_running(far)

    again = ByHand(tmp_path, budget, seed=4)
    assert again.searcher.rejected == len(running[1][1].rejected)
    assert [again.ask()[1] for _ in range(3)] == [running[0][1], far, running[3][1]]
    assert again.searcher.rejected == killed.searcher.rejected > 0
    assert again.ask()[1].number == 4


def test_the_search_ends_when_enough_trials_have_ended_or_run(tmp_path: Path) -> None:
    search = ByHand(tmp_path, trials=3)
    search.one()
    trial_id, trial = search.ask()
    search.ask()
    assert search.is_over()
    search.end(trial_id, trial)
    assert search.is_over()
    assert search.searcher.gave_up is None


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 3000], ids=["no budget", "budget"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_was_killed_proposes_what_it_would_have_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, limit: int | None
) -> None:
    """Whether a trial was in flight or not; also where proposals over budget came in between."""
    monkeypatch.setattr(genetic, "POPULATION", 3)
    monkeypatch.setattr(study, "RANDOM_FIRST", 3)
    budget = Budget(params=limit)
    trials = 5 if sampler == "gp" else 12  # a Gaussian process takes its time

    def search(name: str) -> ByHand:
        return ByHand(tmp_path / name, budget, sampler=sampler, seed=1)

    def next_of(search: ByHand) -> Trial:
        ended = len(search.searcher.ended)
        if ended == 2:
            return search.fail()
        if ended in (1, 4):
            return search.one(state="stopped", reason="it fell behind", violation=1.5)
        return search.one()

    whole = search("whole")
    expected = [next_of(whole) for _ in range(trials)]
    assert (limit is None) == (whole.searcher.rejected == 0)
    stopped = []
    for number in range(trials):
        if number % 2:
            search("stopped").ask()  # and killed while it trains
        stopped.append(next_of(search("stopped")))
    assert stopped == expected
    assert search("stopped").searcher.rejected == whole.searcher.rejected


def test_any_whole_number_is_a_seed(tmp_path: Path) -> None:
    """numpy's own generators take no seed beyond 32 bits."""
    for seed in (20261120, -1, 2**40):
        ByHand(tmp_path / str(seed), seed=seed).one()


# the budget


def test_a_proposal_over_budget_never_comes_out_and_is_counted(tmp_path: Path) -> None:
    search = ByHand(tmp_path, Budget(params=2000), sampler="random")
    trials = [search.one() for _ in range(20)]
    assert max(trial.params for trial in trials) <= 2000
    assert search.searcher.rejected > 0
    assert search.searcher.rejected == sum(len(trial.rejected) for trial in trials)
    assert min(tried["params"] for trial in trials for tried in trial.rejected) > 2000


def test_the_sampler_learns_what_the_budget_allows(tmp_path: Path) -> None:
    budget = Budget(params=300)
    never = StoppingSettings(first=0)  # else every second proposal is a random one
    blind = ByHand(tmp_path / "random", budget, sampler="random", stopping=never)
    learned = ByHand(tmp_path / "tpe", budget, sampler="tpe", stopping=never)
    rejected = [
        [len(search.one().rejected) for _ in range(20)][study.RANDOM_FIRST :]
        for search in (learned, blind)
    ]
    assert sum(rejected[0]) < sum(rejected[1]) / 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_to_a_budget_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    monkeypatch.setattr(genetic, "POPULATION", 3)
    monkeypatch.setattr(study, "RANDOM_FIRST", 5)
    search = ByHand(tmp_path, Budget(params=5000, macs=40_000, bytes=12_000), sampler=sampler)
    for trial in [search.one() for _ in range(8)]:
        assert trial.bytes <= 12_000
        assert trial.macs <= 40_000
        assert cost_of(make_sizes(trial.family, trial.sizes)).params == trial.params


def test_a_rejected_proposal_is_behind_every_trial_that_was_stopped(tmp_path: Path) -> None:
    """It is never trained; the farther over the budget, the farther behind."""
    search = ByHand(tmp_path, Budget(params=2000), sampler="random")
    rungs = search.searcher.rungs.epochs
    rejected = [tried for _ in range(10) for tried in search.one().rejected]
    assert rejected
    for tried in rejected:
        excess = math.log10(tried["params"] / 2000)
        assert tried["excess"] == pytest.approx(len(rungs) + excess)


def test_a_budget_that_no_proposal_meets_ends_the_search_with_advice(tmp_path: Path) -> None:
    search = ByHand(tmp_path, Budget(params=3), sampler="random")
    assert search.is_over()
    assert search.searcher.rejected == searcher_module.ATTEMPTS
    assert search.searcher.gave_up is not None
    assert "larger than 3 parameters; raise the budget" in search.searcher.gave_up


# students to try first


def test_students_to_start_from_come_first_and_only_once(tmp_path: Path) -> None:
    other = ByHand(tmp_path / "other", seed=7)
    starts = [other.one().suggested for _ in range(2)]
    search = ByHand(tmp_path / "this", starts=starts)
    first = search.one()
    assert first.suggested == starts[0]
    again = ByHand(tmp_path / "this", starts=starts)
    assert again.one().suggested == starts[1]
    assert again.one().suggested not in starts
    assert [trial.number for trial in again.searcher.log] == [0, 1, 2]


def test_a_start_over_budget_gives_way_to_a_proposal_within_it(tmp_path: Path) -> None:
    other = ByHand(tmp_path / "other", families=("tcn",), seed=7)
    large = next(t for t in iter(other.one, None) if t.params > 2000).suggested
    trial = ByHand(tmp_path / "this", Budget(params=2000), starts=[large]).one()
    assert trial.params <= 2000
    assert trial.rejected[0]["suggested"] == large


# students that are compared


def same_size(folder: Path) -> list[Mapping[str, Any]]:
    """Searched values of two students that are one and the same."""
    return [ByHand(folder / "other").one().suggested] * 2


def test_a_student_that_falls_behind_ends_with_its_reason_in_the_log(tmp_path: Path) -> None:
    search = ByHand(tmp_path, starts=same_size(tmp_path), fit=FitPlan(epochs=8))
    (good, _), (bad, trial) = search.ask(), search.ask()
    assert search.at_rung(good, 1, 0.8)
    curve = ({"epoch": 1, "val_macro_f1": 0.7},)
    search.searcher.log.show_running(replace(trial, curve=curve, epochs=1))
    assert not search.at_rung(bad, 1, 0.7)
    ended = search.searcher.log.read(1)
    assert (ended.state, ended.epochs, ended.curve) == ("stopped", 1, curve)
    assert ended.rungs == ({"epoch": 1, "val_macro_f1": 0.7},)
    assert (ended.reason or "").startswith("after epoch 1 it is number 2 of the 2 students")
    assert ended.violation == 2.0
    assert ended.ended is not None
    search.searcher.on_trial_complete(bad, {"done": True})
    assert search.shown == [1]
    assert search.searcher.ended[1] == ended


def test_a_student_that_goes_on_is_in_no_log_yet(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, _ = search.ask()
    assert search.at_rung(trial_id, 1, 0.1)
    assert list(search.searcher.log) == []


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_students_are_held_against_those_of_before_a_restart(tmp_path: Path, state: str) -> None:
    """However those ended: they came to the same rung, and what they had there is known."""
    starts = same_size(tmp_path)
    before = ByHand(tmp_path, starts=starts)
    trial_id, first = before.ask()
    at_rung = replace(first, rungs=({"epoch": 1, "val_macro_f1": 0.8},))
    before.end(trial_id, at_rung, state=state)
    after = ByHand(tmp_path, starts=starts)
    assert not after.at_rung(after.ask()[0], 1, 0.7)


# how trials end


def test_a_worker_that_died_leaves_a_failed_trial_with_its_reason(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, trial = search.ask()
    search.searcher.on_trial_complete(trial_id, None, error=True)
    (died,) = search.searcher.log
    assert (died.number, died.state, died.hash) == (0, "failed", trial.hash)
    assert died.reason == "the worker process died, and what killed it is not known"
    assert died.ended is not None
    assert search.shown == [0]
    assert search.one().number == 1


OWN = "The actor is dead because its worker process has died. The process receives a SIGTERM."
WITH_NODE = "The actor died because its node has died. Node Id: 9cdf"
RAISED = (
    "ray::ImplicitFunc.train()\n  File search.py\nOSError: [Errno 28] No space left on device\n"
)


def test_a_trial_says_what_killed_its_worker(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, _ = search.ask()
    assert not search.searcher.on_error(trial_id, OWN, again=True)
    assert not search.searcher.on_error(trial_id, OWN, again=False)
    search.searcher.on_trial_complete(trial_id, None, error=True)
    (died,) = search.searcher.log
    assert (died.state, died.killed_by) == ("failed", "SIGTERM")
    assert died.reason == "the worker process was killed by SIGTERM"
    assert search.retried == [(0, died.reason)]
    assert search.searcher.died == {}


def test_while_all_trials_have_died_alike_the_next_one_is_tried_once(tmp_path: Path) -> None:
    search = ByHand(tmp_path)

    def end(told: str) -> None:
        trial_id, _ = search.ask()
        search.searcher.on_error(trial_id, told, again=False)
        search.searcher.on_trial_complete(trial_id, None, error=True)

    assert search.searcher.count_lives() == LIVES  # nothing is known
    end(OWN)
    end(OWN)
    assert search.searcher.count_lives() == 0
    end(RAISED)  # no death: it may be the students
    assert search.searcher.count_lives() == LIVES


def test_trials_that_were_lost_with_their_nodes_cost_the_next_one_nothing(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, _ = search.ask()
    search.searcher.on_error(trial_id, WITH_NODE, again=False)
    search.searcher.on_trial_complete(trial_id, None, error=True)
    assert search.searcher.count_lives() == LIVES


def test_a_worker_lost_with_its_node_does_not_count_against_its_student(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, _ = search.ask()
    more = [search.searcher.on_error(trial_id, WITH_NODE, again=True) for _ in range(5)]
    assert more == [True] * LOST_NODES + [False] * (5 - LOST_NODES)
    other, _ = search.ask()
    assert search.searcher.on_error(other, WITH_NODE, again=True)


def test_an_error_outside_of_the_trial_is_its_reason_and_its_traceback_is_kept(
    tmp_path: Path,
) -> None:
    search = ByHand(tmp_path)
    trial_id, _ = search.ask()
    search.searcher.on_error(trial_id, RAISED, again=False)
    search.searcher.on_trial_complete(trial_id, None, error=True)
    (failed,) = search.searcher.log
    assert failed.reason == "in its worker, OSError: [Errno 28] No space left on device"
    assert (failed.killed_by, failed.traceback) == (None, RAISED)


def test_a_worker_that_ends_after_its_trial_had_ended_says_nothing_of_it(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, trial = search.ask()
    search.searcher.log.add(replace(trial, state="failed", reason="CUDA error"))
    assert not search.searcher.on_error(trial_id, OWN, again=True)
    search.searcher.on_trial_complete(trial_id, {"done": True})
    assert [trial.reason for trial in search.searcher.log] == ["CUDA error"]
    assert (search.retried, search.shown) == ([], [0])


def test_a_worker_that_died_keeps_the_curve_as_far_as_it_came(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    trial_id, trial = search.ask()
    scores = {"val_macro_f1": 0.6, "val_accuracy": 0.6}
    far = replace(trial, curve=({"epoch": 1},), epochs=1, scores=scores)
    search.searcher.log.show_running(far)
    search.searcher.on_trial_complete(trial_id, None, error=True)
    (died,) = search.searcher.log
    assert (died.curve, died.epochs, died.scores) == (far.curve, 1, None)
    assert search.searcher.interrupted == []


def test_the_same_student_drawn_again_is_a_new_seed_of_it(tmp_path: Path) -> None:
    first = ByHand(tmp_path / "other").one()
    search = ByHand(tmp_path / "this", starts=[first.suggested] * 2)
    trials = [search.one(), search.one()]
    assert trials[0].hash == trials[1].hash
    assert [trial.seed for trial in trials] == [0, 1]


def test_a_student_that_was_tried_is_proposed_again_only_where_nothing_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = TcnSizes(channels=4)
    only_one = Proposal(
        family="tcn", sizes=sizes, lr=1e-3, weight_decay=0.1, distillation=Distillation()
    )  # the whole space
    search = ByHand(tmp_path)
    asked: list[int] = []

    def propose(trial: optuna.trial.BaseTrial) -> Proposal:
        asked.append(trial.suggest_int("same", 0, 1))
        return only_one

    monkeypatch.setattr(search.searcher.study, "propose", propose)
    assert search.one().hash == search.one().hash
    assert len(asked) == 1 + searcher_module.MOST_REPEATS + 1


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


# machines that must not train


def test_what_a_machine_refuses_is_no_failed_student_and_ends_the_search(tmp_path: Path) -> None:
    search = ByHand(tmp_path)
    refused, beside = search.ask(), search.ask()
    told = {"refused": "tin computes wrong gradients for the family 'stgcn'.", "done": True}
    search.searcher.on_trial_complete(refused[0], told)
    search.end(*beside)
    assert search.searcher.refused == told["refused"]
    assert search.is_over()
    assert [trial.state for trial in search.searcher.ended.values()] == ["finished"]
    # the same student comes first at the next start
    assert ByHand(tmp_path).ask()[1] == refused[1]
