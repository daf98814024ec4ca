"""The dynamic filter graph convolution: joints mixed by bones, by a learned filter, and by the movement.

Our reconstruction of the part that DynSTG-Mamba's abstract calls DF-STGNN (see dynstg_mamba.py); its
equations were not readable. The 0.9 : 0.1 start of bones and learned filter is that of the public code
of the traffic model STG-Mamba (arXiv 2403.12418), as is the filter B_k behind a linear layer; the tanh,
the input-dependent term and the hops as partitions are ours.

Maps are x_BVTD, contiguous: one matrix product mixes the joints of all frames, and the scan over the
frames of a joint finds them side by side. Symbols: A_k weights of the joints k bones away, F_k learned
filter, D input-dependent filter, gamma_k and rho_k how much of each; mixing[.., w, v] is from joint v
to joint w. With m_v the mean of joint v over the frames of a phase, a layer computes

    F_k      = tanh(B_k U_k^T + c_k)                                    [V, V], learned
    D_wv     = softmax over v of (q_w . k_v / sqrt(16))                 q, k = linear(m), in each phase
    mixing_k = (1 - gamma_k) A_k + gamma_k F_k + rho_k D
    y_w      = relu(BN(sum over k of W_k sum over v of mixing_kwv x_v) + R x_w)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FILTERS = ("none", "static", "dynamic")
RELATION_WIDTH = 16  # of queries and keys


class DynamicFilter(nn.Module):
    """mixing_k = (1 - gamma_k) A_k + gamma_k F_k + rho_k D, and how they differ between phases.

    F_k = tanh(linear(B_k)), and D = softmax over source joints of q.k / sqrt(16), where q and k are
    linear in a joint's mean over the frames of a phase. gamma starts at 0.1, rho at 0. "static"
    leaves D out, "none" leaves only A_k. `phases` equal parts of a window have a D each.
    """

    def __init__(self, *, hops: int, joints: int, width: int, kind: str, phases: int) -> None:
        super().__init__()
        self.phases = phases
        self.kind = kind
        if kind == "none":
            return
        reach = 1 / math.sqrt(joints)
        self.base_kVV = nn.Parameter(torch.empty(hops, joints, joints).uniform_(-reach, reach))
        self.turn_kVV = nn.Parameter(torch.empty(hops, joints, joints).uniform_(-reach, reach))
        self.shift_k1V = nn.Parameter(torch.empty(hops, 1, joints).uniform_(-reach, reach))
        self.gamma_k = nn.Parameter(torch.full((hops,), 0.1))
        if kind == "dynamic":
            self.relate = nn.Linear(width, 2 * RELATION_WIDTH)
            self.rho_k = nn.Parameter(torch.zeros(hops))

    def forward(self, x_BVTD: Tensor, hops_kVV: Tensor) -> Tensor:
        """Return the mixing [B, p, k, V, V] of the movement, or [1, 1, k, V, V] where it has no say."""
        if self.kind == "none":
            return hops_kVV[None, None]
        # F_k = tanh(B_k U_k^T + c_k)
        learned_kVV = torch.tanh(self.base_kVV @ self.turn_kVV.mT + self.shift_k1V)
        gamma_k11 = self.gamma_k[:, None, None]
        mixing_kVV: Tensor = (1 - gamma_k11) * hops_kVV + gamma_k11 * learned_kVV
        if self.kind == "static":
            return mixing_kVV[None, None]
        parts = split_phases(x_BVTD, min(self.phases, x_BVTD.shape[2]))
        # a linear layer of the mean is the mean of the linear layer, at a T-th of its cost
        means_BpVD = torch.stack([part.mean(2) for part in parts], dim=1)
        query, key = self.relate(means_BpVD).chunk(2, dim=-1)  # [B, p, V, 16]
        relation_BpVV = (query @ key.mT / math.sqrt(RELATION_WIDTH)).softmax(-1)
        moving: Tensor = self.rho_k[:, None, None] * relation_BpVV.unsqueeze(2)  # [B, p, k, V, V]
        return mixing_kVV + moving


class DynamicFilterConvolution(nn.Module):
    """relu(BN(sum_k W_k mixing_k x) + R x), where R is linear, or nothing where the widths agree.

    With `kalman` the sum is the inverse-variance mean of its two terms, per window:
    (BN(..) s_raw c + R x s_graph) / (s_raw c + s_graph), c = softplus of a learned number, 1 at
    first. That is the fusion of the traffic model's public code, whose weights did not sum to 1 and
    whose variances were those of a whole batch; its LSTM-like gates are left out.
    """

    def __init__(
        self,
        *,
        hops: int,
        joints: int,
        width_in: int,
        width: int,
        kind: str,
        phases: int,
        kalman: bool,
    ) -> None:
        super().__init__()
        self.filter = DynamicFilter(
            hops=hops, joints=joints, width=width_in, kind=kind, phases=phases
        )
        self.mix_channels = nn.ModuleList(
            nn.Linear(width_in, width, bias=False) for _ in range(hops)
        )
        self.norm = FeatureNorm(width)
        self.carry = nn.Identity() if width_in == width else nn.Linear(width_in, width, bias=False)
        self.trust = nn.Parameter(torch.tensor(math.log(math.e - 1))) if kalman else None

    def forward(self, x_BVTD: Tensor, hops_kVV: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map [B, V, T, D'], and the mixing [B or 1, p, k, V, V] that made it."""
        mixing = self.filter(x_BVTD, hops_kVV)  # [B or 1, p, k, V, V]
        graph = self.norm(
            sum(  # over the hops k: [B, V, T, D']
                mix(mix_joints(mixing[:, :, hop], x_BVTD))
                for hop, mix in enumerate(self.mix_channels)
            )
        )
        raw = self.carry(x_BVTD)
        both = graph + raw if self.trust is None else fuse(graph, raw, self.trust)
        return torch.relu(both), mixing


class FeatureNorm(nn.BatchNorm2d):
    """Batch normalisation of the last axis of [B, V, T, D], which is channels-last memory to torch."""

    def forward(self, x_BVTD: Tensor) -> Tensor:
        return super().forward(x_BVTD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def mix_joints(mixing_BpVV: Tensor, x_BVTD: Tensor) -> Tensor:
    """Return sum over v of mixing[b, p, w, v] x[b, v, t] for the frames t of phase p: [B, V, T, D]."""
    parts = [
        (mixing_BpVV[:, phase] @ part.flatten(2)).reshape(part.shape)  # [B, w, v] @ [B, v, T*D]
        for phase, part in enumerate(split_phases(x_BVTD, mixing_BpVV.shape[1]))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def split_phases(x_BVTD: Tensor, phases: int) -> tuple[Tensor, ...]:
    """Split the frames into equal parts, the first ones a frame longer where they do not divide evenly."""
    return (x_BVTD,) if phases == 1 else x_BVTD.tensor_split(phases, dim=2)


def fuse(graph_BVTD: Tensor, raw_BVTD: Tensor, trust: Tensor) -> Tensor:
    """Return the inverse-variance mean of two maps, with the variance of each window; `trust` favours the first.

    (graph s_raw c + raw s_graph) / (s_raw c + s_graph), with s the variances and c = softplus(trust).
    """
    # a window without a single seen joint is constant: then both count the same
    s_graph, s_raw = (  # [B, 1, 1, 1]
        x.var(dim=(1, 2, 3), keepdim=True, correction=0) + 1e-5 for x in (graph_BVTD, raw_BVTD)
    )
    weight = s_raw * nn.functional.softplus(trust)
    return (graph_BVTD * weight + raw_BVTD * s_graph) / (weight + s_graph)
