"""The command line, with students and teachers that die in their workers: `python -m tests.deadly_line`.

DEADLY says where and how, as "search 1 SIGSEGV, search 2 sticky": trials of a search. "confirm 10000
SIGABRT" is the refits with that seed, "teacher 1 SIGSEGV" a teacher in its first epoch: later ones are
reported, and a report that the death overtakes would make one more beginning. "sticky" is an error as
CUDA's, after which a process is of no use. Each beginning is a line in the file DEADLY_LOG.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers.search.trial import TrialContext
from trainers.training.fitting import Fitting
from trainers.training.loop import EpochMetrics
from trainers.training.student import StudentSpec
from trainers.training.window_folder import NodeData

STICKY = "CUDA error: an illegal memory access was encountered"


def die(how: str) -> None:
    if how == "sticky":
        raise RuntimeError(f"{STICKY}\nand a second line")
    if how == "SIGSEGV":
        ctypes.string_at(0)  # reads the address 0, as faulty native code does
    os.kill(os.getpid(), getattr(signal, how))


def begin(stage: str, number: int) -> str | None:
    """Note that work begins; how it is to die, or None."""
    with Path(os.environ["DEADLY_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{stage} {number} {os.getpid()}\n")
    for victim in os.environ["DEADLY"].split(", "):
        *which, how = victim.split()
        if which == [stage, str(number)]:
            return how
    return None


def tune_trial(config: dict[str, Any], context: TrialContext) -> None:
    from trainers.search import search, trial

    how = begin("search", json.loads(config["trial"])["number"])
    vars(trial)["train_student"] = dying(how)
    search.tune_trial(config, context)


def refit_in_worker(refit: Any, root: str, data: NodeData | None) -> str:
    from trainers.confirm import confirm

    vars(confirm)["train_student"] = dying(begin("confirm", refit.seed))
    return confirm.refit_in_worker(refit, root, data)


def train_worker(config: dict[str, Any]) -> None:
    from trainers.teacher import teacher

    how = begin("teacher", 1)
    original = teacher.TrainingHistory.add

    def add(self: Any, metrics: EpochMetrics, model: Any) -> None:
        if how is not None and metrics.epoch == 1:
            die(how)
        original(self, metrics, model)

    teacher.TrainingHistory.add = add  # type: ignore[method-assign]
    teacher.train_worker(config)


def dying(how: str | None) -> Any:
    """A `train_student` that dies after its first epoch; the real one where `how` is None."""
    from trainers.training.student import train_student

    def train(spec: StudentSpec, fitting: Fitting) -> Iterator[EpochMetrics]:
        for metrics in train_student(spec, fitting):
            yield metrics
            if how is not None:
                die(how)

    return train


def main() -> int:
    from tests import deadly_line  # by its name, by which workers find it
    from trainers.__main__ import main as command
    from trainers.confirm import confirm
    from trainers.search import search
    from trainers.teacher import teacher

    # what stands in a module's own function goes on to call the real one, in the worker
    search.tune_trial = deadly_line.tune_trial
    confirm.refit_in_worker = deadly_line.refit_in_worker
    teacher.train_worker = deadly_line.train_worker
    return command()


if __name__ == "__main__":
    sys.exit(main())
