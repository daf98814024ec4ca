"""How a student learns: the recipe of its training, and what it takes from the teacher. Needs no torch.

A proposal, its trial and its refits hold these objects; they become plain values only in files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def off(value: Any) -> dict[str, Any]:
    """Return the metadata of a field that came later: in files and hashes it stands only where it differs from this."""
    return {"off": value}


def require(holds: bool, sentence: str) -> None:
    """Raise ValueError with the sentence unless `holds` is true."""
    if not holds:
        raise ValueError(sentence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disturbance:
    """What is done to a view: noise, and joints and body parts that are hidden for the whole window."""

    jitter: float = 0.0
    joint_drop: float = 0.0
    part_drop: float = 0.0

    @property
    def is_none(self) -> bool:
        return self == CLEAN


CLEAN = Disturbance()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is trained but for its seed: AdamW, linear warm-up, cosine decay to a hundredth of `lr`."""

    epochs: int = 40
    """Passes over the training windows."""
    batch: int = 32
    """Windows per step, over all workers together."""
    lr: float = 2e-3
    """Highest learning rate."""
    weight_decay: float = 0.02
    """Weight decay of AdamW."""
    label_smoothing: float = 0.1
    """Share of each label that is spread over all classes; in a teacher it levels what soft labels
    would teach of the wrong ones.
    """
    warmup: float = 0.1
    """Share of all steps over which the learning rate grows from 0."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    balance: bool = True
    """Weigh classes by 1 / their number of training windows."""
    jitter: float = 0.0
    """Noise on coordinates, in standard deviations of the training windows."""
    joint_drop: float = 0.0
    """Share of joints hidden for a whole window."""
    part_drop: float = field(default=0.0, metadata=off(0.0))
    """Share of the layout's body parts hidden for a whole window."""
    consistency: float = field(default=0.0, metadata=off(0.0))
    """Weight of a loss that wants one answer to four views of a window, without a teacher. A step then
    has four views of a quarter of its windows, and costs what any other costs; 0: off.
    """
    average: float = field(default=0.0, metadata=off(0.0))
    """Share of the last epochs over whose steps the weights are averaged; from there on the mean is
    scored and kept; 0: off.
    """

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"fit.epochs is {self.epochs}, but must be at least 1.")
        require(
            self.batch >= 2,
            f"fit.batch is {self.batch}, but must be at least 2: batch normalisation needs two windows.",
        )
        require(self.lr > 0, f"fit.lr is {self.lr}, but must be above 0.")
        require(
            self.weight_decay >= 0,
            f"fit.weight_decay is {self.weight_decay}, but must not be negative.",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"fit.label_smoothing is {self.label_smoothing}, but must be in [0, 1).",
        )
        require(
            0 <= self.warmup < 1,
            f"fit.warmup is {self.warmup}, but must be in [0, 1): it is a share of all steps.",
        )
        require(self.clip > 0, f"fit.clip is {self.clip}, but must be above 0.")
        require(self.jitter >= 0, f"fit.jitter is {self.jitter}, but must not be negative.")
        require(
            self.consistency >= 0,
            f"fit.consistency is {self.consistency}, but must not be negative.",
        )
        for name in ("joint_drop", "part_drop"):
            share = getattr(self, name)
            require(0 <= share < 1, f"fit.{name} is {share}, but must be in [0, 1).")
        require(
            0 <= self.average <= 1,
            f"fit.average is {self.average}, but must be in [0, 1]: it is a share of all epochs.",
        )

    @property
    def disturbance(self) -> Disturbance:
        """Return what is done to the views of a training."""
        return Disturbance(
            jitter=self.jitter, joint_drop=self.joint_drop, part_drop=self.part_drop
        )

    @property
    def unaveraged(self) -> int:
        """Return the epochs before the weights are averaged: all where they never are, else at most all but one."""
        # rounding must not make 3.0000000000000004 epochs of three four
        return self.epochs - math.ceil(round(self.average * self.epochs, 6))


@dataclass(frozen=True, kw_only=True, slots=True)
class FitPlan(Recipe):
    """How a model is trained: AdamW, linear warm-up, cosine decay to a hundredth of `lr`.

    A recipe with its seed: all that decides a training but the model and its data.
    """

    seed: int = 0
    """Seed of the first weights, and of every epoch."""

    @classmethod
    def of(cls, recipe: Recipe, seed: int) -> FitPlan:
        """Return the plan that trains by this recipe with this seed."""
        return cls(**_parts(recipe), seed=seed)

    @property
    def recipe(self) -> Recipe:
        """Return the plan without its seed."""
        return Recipe(**_parts(self))


def _parts(recipe: Recipe) -> dict[str, Any]:
    return {item.name: getattr(recipe, item.name) for item in dataclasses.fields(Recipe)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """Which terms are added to the cross entropy, with their weights, at which temperatures.

    `temperature` is that of 'kd', `temperatures` those of other terms; what is not named has its term's
    default. Over the first `warmup` share of all steps the weights grow linearly from 0.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 2.0
    temperatures: Mapping[str, float] = field(default_factory=dict)
    warmup: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            require(weight >= 0, f"The weight of '{name}' is {weight}, but must not be negative.")
        for name, temperature in {"kd": self.temperature, **self.temperatures}.items():
            require(
                temperature > 0,
                f"The temperature of '{name}' is {temperature}, but must be above 0.",
            )
        require(
            0 <= self.warmup <= 1,
            f"The warm-up of the terms is {self.warmup}, but must be in [0, 1]: it is a share of all steps.",
        )

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the names of the terms that are on."""
        return tuple(name for name, weight in self.weights.items() if weight > 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as values for JSON, as trials store it; empty `temperatures` and a `warmup` of 0 are left out."""
        return {
            "weights": dict(self.weights),
            "temperature": self.temperature,
            **({"temperatures": dict(self.temperatures)} if self.temperatures else {}),
            **({"warmup": self.warmup} if self.warmup else {}),
        }

    @property
    def off(self) -> Distillation:
        """Return a copy without any term, temperatures of terms or warm-up."""
        return dataclasses.replace(self, weights={}, temperatures={}, warmup=0.0)
