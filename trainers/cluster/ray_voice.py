"""What Ray prints on the driver's terminal, without what gaitforge says itself, in one line and better."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import ray

# a kilobyte or 20 lines for each dead worker or node
TOLD_BY_US = re.compile(
    r"A worker died or was killed"
    r"|.*(Task|Actor) .*(failed|will be retried)"
    r"|.*killed due to the node running low on memory"
    r"|Raylet is terminated"
    r"|.*has been marked dead"
)
LOST_NODE = re.compile(
    r"The node with node id: \S+ and address: (\S+) .*has been marked dead", re.S
)


def quieten(say: Callable[[str], None]) -> None:
    """Let Ray print nothing of dead workers from now on; of a lost node, `say` one line.

    No setting stops these: they come to the driver as errors of the cluster, whatever `log_to_driver`
    and the logging level are. All else that Ray prints there still comes.
    """
    worker: Any = ray._private.worker
    original = getattr(worker.print_to_stdstream, "original", worker.print_to_stdstream)

    def print_others(data: dict[str, Any], ignore_prefix: bool) -> None:
        lines = data.get("lines", [])
        for address in find_lost_nodes(lines):
            say(f"  the cluster has lost the node {address}")
        if others := [line for line in lines if not TOLD_BY_US.match(line)]:
            original({**data, "lines": others}, ignore_prefix)

    print_others.original = original  # type: ignore[attr-defined]
    worker.print_to_stdstream = print_others


def find_lost_nodes(lines: Iterable[str]) -> list[str]:
    """Return the addresses of the nodes whose loss these lines tell of."""
    return [match[1] for line in lines if (match := LOST_NODE.match(line))]
