"""The state of a model in training: everything that a step changes, and so everything a checkpoint must hold."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gaitforge.losses import (
    Heads,
)
from gaitforge.settings import FitPlan


class Fitting:
    """A model in training: everything that a step changes, and so everything that a checkpoint must hold.

    `heads` are trained along with the model for distillation terms; they are no part of the model.
    """

    def __init__(self, model: nn.Module, plan: FitPlan, heads: Heads | None = None) -> None:
        self.model = model
        self.plan = plan
        self.heads = heads
        self.epoch = 0  # epochs done
        self.step = 0  # steps done of the epoch that is under way
        self.sums: dict[str, Tensor] = {}  # of each loss term over those steps
        self.averaged: nn.Module | None = None  # the mean of the model over the last epochs' steps
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, heads),
            lr=plan.lr,
            weight_decay=plan.weight_decay,
            # one launch instead of hundreds; on a CPU the other way is as fast
            fused=True if self.device.type == "cuda" else None,
        )

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    @property
    def result(self) -> nn.Module:
        """Return the model to score and to keep: the mean over steps once the plan averages, else the model itself."""
        return self.model if self.averaged is None else self.averaged

    def take_average(self, steps: int) -> None:
        """Take the model after a step into the mean where the plan averages this epoch, which has so many steps.

        Batch norm's statistics are averaged as weights are: estimating them anew would cost a pass over the windows.
        """
        if self.epoch < self.plan.unaveraged:
            return
        if self.averaged is None:
            self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        taken = (self.epoch - self.plan.unaveraged) * steps + self.step
        means, now = self.averaged.state_dict(), self.model.state_dict()
        floats = [name for name, mean in means.items() if mean.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([means[n] for n in floats], [now[n] for n in floats], 1 / taken)
            for name in means.keys() - floats:  # how many batches a norm has seen
                means[name].copy_(now[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of weights, optimiser state and loss sums on the CPU, under flat names, to save in one file."""
        flat = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.heads is not None:
            flat |= {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        flat |= {f"sums.{name}": value for name, value in self.sums.items()}
        if self.averaged is not None:
            flat |= {f"averaged.{name}": v for name, v in self.averaged.state_dict().items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}

    def load(self, tensors: Mapping[str, Tensor], epoch: int, step: int = 0) -> None:
        """Go on from what `tensors()` returned for the same model and plan after `epoch` epochs and `step` steps."""
        self.model.load_state_dict(_named(tensors, "model."))
        if self.heads is not None:
            self.heads.load_state_dict(_named(tensors, "heads."))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.epoch, self.step = epoch, step
        if averaged := _named(tensors, "averaged."):
            self.averaged = copy.deepcopy(self.model).requires_grad_(False)
            self.averaged.load_state_dict(averaged)
        self.sums = {
            name: value.to(self.device) for name, value in _named(tensors, "sums.").items()
        }

    def check(self) -> None:
        """Raise FloatingPointError where a loss of the epoch so far was not finite."""
        total = sum(value.item() for value in self.sums.values())
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The loss became {total} in epoch {self.epoch + 1}; lower fit.lr or fit.clip."
            )


def parameter_groups(model: nn.Module, heads: Heads | None) -> list[dict[str, Any]]:
    """Split the parameters into those that weight decay applies to and those that a module lists in UNDECAYED.

    The latter are not weights but numbers with a meaning of their own, such as a scan's rates of decay.
    """
    kept = {
        id(module.get_parameter(name))
        for module in model.modules()
        for name in getattr(module, "UNDECAYED", ())
    }
    # the heads last, so that the model's states keep their numbers
    weights = [*model.parameters(), *(heads.parameters() if heads is not None else ())]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if id(weight) not in kept]},
        {"params": [weight for weight in weights if id(weight) in kept], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def device_of(model: nn.Module) -> torch.device:
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))
