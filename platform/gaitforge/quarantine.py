"""The quarantine: recordings of the sources that could not be used and why, and when there are too many of them.

quarantine.parquet   what each version of the store could not use
refused.csv          what an ingest could not use that was refused because that was too much;
                     the store stays as it was before, and the next version written removes this file
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gaitforge.recording import Rejected, find_kind
from gaitforge.recording_files import name_damage
from gaitforge.sentences import escape_cell
from gaitforge.work import StoreFolder, for_arrow, write_parquet, write_whole

_COLUMNS: dict[str, pa.DataType] = {
    "version": pa.int64(),
    "source": pa.string(),
    "position": pa.int64(),
    "person": pa.string(),
    "label": pa.string(),
    "reason": pa.string(),
}


def count_reasons(rejected: Iterable[Rejected]) -> dict[str, int]:
    """Count the rejected recordings by kind of reason, the most frequent first."""
    return dict(Counter(find_kind(item.reason) for item in rejected).most_common())


def in_words(reasons: Mapping[str, int]) -> str:
    """Join kinds of reasons with their counts, as "12 x one kind, 3 x another"."""
    return ", ".join(f"{count:,} x {kind}" for kind, count in reasons.items())


def refuse_too_many(
    folder: Path, recordings: int, rejected: Sequence[Rejected], most: float
) -> None:
    """Raise ValueError where `rejected` are a larger share of all recordings than `most`, or where none can be used.

    `recordings` is the number of those that can be used. The rejected, if any, are then listed in
    refused.csv of the store's `folder`.
    """
    total = recordings + len(rejected)
    if recordings and len(rejected) <= most * total:
        return
    if not total:
        raise ValueError("There is no recording to store; name at least one file that holds some.")
    path = StoreFolder(folder).refused
    write_whole(path, _as_csv(rejected))
    why = in_words(count_reasons(rejected))
    if not recordings:
        raise ValueError(
            f"None of the {total:,} recordings can be used ({why}); mend the files, of which {path} "
            "names each recording."
        )
    raise ValueError(
        f"Of {total:,} recordings {len(rejected):,} cannot be used ({why}), which is more than "
        f"ingest.max_quarantined allows ({most:g} of all); mend the files, of which {path} names each "
        "of these recordings, or raise the limit."
    )


def write_quarantine(folder: Path, rejected: Sequence[Rejected], version: int) -> None:
    """Add what a version of the store could not use to the quarantine, which keeps that of earlier versions.

    A quarantine that is damaged is begun anew.
    """
    path = StoreFolder(folder).quarantine
    rows = [{"version": version, **asdict(item)} for item in rejected]
    tables = [pa.Table.from_pylist(rows, schema=pa.schema(_COLUMNS))]
    with suppress(FileNotFoundError, ValueError):  # none yet, or damaged: an ingest mends that
        tables.insert(0, _read(path))
    write_parquet(path, pa.concat_tables(tables))


def forget_refused(folder: Path) -> None:
    """Remove refused.csv, which an earlier, refused ingest has left; called once an ingest has succeeded."""
    StoreFolder(folder).refused.unlink(missing_ok=True)


def read_quarantine(folder: Path, version: int) -> pa.Table:
    """Read what a version could not use, in the columns source, position in it, person, label, reason."""
    table = _read(StoreFolder(folder).quarantine)
    return table.filter(pc.field("version") == version).drop_columns(["version"])


def _read(path: Path) -> pa.Table:
    with name_damage(path):
        return pq.read_table(
            for_arrow(path), schema=pa.schema(_COLUMNS), page_checksum_verification=True
        )


def _as_csv(rejected: Sequence[Rejected]) -> bytes:
    text = io.StringIO()
    names = [name for name in _COLUMNS if name != "version"]
    writer = csv.writer(text)
    writer.writerow(names)
    for item in rejected:
        values = (getattr(item, name) for name in names)
        writer.writerow(
            escape_cell(value) if isinstance(value, str) else value for value in values
        )
    return text.getvalue().encode()
