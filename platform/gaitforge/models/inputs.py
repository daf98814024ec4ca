"""JointInput: joints scaled per joint and coordinate, with a channel that says which were seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch


class JointInput(nn.Module):
    """Batch -> [B, T, V, C+1]: batch-normalised coordinates, then 1 for a seen joint, 0 else.

    An unseen joint is all zeros, the mean position with its flag down, so that to its neighbours
    in the graph it is absent. The flag is not normalised: in data where nothing is missing its
    variance is 0, and the first missing joint would come out as 1/sqrt(eps) = 316.
    Normalising over V*C is ST-GCN's (Yan 2018, sec. 3.6); the flag is ours.
    """

    def __init__(self, *, joints: int, channels: int) -> None:
        super().__init__()
        self.channels = channels + 1
        self.norm = nn.BatchNorm1d(joints * channels)

    def forward(self, batch: Batch) -> Tensor:
        joints = batch.joints_BTVC
        seen = batch.seen_BTV.unsqueeze(-1)  # [B, T, V, 1]
        known = torch.where(seen, joints, 0.0)  # [B, T, V, C]
        scaled = self.norm(known.flatten(2).flatten(0, 1)).reshape(joints.shape)  # over [B*T, V*C]
        flag = seen.to(scaled.dtype)
        return torch.cat([scaled * flag, flag], dim=-1)
