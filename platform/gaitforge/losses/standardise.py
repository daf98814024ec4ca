"""Logits as z-scores, so that a student need not match the size of the teacher's (Sun et al. 2024).

Sun, Ren, Li, Wang, Cao 2024, "Logit Standardization in Knowledge Distillation", eq. 10, with s the standard deviation
of a window's logits:

    out_k = (z_k - mean over k of z_k) / s,      s ** 2 = sum over k of (z_k - mean) ** 2 / (K - 1)
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-7  # of the standard deviation


def standardise(logits_BK: Tensor) -> Tensor:
    """Give each row mean 0 and standard deviation 1 over its classes, before any temperature.

    With two classes only the sign of their difference is left, which has no gradient. LEAST is added
    under the root, where the published code adds it to the root, which has no gradient at 0.
    """
    centred = logits_BK - logits_BK.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1, keepdim=True) / (logits_BK.shape[-1] - 1)  # [B, 1]
    return centred / torch.sqrt(variance + LEAST**2)
