"""The search spaces: which sizes of each student family a search may try.

To add one: a file with `suggest(trial)` and `SMALLEST`, and a line in SPACES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from gaitforge.models import Sizes
from search_spaces import ctrgcn, dynstg_mamba, stgcn, tcn
from search_spaces.common import Proposal, propose


@dataclass(frozen=True, slots=True)
class Space:
    """`suggest` asks a trial for the sizes of one student; `smallest` is the least it can give.

    `version` grows with what `suggest` asks for: a search does not go on in another space.
    """

    suggest: Callable[[optuna.trial.BaseTrial], Sizes]
    smallest: Sizes
    version: int = 1


SPACES: dict[str, Space] = {
    "ctrgcn": Space(ctrgcn.suggest, ctrgcn.SMALLEST),
    "dynstg_mamba": Space(dynstg_mamba.suggest, dynstg_mamba.SMALLEST, version=2),
    "stgcn": Space(stgcn.suggest, stgcn.SMALLEST),
    "tcn": Space(tcn.suggest, tcn.SMALLEST),
}

__all__ = ["SPACES", "Proposal", "Space", "propose"]
