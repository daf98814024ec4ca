"""Pool several splits into one answer: teacher and student of each, over all people together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gaitforge.provenance import Provenance
from gaitforge.records.confirm import (
    ON_FRONT,
    POOLED,
    SCORES,
    Member,
    Pooled,
    PooledSplits,
    PooledStudents,
)
from gaitforge.records.json_file import parts_of
from gaitforge.settings import ConfirmSettings
from gaitforge.stats import compare, is_noninferior, is_too_few
from gaitforge.work import SplitFolder, fingerprint, for_arrow
from trainers.confirm.answers import nested_sentence
from trainers.confirm.refit_file import ALONE, STUDENT, read_validated_f1
from trainers.confirm.verdict import Tables, compute_scores, join_difference


def pool_splits(tables: Sequence[Tables], settings: ConfirmSettings, path: Path) -> PooledSplits:
    """Write `runs/pooled.json`: each person is scored by the split that held them out.

    The student is that of each split's own search, so the figure is that of the whole procedure, not
    of one network.
    """
    members = [pick_unseen(table, settings.margin) for table in tables]
    pooled = pool_people(tables, members, settings)
    sources = {
        table.folder.root.name: SCORES.read(table.folder.scores).provenance for table in tables
    }
    identities = {name: source.identity for name, source in sources.items()}
    report = PooledSplits(
        **parts_of(pooled),
        nested=True,
        chosen={
            table.folder.root.name: member.trial
            for table, member in zip(tables, members, strict=True)
        },
        provenance=Provenance.of(fingerprint(identities), sources),
        sentence=nested_sentence(pooled),
    )
    POOLED.write(path, report)
    return report


def pick_unseen(table: Tables, margin: float) -> Member:
    """Pick the member that a split stands for, without its confirm people.

    It is the smallest whose refits come within the margin of the teacher on the validation people, or else the
    largest of the searched front. Both are scored after their last epoch: the best of a teacher's epochs
    was chosen on these very people. The split's own verdict is of no use here: the people who would be
    scored have chosen it.
    """
    members = SCORES.read(table.folder.scores).members
    enough = read_last_macro_f1(table.folder) - margin
    good = [
        member
        for member in members
        if np.mean(read_validated_f1(table.folder, member.trial, table.seeds)) >= enough
    ]
    if good:
        return min(good, key=lambda member: member.params)
    front = [member for member in members if member.searched == ON_FRONT]
    return max(front, key=lambda member: member.params)


def read_last_macro_f1(folder: SplitFolder) -> float:
    """Read the teacher's macro F1 on the validation people after its last epoch."""
    history = pq.read_table(for_arrow(folder.teacher_history))
    return float(history.column("val_macro_f1")[-1].as_py())


def pool_people(
    tables: Sequence[Tables], members: Sequence[Member], settings: ConfirmSettings
) -> Pooled:
    """Score teacher and students over the confirm people of all tables; `members` has the student of each table.

    Intervals take the people of one table as independent, though they share a teacher and a search: as claims on
    the whole procedure they are somewhat too narrow.
    """
    teacher_SPKK = np.concatenate([table.teacher_SPKK for table in tables], axis=1)

    def pooled(model: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.concatenate(
            [
                table.count_confusions(model, member.trial, table.seeds)
                for table, member in zip(tables, members, strict=True)
            ],
            axis=1,
        )

    student_SPKK = pooled(STUDENT)
    people = teacher_SPKK.shape[1]
    few = is_too_few(people)
    difference = compare(student_SPKK, teacher_SPKK)
    alone = None
    if all(member.alone is not None for member in members):
        alone_SPKK = pooled(ALONE)
        alone = join_difference(alone_SPKK, compare(student_SPKK, alone_SPKK), few)
    sizes = [member.params for member in members]
    return Pooled(
        people=people,
        splits=len(tables),
        margin=settings.margin,
        teacher=compute_scores(teacher_SPKK),
        student=PooledStudents(
            **parts_of(join_difference(student_SPKK, difference, few)),
            params=(min(sizes), max(sizes)),
            noninferior=None if few else is_noninferior(difference, settings.margin),
        ),
        alone=alone,
    )
