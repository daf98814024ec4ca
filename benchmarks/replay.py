"""Searches replayed from the table of students: hours of training in seconds, many seeds of each method.

    python benchmarks/replay.py                                # the STANDARD methods, then the report
    python benchmarks/replay.py --methods random stock:tpe     # these; others in the file are kept
    python benchmarks/replay.py --methods                      # none: reports what is in the file

Two workers train in virtual time: every epoch of every trial, also of a stopped one, costs one unit
of time and one epoch of the budget. What a student scores is looked up; the n-th time that a search
asks for the same student it gets the n-th seed that the table has of it, and then the first again.
Only students trained to the last epoch count. What was in flight when the budget ended does not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.replay_methods import METHODS, STANDARD, Method
from benchmarks.replay_report import report, write_plot
from benchmarks.replay_table import Student, Table, read_table
from benchmarks.students import EPOCHS, PACKED, key_of
from gaitforge.work import write_parquet

RESULTS = Path(__file__).parent / "replay.parquet"
FIGURE = Path(__file__).parents[1] / "docs" / "pictures" / "replay.svg"
WORKERS = 2
BUDGET = 100 * EPOCHS


@dataclass(kw_only=True, slots=True)
class Search:
    """What one search did. The lists hold its students of full fidelity, in the order in which they ended.

    `full` counts them, `started` all trials, also stopped ones and those in flight at the end.
    `spent` counts the epochs of all trials up to then; `key` and `draw` name the student and its
    seed of the table; `claimed` and `claimed_low` count the method's own front, and those in it
    that were not trained to the last epoch.
    """

    method: str
    seed: int
    budget: int
    started: int = 0
    full: int = 0
    claimed: int = 0
    claimed_low: int = 0
    spent: list[int] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    draw: list[int] = field(default_factory=list)
    params: list[int] = field(default_factory=list)
    val_f1: list[float] = field(default_factory=list)
    confirm_f1: list[float] = field(default_factory=list)

    def note(self, running: Running, spent: int) -> None:
        """Keep a student that was trained to the last epoch."""
        self.spent.append(spent)
        self.key.append(running.key)
        self.draw.append(running.draw)
        self.params.append(running.student.params)
        self.val_f1.append(float(running.student.val_f1_SE[running.draw, -1]))
        self.confirm_f1.append(float(running.student.confirm_f1_S[running.draw]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A trial on a worker."""

    number: int
    key: str
    draw: int
    student: Student


def replay(name: str, seed: int, budget: int, table: Table) -> Search:
    """One search until its budget of epochs is spent, or it asks for nothing more."""
    method = METHODS[name](seed, table)
    search = Search(method=name, seed=seed, budget=budget)
    asked: Counter[str] = Counter()
    epochs: list[int] = []  # trained so far, of each trial
    workers: deque[Running | None] = deque([None] * WORKERS)
    spent = 0
    while workers and spent < budget:
        running = workers.popleft()
        if running is None:
            running = start(method, len(epochs), asked, table)
            if running is None:  # the search is over, and the worker goes home
                continue
            epochs.append(0)
        spent, epoch = spent + 1, epochs[running.number] + 1
        epochs[running.number] = epoch
        result = {
            "epoch": epoch, "training_iteration": epoch, "params": running.student.params,
            "val_macro_f1": float(running.student.val_f1_SE[running.draw, epoch - 1]),
        }  # fmt: skip
        if method.report(running.number, result) and epoch < EPOCHS:
            workers.append(running)
            continue
        method.end(running.number, result)
        workers.append(None)
        if epoch == EPOCHS:
            search.note(running, spent)
    claimed = method.claimed()
    search.started, search.full = len(epochs), epochs.count(EPOCHS)
    search.claimed = len(claimed)
    search.claimed_low = sum(epochs[number] < EPOCHS for number in claimed)
    return search


def start(method: Method, number: int, asked: Counter[str], table: Table) -> Running | None:
    suggested = method.ask(number)
    if suggested is None:
        return None
    key = key_of(suggested)
    if key not in table:
        raise KeyError(
            f"Student {dict(suggested)} is not in the table of {len(table)}; "
            "train what is missing with benchmarks/students.py and pack it again."
        )
    asked[key] += 1
    student = table[key]
    draw = (asked[key] - 1) % len(student.confirm_f1_S)
    return Running(number=number, key=key, draw=draw, student=student)


def replay_all(
    names: Iterable[str], seeds: int, budget: int, path: Path, processes: int
) -> Iterator[Search]:
    """All searches, as they end; each says on the terminal when its method is done."""
    # forked processes would share Ray's and torch's threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = {
            pool.submit(replay_from, path, name, seed, budget): name
            for name in names
            for seed in range(seeds)
        }
        left = Counter(jobs.values())
        began = time.monotonic()
        for job in as_completed(jobs):
            yield job.result()
            left[jobs[job]] -= 1
            if not left[jobs[job]]:
                print(f"{jobs[job]}: done after {time.monotonic() - began:.0f} s", flush=True)


@cache
def table_at(path: Path) -> Table:
    """The table, read once in each process."""
    return read_table(path)


def replay_from(path: Path, name: str, seed: int, budget: int) -> Search:
    return replay(name, seed, budget, table_at(path))


def merged(fresh: list[Search], path: Path, budget: int) -> pa.Table:
    """The searches of the file whose methods were not replayed now, and those that were.

    Raises ValueError where the file has another budget.
    """
    names = {search.method for search in fresh}
    kept = pq.read_table(path).to_pylist() if path.is_file() else []
    rows = [row for row in kept if row["method"] not in names]
    if {row["budget"] for row in rows} - {budget}:
        raise ValueError(
            f"{path} has searches of {rows[0]['budget']} epochs, not {budget}; "
            "give that budget, or delete the file."
        )
    rows += [asdict(search) for search in fresh]
    order = list(METHODS)
    rows.sort(key=lambda row: (order.index(row["method"]), row["seed"]))
    return pa.Table.from_pylist(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(STANDARD))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budget", type=int, default=BUDGET, help="epochs of one search")
    parser.add_argument("--table", type=Path, default=PACKED)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    searches = list(
        replay_all(
            options.methods, options.seeds, options.budget, options.table, options.processes
        )
    )
    rows = merged(searches, options.out, options.budget)
    write_parquet(options.out, rows)
    table = table_at(options.table)
    print(report(rows.to_pylist(), table))
    write_plot(rows.to_pylist(), table, options.figure)


if __name__ == "__main__":
    main()
