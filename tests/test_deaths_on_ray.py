"""Workers that die on real Ray: what is said of them, what is kept, and how often they are tried."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, read_json
from tests.conftest import FinishedLine, own_ray
from tests.deadly_line import STICKY
from tests.line_state import copied, split_of
from tests.small_line import Tables, ended, start
from tests.test_cli import must_say, one_sentence
from trainers.show import describe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes by /proc"),
]

STUDENT = r"tcn \([a-z]+ [^()]*\)"
KILLED = "the worker process was killed by SIGSEGV"


@dataclass(frozen=True, slots=True)
class Deadly:
    """A stage of which some work died: what it said, and each beginning's number and process."""

    settings: Path
    answer: subprocess.CompletedProcess[str]
    begun: list[tuple[int, int]]

    @property
    def times(self) -> Counter[int]:
        """How often each piece of work began."""
        return Counter(number for number, _ in self.begun)

    def died(self) -> str:
        """The sentence with which it ended."""
        assert self.answer.returncode == 1
        assert "(raylet)" not in self.answer.stdout
        return one_sentence(self.answer.stderr)


def run_deadly(deadly: str, stage: str, settings: Path, ray_home: Path) -> Deadly:
    log = settings.parent / "begun.txt"
    log.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEADLY", deadly)
        patch.setenv("DEADLY_LOG", str(log))
        program = ("-m", "tests.deadly_line")
        answer = ended(start(stage, settings, ray_home=ray_home, program=program))
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    begun = [(int(number), int(pid)) for _, number, pid in map(str.split, lines)]
    return Deadly(settings, answer, begun)


@pytest.fixture(scope="module")
def search(finished: FinishedLine, tmp_path_factory: pytest.TempPathFactory) -> Deadly:
    """A search of four, of which trial 1 kills its worker and trial 2 leaves it unusable."""
    changes: Tables = {"search": {"trials": 4, "max_failed": 0.9}}
    folder = tmp_path_factory.mktemp("deadly")
    settings = copied(finished, folder, "search", "confirm", changes=changes)
    with own_ray() as home:
        found = run_deadly("search 1 SIGSEGV, search 2 sticky", "search", settings, home)
    assert (found.answer.returncode, found.answer.stderr) == (0, "")
    return found


def trials_of(search: Deadly) -> list[Trial]:
    return list(TrialLog(split_of(search.settings)))


def test_a_student_that_kills_its_worker_is_tried_twice_and_its_trial_says_what_killed_it(
    search: Deadly,
) -> None:
    assert search.times[1] == 2
    dead = trials_of(search)[1]
    assert (dead.state, dead.killed_by, dead.reason) == ("failed", "SIGSEGV", KILLED)
    assert any("*** SIGSEGV received" in line for line in dead.stderr)
    assert any("deadly_line.py" in line and "in die" in line for line in dead.stderr)


def test_a_death_is_one_line_on_the_terminal_with_family_and_sizes_and_ray_says_nothing(
    search: Deadly,
) -> None:
    out = search.answer.stdout
    assert re.search(rf"trial   1 again    {STUDENT}: {KILLED}", out)
    assert re.search(rf"trial   1 failed   {STUDENT}: {KILLED}", out)
    assert re.search(r"of the 4 students of tcn 2 failed \(50 %\), most often since ", out)
    ours = ("  trial ", "  1/4", "  2/4", "  3/4", "  4/4", "  What the search says", "search: ")
    assert [line for line in out.splitlines() if not line.startswith(ours)] == []


def test_after_a_sticky_error_the_worker_is_another_and_the_trial_counts_once(
    search: Deadly,
) -> None:
    trials = trials_of(search)
    assert [trial.state for trial in trials] == ["finished", "failed", "failed", "finished"]
    assert trials[2].reason == f"RuntimeError: {STICKY}"
    assert "deadly_line.py" in str(trials[2].traceback)
    assert search.answer.stdout.count("trial   2 failed") == 1
    at = next(i for i, (number, _) in enumerate(search.begun) if number == 2)
    broken, later = search.begun[at][1], search.begun[at + 1 :]
    assert {number for number, _ in later} >= {3}
    assert broken not in {pid for _, pid in later}


def test_failures_are_shown_and_summarised(search: Deadly) -> None:
    work = WorkFolder(search.settings.parent / "work")
    summary = read_json(work.summary)
    sticky = f"RuntimeError: {STICKY}"
    assert summary["failures"] == {
        "tcn": {"finished": 2, "stopped": 0, "failed": 2, "reasons": {KILLED: 1, sticky: 1}}
    }
    shown = describe(work)
    assert f"1 of 4: {KILLED} ({split_of(search.settings).trials / '1.json'})" in shown


def test_a_refit_whose_worker_dies_twice_ends_confirm_in_one_sentence(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    changes: Tables = {"confirm": {"members": 1, "alone": False}}
    settings = copied(finished, tmp_path, "confirm", changes=changes)
    found = run_deadly("confirm 10000 SIGABRT", "confirm", settings, ray_home)
    sentence = found.died()
    must_say(sentence, "Confirming failed at trial", "tcn (channels", "SIGABRT", "last words")
    assert found.times == {10000: 2}
    (words,) = (split_of(settings).confirm / "failed").glob("*.txt")
    assert str(words) in sentence
    assert "*** SIGABRT received" in words.read_text(encoding="utf-8")


def test_a_teacher_whose_worker_dies_twice_ends_in_one_sentence(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    parts = ("teacher", "teacher_outputs", "search", "confirm")
    settings = copied(finished, tmp_path, *parts, changes={})
    found = run_deadly("teacher 1 SIGSEGV", "teacher", settings, ray_home)
    must_say(
        found.died(),
        "Training the teacher failed",
        "tcn (channels",
        KILLED,
        "2 times",
        "last words",
    )
    assert found.times == {1: 2}
    words = split_of(settings).teacher / "live-failed.txt"
    assert "in die" in words.read_text(encoding="utf-8")


def test_a_worker_that_the_memory_monitor_kills_is_a_failed_trial_and_not_the_end_of_all(
    finished: FinishedLine, tmp_path: Path, ray_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray then holds every worker for one too many
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "200")
    changes: Tables = {"search": {"trials": 1}, "search.fit": {"epochs": 5000}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    found = run_deadly("search 99 SIGSEGV", "search", settings, ray_home)
    assert "Traceback" not in found.answer.stderr
    trial = TrialLog(split_of(settings)).read(0)
    assert (trial.state, trial.killed_by) == ("failed", "memory monitor")
    assert "running low on memory" in trial.stderr[0]


ANOTHER_NODE = """
import json, os, signal, sys
from pathlib import Path
import ray
from gaitforge.settings import ClusterSettings
from trainers.cluster.connection import connect
from trainers.cluster.deaths import ask_node, find_death, tell_worker, add_worker

file = Path(sys.argv[1]) / "worker.json"
connect(ClusterSettings(cpus=1), Path(sys.argv[1]))

def worker():
    tell_worker(file)
    os.kill(os.getpid(), signal.SIGBUS)

try:
    ray.get(ray.remote(max_retries=0)(worker).remote())
except ray.exceptions.WorkerCrashedError as error:
    told = add_worker(str(error), file)
pid = json.loads(file.read_text())["pid"]
node = ray.get_runtime_context().get_node_id()
asked = ask_node(node, pid)
print(json.dumps({
    "by": find_death(told).by, "asked": any("SIGBUS" in line for line in asked), "unknown": ask_node(node, 1),
    "gone": ask_node("a" * 56, pid),
}))
"""


def test_last_words_are_read_on_the_node_that_has_them(ray_home: Path, tmp_path: Path) -> None:
    program = ("-c", ANOTHER_NODE)
    answer = ended(start(tmp_path, ray_home=ray_home, program=program))
    assert (answer.returncode, answer.stderr) == (0, "")
    found = json.loads(answer.stdout)
    assert found == {"by": "SIGBUS", "asked": True, "unknown": None, "gone": None}
