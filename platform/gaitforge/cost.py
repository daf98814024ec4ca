"""What a model costs: parameters and MACs before it is trained, latency and bytes after."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models import Sizes

# defined, with the formula of its operations, where the models' scan is
SCAN = torch.ops.gaitforge.selective_scan


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Learnable parameters, multiply-accumulates of one window in evaluation, bytes of the weights' file."""

    params: int
    macs: int
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Milliseconds per call, median and 95th percentile."""

    p50: float
    p95: float


def count(sizes: Sizes, layout: Layout, channels: int, classes: int, frames: int) -> Cost:
    """Count parameters and MACs of a model that is never allocated (meta device).

    MACs are half the operations that torch's FlopCounterMode sees, convolutions and matrix
    products, einsum among them, and the selective scans, by models/scan.py's formula. Normalisation,
    activations and pooling are not counted.
    """
    return _count(sizes, layout, channels, classes, frames)[0]


def scan_macs(sizes: Sizes, layout: Layout, channels: int, classes: int, frames: int) -> int:
    """Count those of `count`'s MACs that are selective scans, which other tools do not see."""
    return _count(sizes, layout, channels, classes, frames)[1]


def latency_ms(session_run: Callable[[], object], repeats: int = 200, warmup: int = 20) -> Latency:
    """Measure the wall time of a call; `warmup` calls go before the `repeats` that are timed.

    Raises ValueError where nothing would be timed.
    """
    if repeats < 1:
        raise ValueError(f"Latency over {repeats} calls is undefined; time at least 1.")
    for _ in range(warmup):
        session_run()
    elapsed_ms = np.empty(repeats)
    for number in range(repeats):
        start_ns = time.perf_counter_ns()
        session_run()
        elapsed_ms[number] = (time.perf_counter_ns() - start_ns) / 1e6
    p50, p95 = np.percentile(elapsed_ms, (50, 95))
    return Latency(p50=float(p50), p95=float(p95))


def checkpoint_bytes(model: nn.Module) -> int:
    """Return the size of the model's safetensors file, also of a model that was never allocated."""
    blank = {
        name: torch.empty(value.shape, dtype=value.dtype, device="cpu")
        for name, value in model.state_dict().items()
    }
    return len(safetensors.torch.save(blank))


def _count(
    sizes: Sizes, layout: Layout, channels: int, classes: int, frames: int
) -> tuple[Cost, int]:
    with torch.device("meta"):
        model = sizes.build(layout, channels, classes).eval().requires_grad_(False)
        window = Batch(
            joints_BTVC=torch.empty(1, frames, layout.joint_count, channels),
            seen_BTV=torch.empty(1, frames, layout.joint_count, dtype=torch.bool),
        )
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(window)
    params = sum(parameter.numel() for parameter in model.parameters())
    macs = counter.get_total_flops() // 2
    scan = counter.get_flop_counts()["Global"].get(SCAN, 0) // 2
    return Cost(params=params, macs=macs, bytes=checkpoint_bytes(model)), scan
