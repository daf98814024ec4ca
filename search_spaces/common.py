"""What every student's search shares: the family, the optimiser, and the distillation derived from LOSSES."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna

from gaitforge.losses import LOSSES, Distillation
from gaitforge.models import Sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One student as proposed: family, sizes, optimiser, distillation."""

    family: str
    sizes: Sizes
    lr: float
    weight_decay: float
    distillation: Distillation


def propose(
    trial: optuna.trial.BaseTrial,
    spaces: Mapping[str, Callable[[optuna.trial.BaseTrial], Sizes]],
    terms: Sequence[str],
) -> Proposal:
    """Ask an Optuna trial for one student of any of the families."""
    family = trial.suggest_categorical("family", sorted(spaces))
    sizes = spaces[family](trial)
    lr = trial.suggest_float("lr", 5e-4, 1e-2, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True)
    weights = {
        name: trial.suggest_float(f"weight.{name}", *LOSSES[name].weight, log=True)
        for name in terms
    }
    temperature = 1.0
    if terms:
        low, high = _temperatures(terms)
        temperature = trial.suggest_float("temperature", low, high)
    return Proposal(
        family=family,
        sizes=sizes,
        lr=lr,
        weight_decay=weight_decay,
        distillation=Distillation(weights=weights, temperature=temperature),
    )


def _temperatures(terms: Sequence[str]) -> tuple[float, float]:
    """The range that all the terms' own ranges cover together."""
    ranges = [LOSSES[name].temperature for name in terms]
    return min(low for low, _ in ranges), max(high for _, high in ranges)
