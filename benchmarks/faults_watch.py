"""Watches a search from outside: its files, read again and again, and the processes that belong to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import safetensors

from benchmarks.faults_report import Ending, Injection
from gaitforge.work import SplitFolder, read_json


class Watch:
    """What a search's folder has held so far: what was lost or done twice shows against that."""

    def __init__(self, folder: SplitFolder) -> None:
        self.folder = folder
        self.ended: dict[int, bytes] = {}
        self.curves: dict[int, list[tuple[int, float]]] = {}  # epoch and seconds of each epoch
        self.kept: dict[int, int] = {}  # epoch of the newest checkpoint
        self.gone: set[tuple[int, int, float]] = set()  # epochs that were trained again
        self.wasted: set[int] = set()
        self.epochs = 0  # seen so far

    def look(self, latest: Injection | None) -> None:
        """See what is new; what was repeated or has failed since the latest kill is put down to it."""
        running = {}
        for path in self.folder.running.glob("[0-9]*.json"):
            with suppress(OSError):
                running[int(path.stem)] = json.loads(path.read_bytes())
        # after the running ones, so that a trial that ends meanwhile is not taken for one that runs again
        for path in self.folder.trials.glob("[0-9]*.json"):
            number = int(path.stem)
            if number not in self.ended:
                self.ended[number] = path.read_bytes()
                trial = json.loads(self.ended[number])
                self._compare(number, trial, latest)
                if trial["state"] == "failed" and latest is not None:
                    latest.failed.append(f"{number}: {trial['reason']}")
        for number, trial in running.items():
            if number not in self.ended:
                self._compare(number, trial, latest)
            elif not set(_epochs(trial)) <= set(self.curves[number]):
                self.wasted.add(number)
        # last, since what was repeated had to be known by what was kept before
        for path in self.folder.rungs.glob("[0-9]*.safetensors"):
            # one may go while we looked
            with suppress(OSError), safetensors.safe_open(path, framework="numpy") as file:
                self.kept[int(path.stem)] = int(file.metadata()["epoch"])

    def lost(self) -> list[int]:
        """Trials that had ended and whose file is gone or another."""
        paths = {number: self.folder.trials / f"{number}.json" for number in self.ended}
        return [
            number
            for number, path in sorted(paths.items())
            if not path.is_file() or path.read_bytes() != self.ended[number]
        ]

    def in_flight(self) -> dict[int, int]:
        """Epochs that the trials in flight have behind them, by number."""
        numbers = {int(path.stem) for path in self.folder.running.glob("[0-9]*.json")}
        known = {n: len(self.curves.get(n, ())) for n in numbers if n not in self.ended}
        return {number: epochs for number, epochs in known.items() if epochs}

    def _compare(self, number: int, trial: Mapping[str, Any], latest: Injection | None) -> None:
        before, now = self.curves.get(number, []), _epochs(trial)
        same = 0
        while same < min(len(before), len(now)) and before[same] == now[same]:
            same += 1
        gone = {(number, *epoch) for epoch in before[same:]} - self.gone
        self.epochs += len(set(now) - set(before))
        self.gone |= gone
        self.curves[number] = now
        if latest is not None:
            latest.repeated += len(gone)
            latest.beyond += len({row for row in gone if row[1] <= self.kept.get(number, 0)})


def ending(watch: Watch, trials: int, epochs: int, **known: Any) -> Ending:
    """What a search that has ended has in its folder, of so many trials of so many epochs."""
    folder = watch.folder
    ended = {int(path.stem): read_json(path) for path in folder.trials.glob("[0-9]*.json")}
    parquet, json_file = folder.search / "trials.parquet", folder.search / "front.json"
    # a search that gave up at its start has neither
    table = pq.read_table(parquet)["trial"].to_pylist() if parquet.is_file() else []
    front = [row["trial"] for row in read_json(json_file)["front"]] if json_file.is_file() else []
    students = [f"{trial['hash']} with seed {trial['seed']}" for trial in ended.values()]
    named = [f"trials: {student}" for student in students]
    named += [f"table: {number}" for number in table] + [f"front: {number}" for number in front]
    twice = {name for name, count in Counter(named).items() if count > 1}
    lengths = {number: len(trial["curve"]) for number, trial in ended.items()}
    broken = [
        number
        for number, trial in ended.items()
        if [row["epoch"] for row in trial["curve"]] != list(range(1, 1 + lengths[number]))
        or trial["epochs"] != lengths[number]
        or (trial["state"] == "finished" and lengths[number] != epochs)
    ]
    stale = [
        path
        for path in folder.root.rglob("*")
        if path.name.startswith(".")
        or path.parent in (folder.running, folder.rungs)
        or path == folder.search / "ray"
    ]
    states = [trial["state"] for trial in ended.values()]
    return Ending(
        states={state: states.count(state) for state in sorted(set(states))},
        missing=sorted(set(range(trials)) - set(ended)),
        lost=watch.lost(),
        twice=sorted(twice),
        wasted=sorted(watch.wasted),
        broken=sorted(broken),
        stale=[str(path.relative_to(folder.root)) for path in stale],
        **known,
    )


def _epochs(trial: Mapping[str, Any]) -> list[tuple[int, float]]:
    return [(int(row["epoch"]), float(row["seconds"])) for row in trial["curve"]]


def processes(ray_home: Path) -> dict[int, str]:
    """Command lines, by id, of the living processes with that RAY_TMPDIR in their environment."""
    mark = f"RAY_TMPDIR={ray_home}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode().strip()
    return found


def program(command: str) -> str:
    return Path(command.split(" ", 1)[0]).name


def is_worker(command: str) -> bool:
    """Whether a process trains trials, by the title that Ray gives it."""
    return command.startswith("ray::ImplicitFunc")


def is_agent(command: str) -> bool:
    """Whether it is one of Ray's two agents, which report their node's death for a minute before they end."""
    return "Agent" in command or "agent" in command.split(" --")[0]
