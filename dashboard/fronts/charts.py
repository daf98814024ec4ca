"""Charts of the search and its fronts, from tables to Altair charts; pure functions.

Colour and shape stand for the family; how full a point is drawn stands for its part in the decision (on the
front, beaten, stopped, confirmed). Orange is reserved for the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from dashboard.frame.chart_style import CONFIRMED as ANSWER
from dashboard.frame.chart_style import (
    FAMILY_COLOURS,
    FAMILY_SHAPES,
    draw_intervals,
    finish,
    tell_interval,
)
from dashboard.frame.chart_style import SEARCHED as DATA
from dashboard.frame.chart_style import TEACHER as GREY
from dashboard.fronts.scales import MEASURES, SIZES

STATE_COLOURS = {
    "finished": DATA,
    "stopped": "#9dbbe4",
    "failed": "#b3493f",
    "running": "#2f9d84",
    "to come": "#c9ccd2",
}

FRONT, BEATEN, STOPPED, TEACHER = "front", "beaten", "stopped", "teacher"
CONFIRMED, RECIPE = "confirmed", "recipe"
FULLNESS = {TEACHER: 1.0, STOPPED: 0.38, BEATEN: 0.65, FRONT: 1.0, CONFIRMED: 1.0, RECIPE: 0.45}
AREA = {TEACHER: 130, STOPPED: 22, BEATEN: 48, FRONT: 110, CONFIRMED: 120, RECIPE: 45}
WORDS = {
    TEACHER: "teacher",
    STOPPED: "stopped early",
    BEATEN: "finished, beaten",
    FRONT: "on the front",
    CONFIRMED: "confirmed, the network that is handed out",
    RECIPE: "the same, mean of its seeds",
}
DRAWN_IN_ORDER = (STOPPED, BEATEN, RECIPE, TEACHER, FRONT, CONFIRMED)
TEACHER_LOOK = "the teacher"
HEIGHT = 420
# between the students, who are small, and the teacher at the right
LABEL_AT = "width * 0.68"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """The two axes that both fronts share: score and size, their ranges, and the families' colours and shapes."""

    measure: str
    size: str
    sizes: tuple[float, float]
    scores: tuple[float, float]
    families: tuple[str, ...]

    @property
    def x(self) -> alt.X:
        return alt.X(
            "size:Q",
            title=f"{SIZES[self.size].words} (log scale)",
            scale=alt.Scale(type="log", domain=list(self.sizes), nice=False, clamp=True),
            axis=alt.Axis(
                values=log_ticks(self.sizes),
                format=SIZES[self.size].axis_format,
                grid=False,
                labelOverlap=True,
            ),
        )

    @property
    def y(self) -> alt.Y:
        return alt.Y(
            "score:Q",
            title=MEASURES[self.measure].words,
            scale=self.score_scale,
            axis=alt.Axis(tickCount=6, format=".2f"),
        )

    @property
    def score_scale(self) -> alt.Scale:
        up = MEASURES[self.measure].up
        return alt.Scale(domain=list(self.scores), nice=False, clamp=True, reverse=not up)

    def colour(self, field: str, legend: alt.Legend | None) -> alt.Color:
        return alt.Color(
            field, scale=alt.Scale(domain=self.looks, range=self.turns(FAMILY_COLOURS, GREY)), legend=legend
        )  # fmt: skip

    def shape(self, field: str, legend: alt.Legend | None) -> alt.Shape:
        return alt.Shape(
            field, scale=alt.Scale(domain=self.looks, range=self.turns(FAMILY_SHAPES, "cross")), legend=legend
        )  # fmt: skip

    @property
    def looks(self) -> list[str]:
        return [*self.families, TEACHER_LOOK]

    def turns(self, looks: Sequence[str], of_teacher: str) -> list[str]:
        return [looks[place % len(looks)] for place in range(len(self.families))] + [of_teacher]


def find_shared_axes(
    measure: str,
    size: str,
    searched: pd.DataFrame,
    confirmed: pd.DataFrame,
    families: Sequence[str],
) -> Axes:
    """Find ranges that hold both fronts entirely; of the other trials the worst tenth may fall outside.

    Otherwise one student at chance level would squeeze the whole front into a line.
    """
    sizes = [float(value) for value in (*searched["size"], *confirmed["size"]) if value > 0]
    is_other = searched["kind"].isin([BEATEN, STOPPED])
    others = searched.loc[is_other, "score"].sort_values(ascending=MEASURES[measure].up).tolist()
    scores = [*searched.loc[~is_other, "score"], *others[len(others) // 10 :], *confirmed["score"]]
    scores += [*confirmed["low"].dropna(), *confirmed["high"].dropna()]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    pad = max(0.06 * (high - low), 0.02)
    least, most = MEASURES[measure].ends
    return Axes(
        measure=measure,
        size=size,
        sizes=(min(sizes, default=1e3) / 1.5, max(sizes, default=1e6) * 1.7),
        scores=(max(low - pad, least), min(high + pad, most)),
        families=tuple(families),
    )


def draw_searched(
    points: pd.DataFrame, axes: Axes, chosen: int | None, answer: int | None, budget: float
) -> alt.LayerChart:
    """Draw the searched students on the validation people; a click selects by `trial`, a drag selects a range.

    `points` is the table of `tables.searched_points`.
    """
    shown = points[points["score"].between(*axes.scores) & (points["size"] > 0)]
    front = shown[shown["kind"] == FRONT]
    step = (
        alt.Chart(front)
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1.4, opacity=0.8)
        .encode(x=axes.x, y=axes.y, order="size:Q")
    )
    tooltip = [
        *_tooltips(axes),
        alt.Tooltip("sizes:N", title="Sizes"),
        alt.Tooltip("ended:N", title="Ended"),
    ]
    marks = _draw_points(shown, axes, tooltip).add_params(
        alt.selection_point(name="picked", fields=["trial"], on="click", empty=False),
        alt.selection_interval(name="brush", encodings=["x", "y"], empty=False),
    )
    return finish(
        _draw_budget(axes, budget),
        _draw_line_across(shown[shown["kind"] == TEACHER], axes, "teacher"),
        step,
        marks,
        *_draw_marks(shown, axes, chosen, answer),
        height=HEIGHT,
        description=f"{len(shown)} searched models: {MEASURES[axes.measure].words} on the validation people "
        f"against {SIZES[axes.size].words.lower()}, on a log scale.",
    )


def draw_confirmed(
    points: pd.DataFrame,
    axes: Axes,
    chosen: int | None,
    answer: int | None,
    loss: float | None,
    budget: float,
    height: int = HEIGHT,
) -> alt.LayerChart:
    """Draw the confirmed students on the confirm people with their intervals; a click selects by `trial`.

    `points` is the table of `tables.confirmed_points`; a line is drawn `loss` below the teacher's score.
    """
    teacher = points[points["kind"] == TEACHER]
    lines = [_draw_line_across(teacher, axes, "teacher")]
    if loss is not None and loss > 0:
        allowed = teacher.assign(score=teacher["score"] - loss)
        lines.append(
            _draw_line_across(
                allowed, axes, f"{100 * loss:g} points below the teacher", faint=True
            )
        )
    # one layer for each family: a colour scale of theirs would be drawn into the legend of the points
    looks = zip(axes.looks, axes.turns(FAMILY_COLOURS, GREY), strict=True)
    barred = points[points["low"].notna()]
    look = barred["family"].where(barred["kind"] != TEACHER, TEACHER_LOOK)
    bars = [
        draw_intervals(barred[look == name], 2.4, 0.55).encode(
            x=axes.x, y=_low(axes), y2="high:Q", color=alt.value(colour)
        )
        for name, colour in looks
    ]
    within = " with 95 % intervals" if len(barred) else ""
    tooltip = [
        *_tooltips(axes),
        *tell_interval(".3f"),
        alt.Tooltip("p_on_front:Q", title="Probability on the front", format=".2f"),
        alt.Tooltip("seeds:Q", title="Seeds"),
    ]
    marks = _draw_points(points, axes, tooltip).add_params(
        alt.selection_point(name="picked", fields=["trial"], on="click", empty=False)
    )
    return finish(
        _draw_budget(axes, budget),
        *lines,
        *bars,
        marks,
        *_draw_marks(points[points["kind"] != RECIPE], axes, chosen, answer),
        height=height,
        description=f"{(points['kind'] == CONFIRMED).sum()} confirmed students{within} on the confirm "
        f"people, against {SIZES[axes.size].words.lower()}, on a log scale.",
    )


def draw_states(counts: pd.DataFrame) -> alt.LayerChart:
    """Draw one bar of all trials asked for, divided by state (columns state, trials)."""
    place = {state: number for number, state in enumerate(STATE_COLOURS)}
    drawn = counts.assign(
        place=counts["state"].map(place),
        words=[
            f"{trials:,} {state}"
            for trials, state in zip(counts["trials"], counts["state"], strict=True)
        ],
    ).sort_values("place")
    bar = (
        alt.Chart(drawn)
        .mark_bar(height=14)
        .encode(
            x=alt.X("trials:Q", stack="zero", axis=None, scale=alt.Scale(nice=False)),
            order="place:Q",
            color=alt.Color(
                "words:N",
                scale=alt.Scale(
                    domain=drawn["words"].tolist(),
                    range=[STATE_COLOURS[state] for state in drawn["state"]],
                ),
                legend=_legend(),
            ),
            tooltip=[
                alt.Tooltip("state:N", title="State"),
                alt.Tooltip("trials:Q", title="Trials", format=","),
            ],
        )
    )
    return finish(bar, height=58, description=f"Trials by state: {', '.join(drawn['words'])}.")


def draw_hypervolume(volumes: pd.DataFrame) -> alt.LayerChart:
    """Draw the hypervolume that the search had reached over time (columns minutes, trials, hypervolume)."""
    line = (
        alt.Chart(volumes)
        .mark_line(interpolate="step-after", color=DATA, strokeWidth=2)
        .encode(
            x=alt.X(
                "minutes:Q",
                title="Minutes since the first trial ended",
                axis=alt.Axis(grid=False, tickCount=6),
            ),
            y=alt.Y(
                "hypervolume:Q",
                title="Hypervolume",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(tickCount=5),
            ),
            tooltip=[
                alt.Tooltip("minutes:Q", title="Minutes", format=".1f"),
                alt.Tooltip("trials:Q", title="Trials ended"),
                alt.Tooltip("hypervolume:Q", title="Hypervolume", format=".4f"),
            ],
        )
    )
    last = 0.0 if volumes.empty else float(volumes["hypervolume"].iloc[-1])
    return finish(
        line, height=220, description=f"Hypervolume of the front over time, {last:.3f} at the end."
    )


def draw_optimism(beliefs: pd.DataFrame) -> alt.LayerChart:
    """Draw the three scores of each confirmed member, joined by a line (columns title, what, score)."""
    stages = ["searched", "refitted", "confirmed"]
    y = alt.Y("title:N", sort=None, title=None, axis=alt.Axis(labelLimit=180))
    x = alt.X(
        "score:Q", title="Macro F1", scale=alt.Scale(zero=False), axis=alt.Axis(format=".2f")
    )
    line = alt.Chart(beliefs).mark_line(color=GREY, opacity=0.5).encode(x=x, y=y, detail="title:N")
    dots = (
        alt.Chart(beliefs)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=stages, range=["#9dbbe4", DATA, ANSWER]),
                legend=_legend(),
            ),
            shape=alt.Shape(
                "what:N",
                scale=alt.Scale(domain=stages, range=["circle", "circle", "diamond"]),
                legend=_legend(),
            ),
            tooltip=[
                alt.Tooltip("title:N", title="Student"),
                alt.Tooltip("what:N", title="Score"),
                alt.Tooltip("score:Q", title="Macro F1", format=".3f"),
            ],
        )
    )
    count = beliefs["title"].nunique()
    return finish(
        line,
        dots,
        height=90 + 26 * count,
        description=f"Macro F1 of {count} students as searched, refitted and confirmed.",
    )


def log_ticks(ends: tuple[float, float]) -> list[float]:
    """Return ticks at 1, 2 and 5 of each decade; at whole decades only if the range exceeds three decades."""
    low, high = (math.log10(end) for end in ends)
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if ends[0] <= tick <= ends[1]]


def _draw_points(table: pd.DataFrame, axes: Axes, tooltip: list[alt.Tooltip]) -> alt.Chart:
    """Draw all models in one layer, in the order of DRAWN_IN_ORDER, so that a click can reach each of them."""
    place = {kind: number for number, kind in enumerate(DRAWN_IN_ORDER)}
    drawn = table.assign(
        look=table["family"].where(table["kind"] != TEACHER, TEACHER_LOOK),
        what=table["kind"].map(WORDS),
        area=table["kind"].map(AREA),
        fullness=table["kind"].map(FULLNESS),
    ).sort_values("kind", key=lambda kinds: kinds.map(place), kind="stable")
    points: alt.Chart = (
        alt.Chart(drawn)
        .mark_point(filled=True)
        .encode(
            x=axes.x,
            y=axes.y,
            color=axes.colour("look:N", _legend()),
            shape=axes.shape("look:N", _legend()),
            size=alt.Size("area:Q", scale=None, legend=None),
            opacity=alt.Opacity("fullness:Q", scale=None, legend=None),
            tooltip=tooltip,
        )
    )
    return points


def _low(axes: Axes) -> alt.Y:
    return alt.Y("low:Q", scale=axes.score_scale, title=MEASURES[axes.measure].words)


def _draw_line_across(
    table: pd.DataFrame, axes: Axes, words: str, faint: bool = False
) -> alt.LayerChart:
    """Draw a labelled dashed line across the chart at the score in `table`."""
    base = alt.Chart(table.assign(words=words)).encode(y=axes.y)
    rule = base.mark_rule(
        color=GREY, strokeDash=[1, 4] if faint else [6, 4], strokeWidth=1.3, strokeCap="round"
    )
    label = base.mark_text(
        color=GREY, align="center", baseline="top" if faint else "bottom", dy=4 if faint else -4
    ).encode(x=alt.value(alt.ExprRef(expr=LABEL_AT)), text="words:N")
    return alt.LayerChart(layer=[rule, label])


def _draw_budget(axes: Axes, budget: float) -> alt.LayerChart:
    """Draw a line at the budget if it lies within the chart."""
    inside = axes.sizes[0] < budget < axes.sizes[1]
    table = pd.DataFrame(
        {"size": [budget] if inside else [], "words": ["budget"] if inside else []}
    )
    base = alt.Chart(table).encode(x=axes.x)
    rule = base.mark_rule(color=ANSWER, strokeWidth=1.3, strokeDash=[4, 3], opacity=0.8)
    label = base.mark_text(color=ANSWER, align="left", dx=5, baseline="top").encode(
        y=alt.value(6), text="words:N"
    )
    return alt.LayerChart(layer=[rule, label])


def _draw_marks(
    points: pd.DataFrame, axes: Axes, chosen: int | None, answer: int | None
) -> list[alt.Chart]:
    """Draw an orange ring round the answer, and a grey one round the chosen model if that is another.

    Its name is written on the side away from the teacher's line.
    """
    line = points.loc[points["kind"] == TEACHER, "score"].max()
    rings = [(answer, ANSWER, ": the answer")] if answer is not None else []
    if chosen is not None and chosen != answer:
        rings.insert(0, (chosen, GREY, ""))
    layers = []
    for number, colour, more in rings:
        marked = points[points["trial"] == number]
        words = f"trial {number}{more}" if number >= 0 else ""
        base = alt.Chart(marked.assign(words=words)).encode(x=axes.x, y=axes.y)
        above = bool((marked["score"] >= line).any())
        layers += [
            base.mark_point(shape="circle", size=400, strokeWidth=2, color=colour, opacity=1),
            base.mark_text(
                align="left", dx=10, dy=-18 if above else 20, fontWeight=600, color=colour
            ).encode(text="words:N"),
        ]
    return layers


def _tooltips(axes: Axes) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("what:N", title="What"),
        alt.Tooltip("name:N", title="Model"),
        alt.Tooltip("score:Q", title=MEASURES[axes.measure].words, format=".3f"),
        alt.Tooltip("size:Q", title=SIZES[axes.size].words, format=",.4~g"),
        alt.Tooltip("params:Q", title="Parameters", format=","),
    ]


def _legend() -> alt.Legend:
    return alt.Legend(
        orient="top",
        direction="horizontal",
        title=None,
        labelLimit=240,
        symbolOpacity=1,
        symbolSize=80,
        offset=8,
    )
