"""Read the trained teacher from its files, and tell what it and its outputs are made from; trains nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from gaitforge.arrays import Damaged, check_array
from gaitforge.losses import collect_needed
from gaitforge.models.ensemble import Ensemble
from gaitforge.provenance import Provenance
from gaitforge.recipe import CLEAN, Disturbance
from gaitforge.records.search import SEARCH
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.weights import find_weights_fault
from gaitforge.work import (
    OutputsFolder,
    SplitFolder,
    fingerprint,
)
from trainers.training.kept_weights import load_kept
from trainers.training.window_folder import WindowFolder

ANEW = "train it anew with `gaitforge teacher --fresh run.toml`, which sets aside what is there"


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A trained teacher as `teacher/model.json` describes it."""

    fingerprint: str
    family: str
    sizes: Mapping[str, Any]
    params: int
    macs: int
    val_macro_f1: float
    val_accuracy: float
    best_epoch: int
    epochs: int
    seconds: float
    provenance: Provenance
    members: int = 1
    cross_fit: bool = False

    @classmethod
    def read(cls, folder: SplitFolder) -> Teacher:
        """Read `teacher/model.json`; raises FileNotFoundError without one, ValueError where it cannot be used."""
        told = TEACHER.find(folder.teacher_model)
        if told is None:
            raise FileNotFoundError(
                f"There is no teacher in {folder.teacher}; run `gaitforge teacher run.toml` first."
            )
        return cls(
            fingerprint=told.fingerprint, family=told.family, sizes=told.sizes, params=told.params, macs=told.macs,
            val_macro_f1=told.val_macro_f1, val_accuracy=told.val_accuracy, best_epoch=told.best_epoch,
            epochs=told.epochs, seconds=told.seconds, members=told.members, cross_fit=told.cross_fit,
            provenance=told.provenance,
        )  # fmt: skip

    def load(self, folder: SplitFolder, windows: WindowFolder) -> nn.Module:
        """Load the trained model, in evaluation mode, on the CPU.

        Raises ValueError where the weights are not those that `model.json` tells of.
        """
        model = build_teacher(windows, self.family, self.sizes, self.members)
        load_kept(model, folder.teacher_model, ANEW)
        return model.eval()


def build_teacher(
    windows: WindowFolder, family: str, sizes: Mapping[str, Any], members: int
) -> nn.Module:
    """Build a teacher's model, an Ensemble where it has several members, with weights that are to be loaded."""
    built = [windows.build(family, sizes) for _ in range(members)]
    return built[0] if members == 1 else Ensemble(built)


def teacher_provenance(
    identity: str, windows: Provenance, learned_from: Iterable[str]
) -> Provenance:
    """Return the provenance of a teacher of that identity, also before there is one.

    `learned_from` are all people that decide its weights; the validation people choose its epoch.
    """
    sources = {"windows": windows}
    if "split" in windows.made_from:  # so that the split stage knows what was made for another
        sources["split"] = Provenance(identity=windows.made_from["split"])
    return Provenance.of(identity, sources, learned_from)


def check_weights(folder: SplitFolder) -> None:
    """Raise ValueError where there is a teacher and its weights are not those that its `model.json` tells of."""
    head = folder.teacher_model
    fault = find_weights_fault(head) if head.is_file() else None
    if fault is not None:
        raise ValueError(f"{fault}; {ANEW}.")


def check_replaced(folder: SplitFolder, identity: str, fresh: bool) -> None:
    """Raise ValueError where students of another teacher than this have been searched, unless `fresh`."""
    search = None if fresh else SEARCH.find(folder.search_head)
    if search is None:
        return
    teacher = TEACHER.find(folder.teacher_model)
    before = search.provenance.made_from.get("teacher") if teacher is None else teacher.fingerprint
    if before not in (None, identity):
        raise ValueError(
            f"{folder.root} holds students of another teacher (the data, the split, the windows or the "
            "teacher's settings have changed); undo the change, choose another work folder, or begin anew "
            "with `gaitforge run --fresh run.toml`."
        )


def find_outputs_fault(files: OutputsFolder, terms: Iterable[str] = ()) -> str | None:
    """Say which array is not the one that the outputs' head tells of, as a sentence begins; None if all are.

    Those that the loss terms read must be there.
    """
    head = OUTPUTS.read(files.head)
    each = (head.windows, head.views)
    shapes: dict[str, tuple[int | None, ...]] = {
        "logits": (*each, None),
        "embedding": (*each, head.embedding),
        "joints": (*each, *head.joint_features),
    }
    needed = {"logits", *collect_needed(terms, "stored"), *head.sha256}
    try:
        for name, shape in shapes.items():
            if name in needed:
                check_array(files.array(name), head.sha256.get(name), np.float16, shape)
    except Damaged as error:
        return str(error)
    return None


def outputs_provenance(
    teacher: Provenance, windows: Provenance, answered: Disturbance = CLEAN
) -> Provenance:
    """Return the provenance of a teacher's outputs, also before there are any.

    `answered` is how the views are disturbed that it answers.
    """
    identity = fingerprint(
        {"teacher": teacher.identity, "windows": windows.identity, "schema": OUTPUTS.schema}
        | ({} if answered.is_none else {"disturbance": dataclasses.asdict(answered)})
    )
    return Provenance.of(identity, {"teacher": teacher, "windows": windows})


def read_outputs_provenance(
    folder: SplitFolder, teacher: Provenance, windows: Provenance
) -> Provenance:
    """Return the provenance of the outputs in the folder; where they are not of this teacher, of what it would give."""
    head = OUTPUTS.find(folder.outputs.head)
    answered = CLEAN if head is None else head.disturbance
    return outputs_provenance(teacher, windows, answered)
