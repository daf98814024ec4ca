"""Tell which search the trials of a folder belong to, by its identity, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gaitforge.provenance import Provenance
from gaitforge.records.search import SEARCH, SearchHead
from gaitforge.settings import (
    FREE_TO_CHANGE,
    SearchSettings,
    as_dict,
    changed_search,
)
from gaitforge.work import (
    SplitFolder,
    fingerprint,
    set_aside,
)
from search_spaces import SPACES, TERMS_VERSION
from trainers.terminal.say import say
from trainers.training.teacher_file import Teacher, read_outputs_provenance
from trainers.training.window_folder import WindowFolder


def search_identity(settings: SearchSettings, windows: str, teacher: str) -> str:
    """Return a hash of all that the trials of one search must share, so not of settings such as the number of trials.

    `windows` is the key of the windows, `teacher` the teacher's fingerprint.
    """
    shared = {key: value for key, value in as_dict(settings).items() if key not in FREE_TO_CHANGE}
    if not settings.terms_warmup:
        del shared["terms_warmup"]  # as of a student: what is off has no part in a name
    if not settings.terms:
        del shared["gate"]  # there is nothing to keep from students
    versions = {family: SPACES[family].version for family in settings.families}
    later = {family: version for family, version in versions.items() if version > 1}
    return fingerprint(
        {"settings": shared, "windows": windows, "teacher": teacher}
        | ({"spaces": later} if later else {})
        | ({"terms": TERMS_VERSION} if settings.terms else {})
    )


def search_provenance(
    identity: str,
    windows: WindowFolder,
    folder: SplitFolder,
    starts: Mapping[str, Provenance],
) -> Provenance:
    """Return a search's provenance: windows, teacher, outputs, and `starts`, what its first students come from."""
    teacher = Teacher.read(folder).provenance
    return Provenance.of(
        identity,
        {
            "windows": windows.provenance,
            "teacher": teacher,
            "outputs": read_outputs_provenance(folder, teacher, windows.provenance),
            **starts,
        },
        windows.people("train", "validation"),
    )


def read_search_provenance(folder: SplitFolder) -> Provenance:
    """Read the provenance of the search in the folder."""
    return SEARCH.read(folder.search_head).provenance


def join_provenances(now: Provenance, earlier: Provenance) -> Provenance:
    """Join the provenance of a search that goes on with its earlier one.

    What it starts from may change; whom earlier starts have seen stays seen.
    """
    return replace(
        now,
        made_from={**earlier.made_from, **now.made_from},
        seen=now.seen | earlier.seen,
        unknown=tuple(dict.fromkeys((*earlier.unknown, *now.unknown))),
    )


def claim_folder(
    folder: SplitFolder, identity: str, settings: Mapping[str, Any], fresh: bool
) -> SearchHead | None:
    """Make sure that the folder's trials belong to this search; return its earlier head, None where it is new.

    With `fresh` an earlier search is set aside. Raises ValueError where the trials are of another search.
    """
    if fresh and (folder.search_head.is_file() or any(folder.trials.glob("*.json"))):
        aside = set_aside(folder)
        say(f"  the search of before, and what was confirmed of it, lie in {aside} now")
        return None
    return check_claim(folder, identity, settings)


def check_claim(
    folder: SplitFolder, identity: str, settings: Mapping[str, Any]
) -> SearchHead | None:
    """Return the head of the search in the folder; None where the folder has neither a search nor trials.

    Raises ValueError where its trials are of a search with another identity, or no head tells of which.
    """
    before = SEARCH.find(folder.search_head)
    if before is None:
        if any(folder.trials.glob("*.json")):
            raise ValueError(
                f"{folder.trials} holds trials, but no {folder.search_head.name} tells what they were made from; set "
                "them aside with `gaitforge search --fresh run.toml`."
            )
        return None
    if before.identity == identity:
        return before
    changed = changed_search(before.settings, settings)
    what = (
        f"search.{changed[0]}"
        if changed
        else "the data, the split, the teacher or the search space"
    )
    raise ValueError(
        f"{folder.search} holds a search with other settings ({what} has changed), and trials of both must not "
        "be mixed; undo the change, choose another work folder, or set the old search aside with "
        "`gaitforge search --fresh run.toml`."
    )
