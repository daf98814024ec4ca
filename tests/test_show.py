"""`gaitforge show`: what confirm has found out is all told, also where an older confirm said less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, read_json, write_json
from tests.test_trials import ended
from tests.toy_work import Toy, make_split, make_work
from trainers.show import describe

KILLED = "the worker process was killed by SIGSEGV"
TOY = Toy(trials=12, running=0)


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return make_work(tmp_path, TOY)


def confirm_with(work: WorkFolder, **changes: Any) -> dict[str, Any]:
    path = work.run(TOY.split).confirm / "scores.json"
    scores: dict[str, Any] = {**read_json(path), **changes}
    write_json(path, scores)
    return scores


def test_a_confirm_that_knew_no_neighbours_and_no_optimism_is_shown(work: WorkFolder) -> None:
    scores = confirm_with(work)
    shown = describe(work)
    assert scores["sentence"] in shown
    assert "near the front" not in shown
    assert "refits" not in shown


def test_neighbours_and_optimism_are_shown(work: WorkFolder) -> None:
    members = [{**row, "searched": "front"} for row in confirm_with(work)["members"]]
    members[0]["searched"] = "near"
    row = {
        "trial": 3, "searched": "front", "believed": 0.9, "validated": 0.86, "confirmed": 0.8, "luck": 0.04,
        "people": 0.06, "total": 0.1, "interval": [0.02, 0.15],
    }  # fmt: skip
    optimism = {"members": [row], "seed_sd": 0.031, "sentence": "The search was too kind."}
    confirm_with(work, members=members, optimism=optimism)
    shown = describe(work)
    assert shown.count("near the front") == 1
    assert (
        "trial   3  search 0.900, its refits 0.860 on the same people and 0.800 on others: luck +0.040, people +0.060"
        in shown
    )
    assert "spreads over seeds by 0.031" in shown
    assert "The search was too kind." in shown
    confirm_with(work, optimism={**optimism, "seed_sd": None})
    assert "spreads" not in describe(work)


def test_folds_of_the_answer_are_told_below_the_verdict(work: WorkFolder) -> None:
    folds = work.run(TOY.split).confirm / "folds.json"
    write_json(folds, {"sentence": "Trained anew in folds."})
    shown = describe(work).splitlines()
    verdict = confirm_with(work)["sentence"]
    assert shown.index("  Trained anew in folds.") == shown.index(f"  {verdict}") + 1


def test_several_splits_are_told_together_and_a_single_one_is_not(work: WorkFolder) -> None:
    write_json(
        work.pooled,
        {"sentence": "Over all people, nested.", "teacher": read_scores(work)["teacher"]},
    )
    assert "Over all people, nested." not in describe(work)
    make_split(work, Toy(trials=12, running=0, split="other"))
    assert "Over all people, nested." in describe(work)


def read_scores(work: WorkFolder) -> dict[str, Any]:
    scores: dict[str, Any] = read_json(work.run(TOY.split).confirm / "scores.json")
    return scores


def test_a_search_of_four_objectives_is_shown_without_a_hypervolume(work: WorkFolder) -> None:
    path = work.run(TOY.split).search / "front.json"
    assert "; hypervolume " in describe(work)
    write_json(path, {**read_json(path), "hypervolume": None})
    assert "hypervolume" not in describe(work)


def test_failed_students_are_counted_by_family_and_reason_with_the_file_of_one(
    work: WorkFolder,
) -> None:
    log = TrialLog(work.run(TOY.split))
    for number, reason in enumerate([KILLED, "nan", KILLED], start=100):
        log.add(ended(number, family="stgcn", state="failed", reason=reason, scores=None))
    shown = describe(work)
    of = sum(trial.family == "stgcn" for trial in log)
    assert f"  stgcn  2 of {of}: {KILLED} ({log.file(100)})" in shown
    assert f"  stgcn  1 of {of}: nan ({log.file(101)})" in shown
    assert f"most often since {KILLED}" in shown


def test_rare_reasons_of_failures_are_counted_together(work: WorkFolder) -> None:
    log = TrialLog(work.run(TOY.split))
    for number in range(100, 105):
        log.add(ended(number, family="other", state="failed", reason=f"no {number}", scores=None))
    shown = describe(work)
    assert "  other  2 of 5: 2 other reasons" in shown
    assert "no 103" not in shown


def test_a_search_in_which_nothing_failed_is_shown_without_failures(tmp_path: Path) -> None:
    work = make_work(tmp_path / "whole", Toy(trials=12, running=0, failed=0))
    assert "failed students" not in describe(work)
