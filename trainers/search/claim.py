"""Which search the trials of a folder belong to: its identity, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaitforge.provenance import Provenance, read_provenance
from gaitforge.settings import (
    CAME_LATER,
    FREE_TO_CHANGE,
    SearchSettings,
    as_dict,
    changed_search,
)
from gaitforge.work import (
    SplitFolder,
    fingerprint,
    read_object,
    set_aside,
)
from search_spaces import SPACES
from trainers.terminal.say import say
from trainers.training.teacher_file import Teacher, outputs_provenance
from trainers.training.window_folder import WindowFolder


def search_identity(settings: SearchSettings, windows: str, teacher: str) -> str:
    """A hash of all that the trials of one search must share; more trials are the same search.

    `windows` is the key of the windows, `teacher` the teacher's fingerprint.
    """
    shared = {
        key: value
        for key, value in as_dict(settings).items()
        if key not in FREE_TO_CHANGE and not (key in CAME_LATER and value == CAME_LATER[key])
    }
    versions = {family: SPACES[family].version for family in settings.families}
    later = {family: version for family, version in versions.items() if version > 1}
    return fingerprint(
        {"settings": shared, "windows": windows, "teacher": teacher}
        | ({"spaces": later} if later else {})
    )


def search_provenance(
    identity: str,
    windows: WindowFolder,
    folder: SplitFolder,
    starts: Mapping[str, Provenance],
) -> Provenance:
    """That of a search: windows, teacher and outputs, and the searches whose students it tries first."""
    teacher = Teacher.read(folder).provenance(folder, windows)
    return Provenance.of(
        identity,
        {
            "windows": windows.provenance,
            "teacher": teacher,
            "outputs": outputs_provenance(teacher, windows.provenance),
            **starts,
        },
        windows.people("train", "validation"),
    )


def told_by_search(windows: WindowFolder, folder: SplitFolder) -> Provenance:
    """The provenance of the search that lies in the folder; of an older one, what follows from its identity."""
    path = folder.search / "search.json"
    before = read_object(path, "identity")
    return read_provenance(path) or joined(
        search_provenance(before["identity"], windows, folder, {}), before, path
    )


def joined(now: Provenance, before: Mapping[str, Any], source: Path) -> Provenance:
    """Of a search that goes on: what it starts from may change, and whom that has seen stays seen.

    `before` is what its search.json said. An older one does not tell what it has started from.
    """
    if not before:
        return now
    if "provenance" not in before:
        settings = before.get("settings", {})
        started = any(settings.get(key) for key in ("start_from", "start_with"))
        return replace(now, unknown=(*now.unknown, "what it started from")) if started else now
    earlier = Provenance.from_dict(before["provenance"], str(source))
    return replace(
        now,
        made_from={**earlier.made_from, **now.made_from},
        seen=now.seen | earlier.seen,
        unknown=tuple(dict.fromkeys((*earlier.unknown, *now.unknown))),
    )


def claim_folder(folder: SplitFolder, head: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """Make sure that the folder's trials belong to this search; what search.json said before, or {}."""
    path = folder.search / "search.json"
    if fresh and (path.is_file() or any(folder.trials.glob("*.json"))):
        aside = set_aside(folder)
        say(f"  the search of before, and what was confirmed of it, lie in {aside} now")
        return {}
    check_claim(folder, head["identity"], head["settings"])
    return read_object(path) if path.is_file() else {}


def check_claim(folder: SplitFolder, identity: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where the folder's trials are of another search than that of this identity."""
    path = folder.search / "search.json"
    if not path.is_file():
        if any(folder.trials.glob("*.json")):
            raise ValueError(
                f"{folder.trials} holds trials, but no search.json tells what they were made from; set them aside "
                "with `gaitforge search --fresh`."
            )
        return
    before = read_object(path, "identity")
    if before["identity"] == identity:
        return
    changed = changed_search(before.get("settings", {}), settings)
    what = (
        f"search.{changed[0]}"
        if changed
        else "the data, the split, the teacher or a family's search space"
    )
    raise ValueError(
        f"{folder.search} holds a search with other settings ({what} has changed), and trials of both must not "
        "be mixed; undo the change, choose another work folder, or set the old search aside with "
        "`gaitforge search --fresh`."
    )
