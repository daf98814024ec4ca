"""The fixed views of training windows: mirrored, turned, resized and warped in time, by a seed.

A view depends on the seed, its recording's id, its window and its number, and on nothing else:
the teacher's outputs for it stay true when other recordings come, go or change places.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.windows import Bools, FilledRecording, Floats, WindowSettings, window_times

# An image has no vertical axis to turn about: a greater turn in it would be a fall.
MOST_2D_ROTATION_DEG = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What makes a view of a window; `warp` holds the two waves of `warp_times`."""

    flip: bool = False
    angle_rad: float = 0.0
    scale: float = 1.0
    warp: tuple[float, float] = (0.0, 0.0)


def make_views(
    recording: Recording, layout: Layout, settings: WindowSettings
) -> tuple[Floats, Bools]:
    """Make all views [N, views, T, V, C] of a recording's windows, not normalised, and where seen.

    View 0 is what `windows.prepare` gives.
    """
    motion = FilledRecording.from_recording(recording, layout, settings)
    times_NT = window_times(recording, settings)
    clean, clean_seen = motion.sample(times_NT)
    views = np.empty((len(clean), settings.views, *clean.shape[1:]), dtype=np.float32)
    seen = np.empty(views.shape[:-1], dtype=np.bool_)
    views[:, 0], seen[:, 0] = motion.move_to_centre(clean), clean_seen
    for n, times_T in enumerate(times_NT):
        for view in range(1, settings.views):
            rng = make_generator(settings.seed, recording.recording, n, view)
            change = draw_change(rng, settings, channels=clean.shape[-1])
            (warped,), (warped_seen,) = motion.sample(warp_times(times_T, change.warp)[None])
            # a body changes where it stands, not about a corner of the room; forces have no place
            start = motion.locate(warped)[0] if layout.up_axis is not None else np.float32(0)
            moved, seen[n, view] = change_body(warped - start, warped_seen, change, layout)
            # centred afterwards, as the root may be on one side only and a flip then moves it
            views[n, view] = motion.move_to_centre(moved + start)
    return views, seen


def make_generator(seed: int, recording: str, window: int, view: int) -> np.random.Generator:
    """Return the source of randomness of one view."""
    digest = hashlib.sha256(recording.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big"), window, view])


def draw_change(rng: np.random.Generator, settings: WindowSettings, channels: int) -> Change:
    """Draw a change within the ranges of the settings.

    All numbers are always drawn, so that turning one kind of change off leaves the others alone.
    """
    side, angle, size, slow, fast = rng.uniform(-1, 1, size=5).tolist()
    most_deg = settings.rotation_deg
    if channels == 2:
        most_deg = min(most_deg, MOST_2D_ROTATION_DEG)
    return Change(
        flip=settings.flip and side < 0,
        angle_rad=angle * math.radians(most_deg),
        scale=1 + size * settings.scale,
        warp=(slow * settings.time_warp / 2, fast * settings.time_warp / 2),
    )


def warp_times(times_T: NDArray[np.float64], warp: tuple[float, float]) -> NDArray[np.float64]:
    """Return times that pass at tempo 1 + warp[0] cos(pi u) + warp[1] cos(2 pi u), u from 0 to 1.

    Start and end stay where they are; time never stands still while |warp[0]| + |warp[1]| < 1.
    """
    u_T = np.linspace(0, 1, len(times_T))
    shift_T = sum(
        wave * np.sin(k * math.pi * u_T) / (k * math.pi) for k, wave in enumerate(warp, start=1)
    )
    warped: NDArray[np.float64] = times_T + (times_T[-1] - times_T[0]) * shift_T
    return warped


def change_body(
    positions_TVC: Floats, seen_TV: Bools, change: Change, layout: Layout
) -> tuple[Floats, Bools]:
    """Mirror, turn and resize a window about 0.

    Without left-right pairs nothing is mirrored; nodes without an up axis are only resized.
    """
    if layout.up_axis is not None:
        if change.flip and layout.left_right:
            positions_TVC, seen_TV = flip(positions_TVC, seen_TV, layout)
        positions_TVC = rotate(positions_TVC, change.angle_rad, layout)
    return positions_TVC * np.float32(change.scale), seen_TV


def flip(positions_TVC: Floats, seen_TV: Bools, layout: Layout) -> tuple[Floats, Bools]:
    """Mirror a window, with left and right joints swapped so that their names stay true.

    The upright mirror stands between the body's left and right, so that a body in 3D keeps its
    heading; across a fixed axis, people who walk along that axis would be turned round.
    In 2D the only upright mirror reverses the horizontal axis.
    """
    sideways_C = _sideways(positions_TVC, seen_TV, layout)
    depth_TV1 = (positions_TVC @ sideways_C)[..., None]
    order_V = layout.mirrored()
    return (positions_TVC - 2 * depth_TV1 * sideways_C)[:, order_V], seen_TV[:, order_V]


def rotate(positions_TVC: Floats, angle_rad: float, layout: Layout) -> Floats:
    """Turn positions about the up axis through 0, or in 2D within the image."""
    channels = positions_TVC.shape[-1]
    first, second = (0, 1) if channels == 2 else _level_axes(layout, channels)
    cos, sin = np.float32(math.cos(angle_rad)), np.float32(math.sin(angle_rad))
    turned = positions_TVC.copy()
    turned[..., first] = cos * positions_TVC[..., first] - sin * positions_TVC[..., second]
    turned[..., second] = sin * positions_TVC[..., first] + cos * positions_TVC[..., second]
    return turned


def _sideways(positions_TVC: Floats, seen_TV: Bools, layout: Layout) -> Floats:
    """Return the level unit vector [C] from right to left, by the pairs nearest the root (hips, say).

    Farther pairs would tilt it: through a whole lunge one foot is in front of the other.
    The first level axis where no pair is seen together.
    """
    level = _level_axes(layout, positions_TVC.shape[-1])
    left, right = np.array(layout.left_right).T
    together_TP = seen_TV[:, left] & seen_TV[:, right]
    hops = layout.hops_from_root()
    hops_P = np.where(together_TP.any(axis=0), hops[left] + hops[right], np.iinfo(np.int64).max)
    together_TP = together_TP & (hops_P == hops_P.min())
    apart_C: Floats = (positions_TVC[:, left] - positions_TVC[:, right])[together_TP].sum(axis=0)
    sideways_C = np.zeros_like(apart_C)
    sideways_C[level] = apart_C[level]
    length = np.linalg.norm(sideways_C)
    if length == 0:
        sideways_C[level[0]] = length = np.float32(1)
    return sideways_C / length


def _level_axes(layout: Layout, channels: int) -> list[int]:
    return [axis for axis in range(channels) if axis != layout.up_axis]
