"""The selective scan, a plain loop over the frames."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t; y_t = C_t . h_t + D u_t. Meta tensors give an empty one."""
    if u_NTD.is_meta:
        return torch.empty_like(u_NTD)
    moved_NTD = delta_NTD * u_NTD
    h_NDS = u_NTD.new_zeros(u_NTD.shape[0], *a_DS.shape)
    y = []
    for delta_ND, moved_ND, b_NS, c_NS in zip(
        delta_NTD.unbind(1), moved_NTD.unbind(1), b_NTS.unbind(1), c_NTS.unbind(1), strict=True
    ):
        kept_NDS = torch.exp(delta_ND.unsqueeze(-1) * a_DS)
        h_NDS = kept_NDS * h_NDS + moved_ND.unsqueeze(-1) * b_NS.unsqueeze(1)
        y.append((h_NDS @ c_NS.unsqueeze(-1)).squeeze(-1))
    return torch.stack(y, dim=1) + u_NTD * skip_D
