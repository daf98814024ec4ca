"""A table that is downloaded as CSV holds no formula, whatever the names in a work folder are."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest

from dashboard.frame.cells import without_formulas

DASHBOARD = Path(__file__).parents[1] / "dashboard"


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "@SUM(A1)", "\t=1", "\r=1", "+cmd|' /C calc'!A0", "-1+cmd|' /C calc'!A0", "-1 to =2"],
)
def test_a_text_that_a_spreadsheet_would_calculate_gets_an_apostrophe(cell: str) -> None:
    table = pd.DataFrame({"person": ["p1", cell], cell: [0, 1]})
    shown = without_formulas(table)
    assert shown["person"].tolist() == ["p1", f"'{cell}"]
    assert shown.columns.tolist() == ["person", f"'{cell}"]
    assert table["person"].tolist() == ["p1", cell]


def test_numbers_intervals_and_gaps_stay_as_they_are() -> None:
    table = pd.DataFrame(
        {
            "interval": ["-0.051 to +0.020", "+1,204", None],
            "difference": [-0.5, 0.5, float("nan")],
            "person": ["a=b", "p-1", ""],
        }
    )
    assert without_formulas(table) is table


def test_every_table_of_the_pages_is_shown_without_formulas() -> None:
    bare = [
        f"{path.relative_to(DASHBOARD)}:{call.lineno}"
        for path in sorted(DASHBOARD.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".dataframe")
        if not ast.unparse(call.args[0]).startswith("without_formulas(")
    ]
    assert bare == []
