"""Tampered work folders: no file of one, however damaged, ends `show` or a page in a traceback."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.fuzz_folders import PAGES, Case, examine, run_cases, watched
from gaitforge.work import WorkFolder
from tests.conftest import FinishedLine
from tests.toy_work import Toy, make_work


@pytest.mark.slow
def test_no_damaged_file_ends_show_or_a_page_in_a_traceback(finished: FinishedLine) -> None:
    """The whole: python -m benchmarks.fuzz_folders"""
    work = finished.work.root
    shown = list(run_cases(work, 0, 50, PAGES, 0))
    shown += run_cases(work, 50, 60, PAGES, 1)
    assert [result for result in shown if result.faults] == []
    # neither is every damage refused, nor is every one passed over
    assert {result.status for result in shown} == {0, 2}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("toy") / "work", Toy(trials=4, running=0))


def test_a_traceback_is_a_fault(toy: WorkFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: WorkFolder) -> str:
        raise TypeError("no such thing")

    monkeypatch.setattr("trainers.show.describe", broken)
    case = Case(number=0, file="store/store.json", damage="none")
    (fault,) = examine(toy.root, case, ()).faults
    assert fault.startswith("show: TypeError: no such thing at ")


def test_what_a_terminal_would_obey_is_a_fault(
    toy: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.show.describe", lambda work: "a\x1b[2J")
    case = Case(number=0, file="store/store.json", damage="none")
    assert examine(toy.root, case, ()).faults == ("show: control characters",)


def test_the_same_number_is_the_same_damage(
    toy: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = (
        [result.case for result in run_cases(toy.root, 5, 15, PAGES, 0)] for _ in range(2)
    )
    assert first == again
    told = [Case(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert told == [*first, *again]
    assert len({case.file for case in first}) > 3


def test_a_child_that_gives_no_answer_is_ended_and_its_case_counts_as_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(number=6, file="store/store.json", damage="pipe")
    child = tmp_path / "child"
    child.write_text(f"#!/bin/sh\necho '{json.dumps(asdict(case))}'\nexec sleep 1000\n")
    child.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(child))
    (result,) = watched(tmp_path, 6, 7, PAGES, 0, patience_s=1)
    assert (result.case, result.faults) == (case, ("hangs",))
