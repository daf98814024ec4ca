"""What a step of training is given besides its targets: windows and views, learning rate, noise, dropout's seed."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.settings import FitPlan
from trainers.training.sharing import Shard


class Step(NamedTuple):
    """The windows and views of one step's whole batch, before workers divide it, and the seed of its noise."""

    window_B: Tensor
    view_B: Tensor
    seed: int


def epoch_steps(
    windows: int,
    views: int,
    batch: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> list[Step]:
    """Return the steps of an epoch, the same for any number of workers, with their indices on `device`.

    The order is filled up from its own start, so that all batches have one size: a batch of one window
    breaks batch norm.
    """
    order_N = torch.randperm(windows, generator=generator)
    size = min(batch, windows)
    steps = math.ceil(windows / size)
    window_SB = order_N.repeat(2)[: steps * size].view(steps, size)
    view_SB = torch.randint(views, (steps, size), generator=generator)
    seed_S = torch.randint(2**31, (steps,), generator=generator).tolist()
    pairs = zip(window_SB.to(device), view_SB.to(device), strict=True)
    return [Step(*pair, seed) for pair, seed in zip(pairs, seed_S, strict=True)]


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


def disturb(
    batch: Batch,
    plan: FitPlan,
    generator: torch.Generator,
    shard: Shard = Shard(),
    windows: int | None = None,
) -> Batch:
    """Add noise to the coordinates and hide joints for the whole window; the target stays the undisturbed view's.

    Both are drawn on the generator's device for all `windows` of the batch that workers share, and each
    worker takes its rows. Without `windows` the batch is the whole.
    """
    joints, seen = batch.joints_BTVC, batch.seen_BTV
    whole, device = windows or len(seen), generator.device
    if plan.jitter > 0:
        noise = torch.randn((whole, *joints.shape[1:]), generator=generator, device=device)
        joints = joints + plan.jitter * shard.take_rows(noise).to(joints.device) * seen[..., None]
    if plan.joint_drop > 0:
        drawn = torch.rand((whole, 1, seen.shape[2]), generator=generator, device=device)
        seen = seen & (shard.take_rows(drawn) >= plan.joint_drop).to(seen.device)
        joints = joints * seen[..., None]
    return Batch(joints_BTVC=joints, seen_BTV=seen)
