"""The dashboard's server is ready before its first visitor, whatever its folders hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.reading import trial_log
from dashboard.reading import work_folder as reading
from dashboard.serving import build_serve_command
from dashboard.start import make_ready
from gaitforge.work import WorkFolder
from tests.small_line import PATIENCE_S
from tests.toy_work import Toy, make_work


def test_the_trials_of_a_folder_are_read_before_anybody_asks(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", Toy(trials=4, running=0, confirmed=False))
    make_ready([str(tmp_path / "none"), "s3://no plain name", str(work.root)])
    known = trial_log._looks[str(work.run("people").root)].log.trials
    assert reading.read_results(work, "people").trials[0] is known[0]


def test_a_damaged_folder_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "people.json").write_text("{")
    (tmp_path / "runs").write_text("no folder")
    make_ready([str(tmp_path)])
    assert reading.read_results(WorkFolder(tmp_path), "people").trials == ()


@pytest.mark.slow
def test_what_is_loaded_beforehand_registers_no_component() -> None:
    """Streamlit keeps components where the app loads them, and forgets those loaded before."""
    code = (
        "import importlib, sys; from dashboard.start import LIBRARIES; "
        "[importlib.import_module(name) for name in LIBRARIES]; "
        "print(sorted({'dashboard.app', 'dashboard.student.stick_figure', "
        "'dashboard.frame.save_charts'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert said.stdout.strip() == "[]"


def test_the_command_starts_this_module() -> None:
    command = build_serve_command(["work/a", "work/b"], 8501)
    assert command[1:5] == ["-P", "-m", "dashboard.start", "run"]
    assert command[-3:] == ["--", "work/a", "work/b"]
