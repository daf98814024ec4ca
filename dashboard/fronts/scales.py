"""The axes of the trade-off: scores and sizes of a student, with names, units and number formats.

A score's name and its key in files are those of `gaitforge.objectives`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboard.reading.models import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A score on the validation people; `key` is its name in a trial's file, with `up` a larger one is better."""

    key: str
    words: str
    up: bool = True
    ends: tuple[float, float] = (0.0, 1.0)

    def read_from(self, model: Model) -> float | None:
        """Return the model's final score; None if it has none."""
        known = {"val_macro_f1": model.macro_f1, "val_accuracy": model.accuracy}
        return model.scores.get(self.key, known.get(self.key))


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A size or cost of a student: the name on an axis, how it is read from a model, and a value in words."""

    words: str
    limit: str  # what a budget of it is called
    read_from: Callable[[Model], float | None]
    text: Callable[[float | None], str]
    axis_format: str = "~s"


# those that confirm takes as well, by the same names
CONFIRMED = ("macro_f1", "accuracy", "balanced_accuracy", "weighted_kappa")
MEASURES: Mapping[str, Measure] = {
    "macro_f1": Measure(key="val_macro_f1", words="Macro F1"),
    "accuracy": Measure(key="val_accuracy", words="Accuracy"),
    "balanced_accuracy": Measure(key="val_balanced_accuracy", words="Balanced accuracy"),
    "weighted_kappa": Measure(key="val_weighted_kappa", words="Weighted kappa", ends=(-1.0, 1.0)),
    "calibration_error": Measure(key="val_calibration_error", words="Calibration error", up=False),
    "robustness": Measure(key="val_robust_macro_f1", words="Macro F1, joints missing"),
}


def _count(unit: str) -> Callable[[float | None], str]:
    return lambda value: f"unknown {unit}" if value is None else f"{value:,.0f} {unit}"


def _latency(value: float | None) -> str:
    return "unknown latency" if value is None else f"{value:.3g} ms a window"


SIZES: Mapping[str, Size] = {
    "params": Size(
        words="Parameters",
        limit="at most this many parameters",
        read_from=lambda model: float(model.params),
        text=_count("parameters"),
    ),
    "macs": Size(
        words="MACs a window",
        limit="at most this many MACs a window",
        read_from=lambda model: None if model.macs is None else float(model.macs),
        text=_count("MACs"),
    ),
    "latency_ms": Size(
        words="Latency, ms a window",
        limit="at most this latency",
        read_from=lambda model: model.latency.p50 if model.latency else None,
        text=_latency,
        axis_format="~g",
    ),
    "bytes": Size(
        words="Bytes of weights",
        limit="at most this many bytes of weights",
        read_from=lambda model: None if model.bytes is None else float(model.bytes),
        text=_count("bytes"),
    ),
}


def list_stored_measures(models: Iterable[Model]) -> list[str]:
    """List the scores that at least one finished student has; macro F1 if none has any."""
    finished = [model for model in models if model.state == "finished"]
    return [
        name
        for name, measure in MEASURES.items()
        if any(measure.read_from(model) is not None for model in finished)
    ] or ["macro_f1"]


def list_stored_sizes(models: Iterable[Model]) -> list[str]:
    """List the sizes known of at least one model; parameters if none is."""
    students = list(models)
    return [
        name
        for name, size in SIZES.items()
        if any((size.read_from(model) or 0.0) > 0 for model in students)
    ] or ["params"]


def list_budget_steps(values: Sequence[float]) -> list[float]:
    """List round budgets, ten per decade, from the smallest value to just above the largest, then inf (no limit)."""
    known = sorted(value for value in values if value > 0)
    if not known:
        return [float("inf")]
    steps = []
    power = -6
    while 10.0**power <= known[-1] * 10:
        # as text, so that a step read back from a URL is the same number
        steps += [float(f"{step}e{power}") for step in (1, 1.25, 1.6, 2, 2.5, 3, 4, 5, 6.5, 8)]
        power += 1
    inside = [step for step in steps if known[0] <= step <= known[-1]]
    above = next(step for step in steps if step > known[-1])
    return [*inside, above, float("inf")]
