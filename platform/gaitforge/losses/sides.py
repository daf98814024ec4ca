"""Student and teacher side by side, as the terms compare them."""

from __future__ import annotations

from torch import Tensor

from gaitforge.losses.cgrkd import graphs
from gaitforge.losses.heads import Heads
from gaitforge.losses.nodes import like_joints, pooled_joints
from gaitforge.losses.targets import Targets
from gaitforge.models import Output


class Sides:
    """One step's outputs in float32; what several terms share is worked out once."""

    def __init__(self, output: Output, targets: Targets, heads: Heads | None) -> None:
        self.output = output
        self.targets = targets
        self.heads = heads
        self.nodes: tuple[Tensor, Tensor] | None = None
        self.projected: dict[str, Tensor] = {}

    def logits(self) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's [B, K]."""
        return self.output.logits_BK.float(), there(self.targets.teacher_logits_BK)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's [B, D], of different widths."""
        return self.output.embedding_BD.float(), there(self.targets.teacher_embedding_BD)

    def joints(self) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's nodes [B, Q, V', D], of different widths.

        V' is 1 where either has mixed the joints.
        """
        if self.nodes is None:
            teacher = there(self.targets.teacher_joints_BQVD)
            student = pooled_joints(self.output.joints_BDTV.float())
            self.nodes = (
                like_joints(student, teacher.shape[2]),
                like_joints(teacher, student.shape[2]),
            )
        return self.nodes

    def through(self, head: str) -> tuple[Tensor, Tensor]:
        """The student's nodes through a head, and the teacher's, in the teacher's width."""
        student, teacher = self.joints()
        if head not in self.projected:
            if self.heads is None:
                raise ValueError(
                    f"A term needs the head '{head}', but the student has none; give the fitting those of its terms."
                )
            self.projected[head] = self.heads.project(head, student)
        return self.projected[head], teacher

    def memory_nodes(self) -> Tensor:
        """Drawn nodes of the memory [M*V', D]."""
        nodes_MVD = there(self.targets.memory_nodes_MVD)
        return like_joints(nodes_MVD, self.joints()[0].shape[2]).flatten(0, 1)

    def memory_graphs(self) -> Tensor:
        """Drawn windows of the memory [M, D]."""
        return graphs(there(self.targets.memory_graphs_MQVD))


def there(tensor: Tensor | None) -> Tensor:
    """A target that `loss_terms` has seen to; nothing is learnt into it."""
    assert tensor is not None
    return tensor.detach()
