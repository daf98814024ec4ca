"""Thinning of charts with too many points: one point per small cell, and all points that matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST = 1_000  # a browser draws that many points, with tooltips, in a tenth of a second
COLUMNS, ROWS = 72, 36  # spots of about 9 pixels: a point is as wide


@dataclass(frozen=True, slots=True)
class Thinned:
    """The rows to draw, of `of` in all; column `stands_for` says how many points each represents."""

    table: pd.DataFrame
    of: int

    @property
    def words(self) -> str:
        """Return the caption's sentence about thinning; empty if all points are drawn."""
        if len(self.table) == self.of:
            return ""
        return f"{len(self.table):,} of {self.of:,} points are drawn, one for each spot."


def thin(
    table: pd.DataFrame,
    x: str,
    y: str,
    keep: pd.Series[bool],
    log_x: bool = False,
    most: int = MOST,
) -> Thinned:
    """Return all rows if at most `most`; else those in `keep` and, of the others, the first of each grid cell.

    The grid spans the ranges of `x` (of its logarithm with `log_x`) and `y`, and is made coarser until the rows
    are few enough. Rows outside `keep` that lack a finite number in `x` or `y` are then left out.
    """
    whole = table.assign(stands_for=1)
    if len(table) <= most:
        return Thinned(whole, len(table))
    x_N = table[x].to_numpy(dtype=np.float64, na_value=np.nan)
    y_N = table[y].to_numpy(dtype=np.float64, na_value=np.nan)
    if log_x:
        x_N = np.log(np.where(x_N > 0, x_N, np.nan))
    kept_N = keep.to_numpy(dtype=bool)
    drawable_N = np.isfinite(x_N) & np.isfinite(y_N)
    room = max(most - int(kept_N.sum()), 1)
    rows = whole[drawable_N & ~kept_N]
    if rows.empty:
        return Thinned(whole[kept_N], len(table))
    coarser = 1.0
    while True:
        spot_M = _spots(x_N[drawable_N & ~kept_N], max(COLUMNS / coarser, 1)) * (ROWS + 1)
        spot_M += _spots(y_N[drawable_N & ~kept_N], max(ROWS / coarser, 1))
        _, first, counts = np.unique(spot_M, return_index=True, return_counts=True)
        if len(first) <= room:
            break
        coarser *= 1.25
    others = rows.iloc[first].assign(stands_for=counts)
    drawn = pd.concat([whole[kept_N], others]).sort_index()
    return Thinned(drawn, len(table))


def _spots(values_M: NDArray[np.float64], cells: float) -> NDArray[np.int64]:
    """Return the index of each value's cell, from 0 to below `cells`."""
    low, high = values_M.min(), values_M.max()
    width = (high - low) or 1.0
    spots_M: NDArray[np.int64] = np.floor((values_M - low) / width * (cells - 1e-9)).astype(int)
    return spots_M
