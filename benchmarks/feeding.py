"""What it costs to feed a training step: CPU time of a memory copy of the same bytes over that of each way.

    python -m benchmarks.feeding

Batches of 64 windows [120, 25, 3] in random order, from an array in memory or mapped from the disk. 1 would be as good
as copying a block of memory. Each way runs in a process of its own, beside a copy of its own, and its peak memory is
what the kernel tells of it. CPU time, not seconds, so that other work on the machine counts little. Ways:

    gathered     what a training step takes of the file: `Examples.take_batch` without views
    views        the same, made into views: mirrored, turned, resized, warped in time and scaled
    two indices  as it was before: `array[windows, views].float()`
    numpy take   `numpy.take` into a buffer that is used again
    select out   `torch.index_select` into a buffer that is used again
    list         a list of arrays, stacked by torch's DataLoader, as pyskl has it
    ray data     `iter_torch_batches` of Ray Data, shuffled in blocks (needs Ray, local)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.process_status import ROOT, measure_apart, read_status_kb
from gaitforge.layout import LAYOUTS
from gaitforge.normalise import Normalisation
from gaitforge.views import Views
from gaitforge.windows import WindowSettings
from trainers.training.examples import Examples

SHAPE = (120, 25, 3)
BATCH, MOST_BATCHES, REPEATS = 64, 150, 3
SIZES = (5_000, 100_000)
WAYS = ("gathered", "views", "two indices", "numpy take", "select out", "list", "ray data")
PLACES = ("memory", "mapped")
Floats = NDArray[np.float32]


def make_array(path: Path, windows: int) -> None:
    """Write windows of random numbers, unless the file is there whole."""
    wanted = windows * int(np.prod(SHAPE)) * 4
    if path.is_file() and path.stat().st_size > wanted:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(
        path.with_suffix(".draft"), mode="w+", dtype=np.float32, shape=(windows, *SHAPE)
    )
    rng = np.random.default_rng(0)
    for start in range(0, windows, 1000):
        part = array[start : start + 1000]
        part[:] = rng.random(part.shape, dtype=np.float32)
    array.flush()
    path.with_suffix(".draft").rename(path)


def feed(way: str, array: Floats, order: NDArray[np.int64]) -> Iterator[Tensor]:
    """Yield batches of the windows in this order, as float tensors [64, 120, 25, 3]."""
    batches = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
    tensor = torch.from_numpy(array)
    first = torch.zeros(BATCH, dtype=torch.int64)
    buffer = np.empty((BATCH, *SHAPE), np.float32)
    if way in ("gathered", "views"):
        count = len(array)
        # no memory, which would be taken and cleared within what is timed
        seen = torch.ones((1, 1, 1), dtype=torch.bool).expand(count, *SHAPE[:2])
        examples = Examples(
            tensor, seen, torch.zeros(count, dtype=torch.int64), np.zeros(count, np.int64), 2
        )
        if way == "views":
            shape = SHAPE[1:]
            scale = Normalisation(
                mean_VC=np.zeros(shape, np.float32), std_VC=np.ones(shape, np.float32)
            )
            settings = WindowSettings(length=SHAPE[0], views=40)
            maker = Views.of(settings, LAYOUTS["kinect25"], scale)
            examples = dataclasses.replace(examples, views=40, maker=maker)
        for number, index in enumerate(batches):
            view = torch.full((len(index),), number % 40)
            yield examples.take_batch(torch.from_numpy(index), view).joints_BTVC
    elif way == "two indices":
        for index in batches:
            yield tensor[:, None][torch.from_numpy(index), first].float()
    elif way == "numpy take":
        for index in batches:
            yield torch.from_numpy(np.take(array, index, axis=0, out=buffer, mode="clip"))
    elif way == "select out":
        flat, out = tensor, torch.from_numpy(buffer)
        for index in batches:
            yield torch.index_select(flat, 0, torch.from_numpy(index), out=out)
    elif way == "list":
        recordings = [one.copy() for one in array]
        loader: Any = torch.utils.data.DataLoader(
            recordings,  # type: ignore[arg-type]  # a list is a map-style dataset
            batch_size=BATCH,
            sampler=order.tolist(),
            drop_last=True,
        )
        yield from loader
    else:
        yield from _feed_ray(array, order)


def _feed_ray(array: Floats, order: NDArray[np.int64]) -> Iterator[Tensor]:
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    data = ray.data.from_numpy([np.ascontiguousarray(part) for part in np.array_split(array, 8)])
    for batch in data.iter_torch_batches(
        batch_size=BATCH, local_shuffle_buffer_size=16 * BATCH, drop_last=True
    ):
        yield batch["data"]


def measure(way: str, place: str, path: Path) -> dict[str, Any]:
    """Return the ratio and the windows that were fed for each second of CPU, and the peak of memory in MB."""
    torch.set_num_threads(1)
    array: Floats = np.load(path, mmap_mode="c" if place == "mapped" else None)
    order = np.random.default_rng(1).permutation(len(array))[: MOST_BATCHES * BATCH]
    source, target = np.ones((BATCH, *SHAPE), np.float32), np.empty((BATCH, *SHAPE), np.float32)
    blocks = [array[n : n + BATCH] for n in range(0, len(order) - BATCH + 1, BATCH)]

    def copy() -> int:
        for block in blocks:
            np.copyto(target, block)
        return len(blocks)

    def run() -> int:
        return sum(1 for batch in feed(way, array, order) if float(batch[0, 0, 0, 0]) >= 0)

    np.copyto(target, source)
    if way in ("list", "ray data"):
        # what is made once is no part of it: the second half of the batches, by the time between them
        stream = feed(way, array, order)
        half = max(1, len(blocks) // 2)
        for _ in range(half):
            next(stream)
        used = _time(lambda: sum(1 for _, _ in zip(range(half), stream, strict=False)))
    else:
        used = min((_time(run) for _ in range(REPEATS)), key=lambda pair: pair[0] / pair[1])
    base = min((_time(copy) for _ in range(REPEATS)), key=lambda pair: pair[0] / pair[1])
    per_batch, copied = used[0] / used[1], base[0] / base[1]
    return {
        "way": way, "place": place, "windows": len(array), "ratio": copied / per_batch,
        "windows_per_cpu_s": BATCH / per_batch, "peak_mb": read_status_kb("VmHWM") / 1000,
    }  # fmt: skip


def _time(run: Callable[[], int]) -> tuple[float, int]:
    start = time.process_time()
    batches = run()
    return time.process_time() - start, max(batches, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "feeding")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "PLACE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], options.one[1], Path(options.one[2]))))
        return 0
    print(
        f"{'way':<12} {'place':<7} {'windows':>8} {'of a copy':>9} {'windows/CPU s':>14} {'peak MB':>8}"
    )
    for windows in options.sizes:
        path = options.out / f"{windows}.npy"
        make_array(path, windows)
        for way in options.ways:
            for place in PLACES if way not in ("list", "ray data") else PLACES[1:]:
                try:
                    row = measure_apart("benchmarks.feeding", "--one", way, place, str(path))
                except RuntimeError as error:
                    print(f"{way:<12} {place:<7} {windows:>8,} failed: {error}")
                    continue
                print(
                    f"{way:<12} {row['place']:<7} {windows:>8,} {row['ratio']:>9.2f} "
                    f"{row['windows_per_cpu_s']:>14,.0f} {row['peak_mb']:>8,.0f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
