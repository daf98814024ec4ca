"""The benchmark of distillation: whole folds, paired seeds, nothing twice, nobody scored by a model that saw them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import distillation
from benchmarks.distillation import Fold, open_folds, train_missing
from benchmarks.distillation_plans import PLANS, TOGETHER, WAYS, Plan
from benchmarks.distillation_report import (
    Row,
    best_of_others,
    find_models,
    pack,
    read_packed,
    read_rows,
    report,
    whole_folds,
)
from gaitforge.settings import FitPlan
from gaitforge.stats import mean_macro_f1
from gaitforge.windows import WindowSettings
from trainers.teacher.members import deal_parts

TINY = {"channels": 4, "layers": 1, "kernel": 3, "dropout": 0.0}
PLAN = Plan(
    data="toy",
    folds=2,
    windows=WindowSettings(mode="resample", length=8, views=2, flip=False),
    teachers={"tcn": ("tcn", TINY), "wide": ("tcn", {**TINY, "channels": 8})},
    teacher_fit=FitPlan(epochs=1, batch=8),
    student=("tcn", TINY),
    student_fit=FitPlan(epochs=1, batch=8),
    parts=2,
    ways=("alone", "kd", "kd of all teachers", "kd, unseen"),
)
LAYOUT = 'name = "toy"\nunit = "m"\nup = "y"\nfps = 30\nroot = [0]\njoints = ["hip", "knee"]\nbones = [[0, 1]]\n'


def row(name: str, *, fold: int = 0, seed: int = 0, right: int = 4) -> Row:
    """Two people with two recordings of two classes each; the first so many are scored right."""
    true = [0, 1, 0, 1]
    predicted = [label if number < right else 1 - label for number, label in enumerate(true)]
    people = [f"{fold}a", f"{fold}a", f"{fold}b", f"{fold}b"]
    return Row(f"fold-{fold}", name, seed, 7, people, true, predicted)


# what is reported


def test_a_fold_that_lacks_a_model_of_another_is_left_out() -> None:
    rows = [row("svm"), row("kd"), row("svm", fold=1), row("kd", fold=1, seed=1)]
    assert whole_folds(rows) == ["fold-0"]


def test_a_model_has_only_the_seeds_that_all_its_folds_have() -> None:
    rows = [row("kd"), row("kd", fold=1), row("kd", seed=1, right=0)]
    model = find_models(rows, ["fold-0", "fold-1"], 5)["kd"]
    assert model.confusions_SPKK.shape == (1, 4, 2, 2)
    assert model.people == ("0a", "0b", "1a", "1b")
    assert (model.accuracy, mean_macro_f1(model.confusions_SPKK)) == (1.0, 1.0)


def test_seeds_beyond_those_asked_for_are_not_read() -> None:
    rows = [row("kd", right=4), row("kd", seed=1, right=0)]
    assert find_models(rows, ["fold-0"], 1)["kd"].accuracy == 1.0
    assert find_models(rows, ["fold-0"], 2)["kd"].accuracy == 0.5


def test_the_best_way_is_chosen_by_other_people_than_those_who_score_it() -> None:
    # each way is right where the other is wrong, so that the choice of one half loses on the other
    rows = [row("kd", right=4), row("dkd", right=0)]
    rows += [row("kd", fold=1, right=0), row("dkd", fold=1, right=4)]
    plan = dataclasses.replace(PLAN, ways=("alone", "kd", "dkd"))
    best = best_of_others(plan, rows, ["fold-0", "fold-1"], 1)
    assert best is not None
    assert best.accuracy == 0.0
    assert "kd" in best.name
    assert "dkd" in best.name


def test_a_way_of_fewer_seeds_is_not_chosen_as_the_best() -> None:
    rows = [row("kd", fold=fold, seed=seed, right=2) for fold in (0, 1) for seed in (0, 1)]
    rows += [row("dkd", fold=fold, right=4) for fold in (0, 1)]
    plan = dataclasses.replace(PLAN, ways=("alone", "kd", "dkd"))
    best = best_of_others(plan, rows, ["fold-0", "fold-1"], 2)
    assert best is not None
    assert best.accuracy == 0.5


def test_few_people_get_sign_flips_times_the_ways_that_were_tried_and_nothing_is_shown() -> None:
    names = ("svm", "teacher tcn", "teacher wide", "alone", "dkd")
    plan = dataclasses.replace(PLAN, ways=("alone", "kd", "dkd"))
    # six people, of whom each gains by kd: of 32 orders that differ one sets the two as far apart
    rows = [row(name, fold=fold, right=0) for name in names for fold in (0, 1, 2)]
    rows += [row("kd", fold=fold, right=4) for fold in (0, 1, 2)]
    said = report(plan, rows, slice(None), 1, None)
    p = 3 / 32  # the best by the other folds is a way, too
    assert f"| kd | 1 | 1.000 | 1.000 |  | +1.000 | {p:.2g} |" in said.splitlines()
    assert "| dkd | 1 | 0.000 | 0.000 |  | +0.000 | 1 |" in said.splitlines()
    assert "3 ways to teach were tried. 6 people are too few for intervals" in said
    assert "shown" not in said


def test_differences_of_few_people_are_of_the_seeds_that_both_have() -> None:
    names = ("svm", "teacher tcn", "teacher wide")
    plan = dataclasses.replace(PLAN, ways=("alone", "kd"))
    rows = [*(row(name) for name in names), row("kd", right=4)]
    rows += [row("alone", right=4), row("alone", seed=1, right=0)]
    lines = report(plan, rows, slice(None), 2, None).splitlines()
    assert "| kd | 1 | 1.000 | 1.000 |  | +0.000 | 1 |" in lines


def many(name: str, seed: int, right: Sequence[int]) -> Row:
    """Forty people with two recordings of two classes each, of which so many are found."""
    people = [f"{number:02}" for number in range(40) for _ in (0, 1)]
    true = [0, 1] * 40
    predicted = [
        label if take < right[number % len(right)] else 1 - label
        for number in range(40)
        for take, label in enumerate((0, 1))
    ]
    return Row("fold-0", name, seed, 7, people, true, predicted)


def of_many(seeds: Sequence[Sequence[int]], ways: int) -> str:
    """The report's word on `kd`, of these answers by seed, among so many ways."""
    others = ("dkd", "dist", "rkd", "sp", "hint", "attention", "label smoothing")[: ways - 1]
    plan = dataclasses.replace(PLAN, ways=("alone", "kd", *others))
    alone = (2, 1, 1, 0)
    rows = [many(name, 0, alone) for name in ("svm", "teacher tcn", "teacher wide")]
    for seed, right in enumerate(seeds):
        rows += [many(name, seed, alone) for name in ("alone", *others)]
        rows.append(many("kd", seed, right))
    line = next(
        line
        for line in report(plan, rows, slice(None), 9, None).splitlines()
        if line.startswith("| kd |")
    )
    return line.split(" | ")[-1].strip(" |")


def test_a_gain_of_most_people_in_every_seed_is_shown() -> None:
    assert of_many([(2, 2, 1, 1), (2, 2, 2, 1), (2, 2, 1, 1)], ways=1) == "better"
    assert of_many([(1, 1, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0)], ways=1) == "worse"


def test_what_is_shown_of_one_way_is_not_where_many_were_tried() -> None:
    seeds = [(2, 2, 1, 0), (2, 2, 1, 1), (2, 2, 1, 0)]
    assert of_many(seeds, ways=1) == "better"
    assert of_many(seeds, ways=8) == "nothing"


def test_what_one_lucky_seed_gains_is_not_shown_of_the_way() -> None:
    """Its mean is better for the very people, but the next seed may as well be of the other kind."""
    assert of_many([(2, 2, 2, 2), (2, 1, 1, 0), (2, 1, 1, 0)], ways=1) == "nothing"


def test_packed_rows_are_the_rows_of_their_plan_and_of_no_other(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "nothing") == []
    folder = tmp_path / "fold-0" / "rows"
    folder.mkdir(parents=True)
    (folder / "svm.json").write_text(
        '{"name": "svm", "seed": 0, "persons": ["a", "b"], "true": [0, 1], "predicted": [1, 1]}'
    )
    pack(tmp_path, tmp_path / "packed.parquet")
    expected = [Row("fold-0", "svm", 0, None, ["a", "b"], [0, 1], [1, 1])]
    packed = tmp_path / "packed.parquet"
    assert read_rows(tmp_path) == read_packed(packed, tmp_path.name) == expected
    assert read_packed(packed, "another") == read_packed(tmp_path / "nothing", "p") == []


def test_every_way_has_a_teacher_that_some_plan_trains() -> None:
    for plan in PLANS.values():
        teachers = {WAYS[name].teacher for name in plan.ways}
        assert teachers <= {None, TOGETHER, *plan.teachers}
        assert plan.parts or not any(WAYS[name].unseen for name in plan.ways)


# what is trained


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Fold]:
    """Eight people of two classes with two recordings each, in two folds."""
    generator = np.random.default_rng(0)
    people = [f"p{number}" for number in range(8) for _ in range(2)]
    labels = [f"class {number % 2}" for number in range(8) for _ in range(2)]
    np.savez(
        tmp_path / "toy.npz",
        frames=generator.normal(size=(16 * 10, 2, 3)).astype(np.float32),
        offsets=np.arange(17) * 10,
        subject=np.array(people),
        label=np.array(labels),
    )
    (tmp_path / "toy.layout.toml").write_text(LAYOUT)
    monkeypatch.setattr(distillation, "DATA", tmp_path)
    return list(open_folds(PLAN, tmp_path / "out"))


@pytest.mark.slow
def test_everybody_is_scored_once_by_every_model_and_by_none_that_saw_them(
    folds: list[Fold],
) -> None:
    for fold in folds:
        assert list(train_missing(fold, 0))
    rows = read_rows(folds[0].folder.parent)
    names = {"svm", "teacher tcn", "teacher wide", TOGETHER, *PLAN.ways}
    assert {row.name for row in rows} == names
    for name in names:
        scored = [person for row in rows if row.name == name for person in set(row.persons)]
        assert sorted(scored) == [f"p{number}" for number in range(8)]
    for row in rows:
        fold = next(fold for fold in folds if fold.folder.name == row.fold)
        trained = {person for _, person in fold.windows.list_recordings("train")}
        assert trained.isdisjoint(row.persons)
    said = report(PLAN, rows, slice(None), 1, None)
    assert all(f"| {name} |" in said for name in names)


@pytest.mark.slow
def test_what_is_there_is_not_trained_again(folds: list[Fold]) -> None:
    fold = folds[0]
    first = list(train_missing(fold, 0))
    assert list(train_missing(fold, 0)) == []
    lost = next((fold.folder / "rows").glob("kd of all*"))
    lost.unlink()
    (again,) = train_missing(fold, 0)
    assert again.split(" accuracy ")[1].split()[0] in next(
        line for line in first if "kd of all" in line
    )


def test_a_person_is_in_one_part_and_every_part_has_every_class(folds: list[Fold]) -> None:
    fold = folds[0]
    person_R = np.array([person for _, person in fold.windows.list_recordings("train")])
    part_N = deal_parts(fold.windows.open_role("train"), 2)
    person_N = person_R[fold.train.recording_N]
    for person in set(person_N):
        assert len(set(part_N[person_N == person])) == 1
    for part in (0, 1):
        assert set(fold.train.label_N.numpy()[part_N == part]) == {0, 1}
