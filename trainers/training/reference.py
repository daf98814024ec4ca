"""The reference in its place on the line: fitted before the teacher, kept, and scored on the same people."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from safetensors.numpy import load, save

from gaitforge.provenance import Provenance
from gaitforge.reference import (
    FORMAT,
    Reference,
    Scores,
    chance_scores,
    fit_reference,
    majority_class,
    recording_labels,
)
from gaitforge.weights import read_weights, weights_fault, write_weights
from gaitforge.work import SplitFolder, fingerprint, read_object, write_json
from trainers.terminal.say import say
from trainers.training.predictions import write_predictions
from trainers.training.scoring import score_logits
from trainers.training.window_folder import WindowFolder, load_examples

MODEL = "reference"  # in the predictions table
SEED = 0  # of the random features, and of the seed that the predictions table names


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceFacts:
    """What `reference/reference.json` tells: the machine's scores and, beside them, those of chance.

    Chance always answers the commonest class of the training recordings.
    """

    identity: str
    windows: str  # the key of the windows that it was fitted on
    width: float | None  # of the kernel in median distances; None = a linear machine
    strength: float  # of the ridge
    features: int  # of a window
    params: int
    val_macro_f1: float
    val_accuracy: float
    chance_class: str
    chance_val_macro_f1: float
    chance_val_accuracy: float
    seconds: float

    @classmethod
    def read(cls, folder: SplitFolder) -> ReferenceFacts:
        path = folder.reference / "reference.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no reference in {folder.reference}; run `gaitforge teacher` first."
            )
        data = read_object(path, *(item.name for item in dataclasses.fields(cls)))
        return cls(**{item.name: data[item.name] for item in dataclasses.fields(cls)})


def write_reference(windows: WindowFolder, folder: SplitFolder) -> ReferenceFacts:
    """Write `reference/` and its predictions for the validation people; one of the same windows is kept as it is."""
    identity = fingerprint({"windows": windows.key, "seed": SEED, "format": FORMAT})
    head = folder.reference / "reference.json"
    if head.is_file():
        kept = ReferenceFacts.read(folder)
        fault = weights_fault(head)
        if kept.identity == identity and fault is None:
            return kept
        if fault is not None:
            say(f"  {fault}: the reference is fitted anew")
    started = time.monotonic()
    train, valid = windows.role("train"), windows.role("validation")
    machine, choice = fit_reference(train, valid, len(windows.classes), SEED)
    arrays = machine.arrays()
    common = majority_class(recording_labels(train), len(windows.classes))
    chance = validation_chance(windows)
    facts = ReferenceFacts(
        identity=identity, windows=windows.key, width=choice.width, strength=choice.strength,
        features=len(machine.lift.mean_F), params=sum(array.size for array in arrays.values()),
        val_macro_f1=choice.valid.macro_f1, val_accuracy=choice.valid.accuracy,
        chance_class=windows.classes[common], chance_val_macro_f1=chance.macro_f1,
        chance_val_accuracy=chance.accuracy, seconds=time.monotonic() - started,
    )  # fmt: skip
    # it would describe other weights if we were killed before the end
    head.unlink(missing_ok=True)
    weights = write_weights(head, save(arrays))
    _predict(machine, windows, folder, "validation")
    told = Provenance.of(
        identity, {"windows": windows.provenance}, {*train.persons, *valid.persons}
    )
    write_json(
        head, {"schema": 1, **dataclasses.asdict(facts), **weights, "provenance": told.as_dict()}
    )
    return facts


def load_reference(folder: SplitFolder) -> Reference:
    """The fitted machine; raises FileNotFoundError before the teacher stage."""
    ReferenceFacts.read(folder)
    head = folder.reference / "reference.json"
    return Reference.from_arrays(
        load(read_weights(head, "run `gaitforge teacher`, which fits it anew"))
    )


def score_reference(windows: WindowFolder, folder: SplitFolder) -> None:
    """Write the reference's predictions for the confirm people; an older folder gets its reference first."""
    write_reference(windows, folder)
    _predict(load_reference(folder), windows, folder, "confirm")


def validation_chance(windows: WindowFolder) -> Scores:
    """What always answering the commonest class of the training people scores on the validation people."""
    train, valid = (recording_labels(windows.role(role)) for role in ("train", "validation"))
    return chance_scores(train, valid, len(windows.classes))


def beside_teacher(teacher_f1: float, facts: ReferenceFacts) -> str:
    """Teacher, reference and chance on the validation people, in one line."""
    kind = "linear" if facts.width is None else "random features"
    return (
        f"macro F1 on the validation people: teacher {teacher_f1:.3f}, reference {facts.val_macro_f1:.3f} "
        f"(ridge regression, {kind}), chance {facts.chance_val_macro_f1:.3f} (always '{facts.chance_class}')"
    )


def _predict(machine: Reference, windows: WindowFolder, folder: SplitFolder, role: str) -> None:
    scored = score_logits(machine.logits(windows.role(role)), load_examples(windows, role))
    write_predictions(folder, windows, role, MODEL, None, SEED, scored)
