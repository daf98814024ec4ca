"""Rules for C3D files: what their points become, and what the process that reads them survives."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions, read_files
from gaitforge.ingest import c3d as module
from gaitforge.ingest.c3d import parse_c3d
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.testing import readers
from tests.c3d_files import BLOCK, DEC, INTEL, write_c3d

SAMPLE = Path(__file__).parents[2] / "shared" / "samples" / "kineticstoolkit_walkingOptiTrack.c3d"
LABELS = ("S1:LHIP", "S1:LKNE", "*3")
# three frames of three points, in millimetres
POSITIONS = np.arange(27, dtype=float).reshape(3, 3, 3) * 8 - 64


def only(path: Path) -> Motion:
    (motion,) = parse_c3d(path, ReadOptions())
    assert isinstance(motion, Motion)
    return motion


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match="again") as caught:
        list(parse_c3d(path, ReadOptions()))
    assert str(path) in str(caught.value)
    return str(caught.value)


def changed(path: Path, place: int, bytes_: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[place : place + len(bytes_)] = bytes_
    path.write_bytes(data)
    return path


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    return write_c3d(tmp_path / "walk.c3d", LABELS, POSITIONS, texts={"POINT": {"UNITS": ["mm"]}})


# what a file becomes


@pytest.mark.parametrize(
    ("processor", "scale"), [(INTEL, -1.0), (INTEL, 0.5), (DEC, -1.0), (DEC, 0.5)]
)
def test_points_are_read_as_floats_and_as_integers_of_intel_and_of_dec(
    processor: int, scale: float, tmp_path: Path
) -> None:
    path = write_c3d(
        tmp_path / "walk.c3d", LABELS, POSITIONS, processor=processor, scale=scale, rate=120
    )
    motion = only(path)
    assert motion.fps == 120
    np.testing.assert_array_equal(motion.positions_TVC, POSITIONS[:, :2])


def test_the_subject_before_all_labels_is_the_person_and_points_without_a_label_go(
    walk: Path,
) -> None:
    motion = only(walk)
    assert (motion.person, motion.points) == ("S1", ("LHIP", "LKNE"))
    assert (motion.unit, motion.up) == ("mm", "")


def test_points_of_two_subjects_keep_their_names_apart(tmp_path: Path) -> None:
    labels = ("A:LKNE", "B:LKNE", "ball")
    motion = only(write_c3d(tmp_path / "two.c3d", labels, POSITIONS))
    assert (motion.person, motion.points) == ("", labels)


def test_the_one_subject_that_a_file_lists_is_the_person(tmp_path: Path) -> None:
    labels = ("LHIP", "LKNE", "LANK")
    texts = {"SUBJECTS": {"NAMES": ["Ann"]}}
    assert only(write_c3d(tmp_path / "one.c3d", labels, POSITIONS, texts=texts)).person == "Ann"
    texts = {"SUBJECTS": {"NAMES": ["Ann", "Bob"]}}
    assert only(write_c3d(tmp_path / "two.c3d", labels, POSITIONS, texts=texts)).person == ""


def test_a_residual_below_zero_says_that_a_point_is_missing(tmp_path: Path) -> None:
    residuals = np.array([[0, -1, 0], [0.5, 0, -1], [-1, -1, 0]])
    motion = only(write_c3d(tmp_path / "gaps.c3d", ("a", "b", "c"), POSITIONS, residuals))
    is_missing = np.isnan(motion.positions_TVC)
    np.testing.assert_array_equal(is_missing.all(axis=2), residuals < 0)
    np.testing.assert_array_equal(is_missing.any(axis=2), residuals < 0)


@pytest.mark.parametrize(
    ("screens", "up"),
    [
        ({"X_SCREEN": ["+X"], "Y_SCREEN": ["+Z"]}, "z"),
        ({"X_SCREEN": ["+Z"], "Y_SCREEN": ["+Y"]}, "y"),
        ({"X_SCREEN": ["+X"], "Y_SCREEN": ["-Z"]}, "-z"),
        ({"Y_SCREEN": ["+Z"]}, "z"),
        ({"X_SCREEN": ["+Z"], "Y_SCREEN": ["+Z"]}, ""),
        ({"X_SCREEN": ["+X"]}, ""),
        ({"Y_SCREEN": ["up"]}, ""),
        ({}, ""),
    ],
)
def test_the_axis_that_is_up_is_the_screens_or_nobodys(
    screens: dict[str, list[str]], up: str, tmp_path: Path
) -> None:
    path = write_c3d(tmp_path / "up.c3d", ("a", "b", "c"), POSITIONS, texts={"POINT": screens})
    assert only(path).up == up


def test_more_labels_than_one_parameter_holds_are_read(tmp_path: Path) -> None:
    ezc3d: Any = pytest.importorskip("ezc3d")
    content = ezc3d.c3d()
    content["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    content["parameters"]["POINT"]["UNITS"]["value"] = ["m"]
    content["parameters"]["POINT"]["LABELS"]["value"] = [f"P{n}" for n in range(300)]
    content["data"]["points"] = np.arange(1800.0).reshape(3, 300, 2)
    content.write(str(tmp_path / "many.c3d"))
    motion = only(tmp_path / "many.c3d")
    assert motion.points == tuple(f"P{n}" for n in range(300))
    np.testing.assert_array_equal(motion.positions_TVC[1, 299], [599, 1199, 1799])
    assert (motion.fps, motion.unit) == (100, "m")


def test_more_frames_than_the_first_block_can_count_are_read_where_the_trial_tells_them(
    tmp_path: Path,
) -> None:
    # as Vicon writes them: 16 bits, and how often these overflowed
    words = {"TRIAL": {"ACTUAL_START_FIELD": [1, 0], "ACTUAL_END_FIELD": [70_000 - 2**16, 1]}}
    positions = np.arange(210_000.0).reshape(70_000, 1, 3)
    path = write_c3d(tmp_path / "long.c3d", ["a"], positions, scale=1.0, words=words)
    assert only(path).positions_TVC.shape == (70_000, 1, 3)


def test_more_frames_than_the_first_block_can_count_are_not_dropped_in_silence(
    tmp_path: Path,
) -> None:
    ezc3d: Any = pytest.importorskip("ezc3d")
    content = ezc3d.c3d()
    content["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    content["parameters"]["POINT"]["UNITS"]["value"] = ["m"]
    content["parameters"]["POINT"]["LABELS"]["value"] = ["a"]
    content["data"]["points"] = np.arange(210_000.0).reshape(3, 1, 70_000)
    content.write(str(tmp_path / "long.c3d"))
    with pytest.raises(ValueError, match="cut it into shorter files"):
        list(parse_c3d(tmp_path / "long.c3d", ReadOptions()))


def test_a_unit_is_known_by_its_names_and_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walk.c3d"
    write_c3d(path, LABELS, POSITIONS, texts={"POINT": {"UNITS": ["Feet"]}})
    assert only(path).unit == "ft"
    write_c3d(path, LABELS, POSITIONS, texts={"POINT": {"UNITS": ["ell"]}})
    assert "has the unit 'ell', but known are" in refusal(path)


def test_points_of_one_name_or_of_none_cannot_be_used(tmp_path: Path) -> None:
    path = write_c3d(tmp_path / "walk.c3d", ("a", "b", "a"), POSITIONS)
    assert list(parse_c3d(path, ReadOptions())) == [Unusable(reason="two points have one name: a")]
    path = write_c3d(tmp_path / "walk.c3d", ("*1", "*2", ""), POSITIONS)
    assert list(parse_c3d(path, ReadOptions())) == [Unusable(reason="it has no labelled points")]


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the shared samples")
def test_the_sample_holds_what_its_bytes_hold() -> None:
    """Read here from the bytes: 12 points of four 16-bit integers, times the scale of its first block, DEC's."""
    data = SAMPLE.read_bytes()
    (scale,) = struct.unpack("<f", data[14:16] + data[12:14])
    scale /= 4
    begin = (struct.unpack("<H", data[16:18])[0] - 1) * BLOCK
    assert len(data) == begin + 3361 * 12 * 8
    words = np.frombuffer(data[begin:], "<i2").reshape(3361, 12, 4)
    expected = words[:, :, :3] * np.float32(scale)
    expected[words[:, :, 3] < 0] = np.nan
    motion = only(SAMPLE)
    np.testing.assert_allclose(motion.positions_TVC, expected, rtol=1e-6, atol=1e-4)
    assert np.isnan(expected).any()
    assert motion.points is not None
    assert motion.points[::4] == ("Foot_Marker1", "Foot_Marker5", "Knee_Marker4")
    assert (motion.fps, motion.unit, motion.up, motion.person) == (160, "mm", "z", "")


def test_the_reader_holds_its_contract(walk: Path) -> None:
    layout = Layout(name="leg", joints=("LHIP", "LKNE"), bones=((0, 1),), unit="m", up="z")
    options = ReadOptions(path=r"(?P<label>\w)")
    readers.check(READERS[".c3d"], walk, layout, options)
    (recording,) = READERS[".c3d"](walk, layout, options)
    np.testing.assert_allclose(recording.positions_TVC, POSITIONS[:, :2] / 1000, rtol=1e-6)  # type: ignore[union-attr]
    assert recording.person == "S1"


def test_a_folder_of_files_is_read_with_a_table_and_with_names_of_points(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    paths = [tmp_path / "a" / "walk.c3d", tmp_path / "run.c3d"]
    labels = ("LASI", "LPSI", "LKNE")
    for n, path in enumerate(paths):
        write_c3d(path, labels, POSITIONS + n, texts={"POINT": {"UNITS": ["mm"]}})
    table = tmp_path / "walks.csv"
    table.write_text(
        "file,subject,label,speed\na/walk.c3d,P1,well,1.5\nrun.c3d,P2,ill,3\n", encoding="utf-8"
    )
    layout = Layout(
        name="leg", joints=("left_knee", "left_hip", "left_toe"), bones=((0, 1), (0, 2)), unit="mm"
    )
    joints = {"left_hip": ("LASI", "LPSI"), "left_knee": ("LKNE",)}
    options = ReadOptions(table=str(table), joints=joints)
    first, second = read_files(paths, layout, options)
    assert isinstance(first, Recording)
    assert isinstance(second, Recording)
    assert (first.person, first.label, first.columns["speed"]) == ("P1", "well", 1.5)
    assert (second.person, second.label, second.fps) == ("P2", "ill", 50)
    np.testing.assert_array_equal(first.positions_TVC[:, 0], POSITIONS[:, 2])
    np.testing.assert_array_equal(first.positions_TVC[:, 1], POSITIONS[:, :2].mean(axis=1))
    assert np.isnan(first.positions_TVC[:, 2]).all()


# what is refused


def test_what_does_not_begin_as_a_c3d_file_is_refused(tmp_path: Path, walk: Path) -> None:
    path = tmp_path / "text.c3d"
    path.write_text("x" * 2000, encoding="utf-8")
    assert "of which the second is 0x50" in refusal(path)
    path.write_bytes(b"")
    assert "of which the second is 0x50" in refusal(path)
    assert "of which the second is 0x50" in refusal(changed(walk, 0, b"\0"))


def test_parameters_beyond_the_file_are_refused(walk: Path) -> None:
    data = walk.read_bytes()
    assert "should reach beyond" in refusal(changed(walk, 0, bytes([200])))
    walk.write_bytes(data)
    assert "should reach beyond" in refusal(changed(walk, BLOCK + 2, bytes([200])))
    walk.write_bytes(data)
    assert "processor of kind 99" in refusal(changed(walk, BLOCK + 3, bytes([99])))


def test_frames_that_the_file_cannot_hold_are_refused(walk: Path) -> None:
    data = walk.read_bytes()
    sentence = refusal(changed(walk, 8, struct.pack("<H", 60_000)))
    assert "promises 60,000 frames of 48 bytes, but holds 144 bytes" in sentence
    walk.write_bytes(data[:-1])
    assert "promises 3 frames of 48 bytes, but holds 143 bytes" in refusal(walk)
    walk.write_bytes(data)
    assert "promises 3 frames" in refusal(changed(walk, 2, struct.pack("<H", 50_000)))


def test_a_file_that_ends_the_process_is_refused_and_the_next_is_read(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("print('ready', flush=True); input()", encoding="utf-8")
    process = module._Process()
    promise = module._check(walk)
    try:
        monkeypatch.setattr(module, "_PROGRAM", deadly)
        with pytest.raises(ValueError, match=r"walk\.c3d is damaged \(it ended the process"):
            process.read(walk, promise)
        monkeypatch.undo()
        assert process.read(walk, promise)[1].shape == (3, 3, 3)
    finally:
        process.stop()


def test_a_file_that_takes_more_memory_than_it_may_is_refused_and_the_next_is_read(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = write_c3d(tmp_path / "large.c3d", LABELS, np.ones((20_000, 3, 3)), scale=1.0)
    monkeypatch.setattr(module, "_LEAST_BYTES", 0)
    monkeypatch.setattr(module, "_TIMES", 1)
    assert "is damaged" in refusal(large)
    monkeypatch.undo()
    assert only(walk).person == "S1"
    assert only(large).positions_TVC.shape == (20_000, 2, 3)


def test_without_ezc3d_the_sentence_says_so(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = tmp_path / "lacking.py"
    lacking.write_text("import a_package_that_nobody_has", encoding="utf-8")
    monkeypatch.setattr(module, "_PROGRAM", lacking)
    with pytest.raises(ValueError, match=r"needs ezc3d, .* by pip\.$"):
        module._Process().read(walk, module._check(walk))


def test_a_process_that_was_ended_meanwhile_is_started_again(walk: Path) -> None:
    process = module._Process()
    promise = module._check(walk)
    try:
        process.read(walk, promise)
        assert process._running is not None
        os.kill(process._running.pid, signal.SIGKILL)
        process._running.wait()
        assert process.read(walk, promise)[1].shape == (3, 3, 3)
    finally:
        process.stop()


def test_a_name_that_is_no_utf_8_is_read(walk: Path) -> None:
    odd = walk.parent / os.fsdecode(b"w\xe4lk.c3d")
    walk.rename(odd)
    assert only(odd).person == "S1"
