"""The part of the search space that all families share: family, optimiser, and distillation terms from LOSSES."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gaitforge.losses import LOSSES, Distillation
from gaitforge.models import Sizes, with_streams
from gaitforge.models.streams import order_streams
from gaitforge.spaces import Suggester

NONE = "none"  # of a choice of terms
# A log scale cannot hold 0: `none` is exactly 0, and weights begin at the lowest of their term's range over this, which
# a student hardly notices.
FAINT = 20
# It grows with what is asked about terms, as a Space's own: a search does not go on with other questions. 1 asked
# nothing where one term was named, and for no faint weights.
TERMS_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One student as proposed: family, sizes, optimiser, distillation."""

    family: str
    sizes: Sizes
    lr: float
    weight_decay: float
    distillation: Distillation


def propose(
    trial: Suggester,
    spaces: Mapping[str, Callable[[Suggester], Sizes]],
    terms: Sequence[str],
    terms_warmup: float = 0.0,
    streams: Sequence[Sequence[str]] = (("joints",),),
) -> Proposal:
    """Ask an Optuna trial for one student: a family, its sizes, the optimiser and the distillation.

    `spaces` gives the function that asks for sizes, by family. `terms_warmup` is the share of all steps
    over which the weights of the terms grow from 0, `streams` are the choices of what a student sees.
    """
    family = trial.suggest_categorical("family", sorted(spaces))
    sizes = suggest_sizes(trial, spaces[family], streams)
    lr = trial.suggest_float("lr", 5e-4, 1e-2, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True)
    return Proposal(
        family=family,
        sizes=sizes,
        lr=lr,
        weight_decay=weight_decay,
        distillation=suggest_distillation(trial, terms, terms_warmup),
    )


def suggest_sizes(
    trial: Suggester,
    space: Callable[[Suggester], Sizes],
    streams: Sequence[Sequence[str]],
) -> Sizes:
    """Ask a trial for sizes of a family, and for the streams where there is more than one choice of them."""
    sizes = space(trial)
    ordered = [order_streams(choice, "A choice of search.streams") for choice in streams]
    choices = {"+".join(choice): choice for choice in ordered}
    named = next(iter(choices))
    if len(choices) > 1:
        named = trial.suggest_categorical("streams", list(choices))
    return with_streams(sizes, choices[named])


def suggest_distillation(trial: Suggester, terms: Sequence[str], warmup: float) -> Distillation:
    """Ask a trial which of the terms are on, and for their weights and temperatures."""
    weights: dict[str, float] = {}
    temperatures: dict[str, float] = {}
    for name in choose_terms(trial, terms):
        low, high = LOSSES[name].weight
        weights[name] = trial.suggest_float(f"weight.{name}", low / FAINT, high, log=True)
        if (ends := LOSSES[name].temperature) is not None:
            # the temperature of kd has no suffix, in trials and in their files alike
            own = "temperature" if name == "kd" else f"temperature.{name}"
            temperatures[name] = trial.suggest_float(own, *ends)
    return Distillation(
        weights=weights,
        temperature=temperatures.pop("kd", 1.0),
        temperatures=temperatures,
        warmup=warmup if weights else 0.0,
    )


def choose_terms(trial: Suggester, terms: Sequence[str]) -> list[str]:
    """Ask a trial for the terms of one student; it may refuse each of them, also where one alone is named.

    Terms with the same `choice` teach the same thing, and the trial picks one of them or none. So the sampler
    learns which of them is best, if any, and is asked for weights and temperatures only of terms that are on.
    """
    chosen = []
    for choice in dict.fromkeys(term.choice for term in LOSSES.values()):
        names = [name for name in LOSSES if name in terms and LOSSES[name].choice == choice]
        if names:
            picked = trial.suggest_categorical(f"terms.{choice}", [NONE, *names])
            chosen += [picked] if picked != NONE else []
    return chosen


def answer_terms(values: Mapping[str, Any], terms: Sequence[str]) -> dict[str, Any]:
    """Return searched values with an answer to each choice of terms that their search did not ask for.

    That is the term that they have a weight for; none where they have none, as of a student that learned alone.
    """
    answered = dict(values)
    for name in terms:
        choice = f"terms.{LOSSES[name].choice}"
        if f"weight.{name}" in values:
            answered.setdefault(choice, name)
    for name in terms:
        answered.setdefault(f"terms.{LOSSES[name].choice}", NONE)
    return answered
