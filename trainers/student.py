"""One student: settings in, metrics of each epoch out. It knows no Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gaitforge.losses import Distillation
from gaitforge.settings import FitPlan
from trainers.examples import WindowFolder, load_examples, new_fitting
from trainers.loop import EpochMetrics, Examples, Fitting, fit
from trainers.speed import home


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentSpec:
    """All that decides a student's weights, as plain values that travel to other processes.

    `windows` is the window cache's folder and `teacher_outputs` that of the stored outputs.
    """

    family: str
    sizes: Mapping[str, Any]
    fit: Mapping[str, Any]  # FitPlan's keys
    weights: Mapping[str, float]  # of the distillation terms; none: the student learns alone
    temperature: float
    windows: str
    teacher_outputs: str

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def alone(self) -> StudentSpec:
        """The same student, recipe and epochs without distillation."""
        return dataclasses.replace(self, weights={})

    def with_seed(self, seed: int) -> StudentSpec:
        return dataclasses.replace(self, fit={**self.fit, "seed": seed})


def new_student(spec: StudentSpec) -> Fitting:
    """The student with the first weights that its seed gives."""
    windows = WindowFolder.open(Path(spec.windows))
    return new_fitting(windows, spec.family, spec.sizes, FitPlan(**spec.fit), _device())


def train_student(spec: StudentSpec, fitting: Fitting) -> Iterator[EpochMetrics]:
    """Train on the training people with the teacher's stored outputs; yield each epoch's metrics."""
    train, valid = mapped(spec.windows, spec.teacher_outputs)
    return fit(
        fitting, train, valid, Distillation(weights=spec.weights, temperature=spec.temperature)
    )


@lru_cache(maxsize=2)
def mapped(windows: str, teacher_outputs: str) -> tuple[Examples, Examples]:
    """Training windows with teacher outputs, and validation windows: mapped once per worker process."""
    folder = WindowFolder.open(Path(windows))
    train = load_examples(folder, "train", Path(teacher_outputs))
    valid = load_examples(folder, "validation")
    return train.to(home(train.bytes, _device())), valid.to(home(valid.bytes, _device()))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
