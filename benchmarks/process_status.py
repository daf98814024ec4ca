"""What Linux tells of a process's memory."""

from __future__ import annotations

from pathlib import Path


def read_status_kb(field: str, process: int | str = "self") -> int:
    """Return a field of /proc/<process>/status in kilobytes, as VmHWM, the most memory that the process has held.

    What `getrusage` tells of a process that another has started begins with the starter's own.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
