"""What a student is held against, and student and teacher side by side, as the terms compare them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gaitforge.losses.cgrkd import average_nodes
from gaitforge.losses.heads import Heads
from gaitforge.losses.nodes import match_joints, pool_joints
from gaitforge.models import Output


class Targets(NamedTuple):
    """`label_B` class indices, and what the distillation terms of a run ask for; None where none does.

    The teacher's stored logits, embedding and nodes (its last map pooled to phases) belong to the
    batch's windows and views. Drawn for a step are ordered pairs of the batch's windows, and entries
    of the memory: the joints of single phases, and of whole windows. `ramp` is a factor of all terms.
    """

    label_B: Tensor
    teacher_logits_BK: Tensor | None = None
    teacher_embedding_BD: Tensor | None = None
    teacher_joints_BQVD: Tensor | None = None
    pairs_X2: Tensor | None = None
    memory_nodes_MVD: Tensor | None = None
    memory_graphs_MQVD: Tensor | None = None
    ramp: Tensor | None = None


class Sides:
    """One step's outputs in float32; what several terms share is worked out once."""

    def __init__(self, output: Output, targets: Targets, heads: Heads | None) -> None:
        self.output = output
        self.targets = targets
        self.heads = heads
        self.nodes: tuple[Tensor, Tensor] | None = None
        self.projected: dict[str, Tensor] = {}

    def pair_logits(self) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's logits [B, K]."""
        return self.output.logits_BK.float(), require(self.targets.teacher_logits_BK)

    def pair_embeddings(self) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's embeddings [B, D], of different widths."""
        return self.output.embedding_BD.float(), require(self.targets.teacher_embedding_BD)

    def pair_joints(self) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's nodes [B, Q, V', D], of different widths.

        V' is 1 where either has mixed the joints.
        """
        if self.nodes is None:
            teacher = require(self.targets.teacher_joints_BQVD)
            student = pool_joints(self.output.joints_BDTV.float())
            self.nodes = (
                match_joints(student, teacher.shape[2]),
                match_joints(teacher, student.shape[2]),
            )
        return self.nodes

    def project(self, head: str) -> tuple[Tensor, Tensor]:
        """Return the student's nodes, brought to the teacher's width by a head, and the teacher's.

        Raises ValueError where the student has no such head.
        """
        student, teacher = self.pair_joints()
        if head not in self.projected:
            if self.heads is None:
                raise ValueError(
                    f"A term needs the head '{head}', but the student has none; give the fitting those of its terms."
                )
            self.projected[head] = self.heads.project(head, student)
        return self.projected[head], teacher

    def flatten_memory_nodes(self) -> Tensor:
        """Return the drawn nodes of the memory as rows [M*V', D]."""
        nodes_MVD = require(self.targets.memory_nodes_MVD)
        return match_joints(nodes_MVD, self.pair_joints()[0].shape[2]).flatten(0, 1)

    def average_memory_graphs(self) -> Tensor:
        """Return one vector for each drawn window of the memory [M, D]."""
        return average_nodes(require(self.targets.memory_graphs_MQVD))


def require(tensor: Tensor | None) -> Tensor:
    """Return a target, cut from the gradient; `check_targets` has refused a step without it."""
    assert tensor is not None
    return tensor.detach()
