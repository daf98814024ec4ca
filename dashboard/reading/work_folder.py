"""Reading of a work folder: returns what is there, and lists what cannot be read.

A file is parsed again only if its time or size has changed, so looking every two seconds at a search of
hundreds of trials costs one stat per file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from dashboard.reading import files
from dashboard.reading.files import Problem as Problem
from dashboard.reading.files import Stamp
from dashboard.reading.files import read_stamp as stamp_of
from dashboard.reading.trial_log import Log, Row, read_trials
from gaitforge.outdated import (
    explain_outdated_answer,
    explain_outdated_export,
    explain_outdated_pooled,
)
from gaitforge.records.confirm import FOLDS, LATENCIES, POOLED, SCORES, Latencies, Scores
from gaitforge.records.json_file import JsonFile, Unreadable
from gaitforge.records.search import FRONT, SEARCH, SearchHead
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.store import STORE, StoreInfo
from gaitforge.records.teacher import LIVE, TEACHER, LiveEpoch, TeacherModel
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.work import WorkFolder, open_path, read_bytes

HISTORY: dict[str, files.Kind] = {
    "epoch": "whole numbers", "train_loss": "numbers", "val_macro_f1": "numbers", "val_accuracy": "numbers",
}  # fmt: skip
IMPORTANCE: dict[str, files.Kind] = {
    "family": "texts", "objective": "texts", "name": "texts", "importance": "numbers",
}  # fmt: skip
PREDICTIONS: dict[str, files.Kind] = {
    "role": "texts", "model": "texts", "trial": "whole numbers", "seed": "whole numbers", "recording": "texts",
    "person": "texts", "true_class": "texts", "probabilities": "lists of numbers",
}  # fmt: skip

LINKED = "Whether this is out of date cannot be told: files of the work folder lead out of it."
# As trainers/training/predictions.py names them. A name only says which files need not be looked into.
PREDICTION_NAME = re.compile(
    r"[a-z_]+-(?P<model>teacher|reference|student|student_alone)(-(?P<trial>\d{1,18}))?(-seed\d+)?\.parquet"
)
PREDICTED = ("seed", "recording", "person", "true_class", "said_class", "probabilities")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a work folder holds apart from any split; `exists` is False if there is no such folder."""

    exists: bool
    store: StoreInfo | None = None
    splits: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Latency of the exported (or exportable) model in milliseconds per window, on one CPU thread."""

    p50: float
    p95: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitResults:
    """The results of all stages for one split; None or empty for a stage that has not run."""

    split: Split | None
    teacher: TeacherModel | None
    teacher_curve: tuple[Row, ...]
    search: SearchHead | None
    trials: tuple[Trial, ...]
    front: frozenset[int]
    confirm: Scores | None
    problems: tuple[Problem, ...]
    latencies: Mapping[int | None, Latency] = field(default_factory=dict)  # None: the teacher's
    teacher_bytes: int | None = None  # of its weights, as a file

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A running trial; `silent_s` is the time in seconds since its last report."""

    trial: Trial
    silent_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What changes while a stage works; `teacher` has the epochs of a teacher still in training."""

    wanted: int | None
    epochs: int | None
    ended: int
    running: tuple[Running, ...]
    hypervolume: float | None
    teacher: tuple[LiveEpoch, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outdated:
    """Why the confirmed answer and the export no longer match what the folder holds; None if they match."""

    answer: str | None
    export: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """Whose predictions they are: the people's role, the kind of model, and its trial (None for the teacher)."""

    role: str
    model: str
    trial: int | None


def look(work: WorkFolder) -> Found:
    """Return what the folder holds; never raises for what is missing or broken in it."""
    if not work.root.is_dir():
        return Found(exists=False)
    problems: list[Problem] = []
    store = _load(work, work.store_head, STORE, problems)
    names = {path.stem for path in _files(work, work.splits, problems)}
    if _inside(work, work.runs, problems):
        names |= {path.name for path in _listed(work.runs) if path.is_dir()}
    return Found(exists=True, store=store, splits=tuple(sorted(names)), problems=tuple(problems))


def read_results(work: WorkFolder, name: str) -> SplitResults:
    """Read all that the stages have produced so far for one split."""
    run, problems = work.run(name), list[Problem]()
    log = read_trials(run) if _inside(work, run.trials, problems) else Log()
    trials = log.trials
    problems += [Problem(_short(work, run.trials / p.file), p.reason) for p in log.problems]
    front = _load(work, run.front, FRONT, problems)
    weights = run.teacher_weights
    size = stamp_of(weights) if _inside(work, weights, problems) else None
    return SplitResults(
        split=_load(work, work.split_file(name), SPLIT, problems),
        teacher=_load(work, run.teacher_model, TEACHER, problems),
        teacher_curve=_history(work, run.teacher_history, problems),
        search=_load(work, run.search_head, SEARCH, problems),
        trials=trials,
        front=frozenset(row.trial for row in front.front) if front else list_unbeaten(trials),
        confirm=_load(work, run.scores, SCORES, problems),
        latencies=collect_latencies(_load(work, run.latencies, LATENCIES, problems)),
        teacher_bytes=None if size is None else size[1],
        problems=tuple(problems),
    )


def read_outdated(work: WorkFolder, name: str, results: SplitResults) -> Outdated:
    """Find out whether answer and export are out of date; for a folder with links to elsewhere, say it is unknown.

    If the answer itself cannot be read, `read_results` tells why.
    """
    if not all(files.is_inside(work.root, path) for path in answer_files(work, name)):
        return Outdated(answer=LINKED, export=LINKED)
    finished = [trial for trial in results.trials if trial.state == "finished"]
    return Outdated(
        answer=explain_outdated_answer(work, name, finished) if results.confirm else None,
        export=explain_outdated_export(work, {name: finished}),
    )


def answer_files(work: WorkFolder, name: str) -> tuple[Path, ...]:
    """List the files that show whether answer and export are current.

    The front stands for the trials, since it is written after each of them.
    """
    run = work.run(name)
    return (
        work.store_head, *work.split_files(), work.settings, run.teacher_model, run.outputs.head, run.search_head,
        run.front, run.scores, work.exported.card, *sorted(run.refits.glob("*.json")),
        *sorted(run.refits.glob("*.safetensors")),
    )  # fmt: skip


def read_wider_answers(work: WorkFolder, name: str, problems: list[Problem]) -> list[str]:
    """Return the answers' sentences over more people than the split's confirm people: over all splits, or folds.

    That the former is out of date comes first.
    """
    pooled = _load(work, work.pooled, POOLED, problems)
    folds = _load(work, work.run(name).folds_answer, FOLDS, problems)
    told = [answer.sentence for answer in (pooled, folds) if answer is not None]
    scores = (folder.scores for folder in work.made_runs())
    if pooled is None or not all(files.is_inside(work.root, path) for path in scores):
        return told
    outdated = explain_outdated_pooled(work)
    return told if outdated is None else [outdated, *told]


def read_importance(work: WorkFolder, name: str, problems: list[Problem]) -> pd.DataFrame:
    """Read the settings' importance: columns family (None: over all), objective, name, importance; empty if missing."""
    path = work.run(name).importance
    stamp = stamp_of(path) if _inside(work, path, problems) else None
    read = _parsed_importance(str(path), stamp) if stamp else None
    if isinstance(read, str):
        problems.append(Problem(_short(work, path), read))
    if not isinstance(read, pd.DataFrame):
        return pd.DataFrame(columns=list(IMPORTANCE))
    return read


def read_progress(work: WorkFolder, name: str) -> Progress:
    """Read what changes every few seconds; unreadable files are reported by `read_results`, not here."""
    run, problems = work.run(name), list[Problem]()
    ended = {n.removesuffix(".json") for n in files.list_names(run.trials) if n.endswith(".json")}
    running = []
    for path in _files(work, run.running, problems):
        trial = _load(work, path, TRIAL, problems)
        stamp = stamp_of(path)
        # A trial that has just ended may lie in both folders for a moment.
        if trial is not None and stamp is not None and path.stem not in ended:
            running.append(Running(trial=trial, silent_s=max(time.time() - stamp[0] / 1e9, 0.0)))
    search = _load(work, run.search_head, SEARCH, problems)
    front = _load(work, run.front, FRONT, problems)
    trained, live = run.teacher_model.exists(), run.teacher_live
    return Progress(
        wanted=search.trials if search else None,
        epochs=search.epochs if search else None,
        ended=len(ended),
        running=tuple(sorted(running, key=lambda row: row.trial.number)),
        hypervolume=front.hypervolume if front else None,
        teacher=() if trained or not _inside(work, live, problems) else _live_epochs(live),
    )


def read_pulse(work: WorkFolder, name: str | None) -> tuple[Stamp | None, ...]:
    """Return stamps of a few files and folders; at least one of them changes when there is something new."""
    watched = [work.root, work.settings, work.store_head, work.splits, work.runs]
    if name is not None:
        run = work.run(name)
        watched += [
            run.root,
            run.teacher_model,
            run.search_head,
            run.trials,
            run.front,
            run.scores,
            run.predictions,
        ]
    return tuple(stamp_of(path) for path in watched)


def list_unbeaten(trials: Iterable[Trial]) -> frozenset[int]:
    """Return the numbers of the finished trials that no other beats in both macro F1 and parameters."""
    front: set[int] = set()
    best = -1.0
    finished = [
        trial for trial in trials if trial.state == "finished" and trial.macro_f1 is not None
    ]
    for trial in sorted(finished, key=lambda t: (t.params, -(t.macro_f1 or 0.0))):
        if trial.macro_f1 is not None and trial.macro_f1 > best:
            front.add(trial.number)
            best = trial.macro_f1
    return frozenset(front)


def find_prediction_files(
    work: WorkFolder,
    name: str,
    problems: list[Problem],
    models: Collection[int | None] | None = None,
) -> Mapping[Predicted, tuple[Path, ...]]:
    """Find the files that hold each model's predictions; `models` limits the search to trials (None: the teacher).

    Each finished trial has a file, and opening ten thousand takes half a minute: with `models`, files whose names
    say that they are of other models are not opened.
    """
    found: dict[Predicted, tuple[Path, ...]] = {}
    for path in _files(work, work.run(name).predictions, problems, ending=".parquet"):
        named = PREDICTION_NAME.fullmatch(path.name)
        if models is not None and named:
            number = None if named["trial"] is None else int(named["trial"])
            if number not in models or named["model"] == "reference":
                continue
        stamp = stamp_of(path)
        if stamp is None or not _inside(work, path, problems):
            continue
        keys = _parsed_keys(str(path), stamp)
        if isinstance(keys, str):
            problems.append(Problem(_short(work, path), keys))
            continue
        for key in keys:
            found[key] = (*found.get(key, ()), path)
    return found


def read_predictions(
    work: WorkFolder,
    paths: Iterable[Path],
    whose: Predicted,
    classes: tuple[str, ...],
    problems: list[Problem],
) -> pd.DataFrame:
    """Read predictions (columns PREDICTED), one row per recording and seed; `probabilities` follow `classes`.

    A file that cannot be used is added to `problems`.
    """
    tables = []
    for path in paths:
        stamp = stamp_of(path)
        read = _parsed_predictions(str(path), stamp, whose, classes) if stamp else "it has gone"
        if isinstance(read, str):
            problems.append(Problem(_short(work, path), read))
        else:
            tables.append(read)
    if not tables:
        return pd.DataFrame(columns=list(PREDICTED))
    return pd.concat(tables, ignore_index=True)


def _listed(folder: Path) -> list[Path]:
    return [folder / name for name in files.list_names(folder)]


def _files(
    work: WorkFolder, folder: Path, problems: list[Problem], ending: str = ".json"
) -> list[Path]:
    """List a folder's files with this ending; drafts (dot files) are skipped, others added to `problems`."""
    found = []
    if not _inside(work, folder, problems):
        return []
    for path in _listed(folder):
        if path.suffix == ending:
            found.append(path)
        else:
            problems.append(
                Problem(_short(work, path), f"only {ending} files belong here; it was passed over")
            )
    return found


def _inside(work: WorkFolder, path: Path, problems: list[Problem]) -> bool:
    """Tell whether a path stays in the work folder; if it does not, add that to `problems`."""
    if files.is_inside(work.root, path):
        return True
    problems.append(Problem(_short(work, path), files.OUTSIDE))
    return False


def _short(work: WorkFolder, path: Path) -> str:
    return str(path.relative_to(work.root))


def _load(work: WorkFolder, path: Path, kind: JsonFile[T], problems: list[Problem]) -> T | None:
    """Return a file's record; None if there is no file, or if a problem was added."""
    stamp = stamp_of(path)
    if stamp is None or not _inside(work, path, problems):
        return None
    read = _parsed(str(path), stamp, kind)
    if isinstance(read, Problem):
        problems.append(Problem(_short(work, path), read.reason))
        return None
    return cast("T | None", read)


def collect_latencies(told: Latencies | None) -> dict[int | None, Latency]:
    """Return latencies by trial, the teacher's under None; models that could not be measured are left out."""
    if told is None:
        return {}
    rows = {None: told.teacher, **{row.trial: row for row in told.members}}
    return {
        trial: Latency(p50=row.latency_ms_p50, p95=row.latency_ms_p95)
        for trial, row in rows.items()
        if row.latency_ms_p50 is not None
    }


def _history(work: WorkFolder, path: Path, problems: list[Problem]) -> tuple[Row, ...]:
    """Read the learning curve of a trained teacher; empty if it has none."""
    stamp = stamp_of(path)
    if stamp is None or not _inside(work, path, problems):
        return ()
    read = _parsed_history(str(path), stamp)
    if isinstance(read, str):
        problems.append(Problem(_short(work, path), read))
        return ()
    return read


# The stamp is part of each key: a file that changes is parsed anew, its old content falls out.
@lru_cache(maxsize=8192)
def _parsed(path: str, stamp: Stamp, kind: JsonFile[Any]) -> object:
    return files.parse_file(path, kind)


@lru_cache(maxsize=64)
def _parsed_history(path: str, stamp: Stamp) -> tuple[Row, ...] | str:
    table = files.read_columns(open_path(path), HISTORY)
    return table if isinstance(table, str) else tuple(table.to_pylist())


@lru_cache(maxsize=64)
def _parsed_importance(path: str, stamp: Stamp) -> pd.DataFrame | str:
    table = files.read_columns(open_path(path), IMPORTANCE, gaps=("family", "importance"))
    if isinstance(table, str):
        return table
    return table.to_pandas().astype({"importance": "float64"}).dropna(subset=["importance"])


@lru_cache(maxsize=4096)
def _parsed_keys(path: str, stamp: Stamp) -> tuple[Predicted, ...] | str:
    table = files.read_columns(
        open_path(path), PREDICTIONS, gaps=("trial",), only=("role", "model", "trial")
    )
    if isinstance(table, str):
        return table
    keys = table.group_by(["role", "model", "trial"]).aggregate([]).to_pylist()
    return tuple(
        Predicted(role=key["role"], model=key["model"], trial=key["trial"]) for key in keys
    )


@lru_cache(maxsize=64)
def _parsed_predictions(
    path: str, stamp: Stamp, whose: Predicted, classes: tuple[str, ...]
) -> pd.DataFrame | str:
    wanted = (pc.field("role") == whose.role) & (pc.field("model") == whose.model)
    if whose.trial is not None:
        wanted &= pc.field("trial") == whose.trial
    table = files.read_columns(open_path(path), PREDICTIONS, gaps=("trial",), wanted=wanted)
    if isinstance(table, str):
        return table
    probabilities = table.column("probabilities").to_pylist()
    if any(row is None or len(row) != len(classes) for row in probabilities):
        return f"its probabilities are not of the {len(classes)} classes of the store"
    read = table.select(["seed", "recording", "person", "true_class"]).to_pandas()
    said_N = np.asarray(probabilities, dtype=np.float64).reshape(-1, len(classes)).argmax(axis=1)
    read["said_class"] = [classes[k] for k in said_N]
    read["probabilities"] = probabilities
    return read


def _live_epochs(path: Path) -> tuple[LiveEpoch, ...]:
    """Read the epochs of a file that still grows; a last line written only in part waits for the next look."""
    try:
        lines = read_bytes(path).decode(errors="replace").splitlines()
    except OSError:
        return ()
    epochs = []
    for line in lines:
        try:
            epochs.append(LIVE.parse(line, path))
        except Unreadable:
            continue
    return tuple(epochs)
