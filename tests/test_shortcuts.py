"""Shortcuts: which columns windows tell, which tell the class, of whom it is asked, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge import shortcuts
from gaitforge.layout import read_layout
from gaitforge.normalise import Normalisation
from gaitforge.provenance import Provenance
from gaitforge.recording import Recording, Value
from gaitforge.records.confirm import BAD, GOOD, OPEN
from gaitforge.records.shortcuts import SHORTCUTS, ColumnFacts, ShortcutFacts, Telling
from gaitforge.records.split import Split
from gaitforge.records.store import HowRead
from gaitforge.shortcuts import (
    BALANCED,
    RANKS,
    Shortcuts,
    describe_column,
    find_shortcuts,
    say_shortcuts,
)
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import WindowSet, build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder
from tests.made import made_report
from trainers.confirm.shortcuts import read_columns, write_shortcuts
from trainers.confirm.trust import reach_verdict
from trainers.training.window_folder import WindowFolder

CLASSES = ("healthy", "ataxia")
PEOPLE = 60


def people_of(values_P: NDArray[np.float64], recordings: int = 2, start: int = 0) -> WindowSet:
    """Recordings of one window, whose 2 joints stand still at their person's values [P, 6]; every other has ataxia."""
    count = len(values_P) * recordings
    values = np.repeat(values_P, recordings, axis=0).reshape(count, 1, 2, 3)
    joints = np.repeat(values, 4, axis=1).astype(np.float32)
    person = np.repeat(np.arange(len(values_P)), recordings)
    return WindowSet(
        joints=joints, seen=np.ones(joints.shape[:-1], dtype=np.bool_), label_N=person % 2,
        recording_N=np.arange(count), recordings=tuple(f"r{start + i:03}" for i in range(count)),
        persons=tuple(f"p{start + i:03}" for i in person), place_NC=np.zeros((count, 3), np.float32),
        key_N=np.arange(count),
        normalisation=Normalisation(mean_VC=np.zeros((2, 3), np.float32), std_VC=np.ones((2, 3), np.float32)),
    )  # fmt: skip


def noise(people: int = PEOPLE, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(people, 6))


def column(windows: WindowSet, value_P: Sequence[Value]) -> Mapping[str, Value]:
    """A value of each person for all their recordings."""
    people = sorted(set(windows.persons))
    of_person = dict(zip(people, value_P, strict=True))
    return {r: of_person[p] for r, p in zip(windows.recordings, windows.persons, strict=True)}


def found(windows: WindowSet, **columns: Sequence[Value]) -> Shortcuts:
    return find_shortcuts(
        [windows], {name: column(windows, values) for name, values in columns.items()}, CLASSES
    )


def only(result: Shortcuts) -> tuple[Telling, Telling]:
    """Both links of the only column."""
    (row,) = result.columns
    assert row.from_windows is not None
    assert row.class_from_it is not None
    return row.from_windows, row.class_from_it


# what is found


def test_a_number_that_windows_hold_and_that_comes_with_the_class_is_a_way_round() -> None:
    place = np.arange(PEOPLE) % 2
    age = 30 + 30 * place + 5 * noise(seed=1)[:, 0]
    values = noise()
    values[:, 3] = age / 10  # nothing of the class is in the windows but by the age
    result = found(people_of(values), age=list(age))
    told, tells = only(result)
    assert (told.measure, told.people, tells.measure) == (RANKS, PEOPLE, BALANCED)
    assert told.value > 0.9
    assert tells.value > 0.9
    assert result.says == BAD
    assert "the windows tell age, which by itself tells the class." in result.sentence


def test_text_is_told_by_its_value_and_a_few_numbers_are_codes() -> None:
    place = np.arange(PEOPLE) % 2
    values = noise()
    values[:, 2] += 8 * place  # the class
    values[:, 5] += np.array([-6, 0, 6])[np.arange(PEOPLE) % 3]  # the site
    windows = people_of(values)
    sites = ["oslo", "rome", "wien"]
    told, tells = only(found(windows, site=[sites[i % 3] for i in range(PEOPLE)]))
    assert told.measure == BALANCED
    assert told.chance == pytest.approx(1 / 3)
    assert told.value > 0.9
    # every site has as many of both classes
    assert tells.interval[0] <= 0.5
    codes, _ = only(found(windows, site=[float(i % 3) for i in range(PEOPLE)]))
    assert codes == told


def test_a_column_that_has_nothing_to_do_with_the_windows_is_shown_to_be_none() -> None:
    """Of 400 people; it names the class for most of them, and still no student can have learned it."""
    windows = people_of(noise(400), recordings=1)
    shoe = [(i % 2 + (i % 10 == 0)) % 2 for i in range(400)]
    result = found(windows, shoe=["old" if one else "new" for one in shoe])
    told, tells = only(result)
    assert tells.interval[0] > 0.8
    assert told.interval[1] < 0.65
    assert result.says == GOOD
    assert result.sentence == "Shown to be no such way: shoe."


def test_nobody_is_asked_about_who_was_fitted_to() -> None:
    """Windows that name the person, and a number that each person has: to know the person is to know it."""
    values = 10 * noise()
    told, _ = only(found(people_of(values, recordings=6), lot=list(noise(seed=7)[:, 0])))
    assert told.interval[0] < 0 < told.interval[1]


def test_a_class_of_nothing_but_noise_is_not_told() -> None:
    result = found(people_of(noise()), lot=list(noise(seed=7)[:, 0]))
    assert result.label is not None
    assert result.label.interval[0] < 0.5 < result.label.interval[1]


def test_the_same_windows_give_the_same_numbers_in_whatever_roles_they_come() -> None:
    first, second = people_of(noise(30)), people_of(noise(30, seed=1), start=500)
    lots = dict(
        zip((*first.recordings, *second.recordings), noise(120, seed=2)[:, 0], strict=True)
    )
    one, same = (find_shortcuts([first, second], {"lot": lots}, CLASSES) for _ in range(2))
    assert one == same
    assert only(one)[0].people == 60


def test_of_many_windows_some_of_every_recording_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortcuts, "MOST_WINDOWS", 200)
    windows = people_of(noise(), recordings=20)
    told, _ = only(found(windows, lot=list(noise(seed=2)[:, 0])))
    assert told.people == PEOPLE


def test_recordings_without_the_value_are_left_out() -> None:
    age = list(noise(seed=1)[:, 0])
    missing: list[Value] = [None, float("nan"), *age[2:]]
    assert only(found(people_of(noise()), age=missing))[0].people == PEOPLE - 2


# what cannot be told


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None] * PEOPLE, "nowhere known"),
        (["", " "] * 30, "nowhere known"),
        (["oslo"] * PEOPLE, "everywhere the same"),
        ([7.0] * PEOPLE, "everywhere the same"),
        ([f"name {i}" for i in range(PEOPLE)], "fewer than two of its values are shared by 3 people"),
        (["oslo"] * 58 + ["rome"] * 2, "fewer than two of its values are shared by 3 people"),
        ([f"site {i % 20}" for i in range(PEOPLE)], "20 different values, more than 12"),
        ([float(i) for i in range(11)] + [None] * 49, "known of 11 people, but intervals hold from 12 on"),
    ],
)  # fmt: skip
def test_a_column_that_tells_nothing_is_said_to_and_why(values: list[Value], why: str) -> None:
    result = found(people_of(noise()), odd=values)
    (row,) = result.columns
    assert (row.cannot, row.from_windows, row.class_from_it) == (why, None, None)
    assert result.says == OPEN
    assert result.sentence == f"Cannot tell of odd ({why})."


def test_too_few_people_tell_nothing_of_any_column() -> None:
    result = found(people_of(noise(11)), age=[float(i) for i in range(11)])
    assert result.columns[0].cannot == "known of 11 people, but intervals hold from 12 on"
    assert result.label is None


def test_without_any_column_nobody_knows() -> None:
    result = find_shortcuts([people_of(noise())], {}, CLASSES)
    assert (result.says, result.columns, result.label) == (OPEN, (), None)
    assert result.sentence.startswith("No column, such as age, site or device, was recorded")


def test_columns_beyond_the_most_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "MOST_COLUMNS", 1)
    result = found(
        people_of(noise()), one=[1.0] * PEOPLE, two=[1.0] * PEOPLE, three=[1.0] * PEOPLE
    )
    assert [row.name for row in result.columns] == ["one"]
    assert result.sentence.endswith("Not looked at: 2 more columns.")


# what is said


def telling(value: float, low: float, high: float, measure: str = BALANCED) -> Telling:
    chance = 0.0 if measure == RANKS else 0.5
    return Telling(measure=measure, value=value, interval=(low, high), chance=chance, people=40)


AGE = ColumnFacts(
    name="age", cannot=None, from_windows=telling(0.7, 0.5, 0.8, RANKS), class_from_it=telling(0.8, 0.7, 0.9),
)  # fmt: skip
LABEL = telling(0.75, 0.6, 0.85)


def test_both_links_are_said_beside_how_well_the_class_is_told() -> None:
    links = (
        "which the windows tell with rank correlation 0.70 (95 % interval 0.50 to 0.80), as well as the class "
        "(balanced accuracy 0.75), and which by itself tells the class with balanced accuracy 0.80 (95 % interval 0.70 "
        "to 0.90)"
    )
    assert say_shortcuts([AGE], 0) == (
        BAD,
        "A student may answer by what comes with the class rather than by it: the windows tell age, which by itself "
        "tells the class.",
    )
    assert describe_column(AGE, LABEL) == f"column age: {links}"
    # of 0.7 from chance to 1, the class is told by 0.8
    better = telling(0.9, 0.8, 0.95)
    assert "worse than the class (balanced accuracy 0.90)" in describe_column(AGE, better)


@pytest.mark.parametrize(
    ("windows", "label", "says"),
    [
        ((0.2, -0.1, 0.5), (0.8, 0.7, 0.9), OPEN),  # may be told or not
        ((0.7, 0.5, 0.8), (0.6, 0.45, 0.75), OPEN),  # may tell the class or not
        ((0.1, -0.1, 0.29), (0.8, 0.7, 0.9), GOOD),  # little is told
        ((0.1, -0.1, 0.31), (0.8, 0.7, 0.9), OPEN),
        ((0.7, 0.5, 0.8), (0.55, 0.45, 0.64), GOOD),  # 0.64 is 0.28 of the way from chance to 1
        ((0.7, 0.5, 0.8), (0.55, 0.45, 0.66), OPEN),
        ((0.7, 0.01, 0.8), (0.55, 0.501, 0.9), BAD),
    ],
)
def test_a_link_must_be_shown_and_so_must_its_absence(
    windows: tuple[float, float, float], label: tuple[float, float, float], says: str
) -> None:
    row = replace(AGE, from_windows=telling(*windows, RANKS), class_from_it=telling(*label))
    assert say_shortcuts([row], 0)[0] == says
    assert say_shortcuts([row, AGE], 0)[0] == BAD


def test_sentences_of_many_columns_with_any_names_stay_short_and_on_a_line() -> None:
    ways = [replace(AGE, name=f"{'x' * 100}{i}\n\x1b[2J") for i in range(12)]
    silent = [replace(row, cannot="nowhere known", from_windows=None) for row in ways]
    sentence = say_shortcuts([*ways, *silent], 0)[1]
    assert sentence.isprintable()
    assert ", and 4 more, which by itself tells the class." in sentence
    assert sentence.count("(nowhere known)") == 8
    assert ", and 4 more." in sentence
    assert "x" * 41 not in sentence


# where it stands


def test_the_verdict_has_it_beside_and_keeps_its_word() -> None:
    report = made_report({})
    facts = ShortcutFacts(
        identity="a", class_from_windows=LABEL, columns=(AGE,), says=BAD, sentence="Age is told.",
        provenance=Provenance(identity="a"),
    )  # fmt: skip
    plain, beside = reach_verdict(report, {}), reach_verdict(report, {}, facts)
    assert (plain.word, plain.sentence) == (beside.word, beside.sentence)
    (*others, last) = beside.rests_on
    assert tuple(others) == plain.rests_on
    assert (last.about, last.says, last.text) == ("shortcuts", BAD, "Age is told.")


def test_columns_of_the_store_are_looked_at_once_and_those_of_tracking_are_not(
    tmp_path: Path,
) -> None:
    values = noise(24)
    values[:, 0] += np.arange(24)
    walks = [
        Recording(
            recording=f"r{i:02}", person=f"p{i:02}", label=CLASSES[i % 2],
            positions_TVC=np.tile(values[i].reshape(1, 2, 3), (8, 1, 1)).astype(np.float32),
            columns={"age": 20.0 + i, "quality_unseen": 0.5},
        )
        for i in range(24)
    ]  # fmt: skip
    (tmp_path / "two.toml").write_text(
        'name = "two"\nunit = "none"\nup = "none"\njoints = ["a", "b"]\nbones = [[0, 1]]\n'
    )
    layout = read_layout(str(tmp_path / "two.toml"))
    read = HowRead(confidence_channel=None, fps=None)
    SkeletonStore.write(tmp_path / "store", layout, walks, "walks", read=read)
    store = SkeletonStore.open(tmp_path / "store")
    assert list(read_columns(store)) == ["age"]
    assert read_columns(store)["age"]["r03"] == 23.0
    roles = {f"p{i:02}": ("train", "train", "validation")[i % 3] for i in range(24)}
    split = Split(name="main", rule={}, store=store.info.fingerprint, roles=roles)
    cache = build_windows(
        tmp_path / "cache", store_fingerprint=store.info.fingerprint, split=split, layout=layout,
        classes=store.classes, settings=WindowSettings(length=4, views=1), recordings=store.read_recordings,
    )  # fmt: skip
    for role in ("train", "validation"):
        cache.open_role(role)
    windows, folder = WindowFolder.open(cache.folder), SplitFolder(tmp_path / "runs" / "main")
    facts = write_shortcuts(windows, store, folder)
    assert SHORTCUTS.read(folder.shortcuts) == facts
    assert [row.name for row in facts.columns] == ["age"]
    assert facts.provenance.seen == frozenset(roles)
    before = folder.shortcuts.stat().st_mtime_ns
    assert write_shortcuts(windows, store, folder) == facts
    assert folder.shortcuts.stat().st_mtime_ns == before
    folder.shortcuts.write_text("{")
    assert write_shortcuts(windows, store, folder) == facts
