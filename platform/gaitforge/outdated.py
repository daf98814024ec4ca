"""Whether what was confirmed and exported answers for what lies in the work folder now, and if not, what to type.

For readers of a folder, who must not tell an old verdict as the one of now. It goes by what the artefacts tell of
themselves (provenance.py) and by the settings that the last command had (settings.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gaitforge.decision import answer_of
from gaitforge.layout import Layout
from gaitforge.members import read_members, scores_provenance
from gaitforge.provenance import Provenance, read_provenance
from gaitforge.settings import (
    RunSettings,
    as_dict,
    changed_search,
    recorded_settings,
    teacher_identity,
)
from gaitforge.splits import check_rule, read_split
from gaitforge.trials import Trial
from gaitforge.window_cache import window_provenance
from gaitforge.work import SplitFolder, WorkFolder, fingerprint, read_json, read_object

ANEW = "undo the change, or begin anew with `gaitforge run --fresh run.toml`"
CONFIRM = "run `gaitforge confirm run.toml`, which keeps what is trained already"
EXPORT = "run `gaitforge export run.toml`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outdated:
    """Of what else than there is now an answer or an export is, and what brings it up to date."""

    of: str
    remedy: str

    def sentence(self, subject: str) -> str:
        return f"{subject} is out of date, being of {self.of}; {self.remedy}."


def outdated_answer(
    work: WorkFolder, split: str, trials: Iterable[Trial] | None = None
) -> str | None:
    """One sentence where a split's confirmed answer is not of what lies there now; None where it is, or there is none.

    `trials` are those of the split's log, where they are read already. Never raises for what is missing or broken.
    """
    path = work.run(split).confirm / "scores.json"
    if not path.is_file():
        return None
    try:
        found = _answer(work, split, trials)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        return _cannot_be_told("confirmed answer", error)
    return None if found is None else found.sentence("The confirmed answer")


def outdated_export(
    work: WorkFolder, trials: Mapping[str, Iterable[Trial]] | None = None
) -> str | None:
    """One sentence where the exported student is not that of the answer of now; None where it is, or there is none.

    `trials` are those of the logs of splits, by name, as far as they are read already. Never raises.
    """
    path = work.export / "card.json"
    if not path.is_file():
        return None
    try:
        card = read_object(path, "identity", "trial", "seed", "split", "read")
        found = _answer(work, card["split"], (trials or {}).get(card["split"]))
        if found is not None:
            # what is said of the answer holds for its export
            remedy = f"{found.remedy}, then {EXPORT}"
            return Outdated(of=found.of, remedy=remedy).sentence("The exported student")
        found = _export(work, card)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        return _cannot_be_told("exported student", error)
    return None if found is None else found.sentence("The exported student")


def export_identity(
    refit: Mapping[str, Any], scores: Mapping[str, Any], read: Mapping[str, Any]
) -> str:
    """A hash of what an export is made from: the head of its refit, the scores, how recordings are read."""
    return fingerprint({"refit": refit, "scores": scores, "read": read})


def _answer(work: WorkFolder, split: str, trials: Iterable[Trial] | None) -> Outdated | None:
    """The first link of the line, from its start on, that the answer is not of."""
    folder, settings = work.run(split), _settings(work)
    search = read_object(folder.search / "search.json", "identity")
    before = _before_search(work, split, settings)
    if before is not None:
        return before
    if settings and changed_search(search.get("settings", {}), as_dict(settings.search)):
        return Outdated(of="another [search]", remedy=ANEW)
    identity = str(search["identity"])
    front = read_object(folder.search / "front.json", "front").get("search", identity)
    told = read_provenance(folder.confirm / "scores.json")
    if told is None or {told.made_from.get("search"), front} != {identity}:
        return Outdated(of="an earlier search", remedy=CONFIRM)
    if settings is None:
        return None
    members = read_members(settings.confirm, folder, trials)
    now = scores_provenance(settings.confirm, members, Provenance(identity=identity), ())
    if told.identity != now.identity:
        return Outdated(
            of="an earlier front of the search, or of another [confirm]", remedy=CONFIRM
        )
    return None


def _settings(work: WorkFolder) -> RunSettings | None:
    """What the last command was given; None in a folder of before that was kept."""
    return recorded_settings(read_object(work.settings)) if work.settings.is_file() else None


def _before_search(work: WorkFolder, name: str, settings: RunSettings | None) -> Outdated | None:
    store = read_object(work.store / "store.json", "fingerprint")
    split = read_split(work.split_file(name))
    if split.store != store["fingerprint"]:
        return Outdated(of="other recordings", remedy=ANEW)
    folder = work.run(name)
    teacher = read_object(folder.teacher / "model.json", "fingerprint")["fingerprint"]
    told = read_provenance(folder.search / "search.json")
    other_teacher = told is not None and told.made_from.get("teacher", teacher) != teacher
    if settings is not None:
        splits = [read_split(path) for path in sorted(work.splits.glob("*.json"))]
        try:
            check_rule(settings.split, splits, ANEW)
        except ValueError:
            return Outdated(of="another [split]", remedy=ANEW)
        layout = Layout.from_dict(store["layout"], source=str(work.store / "store.json"))
        windows = window_provenance(split, layout, tuple(store["classes"]), settings.windows)
        other_teacher |= teacher != teacher_identity(settings.teacher, windows.identity)
    if other_teacher:
        return Outdated(of="another teacher, or of other people or [windows]", remedy=ANEW)
    return None


def _export(work: WorkFolder, card: Mapping[str, Any]) -> Outdated | None:
    """Whether the student that is handed out is another than the answer of now, or run.toml, names."""
    folder, settings = work.run(card["split"]), _settings(work)
    scores = read_object(folder.confirm / "scores.json", "members", "chosen")
    if card["identity"] != export_identity(_refit(folder, card), scores, card["read"]):
        return Outdated(of="an earlier answer", remedy=EXPORT)
    if settings is None:
        return None
    named = settings.export.trial
    if card["trial"] != (answer_of(scores)["trial"] if named is None else named):
        return Outdated(of="another trial than the answer or [export] names", remedy=EXPORT)
    return None


def _refit(folder: SplitFolder, card: Mapping[str, Any]) -> Any:
    """The head of the refit that was handed out."""
    name = f"student-{card['trial']}-seed{card['seed']}.json"
    return read_json(folder.confirm / "refits" / name)


def _cannot_be_told(what: str, error: Exception) -> str:
    reason = str(error.args[0] if error.args and isinstance(error, KeyError) else error)
    return (
        f"Whether the {what} is of what lies here now cannot be told ({' '.join(reason.split()).rstrip('.')}); "
        "run `gaitforge run run.toml`."
    )
