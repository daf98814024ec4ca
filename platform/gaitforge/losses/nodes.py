"""Nodes: the last joint map pooled to phases, in which teacher and student are held against each other."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

PHASES = 4  # equal parts of a window's time


def pool_joints(joints_BDTV: Tensor) -> Tensor:
    """Average the last joint map over PHASES equal parts of the time: nodes [B, Q, V', D']."""
    pooled_BDQV = functional.adaptive_avg_pool2d(joints_BDTV, (PHASES, joints_BDTV.shape[3]))
    return pooled_BDQV.permute(0, 2, 3, 1)


def check_joints(student: int, teacher: int, family: str = "") -> None:
    """Refuse joint counts V' that cannot be matched: they must be equal, or one of them 1."""
    if student != teacher and 1 not in (student, teacher):
        raise ValueError(
            f"The {family or 'student'}'s last map has {student} joints and the teacher's {teacher}, but terms on "
            "joints need the same number, or 1 where a family has mixed them; choose another family or leave those "
            "terms out."
        )


def match_joints(nodes: Tensor, joints: int) -> Tensor:
    """Average nodes [..., V', D] over the joints where the other side has mixed them into one.

    The mean of the body in each phase is then compared.
    """
    if joints == 1 and nodes.shape[-2] > 1:
        return nodes.mean(dim=-2, keepdim=True)
    return nodes
