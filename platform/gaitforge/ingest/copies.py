"""Copies: which recording holds the frames of an earlier one, also where they were rounded since."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaitforge.quality import medians_of, medians_of_last
from gaitforge.recording import Recording

# Root mean square difference of copies, as a share of the movement. Rounding to a millimetre makes
# .003 of a movement of 0.1 m. Of all recordings of one length in five sets of real people, the two
# most alike that are none differ by .06.
TOLERANCE = 0.003

_WIDTH = 64  # numbers kept of a recording
_BLOCK = 4096
_ROWS = 1024  # of sums in an array: one that grows would be copied, and twice there for a while
# fixed, so that recordings can be compared at all
_SIGNS_BLOCK_WIDTH = np.random.default_rng(0).choice([-1.0, 1.0], size=(_BLOCK, _WIDTH))


class Known(NamedTuple):
    """An earlier recording, its person and its class."""

    recording: str
    person: str
    label: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is kept of a recording: sums of its coordinates [64], and how far off those of a copy may be.

    Recordings of one `kind` (length, joints, channels and what is missing) can be compared.
    """

    kind: tuple[tuple[int, ...], bytes]
    sums: NDArray[np.float64]
    reach: float


def sketch(recording: Recording) -> Sketch | None:
    """Return the sketch of a recording; None of one in which nothing ever moves."""
    positions_TN = recording.positions_TVC.reshape(len(recording.positions_TVC), -1)
    missing_TN = np.isnan(positions_TN)
    pattern = b""
    if not missing_TN.any():
        step = _step_of_all(np.ascontiguousarray(positions_TN.T))
    else:
        step = _step(positions_TN[:, ~missing_TN.all(axis=0)].astype(np.float64))
        pattern = hashlib.sha256(np.packbits(missing_TN).tobytes()).digest()
        positions_TN = np.where(missing_TN, np.float32(0), positions_TN)
    if step == 0:
        return None
    return Sketch(
        kind=(recording.positions_TVC.shape, pattern),
        sums=_sums(positions_TN.ravel()),
        reach=step * sqrt(missing_TN.size - np.count_nonzero(missing_TN)),
    )


class Copies:
    """Finds copies while recordings pass by; keeps 64 numbers of each, and no frames.

    These are sums of all coordinates under random signs: the mean of their squared differences
    estimates the squared distance of two recordings (Achlioptas 2003, "Database-friendly random
    projections"), so nothing depends on where a rounding step falls, as it would with a hash.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[tuple[int, ...], bytes], _InOrder] = {}
        self._names: dict[str, str] = {}  # persons and classes, each once
        self._known: list[Known] = []
        self._sums: list[NDArray[np.float64]] = []  # of these, _ROWS in each

    def find(self, recording: Recording) -> Known | None:
        """Find the earlier recording of which this one is a copy; None, and remembered, if of none.

        A recording in which nothing ever moves is like any other such one, and a copy of none.
        """
        return self.find_sketched(recording, sketch(recording))

    def find_sketched(self, recording: Recording, sketched: Sketch | None) -> Known | None:
        """Do what `find` does with the recording's sketch."""
        if sketched is None:
            return None
        earlier = self._kinds.setdefault(sketched.kind, _InOrder())
        second, reach = sketched.sums[1], sketched.reach
        # a first sum is further off than six such standard deviations once in a billion copies
        for place in earlier.near(sketched.sums[0], 6 * reach):
            sums = self._sums[place // _ROWS][place % _ROWS]
            # the second sum leaves few of those that the first one lets through
            near = abs(sums[1] - second) <= 6 * reach
            if near and np.mean((sums - sketched.sums) ** 2) <= reach**2:
                return self._known[place]
        place = len(self._known)
        if place % _ROWS == 0:
            self._sums.append(np.empty((_ROWS, _WIDTH)))
        self._sums[-1][place % _ROWS] = sketched.sums
        names = (self._names.setdefault(its, its) for its in (recording.person, recording.label))
        self._known.append(Known(recording.recording, *names))
        earlier.add(sketched.sums[0], place)
        return None


class _InOrder:
    """Places of recordings in the order of their first sums."""

    def __init__(self) -> None:
        self._firsts, self._places = array("d"), array("q")

    def near(self, first: float, reach: float) -> array[int]:
        low = bisect_left(self._firsts, first - reach)
        return self._places[low : bisect_right(self._firsts, first + reach)]

    def add(self, first: float, place: int) -> None:
        at = bisect_right(self._firsts, first)
        self._firsts.insert(at, first)
        self._places.insert(at, place)


def _step_of_all(coordinates_NT: NDArray[np.float32]) -> float:
    """Return what `_step` does where nothing is missing, sorting once."""
    ordered = np.sort(coordinates_NT, axis=-1).astype(np.float64)
    if not (ordered[:, 0] < ordered[:, -1]).any():
        return 0.0
    last = ordered.shape[1] - 1
    medians = (ordered[:, last // 2] + ordered[:, (last + 1) // 2]) / 2
    usual_NT = np.abs(ordered - medians[:, None])
    movement = sqrt(np.mean(medians_of_last(usual_NT) ** 2))
    if movement < 1e-6 * usual_NT.max():  # as of hardly any
        return _step(coordinates_NT.T.astype(np.float64))
    return TOLERANCE * movement


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


def _sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum all values under random signs: those within a block, times those of the block."""
    blocks = np.zeros((-(-len(values) // _BLOCK), _BLOCK))
    blocks.ravel()[: len(values)] = values
    signs = _signs_of_blocks(len(blocks))
    return np.asarray(((blocks @ _SIGNS_BLOCK_WIDTH) * signs).sum(axis=0))


@lru_cache(maxsize=64)  # as many recordings have the same number of blocks
def _signs_of_blocks(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(1).choice([-1.0, 1.0], size=(count, _WIDTH))
