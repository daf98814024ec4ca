"""Files that confirm writes: refits, scores and verdict, latencies, answers over people of several splits or roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import ABSENT, Count, Interval, Number, Told

Says = Literal["good", "bad", "open"]
GOOD: Says = "good"  # what a reason says about trusting the answer
BAD: Says = "bad"
OPEN: Says = "open"
Place = Literal["front", "near"]
ON_FRONT: Place = "front"  # where the search had a member
NEAR: Place = "near"
SCORED = ("macro_f1", "interval", "accuracy", "balanced_accuracy", "weighted_kappa")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference in macro F1, with its interval."""

    difference: Number
    difference_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelScores:
    """Scores on the confirm people, and the interval of macro F1."""

    macro_f1: Number
    interval: Interval
    accuracy: Number
    balanced_accuracy: Number
    weighted_kappa: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(ModelScores):
    """Scores, and the difference in macro F1 to the model that it is compared with."""

    difference: Number
    difference_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherScores(ModelScores):
    """Scores of the teacher on the confirm people, with its family and its number of parameters."""

    params: Count
    family: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten(ModelScores):
    """Scores of something that the teacher should beat (the reference, or chance), and the teacher's lead over it."""

    teacher_minus_this: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class ByPerson:
    """Each person's share of right answers minus the teacher's, and the p of an exact sign-flip test over people."""

    differences: Mapping[str, Number]
    sign_flip_p: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Network(Compared):
    """The one network of a member that is handed out; intervals are over people, differences to the teacher.

    `by_person` is None where there are too many people to list each of them.
    """

    FIRST: ClassVar[tuple[str, ...]] = ("seed",)

    seed: int
    tested: bool
    against_reference: Difference
    against_chance: Difference
    by_person: ByPerson | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member(Compared):
    """One confirmed student with means over its seeds; intervals are over people and seeds.

    Differences are to the teacher, those of `alone` are what distillation adds; `noninferior` is about its
    `network`, and None where people are too few.
    """

    FIRST: ClassVar[tuple[str, ...]] = ("trial", "family", "params", "macs", "searched")

    trial: Count
    family: str
    params: Count
    macs: Count
    searched: Place
    seeds: Count
    alone: Compared | None
    p_on_front: Number | None
    noninferior: bool | None
    network: Network


@dataclass(frozen=True, kw_only=True, slots=True)
class Flattery:
    """How much the search's scores exceed those on the confirm people, and why.

    `luck` is the part that went away when students were trained again and scored on the same people, `people`
    the part that went away on other people.
    """

    total: Number
    interval: Interval
    luck: Number
    luck_interval: Interval
    people: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief(Flattery):
    """One member's macro F1: from the search, and of its refits on the same people and on the confirm people."""

    FIRST: ClassVar[tuple[str, ...]] = ("trial", "searched", "believed", "validated", "confirmed")

    trial: Count
    searched: Place
    believed: Number
    validated: Number
    confirmed: Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimism(Flattery):
    """How much too good the search's scores were: means over the members from the front, and each member's own.

    `seed_sd` is the standard deviation over seeds, None for one seed.
    """

    seed_sd: Number | None
    members: tuple[Belief, ...]
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonScore:
    """One model's share of right answers for one person; `trial` is None for the teacher."""

    person: str
    model: str
    trial: Count | None
    accuracy: Number
    recordings: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One reason for a verdict, in a sentence, and whether it speaks for the answer."""

    about: str
    says: Says
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether to ship, in a word and a sentence, and the reasons."""

    word: str
    sentence: str
    rests_on: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the predictions for the confirm people say, before a verdict is drawn from it.

    `chosen` is the trial of the smallest member that is good enough.
    """

    margin: Number
    people: Count
    too_few: bool
    times_scored: Count
    teacher: TeacherScores
    reference: Beaten
    chance: Beaten
    members: tuple[Member, ...]
    optimism: Optimism
    per_person: tuple[PersonScore, ...]
    chosen: Count | None

    @property
    def answer(self) -> Member:
        """Return the member that a verdict is about: the chosen one, or the best where none was good enough."""
        chosen = (member for member in self.members if member.trial == self.chosen)
        return next(chosen, None) or max(self.members, key=lambda one: one.network.macro_f1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores(Report):
    """confirm/scores.json: the report, its verdict, and what it was made from."""

    verdict: Verdict
    sentence: str
    provenance: Told


@dataclass(frozen=True, kw_only=True, slots=True)
class RefitHead:
    """confirm/refits/<model>-<trial>-seed<seed>.json: a member trained once more; `model` says whether distilled.

    `predictions_sha256` has the hash of the file of its predictions by the role of the people.
    """

    identity: str
    trial: Count
    model: str
    seed: int
    family: str
    sizes: Mapping[str, Any]
    val_macro_f1: Number
    val_accuracy: Number
    weights_sha256: str
    predictions_sha256: Mapping[str, str]
    provenance: Told


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOf:
    """confirm/running/<refit>.json: the process that trains this refit."""

    pid: Count
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Milliseconds of one window on one CPU thread, of a model once exported; None where it cannot be."""

    key: str  # of family, sizes and windows
    latency_ms_p50: Number | None
    latency_ms_p95: Number | None
    onnx_bytes: Count | None
    trial: Count | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """confirm/latency.json: latencies of the teacher and of each member."""

    teacher: Latency
    members: tuple[Latency, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledStudents(Compared):
    """Students over the people of all tables; `params` is the smallest and the largest of them."""

    FIRST: ClassVar[tuple[str, ...]] = (*SCORED, "params")

    params: tuple[Count, Count]
    noninferior: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """Scores over the confirm people of several splits or folds; `splits` counts them.

    `nested`: every split searched for itself, so that nobody who is scored chose anything.
    """

    people: Count
    splits: Count
    margin: Number
    teacher: ModelScores
    student: PooledStudents
    alone: Compared | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledSplits(Pooled):
    """runs/pooled.json: scores of the whole procedure over all splits; `chosen` is each split's trial."""

    nested: bool
    chosen: Mapping[str, Count]
    provenance: Told
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledFolds(Pooled):
    """confirm/folds.json: the student of one trial over the people of all roles."""

    nested: bool
    trial: Count
    provenance: Told
    sentence: str


_AGAIN = "gaitforge confirm run.toml"
# 1 had no hashes of its predictions
REFIT = JsonFile(
    record=RefitHead,
    schema=2,
    what="a refit",
    stage=_AGAIN,
    remedy="remove it (all of its folder, where all are as old) and run `gaitforge confirm run.toml`, which trains it "
    "anew",
)
WORKER = JsonFile(record=WorkerOf, schema=None, what="a worker's mark", stage=_AGAIN)
# 1 tested the mean of the seeds, each member for itself; 2 held no student against chance
SCORES = JsonFile(record=Scores, schema=3, what="confirmed scores", stage=_AGAIN)
LATENCIES = JsonFile(record=Latencies, what="latencies", stage=_AGAIN)
POOLED = JsonFile(record=PooledSplits, what="the answer of all splits", stage=_AGAIN)
FOLDS = JsonFile(record=PooledFolds, what="the answer of folds", stage=_AGAIN)
