"""People get one role each, in the sizes asked for, and every class is where it is needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.records.split import ROLES, SPLIT, Split
from gaitforge.splits import SplitSettings, make_splits

DATA = Path(__file__).parents[2] / "shared" / "data"


def people_with(**labels: int) -> dict[str, set[str]]:
    """{"knee-0": {"knee"}, …}: so many people of each class."""
    return {f"{label}-{i}": {label} for label, count in labels.items() for i in range(count)}


def everybody(count: int) -> dict[str, set[str]]:
    return {f"p{i:02d}": {"walk", "squat"} for i in range(count)}


def sizes(split: Split) -> list[int]:
    return [len(split.people(role)) for role in ROLES]


def test_fractions_split_people_who_have_every_class_in_these_sizes() -> None:
    (split,) = make_splits(SplitSettings(), everybody(10), "store")
    assert split.name == "main"
    assert sizes(split) == [6, 2, 2]
    assert sorted(split.roles) == sorted(everybody(10))


@pytest.mark.parametrize(
    ("people", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (7, [4, 2, 1]), (194, [116, 39, 39])]
)
def test_fractions_are_rounded_by_largest_remainder_with_one_person_at_least(
    people: int, expected: list[int]
) -> None:
    (split,) = make_splits(SplitSettings(), everybody(people), "store")
    assert sizes(split) == expected


def test_fractions_hold_within_each_class() -> None:
    (split,) = make_splits(SplitSettings(), people_with(knee=20, hip=10, healthy=5), "store")
    classes = {
        role: Counter(person.split("-")[0] for person in split.people(role)) for role in ROLES
    }
    assert classes == {
        "train": {"knee": 12, "hip": 6, "healthy": 3},
        "validation": {"knee": 4, "hip": 2, "healthy": 1},
        "confirm": {"knee": 4, "hip": 2, "healthy": 1},
    }


def test_sizes_of_all_people_match_the_fractions_though_strata_do_not_divide() -> None:
    (split,) = make_splits(SplitSettings(), people_with(a=6, b=6, c=6, d=6, e=6), "store")
    # each class alone would be rounded to 4, 1, 1 and all to 20, 5, 5
    assert sizes(split) == [18, 6, 6]


def test_a_class_of_three_people_is_in_every_role() -> None:
    (split,) = make_splits(SplitSettings(), people_with(rare=3, common=40), "store")
    assert sorted(split.roles[f"rare-{i}"] for i in range(3)) == sorted(ROLES)


def test_people_who_all_have_other_sets_of_labels_still_cover_every_class() -> None:
    letters = "abcdef"
    rng = np.random.default_rng(2)  # with these, the first draw leaves a class out
    people = {f"p{i}": {str(x) for x in rng.choice(list(letters), size=3)} for i in range(16)}
    (split,) = make_splits(SplitSettings(), people, "store")
    for role in ROLES:
        assert set().union(*(people[person] for person in split.people(role))) == set(letters)
    assert sizes(split) == [10, 3, 3]


def test_the_seed_alone_decides_not_the_order_of_people() -> None:
    people = people_with(knee=9, hip=9)
    first = make_splits(SplitSettings(seed=1), people, "store")
    assert make_splits(SplitSettings(seed=1), dict(reversed(people.items())), "store") == first
    assert make_splits(SplitSettings(seed=2), people, "store") != first


def test_named_people_get_their_roles_and_others_are_left_out() -> None:
    settings = SplitSettings(
        rule="people", train=("p00", "p01"), validation=("p02",), confirm=("p03",)
    )
    (split,) = make_splits(settings, everybody(6), "store")
    assert split.roles == {
        "p00": "train",
        "p01": "train",
        "p02": "validation",
        "p03": "confirm",
    }


def test_folds_confirm_everybody_once() -> None:
    people = people_with(knee=13, hip=7, healthy=10)
    splits = make_splits(SplitSettings(rule="folds", folds=5), people, "store")
    assert [split.name for split in splits] == [f"fold-{i}-of-5" for i in range(1, 6)]
    confirmed = [person for split in splits for person in split.people("confirm")]
    assert sorted(confirmed) == sorted(people)
    assert [len(split.people("confirm")) for split in splits] == [6] * 5
    for split in splits:
        knees = sum(person.startswith("knee") for person in split.people("confirm"))
        assert knees in (2, 3)
        assert sizes(split) == [19, 5, 6]


def test_leaving_one_person_out_gives_one_split_each_and_a_validator_at_least() -> None:
    splits = make_splits(SplitSettings(rule="leave_one_person_out"), everybody(4), "store")
    assert [split.name for split in splits] == [f"without-p{i:02d}" for i in range(4)]
    assert [split.people("confirm") for split in splits] == [(f"p{i:02d}",) for i in range(4)]
    assert [sizes(split) for split in splits] == [[2, 1, 1]] * 4


def test_a_person_left_out_may_lack_classes_in_confirm() -> None:
    splits = make_splits(
        SplitSettings(rule="leave_one_person_out"), people_with(knee=3, hip=3), "store"
    )
    assert len(splits) == 6


def test_a_split_name_can_name_a_folder_and_stays_unique() -> None:
    people = {"a/b": {"x"}, "a b": {"x"}, "a_b": {"x"}}
    names = [
        split.name
        for split in make_splits(SplitSettings(rule="leave_one_person_out"), people, "store")
    ]
    assert len(set(names)) == 3
    assert not any("/" in name or " " in name for name in names)
    assert "without-a_b" in names


def test_a_class_with_one_person_is_refused_with_its_name_role_and_count() -> None:
    with pytest.raises(ValueError, match=r"Class 'ataxia' has nobody in the .* role") as error:
        make_splits(SplitSettings(), people_with(ataxia=1, healthy=20), "store")
    assert "1 person has it (ataxia-0)" in str(error.value)
    assert "record at least 3 people with it" in str(error.value)


def test_a_class_with_two_people_is_refused_when_one_is_left_out() -> None:
    with pytest.raises(ValueError, match=r"Class 'ataxia' has nobody in the .*2 people have it"):
        make_splits(
            SplitSettings(rule="leave_one_person_out"), people_with(ataxia=2, healthy=9), "store"
        )


def test_named_roles_without_a_class_say_which() -> None:
    people = people_with(knee=3, hip=3)
    settings = SplitSettings(
        rule="people",
        train=("knee-0", "hip-0", "hip-2"),
        validation=("knee-1", "hip-1"),
        confirm=("knee-2",),
    )
    with pytest.raises(
        ValueError, match="Class 'hip' has nobody in the confirm role of split 'ma"
    ):
        make_splits(settings, people, "store")


def test_an_unknown_person_is_refused_with_the_nearest_name() -> None:
    settings = SplitSettings(rule="people", train=("p00",), validation=("p01",), confirm=("p3",))
    with pytest.raises(KeyError, match=r"'p3' in split\.confirm .* 'p03'"):
        make_splits(settings, everybody(4), "store")


def test_more_folds_than_people_are_refused() -> None:
    with pytest.raises(ValueError, match=r"split\.folds is 5, but the store has 4 people"):
        make_splits(SplitSettings(rule="folds"), everybody(4), "store")


def test_a_store_without_people_is_refused() -> None:
    with pytest.raises(ValueError, match="has no people"):
        make_splits(SplitSettings(), {}, "store")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rule": "random"}, "rule is 'random', but must be one of fractions, people"),
        ({"fractions": (0.6, 0.4, 0.0)}, "three numbers between 0 and 1"),
        ({"fractions": (0.6, 0.4)}, "three numbers between 0 and 1"),
        ({"fractions": (0.6, 0.2, 0.3)}, r"sum to 1\.1"),
        ({"folds": 1}, "at least 2"),
        ({"validation_fraction": 1.0}, "between 0 and 1"),
        ({"seed": -1}, "must not be negative"),
        ({"train": ("a",)}, 'set rule = "people"'),
        (
            {"rule": "people", "train": ("a",), "validation": ("b",)},
            r"split\.confirm names nobody",
        ),
        (
            {"rule": "people", "train": ("a",), "validation": ("b",), "confirm": ("a",)},
            r"'a' is named in split\.train and in split\.confirm",
        ),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SplitSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        SplitSettings(),
        SplitSettings(rule="folds", folds=3),
        SplitSettings(rule="leave_one_person_out"),
        SplitSettings(rule="people", train=("p00",), validation=("p01",), confirm=("p02",)),
    ],
)
def test_a_written_split_is_read_back_equal(tmp_path: Path, settings: SplitSettings) -> None:
    for split in make_splits(settings, everybody(9), "abc123"):
        path = tmp_path / f"{split.name}.json"
        SPLIT.write(path, split)
        assert SPLIT.read(path) == split
        assert split.store == "abc123"
        assert split.rule["rule"] == settings.rule


def test_a_missing_split_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"main\.json \(a split\); run `gaitforge split run.toml` first"
    ):
        SPLIT.read(tmp_path / "main.json")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"schema": 0, "name": "a", "rule": {}, "store": "s", "roles": {}}',
        '{"schema": 1, "name": "a", "rule": {}, "store": "s", "roles": []}',
        '{"schema": 1, "name": "a", "rule": {}, "store": "s", "roles": {"p": "test"}}',
    ],
)
def test_a_file_that_is_not_a_split_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "main.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"again|begin anew"):
        SPLIT.read(path)


def test_a_role_that_does_not_exist_is_refused() -> None:
    (split,) = make_splits(SplitSettings(), everybody(5), "store")
    with pytest.raises(KeyError, match="'test'"):
        split.people("test")


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data do not lie beside the checkout")
def test_real_patients_are_split_by_class_in_every_role() -> None:
    arrays = np.load(DATA / "auva_grf.npz", allow_pickle=False)
    people: dict[str, set[str]] = {}
    for person, label in zip(arrays["subject"].tolist(), arrays["label"].tolist(), strict=True):
        people.setdefault(person, set()).add(label)
    (split,) = make_splits(SplitSettings(), people, "store")
    assert sizes(split) == [116, 39, 39]
    for label in ("ankle", "healthy", "hip", "knee"):
        owners = [person for person in people if people[person] == {label}]
        share = sum(split.roles[person] == "train" for person in owners) / len(owners)
        assert abs(share - 0.6) < 1 / len(owners)
    assert len(make_splits(SplitSettings(rule="folds", folds=10), people, "store")) == 10
