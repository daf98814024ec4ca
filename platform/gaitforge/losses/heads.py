"""Heads: learned layers from a student's nodes to the teacher's width; they train along and are never handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models import Output, Sizes


def make_relation_head(student: int, teacher: int) -> nn.Module:
    """Make the projection of CIRKD's code: 1x1 convolution, batch norm, ReLU, 1x1 convolution, no biases.

    head(x) = W_2 relu(BN(W_1 x)), with W_1 [D', D] and W_2 [D', D'] for the widths D and D'. On nodes
    [..., D] a 1x1 convolution is a linear layer. It is never evaluated, so that it keeps no statistics.
    """
    return nn.Sequential(
        nn.Linear(student, teacher, bias=False),
        nn.BatchNorm1d(teacher, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(teacher, teacher, bias=False),
    )


def make_hint_head(student: int, teacher: int) -> nn.Module:
    """Make the plain regressor of a hint: one 1x1 convolution, where later comparisons add a norm and a ReLU."""
    return nn.Linear(student, teacher)


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "relations": make_relation_head,
    "hint": make_hint_head,
}


class Heads(nn.ModuleDict):
    """Heads by name, from the student's width to the teacher's."""

    @classmethod
    def new(cls, names: Iterable[str], student: int, teacher: int, seed: int) -> Heads:
        """Make the named heads, with first weights that follow from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls({name: HEADS[name](student, teacher) for name in names})

    def project(self, name: str, nodes_BQVD: Tensor) -> Tensor:
        """Bring the student's nodes to the teacher's width D' by one head: [B, Q, V', D']."""
        projected: Tensor = self[name](nodes_BQVD.flatten(0, 2))  # [B*Q*V', D']
        return projected.view(*nodes_BQVD.shape[:3], -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeShape:
    """Joints V' and width D' of a model's last map."""

    joints: int
    width: int


def find_node_shape(
    sizes: Sizes, layout: Layout, channels: int, classes: int, frames: int
) -> NodeShape:
    """Return joints and width of the family's last feature map, counted on the meta device."""
    with torch.device("meta"), torch.no_grad():
        model = sizes.build(layout, channels, classes).eval()
        output = cast(
            Output,
            model(
                Batch(
                    joints_BTVC=torch.empty(1, frames, layout.joint_count, channels),
                    seen_BTV=torch.empty(1, frames, layout.joint_count, dtype=torch.bool),
                )
            ),
        )
    return NodeShape(joints=output.joints_BDTV.shape[3], width=output.joints_BDTV.shape[1])
