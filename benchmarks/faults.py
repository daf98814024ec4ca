"""Fault injection: a search whose processes are killed -9 at random moments, and what it loses by that.

    python benchmarks/faults.py --injections 36 --seed 0

Real searches on synthetic walkers, two students at a time. Killed are, evenly and in random order:
the driver (the command itself), the worker of one trial, Ray's raylet or its gcs_server, all of Ray
at once, and everything at once, as a power cut does. The same command is started again as soon as
it has ended; where a worker was killed it goes on by itself. Every search is followed to its end.
All is kept in work/faults/<time>/ as it happens; the tables at the end are those of
`faults_report.py`. Processes are found by the RAY_TMPDIR of this run, so that no other Ray is hit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults_report import BY_ITSELF, KINDS, Ending, Injection, report
from benchmarks.faults_watch import Watch, ending, is_agent, is_worker, processes, program
from gaitforge.work import WorkFolder, as_json

ROOT = Path(__file__).parents[1]
GRACE_S = 10.0  # for processes to end
PATIENCE_S = 300.0  # a busy machine takes long to start Ray; what takes longer hangs
STARTING_SHARE = 0.25  # of kills come while Ray starts
LATEST_S = 10.0  # after a start, or after its first epoch: the latest moment of a kill
POLL_S = 0.1

TRIALS, EPOCHS = 24, 120  # a trial takes some seconds, and a search some kills
SETTINGS = f"""\
work = "work"
[ingest.synthetic]
people_per_class = 8
recordings_per_person = 3
seconds = 3.0
fps = 20.0
[split]
fractions = [0.5, 0.25, 0.25]
[windows]
length = 24
views = 2
[teacher]
family = "tcn"
[teacher.sizes]
channels = 32
layers = 2
[teacher.fit]
epochs = 3
batch = 8
[search]
families = ["tcn"]
trials = {TRIALS}
max_params_share = 0.5
allow_chance = true  # its teacher learns for three epochs
[search.stopping]
first = 4
keep = 0.6
[search.fit]
epochs = {EPOCHS}
batch = 8
[cluster]
cpus = 2
concurrent = 2
"""


class Search:
    """One search: its folder, and its command where it runs."""

    def __init__(self, number: int, folder: Path, home: Path) -> None:
        self.number = number
        self.folder = folder
        self.home = home
        self.watch = Watch(WorkFolder(folder / "work").run("main"))
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.started = 0.0
        self.trains = False  # since this start
        self.latest: Injection | None = None
        self.lost: set[int] = set()  # trials, after the kills so far
        self.old: set[int] = set()  # processes of drivers that have ended
        # when to look for what an ended driver has left, and after which kill
        self.due: list[tuple[float, Injection, set[int]]] = []
        self.other_failures: list[str] = []

    def start(self) -> None:
        self.starts += 1
        with self._said().open("wb") as said, self._said().with_suffix(".out").open("wb") as out:
            self.driver = subprocess.Popen(
                command("search", self.folder), env=environment(self.home), cwd=ROOT,
                stdout=out, stderr=said, start_new_session=True,
            )  # fmt: skip
        self.started = time.monotonic()
        self.trains = False

    def hit(self, number: int, kind: str, chance: random.Random) -> Injection | None:
        """Kill one kind of process at a random moment; None where the search ended before that."""
        if self.driver is None:
            self.start()
        if not (chance.random() < STARTING_SHARE and self.starts > 1):
            self._wait(lambda: self._has_ended() or self.trains)
        moment = time.monotonic() + chance.uniform(0, LATEST_S)
        victims: list[int] = []

        def chosen() -> bool:
            victims[:] = self._victims(kind, chance) if time.monotonic() >= moment else []
            return bool(victims) or self._has_ended()

        self._wait(chosen)
        if self._has_ended() or not victims:
            return None
        flying = self.watch.in_flight()
        injection = self.latest = Injection(
            number=number, kind=kind, search=self.number,
            moment="training" if self.trains else "starting",
            ended_before=len(self.watch.ended), in_flight=len(flying), shown=sum(flying.values()),
        )  # fmt: skip
        killed = time.monotonic()
        kill(victims)
        if kind == "worker":
            before = len(self.watch.ended)
            if self._wait(lambda: len(self.watch.ended) > before or self._has_ended()):
                injection.next_end_s = time.monotonic() - killed
        else:
            injection.hung = not self._wait(self._has_ended)
            if kind in BY_ITSELF:
                injection.driver_s = time.monotonic() - killed
            self._stop()
        if self._has_ended():
            self._close(injection)
        lost = set(self.watch.lost())
        injection.lost = len(lost - self.lost)
        self.lost |= lost
        return injection

    def finish(self) -> Ending:
        """Follow the search to its end, with a few starts more where one fails, and look at what it wrote."""
        for _ in range(5):
            if self.driver is None:
                self.start()
            if not self._wait(self._has_ended, 10 * PATIENCE_S):
                self.other_failures.append("hangs")
            status = self._stop()
            if status == 0:
                break
            self.other_failures.append(f"{status}: {shortened(self._said())}")
            self.driver = None
        self._wait(lambda: False, GRACE_S)
        left = [name for name in processes(self.home).values() if not is_agent(name)]
        return ending(
            self.watch, TRIALS, EPOCHS, search=self.number, status=status, starts=self.starts,
            leftovers=left, other_failures=self.other_failures,
        )  # fmt: skip

    def _wait(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Watch until the condition holds; False where it did not in time."""
        deadline = time.monotonic() + patience_s
        while True:
            self._look()
            if condition():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)

    def _look(self) -> None:
        epochs = self.watch.epochs
        self.watch.look(self.latest)
        now = time.monotonic()
        if not self.trains and self.watch.epochs > epochs:
            # workers of an earlier start, which have not noticed its end yet, do not count
            working = {pid for pid, name in processes(self.home).items() if is_worker(name)}
            if working and not working & self.old:
                self.trains = True
                if self.latest is not None and self.latest.running_s is None and self.starts > 1:
                    self.latest.running_s = now - self.started
        while self.due and now >= self.due[0][0]:
            _, injection, old = self.due.pop(0)
            living = processes(self.home)
            injection.leftovers = [
                living[p] for p in living if p in old if not is_agent(living[p])
            ]

    def _victims(self, kind: str, chance: random.Random) -> list[int]:
        assert self.driver is not None
        if kind == "driver":
            return [self.driver.pid]
        found = {pid: name for pid, name in processes(self.home).items() if pid not in self.old}
        ray = [pid for pid in found if pid != self.driver.pid]
        if kind == "worker":
            workers = sorted(pid for pid in ray if is_worker(found[pid]))
            return [chance.choice(workers)] if workers else []
        if kind in ("raylet", "gcs_server"):
            return [pid for pid in ray if program(found[pid]) == kind]
        return ray if kind == "all of Ray" or not ray else [self.driver.pid, *ray]

    def _has_ended(self) -> bool:
        return self.driver is None or self.driver.poll() is not None

    def _stop(self) -> int:
        """The driver's exit status, for which it is killed where it still runs."""
        assert self.driver is not None
        if self.driver.poll() is None:
            self.driver.kill()
        return self.driver.wait()

    def _close(self, injection: Injection) -> None:
        """After the driver's end: keep its last words, and look later at who is still there."""
        injection.status = self._stop()
        injection.said = shortened(self._said())
        left = set(processes(self.home))
        self.due.append((time.monotonic() + GRACE_S, injection, left))
        self.old |= left
        self.driver = None

    def _said(self) -> Path:
        return self.folder / f"start-{self.starts}.err"


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def command(stage: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "trainers", stage, str(folder / "run.toml")]


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
        "RAY_TMPDIR": str(home),
        "OMP_NUM_THREADS": "1",
    }


def shortened(said: Path) -> str:
    """Our own sentences of a standard error, or else its first and last line, and how many there are."""
    lines = [line[:200] for line in said.read_text(errors="replace").splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("gaitforge:")]
    others = f" ({len(lines) - len(ours)} other lines)" if len(lines) > len(ours) else ""
    return " / ".join(ours or [*lines[:1], *lines[1:][-1:]]) + others


def prepare(folder: Path, home: Path) -> None:
    """The line up to the teacher's outputs, from which all searches start."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(SETTINGS, encoding="utf-8")
    for stage in ("ingest", "split", "teacher", "outputs"):
        subprocess.run(
            command(stage, folder), env=environment(home), cwd=ROOT, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--injections", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "faults")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    deck = [options.kinds[i % len(options.kinds)] for i in range(options.injections)]
    chance.shuffle(deck)
    out = options.out.resolve() / time.strftime("%Y%m%dT%H%M%S")
    home = Path(tempfile.mkdtemp(prefix="gf", dir="/tmp"))  # short: Unix sockets lie in it
    try:
        prepare(out / "prepared", home)
        injections, endings = inject(deck, chance, out, home)
    finally:
        kill(processes(home))
        shutil.rmtree(home, ignore_errors=True)
    print(report(injections, endings))


def inject(
    deck: list[str], chance: random.Random, out: Path, home: Path
) -> tuple[list[Injection], list[Ending]]:
    """One kill after the other, in as many searches as that takes."""
    injections: list[Injection] = []
    endings: list[Ending] = []
    while len(injections) < len(deck):
        folder = out / f"search-{len(endings)}"
        shutil.copytree(out / "prepared", folder)
        search = Search(len(endings), folder, home)
        while len(injections) < len(deck):
            number = len(injections)
            injection = search.hit(number, deck[number], chance)
            if injection is None:
                break
            injections.append(injection)
            keep(out / "injections.json", injections)
            print(
                f"{number:>3} {injection.kind:<10}  {injection.moment}, {injection.ended_before} ended, "
                f"status {injection.status}  {injection.said}",
                flush=True,
            )
        endings.append(search.finish())
        # again, since some is only known later
        keep(out / "injections.json", injections)
        keep(out / "searches.json", endings)
        print(endings[-1], flush=True)
    return injections, endings


def keep(path: Path, records: list[Injection] | list[Ending]) -> None:
    path.write_bytes(as_json([asdict(record) for record in records]))


if __name__ == "__main__":
    main()
