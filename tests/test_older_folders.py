"""What an older version has left in a work folder is refused in one sentence, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaitforge.work import read_json, write_json
from tests.test_chain import Copy, finished, follow, line, no_ray
from tests.test_cli import must_say, refused

__all__ = ["finished", "line", "no_ray"]  # fixtures

# each file that a stage reads of an earlier one, and that stage
READ = {
    "store/store.json": "split",
    "splits/main.json": "teacher",
    "runs/main/teacher/model.json": "outputs",
    "runs/main/teacher_outputs/outputs.json": "search",
    "runs/main/search/search.json": "search",
    "runs/main/search/front.json": "confirm",
    "runs/main/search/trials/*.json": "confirm",
    "runs/main/confirm/refits/*.json": "confirm",
    "runs/main/confirm/scores.json": "export",
}
TELL = [
    name
    for name in READ
    if "trials" not in name and name.startswith("runs") and "front" not in name
]


def older(line: Copy, name: str) -> Path:
    """The first file of that name in the copied folder, which has seen a command before."""
    assert line.run("ingest") == 0  # settings.json names the copy
    return sorted(line.work.root.glob(name))[0]


@pytest.mark.parametrize("name", READ)
def test_a_file_of_an_older_schema_is_refused_and_what_is_advised_helps(
    name: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    path = older(line, name)
    content = read_json(path)
    number = content["schema"]
    write_json(path, {**content, "schema": number - 1})
    before = line.tree()
    sentence = refused(capsys, READ[name], line.settings)
    must_say(sentence, str(path), f"its schema is {number - 1}, but must be {number};")
    assert line.tree() == before
    if "remove it" in sentence:
        path.unlink()
    follow(line, READ[name], capsys)


@pytest.mark.parametrize("name", TELL)
def test_a_file_that_does_not_tell_what_it_was_made_from_is_refused(
    name: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    path = older(line, name)
    content = read_json(path)
    del content["provenance"]
    write_json(path, content)
    before = line.tree()
    sentence = refused(capsys, READ[name], line.settings)
    must_say(sentence, str(path), "it lacks 'provenance';")
    assert line.tree() == before


def test_a_trial_with_half_a_recipe_is_refused(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    path = older(line, "runs/main/search/trials/*.json")
    content = read_json(path)
    del content["recipe"]["balance"]
    write_json(path, content)
    before = line.tree()
    must_say(refused(capsys, "confirm", line.settings), str(path), "it lacks 'recipe.balance';")
    assert line.tree() == before
