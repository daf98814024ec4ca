"""Several views of a window should have one answer: what a student can be held to without any teacher.

The Jensen-Shannon divergence of R views, as Hendrycks et al. 2020, "AugMix", use it for three. With p_r the
probabilities of view r,

    m    = mean over r of p_r
    loss = mean over b and r of KL(p_r || m)

From 0, where all views are answered alike, to log R. It says nothing of which answer is right, so that distillation
must do better than it to have taught anything.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def consistency_loss(logits_RBK: Tensor) -> Tensor:
    """Return how far the answers to R views of the same windows lie apart; raises ValueError for a single view.

    Views and their mean all have a gradient.
    """
    views = logits_RBK.shape[0]
    if views < 2:
        raise ValueError(
            f"There is {views} view, but consistency compares at least 2; give logits [R, B, K] of several."
        )
    log_view = functional.log_softmax(logits_RBK, dim=-1)
    log_mean = log_view.logsumexp(dim=0) - math.log(views)  # [B, K]
    kl_RBK = functional.kl_div(
        log_mean.expand_as(log_view), log_view, reduction="none", log_target=True
    )
    return kl_RBK.sum(dim=-1).mean()
