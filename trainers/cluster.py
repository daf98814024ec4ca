"""Ray, from the settings: start it here or connect, and say what it has."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from typing import Any

import ray

from gaitforge.settings import ClusterSettings

# Ray reads these when it is imported by the processes that it starts: set before `ray.init`.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # else every train.report blocks for 2 s
    "RAY_TRAIN_V2_ENABLED": "1",  # an empty value would mean the first version
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial log is ours; Tune's three per trial are noise
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}

PROBE_S = 10.0  # for an answer from a cluster's address; a network that needs more cannot train
WATCH_S = 1.0


def connect(settings: ClusterSettings) -> None:
    """Ray from here to the end of this process; once it runs, all that comes later uses it as it is.

    Called where work for it turns up, so that a command that finds everything done starts none, and
    a line of many splits starts one. Raises ConnectionError where `cluster.address` does not
    answer, RuntimeError where Ray cannot be started here.
    """
    if ray.is_initialized():
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    try:
        if settings.address == "local":
            ray.init(
                address="local",
                num_cpus=settings.cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            _watch_ray()
        else:
            _probe(settings.address)
            ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"No Ray cluster answers at cluster.address = '{settings.address}' ({str(error).splitlines()[0]}); "
            "start one with `ray start --head`, or set it to 'local'."
        ) from error
    except Exception as error:
        # Ray raises these base classes themselves where one of its processes does not start in 30 s
        if type(error) not in (Exception, RuntimeError):
            raise
        ray.shutdown()
        raise RuntimeError(
            f"Ray did not start on this machine ({str(error).splitlines()[0]}); run the same command "
            "again when it is less busy."
        ) from error


def cores() -> int:
    """CPU cores of the connected cluster."""
    return int(_resources().get("CPU", 1))


def concurrent_trials(settings: ClusterSettings) -> int:
    """Students that train at the same time, as cores and GPUs allow."""
    fit, gpus = cores() // settings.cpus_per_trial, gpus_per_trial(settings)
    if gpus > 0:
        fit = min(fit, int(_resources().get("GPU", 0) / gpus))
    if fit < 1:
        raise ValueError(
            f"A trial asks for {settings.cpus_per_trial} cores and {gpus:g} GPUs, but the cluster has "
            f"{cores()} and {_resources().get('GPU', 0):g}; lower cluster.cpus_per_trial or gpus_per_trial."
        )
    return min(fit, settings.concurrent or fit)


def gpus_per_trial(settings: ClusterSettings) -> float:
    """The share of a GPU that each student gets."""
    if settings.gpus_per_trial != "auto":
        return settings.gpus_per_trial
    return 1.0 if _resources().get("GPU", 0) else 0.0


def gpus_per_worker(settings: ClusterSettings, workers: int) -> float:
    """The GPUs of each of the teacher's workers: by itself one each, where there are enough."""
    if settings.gpus_per_worker != "auto":
        return settings.gpus_per_worker
    return 1.0 if _resources().get("GPU", 0) >= workers else 0.0


def _probe(address: str) -> None:
    """Raise OSError where nothing listens at `host:port`: Ray itself tries for more than 10 minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()


def _watch_ray() -> None:
    """From now on, end this process with a sentence once a process of Ray's that it needs has died.

    Ray itself ends it then, but without a word, and where its gcs_server has died only after a minute.
    """
    # the public ways to ask wait for those that have died
    node: Any = ray._private.worker._global_node
    needed = {kind: node.all_processes[kind][0].process for kind in ("gcs_server", "raylet")}

    def watch() -> None:
        while True:
            dead = [kind for kind, process in needed.items() if process.poll() is not None]
            # asked in this order, since a shutdown disconnects before it ends them
            if not ray.is_initialized():
                return
            if dead:
                break
            time.sleep(WATCH_S)
        print(
            f"gaitforge: Ray's {' and '.join(dead)} died on this machine (out of memory, or killed); the same "
            "command goes on from here.",
            file=sys.stderr,
            flush=True,
        )
        node.kill_all_processes(check_alive=False)
        # an exception would have to pass through Ray, which waits for those that have died
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found
