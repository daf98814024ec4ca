"""SkeletonStore: a work folder's recordings as Parquet files under a Delta log.

    store.json           what is in force: version of the log, counts, classes, layout
    recordings/          the table, one row per recording (see recording_files.py)
    quarantine.parquet   what each version could not use, and why (see quarantine.py)
    layout.json          a copy of the layout for other programs

Each write is a new version of the whole content, in force once store.json is replaced, which comes
last: a write that is killed leaves the store as it was. Earlier versions stay readable in the log;
`deltalake.DeltaTable(folder / "recordings").vacuum(...)` frees their space when they are old, with
`full=True` also that of files that no version names. Other programs read the table by
`DeltaTable(folder / "recordings", version=...).to_pyarrow_dataset()`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from gaitforge.ahead import AheadInOrder
from gaitforge.layout import Layout
from gaitforge.quarantine import (
    count_reasons,
    forget_refused,
    read_quarantine,
    refuse_too_many,
    write_quarantine,
)
from gaitforge.recording import Recording, Rejected
from gaitforge.recording_files import (
    MOVEMENT,
    Place,
    count_group_bytes,
    cut_row_groups,
    gather_files,
    read_columns,
    read_groups,
    read_recordings,
    write_file,
)
from gaitforge.records.store import STORE, HowRead, StoreInfo
from gaitforge.waiting import Shape, WaitingRecordings
from gaitforge.work import StoreFolder, on_s3, write_json

# About 9 minutes of 22 joints at 30 Hz: in most studies a person fills one group, and what a group
# costs beside its positions (2 kB) stays below a thousandth of it.
GROUP_BYTES = 4 * 2**20
FILE_BYTES = 256 * 2**20
AHEAD_BYTES = 2**20  # no bound: files are written group by group


@dataclass(frozen=True, slots=True)
class SkeletonStore:
    """The recordings in force in `folder`: `write` puts them there, `open` finds them."""

    folder: Path
    info: StoreInfo

    @property
    def layout(self) -> Layout:
        return self.info.layout

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    @classmethod
    def open(cls, folder: Path) -> SkeletonStore:
        """Open the store in `folder`; raises FileNotFoundError before the first ingest."""
        info = STORE.find(StoreFolder(folder).head)
        if info is None:
            raise FileNotFoundError(
                f"There is no store in {folder}; run `gaitforge ingest run.toml` first."
            )
        return cls(folder, info)

    @staticmethod
    def write(
        folder: Path,
        layout: Layout,
        items: Iterable[Recording | Rejected],
        fingerprint: str,
        *,
        read: HowRead | None = None,
        max_quarantined: float = 1.0,
        group_bytes: int = GROUP_BYTES,
        file_bytes: int = FILE_BYTES,
    ) -> StoreInfo:
        """Replace the store's content by `items`, as a new version.

        `fingerprint` stands for the inputs and settings that `items` come from, `read` says how files
        of them were read. A row group and a file end at about `group_bytes` and `file_bytes` of
        positions. Until all are there, and can be sorted by person, recordings wait on the disk (see
        waiting.py): it must have room for them uncompressed.

        Raises ValueError, and leaves the store as it was, where `items` hold no recording, a larger
        share of Rejected than `max_quarantined`, or recordings that do not fit together (joints,
        channels, ids, columns); and whatever `items` raises.
        """
        rejected: list[Rejected] = []
        with WaitingRecordings(folder) as waiting:
            for item in items:
                if isinstance(item, Recording):
                    waiting.add(item)
                else:
                    rejected.append(item)
            refuse_too_many(folder, len(waiting), rejected, max_quarantined)
            order = waiting.sort()
            channels = _check_alike(waiting.shapes(order), layout)
            added = _write_table(folder, waiting, order, group_bytes, file_bytes)
            info = StoreInfo(
                fingerprint=fingerprint,
                version=_version_of(StoreFolder(folder).recordings, added),
                recordings=len(waiting),
                people=waiting.people,
                classes=tuple(sorted(waiting.labels)),
                channels=channels,
                quarantined=len(rejected),
                layout=layout,
                reasons=count_reasons(rejected),
                read=read,
            )
        table = StoreFolder(folder).recordings
        with _in_turn(folder):
            write_quarantine(folder, rejected, info.version)
            # a later version may be in force already, of another writer that was sooner here
            if not info.version < _version_in_force(folder) <= _table(table).version():
                write_json(StoreFolder(folder).layout, layout.as_dict())
                STORE.write(StoreFolder(folder).head, info)
            forget_refused(folder)
        return info

    def read_recordings(self, people: Collection[str] | None = None) -> Iterator[Recording]:
        """Yield all recordings, or those of `people`, in the order of person and id.

        Reads only the row groups that one of `people` may be in, one at a time. Raises ValueError
        where a file is damaged and, after all that was found, KeyError where one of `people` has
        no recording.
        """
        wanted = None if people is None else sorted(set(people))
        absent = set(wanted or ())
        count = 0
        for path in self._paths():
            for recording in read_recordings(path, self.layout, wanted):
                absent.discard(recording.person)
                count += 1
                yield recording
        if wanted is None:
            self._check_count(count)
        if absent:
            raise KeyError(
                f"The store in {self.folder} has no recording of '{min(absent)}'; "
                "take people from its index."
            )

    def read_index(self) -> pa.Table:
        """Read everything but the movements, in the order of `read_recordings`.

        Columns: recording, person, label, frames, fps (Hz, null without a frame rate), and the
        sources' further columns, null where a source has none.
        """
        names = [field.name for field in self._log().schema().fields if field.name not in MOVEMENT]
        table = pa.concat_tables(read_columns(path, names) for path in self._paths())
        self._check_count(len(table))
        return table

    def sample(self, names: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
        """Yield these columns of recordings from all over the store, a row group at a time.

        Row groups are left out at even steps so that what is read, uncompressed, is about
        `most_bytes`; a smaller store is read whole. Raises ValueError where a file is damaged.
        """
        paths = self._paths()
        sizes = [count_group_bytes(path, names) for path in paths]
        step = max(-(-sum(map(sum, sizes)) // most_bytes), 1)
        place = 0
        for path, groups in zip(paths, sizes, strict=True):
            wanted = [n for n in range(len(groups)) if (place + n) % step == 0]
            place += len(groups)
            yield from read_groups(path, names, wanted)

    def read_quarantine(self) -> pa.Table:
        """Read what could not be used, in the columns source, position in it, person, label, reason."""
        return read_quarantine(self.folder, self.info.version)

    def list_files(self) -> list[Path]:
        """List the Parquet files of the version in force, in the order of their rows; raises as `read_index` does."""
        return self._paths()

    def list_unnamed(self) -> list[Path]:
        """List the files of recordings that the version in force does not name: of earlier ones, or of killed writes.

        Raises ValueError where the log cannot be read.
        """
        named = set(self._paths())
        found = StoreFolder(self.folder).recordings.glob("*.parquet")
        return sorted(path for path in found if path not in named)

    def _log(self) -> DeltaTable:
        try:
            return _table(StoreFolder(self.folder).recordings, self.info.version)
        except DeltaError as error:
            raise ValueError(
                f"Version {self.info.version} of the store in {self.folder} cannot be read "
                f"({error}); run `gaitforge ingest run.toml` again."
            ) from error

    def _paths(self) -> list[Path]:
        names = _names(self._log())
        for name in names:
            if name != PurePosixPath(name).name or name == "..":
                raise ValueError(
                    f"The log of the store in {self.folder} names '{name}', which is no file of its "
                    "own; run `gaitforge ingest run.toml` again."
                )
        return [StoreFolder(self.folder).recordings / name for name in names]

    def _check_count(self, count: int) -> None:
        if count != self.info.recordings:
            raise ValueError(
                f"The store in {self.folder} holds {count} recordings instead of "
                f"{self.info.recordings}, so it is damaged; run `gaitforge ingest run.toml` again."
            )


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Let one process at a time put a version in force; on S3 the work folder's lease alone does that."""
    if on_s3(folder):
        yield
        return
    here = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(here, fcntl.LOCK_EX)
        yield
    finally:
        os.close(here)


def _version_in_force(folder: Path) -> int:
    """Return the version of the log that is in force; -1 without one, or where that cannot be read."""
    try:
        info = STORE.find(StoreFolder(folder).head)
    except ValueError:
        return -1
    return -1 if info is None else info.version


def _check_alike(shapes: Iterable[Shape], layout: Layout) -> int:
    """Return how many channels all recordings have."""
    ids: set[str] = set()
    first: Shape | None = None
    for shape in shapes:
        first = first or shape
        if shape.joints != layout.joint_count:
            raise ValueError(
                f"The recording '{shape.recording}' has {shape.joints} joints, but the layout "
                f"'{layout.name}' has {layout.joint_count}; choose the layout it was made with."
            )
        if shape.channels != first.channels:
            raise ValueError(
                f"The recording '{shape.recording}' has {shape.channels} channels, but "
                f"'{first.recording}' has {first.channels}; ingest them apart."
            )
        if shape.recording in ids:
            raise ValueError(f"The id '{shape.recording}' occurs twice; make ids unique.")
        ids.add(shape.recording)
    return first.channels if first else 0


def _write_table(
    folder: Path, waiting: WaitingRecordings, order: list[int], group_bytes: int, file_bytes: int
) -> str:
    """Make the waiting recordings the content of a new version, and return the name of its first file.

    Files are written on as many threads as there are cores: most of it is Arrow's compression.
    """
    schema = waiting.columns.make_schema()
    table = StoreFolder(folder).recordings
    _make_table_folder(table)
    write_id = uuid.uuid4().hex
    groups = cut_row_groups(waiting.places(order), group_bytes)
    with ExitStack() as undo:
        undo.callback(_remove_files, table, write_id)
        added: list[AddAction] = []
        with AheadInOrder[AddAction](AHEAD_BYTES) as ahead:
            for number, groups_of_file in enumerate(gather_files(groups, file_bytes)):
                stem = f"part-{number:05d}-{write_id}"
                write = partial(_write_file, table, stem, schema, waiting, groups_of_file)
                added += ahead.add(write, 0)
            added += ahead.finish()
        _commit(table, schema, added)
        undo.pop_all()
    return added[0].path


def _write_file(
    table: Path,
    stem: str,
    schema: pa.Schema,
    waiting: WaitingRecordings,
    groups: Sequence[Sequence[Place]],
) -> AddAction:
    read = ([waiting.read(place.number) for place in group] for group in groups)
    return _add_action(write_file(table, stem, schema, read), groups)


def _make_table_folder(table: Path) -> None:
    # delta-rs decodes it in a path with spaces, say, and then looks elsewhere (seen in 1.6.6)
    if "%" in str(table.resolve()):
        raise ValueError(f"The path {table} has a '%', which the Delta log misreads; rename it.")
    table.mkdir(parents=True, exist_ok=True)


def _add_action(path: Path, groups: Sequence[Sequence[Place]]) -> AddAction:
    """Describe a written file for the log; by first and last person, other programs can skip files."""
    status = path.stat()
    statistics = {
        "numRecords": sum(map(len, groups)),
        "minValues": {"person": groups[0][0].person},
        "maxValues": {"person": groups[-1][-1].person},
        "nullCount": {"person": 0},
    }
    return AddAction(
        path=path.name,
        size=status.st_size,
        partition_values={},
        modification_time=int(status.st_mtime * 1000),
        data_change=True,
        stats=json.dumps(statistics),
    )


def _remove_files(table: Path, write_id: str) -> None:
    for path in table.glob(f"*{write_id}*"):
        path.unlink()


def _commit(table: Path, schema: pa.Schema, added: list[AddAction]) -> None:
    """Make `added` the whole content of a new version, all or nothing; raises ValueError where the log takes none."""
    try:
        # not write_deltalake: its writer knows neither page checksums nor where to cut row groups
        create_table_with_add_actions(
            str(table),
            Schema.from_arrow(schema),
            added,
            mode="overwrite",
            # else the log forgets versions older than a month
            configuration={"delta.enableExpiredLogCleanup": "false"},
            storage_options=_options(table),
        )
    except (DeltaError, OSError) as error:
        if "os error 28" in str(error):  # so the log tells of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(table)) from error
        if isinstance(error, OSError):
            raise
        raise ValueError(
            f"The log of {table} took no new version ({error}); "
            "run `gaitforge ingest run.toml` again while no other one is running."
        ) from error


def _version_of(table: Path, name: str) -> int:
    """Find the version that holds a file just committed: another write may have followed already."""
    newest = _table(table).version()
    # not by DeltaTable.history(), which is empty where the path has a '#' or '?' (seen in 1.6.6)
    return next(v for v in range(newest, -1, -1) if name in _names(_table(table, v)))


def _table(folder: Path, version: int | None = None) -> DeltaTable:
    return DeltaTable(str(folder), version=version, storage_options=_options(folder))


def _options(folder: Path) -> dict[str, str] | None:
    if not on_s3(folder):
        return None
    from gaitforge.s3 import own_options

    return own_options()


def _names(log: DeltaTable) -> list[str]:
    """List a version's Parquet files, in the order of their rows."""
    return sorted(map(str, pa.table(log.get_add_actions()).column("path").to_pylist()))
