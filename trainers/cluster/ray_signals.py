"""Keep Ray, which takes SIGTERM for itself as it starts, from aborting the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from trainers.terminal.stopping import listen_again


@contextmanager
def signals_kept() -> Iterator[None]:
    """Let this process's own handler of SIGTERM stand while Ray starts in the block, and after it.

    No setting does: Ray's Python code ends its servers and then the process, and its core, below Python's
    handlers, prints a stack and aborts.
    """
    utils: Any = ray._private.utils
    original = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = original
        listen_again()
