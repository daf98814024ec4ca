"""Whether this machine computes what it trains: the gradients of small models, checked before any training.

The comparison (`gaitforge/gradients.py`) runs in a process of its own, since arithmetic that is wrong may
also corrupt memory, and end the process. Starting that takes seconds, mostly to import torch; so what was
found is kept in the user's cache for this processor, these libraries and this code of the family, and
every further worker reads it, in milliseconds.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import optuna
import torch

import gaitforge.models
from gaitforge import gradients
from gaitforge.gradients import WRONG, Problem
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import FAMILIES
from gaitforge.work import fingerprint, read_json, write_json
from search_spaces import SPACES
from trainers.training.window_folder import WindowFolder, lock_node

# Students take a second or two, what compiles itself some more, and a teacher as published up to 20. Where memory is
# corrupt a loop may have no end, or wait for one.
CPU_S, WAIT_S = 600, 3600
# Environment that chooses other code for the same sums.
CHOOSES = (
    "ONEDNN_",
    "DNNL_",
    "ATEN_",
    "MKL_",
    "KMP_",
    "GOMP_",
    "NUMBA_",
    "OPENBLAS_",
    "TORCH_",
    "LD_",
)


# What a process dies of that corrupts its memory; SIGKILL may be the memory's end, or the user's.
FAULTS = ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL", "SIGTRAP")
NO_END = "came to no end"


class Refused(RuntimeError):
    """This machine must not train a family, or cannot now; the message is a sentence for the user."""

    @classmethod
    def for_full_disk(cls, error: OSError) -> Refused:
        """Return the refusal of a machine whose disk is full, which says nothing of what was trained."""
        return cls(
            f"A disk of {platform.node()} is full ({error.strerror}); free some of it, and the same command goes on."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is checked of a family, as plain values that travel to other processes."""

    family: str
    problems: tuple[Problem, ...]  # the models that are compared

    @classmethod
    def for_windows(
        cls, family: str, windows: WindowFolder, sizes: Mapping[str, Any] | None = None
    ) -> Asked:
        """Ask for a family's typical models for these windows, and that of the `sizes` that a teacher has."""
        shape = windows.layout, windows.channels, len(windows.classes)
        return cls.typical(family, *shape, () if sizes is None else (sizes,))

    @classmethod
    def typical(
        cls,
        family: str,
        layout: Layout = LAYOUTS["coco17"],
        channels: int = 3,
        classes: int = 3,
        more: Sequence[Mapping[str, Any]] = (),
    ) -> Asked:
        return cls(
            family=family,
            problems=tuple(
                Problem(
                    sizes=dict(sizes), layout=layout.as_dict(), channels=channels, classes=classes
                )
                for sizes in (*find_typical_sizes(family), *more)
            ),
        )


State = Literal["right", "mended", "wrong"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was found of a family on a machine: "mended" is right without oneDNN, "wrong" is never right."""

    machine: str
    family: str
    state: State
    error: float | None  # the largest relative error of a gradient; None where the process died
    found: str = ""  # what is wrong, in words

    @property
    def is_proof(self) -> bool:
        """Return True where it may be kept: not what stops a machine, nor what an outsider's kill may have done."""
        return self.state == "right" or (
            self.state == "mended" and (self.error is not None or _is_fault(self.found))
        )

    @property
    def sentence(self) -> str:
        """Return what the user is told; nothing where all is right."""
        wrong = f"{self.machine} computes wrong gradients for the family '{self.family}' ({self.found})"
        if self.state == "mended":
            return f"{wrong}; without torch's oneDNN they are right, so it is turned off for this family there."
        if self.state == "wrong":
            return (
                f"{wrong}, with torch's oneDNN and without, and must not train it; install another torch there, take "
                "the machine out of the cluster, or choose other families."
            )
        return ""

    @property
    def words(self) -> str:
        """Return the same in a few words, for a table."""
        if self.state == "right":
            return f"{self.family} right to {self.error:.0e}"
        return f"{self.family} {'without oneDNN' if self.state == 'mended' else 'WRONG'}"


def find_typical_sizes(family: str) -> tuple[Mapping[str, Any], ...]:
    """Return the smallest student of a family, and the first that a search would draw; of no space, the defaults.

    Narrow maps are what libraries get wrong: they fill no vector of the processor.
    """
    if family not in SPACES:
        return (FAMILIES[family]().as_dict(),)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = SPACES[family]
    return tuple(sizes.as_dict() for sizes in (space.smallest, space.suggest(study.ask())))


# in a worker


def trust(family: str, windows: str, sizes: Mapping[str, Any] | None = None) -> None:
    """Make this process compute a family's gradients right: turn oneDNN off where it does not, or raise Refused.

    Nothing is asked of a process that trains on a GPU; `tests/test_gpu.py` holds those gradients.
    """
    if torch.cuda.is_available():
        return
    asked = Asked.for_windows(family, WindowFolder.open(Path(windows)), sizes)
    outcome = _examine_once(json.dumps(dataclasses.asdict(asked)), torch.get_num_threads())
    if outcome.state == "wrong":
        raise Refused(outcome.sentence)
    # a worker trains one family after the other
    torch.backends.mkldnn.enabled = outcome.state == "right"  # type: ignore[assignment]


@lru_cache(maxsize=16)
def _examine_once(asked: str, threads: int) -> Outcome:
    told = json.loads(asked)
    problems = tuple(Problem(**problem) for problem in told["problems"])
    return examine(Asked(family=told["family"], problems=problems), threads)


# on a machine


def examine(asked: Asked, threads: int, *, anew: bool = False) -> Outcome:
    """Find out whether this machine computes a family right with so many threads; read it where it is kept."""
    folder = find_kept_folder()
    if folder is None:
        return _judge(asked, threads)
    path = folder / f"{_key(asked, threads)}.json"
    outcome = None if anew else _read(path)
    if outcome is None:
        with lock_node(folder):
            # another worker may have found it out meanwhile
            outcome = None if anew else _read(path)
            if outcome is None:
                outcome = _judge(asked, threads)
                if not outcome.is_proof:
                    return outcome
                with suppress(OSError):  # a full disk: the next worker finds it out as well
                    write_json(path, {"schema": 1, **dataclasses.asdict(outcome)})
    # its home may be that of several machines
    return dataclasses.replace(outcome, machine=platform.node())


def find_kept_folder() -> Path | None:
    """Return the folder of kept outcomes, in the user's cache or the temporary folder; None if neither is writable."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for root in (
        Path(cache) / "gaitforge",
        Path(tempfile.gettempdir()) / f"gaitforge-{os.getuid()}",
    ):
        folder = root / "gradients"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return None


def _key(asked: Asked, threads: int) -> str:
    """Return a hash that changes with all that the outcome may depend on."""
    return fingerprint(
        {
            "asked": dataclasses.asdict(asked), "threads": threads, "code": _code(asked.family),
            "processor": _processor(), "torch": torch.__version__, "built": torch.__config__.show(), "numba": _numba(),
            "python": sys.version,
            "environment": {name: value for name, value in os.environ.items() if name.startswith(CHOOSES)},
        }
    )  # fmt: skip


def _code(family: str) -> str:
    """Return a hash of the family's file, of all models' files, and of the comparison."""
    models = sorted(Path(gaitforge.models.__file__).parent.glob("*.py"))
    files = [Path(inspect.getfile(FAMILIES[family])), Path(gradients.__file__), *models]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _processor() -> str:
    """Return the processor's name and its instructions, as Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(dict.fromkeys(told)) or platform.machine()


def _numba() -> str | None:
    """Return numba's version, which compiles the scan of one family; None where it is missing."""
    try:
        return version("numba")
    except PackageNotFoundError:
        return None


def _read(path: Path) -> Outcome | None:
    """Read a kept outcome; return None where nothing is kept, or nothing that can be read."""
    try:
        kept = read_json(path)
        return Outcome(**{field.name: kept[field.name] for field in dataclasses.fields(Outcome)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _judge(asked: Asked, threads: int) -> Outcome:
    """Compare, and where the family is wrong compare it without oneDNN."""
    state: State = "right"
    worst = compare(asked, threads)
    if worst.is_wrong:
        state = "wrong" if compare(asked, threads, onednn=False).is_wrong else "mended"
    return Outcome(
        machine=platform.node(),
        family=asked.family,
        state=state,
        error=worst.error if math.isfinite(worst.error) else None,
        found=worst.words if worst.is_wrong else "",
    )


# the process of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The worst of a family's models; `died` says how the process ended where it did not live to tell."""

    error: float
    parameter: str = ""
    died: str = ""

    @property
    def is_wrong(self) -> bool:
        return bool(self.died) or self.error > WRONG

    @property
    def words(self) -> str:
        if self.died:
            return f"the process that tried {self.died}"
        return f"a relative error of {self.error:.2g} in {self.parameter}"


def compare(
    asked: Asked,
    threads: int,
    *,
    onednn: bool = True,
    memory: str = "",
    environment: Mapping[str, str] | None = None,
    cpu_s: int = CPU_S,
) -> Found:
    """Find a family's worst difference, in a child process.

    `memory` names a torch.memory_format that convolutions get; `environment` is added to this process's.
    """
    kind = FAMILIES[asked.family]
    job = {
        **dataclasses.asdict(asked), "at": (kind.__module__, kind.__qualname__), "threads": threads, "onednn": onednn,
        "memory": memory, "cpu_s": cpu_s,
    }  # fmt: skip
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "gaitforge.gradients"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            # A worker has our code on its path, not in its environment. Threads that spin while they wait take
            # minutes where other workers keep the cores busy.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OMP_WAIT_POLICY": "PASSIVE",
                **(environment or {}),
            },
        )
    except subprocess.TimeoutExpired:
        return Found(error=math.inf, died=f"had not ended after {WAIT_S} s")
    if child.returncode == 0:
        return Found(**json.loads(child.stdout))
    return Found(error=math.inf, died=_tell_how_it_died(child.returncode, child.stderr))


def _is_fault(found: str) -> bool:
    """Return True where a process died of what it did: a signal that nobody sends from outside, or its own time."""
    return NO_END in found or any(f"died of {name}" in found for name in FAULTS)


def _tell_how_it_died(status: int, stderr: str) -> str:
    if -status == signal.SIGXCPU:
        return NO_END
    how = (
        f"ended with status {status}" if status > 0 else f"died of {signal.Signals(-status).name}"
    )
    last = (stderr.strip().splitlines() or [""])[-1]
    return f"{how}: {last[:120]}" if last else how
