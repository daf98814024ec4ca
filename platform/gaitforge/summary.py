"""Write summary.json: the whole result for other programs, gathered from what the stages wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from gaitforge.failures import count_failures
from gaitforge.outdated import (
    explain_outdated_answer,
    explain_outdated_export,
    explain_outdated_pooled,
)
from gaitforge.records.confirm import POOLED, SCORES, Member, ModelScores, PooledSplits, Scores
from gaitforge.records.export import CARD, Card
from gaitforge.records.json_file import JsonFile, Unreadable
from gaitforge.records.search import FRONT, GATE, SEARCH, FrontRow, Gate, SearchHead
from gaitforge.records.shortcuts import SHORTCUTS
from gaitforge.records.store import STORE, StoreInfo
from gaitforge.records.summary import (
    SUMMARY,
    Confirmed,
    ConfirmedMember,
    EndedTrials,
    ExportedNetwork,
    ExportSummary,
    OutOfDate,
    SearchedMember,
    SearchSummary,
    ShortcutSummary,
    StoreCounts,
    Summary,
    TeacherSummary,
)
from gaitforge.records.teacher import TEACHER, TeacherModel
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Searched:
    """A split's search: its head and its ended trials."""

    folder: SplitFolder
    head: SearchHead
    trials: Sequence[Trial]


def write_summary(work: WorkFolder) -> Summary:
    """Write `summary.json` anew and return it."""
    summary = make_summary(work)
    SUMMARY.write(work.summary, summary)
    return summary


def make_summary(work: WorkFolder) -> Summary:
    """Gather what `summary.json` holds; a part is None where its stage has not run.

    With several splits the scores are those of `runs/pooled.json`, over all people, and each row of a front
    names its split; what only a single split has (a verdict) is then None. Where the answer is out of date,
    `outdated` says why and there is no verdict; so it is with an export and its network. docs/summary.md
    lists all keys.
    """
    folders = work.made_runs()
    searches = [
        Searched(folder, head, list(TrialLog(folder)))
        for folder in folders
        if (head := SEARCH.find(folder.search_head)) is not None
    ]
    scores = _found(partial(_usable, SCORES), [folder.scores for folder in folders])
    several = len(folders) > 1
    one = scores[0] if len(folders) == len(scores) == 1 else None
    # one split's scores never stand for those of all
    told: PooledSplits | Scores | None = (
        _usable(POOLED, work.pooled) if several else next(iter(scores), None)
    )
    card = _usable(CARD, work.exported.card)
    outdated = _outdated(work, searches)
    return Summary(
        store=_store(STORE.find(work.store_head)),
        teacher=_teacher(_found(TEACHER.find, [folder.teacher_model for folder in folders])),
        search=_search(searches),
        failures=count_failures(t for search in searches for t in search.trials)
        if searches
        else None,
        searched_front=_searched(folders),
        confirm_teacher=None if told is None else _confirmed(told.teacher),
        reference=_confirmed(told.reference) if isinstance(told, Scores) else None,
        chance=_confirmed(told.chance) if isinstance(told, Scores) else None,
        confirmed_front=_members(folders),
        verdict=one.verdict if one and not outdated.answer else None,
        times_scored=max((its.times_scored for its in scores), default=None),
        export=None if card is None else _export(card),
        exported=None if card is None or outdated.export else _exported(card),
        outdated=outdated,
        shortcuts=_shortcuts(folders),
    )


def _outdated(work: WorkFolder, searches: Sequence[Searched]) -> OutOfDate:
    trials = {search.folder.root.name: search.trials for search in searches}
    answers = (
        explain_outdated_answer(work, folder.root.name, trials.get(folder.root.name))
        for folder in work.made_runs()
    )
    answer = next((sentence for sentence in answers if sentence is not None), None)
    return OutOfDate(
        answer=explain_outdated_pooled(work) if answer is None else answer,
        export=explain_outdated_export(work, trials),
    )


def _store(info: StoreInfo | None) -> StoreCounts | None:
    if info is None:
        return None
    return StoreCounts(
        recordings=info.recordings,
        people=info.people,
        classes=info.classes,
        quarantined=info.quarantined,
        version=info.version,
    )


def _teacher(models: Sequence[TeacherModel]) -> TeacherSummary | None:
    if not models:
        return None
    return TeacherSummary(
        family=models[0].family,
        params=models[0].params,
        val_macro_f1=sum(model.val_macro_f1 for model in models) / len(models),
        val_accuracy=sum(model.val_accuracy for model in models) / len(models),
        seconds=sum(model.seconds for model in models),
    )


def _search(searches: Sequence[Searched]) -> SearchSummary | None:
    """Sum up what all searches together did; None where there is none."""
    if not searches:
        return None
    trials = [trial for search in searches for trial in search.trials]
    states = Counter(trial.state for trial in trials)
    fronts = _found(FRONT.find, [search.folder.front for search in searches])
    gates = [(its, gate) for its in searches if (gate := find_gate(its.folder, its.head))]
    volumes = [front.hypervolume for front in fronts if front.hypervolume is not None]
    return SearchSummary(
        trials=EndedTrials(
            finished=states["finished"], stopped=states["stopped"], failed=states["failed"]
        ),
        rejected=sum(search.head.rejected for search in searches),
        # of more than three objectives there is none
        hypervolume=sum(volumes) / len(fronts) if len(volumes) == len(fronts) > 0 else None,
        reference=searches[0].head.reference,
        epochs=sum(trial.epochs for trial in trials),
        seconds=sum(search.head.seconds for search in searches),
        gates={search.folder.root.name: gate.teaches for search, gate in gates} or None,
    )


def find_gate(folder: SplitFolder, head: SearchHead) -> Gate | None:
    """Return what the gate before a split's search has decided; None where there was none, or it is of another."""
    gate = _usable(GATE, folder.gate)
    return gate if gate is not None and gate.search == head.identity else None


def _searched(folders: Sequence[SplitFolder]) -> tuple[SearchedMember, ...] | None:
    fronts = {folder: FRONT.find(folder.front) for folder in folders}

    def row(folder: SplitFolder, its: FrontRow) -> SearchedMember:
        return SearchedMember(
            trial=its.trial, family=its.family, params=its.params, macs=its.macs, val_macro_f1=its.val_macro_f1,
            val_accuracy=its.val_accuracy, split=_name(folder, folders),
        )  # fmt: skip

    if not any(fronts.values()):
        return None
    return tuple(
        row(folder, its) for folder, front in fronts.items() if front for its in front.front
    )


def _members(folders: Sequence[SplitFolder]) -> tuple[ConfirmedMember, ...] | None:
    scores = {folder: _usable(SCORES, folder.scores) for folder in folders}

    def row(folder: SplitFolder, its: Member) -> ConfirmedMember:
        return ConfirmedMember(
            trial=its.trial, family=its.family, params=its.params, macro_f1=its.macro_f1, interval=its.interval,
            accuracy=its.accuracy, p_on_front=its.p_on_front, noninferior=its.noninferior, seeds=its.seeds,
            split=_name(folder, folders), against_reference=its.network.against_reference,
            against_chance=its.network.against_chance,
        )  # fmt: skip

    if not any(scores.values()):
        return None
    return tuple(
        row(folder, its) for folder, told in scores.items() if told for its in told.members
    )


def _name(folder: SplitFolder, folders: Sequence[SplitFolder]) -> str | None:
    """Return a split's name where there are several splits, else None."""
    return folder.root.name if len(folders) > 1 else None


def _shortcuts(folders: Sequence[SplitFolder]) -> ShortcutSummary | None:
    """Return what recorded columns tell; None of several splits, or where confirm has not looked at them."""
    if len(folders) != 1 or not folders[0].scores.is_file():
        return None
    found = _usable(SHORTCUTS, folders[0].shortcuts)
    if found is None:
        return None
    return ShortcutSummary(
        says=found.says, sentence=found.sentence, class_from_windows=found.class_from_windows, columns=found.columns
    )  # fmt: skip


def _confirmed(its: ModelScores) -> Confirmed:
    return Confirmed(macro_f1=its.macro_f1, interval=its.interval, accuracy=its.accuracy)


def _export(card: Card) -> ExportSummary:
    return ExportSummary(
        trial=card.trial,
        onnx=card.onnx,
        onnx_bytes=card.onnx_bytes,
        max_abs_difference=card.max_abs_difference,
        latency_ms_p50=card.latency_ms_p50,
        latency_ms_p95=card.latency_ms_p95,
    )


def _exported(card: Card) -> ExportedNetwork:
    """Return the one network that lies in `export/`, with the scores of its own test."""
    its = card.network
    return ExportedNetwork(
        trial=card.trial, split=card.split, seed=its.seed, macro_f1=its.macro_f1, interval=its.interval,
        difference=its.difference, difference_interval=its.difference_interval, noninferior=its.noninferior,
        against_reference=its.against_reference, against_chance=its.against_chance,
    )  # fmt: skip


def _found(find: Callable[[Path], T | None], paths: Sequence[Path]) -> list[T]:
    """Read those of the files that are there."""
    return [found for path in paths if (found := find(path)) is not None]


def _usable(kind: JsonFile[T], path: Path) -> T | None:
    """Read a file; None where it is not there, or cannot be used, as one of another version.

    `outdated` tells of the latter, and its stage writes it anew.
    """
    try:
        return kind.find(path)
    except Unreadable:
        return None
