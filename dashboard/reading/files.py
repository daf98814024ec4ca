"""One file of a work folder: which state of it there is, and what it says, or why it cannot be used."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gaitforge.records.json_file import JsonFile, Unreadable
from gaitforge.work import on_s3, open_path

Stamp = tuple[int, int, str]
"""Time of change (ns), size, and on S3 the tag: what changes with a file's content."""

LINK: Stamp = (-1, 0, "link")
OUTSIDE = "it leads out of the work folder, and is not followed"


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be used, relative to the work folder, and why."""

    file: str
    reason: str


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path stays in the work folder when links are followed; a bucket has no links."""
    return bool(on_s3(root)) or path.resolve().is_relative_to(root.resolve())


def outside(root: Path, folder: Path) -> list[str]:
    """What is in a folder, at any depth, and does not stay in the work folder: names from the folder on."""
    if on_s3(root):
        return []
    found = [path for path in (folder, *folder.rglob("*")) if path.is_symlink()]
    if not is_inside(root, folder):
        found = [folder]
    return [str(path.relative_to(folder)) for path in found if not is_inside(root, path)]


def stamp(path: Path) -> Stamp | None:
    """None where there is nothing or it may not be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, getattr(stat, "etag", "")


def stamps(folder: Path) -> dict[str, Stamp]:
    """The stamps of a folder's files by their names, drafts (dot files) left out; LINK for a link."""
    found: dict[str, Stamp] = {}
    try:
        if on_s3(folder):
            for path in folder.iterdir():  # its listing tells the stamps as well
                stat = path.stat()
                found[path.name] = (stat.st_mtime_ns, stat.st_size, getattr(stat, "etag", ""))
        else:
            # pathlib takes five times as long, which ten thousand trials make a quarter of a second
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):  # it has gone
                        stat = entry.stat(follow_symlinks=False)
                        link = entry.is_symlink()
                        found[entry.name] = LINK if link else (stat.st_mtime_ns, stat.st_size, "")
    except OSError:
        pass
    return {name: its for name, its in sorted(found.items()) if not name.startswith(".")}


def names(folder: Path) -> list[str]:
    """The names in a folder, drafts (dot files) left out."""
    try:
        listed = [path.name for path in folder.iterdir()] if on_s3(folder) else os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in listed if not name.startswith("."))


def parsed(path: str, kind: JsonFile[Any]) -> object:
    """The record of a JSON file; None where it has gone, a Problem where it cannot be used."""
    try:
        return kind.find(open_path(path))
    except Unreadable as error:
        return Problem(path, error.found)
    except OSError as error:
        return Problem(path, f"it cannot be read ({error.strerror})")


def no_parquet(error: Exception) -> str:
    return f"it is not a whole Parquet file ({str(error).splitlines()[0][:120]})"


PARQUET_ERRORS = (pa.ArrowException, OSError)
