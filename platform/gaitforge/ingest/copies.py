"""Copies: which recording holds the frames of an earlier one, also where they were rounded since."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from math import sqrt
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaitforge.quality import medians_of
from gaitforge.recording import Recording

# Root mean square difference of copies, as a share of the movement. Rounding to a millimetre makes
# .003 of a movement of 0.1 m. Of all recordings of one length in five sets of real people, the two
# most alike that are none differ by .06.
TOLERANCE = 0.003

_WIDTH = 64  # numbers kept of a recording
_BLOCK = 4096
# fixed, so that recordings can be compared at all
_SIGNS_BLOCK_WIDTH = np.random.default_rng(0).choice([-1.0, 1.0], size=(_BLOCK, _WIDTH))


class Known(NamedTuple):
    """An earlier recording, its person and its class."""

    recording: str
    person: str
    label: str


class Copies:
    """Finds copies while recordings pass by; keeps 64 numbers of each, and no frames.

    These are sums of all coordinates under random signs: the mean of their squared differences
    estimates the squared distance of two recordings (Achlioptas 2003, "Database-friendly random
    projections"), so nothing depends on where a rounding step falls, as it would with a hash.
    """

    def __init__(self) -> None:
        # by length, joints, channels and what is missing; those of a list by `first`
        self._sketches: dict[tuple[tuple[int, ...], bytes], list[_Sketch]] = {}

    def find(self, recording: Recording) -> Known | None:
        """Find the earlier recording of which this one is a copy; None, and remembered, if of none.

        A recording in which nothing ever moves is like any other such one, and a copy of none.
        """
        positions_TN = recording.positions_TVC.reshape(len(recording.positions_TVC), -1)
        missing_TN = np.isnan(positions_TN)
        step = _step(positions_TN[:, ~missing_TN.all(axis=0)].astype(np.float64))
        if step == 0:
            return None
        sums = _sums(np.where(missing_TN, 0.0, positions_TN).ravel())
        known = Known(recording.recording, recording.person, recording.label)
        sketch = _Sketch(float(sums[0]), float(sums[1]), sums, known)
        pattern = hashlib.sha256(np.packbits(missing_TN).tobytes()).digest()
        key = recording.positions_TVC.shape, pattern
        others = self._sketches.setdefault(key, [])
        reach = step * sqrt((~missing_TN).sum())
        # a first sum is further off than six such standard deviations once in a billion copies
        low = bisect_left(others, sketch.first - 6 * reach, key=attrgetter("first"))
        high = bisect_right(others, sketch.first + 6 * reach, key=attrgetter("first"))
        for other in others[low:high]:
            # the second sum leaves few of those that the first one lets through
            near = abs(other.second - sketch.second) <= 6 * reach
            if near and np.mean((other.sums - sums) ** 2) <= reach**2:
                return other.known
        insort(others, sketch, key=attrgetter("first"))
        return None


@dataclass(frozen=True, slots=True)
class _Sketch:
    first: float
    second: float
    sums: NDArray[np.float64]
    known: Known


def _step(coordinates_TN: NDArray[np.float64]) -> float:
    """Return the largest root mean square difference of a copy; 0 where no coordinate ever changes."""
    low_N, high_N = np.fmin.reduce(coordinates_TN), np.fmax.reduce(coordinates_TN)
    if not (low_N < high_N).any():
        return 0.0
    # by medians, because a number that stands for "not seen" in some frames is no movement
    usual_TN = np.abs(coordinates_TN - medians_of(coordinates_TN))
    movement = sqrt(np.mean(medians_of(usual_TN) ** 2))
    # of coordinates that mostly rest that is 0, and sums are exact to a few digits less than theirs
    return TOLERANCE * max(movement, 1e-6 * sqrt(np.nanmean(usual_TN**2)))


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum all values under random signs: those within a block, times those of the block."""
    blocks = np.zeros((-(-len(values) // _BLOCK), _BLOCK))
    blocks.ravel()[: len(values)] = values
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(len(blocks), _WIDTH))
    return np.asarray(((blocks @ _SIGNS_BLOCK_WIDTH) * signs).sum(axis=0))
