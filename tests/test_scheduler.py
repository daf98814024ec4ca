"""Verdicts at rungs: who is compared with whom, by what, and what is said to those that end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import Trial
from gaitforge.settings import StoppingSettings
from trainers.search.rungs import RungDecision, Rungs
from trainers.search.search import RungScheduler

EPOCHS = 27  # rungs after 1, 3 and 9


def at_rung(number: int, f1: float, params: int = 100, epoch: int = 1, **scores: float) -> Trial:
    """A trial that has just come to a rung."""
    return Trial(
        number=number, state="running", family="tcn", sizes={}, params=params, macs=10 * params,
        bytes=4 * params, seed=number, hash=str(number), suggested={}, distributions={}, recipe=Recipe(),
        distill=Distillation(),
        rungs=({"epoch": epoch, "val_macro_f1": f1, **scores},),
    )  # fmt: skip


def new_rungs(*objectives: str, **settings: Any) -> Rungs:
    stopping = StoppingSettings(**{"first": 1, "keep": 0.2, **settings})
    return Rungs(stopping, EPOCHS, objectives or ("macro_f1", "params"))


def among(f1: Mapping[int, float], own: Trial, **settings: Any) -> RungDecision:
    """The verdict on a student after others of its size; `f1` gives theirs by number."""
    rungs = new_rungs(**settings)
    for number, score in f1.items():
        rungs.judge(at_rung(number, score))
    return rungs.judge(own)


# how many go on


def test_the_first_at_a_rung_goes_on() -> None:
    assert among({}, at_rung(0, 0.1)) == RungDecision(go_on=True)


def test_of_few_students_only_the_best_goes_on() -> None:
    few = {0: 0.5, 1: 0.6, 2: 0.4}
    assert among(few, at_rung(3, 0.61)).go_on
    assert not among(few, at_rung(3, 0.59)).go_on


def test_of_many_students_the_share_to_keep_goes_on() -> None:
    nine = {number: number / 10 for number in range(9)}
    assert among(nine, at_rung(9, 0.75)).go_on  # the second of ten
    assert not among(nine, at_rung(9, 0.65)).go_on
    assert among(nine, at_rung(9, 0.65), keep=0.3).go_on


def test_a_tie_with_the_best_goes_to_who_came_first() -> None:
    """A student no smaller and no better adds nothing to a front."""
    assert not among({0: 0.5, 1: 0.5, 2: 0.4}, at_rung(3, 0.5)).go_on


def test_who_goes_on_has_no_reason_and_no_violation() -> None:
    assert among({0: 0.5}, at_rung(1, 0.6)) == RungDecision(go_on=True, reason="", violation=0.0)


# who is compared with whom


def test_a_larger_student_never_ends_a_smaller_one() -> None:
    rungs = new_rungs()
    for number in range(20):
        rungs.judge(at_rung(number, 0.9, params=101))
    assert rungs.judge(at_rung(20, 0.1, params=100)).go_on


@pytest.mark.parametrize("seed", range(3))
def test_a_verdict_is_the_same_without_all_larger_students(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 10_000, 60).tolist()
    trials = [
        at_rung(number, f1, params=size)
        for number, (size, f1) in enumerate(zip(sizes, rng.random(60).tolist(), strict=True))
    ]
    crowd = new_rungs()
    ends = 0
    for trial in trials:
        alone = new_rungs()
        for other in trials[: trial.number]:
            if other.params <= trial.params:
                alone.add(other)
        verdict = crowd.judge(trial)
        assert verdict == alone.judge(trial)
        ends += not verdict.go_on
    assert 20 < ends < 55


@pytest.mark.parametrize(("params", "goes_on"), [(100, False), (99, True)])
def test_the_band_reaches_down_to_its_edge(params: int, goes_on: bool) -> None:
    rungs = new_rungs(band=1.0)
    rungs.judge(at_rung(0, 0.9, params=params))
    assert rungs.judge(at_rung(1, 0.1, params=1000)).go_on is goes_on


def test_compared_are_students_that_are_no_larger_in_any_size() -> None:
    rungs = new_rungs("macro_f1", "params", "macs")
    rungs.judge(replace(at_rung(0, 0.9, params=90), macs=1001))
    assert rungs.judge(at_rung(1, 0.1, params=100)).go_on
    assert not rungs.judge(at_rung(2, 0.1, params=101)).go_on  # its 1,010 are more


def test_scores_of_different_epochs_are_never_compared() -> None:
    rungs = new_rungs()
    rungs.judge(at_rung(0, 0.9, epoch=3))
    rungs.judge(at_rung(1, 0.8, epoch=9))
    assert rungs.judge(at_rung(2, 0.1, epoch=1)).go_on
    assert not rungs.judge(at_rung(3, 0.85, epoch=3)).go_on
    assert rungs.judge(at_rung(4, 0.85, epoch=9)).go_on


def test_a_rung_that_is_come_to_again_counts_once() -> None:
    """A worker was killed between its report and its checkpoint, and has trained the epochs again."""
    rungs = new_rungs(keep=0.5)
    rungs.judge(at_rung(0, 0.9))
    for _ in range(5):
        verdict = rungs.judge(at_rung(1, 0.5))
    assert "number 2 of the 2 students" in verdict.reason


def test_what_is_remembered_counts_as_what_was_judged() -> None:
    rungs = new_rungs()
    first = at_rung(0, 0.9)
    rungs.add(replace(first, rungs=(*first.rungs, {"epoch": 3, "val_macro_f1": 0.8})))
    assert not rungs.judge(at_rung(1, 0.85, epoch=1)).go_on
    assert not rungs.judge(at_rung(1, 0.75, epoch=3)).go_on


# by what they are compared


def test_several_scores_are_compared_by_fronts() -> None:
    """The best in one of them is on the first front, and at its end, which has the most room."""
    rungs = new_rungs("macro_f1", "calibration_error", "params")
    for number in range(9):
        rungs.judge(at_rung(number, 0.1 * number, val_calibration_error=0.1 * number))
    assert rungs.judge(at_rung(9, 0.9, val_calibration_error=0.95)).go_on
    in_between = rungs.judge(at_rung(10, 0.45, val_calibration_error=0.45))
    assert not in_between.go_on  # on the first front, but with less room
    beaten = rungs.judge(at_rung(11, 0.35, val_calibration_error=0.65))
    assert "number 12 of the 12" in beaten.reason


def test_a_measured_size_is_no_score() -> None:
    rungs = new_rungs("macro_f1", "latency_ms")
    rungs.judge(at_rung(0, 0.9, latency_ms=2.0))
    assert rungs.judge(at_rung(1, 0.5, latency_ms=1.9)).go_on
    assert not rungs.judge(at_rung(2, 0.5, latency_ms=2.1)).go_on


def test_a_score_that_was_not_reported_is_asked_for() -> None:
    with pytest.raises(ValueError, match="Trial 4 has no calibration error"):
        new_rungs("calibration_error", "params").judge(at_rung(4, 0.5))


# what is said of those that end


def test_the_reason_names_epoch_place_and_number() -> None:
    assert among({0: 0.5, 1: 0.6, 2: 0.4}, at_rung(3, 0.45)).reason == (
        "after epoch 1 it is number 3 of the 4 students of its size or up to 10 times smaller, "
        "of which the best goes on"
    )
    eleven = {number: number / 20 for number in range(11)}
    assert among(eleven, at_rung(11, 0.01), band=0.5).reason == (
        "after epoch 1 it is number 11 of the 12 students of its size or up to 3.16 times smaller, "
        "of which the best 2 go on"
    )


def test_who_lasts_longer_is_nearer_to_going_on() -> None:
    """And at one rung, who has the better place."""
    violations = []
    for epoch in (9, 3, 1):
        rungs = new_rungs()
        for number, f1 in enumerate((0.9, 0.8, 0.7)):
            verdict = rungs.judge(at_rung(number, f1, epoch=epoch))
            violations += [] if verdict.go_on else [verdict.violation]
    assert violations == pytest.approx([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    last = new_rungs()
    for number, f1 in enumerate((0.9, 0.8, 0.1)):
        last.judge(at_rung(number, f1))
    better, worse = last.judge(at_rung(3, 0.5)), last.judge(at_rung(4, 0.05))
    assert 0 < better.violation < worse.violation <= len(last.epochs)


# as Tune asks


@pytest.mark.parametrize("goes_on", [True, False])
def test_tune_hears_the_verdict_on_what_was_reported(goes_on: bool) -> None:
    heard: list[tuple[str, Mapping[str, Any]]] = []

    def on_rung(trial_id: str, scores: Mapping[str, Any]) -> bool:
        heard.append((trial_id, scores))
        return goes_on

    trial = TuneTrial("none", trial_id="a7", stub=True)
    result = {"rung/epoch": 3, "rung/val_macro_f1": 0.5, "training_iteration": 2, "done": False}
    said = RungScheduler(on_rung).on_trial_result(None, trial, result)
    assert said == (TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)
    assert heard == [("a7", {"epoch": 3, "val_macro_f1": 0.5})]


@pytest.mark.parametrize(("failures", "again"), [(1, True), (2, False)])
@pytest.mark.parametrize("counts", [True, False])
def test_tune_hears_whether_an_error_counts_and_tells_only_of_the_latest(
    tmp_path: Path, failures: int, again: bool, counts: bool
) -> None:
    heard: list[tuple[str, str, bool]] = []

    def on_error(trial_id: str, told: str, again: bool) -> bool:
        heard.append((trial_id, told, again))
        return not counts

    class Erring(TuneTrial):
        error_file = str(tmp_path / "error.txt")

    (tmp_path / "error.txt").write_text("Failure # 1 (then)\nold\nFailure # 2 (now)\nnew\n")
    trial = Erring("none", trial_id="a7", stub=True, max_failures=1)
    trial.run_metadata.num_failures = failures
    RungScheduler(lambda trial_id, scores: True, on_error).on_trial_error(None, trial)
    assert heard == [("a7", "new\n", again)]
    assert trial.max_failures == (1 if counts else 2)


def test_an_error_of_which_tune_wrote_nothing_is_told_all_the_same() -> None:
    heard: list[str] = []

    def on_error(trial_id: str, told: str, again: bool) -> bool:
        heard.append(told)
        return False

    class Silent(TuneTrial):
        error_file = None

    trial = Silent("none", trial_id="a7", stub=True)
    RungScheduler(lambda trial_id, scores: True, on_error).on_trial_error(None, trial)
    assert heard == [""]


def test_a_new_trial_has_no_more_lives_than_the_search_gives_it() -> None:
    trial: Any = SimpleNamespace(max_failures=1)
    scheduler = RungScheduler(lambda trial_id, scores: True, lives=lambda: 0)
    scheduler.on_trial_add(None, trial)
    assert trial.max_failures == 0
    fresh: Any = SimpleNamespace(max_failures=1)
    RungScheduler(lambda trial_id, scores: True).on_trial_add(None, fresh)
    assert fresh.max_failures == 1
