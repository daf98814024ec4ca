"""Quality: numbers that tell how a recording was tracked, each with the threshold from which it is worth a word.

CHECKS holds one function per number. They look at bodies in space: where the nodes are no points of a body (forces,
sensors: a layout with up = "none"), or where a layout lacks what a check needs (names of parts, pairs), a number is
NaN, and silent. What a number is, and what it is compared with, is one line each in docs/data.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar

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
        lengths = np.sqrt(np.einsum("tec,tec->te", vectors, vectors, dtype=np.float64))
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A number of a recording: what is said of those that have it (`words`), and of how much of it (`unit`)."""

    words: str
    unit: str
    number: Callable[[Body], float]

    def tell(self, value: float) -> str:
        """Say a value with its unit: a share in percent."""
        if self.unit.startswith("%"):
            return f"{100 * value:.3g} {self.unit}"
        return f"{value:.3g} {self.unit}"


def _missing(body: Body) -> float:
    return 1.0 - float(body.seen_TV.mean())


def _zeros(body: Body) -> float:
    return body.noted("zeros")


def _sentinels(body: Body) -> float:
    return body.noted("sentinels")


def _confidence(body: Body) -> float:
    return body.noted("confidence")


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
    return float(np.sqrt(np.einsum("tvc,tvc->tv", own, own).max())) / body.size


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
    if layout.up_axis is None:
        found = recording.columns.get(f"{PREFIX}confidence", np.nan)
        numbers = dict.fromkeys(CHECKS, np.nan)
        return {
            **numbers,
            "confidence": float(found) if isinstance(found, int | float) else np.nan,
        }
    # what overflows is a jump without end, and compares as one
    with np.errstate(over="ignore", invalid="ignore"):
        body = Body.of(recording, layout)
        return {name: check.number(body) for name, check in CHECKS.items()}


def note_quality(recording: Recording, layout: Layout, settings: QualitySettings) -> Recording:
    """Return the recording with its numbers as further columns; those that do not apply are left out.

    Raises ValueError with the reason where one exceeds a threshold of `refuse`.
    """
    numbers = measure(recording, layout)
    for name in settings.refuse:
        if numbers[name] > settings.limit(name):
            check = CHECKS[name]
            raise ValueError(f"it has {check.words}: {check.tell(numbers[name])}")
    most = float(np.finfo(np.float32).max)  # infinite where numbers overflow
    noted = {PREFIX + name: min(its, most) for name, its in numbers.items() if not np.isnan(its)}
    return replace(recording, columns={**recording.columns, **noted})


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
    ordered = np.sort(values_TN, axis=0)  # NaN comes last
    counts = len(values_TN) - np.isnan(values_TN).sum(axis=0)
    columns = np.arange(values_TN.shape[1])
    low = ordered[np.maximum(counts - 1, 0) // 2, columns]
    high = ordered[np.minimum(counts // 2, len(values_TN) - 1), columns]
    medians: NDArray[Float] = np.where(counts > 0, (low + high) / 2, np.nan)
    return medians
