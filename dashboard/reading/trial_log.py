"""The ended trials of a search, read quickly: first from their common table, then single files it lacks.

The files are the truth. A row of `search/trials.parquet` counts only while the file that it was made from has
the same time, size and S3 tag; new and changed files are read themselves. Learning curves are nine tenths of
a file, so they are read only when somebody looks at them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import pyarrow.parquet as pq

from dashboard.reading import files
from dashboard.reading.files import PARQUET_ERRORS, Problem, Stamp
from gaitforge.records.json_file import Unreadable
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.work import SplitFolder, for_arrow, open_path

FOLDERS = 4  # whose trials are kept in memory; ten thousand take some 30 MB
ENOUGH_FOR_TABLE = 20  # fewer files are read faster than the table

# Files are replaced, not written over, which the folder's own time tells at once. What is written
# over all the same is seen later where files are many: a look at ten thousand takes 0.1 s.
MANY = 1000
LOOK_AGAIN_S = 0.0005  # for each file of many

_COLUMNS = ["trial", "brief", "file_changed_ns", "file_bytes", "file_tag"]
Row = Mapping[str, Any]  # an epoch, as its file has it
_Known = dict[str, tuple[Stamp, Trial | Problem]]


@dataclass(frozen=True, slots=True)
class Log:
    """All ended trials, ordered by number, and the files that could not be used."""

    trials: tuple[Trial, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at a folder of trials found, when, and the stamp the folder had."""

    at_s: float
    state: Stamp | None
    found: dict[str, Stamp]
    known: _Known
    log: Log

    def holds(self, state: Stamp | None, now_s: float) -> bool:
        """Tell whether this look may be reused: a folder of many files, looked at recently, with the same stamp."""
        count = len(self.found)
        recent = now_s - self.at_s < LOOK_AGAIN_S * count
        return recent and self.state == state and count > MANY


_looks: OrderedDict[str, _Look] = OrderedDict()
_lock = threading.Lock()  # one thread per person who looks on


def read_trials(folder: SplitFolder) -> Log:
    """Read all trials in `search/trials`; return the same objects as before if nothing has changed."""
    key = str(folder.root)
    with _lock:
        before = _looks.get(key)
        state, now = files.read_stamp(folder.trials), time.monotonic()
        if before and before.holds(state, now):
            return before.log
        found = files.read_stamps(folder.trials)
        known = _refreshed(folder, found, before.known if before else {})
        same = before is not None and found == before.found
        log = before.log if before is not None and same else _log(found, known)
        _looks[key] = _Look(now, state, found, known, log)
        _looks.move_to_end(key)
        while len(_looks) > FOLDERS:
            _looks.popitem(last=False)
        return log


def _log(found: dict[str, Stamp], known: _Known) -> Log:
    trials, problems = [], []
    for name in found:
        if not name.endswith(".json"):
            problems.append(Problem(name, "only .json files belong here; it was passed over"))
        elif name in known:
            trial = known[name][1]
            if isinstance(trial, Problem):
                problems.append(Problem(name, trial.reason))
            elif name != f"{trial.number}.json":
                stem = name.removesuffix(".json")
                problems.append(Problem(name, f"it holds trial {trial.number}, not {stem}"))
            else:
                trials.append(trial)
    return Log(tuple(sorted(trials, key=lambda trial: trial.number)), tuple(problems))


def _refreshed(folder: SplitFolder, found: dict[str, Stamp], known: _Known) -> _Known:
    same = {name: its for name, its in known.items() if found.get(name) == its[0]}
    lacking = {n for n in found if n.endswith(".json") and n not in same}
    if len(lacking) >= ENOUGH_FOR_TABLE:
        same |= _from_table(folder, found, lacking)
    for name in sorted(lacking - same.keys()):
        path = folder.trials / name
        if found[name] == files.LINK:
            same[name] = (found[name], Problem(name, "it is a link, and is not followed"))
            continue
        trial = files.parse_file(str(path), TRIAL)
        if isinstance(trial, Trial):
            same[name] = (found[name], _light(trial, str(path)))
        elif isinstance(trial, Problem):
            same[name] = (found[name], trial)
    return same


def _from_table(folder: SplitFolder, found: dict[str, Stamp], wanted: Collection[str]) -> _Known:
    """Return the wanted trials whose table rows match their files; none if the table cannot be used."""
    rows_of = folder.trials_table
    if not files.is_inside(folder.search, rows_of):
        return {}
    try:
        table = pq.read_table(for_arrow(rows_of), columns=_COLUMNS)
        rows = zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True)
    except (*PARQUET_ERRORS, KeyError):
        return {}
    fresh = [
        (f"{number}.json", brief)
        for number, brief, changed, size, tag in rows
        if found.get(f"{number}.json") == (changed, size, tag)
    ]
    fresh = [(name, brief) for name, brief in fresh if name in wanted]
    try:
        trials: Sequence[Trial | None] = TRIAL.parse_many([brief for _, brief in fresh])
    except (ValueError, TypeError):
        trials = [_brief_trial(brief) for _, brief in fresh]
    return {
        name: (found[name], _light(trial, str(folder.trials / name)))
        for (name, _), trial in zip(fresh, trials, strict=True)
        if trial is not None
    }


def _light(trial: Trial, path: str) -> Trial:
    """Drop the parts that a table row leaves out from a trial, and let its curve be read from its file when needed."""
    return replace(
        trial, distributions={}, rejected=(), sampler={}, stderr=(), traceback=None, curve=StoredCurve(path)
    )  # fmt: skip


def _brief_trial(brief: object) -> Trial | None:
    """Parse a table row's trial; None if it is invalid, in which case the file itself will be read."""
    try:
        return TRIAL.parse(str(brief), Path())
    except Unreadable:
        return None


class StoredCurve(Sequence[Row]):
    """A trial's learning curve, read from its file only when it is used."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...

    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredCurve) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def _rows(self) -> tuple[Row, ...]:
        return _curve(self.path, files.read_stamp(open_path(self.path)))


@lru_cache(maxsize=256)
def _curve(path: str, stamp: Stamp | None) -> tuple[Row, ...]:
    trial = files.parse_file(path, TRIAL)
    return tuple(trial.curve) if isinstance(trial, Trial) else ()
