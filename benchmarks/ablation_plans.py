"""The experiment of ablation.py: which changes of `dynstg_mamba` and of its recipe are tried on which people.

Written before any change was trained, and shortened when the first model as before had shown how long one takes.
The first folds choose, the others score: what is claimed of the chosen is claimed of people who had no say in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.distillation_plans import PLANS, Plan, Sizes
from gaitforge.settings import FitPlan

BEFORE, TOGETHER = "as before", "together"
SUM = "sum of hops"


@dataclass(frozen=True, slots=True)
class Change:
    """What is other than before: sizes of the family, settings of its recipe."""

    sizes: Sizes = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)

    def __or__(self, other: Change) -> Change:
        return Change({**self.sizes, **other.sizes}, {**self.fit, **other.fit})


# said in full, so that they stay what they are when defaults change
OLD: Sizes = {"hops": "mean", "activation": "none", "least_step": 1e-3, "most_step": 0.1}
CHANGES: Mapping[str, Change] = {
    BEFORE: Change(),
    SUM: Change({"hops": "sum"}),
    "relu": Change({"activation": "relu"}),
    "steps .03 to .3": Change({"least_step": 0.03, "most_step": 0.3}),
    "steps .3 to 1": Change({"least_step": 0.3, "most_step": 1.0}),
    "no class weights": Change(fit={"balance": False}),
    "warm-up of 30 %": Change(fit={"warmup": 0.3}),
}
# Thought of when the scores of all the others, on all folds, had been seen: the chosen change that had gained on both
# sets, with the sum that matters where steps differ. Only the other folds score it, and it becomes the default
# if its gain there, on the mean of the two sets, is above 0.
LATER = "sum of hops, steps .3 to 1"
SECOND_LOOK = CHANGES[SUM] | CHANGES["steps .3 to 1"]
# of these at most one is chosen: the best
RANGES = "steps .03 to .3", "steps .3 to 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """One set: its plan, the model that is changed, and how many of its folds choose."""

    plan: Plan
    sizes: Sizes
    choosing: int
    ways: tuple[str, ...]


def shortened(name: str, epochs: int) -> Plan:
    """The plan of distillation.py with fewer epochs, and without its students."""
    plan = PLANS[name]
    fit = dataclasses.replace(plan.teacher_fit, epochs=epochs)
    return dataclasses.replace(plan, teacher_fit=fit, student_fit=FitPlan(), ways=(), parts=0)


def beside(sizes: Sizes) -> dict[str, tuple[str, Sizes]]:
    """Two other families at about the same sizes, as they are."""
    plain = {name: sizes[name] for name in ("widths", "strides", "dropout")}
    return {"stgcn": ("stgcn", {**plain, "temporal": "full"}), "ctrgcn": ("ctrgcn", plain)}


# half the states and a quarter of the channels of the teacher M: one core had an hour for all
SCAN: Sizes = {"widths": [32, 64, 64], "states": 8, "expand": 1}
KINECT: Sizes = {**SCAN, "strides": [2, 2, 1], "dropout": 0.2}
FORCES: Sizes = {**SCAN, "strides": [1, 2, 2], "dropout": 0.3}
ABLATIONS: Mapping[str, Ablation] = {
    "ui_prmd_kinect": Ablation(
        plan=dataclasses.replace(shortened("ui_prmd_kinect", epochs=5), teachers=beside(KINECT)),
        sizes=KINECT,
        choosing=2,
        # its classes are equally many, so that their weights are 1
        ways=tuple(name for name in CHANGES if name != "no class weights"),
    ),
    "auva_grf": Ablation(
        plan=dataclasses.replace(shortened("auva_grf", epochs=6), teachers=beside(FORCES)),
        sizes=FORCES,
        choosing=5,
        ways=tuple(CHANGES),
    ),
}
