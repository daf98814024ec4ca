"""A run.toml that trains one student again: the same data and teacher settings, and a search of that one student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gaitforge.records.search import SEARCH
from gaitforge.records.split import ROLES, SPLIT
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import SETTINGS, as_dict
from gaitforge.toml import write_toml
from gaitforge.work import WorkFolder


def run_toml(work: WorkFolder, split: str, number: int) -> str:
    """Write the run.toml for one ended trial, as text.

    It gives the same people the same roles, trains the teacher in the same way, tries only this trial's values,
    confirms that student and exports it. Raises FileNotFoundError, ValueError or KeyError if the work folder
    lacks what is needed.
    """
    run = work.run(split)
    trial = TRIAL.read(run.trial(number))
    searched = SEARCH.read(run.search_head).settings
    roles = SPLIT.read(work.split_file(split))
    known = as_dict(SETTINGS.read(work.settings))
    search = {
        **searched,
        "families": [trial.family],
        "trials": 1,
        "gate": False,  # whatever it would say, this student is to be trained again
        "start_from": [],
        "start_with": [dict(trial.suggested)],
        # the first trial has the seed of the settings
        "fit": {**searched["fit"], "seed": trial.seed},
    }
    settings = {
        **known,
        "work": f"trial-{number}",
        "split": {
            "rule": "people",
            **{role: list(roles.people(role)) for role in ROLES},
        },
        "search": search,
        "confirm": {**known["confirm"], "members": 1, "neighbours": 0, "folds": 0},
    }
    del settings["export"], settings["cluster"]
    return "\n".join([*_head(trial), write_toml(_without_none(settings))])


def _head(trial: Trial) -> list[str]:
    return [
        f"# Trains trial {trial.number} alone, with its teacher, and confirms and exports it: gaitforge run FILE",
        f"# {_one_line(trial.family)}, {trial.params} parameters; work is a folder beside this file.",
        "",
    ]


def _one_line(text: str) -> str:
    """Reduce untrusted text to one ASCII line, so that it cannot leave its comment."""
    return " ".join(text.split()).encode("ascii", "replace").decode()


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Drop None values, nested ones too: TOML has no null, and a missing key has its default."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
