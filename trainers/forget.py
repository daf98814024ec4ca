"""`gaitforge forget`: one person removed from a work folder, with all that was made from them.

What tells of the person goes first and the store last, so that a command that is killed finds the person again and
goes on. The store is written anew beside the old one, which then goes as a whole: its log and its earlier versions
would tell of the person as well.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaitforge.provenance import count_people
from gaitforge.recording import Recording, Rejected
from gaitforge.recording_files import read_columns
from gaitforge.records.scoring import SCORING
from gaitforge.records.split import SPLIT
from gaitforge.store import SkeletonStore
from gaitforge.summary import write_summary
from gaitforge.work import (
    ASIDE,
    DRAFT,
    SplitFolder,
    StoreFolder,
    WorkFolder,
    on_s3,
    read_json,
)
from trainers.disk import remove_whole, say_where_windows_are

Say = Callable[[str], None]
# beside the store, and swept as drafts are: the store without the person while it is written, and the one before it
COMING, GOING = ".forgetting", ".forgotten"
NEXT = "store.next"  # the store without the person, whole: no stage may sweep that
# the keys of JSON files under which people stand, in a list or one alone, and those of tables by person
NAMING = ("seen", "people", "persons", "person")
BY_PERSON = ("roles", "differences")
# of a run, by what a person is told of it
MADE: dict[str, Callable[[SplitFolder], Path]] = {
    "teacher": lambda run: run.teacher_model,
    "teacher outputs": lambda run: run.outputs.head,
    "search": lambda run: run.search_head,
    "confirmation": lambda run: run.scores,
}


def check_forgettable(work: WorkFolder) -> None:
    """Refuse a folder of which a person cannot be removed to the last file, before anything is written there.

    Raises FileNotFoundError where there is no store, ValueError on S3 and for links.
    """
    if on_s3(work.root):
        raise ValueError(
            f"{work.root} is on S3, where a bucket may keep earlier versions of each object; copy the folder to a "
            "disk, let `gaitforge forget` work there, and replace the one of the bucket with all its versions."
        )
    if not work.store_head.is_file() and not _leftovers(work):
        raise FileNotFoundError(
            f"{work.root} is no work folder with a store; run `gaitforge ingest run.toml` first."
        )
    for folder, folders, files in os.walk(work.root):
        for name in (*folders, *files):
            if (path := Path(folder, name)).is_symlink():
                raise ValueError(
                    f"{path} is a link, and what it leads to would not be removed; put a folder or a file in its place."
                )


def forget_person(work: WorkFolder, person: str, say: Say) -> None:
    """Remove a person from a work folder that the caller holds; the same call goes on where one was killed.

    Raises KeyError for a person of whom nothing tells, ValueError for the only one in the store.
    """
    goes_on = _finish_swap(work)
    store = SkeletonStore.open(work.store)
    if not _is_known(work, store, person):
        if goes_on:
            say(f"nothing in {work.root} tells of {person} any more")
            return
        raise KeyError(
            f"Nothing in {work.root} tells of a person '{person}'; take the id from the dashboard's page Store."
        )
    people = {str(its) for its in store.read_index().column("person").to_pylist()}
    if people == {person}:
        raise ValueError(
            f"Person '{person}' is the only one in the store of {work.root}; remove the whole folder."
        )
    elsewhere = say_where_windows_are(work)  # by the settings, which go
    made = _forget_runs(work, person, say)
    if work.export.is_dir() and _tells(work.export, person):
        say("export: its student has learned from this person, or was chosen by them; removed")
        remove_whole(work.export)
    _forget_beside_runs(work, person, say)
    _forget_in_store(work, store, person, say)
    say(f"nothing that gaitforge has written in {work.root} tells of {person} any more")
    for path in _list_mentions(work.root, person):
        say(f"  {path} has letters that read like this id: look at it yourself")
    if elsewhere:
        say(f"  {elsewhere}: remove them there")
    say("  remove this person from the files of [ingest] too, and from what was copied elsewhere")
    if made:
        say("  `gaitforge run run.toml` trains again what was removed")


def _forget_runs(work: WorkFolder, person: str, say: Say) -> bool:
    """Remove what was made with the person among its people; tell whether there was any."""
    made = False
    for root in sorted(work.runs.glob("*")):
        if not root.is_dir():
            continue
        run, aside = SplitFolder(root), sorted(root.glob(f"{ASIDE}*"))
        rest = [path for path in root.iterdir() if path not in aside]
        if any(_tells(path, person) for path in rest) or _role(work, root.name, person):
            made = True
            say(f"runs/{root.name}: {_say_seen(run, person, _role(work, root.name, person))}")
            remove_whole(root)
            continue
        for path in aside:
            if _tells(path, person):
                say(f"runs/{root.name}/{path.name}: set aside, and made with this person; removed")
                remove_whole(path)
    if work.pooled.is_file() and (made or _tells(work.pooled, person)):
        remove_whole(work.pooled)
    return made


def _say_seen(run: SplitFolder, person: str, role: str | None) -> str:
    """Say what of a run has seen the person, and what was merely made beside them."""
    there = [name for name, head in MADE.items() if head(run).is_file()]
    seen = [name for name in there if _tells(MADE[name](run), person)]
    refits = [path for path in run.refits.glob("*.json") if _tells(path, person)]
    if refits:
        seen.append("1 refit" if len(refits) == 1 else f"{len(refits)} refits")
    others = [name for name in there if name not in seen]
    among = f"{person} is among its people ({role})" if role else f"{person} was among its people"
    told = [among]
    if seen:
        told.append(f"seen by {', '.join(seen)}")
    if others:
        told.append(f"not by {', '.join(others)}, which belong to the same people")
    return "; ".join(told) + "; removed, and to be trained again"


def _forget_beside_runs(work: WorkFolder, person: str, say: Say) -> None:
    """Remove windows, kept settings and drafts, and take the person out of splits and the log of scorings."""
    for path in (work.cache, work.settings, work.summary):
        remove_whole(path)
    for path in list(work.root.rglob(".*")):
        if DRAFT.fullmatch(path.name) and not path.name.startswith((COMING, GOING)):
            remove_whole(path)
    for path in sorted(work.scorings.glob("*.json")):
        scoring = SCORING.read(path)
        others = tuple(its for its in scoring.people if its != person)
        if not others:
            remove_whole(path)
        elif others != scoring.people:
            SCORING.write(path, replace(scoring, people=others))
    for path in work.split_files():
        split = SPLIT.read(path)
        others_roles = {its: role for its, role in split.roles.items() if its != person}
        if split.rule.get("rule") == "leave_one_person_out" and split.people("confirm") == (
            person,
        ):
            remove_whole(path)
        elif len(others_roles) < len(split.roles):
            say(f"splits/{path.name}: {count_people(others_roles)} keep their roles")
            SPLIT.write(path, replace(split, roles=others_roles))


def _forget_in_store(work: WorkFolder, store: SkeletonStore, person: str, say: Say) -> None:
    """Write the store anew without the person, put it in the place of the old one, and remove that with its log."""
    coming = work.root / f"{COMING}.{uuid.uuid4().hex}"
    rejected = [Rejected(**row) for row in store.read_quarantine().to_pylist()]
    kept = [item for item in rejected if item.person != person and not _reads(item.source, person)]
    before = store.info.recordings

    def items() -> Iterator[Recording | Rejected]:
        yield from (its for its in store.read_recordings() if its.person != person)
        yield from kept

    info = SkeletonStore.write(
        coming, store.layout, items(), store.info.fingerprint, read=store.info.read
    )
    coming.rename(work.root / NEXT)
    work.store.rename(work.root / f"{GOING}.{uuid.uuid4().hex}")
    (work.root / NEXT).rename(work.store)
    say(f"store: {before - info.recordings} recordings removed, with all earlier versions")
    _finish_swap(work)


def _finish_swap(work: WorkFolder) -> bool:
    """Finish an exchange of stores, and with it the command; tell whether there was anything to finish."""
    left = _leftovers(work)
    if is_half_forgotten(work):
        (work.root / NEXT).rename(work.store)
    if left:
        write_summary(work)
    for path in _leftovers(work):
        remove_whole(path)
    return bool(left)


def is_half_forgotten(work: WorkFolder) -> bool:
    """Tell whether a command was killed between the old store and the new one, so that none is in its place."""
    return not work.store_head.is_file() and StoreFolder(work.root / NEXT).head.is_file()


def _leftovers(work: WorkFolder) -> list[Path]:
    drafts = [path for name in (COMING, GOING) for path in work.root.glob(f"{name}.*")]
    ready = work.root / NEXT
    return [*drafts, ready] if ready.is_dir() else drafts


def _is_known(work: WorkFolder, store: SkeletonStore, person: str) -> bool:
    """Tell whether the store, also an earlier version of it, or anything made from it tells of the person."""
    if person in store.read_index().column("person").to_pylist():
        return True
    if person in store.read_quarantine().column("person").to_pylist():
        return True
    for path in store.list_unnamed():
        try:
            if person in read_columns(path, ["person"]).column("person").to_pylist():
                return True
        except (ValueError, OSError):  # half written
            continue
    return any(
        _tells(path, person) for path in (work.splits, work.scorings, work.runs, work.export)
    )


def _role(work: WorkFolder, split: str, person: str) -> str | None:
    path = work.split_file(split)
    return SPLIT.read(path).roles.get(person) if path.is_file() else None


def _tells(path: Path, person: str, unreadable: bool = True) -> bool:
    """Tell whether a JSON file, or any below a folder, names the person; what is `unreadable` may name anybody."""
    files = path.rglob("*.json") if path.is_dir() else [path] if path.suffix == ".json" else []
    for file in files:
        try:
            if _names(read_json(file), person):
                return True
        except (ValueError, OSError):
            if unreadable:
                return True
    return False


def _names(data: Any, person: str) -> bool:
    if isinstance(data, dict):
        return any(
            (key in NAMING and _is_among(value, person))
            or (key in BY_PERSON and person in value)
            or _names(value, person)
            for key, value in data.items()
        )
    return isinstance(data, list) and any(_names(value, person) for value in data)


def _is_among(value: Any, person: str) -> bool:
    return person in value if isinstance(value, list) else bool(value == person)


def _reads(text: str, person: str) -> bool:
    """Tell whether a text holds the person's id, and not as a part of a longer word."""
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(person)}(?![0-9A-Za-z])", text) is not None


def _list_mentions(root: Path, person: str) -> list[Path]:
    """List the files whose names or bytes hold the person's id as a word; none for ids so short that all do."""
    if len(person) < 3:
        return []
    spelled = {person, json.dumps(person)[1:-1]}
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            text = f"{path.name}\n{path.read_bytes().decode('utf-8', 'replace')}"
            if any(_reads(text, its) for its in spelled):
                found.append(path)
    return found
