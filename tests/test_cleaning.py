"""Rules of cleaning: what stands for "not found" becomes missing and is noted; a real place, or a force, is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.ingest.cleaning import clean, is_confidence
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording, Rejected

CHAIN = Layout(name="chain", joints=("hip", "knee", "foot"), bones=((0, 1), (1, 2)))
PLATES = Layout(name="plates", joints=("left", "right", "mid"), bones=((0, 1),), up="none")
# a leg of two bones of 0.5, which stands 3 in front of the camera and sways a little
FRAMES = np.array(
    [[[0.1 * t, 1.0, 3], [0.1 * t, 0.5, 3.01], [0.1 * t + 0.01, 0, 3]] for t in range(1, 7)],
    np.float32,
)
ZERO, NAN = np.zeros(3, np.float32), np.full(3, np.nan, np.float32)


def leg(
    frames: NDArray[np.float32] = FRAMES, confidence: NDArray[np.float32] | None = None
) -> Recording:
    return Recording(
        recording="r", person="p", label="c", positions_TVC=frames, confidence_TV=confidence
    )


def put(value: NDArray[np.float32] | float, *places: tuple[int, int]) -> NDArray[np.float32]:
    """FRAMES with `value` in all coordinates of some (frame, joint)."""
    frames = FRAMES.copy()
    for place in places:
        frames[place] = value
    return frames


def test_zeros_of_a_joint_that_elsewhere_moves_become_missing() -> None:
    cleaned = clean(leg(put(ZERO, (1, 2), (4, 1), (4, 2))), CHAIN)
    np.testing.assert_array_equal(cleaned.positions_TVC, put(NAN, (1, 2), (4, 1), (4, 2)))
    assert cleaned.columns == {"quality_zeros": 3 / 18}


def test_a_joint_that_is_zero_throughout_and_far_from_the_others_is_missing() -> None:
    cleaned = clean(leg(put(ZERO, *((t, 2) for t in range(6)))), CHAIN)
    assert np.isnan(cleaned.positions_TVC[:, 2]).all()
    assert cleaned.columns == {"quality_zeros": 6 / 18}


@pytest.mark.parametrize("centre", [FRAMES[:, :1], FRAMES[:1, :1]], ids=["every frame", "first"])
def test_the_joint_on_which_a_recording_is_centred_is_no_missing_one(
    centre: NDArray[np.float32],
) -> None:
    recording = leg(FRAMES - centre)
    assert clean(recording, CHAIN) is recording


def test_frames_in_which_all_is_zero_show_nobody() -> None:
    centred = FRAMES - FRAMES[:, :1]
    centred[2] = 0
    cleaned = clean(leg(centred), CHAIN)
    assert np.isnan(cleaned.positions_TVC[2]).all()
    np.testing.assert_array_equal(np.delete(cleaned.positions_TVC, 2, 0), np.delete(centred, 2, 0))


def test_a_recording_of_nothing_but_zeros_is_none() -> None:
    with pytest.raises(ValueError, match="every joint of every frame is missing"):
        clean(leg(np.zeros_like(FRAMES)), CHAIN)


def test_one_coordinate_that_is_zero_is_a_place() -> None:
    recording = leg()  # feet at the height 0
    assert clean(recording, CHAIN) is recording


def test_a_zero_that_its_confidence_tells_to_be_missing_needs_no_word() -> None:
    sure = np.ones((6, 3), np.float32)
    sure[1, 2] = 0
    recording = leg(put(ZERO, (1, 2)), sure)
    assert clean(recording, CHAIN) is recording


@pytest.mark.parametrize("number", [-9999.0, -1.0, 1e6])
def test_one_number_in_all_coordinates_far_from_all_others_becomes_missing(number: float) -> None:
    places = ((0, 0), (3, 1), (5, 2))
    cleaned = clean(leg(put(number, *places)), CHAIN)
    np.testing.assert_array_equal(cleaned.positions_TVC, put(NAN, *places))
    assert cleaned.columns == {"quality_sentinels": 3 / 18}


def test_such_a_number_is_found_where_a_reader_has_turned_the_axes() -> None:
    frames = put(-9999.0, (0, 0), (3, 1), (5, 2)) * np.array([1, -1, -1], np.float32)
    cleaned = clean(leg(frames), CHAIN)
    assert np.isnan(cleaned.positions_TVC[[0, 3, 5], [0, 1, 2]]).all()
    assert cleaned.columns == {"quality_sentinels": 3 / 18}


def test_two_such_numbers_are_both_found() -> None:
    frames = put(-9999.0, (0, 0), (1, 0), (2, 0))
    frames[3:, 0] = -1
    frames[0, 2] = 0
    cleaned = clean(leg(frames), CHAIN)
    assert np.isnan(cleaned.positions_TVC).all(axis=2).sum() == 7
    assert cleaned.columns == {"quality_zeros": 1 / 18, "quality_sentinels": 6 / 18}


def test_equal_coordinates_within_the_body_or_seldom_are_a_place() -> None:
    within = FRAMES.copy()
    within[:, :, 2] -= 2.5  # now 0.3 lies between the least and the greatest of each coordinate
    within[:3, 1] = 0.5
    for frames in (within, put(-9999.0, (0, 0), (1, 1))):
        recording = leg(frames)
        assert clean(recording, CHAIN) is recording


def test_beside_one_other_number_nothing_tells_which_is_the_body() -> None:
    frames = np.full_like(FRAMES, 5)
    frames[::2] = -5
    recording = leg(frames)
    assert clean(recording, CHAIN) is recording


def test_forces_may_be_zero_or_any_number() -> None:
    frames = put(ZERO, (1, 2), (4, 1))
    frames[:3, 0] = -9999
    recording = leg(frames)
    assert clean(recording, PLATES) is recording


def test_a_confidence_a_little_above_1_is_1_and_noted() -> None:
    sure = np.full((6, 3), 0.9, np.float32)
    sure[0, 0], sure[1, 1] = 1.05, np.nan
    cleaned = clean(leg(confidence=sure), CHAIN)
    assert cleaned.confidence_TV is not None
    sure[0, 0] = 1
    np.testing.assert_array_equal(cleaned.confidence_TV, sure)
    assert cleaned.columns == {"quality_confidence": 1 / 18}


@pytest.mark.parametrize("wrong", [1.06, 80.0, -0.01])
def test_another_number_is_no_confidence(wrong: float) -> None:
    sure = np.full((6, 3), 0.5, np.float32)
    sure[0, 0] = wrong
    with pytest.raises(ValueError, match="the confidence does not lie between 0 and 1: "):
        clean(leg(confidence=sure), CHAIN)


def channel(third: NDArray[np.float64], span: float) -> NDArray[np.float32]:
    """Two coordinates that span so much, and a third channel [100]."""
    rng = np.random.default_rng(0)
    plane = rng.uniform(0, span, (100, 2))
    return np.column_stack([plane, third]).reshape(20, 5, 3).astype(np.float32)


CONFIDENCES = np.random.default_rng(1).uniform(0.1, 1, 100)
STATES = np.resize([1.0, 1.0, 0.5, 0.0], 100)


@pytest.mark.parametrize(
    ("third", "span", "told"),
    [
        (CONFIDENCES, 400.0, True),
        (STATES, 400.0, True),
        (STATES, 1.7, True),
        (CONFIDENCES, 1.7, False),  # a depth within a metre
        (CONFIDENCES * 1.3, 400.0, False),  # beyond 1
        (CONFIDENCES - 0.2, 400.0, False),  # below 0
        (np.zeros(100), 400.0, False),  # a plane in space
    ],
)
def test_a_channel_from_0_to_1_beside_pixels_or_of_few_values_is_a_confidence(
    third: NDArray[np.float64], span: float, told: bool
) -> None:
    assert is_confidence(channel(third, span)) is told


def test_a_column_of_a_file_may_not_pass_for_a_number_of_ours() -> None:
    recording = Recording(
        recording="r", person="p", label="c", positions_TVC=FRAMES, columns={"quality_zeros": 0.0}
    )
    with pytest.raises(ValueError, match="rename it: 'quality_zeros'"):
        clean(recording, CHAIN)


def test_readers_of_any_format_are_cleaned(tmp_path: Path) -> None:
    frames = np.concatenate([put(ZERO, (1, 2)), FRAMES[:, :, [0, 1, 2]] + 1])
    path = tmp_path / "a.npz"
    np.savez(path, frames=frames, offsets=[0, 6, 12], subject=["a", "b"], label=["x", "y"])
    for labelled in (True, False):
        first, second = read_files([path], CHAIN, ReadOptions(), labelled=labelled)
        assert isinstance(first, Recording)
        assert isinstance(second, Recording)
        assert np.isnan(first.positions_TVC[1, 2]).all()
        assert "quality_zeros" not in second.columns


def test_a_confidence_that_nobody_named_is_set_aside_with_what_to_write(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).uniform(0, 400, (40, 17, 3)).astype(np.float32)
    frames[..., 2] /= 400
    path = tmp_path / "a.npz"
    np.savez(path, frames=frames, offsets=[0, 40], subject=["a"], label=["x"])
    (item,) = read_files([path], LAYOUTS["coco17"], ReadOptions())
    assert isinstance(item, Rejected)
    assert "ingest.read.confidence_channel = 2" in item.reason
    (item,) = read_files([path], LAYOUTS["coco17"], ReadOptions(confidence_channel=2))
    assert isinstance(item, Recording)
