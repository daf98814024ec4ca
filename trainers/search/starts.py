"""Students to try first: the front of another search, or configurations in a file or in the settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from gaitforge.ingest.people import likeness
from gaitforge.provenance import Provenance
from gaitforge.records.json_file import plain
from gaitforge.records.search import FRONT, SEARCH
from gaitforge.scorings import list_scored_people
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, fingerprint, open_path, read_json
from search_spaces import Proposal, answer_terms
from trainers.terminal.say import say


def read_starts(
    paths: Sequence[str],
    propose: Callable[[optuna.trial.BaseTrial], Proposal],
    given: Sequence[Mapping[str, Any]] = (),
    terms: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Read the searched values of the students to try first, each once: those of the paths, then the given ones.

    They are trained anew: a score of other data or of another teacher tells nothing here. A work folder
    gives the members of its searched fronts, without those that this search's space does not hold; a
    JSON file is a list of searched values. Those of a file, and the given ones, must all fit. Where their own search
    did not ask whether one of these `terms` is on, their weights tell it.

    Raises FileNotFoundError where a path or its front is not there, ValueError where values do not fit.
    """
    found: list[dict[str, Any]] = []
    for text in paths:
        path = open_path(text)
        if path.is_dir():
            values = [answer_terms(its, terms) for its in read_front_values(WorkFolder(path))]
            fitting = [v for v in values if find_misfit(v, propose) is None]
            say(f"  starts from {len(fitting)} of {len(values)} students of {path}")
            found += fitting
        elif path.is_file():
            content = read_json(path)
            told = isinstance(content, dict) and "provenance" in content
            values = content.get("configurations") if told else content
            if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
                raise ValueError(
                    f"{path} must be a list of searched values, as trials keep them under 'suggested'; "
                    "write [{...}, {...}]."
                )
            listed = [answer_terms(its, terms) for its in values]
            check_fit(listed, str(path), propose)
            found += listed
        else:
            raise absent(path)
    answered = [answer_terms(values, terms) for values in given]
    check_fit(answered, "search.start_with", propose)
    found += answered
    return [value for i, value in enumerate(found) if value not in found[:i]]


def absent(path: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"search.start_from names {path}, but there is neither a work folder nor a file; mend the path."
    )


def read_start_sources(
    paths: Sequence[str], given: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Provenance]:
    """Return the provenance of each source of students to try first, by its name in the settings.

    It tells whom the source has seen. A work folder has seen whom its searches have seen and its confirm has
    scored, since who names it knows those scores. Of bare configurations nobody knows; a JSON file may tell it:
    {"configurations": [...], "provenance": {...}}. Raises FileNotFoundError where a path is not there.
    """
    sources = {}
    for text in paths:
        path, name = open_path(text), f"search.start_from {text}"
        if path.is_dir():
            sources[name] = collect_seen(WorkFolder(path), name)
        elif path.is_file():
            content = read_json(path)
            if isinstance(content, dict) and "provenance" in content:
                sources[name] = Provenance.from_dict(content["provenance"], str(path))
            else:
                sources[name] = Provenance(identity=fingerprint(content), unknown=(name,))
        else:
            raise absent(path)
    if given:
        name = "search.start_with"
        values = [dict(values) for values in given]
        sources[name] = Provenance(identity=fingerprint(values), unknown=(name,))
    return sources


def collect_seen(work: WorkFolder, name: str) -> Provenance:
    """Return the provenance of a work folder: whom its searches have seen and its confirm has scored."""
    sources: dict[str, Provenance] = {}
    seen, unknown = list_scored_people(work), list[str]()
    searched = list_searched(work)
    for folder in searched:
        head = SEARCH.find(folder.search_head)
        if head is None:
            unknown.append(name)
        else:
            sources[folder.root.name] = head.provenance
    identity = fingerprint([plain(FRONT.read(folder.front).front) for folder in searched])
    return Provenance.of(identity, sources, seen, unknown)


def check_starts(
    paths: Sequence[str], given: Sequence[Mapping[str, Any]], confirm: Iterable[str]
) -> dict[str, Provenance]:
    """Return `read_start_sources`; raise ValueError where one of them has seen a person to confirm.

    People are compared by their ids even where the stores differ, and ids that differ only in how they are
    written ("P1" for "P01") count as the same: mostly they are the same people.
    """
    sources = read_start_sources(paths, given)
    people = frozenset(confirm)
    for name, source in sources.items():
        alike = {likeness(person) for person in source.seen}
        known = {person for person in people if likeness(person) in alike}
        replace(source, seen=source.seen | known).check_unseen(
            f"The search that {name} names",
            people,
            "leave it out or give these people another role, or, if they are others under the same ids, name a JSON "
            "file of its configurations",
        )
    return sources


def check_fit(
    given: Sequence[Mapping[str, Any]],
    where: str,
    propose: Callable[[optuna.trial.BaseTrial], Proposal],
) -> None:
    """Raise ValueError where the search space could not have proposed one of these configurations."""
    for number, values in enumerate(given):
        wrong = find_misfit(values, propose)
        if wrong is not None:
            raise ValueError(
                f"Configuration {number} of {where} does not fit the search space ({wrong}); mend it."
            )


def read_front_values(work: WorkFolder) -> list[dict[str, Any]]:
    """Return the searched values of each member of a work folder's fronts, from the smallest to the largest."""
    values = []
    for folder in list_searched(work):
        log = TrialLog(folder)
        values += [dict(log.read(row.trial).suggested) for row in FRONT.read(folder.front).front]
    if not values:
        raise no_front(work)
    return values


def list_searched(work: WorkFolder) -> list[SplitFolder]:
    """List the splits of a work folder that have a searched front; raise FileNotFoundError where none has."""
    folders = [work.run(path.name) for path in sorted(work.runs.glob("*"))]
    found = [folder for folder in folders if folder.front.is_file()]
    if not found:
        raise no_front(work)
    return found


def no_front(work: WorkFolder) -> FileNotFoundError:
    return FileNotFoundError(
        f"search.start_from names {work.root}, but no searched front is there; search there first, "
        "or name a JSON file."
    )


def find_misfit(
    values: Mapping[str, Any], propose: Callable[[optuna.trial.BaseTrial], Proposal]
) -> str | None:
    """Say why the search space could not have proposed these values; None where it could."""
    fixed = optuna.trial.FixedTrial(dict(values))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna only warns of a value out of its range
            propose(fixed)
    except (ValueError, TypeError, UserWarning) as error:
        return str(error).splitlines()[0].rstrip(".")
    unknown = sorted(set(values) - set(fixed.distributions))
    return f"nothing is searched under the name {unknown[0]}" if unknown else None
