"""What tests of the line on real Ray look at: copies of a finished one, its numbers, its processes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gaitforge.work import SplitFolder, WorkFolder, read_json
from tests.conftest import FinishedLine
from tests.small_line import Tables, processes, write_run

EPOCHS = 40  # of the teacher in SETTINGS


def copied(finished: FinishedLine, folder: Path, *without: str, changes: Tables) -> Path:
    """run.toml in a copy of the finished line, `without` parts of its run, and with other settings."""
    shutil.copytree(finished.work.root, folder / "work")
    for part in without:
        shutil.rmtree(folder / "work" / "runs" / "main" / part)
    return write_run(folder, changes)


def split_of(settings: Path) -> SplitFolder:
    return WorkFolder(settings.parent / "work").run("main")


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def timeless(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial's JSON without what the clock says."""
    curve = [{**point, "seconds": 0} for point in trial["curve"]]
    return {**trial, "curve": curve, "seconds": 0, "started": "", "ended": ""}


def numbers(split: SplitFolder) -> dict[str, Any]:
    """All that training and search came to in a split, without times."""
    history = rows_of(split.teacher / "history.parquet")
    return {
        "weights": (split.teacher / "model.safetensors").read_bytes(),
        "history": [{**row, "seconds": 0} for row in history],
        "trials": {
            path.name: timeless(read_json(path)) for path in sorted(split.trials.glob("*.json"))
        },
        "front": read_json(split.search / "front.json"),
        "predictions": {
            path.name: rows_of(path) for path in sorted(split.predictions.glob("*.parquet"))
        },
        "scores": read_json(split.confirm / "scores.json"),
    }


def live_epochs(split: SplitFolder) -> int:
    path = split.teacher / "live.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


TRIAL, TEACHER = "ray::ImplicitFunc", "ray::RayTrainWorker"  # titles of the processes that train


def find_all(ray_home: Path, name: str) -> list[int]:
    """The processes whose program or title starts so."""
    return [
        pid
        for pid, command in processes(ray_home).items()
        if command.startswith(name) or Path(command.split(" ")[0]).name == name
    ]


def find(ray_home: Path, name: str) -> int | None:
    """The process whose program or title starts so; None where there is none."""
    found = find_all(ray_home, name)
    assert len(found) <= 1, found
    return found[0] if found else None


def kill(ray_home: Path, name: str) -> int:
    """The process that was killed, the only one whose program or title starts so."""
    pid = find(ray_home, name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid
