"""The search spaces: which sizes of each student family a search may try.

To add one: a file with `suggest(trial)` and `SMALLEST`, and a line in SPACES.
"""

from __future__ import annotations

from gaitforge.spaces import Space
from search_spaces import ctrgcn, dynstg_mamba, stgcn, tcn
from search_spaces.common import TERMS_VERSION, Proposal, answer_terms, propose, suggest_sizes

SPACES: dict[str, Space] = {
    "ctrgcn": Space(ctrgcn.suggest, ctrgcn.SMALLEST),
    "dynstg_mamba": Space(dynstg_mamba.suggest, dynstg_mamba.SMALLEST, version=2),
    "stgcn": Space(stgcn.suggest, stgcn.SMALLEST),
    "tcn": Space(tcn.suggest, tcn.SMALLEST),
}

__all__ = [
    "SPACES",
    "TERMS_VERSION",
    "Proposal",
    "Space",
    "answer_terms",
    "propose",
    "suggest_sizes",
]
