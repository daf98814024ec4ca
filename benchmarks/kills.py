"""Kills over all stages of a line: the command is ended at seeded moments, started again, and must come to the same.

    python -m benchmarks.kills --kills 30

Each line is hit a few times (HITS), in any of its stages, by `kill -9` or SIGTERM, of the command alone or of all its
processes; then it is let run to its end and compared with one that nobody has disturbed: weights, trials, front,
predictions, scores, export. After SIGTERM the command must have said one sentence and given status 143. All is kept in
work/kills/; the same command goes on where it was stopped, and `--seconds` stops it in time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaitforge.work import WorkFolder, read_json, write_json
from tests.conftest import own_ray
from tests.line_state import numbers
from tests.small_line import PATIENCE_S, ended, processes, start, write_run

ROOT = Path(__file__).parents[1]
HITS = 6  # of one line
STAGES = ("begin", "ingest", "split", "teacher", "outputs", "search", "confirm", "export")
# how long after the stage's first line a hit comes at the latest; a stage that is over by then is hit in the next
LATEST_S = {"begin": 3.0, "teacher": 40.0, "search": 40.0, "confirm": 20.0}
HOW = ("kill -9", "kill -9 of all", "SIGTERM", "SIGTERM to all")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """What one hit did; `status` and `said` are those of the command that was hit."""

    line: int
    stage: str
    after_s: float
    how: str
    status: int | None
    said: str
    fault: str = ""  # what should not have been


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What became of one line after its hits."""

    line: int
    hits: int
    differs: list[str]
    drafts: list[str]
    fault: str = ""


def plan(line: int, seed: int, hits: int) -> list[tuple[str, float, str]]:
    """Draw the hits of a line, in the order of its stages: stage, seconds after its first line, and how."""
    chance = random.Random(f"{seed} {line}")
    stages = sorted((chance.choice(STAGES) for _ in range(hits)), key=STAGES.index)
    return [
        (stage, round(chance.uniform(0, LATEST_S.get(stage, 2.0)), 2), chance.choice(HOW))
        for stage in stages
    ]


def outcome(work: WorkFolder) -> dict[str, Any]:
    """Gather all that a finished line came to, without times."""
    export = {path.name: path.read_bytes() for path in sorted(work.export.glob("student.*"))}
    return {
        **numbers(work.run("main")),
        "store": read_json(work.store_head)["fingerprint"],
        "split": work.split_file("main").read_bytes(),
        "export": {name: hashlib.sha256(content).hexdigest() for name, content in export.items()},
    }


def hit(number: int, wish: tuple[str, float, str], settings: Path) -> Hit | None:
    """Run the line and hit it as wished; None where it had ended before."""
    stage, after_s, how = wish
    with own_ray() as home:
        driver = start("run", settings, ray_home=home)
        out, err = Lines(driver, "out"), Lines(driver, "err")
        begun = time.monotonic()
        if stage != "begin":
            reached = STAGES[STAGES.index(stage) :]
            words = tuple(f"{one}:" for one in reached)
            wait(lambda: driver.poll() is not None or any(out.begun(word) for word in words))
            begun = time.monotonic()
        wait(lambda: driver.poll() is not None or time.monotonic() - begun >= after_s)
        if driver.poll() is not None:
            for lines in (out, err):
                lines.all()
            return None
        told = signal.SIGKILL if "kill" in how else signal.SIGTERM
        with suppress(ProcessLookupError):
            (os.killpg if how.endswith("all") else os.kill)(driver.pid, told)
        try:
            status: int | None = driver.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(driver.pid, signal.SIGKILL)
        wait(lambda: not processes(home))
        told_last = "".join(out.all()[-1:])
        ours = [line for line in err.all() if not line.startswith("[20")]
        # before its own first statement Python knows no better than to die of it
        right = {-9} if told == signal.SIGKILL else {143, -15}
        if not ours and told_last.endswith("work/export"):
            right.add(0)  # all was done when the signal came
        fault = "" if status in right else "status"
        if status == 143 and (len(ours) != 1 or "goes on" not in ours[0]):
            fault = "sentence"
        return Hit(
            line=number, stage=stage, after_s=after_s, how=how, status=status,
            said=" / ".join(ours)[:400], fault=fault,
        )  # fmt: skip


class Lines:
    """The lines of a running command's output, kept in files so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str], which: str) -> None:
        pipe = process.stdout if which == "out" else process.stderr
        assert pipe is not None
        self._lines: list[str] = []

        def read() -> None:
            with pipe:
                self._lines.extend(iter(pipe.readline, ""))

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()

    def begun(self, word: str) -> bool:
        return any(line.startswith(word) for line in self._lines)

    def all(self) -> list[str]:
        """Return the lines of a command that has ended."""
        self._reader.join()
        return [line.rstrip("\n") for line in self._lines]


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a command hangs")
        time.sleep(0.02)


def finish(settings: Path) -> str:
    """Run the line to its end; return what was wrong with that, "" for nothing."""
    with own_ray() as home:
        driver = start("run", settings, ray_home=home)
        answer = ended(driver)
    fine = (answer.returncode, answer.stderr) == (0, "")
    return "" if fine else f"{answer.returncode}: {answer.stderr[-400:]}"


def calm(folder: Path) -> dict[str, Any]:
    """Return what a line that nobody disturbs comes to; it is made once."""
    if not WorkFolder(folder / "calm" / "work").exported.card.is_file():
        shutil.rmtree(folder / "calm", ignore_errors=True)
        (folder / "calm").mkdir(parents=True)
        if fault := finish(write_run(folder / "calm")):
            raise RuntimeError(f"A line that nobody disturbs fails ({fault}); mend that first.")
    return outcome(WorkFolder(folder / "calm" / "work"))


def disturb(number: int, folder: Path, seed: int, hits: int, until: float) -> bool:
    """Hit one line as planned, then compare its end; return whether there was time for all of it."""
    place = folder / f"line-{number}"
    records = place / "hits.json"
    if (place / "ending.json").is_file():
        return True
    place.mkdir(parents=True, exist_ok=True)
    settings = write_run(place)
    done: list[dict[str, Any]] = read_json(records) if records.is_file() else []
    for wish in plan(number, seed, hits)[len(done) :]:
        if time.monotonic() > until:
            return False
        record = hit(number, wish, settings)
        if record is None:
            break  # the line is at its end
        done.append(asdict(record))
        write_json(records, done)
        print(json.dumps(done[-1]), flush=True)
    if time.monotonic() > until:
        return False
    fault = finish(settings)
    work = WorkFolder(place / "work")
    one, other = calm(folder), outcome(work) if not fault else {}
    ending = Ending(
        line=number,
        hits=len(done),
        differs=[part for part in one if other.get(part) != one[part]],
        drafts=[str(path) for path in work.root.rglob(".*.*")],
        fault=fault,
    )
    write_json(place / "ending.json", asdict(ending))
    print(json.dumps(asdict(ending)), flush=True)
    return True


def run(
    folder: Path, kills: int, seed: int, hits: int = HITS, seconds: float = float("inf")
) -> list[str]:
    """Hit lines until there were so many hits; return what was wrong with any, and print what was done."""
    until = time.monotonic() + seconds
    calm(folder)
    number, made = 0, 0
    while made < kills:
        if not disturb(number, folder, seed, min(hits, kills - made), until):
            print("stopped in time; the same command goes on")
            break
        made += int(read_json(folder / f"line-{number}" / "ending.json")["hits"])
        number += 1
    hit_by = [one for path in sorted(folder.glob("line-*/hits.json")) for one in read_json(path)]
    endings = [read_json(path) for path in sorted(folder.glob("line-*/ending.json"))]
    wrong = [json.dumps(one) for one in hit_by if one["fault"]]
    wrong += [json.dumps(one) for one in endings if one["fault"] or one["differs"]]
    for stage in STAGES:
        print(f"{stage:<8} {sum(one['stage'] == stage for one in hit_by):>3} hits")
    print(
        f"{len(hit_by)} hits in {len(endings)} finished lines, {len(wrong)} of which were not as they should be"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "kills")
    options = parser.parse_args()
    wrong = run(
        options.out.resolve() / str(options.seed),
        options.kills,
        options.seed,
        HITS,
        options.seconds,
    )
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
