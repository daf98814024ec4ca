"""The table of students as a replay looks them up, and the best that a search of it can reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.students import EPOCHS, read_packed, suggest
from gaitforge.cost import Cost
from gaitforge.front import f1_params_hypervolume
from gaitforge.models import Sizes

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """Macro F1 of one student by seed S and epoch E on the validation people, and at the end on the confirm people."""

    suggested: Mapping[str, Any]
    params: int
    macs: int
    val_f1_SE: Floats
    confirm_f1_S: Floats


Table = Mapping[str, Student]


def read_table(path: Path) -> Table:
    """The students by their names in the packed table; ValueError where one has no whole curve."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in read_packed(path):
        rows.setdefault(row["key"], []).append(row)
    return {key: _student(key, own, path) for key, own in rows.items()}


def _student(key: str, rows: list[Mapping[str, Any]], path: Path) -> Student:
    rows = sorted(rows, key=lambda row: (row["seed"], row["epoch"]))
    seeds = len({row["seed"] for row in rows})
    if [row["epoch"] for row in rows] != [*range(1, EPOCHS + 1)] * seeds:
        raise ValueError(
            f"Student {key} of {path} has {len(rows)} epochs of {seeds} seeds, but each seed must "
            f"have the epochs 1 to {EPOCHS}; train and pack the students again."
        )
    return Student(
        suggested=json.loads(rows[0]["suggested"]),
        params=rows[0]["params"],
        macs=rows[0]["macs"],
        val_f1_SE=np.asarray([row["val_macro_f1"] for row in rows]).reshape(seeds, EPOCHS),
        confirm_f1_S=np.asarray([row["confirm_macro_f1"] for row in rows[EPOCHS - 1 :: EPOCHS]]),
    )


def costs_by_sizes(table: Table) -> dict[Sizes, Cost]:
    """What each student costs, as it was counted when the table was made."""
    return {
        suggest(optuna.trial.FixedTrial(dict(student.suggested))).sizes: Cost(
            params=student.params, macs=student.macs
        )
        for student in table.values()
    }


def reference(table: Table) -> tuple[float, float]:
    """What a student must beat to count: a macro F1 of 0, and one parameter more than the largest."""
    return 0.0, float(max(student.params for student in table.values()) + 1)


def best_hypervolumes(table: Table) -> tuple[float, float]:
    """What trying every student would reach: at the mean over its seeds, and at its luckiest seed."""
    params = np.asarray([student.params for student in table.values()])
    final = [student.val_f1_SE[:, -1] for student in table.values()]
    mean, luckiest = np.asarray([s.mean() for s in final]), np.asarray([s.max() for s in final])
    return (
        f1_params_hypervolume(mean, params, reference(table)),
        f1_params_hypervolume(luckiest, params, reference(table)),
    )
