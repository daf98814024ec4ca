"""The same search on one host of one core and on two, and the teacher with one worker and with two.

    python benchmarks/cluster_speed.py [--rounds 3] [--out FILE.jsonl]      (root, Linux, a quiet machine)

This machine plays the hosts, each pinned to a core of its own; the driver and Ray's own processes run
on the head, so on the first core. Each round boots the hosts anew and runs both ways one after the
other, so that what else happens on the machine meets both. Printed are the times of the rounds and
the median of their ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.two_hosts import CACHE, TwoHosts, refusal
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, read_json

ROOT = Path(__file__).parents[1]
TRIALS, EPOCHS = 16, 60
TEACHER_EPOCHS, LEFT_OUT = 12, 2  # of the first epochs, which load and warm up

SETTINGS = f"""
work = "work"
[ingest.synthetic]
people_per_class = 12
recordings_per_person = 16
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
[teacher.fit]
epochs = {TEACHER_EPOCHS}
batch = 32
[search]
families = ["tcn"]
trials = {TRIALS}
sampler = "random"
max_params_share = 0.5
allow_chance = true
[search.fit]
epochs = {EPOCHS}
batch = 16
[search.stopping]
first = 0
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Seconds of the same work on one host and on two."""

    what: str
    one_s: float
    two_s: float
    date: str

    @property
    def ratio(self) -> float:
        return self.one_s / self.two_s

    @property
    def not_shared(self) -> float:
        """The part of the time on two that is not half of the time on one: what the second cannot take over."""
        return 1 - self.one_s / 2 / self.two_s


def seconds(hosts: int) -> dict[str, float]:
    """What a line takes on so many hosts: its search, and the median epoch of its teacher."""
    folder = Path(tempfile.mkdtemp(prefix="gf", dir="/tmp"))  # short: sockets lie below it
    both = TwoHosts(folder, cores=(0, 1))
    settings = folder / "line" / "run.toml"
    settings.parent.mkdir()
    cluster = f'[cluster]\naddress = "{both.address}"\ncache = "{CACHE}"\n'
    text = SETTINGS.replace("[teacher]", f"[teacher]\nworkers = {hosts}")
    settings.write_text(text + cluster, encoding="utf-8")
    try:
        both.start(worker=hosts == 2)
        for stage in ("ingest", "split", "teacher", "outputs", "search"):
            answer = both.head.run(
                [sys.executable, "-m", "trainers", stage, str(settings)],
                {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"},
                timeout_s=1800,
            )
            if answer.returncode:
                raise RuntimeError(f"{stage} on {hosts} failed: {answer.stderr}")
        split = WorkFolder(folder / "line" / "work").run("main")
        epochs = [float(row["seconds"]) for row in read_history(split.teacher)]
        nodes = sorted(trial.node for trial in TrialLog(split))
        print(
            f"  {hosts} host(s): trials on {', '.join(f'{n} {nodes.count(n)}' for n in sorted(set(nodes)))}"
        )
        return {
            "search": float(read_json(split.search / "search.json")["seconds"]),
            "teacher's epoch": statistics.median(epochs[LEFT_OUT:]),
        }
    finally:
        both.stop()
        shutil.rmtree(folder, ignore_errors=True)


def read_history(teacher: Path) -> list[dict[str, float]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, float]] = pq.read_table(teacher / "history.parquet").to_pylist()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "cluster_speed.jsonl")
    options = parser.parse_args()
    if refusal():
        sys.exit(f"cluster_speed: {refusal()}.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rounds = []
    for _ in range(options.rounds):
        one, two = seconds(1), seconds(2)
        for what in one:
            done = Round(
                what=what, one_s=one[what], two_s=two[what], date=f"{datetime.now(UTC):%Y-%m-%d}"
            )
            rounds.append(done)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(done)) + "\n")
            print(
                f"{what}: {done.one_s:.2f} s on one, {done.two_s:.2f} s on two, {done.ratio:.2f} times",
                flush=True,
            )
    for what in sorted({item.what for item in rounds}):
        same = [item for item in rounds if item.what == what]
        ratio = statistics.median(item.ratio for item in same)
        rest = statistics.median(item.not_shared for item in same)
        print(
            f"{what}: {ratio:.2f} times as fast on two (median of {len(same)}); "
            f"{100 * rest:.0f} % of the time on two is not half of that on one"
        )


if __name__ == "__main__":
    main()
