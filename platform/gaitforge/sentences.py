"""Text for a person at a terminal or a spreadsheet: bounded, and without what either would obey."""

from __future__ import annotations

import re

# No longer sentence is read; the longest of our own that quotes nothing long has about 500.
MOST = 1_000

# Spreadsheets run a cell that begins so.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def escape(text: str) -> str:
    """Write out what a terminal would obey, hide or refuse (control characters, halves of characters).

    Line ends stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def escape_cell(text: str) -> str:
    """Return text for a cell of a CSV file; an apostrophe leads what a spreadsheet would run as a formula.

    A plain number, such as -5, is none. A line end is written out, so that a row is a line.
    """
    risky = text.lstrip(" ").startswith(FORMULA) and not _NUMBER.fullmatch(text)
    shown = escape(text).replace("\n", "\\n")
    return f"'{shown}" if risky else shown


def one_line(text: str) -> str:
    """Return a sentence on one line of at most MOST characters; a longer one loses its middle.

    Its head says what was found, and its end what to do, so that neither may go.
    """
    return _shorten(escape(_shorten(" ".join(text.split()))))


def _shorten(text: str) -> str:
    if len(text) <= MOST:
        return text
    tail = MOST // 3
    return f"{text[: MOST - tail - 3]} … {text[-tail:]}"
