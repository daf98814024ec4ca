"""Cache of the windows of a split on disk, memory-mapped: a folder per split and settings, within it one per role.

    <cache>/windows/<key>/meta.json            normalisation, classes, layout, settings, split
    <cache>/windows/<key>/<role>/joints.npy    float32 [N, T, V, C], clean and not scaled
                                 seen.npy      bool [N, T, V]
                                 place.npy     float32 [N, C], what views turn about
                                 key.npy       int64 [N], by which views are drawn
                                 label.npy     int64 [N], index into the classes
                                 recording.npy int64 [N], index into recordings.json
                                 recordings.json  ids and people of the role's recordings

The key changes with everything that the windows depend on: a folder is never out of date and may
be deleted at any time. A role is built when it is first asked for, so the confirm people's windows
do not exist before somebody opens them. Windows are turned into views and scaled, by the training people's mean and
deviation, when they are taken.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.arrays import Damaged, check_array, map_array, new_array
from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation, fit_normalisation, normalise
from gaitforge.provenance import Provenance
from gaitforge.recording import Recording
from gaitforge.records.json_file import Unreadable
from gaitforge.records.split import Split
from gaitforge.records.windows import ROLE_RECORDINGS, WINDOWS, RoleRecordings, WindowsHead
from gaitforge.weights import hash_file
from gaitforge.windows import (
    Bools,
    FilledRecording,
    Floats,
    WindowSettings,
    check_rates,
    prepare,
    window_times,
)
from gaitforge.work import DRAFT, RoleFolder, WindowsFolder, as_json, fingerprint

# Raise it whenever the code makes other windows of the same recordings and settings.
FORMAT = 2

ARRAYS = ("joints", "seen", "place", "key", "label", "recording")
# among the hashes of a role's files, the one of what it is to be scaled by
SCALED_BY = "normalisation"
RecordingsOf = Callable[[Collection[str]], Iterable[Recording]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowSet:
    """The windows of one role, memory-mapped and read-only.

    `joints` [N, T, V, C] are clean and not scaled; they mean nothing where not `seen` [N, T, V]. Bodies that are not
    centred stand at `place_NC`. `key_N` stands for the recording and the window's place in it. `label_N` indexes the
    classes, `recording_N` indexes `recordings`, and `persons` are the people of `recordings`.
    """

    joints: Floats
    seen: Bools
    place_NC: Floats
    key_N: NDArray[np.int64]
    normalisation: Normalisation
    label_N: NDArray[np.int64]
    recording_N: NDArray[np.int64]
    recordings: tuple[str, ...]
    persons: tuple[str, ...]

    @property
    def n(self) -> int:
        """Return the number of windows."""
        return len(self.joints)

    def score(self, rows: slice | NDArray[np.int64]) -> tuple[Floats, Bools]:
        """Return some windows as z-scores [n, T, V, C], 0 where not seen [n, T, V]."""
        seen = self.seen[rows]
        return normalise(self.joints[rows], seen, self.normalisation), seen


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowCache:
    """A split's windows; `open_role` opens those of one role and builds them where they are missing.

    `recordings` gives the recordings of people, the same and in the same order at every call, as
    `SkeletonStore.recordings` does.
    """

    folder: Path
    split: Split
    layout: Layout
    classes: tuple[str, ...]
    settings: WindowSettings
    normalisation: Normalisation
    recordings: RecordingsOf

    def open_role(self, role: str) -> WindowSet:
        """Open the windows of "train", "validation" or "confirm"; build them first where they are missing.

        Raises KeyError for another role, ValueError where the role has no recordings or one of
        them does not fit the layout or the classes.
        """
        people = self.split.people(role)
        folder = self.folder / role
        if not is_built(self.folder, role):
            shutil.rmtree(folder, ignore_errors=True)
            sweep_windows(self.folder.parents[1])
            with _draft(folder) as draft:
                self._write(draft, people)
                _rename_unless_there(draft, folder)
        return open_role(self.folder, role)

    def _write(self, folder: Path, people: tuple[str, ...]) -> None:
        """Write one role's files, recording by recording: the arrays need not fit the memory."""
        ids, persons, labels, counts = [], [], [], []
        for recording in _recordings_of(people, self.recordings):
            ids.append(recording.recording)
            persons.append(recording.person)
            labels.append(_class_index(recording, self.classes))
            counts.append(len(window_times(recording, self.settings)))
        if not ids:
            raise ValueError(
                f"The store has no recording of the people {', '.join(people[:4])} of split "
                f"'{self.split.name}', but a role needs some; run the split stage again."
            )

        frames = (sum(counts), self.settings.length)
        shape_VC = self.normalisation.mean_VC.shape
        files = RoleFolder(folder)
        joints = new_array(files.array("joints"), np.float32, (*frames, *shape_VC))
        seen = new_array(files.array("seen"), np.bool_, (*frames, shape_VC[0]))
        place_NC = np.zeros((frames[0], shape_VC[1]), dtype=np.float32)
        keys: list[int] = []
        end = 0
        for recording, count in zip(_recordings_of(people, self.recordings), counts, strict=True):
            motion = FilledRecording.from_recording(recording, self.layout, self.settings)
            start, end = end, end + count
            windows, seen[start:end] = motion.cut(window_times(recording, self.settings))
            joints[start:end], place_NC[start:end] = windows, motion.find_place(windows)
            keys += (make_key(recording.recording, window) for window in range(count))
        joints.flush()
        seen.flush()
        np.save(files.array("place"), place_NC)
        np.save(files.array("key"), np.array(keys, dtype=np.int64))
        np.save(files.array("label"), np.repeat(np.array(labels, dtype=np.int64), counts))
        np.save(files.array("recording"), np.repeat(np.arange(len(ids), dtype=np.int64), counts))
        hashes = {name: hash_file(files.array(name)) for name in ARRAYS}
        hashes[SCALED_BY] = _hash_normalisation(self.normalisation)
        ROLE_RECORDINGS.write(
            files.recordings,
            RoleRecordings(recordings=tuple(ids), persons=tuple(persons), sha256=hashes),
        )


def build_windows(
    cache: Path,
    *,
    store_fingerprint: str,
    split: Split,
    layout: Layout,
    classes: tuple[str, ...],
    settings: WindowSettings,
    recordings: RecordingsOf,
) -> WindowCache:
    """Open the window cache of a split, or begin it by fitting its normalisation on the training people alone.

    Calling it again, in this process or another, reads one small file. No windows are built before
    `WindowCache.role` asks for them. Raises ValueError where the split was made for another store or a
    recording does not fit.
    """
    if split.store != store_fingerprint:
        raise ValueError(
            f"Split '{split.name}' was made for the store {split.store}, but the store is now "
            f"{store_fingerprint}; run the split stage again."
        )
    folder = (
        cache / "windows" / fingerprint(collect_window_parts(split, layout, classes, settings))
    )
    meta = WindowsFolder(folder).head
    head = find_head(folder)
    if head is None:
        prepared = _Prepared(split.people("train"), recordings, layout, settings)
        fitted = fit_normalisation(prepared)
        check_rates(prepared.rates, settings)
        head = WindowsHead(
            format=FORMAT, store=split.store, roles=split.roles, settings=settings, layout=layout, classes=classes,
            split=split.name, normalisation=fitted,
        )  # fmt: skip
        WINDOWS.write(meta, head)
    return WindowCache(
        folder=folder,
        split=split,
        layout=layout,
        classes=classes,
        settings=settings,
        normalisation=head.normalisation,
        recordings=recordings,
    )


class _Prepared:
    """Clean windows of people, recording by recording, as often as they are asked for; notes the frame rates."""

    def __init__(
        self,
        people: tuple[str, ...],
        recordings: RecordingsOf,
        layout: Layout,
        settings: WindowSettings,
    ) -> None:
        self.people, self.recordings = people, recordings
        self.layout, self.settings = layout, settings
        self.rates: set[float | None] = set()

    def __iter__(self) -> Iterator[tuple[Floats, Bools]]:
        for recording in _recordings_of(self.people, self.recordings):
            self.rates.add(recording.fps)
            yield prepare(recording, self.layout, self.settings)


def make_key(recording: str, window: int) -> int:
    """Return a number of 64 bits (signed) that stands for a window, whatever other recordings there are."""
    digest = hashlib.sha256(f"{window} {recording}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def collect_window_parts(
    split: Split, layout: Layout, classes: tuple[str, ...], settings: WindowSettings
) -> dict[str, Any]:
    """Return all that the windows of a split depend on; their key is its fingerprint."""
    return {
        "format": FORMAT,
        "store": split.store,
        "roles": dict(split.roles),
        "settings": settings.as_dict(),
        "layout": layout.as_dict(),
        "classes": list(classes),
    }


def window_provenance(
    split: Split, layout: Layout, classes: tuple[str, ...], settings: WindowSettings
) -> Provenance:
    """Return the provenance that a split's windows have, or will have once they are built.

    They have seen the training people, by whom they are scaled.
    """
    return Provenance.of(
        fingerprint(collect_window_parts(split, layout, classes, settings)),
        {
            "recordings": Provenance(identity=split.store),
            "split": Provenance(identity=split.identity),
        },
        seen=split.people("train"),
    )


def find_head(folder: Path) -> WindowsHead | None:
    """Read the description of a cache folder; None where there is none.

    Raises ValueError where it describes other windows than those that the folder is named after.
    """
    path = WindowsFolder(folder).head
    head = WINDOWS.find(path)
    if head is None:
        return None
    split = Split(name=head.split, rule={}, store=head.store, roles=head.roles)
    parts = {
        **collect_window_parts(split, head.layout, head.classes, head.settings),
        "format": head.format,
    }
    if fingerprint(parts) != folder.name:
        raise WINDOWS.refusal(path, "it tells of other windows than its folder is named after")
    return head


def is_built(folder: Path, role: str) -> bool:
    """Tell whether a role has been built in the cache folder of a split, and by no older version."""
    try:
        return ROLE_RECORDINGS.find(RoleFolder(folder / role).recordings) is not None
    except Unreadable:
        return False


def open_role(folder: Path, role: str) -> WindowSet:
    """Open the windows of a role that has been built in the cache folder of a split.

    Classes and recordings are held against their hashes here; the windows themselves, which may be large, by
    `check_role`. Raises FileNotFoundError where the role has not been built, ValueError where its files do not
    belong together.
    """
    files = RoleFolder(folder / role)
    if not files.root.is_dir():
        raise FileNotFoundError(
            f"The windows {files.root} are not there; run the stage again to build them."
        )
    names = ROLE_RECORDINGS.read(files.recordings)
    try:
        for name in ("label", "recording", "key"):
            check_array(files.array(name), names.sha256.get(name), np.int64, (None,))
        label_N = map_array(files.array("label"), np.int64, (None,), whole=True)
        (n,) = label_N.shape
        recording_N = map_array(files.array("recording"), np.int64, (n,), whole=True)
        joints = map_array(files.array("joints"), np.float32, (n, None, None, None))
        seen = map_array(files.array("seen"), np.bool_, joints.shape[:-1])
        place_NC = map_array(files.array("place"), np.float32, (n, joints.shape[-1]), whole=True)
        key_N = map_array(files.array("key"), np.int64, (n,), whole=True)
    except Damaged as error:
        raise _built_anew(error, folder) from error
    head = find_head(folder)
    if head is None:
        raise FileNotFoundError(
            f"The windows {folder} are gone; run the stage again to build them."
        )
    return WindowSet(
        joints=joints,
        seen=seen,
        place_NC=place_NC,
        key_N=key_N,
        normalisation=head.normalisation,
        label_N=label_N,
        recording_N=recording_N,
        recordings=names.recordings,
        persons=names.persons,
    )


def check_role(folder: Path, role: str) -> None:
    """Raise ValueError where any array of a role that has been built is not the one that was written.

    So it is where they would be scaled by another normalisation than they were built for. Each array is read once in
    a process, unless it changes.
    """
    files = RoleFolder(folder / role)
    names = ROLE_RECORDINGS.read(files.recordings)
    head = find_head(folder)
    if head and _hash_normalisation(head.normalisation) != names.sha256.get(SCALED_BY):
        fault = f"{WindowsFolder(folder).head} tells of another normalisation than {role} was built for"
        raise _built_anew(Damaged(fault), folder)
    for name in ARRAYS:
        path = files.array(name)
        if not path.is_file():
            raise _built_anew(Damaged(f"{path} is not there"), folder)
        stat = path.stat()
        if _hashed(path, stat.st_mtime_ns, stat.st_size) != names.sha256.get(name):
            fault = f"{path} holds another array than {files.recordings.name} tells of"
            raise _built_anew(Damaged(fault), folder)


def _hash_normalisation(normalisation: Normalisation) -> str:
    return hashlib.sha256(as_json(normalisation.as_dict())).hexdigest()


@lru_cache(maxsize=64)
def _hashed(path: Path, changed_ns: int, size: int) -> str:
    return hash_file(path)


def _built_anew(fault: Damaged, folder: Path) -> ValueError:
    return ValueError(
        f"{fault}; remove the folder {folder} and run the stage again, which builds the windows anew."
    )


def _recordings_of(people: tuple[str, ...], recordings: RecordingsOf) -> Iterator[Recording]:
    """Yield the recordings of these people; raises ValueError where one of somebody else is among them."""
    for recording in recordings(people):
        if recording.person not in people:
            raise ValueError(
                f"Recording '{recording.recording}' of person '{recording.person}' came for the "
                f"people {', '.join(people[:4])}, but roles must not share people; "
                "filter by person."
            )
        yield recording


def _class_index(recording: Recording, classes: tuple[str, ...]) -> int:
    if recording.label not in classes:
        raise ValueError(
            f"Recording '{recording.recording}' has the label '{recording.label}', but the "
            f"classes are {', '.join(classes)}; use the classes of the recording's store."
        )
    return classes.index(recording.label)


def sweep_windows(cache: Path) -> None:
    """Remove the drafts of windows whose builder was killed; one that a living process builds is locked by it."""
    for draft in list(cache.glob("windows/*/.*.*")):
        if not DRAFT.fullmatch(draft.name):
            continue
        with suppress(OSError), _opened(draft) as number:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, locked, for the block to fill and to move there; else it is removed."""
    with ExitStack() as held:
        draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        while not draft.is_dir():  # swept before it was locked
            held.close()
            draft.mkdir(parents=True)
            with suppress(OSError):  # without locks nobody sweeps
                fcntl.flock(held.enter_context(_opened(draft)), fcntl.LOCK_EX)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield number
    finally:
        os.close(number)


def _rename_unless_there(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # Another process has built the same windows meanwhile, and its folder serves as well.
        if not folder.is_dir():
            raise
