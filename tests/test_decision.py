"""Which students are as good as their teacher: no smaller one is tested once a larger has failed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.decision import judge
from gaitforge.stats import compare

Ints = NDArray[np.int64]

PEOPLE = 30
ALL_RIGHT = [4] * PEOPLE
# everybody now and then, so that their spread alone decides
GOOD = [3, *[4, 3] * 14, 4]
TEACHER = [4, *[3, 4] * 14, 3]
BAD = [2] * PEOPLE


def answers(right_of_each: list[int]) -> Ints:
    """One network of two classes [P, 2, 2]: people of both in turn, with so many of four recordings right."""
    matrices = np.zeros((len(right_of_each), 2, 2), dtype=np.int64)
    for person, right in enumerate(right_of_each):
        matrices[person, person % 2, person % 2] = right
        matrices[person, person % 2, 1 - person % 2] = 4 - right
    return matrices


def judged(networks: list[list[int]], params: list[int], margin: float = 0.15) -> list[object]:
    found = judge([answers(network) for network in networks], answers(TEACHER), params, margin)
    return [(one.tested, one.noninferior) for one in found]


def test_the_cases_are_what_their_names_say() -> None:
    assert compare(answers(GOOD), answers(TEACHER)).low > -0.15
    assert compare(answers(BAD), answers(TEACHER)).high < -0.15


def test_students_that_pass_are_not_inferior_down_to_the_smallest() -> None:
    assert judged([GOOD, GOOD, ALL_RIGHT], [100, 200, 300]) == [(True, True)] * 3


def test_a_small_student_that_would_pass_is_not_tested_below_a_larger_that_fails() -> None:
    assert judged([GOOD, BAD, GOOD], [100, 200, 300]) == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip
    assert judged([GOOD, GOOD, BAD], [200, 100, 300]) == [
        (False, False), (False, False), (True, False),
    ]  # fmt: skip


def test_a_smaller_one_that_fails_takes_nothing_from_the_larger() -> None:
    assert judged([BAD, GOOD], [100, 200]) == [(True, False), (True, True)]


def test_a_difference_is_told_whether_or_not_it_was_tested() -> None:
    networks = [answers(GOOD), answers(BAD)]
    found = judge(networks, answers(TEACHER), [100, 200], 0.15)
    assert [one.difference for one in found] == [
        compare(network, answers(TEACHER)) for network in networks
    ]


@pytest.mark.parametrize(("people", "told"), [(11, None), (12, False)])
def test_too_few_people_test_nobody(people: int, told: bool | None) -> None:
    teacher = answers(TEACHER[:people])
    found = judge([answers(BAD[:people])], teacher, [100], 0.05)
    assert [(one.tested, one.noninferior) for one in found] == [(told is not None, told)]


def test_nobody_to_judge_is_no_error() -> None:
    assert judge([], answers(TEACHER), [], 0.05) == []


@pytest.mark.parametrize("rare", [5, 10])
def test_whole_people_of_a_rare_class_that_fail_are_not_called_as_good(rare: int) -> None:
    """Each of the rare class fails with the chance at which macro F1 loses the margin in truth."""
    people, recordings, margin = 100, 5, 0.05
    class_P = np.array([0] * rare + [1] * (people - rare))
    teacher_PKK = np.zeros((people, 2, 2), dtype=np.int64)
    teacher_PKK[np.arange(people), class_P, class_P] = recordings
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        student_PKK = teacher_PKK.copy()
        for person in np.flatnonzero(generator.random(rare) < 0.17):
            student_PKK[person, 0] = [0, recordings]
        wrong += bool(judge([student_PKK], teacher_PKK, [1], margin)[0].noninferior)
    # of 200, 2.5 % are 5
    assert wrong <= 14
