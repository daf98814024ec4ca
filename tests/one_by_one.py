"""The numbers of quality.CHECKS of one recording at a time, as they were first written: what stored ones must equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import METRES, Layout
from gaitforge.quality import (
    _FEET,
    _HEAD,
    LONGEST_M,
    MOST_ONE_FRAME,
    PREFIX,
    SURE,
    Bools,
    Float,
    Floats,
    find_joints,
)
from gaitforge.recording import Recording, Value


def measure_alone(recording: Recording, layout: Layout) -> dict[str, float]:
    """Return the numbers of CHECKS, NaN where a check does not apply."""
    with np.errstate(over="ignore", invalid="ignore"):
        body = Body.of(recording, layout)
        return {
            "missing": _missing(body),
            "zeros": body.noted("zeros"),
            "sentinels": body.noted("sentinels"),
            "confidence": body.noted("confidence"),
            "jumps": _jumps(body),
            "frozen": _frozen(body),
            "bone_spread": _bone_spread(body),
            "swaps": _swaps(body),
            "head_below_feet": _head_below_feet(body),
            "bone_length": _bone_length(body),
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Body:
    """A recording of a body in space, with what several checks need.

    `lengths_TE` are bone lengths, NaN where an end was not seen, and `medians_E` their medians; `size` is the mean of
    these, NaN without a bone.
    """

    layout: Layout
    positions_TVC: NDArray[np.float32]
    seen_TV: Bools
    lengths_TE: Floats
    medians_E: Floats
    size: float
    columns: Mapping[str, Value]

    @classmethod
    def of(cls, recording: Recording, layout: Layout) -> Body:
        seen_TV = recording.seen_TV(SURE)
        positions = np.where(seen_TV[..., None], recording.positions_TVC, np.float32(np.nan))
        ends = np.array(layout.bones, dtype=np.int64).reshape(-1, 2)
        vectors = positions[:, ends[:, 0]] - positions[:, ends[:, 1]]
        lengths = np.sqrt(_sum_squares(vectors.astype(np.float64)))
        medians = medians_of(lengths)
        known = medians[~np.isnan(medians)]
        return cls(
            layout=layout,
            positions_TVC=positions,
            seen_TV=seen_TV,
            lengths_TE=lengths,
            medians_E=medians,
            size=float(known.mean()) if known.size and known.mean() > 0 else np.nan,
            columns=recording.columns,
        )

    def noted(self, name: str) -> float:
        """Return what was found, and mended, as the recording was read."""
        value = self.columns.get(PREFIX + name)
        return float(value) if isinstance(value, int | float) else 0.0

    def heights_TV(self) -> Floats:
        """Return how high joints are [T, V]; NaN where they were not seen, or the axis is not one of theirs."""
        up = self.layout.up_axis
        if up is None or up >= self.positions_TVC.shape[2]:
            return np.full(self.seen_TV.shape, np.nan)
        return self.layout.up_sign * self.positions_TVC[..., up].astype(np.float64)


def _sum_squares(vectors: Floats) -> Floats:
    """Sum squares over the last axis in the order of numpy.einsum on the machine that wrote the first stores.

    On one without AVX-512 einsum itself goes from the first to the third.
    """
    squares: Floats = vectors**2
    if squares.shape[-1] < 3:
        total: Floats = squares.sum(axis=-1)
        return total
    return (squares[..., 0] + squares[..., 2]) + squares[..., 1]


def _missing(body: Body) -> float:
    return 1.0 - float(body.seen_TV.mean())


def _jumps(body: Body) -> float:
    """Return the farthest step of a joint, less the mean step of all, in body sizes."""
    steps = (body.positions_TVC[1:] - body.positions_TVC[:-1]).astype(np.float64)
    known_TV = ~np.isnan(steps[..., 0])
    counts_T = known_TV.sum(axis=1)
    if np.isnan(body.size) or not counts_T.any():
        return np.nan
    steps[~known_TV] = 0
    mean_TC = steps.sum(axis=1) / np.maximum(counts_T, 1)[:, None]
    own = np.where(known_TV[..., None], steps - mean_TC[:, None], 0.0)
    return float(np.sqrt(_sum_squares(own).max())) / body.size


def _frozen(body: Body) -> float:
    digits = np.ascontiguousarray(body.positions_TVC).view(np.int32).reshape(len(body.seen_TV), -1)
    same_T = (digits[1:] == digits[:-1]).all(axis=1) & body.seen_TV[1:].any(axis=1)
    return float(same_T.mean())


def _bone_spread(body: Body) -> float:
    """Return the median deviations of bone lengths (as standard deviations), summed, over the sum of median lengths.

    Sums, since a short bone changes much by the noise of its ends.
    """
    usable_E = body.medians_E > 0  # False for NaN
    if body.positions_TVC.shape[2] < 3 or not usable_E.any():
        return np.nan
    lengths, medians = body.lengths_TE[:, usable_E], body.medians_E[usable_E]
    deviations_E = medians_of(np.abs(lengths - medians))
    return float(1.4826 * deviations_E.sum() / medians.sum())


def _swaps(body: Body) -> float:
    """Return the share of frames in which swapping the sides fits the frames before far better.

    Of the distances between a frame and the one before, only that of the difference d of left and right joints changes
    in a swap: |d - before| becomes |d + before|. Legs that pass each other in a view from the side also turn d round,
    but as they move: so the swap must fit the straight line through two frames, too.
    """
    pairs = np.array(body.layout.left_right, dtype=np.int64).reshape(-1, 2)
    if not len(pairs) or len(body.seen_TV) < 3 or np.isnan(body.size):
        return np.nan
    apart = (body.positions_TVC[:, pairs[:, 0]] - body.positions_TVC[:, pairs[:, 1]]) / body.size
    now, before, line = apart[2:], apart[1:-1], 2 * apart[1:-1] - apart[:-2]
    known_TS = ~np.isnan(now[..., 0] + line[..., 0])
    count_T = known_TS.sum(axis=1)
    swapped_T = (count_T > 0) & (2 * count_T >= len(pairs))  # a single pair may be noise
    for guess in (before, line):
        kept_T, turned_T = (
            np.where(known_TS[..., None], now + sign * guess, 0) ** 2 for sign in (-1, 1)
        )
        kept, turned = kept_T.sum(axis=(1, 2)), turned_T.sum(axis=(1, 2))
        swapped_T &= (turned < 0.5 * kept) & (kept > MOST_ONE_FRAME**2 * count_T)
    return float(swapped_T.mean())


def _head_below_feet(body: Body) -> float:
    head, feet = find_joints(body.layout, _HEAD), find_joints(body.layout, _FEET)
    heights_TV = body.heights_TV()
    both_T = body.seen_TV[:, head].any(axis=1) & body.seen_TV[:, feet].any(axis=1)
    both_T &= ~np.isnan(heights_TV).all(axis=1)
    if not both_T.any():
        return np.nan
    head_T, feet_T = (np.nanmean(heights_TV[both_T][:, joints], axis=1) for joints in (head, feet))
    return float((head_T < feet_T).mean())


def _bone_length(body: Body) -> float:
    """Return 1 for a longest bone between LONGEST_M, and else how many times it is too long or too short."""
    known = body.medians_E[~np.isnan(body.medians_E)]
    if body.layout.unit not in METRES or body.positions_TVC.shape[2] < 3 or not known.size:
        return np.nan
    longest_m = float(known.max()) * METRES[body.layout.unit]
    if longest_m <= 0:
        return np.nan
    return max(1.0, longest_m / LONGEST_M[1], LONGEST_M[0] / longest_m)


def medians_of(values_TN: NDArray[Float]) -> NDArray[Float]:
    """Return the median over the first axis [N] of what is not NaN; NaN where all is. As nanmedian, and much faster."""
    ordered = np.sort(values_TN, axis=0)  # NaN comes last
    counts = len(values_TN) - np.isnan(values_TN).sum(axis=0)
    columns = np.arange(values_TN.shape[1])
    low = ordered[np.maximum(counts - 1, 0) // 2, columns]
    high = ordered[np.minimum(counts // 2, len(values_TN) - 1), columns]
    medians: NDArray[Float] = np.where(counts > 0, (low + high) / 2, np.nan)
    return medians
