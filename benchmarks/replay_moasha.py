"""Syne Tune's MOASHA as a method of the replay. Syne Tune is no dependency; it lives in an environment of its own:

    python -m venv work/syne-venv
    echo "import site; site.addsitedir('$PWD/.venv/lib/python3.11/site-packages')" \\
        > work/syne-venv/lib/python3.11/site-packages/gaitforge.pth
    work/syne-venv/bin/python -m pip install --no-deps syne-tune==0.16.0
    work/syne-venv/bin/python benchmarks/replay.py --methods syne:moasha syne:moasha-ranked

Its config space knows no conditions: every value of both families is drawn, and those of the family
that was drawn are used, which is the same as drawing from the family alone. It samples at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
    MOPriority,
    NonDominatedPriority,
)

from benchmarks.students import CHOICES, EPOCHS, GRACE, REDUCTION, SHARED


class RankedPriority(MOPriority):  # type: ignore[misc]
    """The place of each point in MOASHA's own order.

    Its NonDominatedPriority returns the points in their order (which point comes first), where its
    rungs compare places (how early a point comes).
    """

    def priority_unsafe(self, objectives: NDArray[Any]) -> NDArray[Any]:
        return np.argsort(NonDominatedPriority().priority_unsafe(objectives))


class Moasha:
    """MOASHA, called as Syne Tune's tuner calls it."""

    def __init__(self, seed: int, ranked: bool) -> None:
        np.random.seed(seed)  # noqa: NPY002  it draws from the global generator, whatever its seed
        every = {name: values for family in CHOICES.values() for name, values in family.items()}
        space = {name: choice(values) for name, values in {**every, **SHARED}.items()}
        self.scheduler = MOASHA(
            {"family": choice(sorted(CHOICES)), **space},
            metrics=["error", "log10_params"],
            time_attr="epoch",
            multiobjective_priority=RankedPriority() if ranked else None,
            max_t=EPOCHS,
            grace_period=GRACE,
            reduction_factor=REDUCTION,
            random_seed=seed,
        )
        self.trials: dict[int, Trial] = {}

    def ask(self, number: int) -> Mapping[str, Any] | None:
        config = self.scheduler.suggest().config
        self.trials[number] = Trial(number, config, datetime.now())
        self.scheduler.on_trial_add(self.trials[number])
        names = ("family", *CHOICES[config["family"]], *SHARED)
        return {name: config[name] for name in names}

    def report(self, number: int, result: dict[str, Any]) -> bool:
        decision = self.scheduler.on_trial_result(self.trials[number], _minimised(result))
        return bool(decision == SchedulerDecision.CONTINUE)

    def end(self, number: int, result: dict[str, Any]) -> None:
        # Its word at max_t is stop as well, and a trial that it stopped is removed, never completed.
        self.scheduler.on_trial_remove(self.trials.pop(number))

    def claimed(self) -> Sequence[int]:
        return ()


def _minimised(result: Mapping[str, Any]) -> dict[str, float]:
    """Both objectives as the hypervolume measures them: its order within a front knows distances."""
    return {
        "epoch": result["epoch"],
        "error": -result["val_macro_f1"],
        "log10_params": float(np.log10(result["params"])),
    }
