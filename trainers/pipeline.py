"""READ FIRST: the line, one function per stage. Each reads what the one before wrote, and may be run again.

files -> ingest -> store -> split -> teacher -> teacher outputs -> search -> confirm -> export

From the teacher on, every stage also reads the windows that `store/` and `splits/` give, which are cached where they
are missing. `gaitforge/predict.py` uses what export writes. How stored outputs become a loss: `docs/line.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gaitforge.members import scores_provenance
from gaitforge.models import make_sizes
from gaitforge.records.split import SPLIT, Split
from gaitforge.scorings import count_scorings
from gaitforge.settings import SETTINGS, RunSettings
from gaitforge.splits import say_kept
from gaitforge.store import SkeletonStore
from gaitforge.summary import write_summary
from gaitforge.window_cache import build_windows, check_role, sweep_windows
from gaitforge.windows import check_rates
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    follow_mode,
    on_s3,
    open_path,
    set_aside,
    sweep_drafts,
    write_whole,
)
from trainers.chain import (
    check_stage,
    collect_labels,
    deal_splits,
    list_made,
    list_stale_runs,
    read_known_splits,
    read_splits,
)
from trainers.cluster.joining import check_folder
from trainers.confirm.confirm import confirm_front
from trainers.confirm.export import export_student
from trainers.confirm.folds import confirm_folds, deal_folds
from trainers.confirm.latencies import write_latencies
from trainers.confirm.pool import pool_splits
from trainers.confirm.robustness import write_robustness
from trainers.confirm.shortcuts import write_shortcuts
from trainers.confirm.trust import format_verdict
from trainers.confirm.verdict import Tables, write_verdict
from trainers.forget import is_half_forgotten
from trainers.ingest import ingest_recordings
from trainers.search.checks import check_cross_fit, check_families, check_teacher
from trainers.search.claim import read_search_provenance
from trainers.search.search import search_students
from trainers.teacher.outputs import write_outputs
from trainers.teacher.teacher import train_teacher
from trainers.terminal.progress import print_teacher_epochs
from trainers.terminal.say import say
from trainers.terminal.stopping import check_stop
from trainers.training.reference import read_reference, say_beside_teacher
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder, WindowRecipe


@dataclass(frozen=True, slots=True)
class Line:
    """The stages of one run.toml over its work folder; `fresh` sets an old search aside."""

    settings: RunSettings
    fresh: bool = False

    @property
    def work(self) -> WorkFolder:
        return WorkFolder(open_path(self.settings.work))

    @property
    def cache(self) -> Path:
        """Return where each node keeps windows: where cluster.cache says, else in the work folder or the home folder.

        In the work folder where that is a disk and only this machine works on it.
        """
        cluster = self.settings.cluster
        if cluster.cache:
            return Path(cluster.cache).expanduser()
        if cluster.address == "local" and not on_s3(self.work.root):
            return self.work.cache
        return Path.home() / ".cache" / "gaitforge"

    def check(self) -> None:
        """Refuse what cannot work before any of it starts; raises KeyError, ValueError or PermissionError."""
        check_folder(Path.cwd())
        make_sizes(self.settings.teacher.family, self.settings.teacher.sizes)
        check_families(self.settings.search)
        check_cross_fit(self.settings.teacher, self.settings.search)
        check_folds(self.settings)
        self.work.make()
        follow_mode(self.work.root)

    def begin(self, stage: str) -> None:
        """Let a stage, or `run`, write into the folder, unless something there does not belong to the settings."""
        self.refuse(stage)
        # for readers of the folder, who do not know the run.toml
        SETTINGS.write(self.work.settings, self.settings)

    def sweep(self) -> None:
        """Remove what killed commands have left half written in the work folder and in this node's windows."""
        sweep_drafts(self.work.root)
        sweep_windows(self.cache)

    def refuse(self, stage: str) -> None:
        """Check, before anything is written, that what is there belongs to the settings.

        Raises FileNotFoundError or ValueError with what to do, KeyboardInterrupt where the command was told to stop.
        """
        check_stop()
        if is_half_forgotten(self.work):
            raise ValueError(
                f"`gaitforge forget` was ended in {self.work.root} between the old store and the new one; type it "
                "again with the same person, which finishes it."
            )
        check_stage(stage, self.settings, self.work, self.fresh)

    def run(self) -> None:
        """Run all stages in the order of the line; each finds what the one before has written."""
        self.ingest()
        self.split()
        self.teacher()
        self.outputs()
        self.search()
        self.confirm()
        self.export()

    def ingest(self) -> None:
        """Read the recordings of [ingest] into the store.

        In: recording files, or the settings of synthetic walkers. Out: `store/`.
        """
        self.refuse("ingest")
        say("ingest: recordings into the store")
        ingest_recordings(self.settings.ingest, self.work.store)

    def split(self) -> None:
        """Give every person one role: train, validation or confirm.

        In: `store/`. Out: `splits/<split>.json`; what was made with other people or recordings is set aside.
        """
        self.refuse("split")
        say("split: people into train, validation and confirm")
        store = SkeletonStore.open(self.work.store)
        check_rates(store.read_index().column("fps").to_pylist(), self.settings.windows)
        known = read_known_splits(self.work, self.fresh)
        splits = deal_splits(self.settings, store, known)
        for split in splits:
            # too many for the people are refused before anything is trained
            self.deal_into_folds(store, split)
        for folder in list_stale_runs(self.work, splits, self.fresh):
            made = ", ".join(path.name for path in list_made(folder))
            aside = set_aside(folder, everything=True)
            before = self.work.split_file(folder.root.name)
            if before.is_file():
                write_whole(SplitFolder(aside).split_copy, before.read_bytes())
            say(
                f"  {folder.root.name}: what was made with other people or recordings ({made}) lies in {aside} now, "
                "and is to be made again"
            )
        # those of another rule
        for path in self.work.split_files():
            if path.stem not in {split.name for split in splits}:
                path.unlink()
        for split in splits:
            SPLIT.write(self.work.split_file(split.name), split)
            say(
                f"  {split.name}: "
                + ", ".join(
                    f"{len(split.people(r))} {r}" for r in ("train", "validation", "confirm")
                )
                + say_kept(split, {its.name: its for its in known}.get(split.name))
            )

    def teacher(self) -> None:
        """Train the large model on the training people of each split, and the reference that it must beat.

        In: `store/` and `splits/`. Out: `runs/<split>/teacher/`, `reference/` and their rows in `predictions/`.
        """
        self.refuse("teacher")
        for split, windows in self.open_windows("train", "validation"):
            say(f"teacher: {self.settings.teacher.family} on the split {split.name}")
            teacher = train_teacher(
                self.settings.teacher,
                self.settings.cluster,
                windows,
                self.work.run(split.name),
                print_teacher_epochs,
                self.fresh,
            )
            say(
                f"  {teacher.params:,} parameters, validation macro F1 {teacher.val_macro_f1:.3f}, "
                f"accuracy {teacher.val_accuracy:.3f} at epoch {teacher.best_epoch} of {teacher.epochs}"
            )
            reference = read_reference(self.work.run(split.name))
            say(f"  {say_beside_teacher(teacher.val_macro_f1, reference)}")

    def outputs(self) -> None:
        """Store the teacher's outputs for every view of every training window, once for all students.

        In: `runs/<split>/teacher/`. Out: `teacher_outputs/` beside it: arrays that students map.
        """
        self.refuse("outputs")
        for split, windows in self.open_windows("train"):
            say(f"outputs: the teacher's answers for the split {split.name}")
            search = self.settings.search
            write_outputs(windows, self.work.run(split.name), search.terms, search.answered)

    def search(self) -> None:
        """Try students that learn from the stored outputs, scored on the validation people.

        In: `runs/<split>/teacher/` and `teacher_outputs/`. Out: `search/`: trials, front, and the importance of each
        searched value; the rows of finished students in `predictions/`.
        """
        self.refuse("search")
        splits = list(self.open_windows("train", "validation"))
        for split, windows in splits:
            check_teacher(self.settings.search, windows, self.work.run(split.name))
        for split, windows in splits:
            say(f"search: {self.settings.search.trials} students on the split {split.name}")
            folder = self.work.run(split.name)
            search_students(
                self.settings.search,
                self.settings.cluster,
                windows,
                folder.teacher_outputs,
                folder,
                self.fresh,
            )

    def confirm(self) -> None:
        """Train the searched front anew and score it on people that nothing has seen.

        In: `runs/<split>/search/`, `teacher/`, `teacher_outputs/` and `reference/`. Out: `confirm/`: refits, scores
        with their verdict, latencies, robustness, shortcuts; `predictions/`; `scorings/`; `folds/` where
        confirm.folds asks for them; `runs/pooled.json` of several splits.
        """
        self.refuse("confirm")
        store = SkeletonStore.open(self.work.store)
        for split, windows in self.open_windows("train", "validation", "confirm"):
            say(f"confirm: the searched front on unseen people of the split {split.name}")
            folder = self.work.run(split.name)
            folds = self.deal_into_folds(store, split)
            members = confirm_front(
                self.settings.confirm,
                self.settings.cluster,
                windows,
                folder.teacher_outputs,
                folder,
                self.work,
            )
            told = scores_provenance(
                self.settings.confirm,
                members,
                read_search_provenance(folder),
                split.people("confirm"),
            )
            times = count_scorings(self.work, split.people("confirm"))
            shortcuts = write_shortcuts(windows, store, folder)
            scores = write_verdict(
                self.settings.confirm, windows, folder, members, times, told, shortcuts
            )
            write_robustness(windows, folder, members, self.settings.confirm.seeds)
            write_latencies(windows, folder, Teacher.read(folder), members)
            say("\n".join(f"  {line}" for line in format_verdict(scores.verdict)))
            if told.unknown:
                say(f"  nobody knows whom these have seen: {', '.join(told.unknown)}")
            if folds:
                others = (*split.people("train"), *split.people("validation"))
                pooled = confirm_folds(
                    self.settings, folds, partial(self.open_window_folder, store), folder, others
                )
                say(f"  {pooled.sentence}")
        if len(self.read_splits()) > 1:
            self.pool()

    def pool(self) -> None:
        """Say what several splits find together about all people, and write it.

        In: `runs/*/predictions/` and `confirm/`. Out: `runs/pooled.json`.
        """
        tables = [
            Tables(self.work.run(split.name), windows, self.settings.confirm)
            for split, windows in self.open_windows("confirm")
        ]
        pooled = pool_splits(tables, self.settings.confirm, self.work.pooled)
        say(f"  {pooled.sentence}")

    def deal_into_folds(self, store: SkeletonStore, split: Split) -> list[Split]:
        """Deal a split's people into the folds that confirm.folds asks for; none where it asks for none."""
        folds = self.settings.confirm.folds
        return (
            deal_folds(folds, self.settings.split, split, collect_labels(store)) if folds else []
        )

    def export(self) -> None:
        """Hand out one confirmed student of the first split.

        In: `runs/<split>/confirm/`. Out: `export/`: weights, ONNX and card.
        """
        self.refuse("export")
        split, windows = next(self.open_windows("train", "validation"))
        say(f"export: a confirmed student of the split {split.name}")
        export_student(
            self.settings.export,
            windows,
            split,
            self.work.run(split.name),
            self.settings.ingest.read,
            self.work.export,
            SkeletonStore.open(self.work.store).read_recordings(split.people("train")),
        )

    def open_windows(self, *roles: str) -> Iterator[tuple[Split, WindowFolder]]:
        """Yield each split with its cached windows, built where they are missing.

        Raises FileNotFoundError before the split stage, ValueError where the store has changed since it.
        """
        store = SkeletonStore.open(self.work.store)
        for split in self.read_splits():
            yield split, self.open_window_folder(store, split, *roles)

    def open_window_folder(self, store: SkeletonStore, split: Split, *roles: str) -> WindowFolder:
        """Open the cached windows of one split, built where missing; ValueError where the store has changed."""
        cache = build_windows(
            self.cache, store_fingerprint=store.info.fingerprint, split=split, layout=store.layout,
            classes=store.classes, settings=self.settings.windows, recordings=store.read_recordings,
        )  # fmt: skip
        recipe = WindowRecipe(
            store=str(self.work.store), folder=str(cache.folder), split=split, settings=self.settings.windows
        )  # fmt: skip
        made = recipe.make(*roles)
        for role in roles:
            check_role(made.folder, role)
        return made

    def read_splits(self) -> list[Split]:
        """Read the splits as the split stage wrote them."""
        return read_splits(self.work)

    def summarise(self) -> None:
        """Write `summary.json`, the result for machines, from all that lies in the folder."""
        write_summary(self.work)


def check_folds(settings: RunSettings) -> None:
    """Raise ValueError where confirm.folds is set and the splits are folds of the whole line already."""
    if settings.confirm.folds and settings.split.rule in ("folds", "leave_one_person_out"):
        raise ValueError(
            f"confirm.folds is {settings.confirm.folds}, but split.rule = '{settings.split.rule}' has every fold "
            "search for itself, which is the stronger of the two; set confirm.folds to 0."
        )
