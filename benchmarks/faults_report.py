"""What `benchmarks/faults.py` found: one record for each kill and each search, and the tables of both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

KINDS = ("driver", "worker", "raylet", "gcs_server", "all of Ray", "everything")
BY_ITSELF = ("raylet", "gcs_server", "all of Ray")  # after these the driver has to end by itself


@dataclass(kw_only=True, slots=True)
class Injection:
    """One kill and what came of it. Seconds are None where they do not apply."""

    number: int
    kind: str
    search: int
    moment: str  # starting or training
    ended_before: int  # trials
    driver_s: float | None = None  # until the driver had ended by itself
    hung: bool = False
    status: int | None = None
    said: str = ""  # on standard error, shortened
    running_s: float | None = None  # from the next start of the command to its first epoch
    next_end_s: float | None = None  # from the kill to the next end of a trial
    leftovers: list[str] = field(default_factory=list)  # processes after the grace
    in_flight: int = 0  # trials with a whole epoch or more behind them
    shown: int = 0  # their epochs
    repeated: int = 0  # epochs that had been trained and were trained again
    beyond: int = 0  # of these, such as a checkpoint held
    lost: int = 0  # trials that had ended and whose file is gone or another
    failed: list[str] = field(default_factory=list)  # reasons of the trials that failed after it


@dataclass(kw_only=True, slots=True)
class Ending:
    """What a search had at its end."""

    search: int
    status: int | None
    starts: int
    states: dict[str, int]
    missing: list[int]
    lost: list[int]  # numbers whose file is gone or another than at first
    twice: list[str]  # numbers, or hash and seed, of which there is more than one
    wasted: list[int]  # numbers that some worker went on with after they had ended
    broken: list[int]  # numbers whose curve is not 1, 2, 3, ... up to where it ended
    stale: list[str]
    leftovers: list[str]
    other_failures: list[str]  # of a start that nothing was done to


def report(injections: Sequence[Injection], endings: Sequence[Ending]) -> str:
    """Both tables, in Markdown."""
    return "\n".join([by_kind(injections), "", by_search(endings)])


def by_kind(injections: Sequence[Injection]) -> str:
    """A row for each kind of kill, and one for all."""
    rows = []
    for kind in (*KINDS, "all"):
        some = [item for item in injections if kind in (item.kind, "all")]
        if not some:
            continue
        by_itself = [item for item in some if item.kind in BY_ITSELF]
        rows.append({
            "killed": kind,
            "times": len(some),
            "while starting": sum(item.moment == "starting" for item in some),
            "ended trials lost": sum(item.lost for item in some),
            "trials failed": sum(len(item.failed) for item in some),
            "in flight": sum(item.in_flight for item in some),
            "their epochs": sum(item.shown for item in some),
            "repeated": sum(item.repeated for item in some),
            "though kept": sum(item.beyond for item in some),
            "hung": sum(item.hung for item in some),
            "driver ended by itself after": _seconds([item.driver_s for item in some]),
            "status": ", ".join(sorted({str(item.status) for item in by_itself})),
            "said why": sum("gaitforge:" in item.said for item in by_itself) if by_itself else "",
            "processes left": sum(len(item.leftovers) for item in some),
            "next trial ended after": _seconds([item.next_end_s for item in some]),
            "next start trained after": _seconds([item.running_s for item in some]),
        })  # fmt: skip
    return _table(rows)


def by_search(endings: Sequence[Ending]) -> str:
    """A row for each search."""
    return _table([
        {
            "search": item.search,
            "starts": item.starts,
            "trials": ", ".join(f"{count} {state}" for state, count in sorted(item.states.items())),
            "missing": len(item.missing),
            "lost": len(item.lost),
            "twice": len(item.twice),
            "trained after their end": len(item.wasted),
            "curves with a gap": len(item.broken),
            "stale files": len(item.stale),
            "processes left": len(item.leftovers),
            "other failures": len(item.other_failures),
        }
        for item in endings
    ])  # fmt: skip


def _table(rows: Sequence[dict[str, object]]) -> str:
    if not rows:
        return ""
    cells = [[str(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _seconds(values: Sequence[float | None]) -> str:
    """Median and longest of the seconds that there are."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f} s, at most {max(known):.1f} s" if known else ""
