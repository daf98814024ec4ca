"""Files that a search writes beside its trials: its head, the searched front, and how many students share a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import ABSENT, Count, Number, Told

# settings that readers of a search calculate with; numbers, or None
LIMITS = (
    "max_failed",
    "max_params",
    "max_params_share",
    "max_macs",
    "max_bytes",
    "max_latency_ms",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchHead:
    """search/search.json: what all trials of a search share, and how far it has come.

    `reference` is the worst that counts in each of the `objectives`; `max_params` is the budget as counted;
    `settings` are those of run.toml. `trials` are wanted; `rejected` counts the proposals over budget.
    """

    identity: str
    families: tuple[str, ...]
    epochs: Count
    rungs: tuple[Count, ...]
    seed: int
    objectives: tuple[str, ...]
    reference: tuple[Number, ...]
    max_params: Count | None
    settings: Mapping[str, Any]
    provenance: Told
    trials: Count
    rejected: Count
    seconds: Number

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = self.settings.get(name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (is_number and abs(value) < 2**63):
                raise ValueError(f"its 'settings.{name}' is no number")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontRow:
    """A configuration that nothing beats on the validation people; scores are means over its seeds.

    `trial` is the first of its `trials`. Scores that no objective asked for are left out.
    """

    trial: Count
    family: str
    params: Count
    macs: Count
    bytes: Count
    seeds: Count
    trials: tuple[Count, ...]
    val_macro_f1: Number
    val_accuracy: Number
    val_balanced_accuracy: Number | None = field(default=None, metadata=ABSENT)
    val_weighted_kappa: Number | None = field(default=None, metadata=ABSENT)
    val_calibration_error: Number | None = field(default=None, metadata=ABSENT)
    val_robust_macro_f1: Number | None = field(default=None, metadata=ABSENT)
    latency_ms: Number | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """search/front.json; `search` is the identity of the search whose front it is."""

    objectives: tuple[str, ...]
    hypervolume: Number | None  # of more than three objectives there is none
    reference: tuple[Number, ...]
    front: tuple[FrontRow, ...]
    search: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one student takes of the device that it was measured on."""

    device: str
    device_bytes: Count
    bytes: Count  # of the device's memory at the peak, with all that the process holds there
    outside_bytes: Count  # of these, what torch cannot limit: the CUDA context and loaded kernels
    step_s: Number  # validation included, as part of its epoch
    busy: Number | None  # share of that time in which the device computes; None = cannot be told


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """search/packing.json: how many students share a GPU, and what was measured on each kind of it."""

    identity: str
    students: Count
    share: Number
    needs: Mapping[str, Need]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateStudent:
    """The largest student that a search may try, trained alone; scores are of its last epoch."""

    family: str
    sizes: Mapping[str, Any]
    params: Count
    epochs: Count
    seed: int
    val_macro_f1: Number
    val_accuracy: Number
    seconds: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """search/gate.json: whether the teacher has anything to teach, decided once before the first student.

    `search` is the identity of the search that it is for. `teacher` and `reference` are macro F1 on the validation
    people; `student` is None where the reference alone decided.
    """

    search: str
    teaches: bool
    sentence: str
    teacher: Number
    reference: Number
    student: GateStudent | None


SEARCH = JsonFile(
    record=SearchHead, what="the head of a search", stage="gaitforge search run.toml",
    remedy="set the search aside with `gaitforge search --fresh run.toml`",
)  # fmt: skip
FRONT = JsonFile(record=Front, what="a searched front", stage="gaitforge search run.toml")
GATE = JsonFile(
    record=Gate, what="the decision whether a teacher has anything to teach", stage="gaitforge search run.toml",
    remedy="remove it and run `gaitforge search run.toml`, which decides anew",
)  # fmt: skip
PACKING = JsonFile(
    record=Packing, what="what a student takes of a GPU", stage="gaitforge search run.toml"
)
