"""The smallest student that is good enough for a budget and an accepted loss, told in one sentence.

Pure functions. The loss is the macro F1 that a student may lose to the teacher; sentences give it in points,
hundredths of macro F1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dashboard.fronts.scales import SIZES
from dashboard.reading.models import TEACHER, Model
from gaitforge.records.confirm import BAD, Member, Reason, Scores
from gaitforge.records.values import Interval

USUAL_LOSS = 0.05  # macro F1, as confirm.margin has it where run.toml does not say


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The smallest good enough student: `trial` is None if there is none, `confirmed` if shown on unseen people."""

    trial: int | None
    confirmed: bool
    sentence: str


def find_smallest_good_enough(
    confirm: Scores | None,
    models: Mapping[int, Model],
    *,
    size: str,
    budget: float,
    loss: float,
) -> Answer | None:
    """Find the answer among the confirmed students, else among the searched ones; None if there are none.

    `size` is a key of SIZES, `budget` the largest value of it (inf for no limit). A confirmed student is good
    enough if its network that is handed out, and those of all larger students, are shown to lose less than `loss`
    to the teacher (see gaitforge.decision). With too few people for tests, and before confirmation, the scores
    alone decide. Students above the budget are tested all the same.
    """
    if confirm is not None and confirm.members:
        return _by_confirmed(confirm, models, size, budget, loss)
    teacher = models.get(TEACHER)
    students = [m for m in models.values() if m.number != TEACHER and m.state == "finished"]
    if teacher is None or not students:
        return None
    return _by_searched(teacher, students, size, budget, loss)


def _by_confirmed(
    confirm: Scores, models: Mapping[int, Model], size: str, budget: float, loss: float
) -> Answer:
    doubts = "".join(f"{reason.text} " for reason in list_teacher_doubts(confirm)[:1])
    sized = [
        (value, member)
        for member in confirm.members
        if (value := read_member_size(member, models, size)) is not None and value <= budget
    ]
    if not sized:
        smallest = min(
            confirm.members, key=lambda m: read_member_size(m, models, size) or math.inf
        )
        sentence = (
            f"No confirmed student has at most {SIZES[size].text(budget)}; the smallest, trial {smallest.trial}, "
            f"has {_size_of(smallest, models, size)}."
        )
        return Answer(trial=None, confirmed=True, sentence=doubts + sentence)
    needed = compute_needed_losses(confirm)
    good = [pair for pair in sized if _enough(confirm, needed[pair[1].trial], loss)]
    few = " Too few people for an interval: others may turn it round." if confirm.too_few else ""
    people = f"{confirm.people:,} people never seen before"
    if not good:
        within = "" if math.isinf(budget) else f" within {SIZES[size].text(budget)}"
        best = min((m for _, m in sized), key=lambda m: (needed[m.trial], m.params))
        scores = "scores" if confirm.too_few else "is shown to be"
        sentence = (
            f"No confirmed student{within} {scores} within {say_points(loss)} of the teacher's macro F1. "
            f"The nearest is trial {best.trial} with {_size_of(best, models, size)} "
            f"({_difference(confirm, best)}, {people}): good enough from an accepted loss of "
            f"{_next_step(confirm, needed[best.trial]):g} points on.{few}"
        )
        return Answer(trial=None, confirmed=True, sentence=doubts + sentence)
    _, member = min(good, key=lambda pair: (pair[0], pair[1].trial))
    worse = "scores at most" if confirm.too_few else "is shown to lose less than"
    below = "below the teacher" if confirm.too_few else "to the teacher"
    share = _share(member.params, confirm.teacher.params)
    sentence = (
        f"Trial {member.trial}, a {member.family} of {_size_of(member, models, size)}, has {share} of the "
        f"teacher's parameters, and its network {worse} {say_points(loss)} of macro F1 {below} "
        f"({_difference(confirm, member)}, {people}).{few}"
    )
    return Answer(trial=member.trial, confirmed=True, sentence=doubts + sentence)


def compute_needed_losses(confirm: Scores) -> dict[int, float]:
    """Compute for each member, by trial, the accepted loss of macro F1 above which it would be good enough.

    Members are tested from the largest down to the first that fails (gaitforge.stats.find_tested), so a member
    needs the greatest loss that it or any larger one needs, by the lower ends of their networks' intervals. With
    too few people there are no tests: a member needs its own difference, and may lose exactly that.
    """
    if confirm.too_few:
        return {m.trial: -m.network.difference for m in confirm.members}
    downwards = sorted(
        enumerate(confirm.members), key=lambda pair: (pair[1].params, pair[0]), reverse=True
    )
    needed, most = {}, -math.inf
    for _, member in downwards:
        ends = member.network.difference_interval
        most = max(most, -(member.network.difference if ends is None else ends[0]))
        needed[member.trial] = most
    return needed


def list_teacher_doubts(confirm: Scores) -> list[Reason]:
    """Return the verdict's reasons that speak against the teacher itself: being as good as it may then say little."""
    return [
        reason
        for reason in confirm.verdict.rests_on
        if reason.about.startswith("teacher against") and reason.says == BAD
    ]


def _by_searched(
    teacher: Model, students: Iterable[Model], size: str, budget: float, loss: float
) -> Answer:
    sized = [
        (value, model)
        for model in students
        if (value := SIZES[size].read_from(model)) is not None
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
            f"Nothing is confirmed, and on the validation people no student scores within {say_points(loss)} of the "
            f"teacher's macro F1; the best, trial {best.number}, lies "
            f"{100 * ((teacher.macro_f1 or 0.0) - (best.macro_f1 or 0.0)):.1f} points below it."
        )
        return Answer(trial=None, confirmed=False, sentence=sentence)
    _, model = min(good, key=lambda pair: (pair[0], pair[1].number))
    sentence = (
        f"Not confirmed: by the validation people, who chose it, trial {model.number}, a {model.family} of "
        f"{SIZES[size].text(SIZES[size].read_from(model))}, has {_share(model.params, teacher.params)} of the "
        f"teacher's parameters and scores at most {say_points(loss)} of macro F1 below it."
    )
    return Answer(trial=model.number, confirmed=False, sentence=sentence)


def read_member_size(member: Member, models: Mapping[int, Model], size: str) -> float | None:
    """Return a confirmed student's size from its own record, else from its trial; None if unknown."""
    if size == "params":
        return float(member.params)
    if size == "macs" and member.macs is not None:
        return float(member.macs)
    trial = models.get(member.trial)
    return None if trial is None else SIZES[size].read_from(trial)


def say_points(loss: float) -> str:
    """Write a loss of macro F1 in words: 0.05 is "5 points", 0.01 "1 point"."""
    value = round(100 * loss, 6)
    return f"{value:g} point" if value == 1 else f"{value:g} points"


def say_interval_points(interval: Interval) -> str:
    """Write the ends of an interval of differences in points; "" without an interval."""
    return "" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _enough(confirm: Scores, needed: float, loss: float) -> bool:
    # a score of 0.8 - 0.05 is within 0.05 of 0.8, whatever the last bits say
    return needed <= loss + 1e-12 if confirm.too_few else needed < loss


def _next_step(confirm: Scores, needed: float) -> float:
    """Return the smallest step of the slider, in points and a multiple of 0.5, that is enough."""
    step = math.ceil(round(200 * needed, 9)) / 2
    return step if _enough(confirm, needed, step / 100) else step + 0.5


def _difference(confirm: Scores, member: Member) -> str:
    difference = f"{100 * member.network.difference:+.1f} points"
    ends = member.network.difference_interval
    return (
        difference if ends is None else f"{difference}, 95 % interval {say_interval_points(ends)}"
    )


def _size_of(member: Member, models: Mapping[int, Model], size: str) -> str:
    return SIZES[size].text(read_member_size(member, models, size))


def _share(params: int, teacher: int) -> str:
    share = 100 * params / max(teacher, 1)
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"
