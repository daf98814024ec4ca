"""Rules of reading files: what becomes a recording, what is rejected, what refuses the file."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.ingest import ReadOptions, file_names, read_files
from gaitforge.ingest.npz import read_npz
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected

TWO_JOINTS = Layout(name="two", joints=("hip", "knee"), bones=((0, 1),), fps=50.0)
FORCES = Layout(name="plates", joints=("left", "right"), bones=((0, 1),), up="none")


def arrays(**changed: Any) -> dict[str, Any]:
    """Two recordings of 3 and 2 frames, of two people."""
    plain = {
        "frames": np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3),
        "offsets": np.array([0, 3, 5]),
        "subject": np.array(["s1", "s2"]),
        "label": np.array(["healthy", "knee"]),
    }
    return {name: value for name, value in (plain | changed).items() if value is not None}


def save(path: Path, **changed: Any) -> Path:
    np.savez(path, **arrays(**changed))
    return path


def read(path: Path, layout: Layout = TWO_JOINTS, **options: Any) -> list[Recording | Rejected]:
    return list(read_npz(path, layout, ReadOptions(**options)))


def only_recordings(items: list[Recording | Rejected]) -> list[Recording]:
    recordings = [item for item in items if isinstance(item, Recording)]
    assert len(recordings) == len(items)
    return recordings


def test_offsets_cut_the_frames_into_recordings(tmp_path: Path) -> None:
    first, second = only_recordings(read(save(tmp_path / "walks.npz")))
    assert first.positions_TVC.dtype == np.float32
    assert first.positions_TVC.shape == (3, 2, 3)
    assert second.positions_TVC.ravel().tolist() == list(range(18, 30))
    assert (second.recording, second.person, second.label) == ("walks-00001", "s2", "knee")
    assert (second.fps, second.confidence_TV, dict(second.columns)) == (50.0, None, {})


def test_doubles_become_float32(tmp_path: Path) -> None:
    frames = np.linspace(0, 1, 30).reshape(5, 2, 3)
    first, _ = only_recordings(read(save(tmp_path / "a.npz", frames=frames)))
    assert np.array_equal(first.positions_TVC, frames[:3].astype(np.float32))


def test_missing_joints_stay_nan(tmp_path: Path) -> None:
    frames = arrays()["frames"]
    frames[0, 1] = np.nan
    first, _ = only_recordings(read(save(tmp_path / "a.npz", frames=frames)))
    assert np.isnan(first.positions_TVC[0, 1]).all()
    assert np.isnan(first.positions_TVC).sum() == 3


def test_confidence_channel_is_split_off(tmp_path: Path) -> None:
    frames = np.zeros((5, 2, 4), np.float32)
    frames[..., 0], frames[..., 1], frames[..., 2:] = 1, 0.5, 2
    first, _ = only_recordings(read(save(tmp_path / "a.npz", frames=frames), confidence_channel=1))
    assert first.positions_TVC[0, 0].tolist() == [1, 2, 2]
    assert first.confidence_TV is not None
    assert first.confidence_TV.tolist() == [[0.5, 0.5]] * 3


def test_clip_id_is_the_id_where_it_is_unique(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", clip_id=np.array(["x", "y"]))
    assert [item.recording for item in only_recordings(read(path))] == ["x", "y"]
    assert dict(only_recordings(read(path))[0].columns) == {}


def test_clip_id_that_repeats_stays_a_column(tmp_path: Path) -> None:
    first, second = only_recordings(read(save(tmp_path / "a.npz", clip_id=np.array(["x", "x"]))))
    assert (first.recording, second.recording) == ("a-00000", "a-00001")
    assert second.columns == {"clip_id": "x"}


def test_further_columns_become_python_values(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.npz",
        side=np.array(["left", "right"]),
        site=np.array([b"A", b"B"]),
        rep=np.array([1, 2], np.int16),
        correct=np.array([True, False]),
        speed=np.array([1.5, np.nan], np.float32),
    )
    _, second = only_recordings(read(path))
    assert second.columns == {"side": "right", "site": "B", "rep": 2, "correct": 0, "speed": None}
    assert [type(value) for value in second.columns.values()] == [str, str, int, int, type(None)]


def test_another_array_can_be_class_or_person(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", correct=np.array([1, 2]), patient=np.array([7, 8]))
    first, _ = only_recordings(read(path, label="correct", person="patient"))
    assert (first.person, first.label) == ("7", "1")
    assert first.columns == {"subject": "s1", "file_label": "healthy"}


def test_ids_may_be_whole_numbers_or_encoded_text(tmp_path: Path) -> None:
    numbers = save(tmp_path / "a.npz", subject=np.array([7, 2**63], np.uint64))
    assert [item.person for item in only_recordings(read(numbers))] == ["7", "9223372036854775808"]
    encoded = save(tmp_path / "b.npz", subject=np.array(["Zo\xeb".encode(), b"Ann"]))
    assert [item.person for item in only_recordings(read(encoded))] == ["Zo\xeb", "Ann"]


def test_true_and_false_may_be_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", correct=np.array([True, False]))
    assert [item.label for item in only_recordings(read(path, label="correct"))] == ["1", "0"]


def test_what_nobody_asks_for_persons_and_classes_may_have_any(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", subject=np.array([1.0, np.nan]), label=np.array([0.5, 1]))
    items = only_recordings(list(read_npz(path, TWO_JOINTS, ReadOptions(), labelled=False)))
    assert [(item.person, item.label) for item in items] == [("unknown", "unknown")] * 2


def test_clip_ids_that_are_floats_stay_a_column(tmp_path: Path) -> None:
    first, _ = only_recordings(read(save(tmp_path / "a.npz", clip_id=np.array([1.0, 2.0]))))
    assert (first.recording, first.columns) == ("a-00000", {"clip_id": 1.0})


def test_other_columns_keep_what_can_be_decoded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", a=np.array([b"\xe9", b"b"]), b=np.array(["\udce9", "b"]))
    first, second = only_recordings(read(path))
    assert (dict(first.columns), dict(second.columns)) == (
        {"a": "\ufffd", "b": "?"},
        {"a": "b", "b": "b"},
    )


def test_relabel_renames_and_merges_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz")
    relabel = {"healthy": "healthy", "*": "disorder"}
    first, second = only_recordings(read(path, relabel=relabel))
    assert (first.label, second.label) == ("healthy", "disorder")
    assert second.columns == {"file_label": "knee"}
    unnamed = only_recordings(read(path, relabel={"knee": "KOA"}))
    assert [item.label for item in unnamed] == ["healthy", "KOA"]


@pytest.mark.parametrize(
    ("relabel", "slip"),
    [
        ({"healthy": "well", "Knee": "ill"}, "Knee"),
        ({"healthy": "well", "hip": "ill", "*": "ill"}, "hip"),
    ],
)
def test_a_class_to_rename_that_no_recording_has_is_refused(
    tmp_path: Path, relabel: dict[str, str], slip: str
) -> None:
    path = save(tmp_path / "walks.npz")
    items = read_files([path], TWO_JOINTS, ReadOptions(relabel=relabel))
    with pytest.raises(
        ValueError,
        match=f"names the class '{slip}', but the recordings are of the classes healthy, knee;",
    ):
        list(items)
    del relabel[slip]
    assert len(list(read_files([path], TWO_JOINTS, ReadOptions(relabel=relabel)))) == 2


def test_spaces_around_people_and_classes_do_not_make_new_ones(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", subject=np.array(["s1 ", " s1"]), label=np.array(["a", "a "]))
    assert {(item.person, item.label) for item in read(path)} == {("s1", "a")}


def test_fps_of_the_options_overrides_the_layout(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz")
    assert [item.fps for item in only_recordings(read(path, fps=25))] == [25, 25]
    assert [item.fps for item in only_recordings(read(path, FORCES))] == [None, None]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"frames": np.full((5, 2, 3), np.inf)}, "infinities"),
        ({"frames": np.full((5, 2, 3), 1e300)}, "infinities"),
        ({"frames": np.full((5, 2, 3), np.nan)}, "every joint of every frame is missing"),
        ({"offsets": np.array([0, 5, 5])}, "too few frames: 0"),
        ({"offsets": np.array([0, 4, 5])}, "too few frames: 1"),
        ({"subject": np.array(["s1", ""])}, "the person or the label is empty"),
        ({"label": np.array(["a", ""])}, "the person or the label is empty"),
    ],
)
def test_faulty_recordings_are_rejected_with_their_reason(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    path = save(tmp_path / "a.npz", **changed)
    last = read(path)[-1]
    assert isinstance(last, Rejected)
    assert (last.source, last.position) == (str(path), 1)
    assert reason in last.reason


def test_empty_class_is_rejected_even_when_all_others_are_merged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", label=np.array(["healthy", " "]))
    assert isinstance(read(path, relabel={"*": "disorder"})[1], Rejected)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"offsets": None}, "no array 'offsets'"),
        ({"frames": None}, "no array 'frames'"),
        ({"subject": None}, "no array 'subject'"),
        ({"label": None}, "no array 'label'"),
        ({"offsets": np.array([1, 3, 5])}, "start at 1 instead of 0"),
        ({"offsets": np.array([0, 6, 5])}, "run backward"),
        ({"offsets": np.array([0, 6, 5], np.uint64)}, "run backward"),
        ({"offsets": np.array([0, 3, 6])}, "end at 6, beyond the 5 frames"),
        ({"offsets": np.array([0, 2, 4])}, "leave frames 4 to 4 to no recording"),
        ({"offsets": np.array([0.0, 3.0, 5.0])}, "must be whole numbers"),
        ({"offsets": np.array([0])}, "must be whole numbers"),
        (
            {"subject": np.array(["s1"])},
            r"2 recordings by its offsets, but 'subject' has shape \(1,\)",
        ),
        ({"label": np.array(["a", "b", "c"])}, "'label' has shape"),
        ({"rep": np.array([1, 2, 3])}, "'rep' has shape"),
        ({"rep": np.array([1j, 2j])}, "the column 'rep' of type complex128"),
        ({"frames": np.zeros((5, 3, 3))}, "3 joints, but the layout 'two' has 2"),
        ({"frames": np.zeros((5, 6))}, r"frames of shape \(5, 6\)"),
        ({"frames": np.zeros((5, 2, 3), np.int32)}, "frames of type int32"),
        ({"frames": np.zeros((5, 2, 4))}, "4 coordinates per joint"),
        ({"frames": np.zeros((5, 2, 1))}, "1 coordinates per joint"),
        ({"subject": np.array(["s1", None], object)}, "Python objects"),
        ({"subject": np.array([1.0, 2.0])}, "persons of type float64 in 'subject'"),
        ({"subject": np.array([1.0, np.nan])}, "persons of type float64 in 'subject'"),
        ({"subject": np.array([True, False])}, "persons of type bool in 'subject'"),
        ({"label": np.array([1, 2], np.float32)}, "classes of type float32 in 'label'"),
        (
            {"subject": np.array([b"s1", b"M\xfcller"])},
            r"b'M\\xfcller' at position 1 of 'subject', which is no UTF-8",
        ),
        (
            {"subject": np.array(["s1", "M\udcfcller"])},
            r"'M\\udcfcller' at position 1 of 'subject', which is no UTF-8",
        ),
        ({"label": np.array([b"\xe9", b"a"])}, "position 0 of 'label', which is no UTF-8"),
    ],
)
def test_faults_of_the_file_are_raised_before_anything_is_yielded(
    tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    path = save(tmp_path / "a.npz", **changed)
    with pytest.raises(ValueError, match=sentence) as raised:
        read_npz(path, TWO_JOINTS, ReadOptions())  # not iterated
    assert str(path) in str(raised.value)


def test_force_plates_may_have_any_number_of_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", frames=np.zeros((5, 2, 6)))
    assert only_recordings(read(path, FORCES))[0].positions_TVC.shape == (3, 2, 6)


def test_a_file_may_tell_the_frame_rate_of_each_recording(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", fps=np.array([25.0, 100.0]))
    first, second = only_recordings(read(path))
    assert (first.fps, second.fps) == (25.0, 100.0)
    assert "fps" not in first.columns
    first, second = only_recordings(read(path, fps=50.0))
    assert (first.fps, second.fps) == (50.0, 50.0)


def test_a_frame_rate_that_is_none_is_the_layouts_and_an_impossible_one_makes_a_rejected(
    tmp_path: Path,
) -> None:
    first, second = read(save(tmp_path / "a.npz", fps=np.array([np.nan, 0.0])))
    assert isinstance(first, Recording)
    assert first.fps == TWO_JOINTS.fps
    assert isinstance(second, Rejected)
    assert second.reason.startswith("impossible frame rate: 0.0")
    with pytest.raises(ValueError, match=r"a\.npz has text in 'fps'"):
        read(save(tmp_path / "a.npz", fps=np.array(["25 Hz", "30 Hz"])))


def test_confidence_channel_beyond_the_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 channels, so there is no confidence channel 3"):
        read(save(tmp_path / "a.npz"), confidence_channel=3)


def test_confidence_outside_0_to_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="confidence from 2 to 29, but it must lie between 0 and 1"
    ):
        read(save(tmp_path / "a.npz"), confidence_channel=2)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist"):
        read(tmp_path / "nowhere.npz")


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"frames,offsets\n1,2\n")
    with pytest.raises(ValueError, match=r"not an \.npz archive"):
        read(path)


def test_archive_of_other_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"'readme\.txt', which is no array"):
        read(path)


def test_damage_changes_nothing_or_ends_in_a_value_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz")
    before = only_recordings(read(path))[0].positions_TVC
    whole = path.read_bytes()
    for position in range(0, len(whole), 11):
        for damaged in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :],
        ):
            path.write_bytes(damaged)
            with suppress(ValueError):  # bytes that do not matter change nothing
                assert np.array_equal(only_recordings(read(path))[0].positions_TVC, before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"confidence_channel": -1}, "channels count from 0"),
        ({"fps": 0.0}, "above 0 Hz"),
        ({"label": "subject"}, "both as class and as person"),
        ({"relabel": {"knee": ""}}, "empty name"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ReadOptions(**options)


def test_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"No reader for '\.mat'.*known are .*\.npz"):
        read_files([tmp_path / "a.mat"], TWO_JOINTS, ReadOptions())


def test_a_missing_file_is_found_before_the_first_is_read(tmp_path: Path) -> None:
    broken = tmp_path / "a.npz"
    broken.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"b\.npz"):
        read_files([broken, tmp_path / "b.npz"], TWO_JOINTS, ReadOptions())


def other_frames(number: int) -> np.ndarray[Any, Any]:
    """Frames like those of `arrays`, but of other movements for every number."""
    return np.random.default_rng(number).normal(size=(5, 2, 3))


def test_an_id_that_occurs_in_two_files_is_rejected_the_second_time(tmp_path: Path) -> None:
    one = save(tmp_path / "one.npz", clip_id=np.array(["x", "y"]))
    clips = np.array(["z", "x"])
    two = save(tmp_path / "two.NPZ.npz", clip_id=clips, frames=other_frames(0))
    items = list(read_files([one, two], TWO_JOINTS, ReadOptions()))
    assert [item.recording for item in only_recordings(items[:3])] == ["x", "y", "z"]
    assert items[3] == Rejected(
        source=str(two), position=1, person="s2", label="knee", reason="the id occurs twice: 'x'"
    )


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/walks", "b/runs"], ["walks", "runs"]),
        (["a/walks", "b/walks", "a/runs"], ["a/walks", "b/walks", "runs"]),
        (["a/1/walks", "b/1/walks"], ["a/1/walks", "b/1/walks"]),
        (["a/1/walks", "a/2/walks"], ["1/walks", "2/walks"]),
        (["walks", "a/walks"], ["walks", "a/walks"]),
        (["a/walks", "b/walks", "a/b/walks"], ["a/walks", "b/walks", "a/b/walks"]),
        (["x/../a/walks", "b/walks"], ["a/walks", "b/walks"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_their_folders(
    files: list[str], names: list[str]
) -> None:
    for root in (Path("/data"), Path("/else/where")):
        assert file_names([root / f"{file}.npz" for file in files]) == names


def test_files_of_one_folder_and_name_are_told_apart_by_their_suffix() -> None:
    assert file_names([Path("/a/walks.npz"), Path("/a/walks.NPZ")]) == ["walks.npz", "walks.NPZ"]


@pytest.mark.parametrize("labelled", [True, False])
def test_two_files_of_one_name_both_come_in(tmp_path: Path, labelled: bool) -> None:
    paths = []
    for n, site in enumerate(("a", "b")):
        (tmp_path / site).mkdir()
        paths.append(save(tmp_path / site / "walks.npz", frames=other_frames(n)))
    items = only_recordings(list(read_files(paths, TWO_JOINTS, ReadOptions(), labelled=labelled)))
    assert [item.recording for item in items] == [
        "a/walks-00000", "a/walks-00001", "b/walks-00000", "b/walks-00001",
    ]  # fmt: skip


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz")
    again = tmp_path / "nowhere" / ".." / "a.npz"
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ValueError, match=r"a\.npz is named twice; name it once"):
        read_files([path, again], TWO_JOINTS, ReadOptions())
