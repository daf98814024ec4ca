"""The chosen student over all people: trained anew in folds, each with a teacher of its own.

A fold's people reach nothing that scores them: its windows are scaled, its teacher is trained, its
outputs are written and its students learn with the other people alone. What no fold can take back
is that the search and the verdict chose the configuration itself with these people.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from gaitforge.settings import RunSettings
from gaitforge.splits import Split, SplitSettings, make_splits, write_split
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, read_json, write_json
from trainers.answers import answer_of, folds_sentence
from trainers.confirm import refit_trials
from trainers.examples import WindowFolder
from trainers.outputs import write_outputs
from trainers.pool import pool_people
from trainers.progress import say, teacher_progress
from trainers.teacher import train_teacher
from trainers.verdict import Tables

WindowsOf = Callable[..., WindowFolder]  # of a split, with the named roles built


def deal_folds(
    folds: int,
    settings: SplitSettings,
    split: Split,
    labels_by_person: Mapping[str, Collection[str]],
) -> list[Split]:
    """The people of all roles of a split, dealt into folds that hold out one part each.

    Seed and share of validation people are those of `settings`. Raises ValueError where people are
    too few for so many folds.
    """
    rule = SplitSettings(
        rule="folds",
        folds=folds,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    people = {person: labels_by_person[person] for person in split.roles}
    if folds > len(people):
        raise ValueError(
            f"confirm.folds is {folds}, but split '{split.name}' has {len(people)} people and each fold needs one; "
            "lower it."
        )
    try:
        return make_splits(rule, people, split.store)
    except ValueError as error:
        raise ValueError(f"With confirm.folds = {folds}: {error}") from error


def confirm_folds(
    settings: RunSettings, splits: Sequence[Split], windows_of: WindowsOf, folder: SplitFolder
) -> dict[str, Any]:
    """Train the verdict's student in every fold, as far as that is not done, and write `confirm/folds.json`."""
    member = answer_of(read_json(folder.confirm / "scores.json"))
    trial = TrialLog(folder).read(member["trial"])
    tables = []
    for split in splits:
        say(
            f"fold: trial {trial.number} without the {len(split.people('confirm'))} people of {split.name}"
        )
        tables.append(train_fold(settings, split, windows_of, folder.fold(split.name), trial))
    report = {
        **pool_people(tables, [member] * len(tables), settings.confirm),
        "nested": False,
        "trial": trial.number,
    }
    report["sentence"] = folds_sentence(report)
    write_json(folder.confirm / "folds.json", report)
    return report


def train_fold(
    settings: RunSettings, split: Split, windows_of: WindowsOf, folder: SplitFolder, trial: Trial
) -> Tables:
    """Teacher, outputs and the trial's students of one fold; what is there already is kept."""
    windows = windows_of(split, "train", "validation")
    write_split(folder.root / "split.json", split)
    train_teacher(settings.teacher, settings.cluster, windows, folder, teacher_progress)
    outputs = write_outputs(windows, folder)
    windows_of(split, "confirm")
    refit_trials(settings.confirm, settings.cluster, [trial], windows, outputs, folder)
    return Tables(folder, windows, settings.confirm)
