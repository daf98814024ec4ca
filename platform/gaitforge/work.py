"""The work folder: where each artefact of the pipeline lies, and how files are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from gaitforge.s3 import S3Path

S3 = "s3://"
DRAFT_S = 60.0  # a younger draft may be another process's, which is still writing it
# what `_draft` makes, and the claims and probes that go with it
DRAFT = re.compile(r"\..+\.(?:[0-9a-f]{32}(?:\.once)?|once)|\.probe-[0-9a-f]{32}.*")
# of an OSError: the disk is full, or the user's share of it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
AGAIN = "remove it and run its stage again"
ASIDE = "until-"  # how the folders begin in which `set_aside` puts what was there
IRREGULAR = "neither a file nor a folder"


def open_path(text: str | Path) -> Path:
    """Return the path that a text names, on this machine, on a mounted disk, or on S3 (`s3://bucket/folder`).

    One on S3 is an `S3Path`. It is typed as the Path whose methods it has, since hardly any code must tell
    the two apart (`on_s3` does). Raises ValueError where it cannot be used.
    """
    if not str(text).startswith(S3):
        return Path(text)
    from gaitforge.s3 import S3Path  # who works on disks pays nothing for it

    return cast(Path, S3Path.parse(str(text)))


def on_s3(path: Path) -> S3Path | None:
    """Return the path if it is on S3, else None."""
    return None if isinstance(path, Path) else path


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """`<work>/store/`: the recordings."""

    root: Path

    @property
    def head(self) -> Path:
        return self.root / "store.json"

    @property
    def recordings(self) -> Path:
        """Return the folder of the table: Parquet files under a log."""
        return self.root / "recordings"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine.parquet"

    @property
    def refused(self) -> Path:
        """Return the path of what could not be used by an ingest that was refused as a whole."""
        return self.root / "refused.csv"

    @property
    def layout(self) -> Path:
        """Return the path of a copy of the layout, for other programs."""
        return self.root / "layout.json"


@dataclass(frozen=True, slots=True)
class WindowsFolder:
    """`<cache>/windows/<key>/`: the windows of one split."""

    root: Path

    @property
    def head(self) -> Path:
        return self.root / "meta.json"

    def role(self, role: str) -> RoleFolder:
        return RoleFolder(self.root / role)


@dataclass(frozen=True, slots=True)
class RoleFolder:
    """The windows of the people of one role."""

    root: Path

    def array(self, name: str) -> Path:
        """Return the path of an array: joints, seen, label or recording."""
        return self.root / f"{name}.npy"

    @property
    def recordings(self) -> Path:
        return self.root / "recordings.json"


@dataclass(frozen=True, slots=True)
class OutputsFolder:
    """Teacher outputs: those of the work folder, or a node's own copy."""

    root: Path

    @property
    def head(self) -> Path:
        return self.root / "outputs.json"

    def array(self, name: str) -> Path:
        """Return the path of an array: logits, embedding or joints."""
        return self.root / f"{name}.npy"


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A checkpoint of a teacher in training."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def tensors(self) -> Path:
        return self.root / "state.safetensors"

    @property
    def best(self) -> Path:
        """Return the path of the weights of the best epoch so far."""
        return self.root / "best.safetensors"


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """`<work>/export/`: the student that is handed out."""

    root: Path

    @property
    def card(self) -> Path:
        return self.root / "card.json"

    @property
    def card_text(self) -> Path:
        return self.root / "card.md"

    @property
    def onnx(self) -> Path:
        return self.root / "student.onnx"

    @property
    def weights(self) -> Path:
        return self.root / "student.safetensors"


@dataclass(frozen=True, slots=True)
class SplitFolder:
    """Paths of all that is made for one split: `<work>/runs/<split>/`."""

    root: Path

    @property
    def split_copy(self) -> Path:
        """Return the path of the split that a fold, or what was set aside, was made for."""
        return self.root / "split.json"

    @property
    def reference(self) -> Path:
        return self.root / "reference"

    @property
    def reference_facts(self) -> Path:
        return self.reference / "reference.json"

    @property
    def teacher(self) -> Path:
        return self.root / "teacher"

    @property
    def teacher_model(self) -> Path:
        return self.teacher / "model.json"

    @property
    def teacher_weights(self) -> Path:
        return self.teacher / "model.safetensors"

    @property
    def teacher_history(self) -> Path:
        return self.teacher / "history.parquet"

    @property
    def teacher_live(self) -> Path:
        """Return the path of the epochs of a teacher in training, one a line."""
        return self.teacher / "live.jsonl"

    @property
    def teacher_outputs(self) -> Path:
        return self.root / "teacher_outputs"

    @property
    def outputs(self) -> OutputsFolder:
        return OutputsFolder(self.teacher_outputs)

    @property
    def search(self) -> Path:
        return self.root / "search"

    @property
    def search_head(self) -> Path:
        return self.search / "search.json"

    @property
    def front(self) -> Path:
        return self.search / "front.json"

    @property
    def importance(self) -> Path:
        return self.search / "importance.parquet"

    @property
    def gate(self) -> Path:
        return self.search / "gate.json"

    @property
    def packing(self) -> Path:
        return self.search / "packing.json"

    @property
    def trials_table(self) -> Path:
        return self.search / "trials.parquet"

    @property
    def trials(self) -> Path:
        return self.search / "trials"

    def trial(self, number: int) -> Path:
        return self.trials / f"{number}.json"

    @property
    def running(self) -> Path:
        """Return the folder where running trials tell how far they are."""
        return self.search / "running"

    def running_trial(self, number: int) -> Path:
        return self.running / f"{number}.json"

    @property
    def rungs(self) -> Path:
        """Return the folder of running trials' checkpoints."""
        return self.search / "rungs"

    def rung(self, number: int) -> Path:
        return self.rungs / f"{number}.safetensors"

    @property
    def confirm(self) -> Path:
        return self.root / "confirm"

    @property
    def scores(self) -> Path:
        return self.confirm / "scores.json"

    @property
    def latencies(self) -> Path:
        return self.confirm / "latency.json"

    @property
    def shortcuts(self) -> Path:
        return self.confirm / "shortcuts.json"

    @property
    def robustness(self) -> Path:
        return self.confirm / "robustness.parquet"

    @property
    def folds_answer(self) -> Path:
        """Return the path of the answer over the people of all roles, where run.toml asks for folds."""
        return self.confirm / "folds.json"

    @property
    def refits(self) -> Path:
        return self.confirm / "refits"

    def refit(self, model: str, trial: int, seed: int) -> Path:
        """Return the path of what a finished refit tells about itself; its weights lie beside it."""
        return self.refits / f"{model}-{trial}-seed{seed}.json"

    def refit_worker(self, refit: Path) -> Path:
        """Return the path of the file that says which process trains a refit; it is there while that lasts."""
        return self.confirm / "running" / refit.name

    def refit_failed(self, refit: Path) -> Path:
        """Return the path of the error text of a refit that failed."""
        return self.confirm / "failed" / f"{refit.stem}.txt"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    def predicted(self, role: str, model: str, trial: int | None, seed: int) -> Path:
        """Return the path of a model's predictions for the recordings of a role."""
        parts = [role, model, *([] if trial is None else [str(trial)]), f"seed{seed}"]
        return self.predictions / f"{'-'.join(parts)}.parquet"

    @property
    def folds(self) -> Path:
        return self.root / "folds"

    def fold(self, name: str) -> SplitFolder:
        """Return the folder of one fold over the people of all roles: its teacher, outputs and students."""
        return SplitFolder(self.folds / name)


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Every path below `<work>`; no other file of the project spells one."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def store_head(self) -> Path:
        return StoreFolder(self.store).head

    @property
    def splits(self) -> Path:
        return self.root / "splits"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def exported(self) -> ExportFolder:
        return ExportFolder(self.export)

    @property
    def settings(self) -> Path:
        """Return the path of the settings that the last command on this folder had."""
        return self.root / "settings.json"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def pooled(self) -> Path:
        """Return the path of the scores over the confirm people of all splits, where there are several."""
        return self.runs / "pooled.json"

    @property
    def scorings(self) -> Path:
        """Return the folder of notes on what was scored on people to confirm; no stage removes it or sets it aside."""
        return self.root / "scorings"

    def scoring(self, event: str) -> Path:
        return self.scorings / f"{event}.json"

    def split_file(self, split: str) -> Path:
        return self.splits / f"{split}.json"

    def split_files(self) -> list[Path]:
        """List the files of the splits that there are, by name.

        The folders of runs/ would not do: some may have been made by another rule.
        """
        return sorted(self.splits.glob("*.json"))

    def run(self, split: str) -> SplitFolder:
        return SplitFolder(self.runs / split)

    def made_runs(self) -> list[SplitFolder]:
        """List the run folders of the splits that there are."""
        return [self.run(path.stem) for path in self.split_files()]

    def make(self) -> None:
        """Create the folder and prove that it can be written; raises PermissionError where it cannot.

        It holds people: a new one on a disk is its owner's alone. One that is there keeps its mode.
        """
        try:
            if not on_s3(self.root):
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(probe := self.root / f".probe-{uuid.uuid4().hex}", b"probe")
            probe.unlink()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            reason = error.strerror or str(error).rstrip(".")
            raise PermissionError(
                f"The work folder {self.root} cannot be written ({reason}); "
                "choose another folder in 'work' or free this one."
            ) from error


def follow_mode(folder: Path) -> None:
    """Let all that this process makes from now on be open to those whom a folder's mode lets in, and to nobody else.

    So a folder that a lab made for its group (`chmod 2770`) is shared to its last file. Without a mode, as on S3,
    what is kept on disks is its owner's alone.
    """
    mode = 0o700 if on_s3(folder) else folder.stat().st_mode
    os.umask(~mode & 0o777)


def write_whole(path: Path, data: bytes, through: bool = True) -> None:
    """Write a file so that a reader, or a kill in the middle, finds the old one or the new one, never a part.

    `through=False` does not wait for the disk: that is faster, for files that a power cut may lose.
    """
    if on_s3(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    _write_draft(draft, data, through)
    draft.replace(path)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a new path on this machine's disk for the block to write; what it has written becomes `path`, whole.

    For files that need not fit the memory. Raises what the block does, and then leaves nothing.
    """
    remote = on_s3(path)
    with ExitStack() as cleared:
        if remote:
            folder = cleared.enter_context(tempfile.TemporaryDirectory())
            draft = Path(folder) / path.name
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = _draft(path)
            cleared.callback(draft.unlink, missing_ok=True)
        yield draft
        if remote:
            remote.upload(draft)
        else:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)


def write_once(path: Path, data: bytes) -> bool:
    """Write a file that must never change again; where it exists already, return False and leave it as it is."""
    if remote := on_s3(path):
        return remote.write_once(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    _write_draft(draft, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        # NFS may say so of our own link, when it answers the request's repetition
        return draft.stat().st_nlink > 1
    except (
        OSError
    ):  # file systems without hard links (SMB, FAT, many of FUSE) each say it in their own way
        return _claim(path, draft)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _claim(path: Path, draft: Path) -> bool:
    """Do what `write_once` does without hard links: who first renames a folder into place has written the file.

    A folder replaces no folder that holds something, on any file system. Whoever comes later finishes what
    a killed one has left, so that no claim is ever stale; the claims are removed with the drafts.
    """
    claim = path.with_name(f".{path.name}.once")
    mine = draft.with_name(f"{draft.name}.once")
    mine.mkdir()
    draft.rename(mine / path.name)
    try:
        mine.rename(claim)
    except OSError:
        if not claim.is_dir():
            raise
        won = False
    else:
        won = not path.exists()
    finally:
        shutil.rmtree(mine, ignore_errors=True)
    if not path.exists():
        write_whole(path, (claim / path.name).read_bytes())
    return won


def remove_draft(path: Path) -> None:
    """Remove what a killed writer, or a claim, has left: a hidden file, or a folder with one in it."""
    if path.is_dir():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def sweep_drafts(folder: Path) -> None:
    """Remove the drafts of killed writers below a folder: what is called as one and older than DRAFT_S seconds."""
    if on_s3(folder):
        return  # what is written there is written whole
    for path in list(folder.rglob(".*")):
        with suppress(FileNotFoundError):
            if DRAFT.fullmatch(path.name) and time.time() - path.stat().st_mtime > DRAFT_S:
                remove_draft(path)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all in it; do nothing where there is none."""
    if remote := on_s3(folder):
        remote.remove_tree()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: SplitFolder, everything: bool = False) -> Path:
    """Move a search, and all that was made from it, into a folder of its own, to make room for another.

    `everything` moves teacher, outputs, reference and folds too. Returns the folder in which all of it lies
    from now on.
    """
    aside = folder.root / f"{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S}"
    while aside.is_dir():
        aside = aside.with_name(f"{aside.name}-more")
    (aside / "predictions").mkdir(parents=True)
    which = "*.parquet" if everything else "*-student*.parquet"
    for path in list(folder.predictions.glob(which)):
        path.rename(aside / "predictions" / path.name)
    # what pooled the splits has pooled this one; a fold of the answer keeps its split with it
    files = [
        WorkFolder(folder.root.parent.parent).pooled,
        *([folder.split_copy] if everything else []),
    ]
    for path in files:
        if path.is_file():
            path.rename(aside / path.name)
    # search/ last: where a kill comes before, the search is still known, and set aside by the next --fresh
    teachers = (folder.folds, folder.teacher_outputs, folder.teacher, folder.reference)
    for path in (folder.confirm, *(teachers if everything else ()), folder.search):
        if path.is_dir():
            path.rename(aside / path.name)
    return aside


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Yield a path for a library that reads from disks alone: the file itself, or a copy that the block removes."""
    if not on_s3(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


def for_arrow(path: Path) -> Path | pa.BufferReader:
    """Return a file as pyarrow takes it: the path of one on a disk, the content of one on S3.

    Raises FileNotFoundError where there is none, another OSError where it is no file (pyarrow would wait for a
    pipe, and read a folder as one table).
    """
    if on_s3(path):
        return pa.BufferReader(path.read_bytes())
    _check_regular(path, path.stat().st_mode)
    return path


def read_bytes(path: Path, what: str = "a file of this kind", remedy: str = AGAIN) -> bytes:
    """Read a file's bytes, and nothing but a file: a pipe would be waited for, a device may have no end.

    Raises FileNotFoundError where there is none, and an OSError of the class that the system names, with a
    sentence that says `what` was to be read and the `remedy`, where it cannot be read.
    """
    try:
        if on_s3(path):
            return path.read_bytes()
        # without waiting, should it be a pipe
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _check_regular(path, os.fstat(file.fileno()).st_mode)
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unread(error, path, what, remedy) from error


def _check_regular(path: Path, mode: int) -> None:
    """Raise an OSError, as the system would, for what is no file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, IRREGULAR, str(path))


def _unread(error: OSError, path: Path, what: str, remedy: str) -> OSError:
    """Return the error of the same class that says in a sentence why a file cannot be read."""
    if isinstance(error, PermissionError):
        fault = "this user may not read it; let its owner give the right to read it and the folders above it"
    elif isinstance(error, IsADirectoryError):
        fault = f"it is a folder, but must be a file; move it away, then {remedy}"
    elif isinstance(error, NotADirectoryError):
        fault = f"{_file_above(path)} is a file, but must be a folder; move it away, then {remedy}"
    elif error.strerror == IRREGULAR:
        fault = f"it is {IRREGULAR} (a pipe or a device), but must be a file; move it away, then {remedy}"
    else:
        fault = f"{error.strerror or error}; move it away, then {remedy}"
    refused = type(error)(f"{path} cannot be read as {what}: {fault}.")
    refused.strerror = error.strerror  # for who has a sentence of their own
    return refused


def _file_above(path: Path) -> Path:
    """Return the file that stands where a path needs a folder."""
    return next((above for above in path.parents if above.is_file()), path.parent)


def look_again(folder: Path) -> None:
    """Make an NFS client ask the server for the folder's names; it remembers for a minute that one was not there."""
    if not on_s3(folder):
        with suppress(FileNotFoundError):
            os.listdir(folder)  # opening the folder is what does it


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _write_draft(path: Path, data: bytes, through: bool = True) -> None:
    """Write a file; wait until it is `through` to the disk, so that a power cut cannot leave it empty."""
    try:
        with path.open("wb") as file:
            file.write(data)
            if through:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:  # a full disk needs the room of what was written
        path.unlink(missing_ok=True)
        error.filename = error.filename or str(path.parent)
        raise


def as_json(data: Any) -> bytes:
    """Return data as the bytes of a JSON file; raises ValueError for a number that is not finite."""
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    """Write data as a JSON file, whole or not at all."""
    write_whole(path, as_json(data))


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ValueError with one sentence where it is not JSON, and what `read_bytes` does."""
    text = read_bytes(path, "a JSON file")
    try:
        return json.loads(text.decode(), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        found = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not JSON ({found}); {AGAIN}.") from error


def _finite(text: str) -> float:
    """Read a number of a JSON file; raises ValueError for NaN, Infinity, and what is too large for a float."""
    value = float(text)
    if math.isfinite(value):
        return value
    raise ValueError(f"{text[:20]} is no finite number")


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file that must hold an object with these keys; raises ValueError with one sentence if it does not."""
    data = read_json(path)
    missing = [key for key in keys if not isinstance(data, dict) or key not in data]
    if missing or not isinstance(data, dict):
        what = f"no '{missing[0]}'" if missing else "no JSON object"
        raise ValueError(f"{path} holds {what}, so it is damaged or of another program; {AGAIN}.")
    return data


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file, whole or not at all, with checksums of its pages."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_whole(path, sink.getvalue().to_pybytes())


def fingerprint(data: Any) -> str:
    """Return twelve hex digits that change when any value in `data` (JSON-able) changes."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()[
        :12
    ]
