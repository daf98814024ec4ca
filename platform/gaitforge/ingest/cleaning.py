"""Cleaning: what files write where a joint was not found becomes missing, and what is no coordinate is found out.

Sources write (0, 0, 0), or a number such as -9999 in all coordinates, for a joint that was not found. Taken for a
place, it is that of a joint far off, with full confidence. What is replaced is noted in columns of the recording
(`quality_zeros`, `quality_sentinels`, `quality_confidence`), so that it is never replaced in silence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.quality import CHECKS, PREFIX
from gaitforge.recording import Recording, Value

Positions: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]

MOST_CONFIDENCE = 1.05  # peaks of heat maps are a little above 1; per cent are not
_OFTEN = 3  # joints of frames with the same number in all coordinates, which is no coincidence
_APART = 0.1  # of the range of all others, by which that number lies outside
_PIXELS = 10.0  # least range of both other coordinates beside which 0 to 1 is no coordinate
_STATES = 4  # most different values of a tracking state
_TAKEN = frozenset(PREFIX + check for check in CHECKS)
_LONGER = 1.5  # than the longest other bone: no bone to where a recording is centred


def clean(recording: Recording, layout: Layout) -> Recording:
    """Return the recording with what stands for "not found" missing; the same object where there is nothing of it.

    Positions are looked at in layouts of bodies (up is not "none") alone: a force may well be 0. Raises ValueError
    with the reason where a channel is no coordinate but a confidence, where a confidence does not lie between 0 and 1,
    or where nothing was found.
    """
    for name in recording.columns:
        if name.lower() in _TAKEN:
            raise ValueError(f"a column has a name of the store's own, so rename it: '{name}'")
    noted: dict[str, Value] = {}
    confidence_TV = recording.confidence_TV
    if confidence_TV is not None:
        # NaN, which compares as False, is no confidence
        if (confidence_TV < 0).any() or (confidence_TV > MOST_CONFIDENCE).any():
            low, high = np.nanmin(confidence_TV), np.nanmax(confidence_TV)
            raise ValueError(f"the confidence does not lie between 0 and 1: {low:g} to {high:g}")
        above_TV = confidence_TV > 1
        if above_TV.any():
            noted[f"{PREFIX}confidence"] = float(above_TV.mean())
            confidence_TV = np.where(above_TV, np.float32(1), confidence_TV)
    positions_TVC = recording.positions_TVC
    if layout.up_axis is not None and positions_TVC.shape[2] > 1:
        if confidence_TV is None and is_confidence(positions_TVC):
            raise ValueError(
                "channel 2 is a confidence and no coordinate, as ingest.read.confidence_channel = 2 would say"
            )
        if _may_stand_for_missing(positions_TVC):
            told_TV: Bools = np.asarray(~np.isnan(positions_TVC).any(axis=2))
            if confidence_TV is not None:
                told_TV &= confidence_TV > 0
            sentinels_TV = find_sentinels(positions_TVC, told_TV)
            zeros_TV = find_zeros(positions_TVC, told_TV & ~sentinels_TV, layout)
            for name, found_TV in (("zeros", zeros_TV), ("sentinels", sentinels_TV)):
                if found_TV.any():
                    noted[PREFIX + name] = float(found_TV.mean())
                    positions_TVC = np.where(
                        found_TV[..., None], np.float32(np.nan), positions_TVC
                    )
    if not noted:
        return recording
    columns = {**recording.columns, **noted}
    return replace(
        recording, positions_TVC=positions_TVC, confidence_TV=confidence_TV, columns=columns
    )


def _may_stand_for_missing(positions_TVC: Positions) -> bool:
    """Tell, at a glance, whether there may be zeros or sentinels to look for, as there are in few recordings."""
    first, second = positions_TVC[..., 0], positions_TVC[..., 1]
    if np.count_nonzero(np.abs(first) == np.abs(second)) >= _OFTEN:
        return True
    return bool((first == 0).any())


def is_confidence(positions_TVC: Positions) -> bool:
    """Tell whether the third of three channels is a confidence: from 0 to 1, and beside pixels, or of few values."""
    if positions_TVC.shape[2] != 3:
        return False
    third = positions_TVC[..., 2]
    if (third < 0).any() or (third > MOST_CONFIDENCE).any():
        return False  # as nearly always
    found = positions_TVC[~np.isnan(positions_TVC).any(axis=2)]
    found = found[(found != 0).any(axis=1)]
    if len(found) < 2:
        return False
    third = found[:, 2]
    if third.min() == third.max():
        return False
    ranges = found[:, :2].max(axis=0) - found[:, :2].min(axis=0)
    return bool((ranges > _PIXELS).all() or _is_state(found))


def _is_state(found: Positions) -> bool:
    """Tell whether the third channel takes few values where the others take many: tracked, inferred, not tracked."""
    values = [len(np.unique(found[:, channel])) for channel in range(3)]
    return 2 <= values[2] <= _STATES and min(values[:2]) >= 10 * _STATES


def find_zeros(positions_TVC: Positions, told_TV: Bools, layout: Layout) -> Bools:
    """Return where all coordinates are 0 and stand for "not found" [T, V].

    They do not where a recording is centred on a joint, which then is 0 in every frame, or in the first alone: its
    bones are as long as others.
    """
    zero_TV: Bools = np.asarray((positions_TVC[..., 0] == 0) & told_TV)
    if layout.joint_count < 2 or not zero_TV.any():
        return np.zeros_like(zero_TV)
    zero_TV &= (positions_TVC == 0).all(axis=2)
    rest_TV = told_TV & ~zero_TV
    # no body is in one point
    lone_T: Bools = np.asarray(~rest_TV.any(axis=1))
    always_V = (zero_TV | ~told_TV | lone_T[:, None]).all(axis=0)
    first_V = zero_TV[0] & ~zero_TV[1:].any(axis=0)
    for joint in np.flatnonzero((always_V | first_V) & zero_TV[~lone_T].any(axis=0)):
        if _is_centre(positions_TVC, zero_TV[:, joint] & ~lone_T, rest_TV, layout, int(joint)):
            zero_TV[~lone_T, joint] = False
    return zero_TV


def _is_centre(
    positions_TVC: Positions, zero_T: Bools, rest_TV: Bools, layout: Layout, joint: int
) -> bool:
    """Tell whether the bones to a joint, where it is 0, are no longer than all others, if any can be compared with."""
    own, others = [], []
    for a, b in layout.bones:
        lengths_T = np.linalg.norm(positions_TVC[:, a] - positions_TVC[:, b], axis=1)
        both_T = rest_TV[:, a] & rest_TV[:, b]
        if both_T.any():
            others.append(float(np.median(lengths_T[both_T])))
        if joint in (a, b):
            shown_T = zero_T & rest_TV[:, b if a == joint else a]
            own += [float(np.median(lengths_T[shown_T]))] if shown_T.any() else []
    return not own or not others or max(own) <= _LONGER * max(others)


def find_sentinels(positions_TVC: Positions, told_TV: Bools) -> Bools:
    """Return where one number that lies far from all others stands in all coordinates, several times [T, V].

    Its sign may differ between coordinates, since readers turn axes.
    """
    sizes_TVC = np.abs(positions_TVC)
    told_TV = told_TV & (sizes_TVC[..., 0] != 0)  # zeros are another matter
    same_TV: Bools = told_TV & (sizes_TVC[..., 1] == sizes_TVC[..., 0])
    found_TV = np.zeros(same_TV.shape, np.bool_)
    if same_TV.sum() < _OFTEN:
        return found_TV
    same_TV &= (sizes_TVC == sizes_TVC[..., :1]).all(axis=2)
    places, counts = np.unique(positions_TVC[same_TV], axis=0, return_counts=True)
    often = places[counts >= _OFTEN]
    for place_C in often[np.argsort(-np.abs(often[:, 0]))]:  # the farthest hides none that follows
        here_TV = same_TV & (positions_TVC == place_C).all(axis=2)
        others = positions_TVC[told_TV & ~here_TV & ~found_TV].astype(np.float64)
        if not len(others):
            continue
        low_C, high_C = others.min(axis=0), others.max(axis=0)
        if (low_C == high_C).all():
            continue  # which of the two numbers would be the body?
        apart_C = _APART * (high_C - low_C)
        if ((place_C < low_C - apart_C) | (place_C > high_C + apart_C)).any():
            found_TV |= here_TV
    return found_TV
