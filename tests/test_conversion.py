"""Rules by which recordings of one layout become those of another: by places, by definitions, and never by guesses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.ingest.conversion import MEANS, PLACES, convert, convert_all, map_joints
from gaitforge.layout import LAYOUTS, Layout, spell_joint
from gaitforge.recording import Recording, Rejected
from gaitforge.settings import IngestSettings
from gaitforge.toml import write_toml
from trainers.ingest import ingest_identity


def mapped(source: str, target: str) -> dict[str, str]:
    """Joint of the target -> those of the source that it comes from, without the missing ones."""
    one, other = LAYOUTS[source], LAYOUTS[target]
    found = zip(other.joints, map_joints(one, other), strict=True)
    return {
        name: "+".join(one.joints[joint] for joint in joints) for name, joints in found if joints
    }


def numbers(layout: Layout, channels: int = 3) -> np.ndarray:
    """Two frames in which every coordinate is another number."""
    shape = (2, layout.joint_count, channels)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_becomes_itself_unchanged(name: str) -> None:
    layout = LAYOUTS[name]
    positions, confidence = convert(numbers(layout), None, layout, layout)
    np.testing.assert_array_equal(positions, numbers(layout))
    assert confidence is None
    assert map_joints(layout, layout) == [[joint] for joint in range(layout.joint_count)]


def test_openpose_is_made_of_coco_with_two_means_and_without_feet() -> None:
    found = mapped("coco17", "body25")
    assert found.pop("mid_hip") == "left_hip+right_hip"
    assert found.pop("neck") == "left_shoulder+right_shoulder"
    assert found == {name: name for name in LAYOUTS["coco17"].joints}
    assert mapped("body25", "coco17") == {name: name for name in LAYOUTS["coco17"].joints}


def test_human36m_has_no_spine_and_no_head_of_coco() -> None:
    limbs = ("hip", "knee", "shoulder", "elbow", "wrist")
    assert mapped("coco17", "h36m17") == {
        "pelvis": "left_hip+right_hip",
        "left_foot": "left_ankle",  # its foot is where the foot hangs on the leg
        "right_foot": "right_ankle",
        **{f"{side}_{limb}": f"{side}_{limb}" for side, limb in product(("left", "right"), limbs)},
    }
    assert mapped("body25", "h36m17")["pelvis"] == "mid_hip"


def test_an_xsens_segment_is_the_joint_that_it_begins_at() -> None:
    found = mapped("mvnx23", "kinect25")
    assert found == {
        f"{side}_{joint}": f"{side}_{segment}"
        for side in ("left", "right")
        for joint, segment in {
            "shoulder": "upper_arm", "elbow": "fore_arm", "wrist": "hand",
            "hip": "upper_leg", "knee": "lower_leg", "ankle": "foot",
        }.items()
    }  # fmt: skip


def test_a_neck_is_not_every_neck_and_a_thumb_not_every_thumb() -> None:
    assert "neck" not in mapped("body25", "kinect25")
    assert "neck" not in mapped("kinect25", "halpe26")
    assert "head" not in mapped("halpe26", "kinect25")
    assert "left_thumb" not in mapped("mediapipe33", "kinect25")
    assert mapped("kinect20", "kinect25")["head"] == "head"


def test_no_knee_is_guessed_from_a_marker_on_its_side() -> None:
    found = mapped("opencap43", "body25")
    assert found == {
        "left_hip": "LHJC_study",
        "right_hip": "RHJC_study",
        "mid_hip": "LHJC_study+RHJC_study",
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_left_never_becomes_right(name: str) -> None:
    for other in LAYOUTS:
        try:
            found = mapped(name, other)
        except ValueError:
            continue
        for joint, source in found.items():
            if joint.startswith(("left_", "right_")) and "HJC" not in source:
                assert source.startswith(joint.partition("_")[0])


def test_names_may_tell_the_side_in_another_way() -> None:
    coco = LAYOUTS["coco17"]
    own = replace(
        coco,
        name="own",
        joints=tuple(
            "".join(word.title() for word in [*joint.split("_")[1:], joint.split("_")[0]])
            for joint in coco.joints
        ),
    )
    assert own.joints[:2] == ("Nose", "EyeLeft")
    assert map_joints(own, coco) == map_joints(coco, own) == [[joint] for joint in range(17)]
    assert map_joints(own, LAYOUTS["body25"])[8] == [11, 12]
    both = Layout(name="both", joints=("LKnee", "left_knee", "Left Knee"), bones=(), up="none")
    assert map_joints(both, coco)[13] == [1]


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_two_joints_of_a_built_in_layout_are_spelt_alike(name: str) -> None:
    assert len(set(map(spell_joint, LAYOUTS[name].joints))) == LAYOUTS[name].joint_count


def test_every_place_that_is_told_is_that_of_a_joint() -> None:
    for name, places in PLACES.items():
        assert set(places) <= set(LAYOUTS[name].joints)
    assert all(pair[0].replace("left", "right") == pair[1] for pair in MEANS.values())


def test_a_mean_is_as_sure_as_the_least_and_missing_where_one_is() -> None:
    coco, body = LAYOUTS["coco17"], LAYOUTS["body25"]
    positions, confidence = numbers(coco), np.ones((2, 17), np.float32)
    positions[1, 11] = np.nan  # left hip
    confidence[0, 12] = 0.25  # right hip
    turned, sure = convert(positions, confidence, coco, body)
    assert sure is not None
    # (33, 34, 35) and (36, 37, 38), with y and z turned over
    assert turned[0, 8].tolist() == [34.5, -35.5, -36.5]
    assert np.isnan(turned[1, 8]).all()
    assert sure[0, 8] == 0.25
    assert np.isnan(turned[:, 19:]).all()  # coco has no toes
    assert (sure[:, 19:] == 0).all()


def test_unit_and_axis_are_those_of_the_target() -> None:
    source = replace(LAYOUTS["kinect25"], unit="mm", up="y")
    target = replace(LAYOUTS["coco17"], unit="m", up="z")
    positions = np.full((2, 25, 3), np.nan, np.float32)
    positions[:, 13] = (1000, 2000, 3000)  # left knee
    turned, _ = convert(positions, None, source, target)
    np.testing.assert_allclose(turned[0, 13], [1, -3, 2])


def test_a_picture_does_not_become_space() -> None:
    coco = LAYOUTS["coco17"]
    with pytest.raises(ValueError, match="2 coordinates cannot have the layout 'h36m17'"):
        convert(numbers(coco, channels=2), None, coco, LAYOUTS["h36m17"])
    turned, _ = convert(numbers(coco, channels=2), None, coco, LAYOUTS["body25"])
    assert turned[0, 0].tolist() == [0, -1]


def test_layouts_without_a_joint_in_common_are_refused() -> None:
    plates = Layout(name="plates", joints=("a", "b"), bones=((0, 1),), up="none")
    with pytest.raises(ValueError, match=r"'plates' of ingest\.read\.from_layout has no joint of"):
        map_joints(plates, LAYOUTS["coco17"])


def test_a_recording_of_which_nothing_is_left_is_set_aside_with_the_reason() -> None:
    coco, body = LAYOUTS["coco17"], LAYOUTS["opencap43"]
    positions = np.full((2, 43, 3), np.nan, np.float32)
    positions[:, 0] = 1  # the seventh vertebra alone
    one = Recording(
        recording="r", person="p", label="a", positions_TVC=positions, columns={"n": 1}
    )
    before = Rejected(source="f", position=0, person="p", label="a", reason="short")

    def items() -> Iterator[Recording | Rejected]:
        yield from (before, one)

    first, second = convert_all(items(), body, coco, "f.trc")
    assert first is before
    assert isinstance(second, Rejected)
    assert (second.reason, second.position, second.recording, second.source) == (
        "every joint of every frame is missing", 1, "r", "f.trc",
    )  # fmt: skip


def write(path: Path, layout: Layout) -> Path:
    """Write two recordings of a layout in the exchange format."""
    frames = np.concatenate([numbers(layout), numbers(layout) + 1])
    np.savez(path, frames=frames, offsets=[0, 2, 4], subject=["p", "q"], label=["a", "b"])
    return path


def test_files_of_another_layout_are_read_as_those_of_the_recordings(tmp_path: Path) -> None:
    path = write(tmp_path / "walks.npz", LAYOUTS["body25"])
    options = ReadOptions(from_layout="body25")
    first, second = read_files([path], LAYOUTS["coco17"], options)
    assert isinstance(first, Recording)
    assert isinstance(second, Recording)
    assert (second.person, second.label, second.positions_TVC.shape) == ("q", "b", (2, 17, 3))
    nose, left_hip = numbers(LAYOUTS["body25"])[0, [0, 12]]
    np.testing.assert_array_equal(first.positions_TVC[0, 0], nose * [1, -1, -1])
    np.testing.assert_array_equal(first.positions_TVC[0, 11], left_hip * [1, -1, -1])


def test_the_layout_of_the_files_may_be_a_file_and_its_frame_rate_holds(tmp_path: Path) -> None:
    own = replace(LAYOUTS["body25"], name="own", fps=50.0)
    (tmp_path / "own.toml").write_text(write_toml(own.as_dict()))
    path = write(tmp_path / "walks.npz", own)
    options = ReadOptions(from_layout=str(tmp_path / "own.toml"))
    first, _ = read_files([path], LAYOUTS["kinect25"], options)
    assert isinstance(first, Recording)
    assert first.fps == 50.0
    plain, _ = read_files([path], LAYOUTS["kinect25"], ReadOptions(from_layout="body25"))
    assert isinstance(plain, Recording)
    assert plain.fps == 30.0  # the files tell none: that of the recordings' layout


def test_files_that_do_not_have_the_layout_that_is_named_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "walks.npz", LAYOUTS["coco17"])
    with pytest.raises(ValueError, match="17 joints, but the layout 'body25' has 25"):
        list(read_files([path], LAYOUTS["coco17"], ReadOptions(from_layout="body25")))
    with pytest.raises(KeyError, match="There is no layout 'body26'"):
        list(read_files([path], LAYOUTS["coco17"], ReadOptions(from_layout="body26")))


def test_recordings_are_read_anew_where_the_layout_of_their_files_or_their_images_change(
    tmp_path: Path,
) -> None:
    own, path = tmp_path / "own.toml", write(tmp_path / "walks.npz", LAYOUTS["body25"])

    def identity(**options: str | tuple[int, int]) -> str:
        read = replace(ReadOptions(), **options)  # type: ignore[arg-type]
        return ingest_identity(IngestSettings(files=(str(path),), layout="coco17", read=read))

    found = [identity(), identity(from_layout="body25"), identity(image=(1920, 1080))]
    for layout in (LAYOUTS["body25"], replace(LAYOUTS["body25"], unit="mm")):
        own.write_text(write_toml(replace(layout, name="own", fps=25.0).as_dict()))
        found.append(identity(from_layout=str(own)))
    assert len(set(found)) == len(found)
    moved = own.rename(tmp_path / "moved.toml")
    assert identity(from_layout=str(moved)) == found[-1]


def test_shares_of_an_image_become_pixels_in_the_exchange_format(tmp_path: Path) -> None:
    path = write(tmp_path / "walks.npz", LAYOUTS["coco17"])
    first, _ = read_files([path], LAYOUTS["coco17"], ReadOptions(image=(200, 100)))
    assert isinstance(first, Recording)
    assert first.positions_TVC[0, 1].tolist() == [600, 400, 1000]
