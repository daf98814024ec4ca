"""The training losses: cross entropy, and the table of distillation terms.

A term is a pure function of what the student puts out and what the teacher put out for the same
view of the same window. To add one: write it in a file here, and give it a line in LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from gaitforge.losses.kd import soft_label_kl
from gaitforge.losses.targets import Targets
from gaitforge.models import Output


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """A distillation term and the ranges that a search may try it in."""

    compute: Callable[[Output, Targets, float], Tensor]  # the last argument is the temperature
    weight: tuple[float, float]  # searched on a log scale; 0 switches the term off
    temperature: tuple[float, float]


LOSSES: dict[str, Term] = {
    # Hinton 2015 uses temperatures of 1 to 20; small nets do better with the low ones (his sec. 3)
    "kd": Term(compute=soft_label_kl, weight=(0.1, 4.0), temperature=(1.0, 8.0)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """Which terms are added to the cross entropy, with their weights, at which temperature."""

    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 2.0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in LOSSES:
                raise KeyError(
                    f"There is no distillation term '{name}'. Known: {', '.join(LOSSES)}."
                )
            if weight < 0:
                raise ValueError(f"The weight of '{name}' is {weight}, but must not be negative.")
        if self.temperature <= 0:
            raise ValueError(f"The temperature is {self.temperature}, but must be above 0.")


def loss_terms(
    output: Output,
    targets: Targets,
    distillation: Distillation,
    class_weights_K: Tensor | None,
    label_smoothing: float,
) -> dict[str, Tensor]:
    """Named, weighted terms; their sum is what is minimised."""
    terms = {
        "cross_entropy": functional.cross_entropy(
            output.logits_BK,
            targets.label_B,
            weight=class_weights_K,
            label_smoothing=label_smoothing,
        )
    }
    for name, weight in distillation.weights.items():
        if weight > 0:
            terms[name] = weight * LOSSES[name].compute(output, targets, distillation.temperature)
    return terms


def class_weights(label_N: Tensor, classes: int) -> Tensor:
    """Weights [K] proportional to 1 / number of windows of a class, with mean 1 over the classes present."""
    counts = torch.bincount(label_N, minlength=classes).float()
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), torch.zeros_like(counts))
    return inverse / inverse[counts > 0].mean()


__all__ = ["LOSSES", "Distillation", "Targets", "Term", "class_weights", "loss_terms"]
