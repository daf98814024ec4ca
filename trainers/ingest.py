"""Ingest: read the settings' files, or synthetic walkers, into the store; once for the same input."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from gaitforge.ingest import RULES, ReadOptions, file_names, list_files, parts_of, read_files
from gaitforge.ingest.descriptions import search_path
from gaitforge.ingest.synthetic import synthetic_cohort
from gaitforge.layout import Layout, read_layout
from gaitforge.pseudonyms import draw_key, find_key, pseudonym, pseudonymise, read_key
from gaitforge.quality import note_quality, tell_findings
from gaitforge.quarantine import in_words, refuse_too_many
from gaitforge.recording import Recording, Rejected
from gaitforge.regular_file import check_regular, open_regular
from gaitforge.settings import IngestSettings, as_dict, how_read
from gaitforge.store import SkeletonStore
from gaitforge.work import StoreFolder, fingerprint
from trainers.terminal.say import say


def ingest_recordings(settings: IngestSettings, folder: Path) -> None:
    """Write the store; keep one that holds the same input read in the same way."""
    layout = _layout(settings)
    items: Iterable[Recording | Rejected]
    if settings.synthetic:
        told = dataclasses.replace(
            settings.quality, refuse=()
        )  # walkers are as they are asked for
        items = (
            note_quality(walker, layout, told) for walker in synthetic_cohort(settings.synthetic)
        )
    else:
        items = read_files(
            list_files(settings.files),
            layout,
            settings.read,
            distinct_people=settings.distinct_people,
            quality=settings.quality,
        )
        if settings.pseudonymise:
            draw_key(find_key())
            items = pseudonymise(items, read_key(find_key()), settings.keep_columns)
    identity = ingest_identity(settings)
    if _holds(folder, identity):
        store = SkeletonStore.open(folder)
        info = store.info
        rejected = [Rejected(**row) for row in store.read_quarantine().to_pylist()]
        refuse_too_many(folder, info.recordings, rejected, settings.max_quarantined)
        say(f"  {info.recordings:,} recordings of {info.people} people are there already")
    else:
        info = SkeletonStore.write(
            folder,
            layout,
            _two_classes(items),
            identity,
            read=how_read(settings),
            max_quarantined=settings.max_quarantined,
        )
        say(
            f"  {info.recordings:,} recordings of {info.people} people "
            f"in {len(info.classes)} classes, version {info.version}"
        )
    if info.quarantined:
        say(
            f"  {info.quarantined:,} of {info.recordings + info.quarantined:,} recordings could not be "
            f"used ({in_words(info.reasons)}); "
            f"{StoreFolder(folder).quarantine} names each"
        )
    for line in tell_findings(SkeletonStore.open(folder).read_index(), settings.quality):
        say(f"  {line}")


def _two_classes(items: Iterable[Recording | Rejected]) -> Iterator[Recording | Rejected]:
    """Yield items; raises ValueError after the last where all recordings are of one class."""
    recordings = 0
    classes: set[str] = set()
    for item in items:
        if isinstance(item, Recording):
            recordings += 1
            classes.add(item.label)
        yield item
    if len(classes) == 1:
        raise ValueError(
            f"All {recordings:,} recordings that can be used are of one class, '{min(classes)}', but a student learns "
            "to tell two or more apart; add recordings of another, or mend what tells the class (label, relabel, path "
            "or table of [ingest.read])."
        )


def ingest_identity(settings: IngestSettings) -> str:
    """Return a hash of the recordings and of how they are read: the fingerprint of the store that they become."""
    content: dict[str, object]
    if settings.synthetic:
        content = {"synthetic": as_dict(settings.synthetic)}
    else:
        files = list_files(settings.files)
        content = {
            "files": [_digest(path) for path in files],
            "read": _read_identity(settings.read, files),
            "rules": RULES,
            "distinct_people": [list(group) for group in settings.distinct_people],
            **({"refused": refused} if (refused := settings.quality.limits_refused()) else {}),
        }
        if settings.pseudonymise:
            # of the key no more than that it is another one
            by = pseudonym(read_key(find_key()), "key", "")
            content["pseudonyms"] = {"by": by, "keep": sorted(settings.keep_columns)}
    return fingerprint({**content, "layout": _layout(settings).as_dict()})


def _read_identity(read: ReadOptions, files: Sequence[Path]) -> dict[str, object]:
    """Return what of [ingest.read] decides the recordings, without the keys that stores of older versions knew not.

    Of a path counts what is told by it, so that files may be moved together.
    """
    told: dict[str, object] = as_dict(read)
    for key in (
        "path",
        "table",
        "joints",
        "columns",
        "wide",
        "from_layout",
        "image",
        "unit",
        "up",
    ):
        if not told[key]:
            del told[key]
    if read.from_layout:
        told["from_layout"] = read_layout(read.from_layout).as_dict()
    if read.path:
        found = [search_path(read.path, path) for path in files]
        told["by_path"] = [match.groupdict() if match else None for match in found]
    if read.table:
        told |= {"table": _digest(Path(read.table)), "names": file_names(files)}
    return told


def _layout(settings: IngestSettings) -> Layout:
    return read_layout(settings.synthetic.layout if settings.synthetic else settings.layout)


def _holds(folder: Path, identity: str) -> bool:
    """Tell whether the store has this input and can be read: a damaged one is written anew."""
    try:
        store = SkeletonStore.open(folder)
        # reading every recording is the only way to know that none is damaged, and takes little
        return (
            store.info.fingerprint == identity
            and store.read_quarantine().num_rows == store.info.quarantined
            and sum(1 for _ in store.read_recordings()) > 0
        )
    except (FileNotFoundError, ValueError):
        return False


def _digest(path: Path) -> str:
    parts = parts_of(path)
    if parts == [path]:
        return _digest_file(path)
    return fingerprint({"parts": [[part.name, _digest_file(part)] for part in parts]})


def _digest_file(path: Path) -> str:
    check_regular(path, "The recordings file", "mend its path in the settings")
    known = path.stat()
    return _digest_of(path, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=100_000)  # a command asks several times, and a folder has a file for each frame
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
