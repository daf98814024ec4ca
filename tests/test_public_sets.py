"""Rules of reading public sets: pyskl's pickles, plain arrays in the orders of ST-GCN, and NTU's skeletons."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest import READERS, ReadOptions, parts_of
from gaitforge.ingest.npy import read_npy
from gaitforge.ingest.ntu import POINTS, read_ntu
from gaitforge.ingest.pyskl import read_pyskl
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.settings import IngestSettings
from gaitforge.testing import readers
from tests.pose_files import annotation, body_line, joint_line, skeleton_text, walk, write_pickle
from trainers.ingest import ingest_identity

PICTURE = Layout(name="picture", joints=LAYOUTS["coco17"].joints, bones=((0, 1),), unit="px", up="none")  # fmt: skip
NAME = "S001C002P003R002A013"
TOLD = ReadOptions(path="(?P<person>.)(?P<label>.)")


def any_layout(joints: int, up: str = "none") -> Layout:
    return Layout(name="any", joints=tuple(f"j{n}" for n in range(joints)), bones=((0, 1),), up=up)


def read(
    path: Path, layout: Layout = PICTURE, options: ReadOptions | None = None
) -> list[Recording | Rejected]:
    return list(READERS[path.suffix](path, layout, options or ReadOptions()))


def only(path: Path, layout: Layout = PICTURE, options: ReadOptions | None = None) -> Recording:
    (item,) = read(path, layout, options)
    assert isinstance(item, Recording), item
    return item


def refusal(path: Path, layout: Layout = PICTURE, options: ReadOptions | None = None) -> str:
    with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
        read(path, layout, options)
    (sentence,) = caught.value.args
    assert "\n" not in sentence
    return str(sentence)


# pyskl and MMAction2


@pytest.mark.parametrize("suffix", [".pkl", ".pickle"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_annotations_are_recordings_with_the_person_of_their_name(
    suffix: str, protocol: int, tmp_path: Path
) -> None:
    one, two = annotation(NAME, label=12), annotation("S017C001P020R001A001", label=0)
    content = {"split": {"xsub_train": [NAME]}, "annotations": [one, two]}
    path = write_pickle(tmp_path / f"walks{suffix}", content, protocol)
    first, second = read(path)
    assert isinstance(first, Recording)
    assert isinstance(second, Recording)
    assert (first.recording, first.person, first.label) == (NAME, "P003", "12")
    assert dict(first.columns) == {"setup": 1, "camera": 2, "repetition": 2}
    assert (second.person, second.label) == ("P020", "0")
    np.testing.assert_array_equal(first.positions_TVC, walk(4, 17))
    assert first.confidence_TV is not None
    assert first.confidence_TV.tolist() == [[0.5] * 17] * 4
    readers.check(read_pyskl, path, PICTURE)


def test_a_plain_list_of_annotations_is_read_and_the_path_tells_the_person(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "P7_custom.pkl", [annotation("walk 1"), annotation("walk 2")])
    with pytest.raises(ValueError, match="does not tell a person"):
        read(path)
    first, second = read(path, options=ReadOptions(path=r"(?P<person>P\d)"))
    assert isinstance(first, Recording)
    assert (first.recording, first.person, first.label) == ("walk 1", "P7", "8")
    assert isinstance(second, Recording)


def test_points_on_a_picture_stand_upright_and_those_in_space_stay(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", [annotation(NAME)])
    upright = walk(4, 17) * np.array([1, -1], np.float32)
    np.testing.assert_array_equal(only(path, LAYOUTS["coco17"]).positions_TVC, upright)
    space = walk(4, 25, 3)
    space[:, 0] = 0  # what all were centred on
    in_space = annotation(NAME, keypoint=space[None], keypoint_score=None, img_shape=None)
    found = only(write_pickle(path, [in_space]), LAYOUTS["kinect25"])
    np.testing.assert_array_equal(found.positions_TVC, space)
    assert found.confidence_TV is None


def test_of_several_bodies_the_walker_is_kept_and_zeros_that_stand_for_nothing_are_missing(
    tmp_path: Path,
) -> None:
    points = np.zeros((2, 6, 17, 2), np.float32)
    points[0, :, :] = walk(1, 17)[0] + 500  # stands
    for frame in range(1, 6):
        swing = np.stack([30 * np.sin(frame + np.arange(17)), 10 * np.arange(17)], axis=1)
        points[1, frame] = 100 + swing
    points[:, 3] = points[::-1, 3]  # an estimator puts people in any order
    points[1, 4, 2] = 0
    content = [annotation(NAME, keypoint=points, keypoint_score=None, total_frames=6)]
    found = only(write_pickle(tmp_path / "a.pkl", content))
    assert np.isnan(found.positions_TVC[0]).all()
    wanted = np.where(points[1] == 0, np.nan, points[1])
    wanted[3] = points[0, 3]
    np.testing.assert_array_equal(found.positions_TVC, wanted)


def test_somebody_who_moves_to_another_place_among_the_bodies_is_one_person(
    tmp_path: Path,
) -> None:
    body = walk(6, 25, 3)
    points = np.zeros((2, 6, 25, 3), np.float32)
    points[0, :3], points[1, 3:] = body[:3], body[3:]
    moved = annotation(NAME, keypoint=points, keypoint_score=None, img_shape=None, total_frames=6)
    found = only(write_pickle(tmp_path / "a.pkl", [moved]), any_layout(25))
    np.testing.assert_array_equal(found.positions_TVC, body)
    set_ = save(tmp_path / "a_data.npy", points.transpose(3, 1, 2, 0)[None])
    np.testing.assert_array_equal(only(set_, any_layout(25), TOLD).positions_TVC, body)


def test_joints_without_a_score_are_missing_and_frames_behind_the_total_are_none(
    tmp_path: Path,
) -> None:
    score = np.full((1, 4, 17), 2.5, np.float16)
    score[0, 1, 3] = 0
    content = [annotation(NAME, keypoint_score=score, total_frames=3)]
    found = only(write_pickle(tmp_path / "a.pkl", content))
    assert found.positions_TVC.shape == (3, 17, 2)
    assert np.isnan(found.positions_TVC[1, 3]).all()
    assert np.isnan(found.positions_TVC).sum() == 2
    assert found.confidence_TV is not None
    assert sorted(set(found.confidence_TV.ravel().tolist())) == [0, 1]


def test_the_third_number_of_a_picture_is_nothing_until_somebody_says_what(tmp_path: Path) -> None:
    points = walk(4, 17, 3)
    points[..., 2] = 0.25
    path = write_pickle(
        tmp_path / "a.pkl", [annotation(NAME, keypoint=points[None], keypoint_score=None)]
    )
    assert "say ingest.read.confidence_channel = 2" in refusal(path)
    found = only(path, options=ReadOptions(confidence_channel=2))
    np.testing.assert_array_equal(found.positions_TVC, points[..., :2])
    assert found.confidence_TV is not None
    assert set(found.confidence_TV.ravel().tolist()) == {0.25}
    assert "there is no confidence channel 7" in refusal(
        path, options=ReadOptions(confidence_channel=7)
    )


SET_ASIDE: dict[str, tuple[object, str]] = {
    "a number": (3, "it is no annotation: int"),
    "no points": (annotation(NAME, keypoint=None), "it has no array 'keypoint': nothing"),
    "points in lists": (annotation(NAME, keypoint=[[[[1.0]]]]), "it has no array 'keypoint': list"),
    "two axes": (annotation(NAME, keypoint=np.ones((3, 4))), "wrong shape: 'keypoint' is (3, 4)"),
    "no frames": (annotation(NAME, keypoint=np.ones((1, 0, 17, 2))), "wrong shape"),
    "100 bodies": (annotation(NAME, keypoint=np.ones((100, 2, 17, 2))), "wrong shape: 'keypoint' is of 100 bodies"),
    "other scores": (
        annotation(NAME, keypoint_score=np.ones((1, 3, 17))),
        "wrong shape: 'keypoint_score' is (1, 3, 17)",
    ),
    "scores in a list": (annotation(NAME, keypoint_score=[1]), "'keypoint_score' is no array: list"),
    "more frames than there are": (annotation(NAME, total_frames=5), "its frames are not those"),
    "a total that is none": (annotation(NAME, total_frames="x"), "its frames are not those"),
    "several classes": (annotation(NAME, label=[1, 2]), "its label is no class: list"),
    "five coordinates": (
        annotation(NAME, keypoint=np.ones((1, 4, 17, 5), np.float32)),
        "it has 5 coordinates",
    ),
    "one frame": (
        annotation(NAME, keypoint=walk(1, 17)[None], keypoint_score=None, total_frames=1),
        "too few frames: 1",
    ),
    "infinity": (
        annotation(NAME, keypoint=np.full((1, 4, 17, 2), np.inf)),
        "positions hold infinities",
    ),
    "nothing but zeros": (
        annotation(NAME, keypoint=np.zeros((2, 4, 17, 2)), keypoint_score=None),
        "every joint of every frame is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SET_ASIDE)
def test_an_annotation_that_cannot_be_used_is_set_aside_and_the_others_are_read(
    what: str, tmp_path: Path
) -> None:
    bad, reason = SET_ASIDE[what]
    other = annotation("S001C001P001R001A001")
    path = write_pickle(tmp_path / "P1.pkl", [bad, other])
    first, second = read(path)
    assert isinstance(first, Rejected)
    assert first.reason.startswith(reason)
    assert isinstance(second, Recording)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (3, "holds int where a list of annotations must be"),
        ({"a": 1}, "holds nothing where a list of annotations must be"),
        ({"annotations": {"a": 1}}, "holds dict where a list"),
        ([annotation(NAME, keypoint=walk(4, 12)[None], keypoint_score=None)], "has 12 joints, but"),
    ],
)  # fmt: skip
def test_a_pickle_of_other_things_is_refused(
    content: object, sentence: str, tmp_path: Path
) -> None:
    assert sentence in refusal(write_pickle(tmp_path / "a.pkl", content))


# plain arrays


def as_set(recordings: list[NDArray[np.float32]], frames: int, bodies: int = 2) -> NDArray[np.float32]:  # fmt: skip
    """Recordings [T, V, C] as ST-GCN has them, [N, C, T, V, M], the first body theirs."""
    joints, coordinates = recordings[0].shape[1:]
    array = np.zeros((len(recordings), coordinates, frames, joints, bodies), np.float32)
    for n, positions in enumerate(recordings):
        array[n, :, : len(positions), :, 0] = positions.transpose(2, 0, 1)
    return array


def save(path: Path, array: NDArray[Any]) -> Path:
    np.save(path, array)
    return path


def test_a_set_of_recordings_is_cut_to_their_frames_and_takes_names_and_classes_from_beside(
    tmp_path: Path,
) -> None:
    walks = [walk(3, 25, 3), walk(5, 25, 3, shift=9)]
    walks[1][:, 4] = 0  # one joint alone may be where all is centred
    path = save(tmp_path / "train_data.npy", as_set(walks, 300))
    names = [f"{NAME}.skeleton", "S002C001P001R001A002.skeleton"]
    write_pickle(tmp_path / "train_label.pkl", (names, [12, 1]), 2)
    layout = any_layout(25)
    first, second = read(path, layout)
    assert isinstance(first, Recording)
    assert isinstance(second, Recording)
    assert (first.recording, first.person, first.label) == (NAME, "P003", "12")
    np.testing.assert_array_equal(first.positions_TVC, walks[0])
    np.testing.assert_array_equal(second.positions_TVC, walks[1])
    assert (second.person, second.label) == ("P001", "1")
    assert parts_of(path) == [path, tmp_path / "train_label.pkl"]


def test_other_labels_beside_an_array_make_other_recordings(tmp_path: Path) -> None:
    path = save(tmp_path / "train_data_joint.npy", as_set([walk(3, 25, 3)], 4))
    settings = IngestSettings(files=(str(path),), layout="kinect25")
    without = ingest_identity(settings)
    labels = write_pickle(tmp_path / "train_label.pkl", ([NAME], np.array([1])))
    one = ingest_identity(settings)
    assert only(path, any_layout(25)).label == "1"
    write_pickle(labels, ([NAME], [2]))
    assert len({without, one, ingest_identity(settings)}) == 3


@pytest.mark.parametrize(
    "content", [3, ([NAME],), ([NAME], [1, 2]), ([NAME, "b"], [1]), ([3], [1]), ([NAME], [None])]
)
def test_labels_that_are_not_those_of_the_array_are_refused(
    content: object, tmp_path: Path
) -> None:
    path = save(tmp_path / "a_data.npy", as_set([walk(3, 25, 3)], 4))
    labels = write_pickle(tmp_path / "a_label.pkl", content)
    assert f"{labels} must hold the names and the classes of the 1 recordings" in refusal(
        path, any_layout(25)
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "<i4"])
def test_one_recording_is_read_with_and_without_an_axis_of_bodies(
    kind: str, order: Any, tmp_path: Path
) -> None:
    body = walk(5, 17, 3)
    for array in (body, body[None], np.stack([body, np.zeros_like(body)])):
        path = save(tmp_path / "P1.npy", np.asarray(array, kind, order=order))
        found = only(path, any_layout(17), TOLD)
        np.testing.assert_array_equal(found.positions_TVC, body)
        readers.check(read_npy, path, any_layout(17), TOLD)


def test_a_channel_that_is_the_confidence_is_split_off(tmp_path: Path) -> None:
    body = walk(4, 18, 3)
    body[..., 2] = 0.5
    body[2, :, :] = 0
    path = save(tmp_path / "kinetics_data.npy", as_set([body], 6))
    found = only(path, any_layout(18), ReadOptions(path=TOLD.path, confidence_channel=2))
    assert found.positions_TVC.shape == (4, 18, 2)
    assert np.isnan(found.positions_TVC[2]).all()
    np.testing.assert_array_equal(found.positions_TVC[0], body[0, :, :2])
    assert found.confidence_TV is not None
    assert found.confidence_TV[:, 0].tolist() == [0.5, 0.5, 0, 0.5]


def test_shares_about_the_middle_of_an_image_with_a_score_are_no_places_in_space(
    tmp_path: Path,
) -> None:
    body = np.zeros((4, 18, 3), np.float32)
    body[..., 0], body[..., 1] = np.linspace(-0.5, 0.5, 18), np.linspace(0.25, -0.25, 18)
    body[..., 2] = np.linspace(0.125, 1, 18)
    path = save(tmp_path / "kinetics_data.npy", as_set([body[:0], body], 6))
    assert "say ingest.read.confidence_channel = 2" in refusal(path, any_layout(18), TOLD)
    found = [
        item
        for item in read(path, any_layout(18), ReadOptions(path=TOLD.path, confidence_channel=2))
        if isinstance(item, Recording)
    ]
    np.testing.assert_array_equal(found[0].positions_TVC, body[..., :2])
    in_metres = read(path, any_layout(18), ReadOptions(path=TOLD.path, unit="m"))
    assert isinstance(in_metres[1], Recording)
    np.testing.assert_array_equal(in_metres[1].positions_TVC, body)
    # a depth that is below 0 anywhere is no score
    body[0, 0, 2] = -0.125
    save(path, as_set([body], 6))
    np.testing.assert_array_equal(only(path, any_layout(18), TOLD).positions_TVC, body)


def test_a_set_is_read_a_recording_at_a_time(tmp_path: Path) -> None:
    array = as_set([walk(10, 25, 3)], 100).repeat(200, axis=0)
    path = save(tmp_path / "a_data.npy", array)
    assert path.stat().st_size > 10_000_000
    layout = any_layout(25)
    tracemalloc.start()
    count = sum(isinstance(item, Recording) for item in read_npy(path, layout, TOLD))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((4, 2, 9, 17, 2), r"reads as \[N, C, T, V, M\] or \[N, M, T, V, C\]"),
        ((4, 2, 9, 17, 3), r"reads as \[N, C, T, V, M\] or \[N, M, T, V, C\]"),
        ((4, 1, 9, 17, 3), r"reads as \[N, M, T, V, C\], but known are"),
        ((3, 9, 17, 2), r"reads as \[M, T, V, C\] or \[C, T, V, M\]"),
        ((3, 9, 17, 1), r"reads as \[C, T, V, M\], but known are"),
        ((4, 9, 17, 3), r"first axis may as well count 4 recordings as bodies of one"),
        ((50, 9, 17, 3), r"first axis may as well count 50 recordings as bodies of one"),
        ((3, 9, 17), r"reads as \[C, T, V\]"),
        ((3, 17, 3), r"reads as \[T, V, C\] or \[C, T, V\]"),
        ((9, 51), "but known are"),
        ((0, 3, 9, 17, 2), "but known are"),
        ((4, 3, 0, 17, 2), "but known are"),
        ((), "but known are"),
    ],
)
def test_an_array_whose_axes_may_be_several_is_refused(
    shape: tuple[int, ...], sentence: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npy", np.ones(shape, np.float32))
    assert re.search(sentence, refusal(path, any_layout(17), TOLD))


def with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 17, 3), }"), "should take 204"),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 17, 3), }", bytes(409)), "and takes 409"),
        (with_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 17, 3), }", bytes(816)), "Python objects"),
        (with_header("{'descr': '<U9', 'fortran_order': False, 'shape': (1,), }", bytes(36)), "must be numbers"),
        (with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 2, 2, 1), }", bytes(96)), "by columns"),
        (with_header("(" * 9_000), "is damaged"),
        (b"\x93NUMPY\x03\x00\xff\xff\xff\xff", "is damaged"),
        (b"PK\x03\x04", "is damaged"),
        (b"", "is damaged"),
    ],
)  # fmt: skip
def test_an_array_that_is_not_what_its_header_tells_is_refused(
    data: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    assert sentence in refusal(path, any_layout(17), TOLD)


def test_a_recording_of_nothing_but_padding_is_set_aside(tmp_path: Path) -> None:
    array = as_set([walk(3, 25, 3)], 5).repeat(2, axis=0)
    array[0] = 0
    first, second = read(save(tmp_path / "a.npy", array), any_layout(25), TOLD)
    assert isinstance(first, Rejected)
    assert first.reason == "it holds nothing but zeros"
    assert isinstance(second, Recording)


# NTU RGB+D


def place(frames: int, seed: int = 0) -> NDArray[np.float32]:
    """Positions in space [T, 25, 3], in centimetres that a line writes exactly."""
    return np.random.default_rng(seed).integers(-99, 99, (frames, 25, 3)).astype(
        np.float32
    ) / np.float32(4)


def write_skeleton(folder: Path, text: str, name: str = NAME) -> Path:
    path = folder / f"{name}.skeleton"
    path.write_text(text, "ascii")
    return path


KINECT = LAYOUTS["kinect25"]


def test_a_skeleton_is_metres_at_30_frames_a_second_with_what_its_name_tells(
    tmp_path: Path,
) -> None:
    body = place(4)
    path = write_skeleton(tmp_path, skeleton_text([[("7", joints)] for joints in body]))
    found = only(path, KINECT)
    np.testing.assert_array_equal(found.positions_TVC, body)
    assert (found.person, found.label, found.recording, found.fps) == ("P003", "A013", NAME, 30)
    assert dict(found.columns) == {"setup": 1, "camera": 2, "repetition": 2}
    readers.check(read_ntu, path, KINECT, TOLD)


def test_the_joints_of_a_skeleton_are_those_of_kinect() -> None:
    # NTU's own list of the 25 counts from 1
    told = {
        1: "spine_base", 4: "head", 6: "left_elbow", 14: "left_knee", 18: "right_knee", 21: "spine_shoulder",
        22: "left_hand_tip", 25: "right_thumb",
    }  # fmt: skip
    assert {n: POINTS[n - 1] for n in told} == told


def test_what_kinect_inferred_is_half_sure_and_what_it_did_not_track_is_missing(
    tmp_path: Path,
) -> None:
    text = skeleton_text([[("7", joints)] for joints in place(2)])
    lines = text.splitlines()
    lines[4] = joint_line(1, 2, 3, state=0)
    lines[5] = joint_line(1, 2, 3, state=1)
    lines[6] = joint_line(float("nan"), 2, 3)
    found = only(write_skeleton(tmp_path, "\r\n".join(lines)), KINECT)
    assert found.confidence_TV is not None
    assert found.confidence_TV[0, :4].tolist() == [0, 0.5, 0, 1]
    assert np.isnan(found.positions_TVC[0, :4, 0]).tolist() == [True, False, True, False]


def test_of_several_bodies_the_liveliest_of_long_ones_is_kept_by_its_id(tmp_path: Path) -> None:
    lively, still = place(8), np.repeat(place(1, seed=1), 8, axis=0)
    frames: list[list[tuple[str, NDArray[np.float32]]]] = []
    for n in range(8):
        bodies = [("11", still[n]), ("22", lively[n])]
        if n == 5:
            bodies = bodies[:1]
        frames.append(bodies if n % 2 else bodies[::-1])
    frames[3].append(("33", 9 * place(1, seed=2)[0]))
    frames.append([])
    found = only(write_skeleton(tmp_path, skeleton_text(frames)), KINECT)
    lively[5] = np.nan
    np.testing.assert_array_equal(found.positions_TVC[:8], lively)
    assert len(found.positions_TVC) == 9
    assert np.isnan(found.positions_TVC[8]).all()


def test_a_skeleton_whose_one_body_gets_another_id_is_whole(tmp_path: Path) -> None:
    body = place(6)
    frames = [[("1" if frame < 3 else "2", joints)] for frame, joints in enumerate(body)]
    found = only(write_skeleton(tmp_path, skeleton_text(frames)), KINECT)
    np.testing.assert_array_equal(found.positions_TVC, body)


def test_a_skeleton_of_another_name_needs_a_person(tmp_path: Path) -> None:
    path = write_skeleton(tmp_path, skeleton_text([[("7", j)] for j in place(3)]), "walk")
    with pytest.raises(ValueError, match=r"walk\.skeleton does not tell a person"):
        read(path, KINECT)
    assert only(path, KINECT, ReadOptions(path="(?P<person>w)(?P<label>a)")).person == "w"


GOOD = skeleton_text([[("7", joints)] for joints in place(2)]).splitlines()
VARIANTS: dict[str, tuple[list[str], str]] = {
    "kinect v1": (["1", "1", body_line(), "20"], "line 4 has 20, but must have 25 joints: it lacks 5"),
    "three numbers": (
        ["1", "1", body_line(), "25", "0.1 0.2 0.3"],
        "line 5 has 3, but must have 12 numbers for a joint .*: it lacks 9",
    ),
    "a number more": (
        ["1", "1", body_line(), "25", joint_line(1, 2, 3) + " 9"],
        "has 13, but must have 12 numbers for a joint .*: 1 too many",
    ),
    "no hands": (["1", "1", "7", "25"], "line 3 has 1, but must have 10 numbers for a body .*: it lacks 9"),
    "a table": (["frame,joint,x,y,z"], "line 1 must hold the number of frames alone"),
    "frames without end": (["999999999999", *GOOD[1:]], "line 58 is not there, where the number of bodies must be"),
    "bodies without end": (["1", "999999999999", *GOOD[2:29]], "where the line of a body must be; it is cut off"),
    "more frames than told": (["1", *GOOD[1:]], "line 30 follows behind the 1 frames"),
    "a state that is none": ([*GOOD[:4], joint_line(1, 2, 3, state=7), *GOOD[5:]], "a state of 0, 1 or 2"),
    "text": ([*GOOD[:4], GOOD[4].replace(" ", " x", 1), *GOOD[5:]], "line 5 must hold numbers"),
    "infinity": ([*GOOD[:4], joint_line(float("inf"), 2, 3), *GOOD[5:]], "must hold metres"),
    "a long line": (["1" * 5_000], "longer than 4,096 characters"),
    "nothing": ([""], "line 1 must hold the number of frames alone"),
    "negative": (["-1"], "line 1 must hold the number of frames alone"),
    "nobody in most": (["20000", *GOOD[1:], *["0"] * 19_998], "20,000 frames, of which 2 hold anything"),
}  # fmt: skip


@pytest.mark.parametrize("what", VARIANTS)
def test_a_variant_of_the_skeleton_is_refused_by_what_it_lacks(what: str, tmp_path: Path) -> None:
    lines, sentence = VARIANTS[what]
    path = write_skeleton(tmp_path, "\n".join(lines) + "\n")
    assert re.search(sentence, refusal(path, KINECT))


def test_a_skeleton_without_anybody_is_set_aside(tmp_path: Path) -> None:
    (item,) = read(write_skeleton(tmp_path, "2\n0\n0\n"), KINECT)
    assert isinstance(item, Rejected)
    assert item.reason == "nobody is seen in any frame"
