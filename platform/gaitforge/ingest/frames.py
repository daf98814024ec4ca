"""The pictures of a film: which frame each is by its name, and the walker whom a pose estimator saw in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.tracking import follow_walker
from gaitforge.sentences import one_line

# A walk of which most frames are lost is none; what was left out takes memory, too.
MOST_TIMES = 10
ALWAYS_FRAMES = 1_000
_NUMBER = re.compile(r"([0-9]{1,15}(?![0-9]))")


def number_frames(names: Sequence[str], path: Path) -> list[int]:
    """Return the frames that pictures' names tell by the one number that changes; where none does, by the last.

    Names may have folders, whose numbers are none of a frame. Raises ValueError, which names `path`, where a name has
    no number, where they differ in more than one, so that they are of several films, and where far more frames are
    left out than there are.
    """
    every: list[list[str]] = []
    for name in names:
        folder, slash, own = name.rpartition("/")
        parts = _NUMBER.split(own)
        if len(parts) == 1:
            raise ValueError(
                f"{path} has a frame '{one_line(name[:80])}' without a number of up to 15 digits; number the frames "
                "in their order."
            )
        parts[0] = folder + slash + parts[0]
        every.append(parts)
    place = _find_changing(every)
    numbers: list[int] = []
    films: dict[tuple[str, str], None] = {}
    for parts in every:
        numbers.append(int(parts[place]))
        films["".join(parts[:place]), "".join(parts[place:][1:])] = None
    if len(films) > 1:
        (one, _), (other, _) = list(films)[:2]
        raise ValueError(
            f"{path} has frames of several films ('{one_line(one[:80])}...' and '{one_line(other[:80])}...'); "
            "keep those of each film on their own."
        )
    if numbers:
        refuse_sparse(max(numbers) - min(numbers) + 1, len(set(numbers)), path)
    return numbers


def _find_changing(every: Sequence[Sequence[str]]) -> int:
    """Return which part of all names, of which every second is a number, tells the frame; -2 is the last number."""
    if len({len(parts) for parts in every}) != 1:
        return -2
    changing = [
        n for n in range(1, len(every[0]), 2) if any(parts[n] != every[0][n] for parts in every)
    ]
    return changing[0] if len(changing) == 1 else -2


def refuse_sparse(frames: int, present: int, path: Path) -> None:
    """Raise ValueError where of so many frames far too few are there, or show anybody."""
    if frames > max(MOST_TIMES * present, ALWAYS_FRAMES):
        raise ValueError(
            f"{path} tells of {frames:,} frames, of which {present:,} hold anything, but of a walk at least one in "
            f"{MOST_TIMES} must; number the frames one by one, or cut the recording."
        )


def see_walker(
    frames: Sequence[int],
    people_NV3: NDArray[np.float32],
    points: tuple[str, ...],
    every: Sequence[int],
    known: Sequence[int] | None = None,
) -> Motion | Unusable:
    """Return the motion of the walker in pixels, y down, from the people whom an estimator saw.

    `frames` has the frame of each person, `people_NV3` x, y and confidence of each joint, of which one without
    confidence was not found, and `every` the frames that there are. Confidences beyond 1, as some estimators give
    them, are 1.
    """
    if not frames:
        return Unusable(reason="nobody is seen in any frame")
    first, last = min(every), max(every)
    confidence_NV = np.clip(people_NV3[..., 2], 0, 1)
    positions_NV2 = np.where(confidence_NV[..., None] > 0, people_NV3[..., :2], np.float32(np.nan))
    frame_N = np.array(frames, np.int64)
    kept = follow_walker(frame_N, positions_NV2, known)
    positions_TV2 = np.full((last - first + 1, len(points), 2), np.nan, np.float32)
    confidence_TV = np.zeros(positions_TV2.shape[:2], np.float32)
    positions_TV2[frame_N[kept] - first] = positions_NV2[kept]
    confidence_TV[frame_N[kept] - first] = confidence_NV[kept]
    return Motion(
        positions_TVC=positions_TV2,
        confidence_TV=confidence_TV,
        points=points,
        unit="px",
        up="-y",
    )
