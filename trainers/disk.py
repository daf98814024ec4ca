"""`gaitforge disk`: what a work folder takes, by part, and what nothing in it needs any more."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from gaitforge.records.search import SEARCH
from gaitforge.records.split import SPLIT
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.sentences import escape
from gaitforge.settings import SETTINGS, RunSettings
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import collect_window_parts
from gaitforge.work import ASIDE, DRAFT, DRAFT_S, SplitFolder, WorkFolder, fingerprint, on_s3

# in the order of the table
PARTS = (
    "store", "windows", "teacher", "teacher outputs", "search", "refits", "predictions", "export", "set aside",
    "drafts", "other",
)  # fmt: skip
# of a split or a fold, by the folder that SplitFolder puts it in
OF_A_RUN = {
    SplitFolder(Path()).reference.name: "teacher",
    SplitFolder(Path()).teacher.name: "teacher",
    SplitFolder(Path()).teacher_outputs.name: "teacher outputs",
    SplitFolder(Path()).search.name: "search",
    SplitFolder(Path()).confirm.name: "refits",
    SplitFolder(Path()).predictions.name: "predictions",
}
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One file below a work folder: its path from there, the part it belongs to, its bytes and when it was written."""

    path: PurePath
    part: str
    size: int
    written_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Unneeded:
    """Files or folders that may go: their paths, why nothing needs them, and their bytes."""

    paths: tuple[Path, ...]
    what: str
    why: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """What a work folder takes, what of it nothing needs, and sentences about what cannot be told."""

    root: Path
    files: tuple[Taken, ...]
    unneeded: tuple[Unneeded, ...]
    notes: tuple[str, ...]

    @property
    def to_spare(self) -> int:
        return sum(one.size for one in self.unneeded)


def look_at_disk(work: WorkFolder) -> Disk:
    """List all files of a work folder, and what nothing needs; what a link leads to is not looked at.

    Raises FileNotFoundError where there is no store.
    """
    if not work.store_head.is_file():
        raise FileNotFoundError(
            f"{work.root} is no work folder with a store; run `gaitforge ingest run.toml` first."
        )
    files = tuple(_list_files(work.root))
    found: list[Unneeded] = [*_set_aside(work, files), *_drafts(work, files)]
    notes = []
    for search, what in ((_windows, "windows"), (_earlier_versions, "files of the store")):
        try:
            found += search(work, files)
        except (ValueError, OSError) as error:  # a file that cannot be read does not hide the rest
            notes.append(f"which {what} are needed cannot be told: {error.args[0]}")
    if elsewhere := say_where_windows_are(work):
        notes.append(elsewhere)
    return Disk(root=work.root, files=files, unneeded=tuple(found), notes=tuple(notes))


def describe_disk(disk: Disk) -> str:
    """Write what a work folder takes as a short table with totals, and name what nothing needs."""
    rows = [(part, [file for file in disk.files if file.part == part]) for part in PARTS]
    lines = [f"{disk.root} takes, in files of this many bytes:"]
    lines += [_row(part, files) for part, files in rows if files]
    lines.append(_row("all", disk.files))
    if disk.unneeded:
        lines.append("of these nothing needs:")
        lines += [f"  {say_size(one.size):>9}  {one.what}: {one.why}" for one in disk.unneeded]
        lines.append(_row("all", size=disk.to_spare))
    else:
        lines.append("nothing of it is known to be of no use")
    # a name with a line end in it must not look like a line of ours
    return "\n".join(escape(line).replace("\n", "\\n") for line in (*lines, *disk.notes))


def sweep_disk(disk: Disk, say: Callable[[str], None]) -> None:
    """Remove what nothing needs, having said what; the caller holds the work folder.

    A kill in between leaves less to remove by the next one. Raises PermissionError for what cannot be removed.
    """
    for one in disk.unneeded:
        say(f"removing {one.what}, {say_size(one.size)}")
        for path in one.paths:
            remove_whole(path)
    say(f"{disk.root} takes {say_size(disk.to_spare)} less now")


def say_size(size: int) -> str:
    """Write bytes in the largest unit of which there is one, by thousands."""
    scaled, unit = float(size), 0
    while scaled >= 1000 and unit < len(UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.1f} {UNITS[unit]}" if unit else f"{size} {UNITS[0]}"


def _row(part: str, files: Sequence[Taken] | None = None, size: int = 0) -> str:
    if files is None:
        return f"  {say_size(size):>9}  {part}"
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    return f"  {say_size(sum(file.size for file in files)):>9}  {part}, {count}"


def _list_files(root: Path) -> Iterator[Taken]:
    if on_s3(root):
        for path in root.rglob("*"):
            relative, status = PurePath(path.relative_to(root)), path.stat()
            yield Taken(
                path=relative, part=_part_of(relative), size=status.st_size,
                written_s=status.st_mtime_ns / 1e9,
            )  # fmt: skip
        return
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root)
            try:
                status = path.lstat()
            except FileNotFoundError:  # a command that works there has removed it meanwhile
                continue
            yield Taken(
                path=relative, part=_part_of(relative), size=status.st_size, written_s=status.st_mtime
            )  # fmt: skip


def _part_of(path: PurePath) -> str:
    """Return the part that a file belongs to, by its path from the work folder."""
    work = WorkFolder(Path())
    if _aside_of(path) is not None:
        return "set aside"
    if _draft_of(path) is not None:
        return "drafts"
    first, *inner = path.parts
    if first == work.runs.name:
        # <split>/..., or <split>/folds/<fold>/...
        place = 3 if inner[1:2] == [SplitFolder(Path()).folds.name] else 1
        return OF_A_RUN.get(inner[place], "other") if len(inner) > place + 1 else "other"
    by_folder = {work.store.name: "store", work.cache.name: "windows", work.export.name: "export"}
    return by_folder.get(first, "other") if inner else "other"


def _aside_of(path: PurePath) -> PurePath | None:
    """Return the folder that --fresh has set aside and that holds this file; None where there is none."""
    parts = path.parts
    if parts[0] != WorkFolder(Path()).runs.name:
        return None
    for place in (2, 4):  # of a split, of a fold
        within = place == 2 or parts[2:3] == (SplitFolder(Path()).folds.name,)
        if within and len(parts) > place + 1 and parts[place].startswith(ASIDE):
            return PurePath(*parts[: place + 1])
    return None


def _draft_of(path: PurePath) -> PurePath | None:
    """Return the draft that this file is, or lies in; None where it is none."""
    for place, name in enumerate(path.parts):
        if DRAFT.fullmatch(name):
            return PurePath(*path.parts[: place + 1])
    return None


def _set_aside(work: WorkFolder, files: Sequence[Taken]) -> Iterator[Unneeded]:
    why = "set aside by --fresh, or since people or recordings had changed"
    for folder, inside in _by_folder(files, _aside_of).items():
        yield _unneeded(work, folder, why, inside)


def _drafts(work: WorkFolder, files: Sequence[Taken]) -> Iterator[Unneeded]:
    """Find drafts that nobody writes any more: a younger one may be of a command that is at work."""
    drafts = _by_folder([file for file in files if file.part == "drafts"], _draft_of)
    for draft, inside in drafts.items():
        if time.time() - max(file.written_s for file in inside) > DRAFT_S:
            yield _unneeded(work, draft, "half written by a command that was killed", inside)


def _windows(work: WorkFolder, files: Sequence[Taken]) -> Iterator[Unneeded]:
    """Find windows of no split and settings that there are; raises ValueError or OSError where these cannot be read."""
    folder = PurePath((work.cache / "windows").relative_to(work.root))

    def key_of(path: PurePath) -> PurePath | None:
        inside = path.is_relative_to(folder) and len(path.parts) > len(folder.parts) + 1
        return PurePath(*path.parts[: len(folder.parts) + 1]) if inside else None

    cached = _by_folder([file for file in files if file.part == "windows"], key_of)
    if not cached:
        return
    needed = _list_needed_windows(work)
    for key, inside in cached.items():
        if key.name not in needed:
            why = "windows that no split, model or setting here refers to"
            yield _unneeded(work, key, why, inside)


def _list_needed_windows(work: WorkFolder) -> set[str]:
    """Return the keys of windows that the splits and the settings ask for, or that something was made from."""
    store = SkeletonStore.open(work.store)
    settings = SETTINGS.find(work.settings)
    keys: set[str] = set()
    splits = [(path, work.run(path.stem)) for path in work.split_files()]
    for _, folder in list(splits):
        copies = sorted(folder.folds.glob(f"*/{folder.split_copy.name}"))
        splits += [(path, SplitFolder(path.parent)) for path in copies]
    for path, folder in splits:
        split = SPLIT.read(path)
        if settings is not None:
            parts = collect_window_parts(split, store.layout, store.classes, settings.windows)
            keys.add(fingerprint(parts))
        teacher, outputs = TEACHER.find(folder.teacher_model), OUTPUTS.find(folder.outputs.head)
        search = SEARCH.find(folder.search_head)
        for head in (teacher, outputs, search):
            if head is not None:
                keys.add(head.provenance.made_from.get("windows", ""))
    return keys


def _earlier_versions(work: WorkFolder, files: Sequence[Taken]) -> Iterator[Unneeded]:
    """Find recordings that the store in force does not name; raises ValueError where its log cannot be read."""
    paths = tuple(SkeletonStore.open(work.store).list_unnamed())
    names = {path.name for path in paths}
    table = PurePath(paths[0].parent.relative_to(work.root)) if paths else None
    inside = [file for file in files if file.path.parent == table and file.path.name in names]
    if inside:
        count = "1 file" if len(names) == 1 else f"{len(names)} files"
        yield Unneeded(
            paths=paths, what=f"{count} in {table}", why="recordings of earlier versions of the store",
            size=sum(file.size for file in inside),
        )  # fmt: skip


def _by_folder(
    files: Sequence[Taken], folder_of: Callable[[PurePath], PurePath | None]
) -> dict[PurePath, list[Taken]]:
    groups: dict[PurePath, list[Taken]] = {}
    for file in files:
        if (folder := folder_of(file.path)) is not None:
            groups.setdefault(folder, []).append(file)
    return dict(sorted(groups.items()))


def _unneeded(work: WorkFolder, path: PurePath, why: str, files: Sequence[Taken]) -> Unneeded:
    size = sum(file.size for file in files)
    return Unneeded(paths=(work.root / path,), what=str(path), why=why, size=size)


def say_where_windows_are(work: WorkFolder) -> str | None:
    """Say that the windows lie outside the work folder, where the last command had them there."""
    try:
        settings: RunSettings | None = SETTINGS.find(work.settings)
    except (ValueError, OSError):
        return None
    if settings is None:
        return None
    cluster = settings.cluster
    if not cluster.cache and cluster.address == "local" and not on_s3(work.root):
        return None
    place = cluster.cache or "~/.cache/gaitforge"
    return f"windows lie in {place} of each node, which is not counted here and may be removed at any time"


def remove_whole(path: Path) -> None:
    """Remove a file, or a folder with all in it; PermissionError, in a sentence, for what cannot be removed."""
    if remote := on_s3(path):
        if remote.is_file():
            remote.unlink()
        else:
            remote.remove_tree()
        return
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise PermissionError(
            f"{error.filename} cannot be removed ({error.strerror}); let its owner remove it, or give you the right."
        ) from error
