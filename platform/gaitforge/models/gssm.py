"""The graph-mixed selective state space: each joint is scanned over time, at a pace that its neighbours share.

A Mamba block (Gu, Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", sec. 3)
per joint, whose step sizes Delta are averaged over the joints by the graph filter of the same block. The
idea of mixing Delta by the graph is that of the traffic model STG-Mamba (arXiv 2403.12418); this form is
our reconstruction: a row-stochastic mixing keeps Delta >= 0 and of the same size, so that no state grows
without bound. The hops are summed, not averaged: a COCO skeleton's joint then keeps .56 of its own step at first,
and joints over two bones away give it .06; of the mean, under the same softmax, these were .18 and .42.

Symbols: u input of the scan, z gate, Delta step, A decay (negative), B_t and C_t what goes into and
comes out of the state, D skip; E = expand * width inner channels, S states per channel. For joint w,
frame t, inner channel e and state s,

    u, z       = linear(layer norm(x));   u = silu(causal convolution of u over CONV_FRAMES frames)
    Delta_v    = softplus(linear(u_v));   B_v, C_v = linear(u_v);   A = -exp(a_log)
    G_wv       = softmax over v of (SHARPNESS sum over k of mixing_kwv)
    Delta'_w   = sum over v of G_wv Delta_v
    h_t        = exp(Delta'_t A) h_(t-1) + Delta'_t B_t u_t                h_0 = 0, S numbers for each w and e
    y_t        = sum over s of (C_t h_t) + D u_t
    out        = x + linear(y silu(z))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gaitforge.models.dynamic_filter import mix_joints
from gaitforge.models.scan import selective_scan

CONV_FRAMES = 4  # of Mamba's causal convolution
# Delta at the start. Mamba's 1e-3 to 1e-1 are for thousands of frames, a window here has 16 to 64: ours are what
# a gain too small to be shown has decided (docs/results.md, "Parts of dynstg_mamba")
STEPS = (0.3, 1.0)
SHARPNESS = 5.0  # of the softmax: a bone of weight 1 then counts e**5 times a missing one


class GraphSelectiveStateSpace(nn.Module):
    """x + out(scan(u) * silu(z)), Delta'_w = sum_v G_wv Delta_v, G = softmax over v of 5 sum_k mixing_k.

    `bidirectional` scans the same u, Delta', B, C from the end as well, and takes the mean of both.
    """

    UNDECAYED = "a_log_ES", "skip_E"  # as in Mamba's own code: 0 is no better a rate than another

    def __init__(self, *, width: int, states: int, expand: int, bidirectional: bool) -> None:
        super().__init__()
        inner = expand * width
        self.bidirectional = bidirectional
        self.widths = [math.ceil(width / 16), states, states]
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.look_back = nn.Conv2d(inner, inner, (1, CONV_FRAMES), groups=inner)
        self.select = nn.Linear(inner, sum(self.widths), bias=False)
        # the key in stored weights: those of the mean of hops have it as `pace`, and are refused
        self.delta = nn.Linear(self.widths[0], inner)
        self.a_log_ES = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.skip_E = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, width, bias=False)
        with torch.no_grad():
            low, high = map(math.log, STEPS)
            steps_E = torch.empty(inner).uniform_(low, high).exp()
            # the inverse of softplus, so that Delta starts in STEPS
            self.delta.bias.copy_(steps_E + torch.log(-torch.expm1(-steps_E)))

    def forward(self, x_BVTD: Tensor, mixing_BpkVV: Tensor) -> Tensor:
        u, z = self.enter(self.norm(x_BVTD)).chunk(2, dim=-1)  # [B, V, T, E] each
        u_BVTE = nn.functional.silu(self._convolve_past(u))
        low, b, c = self.select(u_BVTE).split(self.widths, dim=-1)  # the last two [B, V, T, S]
        # Delta'_w = sum over v of G_wv Delta_v
        delta_BVTE = mix_joints(
            normalise_rows(mixing_BpkVV), nn.functional.softplus(self.delta(low))
        )
        y_BVTE = self._scan(u_BVTE, delta_BVTE, b, c)
        left: Tensor = self.leave(y_BVTE * nn.functional.silu(z))
        return x_BVTD + left

    def _convolve_past(self, u_BVTE: Tensor) -> Tensor:
        """Apply the causal depthwise convolution: a frame sees itself and the three before it."""
        padded_BEVT = nn.functional.pad(u_BVTE.permute(0, 3, 1, 2), (CONV_FRAMES - 1, 0))
        seen: Tensor = self.look_back(padded_BEVT).permute(0, 2, 3, 1)
        return seen

    def _scan(self, u: Tensor, delta: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Run h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t, y_t = C_t h_t + D u_t for each joint: y [B, V, T, E]."""
        shape = u.shape
        u, delta, b, c = (value.flatten(0, 1) for value in (u, delta, b, c))  # N = B*V
        a_ES = -self.a_log_ES.exp()
        y_NTE = selective_scan(u, delta, a_ES, b, c, self.skip_E)
        if self.bidirectional:
            u, delta, b, c = (value.flip(1) for value in (u, delta, b, c))
            y_NTE = (y_NTE + selective_scan(u, delta, a_ES, b, c, self.skip_E).flip(1)) / 2
        return y_NTE.reshape(shape)


def normalise_rows(mixing_BpkVV: Tensor) -> Tensor:
    """Return G [B, p, V, V]: rows that are not negative and sum to 1, largest where the mixing is."""
    return (SHARPNESS * mixing_BpkVV.sum(2)).softmax(-1)  # sum over the hops k
