"""How many machines a run asks for, and of which size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gaitforge.settings import RunSettings

ROUNDING = 1e-6  # 10 students of a tenth of a GPU fill it, whatever the sum of tenths is


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The machines that a run is given, besides its head; all of one size."""

    nodes: int  # at most
    fewest: int  # of them at first, where the cluster grows by itself
    cpus: int  # of each
    gpus: int  # of each


def plan_fleet(settings: RunSettings, nodes: int | None, cpus: int, gpus: int | None) -> Fleet:
    """Work out the fleet that a run asks for: as many nodes as its trials and teacher workers need at once.

    Raises ValueError where one trial, or the fewest teacher workers, would never fit.
    """
    cluster, (fewest, most) = settings.cluster, settings.teacher.worker_range
    trial_gpus = 0.0 if cluster.gpus_per_trial == "auto" else cluster.gpus_per_trial
    worker_gpus = 0.0 if cluster.gpus_per_worker == "auto" else cluster.gpus_per_worker
    if gpus is None:
        gpus = math.ceil(max(trial_gpus, worker_gpus))
    if cluster.gpus_per_worker == "auto" and gpus:
        worker_gpus = 1.0
    if cpus < 1 or gpus < 0:
        raise ValueError(
            f"A node has {cpus} cores and {gpus} GPUs, but must have at least 1 and 0."
        )
    node = Node(name="any", cores=cpus, gpus=gpus)
    trials, workers = (
        node.count_fitting(cluster.cpus_per_trial, trial_gpus),
        node.count_fitting(1, worker_gpus),
    )
    if not trials or not workers:
        raise ValueError(
            f"A node of {cpus} cores and {gpus} GPUs holds no trial of {cluster.cpus_per_trial} cores and "
            f"{trial_gpus:g} GPUs, or no teacher worker of {worker_gpus:g} GPUs; give larger nodes with --cpus and "
            "--gpus."
        )
    if nodes is not None and nodes < 1:
        raise ValueError(
            f"There are {nodes} nodes besides the head, but there must be at least 1."
        )
    if nodes is None:
        # as many trials as fit: two, since one machine needs no cluster
        searching = 2 if cluster.concurrent is None else math.ceil(cluster.concurrent / trials)
        nodes = max(searching, math.ceil(most / workers))
    if nodes * workers < fewest:
        raise ValueError(
            f"{nodes} nodes of {cpus} cores and {gpus} GPUs hold {nodes * workers} teacher workers, but "
            f"teacher.workers asks for {fewest}; give more with --nodes, --cpus or --gpus."
        )
    at_first = max(1, math.ceil(fewest / workers)) if cluster.autoscales else nodes
    return Fleet(nodes=nodes, fewest=at_first, cpus=cpus, gpus=gpus)


@dataclass(frozen=True, slots=True)
class Node:
    """All that Ray may give away of one node, in use or not."""

    name: str
    cores: float
    gpus: float
    id: str = ""  # Ray's

    def count_fitting(self, cores: float, gpus: float = 0.0) -> int:
        """Count the requests of so many cores and GPUs that it can meet at a time."""
        by_cores = math.floor(self.cores / cores + ROUNDING)
        if gpus <= 0:
            return by_cores
        # no share of a GPU may come from two of them
        of_one = math.floor(1 / gpus + ROUNDING)
        by_gpus = int(self.gpus) * of_one if of_one else math.floor(self.gpus / gpus + ROUNDING)
        return min(by_cores, by_gpus)
