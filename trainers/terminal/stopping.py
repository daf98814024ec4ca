"""How a command is told to stop: by Ctrl-C, SIGTERM (of schedulers) or SIGHUP (of a terminal that closes), all alike.

Whoever waits for Ctrl-C in a way of their own, as Ray Tune, Ray Train and asyncio do, gets the others as such.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TWICE_S = (
    1.0  # tools such as `timeout` send a signal to the process and to its group: that is one wish
)
AGAIN_S = 0.02  # until a stop is repeated that came where Python can raise nothing


class Stopped(RuntimeError):
    """The error of a command that was told to stop and has a sentence of its own for that."""


class _Inbox:
    """The signals of this process, known as soon as the kernel brings them, whatever its main thread waits for."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.heard = float("-inf")
        self.ours: list[signal.Signals] = []
        self.claimed: int | None = (
            None  # the exit status, once somebody says that the command was stopped
        )
        self._pipe: int | None = None
        self._lock = threading.Lock()
        self._again: threading.Timer | None = None

    def claim(self, status: int) -> bool:
        with self._lock:
            is_first = self.claimed is None
            self.claimed = status if is_first else self.claimed
        return is_first

    def read_from(self, pipe: int | None) -> None:
        with self._lock:
            self.first, self.heard, self._pipe = None, float("-inf"), pipe

    def repeat(self) -> None:
        """Bring the first signal to the main thread once more, from a thread, in AGAIN_S."""
        self._again = threading.Timer(AGAIN_S, self._send_again)
        self._again.daemon = True
        self._again.start()

    def forget_repeating(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again.join()
            self._again = None

    def _send_again(self) -> None:
        number, main = self.look(), threading.main_thread().ident
        if number is not None and main is not None and self.claimed is None:
            self.heard = float("-inf")
            signal.pthread_kill(main, number)

    def look(self) -> int | None:
        """Return the first of SIGNALS that has come; None where none has."""
        with self._lock:
            while self._pipe is not None and self.first is None:
                try:
                    numbers = os.read(self._pipe, 64)
                except BlockingIOError:
                    break
                self.first = next((number for number in numbers if number in SIGNALS), None)
            return self.first


_inbox = _Inbox()


@contextmanager
def listening() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do within the block what Ctrl-C does; what the caller ignores, as nohup, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may ask for signals
        return
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    _inbox.read_from(reading)
    _inbox.claimed = None
    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    _inbox.ours = list(before)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    listen_again()
    complain = sys.unraisablehook

    def hear_unraisable(what: sys.UnraisableHookArgs) -> None:
        # a signal that comes within a destructor or another callback of Python's own is dropped there
        if what.exc_type is KeyboardInterrupt and told_to_stop():
            _inbox.repeat()
        else:
            complain(what)

    sys.unraisablehook = hear_unraisable
    try:
        yield
    finally:
        sys.unraisablehook = complain
        _inbox.forget_repeating()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        _inbox.ours = []
        _inbox.read_from(None)
        os.close(reading)
        os.close(writing)


def listen_again() -> None:
    """Take the signals back from a library that has taken them; outside of `listening`, do nothing."""
    if threading.current_thread() is threading.main_thread():
        for number in _inbox.ours:
            signal.signal(number, _as_interrupt)


def stop_listening() -> None:
    """Let further signals do nothing: the command is ending already."""
    if threading.current_thread() is threading.main_thread():
        for number in _inbox.ours:
            signal.signal(number, signal.SIG_IGN)


def told_to_stop() -> bool:
    """Tell whether this process was told to stop; any thread may ask."""
    return _inbox.look() is not None


def check_stop() -> None:
    """Raise KeyboardInterrupt where this process was told to stop: a library may have kept that for itself."""
    if told_to_stop():
        raise KeyboardInterrupt


def stop_status() -> int:
    """Return the exit status of a command that was stopped: 128 and the signal's number, 1 after Ctrl-C."""
    number = _inbox.look()
    return 1 if number in (None, signal.SIGINT) else 128 + int(number)


def claim_last_word() -> bool:
    """Tell whether the caller is the first to say that the command was stopped: others then keep silent."""
    return _inbox.claim(stop_status())


def claimed_status() -> int | None:
    """Return the exit status of a command that has been said to be stopped, also after `listening`; None before."""
    return _inbox.claimed


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    since, _inbox.heard = now - _inbox.heard, now
    if since < TWICE_S:
        return
    # asked for now, since Tune and Train have handlers of their own while they run
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell lets what it starts in the background ignore Ctrl-C
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
