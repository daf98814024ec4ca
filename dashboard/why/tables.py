"""Tables of how a search's settings relate to its objectives; pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gaitforge.objectives import OBJECTIVES
from gaitforge.records.trial import Trial
from gaitforge.records.values import Searched

FEWEST_FOR_IMPORTANCE = 8  # finished trials, as the search has it
LOG_FROM = 10.0  # a setting whose values span such a factor is looked at by its logarithm
CONTEXT = 60  # other trials drawn behind the ones in question

SETTING_WORDS = {
    "family": "family",
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "temperature": "temperature of kd",
}
OBJECTIVE_WORDS = {
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
    "weighted_kappa": "Weighted kappa",
    "calibration_error": "Calibration error",
    "robustness": "Macro F1, joints missing",
    "params": "Parameters",
    "macs": "MACs",
    "bytes": "Bytes",
    "latency_ms": "Latency (ms)",
}


def setting_words(name: str) -> str:
    """Name a searched setting in words; "tcn.channels" is "channels of tcn"."""
    if name in SETTING_WORDS:
        return SETTING_WORDS[name]
    group, dot, rest = name.partition(".")
    if not dot:
        return name
    if group in ("weight", "temperature"):
        return f"{group} of {rest}"
    if group == "terms":
        return f"term for {rest}"
    return f"{rest.replace('_', ' ')} of {group}"


def objective_words(name: str) -> str:
    return OBJECTIVE_WORDS.get(name, name)


def objective_value(trial: Trial, name: str) -> float | None:
    """Return a trial's value of an objective; None if it has none."""
    objective = OBJECTIVES.get(name)
    if objective is None:
        return None
    if name == "macro_f1":
        return trial.macro_f1
    value = (
        {"params": trial.params, "macs": trial.macs, "bytes": trial.bytes or None}[name]
        if objective.counted
        else (trial.scores or {}).get(objective.key)
    )
    return None if value is None else float(value)


def importance_table(
    importance: pd.DataFrame, objective: str, family: str | None, most: int = 12
) -> pd.DataFrame:
    """Rank settings by importance: columns setting, name, importance (shares of 1), the largest first.

    `family` None takes the importance over all families. `importance` is the table of `reading.read_importance`;
    only the `most` largest are kept.
    """
    of_family = importance["family"].isna() if family is None else importance["family"].eq(family)
    rows = importance[of_family & importance["objective"].eq(objective)]
    table = rows.assign(setting=rows["name"].map(setting_words))
    table = table.sort_values(["importance", "name"], ascending=[False, True], ignore_index=True)
    return table[["setting", "name", "importance"]].head(most)


def list_searched_names(trials: Iterable[Trial], family: str | None) -> list[str]:
    """List the settings that the search chose for these trials; sizes of other families are left out.

    Those that all trials share come first, then the sizes of the family, then those of only some trials.
    """
    trials = list(trials)
    counts: dict[str, int] = {}
    for trial in trials:
        for name in trial.suggested:
            counts[name] = counts.get(name, 0) + 1
    families = {trial.family for trial in trials} | ({family} if family else set())
    names = [
        name
        for name in counts
        if name != "family" or family is None
        if (owner := name.partition(".")[0]) not in families or owner == family
    ]

    def order(name: str) -> tuple[int, str]:
        owner = name.partition(".")[0]
        return (1 if owner == family else 0 if counts[name] == len(trials) else 2, name)

    return sorted(names, key=order)


def terms_table(trials: Iterable[Trial], front: Collection[int]) -> pd.DataFrame:
    """Summarise the distillation terms of finished trials, one row each, the front's most used first.

    Columns term, front (members that use it), of (all members), low, median, high (their weights, NaN if none
    uses it), share (percent of all finished trials).
    """
    finished = [trial for trial in trials if trial.state == "finished"]
    on_front = [trial for trial in finished if trial.number in front]
    rows = []
    for term in dict.fromkeys(term for trial in finished for term in trial.weights):
        weights = [trial.weights[term] for trial in on_front if term in trial.weights]
        low, median, high = np.quantile(weights, [0, 0.5, 1]) if weights else [math.nan] * 3
        rows.append(
            {
                "term": term,
                "front": len(weights),
                "of": len(on_front),
                "low": float(low),
                "median": float(median),
                "high": float(high),
                "share": 100 * sum(term in t.weights for t in finished) / len(finished),
            }
        )
    columns = ["term", "front", "of", "low", "median", "high", "share"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["front", "share", "term"], ascending=[False, False, True])


def term_points(trials: Iterable[Trial], front: Collection[int]) -> pd.DataFrame:
    """List the weights above 0: columns trial, family, term, weight, macro_f1, params, on_front; one row each."""
    rows = [
        {
            "trial": trial.number,
            "family": trial.family,
            "term": term,
            "weight": weight,
            "macro_f1": trial.macro_f1,
            "params": trial.params,
            "on_front": trial.number in front,
        }
        for trial in trials
        if trial.state == "finished"
        for term, weight in trial.weights.items()
        if weight > 0
    ]
    columns = ["trial", "family", "term", "weight", "macro_f1", "params", "on_front"]
    return pd.DataFrame(rows, columns=columns)


def slice_table(
    trials: Iterable[Trial], setting: str, objective: str, front: Collection[int], chosen: int
) -> pd.DataFrame:
    """Tabulate one setting and one objective: trial, family, value, shown, objective, params, kind.

    There is one row per finished trial that has both. `kind` is "chosen", "front" or "beaten"; `value` is a
    number, or text if the setting is a choice.
    """
    rows = []
    for trial in trials:
        value, reached = trial.suggested.get(setting), objective_value(trial, objective)
        if trial.state != "finished" or value is None or reached is None:
            continue
        kind = "front" if trial.number in front else "beaten"
        rows.append(
            {
                "trial": trial.number,
                "family": trial.family,
                "value": value,
                "shown": format_value(value),
                "objective": reached,
                "params": trial.params,
                "kind": "chosen" if trial.number == chosen else kind,
            }
        )
    columns = ["trial", "family", "value", "shown", "objective", "params", "kind"]
    table = pd.DataFrame(rows, columns=columns)
    if not all(is_number(value) for value in table["value"]):
        table["value"] = table["shown"]
    return table


def spans_decades(values: Iterable[float]) -> bool:
    """Tell whether a log scale suits the values: all above 0, and spanning at least a factor of LOG_FROM."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) >= LOG_FROM


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_value(value: Searched) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- parallel coordinates


@dataclass(frozen=True, slots=True)
class Axis:
    """One upright axis: `low` is drawn at height 0 and `high` at 1, on a log scale with `log`.

    `choices` are the values of an axis without numbers, from bottom to top.
    """

    name: str
    words: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str, ...] = ()

    def place(self, value: Searched) -> float | None:
        """Return a value's height on the axis; None if it does not belong on it."""
        if self.choices:
            text = format_value(value)
            if value is None or text not in self.choices:
                return None
            return (self.choices.index(text) + 0.5) / len(self.choices)
        if value is None or not is_number(value) or isinstance(value, str):
            return None
        low, high, at = self.low, self.high, float(value)
        if self.log:
            if at <= 0:
                return None
            low, high, at = math.log(low), math.log(high), math.log(at)
        return 0.5 if high == low else (at - low) / (high - low)

    @property
    def marks(self) -> Mapping[float, str]:
        """Return the labels beside the axis, by height."""
        if self.choices:
            return {(n + 0.5) / len(self.choices): text for n, text in enumerate(self.choices)}
        if self.low == self.high:
            return {0.5: _mark(self.low)}
        return {0.0: _mark(self.low), 1.0: _mark(self.high)}


def make_axes(
    trials: Sequence[Trial], settings: Sequence[str], objectives: Sequence[str]
) -> list[Axis]:
    """Make an axis for each setting that varies among finished trials, then for each objective that does."""
    finished = [trial for trial in trials if trial.state == "finished"]
    axes = []
    for name in settings:
        values = [v for t in finished if (v := t.suggested.get(name)) is not None]
        axis = _axis(name, setting_words(name), values)
        axes += [axis] if axis else []
    for name in objectives:
        reached = [v for t in finished if (v := objective_value(t, name)) is not None]
        axis = _axis(name, objective_words(name), reached)
        axes += [axis] if axis else []
    return axes


def paths_table(
    trials: Sequence[Trial], picked: Collection[int], axes: Sequence[Axis], chosen: int
) -> pd.DataFrame:
    """Tabulate where each trial crosses each axis: trial, family, kind, axis (its words), place, value.

    `kind` is "chosen", "picked", or "other" for at most CONTEXT of the other finished trials, evenly taken.
    """
    finished = [trial for trial in trials if trial.state == "finished"]
    rest = [t for t in finished if t.number not in picked and t.number != chosen]
    step = max(math.ceil(len(rest) / CONTEXT), 1)
    rows = []
    for trial in [
        *rest[::step],
        *(t for t in finished if t.number in picked or t.number == chosen),
    ]:
        kind = "other"
        if trial.number == chosen:
            kind = "chosen"
        elif trial.number in picked:
            kind = "picked"
        for axis in axes:
            value = trial.suggested.get(axis.name)
            if axis.name in OBJECTIVES:
                value = objective_value(trial, axis.name)
            place = axis.place(value)
            if place is not None:
                rows.append(
                    (trial.number, trial.family, kind, axis.words, place, format_value(value))
                )
    return pd.DataFrame(rows, columns=["trial", "family", "kind", "axis", "place", "value"])


def marks_table(axes: Sequence[Axis]) -> pd.DataFrame:
    """List the labels beside the axes: columns axis, place, text."""
    rows = [(axis.words, place, text) for axis in axes for place, text in axis.marks.items()]
    return pd.DataFrame(rows, columns=["axis", "place", "text"])


def _axis(name: str, words: str, values: Sequence[Searched]) -> Axis | None:
    if not values:
        return None
    if len(set(values)) == 1:
        return None  # it was not searched
    numbers = [float(v) for v in values if is_number(v) and not isinstance(v, str | None)]
    if len(numbers) < len(values):
        return Axis(name, words, choices=tuple(sorted({format_value(value) for value in values})))
    return Axis(name, words, min(numbers), max(numbers), log=spans_decades(numbers))


def _mark(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
