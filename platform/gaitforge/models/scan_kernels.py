"""The selective scan as two loops that numba compiles: forward, and backward.

Symbols as in `scan.py`. Channels are cut into K blocks of LANES (the last is padded with zeros), so that the
innermost loop has a length known to the compiler and becomes vector instructions; a_KSL, skip_KL are the
padded A and D. The state h_SL of one window and block stays in the cache while the loop runs over its
frames. Nothing of the size N*T*D*S exists: the backward pass has the state of every KEPT-th frame, goes
through KEPT frames forwards to have their states again, and then backwards through them.

With g_t the derivative of the loss by h_t (and gy_t by y_t),

    g_t = C_t gy_t + exp(delta_(t+1) A) g_(t+1)
    q_t = exp(delta_t A) g_t h_(t-1)
    derivative by   u_t = D gy_t + delta_t sum_S(g_t B_t)       B_t = sum_D(g_t delta_t u_t)
                delta_t = sum_S(q_t A) + u_t sum_S(g_t B_t)     C_t = sum_D(gy_t h_t)
                      A = sum_NT(q_t delta_t)                     D = sum_NT(gy_t u_t)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba.extending import overload

LANES = 64  # four vectors of 16 float32 (AVX-512); 32 and 128 are no faster for 128 channels
KEPT = 32  # frames between kept states: they take D*S/32 a frame, and 32 frames of a block fit an L2 cache

# Sums may be reordered into vectors and products fused into sums; NaN and infinity stay what they are.
LOOPS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz"}, "error_model": "numpy"}
# Reordering would undo the rounding that exp32 relies on.
EXACT: Any = {"fastmath": {"contract"}, "error_model": "numpy"}

Float = np.float32
# exp(x) = 2**n exp(r) with x = n ln 2 + r; constants of Cephes' expf (Moshier 1989), error about 1 ulp
LOG2_E, LN2_HIGH, LN2_LOW = Float(1.44269504), Float(0.693359375), Float(-2.12194440e-4)
P5, P4, P3 = Float(1.9875691500e-4), Float(1.3981999507e-3), Float(8.3334519073e-3)
P2, P1, P0 = Float(4.1665795894e-2), Float(1.6666665459e-1), Float(5.0000001201e-1)
ONE = Float(1)
ROUND = Float(3 << 22)  # float32 of this size have no places behind the point
LEAST, MOST = Float(-88.1), Float(88.0)  # below, 2**n is 0; above, it is no float32
BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


def exp(x: float) -> float:
    """Return e ** x; in the loops numba takes `exp32` or `exp64` for it."""
    return math.exp(x)


@overload(exp, jit_options=EXACT)
def _exp(x: Any) -> Callable[..., float]:
    """Give float32 an exp without a branch or a call, which would keep the loop round it from becoming vectors."""

    def exp32(x: Any) -> Any:
        x = LEAST if x < LEAST else x
        x = MOST if x > MOST else x
        rounded = x * LOG2_E + ROUND
        n = rounded - ROUND
        r = x - n * LN2_HIGH - n * LN2_LOW
        p = ((((P5 * r + P4) * r + P3) * r + P2) * r + P1) * r + P0
        power = (Float(rounded).view(np.int32) + BIAS) << MANTISSA_BITS  # the bits of 2**n
        return (p * r * r + r + ONE) * np.int32(power).view(np.float32)

    def exp64(x: Any) -> Any:
        return math.exp(x)

    return exp32 if x == numba.float32 else exp64


def _forward(
    start: int, stop: int, u_NTD: Any, delta_NTD: Any, a_KSL: Any, b_NTS: Any, c_NTS: Any, skip_KL: Any,
    y_NTD: Any, kept_NJKSL: Any, h_SL: Any, delta_L: Any, x_L: Any, y_L: Any,
) -> None:  # fmt: skip
    """Fill y_NTD, and kept_NJKSL where it has room, of the windows from `start` to `stop`; the rest is scratch."""
    frames, channels = u_NTD.shape[1:]
    blocks, states = a_KSL.shape[:2]
    keeps = kept_NJKSL.shape[1] > 0
    for block in range(blocks):
        first = block * LANES
        lanes = min(LANES, channels - first)
        for k in range(lanes, LANES):
            delta_L[k] = 0
            x_L[k] = 0
            y_L[k] = 0
        for n in range(start, stop):
            for s in range(states):
                for k in range(LANES):
                    h_SL[s, k] = 0
            for t in range(frames):
                if keeps and t > 0 and t % KEPT == 0:
                    for s in range(states):
                        for k in range(LANES):
                            kept_NJKSL[n, t // KEPT - 1, block, s, k] = h_SL[s, k]
                for k in range(lanes):
                    u = u_NTD[n, t, first + k]
                    delta_L[k] = delta_NTD[n, t, first + k]
                    x_L[k] = delta_L[k] * u  # delta_t u_t
                    y_L[k] = skip_KL[block, k] * u
                for s in range(states):
                    b = b_NTS[n, t, s]
                    c = c_NTS[n, t, s]
                    # h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t, y_t = sum_S(C_t h_t) + D u_t
                    for k in range(LANES):
                        h = exp(delta_L[k] * a_KSL[block, s, k]) * h_SL[s, k] + x_L[k] * b
                        h_SL[s, k] = h
                        y_L[k] += h * c
                for k in range(lanes):
                    y_NTD[n, t, first + k] = y_L[k]


def _backward(
    start: int, stop: int, u_NTD: Any, delta_NTD: Any, a_KSL: Any, b_NTS: Any, c_NTS: Any, skip_KL: Any,
    kept_NJKSL: Any, gy_NTD: Any, gu_NTD: Any, gdelta_NTD: Any, ga_KSL: Any, gb_NTS: Any, gc_NTS: Any, gskip_KL: Any,
    h_ISL: Any, decay_ISL: Any, carry_KSL: Any, ga1_KSL: Any,
    delta_L: Any, x_L: Any, gy_L: Any, gx_L: Any, gdelta_L: Any,
) -> None:  # fmt: skip
    """Fill gu and gdelta of the windows from `start` to `stop`, add to the other g's; from h_ISL on all is scratch."""
    frames, channels = u_NTD.shape[1:]
    blocks, states = a_KSL.shape[:2]
    for n in range(start, stop):
        for block in range(blocks):
            for s in range(states):
                for k in range(LANES):
                    carry_KSL[block, s, k] = 0
                    ga1_KSL[block, s, k] = 0
        for part in range((frames - 1) // KEPT, -1, -1):
            begin = part * KEPT
            length = min(KEPT, frames - begin)
            for block in range(blocks):
                first = block * LANES
                lanes = min(LANES, channels - first)
                for k in range(lanes, LANES):  # else those of the block before
                    delta_L[k] = 0
                    x_L[k] = 0
                    gy_L[k] = 0
                for s in range(states):
                    for k in range(LANES):
                        h_ISL[0, s, k] = kept_NJKSL[n, part - 1, block, s, k] if part > 0 else 0
                for i in range(length):
                    for k in range(lanes):
                        delta_L[k] = delta_NTD[n, begin + i, first + k]
                        x_L[k] = delta_L[k] * u_NTD[n, begin + i, first + k]
                    for s in range(states):
                        b = b_NTS[n, begin + i, s]
                        for k in range(LANES):
                            decay = exp(delta_L[k] * a_KSL[block, s, k])
                            decay_ISL[i, s, k] = decay
                            h_ISL[i + 1, s, k] = decay * h_ISL[i, s, k] + x_L[k] * b
                for back in range(length):
                    i = length - 1 - back
                    t = begin + i
                    for k in range(lanes):
                        delta_L[k] = delta_NTD[n, t, first + k]
                        x_L[k] = delta_L[k] * u_NTD[n, t, first + k]
                        gy_L[k] = gy_NTD[n, t, first + k]
                    for k in range(LANES):
                        gx_L[k] = 0
                        gdelta_L[k] = 0
                    for s in range(states):
                        b = b_NTS[n, t, s]
                        c = c_NTS[n, t, s]
                        gb = b * 0
                        gc = c * 0
                        # g_t = C_t gy_t + exp(delta_(t+1) A) g_(t+1), q_t = exp(delta_t A) g_t h_(t-1)
                        for k in range(LANES):
                            g = c * gy_L[k] + carry_KSL[block, s, k]
                            gc += gy_L[k] * h_ISL[i + 1, s, k]
                            gb += g * x_L[k]
                            gx_L[k] += g * b
                            g *= decay_ISL[i, s, k]
                            carry_KSL[block, s, k] = g
                            q = g * h_ISL[i, s, k]
                            gdelta_L[k] += q * a_KSL[block, s, k]
                            ga1_KSL[block, s, k] += q * delta_L[k]
                        gb_NTS[n, t, s] += gb
                        gc_NTS[n, t, s] += gc
                    for k in range(lanes):
                        u = u_NTD[n, t, first + k]
                        gu_NTD[n, t, first + k] = (
                            skip_KL[block, k] * gy_L[k] + delta_L[k] * gx_L[k]
                        )
                        gdelta_NTD[n, t, first + k] = gdelta_L[k] + u * gx_L[k]
                        gskip_KL[block, k] += gy_L[k] * u
        for block in range(blocks):  # summed window by window: float32 loses less
            for s in range(states):
                for k in range(LANES):
                    ga_KSL[block, s, k] += ga1_KSL[block, s, k]


@cache
def compile_forward(real: str) -> Callable[..., None]:
    """Compile `_forward` for "float32" or "float64"; about a second."""
    return _compile(_forward, real, dimensions=(3, 3, 3, 3, 3, 2, 3, 5, 2, 1, 1, 1))


@cache
def compile_backward(real: str) -> Callable[..., None]:
    """Compile `_backward` for "float32" or "float64"; a few seconds."""
    return _compile(
        _backward,
        real,
        dimensions=(3, 3, 3, 3, 3, 2, 5, 3, 3, 3, 3, 3, 3, 2, 3, 3, 3, 3, 1, 1, 1, 1, 1),
    )


def _compile(
    loops: Callable[..., None], real: str, dimensions: tuple[int, ...]
) -> Callable[..., None]:
    kind = getattr(numba, real)
    arrays = [numba.types.Array(kind, count, "C") for count in dimensions]
    signature = numba.void(numba.intp, numba.intp, *arrays)
    # nogil: threads share the windows. No cache on disk: numba's would be pickles.
    compiled: Callable[..., None] = numba.njit(signature, nogil=True, **LOOPS)(loops)
    return compiled
