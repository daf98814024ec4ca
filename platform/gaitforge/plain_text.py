"""Text of files that others wrote, made harmless for a terminal and a spreadsheet."""

from __future__ import annotations

import re

# Spreadsheets run a cell that begins so.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def escape(text: str) -> str:
    """Return the text with what a terminal would obey, hide or refuse written as an escape, such as \\x1b."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def escape_cell(text: str) -> str:
    """Return text for a cell of a CSV file; an apostrophe leads what a spreadsheet would run as a formula.

    A plain number, such as -5, is none.
    """
    risky = text.lstrip(" ").startswith(FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{escape(text)}" if risky else escape(text)
