"""The smallest student that is good enough, for a budget and an accepted loss, in one sentence.

Pure functions. A loss is macro F1 that a student may lose to the teacher; in sentences it is in
points, hundredths of macro F1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dashboard.artefacts import Confirm, Interval, Member
from dashboard.review_tables import TEACHER, Model
from dashboard.scales import SIZES

USUAL_LOSS = 0.05  # macro F1, as confirm.margin has it where run.toml does not say


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """`trial` is None where no student is good enough; `confirmed`: on people nothing had seen."""

    trial: int | None
    confirmed: bool
    sentence: str


def smallest_good_enough(
    confirm: Confirm | None,
    models: Mapping[int, Model],
    *,
    size: str,
    budget: float,
    loss: float,
) -> Answer | None:
    """The answer by the confirmed students, else by the searched ones; None where there are none.

    `size` is a key of SIZES, `budget` its largest value (inf for none). A confirmed student is good
    enough where the whole interval of its difference to the teacher lies above -loss, the rule of
    gaitforge.stats.noninferior; with too few people for one, and before confirmation, by the scores.
    """
    if confirm is not None and confirm.members:
        return _by_confirmed(confirm, models, size, budget, loss)
    teacher = models.get(TEACHER)
    students = [m for m in models.values() if m.number != TEACHER and m.state == "finished"]
    if teacher is None or not students:
        return None
    return _by_searched(teacher, students, size, budget, loss)


def _by_confirmed(
    confirm: Confirm, models: Mapping[int, Model], size: str, budget: float, loss: float
) -> Answer:
    sized = [
        (value, member)
        for member in confirm.members
        if (value := member_size(member, models, size)) is not None and value <= budget
    ]
    people = f"{confirm.people:,} people never seen before"
    if not sized:
        smallest = min(confirm.members, key=lambda m: member_size(m, models, size) or math.inf)
        sentence = (
            f"No confirmed student has at most {SIZES[size].text(budget)}; the smallest, trial {smallest.trial}, "
            f"has {_size_of(smallest, models, size)}."
        )
        return Answer(trial=None, confirmed=True, sentence=sentence)
    good = [pair for pair in sized if _loses_at_most(confirm, pair[1], loss)]
    within = "" if math.isinf(budget) else f" within {SIZES[size].text(budget)}"
    if not good:
        best = max((member for _, member in sized), key=lambda member: _surely(confirm, member))
        sure = -100 * _surely(confirm, best)
        from_loss = math.ceil(2 * sure) / 2 + (0.5 if sure == math.ceil(2 * sure) / 2 else 0)
        shown = "scores" if confirm.too_few else "is shown to be"
        sentence = (
            f"No confirmed student{within} {shown} within {points(loss)} of the teacher's macro F1. "
            f"The nearest is trial {best.trial} with {_size_of(best, models, size)} "
            f"({_difference(confirm, best)}, {people}): good enough from an accepted loss of {from_loss:g} points on."
        )
        return Answer(trial=None, confirmed=True, sentence=sentence)
    value, member = min(good, key=lambda pair: (pair[0], pair[1].trial))
    worse = "scores at most" if confirm.too_few else "is not worse by more than"
    below = " below the teacher" if confirm.too_few else ""
    few = " Too few people for an interval: others may turn it round." if confirm.too_few else ""
    share = _share(member.params, confirm.teacher_params)
    sentence = (
        f"Trial {member.trial}, a {member.family} of {_size_of(member, models, size)}, has {share} of the "
        f"teacher's parameters and {worse} {points(loss)} of macro F1{below} "
        f"({_difference(confirm, member)}, {people}).{few}"
    )
    return Answer(trial=member.trial, confirmed=True, sentence=sentence)


def _by_searched(
    teacher: Model, students: Iterable[Model], size: str, budget: float, loss: float
) -> Answer:
    sized = [
        (value, model)
        for model in students
        if (value := SIZES[size].of(model)) is not None
        and value <= budget
        and model.macro_f1 is not None
    ]
    if not sized:
        sentence = f"No student has at most {SIZES[size].text(budget)}: raise the budget."
        return Answer(trial=None, confirmed=False, sentence=sentence)
    enough = (teacher.macro_f1 or 0.0) - loss
    good = [pair for pair in sized if (pair[1].macro_f1 or 0.0) >= enough]
    if not good:
        best = max((model for _, model in sized), key=lambda model: model.macro_f1 or 0.0)
        sentence = (
            f"Nothing is confirmed, and on the validation people no student scores within {points(loss)} of the "
            f"teacher's macro F1; the best, trial {best.number}, lies "
            f"{100 * ((teacher.macro_f1 or 0.0) - (best.macro_f1 or 0.0)):.1f} points below it."
        )
        return Answer(trial=None, confirmed=False, sentence=sentence)
    _, model = min(good, key=lambda pair: (pair[0], pair[1].number))
    sentence = (
        f"Not confirmed: by the validation people, who chose it, trial {model.number}, a {model.family} of "
        f"{SIZES[size].text(SIZES[size].of(model))}, has {_share(model.params, teacher.params)} of the teacher's "
        f"parameters and scores at most {points(loss)} of macro F1 below it."
    )
    return Answer(trial=model.number, confirmed=False, sentence=sentence)


def member_size(member: Member, models: Mapping[int, Model], size: str) -> float | None:
    """What a confirmed student takes, by its own row or by its trial's."""
    if size == "params":
        return float(member.params)
    if size == "macs" and member.macs is not None:
        return float(member.macs)
    trial = models.get(member.trial)
    return None if trial is None else SIZES[size].of(trial)


def points(loss: float) -> str:
    """A loss of macro F1 in words: 0.05 is "5 points", 0.01 "1 point"."""
    value = round(100 * loss, 6)
    return f"{value:g} point" if value == 1 else f"{value:g} points"


def interval_points(interval: Interval) -> str:
    """The ends of an interval of differences in points."""
    return "" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _loses_at_most(confirm: Confirm, member: Member, loss: float) -> bool:
    if confirm.too_few or member.difference_interval is None:
        return member.macro_f1 >= confirm.teacher_macro_f1 - loss
    return member.difference_interval[0] > -loss


def _surely(confirm: Confirm, member: Member) -> float:
    """The difference to the teacher that a student is good for: the interval's lower end."""
    if confirm.too_few or member.difference_interval is None:
        return member.macro_f1 - confirm.teacher_macro_f1
    return member.difference_interval[0]


def _difference(confirm: Confirm, member: Member) -> str:
    difference = f"{100 * (member.macro_f1 - confirm.teacher_macro_f1):+.1f} points"
    if confirm.too_few or member.difference_interval is None:
        return difference
    return f"{difference}, 95 % interval {interval_points(member.difference_interval)}"


def _size_of(member: Member, models: Mapping[int, Model], size: str) -> str:
    return SIZES[size].text(member_size(member, models, size))


def _share(params: int, teacher: int) -> str:
    share = 100 * params / max(teacher, 1)
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"
