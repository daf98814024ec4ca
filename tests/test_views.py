"""Views of windows: what is changed and what is not, and that nothing but window, number and seed decides it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.draws import draw_normal, draw_uniform, mix, number_elements
from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation, normalise
from gaitforge.recipe import Disturbance
from gaitforge.recording import Recording
from gaitforge.views import Changes, Views, disturb, warp_time, warped_times
from gaitforge.window_cache import make_key
from gaitforge.windows import FilledRecording, WindowSettings, prepare, window_times
from tests.test_windows import BODY, PLATES, bone_lengths, walker, without

UNSCALED = {"center": "none", "size": "none"}


def plain_views(layout: Layout, settings: WindowSettings, channels: int = 3) -> Views:
    """Views whose z-scores are the coordinates themselves."""
    shape = (layout.joint_count, channels)
    scale = Normalisation(
        mean_VC=np.zeros(shape, dtype=np.float32), std_VC=np.ones(shape, dtype=np.float32)
    )
    return Views.of(settings, layout, scale)


def make_views(
    recording: Recording, layout: Layout, settings: WindowSettings
) -> tuple[np.ndarray, np.ndarray]:
    """All views [N, views, T, V, C] of a recording's windows, and what was seen."""
    motion = FilledRecording.from_recording(recording, layout, settings)
    windows, seen = motion.cut(window_times(recording, settings))
    views = plain_views(layout, settings, windows.shape[-1])
    keys = torch.tensor([make_key(recording.recording, n) for n in range(len(windows))])
    made = [
        views.make(
            torch.from_numpy(windows), torch.from_numpy(seen), torch.from_numpy(motion.find_place(windows)),
            keys, torch.full_like(keys, view),
        )
        for view in range(settings.views)
    ]  # fmt: skip
    return (
        np.stack([batch.joints_BTVC.numpy() for batch in made], axis=1),
        np.stack([batch.seen_BTV.numpy() for batch in made], axis=1),
    )


def change(
    positions_TVC: np.ndarray,
    layout: Layout,
    *,
    flip: bool = False,
    angle: float = 0.0,
    seen: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One window mirrored and turned about 0."""  # fmt: skip
    views = plain_views(layout, WindowSettings(), positions_TVC.shape[-1])
    if seen is None:
        seen = np.ones(positions_TVC.shape[:-1], dtype=np.bool_)
    changes = Changes(
        flip_B=torch.tensor([flip]), angle_B=torch.tensor([angle], dtype=torch.float64),
        scale_B=torch.ones(1, dtype=torch.float64), warp_B2=torch.zeros(1, 2, dtype=torch.float64),
    )  # fmt: skip
    joints, kept = views.change(
        torch.from_numpy(positions_TVC)[None], torch.from_numpy(seen)[None],
        torch.zeros(1, positions_TVC.shape[-1]), changes,
    )  # fmt: skip
    return joints[0].numpy(), kept[0].numpy()


# what decides a view


@pytest.mark.parametrize("mode", ["resample", "slide"])
@pytest.mark.parametrize("center", ["frame", "first", "none"])
def test_view_0_is_the_clean_window(mode: str, center: str) -> None:
    settings = WindowSettings(length=8, stride=4, mode=mode, center=center)
    recording = without(walker(), [2, 3], joint=3)
    views, views_seen = make_views(recording, BODY, settings)
    windows, seen = prepare(recording, BODY, settings)
    np.testing.assert_array_equal(views[:, 0], np.where(seen[..., None], windows, 0))
    np.testing.assert_array_equal(views_seen[:, 0], seen)
    assert all((views[:, view] != views[:, 0]).any() for view in (1, 2, 3))


def test_views_are_the_same_each_time_and_differ_by_seed_recording_window_and_number() -> None:
    settings = WindowSettings(length=8, stride=8, mode="slide")
    positions = np.tile(walker(frames=8).positions_TVC, (2, 1, 1))
    recording = replace(walker(), positions_TVC=positions)
    views, _ = make_views(recording, BODY, settings)
    np.testing.assert_array_equal(make_views(recording, BODY, settings)[0], views)
    np.testing.assert_array_equal(views[0, 0], views[1, 0])
    changed = [
        views[0, 1],
        views[0, 2],
        views[1, 1],
        make_views(replace(recording, recording="r1"), BODY, settings)[0][0, 1],
        make_views(recording, BODY, replace(settings, seed=1))[0][0, 1],
    ]
    for i, one in enumerate(changed):
        assert all((one != other).any() for other in changed[:i])


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_a_view_is_the_same_to_the_bit_whatever_else_is_in_the_batch(batch: int) -> None:
    rng = torch.Generator().manual_seed(0)
    joints = torch.randn(32, 19, 5, 3, generator=rng)
    seen = torch.rand(32, 19, 5, generator=rng) > 0.2
    key = torch.randint(2**62, (32,), generator=rng)
    number = torch.arange(32) % 4
    place = torch.randn(32, 3, generator=rng)
    views = plain_views(BODY, WindowSettings(center="none"))
    how = Disturbance(jitter=0.3, joint_drop=0.2)

    def made(rows: Tensor) -> Batch:
        found = views.make(joints[rows], seen[rows], place[rows], key[rows], number[rows])
        return disturb(found, how, mix(key[rows], number[rows]))

    whole = made(torch.arange(32))
    for rows in torch.split(torch.randperm(32, generator=rng), batch):
        part = made(rows)
        assert torch.equal(part.joints_BTVC, whole.joints_BTVC[rows])
        assert torch.equal(part.seen_BTV, whole.seen_BTV[rows])


def test_numbers_are_known() -> None:
    """If these change, every view changes: raise FORMAT of the window cache and say so in the commit."""
    key = mix(torch.tensor([make_key("r0", 0)]), 0, 0, torch.tensor([1]))
    assert key.tolist() == [-5910984029498529374]
    assert draw_uniform(key).item() == pytest.approx(0.6795649136845286, abs=1e-15)
    first, second = draw_normal(key, (2,))[0].tolist()
    assert (first, second) == pytest.approx((-0.352989, -0.164618), abs=1e-6)


def test_drawn_numbers_are_even_and_normal_and_depend_on_each_part_of_their_key() -> None:
    keys = number_elements(torch.arange(100), (1000,))
    assert len(set(keys.flatten().tolist())) == 100_000
    uniform = draw_uniform(keys)
    assert 0 <= uniform.min() < 1e-4
    assert 1 - 1e-4 < uniform.max() < 1
    counts = torch.histc(uniform.float(), bins=10, min=0, max=1)
    assert (counts / 10_000 - 1).abs().max() < 0.04  # sd .0095
    normal = draw_normal(torch.arange(100), (10, 100)).double().view(100, 1000)
    assert normal.mean().item() == pytest.approx(0, abs=0.015)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert (normal**4).mean().item() == pytest.approx(3, abs=0.15)
    for step in (1, 500):  # the two of a key lie 500 apart
        together = (normal[:, step:] * normal[:, :-step]).mean().item()
        assert together == pytest.approx(0, abs=0.02)
    assert draw_normal(torch.arange(3), (5,)).shape == (3, 5)
    one = mix(torch.tensor([5]), 1, 2)
    others = [
        mix(torch.tensor([5]), 2, 1),
        mix(torch.tensor([6]), 1, 2),
        mix(torch.tensor([5]), 1, 3),
    ]
    assert all(not torch.equal(one, other) for other in others)


# what is changed


def test_one_kind_of_change_can_be_turned_off_without_changing_another() -> None:
    settings = WindowSettings(length=8, flip=False, rotation_deg=0, scale=0.1, time_warp=0)
    views, _ = make_views(walker(), BODY, settings)
    ratios = views[0, 1:, :, 1:, 1] / views[0, :1, :, 1:, 1]
    assert ratios.std(axis=(1, 2)).max() < 1e-5
    assert (np.abs(ratios - 1) < 0.1001).all()
    still = make_views(walker(), BODY, replace(settings, scale=0))[0]
    np.testing.assert_allclose(still[0, 1], views[0, 0], atol=1e-6)


def test_half_of_the_views_are_mirrored_and_turns_fill_their_range() -> None:
    views = plain_views(BODY, WindowSettings(rotation_deg=90, scale=0.1))
    drawn = views.draw(torch.arange(4000), torch.ones(4000, dtype=torch.int64))
    assert drawn.flip_B.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert drawn.angle_B.abs().max().item() == pytest.approx(math.pi / 2, abs=0.01)
    assert drawn.angle_B.mean().item() == pytest.approx(0, abs=0.05)
    assert drawn.scale_B.min().item() == pytest.approx(0.9, abs=0.001)
    assert drawn.scale_B.max().item() == pytest.approx(1.1, abs=0.001)


def test_body_parts_keep_their_lengths_but_for_the_scale() -> None:
    settings = WindowSettings(length=20, scale=0, time_warp=0, rotation_deg=180)
    views, _ = make_views(walker(), BODY, settings)
    lengths = bone_lengths(views[0])
    mirrored = lengths[:, :, [1, 0, 3, 2]]
    for view in (1, 2, 3):
        np.testing.assert_allclose(
            np.sort(lengths[view], axis=1), np.sort(lengths[0], axis=1), atol=1e-5
        )
        same = np.allclose(lengths[view], lengths[0], atol=1e-4)
        assert same or np.allclose(lengths[view], mirrored[0], atol=1e-4)


@pytest.mark.parametrize("heading_deg", [0, 37, 90])
def test_flipping_twice_changes_nothing(heading_deg: float) -> None:
    positions = walker(heading_deg=heading_deg).positions_TVC
    seen = np.ones(positions.shape[:-1], dtype=np.bool_)
    seen[4, 1] = False
    once, once_seen = change(positions, BODY, flip=True, seen=seen)
    twice, twice_seen = change(once, BODY, flip=True, seen=once_seen)
    assert np.abs(once - positions).max() > 0.05
    assert not once_seen[4, 2]
    np.testing.assert_allclose(twice, positions, atol=1e-5)
    np.testing.assert_array_equal(twice_seen, seen)


@pytest.mark.parametrize("heading_deg", [0, 37, 90])
def test_a_flipped_body_keeps_its_heading_and_leads_with_the_other_leg(heading_deg: float) -> None:
    straight = walker()
    flipped, _ = change(straight.positions_TVC, BODY, flip=True)
    np.testing.assert_allclose(flipped[:, 3, 1:], straight.positions_TVC[:, 4, 1:], atol=1e-6)
    np.testing.assert_allclose(flipped[:, 3, 0], -straight.positions_TVC[:, 4, 0], atol=1e-6)
    turned = walker(heading_deg=heading_deg).positions_TVC
    (back,) = {
        round(math.degrees(sign * angle))
        for sign, angle in ((s, math.radians(heading_deg)) for s in (1, -1))
        if np.allclose(
            change(straight.positions_TVC, BODY, angle=sign * angle)[0], turned, atol=1e-5
        )
    }
    np.testing.assert_allclose(
        change(turned, BODY, flip=True)[0],
        change(flipped, BODY, angle=math.radians(back))[0],
        atol=1e-5,
    )


def test_a_flip_in_2d_reverses_the_horizontal_axis() -> None:
    positions = walker(channels=2).positions_TVC
    flipped, _ = change(positions, BODY, flip=True)
    np.testing.assert_array_equal(flipped[..., 1], positions[:, [0, 2, 1, 4, 3], 1])
    np.testing.assert_allclose(flipped[..., 0], -positions[:, [0, 2, 1, 4, 3], 0], atol=1e-6)


def test_left_and_right_are_told_by_the_pair_nearest_the_root_that_is_seen() -> None:
    """Hips apart along x, feet along z: with the hips seen x is sideways, with the hips hidden z."""
    joints = torch.zeros(2, 4, 5, 3)
    joints[:, :, 1, 0], joints[:, :, 2, 0] = 1.0, -1.0
    joints[:, :, 3, 2], joints[:, :, 4, 2] = 1.0, -1.0
    seen = torch.ones(2, 4, 5, dtype=torch.bool)
    seen[1, :, 1] = False
    sideways = plain_views(BODY, WindowSettings()).find_sideways(joints, seen)
    assert sideways.tolist() == [[1, 0, 0], [0, 0, 1]]
    nothing = plain_views(BODY, WindowSettings()).find_sideways(joints, seen & False)
    assert nothing.tolist() == [[1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(("up", "up_axis"), [("x", 0), ("y", 1), ("z", 2), ("-y", 1)])
def test_a_rotation_keeps_height_and_bone_lengths(up: str, up_axis: int) -> None:
    positions = walker().positions_TVC
    turned, _ = change(positions, replace(BODY, up=up), angle=1.0)
    np.testing.assert_array_equal(turned[..., up_axis], positions[..., up_axis])
    np.testing.assert_allclose(bone_lengths(turned), bone_lengths(positions), atol=1e-5)
    assert np.abs(turned - positions).max() > 0.1


def test_a_rotation_in_2d_stays_within_five_degrees() -> None:
    settings = WindowSettings(length=8, rotation_deg=180, flip=False, scale=0, time_warp=0)
    for name in ("r0", "r1", "r2", "r3"):
        views, _ = make_views(walker(name, channels=2), BODY, settings)
        legs = views[0, :, 0, 3] - views[0, :, 0, 0]
        angles = np.degrees(np.arctan2(legs[:, 0], -legs[:, 1]))
        assert np.abs(angles - angles[0]).max() <= 5
        lengths = bone_lengths(views[0])
        np.testing.assert_allclose(lengths[1:], np.stack([lengths[0]] * 3), atol=1e-5)


def test_warped_time_keeps_its_ends_and_never_runs_backwards() -> None:
    times = warped_times(64, torch.tensor([[0.25, -0.25], [0.0, 0.0]], dtype=torch.float64))
    assert times[0, [0, -1]].tolist() == [0, 63]
    tempo = times[0].diff()
    assert 0.5 <= tempo.min() < 0.8
    assert 1.1 < tempo.max() <= 1.5
    assert times[1].tolist() == list(range(64))


def test_warped_positions_lie_between_frames_and_are_seen_where_the_nearest_frame_was() -> None:
    """A joint that moves by 1 a frame is, at each moment, where the moment says."""
    joints = torch.arange(9.0)[None, :, None, None].expand(1, 9, 1, 3)
    seen = torch.ones(1, 9, 1, dtype=torch.bool)
    seen[0, 4:] = False
    warp = torch.tensor([[0.3, 0.1]], dtype=torch.float64)
    moved, kept = warp_time(joints, seen, warp)
    times = warped_times(9, warp)[0]
    torch.testing.assert_close(moved[0, :, 0, 0].double(), times, atol=1e-6, rtol=0)
    assert kept[0, :, 0].tolist() == [time < 3.5 for time in times.tolist()]


@pytest.mark.parametrize("center", ["frame", "first"])
def test_views_are_centred_where_the_root_is_seen_on_both_sides(center: str) -> None:
    views, _ = make_views(walker(), BODY, WindowSettings(length=8, center=center))
    placed = views[0, :, :, 0] if center == "frame" else views[0, :, 0, 0]
    np.testing.assert_allclose(placed, 0, atol=1e-6)


def test_a_root_on_one_side_is_on_the_other_in_a_mirrored_view() -> None:
    layout = replace(BODY, root=(1,))
    settings = WindowSettings(length=8, scale=0, time_warp=0, rotation_deg=0, views=8)
    views, _ = make_views(walker(), layout, settings)
    mirrored = [bool(np.abs(view[:, 1]).max() > 1e-3) for view in views[0]]
    assert set(Counter(mirrored)) == {True, False}
    for view, is_mirrored in zip(views[0], mirrored, strict=True):
        np.testing.assert_allclose(view[:, 2 if is_mirrored else 1], 0, atol=1e-6)


def test_an_uncentred_body_changes_where_it_stands() -> None:
    far = walker().positions_TVC + np.array([100, 0, 0], dtype=np.float32)
    settings = WindowSettings(length=8, rotation_deg=180, **UNSCALED)  # type: ignore[arg-type]
    views, _ = make_views(replace(walker(), positions_TVC=far), BODY, settings)
    np.testing.assert_allclose(views[0, :, 0, 0], views[0, :1, 0, 0].repeat(4, axis=0), atol=1e-4)


def test_nodes_without_an_up_axis_are_only_resized_and_warped() -> None:
    forces = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    recording = Recording(recording="r", person="p", label="knee", positions_TVC=forces)
    settings = WindowSettings(length=8, scale=0, time_warp=0, rotation_deg=180, views=8)
    views, _ = make_views(recording, PLATES, settings)
    np.testing.assert_array_equal(views[0], np.stack([forces] * 8))
    resized, _ = make_views(recording, PLATES, replace(settings, scale=0.1))
    assert np.ptp(resized[0, 1] / forces) < 1e-5


def test_a_layout_without_sides_is_never_mirrored() -> None:
    views = plain_views(replace(BODY, left_right=()), WindowSettings())
    assert not views.draw(torch.arange(100), torch.ones(100, dtype=torch.int64)).flip_B.any()


def test_padding_stays_unseen_in_every_view() -> None:
    settings = WindowSettings(length=16, stride=8, mode="slide")
    _, seen = make_views(walker(frames=6), BODY, settings)
    assert seen[0, 0].sum() == 6 * 5
    assert not seen[0, :, -6:].any()
    assert seen[0, :, :4].all()


def test_views_are_scaled_as_a_prediction_scales() -> None:
    windows, seen = prepare(without(walker(), [2], joint=1), BODY, WindowSettings(length=8))
    windows[0, 0, 4] = 1e9
    rng = np.random.default_rng(0)
    scale = Normalisation(
        mean_VC=rng.normal(size=(5, 3)).astype(np.float32),
        std_VC=rng.uniform(0.5, 2, size=(5, 3)).astype(np.float32),
    )
    views = Views.of(WindowSettings(length=8), BODY, scale)
    batch = views.scale(torch.from_numpy(windows), torch.from_numpy(seen))
    np.testing.assert_array_equal(batch.joints_BTVC.numpy(), normalise(windows, seen, scale))


# what disturbs a view


def clean_batch() -> Batch:
    seen = torch.ones(8, 16, 5, dtype=torch.bool)
    seen[0, 2, 1] = False
    return Batch(joints_BTVC=torch.ones(8, 16, 5, 3) * seen[..., None], seen_BTV=seen)


def test_jitter_has_its_size_and_spares_what_was_not_seen() -> None:
    batch = clean_batch()
    noisy = disturb(batch, Disturbance(jitter=0.5), torch.arange(8))
    noise = (noisy.joints_BTVC - batch.joints_BTVC)[batch.seen_BTV]
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert noisy.joints_BTVC[0, 2, 1].tolist() == [0, 0, 0]
    assert torch.equal(noisy.seen_BTV, batch.seen_BTV)


def test_a_dropped_joint_is_unseen_for_a_whole_window() -> None:
    dropped = disturb(clean_batch(), Disturbance(joint_drop=0.5), torch.arange(8))
    seen_frames_BV = dropped.seen_BTV[1:].sum(dim=1)
    assert set(seen_frames_BV.flatten().tolist()) == {0, 16}
    assert not dropped.joints_BTVC[~dropped.seen_BTV].any()


def test_a_dropped_part_hides_its_joints_and_no_other() -> None:
    layout = replace(BODY, parts={"left leg": (1, 3), "right leg": (2, 4)})
    part_PV = plain_views(layout, WindowSettings()).part_PV
    key = torch.arange(400)
    batch = Batch(
        joints_BTVC=torch.ones(400, 2, 5, 3), seen_BTV=torch.ones(400, 2, 5, dtype=torch.bool)
    )
    seen_BV = disturb(batch, Disturbance(part_drop=0.3), key, part_PV).seen_BTV[:, 0]
    found = Counter(tuple(row) for row in seen_BV.tolist())
    kept, left, right, both = (
        (True, True, True, True, True), (True, False, True, False, True),
        (True, True, False, True, False), (True, False, False, False, False),
    )  # fmt: skip
    assert set(found) == {kept, left, right, both}
    assert (found[left] + found[both]) / 400 == pytest.approx(0.3, abs=0.07)
    with pytest.raises(
        ValueError, match=r"fit.part_drop is 0.3, but the layout names no body par"
    ):
        disturb(
            batch, Disturbance(part_drop=0.3), key, plain_views(PLATES, WindowSettings()).part_PV
        )
