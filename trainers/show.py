"""`gaitforge show`: what a work folder holds, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import mean

from gaitforge.decision import HasDifference, say_interval, say_judged
from gaitforge.failures import failure_note
from gaitforge.outdated import explain_outdated_answer, explain_outdated_pooled
from gaitforge.records.confirm import FOLDS, POOLED, SCORES, ByPerson, ModelScores
from gaitforge.records.json_file import Unreadable
from gaitforge.records.search import SEARCH
from gaitforge.records.shortcuts import SHORTCUTS
from gaitforge.records.store import STORE
from gaitforge.records.summary import SUMMARY, FamilyEnds, SearchedMember
from gaitforge.records.teacher import REFERENCE
from gaitforge.sentences import escape
from gaitforge.shortcuts import describe_column
from gaitforge.summary import find_gate, make_summary
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder
from trainers.confirm.trust import format_verdict
from trainers.show_store import describe_store

REASONS = 3  # of a family's failures; the rest are counted


def describe(work: WorkFolder) -> str:
    """Describe a work folder in a screen of text.

    Raises FileNotFoundError where no store is there, ValueError for a file that cannot be used.
    """
    store = STORE.find(work.store_head)
    if store is None:
        raise FileNotFoundError(
            f"{work.root} is no work folder with a store; run `gaitforge ingest run.toml` first."
        )
    # refused before summary.json is written; with a single split it would be of an earlier rule
    pooled = POOLED.find(work.pooled) if len(work.split_files()) > 1 else None
    summary = make_summary(work)
    with suppress(OSError):  # who may only read the folder is shown it all the same
        SUMMARY.write(work.summary, summary)
    parts = [*describe_store(work, store)]
    if summary.teacher:
        teacher = summary.teacher
        parts.append(
            f"teacher: {teacher.family}, {teacher.params:,} parameters, validation macro F1 "
            f"{teacher.val_macro_f1:.3f}, accuracy {teacher.val_accuracy:.3f}"
        )
        parts += _reference(work)
    if summary.search:
        ended = summary.search.trials
        states = f"{ended.finished} finished, {ended.stopped} stopped, {ended.failed} failed"
        volume = summary.search.hypervolume
        parts.append(
            f"search: {states}" + ("" if volume is None else f"; hypervolume {volume:.3f}")
        )
        parts += _gates(work)
        parts += _failed(work, summary.failures or {})
    if summary.searched_front:
        parts += [
            "searched front (validation people):",
            *map(_searched, summary.searched_front),
        ]
    for folder in work.made_runs():
        if folder.scores.is_file():
            parts += [
                f"confirmed on people never seen before, split {folder.root.name}:",
                *_confirmed(folder, explain_outdated_answer(work, folder.root.name)),
            ]
        if (folds := FOLDS.find(folder.folds_answer)) is not None:
            parts.append(f"  {folds.sentence}")
    pooled_outdated = explain_outdated_pooled(work)
    if pooled is not None or pooled_outdated is not None:
        parts.append("all splits together:")
        sentences = (pooled_outdated, pooled and pooled.sentence)
        parts += [f"  {sentence}" for sentence in sentences if sentence is not None]
    if summary.export:
        export = summary.export
        parts.append(
            f"export: trial {export.trial}, {export.onnx_bytes:,} bytes, "
            f"{export.latency_ms_p50:.2f} ms a window"
        )
        if summary.outdated.export:
            parts.append(f"  {summary.outdated.export}")
    there = {
        "teacher": summary.teacher, "search": summary.search, "confirm": summary.confirm_teacher,
        "export": summary.export,
    }  # fmt: skip
    missing = [name for name, its in there.items() if its is None]
    if missing:
        parts.append(f"not there yet: {', '.join(missing)}")
    # a name with a line end in it must not look like a line of ours
    return "\n".join(escape(part).replace("\n", "\\n") for part in parts)


def _reference(work: WorkFolder) -> Iterator[str]:
    """Describe reference and chance beside the teacher, means over the splits; nothing where they were removed."""
    found = [REFERENCE.find(folder.reference_facts) for folder in work.made_runs()]
    facts = [its for its in found if its is not None]
    if not facts:
        return
    for name, f1, right in (
        ("reference", [row.val_macro_f1 for row in facts], [row.val_accuracy for row in facts]),
        ("chance", [row.chance_val_macro_f1 for row in facts], [row.chance_val_accuracy for row in facts]),
    ):  # fmt: skip
        yield f"{name}: validation macro F1 {mean(f1):.3f}, accuracy {mean(right):.3f}"


def _gates(work: WorkFolder) -> Iterator[str]:
    """Say of each split's search what its gate has decided, where it had one."""
    several = len(work.made_runs()) > 1
    for folder in work.made_runs():
        head = SEARCH.find(folder.search_head)
        if head is not None and (gate := find_gate(folder, head)) is not None:
            yield f"  {folder.root.name + ': ' if several else ''}{gate.sentence}"


def _failed(work: WorkFolder, failures: Mapping[str, FamilyEnds]) -> Iterator[str]:
    """Say of each family that had any how many students failed of what, with the file of one of each."""
    if not any(counts.failed for counts in failures.values()):
        return
    first: dict[tuple[str, str], Path] = {}
    for folder in work.made_runs():
        log = TrialLog(folder)
        for trial in log:
            if trial.state == "failed":
                first.setdefault((trial.family, str(trial.reason)), log.file(trial.number))
    yield "failed students, by family and reason:"
    for family, counts in failures.items():
        reasons = list(counts.reasons.items())
        ended = counts.ended
        for reason, count in reasons[:REASONS]:
            yield f"  {family:<6} {count} of {ended}: {reason} ({first[family, reason]})"
        if others := sum(count for _, count in reasons[REASONS:]):
            yield f"  {family:<6} {others} of {ended}: {len(reasons) - REASONS} other reasons"
    if note := failure_note(failures):
        yield f"  {note}"


def _searched(row: SearchedMember) -> str:
    return (
        f"  {row.split or ''}trial {row.trial:>3}  {row.family:<6} {row.params:>9,} parameters  "
        f"macro F1 {row.val_macro_f1:.3f}"
    )


def _confirmed(folder: SplitFolder, outdated: str | None) -> Iterator[str]:
    """Describe what confirm has found, with the verdict last; that it is out of date comes first."""
    if outdated is not None:
        yield f"  {outdated}"
    try:
        scores = SCORES.read(folder.scores)
    except Unreadable as error:
        yield f"  {error}"
        return
    teacher = scores.teacher
    yield f"  {'teacher':<9}  {teacher.family:<6} {_scores(teacher, teacher.params)}"
    for name, other in (("reference", scores.reference), ("chance", scores.chance)):
        better = _difference(other.teacher_minus_this)
        yield f"  {name:<9}  {'':<29}{_scores(other)}, the teacher minus it {better}"
    for row in scores.members:
        near = ", near the front" if row.searched == "near" else ""
        network, indent = row.network, f"{'':<20}"
        tested = say_judged(
            tested=network.tested, noninferior=row.noninferior, margin=scores.margin
        )
        yield f"  trial {row.trial:>3}  {row.family:<6} {row.params:>9,} parameters{near}"
        yield f"{indent}its network, seed {network.seed}: {_scores(network)}"
        yield f"{indent}  minus the teacher {_difference(network)}: {tested}"
        at_once = "" if scores.too_few else ", of all students at once"
        yield f"{indent}  minus the reference {_difference(network.against_reference)}{at_once}"
        yield f"{indent}  minus chance {_difference(network.against_chance)}{at_once}"
        if scores.too_few:
            yield from _by_person(network.by_person, indent)
        yield f"{indent}as a recipe, {_seeds(row.seeds)}: {_scores(row)}"
        yield f"{indent}  minus the teacher {_difference(row)}"
        if row.alone is not None:
            alone = row.alone
            yield f"{indent}  alone {alone.macro_f1:.3f}{_interval(alone)}, distillation adds {_difference(alone)}"
    if scores.too_few:
        for model, trial in [
            ("teacher", None),
            *(("student", row.trial) for row in scores.members),
        ]:
            each = [r for r in scores.per_person if (r.model, r.trial) == (model, trial)]
            name = model if trial is None else f"trial {trial}"
            yield f"  accuracy of {name} by person: " + ", ".join(
                f"{r.person} {r.accuracy:.3f}" for r in each
            )
    for one in scores.optimism.members:
        yield (
            f"  trial {one.trial:>3}  {'search':<6} {one.believed:.3f}, its refits {one.validated:.3f} on the "
            f"same people and {one.confirmed:.3f} on others: luck {one.luck:+.3f}, people {one.people:+.3f}"
        )
    yield from _shortcuts(folder)
    head, *lines = format_verdict(scores.verdict)
    yield f"  {head}" if outdated is None else f"  verdict of then, out of date: {head}"
    yield from (f"  {line}" for line in lines)


def _shortcuts(folder: SplitFolder) -> Iterator[str]:
    """Describe each recorded column; nothing in a folder where confirm has not looked at any yet."""
    try:
        facts = SHORTCUTS.find(folder.shortcuts)
    except Unreadable as error:
        yield f"  {error}"
        return
    for row in facts.columns if facts else ():
        yield f"  {describe_column(row, facts.class_from_windows if facts else None)}"


def _by_person(one_by_one: ByPerson | None, indent: str) -> Iterator[str]:
    """List each person's difference to the teacher, where people are too few for an interval."""
    if one_by_one is None:
        return
    each = ", ".join(f"{person} {apart:+.3f}" for person, apart in one_by_one.differences.items())
    yield f"{indent}  share of right answers minus the teacher's, by person: {each}"
    yield f"{indent}  exact sign flips over people: p = {one_by_one.sign_flip_p:.2g}"


def _scores(row: ModelScores, params: int | None = None) -> str:
    size = "" if params is None else f"{params:>9,} parameters  "
    return f"{size}macro F1 {row.macro_f1:.3f}{_interval(row)}  accuracy {row.accuracy:.3f}"


def _seeds(count: int) -> str:
    return "its only seed" if count == 1 else f"mean of {count} seeds"


def _difference(row: HasDifference) -> str:
    ends = row.difference_interval
    text = f"{row.difference:+.3f}"
    return text if ends is None else f"{text} ({say_interval(ends)})"


def _interval(row: ModelScores) -> str:
    return "" if row.interval is None else f" ({row.interval[0]:.3f} to {row.interval[1]:.3f})"
