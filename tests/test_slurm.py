"""The batch script for SLURM: the line runs on the nodes that it starts, and none of them outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gaitforge.work import read_json
from tests.small_line import PATIENCE_S, ROOT, processes, write_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_the_line_runs_on_two_nodes_of_a_job_and_ray_ends_with_it(
    tmp_path: Path, ray_home: Path
) -> None:
    """On one machine, with tests/slurm/ in the place of SLURM's own commands."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "gaitforge").write_text(f'#!/bin/sh\nexec {sys.executable} -m trainers "$@"\n')
    (commands / "gaitforge").chmod(0o755)
    settings = write_run(
        tmp_path,
        {
            "teacher.fit": {"epochs": 2},
            "search": {"trials": 2},
            "search.fit": {"epochs": 2},
            "confirm": {"members": 1, "neighbours": 0, "alone": False},
            "cluster": {"address": "auto", "cpus": 1},
        },
    )
    places = [ROOT / "tests" / "slurm", commands, Path(sys.executable).parent, os.environ["PATH"]]
    home = tmp_path / "home"  # its token is made by the script
    home.mkdir()
    job = subprocess.run(
        [ROOT / "examples" / "slurm.sh", settings],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={
            "PATH": os.pathsep.join(map(str, places)),
            "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
            "HOME": str(home),
            "RAY_TMPDIR": str(ray_home),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "127.0.0.1,127.0.0.1",
            "SLURM_CPUS_PER_TASK": "1",
        },
    )
    assert job.returncode == 0, job.stdout + job.stderr
    assert "2 cores" in job.stdout
    assert read_json(tmp_path / "work" / "summary.json")["confirmed_front"]
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    assert processes(ray_home) == {}
