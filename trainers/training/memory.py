"""A memory of the teacher's stored joint features, from which each step draws nodes and graphs for its loss.

It is never updated, so that nothing in it goes stale: the teacher's features of all training windows are
there, mapped once per node. What a step draws follows from its seed alone, so that a step that is run again
is the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gaitforge.losses import Targets

# Published, of images: 4,096 pixels and 1,024 regions in all, the same number of each class. Ours: 32 nodes of every
# joint and class, or as many as keep all of them to 512, but two (costs: benchmarks/loss_cost.py).
NODES_DRAWN = 512
PHASES_DRAWN = 2, 32  # of each class; a phase gives a node of every joint
GRAPHS_DRAWN = 16  # of each class
PAIRS_DRAWN = 32  # of the batch's windows; all pairs of 32 would be 1,024
# seeds of steps are below: noise and dropout take those, and small numbers above
OWN_SEEDS = {"pairs": 2**31 + 2**20, "nodes": 2**31 + 2**21, "graphs": 2**31 + 2**22}


@dataclass(frozen=True, slots=True)
class Memory:
    """The teacher's joint features for all views of the training windows [N, W, Q, V', D'], and windows by class."""

    joints_NWQVD: Tensor
    by_class: tuple[Tensor, ...]  # of the classes that there are

    @classmethod
    def of(cls, joints_NWQVD: Tensor, label_N: Tensor) -> Memory:
        labels = label_N.cpu()
        counts = torch.bincount(labels).tolist()
        windows = (torch.nonzero(labels == k)[:, 0] for k, count in enumerate(counts) if count)
        return cls(joints_NWQVD, tuple(windows))

    @property
    def phases_drawn(self) -> int:
        """Return how many phases a step draws of each class: as NODES_DRAWN allows, within PHASES_DRAWN."""
        fewest, most = PHASES_DRAWN
        in_budget = NODES_DRAWN // (len(self.by_class) * self.joints_NWQVD.shape[3])
        return min(max(fewest, in_budget), most)

    def draw_nodes(self, generator: torch.Generator) -> Tensor:
        """Draw all joints of `phases_drawn` random phases of each class [M, V', D']."""
        window_M, view_M = self._windows(self.phases_drawn, generator)
        phases = self.joints_NWQVD.shape[2]
        phase_M = torch.randint(phases, window_M.shape, generator=generator)
        device = self.joints_NWQVD.device
        return self.joints_NWQVD[
            window_M.to(device), view_M.to(device), phase_M.to(device)
        ].float()

    def draw_graphs(self, generator: torch.Generator) -> Tensor:
        """Draw all phases and joints of GRAPHS_DRAWN random windows of each class [M, Q, V', D']."""
        window_M, view_M = self._windows(GRAPHS_DRAWN, generator)
        device = self.joints_NWQVD.device
        return self.joints_NWQVD[window_M.to(device), view_M.to(device)].float()

    def _windows(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` windows of each class, whatever its size, and a view of each; one may be drawn twice."""
        chosen = [
            windows[torch.randint(len(windows), (count,), generator=generator)]
            for windows in self.by_class
        ]
        window_M = torch.cat(chosen)
        view_M = torch.randint(self.joints_NWQVD.shape[1], window_M.shape, generator=generator)
        return window_M, view_M


def draw(
    targets: Targets, what: Sequence[str], memory: Memory | None, batch: int, seed: int
) -> Targets:
    """Return a step's targets with what is drawn for it: pairs of its windows, nodes and graphs of the memory.

    Each kind follows from the step's seed, whatever else is drawn. Raises ValueError where nodes or graphs
    are to be drawn and there is no memory.
    """
    device = targets.label_B.device
    for kind in what:
        generator = torch.Generator().manual_seed(seed + OWN_SEEDS[kind])
        if kind == "pairs":
            pairs_X2 = torch.randint(batch, (PAIRS_DRAWN, 2), generator=generator)
            targets = targets._replace(pairs_X2=pairs_X2.to(device))
        elif memory is None:
            raise ValueError(
                f"A term draws {kind} of the memory, but the teacher's joint maps were not loaded; load them."
            )
        elif kind == "nodes":
            targets = targets._replace(memory_nodes_MVD=memory.draw_nodes(generator).to(device))
        else:
            targets = targets._replace(memory_graphs_MQVD=memory.draw_graphs(generator).to(device))
    return targets
