"""The teacher softened, the student as it is, smooth answers weighted more (Zheng and Yang 2024).

Zheng, Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching", eqs. 7, 22 and 23, and algorithm 1.
With p the teacher's probabilities, q the student's at temperature 1, and gamma = 1 / temperature,

    u_b  = sum over k of p_bk ** gamma       from 1 for a certain teacher to K ** (1 - gamma) for an even one
    t_bk = p_bk ** gamma / u_b               which is softmax(teacher's logits / temperature)
    loss = mean over b of u_b KL(t_b || q_b)

Its gradient in the student's logits is u_b (q_b - t_b) / B. A student that says what the teacher says is drawn to
softer answers, which is how the term regularises: it is 0 where the student says t, and at temperature 1 that is p.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def transformed_teacher_kl(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Return KL(softened teacher || student), each window by how smooth its teacher is, mean over the batch.

    `temperature` is at least 1, where all weights are 1. Published at gamma from 0.1 to 0.4 for CIFAR-100 (temperature
    2.5 to 10) and at 0.7 and 0.8 for ImageNet. Logarithms are ours: the published code takes powers of probabilities.
    """
    log_student = functional.log_softmax(student_BK, dim=-1)  # [B, K]
    log_power = functional.log_softmax(teacher_BK, dim=-1) / temperature
    log_sum_B = log_power.logsumexp(dim=-1)  # log u
    log_teacher = log_power - log_sum_B[:, None]
    kl_B = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(
        dim=-1
    )
    return (log_sum_B.exp() * kl_B).mean()
