"""Two writers of one store, killed at random moments: it opens after each kill, and holds one whole version.

    python -m benchmarks.store_kills --kills 100

Each writer writes versions of its own without end, of 1 to 40 recordings whose numbers tell writer and version. One of
the two is killed by `kill -9` at a seeded moment and started again. After each kill the store must open, hold every
recording of one version once, with the numbers that were written, and be no older than a version that a writer has said
to be in force.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.store import SkeletonStore

ROOT = Path(__file__).parents[1]
LAYOUT = Layout(name="leg", joints=("hip", "knee"), bones=((0, 1),))
MOST_S = 1.5  # from one kill to the next


def make_version(writer: int, version: int) -> list[Recording]:
    """Return the recordings of a version; all that they hold follows from the two numbers."""
    count = 1 + (7 * version + 3 * writer) % 40
    return [
        Recording(
            recording=f"w{writer}-v{version}-{n}",
            person=f"p{n}",
            label="ill" if n % 2 else "well",
            positions_TVC=np.full((5, 2, 3), 1000 * version + n, np.float32),
        )
        for n in range(count)
    ]


def write_on(folder: Path, writer: int, first: int) -> None:
    """Write versions without end; print each once it is in force."""
    version = first
    while True:
        try:
            written = SkeletonStore.write(
                folder, LAYOUT, make_version(writer, version), f"{writer}-{version}"
            )
        except ValueError as error:  # the other one was first
            if "took no new version" not in str(error):
                raise
            continue
        print(f"{written.version} {version}", flush=True)
        version += 1


def find_fault(folder: Path, least: int) -> str:
    """Return what is wrong with the store, "" for nothing; it must be at least of the log's version `least`."""
    try:
        store = SkeletonStore.open(folder)
        found = list(store.read_recordings())
    except FileNotFoundError:
        return "" if least < 0 else "the store is gone"
    writer, version = map(int, store.info.fingerprint.split("-"))
    wanted = {item.recording: item for item in make_version(writer, version)}
    if sorted(item.recording for item in found) != sorted(wanted):
        return f"version {version} of writer {writer} holds other recordings than were written"
    for item in found:
        if not np.array_equal(item.positions_TVC, wanted[item.recording].positions_TVC):
            return f"{item.recording} holds other numbers than were written"
    if store.info.version < least:
        return f"version {store.info.version} is in force, but {least} was before"
    return ""


def run(folder: Path, kills: int, seed: int) -> list[str]:
    """Kill writers `kills` times; return what was wrong, and print how many versions were written."""
    chance = random.Random(seed)
    begun = [0, 0]
    writers = [_start(folder, writer, 0) for writer in (0, 1)]
    said: list[int] = []
    faults = []
    for number in range(kills):
        time.sleep(chance.uniform(0, MOST_S))
        victim = chance.randrange(2)
        process = writers[victim]
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        lines = [line.split() for line in out.splitlines()]
        said += [int(line[0]) for line in lines]
        begun[victim] += 1000
        if err.strip():
            faults.append(f"kill {number}: the writer said {err.strip().splitlines()[-1]}")
        if fault := find_fault(folder, max((int(line[0]) for line in lines), default=-1)):
            faults.append(f"kill {number}: {fault}")
        writers[victim] = _start(folder, victim, begun[victim])
    for process in writers:
        process.kill()
        said += [int(line.split()[0]) for line in process.communicate()[0].splitlines()]
    if fault := find_fault(folder, max(said, default=-1)):
        faults.append(f"at the end: {fault}")
    if len(set(said)) != len(said):
        faults.append("two writers were told the same version of the log")
    print(f"{kills} kills, {len(said):,} versions in force, {len(faults)} faults")
    return faults


def _start(folder: Path, writer: int, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.store_kills", "--writer", str(writer), str(first), "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--writer", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        write_on(options.out, *options.writer)
    folder = options.out or Path(tempfile.mkdtemp())
    faults = run(folder / "store", options.kills, options.seed)
    if not options.out:
        shutil.rmtree(folder)
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
