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
    ("size", "params"), [("L", 0.005), ("M", 0.005), ("S", 0.03), ("XS", 0.06)]
)
def test_the_reconstruction_agrees_with_its_prototype(size: str, params: float) -> None:
    """The prototype's numbers have one to four digits."""
    row = compared(f"dynstg_mamba {size}")
    assert row.params == pytest.approx(row.other_params, rel=params)
    assert row.same_way == pytest.approx(row.other_macs, rel=0.02)
    assert row.scan_same_way == pytest.approx(row.other_scan, rel=0.08)


def test_the_table_has_a_line_for_each() -> None:
    row = Compared(
        name="m", params=100, macs=10**9, same_way=2 * 10**9, scan=10**8, scan_same_way=2 * 10**8,
        other_params=50.0, other_macs=1e9, other_scan=1e8,
    )  # fmt: skip
    assert table([row]).splitlines()[-1] == (
        "| m | 100 | 2.000 | 1.0000 | 2.0000 | 2.000 | 0.1000 | 0.2000 | 0.100 |"
    )
