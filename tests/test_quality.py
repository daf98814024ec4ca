"""Rules of quality: each number by hand, silent where it does not apply, told or refused by its threshold."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.quality import (
    CHECKS,
    QualitySettings,
    find_joints,
    measure,
    measure_all,
    medians_of,
    note_quality,
    tell_findings,
)
from gaitforge.recording import Recording, Rejected
from gaitforge.store import SkeletonStore
from tests.one_by_one import measure_alone

# bones of 0.5, 1 and 1: body size 2.5 / 3
BODY = Layout(
    name="body",
    joints=("hip", "head", "left_foot", "right_foot"),
    bones=((0, 1), (0, 2), (0, 3)),
    left_right=((2, 3),),
)
REST = np.array([[0, 1, 0], [0, 1.5, 0], [-0.6, 0.2, 0], [0.6, 0.2, 0]], np.float32)
SIZE = 2.5 / 3


def still(frames: int = 11) -> NDArray[np.float32]:
    """A body that moves by whole hundredths, so that no frame is as the one before."""
    path = np.array([[[0.01 * t, 0, 0]] for t in range(frames)], np.float32)
    return REST + path


def recording(
    frames: NDArray[np.float32], confidence: NDArray[np.float32] | None = None
) -> Recording:
    return Recording(
        recording="r", person="p", label="c", positions_TVC=frames, confidence_TV=confidence
    )


def number(name: str, frames: NDArray[np.float32], layout: Layout = BODY) -> float:
    return measure(recording(frames), layout)[name]


def test_a_good_recording_fires_no_check() -> None:
    numbers = measure(recording(still()), BODY)
    assert not [name for name in CHECKS if numbers[name] > QualitySettings().limit(name)]
    assert not any(np.isnan(list(numbers.values())))


def test_every_check_has_a_threshold() -> None:
    assert [item.name for item in fields(QualitySettings)] == [*CHECKS, "refuse"]


@pytest.mark.parametrize("layout", [replace(BODY, up="none")])
def test_what_is_no_body_has_no_number(layout: Layout) -> None:
    frames = np.zeros((5, 4, 6), np.float32)
    assert np.isnan(list(measure(recording(frames), layout).values())).all()


def test_missing_is_the_share_of_joints_and_frames_that_were_not_found() -> None:
    frames = still(10)
    frames[:4, 1] = np.nan
    sure = np.ones((10, 4), np.float32)
    sure[:2, 0], sure[9, 0] = 0.29, 0.3
    numbers = measure(recording(frames, confidence=sure), BODY)
    assert numbers["missing"] == pytest.approx(6 / 40)


def test_a_jump_is_measured_beside_the_body_in_body_sizes() -> None:
    frames = still()
    frames[5, 1, 1] += 8
    # the step of the head, less the mean step of four joints
    assert number("jumps", frames) == pytest.approx(8 * 0.75 / SIZE, rel=1e-5)
    frames = still()
    frames[5:, :, 2] += 100  # the camera's, not a joint's
    assert number("jumps", frames) == pytest.approx(0, abs=1e-5)


def test_a_jump_from_a_frame_in_which_a_joint_is_missing_is_none() -> None:
    frames = still()
    frames[5, 1] = np.nan
    frames[6, 1, 1] += 8
    frames[7, 1] = np.nan
    assert number("jumps", frames) < 0.1


def test_frozen_frames_repeat_the_one_before_to_the_last_digit() -> None:
    frames = still(11)
    frames[3:6] = frames[2]  # three of ten
    frames[2:6, 1] = np.nan
    assert number("frozen", frames) == pytest.approx(0.3)
    frames[2:6] = np.nan  # nobody is seen there
    assert number("frozen", frames) == 0


def test_bones_change_by_their_median_deviation() -> None:
    frames = still(12)
    frames[:, 1, 1] += np.resize([0.1, -0.1], 12)  # the first of three bones: 0.6, 0.4, 0.6, ...
    assert number("bone_spread", frames) == pytest.approx(1.4826 * 0.1 / 2.5, rel=1e-4)
    assert np.isnan(number("bone_spread", frames[..., :2]))


def test_a_swap_is_found_where_it_begins_and_where_it_ends() -> None:
    frames = still(12)
    frames[5:8] = frames[5:8][:, [0, 1, 3, 2]]
    assert number("swaps", frames) == pytest.approx(2 / 10)


def test_a_swap_of_which_less_than_half_of_the_pairs_is_seen_is_none() -> None:
    frames = still(12)
    frames[5:8] = frames[5:8][:, [0, 1, 3, 2]]
    three = replace(
        BODY,
        joints=(*BODY.joints, "c", "d"),
        bones=(*BODY.bones, (0, 4), (0, 5)),
        left_right=((2, 3), (0, 1), (4, 5)),
    )
    unseen = np.full((12, 2, 3), np.nan, np.float32)
    assert number("swaps", np.concatenate([frames, unseen], axis=1), three) == pytest.approx(0.2)
    frames[:, 1] = np.nan
    assert number("swaps", np.concatenate([frames, unseen], axis=1), three) == 0


def test_legs_that_pass_each_other_are_no_swap() -> None:
    frames = still(41)
    swing = 0.6 * np.cos(np.linspace(0, 4 * np.pi, 41))
    frames[:, 2, 0] -= 0.6 + swing - 1.2
    frames[:, 3, 0] -= 0.6 - swing
    assert number("swaps", frames) == 0
    assert number("swaps", frames[..., :2]) == 0


@pytest.mark.parametrize(
    ("up", "turn", "share"),
    [
        ("y", [1, 1, 1], 0),
        ("y", [1, -1, 1], 1),
        ("z", [1, 1, 1], 0),
        ("-y", [1, -1, 1], 0),
        ("-z", [1, 1, 1], 1),
    ],
)
def test_the_head_is_above_the_feet(up: str, turn: list[int], share: float) -> None:
    frames = still() * np.array(turn, np.float32)
    if up.endswith("z"):
        frames = frames[..., [0, 2, 1]]
    assert number("head_below_feet", frames, replace(BODY, up=up)) == share


def test_half_of_the_frames_upside_down_is_a_half() -> None:
    frames = still(10)
    frames[5:, :, 1] *= -1
    assert number("head_below_feet", frames) == 0.5


def test_joints_without_names_of_parts_have_no_head() -> None:
    layout = replace(BODY, joints=("a", "b", "left_forearm", "bear"))
    assert np.isnan(number("head_below_feet", still(), layout))


def test_names_of_parts_are_words_of_their_own() -> None:
    layout = Layout(
        name="n", joints=("HeadTip", "left_ear", "forearm", "LHEE", "FootRight", "RFHD"), bones=()
    )
    head, feet = frozenset({"head", "ear", "rfhd"}), frozenset({"foot", "lhee"})
    assert find_joints(layout, head).tolist() == [0, 1, 5]
    assert find_joints(layout, feet).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("unit", "scale", "times"),
    [
        ("m", 1, 1),
        ("m", 1000, 1000 / 1.5),
        ("mm", 1000, 1),
        ("mm", 1, 0.1 / 0.001),
        ("cm", 100, 1),
    ],
)
def test_the_longest_bone_is_one_of_a_body_in_the_unit(
    unit: str, scale: float, times: float
) -> None:
    frames = still() * np.float32(scale)
    assert number("bone_length", frames, replace(BODY, unit=unit)) == pytest.approx(
        times, rel=1e-3
    )


def test_pixels_have_no_length_of_a_body() -> None:
    assert np.isnan(number("bone_length", still() * np.float32(300), replace(BODY, unit="px")))


def test_what_overflows_is_a_jump_and_no_warning() -> None:
    frames = still()
    frames[5, 1] = 3e38
    noted = note_quality(recording(frames), BODY, QualitySettings())
    assert float(noted.columns["quality_jumps"] or 0) > 1e30


def test_medians_leave_out_what_is_nan() -> None:
    values = np.random.default_rng(0).normal(size=(9, 6))
    values[:5, 1] = values[2:, 2] = values[0, 3] = np.nan
    np.testing.assert_array_equal(medians_of(values), np.nanmedian(values, axis=0))
    assert np.isnan(medians_of(np.full((3, 1), np.nan)))


# what becomes of the numbers


def cohort(tmp_path: Path) -> Path:
    """Two recordings, the second of which has a jump of its head."""
    second = still() + np.float32(1)
    second[5, 1, 1] += 8
    path = tmp_path / "a.npz"
    frames = np.concatenate([still(), second])
    np.savez(path, frames=frames, offsets=[0, 11, 22], subject=["a", "b"], label=["x", "y"])
    return path


def test_numbers_are_columns_of_the_index_and_told_where_they_exceed(tmp_path: Path) -> None:
    settings = QualitySettings()
    items = read_files([cohort(tmp_path)], BODY, ReadOptions(), quality=settings)
    SkeletonStore.write(tmp_path / "store", BODY, items, "f")
    index = SkeletonStore.open(tmp_path / "store").read_index()
    assert [f"quality_{name}" for name in CHECKS] == index.column_names[5:]
    assert tell_findings(index, settings) == [
        "1 recording has jumps (worst: 'a-00001', 7.2 body sizes)"
    ]
    assert tell_findings(index, QualitySettings(jumps="off")) == []
    assert tell_findings(index, QualitySettings(jumps=7.3)) == []
    assert tell_findings(index.drop_columns(["quality_jumps"]), settings) == []


def test_what_a_threshold_refuses_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    settings = QualitySettings(refuse=("jumps",))
    path = cohort(tmp_path)
    first, second = read_files([path], BODY, ReadOptions(), quality=settings)
    assert isinstance(first, Recording)
    assert isinstance(second, Rejected)
    assert second.reason == "it has jumps: 7.2 body sizes"
    assert (second.source, second.position) == (str(path), 1)


def test_without_quality_a_recording_is_as_its_reader_gave_it(tmp_path: Path) -> None:
    first, _ = read_files([cohort(tmp_path)], BODY, ReadOptions())
    assert isinstance(first, Recording)
    assert first.columns == {}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"jumps": -1.0}, "ingest.quality.jumps is -1.0"),
        ({"jumps": float("nan")}, "ingest.quality.jumps is nan"),
        ({"refuse": ("jump",)}, "names 'jump', but the checks are missing, "),
        ({"refuse": ("jumps",), "jumps": "off"}, "names 'jumps', which is off"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        QualitySettings(**changed)  # type: ignore[arg-type]


def test_the_walkers_of_the_demo_fire_no_check() -> None:
    from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort

    for name in ("coco17", "kinect25"):
        for walker in synthetic_cohort(SyntheticSettings(layout=name, people_per_class=1)):
            numbers = measure(walker, LAYOUTS[name])
            assert not [n for n in CHECKS if numbers[n] > QualitySettings().limit(n)]


def walker_like(layout: Layout, frames: int, seed: int) -> NDArray[np.float32]:
    """Joints that keep their places but for noise, with a swap, a jump and a frame that is repeated."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(1, layout.joint_count, 3)) + 0.05 * rng.normal(
        size=(frames, layout.joint_count, 3)
    )
    left, right = np.array(layout.left_right, dtype=np.int64).reshape(-1, 2).T
    later = slice(frames // 2, frames)
    joints[later, left], joints[later, right] = joints[later, right], joints[later, left]
    joints[frames // 3, 0] += 3
    joints[-1] = joints[-2]
    return joints.astype(np.float32)


POINT = Layout(name="point", joints=("hip",), bones=())


@pytest.mark.parametrize("layout", [BODY, POINT, *(LAYOUTS[name] for name in sorted(LAYOUTS))])
@pytest.mark.parametrize("frames", [2, 3, 4, 40, 300])
def test_numbers_worked_out_together_are_those_of_each_alone_to_the_last_bit(
    layout: Layout, frames: int
) -> None:
    whole = [walker_like(layout, frames, seed) for seed in range(3)]
    rng = np.random.default_rng(frames)
    gaps = walker_like(layout, frames, 3)
    gaps[1:][rng.random(gaps[1:].shape[:2]) < 0.3] = np.nan
    one_coordinate = walker_like(layout, frames, 4)
    one_coordinate[1:, -1, 2] = np.nan
    one_frame = np.full_like(gaps, np.nan)
    one_frame[0, 0] = 1
    never = walker_like(layout, frames, 5)
    never[:, 1:] = np.nan
    too_far = walker_like(layout, frames, 6)
    too_far[-1, 0] = 3e38
    in_one_point = np.ones_like(gaps)
    sure = rng.random(gaps.shape[:2]).astype(np.float32)
    sure[0, 0], sure[-1, -1] = 0.3, np.nan
    bodies = [*whole, gaps, one_coordinate, one_frame, never, too_far, in_one_point]
    items = [recording(body) for body in bodies]
    items += [recording(body, confidence=sure) for body in bodies]
    items.append(replace(items[0], columns={"quality_zeros": 0.25, "quality_confidence": 1}))
    items.append(recording(walker_like(layout, frames + 1, 7)))
    if (layout.up_axis or 0) < 2:
        items += [recording(np.ascontiguousarray(body[..., :2])) for body in bodies]
    together = measure_all(items, layout)
    for item, numbers in zip(items, together, strict=True):
        alone = measure_alone(item, layout)
        assert list(numbers) == list(alone)
        np.testing.assert_array_equal(list(numbers.values()), list(alone.values()))
