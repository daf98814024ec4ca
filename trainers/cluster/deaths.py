"""What killed a worker: a signal, Ray's memory monitor or the loss of its node, with the worker's last words.

Ray does not ask how a worker ended. A worker that a signal such as SIGSEGV kills says so itself, on
its standard error, with its native stack and its Python stack; one that SIGKILL kills says nothing.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gaitforge.records.confirm import WORKER, WorkerOf

# what kills a worker, where it is no signal and no exit status
MEMORY, NODE, UNKNOWN = "memory monitor", "node", "unknown"
# How often work goes on after its worker died: what kills two workers kills a third.
LIVES = 1
# How often after its node was lost, which says little of the work; but where memory runs out, a node may be lost by it.
LOST_NODES = 3
LINES = 60  # of a standard error that are kept: two stacks
WIDTH = 300  # of a line
BEFORE = 5  # lines before a signal's own, where a library may have said what was wrong
ASK_S = 20.0  # for another node to read its log

_SIGNAL = re.compile(r"^\*\*\* (SIG[A-Z0-9]+) received at ")
_PYTHON = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
}
# labels that Ray puts in, its own copy of the native stack, and a long list
_CHAFF = re.compile(
    r"^:(job_id|actor_name|task_name):|^\[.*\] logging\.cc:\d+: |^Extension modules:"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How a worker ended.

    `by` is the name of a signal, MEMORY, NODE, "exit status <n>", or UNKNOWN; `words` the last lines
    of its standard error, or those of the memory monitor, or one that says why there are none.
    """

    by: str
    words: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Return one line without numbers of processes, so that equal deaths have equal reasons."""
        if self.by == "SIGKILL":
            # by elimination: every other way to die leaves a word
            return "the worker process was killed by SIGKILL (the kernel does so where memory runs out)"
        if self.by == MEMORY:
            return "the worker process was killed by Ray's memory monitor, as its node ran out of memory"
        if self.by == NODE:
            return "the worker process was lost with its node"
        if self.by == UNKNOWN:
            return "the worker process died, and what killed it is not known"
        if self.by.startswith("SIG"):
            return f"the worker process was killed by {self.by}"
        return f"the worker process ended with {self.by}"


def find_death(
    told: str, last_words: Callable[[str, int], Sequence[str] | None] | None = None
) -> Death | None:
    """Return the death that Ray's message about a worker tells of; None where it tells of none.

    `last_words` asks for the standard error of a process, by the address of its node and its number.
    """
    if "node running low on memory" in told:
        return Death(by=MEMORY, words=tuple(line[:WIDTH] for line in told.splitlines()[:2]))
    if "its node has died" in told or "the node it was running on is dead" in told:
        return Death(by=NODE)
    if "worker process has died" not in told and "worker died unexpectedly" not in told:
        return None
    pid, address = re.search(r"\bpid: (\d+)", told), re.search(r"\bip: (\S+)", told)
    lines = (
        (last_words or read_last_words)(address[1] if address else "", int(pid[1]))
        if pid
        else None
    )
    words = pick_telling(lines or ())
    if named := find_signal(words):
        return Death(by=named, words=words)
    if "receives a SIGTERM" in told:
        return Death(by="SIGTERM", words=words)
    if status := re.search(r"exit code (-?\d+)", told):
        return Death(by=f"exit status {status[1]}", words=words)
    if lines is None:
        return Death(by=UNKNOWN, words=("(its standard error could not be had)",))
    return Death(by="SIGKILL", words=words)


def find_signal(lines: Sequence[str]) -> str | None:
    """Return the signal that a dying process named on its standard error."""
    for line in reversed(lines):
        if match := _SIGNAL.match(line):
            return match[1]
        if line.startswith("Fatal Python error: "):
            return _PYTHON.get(line.removeprefix("Fatal Python error: ").strip())
    return None


def pick_telling(lines: Sequence[str]) -> tuple[str, ...]:
    """Keep of a standard error what tells of the death: from a little before the signal, else the end."""
    kept = [line[:WIDTH] for line in lines if line.strip() and not _CHAFF.match(line)]
    first = next(
        (
            i
            for i, line in enumerate(kept)
            if _SIGNAL.match(line) or line.startswith("Fatal Python")
        ),
        None,
    )
    if first is None:
        return tuple(kept[-LINES // 2 :])
    return tuple(kept[max(0, first - BEFORE) :][:LINES])


def read_last_words(address: str, pid: int) -> list[str] | None:
    """Read the end of a worker's standard error from the node that it ran on; None where it cannot be had."""
    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    there = [node for node in alive if node["NodeManagerAddress"] == address]
    here = ray.get_runtime_context().get_node_id()
    # a Ray of this machine alone calls itself by another address than its workers do
    for node in there or alive:
        lines = read_log(pid) if node["NodeID"] == here else ask_node(str(node["NodeID"]), pid)
        if lines is not None:
            return lines
    return None


def read_log(pid: int) -> list[str] | None:
    """Read the end of the standard error of a worker of this node; None where there is none."""
    node: Any = ray._private.worker._global_node
    found = list(Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.err"))
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime)
    with newest.open("rb") as file:
        file.seek(max(0, newest.stat().st_size - 100_000))
        return file.read().decode(errors="replace").splitlines()


def ask_node(node: str, pid: int) -> list[str] | None:
    read = ray.remote(num_cpus=0, max_retries=0)(read_log).options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    try:
        lines: list[str] | None = ray.get(read.remote(pid), timeout=ASK_S)
    except RayError:
        return None
    return lines


def speak_when_dying() -> None:
    """Let a fatal signal of this worker print the Python stack of every thread; Ray asks for the first one's only."""
    faulthandler.enable(file=sys.__stderr__ or 2, all_threads=True)


def tell_worker(file: Path) -> None:
    """Keep which process this worker is; of a dead worker of a task Ray does not say it."""
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    WORKER.write(file, WorkerOf(pid=os.getpid(), address=str(address)))


def add_worker(told: str, file: Path) -> str:
    """Add to what Ray says of a task's worker the process that `tell_worker` kept, where one was kept."""
    if not file.is_file():
        return told
    worker = WORKER.read(file)
    return f"{told}\n\tpid: {worker.pid}\n\tip: {worker.address}"


@contextmanager
def translate_memory_kills() -> Iterator[None]:
    """Let Tune take a worker that the memory monitor has killed for a dead one.

    Ray 2.60 tells of it by an error that is none of its actor errors, at which Tune gives up the whole search.
    """
    manager: Any = actor_manager.RayActorManager
    original = manager._actor_task_failed

    def failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        original(self, tracked_actor_task, exception)

    manager._actor_task_failed = failed
    try:
        yield
    finally:
        manager._actor_task_failed = original
