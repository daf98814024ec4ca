"""The tutorial: a CSV of poses becomes the arrays that were written in it, and its run.toml goes through the line."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest import ReadOptions
from gaitforge.ingest.npz import read_npz
from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording
from gaitforge.settings import read_settings
from gaitforge.work import read_json
from tests.small_line import ROOT, run

EXAMPLES = ROOT / "examples"
LEG = Layout(name="leg", joints=("hip", "foot"), bones=((0, 1),))
# two recordings whose rows are mixed, the first with an empty cell
ROWS = """recording,subject,label,time,side,hip_x,hip_y,foot_x,foot_y
b,p1,ill,0,left,1,2,3,4
a,p2,well,0,right,5,6,,8
b,p1,ill,1,left,9,10,11,12
a,p2,well,1,right,13,14,15,16
"""

Arrays = Mapping[str, NDArray[Any]]


def convert(files: Sequence[Path], layout: Layout = LEG) -> Arrays:
    script = runpy.run_path(str(EXAMPLES / "csv_to_npz.py"))
    return cast("Callable[[Sequence[Path], Layout], Arrays]", script["convert"])(files, layout)


def written(folder: Path, text: str = ROWS, name: str = "walks.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# the conversion


def test_rows_become_the_recordings_that_they_are_of(tmp_path: Path) -> None:
    arrays = convert([written(tmp_path)])
    np.testing.assert_array_equal(
        arrays["frames"],
        np.array(
            [
                [[5, 6], [np.nan, 8]],
                [[13, 14], [15, 16]],
                [[1, 2], [3, 4]],
                [[9, 10], [11, 12]],
            ],
            dtype=np.float32,
        ),
    )
    assert arrays["offsets"].tolist() == [0, 2, 4]
    assert arrays["clip_id"].tolist() == ["a", "b"]
    assert arrays["subject"].tolist() == ["p2", "p1"]
    assert arrays["label"].tolist() == ["well", "ill"]


def test_what_a_recording_has_one_of_goes_along_and_what_changes_is_left_out(
    tmp_path: Path,
) -> None:
    arrays = convert([written(tmp_path)])
    assert arrays["side"].tolist() == ["right", "left"]
    assert "time" not in arrays


def test_persons_that_are_numbers_keep_their_zeros(tmp_path: Path) -> None:
    arrays = convert([written(tmp_path, ROWS.replace("p1", "01").replace("p2", "02"))])
    assert arrays["subject"].tolist() == ["02", "01"]


def test_a_confidence_is_the_last_channel(tmp_path: Path) -> None:
    text = (
        "recording,subject,label,hip_confidence,hip_x,hip_y,foot_x,foot_y,foot_confidence\n"
        "a,p,well,.9,1,2,3,4,.5\n"
    )
    assert convert([written(tmp_path, text)])["frames"].tolist() == [
        [[1, 2, np.float32(0.9)], [3, 4, 0.5]]
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROWS.replace("foot_y", "toe_y"), "columns foot_y are missing"),
        (ROWS.replace("hip_x", "knee_x").replace("hip_y", "knee_y"), "columns hip_x, hip_y"),
        (ROWS.replace("b,p1,ill,1", "b,p1,well,1"), "'b' has 2 values of label"),
        (ROWS.replace("a,p2,well,0", "a,p3,well,0"), "'a' has 2 values of subject"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        convert([written(tmp_path, text)])


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    one, two = written(tmp_path), written(tmp_path, name="more.csv")
    with pytest.raises(ValueError, match="'a' has 2 values of its file"):
        convert([one, two])


def test_walkers_survive_the_csv_to_the_millimetre(tmp_path: Path) -> None:
    settings = SyntheticSettings(people_per_class=1, recordings_per_person=2, seconds=2.5)
    script = runpy.run_path(str(EXAMPLES / "walkers_to_csv.py"))
    script["write_csv"](tmp_path / "walks.csv", settings)
    layout = LAYOUTS[settings.layout]
    np.savez(
        tmp_path / "walks.npz", allow_pickle=True, **convert([tmp_path / "walks.csv"], layout)
    )
    found = {
        item.recording: item
        for item in read_npz(tmp_path / "walks.npz", layout, ReadOptions())
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
    assert settings.ingest.files == (str(tmp_path.resolve() / "walks.npz"),)


@pytest.mark.slow
def test_the_tutorial_ends_with_a_student_that_predicts(tmp_path: Path, ray_home: Path) -> None:
    """With fewer walkers, epochs and trials than its reader has, and the same keys."""
    for script, *arguments in (
        ("walkers_to_csv.py", "walks.csv", "--people", "6"),
        ("csv_to_npz.py", "walks.csv", "--layout", "coco17", "--out", "walks.npz"),
    ):
        subprocess.run(
            [sys.executable, EXAMPLES / script, *arguments],
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
    answer = run("predict", work / "export", tmp_path / "walks.npz", ray_home=ray_home)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 1 + 24
