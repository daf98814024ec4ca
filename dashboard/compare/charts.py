"""Charts that compare models or work folders, drawn from the tables of compare/tables.py; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from dashboard.frame.chart_style import (
    CONFIRMED,
    SEARCHED,
    TEACHER,
    draw_dots,
    draw_intervals,
    finish,
    make_epochs_axis,
    make_legend,
    make_percent_axis,
    make_rows,
    tell_interval,
)

COLOURS = (SEARCHED, "#3f9c72", "#a661b8", "#b98b15")
SHAPES = ("circle", "square", "triangle-up", "diamond")
ROW = 30


def choose_looks(titles: Sequence[str], teacher: str, chosen: str) -> dict[str, tuple[str, str]]:
    """Return (colour, shape) by title: the accent for the student in question, grey for the teacher."""
    found = {}
    free = iter(COLOURS)
    for place, title in enumerate(titles):
        if title == teacher:
            found[title] = (TEACHER, "square")
        elif title == chosen:
            found[title] = (CONFIRMED, "diamond")
        else:
            found[title] = (next(free), SHAPES[place % 3])
    return found


def draw_scores(points: pd.DataFrame, look: dict[str, tuple[str, str]]) -> alt.LayerChart:
    """Draw macro F1 of each model: filled with interval on the confirm people, hollow on the validation people."""
    y = make_rows("model:N", list(look), 200)
    low = min([*points["macro_f1"], *points["low"].dropna()], default=0.0)
    high = max([*points["macro_f1"], *points["high"].dropna()], default=1.0)
    pad = max(0.08 * (high - low), 0.02)
    scale = alt.Scale(domain=[max(low - pad, 0), min(high + pad, 1)], nice=False)
    x = alt.X(
        "macro_f1:Q", title="Macro F1", scale=scale, axis=alt.Axis(format=".2f", tickCount=6)
    )
    tooltip = [
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("people:N", title="People"),
        alt.Tooltip("macro_f1:Q", title="Macro F1", format=".3f"),
        *tell_interval(".3f"),
    ]
    colour = _colour(look, None)
    confirm = points[points["people"] == "confirm"]
    bars = draw_intervals(confirm, 4, 0.4).encode(
        x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour
    )
    hollow = (
        alt.Chart(points[points["people"] == "validation"])
        .mark_point(size=70, strokeWidth=1.6, opacity=0.9)
        .encode(x=x, y=y, color=colour, shape=_shape(look, None), tooltip=tooltip)
    )
    filled = draw_dots(confirm, 130).encode(
        x=x, y=y, color=colour, shape=_shape(look, None), tooltip=tooltip
    )
    said = "; ".join(
        f"{row.model} {row.macro_f1:.3f} on {row.people} people" for row in points.itertuples()
    )
    return finish(
        bars, hollow, filled, height=58 + ROW * len(look), description=f"Macro F1: {said}."
    )


def draw_curves(curves: pd.DataFrame, look: dict[str, tuple[str, str]]) -> alt.LayerChart:
    """Draw macro F1 on the validation people over the epochs, one line per model."""
    line = (
        alt.Chart(curves)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=make_epochs_axis(),
            y=alt.Y(
                "macro_f1:Q",
                title="Macro F1 (validation)",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(tickCount=5, format=".2f"),
            ),
            color=_colour(look, make_legend()),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("epoch:Q", title="Epoch"),
                alt.Tooltip("macro_f1:Q", title="Macro F1", format=".3f"),
            ],
        )
    )
    return finish(line, height=300, description=f"Learning curves of {', '.join(look)}.")


def draw_recalls(recalls: pd.DataFrame, look: dict[str, tuple[str, str]]) -> alt.LayerChart:
    """Draw the recall of each class with 95 % intervals, one row per model within the class."""
    classes = list(dict.fromkeys(recalls["class"]))
    y = make_rows("class:N", classes, 200)
    within = alt.YOffset("model:N", sort=list(look))
    tooltip = [
        alt.Tooltip("class:N", title="Class"),
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("recall:Q", title="Recall", format=".1%"),
        *tell_interval(".1%"),
        alt.Tooltip("people:Q", title="People"),
        alt.Tooltip("recordings:Q", title="Recordings"),
    ]
    bars = draw_intervals(recalls, 3, 0.4).encode(
        x=make_percent_axis("low:Q", None),
        x2="high:Q",
        y=y,
        yOffset=within,
        color=_colour(look, None),
    )
    points = draw_dots(recalls, 62).encode(
        x=make_percent_axis("recall:Q", "Recall"),
        y=y,
        yOffset=within,
        color=_colour(look, make_legend()),
        shape=_shape(look, make_legend()),
        tooltip=tooltip,
    )
    step = max(11 * len(look), 22)
    return finish(
        bars,
        points,
        height=72 + step * len(classes),
        description=f"Recall of {len(classes)} classes by {', '.join(look)}.",
    )


def draw_people(people: pd.DataFrame, look: dict[str, tuple[str, str]]) -> alt.LayerChart:
    """Draw one row per person: each model's accuracy as a point, and a line from the lowest to the highest."""
    order = list(dict.fromkeys(people["person"]))
    y = make_rows("person:N", order, 200)
    ends = people.groupby("person", sort=False)["accuracy"].agg(["min", "max"]).reset_index()
    links = (
        alt.Chart(ends)
        .mark_rule(color=TEACHER, opacity=0.4, strokeWidth=1.5)
        .encode(x=make_percent_axis("min:Q", None), x2="max:Q", y=y)
    )
    points = (
        alt.Chart(people)
        .mark_point(filled=True, size=75, opacity=0.9)
        .encode(
            x=make_percent_axis("accuracy:Q", "Accuracy"),
            y=y,
            color=_colour(look, make_legend()),
            shape=_shape(look, make_legend()),
            tooltip=[
                alt.Tooltip("person:N", title="Person"),
                alt.Tooltip("classes:N", title="True class"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("accuracy:Q", title="Accuracy", format=".0%"),
                alt.Tooltip("recordings:Q", title="Recordings"),
            ],
        )
    )
    return finish(
        links,
        points,
        height=116 + 22 * len(order),
        description=f"Accuracy of {', '.join(look)} for the {len(order)} people on whom they differ most.",
    )


def draw_fronts(points: pd.DataFrame, titles: Sequence[str]) -> alt.LayerChart:
    """Draw two folders' fronts, macro F1 over parameters: searched hollow, confirmed with intervals."""
    colour = alt.Color(
        "folder:N",
        scale=alt.Scale(domain=list(titles), range=[CONFIRMED, SEARCHED][: len(titles)]),
        legend=make_legend(),
    )
    x = alt.X(
        "params:Q",
        title="Parameters (log)",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(format="~s", grid=False, tickCount=6, labelOverlap=True),
    )
    scale = alt.Scale(zero=False, nice=False, padding=12)
    y = alt.Y(
        "macro_f1:Q", title="Macro F1", scale=scale, axis=alt.Axis(format=".2f", tickCount=6)
    )
    tooltip = [
        alt.Tooltip("folder:N", title="Folder"),
        alt.Tooltip("kind:N", title="Front"),
        alt.Tooltip("trial:Q", title="Trial"),
        alt.Tooltip("family:N", title="Family"),
        alt.Tooltip("params:Q", title="Parameters", format=","),
        alt.Tooltip("macro_f1:Q", title="Macro F1", format=".3f"),
        *tell_interval(".3f"),
    ]
    searched = points[points["kind"] == "searched"]
    confirmed = points[points["kind"] == "confirmed"]
    layers = [
        alt.Chart(searched)
        .mark_line(interpolate="step-after", strokeWidth=1.4, opacity=0.6)
        .encode(x=x, y=y, color=colour, order="params:Q"),
        alt.Chart(searched)
        .mark_point(size=50, strokeWidth=1.5)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
        draw_intervals(confirmed, 2.5, 0.45).encode(
            x=x, y=alt.Y("low:Q", scale=scale, title="Macro F1"), y2="high:Q", color=colour
        ),
        alt.Chart(confirmed)
        .mark_point(filled=True, shape="diamond", size=130, opacity=1)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]
    return finish(
        *layers,
        height=380,
        description=f"Searched and confirmed fronts of {' and '.join(titles)}.",
    )


def _colour(look: dict[str, tuple[str, str]], legend: alt.Legend | None) -> alt.Color:
    colours = [colour for colour, _ in look.values()]
    return alt.Color("model:N", scale=alt.Scale(domain=list(look), range=colours), legend=legend)


def _shape(look: dict[str, tuple[str, str]], legend: alt.Legend | None) -> alt.Shape:
    shapes = [shape for _, shape in look.values()]
    return alt.Shape("model:N", scale=alt.Scale(domain=list(look), range=shapes), legend=legend)
