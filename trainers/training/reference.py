"""The reference (ridge regression): fitted before the teacher, kept, and scored on the same people."""

from __future__ import annotations

import time

from safetensors.numpy import load, save

from gaitforge.provenance import Provenance
from gaitforge.records.json_file import Unreadable
from gaitforge.records.teacher import REFERENCE, ReferenceFacts
from gaitforge.reference import (
    FORMAT,
    Reference,
    Scores,
    fit_reference,
    majority_class,
    recording_labels,
    score_chance,
)
from gaitforge.weights import find_weights_fault, read_weights, write_weights
from gaitforge.work import SplitFolder, fingerprint
from trainers.terminal.say import say
from trainers.training.examples import load_examples
from trainers.training.predictions import write_predictions
from trainers.training.scoring import score_logits
from trainers.training.window_folder import WindowFolder

MODEL = "reference"  # in the predictions table
SEED = 0  # of the random features, and of the seed that the predictions table names


def read_reference(folder: SplitFolder) -> ReferenceFacts:
    """Read the facts that `reference/` keeps; raises FileNotFoundError before the teacher stage."""
    facts = REFERENCE.find(folder.reference_facts)
    if facts is None:
        raise FileNotFoundError(
            f"There is no reference in {folder.reference}; run `gaitforge teacher run.toml` first."
        )
    return facts


def write_reference(windows: WindowFolder, folder: SplitFolder) -> ReferenceFacts:
    """Fit the reference; write `reference/` and its predictions for the validation people.

    A reference of the same windows whose weights are whole is kept as it is.
    """
    identity = fingerprint({"windows": windows.key, "seed": SEED, "format": FORMAT})
    head = folder.reference_facts
    try:
        kept = REFERENCE.find(head)
    except Unreadable as error:  # it costs little
        say(f"  {head} cannot be used ({error.found}): the reference is fitted anew")
        kept = None
    if kept is not None:
        fault = find_weights_fault(head)
        if kept.identity == identity and fault is None:
            return kept
        if fault is not None:
            say(f"  {fault}: the reference is fitted anew")
    started = time.monotonic()
    train, valid = windows.open_role("train"), windows.open_role("validation")
    machine, choice = fit_reference(train, valid, len(windows.classes), SEED)
    arrays = machine.as_arrays()
    common = majority_class(recording_labels(train), len(windows.classes))
    chance = score_validation_chance(windows)
    seconds = time.monotonic() - started
    # it would describe other weights if we were killed before the end
    head.unlink(missing_ok=True)
    weights = write_weights(head, save(arrays))
    _predict(machine, windows, folder, "validation")
    told = Provenance.of(
        identity, {"windows": windows.provenance}, {*train.persons, *valid.persons}
    )
    facts = ReferenceFacts(
        identity=identity, windows=windows.key, width=choice.width, strength=choice.strength,
        features=len(machine.lift.mean_F), params=sum(array.size for array in arrays.values()),
        val_macro_f1=choice.valid.macro_f1, val_accuracy=choice.valid.accuracy,
        chance_class=windows.classes[common], chance_val_macro_f1=chance.macro_f1,
        chance_val_accuracy=chance.accuracy, seconds=seconds, **weights, provenance=told,
    )  # fmt: skip
    REFERENCE.write(head, facts)
    return facts


def load_reference(folder: SplitFolder) -> Reference:
    """Load the fitted reference; raises FileNotFoundError before the teacher stage."""
    read_reference(folder)
    head = folder.reference_facts
    return Reference.from_arrays(
        load(read_weights(head, "run `gaitforge teacher run.toml`, which fits it anew"))
    )


def score_reference(windows: WindowFolder, folder: SplitFolder) -> None:
    """Write the reference's predictions for the confirm people; fit it again first where it has been removed."""
    write_reference(windows, folder)
    _predict(load_reference(folder), windows, folder, "confirm")


def score_validation_chance(windows: WindowFolder) -> Scores:
    """Score always answering the training people's commonest class on the validation people."""
    train, valid = (recording_labels(windows.open_role(role)) for role in ("train", "validation"))
    return score_chance(train, valid, len(windows.classes))


def say_beside_teacher(teacher_f1: float, facts: ReferenceFacts) -> str:
    """Return a line with the macro F1 of teacher, reference and chance on the validation people."""
    kind = "linear" if facts.width is None else "random features"
    return (
        f"macro F1 on the validation people: teacher {teacher_f1:.3f}, reference {facts.val_macro_f1:.3f} "
        f"(ridge regression, {kind}), chance {facts.chance_val_macro_f1:.3f} (always '{facts.chance_class}')"
    )


def _predict(machine: Reference, windows: WindowFolder, folder: SplitFolder, role: str) -> None:
    scored = score_logits(machine.logits(windows.open_role(role)), load_examples(windows, role))
    write_predictions(folder, windows, role, MODEL, None, SEED, scored)
