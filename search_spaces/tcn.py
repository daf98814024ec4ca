"""Sizes of a dilated temporal convolution student, from about a thousand parameters to about a million."""

from __future__ import annotations

from gaitforge.models.tcn import TcnSizes
from gaitforge.spaces import Suggester

SMALLEST = TcnSizes(channels=4, layers=1, kernel=3, dropout=0.0)


def suggest(trial: Suggester) -> TcnSizes:
    """Ask a trial for width, depth, kernel and dropout; the dilation doubles from layer to layer."""
    return TcnSizes(
        channels=trial.suggest_int("tcn.channels", 4, 128, log=True),
        layers=trial.suggest_int("tcn.layers", 1, 6),
        kernel=trial.suggest_categorical("tcn.kernel", [3, 5, 9]),
        dropout=trial.suggest_float("tcn.dropout", 0.0, 0.2),
    )
