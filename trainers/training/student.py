"""One student: settings in, metrics of each epoch out. It knows no Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaitforge.losses import Distillation, Heads, needed
from gaitforge.losses.nodes import check_joints
from gaitforge.records.trial import Trial
from gaitforge.settings import FitPlan
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import EpochMetrics, fit
from trainers.training.speed import home
from trainers.training.window_folder import (
    WindowFolder,
    load_examples,
    load_outputs,
    new_fitting,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentSpec:
    """All that decides a student's weights, as plain values that travel to other processes.

    `windows` is the window cache's folder and `teacher_outputs` that of the stored outputs.
    """

    family: str
    sizes: Mapping[str, Any]
    fit: Mapping[str, Any]  # FitPlan's keys
    weights: Mapping[str, float]  # of the distillation terms; none: the student learns alone
    temperature: float  # of 'kd'
    windows: str
    teacher_outputs: str
    temperatures: Mapping[str, float] = field(default_factory=dict)  # of the other terms
    warmup: float = 0.0  # share of all steps over which the weights grow from 0

    @property
    def distillation(self) -> Distillation:
        return Distillation(
            weights=self.weights,
            temperature=self.temperature,
            temperatures=self.temperatures,
            warmup=self.warmup,
        )

    def as_dict(self) -> dict[str, Any]:
        """As `Distillation.as_dict`, without what came later and is not used."""
        values = dataclasses.asdict(self)
        return {
            key: value
            for key, value in values.items()
            if value or key not in ("temperatures", "warmup")
        }

    def alone(self) -> StudentSpec:
        """The same student, recipe and epochs without distillation."""
        return dataclasses.replace(self, weights={}, temperatures={}, warmup=0.0)

    def with_seed(self, seed: int) -> StudentSpec:
        return dataclasses.replace(self, fit={**self.fit, "seed": seed})


def new_student(spec: StudentSpec) -> Fitting:
    """The student with the first weights that its seed gives, and the heads that its terms train along.

    Raises ValueError where terms compare joints that cannot be matched with the teacher's.
    """
    windows = WindowFolder.open(Path(spec.windows))
    plan = FitPlan(**spec.fit)
    heads = new_heads(spec, windows, plan.seed)
    return new_fitting(windows, spec.family, spec.sizes, plan, _device(), heads)


def new_heads(spec: StudentSpec, windows: WindowFolder, seed: int) -> Heads | None:
    """None where no term has one. The student's own first weights are the same with them and without."""
    terms = spec.distillation.terms
    if "joints" not in needed(terms, "stored"):
        return None
    student = windows.nodes(spec.family, spec.sizes)
    *_, joints, width = load_outputs(Path(spec.teacher_outputs), "joints").shape
    check_joints(student.joints, joints)
    names = needed(terms, "head")
    return Heads.new(names, student.width, width, seed) if names else None


def train_student(spec: StudentSpec, fitting: Fitting) -> Iterator[EpochMetrics]:
    """Train on the training people with the teacher's stored outputs; yield each epoch's metrics."""
    train, valid = taught(spec)
    return fit(fitting, train, valid, spec.distillation)


def taught(spec: StudentSpec) -> tuple[Examples, Examples]:
    """Training windows with what the student's terms read of the teacher's outputs, and validation windows."""
    train, valid = mapped(spec.windows, spec.teacher_outputs)
    return with_answers(train, spec), valid


def with_answers(train: Examples, spec: StudentSpec) -> Examples:
    """The training windows with what the student's terms read of the teacher's embedding and joints."""
    asked = needed(spec.distillation.terms, "stored")
    embedding, joints = (
        stored(spec.teacher_outputs, name) if name in asked else None
        for name in ("embedding", "joints")
    )
    return dataclasses.replace(train, teacher_embedding_NWD=embedding, teacher_joints_NWQVD=joints)


@lru_cache(maxsize=4)
def stored(teacher_outputs: str, name: str) -> Tensor:
    """One array of the teacher's outputs: mapped once per worker process, on its device where there is room."""
    array = load_outputs(Path(teacher_outputs), name)
    return array.to(home(array.nbytes, _device()))


@lru_cache(maxsize=2)
def mapped(windows: str, teacher_outputs: str) -> tuple[Examples, Examples]:
    """Training windows with the teacher's logits, and validation windows: mapped once per worker process."""
    folder = WindowFolder.open(Path(windows))
    train = load_examples(folder, "train", Path(teacher_outputs))
    valid = load_examples(folder, "validation")
    return train.to(home(train.bytes, _device())), valid.to(home(valid.bytes, _device()))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trial_spec(trial: Trial, windows: str, outputs: str) -> StudentSpec:
    """What decides the weights of a trial's student."""
    return StudentSpec(
        family=trial.family,
        sizes=trial.sizes,
        fit={**trial.recipe, "seed": trial.seed},
        # what trials of before there were other terms than 'kd' have is all of it
        weights=trial.distill["weights"],
        temperature=trial.distill["temperature"],
        temperatures=trial.distill.get("temperatures", {}),
        warmup=trial.distill.get("warmup", 0.0),
        windows=windows,
        teacher_outputs=outputs,
    )
