"""The selective scan on a GPU by mamba-ssm's kernel, where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

MOST_STATES = 256  # its kernel takes no more

MambaScan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@cache
def find_mamba_scan() -> MambaScan | None:
    """Import `selective_scan_fn` of mamba-ssm; None where it is missing, or built for another torch or without CUDA."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError, RuntimeError):
        return None
    found: MambaScan = selective_scan_fn
    return found


def scan_by_mamba(
    scan: MambaScan,
    u_NTD: Tensor,
    delta_NTD: Tensor,
    a_DS: Tensor,
    b_NTS: Tensor,
    c_NTS: Tensor,
    skip_D: Tensor,
) -> Tensor:
    """Return y_NTD of u's type: float32, bfloat16 or half; states and A are float32.

    mamba-ssm 2.3.2 wants u and delta [N, D, T], B and C [N, S, T], all of one type and frames
    innermost, A and D in float32. Delta is positive already, so no softplus of its own.
    """
    u_NDT, delta_NDT, b_NST, c_NST = (
        tensor.to(u_NTD.dtype).transpose(1, 2).contiguous()
        for tensor in (u_NTD, delta_NTD, b_NTS, c_NTS)
    )
    with torch.autocast("cuda", enabled=False):
        y_NDT = scan(u_NDT, delta_NDT, a_DS.float(), b_NST, c_NST, skip_D.float())
    return y_NDT.transpose(1, 2)
