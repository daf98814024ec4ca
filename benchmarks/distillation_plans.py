"""The experiments of distillation.py: which people, models, recipe and ways to teach. Nothing else is tuned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gaitforge.losses import LOSSES
from gaitforge.records.json_file import plain
from gaitforge.settings import FitPlan
from gaitforge.windows import WindowSettings

Sizes = Mapping[str, Any]
TOGETHER = "all teachers"  # the mean of their logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One experiment: data, folds, models and recipe."""

    data: str
    folds: (
        tuple[tuple[str, ...], ...] | int
    )  # the people held out, or how many parts to deal them into
    windows: WindowSettings
    teachers: Mapping[str, tuple[str, Sizes]]  # the first one teaches where a way names none
    teacher_fit: FitPlan
    student: tuple[str, Sizes]
    student_fit: FitPlan
    parts: int = 0  # of the training people, each answered by a teacher that never saw it
    ways: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The teacher of the ways that name none."""
        return next(iter(self.teachers))

    def as_plain(self) -> dict[str, Any]:
        """The plan as JSON knows it, without its ways: rows are kept by the way that they are of."""
        told = {
            **dataclasses.asdict(self), "windows": self.windows.as_dict(),
            # what is off is left out, as before there was such a key
            "teacher_fit": plain(self.teacher_fit), "student_fit": plain(self.student_fit),
        }  # fmt: skip
        del told["ways"]
        return told


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train the student."""

    weights: Mapping[str, float] = field(default_factory=dict)
    label_smoothing: float = 0.0
    teacher: str | None = None  # one of the plan's, or TOGETHER; None: the first
    unseen: bool = False  # taught by teachers of the first kind that never saw the person
    average: float = 0.0  # of the weights, over that share of the last epochs
    consistency: float = 0.0  # weight of it, between four views
    views: int | None = None  # the first so many of the plan's; None: all


def middle(*terms: str) -> dict[str, float]:
    """Each term with the geometric mean of the weights that a search would try."""
    return {term: math.sqrt(math.prod(LOSSES[term].weight)) for term in terms}


RELATIONS = "cgrkd_batch", "cgrkd_nodes", "cgrkd_graphs"
WAYS: dict[str, Way] = {
    "alone": Way(),
    "label smoothing": Way(label_smoothing=0.1),
    "kd": Way(middle("kd")),
    "kd, heavy": Way({"kd": LOSSES["kd"].weight[1]}),
    "kd standardised": Way(middle("kd_standardised")),
    "dkd": Way(middle("dkd")),
    "dist": Way(middle("dist")),
    "rkd": Way(middle("rkd")),
    "sp": Way(middle("sp")),
    "hint": Way(middle("hint")),
    "attention": Way(middle("attention")),
    "cgrkd": Way(middle(*RELATIONS)),
    "kd + cgrkd": Way(middle("kd", *RELATIONS)),
    "kd + hint": Way(middle("kd", "hint")),
    "kd + hint + label smoothing": Way(middle("kd", "hint"), label_smoothing=0.1),
    "kd of stgcn": Way(middle("kd"), teacher="stgcn"),
    "kd + hint of stgcn": Way(middle("kd", "hint"), teacher="stgcn"),
    "kd of all teachers": Way(middle("kd"), teacher=TOGETHER),
    "kd, unseen": Way(middle("kd"), unseen=True),
    "dist, unseen": Way(middle("dist"), unseen=True),
    "alone, 4 views": Way(views=4),
    "average": Way(average=0.25),
    "consistency + average": Way(average=0.25, consistency=1.0),
    "kd + average": Way(middle("kd"), average=0.25),
    "kd of all teachers, 4 views": Way(middle("kd"), teacher=TOGETHER, views=4),
    "kd of all teachers, light": Way({"kd": 0.1}, teacher=TOGETHER),
    "kd of all teachers + average": Way(middle("kd"), teacher=TOGETHER, average=0.25),
    "wttm of all teachers": Way(middle("wttm"), teacher=TOGETHER),
    "kd, unseen, + average": Way(middle("kd"), unseen=True, average=0.25),
    "kd, unseen, + label smoothing": Way(middle("kd"), label_smoothing=0.1, unseen=True),
}

SMALL: Sizes = {"widths": [32, 64, 64], "strides": [1, 2, 2]}
MEDIUM: Sizes = {"widths": [64, 64, 128, 128], "strides": [1, 2, 1, 2]}
FULL: Sizes = {"temporal": "full", "dropout": 0.3}
KINECT = Plan(
    data="ui_prmd_kinect",
    folds=tuple((f"s{n:03}", f"s{n + 1:03}") for n in (9, 7, 5, 3, 1)),
    windows=WindowSettings(
        mode="resample", length=32, center="first", flip=False, rotation_deg=30.0
    ),
    teachers={
        "dynstg_mamba": ("dynstg_mamba", MEDIUM),
        "stgcn": ("stgcn", {**MEDIUM, **FULL}),
    },
    teacher_fit=FitPlan(epochs=12),
    student=(
        "dynstg_mamba",
        {"widths": [16, 20, 24], "strides": [2, 2, 1], "states": 8, "expand": 1, "filter": "static", "dropout": 0.1},
    ),
    student_fit=FitPlan(epochs=12),
    ways=(
        "alone", "label smoothing", "kd", "kd, heavy", "dkd", "dist", "hint", "cgrkd", "kd + cgrkd", "kd + hint",
        "kd + hint + label smoothing", "kd of stgcn", "kd + hint of stgcn",
    ),
)  # fmt: skip
AUVA = Plan(
    data="auva_grf",
    folds=10,
    windows=WindowSettings(mode="resample", length=51, flip=False, time_warp=0.05),
    teachers={
        "dynstg_mamba": ("dynstg_mamba", {**SMALL, "dropout": 0.3}),
        "stgcn": ("stgcn", {**SMALL, **FULL}),
        "ctrgcn": ("ctrgcn", {**SMALL, "dropout": 0.3}),
    },
    teacher_fit=FitPlan(epochs=30, jitter=0.1),
    student=(
        "dynstg_mamba",
        {"widths": [4, 8, 8], "strides": [2, 2, 1], "states": 4, "expand": 1, "filter": "static", "dropout": 0.1},
    ),
    student_fit=FitPlan(epochs=20),
    parts=3,
    ways=(
        "alone", "label smoothing", "kd", "kd, heavy", "kd standardised", "dkd", "dist", "rkd", "sp", "hint",
        "attention", "cgrkd", "kd + cgrkd", "kd + hint", "kd + hint + label smoothing", "kd of all teachers",
        "kd, unseen", "dist, unseen", "kd, unseen, + label smoothing",
    ),
)  # fmt: skip
# twice as long, a new view in every epoch, teachers without smoothed labels; written down before any of it was trained
AUVA_VIEWS = dataclasses.replace(
    AUVA,
    windows=dataclasses.replace(AUVA.windows, views=40),
    teacher_fit=FitPlan(epochs=30, jitter=0.1, label_smoothing=0.0),
    student_fit=FitPlan(epochs=40),
    ways=(
        "alone", "alone, 4 views", "label smoothing", "average", "consistency + average", "kd", "kd + average",
        "kd of all teachers", "kd of all teachers, 4 views", "kd of all teachers, light",
        "kd of all teachers + average", "wttm of all teachers", "kd, unseen", "kd, unseen, + average",
    ),
)  # fmt: skip
PLANS: dict[str, Plan] = {
    "auva_grf": AUVA,
    "auva_grf_views": AUVA_VIEWS,
    "ui_prmd_kinect": KINECT,
    # the network that others have trained on these people, at its published size: no student
    "ui_prmd_ctrgcn": dataclasses.replace(
        KINECT, folds=(("s009", "s010"),), windows=dataclasses.replace(KINECT.windows, length=64),
        teachers={"ctrgcn": ("ctrgcn", {})}, ways=(),
    ),
}  # fmt: skip
