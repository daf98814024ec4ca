"""Reading of the store for its page, from its own files; says what it cannot read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from dashboard.reading import files
from dashboard.reading.files import Problem, Stamp
from dashboard.store.tables import Missing, count_missing_joints
from gaitforge.records.json_file import Unreadable
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.store import StoreInfo
from gaitforge.store import SkeletonStore
from gaitforge.work import StoreFolder, WorkFolder, open_path

# Of positions, to look for missing joints in: a tenth of a second on a disk, about one from afar.
MOST_BYTES = 64 * 2**20
MOVEMENTS = ("recording", "person", "label", "frames", "positions")


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a store holds; a part that cannot be read is None."""

    info: StoreInfo
    index: pd.DataFrame | None
    missing: Missing | None
    quarantine: pd.DataFrame | None


def read_store(work: WorkFolder, problems: list[Problem]) -> Held | None:
    """Read the store; None if there is none, or none that can be read (see `problems`)."""
    stamp = files.read_stamp(work.store_head)
    if stamp is None:
        return None
    outside = files.list_outside(work.root, work.store)
    if outside:
        problems += [Problem(f"store/{name}", files.OUTSIDE) for name in outside]
        return None
    held, found = _read(str(work.store), stamp)
    problems.extend(found)
    return held


def read_roles(work: WorkFolder, split: str) -> dict[str, str]:
    """Return each person's role in a split; empty if it cannot be read, which `reading.read_results` reports."""
    path = work.split_file(split)
    read = files.parse_file(str(path), SPLIT) if files.is_inside(work.root, path) else None
    return dict(read.roles) if isinstance(read, Split) else {}


@lru_cache(maxsize=4)
def _read(folder: str, stamp: Stamp) -> tuple[Held | None, tuple[Problem, ...]]:
    problems: list[Problem] = []
    try:
        store = SkeletonStore.open(open_path(folder))
    except Unreadable:
        return None, ()  # `look` tells why
    except (OSError, ValueError) as error:
        return None, (Problem(WorkFolder(Path()).store_head.as_posix(), str(error)),)
    index = missing = quarantine = None
    try:
        index = store.read_index().to_pandas()
        groups = store.sample(MOVEMENTS, MOST_BYTES)
        missing = count_missing_joints(groups, store.layout.joints, store.info.channels)
    except (OSError, ValueError) as error:
        problems.append(Problem("store/recordings", str(error)))
    try:
        quarantine = store.read_quarantine().to_pandas()
    except (OSError, ValueError) as error:
        problems.append(Problem(StoreFolder(Path("store")).quarantine.as_posix(), str(error)))
    held = Held(info=store.info, index=index, missing=missing, quarantine=quarantine)
    return held, tuple(problems)
