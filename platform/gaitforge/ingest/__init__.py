"""READERS: one reader per file format; a new one is a new file here and a line in the table.

What holds for recordings of whatever format is checked in `read_files`, behind all readers.
"""

from __future__ import annotations

import glob
import inspect
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Protocol, cast

from gaitforge.ahead import AheadInOrder
from gaitforge.ingest.alphapose import read_alphapose
from gaitforge.ingest.bvh import parse_bvh
from gaitforge.ingest.c3d import parse_c3d
from gaitforge.ingest.cleaning import clean
from gaitforge.ingest.conversion import convert_all, map_joints
from gaitforge.ingest.copies import Copies, Known, Sketch, sketch
from gaitforge.ingest.csv_files import read_csv
from gaitforge.ingest.mot import parse_mot
from gaitforge.ingest.motion import MotionReader
from gaitforge.ingest.mvnx import parse_mvnx
from gaitforge.ingest.npy import find_labels, read_npy
from gaitforge.ingest.npz import read_npz
from gaitforge.ingest.ntu import read_ntu
from gaitforge.ingest.openpose import list_frames, read_openpose
from gaitforge.ingest.options import ReadOptions, Watched, WatchedPoints
from gaitforge.ingest.people import refuse_look_alikes, stands_for_none
from gaitforge.ingest.pyskl import read_pyskl
from gaitforge.ingest.tables import read_parquet_table
from gaitforge.ingest.trc import parse_trc
from gaitforge.layout import LAYOUTS, Layout, read_layout
from gaitforge.quality import QualitySettings, measure_all, note_numbers
from gaitforge.recording import Recording, Rejected
from gaitforge.regular_file import check_regular, spell_name

__all__ = [
    "READERS", "RULES", "ReadOptions", "Reader", "check_paths", "check_reader", "file_names", "list_files",
    "parts_of", "read_file", "read_files", "suffix_of",
]  # fmt: skip

# Goes up whenever the same files give other recordings: what was read by older rules is read again.
RULES = 2

# Recordings that are looked at together: enough that the work is long against the call of a function, and that the
# arrays still lie in a core's cache.
CHUNK, CHUNK_BYTES = 32, 2**20
AHEAD_BYTES = 64 * 2**20  # of positions, read before the recordings that come first are done
BROKEN = (ValueError, OSError, KeyError)  # what readers raise about a file


class Reader(Protocol):
    """Gives one item per recording, in the file's order.

    Raises ValueError or FileNotFoundError before the first item where the file as a whole is at
    fault. Where not `labelled`, a file without classes and persons is none: they are "unknown".
    Ids that the file does not tell begin with `name`, and with the file's own where that is None.
    """

    def __call__(
        self,
        path: Path,
        layout: Layout,
        options: ReadOptions,
        *,
        labelled: bool = True,
        name: str | None = None,
    ) -> Iterator[Recording | Rejected]: ...


READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".c3d": MotionReader(parse_c3d),
    ".trc": MotionReader(parse_trc),
    ".mot": MotionReader(parse_mot),
    ".sto": MotionReader(parse_mot),
    ".bvh": MotionReader(parse_bvh),
    ".mvnx": MotionReader(parse_mvnx),
    ".csv": MotionReader(read_csv),
    ".tsv": MotionReader(read_csv),
    ".parquet": MotionReader(read_parquet_table),
    ".json": read_alphapose,
    ".npy": read_npy,
    ".pkl": read_pyskl,
    ".pickle": read_pyskl,
    ".skeleton": read_ntu,
    "/": read_openpose,
}


def suffix_of(path: Path) -> str:
    """Return the key of READERS for a path: "/" for a folder, else its suffix in lower case."""
    return "/" if os.path.isdir(path) else path.suffix.lower()


def parts_of(path: Path) -> list[Path]:
    """List the files of which a path of recordings is read: a folder's frames, and an .npy with its classes."""
    match suffix_of(path):
        case "/":
            return list_frames(path)
        case ".npy" if (labels := find_labels(path)).exists():
            return [path, labels]
    return [path]


def check_reader(reader: object) -> Reader:
    """Return what READERS may hold; raises ValueError for anything else."""
    if not callable(reader):
        raise ValueError(f"{reader!r} is no function.")
    try:
        inspect.signature(reader).bind(
            Path(), LAYOUTS["coco17"], ReadOptions(), labelled=True, name=None
        )
    except TypeError as error:
        raise ValueError(
            f"it must take (path, layout, options, *, labelled, name), but {error}."
        ) from error
    return cast(Reader, reader)


def read_files(
    paths: Sequence[Path],
    layout: Layout,
    options: ReadOptions,
    *,
    labelled: bool = True,
    distinct_people: Sequence[Collection[str]] = (),
    quality: QualitySettings | None = None,
) -> Iterator[Recording | Rejected]:
    """Yield the recordings of all files, one by one; an id that occurred before makes one a Rejected.

    What stands for "not found" in the files is missing in the recordings (see cleaning.py). With `quality`, they have
    its numbers as columns, and one that exceeds what it refuses is a Rejected.

    Of `labelled` recordings, more must hold: a copy of an earlier one of the same person and class
    is a Rejected, and so is one whose person or class stands for "no value". New recordings, which
    nobody has given a class yet, are not `labelled`.

    Raises, before any file is read, KeyError for a suffix without a reader, FileNotFoundError for
    a missing file and ValueError for one named twice, or for what is no file (a pipe, or a folder
    without frames).
    What a reader raises about a later file comes when that file's turn comes. ValueError comes
    after the last recording where ids look alike that `distinct_people` does not tell apart, a
    copy has another person or class, `relabel` names a class that no recording has, or `joints` a
    point that no file has.
    """
    check_paths(paths)
    if labelled and (options.relabel or options.joints):
        classes, points = Watched(options.relabel), WatchedPoints(options.joints)
        options = replace(options, relabel=classes, joints=points)
        read = _read_in_turn(paths, layout, options, labelled, quality)
        checked = _then(_check(read, distinct_people), classes.refuse_unused)
        return _then(checked, points.refuse_unused)
    items = _read_in_turn(paths, layout, options, labelled, quality)
    return _check(items, distinct_people) if labelled else (looked.item for looked in items)


def read_file(
    path: Path,
    layout: Layout,
    options: ReadOptions,
    *,
    source: Layout | None,
    labelled: bool,
    name: str,
) -> Iterator[Recording | Rejected]:
    """Yield a file's recordings with the joints of `layout`; the file has those of `source` where that is given.

    What stands for "not found" in the file is missing (see cleaning.py). Raises as readers do, and ValueError where the
    two layouts share no joint.
    """
    if source is not None:
        map_joints(source, layout)
    own = layout if source is None else source
    items = READERS[suffix_of(path)](path, own, options, labelled=labelled, name=name)
    return (
        done
        for position, item in enumerate(items)
        for done in _finish_reading([item], position, path, layout, source)
    )


def _finish_reading(
    items: Sequence[Recording | Rejected],
    first: int,
    path: Path,
    layout: Layout,
    source: Layout | None,
) -> list[Recording | Rejected]:
    """Do what follows a reader, whichever it was: clean, then convert. `first` is the position of the first item."""
    # before any joint becomes the mean of several
    cleaned = _clean_all(items, layout if source is None else source, path, first)
    if source is None:
        return list(cleaned)
    return list(convert_all(cleaned, source, layout, spell_name(path), first))


def check_paths(paths: Sequence[Path], remedy: str = "mend its path in the settings") -> None:
    """Raise what `read_files` raises before any file is read; `remedy` says what to do about a missing one."""
    for path in paths:
        if (suffix := suffix_of(path)) not in READERS:
            raise KeyError(
                f"No reader for '{path.suffix}' ({path.name}); known are {', '.join(READERS)}; "
                "convert the file, or add a reader in gaitforge/ingest/__init__.py."
            )
        if suffix == "/":
            list_frames(path, remedy)
        else:
            check_regular(path, "The recordings file", remedy)
    places: set[str] = set()
    for path in paths:
        if (place := os.path.abspath(path)) in places:
            raise ValueError(f"The recordings file {path} is named twice; name it once.")
        places.add(place)


def list_files(names: Sequence[str]) -> list[Path]:
    """List the files that names or patterns stand for ("walks/**/*.c3d"), in the order of the names and of their paths.

    A name with * ? or [ that is a file's own is no pattern. Raises FileNotFoundError for a pattern that no file fits.
    """
    files: list[Path] = []
    seen: set[Path] = set()
    for name in names:
        if not glob.has_magic(name) or os.path.lexists(name):
            found = [Path(name)]
        else:
            fitting = sorted(map(Path, glob.glob(name, recursive=True)))
            found = [path for path in fitting if path not in seen]
            if not fitting:
                raise FileNotFoundError(
                    f"No file fits the pattern {name}; mend it in the settings, whose folder it is taken from."
                )
        files += found
        seen.update(found)
    return files


def file_names(paths: Sequence[Path]) -> list[str]:
    """Name each file in ids: its name, and as many folders as tell it from the others.

    Folders are named from the one that holds all files of that name, so that the ids stay as they
    are when everything is moved. Files of one folder are told apart by their suffix.
    """
    files = [PurePath(os.path.abspath(path)) for path in paths]
    namesakes: defaultdict[str, list[int]] = defaultdict(list)
    for n, file in enumerate(files):
        namesakes[file.stem].append(n)
    names = [spell_name(file.stem) for file in files]
    for group in namesakes.values():
        if len(group) == 1:
            continue
        shared = len(PurePath(os.path.commonpath([files[n] for n in group])).parts)
        below = {n: files[n].parent.parts[shared:] for n in group}
        for count in range(1, 1 + max(map(len, below.values()))):
            longer = {n: (*below[n][-count:], files[n].stem) for n in group}
            if len(set(longer.values())) == len(group):
                break
        else:
            longer = {n: (*below[n], files[n].name) for n in group}
        for n in group:
            names[n] = spell_name("/".join(longer[n]))
    return names


@dataclass(frozen=True, slots=True)
class _Looked:
    """An item of a file with what is worked out of it alone."""

    path: Path
    position: int
    item: Recording | Rejected
    numbers: Mapping[str, float] | None
    """Of its quality, where that is asked for."""
    sketch: Sketch | None


def _read_in_turn(
    paths: Sequence[Path],
    layout: Layout,
    options: ReadOptions,
    labelled: bool,
    quality: QualitySettings | None,
) -> Iterator[_Looked]:
    """Yield every item; one whose id occurred before, or that quality refuses, is a Rejected."""
    seen: set[str] = set()
    for looked in _look_at_all(paths, layout, options, labelled, quality is not None):
        item, path, position = looked.item, looked.path, looked.position
        if isinstance(item, Recording):
            if item.recording in seen:
                reason = f"the id occurs twice: '{item.recording}'"
                looked = replace(looked, item=_reject(item, path, position, reason))
            elif quality is not None and looked.numbers is not None:
                try:
                    noted: Recording | Rejected = note_numbers(item, looked.numbers, quality)
                except ValueError as error:
                    noted = _reject(item, path, position, str(error))
                looked = replace(looked, item=noted)
            seen.add(item.recording)
        yield looked


def _look_at_all(
    paths: Sequence[Path], layout: Layout, options: ReadOptions, labelled: bool, measured: bool
) -> Iterator[_Looked]:
    """Yield the items of all files, in order, cleaned, converted and measured, on as many threads as there are cores.

    Readers run on this thread; what they raise comes behind the items that they gave before.
    """
    source = read_layout(options.from_layout) if options.from_layout else None
    own = layout if source is None else source
    with AheadInOrder[list[_Looked]](AHEAD_BYTES) as ahead:
        for path, name in zip(paths, file_names(paths), strict=True):
            if source is not None:
                map_joints(source, layout)
            look = partial(_look_at, path, layout, source, labelled, measured)
            read = partial(
                READERS[suffix_of(path)], path, own, options, labelled=labelled, name=name
            )
            yield from _look_at_file(read, look, ahead)
        for looked in ahead.finish():
            yield from looked


def _look_at_file(
    read: Callable[[], Iterator[Recording | Rejected]],
    look: Callable[[int, Sequence[Recording | Rejected]], list[_Looked]],
    ahead: AheadInOrder[list[_Looked]],
) -> Iterator[_Looked]:
    # a function of its own, so that a file's arrays are gone before the next is read
    try:
        for first, some in _in_chunks(read()):
            for looked in ahead.add(partial(look, first, some), sum(map(_count_bytes, some))):
                yield from looked
    except BROKEN:
        for looked in ahead.finish():
            yield from looked
        raise


def _in_chunks(
    items: Iterator[Recording | Rejected],
) -> Iterator[tuple[int, list[Recording | Rejected]]]:
    """Yield items a few at a time, with the position of the first; what is raised comes behind those before."""
    chunk: list[Recording | Rejected] = []
    first = size = 0
    try:
        for item in items:
            chunk.append(item)
            size += _count_bytes(item)
            if len(chunk) == CHUNK or size >= CHUNK_BYTES:
                yield first, chunk
                first, chunk, size = first + len(chunk), [], 0
    except BROKEN:
        if chunk:
            yield first, chunk
        raise
    if chunk:
        yield first, chunk


def _count_bytes(item: Recording | Rejected) -> int:
    return item.positions_TVC.nbytes if isinstance(item, Recording) else 0


def _look_at(
    path: Path,
    layout: Layout,
    source: Layout | None,
    sketched: bool,
    measured: bool,
    first: int,
    items: Sequence[Recording | Rejected],
) -> list[_Looked]:
    done = _finish_reading(items, first, path, layout, source)
    recordings = [item for item in done if isinstance(item, Recording)]
    fitting = [item for item in recordings if measured and _has_joints_of(layout, item)]
    numbers = dict(zip(map(id, fitting), measure_all(fitting, layout), strict=True))
    return [
        _Looked(
            path,
            position,
            item,
            numbers.get(id(item)),
            sketch(item) if sketched and isinstance(item, Recording) else None,
        )
        for position, item in enumerate(done, first)
    ]


def _then(
    items: Iterator[Recording | Rejected], check: Callable[[], None]
) -> Iterator[Recording | Rejected]:
    yield from items
    check()


def _clean_all(
    items: Sequence[Recording | Rejected], layout: Layout, path: Path, first: int
) -> Iterator[Recording | Rejected]:
    for position, item in enumerate(items, first):
        if isinstance(item, Recording) and _has_joints_of(layout, item):
            try:
                item = clean(item, layout)
            except ValueError as error:
                item = replace(_reject(item, path, position, str(error)), recording=item.recording)
        yield item


def _has_joints_of(layout: Layout, recording: Recording) -> bool:
    """Tell whether a recording has as many joints as the layout; another is refused later, and not measured."""
    return len(recording.positions_TVC[0]) == layout.joint_count


def _check(
    items: Iterator[_Looked],
    distinct_people: Sequence[Collection[str]],
) -> Iterator[Recording | Rejected]:
    people: set[str] = set()
    classes: set[str] = set()
    copies = Copies()
    contradictions: list[tuple[Known, Recording]] = []
    for looked in items:
        item, path, position = looked.item, looked.path, looked.position
        if isinstance(item, Rejected):
            yield item
            continue
        none = stands_for_none(item.person, item.label)
        if none is not None:
            reason = f"the person or the label is empty: '{none}' stands for no value"
            yield _reject(item, path, position, reason)
            continue
        people.add(item.person)
        classes.add(item.label)
        first = copies.find_sketched(item, looked.sketch)
        if first is None:
            yield item
        elif (first.person, first.label) == (item.person, item.label):
            reason = f"the frames are those of an earlier recording: '{first.recording}'"
            yield _reject(item, path, position, reason)
        else:
            contradictions.append((first, item))
    refuse_look_alikes(people, classes, distinct_people)
    if contradictions:
        raise ValueError(_in_words(*contradictions[0], others=len(contradictions) - 1))


def _reject(recording: Recording, path: Path, position: int, reason: str) -> Rejected:
    return Rejected(
        source=spell_name(path),
        position=position,
        person=recording.person,
        label=recording.label,
        reason=reason,
    )


def _in_words(first: Known, second: Recording, others: int) -> str:
    more = f", and so it is with {others} more" if others else ""
    if first.person != second.person:
        return (
            f"The recordings '{first.recording}' of '{first.person}' and '{second.recording}' of "
            f"'{second.person}' hold the same frames{more}, but a movement is of one person; remove "
            "one of the two, or give both the same person."
        )
    return (
        f"The recordings '{first.recording}' and '{second.recording}' of '{first.person}' hold the "
        f"same frames under the classes '{first.label}' and '{second.label}'{more}, but a movement "
        "has one class; remove one of the two, or give both the same class."
    )
