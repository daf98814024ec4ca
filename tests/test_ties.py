"""Files that are not those that the file beside them tells of are refused or made again, and never believed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.arrays import Damaged, map_array
from gaitforge.window_cache import ARRAYS
from gaitforge.work import RoleFolder, WindowsFolder, read_json, write_json
from tests.test_chain import Copy, finished, line, no_ray
from tests.test_cli import must_say, refused

__all__ = ["finished", "line", "no_ray"]  # fixtures

Change = Callable[[Path], None]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def rolled(path: Path) -> None:
    """The same numbers, each at another's place."""
    np.save(path, np.roll(np.load(path), 1))


def pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


# teacher outputs


@pytest.mark.parametrize("change", [Path.unlink, cut, rolled, pickled])
@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_answers_that_the_teacher_did_not_give_teach_nobody(
    change: Change, stage: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line.run("outputs") == 0  # settings.json names the copy
    logits = line.split.outputs.array("logits")
    answers = np.load(logits)
    change(logits)
    before = line.tree()
    must_say(
        refused(capsys, stage, line.settings),
        str(logits),
        "run `gaitforge outputs run.toml` first",
    )
    assert line.tree() == before
    assert line.run("outputs") == 0
    np.testing.assert_array_equal(np.load(logits), answers)
    assert line.run(stage) == 0


def test_shapes_of_the_head_are_held_against_the_arrays(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    head = line.split.outputs.head
    content = read_json(head)
    write_json(head, {**content, "views": content["views"] + 1})
    must_say(refused(capsys, "search", line.settings), "logits", "but must hold float16 of [")


# refits


@pytest.mark.parametrize("change", [Path.unlink, cut, lambda path: path.write_bytes(b"")])
def test_predictions_of_a_refit_that_are_gone_or_others_are_made_again(
    change: Change, line: Copy
) -> None:
    (path,) = line.split.predictions.glob("confirm-student-*.parquet")
    scores = read_json(line.split.scores)
    told = path.read_bytes()
    change(path)
    assert line.run("confirm") == 0
    assert path.read_bytes() == told
    assert read_json(line.split.scores)["members"] == scores["members"]


def test_predictions_that_were_laid_in_are_not_believed(line: Copy) -> None:
    (path,) = line.split.predictions.glob("confirm-student-*.parquet")
    (other,) = line.split.predictions.glob("confirm-teacher-*.parquet")
    told = path.read_bytes()
    shutil.copyfile(other, path)
    assert line.run("confirm") == 0
    assert path.read_bytes() == told


def test_a_refit_of_other_sizes_than_its_weights_is_refused_until_it_is_trained_again(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    (head,) = line.split.refits.glob("*.json")
    content = read_json(head)
    sizes = {**content["sizes"], "channels": content["sizes"]["channels"] + 8}
    write_json(head, {**content, "sizes": sizes})
    for stage, words in (
        ("confirm", "other sizes than its trial"),
        ("export", "of another model"),
    ):
        must_say(refused(capsys, stage, line.settings), head.stem, words, "remove")
    head.unlink()
    assert line.run("confirm") == 0
    assert line.run("export") == 0


# windows


def windows_of(line: Copy) -> WindowsFolder:
    (folder,) = (line.work.cache / "windows").glob("[0-9a-f]*")
    return WindowsFolder(folder)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", [Path.unlink, cut, rolled])
def test_windows_that_were_changed_are_refused_and_built_anew(
    name: str, change: Change, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = windows_of(line)
    path = folder.role("train").array(name)
    before = path.read_bytes()
    change(path)
    if path.is_file() and path.read_bytes() == before:
        pytest.skip("all are alike, so that another order is the same")
    sentence = refused(capsys, "outputs", line.settings)
    must_say(sentence, str(path), f"remove the folder {folder.root}", "builds the windows anew")
    shutil.rmtree(folder.root)
    assert line.run("outputs") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", [{"classes": ["one"]}, {"store": "another"}])
def test_a_head_of_windows_that_tells_of_others_is_refused(
    change: dict[str, Any], line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    head = windows_of(line).head
    write_json(head, {**read_json(head), **change})
    sentence = refused(capsys, "outputs", line.settings)
    must_say(sentence, str(head), "other windows than its folder is named after", "remove")


def test_windows_are_of_the_normalisation_that_is_told(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    head = windows_of(line).head
    content = read_json(head)
    content["normalisation"]["mean"][0][0] += 0.5
    write_json(head, content)
    sentence = refused(capsys, "outputs", line.settings)
    must_say(sentence, str(head), "another normalisation than train was built for", "remove")


def test_windows_of_an_older_version_are_built_again(line: Copy) -> None:
    path = windows_of(line).role("train").recordings
    told = read_json(path)
    older = {key: its for key, its in told.items() if key != "sha256"}
    write_json(path, {**older, "schema": 1})
    assert line.run("outputs") == 0
    assert read_json(path) == told


# arrays by themselves


def test_an_array_of_another_type_or_shape_or_none_at_all_is_named(tmp_path: Path) -> None:
    path = RoleFolder(tmp_path).array("label")
    for content, words in (
        (np.zeros(3, np.int64), None),
        (np.zeros(3, np.int32), "holds int32 of shape [3], but must hold int64 of [any]"),
        (np.zeros((3, 1), np.int64), "of shape [3, 1]"),
    ):
        np.save(path, content)
        if words is None:
            assert map_array(path, np.int64, (None,)).shape == (3,)
        else:
            with pytest.raises(Damaged) as found:
                map_array(path, np.int64, (None,))
            assert words in str(found.value)
    for header in (b"{'descr': '<i8', 'fortran_order': False, 'shape': (10**30,), }", b"{" * 60):
        size = (len(header)).to_bytes(2, "little")
        path.write_bytes(b"\x93NUMPY\x01\x00" + size + header)
        with pytest.raises(Damaged, match="cannot be read as an array"):
            map_array(path, np.int64, (None,))
