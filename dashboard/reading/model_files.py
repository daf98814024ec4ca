"""One model's other files: robustness, export and weights, and the store's recordings of its people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from dashboard.reading.files import (
    OUTSIDE,
    Kind,
    Problem,
    is_inside,
    list_outside,
    parse_file,
    read_columns,
)
from dashboard.reading.work_folder import Latency
from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.records.confirm import REFIT, Member
from gaitforge.records.export import CARD, Card
from gaitforge.store import SkeletonStore
from gaitforge.weights import find_weights_fault, weights_of
from gaitforge.work import WorkFolder, open_path, read_bytes

ROBUSTNESS: dict[str, Kind] = {
    "model": "texts", "trial": "whole numbers", "seed": "whole numbers", "hidden": "numbers", "recording": "texts",
    "person": "texts", "true_class": "texts", "said_class": "texts",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """The latest export, as `export/card.json` describes it."""

    trial: int
    split: str
    seed: int
    latency: Latency
    is_current: bool  # of the answer of now


def read_robustness(
    work: WorkFolder, split: str, trial: int | None, problems: list[Problem]
) -> pd.DataFrame:
    """Read the rows of `confirm/robustness.parquet` of the teacher and of one trial; empty without the file.

    If it cannot be read, that is added to `problems`.
    """
    path = work.run(split).robustness
    empty = pd.DataFrame(columns=list(ROBUSTNESS))
    if not is_inside(work.root, path) or not path.exists():
        return empty
    read = read_columns(path, ROBUSTNESS, gaps=("trial",))
    if isinstance(read, str):
        problems.append(Problem(str(path.relative_to(work.root)), read))
        return empty
    table = read.to_pandas()
    of_trial = table["trial"].isna() if trial is None else table["trial"] == trial
    return table[of_trial | (table["model"] == "teacher")]


def read_export(work: WorkFolder, problems: list[Problem], outdated: str | None) -> Export | None:
    """Read the export's card; None if it is missing or unreadable, which is added to `problems`.

    `outdated` says why the export is out of date, None if it is current.
    """
    path = work.exported.card
    if not is_inside(work.root, path):
        return None
    card = parse_file(str(path), CARD)
    if isinstance(card, Problem):
        problems.append(Problem(str(path.relative_to(work.root)), card.reason))
    if not isinstance(card, Card):
        return None
    return Export(
        trial=card.trial,
        split=card.split,
        seed=card.seed,
        latency=Latency(p50=card.latency_ms_p50, p95=card.latency_ms_p95),
        is_current=outdated is None,
    )


def read_tested_weights(
    work: WorkFolder, split: str, member: Member, problems: list[Problem]
) -> Path | None:
    """Return the weights file of a member's tested network; None if it is missing or not the one that was tested.

    A mismatch is added to `problems`.
    """
    head = work.run(split).refit("student", member.trial, member.network.seed)
    weights = weights_of(head)
    if not all(is_inside(work.root, path) for path in (head, weights)) or not weights.is_file():
        return None
    try:
        REFIT.read(head)
        fault = find_weights_fault(head)
    except (ValueError, OSError) as error:
        fault = str(error).removeprefix(str(head)).strip()
    if fault is None:
        return weights
    problems.append(Problem(str(head.relative_to(work.root)), fault))
    return None


def read_content(work: WorkFolder, path: Path) -> bytes | None:
    """Return a file's bytes; None if it cannot be read or lies outside the work folder."""
    if not is_inside(work.root, path):
        return None
    try:
        return read_bytes(path)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Shown:
    """A recording of the store, with the layout of its joints."""

    recording: Recording
    layout: Layout


def read_recording(
    work: WorkFolder, person: str, recording: str, problems: list[Problem]
) -> Shown | None:
    """Read one recording of the store; None if it is not there, or if the store cannot be used (see `problems`)."""
    path = work.store_head
    strangers = list_outside(work.root, work.store)
    if strangers:
        problems += [Problem(f"store/{name}", OUTSIDE) for name in strangers]
        return None
    try:
        stat = path.stat()
        read = _people_of(str(work.store), stat.st_mtime_ns, stat.st_size, person)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error.args[0] if isinstance(error, KeyError) else error)
        problems.append(Problem("store", reason))
        return None
    found = next((one for one in read[1] if one.recording == recording), None)
    return None if found is None else Shown(found, read[0])


@lru_cache(maxsize=8)
def _people_of(
    folder: str, changed_ns: int, size: int, person: str
) -> tuple[Layout, tuple[Recording, ...]]:
    store = SkeletonStore.open(open_path(folder))
    return store.layout, tuple(store.read_recordings([person]))
