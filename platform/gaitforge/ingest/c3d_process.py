"""The process in which ezc3d reads: it is C++, and bytes made to harm may end it, or take its memory and its time.

A line of JSON on standard input names a file; the answer is a line of JSON and, where that has a `shape`, as many
float32 numbers [T, V, 3], NaN for a missing point. Each file is read in a copy of this process, which may take no more
than the line allows. Where one of them is ended from without, this process ends, too, and has not answered.

It is started as a file and imports nothing of this project: gaitforge.ingest.c3d asks it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

import ezc3d
import numpy as np

READY = b"ready\n"


def main() -> None:
    """Answer line after line until there are no more."""
    answers = sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _limit(asked["bytes"], asked["seconds"])
            head, body = _answer(asked["path"])
            answers.write(json.dumps(head).encode() + b"\n" + body)
            answers.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


def _limit(more_bytes: int, seconds: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + more_bytes, taken + more_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(path: str) -> tuple[dict[str, Any], bytes]:
    """Return what is sent: head and numbers, or a head with the `error` alone."""
    try:
        # a name that is no UTF-8 cannot be handed to ezc3d
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        read = ezc3d.c3d(f"/dev/fd/{descriptor}")
        points = read["data"]["points"][:3]
        is_missing = read["data"]["meta_points"]["residuals"][0] < 0
        with np.errstate(over="ignore", invalid="ignore"):
            positions = np.ascontiguousarray(points.transpose(2, 1, 0), dtype=np.float32)
        positions[is_missing.T] = np.nan
        return {"shape": positions.shape, **_parameters(read["parameters"])}, positions.tobytes()
    # whatever ezc3d raises of C++ or of its own Python
    except Exception as error:
        return {"error": str(error) or type(error).__name__}, b""


def _parameters(groups: Mapping[str, Any]) -> dict[str, Any]:
    def values(group: str, name: str) -> list[Any]:
        found = groups.get(group, {}).get(name, {})
        return list(found.get("value", ())) if isinstance(found, Mapping) else []

    def text(group: str, name: str) -> str:
        return "".join(str(value) for value in values(group, name)[:1])

    labels = values("POINT", "LABELS")
    for n in range(2, 100):
        # a parameter holds 255 labels at most
        labels += values("POINT", f"LABELS{n}")
    return {
        "labels": [str(label) for label in labels],
        "unit": text("POINT", "UNITS"),
        "rate": float((values("POINT", "RATE") or [0.0])[0]),
        "right": text("POINT", "X_SCREEN"),
        "up": text("POINT", "Y_SCREEN"),
        "subjects": [str(name) for name in values("SUBJECTS", "NAMES")],
    }


if __name__ == "__main__":
    main()
