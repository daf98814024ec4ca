"""The verdict in words: which word, what stands first, and that too few people show nothing."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from gaitforge.records.confirm import BAD, GOOD, OPEN
from gaitforge.records.summary import FamilyEnds
from gaitforge.settings import ConfirmSettings, RunSettings
from gaitforge.splits import SplitSettings
from tests.made import made_report
from trainers.confirm.trust import (
    CANNOT_TELL,
    DO_NOT,
    SHIP,
    format_verdict,
    reach_verdict,
)

MARGIN = 0.05
WORDS = (SHIP, DO_NOT, CANNOT_TELL)
ABOVE, OPEN_ENDS, BELOW = [0.02, 0.3], [-0.04, 0.2], [-0.3, -0.1]
FINE = {"tcn": FamilyEnds(finished=20, stopped=9, failed=1, reasons={"Out of memory.": 1})}
HALF_FAILED = {"tcn": FamilyEnds(finished=5, stopped=0, failed=5, reasons={"Out of memory.": 5})}


def difference(ends: list[float] | None, value: float = 0.0) -> dict[str, Any]:
    middle = value if ends is None else sum(ends) / 2
    return {"difference": middle, "difference_interval": ends}


def student(
    trial: int = 3,
    params: int = 500,
    *,
    ends: list[float] | None = [-0.03, 0.01],  # noqa: B006
    against_reference: list[float] | None = ABOVE,
    against_chance: list[float] | None = ABOVE,
    tested: bool = True,
    macro_f1: float = 0.80,
    by_person: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "trial": trial,
        "params": params,
        "network": {
            "macro_f1": macro_f1, "tested": tested, "by_person": by_person, **difference(ends, -0.01),
            "against_reference": difference(against_reference, 0.05),
            "against_chance": difference(against_chance, 0.3),
        },
    }  # fmt: skip


def report(
    *members: dict[str, Any],
    chosen: int | None = 3,
    people: int = 40,
    reference: list[float] | None = ABOVE,
    chance: list[float] | None = ABOVE,
    optimism: list[float] | None = [-0.02, 0.03],  # noqa: B006
    seed_sd: float | None = 0.02,
    times_scored: int = 1,
) -> dict[str, Any]:
    few = people < 12
    found = "too few people for an interval" if few else "95 % interval"
    return {
        "margin": MARGIN, "people": people, "too_few": few, "times_scored": times_scored, "chosen": chosen,
        "teacher": {"macro_f1": 0.81, "params": 10_000},
        "reference": {"macro_f1": 0.70, "teacher_minus_this": difference(reference)},
        "chance": {"macro_f1": 0.25, "teacher_minus_this": difference(chance)},
        "members": list(members or (student(),)),
        "optimism": {
            "interval": optimism, "seed_sd": seed_sd, "sentence": f"The search was about right ({found}).",
        },
    }  # fmt: skip


def of_few(people: int = 4) -> dict[str, Any]:
    """What the tables hold of people who are too few: no interval anywhere, and differences by person."""
    apart = {"p1": 0.5, "p2": -0.25, "p3": -0.25, "p4": 0.0}
    member = student(
        ends=None, against_reference=None, against_chance=None, tested=False,
        by_person={"differences": apart, "sign_flip_p": 0.75},
    )  # fmt: skip
    return report(member, people=people, reference=None, chance=None, optimism=None)


def said(
    content: dict[str, Any], failures: dict[str, FamilyEnds] = FINE
) -> tuple[str, str, dict[str, tuple[str, str]]]:
    """The word, the sentence, and each reason's word and text."""
    found = reach_verdict(made_report(content), failures)
    reasons: dict[str, tuple[str, str]] = {
        row.about: (row.says, row.text) for row in found.rests_on
    }
    assert len(reasons) == len(found.rests_on) == 10
    assert found.word in WORDS
    return found.word, found.sentence, reasons


# the words


def test_a_student_within_the_margin_of_a_teacher_above_the_reference_is_shipped() -> None:
    word, sentence, reasons = said(report())
    assert word == SHIP
    assert sentence == (
        "Ship: trial 3, with 5.0 % of the teacher's parameters, is the smallest student shown to lose less than 0.05 "
        "macro F1 to the teacher."
    )
    assert {says for says, _ in reasons.values()} == {GOOD}
    assert reasons["student against teacher"][1] == (
        "Trial 3 and all larger students are shown to lose less than 0.05 macro F1 to the teacher: macro F1 0.800 "
        "against 0.810, -0.010 (95 % interval -0.030 to +0.010). Tested from the largest down, 1 of 1, each at 2.5 %, "
        "so that all together are wrong in at most 2.5 %."
    )


def test_students_that_all_lose_more_than_the_margin_are_not_to_be_shipped() -> None:
    lost = [
        student(1, 300, ends=[-0.3, -0.06], tested=False, macro_f1=0.6),
        student(2, 900, ends=[-0.2, -0.051], macro_f1=0.7),
    ]
    word, sentence, reasons = said(report(*lost, chosen=None))
    assert word == DO_NOT
    assert sentence == (
        "Do not ship as a replacement: every student is shown to lose more than 0.05 macro F1 to the teacher; trial 2 "
        "scores best."
    )
    assert reasons["student against teacher"][0] == BAD


def test_where_one_student_may_be_good_enough_nobody_can_tell() -> None:
    some = [
        student(1, 300, ends=[-0.3, -0.06], tested=False, macro_f1=0.6),
        student(2, 900, ends=[-0.2, -0.04], macro_f1=0.7),
    ]
    word, sentence, reasons = said(report(*some, chosen=None))
    assert word == CANNOT_TELL
    assert sentence == (
        "Cannot tell: no student is shown to lose less than 0.05 macro F1 to the teacher; trial 2 scores best."
    )
    assert reasons["student against teacher"] == (
        BAD,
        "No student is shown to lose less than 0.05 macro F1 to the teacher; trial 2 has macro F1 0.700 against 0.810, "
        "-0.120 (95 % interval -0.200 to -0.040). Tested from the largest down, 1 of 2, each at 2.5 %.",
    )


def test_a_student_shown_to_be_worse_than_the_reference_is_not_to_be_shipped() -> None:
    word, sentence, reasons = said(report(student(against_reference=BELOW)))
    assert word == DO_NOT
    assert sentence == (
        "Do not ship as a replacement: trial 3 is shown to lose less than 0.05 macro F1 to the teacher, but also to be "
        "worse than the reference."
    )
    assert reasons["student against reference"] == (
        BAD,
        "The reference, which anybody could have had, is shown to be better: macro F1 0.800 against 0.700, -0.200 "
        "(95 % interval -0.300 to -0.100).",
    )


@pytest.mark.parametrize(
    ("ends", "word", "shown"),
    [
        ([0.001, 0.2], SHIP, "shown to be better"),
        ([0.0, 0.2], CANNOT_TELL, "not shown to be better"),
        ([-0.2, -0.01], DO_NOT, "shown to be worse"),
    ],
)
@pytest.mark.parametrize("reference", [ABOVE, OPEN_ENDS])
def test_a_student_not_shown_to_be_above_chance_is_not_shipped(
    reference: list[float], ends: list[float], word: str, shown: str
) -> None:
    found, sentence, reasons = said(
        report(student(against_chance=ends), student(4, 900), reference=reference)
    )
    assert found == word
    middle = f"{sum(ends) / 2:+.3f} (95 % interval, of all 2 students at once, {ends[0]:+.3f} to {ends[1]:+.3f})"
    assert reasons["student against chance"] == (
        GOOD if word == SHIP else BAD,
        f"The student is {shown} than always answering the commonest class: macro F1 0.800 against 0.250, {middle}.",
    )
    why = (
        f"{word[0].upper()}{word[1:]}: trial 3 is shown to lose less than 0.05 macro F1 to the teacher, but {shown} "
        "than always answering the commonest class."
    )
    assert (why == sentence) == (word != SHIP)


@pytest.mark.parametrize("chance", [OPEN_ENDS, BELOW])
def test_a_teacher_that_may_be_guessing_tells_nothing(chance: list[float]) -> None:
    word, sentence, reasons = said(report(chance=chance))
    assert word == CANNOT_TELL
    assert reasons["teacher against chance"][0] == BAD
    shown = "shown to be worse" if chance is BELOW else "not shown to be better"
    assert sentence == (
        f"Cannot tell: the teacher is {shown} than always answering the commonest class, so that it says little that "
        "trial 3 is shown to lose less than 0.05 macro F1 to it."
    )
    _, sentence, _ = said(report(chance=chance, reference=BELOW, chosen=None))
    assert sentence == (
        f"Cannot tell: the teacher is {shown} than always answering the commonest class, and no student is shown to "
        "lose less than 0.05 macro F1 to the teacher."
    )


@pytest.mark.parametrize(
    ("against_reference", "word"),
    [
        ([0.01, 0.2], SHIP),
        ([-0.049, 0.2], SHIP),  # within the margin of what anybody could have had
        ([-0.051, 0.2], CANNOT_TELL),
        ([-0.2, -0.01], DO_NOT),
    ],
)
def test_beside_a_teacher_not_above_the_reference_the_student_is_judged_by_the_reference(
    against_reference: list[float], word: str
) -> None:
    found, sentence, reasons = said(
        report(student(against_reference=against_reference), reference=OPEN_ENDS)
    )
    assert found == word
    doubt = "the teacher is not shown to be better than a ridge regression on the same windows"
    close = "trial 3 is shown to lose less than 0.05 macro F1 to"
    said_ = {
        SHIP: f"{close} the teacher, and to a ridge regression on the same windows as well, but {doubt}",
        CANNOT_TELL: f"{doubt}, so that it says little that {close} it",
        DO_NOT: f"{close} the teacher, but also to be worse than the reference",
    }
    assert sentence == f"{word[0].upper()}{word[1:]}: {said_[word]}."
    assert reasons["teacher against reference"] == (
        BAD,
        f"T{doubt[1:]}: macro F1 0.810 against 0.700, +0.080 (95 % interval -0.040 to +0.200).",
    )


def test_a_teacher_shown_to_be_worse_than_the_reference_is_said_to_be() -> None:
    _, sentence, reasons = said(report(reference=BELOW))
    assert sentence.endswith(
        "but the teacher is shown to be worse than a ridge regression on the same windows."
    )
    assert reasons["teacher against reference"][0] == BAD


BRACKET_IN_BRACKETS = re.compile(r"\([^)]*\(")


def test_a_verdict_is_one_headline_and_a_line_for_each_reason_without_brackets_in_brackets() -> (
    None
):
    reports = [
        *(report(student(), student(4, 900), reference=ends, chance=other, chosen=chosen, times_scored=2)
          for ends in (ABOVE, OPEN_ENDS, BELOW) for other in (ABOVE, OPEN_ENDS) for chosen in (3, None)),
        *(report(student(against_reference=ends)) for ends in (ABOVE, OPEN_ENDS, BELOW)),
        of_few(),
    ]  # fmt: skip
    for content in reports:
        found = reach_verdict(made_report(content), HALF_FAILED)
        assert ". " not in found.sentence
        assert found.sentence.startswith(f"{found.word.capitalize()}: ")
        head, how, *lines = format_verdict(found)
        assert head == found.sentence
        assert "+ speaks for it, - against it, ? open" in how
        assert len(lines) == len(found.rests_on)
        for line, reason in zip(lines, found.rests_on, strict=True):
            mark = {GOOD: "+", BAD: "-", OPEN: "?"}[reason.says]
            assert line == f"  {mark} {reason.text}"
            assert "\n" not in line
        assert not [line for line in (head, *lines) if BRACKET_IN_BRACKETS.search(line)]


# too few people


@pytest.mark.parametrize("people", [1, 4, 11])
def test_too_few_people_show_nothing(people: int) -> None:
    word, sentence, reasons = said(of_few(people))
    assert word == CANNOT_TELL
    texts = [sentence, *(text for _, text in reasons.values())]
    assert not [text for text in texts if "shown" in text or "95 %" in text]
    for about in (
        "people", "teacher against reference", "teacher against chance", "student against teacher",
        "student against reference", "student against chance", "searched against confirmed",
    ):  # fmt: skip
        assert reasons[about][0] == OPEN, about


def test_too_few_people_are_told_one_by_one() -> None:
    _, _, reasons = said(of_few())
    assert reasons["student against teacher"][1] == (
        "Too few people test trial 3 against the teacher; macro F1 0.800 against 0.810, -0.010. It is right more often "
        "than the teacher for 1 of them, less often for 2 (exact sign flips over people: p = 0.75)."
    )


def test_of_too_few_people_it_is_said_which_settings_get_more() -> None:
    _, sentence, _ = said(of_few())
    assert sentence == (
        "Cannot tell: 4 people are too few for an interval, which needs 12; record more people, give confirm a larger "
        "share of them (split.fractions), or have all people scored in turn (confirm.folds)."
    )
    for setting in re.findall(r"\((\w+)\.(\w+)\)", sentence):
        table, key = setting
        (kind,) = [field.type for field in dataclasses.fields(RunSettings) if field.name == table]
        settings = {"SplitSettings": SplitSettings, "ConfirmSettings": ConfirmSettings}[str(kind)]
        assert key in {field.name for field in dataclasses.fields(settings)}


def test_one_person_is_not_people() -> None:
    assert "1 person is too few" in said(of_few(1))[1]


# what else it rests on


def test_several_students_are_held_against_the_reference_all_at_once() -> None:
    members = student(), student(4, 900)
    _, text = said(report(*members))[2]["student against reference"]
    assert text == (
        "The student is shown to be better than the reference: macro F1 0.800 against 0.700, +0.160 (95 % interval, of "
        "all 2 students at once, +0.020 to +0.300)."
    )
    _, text = said(report())[2]["student against reference"]
    assert "at once" not in text


@pytest.mark.parametrize(
    ("ends", "says", "start"),
    [
        ([0.01, 0.2], GOOD, "The student is shown to be better than the reference"),
        ([-0.04, 0.2], GOOD, "The student is shown to lose less than the margin to the reference"),
        ([-0.06, 0.2], OPEN, "Whether the student is as good as the reference is open"),
        ([-0.2, -0.01], BAD, "The reference, which anybody could have had, is shown to be better"),
    ],
)
def test_what_is_said_of_the_student_beside_the_reference(
    ends: list[float], says: str, start: str
) -> None:
    found, text = said(report(student(against_reference=ends)))[2]["student against reference"]
    assert found == says
    assert text.startswith(start)


def test_families_that_failed_are_noted() -> None:
    reasons = said(report(), HALF_FAILED)[2]
    note = (
        "What the search says of a family rests on those that finished, and of the 10 students of tcn 5 failed (50 %), "
        "most often since Out of memory."
    )
    assert reasons["failures"] == (BAD, note)
    assert said(report())[2]["failures"] == (GOOD, "1 of 30 students of the search failed.")


def test_people_who_were_scored_before_are_said_to_be() -> None:
    assert said(report())[2]["times scored"][0] == GOOD
    word, _, reasons = said(report(times_scored=3))
    says, text = reasons["times scored"]
    assert says == BAD
    assert text.startswith("Some of these people have been scored 3 times in this work folder")
    assert word == SHIP
    # an error rate for one look is not claimed of the third
    once, third = (
        said(report(times_scored=times))[2]["student against teacher"][1] for times in (1, 3)
    )
    assert "all together are wrong in at most 2.5 %" in once
    assert "all together" not in third


@pytest.mark.parametrize(
    ("interval", "says", "end"),
    [
        ([0.01, 0.2], BAD, "shown to have flattered its front."),
        ([0.01, 0.02], BAD, "shown to have flattered its front."),
        ([-0.01, 0.2], OPEN, "Whether it has flattered its front is open."),
        ([-0.01, 0.05], OPEN, "Whether it has flattered its front is open."),
        ([-0.01, 0.049], GOOD, "shown not to have flattered its front by 0.05."),
        (None, OPEN, "(too few people for an interval)."),
    ],
)
def test_that_the_search_was_not_too_kind_speaks_for_the_answer_only_where_it_is_shown(
    interval: list[float] | None, says: str, end: str
) -> None:
    content = report(optimism=interval)
    if interval is None:
        content["optimism"]["sentence"] = (
            "The search was about right (too few people for an interval)."
        )
    found, text = said(content)[2]["searched against confirmed"]
    assert found == says
    assert text.endswith(end)


@pytest.mark.parametrize(("spread", "says"), [(0.05, GOOD), (0.051, BAD), (None, OPEN)])
def test_seeds_that_lie_apart_speak_against_the_student(spread: float | None, says: str) -> None:
    found, text = said(report(seed_sd=spread))[2]["seeds"]
    assert found == says
    assert spread is None or f"{spread:.3f}" in text
