"""Relations between classes and within them, by correlation instead of equality (Huang et al. 2022).

Huang, You, Wang, Qian, Xu 2022, "Knowledge Distillation from A Stronger Teacher", eqs. 9 and 10. With
p = softmax(logits / temperature) and rho Pearson's correlation,

    between = 1 - mean over windows b of rho(student p_b:, teacher p_b:)
    within  = 1 - mean over classes k of rho(student p_:k, teacher p_:k)
    loss    = beta between + gamma within
"""

from __future__ import annotations

import torch
from torch import Tensor

BETWEEN = 1.0  # beta
WITHIN = 1.0  # gamma
LEAST = 1e-8  # of the norms' product, as in the published code


def correlation_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Return BETWEEN * (1 - correlation over classes) + WITHIN * (1 - correlation over windows), of softened classes.

    0 where the student's probabilities are linear in the teacher's. Published at temperature 1 (4 for
    some data sets). The published code multiplies by the temperature squared, which is left out: a
    correlation does not shrink as its inputs do, so that the factor would raise the gradient where
    that of a KL needs it to keep its size. A class whose probability is the same for the whole batch
    correlates with nothing, counts 1 and teaches nothing; the second part wants a batch of many more
    windows than classes.
    """
    student = torch.softmax(student_BK / temperature, dim=-1)  # [B, K]
    teacher = torch.softmax(teacher_BK / temperature, dim=-1)
    between = 1 - _correlation(student, teacher).mean()  # of B rows
    within = 1 - _correlation(student.T, teacher.T).mean()  # of K rows
    loss: Tensor = BETWEEN * between + WITHIN * within
    return loss


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of each row of one matrix with that of the other."""
    first = first - first.mean(dim=-1, keepdim=True)
    second = second - second.mean(dim=-1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(
        second, dim=-1
    )
    correlation: Tensor = (first * second).sum(dim=-1) / (norms + LEAST)
    return correlation
