"""Quality: numbers that tell how a recording was tracked, each with the threshold from which it is worth a word.

CHECKS holds one function per number. They look at bodies in space: where the nodes are no points of a body (forces,
sensors: a layout with up = "none"), or where a layout lacks what a check needs (names of parts, pairs), a number is
NaN, and silent. What a number is, and what it is compared with, is one line each in docs/data.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaitforge.layout import METRES, Layout
from gaitforge.recording import Recording, Value

Float = TypeVar("Float", np.float32, np.float64)
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

PREFIX = "quality_"  # of the columns of the store's index that hold the numbers
SURE = 0.3  # the least confidence of a joint that counts as seen, as windows.min_confidence is by default
# The longest bone of a layout: from a child's thigh, or a small layout's forearm, to a hip that hangs on an ankle.
LONGEST_M = (0.1, 1.5)
_MOST = float(np.finfo(np.float32).max)
MOST_ONE_FRAME = 0.25  # body sizes that the two sides may come apart, or together, between frames without any doubt

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_HEAD = frozenset({"head", "nose", "eye", "ear", "neck", "skull", "lfhd", "rfhd", "lbhd", "rbhd"})
_FEET = frozenset({"foot", "feet", "ankle", "toe", "toes", "heel"}) | frozenset(
    {"lank", "rank", "ltoe", "rtoe", "lhee", "rhee"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualitySettings:
    """From what on a recording's quality is told of after ingest; "off" silences a check."""

    missing: float | Literal["off"] = 0.5
    """Share of joints and frames that were not found."""
    zeros: float | Literal["off"] = 0.0
    """Share of joints and frames that are 0 in all coordinates because they were not found; they
    become missing.
    """
    sentinels: float | Literal["off"] = 0.0
    """Share of joints and frames with one number, such as -9999, in all coordinates because they were
    not found; they become missing.
    """
    confidence: float | Literal["off"] = 0.0
    """Share of joints and frames whose confidence is a little above 1 (up to 1.05); it becomes 1."""
    jumps: float | Literal["off"] = 5.0
    """Farthest that a joint comes from one frame to the next, beside the body as a whole, in body
    sizes (mean bone length).
    """
    frozen: float | Literal["off"] = 0.2
    """Share of frames that repeat the frame before to the last digit."""
    bone_spread: float | Literal["off"] = 0.15
    """How much bones change their length, as a share of it (all bones together; in three
    coordinates).
    """
    swaps: float | Literal["off"] = 0.02
    """Share of frames in which left and right are suddenly the other way round."""
    head_below_feet: float | Literal["off"] = 0.5
    """Share of frames in which the head is lower than the feet."""
    bone_length: float | Literal["off"] = 1.0
    """How many times too long or too short the longest bone is for a body in the layout's unit, of
    0.1 to 1.5 m.
    """
    refuse: tuple[str, ...] = ()
    """Checks whose threshold sets a recording aside instead: ["missing", "bone_length"]."""

    def __post_init__(self) -> None:
        for name in CHECKS:
            limit = getattr(self, name)
            if limit != "off" and not 0 <= limit < np.inf:
                raise ValueError(
                    f'ingest.quality.{name} is {limit}, but must be a number from 0 on, or "off"; mend it.'
                )
        for name in self.refuse:
            if name not in CHECKS:
                raise ValueError(
                    f"ingest.quality.refuse names '{name}', but the checks are {', '.join(CHECKS)}; name some of these."
                )
            if getattr(self, name) == "off":
                raise ValueError(
                    f"ingest.quality.refuse names '{name}', which is off; give ingest.quality.{name} a number."
                )

    def limit(self, name: str) -> float:
        """Return what a number may be without a word."""
        limit = getattr(self, name)
        return np.inf if limit == "off" else float(limit)

    def limits_refused(self) -> dict[str, float]:
        """Return the thresholds that set recordings aside: with others, other recordings are stored."""
        return {name: self.limit(name) for name in sorted(self.refuse)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bodies:
    """N recordings of bodies in space, of one shape, with what several checks need.

    Time comes last, so that a number of many recordings is worked out in long runs. `positions_CVNT` are NaN where a
    joint was not seen, `lengths_NET` are bone lengths, NaN where an end was not seen, and `medians_NE` their medians;
    `size_N` are the means of these, NaN without a bone.
    """

    layout: Layout
    positions_CVNT: NDArray[np.float32]
    seen_VNT: Bools
    lengths_NET: Floats
    medians_NE: Floats
    size_N: Floats
    columns: Sequence[Mapping[str, Value]]

    @classmethod
    def of(cls, recordings: Sequence[Recording], layout: Layout) -> Bodies:
        """Stack recordings, which must have one shape, all or none with a confidence."""
        positions = _time_last([recording.positions_TVC for recording in recordings])
        missing_VNT = _any_missing(positions)
        first = recordings[0].confidence_TV
        if first is not None:
            given = [one.confidence_TV for one in recordings if one.confidence_TV is not None]
            sure_VNT = _time_last([confidence_TV[..., None] for confidence_TV in given])[0]
            missing_VNT |= ~(sure_VNT >= SURE)  # so NaN, too, is unseen
        positions[:, missing_VNT] = np.nan
        lengths = _bone_lengths(positions, layout)
        medians_NE = medians_of_last(lengths)
        return cls(
            layout=layout,
            positions_CVNT=positions,
            seen_VNT=~missing_VNT,
            lengths_NET=lengths,
            medians_NE=medians_NE,
            size_N=_sizes(medians_NE),
            columns=[recording.columns for recording in recordings],
        )

    @property
    def count(self) -> int:
        return len(self.columns)

    @property
    def frames(self) -> int:
        return int(self.seen_VNT.shape[2])

    def noted(self, name: str) -> Floats:
        """Return what was found, and mended, as the recordings were read."""
        values = [columns.get(PREFIX + name) for columns in self.columns]
        return np.array(
            [float(value) if isinstance(value, int | float) else 0.0 for value in values]
        )

    def heights_VNT(self) -> Floats | None:
        """Return how high joints are, NaN where they were not seen; None where the axis is not one of theirs."""
        up = self.layout.up_axis
        if up is None or up >= len(self.positions_CVNT):
            return None
        heights: Floats = self.layout.up_sign * self.positions_CVNT[up].astype(np.float64)
        return heights


def _time_last(arrays_TVC: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack arrays [T, V, C] of one shape as [C, V, N, T]."""
    frames, joints, channels = arrays_TVC[0].shape
    stacked = np.empty((channels, joints, len(arrays_TVC), frames), np.float32)
    for n, array_TVC in enumerate(arrays_TVC):
        stacked[:, :, n] = array_TVC.T
    return stacked


def _any_missing(positions_CVNT: NDArray[np.float32]) -> Bools:
    missing_VNT: Bools = np.isnan(positions_CVNT[0])
    for channel_VNT in positions_CVNT[1:]:
        missing_VNT |= np.isnan(channel_VNT)
    return missing_VNT


def _bone_lengths(positions_CVNT: NDArray[np.float32], layout: Layout) -> Floats:
    ends = np.array(layout.bones, dtype=np.int64).reshape(-1, 2)
    vectors = positions_CVNT[:, ends[:, 0]] - positions_CVNT[:, ends[:, 1]]
    lengths_ENT = np.sqrt(_sum_squares(vectors.astype(np.float64)))
    return np.ascontiguousarray(lengths_ENT.swapaxes(0, 1))


def _sum_squares(vectors_C: Floats) -> Floats:
    """Sum the squares over the first axis, of three as (first + third) + second.

    Doubles are not associative: in this order the first stores were measured.
    """
    squares = vectors_C**2
    if len(squares) == 3:
        total: Floats = (squares[0] + squares[2]) + squares[1]
        return total
    total = squares[0]
    for other in squares[1:]:
        total = total + other
    return total


def _sizes(medians_NE: Floats) -> Floats:
    """Return the mean of each recording's known medians; NaN where it has none, or only bones without a length."""
    sizes = np.full(len(medians_NE), np.nan)
    known_NE = ~np.isnan(medians_NE)
    if medians_NE.shape[1] and known_NE.all():
        sizes[:] = medians_NE.mean(axis=1)
    else:
        for n in np.flatnonzero(known_NE.any(axis=1)):
            sizes[n] = medians_NE[n, known_NE[n]].mean()
    return np.where(sizes > 0, sizes, np.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A number of recordings: what is said of those that have it (`words`), and of how much of it (`unit`).

    `number` gives that of each [N].
    """

    words: str
    unit: str
    number: Callable[[Bodies], Floats]

    def tell(self, value: float) -> str:
        """Say a value with its unit: a share in percent."""
        if self.unit.startswith("%"):
            return f"{100 * value:.3g} {self.unit}"
        return f"{value:.3g} {self.unit}"


def _missing(bodies: Bodies) -> Floats:
    joints, _, frames = bodies.seen_VNT.shape
    shares: Floats = 1.0 - bodies.seen_VNT.sum(axis=(0, 2)) / (joints * frames)
    return shares


def _zeros(bodies: Bodies) -> Floats:
    return bodies.noted("zeros")


def _sentinels(bodies: Bodies) -> Floats:
    return bodies.noted("sentinels")


def _confidence(bodies: Bodies) -> Floats:
    return bodies.noted("confidence")


def _jumps(bodies: Bodies) -> Floats:
    """Return the farthest step of a joint, less the mean step of all, in body sizes."""
    positions = bodies.positions_CVNT
    steps = (positions[..., 1:] - positions[..., :-1]).astype(np.float64)
    unknown_VNT = np.isnan(steps[0])
    counts_NT = len(unknown_VNT) - unknown_VNT.sum(axis=0)
    gaps = unknown_VNT.any()
    if gaps:
        steps[:, unknown_VNT] = 0
    steps -= (_sum_in_turn(steps) / np.maximum(counts_NT, 1))[:, None]
    if gaps:
        steps[:, unknown_VNT] = 0
    farthest_N = np.sqrt(_sum_squares(steps).max(axis=(0, 2)))
    return np.where(counts_NT.any(axis=1), farthest_N / bodies.size_N, np.nan)


def _sum_in_turn(steps_CVNT: Floats) -> Floats:
    """Sum over the joints one after the other, also where numpy would not: a single step of a single recording."""
    if steps_CVNT[0, 0].size > 1:
        total: Floats = steps_CVNT.sum(axis=1)
        return total
    return np.add.accumulate(steps_CVNT, axis=1)[:, -1]


def _frozen(bodies: Bodies) -> Floats:
    digits = bodies.positions_CVNT.view(np.int32)
    same_NT = (digits[..., 1:] == digits[..., :-1]).all(axis=(0, 1))
    same_NT &= bodies.seen_VNT[..., 1:].any(axis=0)
    shares: Floats = same_NT.sum(axis=1) / (bodies.frames - 1)
    return shares


def _bone_spread(bodies: Bodies) -> Floats:
    """Return the median deviations of bone lengths (as standard deviations), summed, over the sum of median lengths.

    Sums, since a short bone changes much by the noise of its ends.
    """
    medians_NE = bodies.medians_NE
    usable_NE = medians_NE > 0  # False for NaN
    spreads = np.full(bodies.count, np.nan)
    if len(bodies.positions_CVNT) < 3 or not usable_NE.any():
        return spreads
    deviations_NE = medians_of_last(np.abs(bodies.lengths_NET - medians_NE[..., None]))
    if usable_NE.all():
        spreads[:] = 1.4826 * deviations_NE.sum(axis=1) / medians_NE.sum(axis=1)
        return spreads
    for n in np.flatnonzero(usable_NE.any(axis=1)):
        usable_E = usable_NE[n]
        spreads[n] = 1.4826 * deviations_NE[n, usable_E].sum() / medians_NE[n, usable_E].sum()
    return spreads


def _swaps(bodies: Bodies) -> Floats:
    """Return the share of frames in which swapping the sides fits the frames before far better.

    Of the distances between a frame and the one before, only that of the difference d of left and right joints changes
    in a swap: |d - before| becomes |d + before|. Legs that pass each other in a view from the side also turn d round,
    but as they move: so the swap must fit the straight line through two frames, too.
    """
    pairs = np.array(bodies.layout.left_right, dtype=np.int64).reshape(-1, 2)
    if not len(pairs) or bodies.frames < 3:
        return np.full(bodies.count, np.nan)
    positions = bodies.positions_CVNT
    apart = positions[:, pairs[:, 0]] - positions[:, pairs[:, 1]]
    apart /= bodies.size_N.astype(np.float32)[:, None]
    n, t = np.nonzero(_may_be_swapped(apart))
    # few frames: of these, [frames, pairs, C]
    now, before, earlier = (apart[:, :, n, t + back].transpose(2, 1, 0) for back in (2, 1, 0))
    line = 2 * before - earlier
    known_FS = ~np.isnan(now[..., 0] + line[..., 0])
    count_F = known_FS.sum(axis=1)
    swapped_F = (count_F > 0) & (2 * count_F >= len(pairs))  # a single pair may be noise
    for guess in (before, line):
        kept_F, turned_F = (
            _sum_rows(np.where(known_FS[..., None], now + sign * guess, 0) ** 2)
            for sign in (-1, 1)
        )
        swapped_F &= (turned_F < 0.5 * kept_F) & (kept_F > MOST_ONE_FRAME**2 * count_F)
    shares = np.bincount(n[swapped_F], minlength=bodies.count) / (bodies.frames - 2)
    return np.where(np.isnan(bodies.size_N), np.nan, shares)


def _may_be_swapped(apart_CSNT: NDArray[np.float32]) -> Bools:
    """Return the frames, from the third on, that may hold a swap [N, T - 2]; the others surely hold none.

    With d for now and b for before, 2|d + b|^2 < |d - b|^2 is |d|^2 + |b|^2 + 6 d b < 0, which takes sums only;
    what these round away is left for a closer look, as is what overflows.
    """
    squares_SNT = (apart_CSNT**2).sum(axis=0)
    products_SNT = (apart_CSNT[..., 2:] * apart_CSNT[..., 1:-1]).sum(axis=0)
    both_SNT = squares_SNT[..., 2:] + squares_SNT[..., 1:-1]
    excess_SNT = 0.998 * both_SNT + 6 * products_SNT
    unknown_SNT = np.isnan(apart_CSNT[0])
    unknown_SNT = unknown_SNT[..., 2:] | unknown_SNT[..., 1:-1] | unknown_SNT[..., :-2]
    if unknown_SNT.any():
        excess_SNT[unknown_SNT] = 0
    may_NT: Bools = ~(excess_SNT.sum(axis=0) > 0) & ~unknown_SNT.all(axis=0)
    return may_NT


def _sum_rows(values_FSC: NDArray[np.float32]) -> NDArray[np.float32]:
    frames, pairs, channels = values_FSC.shape
    sums_F: NDArray[np.float32] = (
        np.ascontiguousarray(values_FSC).reshape(frames, pairs * channels).sum(axis=1)
    )
    return sums_F


def _head_below_feet(bodies: Bodies) -> Floats:
    head, feet = find_joints(bodies.layout, _HEAD), find_joints(bodies.layout, _FEET)
    heights_VNT = bodies.heights_VNT()
    if heights_VNT is None or not len(head) or not len(feet):
        return np.full(bodies.count, np.nan)
    head_seen_NT, feet_seen_NT = (bodies.seen_VNT[joints].sum(axis=0) for joints in (head, feet))
    both_NT = (head_seen_NT > 0) & (feet_seen_NT > 0)
    n, t = np.nonzero(both_NT)
    head_F, feet_F = (
        np.nan_to_num(heights_VNT[joints][:, n, t], posinf=np.inf, neginf=-np.inf).sum(axis=0)
        / seen_NT[n, t]
        for joints, seen_NT in ((head, head_seen_NT), (feet, feet_seen_NT))
    )
    below_N = np.bincount(n[head_F < feet_F], minlength=bodies.count)
    both_N = both_NT.sum(axis=1)
    return np.where(both_N > 0, below_N / np.maximum(both_N, 1), np.nan)


def _bone_length(bodies: Bodies) -> Floats:
    """Return 1 for a longest bone between LONGEST_M, and else how many times it is too long or too short."""
    unit, channels = bodies.layout.unit, len(bodies.positions_CVNT)
    if unit not in METRES or channels < 3 or not bodies.medians_NE.shape[1]:
        return np.full(bodies.count, np.nan)
    longest_N = np.fmax.reduce(bodies.medians_NE, axis=1) * METRES[unit]
    longest_N = np.where(longest_N > 0, longest_N, np.nan)
    beyond_N = np.maximum(longest_N / LONGEST_M[1], LONGEST_M[0] / longest_N)
    return np.maximum(beyond_N, 1.0)


CHECKS: dict[str, Check] = {
    "missing": Check(
        words="many joints missing", unit="% of joints and frames", number=_missing
    ),
    "zeros": Check(
        words="zeros where joints were not found, which are missing now",
        unit="% of joints and frames",
        number=_zeros,
    ),
    "sentinels": Check(
        words="one number in all coordinates where joints were not found, which are missing now",
        unit="% of joints and frames",
        number=_sentinels,
    ),
    "confidence": Check(
        words="confidences a little above 1, which are 1 now",
        unit="% of joints and frames",
        number=_confidence,
    ),
    "jumps": Check(words="jumps", unit="body sizes", number=_jumps),
    "frozen": Check(
        words="frames that repeat the frame before", unit="% of frames", number=_frozen
    ),
    "bone_spread": Check(
        words="bones that change their length", unit="% of it", number=_bone_spread
    ),
    "swaps": Check(
        words="left and right swapped on the way", unit="% of frames", number=_swaps
    ),
    "head_below_feet": Check(
        words="the head below the feet", unit="% of frames", number=_head_below_feet
    ),
    "bone_length": Check(
        words="bones that no body has in the layout's unit",
        unit="times too long or too short",
        number=_bone_length,
    ),
}  # fmt: skip


def measure(recording: Recording, layout: Layout) -> dict[str, float]:
    """Return the numbers of CHECKS, NaN where a check does not apply."""
    return measure_all([recording], layout)[0]


def measure_all(recordings: Sequence[Recording], layout: Layout) -> list[dict[str, float]]:
    """Return what `measure` returns of each recording; those of one shape are worked out together."""
    if layout.up_axis is None:
        return [_measure_no_body(recording) for recording in recordings]
    alike: dict[object, list[int]] = {}
    for n, recording in enumerate(recordings):
        kind = recording.positions_TVC.shape, recording.confidence_TV is None
        alike.setdefault(kind, []).append(n)
    found: list[dict[str, float]] = [{}] * len(recordings)
    for places in alike.values():
        # what overflows is a jump without end, and compares as one
        with np.errstate(over="ignore", invalid="ignore"):
            bodies = Bodies.of([recordings[n] for n in places], layout)
            numbers = {name: check.number(bodies).tolist() for name, check in CHECKS.items()}
        for place, n in enumerate(places):
            found[n] = {name: values[place] for name, values in numbers.items()}
    return found


def _measure_no_body(recording: Recording) -> dict[str, float]:
    found = recording.columns.get(f"{PREFIX}confidence", np.nan)
    numbers = dict.fromkeys(CHECKS, np.nan)
    return {
        **numbers,
        "confidence": float(found) if isinstance(found, int | float) else np.nan,
    }


def note_quality(recording: Recording, layout: Layout, settings: QualitySettings) -> Recording:
    """Return the recording with its numbers as further columns; those that do not apply are left out.

    Raises ValueError with the reason where one exceeds a threshold of `refuse`.
    """
    return note_numbers(recording, measure(recording, layout), settings)


def note_numbers(
    recording: Recording, numbers: Mapping[str, float], settings: QualitySettings
) -> Recording:
    """Do what `note_quality` does with numbers that have been measured already."""
    for name in settings.refuse:
        if numbers[name] > settings.limit(name):
            check = CHECKS[name]
            raise ValueError(f"it has {check.words}: {check.tell(numbers[name])}")
    most = _MOST  # infinite where numbers overflow
    noted = {PREFIX + name: min(its, most) for name, its in numbers.items() if its == its}
    return recording.with_columns({**recording.columns, **noted})


def tell_findings(index: pa.Table, settings: QualitySettings) -> list[str]:
    """Return a line for each check whose threshold some recordings of a store's index exceed, with the worst of them.

    Of a store that was written before there were checks, nothing can be told.
    """
    lines = []
    for name, check in CHECKS.items():
        if PREFIX + name not in index.column_names:
            continue
        numbers = np.array(index.column(PREFIX + name).to_pylist(), dtype=np.float64)
        count = int((numbers > settings.limit(name)).sum())
        if count:
            worst = int(np.nanargmax(numbers))
            lines.append(
                f"{count:,} {'recording has' if count == 1 else 'recordings have'} {check.words} "
                f"(worst: '{index.column('recording')[worst]}', {check.tell(float(numbers[worst]))})"
            )
    return lines


def find_joints(layout: Layout, words: frozenset[str]) -> NDArray[np.int64]:
    """Return the joints whose names hold one of `words`, as a word of its own ("FootLeft", "left_foot")."""
    return _find_named(layout.joints, words).copy()


@lru_cache(maxsize=64)  # asked for each recording
def _find_named(joints: tuple[str, ...], words: frozenset[str]) -> NDArray[np.int64]:
    found = [
        joint
        for joint, name in enumerate(joints)
        if words & {word.lower() for word in _WORDS.findall(name)}
    ]
    return np.array(found, dtype=np.int64)


def medians_of(values_TN: NDArray[Float]) -> NDArray[Float]:
    """Return the median over the first axis [N] of what is not NaN; NaN where all is. As nanmedian, and much faster."""
    return medians_of_last(np.ascontiguousarray(values_TN.T))


def medians_of_last(values_NT: NDArray[Float]) -> NDArray[Float]:
    """Return the medians over the last axis of what is not NaN; NaN where all is."""
    ordered = np.sort(values_NT, axis=-1)  # NaN comes last
    frames = ordered.shape[-1]
    if not np.isnan(ordered[..., -1]).any():  # as mostly
        both = ordered[..., (frames - 1) // 2] + ordered[..., min(frames // 2, frames - 1)]
        return cast("NDArray[Float]", both / 2)
    counts = frames - np.isnan(ordered).sum(axis=-1)
    low = np.take_along_axis(ordered, np.maximum(counts - 1, 0)[..., None] // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(counts // 2, frames - 1)[..., None], axis=-1)
    medians: NDArray[Float] = np.where(counts > 0, ((low + high) / 2)[..., 0], np.nan)
    return medians
