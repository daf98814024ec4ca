"""People who come later: those known keep their roles, new ones are dealt, and what must be made again is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.records.split import ROLES, SPLIT, Split
from gaitforge.records.teacher import TEACHER
from gaitforge.splits import SplitSettings, make_splits, say_kept
from gaitforge.work import WorkFolder
from tests.made import made
from tests.test_cli import must_say, refused, write_file_run
from tests.test_splits import people_with, sizes
from trainers.__main__ import main

SETTINGS = SplitSettings()
BEFORE = Split(
    name="main",
    rule={"rule": "fractions", "fractions": [0.6, 0.2, 0.2], "seed": 0},
    store="s",
    roles={
        "knee-0": "confirm", "knee-1": "train", "knee-2": "train", "knee-3": "validation", "knee-4": "train",
    },
)  # fmt: skip


def roles_of_new(split: Split) -> list[str]:
    """The roles of those whom BEFORE does not know, who all know theirs, in the order of ROLES."""
    assert {person: split.roles[person] for person in BEFORE.roles} == BEFORE.roles
    new = [role for person, role in split.roles.items() if person not in BEFORE.roles]
    return sorted(new, key=ROLES.index)


@pytest.mark.parametrize(
    ("people", "dealt"),
    [
        (5, []),
        (6, ["train"]),
        (7, ["train", "validation"]),
        (10, ["train", "train", "train", "validation", "confirm"]),
    ],
)
def test_new_people_of_a_class_get_the_roles_that_it_lacks(people: int, dealt: list[str]) -> None:
    (split,) = make_splits(SETTINGS, people_with(knee=people), "t", [BEFORE])
    assert roles_of_new(split) == dealt
    assert split.store == "t"


def test_a_role_that_has_too_many_gets_no_more() -> None:
    crowded = {**BEFORE.roles, "knee-1": "confirm", "knee-2": "confirm"}
    before = Split(name="main", rule=BEFORE.rule, store="s", roles=crowded)
    (split,) = make_splits(SETTINGS, people_with(knee=10), "t", [before])
    assert {person: split.roles[person] for person in crowded} == crowded
    assert sizes(split) == [5, 2, 3]


def test_a_class_that_is_new_is_in_every_role() -> None:
    (split,) = make_splits(SETTINGS, people_with(knee=5, ataxia=3), "t", [BEFORE])
    assert roles_of_new(split) == ["train", "validation", "confirm"]


def test_who_has_gone_is_forgotten_and_the_others_keep_their_roles() -> None:
    people = people_with(knee=8)
    del people["knee-1"]
    (split,) = make_splits(SETTINGS, people, "t", [BEFORE])
    assert sorted(split.roles) == sorted(people)
    assert all(split.roles[p] == role for p, role in BEFORE.roles.items() if p in people)
    assert say_kept(split, BEFORE).endswith(
        "4 keep the role that they had, 3 new, 1 not in the store any more"
    )


@pytest.mark.parametrize("other", [{"seed": 1}, {"fractions": (0.5, 0.25, 0.25)}])
def test_another_seed_or_other_fractions_deal_everybody_anew(other: dict[str, Any]) -> None:
    settings = SplitSettings(**other)
    people = people_with(knee=10)
    assert make_splits(settings, people, "t", [BEFORE]) == make_splits(settings, people, "t")


def test_a_class_that_kept_roles_leave_out_of_one_is_refused_with_what_to_do() -> None:
    everybody_trains = dict.fromkeys([f"knee-{i}" for i in range(5)], "train")
    before = Split(name="main", rule=BEFORE.rule, store="s", roles=everybody_trains)
    with pytest.raises(ValueError, match=r"'knee' has nobody in the .*; choose another seed,"):
        make_splits(SETTINGS, people_with(knee=6), "t", [before])


def test_folds_keep_their_people_and_confirm_new_ones_once() -> None:
    settings = SplitSettings(rule="folds", folds=3)
    first = make_splits(settings, people_with(knee=6, hip=6), "s")
    people = people_with(knee=8, hip=7, ataxia=3)
    splits = make_splits(settings, people, "t", first)
    for before, split in zip(first, splits, strict=True):
        assert before.name == split.name
        assert {person: split.roles[person] for person in before.roles} == before.roles
    confirmed = [person for split in splits for person in split.people("confirm")]
    assert sorted(confirmed) == sorted(people)
    assert [len(split.people("confirm")) for split in splits] == [6, 6, 6]
    for split in splits:
        assert len([p for p in split.people("confirm") if p.startswith("ataxia")]) == 1


def test_folds_of_which_one_is_missing_are_dealt_anew() -> None:
    settings = SplitSettings(rule="folds", folds=3)
    first = make_splits(settings, people_with(knee=6), "s")
    people = people_with(knee=9)
    assert make_splits(settings, people, "t", first[1:]) == make_splits(settings, people, "t")


def test_leaving_one_out_keeps_the_roles_in_the_splits_that_there_were() -> None:
    settings = SplitSettings(rule="leave_one_person_out")
    first = {split.name: split for split in make_splits(settings, people_with(knee=5), "s")}
    splits = make_splits(settings, people_with(knee=6), "t", [*first.values()])
    assert [split.people("confirm") for split in splits] == [(f"knee-{i}",) for i in range(6)]
    for split in splits[:5]:
        kept = first[split.name].roles
        assert {person: split.roles[person] for person in kept} == kept


@pytest.mark.parametrize(
    "settings",
    [SETTINGS, SplitSettings(rule="folds", folds=3), SplitSettings(rule="leave_one_person_out")],
)
def test_the_same_people_again_change_nothing(settings: SplitSettings) -> None:
    people = people_with(knee=7, hip=5)
    first = make_splits(settings, people, "s")
    assert make_splits(settings, people, "s", first) == first
    assert {say_kept(split, split) for split in first} == {""}


def add_people(folder: Path, people: int) -> None:
    """Recordings of people s1, s2, ..., of which the first six are those that `write_file_run` writes."""
    write_file_run(
        folder,
        frames=np.random.default_rng(0).normal(size=(12 * people, 17, 3)).astype(np.float32),
        offsets=np.arange(0, 12 * people + 1, 12),
        subject=np.array([f"s{i + 1}" for i in range(people)]),
        label=np.array(["healthy", "ataxia"] * (people // 2)),
    )


def test_a_store_that_has_grown_names_what_is_to_be_made_again_and_keeps_roles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, work = tmp_path / "run.toml", WorkFolder(tmp_path / "work")
    add_people(tmp_path, 6)
    for stage in ("ingest", "split"):
        assert main([stage, str(settings)]) == 0
    assert "keep the role" not in capsys.readouterr().out
    before = SPLIT.read(work.split_file("main"))
    teacher = made(TEACHER, provenance={"made_from": {"split": before.identity}})
    TEACHER.write(work.run("main").teacher_model, teacher)

    add_people(tmp_path, 10)
    must_say(refused(capsys, "ingest", settings), "runs/main/teacher", "`gaitforge run --fresh")
    assert main(["ingest", str(settings), "--fresh"]) == 0
    must_say(refused(capsys, "split", settings), "runs/main/teacher", "`gaitforge run --fresh")
    assert SPLIT.read(work.split_file("main")) == before
    assert main(["split", str(settings), "--fresh"]) == 0
    must_say(
        capsys.readouterr().out, "6 keep the role that they had, 4 new", "(teacher) lies in", "to be made again"
    )  # fmt: skip
    now = SPLIT.read(work.split_file("main"))
    assert len(now.roles) == 10
    assert {person: now.roles[person] for person in before.roles} == before.roles
    assert now.identity != before.identity
    assert main(["split", str(settings)]) == 0
    assert "keep the role" not in capsys.readouterr().out
    assert SPLIT.read(work.split_file("main")) == now
