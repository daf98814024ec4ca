"""Limits on a student's size: checked before any work starts, and kept to by every proposal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from gaitforge.cost import Cost, count
from gaitforge.models import Sizes, with_streams
from gaitforge.settings import JOINTS_ALONE, SearchSettings
from search_spaces import SPACES
from trainers.training.window_folder import WindowFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The largest student that may be trained; None where there is no limit."""

    params: int | None = None
    macs: int | None = None
    bytes: int | None = None

    @classmethod
    def of(cls, settings: SearchSettings, teacher_params: int) -> Budget:
        """Take the limits of the settings; for parameters the tighter of the number and the share of the teacher's."""
        limits = [settings.max_params] if settings.max_params is not None else []
        if settings.max_params_share is not None:
            limits.append(int(settings.max_params_share * teacher_params))
        return cls(
            params=min(limits) if limits else None,
            macs=settings.max_macs,
            bytes=settings.max_bytes,
        )

    def list_limits(self, cost: Cost) -> list[tuple[int, int, str]]:
        """List, for each thing that is limited, what a student takes of it, the limit, and its name."""
        every = [
            (cost.params, self.params, "parameters"),
            (cost.macs, self.macs, "multiply-accumulates"),
            (cost.bytes, self.bytes, "bytes of weights"),
        ]
        return [(used, limit, what) for used, limit, what in every if limit is not None]

    def allows(self, cost: Cost) -> bool:
        return all(used <= limit for used, limit, _ in self.list_limits(cost))

    def measure_excess(self, cost: Cost) -> float:
        """Return how far over the limits a student is, in powers of ten; 0 or less within them."""
        return max(
            (math.log10(max(used, 1) / limit) for used, limit, _ in self.list_limits(cost)),
            default=-1.0,
        )

    def __str__(self) -> str:
        nothing = Cost(params=0, macs=0)
        return " and ".join(f"{limit:,} {what}" for _, limit, what in self.list_limits(nothing))


class CostCounter:
    """Counts what a student of some sizes costs for these windows, without building it."""

    def __init__(self, windows: WindowFolder) -> None:
        self.windows = windows

    def __call__(self, sizes: Sizes) -> Cost:
        windows = self.windows
        return count(sizes, windows.layout, windows.channels, len(windows.classes), windows.length)


def check_budget(
    settings: SearchSettings, budget: Budget, count_cost: Callable[[Sizes], Cost]
) -> None:
    """Raise ValueError, before any work, where a family's smallest student with some of the streams is over the budget.

    So does one whose streams need bones, where the layout has none.
    """
    for family, streams in product(settings.families, settings.streams):
        cost = count_cost(with_streams(SPACES[family].smallest, streams))
        if not budget.allows(cost):
            takes = " and ".join(f"{used:,} {what}" for used, _, what in budget.list_limits(cost))
            student, out = f"{family} student", f"{family} out of search.families"
            if settings.streams != JOINTS_ALONE:
                sees = "+".join(streams)
                student, out = (
                    f"{student} that sees {sees}",
                    f"{out}, or {sees} out of search.streams",
                )
            raise ValueError(
                f"The search allows at most {budget}, but the smallest {student} has {takes}; raise the "
                f"budget or leave {out}."
            )
