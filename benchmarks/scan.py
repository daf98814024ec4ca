"""How fast the selective scan is on one CPU thread, forward and backward, and how much memory it takes.

    python benchmarks/scan.py             # a few minutes; --memory or --speed: one of the two tables

Speed: the ways take turns within one run, and each row is a ratio of medians of this process's CPU time, which
other processes disturb less than wall time. Float32, uniform steps up to .1.

- naive loop: a[:, t] inside autograd; its backward pass writes a whole gradient for every frame, so it gets one
  window in sixteen, once, and its time is multiplied. That favours it: its tensors are smaller.
- unbind loop: the same, cut into frames once; also autograd's own backward pass.
- Function: `scan_torch.py`, torch's operations with a backward pass of their own.
- ours: `scan_cpu.py`. Compiling (once in a process) is timed apart.

Memory: what a process of its own takes at its peak (VmHWM) over what it had before the call, for one window of
22 joints, T frames, 128 channels, 16 states.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.process_status import read_status_kb
from gaitforge.models.scan_cpu import fused_scan
from gaitforge.models.scan_kernels import compile_backward, compile_forward
from gaitforge.models.scan_torch import stepwise_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
SHAPES = ((704, 64, 128, 16), (704, 64, 32, 8), (32, 256, 128, 8))  # N, T, D, S
FRAMES = (64, 256, 1000, 2000)
JOINTS, CHANNELS, STATES = 22, 128, 16
ROUNDS = 3
OURS_PER_ROUND = 3  # short calls: the median needs more of them
PART = 16  # the naive loop gets one window in so many


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "T"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        way, frames = options.peak
        print(peak_mb(WAYS[way], int(frames)))
        return
    both = not options.speed and not options.memory
    if options.speed or both:
        speed()
    if options.memory or both:
        memory()


def naive_loop(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    decay_NTDS = torch.exp(delta_NTD[..., None] * a_DS)
    input_NTDS = (delta_NTD * u_NTD)[..., None] * b_NTS[:, :, None]
    h_NDS = torch.zeros_like(decay_NTDS[:, 0])
    outputs = []
    for t in range(u_NTD.shape[1]):
        h_NDS = decay_NTDS[:, t] * h_NDS + input_NTDS[:, t]
        outputs.append((h_NDS @ c_NTS[:, t, :, None]).squeeze(-1))
    return torch.stack(outputs, dim=1) + skip_D * u_NTD


def unbind_loop(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    decay_NTDS = torch.exp(delta_NTD[..., None] * a_DS)
    input_NTDS = (delta_NTD * u_NTD)[..., None] * b_NTS[:, :, None]
    h_NDS = torch.zeros_like(decay_NTDS[:, 0])
    outputs = []
    frames = (decay_NTDS.unbind(1), input_NTDS.unbind(1), c_NTS.unbind(1))
    for decay_NDS, input_NDS, c_NS in zip(*frames, strict=True):
        h_NDS = decay_NDS * h_NDS + input_NDS
        outputs.append((h_NDS @ c_NS[..., None]).squeeze(-1))
    return torch.stack(outputs, dim=1) + skip_D * u_NTD


WAYS: dict[str, Scan] = {
    "naive": naive_loop,
    "unbind": unbind_loop,
    "Function": stepwise_scan,
    "ours": fused_scan,
}


def given(windows: int, frames: int, channels: int, states: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(windows, frames, channels, generator=generator),
        torch.rand(windows, frames, channels, generator=generator) * 0.1,
        -torch.arange(1.0, states + 1).repeat(channels, 1),
        torch.randn(windows, frames, states, generator=generator),
        torch.randn(windows, frames, states, generator=generator),
        torch.ones(channels),
    ]


def cpu_seconds(scan: Scan, values: list[Tensor]) -> float:
    """One forward and backward pass, with gradients of every argument."""
    leaves = [value.clone().requires_grad_() for value in values]
    start = time.process_time()
    y = scan(*leaves)
    y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]
    return time.process_time() - start


def speed() -> None:
    start = time.process_time()
    compile_forward("float32")
    compile_backward("float32")
    print(f"compiled for float32 in {time.process_time() - start:.1f} s of CPU time\n")
    print("| N, T, D, S | naive loop | unbind loop | Function of torch | ours | ours, seconds |")
    print("|---|---|---|---|---|---|")
    for shape in SHAPES:
        values = given(*shape)
        few = [value[: shape[0] // PART] if value.dim() == 3 else value for value in values]
        naive = cpu_seconds(naive_loop, few) * shape[0] / (shape[0] // PART)
        times: dict[str, list[float]] = {"unbind": [], "Function": [], "ours": []}
        for _ in range(ROUNDS):
            for name, seconds in times.items():
                for _ in range(OURS_PER_ROUND if name == "ours" else 1):
                    seconds.append(cpu_seconds(WAYS[name], values))
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        ours = medians["ours"]
        print(
            f"| {', '.join(map(str, shape))} | {naive / ours:.0f} | {medians['unbind'] / ours:.1f} | "
            f"{medians['Function'] / ours:.1f} | 1 | {ours:.3f} |",
            flush=True,
        )
    print()


def peak_mb(scan: Scan, frames: int) -> float:
    """Of this process, over what it has before the call."""
    cpu_seconds(scan, given(1, 3, 4, 2))  # compiled, libraries loaded
    values = given(JOINTS, frames, CHANNELS, STATES)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = read_status_kb("VmRSS")
    cpu_seconds(scan, values)
    return (read_status_kb("VmHWM") - before) / 1024


def memory() -> None:
    print(
        "| T | inputs, output and their gradients | all of N*T*D*S once | Function of torch | ours |"
    )
    print("|---|---|---|---|---|")
    for frames in FRAMES:
        each = JOINTS * frames * CHANNELS * 4 / 2**20
        sequences = 6 * each + 4 * JOINTS * frames * STATES * 4 / 2**20
        peaks = [
            float(
                subprocess.run(
                    [sys.executable, __file__, "--peak", way, str(frames)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for way in ("Function", "ours")
        ]
        print(
            f"| {frames} | {sequences:.0f} MB | {each * STATES:.0f} MB | {peaks[0]:.0f} MB | {peaks[1]:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
