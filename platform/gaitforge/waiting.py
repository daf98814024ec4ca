"""Recordings that wait on the disk until all of a store's new version are there, and can be sorted.

They lie in a file that has no name, beside the store, so that nothing is left of it whatever happens; in memory is what
they are sorted and checked by, about a hundred bytes of each.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaitforge.recording import Recording
from gaitforge.recording_files import ColumnKinds, Place
from gaitforge.work import on_s3

IN_MEMORY = 32 * 2**20  # bytes from which they go to the disk


class Shape(NamedTuple):
    """What must be alike in all recordings of a store."""

    recording: str
    joints: int
    channels: int


class WaitingRecordings:
    """Takes recordings in any order, and gives them back in that of person and id."""

    def __init__(self, folder: Path) -> None:
        near = None if on_s3(folder) else next(p for p in (folder, *folder.parents) if p.is_dir())
        self._file = tempfile.SpooledTemporaryFile(
            IN_MEMORY, dir=None if near is None else str(near)
        )  # closed by __exit__
        self._lock = Lock()  # of its position
        self._end = 0
        self._bounds = array("q", [0])
        self._sizes = array("q")  # bytes of positions
        self._shapes: dict[tuple[int, int], int] = {}  # of joints and channels, by number
        self._shape_of = array("q")
        self._names: dict[str, str] = {}  # persons and classes, each once
        self._persons: list[str] = []
        self._ids: list[str] = []
        self.labels: set[str] = set()
        self.columns = ColumnKinds()

    def __enter__(self) -> WaitingRecordings:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def people(self) -> int:
        return len(set(self._persons))

    def add(self, recording: Recording) -> None:
        """Put a recording on the disk; raises OSError where that is full."""
        positions = np.ascontiguousarray(recording.positions_TVC)
        confidence = recording.confidence_TV
        told = json.dumps(
            [
                recording.label,
                recording.fps,
                positions.shape,
                confidence is not None,
                dict(recording.columns),
            ],
            default=_as_plain,
        ).encode()
        parts: list[bytes | memoryview] = [len(told).to_bytes(8, "little"), told, positions.data]
        if confidence is not None:
            parts.append(np.ascontiguousarray(confidence, dtype=np.float32).data)
        for part in parts:
            self._file.write(part)
            self._end += memoryview(part).nbytes
        self._bounds.append(self._end)
        self._sizes.append(positions.nbytes)
        _, joints, channels = positions.shape
        self._shape_of.append(self._shapes.setdefault((joints, channels), len(self._shapes)))
        self._persons.append(self._names.setdefault(recording.person, recording.person))
        self._ids.append(recording.recording)
        self.labels.add(recording.label)
        self.columns.note(recording)

    def sort(self) -> list[int]:
        """Return the places of recordings in the order of person and id."""
        return sorted(range(len(self)), key=lambda place: (self._persons[place], self._ids[place]))

    def shapes(self, order: list[int]) -> Iterator[Shape]:
        shapes = list(self._shapes)
        for place in order:
            yield Shape(self._ids[place], *shapes[self._shape_of[place]])

    def places(self, order: list[int]) -> Iterator[Place]:
        for place in order:
            yield Place(place, self._persons[place], self._sizes[place])

    def read(self, place: int) -> Recording:
        """Read a recording; several threads may do so at once."""
        begin, end = self._bounds[place : place + 2]
        with self._lock:
            self._file.seek(begin)
            data = self._file.read(end - begin)
        told_end = 8 + int.from_bytes(data[:8], "little")
        label, fps, shape, has_confidence, columns = json.loads(data[8:told_end])
        size = int(np.prod(shape))
        confidence: NDArray[np.float32] | None = None
        if has_confidence:
            confidence = np.frombuffer(data, np.float32, offset=told_end + 4 * size)
            confidence = confidence.reshape(shape[:2])
        return Recording(
            recording=self._ids[place],
            person=self._persons[place],
            label=label,
            positions_TVC=np.frombuffer(data, np.float32, size, told_end).reshape(shape),
            confidence_TV=confidence,
            fps=fps,
            columns=columns,
        )


def _as_plain(value: object) -> object:
    """Return a NumPy number as Python's own, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a further column holds {value!r}, which is neither text nor a number")
