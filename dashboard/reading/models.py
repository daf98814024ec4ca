"""From what was read to what is shown: pure functions that make the tables of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from dashboard.reading.artefacts import (
    Confirm,
    Epoch,
    Interval,
    Latency,
    Member,
    Setting,
    Trial,
    Verdict,
)
from dashboard.reading.work_folder import Line
from gaitforge.decision import judged_words

TEACHER = -1
"""Stands for the teacher where a trial number is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The teacher or the student of one ended trial, as one looks at it.

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
    curve: Sequence[Epoch]
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


def models(line: Line) -> dict[int, Model]:
    """Everything that can be looked at alone: the teacher first, then the trials by number."""
    members = {member.trial: member for member in (line.confirm.members if line.confirm else ())}
    found: dict[int, Model] = {}
    teacher = line.teacher
    if teacher is not None:
        found[TEACHER] = Model(
            number=TEACHER,
            family=teacher.family,
            state="finished",
            reason=None,
            params=teacher.params,
            macs=teacher.macs,
            macro_f1=teacher.macro_f1,
            accuracy=teacher.accuracy,
            epochs=teacher.epochs,
            seconds=teacher.seconds,
            on_front=False,
            settings=teacher.settings,
            curve=line.teacher_curve,
            member=None,
            bytes=line.teacher_bytes,
            latency=line.latencies.get(None),
        )
    for trial in line.trials:
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
            on_front=trial.number in line.front,
            settings=trial.settings,
            curve=trial.curve,
            member=members.get(trial.number),
            bytes=trial.bytes,
            latency=line.latencies.get(trial.number, _searched_latency(trial)),
            scores=trial.scores,
        )
    return found


def _searched_latency(trial: Trial) -> Latency | None:
    """What a search with a limit on it has measured before the training."""
    p50 = trial.scores.get("latency_ms")
    return None if p50 is None else Latency(p50=p50, p95=None)


def trial_table(models: Iterable[Model]) -> pd.DataFrame:
    """One row per ended trial: those of the front first, then by macro F1."""
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


def member_table(confirm: Confirm) -> pd.DataFrame:
    """One row per confirmed student, smallest first; NaN or empty for what it does not have.

    First its network, with intervals over people, then the mean of its seeds, with those over people and seeds.
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
                "reference": network.to_reference,
                "reference_interval": interval_words(network.to_reference_interval, signed=True),
                "macro_f1": member.macro_f1,
                "interval": interval_words(member.interval),
                "alone": alone.macro_f1 if alone else None,
                "gain": alone.gain if alone else None,
                "gain_interval": interval_words(
                    alone.gain_interval if alone else None, signed=True
                ),
                "p_on_front": member.p_on_front,
                "seeds": member.seeds,
            }
        )
    numbers = dict.fromkeys(("p_on_front", "alone", "gain"), "float64")
    return pd.DataFrame(rows).astype(numbers)


def tested_words(confirm: Confirm, member: Member) -> str:
    """What came of the test of a student's network."""
    return judged_words(
        tested=member.network.tested, noninferior=member.noninferior, margin=confirm.margin
    )


def verdict_word(verdict: Verdict, outdated: bool) -> str:
    """The word as it stands alone above its sentence; that it is none of now is said with it."""
    return f"Out of date: {verdict.word}" if outdated else verdict.word.capitalize()


def over(seeds: int) -> str:
    """What the interval of a score is over, by the trainings of its model."""
    return "over people" if seeds == 1 else "over people and seeds"


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun: "1 person", "1,204 people"."""
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
