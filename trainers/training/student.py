"""Train one student: settings in, metrics of each epoch out. It uses no Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaitforge.losses import Distillation, Heads, collect_needed
from gaitforge.losses.nodes import check_joints
from gaitforge.records.trial import Trial
from gaitforge.settings import FitPlan
from trainers.training.examples import load_outputs, load_taught
from trainers.training.fitting import Fitting
from trainers.training.loop import EpochMetrics, fit
from trainers.training.speed import find_device
from trainers.training.window_folder import WindowFolder, new_fitting


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentSpec:
    """Everything that decides a student's weights; it is sent to other processes.

    `windows` is the window cache's folder and `teacher_outputs` that of the stored outputs.
    """

    family: str
    sizes: Mapping[str, Any]
    plan: FitPlan
    distillation: Distillation  # without terms the student learns alone
    windows: str
    teacher_outputs: str

    @classmethod
    def of(cls, trial: Trial, windows: str, teacher_outputs: str) -> StudentSpec:
        """Collect what decides the weights of a trial's student."""
        return cls(
            family=trial.family,
            sizes=trial.sizes,
            plan=trial.plan,
            distillation=trial.distill,
            windows=windows,
            teacher_outputs=teacher_outputs,
        )

    def alone(self) -> StudentSpec:
        """Return the same student, recipe and epochs without distillation."""
        return dataclasses.replace(self, distillation=self.distillation.off)

    def with_seed(self, seed: int) -> StudentSpec:
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, seed=seed))


def new_student(spec: StudentSpec) -> Fitting:
    """Build the student with the first weights that its seed gives, and the heads that its loss terms train along.

    Raises ValueError where terms compare joints that cannot be matched with the teacher's.
    """
    windows = WindowFolder.open(Path(spec.windows))
    heads = new_heads(spec, windows, spec.plan.seed)
    return new_fitting(windows, spec.family, spec.sizes, spec.plan, find_device(), heads)


def new_heads(spec: StudentSpec, windows: WindowFolder, seed: int) -> Heads | None:
    """Build the heads that the loss terms train along; None where no term has one.

    The student's own first weights are the same with heads and without. Raises ValueError where terms
    compare joints that cannot be matched with the teacher's.
    """
    terms = spec.distillation.terms
    if "joints" not in collect_needed(terms, "stored"):
        return None
    student = windows.find_node_shape(spec.family, spec.sizes)
    *_, joints, width = load_outputs(Path(spec.teacher_outputs), "joints").shape
    check_joints(student.joints, joints)
    names = collect_needed(terms, "head")
    return Heads.new(names, student.width, width, seed) if names else None


def train_student(spec: StudentSpec, fitting: Fitting) -> Iterator[EpochMetrics]:
    """Train on the training people with the teacher's stored outputs; yield each epoch's metrics."""
    train, valid = load_taught(spec.windows, spec.teacher_outputs, spec.distillation.terms)
    return fit(fitting, train, valid, spec.distillation)
