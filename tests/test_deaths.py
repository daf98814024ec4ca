"""What killed a worker is read from Ray's message and the worker's own last words, without Ray."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from gaitforge.failures import find_top_frame
from gaitforge.work import write_json
from trainers.cluster.deaths import (
    LINES,
    MEMORY,
    NODE,
    UNKNOWN,
    Death,
    add_worker,
    find_death,
    pick_telling,
    translate_memory_kills,
)
from trainers.cluster.ray_voice import find_lost_nodes, quieten

ACTOR_DIED = """\
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tactor_id: 0541029793214a4f3f8456ea01000000
\tpid: 7527
\tnamespace: 1571a7ec-cde1-4af3-a552-d5a6a45d06bc
\tip: 192.0.2.2
"""
BROKE_OFF = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed "
    "unexpectedly due to SIGSEGV or another unexpected error."
)
TERMINATED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "exits unexpectedly. Worker exits with an exit code 1."
)
NODE_DIED = (
    "The actor died because its node has died. Node Id: 9cdf176b\n\tthe actor's node was terminated unexpectedly: "
    "health check failed due to missing too many heartbeats"
)
NO_MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 9a5b) was "
    "0.82GB used / 23.54GB limit (0.034738)\nOOM kill reason: Memory usage 878059520B exceeded\nObject store"
)
SEGFAULT = """\
:job_id:01000000
:actor_name:ImplicitFunc
a warning of long ago
double free or corruption (out)
*** SIGSEGV received at time=1796022734 on cpu 0 ***
PC: @     0x7ff5abe49f16  (unknown)  dnnl::impl::cpu::x64::jit_bwd::operator()()
    @     0x7ff5abe00050  (unknown)  (unknown)
[2026-11-30 07:12:14,237 E 7527 7527] logging.cc:474: *** SIGSEGV received at time=1796022734 on cpu 0 ***
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "loop.py", line 331 in step

Extension modules: msgpack._cmsgpack, google._upb._message
""".splitlines()


def death(told: str, words: list[str] | None) -> Death | None:
    def last_words(address: str, pid: int) -> list[str] | None:
        assert (address, pid) == ("192.0.2.2", 7527)
        return words

    return find_death(told, last_words)


@pytest.mark.parametrize(
    ("told", "words", "by"),
    [
        (ACTOR_DIED + BROKE_OFF, SEGFAULT, "SIGSEGV"),
        (ACTOR_DIED + BROKE_OFF, ["Fatal Python error: Aborted"], "SIGABRT"),
        # the message names SIGSEGV whatever it was
        (ACTOR_DIED + BROKE_OFF, [":job_id:01000000", ":actor_name:f"], "SIGKILL"),
        (ACTOR_DIED + BROKE_OFF, None, UNKNOWN),
        (ACTOR_DIED + TERMINATED + " The process receives a SIGTERM.", [], "SIGTERM"),
        (ACTOR_DIED + TERMINATED, [], "exit status 1"),
        (ACTOR_DIED + NODE_DIED, None, NODE),
        (
            "Task failed because the node it was running on is dead or unavailable.",
            None,
            NODE,
        ),
        (NO_MEMORY, None, MEMORY),
        (f"{WorkerCrashedError()}\n\tpid: 7527\n\tip: 192.0.2.2", SEGFAULT, "SIGSEGV"),
        (str(WorkerCrashedError()), None, UNKNOWN),
    ],
    ids=lambda value: str(value)[-20:],
)
def test_each_way_to_die_has_its_name(told: str, words: list[str] | None, by: str) -> None:
    found = death(told, words)
    assert found is not None
    assert found.by == by


def test_an_error_of_a_living_worker_is_no_death() -> None:
    assert death("ray::ImplicitFunc.train() (pid=7527, ip=192.0.2.2)\nValueError: no", []) is None


def test_reasons_of_equal_deaths_are_equal() -> None:
    one = death(ACTOR_DIED + BROKE_OFF, SEGFAULT)
    other = find_death(
        (ACTOR_DIED + BROKE_OFF).replace("7527", "9"), lambda address, pid: SEGFAULT[4:]
    )
    assert one is not None
    assert other is not None
    assert one.reason == other.reason == "the worker process was killed by SIGSEGV"
    every = (MEMORY, NODE, UNKNOWN, "SIGKILL", "SIGSEGV", "exit status 3")
    assert len({Death(by=by).reason for by in every}) == len(every)


def test_last_words_begin_a_little_before_the_signal_and_leave_out_what_ray_adds() -> None:
    assert pick_telling(SEGFAULT) == (
        "a warning of long ago",
        "double free or corruption (out)",
        "*** SIGSEGV received at time=1796022734 on cpu 0 ***",
        "PC: @     0x7ff5abe49f16  (unknown)  dnnl::impl::cpu::x64::jit_bwd::operator()()",
        "    @     0x7ff5abe00050  (unknown)  (unknown)",
        "Fatal Python error: Segmentation fault",
        "Stack (most recent call first):",
        '  File "loop.py", line 331 in step',
    )
    long = [f"line {i}" for i in range(500)]
    assert len(pick_telling([*long, *SEGFAULT, *long])) == LINES
    assert pick_telling(long)[-1] == "line 499"


def test_the_words_of_the_memory_monitor_are_kept_without_its_tables() -> None:
    found = death(NO_MEMORY, None)
    assert found is not None
    assert [line[:10] for line in found.words] == ["1 worker(s", "OOM kill r"]


def test_the_top_frame_is_the_innermost_that_has_a_name() -> None:
    assert find_top_frame(pick_telling(SEGFAULT)) == "dnnl::impl::cpu::x64::jit_bwd::operator()()"
    aborted = ["PC: @ 0x7f (unknown)  gsignal", "    @ 0x7e  1234  cudnnDestroy"]
    assert find_top_frame(aborted) == "cudnnDestroy"
    assert find_top_frame(["PC: @     0x7ff5abe49f16  (unknown)  (unknown)"]) is None
    assert find_top_frame([]) is None


def test_a_task_of_which_ray_does_not_say_the_process_is_known_by_what_it_wrote(
    tmp_path: Path,
) -> None:
    crashed = str(WorkerCrashedError())
    assert add_worker(crashed, tmp_path / "none.json") == crashed
    write_json(tmp_path / "worker.json", {"pid": 7527, "address": "192.0.2.2"})
    found = death(add_worker(crashed, tmp_path / "worker.json"), SEGFAULT)
    assert found is not None
    assert found.by == "SIGSEGV"


def test_tune_hears_of_a_memory_kill_as_of_a_dead_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Exception] = []

    def hear(self: object, tracked: object, exception: Exception) -> None:
        heard.append(exception)

    monkeypatch.setattr(RayActorManager, "_actor_task_failed", hear)
    other = ValueError("no death")
    manager: Any = RayActorManager
    with translate_memory_kills():
        no_memory = OutOfMemoryError(NO_MEMORY)  # type: ignore[no-untyped-call]
        manager._actor_task_failed(None, None, no_memory)
        manager._actor_task_failed(None, None, other)
    assert isinstance(heard[0], RayActorError)
    assert str(heard[0]) == NO_MEMORY
    assert heard[1] is other
    assert manager._actor_task_failed is hear


# what Ray prints

WORKER_DIED = (
    "A worker died or was killed while executing a task by an unexpected system error. To"
)
NODE_GONE = (
    "The node with node id: 9cdf176b and address: 192.0.2.7 and node name: 192.0.2.7 has been marked dead because the "
    "detector has missed too many heartbeats from it. This can happen when a \t(1) raylet crashes\n\t(2) lags"
)
RAYLET_GONE = (
    "Raylet is terminated. Termination is unexpected. Possible reasons include: (1) SIGKILL\n x"
)
OTHER = "The autoscaler failed to launch a node: no credentials."


def test_of_dead_workers_ray_prints_nothing_and_the_rest_still_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[str] = []
    said: list[str] = []

    def print_to_stdstream(data: dict[str, Any], ignore_prefix: bool) -> None:
        printed.extend(data["lines"])

    worker = SimpleNamespace(print_to_stdstream=print_to_stdstream)
    monkeypatch.setattr(ray._private, "worker", worker)
    quieten(said.append)
    quieten(said.append)  # as a second connection does
    for line in (WORKER_DIED, NODE_GONE, RAYLET_GONE, NO_MEMORY, OTHER):
        worker.print_to_stdstream({"lines": [line], "pid": "raylet"}, ignore_prefix=False)
    assert printed == [OTHER]
    assert said == ["  the cluster has lost the node 192.0.2.7"]
    assert find_lost_nodes([WORKER_DIED, OTHER]) == []


def test_ray_still_prints_where_it_is_filtered() -> None:
    """Its listener looks the function up when it prints; with another Ray that may no longer be so."""
    worker: Any = ray._private.worker
    assert "print_to_stdstream" in worker.listen_error_messages.__code__.co_names
