"""What a person is told in the terminal: one line."""

from __future__ import annotations


def say(text: str) -> None:
    """Print one line for the person at the terminal, at once also where the output is a file."""
    print(text, flush=True)
