"""Sizes of an ST-GCN student, from about a thousand parameters to about a million.

Parameter names begin with the family's name, because an Optuna study knows one range for one name.
"""

from __future__ import annotations

from gaitforge.models.stgcn import StgcnSizes
from gaitforge.spaces import Suggester

SMALLEST = StgcnSizes(widths=(4, 4), strides=(1, 2), kernel=3, temporal="separable", dropout=0.0)


def suggest(trial: Suggester) -> StgcnSizes:
    """Ask a trial for sizes: `depth` blocks in two halves.

    The second half is wider by the factor `growth` and sees half the frames of the first.
    """
    width = trial.suggest_int("stgcn.width", 4, 64, log=True)
    depth = trial.suggest_int("stgcn.depth", 2, 6)
    growth = trial.suggest_float("stgcn.growth", 1.0, 2.0)
    wide = round(width * growth)
    half = depth // 2
    first = trial.suggest_categorical("stgcn.first_stride", [1, 2])
    return StgcnSizes(
        widths=(width,) * half + (wide,) * (depth - half),
        strides=(first,) + (1,) * (half - 1) + (2,) + (1,) * (depth - half - 1),
        kernel=trial.suggest_categorical("stgcn.kernel", [3, 5, 9]),
        temporal=trial.suggest_categorical("stgcn.temporal", ["separable", "full"]),
        dropout=trial.suggest_float("stgcn.dropout", 0.0, 0.2),
    )
