"""Charts of what the settings of a search did, drawn from the tables of why/tables.py; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
from pandas.api.types import is_numeric_dtype

from dashboard.frame.chart_style import (
    CONFIRMED,
    FAMILY_COLOURS,
    FAMILY_SHAPES,
    SEARCHED,
    TEACHER,
    finish,
)

ACCENT = CONFIRMED
FAINT = 0.16


def draw_importance(table: pd.DataFrame, objective: str) -> alt.LayerChart:
    """Draw how much each setting explains of one objective as bars (columns setting, importance)."""
    order = table["setting"].tolist()
    base = alt.Chart(table).encode(
        y=alt.Y(
            "setting:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelLimit=190, ticks=False, domain=False, labelPadding=8),
        ),
        x=alt.X(
            "importance:Q",
            title=None,
            scale=alt.Scale(domain=[0, max(table["importance"].max() * 1.15, 0.1)], nice=False),
            axis=None,
        ),
        tooltip=[
            alt.Tooltip("setting:N", title="Setting"),
            alt.Tooltip("importance:Q", title=f"Share of what moves {objective}", format=".1%"),
        ],
    )
    bars = base.mark_bar(color=SEARCHED, height=11, cornerRadiusEnd=3)
    words = base.mark_text(align="left", dx=6, color=TEACHER).encode(
        text=alt.Text("importance:Q", format=".0%")
    )
    first = "" if table.empty else f" Most: {order[0]}, {table['importance'].iloc[0]:.0%}."
    return finish(
        bars,
        words,
        height=28 * len(table) + 8,
        description=f"How much each setting explains of {objective}.{first}",
    )


def draw_terms(points: pd.DataFrame, terms: Sequence[str], chosen: int) -> alt.LayerChart:
    """Draw weights by distillation term: the front as dots, the chosen student as a diamond, others as faint ticks."""
    rows = points.assign(
        kind=["chosen" if t == chosen else "front" if f else "beaten"
              for t, f in zip(points["trial"], points["on_front"], strict=True)],
    )  # fmt: skip
    y = alt.Y(
        "term:N",
        sort=list(terms),
        title=None,
        axis=alt.Axis(labelLimit=160, ticks=False, domain=False, grid=True, labelPadding=8),
    )
    x = alt.X(
        "weight:Q",
        title="Weight beside the labels (log)",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(format="~g", grid=False, tickCount=6, labelOverlap=True),
    )
    tooltip = _tooltips(alt.Tooltip("term:N", title="Term"), alt.Tooltip("weight:Q", format=".3g"))
    layers = [
        alt.Chart(rows[rows["kind"] == "beaten"])
        .mark_tick(color=TEACHER, opacity=0.35, height=12, thickness=1.2)
        .encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(rows[rows["kind"] == "front"])
        .mark_point(filled=True, color=SEARCHED, size=80, opacity=0.9)
        .encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(rows[rows["kind"] == "chosen"])
        .mark_point(filled=True, color=ACCENT, shape="diamond", size=150, opacity=1)
        .encode(x=x, y=y, tooltip=tooltip),
    ]
    return finish(
        *layers,
        height=70 + 34 * len(terms),
        description=f"Weights of the distillation terms {', '.join(terms)} on the front and elsewhere.",
    )


def draw_parallel_axes(
    paths: pd.DataFrame, marks: pd.DataFrame, axes: Sequence[str], families: Sequence[str]
) -> alt.LayerChart:
    """Draw one line per trial across upright axes: picked ones by family, others faint, the chosen one set apart."""
    x = alt.X(
        "axis:N",
        sort=list(axes),
        title=None,
        scale=alt.Scale(padding=0.35),
        axis=alt.Axis(
            orient="top",
            labelAngle=0 if len(axes) <= 7 else -28,
            labelAlign="center" if len(axes) <= 7 else "left",
            labelLimit=130,
            labelOverlap=False,
            ticks=False,
            domain=False,
            grid=True,
            gridOpacity=0.9,
            labelPadding=12,
        ),
    )
    y = alt.Y("place:Q", scale=alt.Scale(domain=[-0.04, 1.04], nice=False), axis=None)

    def lines(kind: str) -> alt.Chart:
        return alt.Chart(paths[paths["kind"] == kind]).encode(x=x, y=y, detail="trial:N")

    tooltip = [
        alt.Tooltip("trial:Q", title="Trial"),
        alt.Tooltip("family:N", title="Family"),
        alt.Tooltip("axis:N", title="Setting"),
        alt.Tooltip("value:N", title="Value"),
    ]
    colour = alt.Color("family:N", scale=family_scale(families), legend=_legend(families))
    layers = [
        lines("other").mark_line(color=TEACHER, strokeWidth=1, opacity=FAINT),
        lines("picked").mark_line(strokeWidth=1.8, opacity=0.75).encode(color=colour),
        lines("picked").mark_point(filled=True, size=34).encode(color=colour, tooltip=tooltip),
        lines("chosen").mark_line(color=ACCENT, strokeWidth=3),
        lines("chosen")
        .mark_point(filled=True, color=ACCENT, size=70, shape="diamond", opacity=1)
        .encode(tooltip=tooltip),
        alt.Chart(marks)
        .mark_text(align="left", dx=10, color=TEACHER, fontSize=11)
        .encode(x=x, y=y, text="text:N"),
    ]
    picked = paths.loc[paths["kind"] == "picked", "trial"].nunique()
    return finish(
        *layers,
        height=360,
        description=f"Settings of {picked} students over {len(axes)} axes: {', '.join(axes)}.",
    )


def draw_slice(
    table: pd.DataFrame,
    *,
    setting: str,
    objective: str,
    families: Sequence[str],
    log_x: bool,
    log_y: bool,
) -> alt.LayerChart:
    """Draw one setting against one objective, coloured by family; a click selects by `trial`.

    `table` is that of `tables.slice_table`; its value is a number, or text for a choice.
    """
    is_choice = not is_numeric_dtype(table["value"])
    x: alt.X
    if is_choice:
        x = alt.X("value:N", title=setting, axis=alt.Axis(labelAngle=0, labelLimit=140))
    else:
        x = alt.X(
            "value:Q",
            title=f"{setting} (log)" if log_x else setting,
            scale=alt.Scale(type="log" if log_x else "linear", zero=False, nice=False, padding=16),
            axis=alt.Axis(grid=False, format="~g", tickCount=7, labelOverlap=True),
        )
    y = alt.Y(
        "objective:Q",
        title=f"{objective} (log)" if log_y else objective,
        scale=alt.Scale(type="log" if log_y else "linear", zero=False, nice=False, padding=12),
        axis=alt.Axis(tickCount=6, format="~s" if log_y else "~g", labelOverlap=True),
    )
    tooltip = _tooltips(
        alt.Tooltip("shown:N", title=setting),
        alt.Tooltip("objective:Q", title=objective, format=",.4~g"),
    )
    seen = [family for family in families if (table["family"] == family).any()]
    scale = family_scale(families)
    shapes = alt.Scale(
        domain=list(families),
        range=[FAMILY_SHAPES[n % len(FAMILY_SHAPES)] for n in range(len(families))],
    )
    size = alt.condition(alt.datum.kind == "beaten", alt.value(38), alt.value(105))
    opacity = alt.condition(alt.datum.kind == "beaten", alt.value(0.38), alt.value(1))
    order = {"beaten": 0, "front": 1, "chosen": 2}
    drawn = table.sort_values("kind", key=lambda kinds: kinds.map(order), kind="stable")
    beside = is_choice and not table["value"].eq(table["family"]).all()
    offset = {"xOffset": alt.XOffset("family:N", sort=seen)} if beside else {}
    points = (
        alt.Chart(drawn)
        .mark_point(filled=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color("family:N", scale=scale, legend=_legend(families)),
            shape=alt.Shape("family:N", scale=shapes, legend=_legend(families)),
            size=size,
            opacity=opacity,
            tooltip=tooltip,
            **offset,
        )
        .add_params(alt.selection_point(name="picked", fields=["trial"], on="click", empty=False))
    )
    ring = (
        alt.Chart(drawn[drawn["kind"] == "chosen"])
        .mark_point(shape="circle", size=330, strokeWidth=2, color=ACCENT, opacity=1)
        .encode(x=x, y=y, **offset)
    )
    return finish(
        ring,
        points,
        height=380,
        description=f"{setting} against {objective} of {len(table)} finished trials, by family.",
    )


def family_scale(families: Sequence[str]) -> alt.Scale:
    return alt.Scale(
        domain=list(families),
        range=[FAMILY_COLOURS[n % len(FAMILY_COLOURS)] for n in range(len(families))],
    )


def _legend(families: Sequence[str]) -> alt.Legend | None:
    if len(families) < 2:
        return None
    return alt.Legend(orient="top", direction="horizontal", title=None, labelLimit=200, offset=10)


def _tooltips(*own: alt.Tooltip) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("trial:Q", title="Trial"),
        alt.Tooltip("family:N", title="Family"),
        alt.Tooltip("params:Q", title="Parameters", format=","),
        *own,
    ]
