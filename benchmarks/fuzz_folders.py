"""Tampered work folders: no damage to a file may end `gaitforge show` or a page of the dashboard in a traceback.

    python -m benchmarks.fuzz_folders --work work/demo --cases 500
    python -m benchmarks.fuzz_folders --work work/demo --cases 1 --first 137      # one case again

Each case copies the folder's files that it needs, damages one of them by the number of the case (a value of JSON
replaced by one of another kind, a file cut, emptied, or replaced by a folder or a pipe), runs `show`, then opens
pages. They run in a child process: one that gives no answer for `--patience` seconds counts as hanging and is ended.
Printed are the cases that ended in a traceback, with another exit status than 0 or 2 or with more than one sentence,
those that hung, and the highest memory of a child.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fuzzing import measure_peak_mb

ROOT = Path(__file__).parents[1]
PAGES = ("overview", "trade-off", "why", "student", "compare", "store")
PATIENCE_S = 120.0  # of a child that tells nothing; a case takes about a second
START_S = 600.0  # for a child's imports, which say nothing of its cases
DEEP = 100_000
CHANGED = "state changed"

# by what a value of a JSON file is replaced, as text, since some are no JSON
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "0.5", "true", "null", '""', "[]", "{}", "[[]]", '[null]',
    '"nope"', "9" * 30, "9" * 400, "9" * 5000, "-1e308", "1e-320", '"\\ud800"', '"\\u001b[2J\\u0007"',
    '"\\u0000"', '"=1+1"', '"a/../../b"', '{"": 1}', "[" * DEEP, "[" * 150 + "]" * 150, '"' + "x" * 100_000 + '"',
)  # fmt: skip
TORN = ("empty", "cut", "garbage", "folder", "pipe", "gone", "device", "loop")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A damage: which file, relative to the work folder, and what is done to it."""

    number: int
    file: str
    damage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of a case: the faults found, `show`'s exit status and sentence, and the memory so far in MB."""

    case: Case
    faults: tuple[str, ...]
    status: int | None
    said: str
    peak_mb: float


def damage(work: Path, number: int) -> Case:
    """Damage one file of a work folder, the same one in the same way for the same number."""
    rng = random.Random(number)
    files = sorted(path for path in work.rglob("*") if path.is_file())
    # the few files of JSON decide more than all arrays and tables together
    told = [path for path in files if path.suffix in (".json", ".jsonl")]
    path = rng.choice(told if rng.random() < 0.75 else files)
    if path in told and rng.random() < 0.75:
        how = _replace_value(path, rng)
    elif path.suffix == ".parquet" and rng.random() < 0.5:
        how = _replace_column(path, rng)
    else:
        how = rng.choice(TORN)
        _tear(path, how, rng)
    return Case(number=number, file=str(path.relative_to(work)), damage=how)


def _replace_value(path: Path, rng: random.Random) -> str:
    """Replace, remove or renumber one value of a JSON file; return what was done."""
    text, lines = path.read_text(encoding="utf-8"), list[str]()
    if path.suffix == ".jsonl" or path.parent.name == "_delta_log":
        lines = text.splitlines()
    content = json.loads(lines[-1] if lines else text)
    places = list(_places(content))
    if "schema" in content and rng.random() < 0.1:
        place: tuple[str | int, ...] = ("schema",)
    else:
        place = rng.choice(places)
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    name = ".".join(map(str, place))
    if place == ("schema",):
        value = rng.choice(["0", "99", '"1"', "true", "1.5", "[1]", "null"])
    elif rng.random() < 0.15:
        del inner[place[-1]]
        path.write_text("\n".join([*lines[:-1], json.dumps(content)]), encoding="utf-8")
        return f"{name} removed"
    else:
        value = rng.choice(VALUES)
    inner[place[-1]] = CHANGED
    text = json.dumps(content).replace(json.dumps(CHANGED), value, 1)
    path.write_text("\n".join([*lines[:-1], text]), encoding="utf-8")
    return f"{name} = {value[:20]}{f'... ({len(value)})' if len(value) > 20 else ''}"


def _replace_column(path: Path, rng: random.Random) -> str:
    """Rename a column of a table, or give it other values; return what was done."""
    table = pq.ParquetFile(path).read()
    place = rng.randrange(table.num_columns)
    name, rows = table.column_names[place], table.num_rows
    made: dict[str, Any] = {
        "nulls": pa.nulls(rows), "texts": ["\x1b[2J=1+1"] * rows, "numbers": [2**62] * rows,
        "nan": [float("nan")] * rows, "lists": [[1.0]] * rows, "bytes": [b"\xff"] * rows, "true": [True] * rows,
    }  # fmt: skip
    how = rng.choice(["another name", "no rows", *made])
    if how == "another name":
        table = table.rename_columns(
            [*table.column_names[:place], "x", *table.column_names[place + 1 :]]
        )
    elif how == "no rows":
        table = table.slice(0, 0)
    else:
        table = table.set_column(place, name, pa.array(made[how]))
    pq.write_table(table, path)
    return f"{name}: {how}"


def _places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value inside a value; of a long list only the first two."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner += value.items()
    elif isinstance(value, list):
        inner += list(enumerate(value))[:2]
    for step, its in inner:
        yield (*above, step)
        yield from _places(its, (*above, step))


def _tear(path: Path, how: str, rng: random.Random) -> None:
    """Put something else where a file was."""
    data = path.read_bytes()
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "cut":
        path.write_bytes(data[: rng.randrange(1, max(len(data), 2))])
    elif how == "garbage":
        path.write_bytes(rng.randbytes(len(data)))
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "loop":
        path.symlink_to(path.name)


def examine(work: Path, case: Case, pages: Sequence[str]) -> Result:
    """Run `show` on a damaged folder and open pages of it; return what went wrong."""
    faults = []
    status, said, fault = _show(work)
    if fault:
        faults.append(fault)
    elif status not in (0, 2):
        faults.append(f"show: exit status {status}")
    elif status == 2 and said.count("\n") != 1:
        faults.append("show: not one line")
    faults += [f"{page}: {fault}" for page in pages if (fault := _open(work, page))]
    return Result(
        case=case,
        faults=tuple(faults),
        status=status,
        said=said.strip(),
        peak_mb=measure_peak_mb(),
    )


def _show(work: Path) -> tuple[int | None, str, str]:
    """Run `gaitforge show`; return its exit status, what it complained of, and its traceback's end."""
    from trainers.__main__ import main

    # as strict as a terminal
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["show", str(work)])
    except BaseException as error:
        return None, "", f"show: {_last(error)}"
    err.seek(0)
    out.seek(0)
    shown, said = out.read(), err.read()
    if any(ord(character) < 32 and character != "\n" for character in shown + said):
        return status, said, "show: control characters"
    return status, said, ""


def _open(work: Path, page: str) -> str:
    """Open a page without a browser; return what it ended with, where that is an exception."""
    from streamlit.testing.v1 import AppTest
    from streamlit.util import calc_hash

    sys.argv = ["app.py", str(work)]
    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=PATIENCE_S)
    app._page_hash = calc_hash(page)
    try:
        app.run()
    except BaseException as error:
        return _last(error)
    if not app.exception:
        return ""
    its = app.exception[0]
    return f"{its.message} at {' '.join(list(its.stack_trace)[-2:])}"[:600]


def _last(error: BaseException) -> str:
    """Say what was raised, and by which line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((one for one in reversed(frames) if str(ROOT) in one.filename), frames[-1])
    return f"{type(error).__name__}: {str(error)[:200]} at {place.filename}:{place.lineno}"


def run_cases(
    work: Path, first: int, last: int, pages: Sequence[str], count: int
) -> Iterator[Result]:
    """Run the cases of these numbers here, `count` of the pages each, in turn."""
    arguments = sys.argv
    logging.disable(logging.CRITICAL)
    try:
        for number in range(first, last):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "work"
                shutil.copytree(work, copy, ignore=shutil.ignore_patterns("cache"))
                case = damage(copy, number)
                # told before, so that whoever waits for the result knows what hangs
                print(json.dumps(asdict(case)), flush=True)
                shown = [pages[(number + turn) % len(pages)] for turn in range(count)]
                yield examine(copy, case, shown)
    finally:
        logging.disable(logging.NOTSET)
        sys.argv = arguments


def watched(
    work: Path,
    first: int,
    last: int,
    pages: Sequence[str],
    count: int,
    patience_s: float = PATIENCE_S,
) -> Iterator[Result]:
    """Run the cases in a child process, begun anew after one that hangs or dies."""
    while first < last:
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzz_folders", "--child", "--work", str(work), "--first", str(first),
             "--cases", str(last - first), "--pages", str(count), "--only", *pages],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)])},
        )  # fmt: skip
        case: Case | None = None
        try:
            for line in _lines(child, patience_s):
                told = json.loads(line)
                if "faults" not in told:
                    case = Case(**told)
                elif case is not None:
                    first = case.number + 1
                    yield Result(**{**told, "case": case, "faults": tuple(told["faults"])})
                    case = None
        finally:
            hangs = child.poll() is None
            child.kill()
            child.wait()
        if case is not None:
            first = case.number + 1
            fault = "hangs" if hangs else f"the process died ({child.returncode})"
            yield Result(case=case, faults=(fault,), status=None, said="", peak_mb=0.0)
        elif first < last:
            raise RuntimeError(
                f"The child process ended before case {first}; run it with --child."
            )


def _lines(child: subprocess.Popen[str], patience_s: float) -> Iterator[str]:
    """Yield what a process prints, line by line; end with it, or where nothing follows for `patience_s` seconds."""
    told: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                told.put(line)
        child.wait()
        told.put("")

    threading.Thread(target=listen, daemon=True).start()
    wait_s = START_S
    with contextlib.suppress(queue.Empty):
        while line := told.get(timeout=wait_s):
            wait_s = patience_s
            yield line


def main() -> int:
    parser = argparse.ArgumentParser(description="Work folders with one damaged file each.")
    parser.add_argument("--work", type=Path, required=True, help="a finished work folder")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    parser.add_argument("--pages", type=int, default=2, help="how many pages each case opens")
    parser.add_argument("--only", nargs="+", choices=PAGES, default=PAGES, help="of these")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="S")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asked = (options.work, options.first, options.first + options.cases, options.only)
    if options.child:
        for result in run_cases(*asked, options.pages):
            print(json.dumps(asdict(result)), flush=True)
        return 0
    faulty, peak = 0, 0.0
    statuses: Counter[int | None] = Counter()
    for result in watched(*asked, options.pages, options.patience):
        peak = max(peak, result.peak_mb)
        statuses[result.status] += 1
        faulty += bool(result.faults)
        for fault in result.faults:
            case = result.case
            print(f"case {case.number}: {case.file}: {case.damage}: {fault}", flush=True)
    print(
        f"{options.cases} cases, {faulty} with a fault; exit statuses of show: {dict(statuses)}; "
        f"at most {peak:.0f} MB"
    )
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
