"""What a step of training is given besides its targets: windows and views, learning rate, dropout's seed."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gaitforge.settings import FitPlan

VIEWS_TOGETHER = 4  # of a window in one step, where fit.consistency compares them


class Step(NamedTuple):
    """The windows and views of one step's whole batch, before workers divide it, and the seed of its dropout."""

    window_B: Tensor
    view_B: Tensor
    seed: int


def epoch_steps(
    windows: int,
    views: int,
    batch: int,
    seed: int,
    epoch: int,
    device: torch.device | str = "cpu",
) -> list[Step]:
    """Return the steps of an epoch, the same for any number of workers, with their indices on `device`.

    An epoch takes the next view of each window, from one on that the seed gives: with as many views as epochs none is
    seen twice. The order is filled up from its own start, so that all batches have one size: a batch of one window
    breaks batch norm.
    """
    first_N = torch.randint(views, (windows,), generator=torch.Generator().manual_seed(seed))
    view_N = (first_N + epoch) % views
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order_N = torch.randperm(windows, generator=generator)
    size = min(batch, windows)
    steps = math.ceil(windows / size)
    window_SB = order_N.repeat(2)[: steps * size].view(steps, size)
    view_SB = view_N[window_SB]
    seed_S = torch.randint(2**31, (steps,), generator=generator).tolist()
    pairs = zip(window_SB.to(device), view_SB.to(device), strict=True)
    return [Step(*pair, number) for pair, number in zip(pairs, seed_S, strict=True)]


def spread_views(window_B: Tensor, view_B: Tensor, views: int) -> tuple[Tensor, Tensor]:
    """Return four of the `views` views of a quarter of the windows, those of a window side by side."""
    count = max(1, len(window_B) // VIEWS_TOGETHER)
    steps = torch.arange(VIEWS_TOGETHER, device=view_B.device) * max(1, views // VIEWS_TOGETHER)
    view = (view_B[:count, None] + steps) % views
    return window_B[:count].repeat_interleave(VIEWS_TOGETHER), view.flatten()


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the global generators, the only ones that dropout draws from: the CPU's, and CUDA's where it is used.

    `torch.manual_seed` would seed those of every kind of device, which takes 0.1 ms.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def set_learning_rate(optimizer: torch.optim.Optimizer, plan: FitPlan, epoch: float) -> None:
    """Set the learning rate at a fractional epoch: linear warm-up, then half a cosine down to a hundredth."""
    done = epoch / plan.epochs
    if done < plan.warmup:
        factor = done / plan.warmup
    else:
        factor = 0.01 + 0.99 * 0.5 * (
            1 + math.cos(math.pi * (done - plan.warmup) / (1 - plan.warmup))
        )
    for group in optimizer.param_groups:
        group["lr"] = plan.lr * max(factor, 0.01)
