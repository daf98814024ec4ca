"""Students to try first: the front of another search, or configurations in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, open_path, read_json
from search_spaces import Proposal
from trainers.progress import say


def read_starts(
    paths: Sequence[str],
    propose: Callable[[optuna.trial.BaseTrial], Proposal],
    given: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Searched values of the students that a search tries first, each once: those of the paths, then the given.

    They are trained anew: a score of other data or of another teacher tells nothing here. A work folder
    gives the members of its searched fronts, leaving out what this search's space does not hold; a
    JSON file is a list of searched values; all of these, and of the given, must fit.

    Raises FileNotFoundError or ValueError.
    """
    found: list[dict[str, Any]] = []
    for text in paths:
        path = open_path(text)
        if path.is_dir():
            values = front_values(WorkFolder(path))
            fitting = [v for v in values if misfit(v, propose) is None]
            say(f"  starts from {len(fitting)} of {len(values)} students of {path}")
            found += fitting
        elif path.is_file():
            values = read_json(path)
            if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
                raise ValueError(
                    f"{path} must be a list of searched values, as trials keep them under 'suggested'; "
                    "write [{...}, {...}]."
                )
            check_fit(values, str(path), propose)
            found += values
        else:
            raise FileNotFoundError(
                f"search.start_from names {path}, but there is neither a work folder nor a file; "
                "mend the path."
            )
    check_fit(given, "search.start_with", propose)
    found += [dict(values) for values in given]
    return [value for i, value in enumerate(found) if value not in found[:i]]


def check_fit(
    given: Sequence[Mapping[str, Any]],
    where: str,
    propose: Callable[[optuna.trial.BaseTrial], Proposal],
) -> None:
    """Raises ValueError where a search space could not have proposed one of these."""
    for number, values in enumerate(given):
        wrong = misfit(values, propose)
        if wrong is not None:
            raise ValueError(
                f"Configuration {number} of {where} does not fit the search space ({wrong}); mend it."
            )


def front_values(work: WorkFolder) -> list[dict[str, Any]]:
    """What was searched for each member of a work folder's fronts, from the smallest to the largest."""
    values = []
    for path in sorted(work.runs.glob("*/search/front.json")):
        log = TrialLog(work.run(path.parents[1].name))
        values += [dict(log.read(row["trial"]).suggested) for row in read_json(path)["front"]]
    if not values:
        raise FileNotFoundError(
            f"search.start_from names {work.root}, but no searched front is there; search there first, "
            "or name a JSON file."
        )
    return values


def misfit(
    values: Mapping[str, Any], propose: Callable[[optuna.trial.BaseTrial], Proposal]
) -> str | None:
    """Why a search space could not have proposed these values; None where it could."""
    fixed = optuna.trial.FixedTrial(dict(values))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna only warns of a value out of its range
            propose(fixed)
    except (ValueError, TypeError, UserWarning) as error:
        return str(error).splitlines()[0].rstrip(".")
    unknown = sorted(set(values) - set(fixed.distributions))
    return f"nothing is searched under the name {unknown[0]}" if unknown else None
