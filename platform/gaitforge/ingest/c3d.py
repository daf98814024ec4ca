"""Reads C3D, the binary format of motion capture: labelled points, each with a residual, in integers or floats.

ezc3d reads it, in a process of its own (c3d_process.py). What the file's first block promises is held against its
size before that.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.lines import find_twice, tell_apart
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.units import name_unit
from gaitforge.regular_file import open_regular

_PROGRAM = Path(__file__).with_name("c3d_process.py")
_BLOCK = 512
_KEY = 0x50
# Where the sign of the scale is, which is negative where points are floats: by the processor, Intel or DEC. ezc3d does
# not read SGI's files, which are 86.
_SIGN_BYTE = {84: 15, 85: 13}
_ENDLESS = 65_535  # in the first block: so many frames or more
# ezc3d takes 12 to 30 times the bytes of the files that were measured
_TIMES = 64
_LEAST_BYTES = 256 * 2**20
_LEAST_SECONDS = 5  # of a processor; and one for each megabyte, which takes about .05
_AXES = {"+X": "x", "+Y": "y", "+Z": "z", "-X": "-x", "-Y": "-y", "-Z": "-z", "X": "x", "Y": "y", "Z": "z"}  # fmt: skip


def parse_c3d(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the file's one motion: its labelled points, missing where their residual is negative.

    `SUBJECT:LKNE` is the point LKNE of that person, unless points of several subjects are there. Raises ValueError
    where the file is none, is cut short or cannot be read.
    """
    promise = _check(path)
    answer, positions_TVC = _PROCESS.read(path, promise)
    if len(positions_TVC) * promise.frame_bytes > promise.data_bytes:
        raise _cut(path, len(positions_TVC), promise)
    left = promise.data_bytes - len(positions_TVC) * promise.frame_bytes
    if promise.frames is None and left >= max(_BLOCK, promise.frame_bytes):
        raise ValueError(
            f"{path} holds more frames than the {len(positions_TVC):,} that ezc3d finds in it, since its first block "
            f"cannot count more than {_ENDLESS:,}; cut it into shorter files."
        )
    labels = [_clean(label) for label in answer["labels"]][: positions_TVC.shape[1]]
    kept = [n for n, label in enumerate(labels) if _is_named(label)]
    person, points = tell_apart([labels[n] for n in kept])
    subjects = {_clean(name) for name in answer["subjects"]} - {""}
    if not person and len(subjects) == 1:
        person = subjects.pop()
    if not kept:
        yield Unusable(reason="it has no labelled points")
    elif (twice := find_twice(points)) is not None:
        yield Unusable(reason=f"two points have one name: {twice}")
    else:
        rate = answer["rate"]
        yield Motion(
            positions_TVC=positions_TVC[:, kept],
            points=points,
            fps=rate if 0 < rate < math.inf else None,
            unit=name_unit(_clean(answer["unit"]), path, options),
            up=_find_up(answer["right"], answer["up"]),
            person=person,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Promise:
    """What a file's first block says of its frames; `frames` is None where it cannot say so many."""

    size: int
    frames: int | None
    frame_bytes: int
    data_bytes: int


def _check(path: Path) -> _Promise:
    """Hold the first block against the file's size; raises ValueError where they do not agree."""
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_BLOCK)
            begin = (head[0] - 1) * _BLOCK if head else 0
            file.seek(max(0, begin))
            parameters = file.read(4)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}); fetch it again."
            ) from error
    if len(head) < _BLOCK or head[1] != _KEY or begin < 0:
        raise ValueError(
            f"{path} does not begin with a block of {_BLOCK} bytes of which the second is 0x50, as C3D files do; fetch "
            "or write it again."
        )
    if len(parameters) < 4 or begin + parameters[2] * _BLOCK > size:
        raise ValueError(
            f"{path} has {size:,} bytes, but its parameters should reach beyond them; fetch it again."
        )
    processor = parameters[3]
    if processor not in _SIGN_BYTE:
        raise ValueError(
            f"{path} was written by a processor of kind {processor}, but must be by 84 or 85 (Intel, DEC); convert it, "
            "or fetch it again."
        )
    points, measures, first, last = struct.unpack("<4H", head[2:10])
    (data_block,) = struct.unpack("<H", head[16:18])
    width = 4 if head[_SIGN_BYTE[processor]] & 0x80 else 2
    promise = _Promise(
        size=size,
        # some count from 0
        frames=None if last == _ENDLESS or last < first else last - first + 1,
        frame_bytes=(4 * points + measures) * width,
        data_bytes=size - max(0, data_block - 1) * _BLOCK,
    )
    if (promise.frames or 1) * promise.frame_bytes > promise.data_bytes:
        raise _cut(path, promise.frames or 1, promise)
    return promise


def _cut(path: Path, frames: int, promise: _Promise) -> ValueError:
    return ValueError(
        f"{path} promises {frames:,} frames of {promise.frame_bytes:,} bytes, but holds {max(0, promise.data_bytes):,} "
        "bytes of frames; fetch or write it again."
    )


def _clean(text: str) -> str:
    """Return a text that can be written as UTF-8: what C3D files hold is in no known encoding."""
    return text.encode("utf-8", "replace").decode().strip(" \0")


def _in_words(error: str) -> str:
    """Return what ezc3d says of a file so that it fits in a sentence."""
    return " ".join(_clean(error).split())[:200].rstrip(".!")


def _is_named(label: str) -> bool:
    """Tell whether a point has a name: systems call those `*12` that nobody has labelled."""
    name = label.rpartition(":")[2]
    return bool(name) and not name.startswith("*")


def _find_up(right: str, up: str) -> str:
    """Return the axis that points up on the screen of who wrote the file; "" where that is not said, or cannot be."""
    upward = _AXES.get(_clean(up).upper(), "")
    rightward = _AXES.get(_clean(right).upper(), "")
    return upward if upward[-1:] != rightward[-1:] else ""


class _Process:
    """The process that reads, one file after another; started for the first, and again where a file has ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def read(self, path: Path, promise: _Promise) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Return what the process tells of a file, and its points [T, V, 3]; raises ValueError where it cannot."""
        with self._lock:
            ours = self._running if self._owner == os.getpid() else None
            if ours is not None and ours.poll() is not None:
                self.stop()
                ours = None
            if ours is None:
                self._start(path)
            try:
                answer, body = self._ask(path, promise)
            except (OSError, EOFError) as error:
                self.stop()
                raise ValueError(
                    f"{path} is damaged (it ended the process that read it, or took more memory or time than a file "
                    "of its size may); fetch or write it again."
                ) from error
            except BaseException:
                # what is still on its way would be taken for the next file's
                self.stop()
                raise
        if "error" in answer:
            raise ValueError(
                f"{path} is damaged ({_in_words(answer['error'])}); fetch or write it again."
            )
        return answer, np.frombuffer(body, np.float32).reshape(answer["shape"])

    def stop(self) -> None:
        """End the process; one that a fork of ours has started is left to it."""
        running, self._running = self._running, None
        if running is None or self._owner != os.getpid():
            return
        if running.poll() is None:
            # with the copy of it that is reading
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()

    def _start(self, path: Path) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us, and may not end what we do next; and a group to end
        )  # fmt: skip
        self._owner = os.getpid()
        _, answers = self._pipes()
        if answers.readline() != b"ready\n":
            self.stop()
            raise ValueError(
                f"{path} needs ezc3d, which cannot be imported here; install gaitforge with what it needs, by pip."
            )

    def _ask(self, path: Path, promise: _Promise) -> tuple[dict[str, Any], bytes]:
        megabytes = promise.size // 2**20
        asked = {
            "path": os.path.abspath(path),
            "bytes": _LEAST_BYTES + _TIMES * promise.size,
            "seconds": _LEAST_SECONDS + megabytes,
        }
        questions, answers = self._pipes()
        questions.write(json.dumps(asked).encode() + b"\n")
        questions.flush()
        head = answers.readline()
        if not head.endswith(b"\n"):
            raise EOFError
        answer: dict[str, Any] = json.loads(head)
        size = 4 * math.prod(answer.get("shape", (0,)))
        body = answers.read(size)
        if len(body) < size:
            raise EOFError
        return answer, body

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return where it is asked, and where it answers."""
        running = self._running
        if running is None or running.stdin is None or running.stdout is None:
            raise EOFError("it has ended")
        return running.stdin, running.stdout


_PROCESS = _Process()
atexit.register(_PROCESS.stop)
