"""Sizes of a DynSTG-Mamba student, from some hundred parameters to the teacher L of benchmarks/model_sizes.py.

Parameter names begin with the family's name, because an Optuna study knows one range for one name.
"""

from __future__ import annotations

from gaitforge.models.dynstg_mamba import DynstgMambaSizes
from gaitforge.spaces import Suggester

SMALLEST = DynstgMambaSizes(
    widths=(4,), strides=(2,), states=4, expand=1, filter="none", dropout=0.0
)


def suggest(trial: Suggester) -> DynstgMambaSizes:
    """Ask a trial for sizes: `depth` blocks in up to `stages` stages of `stage` blocks (the last takes the rest).

    Each stage is wider than the one before by the factor `growth`. Block number `halve`, and the one
    `again` blocks later, halve the frames, where there are such blocks. A learned filter costs 2 * V**2
    parameters per block and hop, most of a small student, hence the choice "none". Scanning both ways and
    the fusion cost hardly any parameters.
    """
    width = trial.suggest_int("dynstg_mamba.width", 4, 64, log=True)
    depth = trial.suggest_int("dynstg_mamba.depth", 1, 6)
    growth = trial.suggest_float("dynstg_mamba.growth", 1.0, 2.0)
    stage = trial.suggest_int("dynstg_mamba.stage", 1, 3)
    stages = trial.suggest_int("dynstg_mamba.stages", 2, 3)
    halve = trial.suggest_int("dynstg_mamba.halve", 1, 3)
    again = trial.suggest_int("dynstg_mamba.again", 1, 2)
    filter_ = trial.suggest_categorical("dynstg_mamba.filter", ["none", "static", "dynamic"])
    phases = trial.suggest_categorical("dynstg_mamba.phases", [1, 4])
    return DynstgMambaSizes(
        widths=tuple(
            round(width * growth ** min(block // stage, stages - 1)) for block in range(depth)
        ),
        strides=tuple(
            2 if block in (halve, halve + again) else 1 for block in range(1, depth + 1)
        ),
        states=trial.suggest_categorical("dynstg_mamba.states", [4, 8, 16]),
        expand=trial.suggest_int("dynstg_mamba.expand", 1, 2),
        filter=filter_,
        # asked of every student, so that the same names are searched whatever the filter
        phases=phases if filter_ == "dynamic" else 1,
        bidirectional=trial.suggest_categorical("dynstg_mamba.bidirectional", [False, True]),
        kalman=trial.suggest_categorical("dynstg_mamba.kalman", [False, True]),
        dropout=trial.suggest_float("dynstg_mamba.dropout", 0.0, 0.3),
    )
