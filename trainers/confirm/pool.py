"""Several splits, one answer: teacher and student of each, over all people together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gaitforge.members import FRONT
from gaitforge.provenance import Provenance, read_provenance
from gaitforge.settings import ConfirmSettings
from gaitforge.stats import compare, noninferior, too_few
from gaitforge.work import SplitFolder, fingerprint, for_arrow, read_object, write_json
from trainers.confirm.answers import nested_sentence
from trainers.confirm.refit_file import ALONE, STUDENT, validated
from trainers.confirm.verdict import Tables, difference_of, scores_of


def pool_splits(tables: Sequence[Tables], settings: ConfirmSettings, path: Path) -> dict[str, Any]:
    """Write `runs/pooled.json`: each person is scored by the split that held them out.

    The student is that of each split's own search, so the figure is that of the whole procedure, not
    of one network.
    """
    members = [pick_unseen(table, settings.margin) for table in tables]
    pooled = pool_people(tables, members, settings)
    report = {
        **pooled,
        "nested": True,
        "chosen": {
            table.folder.root.name: member["trial"]
            for table, member in zip(tables, members, strict=True)
        },
    }
    told = {table.folder.root.name: table.folder.confirm / "scores.json" for table in tables}
    scores = {name: read_provenance(head) for name, head in told.items()}
    sources = {name: source for name, source in scores.items() if source is not None}
    identities = {name: source.identity for name, source in sources.items()}
    report["provenance"] = Provenance.of(fingerprint(identities), sources).as_dict()
    report["sentence"] = nested_sentence(report)
    write_json(path, report)
    return report


def pick_unseen(table: Tables, margin: float) -> dict[str, Any]:
    """The member that a split stands for, picked without its confirm people.

    The smallest whose refits come within the margin of the teacher on the validation people, or the
    largest of the searched front. Both are scored after their last epoch: the best of a teacher's epochs
    was chosen on these very people. The split's own verdict is of no use here: the people who would be
    scored have chosen it.
    """
    members: list[dict[str, Any]] = read_object(table.folder.confirm / "scores.json", "members")[
        "members"
    ]
    enough = last_macro_f1(table.folder) - margin
    good = [
        member
        for member in members
        if np.mean(validated(table.folder, member["trial"], table.seeds)) >= enough
    ]
    if good:
        return min(good, key=lambda member: int(member["params"]))
    front = [member for member in members if member.get("searched", FRONT) == FRONT]
    return max(front, key=lambda member: int(member["params"]))


def last_macro_f1(folder: SplitFolder) -> float:
    """The teacher's macro F1 on the validation people after its last epoch."""
    history = pq.read_table(for_arrow(folder.teacher / "history.parquet"))
    return float(history.column("val_macro_f1")[-1].as_py())


def pool_people(
    tables: Sequence[Tables], members: Sequence[Mapping[str, Any]], settings: ConfirmSettings
) -> dict[str, Any]:
    """Scores of teacher and students over the confirm people of all tables; a row of `members` for each.

    Intervals take the people of one table as independent, though they share a teacher and a search: as claims on
    the whole procedure they are somewhat too narrow.
    """
    teacher_SPKK = np.concatenate([table.teacher_SPKK for table in tables], axis=1)

    def pooled(model: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.concatenate(
            [
                table.confusions(model, member["trial"], table.seeds)
                for table, member in zip(tables, members, strict=True)
            ],
            axis=1,
        )

    student_SPKK = pooled(STUDENT)
    people = teacher_SPKK.shape[1]
    few = too_few(people)
    difference = compare(student_SPKK, teacher_SPKK)
    alone = None
    if all(member["alone"] is not None for member in members):
        alone_SPKK = pooled(ALONE)
        gain = compare(student_SPKK, alone_SPKK)
        alone = {**scores_of(alone_SPKK), **difference_of(gain, few)}
    sizes = [int(member["params"]) for member in members]
    return {
        "schema": 1,
        "people": people,
        "splits": len(tables),
        "margin": settings.margin,
        "teacher": scores_of(teacher_SPKK),
        "student": {
            **scores_of(student_SPKK),
            "params": [min(sizes), max(sizes)],
            **difference_of(difference, few),
            "noninferior": None if few else noninferior(difference, settings.margin),
        },
        "alone": alone,
    }
