"""The verdict in words: ship, do not ship as a replacement, or cannot tell, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaitforge.decision import answer_of, signed
from gaitforge.failures import failure_note
from gaitforge.scorings import scored_sentence
from gaitforge.stats import MIN_PEOPLE
from gaitforge.trials import ENDED

SHIP, DO_NOT, CANNOT_TELL = "ship", "do not ship as a replacement", "cannot tell"
GOOD, BAD, OPEN = "good", "bad", "open"  # what a reason says about trusting the answer
# Refits whose validation scores lie further apart than this, as a standard deviation of macro F1, are of a
# student whose next seed may well be of another class: the margin that is allowed by default.
WIDE_SEEDS = 0.05


def verdict(
    report: Mapping[str, Any], failures: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The word, one plain sentence, and the reasons, each with its own sentence and whether it speaks for the answer.

    `report` is the content of `confirm/scores.json` before its verdict, `failures` those of `count_failures`.
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
    word = _word(report)
    return {
        "word": word,
        "sentence": _sentence(word, report, reasons),
        "rests_on": [
            {"about": about, "says": says, "text": text} for about, says, text in reasons
        ],
    }


Reason = tuple[str, str, str]  # what it is about, GOOD, BAD or OPEN, and the sentence
CHANCE = "always answering the commonest class"
TEACHER = "teacher against reference", "teacher against chance"
FAILURES, TIMES = "failures", "times scored"


def _word(report: Mapping[str, Any]) -> str:
    if report["too_few"] or not _above(report["chance"]["teacher_minus_this"]):
        return CANNOT_TELL
    if report["chosen"] is None:
        ends = [member["network"]["difference_interval"] for member in report["members"]]
        return DO_NOT if all(high < -report["margin"] for _, high in ends) else CANNOT_TELL
    network = answer_of(report)["network"]
    against = network["against_reference"]["difference_interval"]
    # what anybody could have had is better
    if against[1] < 0 or _below(network["against_chance"]):
        return DO_NOT
    if not _above(network["against_chance"]):
        return CANNOT_TELL
    worth_it = _above(report["reference"]["teacher_minus_this"]) or against[0] > -report["margin"]
    return SHIP if worth_it else CANNOT_TELL


def _above(difference: Mapping[str, Any]) -> bool:
    ends = difference["difference_interval"]
    return ends is not None and bool(ends[0] > 0)


def _below(difference: Mapping[str, Any]) -> bool:
    ends = difference["difference_interval"]
    return ends is not None and bool(ends[1] < 0)


def _sentence(word: str, report: Mapping[str, Any], reasons: Sequence[Reason]) -> str:
    """The answer of the whole line: a doubtful teacher first, then the word and the network it is about.

    What speaks against the search or the people at all stands at its end.
    """
    member = answer_of(report)
    start = f"{word[0].upper()}{word[1:]}:"
    doubts = [text for about, says, text in reasons if about in TEACHER and says == BAD]
    margin, trial = f"{report['margin']:g} macro F1", f"trial {member['trial']}"
    against_reference = member["network"]["against_reference"]
    against = f"minus the reference, {trial} has {signed(against_reference, _at_once(report))}"
    chance = member["network"]["against_chance"]
    if report["too_few"]:
        are = "is" if report["people"] == 1 else "are"
        said = (
            f"{_many(report['people'])} {are} too few for an interval, which needs {MIN_PEOPLE}."
        )
    elif doubts and word == SHIP:
        said = f"{trial} is shown to lose less than {margin} to the teacher, and to that regression as well; {against}."
    elif report["chosen"] is not None and not _above(chance) and not _below(against_reference):
        said = (
            f"trial {member['trial']} is shown to lose less than {margin} to the teacher, but {_shown(chance)} than "
            f"{CHANCE}; minus that, it has {signed(chance, _at_once(report))}."
        )
    elif doubts:
        said = f"to be as good as such a teacher says little; {against}."
    elif report["chosen"] is not None and word == DO_NOT:
        said = (
            f"{trial} is shown to lose less than {margin} to the teacher, but also to be worse than the reference; "
            f"{against}."
        )
    elif report["chosen"] is not None:
        said = f"{trial} is the smallest student shown to lose less than {margin} to the teacher."
    elif word == DO_NOT:
        said = f"every student is shown to lose more than {margin} to the teacher; {trial} scores best."
    else:
        said = (
            f"no student is shown to lose less than {margin} to the teacher; {trial} scores best."
        )
    parts = [*doubts[:1], f"{start} {said}", _network(report, member)]
    noted = [text for about, says, text in reasons if about in (FAILURES, TIMES) and says == BAD]
    return " ".join([*parts, *(_by_person(member) if report["too_few"] else ()), *noted])


def _network(report: Mapping[str, Any], member: Mapping[str, Any]) -> str:
    """The network that is handed out, beside what it is held against."""
    network, teacher = member["network"], report["teacher"]
    share = 100 * member["params"] / teacher["params"]
    return (
        f"The network of trial {member['trial']} has {member['params']:,} parameters ({share:.1f} % of the teacher's "
        f"{teacher['params']:,}) "
        f"and macro F1 {network['macro_f1']:.3f} on {_many(report['people'])} never seen before, the teacher "
        f"{teacher['macro_f1']:.3f}, the reference {report['reference']['macro_f1']:.3f}; difference to the "
        f"teacher {signed(network)}."
    )


def _by_person(member: Mapping[str, Any]) -> list[str]:
    one_by_one = member["network"]["by_person"]
    if one_by_one is None:
        return []
    apart = list(one_by_one["differences"].values())
    better, worse = sum(value > 0 for value in apart), sum(value < 0 for value in apart)
    return [
        f"It is right more often than the teacher for {better} of them, less often for {worse} (exact sign flips over "
        f"people: p = {one_by_one['sign_flip_p']:.2g})."
    ]


def _people(report: Mapping[str, Any]) -> Reason:
    many = _many(report["people"])
    if report["too_few"]:
        return "people", OPEN, f"Confirmed on {many}, but intervals hold from {MIN_PEOPLE} on."
    return "people", GOOD, f"Confirmed on {many}, enough for intervals."


def _teacher_against(report: Mapping[str, Any], what: str) -> Reason:
    name = {"reference": "a ridge regression on the same windows", "chance": CHANCE}[what]
    difference = report[what]["teacher_minus_this"]
    both = f"{report['teacher']['macro_f1']:.3f} against {report[what]['macro_f1']:.3f}"
    told = f"(macro F1 {both}; {signed(difference)})"
    about, ends = f"teacher against {what}", difference["difference_interval"]
    if ends is None:
        return (
            about,
            OPEN,
            f"Too few people tell whether the teacher is better than {name} {told}.",
        )
    says = GOOD if _above(difference) else BAD
    return about, says, f"The teacher is {_shown(difference)} than {name} {told}."


def _student_against_teacher(report: Mapping[str, Any]) -> Reason:
    about, margin = "student against teacher", report["margin"]
    tested = sum(member["network"]["tested"] for member in report["members"])
    if report["too_few"]:
        return about, OPEN, "Too few people test a student against the teacher."
    held = f"tested from the largest student down, {tested} of {len(report['members'])}, each at 2.5 %"
    if report["chosen"] is None:
        return (
            about,
            BAD,
            f"No student is shown to be within {margin:g} macro F1 of the teacher ({held}).",
        )
    together = ", so that all together are wrong in at most 2.5 %"
    if report["times_scored"] > 1:
        together = ", which holds for the first time that people are scored"
    return (
        about,
        GOOD,
        f"Trial {report['chosen']} and all larger students are shown to be within {margin:g} macro F1 of the teacher "
        f"({held}{together}).",
    )


def _student_against_reference(report: Mapping[str, Any]) -> Reason:
    difference = answer_of(report)["network"]["against_reference"]
    about, ends = "student against reference", difference["difference_interval"]
    told = f"minus the reference, the network's macro F1 is {signed(difference, _at_once(report))}"
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
    if ends[0] > -report["margin"]:
        return (
            about,
            GOOD,
            f"The student is shown to lose less than the margin to the reference: {told}.",
        )
    return about, OPEN, f"Whether the student is as good as the reference is open: {told}."


def _student_against_chance(report: Mapping[str, Any]) -> Reason:
    difference = answer_of(report)["network"]["against_chance"]
    about = "student against chance"
    told = f"(the network's macro F1 minus that: {signed(difference, _at_once(report))})"
    if difference["difference_interval"] is None:
        return (
            about,
            OPEN,
            f"Too few people tell whether the student is better than {CHANCE} {told}.",
        )
    says = GOOD if _above(difference) else BAD
    return about, says, f"The student is {_shown(difference)} than {CHANCE} {told}."


def _shown(difference: Mapping[str, Any]) -> str:
    """What an interval shows of somebody, as said before "than"."""
    if _above(difference):
        return "shown to be better"
    return "shown to be worse" if _below(difference) else "not shown to be better"


def _failures(failures: Mapping[str, Mapping[str, Any]]) -> Reason:
    note = failure_note(failures)
    if note is not None:
        return FAILURES, BAD, note
    failed = sum(counts["failed"] for counts in failures.values())
    ended = sum(counts[state] for counts in failures.values() for state in ENDED)
    return FAILURES, GOOD, f"{failed} of {ended} students of the search failed."


def _searched_and_confirmed(report: Mapping[str, Any]) -> Reason:
    optimism = report["optimism"]
    ends = optimism["interval"]
    says = OPEN if ends is None else BAD if ends[0] > 0 else GOOD
    return "searched against confirmed", says, str(optimism["sentence"])


def _seeds(report: Mapping[str, Any]) -> Reason:
    spread = report["optimism"]["seed_sd"]
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


def _times(report: Mapping[str, Any]) -> Reason:
    again = scored_sentence(report["times_scored"])
    if again is not None:
        return TIMES, BAD, again
    return TIMES, GOOD, "These people have been scored once in this work folder."


def _at_once(report: Mapping[str, Any]) -> str:
    """Which intervals against the reference hold together: the student is picked by the same people."""
    members = len(report["members"])
    return "" if members == 1 else f", of all {members} students at once,"


def _many(people: int) -> str:
    return "1 person" if people == 1 else f"{people} people"
