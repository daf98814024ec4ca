"""The colours, shapes, axes and frame that the charts of all pages share.

Colours are of medium lightness, readable on a light and on a dark page. Orange is reserved for the answer and
for the model that a page is about.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

SEARCHED = "#3572c6"
CONFIRMED = "#dd6a1f"
TEACHER = "#7c828d"
TERM_COLOURS = (SEARCHED, CONFIRMED, "#3f9c72", "#a661b8", "#b98b15", "#4aa3b5", "#c1566b")
FAMILY_COLOURS = (SEARCHED, "#3f9c72", "#a661b8", "#8b8a2c", "#4aa3b5", "#c1566b")
FAMILY_SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "triangle-right")

MEASURES = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}
SHARES = alt.Scale(domain=[0, 1], nice=False)


def finish(*layers: alt.Chart | alt.LayerChart, height: int, description: str) -> alt.LayerChart:
    """Join layers into one chart, with the description that is read out where the chart cannot be seen."""
    chart = alt.LayerChart(layer=list(layers), height=height, description=description)
    chart.config = alt.Config(view=alt.ViewConfig(strokeWidth=0))
    return chart


def make_legend() -> alt.Legend:
    """Make a legend in a row above the chart."""
    return alt.Legend(
        orient="top", direction="horizontal", title=None, labelLimit=240, symbolOpacity=1, offset=8
    )


def make_row_labels(limit: int, angle: int = 0) -> alt.Axis:
    """Make an axis with labels of at most `limit` pixels; by default Streamlit would move the outer ones inwards."""
    return alt.Axis(
        labelAngle=angle, labelLimit=limit, labelOverlap=False, labelFlush=False, domain=False, ticks=False,
    )  # fmt: skip


def make_rows(field: str, order: Sequence[str], limit: int) -> alt.Y:
    """Make a vertical axis with one row for each name, in the given order."""
    return alt.Y(field, sort=list(order), title=None, axis=make_row_labels(limit))


def make_percent_axis(field: str, title: str | None) -> alt.X:
    """Make an axis for a share from 0 to 100 %, labelled above the rows."""
    return alt.X(
        field,
        title=title,
        scale=SHARES,
        axis=alt.Axis(format="%", orient="top", tickCount=5, domain=False),
    )


def tell_interval(form: str) -> list[alt.Tooltip]:
    """Make tooltips for the ends of a 95 % interval (columns low and high) in the given number format."""
    return [
        alt.Tooltip("low:Q", title="95 % interval from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
    ]


def draw_intervals(table: pd.DataFrame, width: float, opacity: float) -> alt.Chart:
    """Draw faint round bars for the rows with a 95 % interval; the caller encodes where `low` and `high` lie."""
    bars: alt.Chart = alt.Chart(table.dropna(subset=["low"])).mark_rule(
        strokeWidth=width, opacity=opacity, strokeCap="round"
    )
    return bars


def draw_dots(table: pd.DataFrame, size: int) -> alt.Chart:
    """Draw filled points for the rows of a table; the caller encodes where they lie."""
    points: alt.Chart = alt.Chart(table).mark_point(filled=True, size=size, opacity=1)
    return points


def make_epochs_axis() -> alt.X:
    return alt.X(
        "epoch:Q",
        title="Epoch",
        axis=alt.Axis(tickMinStep=1, grid=False, format="d"),
        scale=alt.Scale(nice=False),
    )
