"""The arithmetic of every machine of a run, asked before anything is trained there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gaitforge.extensions import load_extensions
from gaitforge.settings import ClusterSettings
from search_spaces import SPACES
from trainers.arithmetic.check import WAIT_S, Asked, Outcome, examine
from trainers.cluster.joining import run_on_every_node
from trainers.terminal.say import say
from trainers.training.window_folder import WindowFolder


def check_arithmetic(
    cluster: ClusterSettings,
    families: Sequence[str],
    windows: WindowFolder,
    threads: int,
    gpus: float,
    sizes: Mapping[str, Any] | None = None,
) -> None:
    """Say where a family needs oneDNN off; raise RuntimeError where a machine must not train one.

    Machines that join later find out by themselves (`arithmetic.trust`). Workers with GPUs are not asked.
    """
    if gpus > 0:
        return
    asked = [Asked.for_windows(family, windows, sizes) for family in families]
    for outcome in ask_machines(cluster, asked, threads):
        if outcome.state == "wrong":
            raise RuntimeError(outcome.sentence)
        if outcome.state == "mended":
            say(f"  {outcome.sentence}")


def ask_machines(
    cluster: ClusterSettings, asked: Sequence[Asked], threads: int, *, anew: bool = False
) -> list[Outcome]:
    """Ask every machine of the connected cluster to examine each family."""
    if cluster.address == "local":
        return examine_all(asked, threads, anew)
    answers = run_on_every_node(examine_all, asked, threads, anew, wait_s=WAIT_S * len(asked))
    return [
        dataclasses.replace(outcome, machine=node)
        for node, outcomes in sorted(answers.items())
        for outcome in outcomes
    ]


def examine_all(asked: Sequence[Asked], threads: int, anew: bool) -> list[Outcome]:
    load_extensions(SPACES)
    return [examine(item, threads, anew=anew) for item in asked]
