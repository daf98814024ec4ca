"""Models and their settings, prepared for the pages; pure functions that turn what was read into tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from dashboard.reading.trial_log import Row
from dashboard.reading.work_folder import Latency, SplitResults
from gaitforge.decision import say_judged
from gaitforge.records.confirm import Member, Scores, Verdict
from gaitforge.records.json_file import plain
from gaitforge.records.search import SearchHead
from gaitforge.records.teacher import TeacherModel
from gaitforge.records.trial import Trial
from gaitforge.records.values import Interval

TEACHER = -1
"""Stands for the teacher where a trial number is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of a model, in words."""

    group: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The teacher, or the student of one ended trial, as the pages show it.

    `macro_f1` and `accuracy` are of the validation people.
    """

    number: int
    family: str
    state: str
    reason: str | None
    params: int
    macs: int | None
    macro_f1: float | None
    accuracy: float | None
    epochs: int
    seconds: float
    on_front: bool
    settings: tuple[Setting, ...]
    curve: Sequence[Row]
    member: Member | None
    bytes: int | None = None
    latency: Latency | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return "Teacher" if self.number == TEACHER else f"Trial {self.number}"

    @property
    def sizes(self) -> str:
        sizes = (setting for setting in self.settings if setting.group == "sizes")
        return "  ".join(f"{setting.name} {setting.value}" for setting in sizes)


def collect_models(results: SplitResults) -> dict[int, Model]:
    """Collect the models by number: the teacher first (TEACHER), then all ended trials."""
    members = {
        member.trial: member for member in (results.confirm.members if results.confirm else ())
    }
    found: dict[int, Model] = {}
    teacher = results.teacher
    if teacher is not None:
        found[TEACHER] = Model(
            number=TEACHER,
            family=teacher.family,
            state="finished",
            reason=None,
            params=teacher.params,
            macs=teacher.macs,
            macro_f1=teacher.val_macro_f1,
            accuracy=teacher.val_accuracy,
            epochs=teacher.epochs,
            seconds=teacher.seconds,
            on_front=False,
            settings=teacher_settings(teacher),
            curve=results.teacher_curve,
            member=None,
            bytes=results.teacher_bytes,
            latency=results.latencies.get(None),
        )
    for trial in results.trials:
        found[trial.number] = Model(
            number=trial.number,
            family=trial.family,
            state=trial.state,
            reason=trial.reason,
            params=trial.params,
            macs=trial.macs,
            macro_f1=trial.macro_f1,
            accuracy=trial.accuracy,
            epochs=trial.epochs,
            seconds=trial.seconds,
            on_front=trial.number in results.front,
            settings=trial_settings(trial),
            curve=trial.curve,
            member=members.get(trial.number),
            bytes=trial.bytes or None,
            latency=results.latencies.get(trial.number, _searched_latency(trial)),
            scores=trial.scores or {},
        )
    return found


def teacher_settings(teacher: TeacherModel) -> tuple[Setting, ...]:
    """Return how a teacher was built and which windows and normalisation it takes."""
    return (
        *in_words(teacher.sizes, "sizes"),
        *in_words(teacher.windows.as_dict(), "windows"),
        *in_words(teacher.normalisation.as_dict(), "normalisation"),
    )


def trial_settings(trial: Trial) -> tuple[Setting, ...]:
    """Return how a student was built and trained."""
    return (
        *in_words(trial.sizes, "sizes"),
        *in_words(plain(trial.recipe), "recipe"),
        *in_words(plain(trial.distill), "distillation"),
        Setting(group="trial", name="seed", value=str(trial.seed)),
    )


def search_settings(head: SearchHead | None) -> tuple[Setting, ...]:
    """Return the settings of a search, as run.toml has them; none without a search."""
    return () if head is None else tuple(in_words(head.settings, "search"))


def in_words(settings: Mapping[str, Any], group: str) -> list[Setting]:
    """Flatten settings to single values in words, nested names joined by a dot; values are not checked."""
    found: list[Setting] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            inner = in_words(value, group)
            found += [replace(its, name=f"{name}.{its.name}") for its in inner]
        else:
            shown = _show_streams(value) if name == "streams" else _shown(value)
            found.append(Setting(group=group, name=name, value=shown))
    return found


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _show_streams(value: object) -> str:
    """Write what a model sees as joints+bones, as trials do; of a search, each of its choices."""
    if not isinstance(value, list):
        return _shown(value)
    sign = ", " if any(isinstance(item, list) for item in value) else "+"
    return sign.join(map(_show_streams, value))


def _searched_latency(trial: Trial) -> Latency | None:
    """Return the latency that a search with a latency limit measured before training; None if it did not."""
    p50 = (trial.scores or {}).get("latency_ms")
    return None if p50 is None else Latency(p50=p50, p95=None)


def trial_table(models: Iterable[Model]) -> pd.DataFrame:
    """Tabulate the ended trials, one row each: the front first, then by macro F1."""
    rows = [
        {
            "trial": model.number,
            "family": model.family,
            "state": model.state,
            "on_front": model.on_front,
            "params": model.params,
            "macs": model.macs,
            "macro_f1": model.macro_f1,
            "accuracy": model.accuracy,
            "epochs": model.epochs,
            "seconds": model.seconds,
            "sizes": model.sizes,
            "reason": model.reason or "",
        }
        for model in models
        if model.number != TEACHER
    ]
    columns = ["trial", "family", "state", "on_front", "params", "macs", "macro_f1", "accuracy"]
    table = pd.DataFrame(rows, columns=[*columns, "epochs", "seconds", "sizes", "reason"])
    table = table.astype({"macro_f1": "float64", "accuracy": "float64", "macs": "Int64"})
    return table.sort_values(
        ["on_front", "macro_f1", "trial"], ascending=[False, False, True], ignore_index=True
    )


def member_table(confirm: Scores) -> pd.DataFrame:
    """Tabulate the confirmed students, one row each, smallest first; NaN or "" where a value is missing.

    First come the scores of the network that is handed out, with intervals over people, then those of the mean of
    its seeds, with intervals over people and seeds.
    """
    rows = []
    for member in sorted(confirm.members, key=lambda m: m.params):
        alone, network = member.alone, member.network
        rows.append(
            {
                "trial": member.trial,
                "family": member.family,
                "params": member.params,
                "network": network.macro_f1,
                "network_interval": interval_words(network.interval),
                "difference": network.difference,
                "difference_interval": interval_words(network.difference_interval, signed=True),
                "verdict": _tested_in_short(member),
                "reference": network.against_reference.difference,
                "reference_interval": interval_words(
                    network.against_reference.difference_interval, signed=True
                ),
                "macro_f1": member.macro_f1,
                "interval": interval_words(member.interval),
                "alone": alone.macro_f1 if alone else None,
                "gain": alone.difference if alone else None,
                "gain_interval": interval_words(
                    alone.difference_interval if alone else None, signed=True
                ),
                "p_on_front": member.p_on_front,
                "seeds": member.seeds,
            }
        )
    numbers = dict.fromkeys(("p_on_front", "alone", "gain"), "float64")
    return pd.DataFrame(rows).astype(numbers)


def say_tested(confirm: Scores, member: Member) -> str:
    """Say how the test of a student's network turned out."""
    return say_judged(
        tested=member.network.tested, noninferior=member.noninferior, margin=confirm.margin
    )


def verdict_word(verdict: Verdict, outdated: bool) -> str:
    """Return the verdict's word to stand above its sentence, with a note if it is out of date."""
    return f"Out of date: {verdict.word}" if outdated else verdict.word.capitalize()


def over(seeds: int) -> str:
    """Say what a score's interval is over, given the number of its model's trainings."""
    return "over people" if seeds == 1 else "over people and seeds"


def many(count: int, one: str, more: str | None = None) -> str:
    """Write a count with its noun: "1 person", "1,204 people"."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def interval_words(interval: Interval, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.3f} to {high:.3f}"


def _tested_in_short(member: Member) -> str:
    if member.noninferior is None:
        return "too few people"
    if not member.network.tested:
        return "not tested"
    return "shown" if member.noninferior else "not shown"
