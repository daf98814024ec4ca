"""The share of a GPU that each student of a search gets: measured once on a worker, kept in a file, and enforced."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import ray
import torch

from gaitforge.cost import Cost
from gaitforge.extensions import load_extensions
from gaitforge.models import Sizes, with_streams
from gaitforge.recipe import Distillation
from gaitforge.records.search import PACKING, Need, Packing
from gaitforge.settings import JOINTS_ALONE, ClusterSettings, SearchSettings, as_dict
from gaitforge.work import SplitFolder, fingerprint
from search_spaces import SPACES, suggest_sizes
from trainers.cluster.blind_gpus import explain_blind_gpu, refuse_blind
from trainers.cluster.connection import gpus_per_trial, wait_for_room
from trainers.cluster.deaths import LIVES
from trainers.search.budget import Budget
from trainers.search.gpu_packing import compute_share, describe, measure_students, pack
from trainers.terminal.say import say
from trainers.training.student import StudentSpec
from trainers.training.window_folder import NodeData, WindowFolder

DRAWN = 100  # students of each family, of which the one with the most work is measured
KIND = "accelerator_type:"  # begins Ray's name of a kind of GPU, among a node's resources


def find_gpu_share(
    cluster: ClusterSettings,
    settings: SearchSettings,
    budget: Budget,
    count_cost: Callable[[Sizes], Cost],
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
) -> float:
    """Return each student's share of a GPU: the one that the settings name, else as small as a GPU has room for.

    The largest student of each family is measured on each kind of GPU; the kind that holds the fewest
    decides, and `search/packing.json` keeps what was measured. 0 where the cluster has no GPU. Raises
    ValueError where a student does not fit, or where torch cannot use what Ray counts as a GPU.
    """
    kinds = list_gpu_kinds(ray.nodes())  # type: ignore[no-untyped-call]
    if cluster.gpus_per_trial != "auto" or not kinds:
        return gpus_per_trial(cluster)
    path = packing_file(folder)
    identity = fingerprint(
        {
            "families": list(settings.families), "budget": dataclasses.asdict(budget), "fit": as_dict(settings.fit),
            "terms": list(settings.terms), "windows": windows.key, "kinds": sorted(kinds),
            **({"streams": settings.streams} if settings.streams != JOINTS_ALONE else {}),
        }
    )  # fmt: skip
    kept = PACKING.find(path)
    if kept is not None and kept.identity == identity:
        needs = dict(kept.needs)
    else:
        specs = [
            StudentSpec(
                family=family, sizes=sizes.as_dict(), plan=settings.fit,
                distillation=Distillation(weights=dict.fromkeys(settings.terms, 1.0)), windows=str(windows.folder),
                teacher_outputs=str(windows.mapped_outputs(outputs)),
            )
            for family, sizes in find_largest_students(
                settings.families, budget, count_cost, settings.streams
            ).items()
        ]  # fmt: skip
        data = windows.on_nodes("train", "validation", outputs=outputs, terms=settings.terms)
        needs = {kind: _measure(kind, specs, data, cluster) for kind in kinds}
    packed = {
        kind: pack(need, kinds[kind], cluster.cpus_per_trial) for kind, need in needs.items()
    }
    fewest = min(packed, key=lambda kind: packed[kind].students)
    say("  " + describe(needs[fewest], packed[fewest]))
    share = compute_share(packed[fewest].students)
    packing = Packing(
        identity=identity, students=packed[fewest].students, share=share, needs=needs
    )
    PACKING.write(path, packing)
    return share


def read_kept_share(cluster: ClusterSettings, folder: SplitFolder) -> float:
    """Return the share that the search of this folder measured; without one, that of the settings."""
    share = gpus_per_trial(cluster)
    path = packing_file(folder)
    if cluster.gpus_per_trial != "auto" or share == 0 or not path.is_file():
        return share
    return PACKING.read(path).share


def keep_to_share(folder: SplitFolder) -> None:
    """Limit this worker to what Ray has given it: its cores, its share of a GPU, or no GPU.

    Ray sets the threads of a process that has not loaded torch yet, hides no GPU from one that asked
    for none, and limits no memory. A student that outgrows its part of the memory fails with torch's
    reason, and those beside it go on. Raises ValueError where torch cannot use the GPU that Ray gave.
    """
    refuse_blind()
    share = _keep_to_cores().get("GPU", 0.0)
    if share == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when CUDA is first used
    elif share < 1:
        path = packing_file(folder)
        kept = PACKING.find(path)
        torch.cuda.set_per_process_memory_fraction(
            memory_limit(share, list(kept.needs.values()) if kept else [])
        )


def packing_file(folder: SplitFolder) -> Path:
    """Return the file of what a search measured; for a fold, that of the split whose answer it trains again."""
    is_fold = folder.root.parent.name == "folds"
    return (SplitFolder(folder.root.parents[1]) if is_fold else folder).packing


def memory_limit(share: float, needs: Sequence[Need]) -> float:
    """Return the part of a GPU's memory that torch may take in one process.

    It is the share less what is taken outside of torch, but at least half of the share.
    """
    outside = max((need.outside_bytes / need.device_bytes for need in needs), default=0.0)
    return max(share - outside, share / 2)


def list_gpu_kinds(nodes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the cluster's kinds of GPU, by Ray's name or "", each with the fewest cores that a node has per GPU."""
    kinds: dict[str, int] = {}
    for node in nodes:
        has = node["Resources"]
        if not node["Alive"] or has.get("GPU", 0) < 1:
            continue
        kind = next((name for name in sorted(has) if name.startswith(KIND)), "")
        cores = int(has.get("CPU", 0) // has["GPU"])
        kinds[kind] = min(kinds.get(kind, cores), cores)
    return kinds


def find_largest_students(
    families: Sequence[str],
    budget: Budget,
    count_cost: Callable[[Sizes], Cost],
    streams: Sequence[Sequence[str]] = JOINTS_ALONE,
) -> dict[str, Sizes]:
    """Find for each family the student with the most multiply-accumulates, of DRAWN random ones within the budget.

    Where none of them is within it, the family's smallest student is taken.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    largest = {}
    for family in families:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        best, macs = with_streams(SPACES[family].smallest, streams[0]), 0
        for _ in range(DRAWN):
            sizes = suggest_sizes(study.ask(), SPACES[family].suggest, streams)
            cost = count_cost(sizes)
            if cost.macs > macs and budget.allows(cost):
                best, macs = sizes, cost.macs
        largest[family] = best
    return largest


def _measure(
    kind: str, specs: Sequence[StudentSpec], data: NodeData | None, cluster: ClusterSettings
) -> Need:
    """Measure what one student needs, in a worker that has a GPU of that kind to itself.

    Raises ValueError where it does not fit or torch cannot use the GPU, RuntimeError where Ray fails.
    """
    task = ray.remote(
        num_cpus=cluster.cpus_per_trial,
        num_gpus=1,
        resources={kind: 0.001} if kind else {},
        max_retries=LIVES,
    )(measure_on_gpu)
    try:
        with wait_for_room(cluster, "Measuring a student", 1, cluster.cpus_per_trial, 1.0):
            need: Need = ray.get(task.remote(list(specs), data))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)  # of what the function itself raised
        if isinstance(cause, ValueError):
            raise ValueError(str(cause)) from error
        raise RuntimeError(
            f"Measuring a student on a GPU failed: {str(error).strip().splitlines()[-1]}"
        ) from error
    return need


def measure_on_gpu(specs: Sequence[StudentSpec], data: NodeData | None) -> Need:
    """Measure the students in a worker; raises ValueError where torch cannot use the GPU that Ray gave it."""
    if fault := explain_blind_gpu():
        raise ValueError(fault)
    load_extensions(SPACES)
    _keep_to_cores()
    if data is not None:
        data.bring()
    return measure_students(specs)


def _keep_to_cores() -> dict[str, float]:
    """Set as many threads as Ray gave this worker cores; return all resources that it gave."""
    assigned: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
    return assigned
