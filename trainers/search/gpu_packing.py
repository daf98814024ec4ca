"""Measure in a few steps what a student takes of a GPU, and work out how many can share one; uses no Ray."""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from gaitforge.records.search import Need
from trainers.training.examples import load_taught
from trainers.training.loop import EpochMetrics, fit
from trainers.training.student import StudentSpec, new_student

STEPS = 16  # of each measured epoch, where there are windows for so many
TIMED = 3  # measured epochs; the median counts
HEADROOM = 0.1  # of the memory left free: students differ, and freed blocks lie scattered
MOST = (
    64  # students on a GPU: each holds a context of some hundred MB, and is one more to schedule
)


class Packed(NamedTuple):
    """How many students share a GPU, and what keeps it from holding more."""

    students: int
    limit: str


def pack(need: Need, cores_per_gpu: int, cpus_per_trial: int = 1) -> Packed:
    """Return how many students fit a GPU's memory, its time and the CPU cores beside it.

    Processes take turns on a device, so a full one gains nothing from another student; the last is
    worth it where at least half of the time that it needs is still free. Raises ValueError where not
    even one fits.
    """
    if need.bytes > need.device_bytes:
        raise ValueError(
            f"The largest student that the search may try takes {say_gigabytes(need.bytes)} GB of memory, but "
            f"{need.device} has {say_gigabytes(need.device_bytes)} GB; lower search.fit.batch or the search's budget "
            "(max_macs), or set cluster.gpus_per_trial = 0 to train on the CPU."
        )
    busy = 1.0 if need.busy is None else need.busy
    fits = [
        (max(1, int(need.device_bytes * (1 - HEADROOM) / need.bytes)), "its memory"),
        (MOST if busy <= 1 / MOST else max(1, math.floor(1 / busy + 0.5)), "its time"),
        (max(1, cores_per_gpu // cpus_per_trial), "the cores beside it"),
        (MOST, "the most that is tried"),
    ]
    return Packed(*min(fits, key=lambda fit: fit[0]))


def compute_share(students: int) -> float:
    """Return the share of a GPU that each of so many students gets, rounded down to Ray's steps of 0.0001."""
    return 10_000 // students / 10_000


def describe(need: Need, packed: Packed) -> str:
    """Say `8 students share a GPU (NVIDIA H200): 1.2 GB and 11 % of its time each, limited by its time`."""
    count = packed.students
    who = f"{count} students share a GPU" if count > 1 else "One student at a time has a GPU"
    part = (
        "time that cannot be read" if need.busy is None else f"{100 * need.busy:.0f} % of its time"
    )
    return f"{who} ({need.device}): {say_gigabytes(need.bytes)} GB and {part} each, limited by {packed.limit}"


def say_gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"


def measure_students(specs: Sequence[StudentSpec]) -> Need:
    """Measure these students one after the other in this process, as in a search; return the most that any takes."""
    needs = [measure_student(spec) for spec in specs]
    busy = [need.busy for need in needs]
    return dataclasses.replace(
        needs[-1],
        bytes=max(need.bytes for need in needs),
        outside_bytes=max(need.outside_bytes for need in needs),
        step_s=max(need.step_s for need in needs),
        busy=None if None in busy else max(share for share in busy if share is not None),
    )


def measure_student(spec: StudentSpec) -> Need:
    """Train a student for a few epochs of a few steps, and return what it takes of the device.

    This process must have the device to itself. All the student's windows are on it, as they are in a
    trial. Raises ValueError where they do not fit the device's memory.
    """
    try:
        return _measure(spec)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"A {spec.family} student that the search may try does not fit the memory of "
            f"{torch.cuda.get_device_name()} ({str(error).splitlines()[0].rstrip('.')}); lower search.fit.batch or the "
            "search's budget (max_macs), or set cluster.gpus_per_trial = 0 to train on the CPU."
        ) from error


def _measure(spec: StudentSpec) -> Need:
    host_bytes = _peak_host_bytes()
    train, valid = load_taught(spec.windows, spec.teacher_outputs, spec.distillation.terms)
    # the first windows may be of one class, which cannot be balanced
    plan = dataclasses.replace(spec.plan, epochs=TIMED + 2, balance=False)
    some = train.take_first(STEPS * plan.batch)
    fitting = new_student(dataclasses.replace(spec, plan=plan))
    device = next(fitting.model.parameters()).device
    epochs = fit(
        fitting,
        some,
        valid.take_first(max(1, len(valid) * len(some) // len(train))),
        spec.distillation,
    )
    next(epochs)  # loads kernels, chooses convolutions, fills torch's pool
    epoch_s = statistics.median(next(epochs).seconds for _ in range(TIMED))
    step_s = epoch_s / math.ceil(len(some) / plan.batch)
    if device.type == "cpu":
        return Need(
            device="CPU", device_bytes=_host_bytes(), bytes=max(_peak_host_bytes() - host_bytes, 1),
            outside_bytes=0, step_s=step_s, busy=1.0,
        )  # fmt: skip
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    outside = max(total - free - reserved, 0)
    used = torch.cuda.max_memory_reserved(device) + outside
    busy_s = _kernel_s(epochs)  # last, since recording takes memory of the device too
    return Need(
        device=torch.cuda.get_device_name(device),
        device_bytes=total,
        bytes=used,
        outside_bytes=outside,
        step_s=step_s,
        busy=None if busy_s is None else min(busy_s / epoch_s, 1.0),
    )


def measure_covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length that these spans cover together, counting overlaps once."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _kernel_s(epochs: Iterator[EpochMetrics]) -> float | None:
    """Return the seconds of the next epoch in which the device computes or copies; None where it does not say.

    Recording costs the host time and the device none, so the epoch's own time is taken without it.
    """
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as recorded:
        next(epochs)
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in recorded.events() or []
        # what Python has named spans the gaps between its kernels too
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    return measure_covered(spans) / 1e6 if spans else None


def _peak_host_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux


def _host_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
