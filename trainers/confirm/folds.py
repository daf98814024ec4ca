"""The chosen student over all people: trained anew in folds, each with a teacher of its own.

A fold's people reach nothing that is scored on them: its windows are scaled, its teacher is trained,
its outputs are written and its students learn with the other people alone. What no fold can take back
is that the search and the verdict chose the configuration itself with these people.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from gaitforge.provenance import Provenance
from gaitforge.records.confirm import FOLDS, SCORES, PooledFolds
from gaitforge.records.json_file import parts_of
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.trial import Trial
from gaitforge.scorings import record_scoring
from gaitforge.settings import RunSettings, as_dict
from gaitforge.splits import SplitSettings, make_splits
from gaitforge.trials import TrialLog
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    fingerprint,
    open_path,
    set_aside,
)
from trainers.confirm.answers import folds_sentence
from trainers.confirm.confirm import train_refits
from trainers.confirm.pool import pool_people
from trainers.confirm.refit_file import check_unseen, fitted_provenance, make_all_refits
from trainers.confirm.verdict import Tables
from trainers.teacher.outputs import write_outputs
from trainers.teacher.teacher import train_teacher
from trainers.terminal.progress import print_teacher_epochs
from trainers.terminal.say import say
from trainers.training.window_folder import WindowFolder

WindowsOf = Callable[..., WindowFolder]  # of a split, with the named roles built


def deal_folds(
    folds: int,
    settings: SplitSettings,
    split: Split,
    labels_by_person: Mapping[str, Collection[str]],
) -> list[Split]:
    """Deal the people of all roles of a split into folds that hold out one part each.

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
    settings: RunSettings,
    splits: Sequence[Split],
    windows_of: WindowsOf,
    folder: SplitFolder,
    others: Collection[str],
) -> PooledFolds:
    """Train the verdict's student in every fold where that is not done, and write `confirm/folds.json`.

    `others` are the people whom confirm itself has not scored: the log records that the folds score them.
    """
    scores = SCORES.read(folder.scores)
    member = scores.answer
    trial = TrialLog(folder).read(member.trial)
    models = {
        "trial": trial.hash,
        "teacher": as_dict(settings.teacher),
        "folds": [split.identity for split in splits],
        "trained": [settings.confirm.seeds, settings.confirm.alone],
    }
    record_scoring(
        WorkFolder(open_path(settings.work)),
        store=splits[0].store,
        split=folder.root.name,
        people=others,
        models=fingerprint(models),
    )
    tables = []
    for split in splits:
        say(
            f"fold: trial {trial.number} without the {len(split.people('confirm'))} people of {split.name}"
        )
        fold = folder.fold(split.name)
        tables.append(train_fold(settings, split, windows_of, fold, trial))
    pooled = pool_people(tables, [member] * len(tables), settings.confirm)
    # whom the folds hold out has chosen the configuration
    told = Provenance.of(fingerprint(models), {"scores": scores.provenance}, splits[0].roles)
    report = PooledFolds(
        **parts_of(pooled),
        nested=False,
        trial=trial.number,
        provenance=told,
        sentence=folds_sentence(pooled, trial.number),
    )
    FOLDS.write(folder.folds_answer, report)
    return report


def train_fold(
    settings: RunSettings, split: Split, windows_of: WindowsOf, folder: SplitFolder, trial: Trial
) -> Tables:
    """Train the teacher and the trial's students of one fold, as far as they are not there; return its Tables.

    What is there of other people is set aside. The trial's configuration has been chosen with the people
    held out: the provenance of its students tells only whom their weights have seen.
    """
    windows = windows_of(split, "train", "validation")
    path = folder.split_copy
    if path.is_file() and SPLIT.read(path).identity != split.identity:
        say(f"  the fold of before lies in {set_aside(folder, everything=True)} now")
    SPLIT.write(path, split)
    train_teacher(settings.teacher, settings.cluster, windows, folder, print_teacher_epochs)
    search = settings.search
    outputs = write_outputs(windows, folder, search.terms, search.answered)
    windows_of(split, "confirm")
    check_unseen(folder, split.people("confirm"))
    origin = fitted_provenance(windows, folder)
    refits = make_all_refits(settings.confirm, [trial], windows, outputs, folder, origin)
    train_refits(refits, settings.cluster, windows, outputs, folder)
    return Tables(folder, windows, settings.confirm)
