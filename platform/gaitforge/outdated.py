"""Tell whether the confirmed answer and the exported student are out of date, and what to type if they are.

Whoever shows a work folder asks here, so as not to show an old verdict as the current one. It compares what the
artefacts say of themselves (provenance.py), and the settings that the last command had (settings.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gaitforge.members import advise_refit, read_members, scores_provenance
from gaitforge.provenance import Provenance
from gaitforge.records.confirm import POOLED, REFIT, SCORES
from gaitforge.records.export import CARD, Card, export_identity
from gaitforge.records.search import FRONT, SEARCH
from gaitforge.records.split import SPLIT
from gaitforge.records.store import STORE
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.records.trial import Trial
from gaitforge.settings import (
    SETTINGS,
    RunSettings,
    as_dict,
    changed_search,
    how_read,
    teacher_identity,
)
from gaitforge.splits import check_rule
from gaitforge.weights import find_weights_fault
from gaitforge.window_cache import window_provenance
from gaitforge.work import SplitFolder, WorkFolder

ANEW = "undo the change, or begin anew with `gaitforge run --fresh run.toml`"
CONFIRM = "run `gaitforge confirm run.toml`, which keeps what is trained already"
ANSWER = "run `gaitforge outputs run.toml`, which has the teacher answer anew"
EXPORT = "run `gaitforge export run.toml`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outdated:
    """What an answer or an export was made from that is no longer current, and what brings it up to date."""

    of: str
    remedy: str

    def sentence(self, subject: str) -> str:
        """Say it of `subject` in one sentence, with what to do."""
        return f"{subject} is out of date, being of {self.of}; {self.remedy}."


def explain_outdated_answer(
    work: WorkFolder, split: str, trials: Iterable[Trial] | None = None
) -> str | None:
    """Return a sentence where a split's confirmed answer is out of date; None where it is not, or there is none.

    `trials` are those of the split's log, where they have been read already. Missing or broken files raise
    nothing: the sentence then says that it cannot be told.
    """
    if not work.run(split).scores.is_file():
        return None
    try:
        found = _answer(work, split, trials)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        return _cannot_be_told("confirmed answer", error)
    return None if found is None else found.sentence("The confirmed answer")


def explain_outdated_pooled(work: WorkFolder) -> str | None:
    """Return a sentence where several splits' answer over all people is missing or out of date; else None.

    It is None too where there is one split, or none has been confirmed.
    """
    folders = work.made_runs()
    if len(folders) < 2 or not any(folder.scores.is_file() for folder in folders):
        return None
    try:
        pooled = POOLED.find(work.pooled)
        now = {
            folder.root.name: scores.provenance.identity
            for folder in folders
            if (scores := SCORES.find(folder.scores)) is not None
        }
    except (ValueError, OSError) as error:
        return _cannot_be_told("answer of all splits", error, CONFIRM)
    if pooled is None:
        return f"There is no answer of all splits together, {work.pooled}; {CONFIRM}."
    if dict(pooled.provenance.made_from) != now:
        of = "other scores than those of the splits"
        return Outdated(of=of, remedy=CONFIRM).sentence("The answer of all splits")
    return None


def explain_outdated_export(
    work: WorkFolder, trials: Mapping[str, Iterable[Trial]] | None = None
) -> str | None:
    """Return a sentence where the exported student is out of date; None where it is not, or there is none.

    `trials` are those of the logs of splits, by name, as far as they have been read already. Missing or
    broken files raise nothing: the sentence then says that it cannot be told.
    """
    try:
        card = CARD.find(work.exported.card)
        if card is None:
            return None
        found = _answer(work, card.split, (trials or {}).get(card.split))
        if found is not None:
            # what is said of the answer holds for its export
            remedy = f"{found.remedy}, then {EXPORT}"
            return Outdated(of=found.of, remedy=remedy).sentence("The exported student")
        found = _export(work, card)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        return _cannot_be_told("exported student", error)
    return None if found is None else found.sentence("The exported student")


def _answer(work: WorkFolder, split: str, trials: Iterable[Trial] | None) -> Outdated | None:
    """Return the earliest part of the pipeline that has changed since the answer was made; None where none has."""
    folder, settings = work.run(split), SETTINGS.find(work.settings)
    search = SEARCH.read(folder.search_head)
    before = _before_search(work, split, settings) or _changed_outputs(folder)
    if before is not None:
        return before
    if settings and changed_search(search.settings, as_dict(settings.search)):
        return Outdated(of="another [search]", remedy=ANEW)
    told = SCORES.read(folder.scores).provenance
    if {told.made_from.get("search"), FRONT.read(folder.front).search} != {search.identity}:
        return Outdated(of="an earlier search", remedy=CONFIRM)
    if settings is None:
        return None
    members = read_members(settings.confirm, folder, trials)
    identity = Provenance(identity=search.identity)
    now = scores_provenance(settings.confirm, members, identity, ())
    if told.identity != now.identity:
        return Outdated(
            of="an earlier front of the search, or of another [confirm]", remedy=CONFIRM
        )
    return _changed_refit(folder)


def _changed_outputs(folder: SplitFolder) -> Outdated | None:
    """Return that the teacher's answers, from which students learned, are not there, or are of another teacher."""
    head = OUTPUTS.find(folder.outputs.head)
    if head is None:
        return Outdated(of="teacher outputs that are not there any more", remedy=ANSWER)
    teacher = TEACHER.read(folder.teacher_model).fingerprint
    if head.provenance.made_from.get("teacher", teacher) != teacher:
        return Outdated(of="the outputs of another teacher", remedy=ANSWER)
    return None


def _changed_refit(folder: SplitFolder) -> Outdated | None:
    for head in sorted(folder.refits.glob("*.json")):
        if find_weights_fault(head) is not None:
            of = f"a refit, {head.name}, whose weights are now missing or others"
            return Outdated(of=of, remedy=advise_refit(head))
    return None


def _before_search(work: WorkFolder, name: str, settings: RunSettings | None) -> Outdated | None:
    store = STORE.read(work.store_head)
    split = SPLIT.read(work.split_file(name))
    if split.store != store.fingerprint:
        return Outdated(of="other recordings", remedy=ANEW)
    if settings and store.read is not None and store.read != how_read(settings.ingest):
        return Outdated(of="recordings read otherwise than [ingest.read] says", remedy=ANEW)
    folder = work.run(name)
    teacher = TEACHER.read(folder.teacher_model).fingerprint
    told = SEARCH.read(folder.search_head).provenance
    other_teacher = told.made_from.get("teacher", teacher) != teacher
    if settings is not None:
        splits = [SPLIT.read(path) for path in work.split_files()]
        try:
            check_rule(settings.split, splits, ANEW)
        except ValueError:
            return Outdated(of="another [split]", remedy=ANEW)
        windows = window_provenance(split, store.layout, store.classes, settings.windows)
        other_teacher |= teacher != teacher_identity(settings.teacher, windows.identity)
    if other_teacher:
        return Outdated(of="another teacher, or of other people or [windows]", remedy=ANEW)
    return None


def _export(work: WorkFolder, card: Card) -> Outdated | None:
    """Return how the export differs from what the current answer, or run.toml, names; None where it does not."""
    folder, settings = work.run(card.split), SETTINGS.find(work.settings)
    scores = SCORES.read(folder.scores)
    refit = REFIT.read(folder.refit("student", card.trial, card.seed))
    if card.identity != export_identity(refit, scores, card.read):
        return Outdated(of="an earlier answer", remedy=EXPORT)
    if STORE.read(work.store_head).read not in (None, card.read):
        return Outdated(of="another [ingest.read] than the recordings", remedy=EXPORT)
    if settings is None:
        return None
    named = settings.export.trial
    if card.trial != (scores.answer.trial if named is None else named):
        return Outdated(of="another trial than the answer or [export] names", remedy=EXPORT)
    return None


def _cannot_be_told(
    what: str, error: Exception, remedy: str = "run `gaitforge run run.toml`"
) -> str:
    reason = str(error.args[0] if error.args and isinstance(error, KeyError) else error)
    return (
        f"Whether the {what} is of what lies here now cannot be told ({' '.join(reason.split()).rstrip('.')}); "
        f"{remedy}."
    )
