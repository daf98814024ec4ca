"""Tables to Altair charts: pure functions that know neither the work folder nor Streamlit.

Colours are of middling lightness, so that they read on a light and on a dark page, and blue and
orange, so that they are told apart by those who do not see red or green; shape says it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import altair as alt
import pandas as pd

SEARCHED = "#3572c6"
CONFIRMED = "#dd6a1f"
TEACHER = "#7c828d"
TERM_COLOURS = (SEARCHED, CONFIRMED, "#3f9c72", "#a661b8", "#b98b15", "#4aa3b5", "#c1566b")

IS_TEACHER = "teacher"
MEASURES = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}

UPRIGHT = "M-0.2,-1H0.2V1H-0.2Z"


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of point is called and drawn; `size` is its area in square pixels."""

    words: str
    colour: str
    shape: str
    size: int
    opacity: float = 1.0


PEOPLE_LOOKS = {
    IS_TEACHER: Look("teacher", TEACHER, UPRIGHT, 60),
    "model": Look("this model", SEARCHED, "circle", 70),
}


def curve_chart(curve: pd.DataFrame, measure: str, teacher: float | None) -> alt.LayerChart:
    """A score of validation people (columns epoch and `measure`), beside the teacher's."""
    scores = [*curve[measure], *([] if teacher is None else [teacher])]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    y = alt.Y(
        f"{measure}:Q",
        title=f"{MEASURES[measure]} (validation)",
        scale=alt.Scale(domain=[max(low - 0.03, 0.0), min(high + 0.03, 1.0)], nice=False),
        axis=alt.Axis(tickCount=5, format=".2f"),
    )
    line = (
        alt.Chart(curve)
        .mark_line(
            color=SEARCHED, strokeWidth=2, point=alt.OverlayMarkDef(size=22, color=SEARCHED)
        )
        .encode(
            x=_epochs(),
            y=y,
            tooltip=[
                alt.Tooltip("epoch:Q", title="Epoch"),
                alt.Tooltip(f"{measure}:Q", title=MEASURES[measure], format=".3f"),
            ],
        )
    )
    reference = pd.DataFrame({measure: [] if teacher is None else [teacher]}, dtype="float64")
    return _finished(_reference(reference, y, "teacher"), line, height=240)


def loss_chart(losses: pd.DataFrame) -> alt.LayerChart:
    """The terms of the training loss per epoch (columns epoch, term, loss)."""
    terms = list(dict.fromkeys(losses["term"]))
    colours = {"total": TEACHER}
    for place, term in enumerate(term for term in terms if term != "total"):
        colours[term] = TERM_COLOURS[place % len(TERM_COLOURS)]
    line = (
        alt.Chart(losses)
        .mark_line(strokeWidth=2)
        .encode(
            x=_epochs(),
            y=alt.Y("loss:Q", title="Training loss", axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "term:N",
                scale=alt.Scale(domain=terms, range=[colours[term] for term in terms]),
                legend=_legend(),
            ),
            tooltip=[
                alt.Tooltip("term:N", title="Term"),
                alt.Tooltip("epoch:Q", title="Epoch"),
                alt.Tooltip("loss:Q", title="Loss", format=".4f"),
            ],
        )
    )
    return _finished(line, height=240)


def confusion_chart(cells: pd.DataFrame, classes: tuple[str, ...]) -> alt.LayerChart:
    """Rows true, columns said, coloured by the share of the true class (see confusion_table)."""
    cells = cells.assign(percent=(cells["share"].fillna(0) * 100).round())
    angle = -35 if len(classes) <= 6 else -90
    base = alt.Chart(cells).encode(
        x=alt.X("said_class:N", sort=list(classes), title="Said", axis=_class_axis(angle)),
        y=alt.Y("true_class:N", sort=list(classes), title="True", axis=_class_axis(0)),
        tooltip=[
            alt.Tooltip("true_class:N", title="True"),
            alt.Tooltip("said_class:N", title="Said"),
            alt.Tooltip("recordings:Q", title="Recordings", format=".4~g"),
            alt.Tooltip("share:Q", title="Share of the true class", format=".0%"),
        ],
    )
    # From nearly transparent, not from white, so that an empty cell is the page's own colour.
    tiles = base.mark_rect(color=SEARCHED, cornerRadius=2).encode(
        opacity=alt.Opacity(
            "share:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 1]), legend=None
        )
    )
    layers = [tiles]
    if len(classes) <= 12:
        layers.append(
            base.mark_text(fontSize=13).encode(
                text=alt.condition(alt.datum.share > 0, alt.Text("percent:Q"), alt.value("")),
                color=alt.condition(alt.datum.share > 0.5, alt.value("white"), alt.value(TEACHER)),
            )
        )
    return _finished(*layers, height=min(90 + 52 * len(classes), 560))


def people_chart(people: pd.DataFrame) -> alt.LayerChart:
    """One row per person: the model's accuracy a dot, the teacher's a tick (see people_table)."""
    y = alt.Y(
        "person:N",
        sort=list(people["person"]),
        title=None,
        axis=alt.Axis(labelLimit=160, labelOverlap=False),
    )
    x = alt.X(
        "accuracy:Q",
        title="Accuracy",
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(format="%", orient="top", tickCount=5),
    )
    teacher = people.assign(kind=IS_TEACHER, accuracy=people["teacher"]).dropna(subset=["teacher"])
    both = pd.concat([teacher, people.assign(kind="model")], ignore_index=True)
    links = []
    if not teacher.empty:  # an empty layer would add a row named null
        links.append(
            alt.Chart(teacher.assign(model=people["accuracy"]))
            .mark_rule(color=TEACHER, opacity=0.4, strokeWidth=1.5)
            .encode(x=x, x2="model:Q", y=y)
        )
    tooltip = [
        alt.Tooltip("person:N", title="Person"),
        alt.Tooltip("classes:N", title="True class"),
        alt.Tooltip("what:N", title="Model"),
        alt.Tooltip("accuracy:Q", title="Accuracy", format=".0%"),
        alt.Tooltip("recordings:Q", title="Recordings"),
    ]
    return _finished(
        *links, _points(both, PEOPLE_LOOKS, x, y, tooltip), height=110 + 22 * len(people)
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


def _legend() -> alt.Legend:
    return alt.Legend(
        orient="top", direction="horizontal", title=None, labelLimit=240, symbolOpacity=1, offset=8
    )


def _epochs() -> alt.X:
    return alt.X(
        "epoch:Q",
        title="Epoch",
        axis=alt.Axis(tickMinStep=1, grid=False, format="d"),
        scale=alt.Scale(nice=False),
    )


def _class_axis(angle: int) -> alt.Axis:
    return alt.Axis(
        labelAngle=angle, labelLimit=150, labelOverlap=False, domain=False, ticks=False
    )


def _finished(*layers: alt.Chart | alt.LayerChart, height: int) -> alt.LayerChart:
    chart = alt.LayerChart(layer=list(layers), height=height)
    chart.config = alt.Config(view=alt.ViewConfig(strokeWidth=0))
    return chart
