"""Single files of a work folder: whether one has changed, its record, or why it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gaitforge.records.json_file import JsonFile, Unreadable
from gaitforge.work import for_arrow, on_s3, open_path

Kind = Literal["texts", "whole numbers", "numbers", "lists of numbers"]

Stamp = tuple[int, int, str]
"""Time of change (ns), size in bytes, and on S3 the tag: together they change with the content."""

LINK: Stamp = (-1, 0, "link")
OUTSIDE = "it leads out of the work folder, and is not followed"


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be used, and why; its path is relative to the work folder."""

    file: str
    reason: str


def is_inside(root: Path, path: Path) -> bool:
    """Tell whether a path stays in the work folder when links are followed; always true on S3, which has no links."""
    if on_s3(root):
        return True
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (
        OSError,
        RuntimeError,
    ):  # links that lead to each other; a folder that may not be entered
        return False


def list_outside(root: Path, folder: Path) -> list[str]:
    """List links in a folder, at any depth, that lead out of the work folder; "." if the folder itself does.

    Names are relative to the folder.
    """
    if on_s3(root):
        return []
    found = [path for path in (folder, *folder.rglob("*")) if path.is_symlink()]
    if not is_inside(root, folder):
        found = [folder]
    return [str(path.relative_to(folder)) for path in found if not is_inside(root, path)]


def read_stamp(path: Path) -> Stamp | None:
    """Return a path's stamp; None if it does not exist or may not be accessed."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, getattr(stat, "etag", "")


def read_stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamps of a folder's entries by name; drafts (dot files) are left out, a link has LINK.

    Empty if the folder cannot be listed.
    """
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


def list_names(folder: Path) -> list[str]:
    """List the names in a folder without drafts (dot files); empty if it cannot be listed."""
    try:
        listed = [path.name for path in folder.iterdir()] if on_s3(folder) else os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in listed if not name.startswith("."))


def parse_file(path: str, kind: JsonFile[Any]) -> object:
    """Return the record of a JSON file; None if the file has gone, a Problem if it cannot be used."""
    try:
        return kind.find(open_path(path))
    except Unreadable as error:
        return Problem(path, error.found)
    except OSError as error:
        return Problem(path, f"it cannot be read ({error.strerror})")


def read_columns(
    path: Path,
    kinds: Mapping[str, Kind],
    gaps: Collection[str] = (),
    only: Sequence[str] | None = None,
    wanted: pc.Expression | None = None,
) -> pa.Table | str:
    """Read columns of a Parquet file, or say why they cannot be used.

    The file must have all columns of `kinds`, of these kinds, and values everywhere but in the columns `gaps`.
    `only` limits what is read to some of them, `wanted` to some of the rows.
    """
    try:
        source = for_arrow(path)
        fault = _wrong_column(pq.read_schema(source), kinds)
        if fault is not None:
            return fault
        table = pq.read_table(source, columns=list(only or kinds), filters=wanted)
        table.validate(full=True)  # texts that are none
    except PARQUET_ERRORS as error:
        return explain_no_parquet(error)
    for name in table.column_names:
        if name not in gaps and table.column(name).null_count:
            return f"its column '{name}' lacks values"
    return table


def _wrong_column(schema: pa.Schema, kinds: Mapping[str, Kind]) -> str | None:
    """Say which column is missing, or of another kind; None where all are there."""
    missing = set(kinds) - set(schema.names)
    if missing:
        return f"it lacks the column '{min(missing)}'"
    for name, kind in kinds.items():
        told = schema.field(name).type
        # where nothing is known, pandas writes a column of no type
        if not _HOLDS[kind](told) and not pa.types.is_null(told):
            return f"its column '{name}' holds {told}, but must hold {kind}"
    return None


def _holds_text(told: pa.DataType) -> bool:
    return pa.types.is_string(told) or pa.types.is_large_string(told)


def _holds_numbers(told: pa.DataType) -> bool:
    return pa.types.is_integer(told) or pa.types.is_floating(told)


def _holds_lists(told: pa.DataType) -> bool:
    kinds = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)
    return isinstance(told, kinds) and pa.types.is_floating(told.value_type)


_HOLDS: dict[Kind, Callable[[pa.DataType], bool]] = {
    "texts": _holds_text,
    "whole numbers": pa.types.is_integer,
    "numbers": _holds_numbers,
    "lists of numbers": _holds_lists,
}


def explain_no_parquet(error: Exception) -> str:
    return f"it is not a whole Parquet file ({str(error).splitlines()[0][:120]})"


PARQUET_ERRORS = (pa.ArrowException, OSError)
