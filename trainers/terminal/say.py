"""What a person is told in the terminal: one line."""

from __future__ import annotations

from gaitforge.sentences import escape


def say(text: str) -> None:
    """Print one line for the person at the terminal, at once also where the output is a file.

    What a terminal would obey, of somebody's file names, is written out.
    """
    print(escape(text), flush=True)
