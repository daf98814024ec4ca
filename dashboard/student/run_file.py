"""A run.toml that trains one student: its data and teacher as they were, and a search of that one student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gaitforge.records.trial import TRIAL, Trial
from gaitforge.toml import as_toml
from gaitforge.work import SplitFolder, WorkFolder, read_json

UNKNOWN_FILE = "name-the-recordings.npz"


def run_toml(work: WorkFolder, split: str, number: int) -> str:
    """The text of the file for one ended trial.

    It names the same people for the same roles, has the teacher trained in the same way, tries this
    trial's searched values alone, confirms that student, and exports it. Raises FileNotFoundError,
    ValueError or KeyError where the folder lacks what it is made of.
    """
    run = work.run(split)
    trial = TRIAL.read(run.trial(number))
    head = read_json(run.search / "search.json")
    roles = read_json(work.split_file(split))["roles"]
    known = _known(work, run)
    search = {
        **head["settings"],
        "families": [trial.family],
        "trials": 1,
        "start_from": [],
        "start_with": [dict(trial.suggested)],
        # the first trial has the seed of the settings
        "fit": {**head["settings"]["fit"], "seed": trial.seed},
    }
    settings = {
        **known,
        "work": f"trial-{number}",
        "split": {
            "rule": "people",
            **{
                role: sorted(person for person, its in roles.items() if its == role)
                for role in ("train", "validation", "confirm")
            },
        },
        "search": search,
        "confirm": {**known.get("confirm", {}), "members": 1, "neighbours": 0, "folds": 0},
    }
    settings.pop("export", None)
    return "\n".join([*_head(trial, settings), as_toml(_without_none(settings))])


def _known(work: WorkFolder, run: SplitFolder) -> dict[str, Any]:
    """The settings that the folder keeps; of an older folder, what its other files say of them."""
    if work.settings.is_file():
        kept: dict[str, Any] = read_json(work.settings)
        return {key: value for key, value in kept.items() if key not in ("schema", "cluster")}
    store, teacher = read_json(work.store / "store.json"), read_json(run.teacher / "model.json")
    return {
        "ingest": {"files": [UNKNOWN_FILE], "layout": store["layout"]["name"]},
        "windows": teacher["windows"],
        "teacher": {"family": teacher["family"], "sizes": teacher["sizes"]},
    }


def _head(trial: Trial, settings: Mapping[str, Any]) -> list[str]:
    lines = [
        f"# Trains trial {trial.number} alone, with its teacher, and confirms and exports it: gaitforge run FILE",
        f"# {_one_line(trial.family)}, {trial.params} parameters; work is a folder beside this file.",
    ]
    if UNKNOWN_FILE in settings["ingest"].get("files", []):
        lines.append(
            "# This work folder is of a version that did not keep its settings: take [ingest] and [teacher.fit] from "
            "the run.toml that made it."
        )
    return [*lines, ""]


def _one_line(text: str) -> str:
    """Other people's text within a comment."""
    return " ".join(text.split()).encode("ascii", "replace").decode()


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is left out has its default."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
