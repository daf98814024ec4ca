"""What this machine's arithmetic is worth: a small model's float32 gradients against its float64 ones.

float64 takes other code than float32 in every library below us, so that a fault of one of them shows
without anybody knowing it beforehand. Such a fault may also corrupt memory: `python -m gaitforge.gradients`
is the comparison in a process that may die of it (`trainers/arithmetic/check.py` starts it).
"""

from __future__ import annotations

import copy
import importlib
import json
import math
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models import FAMILIES, Output, make_sizes

# A relative error from which gradients are wrong. Those of our families stay below 1e-3 (docs/results.md), those
# of a fault were at 0.2 and above, and between them a kink of others' families may lie.
WRONG = 0.05
# A parameter's gradient counts as at least this share of the whole model's: rounding is relative to what was summed,
# so that the relative error of a sum that is nearly 0 is noise.
LEAST_SHARE = 1e-3
SPREAD = 0.1  # of the noise on all weights: what starts at 0, or scales by 1e-6, must not hide what lies behind it
WINDOWS = 8  # of a batch
# of the windows of each draw: libraries take other ways where a stride divides them; and whether corrupt memory is that
# of a gradient depends on sizes, and on what lies beside it
FRAMES = (12, 13, 24, 12, 36)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A model to be compared, as plain values; its windows have `channels` coordinates of each joint."""

    sizes: Mapping[str, Any]
    layout: Mapping[str, Any]
    channels: int
    classes: int

    def build(self, family: str) -> nn.Module:
        layout = Layout.from_dict(self.layout, "the layout")
        return make_sizes(family, self.sizes).build(layout, self.channels, self.classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The largest relative error among the parameters of a model, and whose it is."""

    error: float  # infinite where a gradient is no finite number
    parameter: str

    @property
    def is_wrong(self) -> bool:
        return self.error > WRONG


def gradient_difference(
    family: str, problem: Problem, memory: torch.memory_format | None = None
) -> Difference:
    """Measure how far float32 gradients are from float64 ones, on the CPU, for one step in training mode.

    The error of a parameter is |g32 - g64| / max(|g64|, LEAST_SHARE |all g64|), the largest of several
    draws of weights and batch. Where a sum lies near the kink of a ReLU or of a maximum, its rounding
    would decide which way an element takes, which shows in a deep model's gradient; so these two,
    which neither add nor multiply, are made smooth. `memory` is the format in which convolutions get
    their maps; None leaves that to the family.
    """
    draws = [
        _measure_errors(family, problem, seed, frames, memory)
        for seed, frames in enumerate(FRAMES)
    ]
    errors = {name: max(draw[name] for draw in draws) for name in draws[0]}
    worst = max(errors, key=lambda name: errors[name])
    return Difference(error=errors[worst], parameter=worst)


def _measure_errors(
    family: str, problem: Problem, seed: int, frames: int, memory: torch.memory_format | None
) -> dict[str, float]:
    """Return the relative error of every parameter's gradient."""
    generator = torch.Generator().manual_seed(seed)
    model = _draw_model(family, problem, seed, generator)
    exact = copy.deepcopy(model).double()
    if memory is not None:
        _use_memory(model, memory)
    joints = len(problem.layout["joints"])
    batch = _draw_batch((WINDOWS, frames, joints, problem.channels), generator)
    pull = _draw_pull(exact(batch.to(dtype=torch.float64)), generator)
    found = _gradients(model, batch, [part.float() for part in pull])
    wanted = _gradients(exact, batch.to(dtype=torch.float64), pull)
    whole = math.hypot(*(_norm(gradient) for gradient in wanted.values()))
    return {
        name: relative_error(found[name], gradient, LEAST_SHARE * whole)
        for name, gradient in wanted.items()
    }


def relative_error(found: Tensor, wanted: Tensor, least: float) -> float:
    """Return |found - wanted| / max(|wanted|, least); infinite where it is no finite number."""
    error = _norm(found.double() - wanted) / max(_norm(wanted), least)
    return error if math.isfinite(error) else math.inf


def _norm(values: Tensor) -> float:
    return float(values.norm())


def _draw_model(family: str, problem: Problem, seed: int, generator: torch.Generator) -> nn.Module:
    """Draw a model in training mode, whose weights all differ from those with a meaning; without dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = problem.build(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=SPREAD)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def _draw_batch(shape_BTVC: tuple[int, ...], generator: torch.Generator) -> Batch:
    """Draw windows of noise in which one joint in ten is unseen."""
    return Batch(
        joints_BTVC=torch.randn(shape_BTVC, generator=generator),
        seen_BTV=torch.rand(shape_BTVC[:3], generator=generator) > 0.1,
    )


def _draw_pull(output: Output, generator: torch.Generator) -> list[Tensor]:
    """Draw the derivatives of a loss by all that a model gives: labels and teachers pull at each of it."""
    return [
        torch.randn(part.shape, generator=generator, dtype=torch.float64) / math.sqrt(part.numel())
        for part in output
    ]


def _gradients(model: nn.Module, batch: Batch, pull: Sequence[Tensor]) -> dict[str, Tensor]:
    with _Smooth():
        output: Output = model(batch)
    torch.autograd.backward(list(output), pull)
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
    }


class _Smooth(TorchFunctionMode):
    """Within the block a ReLU is x sigmoid(x), and a maximum over frames their mean."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in (torch.relu, torch.Tensor.relu, functional.relu):
            return functional.silu(args[0])
        if func is functional.max_pool2d:  # as nn.MaxPool2d calls it
            x, kernel = args
            return functional.avg_pool2d(x, kernel, named["stride"], named["padding"])
        return func(*args, **named)


def _use_memory(model: nn.Module, memory: torch.memory_format) -> None:
    """Have every two-dimensional convolution get its maps, and keep its weights, in that format."""

    def remember(_: nn.Module, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.contiguous(memory_format=memory) for x in maps)

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=memory)
            module.register_forward_pre_hook(remember)


def main() -> None:
    """Do a job from standard input; print the worst Difference of its problems, which are of one family."""
    job = json.load(sys.stdin)
    # corrupt memory may also let a loop run for ever
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], resource.RLIM_INFINITY))
    torch.set_num_threads(job["threads"])
    torch.backends.mkldnn.enabled = job["onednn"]
    memory = getattr(torch, job["memory"]) if job["memory"] else None
    # who started us may know families that others have added
    module, kind = job["at"]
    FAMILIES.setdefault(job["family"], getattr(importlib.import_module(module), kind))
    found = [
        gradient_difference(job["family"], Problem(**problem), memory)
        for problem in job["problems"]
    ]
    print(json.dumps(asdict(max(found, key=lambda item: item.error))))


if __name__ == "__main__":
    main()
