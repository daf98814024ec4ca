"""Reads NTU RGB+D's `.skeleton`: frames of bodies of 25 joints in lines of text, as Kinect v2 saw them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.frames import refuse_sparse
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.tracking import follow_walker
from gaitforge.layout import LAYOUTS
from gaitforge.regular_file import open_regular

POINTS = LAYOUTS["kinect25"].joints  # NTU's order is Kinect v2's
FPS = 30.0
BODY_NUMBERS = 10
JOINT_NUMBERS = 12
CONFIDENCE = {0: 0.0, 1: 0.5, 2: 1.0}  # not tracked, inferred, tracked
_MOST_LINE = 4_096
_NAME = re.compile(r"S(\d{3})C(\d{3})(P\d{3})R(\d{3})(A\d{3})", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a name tells of its recording."""

    person: str = ""
    label: str = ""
    columns: Mapping[str, int] = field(default_factory=dict)


def read_name(name: str) -> Told:
    """Return person ("P003"), class ("A001") and columns of a name such as S001C001P003R001A001; of others nothing."""
    found = _NAME.search(name)
    if found is None:
        return Told()
    setup, camera, person, repetition, action = found.groups()
    columns = {"setup": int(setup), "camera": int(camera), "repetition": int(repetition)}
    return Told(person=person, label=action, columns=columns)


def parse_ntu(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the walker among a file's bodies, in metres with y up, and what the file's name tells.

    Confidence is 1 for a joint that was tracked, .5 for an inferred one, and one that was neither is missing. Raises as
    `Parse` says.
    """
    frames: list[int] = []
    ids: dict[str, int] = {}
    known: list[int] = []
    bodies: list[NDArray[np.float32]] = []
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        lines = _Lines(path, file)
        count = lines.count("number of frames")
        for frame in range(count):
            for _ in range(lines.count("number of bodies")):
                body, joints = lines.body()
                frames.append(frame)
                known.append(ids.setdefault(body, len(ids)))
                bodies.append(joints)
        lines.end(count)
    told = read_name(path.stem)
    if not bodies:
        yield Unusable(reason="nobody is seen in any frame")
        return
    refuse_sparse(count, len(set(frames)), path)
    numbers_NV4 = np.stack(bodies)
    tracked_NV = numbers_NV4[..., 3] > 0
    seen_NV3 = np.where(tracked_NV[..., None], numbers_NV4[..., :3], np.float32(np.nan))
    frame_N = np.array(frames, np.int64)
    kept = follow_walker(frame_N, seen_NV3, known)
    positions_TV3 = np.full((count, len(POINTS), 3), np.nan, np.float32)
    confidence_TV = np.zeros((count, len(POINTS)), np.float32)
    positions_TV3[frame_N[kept]] = seen_NV3[kept]
    confidence_TV[frame_N[kept]] = numbers_NV4[kept, :, 3]
    yield Motion(
        positions_TVC=positions_TV3,
        confidence_TV=confidence_TV,
        points=POINTS,
        fps=FPS,
        unit="m",
        up="y",
        person=told.person,
        label=told.label,
        columns=dict(told.columns),
    )


read_ntu = MotionReader(parse_ntu)


class _Lines:
    """The lines of a file, each looked at as it comes."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self._path = path
        self._file = file
        self._number = 0

    def count(self, what: str) -> int:
        """Return the whole number that is alone in a line."""
        cells = self._cells(what)
        if len(cells) != 1 or not cells[0].isdigit() or len(cells[0]) > 12:
            raise self._fault(f"must hold the {what} alone")
        return int(cells[0])

    def body(self) -> tuple[str, NDArray[np.float32]]:
        """Return a body's id and x, y, z and confidence of its joints [V, 4]."""
        cells = self._cells("line of a body")
        self._require(
            len(cells), BODY_NUMBERS, "numbers for a body (its id, hands, lean and state)"
        )
        joints = self.count("number of joints")
        self._require(joints, len(POINTS), "joints")
        numbers = np.empty((joints, 4), np.float32)
        for joint in range(joints):
            row = self._cells(f"joint {joint + 1}")
            self._require(
                len(row),
                JOINT_NUMBERS,
                "numbers for a joint (x, y, z, places in both pictures, turn, state)",
            )
            try:
                x, y, z, state = (float(row[n]) for n in (0, 1, 2, 11))
            except ValueError:
                raise self._fault("must hold numbers") from None
            if state not in CONFIDENCE or any(
                abs(value) > 1e6 or math.isinf(value) for value in (x, y, z)
            ):
                raise self._fault("must hold metres, and a state of 0, 1 or 2 at its end")
            # NaN, as some files have it, is a joint that was not found
            unknown = any(math.isnan(value) for value in (x, y, z))
            numbers[joint] = (x, y, z, 0 if unknown else CONFIDENCE[int(state)])
        return cells[0].decode("ascii", "backslashreplace"), numbers

    def end(self, frames: int) -> None:
        """Raise ValueError where more than empty lines follow."""
        while line := self._file.readline(_MOST_LINE):
            self._number += 1
            if line.strip():
                raise self._fault(
                    f"follows behind the {frames:,} frames that the first line tells"
                )

    def _cells(self, what: str) -> list[bytes]:
        line = self._file.readline(_MOST_LINE)
        self._number += 1
        if not line:
            raise self._fault(f"is not there, where the {what} must be; it is cut off")
        if len(line) == _MOST_LINE:
            raise self._fault(f"is longer than {_MOST_LINE:,} characters")
        return line.split()

    def _require(self, found: int, wanted: int, what: str) -> None:
        if found != wanted:
            lacks = (
                f"it lacks {wanted - found}" if found < wanted else f"{found - wanted} too many"
            )
            raise self._fault(f"has {found}, but must have {wanted} {what}: {lacks}")

    def _fault(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._path} is no NTU skeleton of 25 joints (line {self._number} {reason}); fetch it again, or convert "
            "it."
        )
