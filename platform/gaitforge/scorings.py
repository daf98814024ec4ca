"""How often people have been scored as unseen: a log that no stage removes.

    <work>/scorings/<event>.json     one file for each set of models that was scored on people to confirm

Whoever looks at scores, changes something and looks again makes a choice by these people, although no model
was trained on them. An event is written before its models are scored, so that no kill can lose it, and only once,
however often its command is repeated. People are counted by their ids over all stores that the folder has had: a
store that is written anew mostly holds the same people, also where it spells their ids otherwise ("P1" for "P01").
What other work folders have scored is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from gaitforge.ingest.people import likeness
from gaitforge.records.scoring import SCORING, Scoring
from gaitforge.work import WorkFolder, fingerprint, write_once


def record_scoring(
    work: WorkFolder, *, store: str, split: str, people: Iterable[str], models: str
) -> None:
    """Record that models are about to be scored on these people of a store; a repetition adds nothing.

    `models` is a hash of all of them.
    """
    named = sorted(people)
    event = {"store": store, "split": split, "people": named, "models": models}
    scoring = Scoring(
        store=store, split=split, people=tuple(named), models=models,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    write_once(work.scoring(fingerprint(event)), SCORING.as_json(scoring))


def count_scorings(work: WorkFolder, people: Iterable[str]) -> int:
    """Return how often the most often scored of these people has been scored in the work folder."""
    counts: Counter[str] = Counter()
    for event in read_scorings(work):
        counts.update({likeness(person) for person in event.people})
    return max((counts[likeness(person)] for person in people), default=0)


def list_scored_people(work: WorkFolder) -> frozenset[str]:
    """Return all people who have been scored as unseen in the work folder."""
    return frozenset(person for event in read_scorings(work) for person in event.people)


def read_scorings(work: WorkFolder) -> list[Scoring]:
    """Read the records of all that has been scored in the work folder."""
    return [SCORING.read(path) for path in sorted(work.scorings.glob("*.json"))]


def scored_sentence(times: int) -> str | None:
    """Return what must be said of people who have been scored so often; None the first time."""
    if times <= 1:
        return None
    return (
        f"Some of these people have been scored {times} times in this work folder, each time with other models or "
        "another margin: no model has seen them, but whoever goes by the earlier scores has chosen by them; what other "
        "work folders have scored is not known here."
    )
