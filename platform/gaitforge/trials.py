"""The trial log of a search: one file per ended trial, never changed once written; tables are derived from these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gaitforge.records.trial import ENDED, TRIAL, Trial
from gaitforge.work import (
    SplitFolder,
    as_json,
    for_arrow,
    look_again,
    on_s3,
    sweep_drafts,
    write_once,
    write_parquet,
    write_whole,
)

_COLUMNS: dict[str, pa.DataType] = {
    "trial": pa.int64(), "state": pa.string(), "reason": pa.string(), "family": pa.string(),
    "params": pa.int64(), "macs": pa.int64(), "bytes": pa.int64(), "seed": pa.int64(), "hash": pa.string(),
    "epochs": pa.int64(), "seconds": pa.float64(), "val_macro_f1": pa.float64(), "val_accuracy": pa.float64(),
    "scores": pa.string(), "suggested": pa.string(),
    # the file without what only its own reader needs, and which state of the file that is
    "brief": pa.string(), "file_changed_ns": pa.int64(), "file_bytes": pa.int64(), "file_tag": pa.string(),
}  # fmt: skip
TABLE = pa.schema(_COLUMNS)
# nine tenths of a file; not in the table
LONG = ("curve", "distributions", "rejected", "sampler", "stderr", "traceback")


class TrialLog:
    """The ended trials of one search, as files `search/trials/<number>.json`."""

    def __init__(self, folder: SplitFolder) -> None:
        self.folder = folder

    def add(self, trial: Trial) -> bool:
        """Write an ended trial's file; return False, and leave the file as it is, where its number has one already.

        What was kept of the trial while it ran is removed. Raises ValueError for a trial that has not
        ended.
        """
        if trial.state not in ENDED:
            raise ValueError(
                f"Trial {trial.number} is {trial.state}, but only an ended one enters the log."
            )
        added = write_once(self.file(trial.number), TRIAL.as_json(trial))
        self._forget(trial.number)
        return added

    def file(self, number: int) -> Path:
        """Return the path of an ended trial's file."""
        return self.folder.trial(number)

    def checkpoint(self, number: int) -> Path:
        """Return the path where a running trial keeps its weights from one comparison (rung) to the next."""
        return self.folder.rung(number)

    def has(self, number: int) -> bool:
        """Tell whether a trial of that number has ended, on this node or another."""
        path = self.file(number)
        if path.is_file():
            return True
        look_again(path.parent)  # its worker may be on another node
        return on_s3(path) is None and path.is_file()

    def show_running(self, trial: Trial) -> None:
        """Write how far a running trial is, for onlookers and for going on with it; no part of the log."""
        path = self.folder.running_trial(trial.number)
        write_whole(path, TRIAL.as_json(trial), through=False)

    def read_running(self, number: int) -> Trial | None:
        """Read a running trial as it was written last; None where it was not."""
        return TRIAL.find(self.folder.running_trial(number))

    def as_kept(self, trial: Trial) -> Trial:
        """Return a running trial as its worker wrote it last, or `trial` itself where nothing of it was written."""
        kept = self.read_running(trial.number)
        return kept if kept is not None and kept.hash == trial.hash else trial

    def list_interrupted(self) -> list[Trial]:
        """List the trials, by number, that were running when a search was killed.

        What was kept of those that have ended since is removed.
        """
        found = []
        for path in self.folder.running.glob("[0-9]*.json"):
            trial = self.read_running(int(path.stem))
            if trial is None:  # who looks while a search runs may see one that ends
                continue
            if self.has(trial.number):
                self._forget(trial.number)
            else:
                found.append(trial)
        return sorted(found, key=lambda trial: trial.number)

    def __iter__(self) -> Iterator[Trial]:
        """Iterate over all ended trials by number; raises ValueError for a file that is no trial."""
        trials = [TRIAL.read(path) for path in self._files()]
        return iter(sorted(trials, key=lambda trial: trial.number))

    def read(self, number: int) -> Trial:
        """Read one ended trial; raises FileNotFoundError where there is none of that number."""
        path = self.file(number)
        look_again(path.parent)
        return TRIAL.read(path)

    def compact(self) -> None:
        """Write `search/trials.parquet`, one row per ended trial, for readers of tables.

        Only files that the table lacks, or holds in another state, are read. The files stay the
        truth: a row counts while its file has the time, size and tag that stand in the row.
        """
        path = self.folder.trials_table
        stamps = {file: _stamp(file) for file in self._files()}
        held = _read_table(path)
        kept = [
            stamps.get(self.file(number)) == stamp
            for number, *stamp in zip(*(held.column(n).to_pylist() for n in _KEY), strict=True)
        ]
        old = held.filter(pa.array(kept, pa.bool_()))
        known = {str(number) for number in old.column("trial").to_pylist()}
        new = [
            _row(TRIAL.read(file), stamp)
            for file, stamp in stamps.items()
            if file.stem not in known
        ]
        if len(held) or new:
            table = pa.concat_tables([old, pa.Table.from_pylist(new, schema=TABLE)])
            write_parquet(path, table.sort_by("trial"))

    def remove_drafts(self) -> None:
        """Remove unfinished files that killed writers have left."""
        for folder in (self.folder.search, self.folder.predictions):
            sweep_drafts(folder)

    def _forget(self, number: int) -> None:
        # in this order: after a kill in between, the running file still tells of the trial
        self.checkpoint(number).unlink(missing_ok=True)
        self.folder.running_trial(number).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """List the files of ended trials, without drafts."""
        return [
            path for path in self.folder.trials.glob("*.json") if not path.name.startswith(".")
        ]


_KEY = ("trial", "file_changed_ns", "file_bytes", "file_tag")


def _stamp(file: Path) -> list[int | str]:
    """Return what tells that a file has changed: its time in ns, its size in bytes and, on S3, its tag."""
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size, getattr(stat, "etag", "")]


def _read_table(path: Path) -> pa.Table:
    """Read the table as it was written last; return an empty one where there is none of this version."""
    try:
        table = pq.read_table(for_arrow(path))
    except (OSError, pa.ArrowException):
        return TABLE.empty_table()
    return table if table.schema.equals(TABLE) else TABLE.empty_table()


def _row(trial: Trial, stamp: Sequence[int | str]) -> dict[str, Any]:
    scores = dict(trial.scores or {})
    whole = TRIAL.as_dict(trial)
    return {
        **{name: whole[name] for name in TABLE.names if name in whole},
        "trial": trial.number,
        "val_macro_f1": scores.get("val_macro_f1"),
        "val_accuracy": scores.get("val_accuracy"),
        "scores": as_json(scores).decode(),
        "suggested": as_json(dict(trial.suggested)).decode(),
        "brief": json.dumps({key: value for key, value in whole.items() if key not in LONG}),
        **dict(zip(_KEY[1:], stamp, strict=True)),
    }
