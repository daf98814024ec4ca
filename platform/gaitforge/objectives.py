"""What a search may optimise: the table of objectives, and the searched front of a trial log.

N counts configurations here and M objectives. Objectives become costs, which are minimised: a score
that should rise has its sign turned, and a size is compared on a log10 scale, so that a
hypervolume counts a student of half the size alike wherever on the scale it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaitforge.front import hypervolume_2d, hypervolume_3d, non_dominated
from gaitforge.records.search import Front, FrontRow
from gaitforge.records.trial import Trial

Floats = NDArray[np.float64]

DEFAULT = ("macro_f1", "params")
SMALLEST = 1e-12  # of what is compared as a logarithm


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One number of a trial that a search makes as large (`up`) or as small as it can.

    `key` is where the trial keeps it: one of its fields for what is counted before training
    (`counted`), one of its scores otherwise. `worst` still counts in the hypervolume; None stands
    for the teacher's value, or for the budget's where only that is known.
    """

    key: str
    what: str
    up: bool = False
    counted: bool = False
    log: bool = False
    worst: float | None = None

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Return its direction as Optuna calls it."""
        return "maximize" if self.up else "minimize"

    @property
    def is_score(self) -> bool:
        """Return True where it tells how good a student is on the validation people, and not what it takes."""
        return self.key.startswith("val_")


OBJECTIVES: dict[str, Objective] = {
    "macro_f1": Objective(key="val_macro_f1", what="macro F1", up=True, worst=0.0),
    "balanced_accuracy": Objective(
        key="val_balanced_accuracy", what="balanced accuracy", up=True, worst=0.0
    ),
    # for ordered classes, such as degrees of severity
    "weighted_kappa": Objective(
        key="val_weighted_kappa", what="weighted kappa", up=True, worst=0.0
    ),
    "calibration_error": Objective(
        key="val_calibration_error", what="calibration error", worst=1.0
    ),
    # macro F1 where joints are missing
    "robustness": Objective(
        key="val_robust_macro_f1", what="macro F1 with joints missing", up=True, worst=0.0
    ),
    "params": Objective(key="params", what="parameters", counted=True, log=True),
    "macs": Objective(key="macs", what="multiply-accumulates", counted=True, log=True),
    "bytes": Objective(key="bytes", what="bytes of weights", counted=True, log=True),
    # of the exported student, one window on one CPU thread
    "latency_ms": Objective(key="latency_ms", what="milliseconds a window", log=True),
}


def check_objectives(names: Sequence[str]) -> None:
    """Raise KeyError for an unknown objective, ValueError for fewer than two or the same twice."""
    for name in names:
        if name not in OBJECTIVES:
            raise KeyError(
                f"There is no objective '{name}'. Known: {', '.join(sorted(OBJECTIVES))}."
            )
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"search.objectives is {', '.join(names) or 'empty'}, but must name at least two different "
            "ones: a front is what cannot be had together."
        )
    if len({OBJECTIVES[name].is_score for name in names}) < 2:
        raise ValueError(
            f"search.objectives is {', '.join(names)}, but must hold at least one score and one cost: "
            "how good a student is, and what that takes."
        )


def value_of(trial: Trial, name: str, scores: Mapping[str, float] | None = None) -> float:
    """Return the objective's value of a trial, at its end or by other `scores` of it (of a rung)."""
    objective = OBJECTIVES[name]
    if objective.counted:
        return float(getattr(trial, objective.key))
    kept = trial.scores if scores is None else scores
    if kept is None or objective.key not in kept:
        raise ValueError(
            f"Trial {trial.number} has no {objective.what}, but the search's objectives need one; it belongs to "
            "another search: move its file out of the folder."
        )
    return float(kept[objective.key])


def cost(name: str, value: float) -> float:
    """Turn a value into a cost, which is minimised."""
    return float(costs([[value]], [name])[0, 0])


def costs(values_NM: Sequence[Sequence[float]], names: Sequence[str]) -> Floats:
    """Turn values [N, M] of the named objectives into costs, which are minimised."""
    table = np.array(values_NM, dtype=np.float64).reshape(-1, len(names))
    for column, name in zip(table.T, names, strict=True):
        if OBJECTIVES[name].log:
            column[:] = np.log10(np.maximum(column, SMALLEST))
        elif OBJECTIVES[name].up:
            column[:] = -column
    return table


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """Finished trials of the same settings with different seeds: one student, that counts by its means."""

    first: Trial
    trials: tuple[int, ...]
    scores: Mapping[str, float]

    def with_seed(self, trial: Trial) -> Configuration:
        """Return the same configuration with one more trial."""
        many = len(self.trials)
        scores = trial.scores or {}
        return Configuration(
            first=min(self.first, trial, key=lambda one: one.number),
            trials=tuple(sorted((*self.trials, trial.number))),
            scores={
                name: (mean * many + scores[name]) / (many + 1)
                for name, mean in self.scores.items()
                if name in scores
            },
        )


def group_by_configuration(trials: Iterable[Trial]) -> list[Configuration]:
    """Put the finished trials together by configuration.

    A trial that was stopped or has failed is never among them: its score is of fewer epochs, or none.
    """
    found: dict[str, Configuration] = {}
    for trial in trials:
        _take(found, trial)
    return list(found.values())


def _take(found: dict[str, Configuration], trial: Trial) -> bool:
    """Put a trial among the configurations; False where it is none of them, or is there already."""
    if trial.state != "finished" or trial.scores is None:
        return False
    known = found.get(trial.hash)
    if known is None:
        found[trial.hash] = Configuration(
            first=trial, trials=(trial.number,), scores=dict(trial.scores)
        )
        return True
    if trial.number in known.trials:
        return False
    found[trial.hash] = known.with_seed(trial)
    return True


class SearchedFront:
    """What a search has found so far: the configurations that nothing beats on the validation people.

    `reference` is what a student must beat in each objective to count in the hypervolume.
    """

    def __init__(self, names: Sequence[str], reference: Sequence[float]) -> None:
        self.names = tuple(names)
        self.reference = tuple(reference)
        self.configurations: dict[str, Configuration] = {}
        self.values: dict[str, list[float]] = {}

    def add(self, trial: Trial) -> bool:
        """Take up an ended trial; return True where it may have changed the front."""
        if not _take(self.configurations, trial):
            return False
        student = self.configurations[trial.hash]
        self.values[trial.hash] = [
            value_of(student.first, name, student.scores) for name in self.names
        ]
        return True

    @property
    def hypervolume(self) -> float | None:
        """Measure how much of the space up to the reference is beaten; None for more than three objectives."""
        worst = [cost(*pair) for pair in zip(self.names, self.reference, strict=True)]
        if len(worst) > 3:
            return None
        if not self.values:
            return 0.0
        costs_NM = costs(list(self.values.values()), self.names)
        if len(worst) == 2:
            return hypervolume_2d(costs_NM, (worst[0], worst[1]))
        return hypervolume_3d(costs_NM, (worst[0], worst[1], worst[2]))

    def list_rows(self) -> list[FrontRow]:
        """Return the members of the front, from the smallest to the largest."""
        if not self.values:
            return []
        students = [self.configurations[name] for name in self.values]
        members = np.flatnonzero(non_dominated(costs(list(self.values.values()), self.names)))
        rows = [
            FrontRow(
                trial=student.first.number, family=student.first.family, params=student.first.params,
                macs=student.first.macs, bytes=student.first.bytes, seeds=len(student.trials),
                trials=student.trials, **student.scores,
            )
            for student in (students[i] for i in members)
        ]  # fmt: skip
        return sorted(rows, key=lambda row: (row.params, row.trial))

    def as_record(self, search: str) -> Front:
        """Return the content of `search/front.json`; `search` is the identity of the search."""
        return Front(
            objectives=self.names,
            hypervolume=self.hypervolume,
            reference=self.reference,
            front=tuple(self.list_rows()),
            search=search,
        )
