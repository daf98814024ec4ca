"""Ray, from the settings: start it here or join a cluster, say what it has, and wait for what it has to give."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from gaitforge.duration import say_duration
from gaitforge.settings import ClusterSettings
from trainers.cluster.alone import find_dead, start_alone
from trainers.cluster.fleet import Node
from trainers.cluster.joining import (
    UNANSWERED_S,
    check_address,
    check_nodes,
    find,
    is_answering,
    ship_code,
)
from trainers.cluster.ray_signals import signals_kept
from trainers.cluster.ray_voice import quieten
from trainers.cluster.token import use_token
from trainers.terminal.say import say
from trainers.terminal.stopping import claim_last_word, claimed_status, stop_status, told_to_stop

# Ray reads these when it is imported by the processes that it starts: set before `ray.init`.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # else every train.report blocks for 2 s
    # after a loss Train may wait for as many workers as there were, before it asks what is left
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
    "RAY_TRAIN_V2_ENABLED": "1",  # an empty value would mean the first version
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of others that fail while we end with the first one's sentence
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial log is ours; Tune's three per trial are noise
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}

WATCH_S = 1.0
WAIT_S = 60.0  # before we say what we wait for, and between one time and the next


def connect(settings: ClusterSettings, shared: Path) -> None:
    """Start or join Ray; later calls do nothing, and Ray ends with this process.

    Called where work for it turns up, so that a command that finds everything done starts none, and
    a line of many splits starts one. `shared` is a folder that all nodes of a cluster must see.
    Raises ConnectionError where nothing answers at `cluster.address`, PermissionError or ValueError
    where that cluster cannot do this work, PermissionError where the environment turns our own Ray's token off,
    RuntimeError where Ray cannot be started here.
    """
    if ray.is_initialized():
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    quieten(say)
    with signals_kept():
        if settings.address == "local":
            _start(settings.cpus)
        else:
            _join(settings.address, shared)


def list_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that are alive, by name."""
    found = [
        Node(
            name=str(node["NodeManagerAddress"]),
            cores=float(node["Resources"].get("CPU", 0)),
            gpus=float(node["Resources"].get("GPU", 0)),
            id=str(node["NodeID"]),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: node.name)


def count_concurrent_trials(settings: ClusterSettings, gpus: float) -> int:
    """Count the students that train at the same time, as cores and GPUs allow; at least 1, for a cluster that grows."""
    fit = sum(node.count_fitting(settings.cpus_per_trial, gpus) for node in list_nodes())
    if settings.concurrent is not None and (settings.autoscales or settings.concurrent < fit):
        return settings.concurrent
    return max(1, fit)


def pick_packed_node(cluster: Sequence[Node], trials: int, cores: float, gpus: float) -> Node:
    """Return the node that students are packed on: the smallest that holds all, else the one that holds most."""
    holding = [node for node in cluster if node.count_fitting(cores, gpus) >= trials]
    if holding:
        return min(holding, key=lambda node: (node.count_fitting(cores, gpus), node.name))
    return max(cluster, key=lambda node: (node.count_fitting(cores, gpus), node.name))


def cores_per_worker(cluster: Sequence[Node], workers: int, gpus: float) -> int:
    """Return the most cores that each of the teacher's workers can have for all to fit on these nodes; at least 1."""
    most = int(max((node.cores for node in cluster), default=1))
    for cores in range(most, 1, -1):
        if sum(node.count_fitting(cores, gpus) for node in cluster) >= workers:
            return cores
    return 1


def gpus_per_worker(settings: ClusterSettings, workers: int) -> float:
    """Return the GPUs of each of the teacher's workers: by itself one each, where there are enough."""
    if settings.gpus_per_worker != "auto":
        return settings.gpus_per_worker
    return 1.0 if sum(int(node.gpus) for node in list_nodes()) >= workers else 0.0


def gpus_per_trial(settings: ClusterSettings) -> float:
    """Return the share of a GPU that each student gets."""
    if settings.gpus_per_trial != "auto":
        return settings.gpus_per_trial
    return 1.0 if any(node.gpus for node in list_nodes()) else 0.0


@contextmanager
def wait_for_room(
    settings: ClusterSettings, what: str, count: int, cores: float, gpus: float = 0.0
) -> Iterator[None]:
    """Begin the block once the cluster has `count` times so many cores and GPUs to give; `what` asks for them.

    Before it and, where nodes are lost, within it, each minute says what is waited for. Raises
    ValueError at once where the cluster can never give them.
    """
    wanted = f"{count} times {_amount(cores, gpus)}" if count > 1 else _amount(cores, gpus)

    def missing() -> bool:
        return sum(node.count_fitting(cores, gpus) for node in list_nodes()) < count

    if missing() and not settings.autoscales:
        raise ValueError(
            f"{what} asks for {wanted}, but the cluster has {_inventory()}; lower the request in [cluster] or "
            "[teacher], add nodes, or set cluster.autoscales = true if it adds them itself."
        )
    _wait_for(
        {"CPU": float(cores)} | ({"GPU": float(gpus)} if gpus > 0 else {}), count, what, wanted
    )
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WAIT_S):
            if missing():
                say(
                    f"  {what} asks for {wanted}, and waits: the cluster has lost nodes and has {_inventory()}"
                )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _wait_for(bundle: dict[str, float], count: int, what: str, wanted: str) -> None:
    """Wait until so many of these are free at the same time."""
    group = placement_group([bundle] * count, strategy="PACK")
    started = time.monotonic()
    try:
        while not group.wait(timeout_seconds=WAIT_S):
            free = ray.available_resources()  # type: ignore[no-untyped-call]
            say(
                f"  waiting for {say_duration(time.monotonic() - started)}: {what} asks for {wanted}, and "
                f"{_amount(free.get('CPU', 0), free.get('GPU', 0))} are free in the cluster"
            )
    finally:
        remove_placement_group(group)


def _inventory() -> str:
    return ", ".join(f"{node.name} {_amount(node.cores, node.gpus)}" for node in list_nodes())


def _amount(cores: float, gpus: float) -> str:
    text = f"{cores:g} core{'' if cores == 1 else 's'}"
    return f"{text} and {gpus:g} GPU{'' if gpus == 1 else 's'}" if gpus else text


def find_usable_gpus() -> int | None:
    """Return the GPUs for a Ray of this machine: None for all that it finds, 0 where torch could use none of them."""
    return None if torch.cuda.is_available() else 0


def _start(cpus: int | None) -> None:
    """Start Ray on this machine alone, ended with this process."""
    started = threading.Event()
    threading.Thread(target=_watch_start, args=(started,), daemon=True).start()
    try:
        start_alone(cpus, find_usable_gpus())
    finally:
        started.set()
    # the public ways to ask wait for those that have died
    node: Any = ray._private.worker._global_node
    needed = {kind: node.all_processes[kind][0].process for kind in ("gcs_server", "raylet")}

    def dead() -> str:
        names = [kind for kind, process in needed.items() if process.poll() is not None]
        return _say_dead(names) if names else ""

    _end_without_ray(dead, lambda: node.kill_all_processes(check_alive=False))


def _watch_start(started: threading.Event) -> None:
    """End this process with a sentence where one of Ray's dies before it has started: Ray itself waits for it."""
    before: list[str] = []
    while not started.wait(WATCH_S):
        names = find_dead()
        # seen twice, since Ray ends them itself where it gives up
        if names and names == before:
            _end(_say_dead(names))
        before = names


def _say_dead(names: Sequence[str]) -> str:
    return f"Ray's {' and '.join(names)} died on this machine (out of memory, or killed)"


def _join(address: str, shared: Path) -> None:
    """Join the cluster at an address: bring our code to its nodes and examine every node."""
    found = find(address)
    check_address(found)
    use_token(found)
    try:
        ray.init(
            address=found,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=ship_code(_ENVIRONMENT),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(
            f"The cluster at {found} cannot be joined from this machine ({str(error).splitlines()[0]}); run "
            f"`ray start --address {found}` here, since the driver works on one of its nodes, with this Ray and Python."
        ) from error
    try:
        facts = check_nodes(shared)
    except BaseException:
        ray.shutdown()
        raise
    cluster = list_nodes()
    has = _amount(sum(node.cores for node in cluster), sum(node.gpus for node in cluster))
    say(f"cluster {found}: {len(facts)} node{'' if len(facts) == 1 else 's'}, {has}")
    silent_since: list[float] = []

    def dead() -> str:
        if is_answering(found):
            silent_since.clear()
            return ""
        silent_since.append(time.monotonic())
        if silent_since[-1] - silent_since[0] < UNANSWERED_S:
            return ""
        return f"The cluster at {found} has not answered for {UNANSWERED_S:.0f} s"

    _end_without_ray(dead)


def _end_without_ray(dead: Callable[[], str], clean: Callable[[], None] = lambda: None) -> None:
    """End this process with a sentence once `dead` gives one.

    Ray itself ends it then, but without a word, and where its gcs_server has died only after a minute.
    """

    def watch() -> None:
        while True:
            sentence = dead()
            # asked in this order, since a shutdown disconnects before it ends them
            if not ray.is_initialized():
                return
            if sentence:
                break
            time.sleep(WATCH_S)
        _end(sentence, clean)

    threading.Thread(target=watch, daemon=True).start()


def _end(sentence: str, clean: Callable[[], None] = lambda: None) -> None:
    """End this process with the sentence, or as stopped where it was told to: the signal may have ended Ray as well."""
    status = claimed_status()
    if status is None:
        status, is_stopped = stop_status(), told_to_stop()
        if not is_stopped or claim_last_word():
            print(
                f"gaitforge: {'stopped' if is_stopped else sentence}; the same command goes on from here.",
                file=sys.stderr,
                flush=True,
            )
    else:
        time.sleep(WATCH_S)  # whoever has claimed the last word is saying it
    clean()
    # an exception would have to pass through Ray, which waits for those that have died
    os._exit(status)
