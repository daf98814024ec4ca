"""Sizes of a DynSTG-Mamba student, from about a thousand parameters to about a million.

Parameter names carry the family's name: one Optuna study knows one range for one name.
"""

from __future__ import annotations

import optuna

from gaitforge.models.dynstg_mamba import DynstgMambaSizes

SMALLEST = DynstgMambaSizes(
    widths=(4,), strides=(2,), states=4, expand=1, filter="none", dropout=0.0
)


def suggest(trial: optuna.trial.BaseTrial) -> DynstgMambaSizes:
    """`depth` blocks; the second half is wider by `growth` and sees half the frames of the first.

    A learned filter costs 2 * V**2 parameters per block and hop, most of a small student, hence
    "none". Both scan directions and the fusion cost no parameters worth naming.
    """
    width = trial.suggest_int("dynstg_mamba.width", 4, 80, log=True)
    depth = trial.suggest_int("dynstg_mamba.depth", 1, 6)
    growth = trial.suggest_float("dynstg_mamba.growth", 1.0, 2.0)
    wide = round(width * growth)
    half = (depth + 1) // 2
    first = trial.suggest_categorical("dynstg_mamba.first_stride", [2, 1])
    filter_ = trial.suggest_categorical("dynstg_mamba.filter", ["none", "static", "dynamic"])
    phases = trial.suggest_categorical("dynstg_mamba.phases", [1, 4])
    return DynstgMambaSizes(
        widths=(width,) * half + (wide,) * (depth - half),
        strides=((first,) + (1,) * (half - 1) + (2,) + (1,) * (depth - half - 1))[:depth],
        states=trial.suggest_categorical("dynstg_mamba.states", [4, 8, 16]),
        expand=trial.suggest_int("dynstg_mamba.expand", 1, 2),
        filter=filter_,
        # asked of every student, so that the same names are searched whatever the filter
        phases=phases if filter_ == "dynamic" else 1,
        bidirectional=trial.suggest_categorical("dynstg_mamba.bidirectional", [False, True]),
        kalman=trial.suggest_categorical("dynstg_mamba.kalman", [False, True]),
        dropout=trial.suggest_float("dynstg_mamba.dropout", 0.0, 0.3),
    )
