"""The verdict in words: ship, do not ship as a replacement, or cannot tell, with the reasons for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gaitforge.decision import HasDifference, say_difference
from gaitforge.failures import failure_note
from gaitforge.records import confirm as records
from gaitforge.records.confirm import (
    BAD,
    GOOD,
    OPEN,
    Beaten,
    Member,
    ModelScores,
    Report,
    Says,
    Verdict,
)
from gaitforge.records.shortcuts import ShortcutFacts
from gaitforge.records.summary import FamilyEnds
from gaitforge.scorings import scored_sentence
from gaitforge.stats import MIN_PEOPLE

SHIP, DO_NOT, CANNOT_TELL = "ship", "do not ship as a replacement", "cannot tell"
MARKS = {GOOD: "+", BAD: "-", OPEN: "?"}
# Refits whose validation scores lie further apart than this, as a standard deviation of macro F1, are of a
# student whose next seed may well be of another class: the margin that is allowed by default.
WIDE_SEEDS = 0.05


def reach_verdict(
    report: Report, failures: Mapping[str, FamilyEnds], shortcuts: ShortcutFacts | None = None
) -> Verdict:
    """Reach the verdict: its word, a headline of one sentence, and the reasons, each for it, against it or open.

    `failures` are those of `count_failures`. What recorded columns tell stands beside the answer, and does not
    change it.
    """
    reasons = [
        _people(report),
        _teacher_against(report, "reference"),
        _teacher_against(report, "chance"),
        _student_against_teacher(report),
        _student_against_reference(report),
        _student_against_chance(report),
        _failures(failures),
        _searched_and_confirmed(report),
        _seeds(report),
        _times(report),
    ]
    if shortcuts is not None:
        reasons.append(("shortcuts", shortcuts.says, shortcuts.sentence))
    word = _word(report)
    return Verdict(
        word=word,
        sentence=_sentence(word, report, reasons),
        rests_on=tuple(
            records.Reason(about=about, says=says, text=text) for about, says, text in reasons
        ),
    )


def format_verdict(verdict: Verdict) -> list[str]:
    """Format a verdict for the terminal: its headline, then a line for each reason with a mark for how it speaks."""
    reasons = [f"  {MARKS[row.says]} {row.text}" for row in verdict.rests_on]
    return [
        verdict.sentence,
        "It rests on (+ speaks for it, - against it, ? open):",
        *reasons,
    ]


Reason = tuple[str, Says, str]  # what it is about, GOOD, BAD or OPEN, and the sentence
CHANCE = "always answering the commonest class"
TEACHER = "teacher against reference", "teacher against chance"
FAILURES, TIMES = "failures", "times scored"
MORE_PEOPLE = (
    "record more people, give confirm a larger share of them (split.fractions), or have all people scored in turn "
    "(confirm.folds)"
)


def _word(report: Report) -> str:
    if report.too_few or not _above(report.chance.teacher_minus_this):
        return CANNOT_TELL
    if report.chosen is None:
        ends = [_ends(member.network) for member in report.members]
        return DO_NOT if all(high < -report.margin for _, high in ends) else CANNOT_TELL
    network = report.answer.network
    against = _ends(network.against_reference)
    # what anybody could have had is better
    if against[1] < 0 or _below(network.against_chance):
        return DO_NOT
    if not _above(network.against_chance):
        return CANNOT_TELL
    worth_it = _above(report.reference.teacher_minus_this) or against[0] > -report.margin
    return SHIP if worth_it else CANNOT_TELL


def _ends(difference: HasDifference) -> tuple[float, float]:
    """Return the interval of a difference, which is there where people are enough for one."""
    ends = difference.difference_interval
    assert ends is not None
    return ends


def _above(difference: HasDifference) -> bool:
    ends = difference.difference_interval
    return ends is not None and bool(ends[0] > 0)


def _below(difference: HasDifference) -> bool:
    ends = difference.difference_interval
    return ends is not None and bool(ends[1] < 0)


def _sentence(word: str, report: Report, reasons: Sequence[Reason]) -> str:
    """Write the headline: the word, and in one sentence what decides it; the numbers stand in the reasons."""
    member = report.answer
    margin, trial = f"{report.margin:g} macro F1", f"trial {member.trial}"
    # chance last: a teacher that may be guessing is worse than one that anybody could have had
    doubts = [about for about, says, _ in reasons if about in TEACHER and says == BAD]
    doubt = f"the teacher {_teacher_is(report, doubts[-1].split()[-1])}" if doubts else ""
    reference, chance = member.network.against_reference, member.network.against_chance
    close = f"shown to lose less than {margin} to the teacher"
    if report.too_few:
        are = "is" if report.people == 1 else "are"
        said = f"{_many(report.people)} {are} too few for an interval, which needs {MIN_PEOPLE}; {MORE_PEOPLE}"
    elif (
        report.chosen is not None and word != SHIP and not _above(chance) and not _below(reference)
    ):
        said = f"{trial} is {close}, but {_shown(chance)} than {CHANCE}"
    elif word == SHIP and doubts:
        said = f"{trial} is {close}, and to a ridge regression on the same windows as well, but {doubt}"
    elif word == SHIP:
        share = 100 * member.params / report.teacher.params
        said = f"{trial}, with {share:.1f} % of the teacher's parameters, is the smallest student {close}"
    elif doubts and word == CANNOT_TELL and report.chosen is not None:
        said = f"{doubt}, so that it says little that {trial} is shown to lose less than {margin} to it"
    elif doubts and word == CANNOT_TELL:
        said = f"{doubt}, and no student is {close}"
    elif report.chosen is not None and word == DO_NOT:
        said = f"{trial} is {close}, but also to be worse than the reference"
    elif word == DO_NOT:
        said = f"every student is shown to lose more than {margin} to the teacher; {trial} scores best"
    else:
        said = f"no student is {close}; {trial} scores best"
    return f"{word[0].upper()}{word[1:]}: {said}."


def _teacher_is(report: Report, what: str) -> str:
    """Say how the teacher compares with "reference" or "chance", in words that follow its name."""
    name = {"reference": "a ridge regression on the same windows", "chance": CHANCE}[what]
    return f"is {_shown(_beaten(report, what).teacher_minus_this)} than {name}"


def _f1_against(report: Report, other: ModelScores) -> str:
    """Format the macro F1 of the answer's network beside another's."""
    return f"macro F1 {report.answer.network.macro_f1:.3f} against {other.macro_f1:.3f}"


def _by_person(member: Member) -> str:
    one_by_one = member.network.by_person
    if one_by_one is None:
        return ""
    apart = list(one_by_one.differences.values())
    better, worse = sum(value > 0 for value in apart), sum(value < 0 for value in apart)
    return (
        f" It is right more often than the teacher for {better} of them, less often for {worse} (exact sign flips over "
        f"people: p = {one_by_one.sign_flip_p:.2g})."
    )


def _people(report: Report) -> Reason:
    many = _many(report.people)
    if report.too_few:
        return "people", OPEN, f"Confirmed on {many}, but intervals hold from {MIN_PEOPLE} on."
    return "people", GOOD, f"Confirmed on {many}, enough for intervals."


def _teacher_against(report: Report, what: str) -> Reason:
    difference = _beaten(report, what).teacher_minus_this
    both = f"{report.teacher.macro_f1:.3f} against {_beaten(report, what).macro_f1:.3f}"
    told = f"macro F1 {both}, {say_difference(difference)}"
    about = f"teacher against {what}"
    if difference.difference_interval is None:
        name = {"reference": "the reference", "chance": "chance"}[what]
        return about, OPEN, f"Too few people hold the teacher against {name}; {told}."
    says = GOOD if _above(difference) else BAD
    return about, says, f"The teacher {_teacher_is(report, what)}: {told}."


def _student_against_teacher(report: Report) -> Reason:
    about, margin = "student against teacher", report.margin
    tested = sum(member.network.tested for member in report.members)
    member = report.answer
    told = f"{_f1_against(report, report.teacher)}, {say_difference(member.network)}"
    if report.too_few:
        return (
            about,
            OPEN,
            f"Too few people test trial {member.trial} against the teacher; {told}.{_by_person(member)}",
        )
    held = f"Tested from the largest down, {tested} of {len(report.members)}, each at 2.5 %"
    if report.chosen is None:
        return (
            about,
            BAD,
            f"No student is shown to lose less than {margin:g} macro F1 to the teacher; trial {member.trial} has "
            f"{told}. {held}.",
        )
    together = ", so that all together are wrong in at most 2.5 %"
    if report.times_scored > 1:
        together = ", which holds for the first time that people are scored"
    return (
        about,
        GOOD,
        f"Trial {report.chosen} and all larger students are shown to lose less than {margin:g} macro F1 to the "
        f"teacher: {told}. {held}{together}.",
    )


def _student_against_reference(report: Report) -> Reason:
    difference = report.answer.network.against_reference
    about, ends = "student against reference", difference.difference_interval
    told = (
        f"{_f1_against(report, report.reference)}, {say_difference(difference, _at_once(report))}"
    )
    if ends is None:
        return about, OPEN, f"Too few people hold the student against the reference; {told}."
    if ends[1] < 0:
        return (
            about,
            BAD,
            f"The reference, which anybody could have had, is shown to be better: {told}.",
        )
    if ends[0] > 0:
        return about, GOOD, f"The student is shown to be better than the reference: {told}."
    if ends[0] > -report.margin:
        return (
            about,
            GOOD,
            f"The student is shown to lose less than the margin to the reference: {told}.",
        )
    return about, OPEN, f"Whether the student is as good as the reference is open: {told}."


def _student_against_chance(report: Report) -> Reason:
    difference = report.answer.network.against_chance
    about = "student against chance"
    told = f"{_f1_against(report, report.chance)}, {say_difference(difference, _at_once(report))}"
    if difference.difference_interval is None:
        return about, OPEN, f"Too few people hold the student against chance; {told}."
    says = GOOD if _above(difference) else BAD
    return about, says, f"The student is {_shown(difference)} than {CHANCE}: {told}."


def _shown(difference: HasDifference) -> str:
    """Say what the interval of a difference shows, in words that come before "than"."""
    if _above(difference):
        return "shown to be better"
    return "shown to be worse" if _below(difference) else "not shown to be better"


def _failures(failures: Mapping[str, FamilyEnds]) -> Reason:
    note = failure_note(failures)
    if note is not None:
        return FAILURES, BAD, note
    failed = sum(counts.failed for counts in failures.values())
    ended = sum(counts.ended for counts in failures.values())
    return FAILURES, GOOD, f"{failed} of {ended} students of the search failed."


def _searched_and_confirmed(report: Report) -> Reason:
    about, sentence = "searched against confirmed", str(report.optimism.sentence)
    ends, margin = report.optimism.interval, report.margin
    if ends is None:
        return about, OPEN, sentence
    if ends[0] > 0:
        return about, BAD, f"{sentence} The search is shown to have flattered its front."
    if ends[1] < margin:
        return (
            about,
            GOOD,
            f"{sentence} It is shown not to have flattered its front by {margin:g}.",
        )
    return about, OPEN, f"{sentence} Whether it has flattered its front is open."


def _seeds(report: Report) -> Reason:
    spread = report.optimism.seed_sd
    if spread is None:
        return (
            "seeds",
            OPEN,
            "One seed of each student was trained, so that nothing is known of others.",
        )
    return (
        "seeds",
        GOOD if spread <= WIDE_SEEDS else BAD,
        f"Macro F1 on the validation people spreads over seeds by {spread:.3f} (standard deviation).",
    )


def _times(report: Report) -> Reason:
    again = scored_sentence(report.times_scored)
    if again is not None:
        return TIMES, BAD, again
    return TIMES, GOOD, "These people have been scored once in this work folder."


def _beaten(report: Report, what: str) -> Beaten:
    """Return the reference's scores, or those of chance."""
    return report.reference if what == "reference" else report.chance


def _at_once(report: Report) -> str:
    """Say that the intervals of all students hold together, since the same people pick one; "" for one student."""
    members = len(report.members)
    return "" if members == 1 else f", of all {members} students at once,"


def _many(people: int) -> str:
    return "1 person" if people == 1 else f"{people} people"
