"""Tables in files, CSV or Parquet: the names of their columns first, then their rows in batches.

Nothing here knows what a column means. Memory is that of a batch, however long the file is.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc
import pyarrow.parquet as pq

from gaitforge.ingest.archive import ALWAYS_BYTES, MOST_TIMES
from gaitforge.regular_file import open_regular, read_regular, spell_name

WHAT = "The recordings file"
REMEDY = "mend its path in the settings"
HEAD_LINES = 100
# what is read of a CSV before its columns are known: a header of 5,000 joints takes 300,000
HEAD_BYTES = 2**20
MOST_COLUMNS = 50_000
BLOCK_BYTES = 2**21  # also the longest line
BATCH_CELLS = 2**21
TEXT = pa.dictionary(pa.int32(), pa.string())
_PANDAS_INDEX = "__index_level_0__"

# how programs write a number that is missing
NO_NUMBER = [
    "", "-", "nan", "NaN", "NAN", "-nan", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "none",
]  # fmt: skip
DELIMITERS = (",", ";", "\t")
_DECIMAL = re.compile(r"[-+]?\d+[.,][\d.,]+", re.ASCII)
_DECIMAL_COMMA = re.compile(r"(?:^|;)\s*-?\d+,\d+\s*(?:;|$)", re.ASCII)

Rows = Callable[[Sequence[str], Sequence[str]], Iterator[pa.Table]]
"""Yields all rows in batches: the columns first named as float64, null where missing, the others as `TEXT`.

Raises ValueError with one sentence that names the file.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table in a file: the names of its columns, which all differ, and what reads its rows.

    `index` is a name of its first column where nobody gave it one; "" where there is no such column. Rows of it are
    asked for as of any other.
    """

    path: Path
    names: tuple[str, ...]
    rows: Rows
    index: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The first lines of a CSV file, without their ends, and the bytes before each of them."""

    path: Path
    lines: tuple[str, ...]
    begins: tuple[int, ...]
    delimiter: str
    is_decimal_comma: bool

    def cells(self, line: int) -> list[str]:
        """Return the cells of a line, stripped; ValueError where its quotes do not fit."""
        try:
            found = next(csv.reader([self.lines[line]], delimiter=self.delimiter, strict=True), [])
        except csv.Error as error:
            raise ValueError(
                f"The header of {spell_name(self.path)} cannot be read ({error}); mend its quotes."
            ) from error
        return [cell.strip() for cell in found]

    def first_cell(self, line: int) -> str:
        """Return how a line begins, in small letters, "" for one that is not there."""
        text = self.lines[line] if line < len(self.lines) else ""
        return text.partition(self.delimiter)[0].strip(' \t"').casefold()


def read_head(path: Path) -> Head:
    """Read the first lines of a CSV file, blank ones before them left out.

    Lines are separated by commas, semicolons or tabs, whichever the first has most of. Raises FileNotFoundError, or
    ValueError where the file holds nothing, is no text in UTF-8, or has a line that never ends.
    """
    data = read_regular(path, WHAT, REMEDY, HEAD_BYTES)
    spelt = spell_name(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{spelt} is text in UTF-16; save it as CSV in UTF-8.")
    if b"\0" in data:
        raise ValueError(
            f"{spelt} holds bytes that are no text, but must be CSV in UTF-8; save it as that."
        )
    begin = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    whole = len(data) < HEAD_BYTES
    lines: list[str] = []
    begins: list[int] = []
    for line in data[begin:].splitlines(keepends=True):
        if len(lines) == HEAD_LINES:
            break
        if whole or line.endswith((b"\n", b"\r")):
            if lines or line.strip():
                try:
                    lines.append(line.decode().rstrip("\r\n"))
                except UnicodeDecodeError as error:
                    if len(lines) >= 1:  # what is behind the header is for who reads the rows
                        break
                    raise ValueError(
                        f"{spelt} is no text in UTF-8 ({error.reason} at byte {begin + error.start}); save it as CSV "
                        "in UTF-8."
                    ) from error
                begins.append(begin)
            begin += len(line)
    if not lines and not whole:
        raise ValueError(
            f"{spelt} has no line end in its first {HEAD_BYTES:,} bytes; a table's first line names its columns."
        )
    if not lines:
        raise ValueError(f"{spelt} is empty, but must hold a table; write it again.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=lines[0].count)
    is_comma = delimiter == ";" and any(map(_DECIMAL_COMMA.search, lines[1:20]))
    return Head(
        path=path,
        lines=tuple(lines),
        begins=(*begins, begin),
        delimiter=delimiter,
        is_decimal_comma=is_comma,
    )


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file; raises ValueError for text that is not UTF-8, and for a line without an end."""
    spelt = spell_name(path)
    before = b""
    for block in _read_blocks(path, 0):
        for line in block.splitlines():
            try:
                yield (line if before else line.removeprefix(b"\xef\xbb\xbf")).decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{spelt} is no text in UTF-8 ({error.reason}); save it as CSV in UTF-8."
                ) from error
            before = b"."


def open_csv(head: Head, header: int = 1, names: Sequence[str] = ()) -> Table:
    """Return a CSV file's table, whose rows begin behind `header` lines; the first has the names, if none are given.

    Columns without a name are left out, and so is an empty cell behind the last column, if each line has one. Raises
    ValueError for a name that occurs twice.
    """
    path, names = head.path, names or head.cells(0)
    _check_names(path, [name for name in names if name])
    # a name that no header can hold, so that a column without one has its place
    full = [name or f"\0{n}" for n, name in enumerate(names)]
    spare = ""
    first = next((n for n in range(header, len(head.lines)) if head.lines[n].strip()), None)
    cells = [] if first is None else head.lines[first].split(head.delimiter)
    if len(cells) == len(full) + 1 and not cells[-1].strip():
        spare = f"\0{len(full)}"
        full.append(spare)
    elif len(cells) == len(full) - 1 and not names[-1]:
        full.pop()
    begin = head.begins[min(header, len(head.begins) - 1)]

    def rows(numbers: Sequence[str], texts: Sequence[str]) -> Iterator[pa.Table]:
        wanted = [*numbers, *texts]
        kinds = {**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(texts, TEXT)}
        kinds |= {spare: pa.null()} if spare else {}
        before = 0
        for block in _read_blocks(path, begin):
            if not block.isspace():
                try:
                    table = _read_block(block, full, kinds, head)
                except pa.ArrowInvalid:
                    # cells of blanks are rare, and take longer
                    piece = _Piece(
                        block=block, columns=full, head=head, begin=begin, before=before
                    )
                    table = piece.read(numbers, texts, spare)
                yield table.select(wanted)
            before += block.count(b"\n") or block.count(b"\r")

    return Table(
        path=path,
        names=tuple(filter(None, names)),
        rows=rows,
        index="" if names[0] else full[0],
    )


def _read_block(
    block: bytes, columns: Sequence[str], kinds: dict[str, pa.DataType], head: Head
) -> pa.Table:
    """Read some lines of a CSV file; raises pyarrow.ArrowInvalid."""
    read = pc.ReadOptions(
        use_threads=False,
        column_names=list(columns),
        block_size=max(len(block), BLOCK_BYTES),
    )
    convert = pc.ConvertOptions(
        column_types=kinds,
        include_columns=list(kinds),
        null_values=NO_NUMBER,
        strings_can_be_null=False,
        decimal_point="," if head.is_decimal_comma else ".",
    )
    return pc.read_csv(
        pa.BufferReader(block),  # type: ignore[arg-type]  # the stubs know only files
        read_options=read,
        parse_options=pc.ParseOptions(delimiter=head.delimiter),
        convert_options=convert,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """Lines of a CSV file that pyarrow would not read as they are: `before` lines stand between `begin` and them."""

    block: bytes
    columns: Sequence[str]
    head: Head
    begin: int
    before: int

    def read(self, numbers: Sequence[str], texts: Sequence[str], spare: str) -> pa.Table:
        """Read the lines with blanks around numbers; raises ValueError that names the line and the column at fault."""
        kinds = {**dict.fromkeys(numbers, pa.string()), **dict.fromkeys(texts, TEXT)}
        kinds |= {spare: pa.string()} if spare else {}
        try:
            table = _read_block(self.block, self.columns, kinds, self.head)
        except pa.ArrowInvalid as error:
            raise ValueError(self._find_fault(texts)) from error
        if spare:
            row = next((n for n, text in enumerate(_texts(table, spare)) if text.strip()), None)
            if row is not None:
                raise ValueError(
                    self._miscounted(self._line_of(row), len(self.columns), len(self.columns) - 1)
                )
        is_comma = self.head.is_decimal_comma
        for name in numbers:
            try:
                column = _as_numbers(table.column(name), is_comma)
            except pa.ArrowInvalid as error:
                cells = _texts(table, name)
                row = next(n for n, cell in enumerate(cells) if not _is_number(cell, is_comma))
                kind = "a number"
                if _DECIMAL.fullmatch(cells[row].strip()):
                    kind = f"a number with a decimal {'comma' if is_comma else 'point'}"
                raise ValueError(
                    f"Line {self._line_of(row)} of {spell_name(self.head.path)} has {cells[row][:40]!r} in its column "
                    f"'{name}', but must have {kind} there, or nothing; mend it."
                ) from error
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each line that holds anything, and its cells."""
        head = read_regular(self.head.path, WHAT, REMEDY, self.begin)
        before = len(head.splitlines()) + self.before
        text = io.StringIO(self.block.decode("utf-8", "surrogateescape"), newline="")
        reader = csv.reader(text, delimiter=self.head.delimiter)
        line = before + 1
        for cells in reader:
            if cells:
                yield line, cells
            line = before + reader.line_num + 1

    def _line_of(self, row: int) -> int:
        try:
            return next(line for n, (line, _) in enumerate(self._lines()) if n == row)
        except (csv.Error, StopIteration):  # quotes that are read in two ways
            return self.before + row + 2

    def _find_fault(self, texts: Sequence[str]) -> str:
        """Say what is wrong with the lines that pyarrow cannot divide into cells of text."""
        width = len(self.columns)
        source = spell_name(self.head.path)
        places = {self.columns.index(name): name for name in texts}
        try:
            for line, cells in self._lines():
                if len(cells) != width:
                    return self._miscounted(line, len(cells), width)
                for n, name in places.items():
                    if any("\ud800" <= letter <= "\udfff" for letter in cells[n]):
                        return (
                            f"Line {line} of {source} has bytes in its column '{name}' that are no text in UTF-8; save "
                            "it as CSV in UTF-8."
                        )
        except csv.Error:
            pass
        return f"{source} is damaged, or no table of one kind; mend it, or write it again."

    def _miscounted(self, line: int, count: int, wanted: int) -> str:
        return (
            f"Line {line} of {spell_name(self.head.path)} has {count} cell{'s' * (count > 1)}, but the table has "
            f"{wanted} columns; mend that line."
        )


def _texts(table: pa.Table, name: str) -> list[str]:
    return [str(cell) for cell in table.column(name).to_pylist()]


def _as_numbers(column: Any, is_comma: bool) -> Any:
    """Make numbers of text, null where it says that there is none; raises pyarrow.ArrowInvalid."""
    cells = compute.utf8_trim_whitespace(column)
    if is_comma:
        # a point divides thousands there, or is a slip
        cells = compute.replace_substring(compute.replace_substring(cells, ".", "?"), ",", ".")
    is_none = compute.is_in(cells, value_set=pa.array(NO_NUMBER, cells.type))
    return compute.if_else(is_none, pa.scalar(None, cells.type), cells).cast(pa.float64())


def _is_number(cell: str, is_comma: bool) -> bool:
    try:
        _as_numbers(pa.array([cell], pa.string()), is_comma)
    except pa.ArrowInvalid:
        return False
    return True


def open_parquet(path: Path) -> Table:
    """Return a Parquet file's table; columns that hold neither numbers nor text (lists, bytes) are left out.

    Raises FileNotFoundError, or ValueError for what is no Parquet file, or one whose rows would take far more memory
    than the file has bytes.
    """
    with open_regular(path, WHAT, REMEDY) as file, _damage_told(path):
        schema = pq.ParquetFile(file, pre_buffer=False).schema_arrow
        kinds = {
            field.name: field.type for field in schema if field.name and _is_value(field.type)
        }
        every = schema.names
    _check_names(path, every)
    _check_names(path, list(kinds))

    def rows(numbers: Sequence[str], texts: Sequence[str]) -> Iterator[pa.Table]:
        wanted = [*numbers, *texts]
        as_codes = [name for name in texts if _is_text(kinds[name])]
        with open_regular(path, WHAT, REMEDY) as file, _damage_told(path):
            size = os.fstat(file.fileno()).st_size
            parquet = pq.ParquetFile(file, read_dictionary=as_codes, pre_buffer=False)
            _check_bytes(parquet.metadata, wanted, size)
            for batch in parquet.iter_batches(
                batch_size=max(1, BATCH_CELLS // len(wanted)), columns=wanted, use_threads=False
            ):
                yield pa.table(
                    {name: _as_number(batch.column(name), name) for name in numbers}
                    | {name: _as_text(batch.column(name)) for name in texts}
                )

    return Table(
        path=path,
        names=tuple(kinds),
        rows=rows,
        index=_PANDAS_INDEX if _PANDAS_INDEX in kinds else "",
    )


def _read_blocks(path: Path, begin: int) -> Iterator[bytes]:
    """Yield a file's bytes from `begin` on, in blocks of whole lines."""
    with open_regular(path, WHAT, REMEDY) as file:
        file.seek(begin)
        rest = b""
        while True:
            try:
                data = file.read(BLOCK_BYTES)
            except OSError as error:
                raise type(error)(
                    f"{WHAT} {path} cannot be read ({error.strerror}); {REMEDY}."
                ) from error
            if not data:
                break
            data = rest + data
            cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
            if len(data) - cut > BLOCK_BYTES:
                raise ValueError(
                    f"{spell_name(path)} has a line of more than {BLOCK_BYTES:,} bytes, but must be a table; write it "
                    "again."
                )
            block, rest = data[:cut], data[cut:]
            if block:
                yield block
        if rest:
            yield rest


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a bad file into one sentence that names it."""
    try:
        yield
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise ValueError(
            f"{spell_name(path)} is damaged, or no table of one kind ({reason}); mend it, or write it again."
        ) from error


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise ValueError(
            f"{spell_name(path)} has {len(names):,} columns, but may have at most {MOST_COLUMNS:,}; leave some out."
        )
    seen: set[str] = set()
    for name in names:
        if not name.isprintable():
            raise ValueError(
                f"{spell_name(path)} has a column named {name!r}, which cannot be shown; give it another name."
            )
        if name in seen:
            raise ValueError(
                f"{spell_name(path)} has two columns '{name}'; give each a name of its own."
            )
        seen.add(name)


def _check_bytes(metadata: pq.FileMetaData, columns: Sequence[str], size: int) -> None:
    # rows that are all alike take next to nothing in the file, and their number is only claimed
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    pages = sum(
        column.total_uncompressed_size
        for group in groups
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema in columns
    )
    claimed = max(pages, metadata.num_rows * len(columns) * 8)
    most = max(ALWAYS_BYTES, MOST_TIMES * size)
    if not 0 <= claimed <= most:
        raise ValueError(
            f"it promises {metadata.num_rows:,} rows, which would take {claimed:,} bytes, and may take {most:,}"
        )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_value(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_value(kind.value_type)
    return (
        _is_text(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_null(kind)
    )


def _as_number(column: pa.Array[Any], name: str) -> pa.Array[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_text(column.type):
        return column.cast(pa.float64())
    try:
        numbers: pa.Array[Any] = _as_numbers(column, is_comma=False)
    except pa.ArrowInvalid as error:
        cells = [str(cell) for cell in column.to_pylist() if cell is not None]
        wrong = next(cell for cell in cells if not _is_number(cell, is_comma=False))
        raise ValueError(f"its column '{name}' has {wrong[:40]!r}, which is no number") from error
    return numbers


def _as_text(column: pa.Array[Any]) -> pa.Array[Any]:
    if pa.types.is_duration(column.type):
        spans = column.cast(pa.duration("ns")).cast(pa.int64()).to_pylist()
        column = pa.array(
            [None if span is None else _as_clock(span) for span in spans], pa.string()
        )
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    return column.cast(TEXT)


def _as_clock(nanoseconds: int) -> str:
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:09d}"
