"""Nodes with a GPU that torch cannot use: refused, since all would be trained there on one core in silence."""

from __future__ import annotations

import socket

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ANSWER_S = 60.0  # a worker that loads torch from a slow disk
SLIVER = 0.001  # of a GPU


def check_gpus(gpus: float) -> None:
    """Ask every node that has GPUs whether torch can use them, where `gpus` of them are to be used.

    Raises ValueError where one cannot. A node whose GPUs are all taken, or that comes later, is told by
    its workers (`refuse_blind`).
    """
    if gpus <= 0:
        return
    # a sliver of a GPU, without which a worker may have had them hidden from it
    look = ray.remote(num_cpus=0, num_gpus=SLIVER, max_retries=0)(explain_blind_gpu)
    asked = [
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("GPU", 0) > 0
    ]
    if not asked:
        return
    ready, silent = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
    for answer in silent:
        ray.cancel(answer)
    for answer in ready:
        try:
            fault: str = ray.get(answer)
        except ray.exceptions.RayError:
            continue  # a node that is lost just now
        if fault:
            raise ValueError(fault)


def refuse_blind() -> None:
    """Raise ValueError in a worker to which Ray gave a GPU, or a share of one, that torch cannot use."""
    assigned: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    if assigned.get("GPU", 0.0) > 0 and (fault := explain_blind_gpu()):
        raise ValueError(fault)


def explain_blind_gpu() -> str:
    """Return why torch cannot use this machine's GPU, in a sentence; "" where it can."""
    if torch.cuda.is_available():
        return ""
    why = "was built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
    return (
        f"Ray counts a GPU on {socket.gethostname()}, but torch {torch.__version__} there {why}; install a CUDA "
        "build of torch that its driver can run, or set cluster.gpus_per_trial = 0 and cluster.gpus_per_worker = 0 "
        "to train on the CPU."
    )
