"""Logits as z-scores, so that a student need not match the size of the teacher's (Sun et al. 2024).

Sun, Ren, Li, Wang, Cao 2024, "Logit Standardization in Knowledge Distillation", eq. 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-7  # of the standard deviation


def standardised(logits_BK: Tensor) -> Tensor:
    """Each row with mean 0 and standard deviation 1 over its classes, before any temperature.

    With two classes only the sign of their difference is left, which has no gradient. LEAST is added
    under the root, where the published code adds it to the root, which has no gradient at 0.
    """
    centred = logits_BK - logits_BK.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1, keepdim=True) / (logits_BK.shape[-1] - 1)
    return centred / torch.sqrt(variance + LEAST**2)
