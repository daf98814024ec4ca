"""Early stopping for several objectives: at a rung a student is compared with others of its size.

This is successive halving in its stopping form: a student is compared after `first` epochs, then after
`factor` times as many, and so on, with those that came as far before it. It is compared with students
that are no larger than itself, and smaller by no more than a band: a larger student, which scores higher
anyway, must never end a smaller one, since the front needs both. That band is our own. The better
ones are told by the non-dominated order of the scores, ties by crowding distance (Deb et al. 2002, NSGA-II).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaitforge.front import front_order
from gaitforge.objectives import OBJECTIVES, costs, value_of
from gaitforge.records.trial import Trial
from gaitforge.settings import StoppingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class RungDecision:
    """Whether a student goes on from a rung, if not why, and how far it was from going on (`violation`)."""

    go_on: bool
    reason: str = ""
    violation: float = 0.0


class Rungs:
    """The scores of all students at the epochs where they are compared."""

    def __init__(self, settings: StoppingSettings, epochs: int, objectives: Sequence[str]) -> None:
        self.settings = settings
        self.epochs = settings.rungs(epochs)
        self.objectives = tuple(objectives)
        self.values: dict[int, dict[int, list[float]]] = {}  # by epoch and trial

    def add(self, trial: Trial) -> None:
        """Remember a trial's scores at the rungs that it has reached; the same again changes nothing."""
        for scores in trial.rungs:
            values = [value_of(trial, name, scores) for name in self.objectives]
            self.values.setdefault(int(scores["epoch"]), {})[trial.number] = values

    def judge(self, trial: Trial) -> RungDecision:
        """Decide whether a trial goes on from the rung that it has just reached (the last of `trial.rungs`)."""
        self.add(trial)
        epoch = int(trial.rungs[-1]["epoch"])
        came_as_far = self.values[epoch]
        costs_NM = costs(list(came_as_far.values()), self.objectives)
        own = list(came_as_far).index(trial.number)
        is_size = np.array([OBJECTIVES[name].log for name in self.objectives])
        sizes_NM = costs_NM[:, is_size]
        behind_NM = sizes_NM[own] - sizes_NM  # powers of ten by which each is smaller
        peers = np.flatnonzero(
            (behind_NM >= 0).all(axis=1) & (behind_NM[:, 0] <= self.settings.band)
        )
        order = peers[front_order(costs_NM[peers][:, ~is_size])]
        place = int(np.flatnonzero(order == own)[0])
        # at least one for each score, since a student may lead in either
        going_on = max(int((~is_size).sum()), round(len(peers) * self.settings.keep))
        if place < going_on:
            return RungDecision(go_on=True)
        rungs_left = len(self.epochs) - self.epochs.index(epoch)
        best = f"best {going_on} go" if going_on > 1 else "best goes"
        return RungDecision(
            go_on=False,
            reason=(
                f"after epoch {epoch} it is number {place + 1} of the {len(peers)} students of its size "
                f"or up to {10**self.settings.band:.3g} times smaller, of which the {best} on"
            ),
            violation=rungs_left - 1 + (place + 1) / len(peers),
        )
