"""How far the gradients of every family are from float64's: instruction sets x threads, the largest relative error.

    python -m benchmarks.gradients [FAMILY ...]     # half an hour on two cores; --few: what the tests look at

ONEDNN_MAX_CPU_ISA makes a processor take the code of an older one. Each cell is a process of its own for each
memory format, over models of 1 to 17 channels in and within, every stride, kernel and kind of temporal convolution,
random draws of the search space and the family's defaults. The last row is a family with the operation that ours no
longer use (benchmarks/faulty_family.py): it shows that the others would not look right if they were wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import torch

from benchmarks.faulty_family import NAME, FaultySizes
from gaitforge.gradients import Problem
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import FAMILIES
from search_spaces import SPACES
from trainers.arithmetic.check import Asked, Found, compare, find_typical_sizes

SETS = ("", "AVX2", "SSE41")
THREADS = (1, 2)
FORMATS = "channels_last", "contiguous_format"
CHANNELS = range(1, 18)
FEW = (1, 3, 4, 5, 7, 8)
DRAWN = 6
STRIDES = ((1, 2), (2, 1), (2, 2), (1, 3))
KERNELS = (1, 3, 5, 9)
LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
CPU_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", action="store_true")
    parser.add_argument("families", nargs="*", default=[*FAMILIES, NAME], metavar="FAMILY")
    options = parser.parse_args()
    names = [f"{name or 'own'}, {threads}" for name in SETS for threads in THREADS]
    print(f"{_processor()}, torch {torch.__version__}; columns: ONEDNN_MAX_CPU_ISA, threads\n")
    print("| family | models | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    FAMILIES[NAME] = FaultySizes
    for family in options.families:
        problems = few_problems(family) if options.few else tuple(all_problems(family))
        cells = [cell(family, problems, name, threads) for name in SETS for threads in THREADS]
        print(f"| {family} | {len(problems)} | " + " | ".join(cells) + " |", flush=True)


def cell(family: str, problems: tuple[Problem, ...], name: str, threads: int) -> str:
    """The larger error of both memory formats, or how a process ended."""
    found = [found_in(family, problems, name, threads, memory) for memory in FORMATS]
    died = [item.died for item in found if item.died]
    return died[0] if died else f"{max(item.error for item in found):.0e}"


def found_in(
    family: str, problems: tuple[Problem, ...], name: str, threads: int, memory: str
) -> Found:
    environment = {"ONEDNN_MAX_CPU_ISA": name} if name else {}
    limit = 20 if family == NAME else CPU_S
    return compare(
        Asked(family=family, problems=problems), threads, memory=memory, environment=environment, cpu_s=limit
    )  # fmt: skip


def all_problems(family: str) -> Iterator[Problem]:
    """A spread over what the family can be."""
    for channels in CHANNELS:
        for sizes in narrow(family, channels):
            yield _problem(sizes, LEGS if channels % 2 else LAYOUTS["coco17"], channels)
    if family in SPACES:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
        for _ in range(DRAWN):
            yield _problem(SPACES[family].suggest(study.ask()).as_dict(), LAYOUTS["coco17"], 3)
    yield _problem(FAMILIES[family]().as_dict(), LAYOUTS["kinect25"], 3)


def few_problems(family: str) -> tuple[Problem, ...]:
    """What the tests can afford."""
    return tuple(_problem(narrow(family, channels)[0], LEGS, channels) for channels in FEW)


def narrow(family: str, channels: int) -> list[dict[str, object]]:
    """Sizes whose maps are about so many channels wide."""
    strides, kernel = STRIDES[channels % len(STRIDES)], KERNELS[channels // 2 % len(KERNELS)]
    if family == "stgcn":
        return [
            {"widths": [channels, channels + 1], "strides": strides, "kernel": kernel, "temporal": temporal}
            for temporal in ("separable", "full")
        ]  # fmt: skip
    if family == "ctrgcn":
        return [{"widths": [4 * channels, 4 * channels + 4], "strides": strides, "kernel": kernel}]
    if family == "dynstg_mamba":
        filters = ("none", "static", "dynamic")
        return [
            {
                "widths": [channels, channels + 1], "strides": strides, "states": 4, "filter": filters[channels % 3],
                "bidirectional": channels % 2 == 0, "kalman": channels % 4 < 2,
            }
        ]  # fmt: skip
    if family == "tcn":
        return [{"channels": channels, "layers": 2, "kernel": kernel}]
    if family == NAME:
        return [{"width": channels}]
    return [
        dict(sizes) for sizes in find_typical_sizes(family)
    ]  # nobody has said what is narrow in it


def _problem(sizes: Mapping[str, Any], layout: Layout, channels: int) -> Problem:
    return Problem(sizes=dict(sizes), layout=layout.as_dict(), channels=channels, classes=3)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
