"""Files of the teacher stage and the outputs stage: the model, its epochs, the reference, the head of the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gaitforge.layout import Layout
from gaitforge.recipe import Disturbance, off
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import Classes, Count, Moments, Number, Told, Windows


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherModel:
    """teacher/model.json: a trained teacher, the windows that it takes and what it was made from.

    The scores are those on the validation people, at its best epoch; of several members, which each keep their own
    best, those of all together. Parameters and multiply-accumulates are those of all members.
    """

    fingerprint: str
    family: str
    sizes: Mapping[str, Any]
    params: Count
    macs: Count
    val_macro_f1: Number
    val_accuracy: Number
    best_epoch: Count
    epochs: Count
    seconds: Number
    members: Count = field(default=1, metadata=off(1))
    cross_fit: bool = field(default=False, metadata=off(False))
    layout: Layout
    classes: Classes
    channels: Count
    windows: Windows
    normalisation: Moments
    weights_sha256: str
    provenance: Told


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherEpoch:
    """A row of teacher/history.parquet."""

    epoch: Count
    train_loss: Number
    val_macro_f1: Number
    val_accuracy: Number
    seconds: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveEpoch(TeacherEpoch):
    """A line of teacher/live.jsonl, which grows while a teacher is trained; `epochs` is how many there will be."""

    epochs: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """state.json beside the tensors of a teacher's checkpoint; `history` has all epochs so far."""

    epoch: Count
    step: Count
    best_epoch: Count
    history: Sequence[TeacherEpoch]
    time: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceFacts:
    """reference/reference.json: the machine's scores and, beside them, those of chance.

    Chance always answers the commonest class of the training recordings.
    """

    identity: str
    windows: str  # the key of the windows that it was fitted on
    width: Number | None  # of the kernel in median distances; None = a linear machine
    strength: Number  # of the ridge
    features: Count  # of a window
    params: Count
    val_macro_f1: Number
    val_accuracy: Number
    chance_class: str
    chance_val_macro_f1: Number
    chance_val_accuracy: Number
    seconds: Number
    weights_sha256: str
    provenance: Told


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputsHead:
    """teacher_outputs/outputs.json: what the teacher's stored answers were made from, their shapes and hashes.

    `embedding` is its width, `joint_features` the shape of a window's joints, [phases, joints, width]. `sha256` has
    the hash of each array's file by the array's name: only what terms of a search read is stored, and always the
    logits. `disturbance` is how the views were disturbed that the teacher answered.
    """

    identity: str
    windows: Count
    views: Count
    embedding: Count
    joint_features: tuple[Count, Count, Count]
    disturbance: Disturbance
    sha256: Mapping[str, str]
    provenance: Told


TEACHER = JsonFile(
    record=TeacherModel, what="a teacher", stage="gaitforge teacher run.toml",
    remedy="train it anew with `gaitforge teacher --fresh run.toml`, which sets aside what is there",
)  # fmt: skip
LIVE = JsonFile(record=LiveEpoch, schema=None, what="an epoch", stage="gaitforge teacher run.toml")
TRAINING = JsonFile(
    record=TrainingState, schema=None, what="a checkpoint", stage="gaitforge teacher run.toml",
    remedy="remove the folder teacher/ray and train again",
)  # fmt: skip
REFERENCE = JsonFile(
    record=ReferenceFacts, what="a reference", stage="gaitforge teacher run.toml",
    remedy="run `gaitforge teacher run.toml`, which fits it anew",
)  # fmt: skip
# 1 had no embedding.npy and joints.npy, 2 no hashes; in 3 all arrays were always there, and logits were floats
OUTPUTS = JsonFile(
    record=OutputsHead,
    schema=4,
    what="the head of teacher outputs",
    stage="gaitforge outputs run.toml",
)
