"""Share a batch among several workers, so that together they take the step that one worker would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.training.fitting import Fitting


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of every batch that this process takes: that of worker `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def take_rows(self, whole: Tensor) -> Tensor:
        """Return this worker's rows of a whole batch: every `world`-th, from row `rank` on."""
        return whole[self.rank :: self.world]


def check_shards(windows: int, batch: int, world: int) -> None:
    """Raise ValueError where a worker would get fewer than two windows of a batch."""
    size = min(batch, windows)
    if size < 2 * world and world > 1:
        raise ValueError(
            f"{world} workers cannot share batches of {size} of the {windows} training windows, since each needs "
            "two; lower teacher.workers."
        )


class LossFactors(NamedTuple):
    """The factors that a worker multiplies its loss terms by: `by_class` for cross entropy, `by_window` for others.

    The mean over the workers is then the loss of the whole batch, also where the batch does not
    divide evenly or a worker got the rarer classes, by whose weights cross entropy is averaged.
    """

    by_class: Tensor | float
    by_window: float

    def pick(self, term: str) -> Tensor | float:
        return self.by_class if term == "cross_entropy" else self.by_window


def agree(fitting: Fitting, shard: Shard) -> None:
    """Give all workers the mean of their loss sums and batch norm statistics: all score, stop and save alike."""
    if shard.world == 1:
        return
    values: list[Tensor] = []
    for model in dict.fromkeys((fitting.model, fitting.result)):
        kept = model.state_dict()
        values += [
            b for name, b in model.named_buffers() if name in kept and b.is_floating_point()
        ]
    values += list(fitting.sums.values())
    for value in values:
        torch.distributed.all_reduce(value)
        value /= shard.world
