"""Who walks, where a file tells of several people.

The rule, in three steps:

1. Detections become tracks. Where no frame shows two, all detections are one person, whatever the file calls them: a
   camera that loses somebody numbers them anew. Else a file's own numbers of its people are believed, and where it has
   none, the people of each frame continue the tracks of the frames before: the pair of track
   and detection that are nearest first, by the mean distance of the joints that both show, as a share of the track's
   body size (the diagonal of the box around its joints). A track is expected where it was, moved on as in its last
   steps, so that people who cross keep theirs. A detection farther than NEAR body sizes from all tracks begins a track,
   and a track that is lost for more than MOST_LOST frames has ended.
2. Tracks seen in fewer than a quarter as many frames as the longest are left out, and so are those whose limbs move
   less than a quarter as much as the liveliest's: somebody who stands or sits beside the walk.
3. Of the others the walker is the one whose body is largest, summed over its frames: near and seen for long. Of equal
   ones, the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 0.5  # body sizes from one frame to the next; a runner at 10 frames a second moves .4
MOST_LOST = 30  # frames: a second, within which somebody comes out from behind somebody
MOST_PEOPLE = 32  # of a frame, the largest: all pairs with the tracks are compared
MOST_TRACKS = 64  # that are open at once, those seen last
SHARE = 0.25
_STEPS = 0.3  # weight of the last step in the mean of a track's steps


@dataclass(slots=True)
class _Track:
    """An open track: where its joints were when it was last seen, and how it moves."""

    number: int
    frame: int
    joints_VC: NDArray[np.float64]
    size: float
    step_C: NDArray[np.float64]
    steps: int = 0


def follow_walker(
    frame_N: NDArray[np.int64],
    positions_NVC: NDArray[np.float32],
    known: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Return which detections are the walker's, by ascending frame and at most one of each.

    `frame_N` is the frame of each detection, `positions_NVC` where its joints are, NaN for those that were not found,
    and `known` the person that the file says it is, which counts where any frame shows two. A detection without joints
    is nobody's; without any, nobody walks.
    """
    some = np.flatnonzero(_seen(positions_NVC).any(axis=1))
    order = some[np.argsort(frame_N[some], kind="stable")]
    if not len(order):
        return order
    frames = frame_N[order]
    # what overflows is as far as can be
    with np.errstate(all="ignore"):
        joints = np.nan_to_num(positions_NVC[order].astype(np.float64), nan=np.nan)
        if len(np.unique(frames)) == len(frames):
            tracks = np.zeros(len(frames), np.int64)
        elif known is not None:
            _, tracks = np.unique(np.asarray(known)[order], return_inverse=True)
            tracks = _by_first(tracks)
        else:
            tracks = _associate(frames, joints)
        walker = _choose(tracks, joints)
    chosen = np.flatnonzero(tracks == walker)
    _, first = np.unique(frames[chosen], return_index=True)
    return np.asarray(order[chosen[first]], np.int64)


def keep_walker(
    positions_MTVC: NDArray[np.float32],
    confidence_MTV: NDArray[np.float32] | None,
    *,
    believed: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return positions [T, V, C] and confidence [T, V] of the walker among M bodies.

    `believed` says that a place among the bodies is a person's in all frames, where any frame shows two. Else the
    people of each frame are in any order, as estimators put them.
    """
    bodies, length, joints, channels = positions_MTVC.shape
    if bodies == 1:
        return positions_MTVC[0], None if confidence_MTV is None else confidence_MTV[0]
    frame_N = np.tile(np.arange(length), bodies)
    body_N = np.repeat(np.arange(bodies), length)
    every_NVC = positions_MTVC.reshape(-1, joints, channels)
    kept = follow_walker(frame_N, every_NVC, body_N.tolist() if believed else None)
    positions_TVC = np.full((length, joints, channels), np.nan, np.float32)
    positions_TVC[frame_N[kept]] = every_NVC[kept]
    if confidence_MTV is None:
        return positions_TVC, None
    confidence_TV = np.zeros((length, joints), np.float32)
    confidence_TV[frame_N[kept]] = confidence_MTV.reshape(-1, joints)[kept]
    return positions_TVC, confidence_TV


def _by_first(tracks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number tracks by their first detections."""
    _, first = np.unique(tracks, return_index=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[tracks]


def _seen(joints_NVC: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(joints_NVC).any(axis=2), np.bool_)


def _sizes(joints_NVC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal of the box around each detection's joints [N]."""
    seen_NV1 = _seen(joints_NVC)[..., None]
    low = np.where(seen_NV1, joints_NVC, np.inf).min(axis=1)
    high = np.where(seen_NV1, joints_NVC, -np.inf).max(axis=1)
    return np.asarray(np.linalg.norm(high - low, axis=1))


def _centres(joints_NVC: NDArray[np.float64]) -> NDArray[np.float64]:
    seen_NV1 = _seen(joints_NVC)[..., None]
    return np.asarray(
        np.where(seen_NV1, joints_NVC, 0).sum(axis=1) / np.maximum(seen_NV1.sum(axis=1), 1)
    )


def _associate(frames: NDArray[np.int64], joints_NVC: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the track of each detection [N], -1 for those beyond MOST_PEOPLE of a frame."""
    tracks = np.full(len(frames), -1, np.int64)
    sizes, centres = _sizes(joints_NVC), _centres(joints_NVC)
    open_tracks: list[_Track] = []
    count = 0
    begins = np.flatnonzero(np.diff(frames, prepend=frames[0] - 1))
    for begin, end in zip(begins, [*begins[1:], len(frames)], strict=True):
        frame = int(frames[begin])
        people = np.arange(begin, end)
        if len(people) > MOST_PEOPLE:
            people = np.sort(people[np.argsort(-sizes[people], kind="stable")[:MOST_PEOPLE]])
        open_tracks = [track for track in open_tracks if frame - track.frame <= MOST_LOST]
        taken: set[int] = set()
        continued: set[int] = set()
        for k, n in _pairs(open_tracks, frame, joints_NVC[people], centres[people]):
            if k in continued or n in taken:
                continue
            continued.add(k)
            taken.add(n)
            track, here = open_tracks[k], int(people[n])
            tracks[here] = track.number
            _move_on(track, frame, joints_NVC[here], float(sizes[here]))
        for n, here in enumerate(people.tolist()):
            if n not in taken:
                tracks[here] = count
                still = np.zeros(joints_NVC.shape[2])
                open_tracks.append(
                    _Track(count, frame, joints_NVC[here], float(sizes[here]), still)
                )
                count += 1
        if len(open_tracks) > MOST_TRACKS:
            open_tracks = sorted(open_tracks, key=lambda track: track.frame)[-MOST_TRACKS:]
    return tracks


def _pairs(
    tracks: Sequence[_Track],
    frame: int,
    joints_NVC: NDArray[np.float64],
    centres_NC: NDArray[np.float64],
) -> list[tuple[int, int]]:
    """Return the pairs of track and detection that are near enough, nearest first."""
    if not tracks:
        return []
    expected_KVC = np.stack(
        [track.joints_VC + track.step_C * (frame - track.frame) for track in tracks]
    )
    sizes_K = np.array([track.size for track in tracks])
    apart_KNV = np.linalg.norm(expected_KVC[:, None] - joints_NVC[None], axis=3)
    both_KNV = ~np.isnan(apart_KNV)
    shared_KN = both_KNV.sum(axis=2)
    apart_KN = np.where(both_KNV, apart_KNV, 0).sum(axis=2) / np.maximum(shared_KN, 1)
    between_KN = np.linalg.norm(_centres(expected_KVC)[:, None] - centres_NC[None], axis=2)
    far_KN = np.where(shared_KN > 0, apart_KN, between_KN) / np.maximum(sizes_K, 1e-12)[:, None]
    near = np.argwhere(far_KN <= NEAR)
    order = np.argsort(far_KN[near[:, 0], near[:, 1]], kind="stable")
    return [(int(k), int(n)) for k, n in near[order]]


def _move_on(track: _Track, frame: int, joints_VC: NDArray[np.float64], size: float) -> None:
    moved_VC = joints_VC - track.joints_VC
    both = ~np.isnan(moved_VC).any(axis=1)
    if both.any():
        step_C = moved_VC[both].mean(axis=0) / (frame - track.frame)
        weight = _STEPS if track.steps else 1.0
        track.step_C = (1 - weight) * track.step_C + weight * step_C
        track.steps += 1
    # half a body that comes out from behind another is not small
    track.size = max(size, 0.9 * track.size)
    track.joints_VC, track.frame = joints_VC, frame


def _choose(tracks: NDArray[np.int64], joints_NVC: NDArray[np.float64]) -> int:
    """Return the number of the walker's track."""
    sizes = _sizes(joints_NVC)
    numbers = np.unique(tracks[tracks >= 0])
    if len(numbers) == 1:
        return int(numbers[0])
    members = [np.flatnonzero(tracks == number) for number in numbers]
    longest = max(map(len, members))
    long = [k for k, own in enumerate(members) if len(own) >= SHARE * longest]
    lively = {k: _liveliness(joints_NVC[members[k]], sizes[members[k]]) for k in long}
    most = max(lively.values())
    moving = [k for k in long if lively[k] >= SHARE * most]
    summed = {k: float(sizes[members[k]].sum()) for k in moving}
    return int(numbers[max(moving, key=lambda k: summed[k])])


def _liveliness(joints_TVC: NDArray[np.float64], sizes_T: NDArray[np.float64]) -> float:
    """Return how far the joints stray about the middle of the body, as a share of its size."""
    seen_TV = _seen(joints_TVC)
    own_TVC = np.where(seen_TV[..., None], joints_TVC - _centres(joints_TVC)[:, None], 0)
    count_V = seen_TV.sum(axis=0)
    mean_VC = own_TVC.sum(axis=0) / np.maximum(count_V, 1)[:, None]
    square_V = (np.where(seen_TV[..., None], own_TVC - mean_VC, 0) ** 2).sum(axis=(0, 2))
    strays = np.sqrt(square_V / np.maximum(count_V, 1))[count_V > 0].mean()
    share = float(strays / max(float(np.median(sizes_T)), 1e-12))
    return share if np.isfinite(share) else 0.0
