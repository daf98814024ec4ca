"""Recordings in Parquet files: columns, row groups by person, reading back with checks.

One row per recording: its description, the source's further columns, then its movement, where
`positions` is one list in the order [T, V, C] and `confidence` one in the order [T, V]. Both are
byte-split and compressed, as measured in benchmarks/store_encodings.py. On reading, checksums of the
pages and of the footer find what has changed since it was written.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.recording import Recording, Value
from gaitforge.work import on_s3

DESCRIPTION: dict[str, pa.DataType] = {
    "recording": pa.string(),
    "person": pa.string(),
    "label": pa.string(),
    "frames": pa.int64(),
    "fps": pa.float64(),
}
MOVEMENT: dict[str, pa.DataType] = {
    "channels": pa.int64(),
    "positions": pa.list_(pa.float32()),
    "confidence": pa.list_(pa.float32()),
}


class Place(NamedTuple):
    """A recording that is to be written: its number, its person, and its bytes of positions."""

    number: int
    person: str
    size: int


class ColumnKinds:
    """Learns of recordings one by one what further columns they have, and of which kind."""

    def __init__(self) -> None:
        # the names of a recording's columns, and the first recording (by person and id) that has these
        self._forms: dict[tuple[str, ...], tuple[str, str]] = {}
        self._kinds: dict[str, set[type[str] | type[int] | type[float]]] = {}

    def note(self, recording: Recording) -> None:
        form, its = tuple(recording.columns), (recording.person, recording.recording)
        first = self._forms.setdefault(form, its)
        if its < first:
            self._forms[form] = its
        for name, value in recording.columns.items():
            kinds = self._kinds.setdefault(name, set())
            if value is None:
                continue
            if isinstance(value, str):
                kinds.add(str)
            elif isinstance(value, int) and -(2**63) <= value < 2**63:
                kinds.add(int)
            else:
                kinds.add(float)

    def make_schema(self) -> pa.Schema:
        """Return the columns that hold all recordings, in the order in which these, sorted, have them.

        Raises ValueError where a further column has a name that is taken, or holds both text and numbers.
        """
        own = DESCRIPTION | MOVEMENT
        further: dict[str, pa.DataType] = {}
        forms = sorted(self._forms, key=lambda form: self._forms[form])
        for name in dict.fromkeys(name for form in forms for name in form):
            # the Delta log does not tell names apart that differ in case only
            if name.lower() in own or name.lower() in map(str.lower, further):
                raise ValueError(
                    f"The column '{name}' has the name of another column or one of the store's own "
                    f"({', '.join(own)}); rename it in the file."
                )
            further[name] = _type_of(name, self._kinds[name])
        return pa.schema(DESCRIPTION | further | MOVEMENT)


def cut_row_groups(places: Iterable[Place], group_bytes: int) -> Iterator[list[Place]]:
    """Yield recordings, which must be sorted by person, in groups of about `group_bytes` of positions.

    A person who would not fit whole starts a new group.
    """
    group: list[Place] = []
    size = 0
    for _, of_person in groupby(places, key=lambda place: place.person):
        theirs = list(of_person)
        if group and size + _bytes_of(theirs) > group_bytes:
            yield group
            group, size = [], 0
        for place in theirs:
            group.append(place)
            size += place.size
            if size >= group_bytes:
                yield group
                group, size = [], 0
    if group:
        yield group


def gather_files(groups: Iterable[list[Place]], file_bytes: int) -> Iterator[list[list[Place]]]:
    """Gather row groups into files of about `file_bytes` of positions; yield the groups of each file."""
    file: list[list[Place]] = []
    size = 0
    for group in groups:
        file.append(group)
        size += _bytes_of(group)
        if size >= file_bytes:
            yield file
            file, size = [], 0
    if file:
        yield file


def write_file(
    folder: Path, stem: str, schema: pa.Schema, groups: Iterable[Sequence[Recording]]
) -> Path:
    """Write one file to the disk and return its path; its name is `stem` and the checksum of its footer."""
    if on_s3(folder):
        with tempfile.TemporaryDirectory() as near:
            written = write_file(Path(near), stem, schema, groups)
            (folder / written.name).write_bytes(written.read_bytes())
        return folder / written.name
    path = folder / f"{stem}.parquet"
    texts = [field.name for field in schema if field.type == pa.string()]
    with path.open("wb") as sink:
        with pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=texts,  # type: ignore[arg-type]  # pyarrow-stubs know only bool
            column_encoding={
                f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("positions", "confidence")
            },
            write_statistics=[field.name for field in schema if field.name not in MOVEMENT],
            write_page_checksum=True,
        ) as writer:
            for group in groups:
                writer.write_table(_as_table(group, schema), row_group_size=len(group))
        sink.flush()
        os.fsync(sink.fileno())
    return path.rename(folder / f"{stem}-{_footer_checksum(path)}.parquet")


def read_recordings(
    path: Path, layout: Layout, people: Sequence[str] | None
) -> Iterator[Recording]:
    """Yield the recordings in a file, of `people` (sorted) or of all, reading one row group at a time.

    Row groups that none of `people` can be in are not read. Raises ValueError for a damaged file,
    FileNotFoundError for one that is gone.
    """
    with name_damage(path), _open(path) as file:
        for group in range(file.num_row_groups):
            if people is None or _may_hold(file.metadata.row_group(group), people):
                rows = file.read_row_group(group, use_threads=False)
                yield from _from_rows(rows, layout, people)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read some columns of all of a file's rows; raises ValueError for a damaged file."""
    with name_damage(path), _open(path) as file:
        return file.read(columns=list(names), use_threads=False)


def count_group_bytes(path: Path, names: Sequence[str]) -> list[int]:
    """Return the uncompressed bytes of some columns together, by row group; raises ValueError for a damaged file."""
    with name_damage(path), _open(path) as file:
        groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
        return [
            sum(
                column.total_uncompressed_size
                for column in map(group.column, range(group.num_columns))
                if column.path_in_schema.partition(".")[0] in names
            )
            for group in groups
        ]


def read_groups(path: Path, names: Sequence[str], groups: Sequence[int]) -> Iterator[pa.Table]:
    """Yield some columns of some row groups, one group at a time; raises ValueError for a damaged file."""
    if not groups:
        return
    with name_damage(path), _open(path) as file:
        for group in groups:
            yield file.read_row_group(group, columns=list(names), use_threads=False)


@contextmanager
def name_damage(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a bad file into one sentence that names it.

    Raises FileNotFoundError where the file is gone, PermissionError where it is another user's, ValueError where it is
    damaged. A ConnectionError passes through unchanged.
    """
    try:
        yield
    except ConnectionError:
        raise  # what cannot be reached need not be damaged
    except PermissionError as error:
        raise PermissionError(
            f"{path} cannot be read by this user; let its owner give the right to read it and the folders above it."
        ) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is gone from the store; run `gaitforge ingest run.toml` again."
        ) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is damaged ({reason}); run `gaitforge ingest run.toml` again."
        ) from error


def _bytes_of(places: Iterable[Place]) -> int:
    return sum(place.size for place in places)


def _type_of(name: str, kinds: Collection[type]) -> pa.DataType:
    if not kinds or set(kinds) == {str}:
        return pa.string()
    if str in kinds:
        raise ValueError(
            f"The column '{name}' holds both text and numbers; make it one of them in all files."
        )
    return pa.int64() if set(kinds) == {int} else pa.float64()


def _as_table(group: Sequence[Recording], schema: pa.Schema) -> pa.Table:
    values: dict[str, Any] = {
        "recording": [recording.recording for recording in group],
        "person": [recording.person for recording in group],
        "label": [recording.label for recording in group],
        "frames": [len(recording.positions_TVC) for recording in group],
        "fps": [recording.fps for recording in group],
        "channels": [recording.positions_TVC.shape[2] for recording in group],
        "positions": _lists([recording.positions_TVC for recording in group]),
        "confidence": _lists([recording.confidence_TV for recording in group]),
    }
    further = {
        field.name: _in_column([recording.columns.get(field.name) for recording in group], field)
        for field in schema
        if field.name not in values
    }
    return pa.table(values | further, schema=schema)


def _in_column(values: list[Value], field: pa.Field[Any]) -> list[Value]:
    """Return values as their column takes them: pyarrow makes no number of a whole one of more than 53 bits."""
    if field.type != pa.float64():
        return values
    return [None if value is None else float(value) for value in values]


def _lists(arrays: Sequence[NDArray[np.float32] | None]) -> pa.Array[Any]:
    """Put arrays into one Arrow array of flat lists, null for None; NaN stays NaN."""
    flat = [np.empty(0, np.float32) if array is None else array.ravel() for array in arrays]
    bounds = pa.array(np.cumsum([0, *map(len, flat)], dtype=np.int32), pa.int32())
    # pa.array of the list of arrays does the same a hundred times slower
    values = pa.array(np.concatenate(flat), pa.float32())
    absent = pa.array([array is None for array in arrays], pa.bool_())
    return pa.ListArray.from_arrays(bounds, values, mask=absent)


def _footer_checksum(path: Path) -> str:
    """Return the CRC-32, in hex, of what follows the pages: metadata, its length in four bytes, "PAR1"."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        # a damaged length may point to before the file
        file.seek(max(0, path.stat().st_size - 8 - length))
        return f"{zlib.crc32(file.read()):08x}"


def _open(path: Path) -> pq.ParquetFile:
    # The format has no checksum for the footer: a flipped bit there can hide people from
    # `_may_hold`, and some end the whole process inside pyarrow 26.
    if _footer_checksum(path) != path.stem.rpartition("-")[2]:
        raise ValueError("its footer does not have the checksum in its name")
    # on S3 only the row groups that are asked for are fetched
    source = path.open("rb") if on_s3(path) else path
    return pq.ParquetFile(source, page_checksum_verification=True)


def _may_hold(group: pq.RowGroupMetaData, people: Sequence[str]) -> bool:
    """Tell whether one of `people` (sorted) lies between a row group's first and last person, or these are unknown."""
    held = group.column(list(DESCRIPTION).index("person")).statistics
    if held is None or not held.has_min_max:
        return True
    position = bisect_left(people, str(held.min))
    return position < len(people) and people[position] <= str(held.max)


def _from_rows(
    rows: pa.Table, layout: Layout, people: Sequence[str] | None
) -> Iterator[Recording]:
    described = rows.drop_columns(["positions", "confidence"]).to_pylist()
    further = [name for name in rows.column_names if name not in DESCRIPTION | MOVEMENT]
    movements = zip(rows.column("positions"), rows.column("confidence"), strict=True)
    for row, (positions, confidence) in zip(described, movements, strict=True):
        if people is not None and row["person"] not in people:
            continue
        shape_TV = (row["frames"], layout.joint_count)
        yield Recording(
            recording=row["recording"],
            person=row["person"],
            label=row["label"],
            positions_TVC=_own_array(positions).reshape(*shape_TV, row["channels"]),
            confidence_TV=_own_array(confidence).reshape(shape_TV)
            if confidence.is_valid
            else None,
            fps=row["fps"],
            columns={name: row[name] for name in further},
        )


def _own_array(cell: Any) -> NDArray[np.float32]:
    # a copy: a view would be read-only and keep its whole row group in memory
    return np.array(cell.values, dtype=np.float32)
