"""Softened class probabilities of the teacher as targets (Hinton, Vinyals and Dean 2015).

    p    = softmax(logits / temperature)
    loss = temperature ** 2 * mean over b of KL(teacher p_b || student p_b)

with KL(p || q) = sum over k of p_k log(p_k / q_k).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def soft_label_kl(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of softened classes, mean over the batch (Hinton 2015, sec. 2).

    Multiplied by temperature squared, so that its gradient keeps the size of the hard loss.
    """
    log_student = functional.log_softmax(student_BK / temperature, dim=-1)  # [B, K]
    log_teacher = functional.log_softmax(teacher_BK / temperature, dim=-1)
    return (
        functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        * temperature**2
    )
