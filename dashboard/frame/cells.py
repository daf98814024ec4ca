"""Tables as they are shown: what their CSV download holds is no formula to the program that opens it."""

from __future__ import annotations

import re

import pandas as pd

# How spreadsheets know a formula; a number with its sign, alone or as the start of an interval, is none.
FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d[\d.,]*(?: to [+-]?\d[\d.,]*)?$)")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with an apostrophe before each text, in cells and names of columns, that is a formula."""
    plain = table.rename(columns=_as_text) if any(map(_is_formula, table.columns)) else table
    found = {
        place: column.map(_as_text, na_action="ignore")
        for place, (_, column) in enumerate(plain.items())
        if not pd.api.types.is_numeric_dtype(column.dtype) and any(map(_is_formula, column))
    }
    if found:
        plain = plain.copy()
        for place, column in found.items():
            plain.isetitem(place, column.array)
    return plain


def _is_formula(cell: object) -> bool:
    return isinstance(cell, str) and FORMULA.match(cell) is not None


def _as_text(cell: object) -> object:
    return f"'{cell}" if _is_formula(cell) else cell
