"""One time that models were scored on people to confirm: scorings/<event>.json."""

from __future__ import annotations

from dataclasses import dataclass

from gaitforge.records.json_file import JsonFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """One set of models, identified by a hash of all of them, that was scored on these people of a store, and when."""

    store: str
    split: str
    people: tuple[str, ...]
    models: str
    when: str


SCORING = JsonFile(
    record=Scoring,
    what="a scoring",
    stage="gaitforge confirm run.toml",
    remedy="put it back as it was: how often people have been scored is counted by these files",
)
