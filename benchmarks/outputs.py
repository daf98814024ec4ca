"""What the teacher's answers cost: seconds of CPU and memory by the number of views.

    python -m benchmarks.outputs [--views 1 4 16 64]

A DynSTG-Mamba teacher with random weights answers windows of random numbers, each number of views in a process
of its own that first loads the same, on one thread. Written are the logits, embedding and joints of every view, which
is what a search of all terms asks for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.process_status import ROOT, measure_apart, read_status_kb
from gaitforge.arrays import new_array
from gaitforge.layout import LAYOUTS
from gaitforge.models import make_sizes
from gaitforge.normalise import Normalisation
from gaitforge.views import Views
from gaitforge.windows import WindowSettings
from trainers.teacher.outputs import answer_all, find_shapes
from trainers.training.examples import Examples

WINDOWS, FRAMES, CLASSES = 512, 32, 4
LAYOUT = LAYOUTS["kinect25"]
SIZES = {"widths": [32, 64, 64], "strides": [1, 2, 2]}


def make_windows(views: int) -> Examples:
    """Random windows of a body of 25 joints."""
    rng = torch.Generator().manual_seed(0)
    joints, shape = LAYOUT.joint_count, (LAYOUT.joint_count, 3)
    settings = WindowSettings(length=FRAMES, views=views)
    scale = Normalisation(mean_VC=np.zeros(shape, np.float32), std_VC=np.ones(shape, np.float32))
    return Examples(
        torch.randn(WINDOWS, FRAMES, joints, 3, generator=rng),
        torch.ones(WINDOWS, FRAMES, joints, dtype=torch.bool),
        torch.arange(WINDOWS) % CLASSES,
        np.arange(WINDOWS),
        CLASSES,
        views=views,
        maker=Views.of(settings, LAYOUT, scale),
    )


def measure(views: int) -> dict[str, float]:
    """Return the CPU seconds of all answers, and the megabytes written and held in memory that is of no file."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train = make_windows(views)
    model = make_sizes("dynstg_mamba", SIZES).build(LAYOUT, 3, CLASSES).eval()
    shapes = find_shapes(model, train)  # compiles, too
    with tempfile.TemporaryDirectory(dir=ROOT / "work") as folder:
        arrays = {
            name: new_array(Path(folder) / f"{name}.npy", np.float16, (WINDOWS, views, *shape))
            for name, shape in shapes.items()
        }
        size = sum(array.nbytes for array in arrays.values()) / 1e6
        before = time.process_time()
        answer_all(model, train, arrays)
        seconds = time.process_time() - before
    own = read_status_kb("RssAnon") / 1000
    return {"views": views, "cpu_s": seconds, "written_mb": size, "own_mb": own}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--views", type=int, nargs="+", default=(1, 4, 16, 64))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return 0
    (ROOT / "work").mkdir(exist_ok=True)
    print(f"{WINDOWS} windows of [{FRAMES}, {LAYOUT.joint_count}, 3]")
    print(f"{'views':>6} {'CPU s':>8} {'a view':>8} {'written MB':>11} {'own memory MB':>14}")
    for views in options.views:
        row = measure_apart("benchmarks.outputs", "--one", str(views))
        print(
            f"{views:>6} {row['cpu_s']:>8.1f} {row['cpu_s'] / views:>8.2f} {row['written_mb']:>11.1f} "
            f"{row['own_mb']:>14.0f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
