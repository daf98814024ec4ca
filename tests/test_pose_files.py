"""Rules of reading what pose estimators write: OpenPose's folders of frames and AlphaPose's results."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions, parts_of, read_files, suffix_of
from gaitforge.ingest.alphapose import HALPE_26, read_alphapose
from gaitforge.ingest.json_stream import MOST_ENTRY, stream_json
from gaitforge.ingest.openpose import BODY_25, COCO_18, list_frames, read_openpose
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording
from gaitforge.settings import IngestSettings
from gaitforge.testing import readers
from tests.pose_files import flat, frame_of, result, walk, write_json, write_openpose
from trainers.ingest import ingest_identity

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
ANY = ReadOptions(path="(?P<person>.)(?P<label>.)")  # of a copy, too
TOLD = ReadOptions(path=r"(?P<person>P\d)_(?P<label>[a-z]+)")


def layout_of(points: tuple[str, ...]) -> Layout:
    """A layout of a file's points in its order, in pixels with the axis up that the file has reversed."""
    return Layout(name="own", joints=points, bones=((0, 1),), unit="px", up="none")


def only(path: Path, points: tuple[str, ...], options: ReadOptions = TOLD) -> Recording:
    (item,) = READERS[suffix_of(path)](path, layout_of(points), options)
    assert isinstance(item, Recording), item
    return item


def refusal(path: Path, points: tuple[str, ...] = BODY_25) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        list(READERS[suffix_of(path)](path, layout_of(points), TOLD))
    (sentence,) = caught.value.args
    assert "\n" not in sentence
    return str(sentence)


# OpenPose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "P1_ill"


def test_a_folder_of_frames_is_one_recording_in_pixels(folder: Path) -> None:
    body = walk(3, 25)
    frames = {f"walk_{n:012d}_keypoints.json": frame_of(flat(body[n])) for n in range(3)}
    found = only(write_openpose(folder, frames), BODY_25)
    assert (found.recording, found.person, found.label) == ("P1_ill", "P1", "ill")
    np.testing.assert_array_equal(found.positions_TVC, body)
    assert found.confidence_TV is not None
    assert found.confidence_TV.tolist() == [[0.5] * 25] * 3


def test_frames_go_by_their_numbers_and_those_that_are_left_out_or_show_nobody_are_missing(
    folder: Path,
) -> None:
    body = walk(3, 18)
    frames = {
        "P1_10_keypoints.json": frame_of(flat(body[2])),
        "P1_7_keypoints.json": frame_of(flat(body[0])),
        "P1_8_keypoints.json": frame_of(),
        "P1_9_keypoints.json": frame_of([]),  # a face alone
        "P1_12_keypoints.json": frame_of(flat(body[1])),
        "P1_10_rendered.png": "no frame",
        "notes.json": "[1, 2]",
    }
    found = only(write_openpose(folder, frames), COCO_18)
    missing = np.full((18, 2), np.nan, np.float32)
    wanted = np.stack([body[0], missing, missing, body[2], missing, body[1]])
    np.testing.assert_array_equal(found.positions_TVC, wanted)
    assert found.confidence_TV is not None
    assert found.confidence_TV[:, 0].tolist() == [0.5, 0, 0, 0.5, 0, 0.5]


def test_a_point_without_confidence_is_missing_and_a_confidence_beyond_one_is_one(
    folder: Path,
) -> None:
    one, two = flat(walk(2, 25)[0]), flat(walk(2, 25)[1])
    one[0:3] = [0, 0, 0]
    two[2], two[5] = 1.25, 0.0
    frames = {"a0_keypoints.json": frame_of(one), "a1_keypoints.json": frame_of(two)}
    found = only(write_openpose(folder, frames), BODY_25)
    assert np.isnan(found.positions_TVC[..., 0])[:, :2].tolist() == [[True, False], [False, True]]
    assert found.confidence_TV is not None
    assert found.confidence_TV[:, :2].tolist() == [[0, 0.5], [1, 0]]


def test_frames_of_older_versions_and_without_the_usual_ending_are_read(folder: Path) -> None:
    body = walk(2, 18)
    frames = {f"cam01.{n:04d}.json": frame_of(flat(body[n]), key="pose_keypoints") for n in (0, 1)}
    frames["settings.json"] = frame_of()
    np.testing.assert_array_equal(
        only(write_openpose(folder, frames), COCO_18).positions_TVC, body
    )


def test_the_number_that_changes_is_the_frame_wherever_it_stands(folder: Path) -> None:
    body = walk(3, 25)
    frames = {f"img_{n:04d}_cam2_keypoints.json": frame_of(flat(body[n])) for n in range(3)}
    np.testing.assert_array_equal(
        only(write_openpose(folder, frames), BODY_25).positions_TVC, body
    )


def test_a_layout_takes_its_joints_by_name_and_stands_upright(folder: Path) -> None:
    body = walk(2, 25)
    path = write_openpose(folder, {f"a{n}.json": frame_of(flat(body[n])) for n in (0, 1)})
    (found,) = read_openpose(path, LAYOUTS["coco17"], TOLD)
    assert isinstance(found, Recording)
    own = [BODY_25.index(joint) for joint in LAYOUTS["coco17"].joints]
    # y up: the picture looks as before
    np.testing.assert_array_equal(
        found.positions_TVC, body[:, own] * np.array([1, -1], np.float32)
    )
    (same,) = read_openpose(path, LAYOUTS["body25"], TOLD)
    assert isinstance(same, Recording)
    np.testing.assert_array_equal(same.positions_TVC, body)


def test_the_walker_is_followed_among_several_whatever_their_order(folder: Path) -> None:
    height = np.linspace(0, 400, 25)
    frames = {}
    for n in range(12):
        walker = np.stack([50 * np.sin(n + np.arange(25)) + 20 * n, height], axis=1).astype("f4")
        stander = np.stack([np.full(25, 900.0), height], axis=1).astype("f4")
        both = [flat(walker), flat(stander)]
        frames[f"a{n:03d}_keypoints.json"] = frame_of(*(both if n % 3 else both[::-1]))
    found = only(write_openpose(folder, frames), BODY_25)
    assert found.positions_TVC[..., 0].max() < 800
    assert not np.isnan(found.positions_TVC).any()


GOOD = frame_of(flat(walk(1, 25)[0]))
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "nothing": ({}, r"is a folder, but must be a file, or a folder of OpenPose's frames"),
    "other files": ({"walk.c3d": "x"}, r"use a pattern such as .*/P1_ill/\*\.c3d"),
    "another model": (
        {"a1.json": frame_of([1.0] * 45)},
        "has 45 numbers for a person, but BODY_25 has 75 and COCO 54",
    ),
    "two models": (
        {"a1.json": GOOD, "a2.json": frame_of(flat(walk(1, 18)[0]))},
        "a2.json has 18 points, but a frame before has 25",
    ),
    "several films": (
        {"a1_keypoints.json": GOOD, "b1_keypoints.json": GOOD},
        "frames of several films .'a...' and 'b...'.",
    ),
    "no number": ({"a_keypoints.json": GOOD}, "'a' without a number of up to 15 digits"),
    "a frame twice": ({"a1.json": GOOD, "a01.json": GOOD}, "two files of one frame"),
    "far apart": (
        {"a1.json": GOOD, "a999999999999.json": GOOD},
        "tells of 999,999,999,999 frames, of which 2 hold anything",
    ),
    "a list": ({"P1.json": "[]"}, r"no frame of OpenPose's.*by a pattern such as .*/P1_ill/\*.json"),
    "no people": ({"a1.json": '{"version": 1.3}'}, "no frame of OpenPose's"),
    "people of text": ({"a1.json": '{"people": ["x"]}'}, "no frame of OpenPose's"),
    "truth for a number": ({"a1.json": frame_of([True] * 75)}, "of finite numbers"),
    "too large": ({"a1.json": frame_of([1e39] * 75)}, "of finite numbers"),
    "long numbers": ({"a1.json": frame_of([10**400] * 75)}, "of finite numbers"),
    "NaN": ({"a1.json": '{"people": [{"pose_keypoints_2d": [NaN]}]}'}, "NaN stands where a number"),
    "deep": ({"a1.json": "[" * 100_000}, "is nested too deep"),
    "cut": ({"a1.json": '{"people": ['}, "no JSON that can be read"),
    "no text": ({"a1.json": "\udcff"}, ""),
    "huge": ({"a1.json": " " * 5_000_000}, "larger than 4,194,304 bytes"),
    "digits": ({"a1.json": "9" * 5_000}, "no JSON that can be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_is_no_recording_is_refused_with_what_it_has(
    what: str, folder: Path
) -> None:
    frames, sentence = REFUSED[what]
    if what == "no text":
        write_openpose(folder, {})
        (folder / "a1.json").write_bytes(b"\xff\xfe{")
        sentence = "can't decode byte"
    else:
        write_openpose(folder, frames)
    assert re.search(sentence, refusal(folder))


def test_a_folder_in_which_nobody_is_seen_is_set_aside(folder: Path) -> None:
    write_openpose(folder, {"a1.json": frame_of(), "a2.json": frame_of()})
    (item,) = read_openpose(folder, LAYOUTS["coco17"], TOLD)
    assert not isinstance(item, Recording)
    assert item.reason == "nobody is seen in any frame"


def test_folders_go_through_the_door_of_all_readers(folder: Path) -> None:
    other = folder.with_name("P2_well")
    for n, place in enumerate((folder, other)):
        body = walk(3, 25, shift=n)
        write_openpose(place, {f"a{t}.json": frame_of(flat(body[t])) for t in range(3)})
    items = list(read_files([folder, other], LAYOUTS["coco17"], TOLD))
    assert [(i.recording, i.person) for i in items] == [("P1_ill", "P1"), ("P2_well", "P2")]
    with pytest.raises(ValueError, match=r"is a folder, but must be a file"):
        read_files([folder.parent], LAYOUTS["coco17"], TOLD)  # before any file is read
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list(read_openpose(folder / "nowhere", LAYOUTS["coco17"], TOLD))


def test_a_folder_whose_frames_change_is_read_again(folder: Path) -> None:
    write_openpose(folder, {f"a{n}.json": GOOD for n in range(3)})
    settings = IngestSettings(files=(str(folder),), layout="coco17")
    before = ingest_identity(settings)
    (folder / "film.mp4").write_bytes(b"no frame")
    assert ingest_identity(settings) == before
    (folder / "a1.json").write_text(json.dumps(frame_of(flat(walk(1, 25, shift=1)[0]))), "utf-8")
    changed = ingest_identity(settings)
    (folder / "a2.json").rename(folder / "a3.json")
    assert len({before, changed, ingest_identity(settings)}) == 3


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples lie outside the repository")
def test_openpose_reads_what_a_plain_loop_over_the_json_reads() -> None:
    path = SAMPLES / "openpose_json"
    frames = [json.loads(file.read_bytes()) for file in sorted(path.iterdir())]
    plain = np.array([frame["people"][0]["pose_keypoints_2d"] for frame in frames], np.float32)
    plain = plain.reshape(len(frames), 25, 3)
    (found,) = read_openpose(path, layout_of(BODY_25), ReadOptions(), labelled=False)
    assert isinstance(found, Recording)
    seen = plain[..., 2] > 0
    assert found.positions_TVC.shape == (30, 25, 2)
    np.testing.assert_array_equal(found.positions_TVC[seen], plain[seen][:, :2])
    assert np.isnan(found.positions_TVC[~seen]).all()
    assert found.confidence_TV is not None
    np.testing.assert_array_equal(found.confidence_TV, plain[..., 2])


# AlphaPose


COCO = LAYOUTS["coco17"].joints


@pytest.mark.parametrize("points", [COCO, HALPE_26])
def test_results_are_one_recording_of_the_points_of_their_number(
    points: tuple[str, ...], tmp_path: Path
) -> None:
    body = walk(3, len(points))
    path = write_json(tmp_path / "P1_ill.json", [result(f"{n}.jpg", body[n]) for n in (0, 1, 2)])
    found = only(path, points)
    np.testing.assert_array_equal(found.positions_TVC, body)
    assert (found.recording, found.fps) == ("P1_ill", None)
    readers.check(read_alphapose, path, layout_of(points), ANY)


def test_pictures_go_by_their_numbers_as_text_or_whole_numbers(tmp_path: Path) -> None:
    body = walk(3, 17)
    both: list[list[str | int]] = [["f_09.png", "f_12.png", "f_10.png"], [9, 12, 10]]
    for images in both:
        content = [result(image, joints) for image, joints in zip(images, body, strict=True)]
        found = only(write_json(tmp_path / "P1_ill.json", content), COCO)
        missing = np.full((17, 2), np.nan, np.float32)
        np.testing.assert_array_equal(found.positions_TVC, [body[0], body[2], missing, body[1]])


def test_people_with_an_idx_are_told_apart_by_it(tmp_path: Path) -> None:
    # the two change places on the picture between frames, which only the idx tells
    rng = np.random.default_rng(0)
    large, small = rng.uniform(100, 900, (2, 6, 17, 2)).astype(np.float32)
    small = small * np.float32(0.25)
    content = []
    for n in range(6):
        both = [result(f"{n}.jpg", small[n], idx=4), result(f"{n}.jpg", large[n], idx=2)]
        content += both if n % 2 else both[::-1]
    found = only(write_json(tmp_path / "P1_ill.json", content), COCO)
    np.testing.assert_array_equal(found.positions_TVC, large)


@pytest.mark.parametrize(("many", "one"), [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_the_forms_of_other_programs_are_read_with_the_neck(
    many: str, one: str, tmp_path: Path
) -> None:
    body = walk(2, 18)
    content = {
        f"{n}.jpg": {"version": "AlphaPose v0.3", many: [{one: flat(body[n])}]} for n in (0, 1)
    }
    found = only(write_json(tmp_path / "P1_ill.json", content), COCO_18)
    np.testing.assert_array_equal(found.positions_TVC, body)


BAD: dict[str, tuple[object, str]] = {
    "136 points": ([result("1.jpg", walk(1, 136)[0])], r"408 numbers for a person .136 points."),
    "two models": (
        [result("1.jpg", walk(1, 17)[0]), result("2.jpg", walk(1, 26)[0])],
        "people of 17 and of 26 points",
    ),
    "a number too few": ([{"image_id": "1.jpg", "keypoints": [1.0] * 50}], "50 numbers"),
    "a frame of OpenPose": (GOOD, "is a frame of OpenPose's; name its folder"),
    "several films": (
        [result("a1.jpg", walk(1, 17)[0]), result("b1.jpg", walk(1, 17)[0])],
        "frames of several films",
    ),
    "films of several folders": (
        [result(f"ill{film}/{n:06d}.jpg", walk(1, 17)[0]) for film in (1, 2) for n in (0, 1)],
        r"frames of several films .'ill1/...' and 'ill2/...'.",
    ),
    "a picture each of several folders": (
        [result(f"ill{film}/000000.jpg", walk(1, 17)[0]) for film in (1, 2)],
        "frames of several films",
    ),
    "no number": ([result("a.jpg", walk(1, 17)[0])], "'a' without a number"),
    "far apart": (
        [result(0, walk(1, 17)[0]), result(10**14, walk(1, 17)[0])],
        "tells of 100,000,000,000,001 frames",
    ),
    "no image": ([{"keypoints": [1.0] * 51}], "no list of AlphaPose's results"),
    "text": ([{"image_id": "1.jpg", "keypoints": ["1"] * 51}], "of finite numbers"),
    "COCO's annotations": ({"info": {}, "images": [], "annotations": []}, "no list of AlphaPose's"),
    "a number": (3, "'3' stands where"),
    "numbers": ([1, 2, 3], "no list of AlphaPose's results"),
    "a list of lists": ([[[]]], "no list of AlphaPose's results"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_results_that_are_none_are_refused_with_what_they_have(what: str, tmp_path: Path) -> None:
    content, sentence = BAD[what]
    assert re.search(sentence, refusal(write_json(tmp_path / "P1_ill.json", content), COCO))


TEXTS = {
    "deep": ("[" * 100_000, "nested too deep"),
    "cut": ('[{"image_id": "1.jpg",', "fetch or write it again"),
    "more behind": ("[] []", "more follows behind its end"),
    "no comma": ("[1 2]", "'2' stands where"),
    "NaN": ("[NaN]", "NaN stands where a number must be"),
    "infinity": ("[-Infinity]", "-Infinity stands"),
    "empty": ("", "it ends too soon"),
    "no colon": ('{"a" 3}', "stands where ':' must be"),
    "a long entry": ("[" + json.dumps("x" * 3_000_000) + "]", f"more than {MOST_ENTRY:,} char"),
    "a long number": ("[" + "9" * 5_000 + "]", "Exceeds the limit"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_text_that_is_no_json_is_refused_with_its_fault(what: str, tmp_path: Path) -> None:
    text, sentence = TEXTS[what]
    path = tmp_path / "P1_ill.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"P1_ill\.json is no JSON") as caught:
        list(stream_json(path))
    assert sentence in str(caught.value)


def test_results_without_anybody_are_set_aside(tmp_path: Path) -> None:
    (item,) = read_alphapose(write_json(tmp_path / "P1_ill.json", []), LAYOUTS["coco17"], TOLD)
    assert not isinstance(item, Recording)
    assert item.reason == "nobody is seen in any frame"


@pytest.mark.parametrize("content", [[], {}, [1, "a", {"b": [None]}], {"x": 1, "y": {"z": 2}}])
def test_entries_of_json_are_those_of_pythons_reader(content: Any, tmp_path: Path) -> None:
    for indent in (None, 3):
        path = tmp_path / "a.json"
        path.write_text("\ufeff" + json.dumps(content, indent=indent), "utf-8")
        found = list(stream_json(path))
        if isinstance(content, dict):
            assert dict(found) == content
        else:
            assert [value for _, value in found] == content


def test_entries_are_the_same_wherever_a_piece_of_the_file_ends(tmp_path: Path) -> None:
    numbers: list[object] = [{"ä" * (n % 50): n / 7} for n in range(100_000)]
    path = write_json(tmp_path / "a.json", numbers)
    path.write_text(json.dumps(numbers, ensure_ascii=False), "utf-8")
    assert path.stat().st_size > 3 * 2**20
    assert [value for _, value in stream_json(path)] == numbers


def test_a_list_of_very_many_entries_takes_no_more_memory_than_a_few(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + "{}," * 60_000 + "{}]", "utf-8")
    tracemalloc.start()
    count = sum(1 for _ in stream_json(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_001
    assert peak < 2_000_000  # read whole, it takes 4.5 MB


def test_parts_of_a_path_are_what_it_is_read_from(folder: Path) -> None:
    write_openpose(folder, {"a2.json": GOOD, "a1.json": GOOD, "notes.txt": "x"})
    assert parts_of(folder) == [folder / "a1.json", folder / "a2.json"] == list_frames(folder)
    assert parts_of(folder / "a1.json") == [folder / "a1.json"]
