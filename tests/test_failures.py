"""Failures by family and reason, and when the answer must say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaitforge.failures import count_failures, describe_student, failure_note
from gaitforge.records.summary import FamilyEnds
from gaitforge.records.trial import State, Trial
from tests.test_trials import ended

KILLED = "the worker process was killed by SIGSEGV"


def trials(family: str, state: State, count: int, reason: str | None = None) -> list[Trial]:
    scores = {"val_macro_f1": 0.5} if state == "finished" else None
    return [
        ended(i, family=family, state=state, reason=reason, scores=scores) for i in range(count)
    ]


def counts(finished: int, stopped: int, failed: int) -> FamilyEnds:
    reasons = {KILLED: failed} if failed else {}
    return FamilyEnds(finished=finished, stopped=stopped, failed=failed, reasons=reasons)


def test_failures_are_counted_by_family_and_reason_the_commonest_first() -> None:
    found = count_failures(
        [
            *trials("tcn", "finished", 3),
            *trials("stgcn", "failed", 1, "the loss became nan"),
            *trials("stgcn", "failed", 2, KILLED),
            *trials("stgcn", "stopped", 1, "it is last"),
        ]
    )
    assert found == {
        "stgcn": FamilyEnds(
            finished=0, stopped=1, failed=3, reasons={KILLED: 2, "the loss became nan": 1}
        ),
        "tcn": FamilyEnds(finished=3, stopped=0, failed=0, reasons={}),
    }
    assert list(found["stgcn"].reasons) == [KILLED, "the loss became nan"]
    assert count_failures([]) == {}


def test_a_student_is_described_by_its_family_and_sizes() -> None:
    sizes = {"widths": [8, 16], "kernel": 3, "dropout": 0.07322848150886628, "separable": True}
    described = "stgcn (widths 8-16, kernel 3, dropout 0.0732, separable True)"
    assert describe_student("stgcn", sizes) == described


@pytest.mark.parametrize(
    ("finished", "stopped", "failed", "said"),
    [
        (9, 0, 1, None),  # a tenth, and no more
        (8, 0, 1, "of the 9 students of tcn 1 failed (11 %), most often since "),
        (0, 0, 15, "of the 15 students of tcn none finished (0 stopped early, 15 failed), most"),
        (0, 4, 0, "of the 4 students of tcn none finished (4 stopped early, 0 failed)."),
        (0, 0, 1, "of the 1 student of tcn none finished"),
        (1, 0, 0, None),
    ],
)
def test_a_family_without_an_end_or_with_more_than_a_tenth_failed_is_said(
    finished: int, stopped: int, failed: int, said: str | None
) -> None:
    note = failure_note({"tcn": counts(finished, stopped, failed)})
    if said is None:
        assert note is None
    else:
        assert note is not None
        assert said in note
        assert note.endswith(".")


def test_only_the_families_that_failed_are_named_each_with_its_commonest_reason() -> None:
    note = failure_note(
        {"a": counts(5, 0, 0), "b": counts(0, 0, 3), "c": counts(1, 0, 1)},
    )
    assert note is not None
    assert "of a" not in note.partition("rests")[2]
    assert note.count(KILLED) == 2
    assert note.count(". ") == 0
    assert failure_note({}) is None


def test_a_long_reason_is_cut_in_the_sentence() -> None:
    long = replace(counts(0, 0, 1), reasons={"ValueError: " + "x" * 1000: 1})
    note = failure_note({"tcn": long})
    assert note is not None
    assert len(note) < 400
