"""What the fuzzers share: cases by seed, run in child processes, so that a hang or much memory ends one child alone.

A fuzzer gives `spoil(rng, folder)`, which makes a folder's input wrong and returns the command to try and in words
what it did. The same seed makes the same case. What must hold of every answer is in `fault_of`: exit status 0 or 2,
no traceback, one sentence of bounded length for wrong input, and a store that is as it was before. A child that gives
no answer for PATIENCE_S hangs, and one that has grown beyond MOST_MB is ended; both are faults of the case.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.process_status import read_status_kb
from gaitforge.sentences import MOST
from gaitforge.work import WorkFolder

PATIENCE_S = 120.0  # a case takes 0.05 s on a quiet machine
MOST_MB = 1_024
BATCH = 500  # cases of a child
VOICES = ("gaitforge: ",)  # before the sentence of a refusal
SHOWN = 10  # faults that are shown


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one case; `fault` is empty where all holds that must."""

    seed: int
    what: str
    status: int
    said: str = ""
    fault: str = ""
    grown_mb: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Spoiled:
    """A case made: the command to try, and what was done to its input."""

    command: Sequence[str]
    what: str


Spoil = Callable[[np.random.Generator, Path], Spoiled]
Command = Callable[[Sequence[str]], int]


@dataclass(frozen=True, kw_only=True)
class Fuzzer:
    """One kind of input: how a good folder is made, how it is spoiled, and the command that reads it."""

    module: str
    """Name by which a child process starts it."""
    prepare: Callable[[Path], None]
    spoil: Spoil
    command: Command


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a whole run found."""

    cases: int
    statuses: dict[int, int]
    peak_mb: float
    faults: list[Answer] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the report as lines."""
        told = ", ".join(
            f"{count:,} x {status}" for status, count in sorted(self.statuses.items())
        )
        yield f"{self.cases:,} cases; exit status {told}; at most {self.peak_mb:,.0f} MB; {len(self.faults)} faults"
        for kind, count in Counter(fault.fault for fault in self.faults).most_common(SHOWN):
            first = next(fault for fault in self.faults if fault.fault == kind)
            yield f"{count} x {kind}"
            yield f"  seed {first.seed}: {first.what}"
            yield f"  {first.said[-600:]}"


def run_here(fuzzer: Fuzzer, seeds: Sequence[int]) -> Iterator[Answer]:
    """Run cases in this process, each in a copy of one good folder, and yield their answers."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        good = Path(place, "good")
        good.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            fuzzer.prepare(good)
        os.environ["HOME"] = place  # where a path may lead
        for seed in seeds:
            folder = Path(place, "above", "case")
            shutil.copytree(good, folder)
            yield try_case(fuzzer, seed, folder)
            shutil.rmtree(folder.parent)


def try_case(fuzzer: Fuzzer, seed: int, folder: Path) -> Answer:
    """Spoil a good folder and try the command on it."""
    before = stored(folder)
    spoiled = fuzzer.spoil(np.random.default_rng(seed), folder)
    was = measure_peak_mb()
    out, err, trace = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = fuzzer.command(spoiled.command)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except BaseException:  # whatever it is, it would have been a traceback
            status, trace = -1, traceback.format_exc()
    fault = fault_of(status, out.getvalue(), err.getvalue(), trace)
    if not fault and status != 0 and stored(folder) != before:
        fault = "the store is not as it was before"
    return Answer(
        seed=seed,
        what=spoiled.what[:300],
        status=status,
        said=trace or err.getvalue(),
        fault=fault,
        grown_mb=measure_peak_mb() - was,
    )


def fault_of(status: int, out: str, err: str, trace: str) -> str:
    """Return what is wrong with an answer, or "" where nothing is."""
    if trace:
        return f"traceback: {trace.strip().splitlines()[-1][:100]}"
    if status not in (0, 2):
        return f"exit status {status}"
    if "Traceback" in err:
        return "a traceback is printed"
    if any(not line.isprintable() for line in (out + err).split("\n")):
        return "what a terminal obeys is printed"
    if status == 0:
        return ""
    said = [line for line in err.splitlines() if line.startswith(VOICES)]
    if len(said) != 1 or not err.endswith(said[0] + "\n"):
        return "wrong input is not answered by one sentence"
    if len(said[0].partition(": ")[2]) > MOST:
        return f"a sentence of more than {MOST} characters"
    return ""


def stored(folder: Path) -> bytes | None:
    """Return what the store of a case's own work folder says is in force."""
    head = WorkFolder(folder / "work").store_head
    return head.read_bytes() if head.is_file() else None


def run_children(fuzzer: Fuzzer, cases: int, first: int = 0) -> Report:
    """Run cases first, first + 1, ... in children of BATCH cases each, and report."""
    answers: list[Answer] = []
    peak_mb = 0.0
    seed = first
    while seed < first + cases:
        count = min(BATCH, first + cases - seed)
        for answer, its_mb in _child(fuzzer, seed, count):
            answers.append(answer)
            peak_mb = max(peak_mb, its_mb)
            seed = answer.seed + 1
    return Report(
        cases=len(answers),
        statuses=dict(Counter(answer.status for answer in answers)),
        peak_mb=peak_mb,
        faults=[answer for answer in answers if answer.fault],
    )


def _child(fuzzer: Fuzzer, first: int, count: int) -> Iterator[tuple[Answer, float]]:
    """Yield the answers of one child with its peak memory so far; one that hangs or dies ends with a fault."""
    command = [sys.executable, "-m", fuzzer.module, "--child", str(first), str(count)]
    with (
        tempfile.TemporaryDirectory() as place,
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=words, text=True, env={**os.environ, "TMPDIR": place}
        ) as child,
    ):  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_pass_on, args=(child.stdout or (), lines), daemon=True)
        reader.start()
        try:
            for seed in range(first, first + count):
                fault = ""
                try:
                    line = lines.get(timeout=PATIENCE_S)
                except queue.Empty:
                    line, fault = "", f"no answer in {PATIENCE_S:g} s"
                if not line:
                    words.seek(0)
                    said = words.read()
                    fault = fault or "the process died"
                    yield Answer(seed=seed, what="", status=-1, said=said, fault=fault), 0.0
                    return
                told = json.loads(line)
                peak_mb = told.pop("peak_mb")
                if too_much := peak_mb > MOST_MB:
                    told["fault"] = told["fault"] or f"more than {MOST_MB} MB"
                yield Answer(**told), peak_mb
                if too_much:
                    return
        finally:
            child.kill()
            reader.join()


def _pass_on(source: Iterable[str], lines: queue.Queue[str]) -> None:
    for line in source:
        lines.put(line)
    lines.put("")


def main(fuzzer: Fuzzer, arguments: Sequence[str] | None = None) -> int:
    """Run the fuzzer as a command; return 1 where it found a fault."""
    parser = argparse.ArgumentParser(prog=f"python -m {fuzzer.module}")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is None:
        report = run_children(fuzzer, options.cases, options.first)
        print("\n".join(report.lines()))
        return 1 if report.faults else 0
    first, count = options.child
    for answer in run_here(fuzzer, range(first, first + count)):
        print(json.dumps({**asdict(answer), "peak_mb": measure_peak_mb()}), flush=True)
    return 0


def measure_peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    return read_status_kb("VmHWM") / 1024
