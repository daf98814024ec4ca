"""Check, before a stage writes anything, that what it builds on is what the settings ask for.

An identity is a hash of all that an artefact is made from, so that it is known before the artefact is
made. A stage goes on only where what lies before it has the identity that run.toml asks for; it makes
its own artefact anew, or refuses where others have been made from the old one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from gaitforge.members import read_members, scores_provenance
from gaitforge.provenance import Provenance
from gaitforge.records.confirm import FOLDS, LATENCIES, POOLED, SCORES
from gaitforge.records.export import CARD
from gaitforge.records.json_file import Unreadable
from gaitforge.records.search import FRONT, SEARCH
from gaitforge.records.shortcuts import SHORTCUTS
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.store import STORE, HowRead
from gaitforge.records.teacher import OUTPUTS, REFERENCE, TEACHER
from gaitforge.settings import IngestSettings, RunSettings, as_dict, how_read, teacher_identity
from gaitforge.splits import check_rule, make_splits
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import window_provenance
from gaitforge.work import SplitFolder, WorkFolder
from trainers.confirm.refit_file import check_refits, check_unseen
from trainers.ingest import ingest_identity
from trainers.search.claim import check_claim, search_identity
from trainers.search.starts import check_starts
from trainers.training.teacher_file import (
    Teacher,
    check_replaced,
    check_weights,
    find_outputs_fault,
    outputs_provenance,
    teacher_provenance,
)

# one command for all that a change has made stale, whichever stage finds it
ANEW = "`gaitforge run --fresh run.toml`"


@dataclass(frozen=True, slots=True)
class Chain:
    """One split of a work folder, and the settings that its artefacts are checked against."""

    settings: RunSettings
    store: SkeletonStore
    split: Split
    folder: SplitFolder

    @property
    def windows(self) -> Provenance:
        return window_provenance(
            self.split, self.store.layout, self.store.classes, self.settings.windows
        )

    @property
    def teacher(self) -> Provenance:
        windows = self.windows
        identity = teacher_identity(self.settings.teacher, windows.identity)
        people = (*self.split.people("train"), *self.split.people("validation"))
        return teacher_provenance(identity, windows, people)

    @property
    def search_identity(self) -> str:
        teacher = self.teacher
        return search_identity(self.settings.search, self.windows.identity, teacher.identity)

    def check_made(self, stage: str) -> None:
        """Raise FileNotFoundError where the stage before confirm or export has not run."""
        if stage == "confirm" and not self.folder.front.is_file():
            raise FileNotFoundError(
                f"There is no searched front in {self.folder.search}; run `gaitforge search run.toml` first."
            )
        if stage == "export" and not self.folder.scores.is_file():
            raise FileNotFoundError(
                f"Nothing has been confirmed in {self.folder.root}; run `gaitforge confirm run.toml` first."
            )

    def check_teacher(self) -> None:
        """Raise FileNotFoundError where there is no teacher, ValueError for one that the settings do not ask for."""
        now, before = self.teacher, Teacher.read(self.folder)
        if before.fingerprint == now.identity:
            check_weights(self.folder)
            return
        same_windows = before.provenance.made_from.get("windows") == now.made_from["windows"]
        other = "settings" if same_windows else "recordings, roles of people, windows or settings"
        searched = self.folder.search_head.is_file()
        remedy = (
            f"begin anew with {ANEW}" if searched else "run `gaitforge teacher run.toml` first"
        )
        raise ValueError(
            f"The teacher in {self.folder.teacher} was trained with other {other} than there are now; undo the change, "
            f"or {remedy}."
        )

    def check_outputs(self) -> None:
        """Raise FileNotFoundError where there are no teacher outputs, ValueError for those of another teacher."""
        head = OUTPUTS.find(self.folder.outputs.head)
        if head is None:
            raise FileNotFoundError(
                f"There are no outputs in {self.folder.teacher_outputs}; run `gaitforge outputs run.toml` first."
            )
        answered = self.settings.search.answered
        if head.identity != outputs_provenance(self.teacher, self.windows, answered).identity:
            raise ValueError(
                f"The outputs in {self.folder.teacher_outputs} are of another teacher than {self.folder.teacher}, or "
                "of views that search.teacher_sees or search.fit has changed since; "
                "run `gaitforge outputs run.toml` first."
            )

    def check_arrays(self) -> None:
        """Raise ValueError where the arrays of the teacher outputs are not those that their head tells of."""
        fault = find_outputs_fault(self.folder.outputs, self.settings.search.terms)
        if fault is not None:
            raise ValueError(
                f"{fault}; run `gaitforge outputs run.toml` first, which makes it again."
            )

    def check_search(self) -> None:
        """Raise ValueError for a search that the settings do not ask for, or the front of another search."""
        front = self.folder.front
        check_claim(self.folder, self.search_identity, as_dict(self.settings.search))
        if FRONT.read(front).search != self.search_identity:
            raise ValueError(
                f"{front} is of another search than the trials beside it; run `gaitforge search run.toml` first."
            )

    def check_scores(self) -> None:
        """Raise ValueError for scores of other settings, or of other members than the search's front has now."""
        path = self.folder.scores
        told = SCORES.read(path).provenance
        search = Provenance(identity=self.search_identity)
        members = read_members(self.settings.confirm, self.folder)
        now = scores_provenance(self.settings.confirm, members, search, ())
        if told.identity != now.identity:
            raise ValueError(
                f"{path} is of another search, front or [confirm] than there are now; "
                "run `gaitforge confirm run.toml` first, which keeps what is trained already."
            )


def check_stage(stage: str, settings: RunSettings, work: WorkFolder, fresh: bool) -> None:
    """Refuse what does not belong together, before the stage (or `run`) writes anything.

    Raises FileNotFoundError or ValueError with what to do.
    """
    if not fresh:
        check_versions(work)
    if stage in ("run", "ingest"):
        check_ingest(settings, work, fresh)
    if stage == "ingest":
        return
    if stage in ("run", "split"):
        if not work.store_head.is_file():
            return  # nothing can be of other recordings
        store = SkeletonStore.open(work.store)
        if stage == "run" and ingest_identity(settings.ingest) != store.info.fingerprint:
            return  # its stages look again once they have the recordings
        splits = deal_splits(settings, store, read_known_splits(work, fresh))
        check_splits(work, splits, fresh)
        if stage == "split":
            return
        chains = [Chain(settings, store, split, work.run(split.name)) for split in splits]
    else:
        chains = read_chains(settings, work)
    # an export is of the first split alone
    for chain in chains[:1] if stage == "export" else chains:
        check_link(stage, chain, fresh)


def check_versions(work: WorkFolder) -> None:
    """Raise Newer where a later version wrote what a stage would otherwise write anew."""
    STORE.check_version(work.store_head)
    CARD.check_version(work.exported.card)
    POOLED.check_version(work.pooled)
    for folder in work.made_runs():
        REFERENCE.check_version(folder.reference_facts)
        OUTPUTS.check_version(folder.outputs.head)
        FRONT.check_version(folder.front)
        SCORES.check_version(folder.scores)
        LATENCIES.check_version(folder.latencies)
        SHORTCUTS.check_version(folder.shortcuts)
        FOLDS.check_version(folder.folds_answer)


def check_link(stage: str, chain: Chain, fresh: bool) -> None:
    """Run the checks of a stage on one split."""
    settings, folder = chain.settings, chain.folder
    chain.check_made(stage)
    if stage in ("run", "teacher"):
        check_replaced(folder, chain.teacher.identity, fresh)
        is_there = not fresh and folder.teacher_model.is_file()
        if is_there and Teacher.read(folder).fingerprint == chain.teacher.identity:
            check_weights(folder)
    else:
        chain.check_teacher()
    if stage in ("search", "confirm", "export"):
        chain.check_outputs()
    if stage in ("search", "confirm"):
        chain.check_arrays()
    if stage in ("run", "search"):
        if not fresh:
            check_claim(folder, chain.search_identity, as_dict(settings.search))
        confirm = chain.split.people("confirm")
        check_starts(settings.search.start_from, settings.search.start_with, confirm)
    if stage in ("confirm", "export"):
        chain.check_search()
        check_refits(folder)
    if stage == "confirm":
        check_unseen(folder, chain.split.people("confirm"))
    if stage == "export":
        chain.check_scores()
        check_read(settings.ingest, chain.store)


def check_ingest(settings: RunSettings, work: WorkFolder, fresh: bool) -> None:
    """Raise ValueError where the recordings have changed and something was made from the old ones, unless `fresh`."""
    if fresh or not work.store_head.is_file():
        return
    made = [name for folder in work.made_runs() for name in list_made(folder)]
    if not made:
        return
    try:
        before = SkeletonStore.open(work.store).info.fingerprint
    except ValueError:
        return  # a damaged store is written anew
    if before != ingest_identity(settings.ingest):
        raise ValueError(
            f"The recordings, or how they are read, have changed since {work.store} was written, and {made[0]} was "
            f"made from it; undo the change, choose another work folder, or begin anew with {ANEW}."
        )


def check_read(settings: IngestSettings, store: SkeletonStore) -> None:
    """Raise ValueError where [ingest.read] is not what the recordings of the store were read with.

    Their files need not be there any more. Only a store of an older version, which does not tell how it was read,
    is held against them, where they are.
    """
    now, before = how_read(settings), store.info.read
    if now == before:
        return
    if before is None:
        try:
            if ingest_identity(settings) == store.info.fingerprint:
                return
        except FileNotFoundError:
            return
    raise ValueError(
        f"The recordings in {store.folder} were read {_read_words(before)}, but the settings ask for reading "
        f"{_read_words(now)}, as an exported student would then read new ones; undo the change, or begin anew with "
        f"{ANEW}."
    )


def _read_words(read: HowRead | None) -> str:
    if read is None:
        return "in another way"
    pairs = {item.name: getattr(read, item.name) for item in fields(read)}
    if read.from_layout is not None:
        pairs["from_layout"] = read.from_layout.name
    told = [f"{key} = {json.dumps(value)}" for key, value in pairs.items() if value is not None]
    return f"with {' and '.join(told)}" if told else "without confidence_channel and fps"


def check_splits(work: WorkFolder, splits: Sequence[Split], fresh: bool) -> None:
    """Raise ValueError where people's roles have changed and something was made with the old ones, unless `fresh`."""
    for folder in [] if fresh else list_stale_runs(work, splits):
        raise ValueError(
            f"{list_made(folder)[0]} was made with other roles of people, or of other recordings, than the settings "
            f"ask for now; undo the change, choose another work folder, or begin anew with {ANEW}, which sets the "
            "old aside."
        )


def list_stale_runs(
    work: WorkFolder, splits: Sequence[Split], fresh: bool = False
) -> list[SplitFolder]:
    """List the splits' folders in which something was made for another split than these.

    What another version wrote raises ValueError; with `fresh` it counts as made for another split.
    """
    now = {split.name: split.identity for split in splits}
    files = {path.stem: path for path in work.split_files()}
    stale = []
    for name in sorted({*now, *files}):
        folder = work.run(name)
        try:
            before = {find_split_identity(folder)}
            if name in files:
                before.add(SPLIT.read(files[name]).identity)
        except Unreadable:
            if not fresh:
                raise
            before = {""}  # of no split that there may be now
        if list_made(folder) and not before <= {None, now.get(name)}:
            stale.append(folder)
    return stale


def find_split_identity(folder: SplitFolder) -> str | None:
    """Return the identity of the split that a teacher or a search was made for; None where neither tells."""
    heads = (TEACHER.find(folder.teacher_model), SEARCH.find(folder.search_head))
    told = (head.provenance.made_from.get("split") for head in heads if head is not None)
    return next((identity for identity in told if identity is not None), None)


def list_made(folder: SplitFolder) -> list[Path]:
    """List the folders of what the stages behind the split have finished."""
    heads = (
        folder.teacher_model,
        folder.outputs.head,
        folder.search_head,
        folder.scores,
    )
    return [head.parent for head in heads if head.is_file()]


def deal_splits(
    settings: RunSettings, store: SkeletonStore, known: Sequence[Split]
) -> list[Split]:
    """Make the splits that the settings ask for; people whose role is `known` keep it.

    Walkers of other settings are other people, though their ids are the same.
    """
    kept = () if settings.ingest.synthetic else known
    return make_splits(settings.split, collect_labels(store), store.info.fingerprint, kept)


def read_known_splits(work: WorkFolder, fresh: bool = False) -> list[Split]:
    """Read the splits that there are; one that cannot be read raises ValueError, or counts for none with `fresh`."""
    known = []
    for path in work.split_files():
        try:
            known.append(SPLIT.read(path))
        except Unreadable:
            if not fresh:
                raise
    return known


def read_splits(work: WorkFolder) -> list[Split]:
    """Read the splits as the split stage wrote them; raises FileNotFoundError where it has not run."""
    paths = work.split_files()
    if not paths:
        raise FileNotFoundError(
            f"There is no split in {work.splits}; run `gaitforge split run.toml` first."
        )
    return [SPLIT.read(path) for path in paths]


def read_chains(settings: RunSettings, work: WorkFolder) -> list[Chain]:
    """Read a work folder's splits; raise ValueError for those of other recordings, or not asked for by the settings."""
    store = SkeletonStore.open(work.store)
    splits = read_splits(work)
    made = any(list_made(work.run(split.name)) for split in splits)
    remedy = (
        f"begin anew with {ANEW}, which sets the old aside"
        if made
        else "run `gaitforge split run.toml` first"
    )
    for split in splits:
        if split.store != store.info.fingerprint:
            raise ValueError(
                f"Split '{split.name}' was made for the store {split.store}, but the store is now "
                f"{store.info.fingerprint}; undo the change, or {remedy}."
            )
    check_rule(settings.split, splits, f"undo the change, or {remedy}")
    return [Chain(settings, store, split, work.run(split.name)) for split in splits]


def collect_labels(store: SkeletonStore) -> dict[str, set[str]]:
    """Return the classes that each person has recordings of."""
    labels: dict[str, set[str]] = {}
    for row in store.read_index().select(["person", "label"]).to_pylist():
        labels.setdefault(str(row["person"]), set()).add(str(row["label"]))
    return labels
