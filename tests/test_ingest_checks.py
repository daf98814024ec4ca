"""What holds for recordings of whatever format: one id for each person, and no movement twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest import READERS, ReadOptions, read_files
from gaitforge.ingest.copies import TOLERANCE, Copies
from gaitforge.ingest.people import likeness, look_alikes
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected

TWO_JOINTS = Layout(name="two", joints=("hip", "knee"), bones=((0, 1),), fps=50.0)


def walk(
    name: str, person: str = "p1", label: str = "healthy", frames: NDArray[Any] | None = None
) -> Recording:
    """A recording whose movement is its name's, or `frames` [T, 2, 3]."""
    if frames is None:
        frames = np.random.default_rng(sum(name.encode())).normal(size=(20, 2, 3))
    return Recording(
        recording=name, person=person, label=label, positions_TVC=frames.astype(np.float32)
    )


@pytest.fixture
def ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a file of a format of its own, whose reader gives what the test gives."""
    path = tmp_path / "walks.toy"
    path.touch()

    def read_all(
        *items: Recording | Rejected,
        labelled: bool = True,
        distinct: Sequence[Collection[str]] = (),
    ) -> list[Recording | Rejected]:
        def reader(*_: object, **__: object) -> Iterator[Recording | Rejected]:
            return iter(items)

        monkeypatch.setitem(READERS, ".toy", reader)
        read = read_files(
            [path], TWO_JOINTS, ReadOptions(), labelled=labelled, distinct_people=distinct
        )
        return list(read)

    return read_all


def people_of(*people: str) -> list[Recording]:
    return [walk(f"w{n}", person) for n, person in enumerate(people)]


# ids that look alike


@pytest.mark.parametrize(
    "group",
    [
        ("P1", "p1"),
        ("Straße", "STRASSE"),
        ("1", "01", "001", "1.0", "01.00"),
        ("P7", "P007", "p07"),
        ("0", "00", "0.0"),
        ("a b", "a  b", "a\u00a0b", "a\u2003b", "ab", "a\tb", "a\u200bb"),
        ("M\u00fcller", "Mu\u0308ller", "m\u00dcLLER"),
        ("P\uff11", "P1"),
        ("\ufb01n", "fin"),
    ],
)
def test_names_that_differ_in_form_alone_look_alike(group: tuple[str, ...]) -> None:
    assert look_alikes(group) == [tuple(sorted(group))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "10"),
        ("1", "2"),
        ("10", "100"),
        ("P1", "P10"),
        ("1.05", "1.5"),
        ("1.5", "1.50"),
        ("2.1", "21"),
        ("a-b", "ab"),
        ("M\u00fcller", "Muller"),
        ("0", ""),
        ("s1-10", "s11-0"),
    ],
)
def test_names_that_say_something_else_do_not_look_alike(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


def test_ids_that_look_alike_are_named_and_refused(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"\('01' and '1'; 'P1' and 'p1'\)") as raised:
        ingest(*people_of("1", "p1", "01", "P1", "p2"))
    assert "p2" not in str(raised.value)


def test_the_first_five_groups_are_named_and_the_others_counted(ingest: Any) -> None:
    people = [f"{zeros}{n}" for n in range(1, 8) for zeros in ("", "0")]
    with pytest.raises(ValueError, match=r"'05' and '5'; and 2 more such groups\)"):
        ingest(*people_of(*people))


def test_ids_that_look_the_same_are_shown_by_their_code_points(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"\('Zoe\\u0308' and 'Zo\\xeb'\)"):
        ingest(*people_of("Zo\u00eb", "Zoe\u0308"))


def test_ids_that_belong_to_different_people_come_in(ingest: Any) -> None:
    recordings = people_of("1", "01", "P1", "p1")
    assert ingest(*recordings, distinct=[("1", "01", "001"), ("p1", "P1")]) == recordings
    with pytest.raises(ValueError, match=r"\('P1' and 'p1'\)"):
        ingest(*recordings, distinct=[("1", "01")])


def test_a_group_of_distinct_people_does_not_speak_for_a_further_id(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"\('001' and '01' and '1'\)"):
        ingest(*people_of("1", "01", "001"), distinct=[("1", "01")])


def test_classes_that_look_alike_are_refused(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"classes differ only.*\('Knee' and 'knee'\).*relabel"):
        ingest(walk("a", label="Knee"), walk("b", label="knee"))


@pytest.mark.parametrize(
    ("person", "label"),
    [("nan", "x"), ("None", "x"), ("<NA>", "x"), ("null", "x"), ("p1", "nan"), ("p1", "NaT")],
)
def test_what_programs_write_for_no_value_is_nobody_and_no_class(
    ingest: Any, person: str, label: str
) -> None:
    _, item = ingest(walk("a"), walk("b", person, label))
    assert isinstance(item, Rejected)
    assert (item.position, item.person, item.label) == (1, person, label)
    assert item.reason.startswith("the person or the label is empty: ")


def test_a_class_may_be_called_none(ingest: Any) -> None:
    (item,) = ingest(walk("a", label="None"))
    assert item.label == "None"


def test_what_nobody_gave_a_person_or_class_yet_is_not_checked(ingest: Any) -> None:
    recordings = [
        walk("a", "1"),
        walk("b", "01"),
        walk("c", "nan", frames=walk("a").positions_TVC),
    ]
    assert ingest(*recordings, labelled=False) == recordings


# copies


def test_a_copy_of_the_same_person_is_rejected_and_names_the_first(ingest: Any) -> None:
    first, copy = walk("a"), walk("b", frames=walk("a").positions_TVC)
    kept, rejected, other, again = ingest(first, copy, walk("c"), replaced(copy, "d"))
    assert (kept, other.recording) == (first, "c")
    reason = "the frames are those of an earlier recording: 'a'"
    assert [(item.position, item.reason) for item in (rejected, again)] == [
        (1, reason),
        (3, reason),
    ]
    assert (rejected.person, rejected.label) == ("p1", "healthy")
    assert rejected.source.endswith("walks.toy")


def replaced(recording: Recording, name: str, person: str = "p1") -> Recording:
    return walk(name, person, frames=recording.positions_TVC)


def test_a_copy_under_another_person_is_refused_and_both_are_named(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"'a' of 'p1' and 'c' of 'p2' hold the same frames, "):
        ingest(walk("a"), walk("b"), replaced(walk("a"), "c", "p2"))
    with pytest.raises(ValueError, match="hold the same frames, and so it is with 1 more, "):
        ingest(walk("a"), replaced(walk("a"), "c", "p2"), replaced(walk("a"), "d", "p3"))


def test_a_copy_under_another_class_is_refused(ingest: Any) -> None:
    copy = walk("b", label="knee", frames=walk("a").positions_TVC)
    with pytest.raises(ValueError, match=r"'a' and 'b' of 'p1' .* classes 'healthy' and 'knee'"):
        ingest(walk("a"), copy)


def test_ids_that_look_alike_are_told_before_their_copies(ingest: Any) -> None:
    with pytest.raises(ValueError, match=r"\('01' and '1'\)"):
        ingest(walk("a", "1"), replaced(walk("a"), "b", "01"))


def gait(seed: int = 0, frames: int = 100) -> NDArray[np.float64]:
    """A walk of two joints, metres: 3 m forward, swinging by 0.2 m, noise of 2 mm."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None]
    steps = 0.2 * np.sin(2 * np.pi * (3 * time + [[0, 0.5]]))
    joints = np.stack([3 * time + steps, 0.9 + 0.1 * steps, np.zeros_like(steps)], axis=2)
    return np.asarray(joints + rng.normal(0, 0.002, joints.shape))


def is_copy(one: NDArray[Any], other: NDArray[Any]) -> bool:
    copies = Copies()
    assert copies.find(walk("a", frames=one)) is None
    return copies.find(walk("b", frames=other)) is not None


@pytest.mark.parametrize(
    "rounded",
    [
        gait().copy(),
        gait().astype(np.float32),
        gait().round(6),
        gait().round(5) + 4e-6,  # cut instead of rounded
        gait().round(3),  # whole millimetres
        (gait() * 1000).astype(np.float32) / 1000,  # to millimetres and back
    ],
    ids=["same", "float32", "6 decimals", "cut", "millimetres", "units"],
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_frames_that_were_rounded_since_are_a_copy(rounded: NDArray[Any], offset: float) -> None:
    assert is_copy(gait() + offset, rounded + offset)


def changed(place: tuple[Any, ...], value: float) -> NDArray[np.float64]:
    frames = gait()
    frames[place] = value
    return frames


@pytest.mark.parametrize(
    "other",
    [
        gait(1),  # the same steps with the sensor's other noise of 2 mm
        gait() + 0.01,
        gait()[::-1],
        gait()[:-1],
        gait()[:, ::-1],
        1.02 * gait(),
        changed((slice(40, 60), 1, 1), 1.0),  # a knee that was lifted once
        changed((50, 1, 1), np.nan),
    ],
    ids=["noise", "moved", "backward", "shorter", "swapped", "larger", "one joint", "missing"],
)
def test_other_frames_are_no_copy(other: NDArray[Any]) -> None:
    assert not is_copy(gait(), other)


def test_what_is_missing_in_both_is_no_difference() -> None:
    one, other = gait(), gait().round(4)
    one[20:30, 0] = other[20:30, 0] = np.nan
    one[:, 1, 2] = other[:, 1, 2] = np.nan  # never seen at all
    assert is_copy(one, other)


def test_a_number_for_not_seen_does_not_make_walks_alike() -> None:
    """Numbers of thousands in the same frames would be the most of the movement."""
    one, other = gait(), gait(1)
    one[:5] = other[:5] = -9999.0
    assert not is_copy(one, other)
    assert is_copy(one, one.round(4))


def test_recordings_in_which_nothing_moves_are_no_copies(ingest: Any) -> None:
    still = np.full((5, 2, 3), 7.3)
    still[2, 1] = np.nan
    recordings = [walk("a", "p1", frames=still), walk("b", "p2", frames=still)]
    assert ingest(*recordings) == recordings


def test_what_mostly_rests_is_a_copy_only_of_its_equal() -> None:
    """Contacts of a foot, say: 0 in most frames, so that the usual change is none."""
    one = np.zeros((50, 2, 3))
    one[10, 0, 2] = 1.0
    other = one.copy()
    other[11, 0, 2] = 1.0
    assert is_copy(one, one)
    assert not is_copy(one, other)


def test_two_frames_are_enough_for_a_copy() -> None:
    one = np.arange(12.0).reshape(2, 2, 3)
    other = one.copy()
    other[1, 1, 2] += 1
    assert is_copy(one, one)
    assert not is_copy(one, other)


def test_a_copy_is_found_among_many_of_one_length() -> None:
    copies = Copies()
    for n in range(300):
        assert copies.find(walk(f"w{n}", frames=gait(n))) is None
    for n in (0, 150, 299):
        found = copies.find(walk("x", frames=gait(n).round(4)))
        assert found is not None
        assert found.recording == f"w{n}"


@pytest.mark.parametrize("size", [2, 12, 600, 10_000])
def test_the_tolerance_is_a_difference_in_the_mean_square(size: int) -> None:
    """Half the tolerance is a copy and twice of it none."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        frames = np.zeros((size, 1, 1))
        frames[1::2] = 1.0  # moves by 0.5 around its middle
        change = rng.normal(size=frames.shape)
        change *= 0.5 * TOLERANCE / np.sqrt(np.mean(change**2))
        assert is_copy(frames, frames + change / 2)
        assert not is_copy(frames, frames + change * 2)
