"""Decoupled distillation: the true class and the others, each with a weight of its own (Zhao et al. 2022).

Zhao, Cui, Song, Qiu, Liang 2022, "Decoupled Knowledge Distillation", eq. 7. With z logits / temperature and y the
true class,

    b    = softmax over (z_y, log of the sum over k != y of exp(z_k))         2 numbers
    q    = softmax over k != y of z_k                                         K - 1 numbers
    loss = (alpha KL(teacher b || student b) + beta KL(teacher q || student q)) * temperature ** 2
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

TARGET = 1.0  # alpha
OTHERS = 8.0  # beta; published per data set, this is that of CIFAR-100


def decoupled_kl(
    student_BK: Tensor, teacher_BK: Tensor, label_B: Tensor, temperature: float
) -> Tensor:
    """Return TARGET * KL of (true class, all others) + OTHERS * KL among the others, mean over the batch.

    Published at temperature 4. With two classes nothing is left among the others, and the second
    part is 0. The published code masks the true class by a logit of -1000; here it is left out.
    """
    student, teacher = student_BK / temperature, teacher_BK / temperature
    own_student, rest_student = _split(student, label_B)  # [B, 1], [B, K-1]
    own_teacher, rest_teacher = _split(teacher, label_B)
    target = _kl(_binary(own_student, rest_student), _binary(own_teacher, rest_teacher))
    others = _kl(
        functional.log_softmax(rest_student, dim=-1), functional.log_softmax(rest_teacher, dim=-1)
    )
    return (TARGET * target + OTHERS * others) * temperature**2


def _split(logits_BK: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logit of the true class [B, 1], and those of the others [B, K-1]."""
    label_B1 = label_B[:, None]
    rest = torch.arange(logits_BK.shape[1] - 1, device=label_B.device)
    rest_BK = rest + (rest >= label_B1)  # [B, K-1] numbers of the other classes
    return logits_BK.gather(1, label_B1), logits_BK.gather(1, rest_BK)


def _binary(own_B1: Tensor, rest_BK: Tensor) -> Tensor:
    """Return the log-probabilities [B, 2] of the true class and of all others together."""
    both = torch.cat([own_B1, rest_BK.logsumexp(dim=1, keepdim=True)], dim=1)
    return functional.log_softmax(both, dim=-1)


def _kl(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
