"""A Ray of this machine alone: it listens on the loopback, asks for a token, and keeps its files to this user."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from tempfile import mkdtemp
from typing import Any

import ray
import ray._common.utils
import ray._private.node
import ray._private.ray_constants
import ray._private.services

from trainers.cluster.token import ask_for_token, keep_token_private

LOOPBACK = "127.0.0.1"
# What a busy machine may take for a step of Ray's start; that a process has died is noticed meanwhile
START_S = 300
# Ray reads these in the processes that it starts; its own guesses are 5 to 60 s
PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": f"{START_S}",
    "RAY_raylet_start_wait_time_s": f"{START_S}",
    "RAY_agent_register_timeout_ms": f"{START_S}000",
    "RAY_worker_register_timeout_seconds": f"{START_S}",
    "RAY_gcs_server_request_timeout_seconds": f"{START_S}",
    # its only node is the machine that asks: one that is too busy to answer is not lost
    "RAY_health_check_timeout_ms": f"{START_S}000",
}
WATCHED = ("gcs_server", "raylet")


def start_alone(cpus: int | None, gpus: int | None) -> None:
    """Start Ray on this machine alone, ended with this process.

    Raises what `ask_for_token` does, ValueError where its files would have too long paths, RuntimeError where it does
    not start.
    """
    ask_for_token()
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    folder = make_private_folder()
    try:
        with use_loopback(), wait_longer():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address=LOOPBACK,
                _temp_dir=str(folder / "ray"),
            )
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        raise ValueError(
            f"The folder for temporary files, {folder.parent}, has too long a path for Ray's sockets; set "
            "RAY_TMPDIR to a shorter one, as /tmp."
        ) from error
    except Exception as error:
        # Ray raises these base classes themselves where one of its processes does not start in time
        if type(error) not in (Exception, RuntimeError, ValueError):
            raise
        ray.shutdown()
        raise RuntimeError(
            f"Ray did not start on this machine ({str(error).splitlines()[0]}); run the same command "
            "again when it is less busy."
        ) from error
    keep_token_private()


@contextmanager
def use_loopback() -> Iterator[None]:
    """Let a Ray that starts within the block take the loopback for its address, and so listen there only.

    It makes any name of the loopback the machine's outer address, except where its own switch for machines that
    can be no cluster is off. The environment's RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is read before we could set it.
    """
    constants: Any = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def wait_longer(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Let a Ray that starts within the block wait START_S seconds for its node, in place of 30, which nothing sets."""
    services: Any = ray._private.services
    original = services.get_node
    begun = clock()

    def get_node(*arguments: object) -> object:
        while True:
            try:
                return original(*arguments)
            except RuntimeError:  # not there yet
                if clock() - begun > START_S:
                    raise
            time.sleep(0.1)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = original


def find_dead() -> list[str]:
    """Name those of Ray's processes that this one has started and that have ended, as far as /proc tells."""
    names = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text(encoding="utf-8").rpartition(") ")
        except OSError:
            continue
        state, parent = after.split()[:2]
        name = before.partition("(")[2]
        if (int(parent), state) == (os.getpid(), "Z") and name in WATCHED:
            names.append(name)
    return sorted(names)


def make_private_folder() -> Path:
    """Return the folder for Ray's files, which only this user may enter; Ray itself opens all below it to everybody.

    It is short, since the paths of Ray's sockets begin with it.
    """
    utils: Any = ray._common.utils
    there = Path(utils.get_default_system_temp_dir())
    there.mkdir(parents=True, exist_ok=True)
    folder = there / f"gf-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        # /tmp is everybody's: another may have made it
        if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return Path(mkdtemp(prefix="gf-", dir=there))
        folder.chmod(0o700)
    return folder
