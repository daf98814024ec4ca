"""What a lost node, a cut link and a killed driver cost, on two hosts of one core each that this machine plays.

    python benchmarks/cluster_faults.py [--out FILE.jsonl] [--only WORDS]      (root, Linux; about 25 minutes)

Each scenario boots two hosts, starts a small line on the head, and hurts it once the work is well
under way: the teacher beyond its tenth epoch, or a student of the other host beyond its first rung
with another one ended. "Went on" is the time from the fault (of a killed driver: from the same
command's second start) to the next epoch of what was hurt. A scenario that is in the file already
is not run again. Tuned health checks are those of WATCHFUL, on the head.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.two_hosts import CACHE, Host, TwoHosts, refusal
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder

ROOT = Path(__file__).parents[1]
PATIENCE_S = 600.0
RUNG = 50
EPOCHS = 200
TEACHER_EPOCHS = 30

SETTINGS = f"""
work = "work"
[ingest.synthetic]
people_per_class = 12
recordings_per_person = 4
seconds = 4.0
fps = 25.0
[split]
fractions = [0.5, 0.25, 0.25]
[windows]
length = 48
views = 2
[teacher]
family = "stgcn"
sizes = {{widths = [32, 32, 64], strides = [1, 1, 2]}}
workers = [1, 2]
[teacher.fit]
epochs = {TEACHER_EPOCHS}
batch = 16
[search]
families = ["tcn"]
trials = 4
sampler = "random"
max_params_share = 0.9
allow_chance = true
[search.fit]
epochs = {EPOCHS}
batch = 8
[search.stopping]
first = {RUNG}
factor = 2
keep = 0.99
[cluster]
cache = "{CACHE}"
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault, and what it hurts."""

    hurt: str  # "teacher" or "search"
    fault: str  # "node killed", "link cut for 10 s", ... or "driver killed"
    tuned: bool

    @property
    def name(self) -> str:
        return f"{self.hurt}: {self.fault}, {'tuned' if self.tuned else 'default'} health checks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one scenario showed."""

    scenario: str
    ended_before: int  # epochs of the teacher, or trials
    lost: int  # of these
    twice: int  # of these, written again
    again: int  # epochs trained a second time
    went_on_s: float
    status: int  # of the last command
    date: str


FAULTS = ("node killed", "link cut for 10 s", "link cut for 60 s")
SCENARIOS = [
    Scenario(hurt, fault, tuned)
    for hurt in ("teacher", "search")
    for fault in FAULTS
    for tuned in (False, True)
] + [Scenario(hurt, "driver killed", True) for hurt in ("teacher", "search")]


class WatchedRun:
    """A line on two hosts, watched from outside through its files."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.hosts = TwoHosts(folder, cores=(0, 1), watchful=scenario.tuned)
        self.settings = folder / "line" / "run.toml"
        self.settings.parent.mkdir()
        text = SETTINGS + f'address = "{self.hosts.address}"\n'
        self.settings.write_text(text, encoding="utf-8")
        self.split: SplitFolder = WorkFolder(folder / "line" / "work").run("main")
        self.log = TrialLog(self.split)
        self.output = folder / "output.txt"

    def command(self, stage: str) -> subprocess.Popen[str]:
        """Start a stage on the head."""
        arguments = [sys.executable, "-m", "trainers", stage, str(self.settings)]
        path = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
        return self.hosts.head.popen(arguments, path, output=self.output)

    def stage(self, *stages: str) -> None:
        for stage in stages:
            if self.command(stage).wait(PATIENCE_S):
                raise RuntimeError(f"{stage} failed: {self.output.read_text()[-2000:]}")

    def epochs(self) -> list[dict[str, float]]:
        """The teacher's, as they were reported."""
        path = self.split.teacher / "live.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def victim(self) -> Trial | None:
        """A student on the other host beyond its first rung, once another has ended."""
        if not any(True for _ in self.log):
            return None
        return next(
            (
                t
                for t in self.log.list_interrupted()
                if t.node == "worker" and t.epochs > RUNG + 10
            ),
            None,
        )

    def trial(self, number: int) -> Trial | None:
        """As it is now, in flight or ended."""
        if self.log.has(number):
            return self.log.read(number)
        return self.log.read_running(number)


def hurt(
    scenario: Scenario, watched: WatchedRun, driver: subprocess.Popen[str]
) -> subprocess.Popen[str]:
    """Do it, and return the driver that goes on."""
    hosts = watched.hosts
    if scenario.fault == "node killed":
        hosts.worker.kill()
    elif scenario.fault == "driver killed":
        kill_driver(hosts.head)
        driver.wait()
        return watched.command(scenario.hurt)
    else:
        hosts.cut()
        # whether the work goes on before that or not
        mended = threading.Timer(float(scenario.fault.split()[3]), mend, [hosts])
        mended.daemon = True
        mended.start()
    return driver


def mend(hosts: TwoHosts) -> None:
    """Plug the cable in again, unless the scenario is over."""
    if hosts.worker.power is not None:
        hosts.mend()


def until(
    condition: Callable[[], bool], driver: subprocess.Popen[str], watched: WatchedRun
) -> float:
    """Wait for it; the time when it held."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end or driver.poll() not in (None, 0):
            raise RuntimeError(f"It did not go on: {watched.output.read_text()[-2000:]}")
        time.sleep(0.05)
    return time.monotonic()


def hurt_teacher(scenario: Scenario, watched: WatchedRun) -> Row:
    watched.stage("ingest", "split")
    driver = watched.command("teacher")
    until(lambda: len(watched.epochs()) >= 10, driver, watched)
    before, since = watched.epochs(), time.monotonic()
    driver = hurt(scenario, watched, driver)
    if scenario.fault == "driver killed":
        since, before = time.monotonic(), watched.epochs()
    after = until(lambda: watched.epochs() != before, driver, watched)
    seen = watched.epochs()
    status = driver.wait(PATIENCE_S)
    known = {row["epoch"]: row for row in watched.epochs()}
    return Row(
        scenario=scenario.name,
        ended_before=len(before),
        lost=sum(known.get(row["epoch"]) != row for row in before),
        twice=len(watched.epochs()) - len(known),
        again=sum(row not in watched.epochs() for row in seen),
        went_on_s=round(after - since, 1),
        status=status,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def hurt_search(scenario: Scenario, watched: WatchedRun) -> Row:
    watched.stage("ingest", "split", "teacher", "outputs")
    driver = watched.command("search")
    until(lambda: watched.victim() is not None, driver, watched)
    victim = watched.victim()
    assert victim is not None
    before = {path: path.read_bytes() for path in watched.split.trials.glob("*.json")}
    since = time.monotonic()
    driver = hurt(scenario, watched, driver)
    if scenario.fault == "driver killed":
        since = time.monotonic()
    last = watched.trial(victim.number) or victim

    def went_on() -> bool:
        now = watched.trial(victim.number)
        if now is None:
            return False
        return now.state != "running" or (now.curve[-1:] != last.curve[-1:] and now.epochs > RUNG)

    after = until(went_on, driver, watched)
    status = driver.wait(PATIENCE_S)
    ended = {path: path.read_bytes() for path in watched.split.trials.glob("*.json")}
    final = watched.log.read(victim.number)
    return Row(
        scenario=scenario.name,
        ended_before=len(before),
        lost=sum(path not in ended for path in before),
        twice=sum(ended.get(path) not in (None, data) for path, data in before.items()),
        again=sum(row not in final.curve for row in last.curve),
        went_on_s=round(after - since, 1),
        status=status,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def kill_driver(host: Host) -> None:
    """kill -9 from within: the process outside is only its shadow."""
    subprocess.run(host.command(["pkill", "-KILL", "-f", "trainers (teacher|search)"]), check=True)


def run(scenario: Scenario) -> Row:
    folder = Path(tempfile.mkdtemp(prefix="gf", dir="/tmp"))  # short: sockets lie below it
    watched = WatchedRun(scenario, folder)
    try:
        watched.hosts.start()
        return (
            hurt_teacher(scenario, watched)
            if scenario.hurt == "teacher"
            else hurt_search(scenario, watched)
        )
    finally:
        watched.hosts.stop()
        shutil.rmtree(folder, ignore_errors=True)


def table(rows: list[Row]) -> str:
    lines = [
        f"{'':<56} {'ended':>6} {'lost':>5} {'twice':>6} {'again':>6} {'went on after':>14} {'status':>7}"
    ]
    for row in rows:
        counts = f"{row.ended_before:>6} {row.lost:>5} {row.twice:>6} {row.again:>6}"
        lines.append(f"{row.scenario:<56} {counts} {row.went_on_s:>12.1f} s {row.status:>7}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "cluster_faults.jsonl")
    parser.add_argument("--only", default="", help="scenarios whose name has these words")
    options = parser.parse_args()
    if refusal():
        sys.exit(f"cluster_faults: {refusal()}.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    if options.out.is_file():
        rows = [Row(**json.loads(line)) for line in options.out.read_text().splitlines()]
    for scenario in SCENARIOS:
        if options.only not in scenario.name or scenario.name in {row.scenario for row in rows}:
            continue
        row = run(scenario)
        rows.append(row)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(row)) + "\n")
        print(table([row]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
