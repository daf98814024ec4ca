"""Rules of the fuzzers: a few cases of each find no fault, and a fault would be found."""

from __future__ import annotations

import pytest

from benchmarks import fuzz_recordings, fuzz_settings
from benchmarks.fuzzing import Fuzzer, fault_of, run_children
from gaitforge.sentences import MOST
from tests import toy_fuzzer

SENTENCE = "gaitforge: it was wrong; mend it.\n"


@pytest.mark.slow
@pytest.mark.parametrize("fuzzer", [fuzz_recordings.FUZZER, fuzz_settings.FUZZER])
def test_wrong_input_has_its_sentence_whatever_is_wrong(fuzzer: Fuzzer) -> None:
    report = run_children(fuzzer, cases=50)
    assert not report.faults, "\n".join(report.lines())
    assert set(report.statuses) == {0, 2}  # some is not wrong, most is
    assert sum(report.statuses.values()) == 50


def test_each_fault_is_found_and_the_cases_behind_it_are_tried() -> None:
    report = run_children(toy_fuzzer.FUZZER, cases=6)
    assert {fault.seed: fault.fault for fault in report.faults} == {
        1: "traceback: IndexError: out of range",
        2: "the process died",
        3: "the store is not as it was before",
    }
    assert report.statuses == {0: 1, -1: 2, 2: 3}
    assert "seed 1: case 1" in "\n".join(report.lines())


@pytest.mark.parametrize(
    ("status", "out", "err", "fault"),
    [
        (0, "done\n", "", ""),
        (2, "", SENTENCE, ""),
        (2, "ingest\n", SENTENCE, ""),
        (1, "", SENTENCE, "exit status 1"),
        (0, "", "Traceback (most recent call last):\n", "a traceback is printed"),
        (2, "", "", "wrong input is not answered by one sentence"),
        (2, "", SENTENCE * 2, "wrong input is not answered by one sentence"),
        (2, "", f"{SENTENCE}more\n", "wrong input is not answered by one sentence"),
        (2, "", "gaitforge: \x1b[31mred.\n", "what a terminal obeys is printed"),
        (0, "half \udce9\n", "", "what a terminal obeys is printed"),
        (2, "", f"gaitforge: {'x' * (MOST + 9)}\n", f"a sentence of more than {MOST} characters"),
    ],
)
def test_what_must_hold_of_an_answer_is_held(status: int, out: str, err: str, fault: str) -> None:
    assert fault_of(status, out, err, trace="") == fault
