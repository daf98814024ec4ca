"""The selective scan on a CPU: the compiled loops of `scan_kernels.py` as an operation of torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba.core.errors import NumbaError
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gaitforge.models.scan_kernels import KEPT, LANES, compile_backward, compile_forward

# Windows go in at most this many runs, which threads share and whose gradients by A and D are summed in
# their order, so that the number of threads changes nothing.
RUNS = 16


def try_compiling() -> str:
    """Compile the loops for float32; return what went wrong, in one line, or nothing."""
    try:
        compile_forward("float32")
        compile_backward("float32")
    except (NumbaError, RuntimeError, OSError) as error:  # LLVM's own are RuntimeErrors
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def fused_scan(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    """Return y_NTD; all arguments of one type, float32 or float64. Uses `torch.get_num_threads()` threads."""
    arguments = (u_NTD, delta_NTD, a_DS, b_NTS, c_NTS, skip_D)
    # inside a Function nobody can tell whether a backward pass may follow
    keeps = torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments)
    y_NTD: Tensor = FusedScan.apply(keeps, *arguments)  # type: ignore[no-untyped-call]
    return y_NTD


class FusedScan(torch.autograd.Function):
    """One pass over the frames forwards, one backwards; never a tensor of N*T*D*S numbers."""

    @staticmethod
    def forward(
        ctx: Any,
        keeps: bool,
        u_NTD: Tensor,
        delta_NTD: Tensor,
        a_DS: Tensor,
        b_NTS: Tensor,
        c_NTS: Tensor,
        skip_D: Tensor,
    ) -> Tensor:
        windows, frames, channels = u_NTD.shape
        sequences = [tensor.contiguous() for tensor in (u_NTD, delta_NTD, b_NTS, c_NTS)]
        a_KSL, skip_KL = (
            _cut_into_lanes(a_DS.T).transpose(0, 1).contiguous(),
            _cut_into_lanes(skip_D),
        )
        kept = max(0, frames - 1) // KEPT if keeps else 0
        kept_NJKSL = u_NTD.new_empty(windows, kept, *a_KSL.shape)
        y_NTD = torch.empty_like(sequences[0])
        u, delta, b, c = map(_as_array, sequences)
        a, skip, kept_states, y = map(_as_array, (a_KSL, skip_KL, kept_NJKSL, y_NTD))
        kernel = compile_forward(_name_type(u_NTD))

        def run(number: int, start: int, stop: int) -> None:
            scratch = _make_scratch(y.dtype, a.shape[1:], *[(LANES,)] * 3)
            kernel(start, stop, u, delta, a, b, c, skip, y, kept_states, *scratch)

        _run_in_threads(run, windows)
        if keeps:
            ctx.save_for_backward(*sequences, a_KSL, skip_KL, kept_NJKSL)
        ctx.channels = channels
        return y_NTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy_NTD: Tensor) -> tuple[Tensor | None, ...]:
        u_NTD, delta_NTD, b_NTS, c_NTS, a_KSL, skip_KL, kept_NJKSL = ctx.saved_tensors
        gu_NTD, gdelta_NTD = torch.empty_like(u_NTD), torch.empty_like(u_NTD)
        gb_NTS, gc_NTS = torch.zeros_like(b_NTS), torch.zeros_like(c_NTS)
        ga_RKSL = a_KSL.new_zeros(RUNS, *a_KSL.shape)
        gskip_RKL = skip_KL.new_zeros(RUNS, *skip_KL.shape)
        u, delta, a, b, c, skip, kept = map(
            _as_array, (u_NTD, delta_NTD, a_KSL, b_NTS, c_NTS, skip_KL, kept_NJKSL)
        )
        gy, gu, gdelta, ga, gb, gc, gskip = map(
            _as_array,
            (gy_NTD.contiguous(), gu_NTD, gdelta_NTD, ga_RKSL, gb_NTS, gc_NTS, gskip_RKL),
        )
        kernel = compile_backward(_name_type(u_NTD))
        state = a.shape[1:]

        def run(number: int, start: int, stop: int) -> None:
            shapes = [(KEPT + 1, *state), (KEPT, *state), a.shape, a.shape, *[(LANES,)] * 5]
            grads = gu, gdelta, ga[number], gb, gc, gskip[number]
            scratch = _make_scratch(u.dtype, *shapes)
            kernel(start, stop, u, delta, a, b, c, skip, kept, gy, *grads, *scratch)

        _run_in_threads(run, u_NTD.shape[0])
        ga_SKL = ga_RKSL.sum(dim=0).transpose(0, 1)
        ga_DS = ga_SKL.flatten(1)[:, : ctx.channels].T
        gskip_D = gskip_RKL.sum(dim=0).flatten()[: ctx.channels]
        return None, gu_NTD, gdelta_NTD, ga_DS, gb_NTS, gc_NTS, gskip_D


def _cut_into_lanes(values: Tensor) -> Tensor:
    """Cut [..., D] into [..., K, LANES], padded with zeros."""
    padded = functional.pad(values.detach(), (0, -values.shape[-1] % LANES))
    return padded.reshape(*values.shape[:-1], -1, LANES)


def _run_in_threads(run: Callable[[int, int, int], None], windows: int) -> None:
    """Call run(number, start, stop) for all runs of windows, in threads where torch may use several."""
    edges = np.linspace(0, windows, min(RUNS, windows) + 1).astype(int).tolist()
    calls = [(number, *ends) for number, ends in enumerate(pairwise(edges))]
    threads = min(torch.get_num_threads(), len(calls))
    if threads <= 1:
        for call in calls:
            run(*call)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, *call) for call in calls]:
            done.result()


def _make_scratch(dtype: np.dtype[Any], *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [np.empty(shape, dtype) for shape in shapes]


def _as_array(tensor: Tensor) -> np.ndarray:
    """Return the same memory as a NumPy array."""
    array: np.ndarray = tensor.detach().numpy()
    return array


def _name_type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
