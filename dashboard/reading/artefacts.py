"""What the JSON files of a work folder hold, as checked values.

A file that holds anything else raises ValueError, whose text goes on after the file's name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
CONFIRM_SCHEMA = (
    3  # of confirm/scores.json: 1 tested the mean of the seeds, 2 held no student against chance
)
GOOD, BAD, OPEN = "good", "bad", "open"  # what a reason says about trusting the answer
STATES = ("finished", "stopped", "failed", "running")
NEAR = "near"
CONFIRM_SCORES = ("macro_f1", "accuracy", "balanced_accuracy", "weighted_kappa")
OLD_OBJECTIVES = ("macro_f1", "params")


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """store/store.json"""

    recordings: int
    people: int
    classes: tuple[str, ...]
    quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """splits/<split>.json; `people` counts the people of each role."""

    name: str
    people: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of a model, in the words of its file."""

    group: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """runs/<split>/teacher/model.json; the scores are of the validation people."""

    family: str
    params: int
    macs: int | None
    macro_f1: float
    accuracy: float
    epochs: int
    best_epoch: int | None
    seconds: float
    classes: tuple[str, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """runs/<split>/search/search.json; `wanted` trials of `epochs` epochs each.

    `reference` is the worst that counts in each of the `objectives`; `limits` are the budget's in words.
    """

    wanted: int
    epochs: int
    rejected: int
    families: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    max_failed: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One point of a learning curve; `terms` are the named parts of the training loss."""

    epoch: int
    train_loss: float | None
    macro_f1: float | None
    accuracy: float | None
    terms: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    of: int | None = None  # epochs in all, where the file says so


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Milliseconds of one window on one CPU thread, of the model as it is or would be exported."""

    p50: float
    p95: float | None


Searched = int | float | str | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A file of search/trials or search/running; its scores are of the validation people."""

    number: int
    state: str
    reason: str | None
    family: str
    params: int
    macs: int | None
    macro_f1: float | None
    accuracy: float | None
    epochs: int
    seconds: float
    settings: tuple[Setting, ...]
    curve: Sequence[Epoch]
    bytes: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # all, by their names in the file
    hash: str = ""  # of its settings without the seed
    ended: str | None = None
    searched: Mapping[str, Searched] = field(default_factory=dict)  # by the sampler's names
    weights: Mapping[str, float] = field(default_factory=dict)  # of the distillation terms

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(
                f"its state is '{self.state}', but must be one of {', '.join(STATES)}"
            )
        if self.state == "finished" and self.macro_f1 is None:
            raise ValueError("it is finished, but has no scores")


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """runs/<split>/search/front.json"""

    hypervolume: float | None  # of more than three objectives there is none
    trials: tuple[int, ...]


Interval = tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Alone:
    """A member trained again without distillation; `gain` is distilled minus alone."""

    macro_f1: float
    interval: Interval
    accuracy: float
    gain: float
    gain_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The one network of a member that is handed out; intervals are over people, differences to the teacher.

    `differences` are each person's, where people are few enough to be told one by one.
    """

    seed: int
    macro_f1: float
    interval: Interval
    accuracy: float
    difference: float
    difference_interval: Interval
    tested: bool
    to_reference: float
    to_reference_interval: Interval
    differences: Mapping[str, float] = field(default_factory=dict)
    sign_flip_p: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # CONFIRM_SCORES, those the file has


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One student of the confirmed front as a recipe, the mean of its seeds; intervals are over people and seeds.

    `difference` is to the teacher, in macro F1; `noninferior` is of its `network`.
    """

    trial: int
    family: str
    params: int
    macs: int | None
    macro_f1: float
    interval: Interval
    accuracy: float
    p_on_front: float | None
    noninferior: bool | None
    difference: float
    difference_interval: Interval
    seeds: int
    alone: Alone | None
    network: Network
    scores: Mapping[str, float] = field(default_factory=dict)  # CONFIRM_SCORES, those the file has
    near: bool = False  # the search had it below its front, but nearly on it


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """One member's macro F1 as searched, as refitted on the same people, and on the confirm people."""

    trial: int
    near: bool
    believed: float
    validated: float
    confirmed: float
    total: float
    interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimism:
    """How much better the search scored its front than unseen people do, and of what that came."""

    total: float
    interval: Interval
    luck: float
    luck_interval: Interval
    people: float
    members: tuple[Belief, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """runs/pooled.json or confirm/folds.json: the answer over more people than one split's, in words."""

    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten:
    """What a teacher should be better than: the reference, or chance; `lead` is the teacher's, minus it."""

    macro_f1: float
    interval: Interval
    accuracy: float
    lead: float
    lead_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One of what a verdict rests on, in a sentence; it `says` GOOD, BAD or OPEN."""

    about: str
    says: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether to ship, in a word and a sentence, and why."""

    word: str
    sentence: str
    rests_on: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirm:
    """runs/<split>/confirm/scores.json; all scores are of the confirm people."""

    margin: float
    people: int
    too_few: bool
    teacher_family: str
    teacher_params: int
    teacher_macro_f1: float
    teacher_interval: Interval
    teacher_accuracy: float
    members: tuple[Member, ...]
    chosen: int | None
    verdict: Verdict
    optimism: Optimism
    reference: Beaten
    chance: Beaten
    teacher_scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def answer(self) -> Member | None:
        """Whom the verdict is about: the chosen one, or the best where none was good enough."""
        chosen = (member for member in self.members if member.trial == self.chosen)
        best = max(self.members, key=lambda member: member.network.macro_f1, default=None)
        return next(chosen, best)


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one JSON object, taken out with their kinds checked (else ValueError)."""

    data: Mapping[str, Any]
    where: str = ""

    @classmethod
    def of_file(cls, data: Any, known: int = SCHEMA) -> Fields:
        """The object of a whole file, which must say the schema that this dashboard knows."""
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
        fields = cls(data)
        schema = fields.count("schema")
        if schema != known:
            raise ValueError(f"its schema is {schema}, but this dashboard reads schema {known}")
        return fields

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def maybe_text(self, key: str) -> str | None:
        return None if self.data.get(key) is None else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._wrong(key, "a list of texts")
        return tuple(values)

    def count(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "a whole number from 0")
        return value

    def maybe_count(self, key: str) -> int | None:
        return None if self.data.get(key) is None else self.count(key)

    def number(self, key: str) -> float:
        value = self._get(key)
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not math.isfinite(value)
        ):
            raise self._wrong(key, "a finite number")
        return float(value)

    def maybe_number(self, key: str) -> float | None:
        return None if self.data.get(key) is None else self.number(key)

    def numbers(self, key: str) -> tuple[float, ...]:
        values = self._get(key)
        if not isinstance(values, list):
            raise self._wrong(key, "a list of numbers")
        items = Fields({str(n): value for n, value in enumerate(values)}, f"{self.where}{key}.")
        return tuple(items.number(place) for place in items.data)

    def truth(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def maybe_truth(self, key: str) -> bool | None:
        return None if self.data.get(key) is None else self.truth(key)

    def interval(self, key: str) -> Interval:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2:
            raise self._wrong(key, "a pair of numbers or null")
        pair = Fields({"low": value[0], "high": value[1]}, f"{self.where}{key}.")
        return pair.number("low"), pair.number("high")

    def part(self, key: str) -> Fields:
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Fields(value, f"{self.where}{key}.")

    def maybe_part(self, key: str) -> Fields | None:
        return None if self.data.get(key) is None else self.part(key)

    def parts(self, key: str) -> list[Fields]:
        values = self._get(key)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self._wrong(key, "a list of objects")
        return [
            Fields(value, f"{self.where}{key}[{place}].") for place, value in enumerate(values)
        ]

    def _get(self, key: str) -> Any:
        if key not in self.data:
            raise ValueError(f"it lacks '{self.where}{key}'")
        return self.data[key]

    def _wrong(self, key: str, kind: str) -> ValueError:
        shown = repr(self.data[key])
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
        return ValueError(f"its '{self.where}{key}' is {shown}, but must be {kind}")


def store_of(fields: Fields) -> Store:
    return Store(
        recordings=fields.count("recordings"),
        people=fields.count("people"),
        classes=fields.texts("classes"),
        quarantined=fields.count("quarantined"),
    )


def split_of(fields: Fields) -> Split:
    roles = fields.part("roles")
    return Split(
        name=fields.text("name"), people=Counter(roles.text(person) for person in roles.data)
    )


def teacher_of(fields: Fields) -> Teacher:
    return Teacher(
        family=fields.text("family"),
        params=fields.count("params"),
        macs=fields.maybe_count("macs"),
        macro_f1=fields.number("val_macro_f1"),
        accuracy=fields.number("val_accuracy"),
        epochs=fields.count("epochs"),
        best_epoch=fields.maybe_count("best_epoch"),
        seconds=fields.number("seconds"),
        classes=fields.texts("classes"),
        settings=tuple(
            setting
            for group in ("sizes", "windows", "normalisation")
            for setting in _settings(fields.maybe_part(group), group)
        ),
    )


def latencies_of(fields: Fields) -> dict[int | None, Latency]:
    """confirm/latency.json by trial, the teacher's under None; without those that could not be measured."""
    rows: dict[int | None, Fields] = {row.count("trial"): row for row in fields.parts("members")}
    teacher = fields.maybe_part("teacher")  # an older confirm did not measure it
    if teacher is not None:
        rows[None] = teacher
    found = {number: _latency(row) for number, row in rows.items()}
    return {number: latency for number, latency in found.items() if latency is not None}


def _latency(row: Fields) -> Latency | None:
    p50 = row.maybe_number("latency_ms_p50")
    return None if p50 is None else Latency(p50=p50, p95=row.maybe_number("latency_ms_p95"))


def search_of(fields: Fields) -> Search:
    settings = fields.maybe_part("settings")
    return Search(
        wanted=fields.count("trials"),
        epochs=fields.count("epochs"),
        rejected=fields.count("rejected"),
        families=fields.texts("families") if "families" in fields.data else (),
        # an older search knew these two only, and did not say so
        objectives=fields.texts("objectives") if "objectives" in fields.data else OLD_OBJECTIVES,
        reference=fields.numbers("reference") if "reference" in fields.data else (),
        limits=_limits(fields),
        seconds=fields.maybe_number("seconds"),
        max_failed=settings.maybe_number("max_failed") if settings else None,
    )


def search_settings_of(fields: Fields) -> tuple[Setting, ...]:
    """What a search was set to, as run.toml has it; empty where an older one did not say."""
    return tuple(_settings(fields.maybe_part("settings"), "search"))


def _limits(fields: Fields) -> dict[str, float]:
    """The budget by what it limits: parameters as counted, the others as the settings have them."""
    settings = fields.maybe_part("settings")
    found = {"params": fields.maybe_number("max_params")}
    if settings is not None:
        found |= {
            name: settings.maybe_number(f"max_{name}") for name in ("macs", "bytes", "latency_ms")
        }
    return {name: limit for name, limit in found.items() if limit is not None}


def trial_of(fields: Fields) -> Trial:
    scores = fields.maybe_part("scores")
    return Trial(
        number=fields.count("number"),
        state=fields.text("state"),
        reason=fields.maybe_text("reason"),
        family=fields.text("family"),
        params=fields.count("params"),
        macs=fields.maybe_count("macs"),
        macro_f1=scores.number("val_macro_f1") if scores else None,
        accuracy=scores.number("val_accuracy") if scores else None,
        epochs=fields.count("epochs"),
        seconds=fields.number("seconds"),
        settings=(
            *_settings(fields.maybe_part("sizes"), "sizes"),
            *_settings(fields.maybe_part("recipe"), "recipe"),
            *_settings(fields.maybe_part("distill"), "distillation"),
            Setting(group="trial", name="seed", value=str(fields.data.get("seed"))),
        ),
        curve=tuple(epoch_of(epoch) for epoch in fields.parts("curve")),
        bytes=fields.maybe_count("bytes") or None,
        scores={name: scores.number(name) for name in scores.data} if scores else {},
        hash=fields.maybe_text("hash") or "",
        ended=fields.maybe_text("ended"),
        searched=_searched(fields.maybe_part("suggested")),
        weights=_weights(fields.maybe_part("distill")),
    )


def epoch_of(fields: Fields) -> Epoch:
    terms = fields.maybe_part("terms")
    return Epoch(
        epoch=fields.count("epoch"),
        train_loss=fields.maybe_number("train_loss"),
        macro_f1=fields.maybe_number("val_macro_f1"),
        accuracy=fields.maybe_number("val_accuracy"),
        terms={name: terms.number(name) for name in terms.data} if terms else {},
        seconds=fields.maybe_number("seconds"),
        of=fields.maybe_count("epochs"),
    )


def front_of(fields: Fields) -> Front:
    return Front(
        hypervolume=fields.maybe_number("hypervolume"),
        trials=tuple(member.count("trial") for member in fields.parts("front")),
    )


def confirm_of(fields: Fields) -> Confirm:
    teacher = fields.part("teacher")
    return Confirm(
        margin=fields.number("margin"),
        people=fields.count("people"),
        too_few=fields.truth("too_few"),
        teacher_family=teacher.text("family"),
        teacher_params=teacher.count("params"),
        teacher_macro_f1=teacher.number("macro_f1"),
        teacher_interval=teacher.interval("interval"),
        teacher_accuracy=teacher.number("accuracy"),
        members=tuple(_member(member) for member in fields.parts("members")),
        chosen=fields.maybe_count("chosen"),
        verdict=_verdict(fields.part("verdict")),
        optimism=_optimism(fields.part("optimism")),
        reference=_beaten(fields.part("reference")),
        chance=_beaten(fields.part("chance")),
        teacher_scores=_scores(teacher),
    )


def pooled_of(fields: Fields) -> Pooled:
    return Pooled(sentence=fields.text("sentence"))


def _verdict(fields: Fields) -> Verdict:
    return Verdict(
        word=fields.text("word"),
        sentence=fields.text("sentence"),
        rests_on=tuple(_reason(reason) for reason in fields.parts("rests_on")),
    )


def _reason(fields: Fields) -> Reason:
    says = fields.text("says")
    if says not in (GOOD, BAD, OPEN):
        raise ValueError(
            f"its '{fields.where}says' is '{says[:40]}', but must be one of {GOOD}, {BAD}, {OPEN}"
        )
    return Reason(about=fields.text("about"), says=says, text=fields.text("text"))


def _beaten(fields: Fields) -> Beaten:
    lead = fields.part("teacher_minus_this")
    return Beaten(
        macro_f1=fields.number("macro_f1"),
        interval=fields.interval("interval"),
        accuracy=fields.number("accuracy"),
        lead=lead.number("difference"),
        lead_interval=lead.interval("difference_interval"),
    )


def _optimism(fields: Fields) -> Optimism:
    return Optimism(
        total=fields.number("total"),
        interval=fields.interval("interval"),
        luck=fields.number("luck"),
        luck_interval=fields.interval("luck_interval"),
        people=fields.number("people"),
        members=tuple(
            Belief(
                trial=member.count("trial"),
                near=member.maybe_text("searched") == NEAR,
                believed=member.number("believed"),
                validated=member.number("validated"),
                confirmed=member.number("confirmed"),
                total=member.number("total"),
                interval=member.interval("interval"),
            )
            for member in fields.parts("members")
        ),
    )


def _member(fields: Fields) -> Member:
    alone = fields.maybe_part("alone")
    return Member(
        trial=fields.count("trial"),
        family=fields.text("family"),
        params=fields.count("params"),
        macs=fields.maybe_count("macs"),
        macro_f1=fields.number("macro_f1"),
        interval=fields.interval("interval"),
        accuracy=fields.number("accuracy"),
        p_on_front=fields.maybe_number("p_on_front"),
        noninferior=fields.maybe_truth("noninferior"),
        difference=fields.number("difference"),
        difference_interval=fields.interval("difference_interval"),
        seeds=fields.count("seeds"),
        alone=_alone(alone) if alone else None,
        network=_network(fields.part("network")),
        scores=_scores(fields),
        near=fields.maybe_text("searched") == NEAR,
    )


def _network(fields: Fields) -> Network:
    reference, each = fields.part("against_reference"), fields.maybe_part("by_person")
    differences = each.part("differences") if each else None
    return Network(
        seed=fields.count("seed"),
        macro_f1=fields.number("macro_f1"),
        interval=fields.interval("interval"),
        accuracy=fields.number("accuracy"),
        difference=fields.number("difference"),
        difference_interval=fields.interval("difference_interval"),
        tested=fields.truth("tested"),
        to_reference=reference.number("difference"),
        to_reference_interval=reference.interval("difference_interval"),
        differences={person: differences.number(person) for person in differences.data}
        if differences
        else {},
        sign_flip_p=each.number("sign_flip_p") if each else None,
        scores=_scores(fields),
    )


def _alone(fields: Fields) -> Alone:
    return Alone(
        macro_f1=fields.number("macro_f1"),
        interval=fields.interval("interval"),
        accuracy=fields.number("accuracy"),
        gain=fields.number("difference"),
        gain_interval=fields.interval("difference_interval"),
    )


def _scores(fields: Fields) -> dict[str, float]:
    """What confirmation scores besides macro F1; an older one knows the accuracy alone."""
    found = {name: fields.maybe_number(name) for name in CONFIRM_SCORES}
    return {name: score for name, score in found.items() if score is not None}


def _searched(fields: Fields | None) -> dict[str, Searched]:
    values = fields.data if fields else {}
    return {
        name: value if isinstance(value, int | float | str | bool | None) else _shown(value)
        for name, value in values.items()
    }


def _weights(fields: Fields | None) -> dict[str, float]:
    weights = fields.maybe_part("weights") if fields else None
    return {name: weights.number(name) for name in weights.data} if weights else {}


def _settings(fields: Fields | None, group: str) -> list[Setting]:
    """The leaves of a settings object, nested names joined by a dot; shown, not judged."""
    settings: list[Setting] = []
    for name, value in (fields.data if fields else {}).items():
        if isinstance(value, dict):
            inner = _settings(Fields(value), group)
            settings += [
                Setting(group=group, name=f"{name}.{s.name}", value=s.value) for s in inner
            ]
        else:
            settings.append(Setting(group=group, name=name, value=_shown(value)))
    return settings


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
