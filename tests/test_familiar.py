"""Rules of what is unlike the training people: a walker as they were is like them, a spoiled one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge import familiar
from gaitforge.familiar import describe_training, find_unlike
from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording
from gaitforge.records.export import Familiar

Frames = NDArray[np.float32]
KINECT = LAYOUTS["kinect25"]
HIPS = [KINECT.joints.index(name) for name in ("left_hip", "right_hip")]


def walkers(seed: int, layout: str = "kinect25", **more: int) -> list[Recording]:
    """Two people of each class, one walk each."""
    settings = SyntheticSettings(
        layout=layout, people_per_class=2, recordings_per_person=1, seconds=2.5, seed=seed, **more
    )
    return list(synthetic_cohort(settings))


@pytest.fixture(scope="module")
def known() -> Familiar:
    told = describe_training(walkers(1), KINECT)
    assert told is not None
    return told


def upside_down(frames: Frames) -> Frames:
    return frames * np.array([1, -1, -1], np.float32)


def z_up(frames: Frames) -> Frames:
    return frames[..., [0, 2, 1]] * np.array([1, -1, 1], np.float32)


def another_order(frames: Frames) -> Frames:
    return frames[:, np.random.default_rng(0).permutation(frames.shape[1])]


def without_hips(frames: Frames) -> Frames:
    spoiled = frames.copy()
    spoiled[:, HIPS] = np.nan
    return spoiled


def half_missing(frames: Frames) -> Frames:
    lost = np.random.default_rng(0).uniform(size=frames.shape[:2]) < 0.4
    return np.where(lost[..., None], np.float32(np.nan), frames)


def millimetres(frames: Frames) -> Frames:
    return frames * np.float32(1000)


def jumping(frames: Frames) -> Frames:
    spoiled = frames.copy()
    spoiled[20, 3] += 100
    return spoiled


def frozen(frames: Frames) -> Frames:
    spoiled = frames.copy()
    spoiled[20:40] = spoiled[20]
    return spoiled


SPOILED: dict[Callable[[Frames], Frames], str] = {
    upside_down: "the head below the feet (100 % of frames)",
    z_up: "joints at other heights",
    another_order: "bones of another length",
    without_hips: "left_hip, right_hip not seen",
    half_missing: "many joints missing (4",
    millimetres: "bones that no body has in the layout's unit",
    jumping: "jumps (",
    frozen: "frames that repeat the frame before",
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_walker_is_told_by_what_is_spoiled(
    known: Familiar, spoil: Callable[[Frames], Frames]
) -> None:
    for walker in walkers(2):
        spoiled = replace(walker, positions_TVC=np.ascontiguousarray(spoil(walker.positions_TVC)))
        told = find_unlike(spoiled, KINECT, known)
        assert any(text.startswith(SPOILED[spoil]) or SPOILED[spoil] in text for text in told), (
            told
        )


def test_other_people_of_the_same_kind_are_like_the_training_people(known: Familiar) -> None:
    assert [told for walker in walkers(2) if (told := find_unlike(walker, KINECT, known))] == []


def test_in_the_image_plane_a_body_upside_down_and_another_order_are_told_too() -> None:
    layout = LAYOUTS["coco17"]
    plane = describe_training(walkers(1, "coco17", dimensions=2), layout)
    assert plane is not None
    for walker in walkers(2, "coco17", dimensions=2):
        assert find_unlike(walker, layout, plane) == []
        frames = walker.positions_TVC
        down = replace(walker, positions_TVC=frames * np.array([1, -1], np.float32))
        assert "joints at other heights" in " ".join(find_unlike(down, layout, plane))
        mixed = replace(walker, positions_TVC=another_order(frames))
        assert "bones of another length" in " ".join(find_unlike(mixed, layout, plane))


LEGS = Layout(name="legs", joints=("hip", "knee", "foot"), bones=((0, 1), (1, 2)))
STANDING = np.array([[0, 1, 0], [0, 0.6, 0], [0, 0, 0.01]], np.float32)


def standing(count: int, last: Frames = STANDING) -> list[Recording]:
    """So many legs of two frames, with the knee a hundredth higher in each; of the last, `last`."""
    higher = np.array([[0, 0, 0], [0, 0.01, 0], [0, 0, 0]], np.float32)
    rests = [STANDING + np.float32(n) * higher for n in range(count)]
    return [
        Recording(
            recording=str(n), person="p", label="c", positions_TVC=np.stack([rest, rest + 0.1])
        )
        for n, rest in enumerate([*rests[:-1], last])
    ]


def test_quantiles_and_ranges_are_those_of_the_recordings() -> None:
    told = describe_training(standing(5), LEGS)
    assert told is not None
    assert told.recordings == 5
    assert told.checks["missing"] == (0, 0, 0, 0, 0, 0, 0)
    assert told.checks["bone_length"] == (1, 1, 1, 1, 1, 1, 1)
    assert told.unseen == [0, 0, 0]
    # of 0.4 and 0.6, and of 0.37 and 0.63, in halves of their sum
    np.testing.assert_allclose(told.shortest, [0.37 / 0.5, 0.6 / 0.5], rtol=1e-3)  # type: ignore[arg-type]
    np.testing.assert_allclose(told.longest, [0.4 / 0.5, 0.63 / 0.5], rtol=1e-3)  # type: ignore[arg-type]
    assert told.heights[1] == pytest.approx((0.61 - (1 + 0.61) / 3) / 0.5, abs=1e-2)


def test_of_many_recordings_every_second_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiar, "MOST", 2)
    told = describe_training(standing(9), LEGS)
    assert told is not None
    assert told.recordings == 3  # 0, 4 and 8


def test_a_lean_into_the_depth_is_no_standing_body(known: Familiar) -> None:
    for walker in walkers(2):
        flat = walker.positions_TVC * np.array([1, 0.2, 1], np.float32)
        flat[..., 2] += walker.positions_TVC[..., 1]  # y is a fifth of z, and says the same
        told = find_unlike(replace(walker, positions_TVC=flat), KINECT, known)
        assert "joints at other heights" in " ".join(told)


def test_a_joint_that_nobody_ever_saw_has_no_range() -> None:
    blind = [
        replace(
            leg,
            positions_TVC=np.where(
                [[False], [False], [True]], np.float32(np.nan), leg.positions_TVC
            ),
        )
        for leg in standing(3)
    ]
    told = describe_training(blind, LEGS)
    assert told is not None
    assert (told.unseen[2], told.heights[2], told.shortest[1], told.longest[1]) == (
        1,
        None,
        None,
        None,
    )
    assert find_unlike(blind[0], LEGS, told) == []


def test_forces_and_no_recordings_are_like_nothing() -> None:
    assert describe_training(standing(3), replace(LEGS, up="none")) is None
    assert describe_training([], LEGS) is None
