"""What a person is told in the terminal: one line."""

from __future__ import annotations

import threading


def say(text: str, end: str = "\n") -> None:
    """Print one line for the person at the terminal, at once also where the output is a file.

    Raises OSError where it cannot be written, in the main thread alone: that is the one to end the command.
    """
    try:
        print(text, end=end, flush=True)
    except OSError:
        if threading.current_thread() is threading.main_thread():
            raise
