"""Ingest of many recordings from the exchange format: recordings for each second of CPU, by part, and the most memory.

    python -m benchmarks.ingest --recordings 100000

Recordings of 100 frames of kinect25, walkers with noise of their own, in files of 10,000. CPU seconds, so that other
work on the machine counts little: reading alone, with the checks of `read_files`, and with the store; then what `open`
takes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.process_status import read_status_kb
from gaitforge.ingest import ReadOptions, read_files
from gaitforge.ingest.npz import read_npz
from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.layout import LAYOUTS
from gaitforge.quality import QualitySettings
from gaitforge.store import SkeletonStore

FRAMES, IN_A_FILE, PER_PERSON = 100, 10_000, 10
LAYOUT = LAYOUTS["kinect25"]


def write_files(folder: Path, recordings: int) -> list[Path]:
    """Write the recordings, people of ten recordings each, in two classes; return the files."""
    settings = SyntheticSettings(people_per_class=2, recordings_per_person=1, layout=LAYOUT.name)
    walks = [walker.positions_TVC[:FRAMES] for walker in synthetic_cohort(settings)]
    rng = np.random.default_rng(0)
    paths = []
    for first in range(0, recordings, IN_A_FILE):
        count = min(IN_A_FILE, recordings - first)
        frames = np.empty((count * FRAMES, LAYOUT.joint_count, 3), np.float32)
        for n in range(count):
            walk = walks[n % len(walks)]
            noise = rng.normal(0, 0.05, walk.shape).astype(np.float32)
            frames[n * FRAMES : (n + 1) * FRAMES] = walk + noise
        numbers = np.arange(first, first + count) // PER_PERSON
        paths.append(folder / f"walks{first // IN_A_FILE:04d}.npz")
        np.savez(
            paths[-1], allow_pickle=False, frames=frames, offsets=np.arange(count + 1) * FRAMES, subject=numbers,
            label=np.where(numbers % 2, "ill", "well"),
        )  # fmt: skip
    return paths


def measure(run: Callable[[], object]) -> float:
    """Return the CPU seconds of this process."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=int, default=100_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=Path(__file__).parents[1] / "work"))
    try:
        paths = write_files(folder, options.recordings)
        how = ReadOptions()

        def read() -> None:
            for path in paths:
                for _ in read_npz(path, LAYOUT, how):
                    pass

        def check() -> None:
            for _ in read_files(paths, LAYOUT, how, quality=QualitySettings()):
                pass

        def store() -> None:
            items = read_files(paths, LAYOUT, how, quality=QualitySettings())
            SkeletonStore.write(folder / "store", LAYOUT, items, "benchmark")

        for name, run in (("read", read), ("read and checked", check), ("into the store", store)):
            seconds = measure(run)
            print(
                f"{name:<18} {options.recordings / seconds:>8,.0f} recordings a CPU second, at most "
                f"{read_status_kb('VmHWM') / 1000:,.0f} MB",
                flush=True,
            )
        start = time.monotonic()
        index = SkeletonStore.open(folder / "store").read_index()
        print(f"opened with its index of {len(index):,} in {time.monotonic() - start:.2f} s")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
