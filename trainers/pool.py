"""Several splits, one answer: the teacher and the chosen student of each, over all people together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaitforge.settings import ConfirmSettings
from gaitforge.stats import compare, noninferior, too_few
from gaitforge.work import read_json, write_json
from trainers.confirm import SEED, STUDENT, Tables, draw_people, scores_of


def pool_splits(tables: Sequence[Tables], settings: ConfirmSettings, path: Path) -> dict[str, Any]:
    """Write `runs/pooled.json`: each person is scored by the split that held them out.

    The student is that of each split's own choice, or the largest confirmed one where a split chose
    none: so the figure is that of the whole procedure, not of one network.
    """
    teacher_SPKK = np.concatenate([table.teacher_SPKK for table in tables], axis=1)
    students = []
    params = []
    for table in tables:
        scores = read_json(table.folder.confirm / "scores.json")
        number = (
            scores["chosen"] if scores["chosen"] is not None else scores["members"][-1]["trial"]
        )
        params += [member["params"] for member in scores["members"] if member["trial"] == number]
        students.append(table.confusions(STUDENT, number, range(SEED, SEED + settings.seeds)))
    student_SPKK = np.concatenate(students, axis=1)
    people = teacher_SPKK.shape[1]
    weights_RP = draw_people(teacher_SPKK, settings.resamples)
    difference = compare(student_SPKK, teacher_SPKK, weights_RP)
    few = too_few(people)
    report = {
        "schema": 1,
        "people": people,
        "splits": len(tables),
        "margin": settings.margin,
        "teacher": scores_of(teacher_SPKK, weights_RP),
        "student": {
            **scores_of(student_SPKK, weights_RP),
            "params": [min(params), max(params)],
            "difference": difference.mean,
            "difference_interval": None if few else [difference.low, difference.high],
            "noninferior": None if few else noninferior(difference, settings.margin),
        },
    }
    write_json(path, report)
    return report
