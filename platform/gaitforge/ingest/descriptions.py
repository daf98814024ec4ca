"""Person, class and further columns of a recording whose file does not tell them: by its path, or by a table."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath

from gaitforge.ingest.options import ReadOptions
from gaitforge.recording import Value
from gaitforge.regular_file import read_regular, spell_name

MOST_BYTES = 200 * 2**20
KEYS = ("recording", "file")  # columns that say which recording a line is about
_WHAT = "The table of recordings"
_REMEDY = "mend ingest.read.table"
_DELIMITERS = (",", ";", "\t")
_MOST_COMPARED = 1000  # keys: more would take longer for each line that is not found than reading a recording does


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What is known of a recording; `reason` says why it cannot be used, where that is so."""

    person: str
    label: str
    columns: Mapping[str, Value] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A line of the table, as text and as values."""

    texts: Mapping[str, str]
    values: Mapping[str, Value]


def search_path(pattern: str, path: Path) -> re.Match[str] | None:
    """Search a file's name, then its path with one folder more each time: a folder far above may fit by chance."""
    parts = Path(os.path.abspath(path)).parts
    tails = (spell_name("/".join(parts[-count:])) for count in range(1, len(parts) + 1))
    return next((found for tail in tails if (found := re.search(pattern, tail))), None)


def describe(
    path: Path, recording: str, person: str, label: str, options: ReadOptions
) -> Description:
    """Look a recording up: the table goes before the path, and the path before what the file tells.

    Raises ValueError where nothing can tell a person or a class, FileNotFoundError or ValueError for a table that
    cannot be read.
    """
    columns: dict[str, Value] = {}
    if options.path:
        found = search_path(options.path, path)
        if found is None:
            return Description(
                person=person,
                label=label,
                reason="the path of its file has no part that ingest.read.path describes",
            )
        told = {name: text for name, text in found.groupdict().items() if text}
        person, label = told.pop("person", person), told.pop("label", label)
        columns |= told
    if options.table:
        row, lacking = _find_row(path, recording, person, options)
        if row is None:
            return Description(
                person=person,
                label=label,
                reason=f"the table ingest.read.table has no line for it: {lacking}",
            )
        person = row.texts.get(options.person, person)
        label = row.texts.get(options.label, label)
        taken = (*KEYS, options.person, options.label)
        columns |= {name: value for name, value in row.values.items() if name not in taken}
    for name, value, group in (("person", person, "person"), ("class", label, "label")):
        if not value and not options.path and not options.table:
            raise ValueError(
                f"{path} does not tell a {name}; say it by a group (?P<{group}>...) of ingest.read.path, or by a "
                "table, ingest.read.table."
            )
    return Description(person=person.strip(), label=label.strip(), columns=columns)


def _find_row(
    path: Path, recording: str, person: str, options: ReadOptions
) -> tuple[_Row | None, str]:
    """Return a recording's line, or what was looked for where there is none."""
    where = Path(options.table)
    try:
        status = where.stat()
        stamp = (status.st_mtime_ns, status.st_size)
    except OSError:
        stamp = (0, 0)  # reading it tells what is wrong
    key, rows = _read_table(where, options.person, options.label, stamp)
    if key == "recording":
        names = [recording]
    elif key == "file":
        # the line may name as many folders as it takes
        parts = PurePath(spell_name(path)).parts
        names = ["/".join(parts[-count:]) for count in range(len(parts), 0, -1)]
        names.append(PurePath(path).stem)
    else:
        if not person and "person" not in re.compile(options.path).groupindex:
            raise ValueError(
                f"{path} does not tell a person, by which the table {where} goes; say it by a group (?P<person>...) of "
                "ingest.read.path, or give the table a column 'file' or 'recording'."
            )
        names = [person]
    row = next((rows[name] for name in names if name in rows), None)
    if row is not None:
        return row, ""
    # of a file, its last two folders: more would only be longer
    name = "/".join(PurePath(spell_name(path)).parts[-3:]) if key == "file" else names[0]
    return None, f"looked for '{name}' in '{key}'{_nearest(name, list(rows))}"


def _nearest(name: str, keys: Sequence[str]) -> str:
    """Say which of a table's keys a name may have meant."""
    plain = _plain(name)
    alike = [key for key in keys if _plain(key) == plain]
    alike = alike or difflib.get_close_matches(name, keys[:_MOST_COMPARED], 1, cutoff=0.3)
    if alike:
        return f", the nearest is '{alike[0]}'"
    return f", the first is '{keys[0]}'" if keys else ", which is empty"


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


@lru_cache(maxsize=4)
def _read_table(
    path: Path, person: str, label: str, stamp: tuple[int, int]
) -> tuple[str, dict[str, _Row]]:
    """Return the column that is the key, and the lines by it; `stamp` tells a changed file from the one before."""
    data = read_regular(path, _WHAT, _REMEDY, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{_WHAT} {path} is larger than {MOST_BYTES:,} bytes; {_REMEDY}.")
    try:
        text = data.decode("utf-8-sig")
        delimiter = max(_DELIMITERS, key=text.lstrip().partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = _name_columns([name.strip() for name in reader.fieldnames or ()], person, label)
        reader.fieldnames = header
        lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{_WHAT} {path} is no CSV in UTF-8 ({error}); {_REMEDY}.") from error
    if len(set(header)) < len(header) or not all(header):
        raise ValueError(
            f"{_WHAT} {path} names a column twice, or one not at all; give each a name of its own."
        )
    key = next((name for name in (*KEYS, person) if name in header), None)
    if key is None:
        raise ValueError(
            f"{_WHAT} {path} has the columns {', '.join(header) or 'of none'}, but needs one of {', '.join(KEYS)} "
            f"or {person}, by which its lines are found; add it, or name the person's in ingest.read.person."
        )
    texts: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise ValueError(
                f"{_WHAT} {path} has {'more' if None in line else 'fewer'} cells in line {number} than columns; "
                "mend that line."
            )
        name = line[key].strip()
        if key == "file":
            name = name.replace("\\", "/").removeprefix("./")
        if name in texts:
            raise ValueError(f"{_WHAT} {path} has two lines for '{name}'; leave one.")
        texts[name] = {column: text.strip() for column, text in line.items()}
    kinds = {column: kind_of([line[column] for line in texts.values()]) for column in header}
    return key, {
        name: _Row(
            texts=line,
            values={
                column: kinds[column](text) if text else None for column, text in line.items()
            },
        )
        for name, line in texts.items()
    }


def _name_columns(header: Sequence[str], person: str, label: str) -> list[str]:
    """Give a column that is looked for its name where it differs in case and spaces only."""
    names = list(header)
    for wanted in (*KEYS, person, label):
        alike = [name for name in names if _plain(name) == _plain(wanted)]
        if wanted not in names and len(alike) == 1:
            names[names.index(alike[0])] = wanted
    return names


def kind_of(cells: Collection[str]) -> Callable[[str], Value]:
    """Return what makes values of a column's cells: whole numbers or numbers where all of them are, else text."""
    kinds: tuple[Callable[[str], Value], ...] = (_whole, _finite)
    for kind in kinds:
        try:
            for cell in filter(None, cells):
                kind(cell)
            return kind
        except ValueError:
            continue
    return str


def _whole(cell: str) -> int:
    number = int(cell)
    # Python reads "1_2" as 12; and no column holds a number of more bits
    if "_" in cell or not -(2**63) <= number < 2**63:
        raise ValueError(cell)
    return number


def _finite(cell: str) -> float:
    number = float(cell)
    if "_" in cell or not math.isfinite(number):
        raise ValueError(cell)
    return number
