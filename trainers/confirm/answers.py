"""The results of the line in words, one sentence each, with how sure they are."""

from __future__ import annotations

from gaitforge.decision import say_difference, say_interval
from gaitforge.records.confirm import Flattery, Pooled


def optimism_sentence(flattery: Flattery, members: int) -> str:
    """Say how much better the search scored its front than unseen people confirm."""
    ends = flattery.interval
    sure = (
        "too few people for an interval" if ends is None else f"95 % interval {say_interval(ends)}"
    )
    return (
        f"The search's scores of {members} {'member' if members == 1 else 'members'} of its front, minus the "
        f"confirmed ones: {flattery.total:+.3f} macro F1 ({sure})."
    )


def nested_sentence(pooled: Pooled) -> str:
    """Say what several splits show together."""
    return (
        f"Over all {pooled.people} people of {pooled.splits} splits, nested (every split searched for itself "
        f"and picked its student without the people it is scored on), {_pooled(pooled, 'the chosen students have')}"
    )


def folds_sentence(folds: Pooled, trial: int) -> str:
    """Say what folds over all people show about one student, and why that is too kind to it."""
    subject = f"the student of trial {trial} has {folds.student.params[0]:,} parameters and"
    return (
        f"Trained anew in {folds.splits} folds over all {folds.people} people, each scored by models that never "
        f"saw them, {_pooled(folds, subject)} Its configuration was chosen with some of these people as validation "
        'and confirm people, which flatters it; a nested search, [split] with rule = "folds", does not have that.'
    )


def _pooled(pooled: Pooled, subject: str) -> str:
    teacher, student, alone = pooled.teacher, pooled.student, pooled.alone
    text = (
        f"{subject} macro F1 {student.macro_f1:.3f} against {teacher.macro_f1:.3f} of the teacher; "
        f"difference {say_difference(student)}"
    )
    if alone is not None:
        text += f"; {alone.macro_f1:.3f} without distillation, which adds {say_difference(alone)}"
    few = student.difference_interval is None
    return text + (": too few people for an interval." if few else ".")
