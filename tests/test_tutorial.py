"""The tutorial: a CSV of poses becomes the arrays that were written in it, and its run.toml goes through the line."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.layout import LAYOUTS
from gaitforge.recording import Recording
from gaitforge.settings import read_settings
from gaitforge.work import read_json
from tests.small_line import ROOT, run

EXAMPLES = ROOT / "examples"


def written(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_walkers_survive_the_csv_to_the_millimetre(tmp_path: Path) -> None:
    settings = SyntheticSettings(people_per_class=1, recordings_per_person=2, seconds=2.5)
    script = runpy.run_path(str(EXAMPLES / "walkers_to_csv.py"))
    script["write_csv"](tmp_path / "walks.csv", settings)
    layout = LAYOUTS[settings.layout]
    found = {
        item.recording: item
        for item in read_files([tmp_path / "walks.csv"], layout, ReadOptions())
        if isinstance(item, Recording)
    }
    walkers = list(synthetic_cohort(settings))
    assert sorted(found) == sorted(walker.recording for walker in walkers)
    for walker in walkers:
        read = found[walker.recording]
        assert (read.person, read.label) == (walker.person, walker.label)
        np.testing.assert_allclose(read.positions_TVC, walker.positions_TVC, rtol=0, atol=6e-4)


# its run.toml


def settings_of_the_tutorial() -> str:
    """The block of docs/tutorial.md that its reader saves as run.toml."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    block = re.search(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block
    return block[1]


def test_the_run_of_the_tutorial_is_valid(tmp_path: Path) -> None:
    written(tmp_path, settings_of_the_tutorial(), "run.toml")
    settings = read_settings(tmp_path / "run.toml")
    assert settings.ingest.files == (str(tmp_path.resolve() / "walks.csv"),)


@pytest.mark.slow
def test_the_tutorial_ends_with_a_student_that_predicts(tmp_path: Path, ray_home: Path) -> None:
    """With fewer walkers, epochs and trials than its reader has, and the same keys."""
    subprocess.run(
        [sys.executable, EXAMPLES / "walkers_to_csv.py", "walks.csv", "--people", "6"],
        cwd=tmp_path,
        check=True,
        env={"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "PATH": ""},
    )
    text = settings_of_the_tutorial()
    for full, small, times in (
        (r"epochs = \d+", "epochs = 2", 2),
        (r"trials = \d+", "trials = 3\nallow_chance = true", 1),
        (r"\[confirm\]", "[confirm]\nmembers = 1\nneighbours = 0\nseeds = 1\nresamples = 200", 1),
    ):
        text, count = re.subn(full, small, text)
        assert count == times, full
    written(tmp_path, text, "run.toml")
    line = run("run", tmp_path / "run.toml", ray_home=ray_home)
    assert line.returncode == 0, line.stderr
    work = tmp_path / "work"
    assert read_json(work / "summary.json")["export"] is not None
    answer = run("predict", work / "export", tmp_path / "walks.csv", ray_home=ray_home)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 1 + 24
