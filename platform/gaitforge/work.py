"""The work folder: where each artefact of the line lies, and how small files are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class SplitFolder:
    """The line's artefacts for one split: `<work>/runs/<split>/`."""

    root: Path

    @property
    def teacher(self) -> Path:
        return self.root / "teacher"

    @property
    def teacher_outputs(self) -> Path:
        return self.root / "teacher_outputs"

    @property
    def search(self) -> Path:
        return self.root / "search"

    @property
    def trials(self) -> Path:
        return self.root / "search" / "trials"

    @property
    def running(self) -> Path:
        """What trials in flight tell onlookers."""
        return self.root / "search" / "running"

    @property
    def rungs(self) -> Path:
        """Checkpoints of trials in flight."""
        return self.root / "search" / "rungs"

    @property
    def confirm(self) -> Path:
        return self.root / "confirm"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    def fold(self, name: str) -> SplitFolder:
        """Teacher, outputs and students of one fold over the people of all roles."""
        return SplitFolder(self.root / "folds" / name)


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Every path below `<work>`; no other file of the project spells one."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def splits(self) -> Path:
        return self.root / "splits"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def pooled(self) -> Path:
        """Scores over the confirm people of all splits, where there are several."""
        return self.runs / "pooled.json"

    def split_file(self, split: str) -> Path:
        return self.splits / f"{split}.json"

    def run(self, split: str) -> SplitFolder:
        return SplitFolder(self.runs / split)

    def make(self) -> None:
        """Create the folder and prove that it can be written; raises PermissionError with one sentence."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise PermissionError(
                f"The work folder {self.root} cannot be written ({error.strerror}); "
                "choose another folder in 'work' or free this one."
            ) from error


def write_whole(path: Path, data: bytes, through: bool = True) -> None:
    """Write a file so that a reader, or a kill in the middle, sees the old one or the new one, never a part.

    Not `through` to the disk is faster, and for what may be lost in a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    if through:
        _write_through(draft, data)
    else:
        draft.write_bytes(data)
    draft.replace(path)


def write_once(path: Path, data: bytes) -> bool:
    """Write a file that must never change again; False, and nothing written, where it exists already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    _write_through(draft, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _write_through(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk, so that a power cut cannot leave it empty."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def as_json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    write_whole(path, as_json(data))


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError with one sentence where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); remove it and run its stage again."
        ) from error


def write_parquet(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_whole(path, sink.getvalue().to_pybytes())


def fingerprint(data: Any) -> str:
    """Twelve hex digits that change when any value in `data` (JSON-able) changes."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()[
        :12
    ]
