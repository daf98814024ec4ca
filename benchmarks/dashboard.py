"""How long the dashboard takes to open and to answer, and its memory, on a generated log of trials.

    python -m benchmarks.dashboard                        # 10,000 trials, then 100,000
    python -m benchmarks.dashboard --trials 10000 --keep /tmp/log

A log of that size is written as a search would leave it (files, table, front), with a teacher, a
confirmed front and a store beside it. Then the dashboard is started as `gaitforge dashboard` starts
it, and Chromium opens its pages. A page counts as painted when all its charts are drawn and the
server has nothing more to say; the first one is the first page of a server just started, which has
read nothing yet. An interaction is timed from the click or key to the same. Memory is the highest
resident size of the server's process so far.

The goals at 10,000 trials: first paint 3 s, an interaction 1 s, memory 1 GB (10^9 bytes). What 100,000 do
is printed, not promised. Times hold for the machine and what else it does: its load is printed, and how
long server and browser worked (processor time since the row before), which depends less on that.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from dashboard.serving import build_serve_command
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, read_json, write_json
from tests.toy_work import Toy, make_confirm, make_split, make_store, make_teacher

ROOT = Path(__file__).parents[1]
PATIENCE_S = 900  # a busy machine starts a dashboard in minutes
EPOCHS = 15
TOY = Toy(trials=0, running=0)
TEACHER_PARAMS = 1_284_100


def generated_trial(number: int, rng: np.random.Generator) -> Trial:
    """One trial as a search over two families logs it; a third of them finished, the rest stopped."""
    family = "tcn" if rng.random() < 0.6 else "stgcn"
    width = round(math.exp(rng.uniform(math.log(4), math.log(96))))
    depth = int(rng.integers(1, 7))
    params = width * width * depth * 3 + 79 * width
    lr = math.exp(rng.uniform(math.log(5e-4), math.log(1e-2)))
    weights = {"kd": round(math.exp(rng.uniform(math.log(0.1), math.log(4))), 4)}
    if rng.random() < 0.4:
        weights["rkd"] = round(math.exp(rng.uniform(math.log(0.3), math.log(30))), 4)
    temperature = round(float(rng.uniform(1, 8)), 3)
    finished = rng.random() < 0.34
    epochs = EPOCHS if finished else int(rng.choice([3, 9]))
    best = 0.9 - 0.5 * (params / 1000) ** -0.4 - 0.03 * abs(math.log(lr / 3e-3))
    best = float(np.clip(best + rng.normal(0, 0.03), 0.05, 0.97))
    curve = []
    for epoch in range(1, epochs + 1):
        grown = 1 - math.exp(-epoch / 4)
        terms = {name: round(weight * (1.2 - grown), 4) for name, weight in weights.items()}
        terms = {"cross_entropy": round(1.4 - 0.9 * grown, 4), **terms}
        curve.append(
            {
                "epoch": epoch,
                "train_loss": round(sum(terms.values()), 4),
                "terms": terms,
                "val_macro_f1": round(best * grown, 4),
                "val_accuracy": round(min(best * grown + 0.02, 1.0), 4),
                "seconds": 0.41,
            }
        )
    score = float(curve[-1]["val_macro_f1"])  # type: ignore[arg-type]
    sizes: dict[str, Any] = {"channels" if family == "tcn" else "width": width}
    sizes |= {
        "layers" if family == "tcn" else "depth": depth,
        "kernel": int(rng.choice([3, 5, 9])),
    }
    searched = {f"{family}.{name}": value for name, value in sizes.items()}
    searched |= {"family": family, "lr": lr, "weight_decay": 0.02, "temperature": temperature}
    searched |= {f"weight.{name}": weight for name, weight in weights.items()}
    searched["terms.relations"] = "rkd" if "rkd" in weights else "none"
    return Trial(
        number=number,
        state="finished" if finished else "stopped",
        reason=None if finished else f"others of its size were better after {epochs} epochs",
        family=family,
        sizes=sizes,
        params=params,
        macs=params * 64,
        bytes=4 * params + 1800,
        seed=number,
        hash=f"{number:012x}",
        suggested=searched,
        distributions=dict.fromkeys(searched, '{"name": "IntDistribution"}' * 3),
        recipe=Recipe(epochs=EPOCHS, lr=lr),
        distill=Distillation(weights=weights, temperature=temperature),
        scores={
            "val_macro_f1": score,
            "val_accuracy": min(score + 0.02, 1.0),
            "val_balanced_accuracy": max(score - 0.01, 0.0),
            "val_calibration_error": 0.08,
        },
        curve=tuple(curve),
        epochs=epochs,
        seconds=0.41 * epochs,
        node="head",
        started="2026-11-20T06:00:00+00:00",
        ended="2026-11-20T06:00:06+00:00",
    )


def write_log(folder: SplitFolder, trials: int) -> None:
    """`search/` after so many trials: their files, the table, the front and the head."""
    rng = np.random.default_rng(0)
    folder.trials.mkdir(parents=True, exist_ok=True)
    finished = []
    for number in range(trials):
        trial = generated_trial(number, rng)
        # not by TrialLog.add, which waits for the disk each time
        folder.trial(number).write_bytes(TRIAL.as_json(trial))
        if trial.state == "finished":
            finished.append(trial)
    TrialLog(folder).compact()
    front: list[dict[str, Any]] = []
    for trial in sorted(finished, key=lambda t: (t.params, -(t.scores or {})["val_macro_f1"])):
        scores = dict(trial.scores or {})
        if not front or scores["val_macro_f1"] > front[-1]["val_macro_f1"] + 0.002:
            row = {"trial": trial.number, "family": trial.family, "params": trial.params}
            front.append({**row, "macs": trial.macs, "bytes": trial.bytes, **scores})
    objectives = ["macro_f1", "params"]
    reference = [0.0, float(TEACHER_PARAMS)]
    write_json(
        folder.search / "front.json",
        {
            "schema": 1,
            "objectives": objectives,
            "hypervolume": 1.8,
            "reference": reference,
            "front": front,
        },
    )
    write_json(
        folder.search / "search.json",
        {
            "schema": 1,
            "identity": "a3f1c2d4e5b6",
            "families": ["stgcn", "tcn"],
            "trials": trials,
            "epochs": EPOCHS,
            "rungs": [3, 9],
            "seed": 0,
            "objectives": objectives,
            "reference": reference,
            "max_params": 200_000,
            "rejected": 0,
            "seconds": 0.41 * 8 * trials,
        },
    )


def write_work(root: Path, trials: int) -> WorkFolder:
    """A whole work folder with a log of that size."""
    work = WorkFolder(root)
    make_store(work, TOY)
    make_split(work, TOY)
    make_teacher(work, TOY)
    write_log(work.run(TOY.split), trials)
    make_confirm(work, TOY)
    return work


# Runs in the page. Resolves to the time (ms of the page's clock) from which on, for QUIET_MS, the
# server had nothing to say and each chart was drawn; after an interaction, once it has been busy.
SETTLED = """
([after, quiet, patience]) => new Promise((resolve, reject) => {
  const app = () => document.querySelector('[data-testid=stApp]');
  const state = () => app()?.getAttribute('data-test-script-state');
  let busy = after === null, since = null;
  const drawn = () => {
    const charts = [...document.querySelectorAll('[data-testid=stVegaLiteChart]')];
    const shown = document.querySelectorAll('[data-testid=stElementContainer]').length;
    return shown > 3 && state() === 'notRunning'
      && charts.every(chart => chart.querySelector('svg, canvas'))
      && !document.querySelector('[data-testid=stSkeleton]');
  };
  const start = performance.now();
  const look = () => {
    const now = performance.now();
    if (state() === 'running') busy = true;
    if (busy && drawn()) { since = since ?? now; } else { since = null; }
    if (since !== null && now - since >= quiet) { resolve(since); return; }
    if (now - start > patience) { reject(new Error(busy ? 'not painted' : 'nothing happened')); return; }
    setTimeout(look, 8);
  };
  look();
})
"""
QUIET_MS, PATIENCE_MS = 400, 180_000
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--no-first-run"]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was timed (s), how long server and browser worked, the server's memory (MB) after it."""

    what: str
    seconds: float | None
    work_s: float
    browser_s: float
    memory_mb: float
    note: str = ""


class Visitor:
    """Someone who opens the dashboard in a browser and times what it does."""

    def __init__(self, page: Page, address: str, server: int) -> None:
        self.page = page
        self.address = address
        self.server = server
        self.rows: list[Row] = []
        self.worked = work_s(server), browser_work_s()

    def open(self, path: str, what: str) -> None:
        """A page by its address, from nothing."""
        self.page.goto(f"{self.address}/{path}", wait_until="commit")
        painted = self.page.evaluate(SETTLED, [None, QUIET_MS, PATIENCE_MS])
        self._note(what, painted / 1000)

    def do(self, what: str, act: Callable[[Page], None]) -> None:
        """One interaction on the page that is open; skipped where the page has nothing of the kind."""
        try:
            # what Playwright itself waits for, before it acts, is not the dashboard's time
            self.page.evaluate(NOTE_START)
            act(self.page)
            painted = self.page.evaluate(SETTLED, [0, QUIET_MS, PATIENCE_MS])
            started = self.page.evaluate("() => window.started")
            self._note(what, (painted - started) / 1000)
        except PlaywrightError as error:
            self._note(what, None, str(error).splitlines()[0][:60])

    def _note(self, what: str, seconds: float | None, note: str = "") -> None:
        before, self.worked = self.worked, (work_s(self.server), browser_work_s())
        work, browser = (now - then for now, then in zip(self.worked, before, strict=True))
        row = Row(what, seconds, work, browser, peak_mb(self.server), note)
        self.rows.append(row)
        shown = "     -" if seconds is None else f"{seconds:6.2f}"
        work_words = f"{row.work_s:7.2f}  {row.browser_s:7.2f}  {row.memory_mb:6.0f}"
        print(f"  {what:44} {shown}  {work_words}  {note}", flush=True)


# Notes the moment of each click or key.
NOTE_START = """() => {
  const note = () => { window.started = performance.now(); };
  for (const kind of ['pointerdown', 'keydown']) window.addEventListener(kind, note, {capture: true});
}"""


def look_about(visitor: Visitor, front: Sequence[int]) -> None:
    """Every page, and an interaction or two on each."""
    visitor.open("trade-off", "first page of a server just started: Trade-off")
    visitor.do("choose another student by a click", lambda page: click_point(page, front[1]))
    visitor.do("move the first slider by a key", lambda page: press_slider(page, "ArrowLeft"))
    visitor.do("change to Why by the navigation", lambda page: go(page, "Why"))
    visitor.do("the confirmed ones on Why", lambda page: choose(page, "the confirmed"))
    visitor.do("change to Student", lambda page: go(page, "Student"))
    visitor.do("change to Compare", lambda page: go(page, "Compare"))
    visitor.do("change to Store", lambda page: go(page, "Store"))
    visitor.do("change to Overview", lambda page: go(page, "Overview"))
    for path in ("", "trade-off", "why", "student", "compare", "store"):
        visitor.open(path, f"open {path or 'overview'} anew")


def go(page: Page, title: str) -> None:
    page.get_by_role("link", name=title, exact=True).first.click(timeout=3000)


def choose(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name).click(timeout=3000)


def click_point(page: Page, trial: int) -> None:
    point = page.locator(f'[data-testid=stVegaLiteChart] path[aria-label*="rial {trial}"]').last
    point.click(timeout=3000)


def press_slider(page: Page, key: str) -> None:
    page.get_by_role("slider").first.press(key, timeout=3000)


@contextmanager
def serving(
    work: Path, options: Mapping[str, str] | None = None, current: Path = ROOT
) -> Iterator[tuple[str, int]]:
    """The dashboard on that folder, asked for in the folder `current`: its address, and its process's number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        build_serve_command([str(work)], port, options),
        cwd=current,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health")
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def wait_for(url: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except OSError:  # not there yet, or too busy to answer
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def peak_mb(process: int) -> float:
    """The highest resident size of a process so far."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return math.nan


def work_s(process: int) -> float:
    """The processor time that a process has taken: what is left where nothing else runs."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def browser_work_s() -> float:
    """The processor time of this process's Chromium, with all that it has started."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            number, _, rest = stat.read_text().partition(" (")
            names[int(number)], _, fields = rest.rpartition(")")
            parents[int(number)] = int(fields.split()[1])
    work = 0.0
    for process, name in names.items():
        above = process
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and "chrom" in name:
            with suppress(OSError):
                work += work_s(process)
    return work


def measure(root: Path, trials: int) -> list[Row]:
    """Times and memory over a log of that size, printed as they come."""
    started = time.monotonic()
    if not (root / "splits").is_dir():
        write_work(root, trials)
        print(f"  a log of {trials:,} trials was written in {time.monotonic() - started:.0f} s")
    front = read_json(WorkFolder(root).run(TOY.split).search / "front.json")["front"]
    with serving(root) as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        visitor = Visitor(page, address, server)
        look_about(visitor, [row["trial"] for row in front])
        browser.close()
    return visitor.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--keep", type=Path, help="a folder to keep the generated logs in")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        for trials in chosen.trials:
            load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
            print(f"{trials:,} trials; load {load} on {os.cpu_count()} processors", flush=True)
            print(f"  {'':44} {'s':>6}  {'server s':>7} {'browser s':>7}  {'MB':>4}")
            measure((chosen.keep or Path(passing)) / f"log{trials}", trials)


if __name__ == "__main__":
    main()
