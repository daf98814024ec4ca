"""What Linux tells of a process's memory, and a benchmark's parts in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def read_status_kb(field: str, process: int | str = "self") -> int:
    """Return a field of /proc/<process>/status in kilobytes, as VmHWM, the most memory that the process has held.

    What `getrusage` tells of a process that another has started begins with the starter's own.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def measure_apart(module: str, *arguments: str) -> Any:
    """Run `python -m module arguments`; return what the JSON of its last line holds.

    Raises RuntimeError with its last words where it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if answer.returncode:
        raise RuntimeError(answer.stderr[-200:])
    return json.loads(answer.stdout.splitlines()[-1])
