"""Tables to Altair charts: pure functions that know neither the work folder nor Streamlit.

Colours are of middling lightness, so that they read on a light and on a dark page, and blue and
orange, so that they are told apart by those who do not see red or green; shape says it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import altair as alt
import pandas as pd

SEARCHED = "#3572c6"
CONFIRMED = "#dd6a1f"
TEACHER = "#7c828d"
BEATEN = "#9dbbe4"
TERM_COLOURS = (SEARCHED, CONFIRMED, "#3f9c72", "#a661b8", "#b98b15", "#4aa3b5", "#c1566b")

ON_FRONT, IS_BEATEN, IS_TEACHER = "front", "beaten", "teacher"
DISTILLED, ALONE = "distilled", "alone"
FRONT_HEIGHT = 400
MEASURES = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}

DASH = "M-1,-0.2H1V0.2H-1Z"


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of point is called and drawn; `size` is its area in square pixels."""

    words: str
    colour: str
    shape: str
    size: int
    opacity: float = 1.0


SEARCHED_LOOKS = {
    IS_BEATEN: Look("beaten", BEATEN, "circle", 40, 0.75),
    IS_TEACHER: Look("teacher", TEACHER, "square", 110),
    ON_FRONT: Look("searched front", SEARCHED, "circle", 95),
}
CONFIRMED_LOOKS = {
    IS_TEACHER: Look("teacher", TEACHER, "square", 110),
    ALONE: Look("the same, not distilled", CONFIRMED, DASH, 110, 0.6),
    DISTILLED: Look("confirmed student", CONFIRMED, "diamond", 150),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """What two fronts side by side share: the measure and the ranges of both axes."""

    measure: str
    params: tuple[float, float]
    score: tuple[float, float]

    @property
    def x(self) -> alt.X:
        return alt.X(
            "params:Q",
            title="Parameters (log)",
            scale=alt.Scale(type="log", domain=list(self.params), nice=False),
            axis=alt.Axis(
                values=_log_ticks(self.params), format="~s", grid=False, labelOverlap=True
            ),
        )

    @property
    def y(self) -> alt.Y:
        return alt.Y(
            f"{self.measure}:Q",
            title=self.title,
            scale=self.score_scale,
            axis=alt.Axis(tickCount=6, format=".2f"),
        )

    @property
    def score_scale(self) -> alt.Scale:
        return alt.Scale(domain=list(self.score), nice=False, clamp=True)

    @property
    def title(self) -> str:
        return MEASURES[self.measure]


def shared_axes(measure: str, searched: pd.DataFrame, confirmed: pd.DataFrame) -> Axes:
    """Ranges in which both fronts lie whole; of the beaten trials the lowest tenth may fall out.

    One student at the level of chance would otherwise press the whole front into a line.
    """
    sizes = [float(size) for size in (*searched["params"], *confirmed["params"]) if size > 0]
    is_beaten = searched["kind"] == IS_BEATEN
    beaten = searched.loc[is_beaten, measure].sort_values().tolist()
    scores = [
        *searched.loc[~is_beaten, measure],
        *beaten[len(beaten) // 10 :],
        *confirmed[measure],
    ]
    if measure == "macro_f1":
        drawn = confirmed[confirmed["kind"] != ALONE]
        scores += [*drawn["low"].dropna(), *drawn["high"].dropna()]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    pad = max(0.06 * (high - low), 0.03)
    return Axes(
        measure=measure,
        params=(min(sizes, default=1e3) / 1.5, max(sizes, default=1e6) * 1.7),
        score=(max(low - pad, 0.0), min(high + pad, 1.0)),
    )


def searched_chart(points: pd.DataFrame, axes: Axes, chosen: int | None) -> alt.LayerChart:
    """The searched students on validation people; a click selects by `trial` (the teacher is -1).

    `points` is that of `review_tables.searched_points`. The step line is drawn for macro F1 only:
    that is what the front is a front of.
    """
    shown = points[points[axes.measure] >= axes.score[0]]
    front = shown[shown["kind"] == ON_FRONT] if axes.measure == "macro_f1" else shown.head(0)
    step = (
        alt.Chart(front)
        .mark_line(interpolate="step-after", color=SEARCHED, strokeWidth=1.6, opacity=0.7)
        .encode(x=axes.x, y=axes.y)
    )
    tooltip = [
        *_model_tooltips(),
        alt.Tooltip("macro_f1:Q", title="Macro F1 (validation)", format=".3f"),
        alt.Tooltip("accuracy:Q", title="Accuracy (validation)", format=".3f"),
        alt.Tooltip("sizes:N", title="Sizes"),
    ]
    return _finished(
        _reference(shown[shown["kind"] == IS_TEACHER], axes.y, "teacher"),
        step,
        *_ring(shown, axes, chosen, SEARCHED),
        _points(shown, SEARCHED_LOOKS, axes.x, axes.y, tooltip).add_params(_picked()),
        height=FRONT_HEIGHT,
    )


def confirmed_chart(
    members: pd.DataFrame, axes: Axes, chosen: int | None, margin: float
) -> alt.LayerChart:
    """The confirmed students on confirm people with their intervals; a click selects by `trial`.

    `members` is that of `review_tables.confirmed_points`; intervals and margin are of macro F1.
    """
    teacher = members[members["kind"] == IS_TEACHER]
    references = [_reference(teacher, axes.y, "teacher")]
    with_interval = members.head(0)
    if axes.measure == "macro_f1":
        allowed = teacher.assign(macro_f1=teacher["macro_f1"] - margin)
        references.append(_reference(allowed, axes.y, f"margin of {margin:g}", faint=True))
        with_interval = members[members["low"].notna() & (members["kind"] != ALONE)]
    bars = [
        alt.Chart(with_interval[with_interval["kind"] == kind])
        .mark_rule(color=look.colour, strokeWidth=2.5, opacity=0.55, strokeCap="round")
        .encode(x=axes.x, y=alt.Y("low:Q", scale=axes.score_scale, title=axes.title), y2="high:Q")
        for kind, look in CONFIRMED_LOOKS.items()
    ]
    tooltip = [
        *_model_tooltips(),
        alt.Tooltip("macro_f1:Q", title="Macro F1 (confirm)", format=".3f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("accuracy:Q", title="Accuracy (confirm)", format=".3f"),
        alt.Tooltip("p_on_front:Q", title="Probability on the front", format=".2f"),
        alt.Tooltip("seeds:Q", title="Seeds"),
    ]
    return _finished(
        *references,
        *bars,
        *_ring(members[members["kind"] != ALONE], axes, chosen, CONFIRMED),
        _points(members, CONFIRMED_LOOKS, axes.x, axes.y, tooltip).add_params(_picked()),
        height=FRONT_HEIGHT,
    )


def _points(
    table: pd.DataFrame, looks: dict[str, Look], x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip]
) -> alt.Chart:
    """Points whose `kind` decides their look; later kinds of `looks` lie above earlier ones."""
    order = {kind: place for place, kind in enumerate(looks)}
    drawn = table.assign(
        what=table["kind"].map({kind: look.words for kind, look in looks.items()}),
        size=table["kind"].map({kind: look.size for kind, look in looks.items()}),
        opacity=table["kind"].map({kind: look.opacity for kind, look in looks.items()}),
    ).sort_values("kind", key=lambda kinds: kinds.map(order), kind="stable")
    present = {kind: look for kind, look in looks.items() if (table["kind"] == kind).any()}
    # Vega joins the legends of colour and shape, because their domains are equal.
    points: alt.Chart = (
        alt.Chart(drawn)
        .mark_point(filled=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color("what:N", scale=_scale(present, "colour"), legend=_legend()),
            shape=alt.Shape("what:N", scale=_scale(present, "shape"), legend=_legend()),
            size=alt.Size("size:Q", scale=None, legend=None),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
            tooltip=tooltip,
        )
    )
    return points


def _scale(looks: dict[str, Look], part: Literal["colour", "shape"]) -> alt.Scale:
    return alt.Scale(
        domain=[look.words for look in reversed(looks.values())],
        range=[getattr(look, part) for look in reversed(looks.values())],
    )


def _picked() -> alt.Parameter:
    return alt.selection_point(name="picked", fields=["trial"], on="click", empty=False)


def _reference(table: pd.DataFrame, y: alt.Y, words: str, faint: bool = False) -> alt.LayerChart:
    """A dashed line, named at its left, across the chart at the score that `table` holds."""
    base = alt.Chart(table.assign(words=words)).encode(y=y)
    rule = base.mark_rule(
        color=TEACHER, strokeDash=[1, 4] if faint else [6, 4], strokeWidth=1.3, strokeCap="round"
    )
    label = base.mark_text(
        color=TEACHER, align="left", baseline="top" if faint else "bottom", dy=4 if faint else -4
    ).encode(x=alt.value(4), text="words:N")
    return alt.LayerChart(layer=[rule, label])


def _ring(points: pd.DataFrame, axes: Axes, chosen: int | None, colour: str) -> list[alt.Chart]:
    """A ring round the model that the rest of the page is about, with the number of its trial."""
    marked = points[points["trial"] == chosen] if chosen is not None else points.head(0)
    base = alt.Chart(
        marked.assign(words=["" if n < 0 else f"trial {n}" for n in marked["trial"]])
    ).encode(x=axes.x, y=axes.y)
    return [
        base.mark_point(shape="circle", size=330, strokeWidth=1.8, color=colour, opacity=1),
        base.mark_text(align="left", dx=12, dy=17, fontWeight=600, color=colour).encode(
            text="words:N"
        ),
    ]


def _model_tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("what:N", title="What"),
        alt.Tooltip("name:N", title="Model"),
        alt.Tooltip("params:Q", title="Parameters", format=","),
        alt.Tooltip("macs:Q", title="MACs", format=".3~s"),
    ]


def _legend() -> alt.Legend:
    return alt.Legend(
        orient="top", direction="horizontal", title=None, labelLimit=240, symbolOpacity=1, offset=8
    )


def _log_ticks(ends: tuple[float, float]) -> list[float]:
    """1, 2 and 5 of each decade, or whole decades alone where there are more than three."""
    low, high = (math.log10(end) for end in ends)
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if ends[0] <= tick <= ends[1]]


def _finished(*layers: alt.Chart | alt.LayerChart, height: int) -> alt.LayerChart:
    chart = alt.LayerChart(layer=list(layers), height=height)
    chart.config = alt.Config(view=alt.ViewConfig(strokeWidth=0))
    return chart
