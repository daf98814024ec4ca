"""A line small enough for tests: its run.toml, its files, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
# The last resort of every test that waits for something: a busy machine makes a line of a minute last for many.
PATIENCE_S = 900

Tables = Mapping[str, Mapping[str, object] | None]

SETTINGS: dict[str, dict[str, object]] = {
    "": {"work": "work"},
    "ingest.synthetic": {
        "people_per_class": 6,
        "recordings_per_person": 1,
        "seconds": 2.5,
        "fps": 20.0,
    },
    "split": {"fractions": [0.5, 0.25, 0.25]},
    "windows": {"length": 24, "views": 2},
    "teacher": {"family": "tcn"},
    "teacher.sizes": {"channels": 32, "layers": 2},
    "teacher.fit": {"epochs": 40, "batch": 8},  # so many that a kill comes before the last
    "search": {
        "families": ["tcn"],
        "trials": 4,
        "max_params_share": 0.5,
        "gate": False,  # it may well say that there is nothing to teach
        "allow_chance": True,  # after a few epochs a teacher may well be no better
    },
    "search.fit": {"epochs": 8, "batch": 8},
    "search.stopping": {"first": 2, "factor": 2, "keep": 0.99},  # compared, and none is stopped
    "confirm": {"members": 2, "seeds": 1, "resamples": 200},
    "cluster": {"cpus": 2, "concurrent": 1},
}

NOTHING: Tables = MappingProxyType({})


def write_run(folder: Path, changes: Tables = NOTHING) -> Path:
    """`folder`/run.toml with SETTINGS; `changes` replaces keys by table, None removes a table."""
    lines = []
    for table in {**SETTINGS, **changes}:
        changed = changes.get(table, {})
        if changed is None:
            continue
        lines += [f"[{table}]"] if table else []
        keys = SETTINGS.get(table, {}) | dict(changed)
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    path = folder / "run.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_recordings(path: Path, **changed: Any) -> Path:
    """An npz of six people in two classes, three each: one recording of 12 frames, 17 joints."""
    plain: dict[str, Any] = {
        "frames": np.random.default_rng(0).normal(size=(72, 17, 3)).astype(np.float32),
        "offsets": np.arange(0, 73, 12),
        "subject": np.array(["s1", "s2", "s3", "s4", "s5", "s6"]),
        "label": np.array(["healthy", "ataxia"] * 3),
    }
    arrays = {name: value for name, value in (plain | changed).items() if value is not None}
    np.savez(path, allow_pickle=True, **arrays)
    return path


def start(
    *arguments: object,
    ray_home: Path,
    program: tuple[str, str] = ("-m", "trainers"),
    path: Sequence[Path] = (),
) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal starts it; Ray keeps to `ray_home`.

    `path` are folders of packages that it finds besides.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "platform", ROOT, *path))),
        "RAY_TMPDIR": str(ray_home),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a command, however long it takes, while it says something new every PATIENCE_S."""
    said = -1
    while True:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)
        except subprocess.TimeoutExpired as error:
            before, said = said, len(error.stdout or "") + len(error.stderr or "")
            if said > before:
                continue
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"silent for {PATIENCE_S} s: {out}\n{err}")


def run(
    *arguments: object, ray_home: Path, path: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """The command to its end; the test decides what its exit status should have been."""
    return ended(start(*arguments, ray_home=ray_home, path=path))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Return as soon as `condition` holds; fail where it takes too long or `process` ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process is not None and process.poll() is not None:
            answer = ended(process)
            raise AssertionError(f"ended ({answer.returncode}): {answer.stdout}\n{answer.stderr}")
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def processes(ray_home: Path) -> dict[int, str]:
    """Command lines, by id, of the running processes that hold a file of this Ray home open.

    Without Ray's two agents, which report the death of their node to it for a minute before they end.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        files = []
        try:
            for link in (folder / "fd").iterdir():
                # closed meanwhile: a worker that writes must not be overlooked for that
                with suppress(FileNotFoundError):
                    files.append(os.readlink(link))
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended, or is not ours
        if "Agent" not in command and any(file.startswith(f"{ray_home}/") for file in files):
            found[int(folder.name)] = command
    return found
