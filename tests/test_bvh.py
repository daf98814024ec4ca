"""Rules for BVH files: where joints lie is held against the same recursion in plain numbers."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.bvh import parse_bvh
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.testing import readers

SAMPLE = Path(__file__).parents[2] / "shared" / "samples" / "pybvh_cmu_12_01_walk.bvh"

BVH = """\
HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Knee
  {
    OFFSET 0 -2 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 1 0 0
    }
  }
  JOINT Chest
  {
    OFFSET 0 3 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site
    {
      OFFSET 0 0 1
    }
  }
}
MOTION
Frames: 3
Frame Time: .0083333
10 20 30 0 0 0 0 0 0 0 0 0
0 0 0 90 0 0 0 0 0 0 0 0
1 0 0 0 0 0 0 90 0 90 0 90
"""
POINTS = ("Hips", "Knee", "Knee_end", "Chest", "Chest_end")
LEG = Layout(name="leg", joints=("Hips", "Knee", "Knee_end"), bones=((0, 1), (1, 2)), up="y")


def write(folder: Path, text: str) -> Path:
    path = folder / "walk.bvh"
    path.write_text(text, encoding="utf-8")
    return path


def only(path: Path) -> Motion:
    (motion,) = parse_bvh(path, ReadOptions())
    assert isinstance(motion, Motion)
    return motion


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        list(parse_bvh(path, ReadOptions()))
    return str(caught.value)


# one number after the other, as the format's description has it


def turned(vector: Sequence[float], axis: str, degrees: float) -> list[float]:
    """A vector turned about an axis, right-handed."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = vector
    if axis == "X":
        return [x, c * y - s * z, s * y + c * z]
    if axis == "Y":
        return [c * x + s * z, y, -s * x + c * z]
    return [c * x - s * y, s * x + c * y, z]


def recursed(text: str) -> dict[str, list[list[float]]]:
    """Each point's place in each frame: its offset is turned by each joint above it, from the innermost."""
    head, _, tail = text.partition("MOTION")
    rows = [[float(w) for w in line.split()] for line in tail.splitlines()[3:] if line.strip()]
    joints: list[tuple[str, int, list[float], list[str], int]] = []
    above: list[int] = []
    used = 0
    for line in head.splitlines():
        match line.split():
            case ["ROOT" | "JOINT", name]:
                joints.append((name, above[-1] if above else -1, [], [], used))
            case ["End", "Site"]:
                joints.append((joints[above[-1]][0] + "_end", above[-1], [], [], used))
            case ["OFFSET", *numbers]:
                joints[-1][2].extend(map(float, numbers))
            case ["CHANNELS", _, *names]:
                joints[-1][3].extend(names)
                used += len(names)
            case ["{"]:
                above.append(len(joints) - 1)
            case ["}"]:
                above.pop()
    places: dict[str, list[list[float]]] = {name: [] for name, *_ in joints}
    for row in rows:
        for name, *_ in joints:
            n = next(i for i, joint in enumerate(joints) if joint[0] == name)
            vector = [0.0, 0.0, 0.0]
            while n >= 0:
                _, parent, offset, channels, begin = joints[n]
                if vector != [0.0, 0.0, 0.0]:
                    for k in reversed(range(len(channels))):
                        if channels[k].endswith("rotation"):
                            vector = turned(vector, channels[k][0], row[begin + k])
                own = list(offset)
                for k, channel in enumerate(channels):
                    if channel.endswith("position"):
                        own["XYZ".index(channel[0])] = row[begin + k]
                vector = [a + b for a, b in zip(vector, own, strict=True)]
                n = parent
            places[name].append(vector)
    return places


# what a file becomes


def test_joints_lie_where_the_rotations_above_them_put_them(tmp_path: Path) -> None:
    motion = only(write(tmp_path, BVH))
    assert motion.points == POINTS
    expected = [
        [[10, 20, 30], [10, 18, 30], [11, 18, 30], [10, 23, 30], [10, 23, 31]],
        # a quarter turn about z takes -y to x, x to y and y to -x
        [[0, 0, 0], [2, 0, 0], [2, 1, 0], [-3, 0, 0], [-3, 0, 1]],
        # the knee's about y takes x to -z; of the chest's, z first leaves z, then x takes z to -y
        [[1, 0, 0], [1, -2, 0], [1, -2, -1], [1, 3, 0], [1, 2, 0]],
    ]
    np.testing.assert_allclose(motion.positions_TVC, expected, atol=1e-6)
    assert (motion.fps, motion.unit, motion.up) == (120, "", "y")


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_rotations_are_made_in_the_order_of_the_channels(order: str, tmp_path: Path) -> None:
    channels = " ".join(f"{axis}rotation" for axis in order)
    rng = np.random.default_rng(7)
    text = BVH.replace("Zrotation Yrotation Xrotation", channels).replace("Frames: 3", "Frames: 4")
    head = text[: text.index(".0083333") + 9]
    rows = rng.uniform(-180, 180, size=(4, 12)).round(3)
    text = head + "\n".join(" ".join(map(str, row)) for row in rows.tolist()) + "\n"
    motion = only(write(tmp_path, text))
    places = recursed(text)
    for n, name in enumerate(POINTS):
        np.testing.assert_allclose(motion.positions_TVC[:, n], places[name], rtol=1e-5, atol=1e-4)


def test_a_joint_with_positions_lies_there_instead_of_at_its_offset(tmp_path: Path) -> None:
    text = BVH.replace(
        "CHANNELS 3 Xrotation Yrotation Zrotation",
        "CHANNELS 6 Yposition Xposition Zposition Xrotation Yrotation Zrotation",
    )
    rows = [
        "10 20 30 0 0 0 0 0 0 4 1 2 0 0 0",
        "0 0 0 90 0 0 0 0 0 4 1 2 0 0 0",
        "0 0 0 0 0 0 0 0 0 0 3 0 0 0 0",
    ]
    text = text[: text.index(".0083333") + 9] + "\n".join(rows)
    motion = only(write(tmp_path, text))
    np.testing.assert_allclose(
        motion.positions_TVC[:, 3], [[11, 24, 32], [-4, 1, 2], [3, 0, 0]], atol=1e-6
    )
    places = recursed(text)
    for n, name in enumerate(POINTS):
        np.testing.assert_allclose(motion.positions_TVC[:, n], places[name], atol=1e-6)


def test_more_frames_than_are_computed_at_once_are_read_alike(tmp_path: Path) -> None:
    rows = "".join(f"{n} 0 0 {n % 360} 0 0 0 0 0 0 0 0\n" for n in range(2_500))
    text = BVH[: BVH.index(".0083333") + 9].replace("Frames: 3", "Frames: 2500") + rows
    motion = only(write(tmp_path, text))
    angles = np.radians(np.arange(2_500) % 360)
    np.testing.assert_allclose(
        motion.positions_TVC[:, 1, 0], np.arange(2_500) + 2 * np.sin(angles), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("step", "fps"),
    [("0.0333", 30), ("0.033", 30), ("0.017", 1 / 0.017), ("0.0333667", 1 / 0.0333667), ("0.0166666", 60),
     ("0.0333333", 30), ("0.04", 25), ("0.016667", 60), ("0.01000", 100), ("0.03", 1 / 0.03), ("2", 0.5)],
)  # fmt: skip
def test_the_frame_rate_is_whole_where_the_digits_allow_it(
    step: str, fps: float, tmp_path: Path
) -> None:
    assert only(write(tmp_path, BVH.replace(".0083333", step))).fps == pytest.approx(fps, rel=1e-9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n", "\r\n"),
        ("ROOT Hips\n{", "ROOT Hips {"),
        ("Xposition", "XPosition"),
        ("Frame Time: ", "Frame Time:\t"),
        ("HIERARCHY", "hierarchy"),
        ("MOTION", "MOTION\n"),
    ],
)
def test_files_that_are_written_otherwise_are_read_alike(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in BVH
    expected = only(write(tmp_path, BVH))
    motion = only(write(tmp_path, BVH.replace(old, new)))
    np.testing.assert_array_equal(motion.positions_TVC, expected.positions_TVC)
    assert (motion.points, motion.fps) == (expected.points, expected.fps)


def test_a_name_may_have_spaces(tmp_path: Path) -> None:
    motion = only(write(tmp_path, BVH.replace("JOINT Knee", "JOINT Left Knee")))
    assert motion.points is not None
    assert motion.points[1:3] == ("Left Knee", "Left Knee_end")


def test_what_all_names_begin_with_goes(tmp_path: Path) -> None:
    text = BVH
    for name in ("Hips", "Knee", "Chest"):
        text = text.replace(name, f"mixamorig:{name}")
    assert only(write(tmp_path, text)).points == POINTS
    some = only(write(tmp_path, BVH.replace("Hips", "mixamorig:Hips"))).points
    assert some == ("mixamorig:Hips", *POINTS[1:])


def test_a_joint_may_have_two_ends(tmp_path: Path) -> None:
    ends = "    }\n    End Site\n    {\n      OFFSET 0 5 0\n    }\n  }\n  JOINT Chest"
    motion = only(write(tmp_path, BVH.replace("    }\n  }\n  JOINT Chest", ends)))
    assert motion.points == ("Hips", "Knee", "Knee_end", "Knee_end_2", "Chest", "Chest_end")
    assert motion.positions_TVC[0, 3].tolist() == [10, 23, 30]


# what is refused


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("HIERARCHY", "HIERARCHIES", "does not begin with HIERARCHY"),
        ("MOTION", "ROOT Other { OFFSET 0 0 0 CHANNELS 0 }\nMOTION", "has two roots"),
        ("JOINT Chest", "LIMB Chest", "'LIMB' where a joint must stand"),
        ("JOINT Chest\n  {", "JOINT Chest\n", "does not begin|without"),
        ("JOINT Chest", "JOINT ", "has a joint without a name"),
        ("OFFSET 0 3 0", "OFFSET 0 three 0", "'three' in line"),
        ("OFFSET 0 3 0", "", "does not begin with its OFFSET"),
        ("CHANNELS 3 Xro", "CHANNELS 4 Xro", "must be of Xposition to Zrotation, once"),
        ("CHANNELS 3 Xro", "CHANNELS 1000000000000 Xro", "of '1000000000000' channels"),
        ("Xrotation Yrotation Zrotation", "Xrotation Xrotation Zrotation", "Zrotation, once"),
        ("Frames: 3", "Frames: 4", "36 numbers behind its Frame Time, but 4 frames of 12"),
        ("Frames: 3", "Frames: 1000000000000", "but 1,000,000,000,000 frames of 12 channels"),
        ("Frames: 3", "Frames: -3", "does not have its Frames"),
        ("Frames: 3\n", "", "does not have its Frames"),
        ("Time: .0083333", "Time: 0", "Frame Time of 0, but it must be seconds above 0"),
        ("Time: .0083333", "Time: nan", "Frame Time of nan"),
        ("Time: .0083333", "Time: 1e-300", "Frame Time of 1e-300"),
        ("10 20 30", "10 twenty 30", "'twenty' in line"),
        ("10 20 30", "10 30", "35 numbers"),
        ("OFFSET 0 0 1\n", "OFFSET 0 0 1\nEnd Site { OFFSET 0 0 0 }\n", "a joint below an End Site"),
        ("MOTION", "}\nMOTION", "'}' where a joint must stand"),
        ("}\nMOTION", "MOTION", "braces that do not match"),
        ("MOTION", "", "where a joint must stand"),
    ],
)  # fmt: skip
def test_a_bvh_file_that_contradicts_itself_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in BVH
    with pytest.raises(ValueError, match=sentence):
        list(parse_bvh(write(tmp_path, BVH.replace(old, new, 1)), ReadOptions()))


def test_two_joints_of_one_name_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, BVH.replace("Chest", "Knee"))
    assert list(parse_bvh(path, ReadOptions())) == [
        Unusable(reason="two joints have one name: Knee")
    ]


def test_a_file_of_no_frames_gives_none(tmp_path: Path) -> None:
    text = BVH[: BVH.index(".0083333") + 9].replace("Frames: 3", "Frames: 0")
    assert only(write(tmp_path, text)).positions_TVC.shape == (0, 5, 3)


def test_joints_without_channels_and_joints_without_end_take_no_memory(tmp_path: Path) -> None:
    """5,000 joints in 5,000 frames of two numbers would take 300 MB."""
    ends = "End Site { OFFSET 0 0 0 }\n" * 5_000
    rows = "0 0\n" * 5_000
    root = "HIERARCHY ROOT r { OFFSET 0 0 0 CHANNELS 2 Xposition Yposition "
    joints = "".join(f"JOINT j{n} {{ OFFSET 0 0 0 CHANNELS 0 }}\n" for n in range(5_000))
    motion = f"}}\nMOTION\nFrames: 5000\nFrame Time: 1\n{rows}"
    nested = "JOINT j { OFFSET 0 0 0 CHANNELS 0\n" * 1_000
    tracemalloc.start()
    try:
        assert "100 times its size" in refusal(write(tmp_path, root + joints + motion))
        assert "more than 500 joints below" in refusal(write(tmp_path, root + nested + motion))
        assert "100 times its size" in refusal(write(tmp_path, root + ends + motion))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the shared samples")
def test_the_sample_is_what_the_recursion_makes_of_it() -> None:
    motion = only(SAMPLE)
    assert (motion.fps, motion.positions_TVC.shape) == (120, (524, 38, 3))
    text = SAMPLE.read_text(encoding="utf-8")
    head, _, tail = text.partition("MOTION")
    lines = tail.splitlines()
    frames = [0, 200, 523]
    few = head + "MOTION" + "\n".join([*lines[:3], *(lines[3 + n] for n in frames)])
    places = recursed(few)
    assert motion.points is not None
    assert set(motion.points) == set(places)
    for n, name in enumerate(motion.points):
        np.testing.assert_allclose(motion.positions_TVC[frames, n], places[name], atol=1e-4)


def test_the_bvh_reader_holds_its_contract(tmp_path: Path) -> None:
    path = write(tmp_path, BVH)
    options = ReadOptions(path=r"(?P<person>\w)(?P<label>\w)")
    readers.check(READERS[".bvh"], path, LEG, options)
    (recording,) = READERS[".bvh"](path, LEG, options)
    assert isinstance(recording, Recording)
    np.testing.assert_array_equal(recording.positions_TVC[0, 2], [11, 18, 30])
