"""`gaitforge doctor`: what is installed, what the machine has, what is missing and what to type."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = (
    "ray",
    "torch",
    "optuna",
    "numpy",
    "pyarrow",
    "deltalake",
    "onnx",
    "onnxruntime",
    "streamlit",
    "altair",
)


def examine(settings: Path | None) -> int:
    """Print the findings; 0 where the work can start, 1 where something is missing."""
    faults = 0
    print(f"python {platform.python_version()}, {os.cpu_count()} cores")
    for name in PACKAGES:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            faults += 1
            print(f"{name} is missing: pip install {name}")
    _examine_gpu()
    if settings is not None:
        _examine_settings(settings)
    return 1 if faults else 0


def _examine_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        print(f"GPU: {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    else:
        print("GPU: none, so everything runs on the CPU")
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        print(
            "mamba-ssm: not installed; only needed on a GPU (pip install --no-build-isolation 'gaitforge[gpu]')"
        )
    else:
        print(f"mamba-ssm: {selective_scan_fn.__module__}")


def _examine_settings(path: Path) -> None:
    from gaitforge.settings import read_settings
    from trainers.cluster import concurrent_trials, connect, gpus_per_trial, nodes
    from trainers.pipeline import Line

    settings = read_settings(path)
    Line(settings).check()
    print(f"{path}: good, work folder {settings.work} can be written")
    connect(settings.cluster, Path(settings.work))
    print(
        f"cluster {settings.cluster.address}: {sum(node.cores for node in nodes()):g} cores, "
        f"{concurrent_trials(settings.cluster, gpus_per_trial(settings.cluster))} trials at a time"
    )
