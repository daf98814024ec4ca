"""Confirming: what is trained again, what is chosen, and what may be said about how few people."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation
from gaitforge.recording import Recording
from gaitforge.settings import ConfirmSettings
from gaitforge.splits import Split
from gaitforge.trials import Trial
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, write_json
from trainers.confirm import (
    ALONE,
    MIN_STRATUM,
    SEED,
    STUDENT,
    Refit,
    Tables,
    choose,
    draw_people,
    make_refits,
    pick_members,
    sentence,
)
from trainers.examples import WindowFolder
from trainers.loop import Scored
from trainers.predictions import read_predictions, write_predictions
from trainers.teacher import Teacher

LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
CLASSES = ("ill", "well")
WINDOWS = WindowSettings(length=16, views=1)
SETTINGS = ConfirmSettings(members=2, seeds=2, resamples=200, margin=0.1)

MEMBER = Trial(
    number=3, state="finished", family="tcn", sizes={"channels": 8}, params=500, macs=9000, seed=3,
    hash="", suggested={}, distributions={}, recipe={"lr": 1e-3, "epochs": 2},
    distill={"weights": {"kd": 1.0}, "temperature": 2.0},
)  # fmt: skip
TEACHER = Teacher(
    fingerprint="t", family="stgcn", sizes={}, params=10_000, macs=1, val_macro_f1=0.9,
    val_accuracy=0.9, best_epoch=1, epochs=2, seconds=1.0,
)  # fmt: skip


# what is chosen, and the sentence about it


def member(trial: int, params: int, macro_f1: float, noninferior: bool | None) -> dict[str, Any]:
    return {"trial": trial, "params": params, "macro_f1": macro_f1, "noninferior": noninferior}


def said(members: list[dict[str, Any]], people: int = 40) -> tuple[int | None, str]:
    chosen = choose(members, teacher_f1=0.9, margin=0.1)
    teacher = {"params": 10_000, "macro_f1": 0.9}
    return chosen, sentence(members, chosen, teacher, SETTINGS, people, few=people < 8)


def test_members_are_spread_over_the_sizes_of_those_worth_confirming() -> None:
    front = [
        {"trial": 4, "params": 100, "val_macro_f1": 0.2},  # below 0.8 of the best: hopeless
        {"trial": 7, "params": 1_000, "val_macro_f1": 0.65},
        {"trial": 2, "params": 1_200, "val_macro_f1": 0.7},
        {"trial": 9, "params": 10_000, "val_macro_f1": 0.8},
    ]
    assert pick_members(front, 2) == [7, 9]
    assert pick_members(front, 1) == [9]
    assert pick_members(front, 5) == [7, 2, 9]


def test_the_smallest_of_those_that_are_not_inferior_is_chosen() -> None:
    members = [
        member(1, 200, 0.95, False),  # a good score that may be luck
        member(2, 500, 0.88, True),
        member(3, 900, 0.91, True),
    ]
    chosen, words = said(members)
    assert chosen == 2
    assert words == (
        "The smallest student that is not worse than the teacher by more than 0.1 macro F1 has 500 parameters "
        "(5.0 % of the teacher's 10,000) and macro F1 0.880 against 0.900, on 40 people never seen before."
    )


def test_where_none_is_shown_to_be_good_enough_the_best_is_told_and_none_chosen() -> None:
    chosen, words = said([member(1, 200, 0.85, False), member(2, 500, 0.89, False)])
    assert chosen is None
    assert words.startswith(
        "No confirmed student is shown to be within 0.1 macro F1 of the teacher; the best has 500 parameters"
    )


def test_with_too_few_people_the_scores_alone_choose_and_the_sentence_warns() -> None:
    chosen, words = said([member(1, 200, 0.79, None), member(2, 500, 0.80, None)], people=4)
    assert chosen == 2
    assert "student that scores at most 0.1 macro F1 below the teacher has 500" in words
    assert words.endswith(
        "too few people for an interval, so other people may well turn it round."
    )

    chosen, words = said([member(1, 200, 0.79, None)], people=4)
    assert chosen is None
    assert words.startswith("No confirmed student scores within 0.1 macro F1")
    assert "too few people" in words


# how people are drawn


def people_of(*counts: int) -> NDArray[np.int64]:
    """Confusions [1, P, K, K] of so many people of each class, all found."""
    classes = [k for k, count in enumerate(counts) for _ in range(count)]
    confusions = np.zeros((1, len(classes), len(counts), len(counts)), dtype=np.int64)
    confusions[0, np.arange(len(classes)), classes, classes] = 2
    return confusions


def test_people_are_drawn_within_their_class_where_each_has_enough() -> None:
    weights_RP = draw_people(people_of(MIN_STRATUM, MIN_STRATUM + 2), 50)
    assert set(weights_RP[:, :MIN_STRATUM].sum(axis=1)) == {MIN_STRATUM}


@pytest.mark.parametrize("counts", [(MIN_STRATUM - 1, 30), (3, 3, 3)])
def test_people_are_drawn_all_together_where_a_class_has_few(counts: tuple[int, ...]) -> None:
    weights_RP = draw_people(people_of(*counts), 50)
    assert len(set(weights_RP[:, : counts[0]].sum(axis=1))) > 1
    assert set(weights_RP.sum(axis=1)) == {sum(counts)}


def test_people_who_show_several_classes_are_drawn_all_together() -> None:
    confusions = people_of(20, 20)
    confusions[0, 0, 1, 1] = 1
    assert len(set(draw_people(confusions, 50)[:, :20].sum(axis=1))) > 1


def test_the_same_people_are_drawn_every_time() -> None:
    np.testing.assert_array_equal(
        draw_people(people_of(12, 12), 20), draw_people(people_of(12, 12), 20)
    )


# what is trained again


def window_folder(folder: str = "/cache/windows/0123456789ab") -> WindowFolder:
    numbers = np.ones((3, 3), dtype=np.float32)
    return WindowFolder(
        Path(folder), LEGS, CLASSES, WINDOWS, Normalisation(mean_VC=numbers, std_VC=numbers)
    )


def refits(
    trial: Trial = MEMBER,
    *,
    windows: str = "/cache/windows/0123456789ab",
    outputs: str = "/runs/main/teacher_outputs",
    teacher: str = "t",
    settings: ConfirmSettings = SETTINGS,
) -> list[Refit]:
    return make_refits(settings, trial, window_folder(windows), Path(outputs), teacher)


def test_each_member_is_trained_with_every_seed_distilled_and_alone() -> None:
    made = refits()
    assert [(refit.model, refit.seed) for refit in made] == [
        (STUDENT, SEED), (ALONE, SEED), (STUDENT, SEED + 1), (ALONE, SEED + 1),
    ]  # fmt: skip
    assert all(refit.spec.fit["seed"] == refit.seed for refit in made)
    assert [dict(refit.spec.weights) for refit in made[:2]] == [{"kd": 1.0}, {}]
    assert len({refit.identity for refit in made}) == 4


def test_alone_differs_from_distilled_in_nothing_but_the_distillation() -> None:
    distilled, alone = refits()[:2]
    assert replace(distilled.spec, weights={}) == alone.spec


def test_members_need_not_be_trained_alone() -> None:
    assert {refit.model for refit in refits(settings=replace(SETTINGS, alone=False))} == {STUDENT}


@pytest.mark.parametrize(
    "change",
    [
        {"trial": replace(MEMBER, sizes={"channels": 9})},
        {"trial": replace(MEMBER, recipe={"lr": 2e-3, "epochs": 2})},
        {"trial": replace(MEMBER, distill={"weights": {"kd": 1.0}, "temperature": 3.0})},
        {"trial": replace(MEMBER, distill={"weights": {"kd": 2.0}, "temperature": 2.0})},
        {"windows": "/cache/windows/ba9876543210"},
        {"teacher": "other"},
    ],
    ids=["sizes", "recipe", "temperature", "weight", "windows", "teacher"],
)
def test_a_change_of_what_decides_the_weights_is_trained_anew(change: dict[str, Any]) -> None:
    assert refits(**change)[0].identity != refits()[0].identity


def test_a_work_folder_that_was_moved_is_not_trained_anew() -> None:
    moved = refits(windows="/elsewhere/windows/0123456789ab", outputs="/elsewhere/teacher_outputs")
    assert [refit.identity for refit in moved] == [refit.identity for refit in refits()]


def test_a_refit_is_done_once_its_own_result_is_there(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path)
    refit = refits()[0]
    assert not refit.done(folder)
    write_json(refit.head(folder), {"identity": "of an older teacher"})
    assert not refit.done(folder)
    write_json(refit.head(folder), {"identity": refit.identity})
    assert refit.done(folder)
    assert refit.weights(folder).name == f"student-3-seed{SEED}.safetensors"


# the table of scores


def walks(people: Collection[str]) -> Iterator[Recording]:
    """Two walks of each person; those with an even number are ill."""
    for person in sorted(people):
        for take in range(2):
            rng = np.random.default_rng([int(person[1:]), take])
            yield Recording(
                recording=f"{person}-{take}",
                person=person,
                label=CLASSES[int(person[1:]) % 2],
                positions_TVC=rng.normal(size=(20, 3, 3)).astype(np.float32),
            )


def confirm_windows(root: Path, people: int) -> WindowFolder:
    roles = {f"p{i:02d}": "confirm" for i in range(people)} | {"p98": "train", "p99": "train"}
    split = Split(name="main", rule={}, store="s", roles=roles)
    cache = build_windows(
        root / "cache", store_fingerprint="s", split=split, layout=LEGS, classes=CLASSES,
        settings=WINDOWS, recordings=walks,
    )  # fmt: skip
    cache.role("confirm")
    return WindowFolder.open(cache.folder)


def predict(
    root: Path, windows: WindowFolder, model: str, trial: int | None, seed: int, misses: list[int]
) -> None:
    """Predictions that are right but for the recordings with these numbers."""
    recordings = windows.recordings("confirm")
    true_R = np.array([int(item.person[1:]) % 2 for item in recordings])
    said_R = np.where(np.isin(np.arange(len(true_R)), misses), 1 - true_R, true_R)
    scored = Scored(np.arange(len(true_R)), true_R, 3.0 * np.eye(2)[said_R])
    write_predictions(SplitFolder(root), windows, "confirm", model, trial, seed, scored)


def report(root: Path, people: int, misses: dict[str, list[int]]) -> dict[str, Any]:
    """The report on one member; `misses` are those of both seeds of a model."""
    windows = confirm_windows(root, people)
    predict(root, windows, "teacher", None, 0, misses.get("teacher", []))
    for seed in (SEED, SEED + 1):
        for model in (STUDENT, ALONE):
            predict(root, windows, model, 3, seed, misses.get(f"{model}{seed - SEED}", []))
    return Tables(SplitFolder(root), windows, SETTINGS).report([MEMBER], TEACHER)


def test_a_student_that_misses_nothing_is_not_inferior(tmp_path: Path) -> None:
    scores = report(tmp_path, 12, {"teacher": [0]})
    (row,) = scores["members"]
    assert (row["macro_f1"], row["interval"], row["accuracy"]) == (1.0, [1.0, 1.0], 1.0)
    assert row["noninferior"] is True
    assert row["p_on_front"] == 1.0
    assert row["seeds"] == 2
    assert scores["chosen"] == 3
    assert scores["teacher"]["accuracy"] == pytest.approx(23 / 24)
    assert scores["teacher"]["params"] == 10_000
    assert (scores["people"], scores["too_few"], scores["margin"]) == (12, False, 0.1)


def test_scores_are_the_means_over_seeds_and_differences_are_paired(tmp_path: Path) -> None:
    scores = report(tmp_path, 12, {"student0": [0, 1], "student_alone0": [0, 1, 2, 3]})
    (row,) = scores["members"]
    # seed 0 takes 2 of the 12 recordings of the ill for well: F1 20/22 and 24/26
    mean = ((20 / 22 + 24 / 26) / 2 + 1.0) / 2
    assert row["macro_f1"] == pytest.approx(mean)
    assert row["difference"] == pytest.approx(mean - 1.0)
    assert row["accuracy"] == pytest.approx(46 / 48)
    low, high = row["difference_interval"]
    assert low < row["difference"] < high == 0.0
    # alone, seed 0 misses one person of each class
    assert row["alone"]["macro_f1"] == pytest.approx((10 / 12 + 1.0) / 2)
    assert row["alone"]["difference"] == pytest.approx(mean - (10 / 12 + 1.0) / 2)


def test_a_student_that_loses_much_is_not_chosen(tmp_path: Path) -> None:
    many = [0, 1, 2, 3, 4, 5, 6, 7]
    scores = report(tmp_path, 12, {"student0": many, "student1": many})
    assert scores["members"][0]["noninferior"] is False
    assert scores["chosen"] is None


def test_with_too_few_people_there_is_no_interval_and_no_verdict(tmp_path: Path) -> None:
    scores = report(tmp_path, 6, {})
    (row,) = scores["members"]
    assert scores["too_few"] is True
    for null in ("interval", "p_on_front", "noninferior", "difference_interval"):
        assert row[null] is None, null
    assert row["alone"]["interval"] is None
    assert scores["teacher"]["interval"] is None
    assert "too few people" in scores["sentence"]


def test_each_person_is_shown_under_each_model(tmp_path: Path) -> None:
    scores = report(tmp_path, 6, {"student0": [0, 1], "student1": [0]})
    rows = {(row["person"], row["model"]): row for row in scores["per_person"]}
    assert len(rows) == len(scores["per_person"]) == 12
    assert rows["p00", "teacher"] == {
        "person": "p00", "model": "teacher", "trial": None, "accuracy": 1.0, "recordings": 2,
    }  # fmt: skip
    assert rows["p00", "student"]["accuracy"] == pytest.approx(0.25)  # 1 of 2 x 2
    assert rows["p01", "student"]["trial"] == 3


def test_predictions_keep_recordings_persons_and_probabilities(tmp_path: Path) -> None:
    windows = confirm_windows(tmp_path, 8)
    predict(tmp_path, windows, STUDENT, 3, SEED, misses=[1])
    table = read_predictions(SplitFolder(tmp_path), "confirm", STUDENT, 3, SEED)
    row = table.to_pylist()[1]
    assert (row["recording"], row["person"], row["true_class"]) == ("p00-1", "p00", "ill")
    assert (row["role"], row["model"], row["trial"], row["seed"]) == ("confirm", STUDENT, 3, SEED)
    assert row["probabilities"] == pytest.approx(
        [np.exp(-3) / (1 + np.exp(-3)), 1 / (1 + np.exp(-3))]
    )
