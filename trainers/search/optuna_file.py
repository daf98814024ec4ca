"""Write the trial log as an Optuna study in one file, for optuna-dashboard and other readers of studies.

The file is a copy to look at: nothing here ever reads one. It is Optuna's journal, a line of JSON
for each operation, which optuna-dashboard opens as it does SQLite; SQLite takes far longer to
write.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from gaitforge.objectives import DEFAULT, OBJECTIVES, value_of
from gaitforge.records.search import SEARCH
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, write_once

# Name, direction, and the value of a finished trial.
Objective = tuple[str, Literal["maximize", "minimize"], Callable[[Trial], float]]

# Only a finished trial has values: the scores of one that was stopped are of fewer epochs, and a
# front is no place for them.
STATES = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def write_studies(work: WorkFolder, file: Path) -> str:
    """Write one study for each split that has ended trials; return two lines: what was written, how to look at it.

    Raises FileNotFoundError where no trial has ended, ValueError for a path without a name, FileExistsError where the
    file is there (it may hold notes that were made in optuna-dashboard), OSError where it cannot be written.
    """
    if not file.name:
        raise ValueError(f"'{file}' names no file to write the studies to; give the path of one.")
    journal = _Lines()
    storage = JournalStorage(journal)
    counts = {}
    for folder in work.made_runs():
        if trials := list(TrialLog(folder)):
            name = f"{work.root.resolve().name} {folder.root.name}"
            add_study(storage, name, trials, _objectives(folder))
            counts[name] = len(trials)
    if not counts:
        raise FileNotFoundError(
            f"{work.root} holds no ended trials, but a study is made of them; run `gaitforge search run.toml` first."
        )
    try:
        is_new = write_once(file, b"".join(journal.lines))
    except OSError as error:
        raise OSError(
            f"{file} cannot be written ({error.strerror}); name another file."
        ) from error
    if not is_new:
        raise FileExistsError(
            f"{file} exists already and is never written over; name another file or remove it."
        )
    studies = ", ".join(f"'{name}' with {count} trials" for name, count in counts.items())
    return f"wrote {file}: {studies}\nLook at it: optuna-dashboard {file}"


def add_study(
    storage: BaseStorage, name: str, trials: Iterable[Trial], objectives: Sequence[Objective]
) -> None:
    """Add the trials to a storage as a new study, without the proposals that were over budget."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage, study_name=name, directions=[direction for _, direction, _ in objectives]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([metric for metric, _, _ in objectives])
    for trial in trials:
        study.add_trial(_frozen(trial, objectives))


class _Lines(BaseJournalBackend):
    """A journal in memory, as the lines of its file: so the file is written whole, and without locks."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.lines[log_number_from:])


def _objectives(folder: SplitFolder) -> list[Objective]:
    """Return what the search of a split optimised: each name, direction, and the value of a finished trial."""
    head = SEARCH.find(folder.search_head)
    names = DEFAULT if head is None else head.objectives
    return [
        (
            name,
            OBJECTIVES[name].direction,
            functools.partial(value_of, name=name),
        )
        for name in names
    ]


def _frozen(trial: Trial, objectives: Sequence[Objective]) -> FrozenTrial:
    """Convert a trial of the log to Optuna's form; its macro F1 after each epoch are the intermediate values."""
    is_finished = STATES[trial.state] == TrialState.COMPLETE
    distributions = trial.distributions.items()
    frozen = optuna.trial.create_trial(
        state=STATES[trial.state],
        values=[value(trial) for _, _, value in objectives] if is_finished else None,
        params=dict(trial.suggested),
        distributions={name: json_to_distribution(text) for name, text in distributions},
        user_attrs={
            **(trial.scores or {}),
            "number": trial.number,
            "state": trial.state,
            **({"reason": trial.reason} if trial.reason else {}),
            "family": trial.family,
            "params": trial.params,
            "macs": trial.macs,
            "seed": trial.seed,
            "epochs": trial.epochs,
            "seconds": trial.seconds,
            "hash": trial.hash,
        },
        intermediate_values={
            row["epoch"]: row["val_macro_f1"] for row in trial.curve if "val_macro_f1" in row
        },
    )
    if trial.started and trial.ended:
        frozen.datetime_start = datetime.fromisoformat(trial.started)
        frozen.datetime_complete = datetime.fromisoformat(trial.ended)
    return frozen
