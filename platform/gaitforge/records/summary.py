"""summary.json: the whole result for machines; what its keys mean to readers stands in the README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaitforge.records.confirm import Difference, Verdict
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import ABSENT, Count, Interval, Number


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreCounts:
    """What the store holds."""

    recordings: Count
    people: Count
    classes: tuple[str, ...]
    quarantined: Count
    version: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSummary:
    """The teacher of the first split; scores are means over the splits, seconds their sum."""

    family: str
    params: Count
    val_macro_f1: Number
    val_accuracy: Number
    seconds: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedTrials:
    """How many trials ended in which way."""

    finished: Count
    stopped: Count
    failed: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSummary:
    """What all searches together did; the hypervolume is their mean, None where one has none."""

    trials: EndedTrials
    rejected: Count
    hypervolume: Number | None
    reference: tuple[Number, ...]
    epochs: Count
    seconds: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyEnds(EndedTrials):
    """What became of the students of a family, and how often each reason to fail was given, the commonest first."""

    reasons: Mapping[str, Count]

    @property
    def ended(self) -> int:
        return self.finished + self.stopped + self.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedMember:
    """A claim: scores are of the validation people; `split` is told where there are several."""

    trial: Count
    family: str
    params: Count
    macs: Count
    val_macro_f1: Number
    val_accuracy: Number
    split: str | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """Macro F1 with its interval, and accuracy, on the confirm people."""

    macro_f1: Number
    interval: Interval
    accuracy: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmedMember:
    """A member as a recipe; `noninferior` and what it is `against` are of its own network."""

    trial: Count
    family: str
    params: Count
    macro_f1: Number
    interval: Interval
    accuracy: Number
    p_on_front: Number | None
    noninferior: bool | None
    seeds: Count
    split: str | None = field(default=None, metadata=ABSENT)
    against_reference: Difference
    against_chance: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """The file that was handed out."""

    trial: Count
    onnx: str
    onnx_bytes: Count
    max_abs_difference: Number
    latency_ms_p50: Number
    latency_ms_p95: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedNetwork:
    """The very network that was handed out, as it was tested."""

    trial: Count
    split: str
    seed: int
    macro_f1: Number
    interval: Interval
    difference: Number
    difference_interval: Interval
    noninferior: bool | None
    against_reference: Difference
    against_chance: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfDate:
    """Why the confirmed answer, and the exported student, are not of what lies there now; None where they are."""

    answer: str | None
    export: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A part is null where its stage has not run, and what one split alone can have where there are several."""

    store: StoreCounts | None
    teacher: TeacherSummary | None
    search: SearchSummary | None
    failures: Mapping[str, FamilyEnds] | None
    searched_front: tuple[SearchedMember, ...] | None
    confirm_teacher: Confirmed | None
    reference: Confirmed | None
    chance: Confirmed | None
    confirmed_front: tuple[ConfirmedMember, ...] | None
    verdict: Verdict | None
    times_scored: Count | None
    export: ExportSummary | None
    exported: ExportedNetwork | None
    outdated: OutOfDate


SUMMARY = JsonFile(record=Summary, schema=2, what="a summary", stage="gaitforge show")
