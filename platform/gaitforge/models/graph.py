"""The spatial graph of a layout, partitioned as in ST-GCN."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gaitforge.layout import Layout

PARTITIONS = 3


def partitioned_adjacency(layout: Layout) -> Tensor:
    """Return weights A_kvw [3, V, V] from source joint v (axis 1) to target joint w (axis 2).

    The partitions are sources as far from the root as the target (the joint itself among them),
    nearer to the root, and farther from it: A_kvw = [v in partition k of w] / (1 + neighbours of w).
    Over all partitions and sources the weights of a target sum to 1, so that a joint without a bone
    keeps itself and nothing divides by 0.
    Spatial configuration partitioning of Yan 2018 (ST-GCN), sec. 3.3.
    """
    hops = layout.hops_from_root()
    neighbours = layout.adjacency() | np.eye(layout.joint_count, dtype=np.bool_)
    weights = neighbours / neighbours.sum(axis=0)
    source, target = hops[:, None], hops[None, :]
    partitions = (source == target, source < target, source > target)
    # torch.tensor, unlike torch.from_numpy, obeys `with torch.device("meta")`
    return torch.tensor(np.stack([weights * part for part in partitions]), dtype=torch.float32)


def hop_adjacency(layout: Layout, hops: int) -> Tensor:
    """Return weights [k, V, V] to target joint (axis 1) from the joints exactly 0, 1, ... `hops` bones away.

    A_kwv = [v lies k bones from w] / number of such v.

    Every target's sources weigh the same and sum to 1, or to 0 where there are none. A distance
    that no two joints of the layout have is left out, so that k may be less than `hops` + 1.
    """
    linked = layout.adjacency()
    nearer = np.zeros_like(linked)
    exact = np.eye(layout.joint_count, dtype=np.bool_)
    weights = []
    for _ in range(hops + 1):
        if exact.any():
            weights.append(exact / np.maximum(exact.sum(axis=1, keepdims=True), 1))
        nearer = nearer | exact
        exact = (nearer.astype(np.int64) @ linked > 0) & ~nearer
    return torch.tensor(np.stack(weights), dtype=torch.float32)
