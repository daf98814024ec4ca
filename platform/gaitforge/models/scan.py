"""selective_scan: the recurrence of a selective state space (Mamba), by the fastest way that is at hand.

Gu and Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", sec. 3. For each window and
joint n, channel d and state s,

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t        h_0 = 0 before the first frame
    y_t = sum over s of (C_t h_t) + D u_t

A < 0 and delta >= 0, so that every factor of h lies in [0, 1] and nothing can grow without bound, however long the
recording. The step of B is Euler's (delta B), as in Mamba's code; its paper derives the exact one.

Letters, besides those of `layout.py`: N windows times joints, D channels, S states of a channel; u_NTD what goes
in, delta_NTD the step, a_DS, b_NTS, c_NTS, skip_D.

| where | how | stored for the backward pass, per window, frame and channel |
|---|---|---|
| CPU | `scan_cpu.py`, two loops compiled by numba | S/32 numbers (as if D were a multiple of 64) |
| CUDA with mamba-ssm | `scan_cuda.py`, float32, bfloat16, half | copies of the inputs, and 2S per 2,048 frames begun |
| else | `scan_torch.py`, torch's operations frame by frame | S numbers |
| ONNX export | `scan_torch.py`, a fixed T, any batch | nothing |

All have the same parameters and agree within 1e-5 of the largest value in float32; mamba-ssm holds itself to 2e-3
in float32 and 5e-2 in bfloat16.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from gaitforge.models.scan_cuda import MOST_STATES, find_mamba_scan, scan_by_mamba
from gaitforge.models.scan_torch import exportable_scan, stepwise_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def selective_scan(
    u_NTD: Tensor,
    delta_NTD: Tensor,
    a_DS: Tensor,
    b_NTS: Tensor,
    c_NTS: Tensor,
    skip_D: Tensor,
) -> Tensor:
    """Return y_NTD of u's type; every argument may need gradients.

    16-bit numbers are computed in float32, except by mamba-ssm, which keeps only the states so. One
    window's y depends neither on the other windows nor on the number of threads, to the last bit on a CPU.
    Raises ValueError for shapes that do not fit and for numbers that are not real.
    """
    arguments = (u_NTD, delta_NTD, a_DS, b_NTS, c_NTS, skip_D)
    if torch.compiler.is_exporting():
        return exportable_scan(*arguments)
    _check(*arguments)
    if u_NTD.is_meta:
        counted: Tensor = torch.ops.gaitforge.selective_scan(*arguments)
        return counted
    if u_NTD.is_cuda and u_NTD.dtype != torch.float64 and a_DS.shape[1] <= MOST_STATES:
        kernel = find_mamba_scan()
        if kernel is not None:
            return scan_by_mamba(kernel, *arguments)
        _say_once(
            "mamba-ssm is not here, so the scan runs in plain torch on the GPU, many times slower: "
            'pip install --no-build-isolation "gaitforge[gpu]".'
        )
    real = torch.float64 if u_NTD.dtype == torch.float64 else torch.float32
    scan = _find_fused_scan() if u_NTD.device.type == "cpu" else stepwise_scan
    # else torch would multiply in 16 bits inside the fallback
    with torch.autocast(u_NTD.device.type, enabled=False):
        return scan(*(argument.to(real) for argument in arguments)).to(u_NTD.dtype)


@cache
def _find_fused_scan() -> Scan:
    """Return the compiled loops, or the same in torch where numba is missing or cannot compile them."""
    try:
        from gaitforge.models.scan_cpu import fused_scan, try_compiling
    except (ImportError, OSError) as error:  # OSError: llvmlite is there, its library is not
        _say_once(
            f"The scan runs in plain torch, many times slower: numba is missing or broken ({error})."
        )
        return stepwise_scan
    failure = try_compiling()
    if failure:
        _say_once(
            f"The scan runs in plain torch, many times slower: numba cannot compile it ({failure})."
        )
        return stepwise_scan
    return fused_scan


@cache
def _say_once(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _check(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> None:
    if u_NTD.dim() != 3 or a_DS.dim() != 2:
        raise ValueError(
            f"selective_scan got u of shape {tuple(u_NTD.shape)} and A of {tuple(a_DS.shape)}, but they must "
            "be [N, T, D] and [D, S]."
        )
    windows, frames, channels = u_NTD.shape
    states = a_DS.shape[1]
    wanted = {
        "delta": (delta_NTD, (windows, frames, channels)),
        "A": (a_DS, (channels, states)),
        "B": (b_NTS, (windows, frames, states)),
        "C": (c_NTS, (windows, frames, states)),
        "D": (skip_D, (channels,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(
                f"selective_scan got {name} of shape {tuple(tensor.shape)}, but beside u of "
                f"{tuple(u_NTD.shape)} it must be {shape}."
            )
    for name, tensor in {
        "u": u_NTD,
        **{name: given for name, (given, _) in wanted.items()},
    }.items():
        if not tensor.is_floating_point():
            raise ValueError(
                f"selective_scan got {name} of {tensor.dtype}, but it must be a real number."
            )


# On the meta device, where a model is counted before it exists, the scan is one operator.
torch.library.define(
    "gaitforge::selective_scan",
    "(Tensor u, Tensor delta, Tensor a, Tensor b, Tensor c, Tensor skip) -> Tensor",
)


@torch.library.register_fake("gaitforge::selective_scan")  # type: ignore[untyped-decorator]
def _make_like_u(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor
) -> Tensor:
    return torch.empty_like(u)


@register_flop_formula(torch.ops.gaitforge.selective_scan)
def _count_operations(
    u_shape: torch.Size, delta_shape: torch.Size, a_shape: torch.Size, *_: object, **__: object
) -> int:
    """Return twice the multiply-accumulates: 4 per state (delta A, the decay, the input, C h) and 2 per channel."""
    windows, frames, channels = u_shape
    return 2 * windows * frames * channels * (4 * a_shape[1] + 2)
