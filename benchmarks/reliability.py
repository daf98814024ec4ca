"""How much an early score says: rank correlations over the table of students with two seeds, size taken out.

python benchmarks/reliability.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.students import EPOCHS, PACKED, read_packed

Floats = NDArray[np.float64]


def beyond_size(value_N: Floats, size_N: Floats) -> Floats:
    """What a parabola in log10 parameters leaves of the values."""
    left: Floats = value_N - np.polyval(np.polyfit(size_N, value_N, 2), size_N)
    return left


def main() -> None:
    rows = pd.DataFrame(read_packed(PACKED))
    curves = rows.pivot_table(
        index=["key", "params"], columns=["seed", "epoch"], values="val_macro_f1"
    ).dropna()
    size_N = np.log10(curves.index.get_level_values("params").to_numpy(dtype=np.float64))
    first, second = (curves[seed].to_numpy() for seed in (0, 1))
    final = beyond_size(second[:, -1], size_N)
    spread = np.std(first[:, -1] - second[:, -1]) / 2**0.5
    print(f"{len(curves)} students with two seeds; standard deviation of a seed {spread:.3f}")
    print(
        "rank correlation with the final macro F1 of the other seed, among students of one size:"
    )
    for epoch in (1, 3, 9, EPOCHS):
        last = beyond_size(first[:, epoch - 1], size_N)
        smooth = beyond_size(first[:, epoch // 2 : epoch].mean(axis=1), size_N)
        ranks = [
            pd.Series(each).corr(pd.Series(final), method="spearman") for each in (last, smooth)
        ]
        print(f"  after epoch {epoch:>2}: {ranks[0]:.2f}, mean of its later half {ranks[1]:.2f}")


if __name__ == "__main__":
    main()
