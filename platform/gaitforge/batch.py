"""Batch: the tensors of some windows, the one thing that every model takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Windows side by side.

    `joints_BTVC` floats, prepared by windows.py; what stands in the place of an unseen joint, NaN
    included, never reaches a model's output. `seen_BTV` bool, False where a joint is missing.
    `features_BF` clinical features, where there are any.
    """

    joints_BTVC: Tensor
    seen_BTV: Tensor
    features_BF: Tensor | None = None

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Batch:
        """Move the windows to another device; `dtype` is for the floats, `seen_BTV` stays bool."""
        features = self.features_BF
        return Batch(
            joints_BTVC=self.joints_BTVC.to(device=device, dtype=dtype),
            seen_BTV=self.seen_BTV.to(device=device),
            features_BF=None if features is None else features.to(device=device, dtype=dtype),
        )
