"""Sizes of a CTR-GCN student, from about a thousand parameters to about a million.

Parameter names begin with the family's name, because an Optuna study knows one range for one name.
"""

from __future__ import annotations

from gaitforge.models.ctrgcn import CtrgcnSizes
from gaitforge.spaces import Suggester

SMALLEST = CtrgcnSizes(widths=(4,), strides=(2,), kernel=3)

BRANCHES = 4  # of the temporal convolution, among which a width is shared


def suggest(trial: Suggester) -> CtrgcnSizes:
    """Ask a trial for sizes: `depth` blocks in two halves.

    The second half is wider by the factor `growth` and sees half the frames of the first.
    """
    quarter = trial.suggest_int("ctrgcn.quarter_width", 1, 24, log=True)
    depth = trial.suggest_int("ctrgcn.depth", 1, 6)
    growth = trial.suggest_float("ctrgcn.growth", 1.0, 2.0)
    width, wide = BRANCHES * quarter, BRANCHES * round(quarter * growth)
    half = (depth + 1) // 2
    first = trial.suggest_categorical("ctrgcn.first_stride", [2, 1])
    return CtrgcnSizes(
        widths=(width,) * half + (wide,) * (depth - half),
        strides=((first,) + (1,) * (half - 1) + (2,) + (1,) * (depth - half - 1))[:depth],
        kernel=trial.suggest_categorical("ctrgcn.kernel", [3, 5]),
        dropout=trial.suggest_float("ctrgcn.dropout", 0.0, 0.3),
    )
