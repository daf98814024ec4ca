"""What a person is told in the terminal: one line."""

from __future__ import annotations

import threading

from gaitforge.sentences import escape


def say(text: str, before: str = "", end: str = "\n") -> None:
    """Print one line for the person at the terminal, at once also where the output is a file.

    What a terminal would obey, of somebody's file names, is written out; `before` it obeys. Raises OSError where
    the line cannot be written, in the main thread alone: that is the one to end the command.
    """
    try:
        print(f"{before}{escape(text)}", end=end, flush=True)
    except OSError:
        if threading.current_thread() is threading.main_thread():
            raise
