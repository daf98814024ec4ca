"""Choose the students of a search that are confirmed: members of its front, and some just below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitforge.front import spread_along_front
from gaitforge.objectives import group_by_configuration
from gaitforge.provenance import Provenance
from gaitforge.records.confirm import NEAR, ON_FRONT, Place
from gaitforge.records.search import FRONT, FrontRow
from gaitforge.records.trial import Trial
from gaitforge.settings import ConfirmSettings, as_dict
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, fingerprint

WORTH_SHARE = 0.8  # of the best macro F1 on the front
# Macro F1 that a seed alone may give or take: refits of one configuration have a standard deviation of .02 to .07 on
# the validation people of our examples (`gaitforge show` prints it), so that a lead of less may well be luck.
NEAR_F1 = 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A student to confirm.

    `searched` says whether it was on the search's front or near it, `believed` is its macro F1 in the
    search.
    """

    trial: Trial
    searched: Place
    believed: float


def read_members(
    settings: ConfirmSettings, folder: SplitFolder, trials: Iterable[Trial] | None = None
) -> list[Member]:
    """Return the students to confirm, from the smallest to the largest.

    `trials` are those of the search's log, where they have been read already. Raises FileNotFoundError
    where there is no searched front yet, RuntimeError where it is empty, ValueError where it names a trial
    that the log does not hold.
    """
    front = read_front(folder)
    log = {trial.number: trial for trial in (TrialLog(folder) if trials is None else trials)}
    picked = pick_members(front, settings.members)
    lost = [row.trial for row in picked if row.trial not in log]
    if lost:
        raise ValueError(
            f"The front in {folder.search} names trial {lost[0]}, but {folder.trials} does not hold it; run "
            "`gaitforge search run.toml` again."
        )
    members = [
        Member(trial=log[row.trial], searched=ON_FRONT, believed=row.val_macro_f1)
        for row in picked
    ]
    members += pick_neighbours(front, picked, log.values(), settings.neighbours)
    # where two are of one size, the front's comes first
    return sorted(members, key=lambda member: (member.trial.params, member.searched != ON_FRONT))


def read_front(folder: SplitFolder) -> Sequence[FrontRow]:
    """Read the rows of the searched front.

    Raises FileNotFoundError where there is none, RuntimeError where it is empty.
    """
    found = FRONT.read(folder.front).front
    if not found:
        raise RuntimeError(
            "The search has finished no trial, so there is nothing to confirm; see its failed trials."
        )
    return found


def pick_members(front: Sequence[FrontRow], count: int) -> list[FrontRow]:
    """Choose at most `count` rows of a searched front to confirm, spread over the sizes of those that are worth it.

    The smallest members of a front are often little better than guessing; training them again with several
    seeds would tell nobody anything.
    """
    worth = [row for row in front if row.val_macro_f1 >= worth_f1(front)]
    chosen = spread_along_front(np.array([row.params for row in worth]), count)
    return [worth[i] for i in chosen]


def picked_words(front: Sequence[FrontRow], count: int) -> str:
    """Say in a sentence how many of a searched front's members are confirmed, and why the others are not."""
    picked = len(pick_members(front, count))
    low = sum(row.val_macro_f1 < worth_f1(front) for row in front)
    between = len(front) - low - picked
    left_out = []
    if low:
        left_out.append(
            f"{low} with a validation macro F1 below {worth_f1(front):.3f} ({WORTH_SHARE:g} of the front's best)"
        )
    if between:
        left_out.append(f"{between} of sizes in between (confirm.members = {count})")
    why = f"; left out: {' and '.join(left_out)}" if left_out else ""
    return f"{picked} of {len(front)} members of the front are confirmed{why}."


def pick_neighbours(
    front: Sequence[FrontRow],
    picked: Sequence[FrontRow],
    trials: Iterable[Trial],
    count: int,
) -> list[Member]:
    """Choose at most `count` configurations that only the luck of a seed may have kept off a searched front.

    They are not on the front, and none of its rows that is no larger beats them by more than NEAR_F1. First
    come those that could take the place of one of the rows `picked` to confirm, being no larger and at most
    NEAR_F1 worse, then those nearest to the front.
    """
    on_front = {row.trial for row in front}
    near = []
    for student in group_by_configuration(trials):
        f1, first = student.scores["val_macro_f1"], student.first
        if f1 < worth_f1(front) or on_front & set(student.trials):
            continue
        no_larger = [row.val_macro_f1 for row in front if row.params <= first.params]
        lead = max(no_larger, default=f1) - f1
        if lead > NEAR_F1:
            continue
        replaces = any(
            first.params <= row.params and row.val_macro_f1 - f1 <= NEAR_F1 for row in picked
        )
        member = Member(trial=first, searched=NEAR, believed=f1)
        near.append((not replaces, lead, first.params, first.number, member))
    return [row[-1] for row in sorted(near, key=lambda row: row[:-1])[:count]]


def worth_f1(front: Sequence[FrontRow]) -> float:
    """Return the validation macro F1 below which no student is worth confirming: WORTH_SHARE of the front's best."""
    return WORTH_SHARE * max(row.val_macro_f1 for row in front)


def scores_provenance(
    settings: ConfirmSettings,
    members: Sequence[Member],
    search: Provenance,
    confirm: Iterable[str],
) -> Provenance:
    """Return the provenance that the scores of these members have, or will have once they are made.

    `confirm` are the people scored: the scores choose among the members, so they count as having seen them.
    """
    rows = [
        [member.trial.number, member.trial.hash, member.searched, member.believed]
        for member in members
    ]
    identity = fingerprint(
        {"settings": as_dict(settings), "members": rows, "search": search.identity}
    )
    return Provenance.of(identity, {"search": search}, confirm)


def advise_refit(head: Path) -> str:
    """Say what to do about a refit whose weights are not its own."""
    return f"remove {head.name} and run `gaitforge confirm run.toml`, which trains it anew"
