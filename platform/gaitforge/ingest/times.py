"""The frames of a file by the numbers or the times of its lines: which of them are missing, and how many a second."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.frames import refuse_sparse
from gaitforge.ingest.lines import check_growth
from gaitforge.ingest.motion import Unusable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAR = 0.1  # of a step, within which a time must be of where it belongs
COARSE_LOST = (
    0.02  # of the frames, that may be missing by times of hardly more digits than a step has
)
UNLIKE = 0.01  # of the rate, by which times may tell another one
_FEW_HZ = 1e-6  # of a rate, which digits of any number lose
_MOST_PLACE = 2**53
_EXPONENT = re.compile(r"[+-]?[0-9]{1,3}")


def count_decimals(field: str) -> int:
    """Return how many decimals a printed number has: 3 of "0.017" and of "1.7e-2"."""
    digits, _, exponent = field.strip().casefold().partition("e")
    shift = int(exponent) if _EXPONENT.fullmatch(exponent) else 0
    return min(max(len(digits.partition(".")[2]) - shift, 0), 20)


def place_by_number(numbers_T: Floats) -> Ints | Unusable:
    """Return at which frame each row is, the first at 0; rows none of which has a number (NaN) follow each other."""
    if np.isnan(numbers_T).all():
        return np.arange(len(numbers_T))
    if not ((np.abs(numbers_T) < _MOST_PLACE) & (numbers_T == np.rint(numbers_T))).all():
        return Unusable(reason="its frames have numbers that are not whole")
    for before, after in zip(numbers_T[:-1].tolist(), numbers_T[1:].tolist(), strict=True):
        if before == after:
            return Unusable(reason=f"a frame is there twice: {after:.0f}")
        if before > after:
            return Unusable(reason=f"its frames are out of order: {after:.0f} behind {before:.0f}")
    return np.asarray(numbers_T - numbers_T[0], np.int64)


def place_by_time(times_T: Floats, decimals: int) -> tuple[Ints, float] | None:
    """Return at which frame each row is and the frame rate in Hz, 0 for fewer than two rows; None for uneven times.

    Where most times follow each other in even steps and the others are some whole steps apart, frames are missing in
    between. Otherwise no frame is missing, and each row must lie within half a step of its place. What times may be off
    by their rounding, which is of so many `decimals`, counts only where nothing fits without it.
    """
    count = len(times_T)
    even_T = np.arange(count)
    if count < 2:
        return even_T, 0.0
    rounding = 10.0**-decimals
    with np.errstate(over="ignore", invalid="ignore"):
        step, off = _lay(times_T, even_T)
        gaps_T = _count_steps(times_T)
        places_T = even_T
        if gaps_T is not None and not off <= NEAR * step:
            wide, near = _lay(times_T, gaps_T)
            few = gaps_T[-1] + 1 - count <= COARSE_LOST * count
            # even steps of 1.1 hundredths, rounded to those, look like steps of one of which some are lost
            exactly = near <= NEAR * wide and (few or wide > 2.5 * rounding)
            rounded = near <= NEAR * wide + rounding and rounding < wide / 4
            if exactly or (rounded and off > NEAR * step + rounding):
                places_T, step, off = gaps_T, wide, near
    if not (0 < step < math.inf and off < step / 2):
        return None
    rate = _round_rate(1 / step, rounding / (step * float(places_T[-1])))
    return (places_T, rate) if 0 < rate < math.inf else None


def find_contradiction(
    rate: float, places_T: Ints, times_T: Floats, decimals: int
) -> Unusable | None:
    """Return what is wrong where times in seconds tell another frame rate than the file does; equal times tell none."""
    if len(times_T) < 2 or not np.isfinite(times_T).all() or (times_T == times_T[0]).all():
        return None
    told, measured = float(places_T[-1]) / rate, float(times_T[-1]) - float(times_T[0])
    if abs(measured - told) <= UNLIKE * told + 10.0**-decimals:
        return None
    by_times = float(places_T[-1]) / measured if measured else math.inf
    return Unusable(
        reason=f"its frame rate and its times do not agree: {rate:.6g} Hz, and by the times {by_times:.6g} Hz"
    )


def fill_gaps(
    rows: NDArray[np.float32], places_T: Ints, path: Path, file_bytes: int
) -> NDArray[np.float32]:
    """Return rows [T, ...] at their places, with NaN for the frames between; raises ValueError for far too few rows."""
    count = int(places_T[-1]) + 1 if len(places_T) else 0
    if count == len(rows):
        return rows
    refuse_sparse(count, len(rows), path)
    check_growth(path, count * rows[0].nbytes, file_bytes)
    full = np.full((count, *rows.shape[1:]), np.nan, np.float32)
    full[places_T] = rows
    return full


def whole_rate(step: str, seconds: float) -> float:
    """Return the frame rate in Hz of a step as it is printed: the one whole rate that rounds to it, if there is one.

    0.0333 is 30 Hz, but 0.017 may be 58 to 60.
    """
    unit = max(10.0 ** -count_decimals(step), _FEW_HZ * seconds)
    for above in (unit / 2, unit):  # rounded, or cut off
        least, most = 1 / (seconds + above), 1 / max(seconds - unit / 2, 1e-9)
        if math.ceil(least) == math.floor(most):
            return float(math.ceil(least))
    return 1 / seconds


def _lay(times_T: Floats, places_T: Ints) -> tuple[float, float]:
    """Return the step that leads from the first time to the last, and how far the others are off it at most."""
    step = (times_T[-1] - times_T[0]) / places_T[-1]
    return float(step), float(np.abs(times_T - times_T[0] - step * places_T).max())


def _count_steps(times_T: Floats) -> Ints | None:
    """Return the places of times by the step that most of them follow each other in; None where most do not."""
    steps = np.diff(times_T)
    step = float(np.sort(steps)[(len(steps) - 1) // 2])
    for _ in range(2):  # the middle one is rounded; the mean of its like is not
        if not 0 < step < math.inf:
            return None
        counts = np.rint(steps / step)
        if not ((counts >= 1) & (counts < _MOST_PLACE / len(times_T))).all():
            return None
        if 2 * np.count_nonzero(counts == 1) <= len(counts):
            return None
        step = float(steps[counts == 1].mean())
    return np.concatenate([[0], np.cumsum(counts.astype(np.int64))])


def _round_rate(rate: float, share: float) -> float:
    """Return the whole rate where one alone lies within what rounding may have changed, as a share of the rate."""
    error = max(share, _FEW_HZ) * rate
    if not rate < 1e9:
        return rate
    whole = float(round(rate))
    return whole if whole and error < 0.5 and abs(rate - whole) <= error else round(rate, 6)
