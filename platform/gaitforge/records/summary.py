"""summary.json: the whole result for other programs; docs/summary.md says what its keys mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaitforge.records.confirm import Difference, Says, Verdict
from gaitforge.records.json_file import JsonFile
from gaitforge.records.shortcuts import ColumnFacts, Telling
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
    """What all searches together did; the hypervolume is their mean, None where one has none.

    `gates` tells by split whether the teacher had anything to teach, where `search.gate` decided it.
    """

    trials: EndedTrials
    rejected: Count
    hypervolume: Number | None
    reference: tuple[Number, ...]
    epochs: Count
    seconds: Number
    gates: Mapping[str, bool] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyEnds(EndedTrials):
    """How the students of a family ended, and how often each failure was given as reason, the commonest first."""

    reasons: Mapping[str, Count]

    @property
    def ended(self) -> int:
        return self.finished + self.stopped + self.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedMember:
    """A student on a searched front, with scores on the validation people; `split` is there where there are several."""

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
    """A confirmed student, with means over its seeds.

    `noninferior`, `against_reference` and `against_chance` are about its one network that is handed out.
    """

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
    """The one network that was handed out, with the scores of its own test."""

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
class ShortcutSummary:
    """What recorded columns tell: whether that speaks for a student, a sentence, and each column."""

    says: Says
    sentence: str
    class_from_windows: Telling | None
    columns: tuple[ColumnFacts, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfDate:
    """Why the confirmed answer, and the exported student, are out of date; None where they are not."""

    answer: str | None
    export: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The whole result: a part is null where its stage has not run.

    Where there are several splits, what only a single split can have is null too.
    """

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
    shortcuts: ShortcutSummary | None = field(default=None, metadata=ABSENT)


SUMMARY = JsonFile(record=Summary, schema=2, what="a summary", stage="gaitforge show WORK")
