"""Workers that die on real Ray: what is said of them, what is kept, and how often they are tried."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from gaitforge.trials import Trial, TrialLog
from gaitforge.work import read_json
from tests.conftest import FinishedLine
from tests.deadly_line import STICKY
from tests.line_state import copied, split_of
from tests.small_line import Tables, ended, run, start
from tests.test_cli import must_say, one_sentence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes by /proc"),
]

# a reason that stands in the terminal may name any frame of the C library
STUDENT = r"tcn \([a-z]+ [^()]*\)"


class Deadly:
    """Runs a stage of which some work dies, and tells what began, in which process."""

    def __init__(self, folder: Path, ray_home: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.ray_home, self.patch = folder, ray_home, patch
        self.log = folder / "begun.txt"

    def __call__(
        self, deadly: str, stage: str, settings: Path
    ) -> subprocess.CompletedProcess[str]:
        self.log.unlink(missing_ok=True)
        self.patch.setenv("DEADLY", deadly)
        self.patch.setenv("DEADLY_LOG", str(self.log))
        program = ("-m", "tests.deadly_line")
        return ended(start(stage, settings, ray_home=self.ray_home, program=program))

    def begun(self) -> list[tuple[int, int]]:
        """Number and process of each beginning."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [(int(number), int(pid)) for _, number, pid in map(str.split, lines)]

    def times(self) -> Counter[int]:
        return Counter(number for number, _ in self.begun())


@pytest.fixture
def deadly(tmp_path: Path, ray_home: Path, monkeypatch: pytest.MonkeyPatch) -> Deadly:
    return Deadly(tmp_path, ray_home, monkeypatch)


def lines_without(out: str, *known: str) -> list[str]:
    return [line for line in out.splitlines() if not any(re.search(text, line) for text in known)]


def test_a_student_that_kills_its_worker_is_named_with_the_signal_and_tried_twice(
    finished: FinishedLine, tmp_path: Path, deadly: Deadly, ray_home: Path
) -> None:
    changes: Tables = {"search": {"trials": 3, "max_failed": 0.9}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    answer = deadly("search SIGSEGV 1", "search", settings)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert deadly.times() == {0: 1, 1: 2, 2: 1}
    trials = list(TrialLog(split_of(settings)))
    assert [trial.state for trial in trials] == ["finished", "failed", "finished"]
    dead = trials[1]
    assert (dead.killed_by, dead.reason) == (
        "SIGSEGV",
        "the worker process was killed by SIGSEGV",
    )
    assert any("*** SIGSEGV received" in line for line in dead.stderr)
    assert any("deadly_line.py" in line and "in die" in line for line in dead.stderr)
    # all that is on the terminal, Ray's words among it
    assert re.search(
        rf"trial   1 goes on {STUDENT}: the worker process was killed by SIGSEGV", answer.stdout
    )
    assert re.search(
        rf"trial   1 failed   {STUDENT}: the worker process was killed by SIGSEGV", answer.stdout
    )
    assert "1 failed (33 %)" in answer.stdout
    ours = (r"^  trial ", r"^  \d/3 ended", r"^  What the search says", r"^search: ")
    assert lines_without(answer.stdout, *ours) == []
    shown = run("show", settings.parent / "work", ray_home=ray_home).stdout
    assert f"1 of 3: {dead.reason} ({split_of(settings).trials / '1.json'})" in shown
    summary = read_json(settings.parent / "work" / "summary.json")
    assert summary["failures"] == {
        "tcn": {"finished": 2, "stopped": 0, "failed": 1, "reasons": {dead.reason: 1}}
    }


def test_after_a_sticky_error_the_worker_is_another_and_the_trial_counts_once(
    finished: FinishedLine, tmp_path: Path, deadly: Deadly
) -> None:
    changes: Tables = {"search": {"trials": 3, "max_failed": 0.9}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    answer = deadly("search sticky 1", "search", settings)
    assert (answer.returncode, answer.stderr) == (0, "")
    trials = list(TrialLog(split_of(settings)))
    assert [trial.state for trial in trials] == ["finished", "failed", "finished"]
    assert trials[1].reason == f"RuntimeError: {STICKY}"
    assert "deadly_line.py" in str(trials[1].traceback)
    assert answer.stdout.count("trial   1 failed") == 1
    broken = next(pid for number, pid in deadly.begun() if number == 1)
    after = [pid for number, pid in deadly.begun()[deadly.begun().index((1, broken)) + 1 :]]
    assert after
    assert broken not in after


def test_a_refit_whose_worker_dies_twice_ends_confirm_in_one_sentence(
    finished: FinishedLine, tmp_path: Path, deadly: Deadly
) -> None:
    settings = copied(finished, tmp_path, "confirm", changes={"confirm": {"members": 1}})
    answer = deadly("confirm SIGABRT 10000", "confirm", settings)
    assert answer.returncode == 1
    sentence = one_sentence(answer.stderr)
    must_say(sentence, "Confirming failed at trial", "tcn (channels", "SIGABRT", "last words")
    # of the distilled and the undistilled refit of that seed, one died twice
    assert max(deadly.times().values()) <= 4
    words = list((split_of(settings).confirm / "failed").glob("*.txt"))
    assert len(words) == 1
    assert "*** SIGABRT received" in words[0].read_text(encoding="utf-8")
    assert "(raylet)" not in answer.stdout
    # what killed it is gone, and the same command goes on
    assert deadly("confirm SIGABRT 1", "confirm", settings).returncode == 0
    assert not list((split_of(settings).confirm / "running").glob("*"))


def test_a_teacher_whose_worker_dies_twice_ends_in_one_sentence(
    finished: FinishedLine, tmp_path: Path, deadly: Deadly
) -> None:
    settings = copied(
        finished, tmp_path, "teacher", "teacher_outputs", "search", "confirm", changes={}
    )
    answer = deadly("teacher SIGSEGV 1", "teacher", settings)
    assert answer.returncode == 1
    sentence = one_sentence(answer.stderr)
    must_say(sentence, "Training the teacher (tcn (channels", "SIGSEGV, ", "2 times", "last words")
    assert len(deadly.begun()) == 2
    words = split_of(settings).teacher / "live-failed.txt"
    assert "in die" in words.read_text(encoding="utf-8")
    assert "(raylet)" not in answer.stdout


def test_a_worker_that_the_memory_monitor_kills_is_a_failed_trial_and_not_the_end(
    finished: FinishedLine, tmp_path: Path, deadly: Deadly, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray then holds every worker for one too many
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "200")
    changes: Tables = {"search": {"trials": 1}, "search.fit": {"epochs": 5000}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    deadly("search SIGSEGV 99", "search", settings)
    trial: Trial = TrialLog(split_of(settings)).read(0)
    assert (trial.state, trial.killed_by) == ("failed", "memory monitor")
    assert "running low on memory" in trial.stderr[0]
