"""Our families have the parameters and MACs that were counted elsewhere."""

from __future__ import annotations

import pytest

from benchmarks.model_sizes import Compared, compared, table


@pytest.mark.parametrize("name", ["ST-GCN", "CTR-GCN"])
def test_published_networks_agree_within_two_percent(name: str) -> None:
    row = compared(name)
    assert row.params == pytest.approx(row.other_params, rel=0.02)
    assert row.same_way == pytest.approx(row.other_macs, rel=0.02)


@pytest.mark.parametrize(
    ("size", "params"), [("L", 1.816e6), ("M", 0.456e6), ("S", 0.050e6), ("XS", 0.023e6)]
)
def test_the_reconstruction_agrees_with_its_prototype(size: str, params: float) -> None:
    """The prototype's parameters are given in thousands, its other numbers to one to three digits."""
    row = compared(f"dynstg_mamba {size}")
    assert round(row.params_same_way / 1e3) == round(params / 1e3)
    assert row.params == pytest.approx(row.other_params, rel=0.06)
    assert row.same_way == pytest.approx(row.other_macs, rel=0.02)
    assert row.scan_same_way == pytest.approx(row.other_scan, rel=0.08)


def test_the_table_has_a_line_for_each() -> None:
    row = Compared(
        name="m", params=100, params_same_way=150, macs=10**9, same_way=2 * 10**9, scan=10**8, scan_same_way=2 * 10**8,
        other_params=50.0, other_macs=1e9, other_scan=1e8,
    )  # fmt: skip
    assert table([row]).splitlines()[-1] == (
        "| m | 100 | 2.000 | 150 | 3.000 | 1.0000 | 2.0000 | 2.000 | 0.1000 | 0.2000 | 0.100 |"
    )
