"""Work done ahead on as many threads as there are cores, with its results in the order in which it was asked for.

Threads are enough, and need no copies between processes: NumPy and Arrow leave the interpreter free while they work on
arrays of thousands of numbers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

import numpy as np

Result = TypeVar("Result")


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class AheadInOrder(Generic[Result]):
    """Runs work that is added, and gives results back in order; on one core there are no threads.

    Work that waits or runs has at most about `most_bytes` of arrays, as those who add it say.
    """

    def __init__(self, most_bytes: int, threads: int | None = None) -> None:
        self._threads = count_cores() if threads is None else threads
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._waiting: deque[tuple[Future[Result], int]] = deque()
        self._bytes = 0

    def __enter__(self) -> AheadInOrder[Result]:
        keep_freed_memory()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, work: Callable[[], Result], size: int) -> Iterator[Result]:
        """Ask for work of `size` bytes; yield results of earlier work that is not to wait any longer."""
        if self._pool is None:
            yield work()
            return
        self._waiting.append((self._pool.submit(work), size))
        self._bytes += size
        while self._bytes > self._most_bytes or len(self._waiting) > 2 * self._threads:
            yield self._first()

    def finish(self) -> Iterator[Result]:
        """Yield all results that have not been given back."""
        while self._waiting:
            yield self._first()

    def _first(self) -> Result:
        work, size = self._waiting.popleft()
        self._bytes -= size
        return work.result()


@cache
def keep_freed_memory() -> None:
    """Make glibc keep what arrays of up to 32 MB leave free, instead of asking for cleared memory each time.

    It learns that from the first such array that is freed. Without it, half of the time of ingest went there, and a
    tenth to a quarter of that of a training step on a CPU.
    """
    freed = np.empty(31 * 2**20, np.uint8)
    del freed
