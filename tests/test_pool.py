"""Several splits, one answer: who stands for a split, and what all people say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gaitforge.records.confirm import NEAR, ON_FRONT, REFIT, SCORES, Place
from gaitforge.records.json_file import plain
from gaitforge.records.split import Split
from gaitforge.records.teacher import TEACHER as TEACHER_FILE
from gaitforge.settings import ConfirmSettings
from gaitforge.window_cache import build_windows
from gaitforge.work import SplitFolder, WorkFolder, read_json, write_parquet
from tests.made import made
from tests.test_confirm import CLASSES, LEGS, WINDOWS, walks
from trainers.confirm.pool import pick_unseen, pool_splits, read_last_macro_f1
from trainers.confirm.refit_file import ALONE, SEED, STUDENT
from trainers.confirm.verdict import Tables
from trainers.training.predictions import write_predictions
from trainers.training.scoring import Scored
from trainers.training.window_folder import WindowFolder

SETTINGS = ConfirmSettings(seeds=2, resamples=200, margin=0.1)
TRAINING = {"p96": "train", "p97": "train", "p98": "validation", "p99": "validation"}


def row(
    trial: int, params: int, searched: Place = ON_FRONT, distilled: bool = True
) -> dict[str, Any]:
    return {
        "trial": trial,
        "params": params,
        "searched": searched,
        **({} if distilled else {"alone": None}),
    }


def tables_of(
    work: WorkFolder,
    name: str,
    people: Sequence[int],
    rows: Sequence[dict[str, Any]],
    *,
    validated: Sequence[float],
    misses: int = 0,
) -> Tables:
    """A confirmed split whose members, each validated so well, all miss the first recordings of their people."""
    roles = {f"p{i:02d}": "confirm" for i in people} | TRAINING
    cache = build_windows(
        work.cache, store_fingerprint="s", split=Split(name=name, rule={}, store="s", roles=roles), layout=LEGS,
        classes=CLASSES, settings=WINDOWS, recordings=walks,
    )  # fmt: skip
    cache.open_role("confirm")
    windows, folder = WindowFolder.open(cache.folder), work.run(name)
    TEACHER_FILE.write(folder.teacher_model, made(TEACHER_FILE, val_macro_f1=0.97))
    # what the best of its epochs had on the people who chose that epoch is not what students are asked for
    history = pa.table({"epoch": [1, 2], "val_macro_f1": [0.97, 0.9]})
    write_parquet(folder.teacher / "history.parquet", history)
    SCORES.write(folder.scores, made(SCORES, members=list(rows), chosen=None))
    predict(folder, windows, "teacher", None, 0, 0)
    for item, f1 in zip(rows, validated, strict=True):
        for place, seed in enumerate((SEED, SEED + 1)):
            refit = made(REFIT, val_macro_f1=f1 + (-0.01, 0.01)[place])
            REFIT.write(folder.refit(STUDENT, item["trial"], seed), refit)
            predict(folder, windows, STUDENT, item["trial"], seed, misses)
            if item.get("alone", True) is not None:
                predict(folder, windows, ALONE, item["trial"], seed, 0)
    return Tables(folder, windows, SETTINGS)


def predict(
    folder: SplitFolder,
    windows: WindowFolder,
    model: str,
    trial: int | None,
    seed: int,
    misses: int,
) -> None:
    true_R = np.array([int(item.person[1:]) % 2 for item in windows.list_recordings("confirm")])
    said_R = np.where(np.arange(len(true_R)) < misses, 1 - true_R, true_R)
    scored = Scored(np.arange(len(true_R)), true_R, 3.0 * np.eye(2)[said_R])
    write_predictions(folder, windows, "confirm", model, trial, seed, scored)


def pooled(
    work: WorkFolder, rows: Sequence[dict[str, Any]], validated: Sequence[float], people: int = 12
) -> dict[str, Any]:
    """Two splits of half the people each; in the second, one recording is missed."""
    half = people // 2
    tables = [
        tables_of(work, "fold-1-of-2", range(half), rows, validated=validated),
        tables_of(work, "fold-2-of-2", range(half, people), rows, validated=validated, misses=1),
    ]
    told: dict[str, Any] = plain(pool_splits(tables, SETTINGS, work.pooled))
    return told


def test_a_split_stands_for_the_smallest_that_is_good_enough_on_the_validation_people(
    tmp_path: Path,
) -> None:
    rows = [row(1, 100), row(2, 200), row(3, 300)]
    table = tables_of(WorkFolder(tmp_path), "a", range(4), rows, validated=(0.78, 0.81, 0.95))
    assert pick_unseen(table, margin=0.1).trial == 2


def test_a_split_asks_for_what_the_teacher_had_after_its_last_epoch(tmp_path: Path) -> None:
    """The best of its epochs, 0.97, was chosen on these people; students are scored after their last."""
    rows = [row(1, 100), row(2, 200)]
    table = tables_of(WorkFolder(tmp_path), "a", range(4), rows, validated=(0.82, 0.95))
    assert read_last_macro_f1(table.folder) == 0.9
    assert pick_unseen(table, margin=0.1).trial == 1


def test_the_people_who_are_scored_choose_nothing(tmp_path: Path) -> None:
    rows = [row(1, 100), row(2, 200)]
    right = tables_of(WorkFolder(tmp_path / "a"), "a", range(4), rows, validated=(0.7, 0.9))
    wrong = tables_of(
        WorkFolder(tmp_path / "b"), "a", range(4), rows, validated=(0.7, 0.9), misses=8
    )
    assert pick_unseen(right, 0.1) == pick_unseen(wrong, 0.1)


def test_where_none_is_good_enough_a_split_stands_for_the_largest_of_its_front(
    tmp_path: Path,
) -> None:
    rows = [row(1, 100), row(2, 200), row(3, 300, NEAR)]
    table = tables_of(WorkFolder(tmp_path), "a", range(4), rows, validated=(0.5, 0.6, 0.7))
    assert pick_unseen(table, margin=0.1).trial == 2


def test_everybody_is_scored_once_by_the_split_that_held_them_out(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    report = pooled(work, [row(1, 100), row(2, 200)], (0.5, 0.9))
    assert (report["people"], report["splits"], report["nested"]) == (12, 2, True)
    assert report["chosen"] == {"fold-1-of-2": 2, "fold-2-of-2": 2}
    assert report["teacher"]["macro_f1"] == 1.0
    # one of the 12 recordings of the ill is taken for well
    student = (22 / 23 + 24 / 25) / 2
    assert report["student"]["macro_f1"] == pytest.approx(student)
    assert report["student"]["difference"] == pytest.approx(student - 1)
    assert report["student"]["params"] == [200, 200]
    assert report["alone"]["difference"] == pytest.approx(student - 1)
    assert read_json(work.pooled) == {"schema": 1, **report}


def test_the_pooled_sentence_says_that_every_split_searched_for_itself(tmp_path: Path) -> None:
    sentence = pooled(WorkFolder(tmp_path), [row(1, 100)], (0.9,))["sentence"]
    assert sentence.startswith(
        "Over all 12 people of 2 splits, nested (every split searched for itself and picked its student without the "
        "people it is scored on), the chosen students have macro F1 0.958 against 1.000 of the teacher; "
        "difference -0.042 (95 % interval "
    )


def test_every_split_of_people_together_is_enough_where_each_alone_has_too_few(
    tmp_path: Path,
) -> None:
    report = pooled(WorkFolder(tmp_path), [row(1, 100)], (0.9,), people=12)
    assert report["student"]["difference_interval"] is not None
    assert report["student"]["noninferior"] is False


def test_too_few_people_have_no_interval_together_either(tmp_path: Path) -> None:
    report = pooled(WorkFolder(tmp_path), [row(1, 100)], (0.9,), people=6)
    assert report["teacher"]["interval"] is report["student"]["difference_interval"] is None
    assert report["student"]["noninferior"] is None
    assert report["sentence"].endswith(": too few people for an interval.")


def test_students_that_learned_alone_anyway_have_no_other_to_be_held_against(
    tmp_path: Path,
) -> None:
    report = pooled(WorkFolder(tmp_path), [row(1, 100, distilled=False)], (0.9,))
    assert report["alone"] is None
    assert "without distillation" not in report["sentence"]
