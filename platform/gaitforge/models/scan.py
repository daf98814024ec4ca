"""The selective scan, a plain loop over the frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


def selective_scan(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    """y_NTD of u's type: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t; y_t = C_t . h_t + D u_t."""
    arguments = (u_NTD, delta_NTD, a_DS, b_NTS, c_NTS, skip_D)
    if u_NTD.is_meta:
        counted: Tensor = torch.ops.gaitforge.selective_scan(*arguments)
        return counted
    real = torch.float64 if u_NTD.dtype == torch.float64 else torch.float32
    with torch.autocast(u_NTD.device.type, enabled=False):
        return _loop(*(argument.to(real) for argument in arguments)).to(u_NTD.dtype)


def _loop(u: Tensor, delta: Tensor, a_DS: Tensor, b: Tensor, c: Tensor, skip_D: Tensor) -> Tensor:
    h_NDS = torch.zeros_like(u[:, 0, :, None] * a_DS)
    y = []
    for delta_ND, moved_ND, b_NS, c_NS in zip(
        *(value.unbind(1) for value in (delta, delta * u, b, c)), strict=True
    ):
        h_NDS = torch.exp(delta_ND[..., None] * a_DS) * h_NDS + moved_ND[..., None] * b_NS[:, None]
        y.append((h_NDS @ c_NS[..., None]).squeeze(-1))
    return torch.stack(y, dim=1) + u * skip_D


# On the meta device, where a model is counted before it exists, the scan is one operator.
_library = torch.library.Library("gaitforge", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "selective_scan(Tensor u, Tensor delta, Tensor a, Tensor b, Tensor c, Tensor skip) -> Tensor"
)
_library.impl("selective_scan", lambda u, *_: torch.empty_like(u), "Meta")  # type: ignore[no-untyped-call]


@register_flop_formula(torch.ops.gaitforge.selective_scan)
def _operations(
    u_shape: torch.Size, delta_shape: torch.Size, a_shape: torch.Size, *_: object, **__: object
) -> int:
    """Twice the multiply-accumulates: 4 per state (delta A, the decay, the input, C h) and 2 per channel."""
    windows, frames, channels = u_shape
    return 2 * windows * frames * channels * (4 * a_shape[1] + 2)
