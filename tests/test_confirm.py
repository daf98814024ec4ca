"""Confirming: what is trained again, what is chosen, and what may be said about how few people."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.failures import count_failures
from gaitforge.layout import Layout
from gaitforge.losses import Distillation
from gaitforge.members import (
    NEAR_F1,
    WORTH_SHARE,
    Member,
    pick_members,
    pick_neighbours,
    picked_words,
    read_members,
)
from gaitforge.normalise import Normalisation
from gaitforge.provenance import Provenance
from gaitforge.recipe import Recipe
from gaitforge.recording import Recording
from gaitforge.records import confirm as records
from gaitforge.records.confirm import NEAR, ON_FRONT, REFIT, SCORES, Place
from gaitforge.records.json_file import plain
from gaitforge.records.search import FRONT as FRONT_FILE
from gaitforge.records.search import FrontRow
from gaitforge.records.split import Split
from gaitforge.records.trial import State, Trial
from gaitforge.settings import ConfirmSettings
from gaitforge.trials import TrialLog
from gaitforge.weights import hash_file, write_weights
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, write_whole
from tests.made import made
from trainers.confirm.refit_file import ALONE, SEED, STUDENT, Refit, make_refits
from trainers.confirm.trust import reach_verdict as verdict_of
from trainers.confirm.verdict import Tables, choose
from trainers.training.predictions import read_predictions, write_predictions
from trainers.training.reference import MODEL as REFERENCE
from trainers.training.scoring import Scored
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
CLASSES = ("ill", "well")
WINDOWS = WindowSettings(length=16, views=1)
SETTINGS = ConfirmSettings(members=2, seeds=2, resamples=200, margin=0.1)

MEMBER = Trial(
    number=3, state="finished", scores={"val_macro_f1": 0.8}, family="tcn", sizes={"channels": 8},
    params=500, macs=9000, seed=3,
    hash="", suggested={}, distributions={}, recipe=Recipe(lr=1e-3, epochs=2),
    distill=Distillation(weights={"kd": 1.0}),
)  # fmt: skip
TEACHER = Teacher(
    fingerprint="t", family="stgcn", sizes={}, params=10_000, macs=1, val_macro_f1=0.9,
    val_accuracy=0.9, best_epoch=1, epochs=2, seconds=1.0, provenance=Provenance(identity="t"),
)  # fmt: skip


# which members there are, and which of them the verdict comes to


def member(trial: int, params: int, macro_f1: float, noninferior: bool | None) -> records.Member:
    """A row whose mean over seeds is none of its network's score: the mean is not handed out."""
    row = {
        "trial": trial, "params": params, "macro_f1": 1.0 - macro_f1, "noninferior": noninferior,
        "network": {"macro_f1": macro_f1},
    }  # fmt: skip
    return made(SCORES, members=[row]).members[0]


def front_of(*rows: tuple[int, int, float]) -> tuple[FrontRow, ...]:
    """A searched front of trials, their parameters and their macro F1."""
    told = [{"trial": trial, "params": size, "val_macro_f1": f1} for trial, size, f1 in rows]
    return made(FRONT_FILE, front=told).front


def test_members_are_spread_over_the_sizes_of_those_worth_confirming() -> None:
    front = front_of(
        (4, 100, 0.2),  # below 0.8 of the best: hopeless
        (7, 1_000, 0.65),
        (2, 1_200, 0.7),
        (9, 10_000, 0.8),
    )
    assert [row.trial for row in pick_members(front, 2)] == [7, 9]
    assert [row.trial for row in pick_members(front, 1)] == [9]
    assert [row.trial for row in pick_members(front, 5)] == [7, 2, 9]


def test_how_many_of_the_front_are_left_out_and_why_is_said_in_one_line() -> None:
    scores = [0.2, 0.63, 0.65, 0.7, 0.8]  # 0.64 is 0.8 of the best
    front = front_of(*((number, 100 * (number + 1), f1) for number, f1 in enumerate(scores)))
    assert picked_words(front, 2) == (
        "2 of 5 members of the front are confirmed; left out: 2 with a validation macro F1 below 0.640 (0.8 of the "
        "front's best) and 1 of sizes in between (confirm.members = 2)."
    )
    assert picked_words(front[2:], 2).endswith(
        "; left out: 1 of sizes in between (confirm.members = 2)."
    )
    assert picked_words(front[1:], 3).endswith("below 0.640 (0.8 of the front's best).")
    assert picked_words(front[2:], 3) == "3 of 3 members of the front are confirmed."


def chosen(*members: records.Member) -> int | None:
    return choose(members, teacher_f1=0.9, margin=0.1)


def test_the_smallest_of_those_that_are_not_inferior_is_chosen() -> None:
    lucky = member(1, 200, 0.95, False)  # a good score that may be luck
    assert chosen(lucky, member(2, 500, 0.88, True), member(3, 900, 0.91, True)) == 2
    assert chosen(lucky, member(2, 500, 0.89, False)) is None


def test_with_too_few_people_the_scores_of_the_networks_alone_choose() -> None:
    assert chosen(member(1, 200, 0.79, None), member(2, 500, 0.80, None)) == 2
    assert chosen(member(1, 200, 0.79, None)) is None


def test_where_none_is_chosen_the_answer_is_the_best_network() -> None:
    members = [member(1, 200, 0.85, False), member(2, 500, 0.89, False), member(3, 900, 0.7, True)]
    scores = replace(made(SCORES), members=tuple(members))
    assert replace(scores, chosen=None).answer.trial == 2
    assert replace(scores, chosen=3).answer.trial == 3


# what lies just below the front

SEARCHED = front_of((0, 100, 0.72), (1, 500, 0.80), (2, 2_000, 0.85))


def tried(number: int, params: int, f1: float, hash: str = "", state: State = "finished") -> Trial:
    return replace(
        MEMBER, number=number, params=params, hash=hash or f"h{number}", state=state,
        scores={"val_macro_f1": f1} if state == "finished" else None,
    )  # fmt: skip


FINISHED = [tried(row.trial, row.params, row.val_macro_f1) for row in SEARCHED]


def near(*others: Trial, count: int = 9, picked: tuple[int, ...] = (0, 1, 2)) -> list[int]:
    rows = [SEARCHED[i] for i in picked]
    found = pick_neighbours(SEARCHED, rows, [*FINISHED, *others], count)
    return [item.trial.number for item in found]


def test_no_front_member_beats_a_neighbour_by_more_than_a_seed_may() -> None:
    assert near(tried(7, 600, 0.80 - NEAR_F1 + 0.001)) == [7]
    assert near(tried(7, 600, 0.80 - NEAR_F1 - 0.001)) == []
    assert near(tried(7, 499, 0.72 - NEAR_F1 + 0.001)) == [7]  # the one of 500 is larger
    assert near(tried(7, 500, 0.79)) == [7]  # the same sizes with another recipe


def test_a_neighbour_is_never_on_the_front_or_without_a_score() -> None:
    again = tried(8, 500, 0.79, hash="h1")  # a front's configuration with another seed
    assert (
        near(again, tried(7, 600, 0.0, state="stopped"), tried(9, 600, 0.0, state="failed")) == []
    )


def test_a_configuration_that_was_drawn_again_counts_by_its_mean() -> None:
    lucky, unlucky = tried(7, 600, 0.80, hash="x"), tried(8, 600, 0.70, hash="x")
    assert near(lucky, unlucky) == []
    assert near(lucky, replace(unlucky, scores={"val_macro_f1": 0.78})) == [7]


def test_a_neighbour_is_worth_confirming() -> None:
    front = (*front_of((0, 100, 0.69)), SEARCHED[2])
    worth = WORTH_SHARE * 0.85
    for f1, numbers in ((worth - 0.001, []), (worth + 0.001, [7])):
        found = pick_neighbours(front, front, [*FINISHED[:1], tried(7, 110, f1)], 9)
        assert [item.trial.number for item in found] == numbers


def test_neighbours_that_may_take_a_confirmed_members_place_come_first() -> None:
    larger = tried(7, 3_000, 0.849)  # than all of them
    no_larger = tried(8, 2_000, 0.83)
    below_no_picked_one = tried(9, 600, 0.795)
    assert near(larger, no_larger, below_no_picked_one, picked=(0, 2)) == [8, 7, 9]
    assert near(larger, no_larger, below_no_picked_one, picked=(0, 1)) == [7, 9, 8]
    assert near(larger, no_larger, below_no_picked_one, count=1, picked=(2,)) == [8]
    assert near(larger, count=0) == []


def test_members_and_neighbours_are_confirmed_together_smallest_first(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path)
    log = TrialLog(folder)
    for trial in [*FINISHED, tried(7, 500, 0.79), tried(8, 1_500, 0.3)]:
        log.add(trial)
    FRONT_FILE.write(folder.front, replace(made(FRONT_FILE), front=SEARCHED))
    members = read_members(replace(SETTINGS, members=2, neighbours=2), folder)
    assert [(m.trial.number, m.searched, m.believed) for m in members] == [
        (0, ON_FRONT, 0.72), (7, NEAR, 0.79), (2, ON_FRONT, 0.85),
    ]  # fmt: skip
    members = read_members(replace(SETTINGS, members=3, neighbours=1), folder)
    assert [m.trial.number for m in members] == [
        0,
        1,
        7,
        2,
    ]  # of one size, the front's comes first
    alone = read_members(replace(SETTINGS, members=3, neighbours=0), folder)
    assert {m.searched for m in alone} == {ON_FRONT}


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
    assert all(refit.spec.plan.seed == refit.seed for refit in made)
    assert [dict(refit.spec.distillation.weights) for refit in made[:2]] == [{"kd": 1.0}, {}]
    assert len({refit.identity for refit in made}) == 4


def test_alone_differs_from_distilled_in_nothing_but_the_distillation() -> None:
    distilled, alone = refits()[:2]
    assert replace(distilled.spec, distillation=Distillation()) == alone.spec


def test_all_that_a_trial_records_of_its_distillation_is_trained_again() -> None:
    rich = Distillation(
        weights={"dkd": 1.0, "rkd": 0.5}, temperatures={"dkd": 3.0}, warmup=0.2, temperature=1.0
    )
    distilled, alone = refits(replace(MEMBER, distill=rich))[:2]
    assert distilled.spec.distillation == rich
    assert alone.spec.distillation.terms == ()
    assert alone.spec == replace(distilled.spec, distillation=Distillation(temperature=1.0))


def test_members_need_not_be_trained_alone() -> None:
    assert {refit.model for refit in refits(settings=replace(SETTINGS, alone=False))} == {STUDENT}


@pytest.mark.parametrize(
    "change",
    [
        {"trial": replace(MEMBER, sizes={"channels": 9})},
        {"trial": replace(MEMBER, recipe=Recipe(lr=2e-3, epochs=2))},
        {"trial": replace(MEMBER, distill=Distillation(weights={"kd": 1.0}, temperature=3.0))},
        {"trial": replace(MEMBER, distill=Distillation(weights={"kd": 2.0}))},
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
    assert not refit.is_done(folder)
    REFIT.write(refit.head(folder), made(REFIT, identity="of an older teacher"))
    assert not refit.is_done(folder)
    weights = write_weights(refit.head(folder), b"weights")
    predicted = {
        role: folder.predicted(role, refit.model, refit.trial, refit.seed)
        for role in ("validation", "confirm")
    }
    for role, path in predicted.items():
        write_whole(path, role.encode())
    spec = {"family": refit.spec.family, "sizes": dict(refit.spec.sizes)}
    hashes = {role: hash_file(path) for role, path in predicted.items()}
    head = made(REFIT, identity=refit.identity, **spec, **weights, predictions_sha256=hashes)
    REFIT.write(refit.head(folder), head)
    assert refit.is_done(folder)
    predicted["confirm"].write_bytes(b"of another")
    assert not refit.is_done(folder)
    predicted["confirm"].unlink()
    assert not refit.is_done(folder)
    assert (refit.head(folder).parent / f"student-3-seed{SEED}.safetensors").is_file()


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
    training = dict.fromkeys(("p96", "p98", "p99"), "train")  # most are ill
    roles = {f"p{i:02d}": "confirm" for i in range(people)} | training
    split = Split(name="main", rule={}, store="s", roles=roles)
    cache = build_windows(
        root / "cache", store_fingerprint="s", split=split, layout=LEGS, classes=CLASSES,
        settings=WINDOWS, recordings=walks,
    )  # fmt: skip
    for role in ("train", "confirm"):
        cache.open_role(role)
    return WindowFolder.open(cache.folder)


def predict(
    root: Path, windows: WindowFolder, model: str, trial: int | None, seed: int, misses: list[int]
) -> None:
    """Predictions that are right but for the recordings with these numbers."""
    recordings = windows.list_recordings("confirm")
    true_R = np.array([int(item.person[1:]) % 2 for item in recordings])
    said_R = np.where(np.isin(np.arange(len(true_R)), misses), 1 - true_R, true_R)
    scored = Scored(np.arange(len(true_R)), true_R, 3.0 * np.eye(2)[said_R])
    write_predictions(SplitFolder(root), windows, "confirm", model, trial, seed, scored)


VALIDATED = (0.84, 0.88)  # of the two refits


def confirmed(trial: Trial = MEMBER, searched: Place = ON_FRONT, believed: float = 0.9) -> Member:
    return Member(trial=trial, searched=searched, believed=believed)


def report(
    root: Path,
    people: int,
    misses: dict[str, list[int]],
    members: tuple[Member, ...] = (confirmed(),),
    times_scored: int = 1,
) -> dict[str, Any]:
    """The report on members; `misses` are those of a model, of a seed of all students or of one trial's."""
    windows = confirm_windows(root, people)
    predict(root, windows, "teacher", None, 0, misses.get("teacher", []))
    predict(root, windows, REFERENCE, None, 0, misses.get("reference", []))
    for item in members:
        number = item.trial.number
        for place, seed in enumerate((SEED, SEED + 1)):
            refit = made(REFIT, val_macro_f1=VALIDATED[place], seed=seed)
            REFIT.write(SplitFolder(root).refit(STUDENT, number, seed), refit)
            for model in (STUDENT, ALONE):
                missed = misses.get(f"{model}{place}", misses.get(f"trial {number}", []))
                predict(root, windows, model, number, seed, missed)
    tables = Tables(SplitFolder(root), windows, SETTINGS)
    told = tables.report(members, TEACHER, times_scored)
    verdict = verdict_of(told, count_failures([]))
    return {**plain(told), "verdict": plain(verdict), "sentence": verdict.sentence}


PEOPLE = 60  # of whom every second one is ill
HALF = [*range(0, 2 * PEOPLE, 4)]  # one of the two recordings of everybody who is ill


def test_a_student_that_errs_no_more_than_the_teacher_is_not_inferior(tmp_path: Path) -> None:
    scores = report(tmp_path, PEOPLE, {"teacher": HALF, "reference": HALF})
    (row,) = scores["members"]
    assert (row["macro_f1"], row["accuracy"]) == (1.0, 1.0)
    assert row["interval"][1] == 1.0
    assert row["noninferior"] is True
    assert row["p_on_front"] == 1.0
    assert row["seeds"] == 2
    assert scores["chosen"] == 3
    assert scores["teacher"]["accuracy"] == pytest.approx(0.75)
    assert scores["teacher"]["params"] == 10_000
    assert (scores["people"], scores["too_few"], scores["margin"]) == (PEOPLE, False, 0.1)
    assert scores["times_scored"] == 1


def test_the_network_that_is_handed_out_is_tested_and_not_the_mean_of_its_seeds(
    tmp_path: Path,
) -> None:
    """Seed 1 validates best; seed 0, which misses much, is in the mean alone."""
    many = [*range(0, 2 * PEOPLE, 2)]
    scores = report(tmp_path, PEOPLE, {"teacher": HALF, "student0": many})
    (row,) = scores["members"]
    network = row["network"]
    assert network["seed"] == SEED + 1
    assert network["macro_f1"] == 1.0 > row["macro_f1"]
    assert network["difference"] == pytest.approx(1.0 - scores["teacher"]["macro_f1"])
    assert network["difference_interval"][0] > -0.1 > row["difference_interval"][0]
    assert (network["tested"], row["noninferior"]) == (True, True)


def test_a_smaller_student_is_not_tested_where_a_larger_one_has_failed(tmp_path: Path) -> None:
    larger = confirmed(replace(MEMBER, number=4, params=900))
    everything = [*range(2 * PEOPLE)]
    misses = {"teacher": HALF, "trial 4": everything}
    rows = report(tmp_path, PEOPLE, misses, (confirmed(), larger))["members"]
    assert [row["network"]["tested"] for row in rows] == [False, True]
    assert [row["noninferior"] for row in rows] == [False, False]


def test_teacher_and_student_are_held_against_the_reference_and_against_chance(
    tmp_path: Path,
) -> None:
    many = [*range(0, 2 * PEOPLE, 2)]
    scores = report(tmp_path, PEOPLE, {"reference": many, "teacher": HALF})
    # half of all recordings are found, of both classes
    assert scores["reference"]["macro_f1"] == pytest.approx(0.5)
    above = scores["reference"]["teacher_minus_this"]
    # the teacher takes 30 of the 60 recordings of the ill for well
    assert above["difference"] == pytest.approx((60 / 90 + 120 / 150) / 2 - 0.5)
    assert above["difference_interval"][0] > 0
    # most who train are ill, and everybody who is confirmed is taken to be
    assert scores["chance"]["accuracy"] == pytest.approx(0.5)
    assert scores["chance"]["macro_f1"] == pytest.approx(1 / 3)
    network = scores["members"][0]["network"]
    assert network["against_reference"]["difference"] == pytest.approx(0.5)
    assert network["against_chance"]["difference"] == pytest.approx(1 - 1 / 3)
    assert network["against_chance"]["difference_interval"][0] > 0


@pytest.mark.parametrize("other", ["reference", "chance"])
def test_students_are_held_against_reference_and_chance_all_at_once(
    tmp_path: Path, other: str
) -> None:
    larger = confirmed(replace(MEMBER, number=4, params=900))
    misses = {"reference": HALF, "trial 3": HALF}

    def low(members: tuple[Member, ...], root: Path) -> float:
        rows = report(root, PEOPLE, misses, members)["members"]
        return float(rows[0]["network"][f"against_{other}"]["difference_interval"][0])

    assert low((confirmed(), larger), tmp_path / "b") < low((confirmed(),), tmp_path / "a")


def test_the_verdict_is_that_of_the_report(tmp_path: Path) -> None:
    scores = report(tmp_path, PEOPLE, {"teacher": HALF, "reference": HALF}, times_scored=2)
    assert scores["verdict"]["word"] == "ship"
    assert scores["sentence"] == scores["verdict"]["sentence"]
    assert scores["sentence"].startswith("Ship: trial ")
    assert "the teacher is not shown to be better than a ridge regression" in scores["sentence"]
    texts = [reason["text"] for reason in scores["verdict"]["rests_on"]]
    assert texts[-1].startswith("Some of these people have been scored 2 times in this work")


def test_scores_are_the_means_over_seeds_and_differences_are_paired(tmp_path: Path) -> None:
    scores = report(tmp_path, 12, {"student0": [0, 1], "student_alone0": [0, 1, 2, 3]})
    (row,) = scores["members"]
    # seed 0 takes 2 of the 12 recordings of the ill for well: F1 20/22 and 24/26
    mean = ((20 / 22 + 24 / 26) / 2 + 1.0) / 2
    assert row["macro_f1"] == pytest.approx(mean)
    assert row["difference"] == pytest.approx(mean - 1.0)
    assert row["accuracy"] == pytest.approx(46 / 48)
    low, high = row["difference_interval"]
    assert -1.0 <= low < row["difference"] < high <= 1.0
    # alone, seed 0 misses one person of each class
    assert row["alone"]["macro_f1"] == pytest.approx((10 / 12 + 1.0) / 2)
    assert row["alone"]["difference"] == pytest.approx(mean - (10 / 12 + 1.0) / 2)


def test_a_student_that_loses_much_is_not_chosen(tmp_path: Path) -> None:
    many = [*range(0, 2 * PEOPLE, 2)]
    scores = report(tmp_path, PEOPLE, {"student0": many, "student1": many})
    assert scores["members"][0]["noninferior"] is False
    assert scores["chosen"] is None
    assert scores["verdict"]["word"] == "do not ship as a replacement"


def test_with_too_few_people_there_is_no_interval_and_nobody_can_tell(tmp_path: Path) -> None:
    scores = report(tmp_path, 6, {"student1": [0, 1, 4, 8], "teacher": [2]})
    (row,) = scores["members"]
    assert scores["too_few"] is True
    for null in ("interval", "p_on_front", "noninferior", "difference_interval"):
        assert row[null] is None, null
    assert row["alone"]["interval"] is None
    assert scores["teacher"]["interval"] is None
    for beside in ("reference", "chance"):
        assert scores[beside]["teacher_minus_this"]["difference_interval"] is None
    network = row["network"]
    assert network["against_reference"]["difference_interval"] is None
    assert network["against_chance"]["difference_interval"] is None
    assert network["tested"] is False
    assert scores["verdict"]["word"] == "cannot tell"
    # everybody has two recordings; p00 loses two of them, p02 and p04 one, and the teacher one of p01
    apart = {"p00": -1.0, "p01": 0.5, "p02": -0.5, "p03": 0.0, "p04": -0.5, "p05": 0.0}
    assert network["by_person"]["differences"] == apart
    assert 2**-5 <= network["by_person"]["sign_flip_p"] <= 1.0


def test_people_are_told_one_by_one_as_long_as_they_can_be_flipped_exactly(tmp_path: Path) -> None:
    for people in (16, 17):
        (row,) = report(tmp_path / str(people), people, {})["members"]
        assert (row["network"]["by_person"] is None) is (people == 17)


def test_rows_say_where_the_search_had_them_and_share_one_front(tmp_path: Path) -> None:
    larger = replace(MEMBER, number=4, params=900)
    members = (confirmed(), confirmed(larger, NEAR, 0.89))
    rows = report(tmp_path, 12, {}, members)["members"]
    assert [row["searched"] for row in rows] == [ON_FRONT, NEAR]
    assert [row["p_on_front"] for row in rows] == [1.0, 0.0]  # as good, but larger


def test_optimism_is_luck_that_refits_lose_and_what_other_people_take(tmp_path: Path) -> None:
    scores = report(tmp_path, 12, {"student0": [0, 1]})
    optimism = scores["optimism"]
    (row,) = optimism["members"]
    mean = ((20 / 22 + 24 / 26) / 2 + 1.0) / 2
    assert (row["trial"], row["searched"], row["believed"]) == (3, ON_FRONT, 0.9)
    assert row["validated"] == pytest.approx(0.86)
    assert row["confirmed"] == pytest.approx(mean)
    assert row["luck"] == pytest.approx(0.04)
    assert row["people"] == pytest.approx(0.86 - mean)
    assert row["total"] == pytest.approx(0.9 - mean)
    # a higher score of the drawn people is less optimism
    low, high = scores["members"][0]["interval"]
    assert row["interval"] == pytest.approx([0.9 - high, 0.9 - low])
    assert optimism["seed_sd"] == pytest.approx(0.04 / 2**0.5)


def test_optimism_of_the_search_is_that_of_its_front(tmp_path: Path) -> None:
    larger = replace(MEMBER, number=4, params=900)
    optimism = report(tmp_path, 12, {}, (confirmed(), confirmed(larger, NEAR, 0.5)))["optimism"]
    assert [row["luck"] for row in optimism["members"]] == pytest.approx([0.04, -0.36])
    assert optimism["luck"] == pytest.approx(0.04)
    assert optimism["total"] == pytest.approx(-0.1)
    low, high = optimism["interval"]
    assert low == pytest.approx(-0.1)  # no score is above 1
    assert optimism["sentence"] == (
        "The search's scores of 1 member of its front, minus the confirmed ones: -0.100 macro F1 (95 % interval "
        f"-0.100 to {high:+.3f})."
    )


def test_optimism_on_few_people_has_no_interval(tmp_path: Path) -> None:
    optimism = report(tmp_path, 6, {})["optimism"]
    assert optimism["interval"] is optimism["members"][0]["interval"] is None
    assert "(too few people for an interval)" in optimism["sentence"]


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
