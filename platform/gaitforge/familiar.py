"""Familiar: what the recordings of the training people are like, and what of a new one is unlike them.

A student answers whatever it is given: also a body upside down, or one whose hips nobody saw, and with confidence. An
export's card therefore keeps the range of the training people's numbers: those of quality.CHECKS, how much of each
joint was not seen, how long each bone is in body sizes, and how high each joint is. Only people of the role train are
in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.quality import CHECKS, Bodies, medians_of, medians_of_last
from gaitforge.recording import Recording
from gaitforge.records.export import Familiar

Floats: TypeAlias = NDArray[np.float64]

SHARES = (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0)  # of the quantiles that are kept
MOST = 5_000  # recordings that are kept while ranges are taken; of more, every second, fourth, ...
POSTURE = "posture"  # how alike the heights of joints are to the usual ones: 1 for the same, -1 upside down

# How far a number must be above 99 % of the training recordings, whose own spread may ask for more.
MARGINS: Mapping[str, float] = {
    "missing": 0.15,
    "zeros": 0.1,
    "sentinels": 0.05,
    "jumps": 3.0,
    "frozen": 0.2,
    "bone_spread": 0.1,
    "swaps": 0.1,
    "head_below_feet": 0.3,
    "bone_length": 1.0,
}
POSTURE_MARGIN = 0.2
UNSEEN_MARGIN = (
    0.5  # share of frames in which a joint is not seen, beyond the most of any training recording
)
BONE_FACTOR = 1.3  # beyond the shortest and the longest of any training recording
MOST_BONES = 1 / 3  # share of the bones that may be beyond


@dataclass(frozen=True, slots=True, eq=False)
class _Profile:
    """A recording in numbers; NaN for what was not seen."""

    checks: Mapping[str, float]
    unseen_V: Floats
    bones_E: Floats  # median length in body sizes
    heights_V: Floats  # median height beside that of all joints, in body sizes

    @classmethod
    def of(cls, recording: Recording, layout: Layout) -> _Profile:
        with np.errstate(over="ignore", invalid="ignore"):
            body = Bodies.of([recording], layout)
            heights = body.heights_VNT()
            heights_VT = np.full((layout.joint_count, body.frames), np.nan)
            if heights is not None:
                heights_VT = heights[:, 0]
            sums_T = np.where(np.isnan(heights_VT), 0, heights_VT).sum(axis=0)
            mean_T = sums_T / np.maximum((~np.isnan(heights_VT)).sum(axis=0), 1)
            return cls(
                checks={name: float(check.number(body)[0]) for name, check in CHECKS.items()},
                unseen_V=1.0 - body.seen_VNT[:, 0].mean(axis=1),
                bones_E=body.medians_NE[0] / body.size_N[0],
                heights_V=medians_of_last((heights_VT - mean_T) / body.size_N[0]),
            )


def describe_training(recordings: Iterable[Recording], layout: Layout) -> Familiar | None:
    """Return what recordings of the training people are like; None without one, or where nodes are no body's."""
    if layout.up_axis is None:
        return None
    kept: list[_Profile] = []
    step = 1
    for position, recording in enumerate(recordings):
        if position % step == 0:
            kept.append(_Profile.of(recording, layout))
            if len(kept) == 2 * MOST:
                kept, step = kept[::2], 2 * step
    if not kept:
        return None
    heights_RV = np.stack([profile.heights_V for profile in kept])
    usual_V = medians_of(heights_RV)
    numbers = {name: np.array([profile.checks[name] for profile in kept]) for name in CHECKS}
    numbers[POSTURE] = np.array([_agree(heights_V, usual_V) for heights_V in heights_RV])
    bones_RE = np.stack([profile.bones_E for profile in kept])
    return Familiar(
        recordings=len(kept),
        checks={
            name: tuple(np.quantile(known, SHARES).tolist())
            for name, values in numbers.items()
            if (known := values[np.isfinite(values)]).size
        },
        unseen=np.stack([profile.unseen_V for profile in kept]).max(axis=0).tolist(),
        shortest=_as_list(np.fmin.reduce(bones_RE)),
        longest=_as_list(np.fmax.reduce(bones_RE)),
        heights=_as_list(usual_V),
    )


def find_unlike(recording: Recording, layout: Layout, familiar: Familiar) -> list[str]:
    """Say what of a new recording is far outside the training people's range; empty where nothing is."""
    profile = _Profile.of(recording, layout)
    found = _find_numbers(profile, familiar)
    posture = _agree(profile.heights_V, _as_array(familiar.heights))
    if POSTURE in familiar.checks and not np.isnan(posture):
        _, low, _, median, *_ = familiar.checks[POSTURE]
        if posture < low - max(POSTURE_MARGIN, median - low):
            found.append("joints at other heights (another axis up, or other joints)")
    bones_E = profile.bones_E
    low_E, high_E = (_as_array(values) for values in (familiar.shortest, familiar.longest))
    known_E = ~np.isnan(bones_E + low_E)
    beyond_E = (bones_E < low_E / BONE_FACTOR) | (bones_E > high_E * BONE_FACTOR)
    if known_E.any() and beyond_E[known_E].mean() > MOST_BONES:
        found.append(f"{beyond_E[known_E].sum()} of {known_E.sum()} bones of another length")
    rarely_V = profile.unseen_V > np.array(familiar.unseen) + UNSEEN_MARGIN
    if rarely_V.any() and not any(text.startswith(CHECKS["missing"].words) for text in found):
        names = [layout.joints[joint] for joint in np.flatnonzero(rarely_V)]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        found.append(f"{', '.join(names[:4])}{more} not seen")
    return found


def _find_numbers(profile: _Profile, familiar: Familiar) -> list[str]:
    found = []
    for name, margin in MARGINS.items():
        number = profile.checks[name]
        if name not in familiar.checks or np.isnan(number):
            continue
        *_, median, _, high, _ = familiar.checks[name]
        if number > high + max(margin, high - median):
            check = CHECKS[name]
            found.append(f"{check.words} ({check.tell(number)})")
    return found


def _agree(heights_V: Floats, usual_V: Floats) -> float:
    """Return the concordance over the joints that both have; NaN for fewer than three, or where all are as high.

    Unlike a correlation it is low, too, where heights hardly differ: a lean into the depth is no standing body.
    """
    both_V = ~np.isnan(heights_V + usual_V)
    if both_V.sum() < 3:
        return np.nan
    own, usual = (values[both_V] - values[both_V].mean() for values in (heights_V, usual_V))
    squares = float((own**2).sum() + (usual**2).sum())
    return 2.0 * float((own * usual).sum()) / squares if squares > 0 else np.nan


def _as_list(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _as_array(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
