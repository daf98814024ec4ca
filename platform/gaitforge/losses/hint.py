"""The teacher's features themselves as targets, through a learned regressor (Romero et al. 2015).

Romero, Ballas, Kahou, Chassang, Gatta, Bengio 2015, "FitNets: Hints for Thin Deep Nets", eq. 3, as a mean:

    loss = mean over b, q, v, d of (head(student)_bqvd - teacher_bqvd) ** 2
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def hint_loss(regressed_BQVD: Tensor, teacher_BQVD: Tensor) -> Tensor:
    """Return the mean squared difference of nodes, the student's brought to the teacher's width by a head.

    Published as a first stage on a middle layer; here, as in later comparisons, beside the
    cross entropy, and on the last map pooled to phases, which is what is stored of a teacher.
    """
    return functional.mse_loss(regressed_BQVD, teacher_BQVD)
