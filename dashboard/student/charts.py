"""Charts of one model, drawn from the tables of frame/model_tables.py; pure functions.

The model is blue, the teacher grey; orange is reserved for the answer.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from dashboard.frame.chart_style import (
    CONFIRMED,
    MEASURES,
    SEARCHED,
    SHARES,
    TEACHER,
    TERM_COLOURS,
    draw_dots,
    draw_intervals,
    finish,
    make_epochs_axis,
    make_legend,
    make_percent_axis,
    make_row_labels,
    make_rows,
    tell_interval,
)

HEIGHT = 270
FRAME = 140  # pixels of legend, title and axis above the rows
HERE, THERE = "this model", "teacher"
UPRIGHT = "M-0.2,-1H0.2V1H-0.2Z"
ON_LIGHT, ON_DARK = "#1c2128", "#e7e6e2"  # as the theme's text
CHANNEL_COLOURS = (SEARCHED, CONFIRMED, "#3f9c72")


def draw_curve(curve: pd.DataFrame, measure: str, teacher: float | None) -> alt.LayerChart:
    """Draw a score on the validation people over the epochs (columns epoch and `measure`), and the teacher's score."""
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
            x=make_epochs_axis(),
            y=y,
            tooltip=[
                alt.Tooltip("epoch:Q", title="Epoch"),
                alt.Tooltip(f"{measure}:Q", title=MEASURES[measure], format=".3f"),
            ],
        )
    )
    reference = pd.DataFrame({measure: [] if teacher is None else [teacher]}, dtype="float64")
    words = "" if teacher is None else f"; the teacher has {teacher:.3f}"
    last = "" if curve.empty else f" to {curve[measure].iloc[-1]:.3f}"
    return finish(
        *_draw_reference(reference, y),
        line,
        height=HEIGHT,
        description=f"{MEASURES[measure]} of validation people by epoch{last}{words}.",
    )


def draw_loss(losses: pd.DataFrame) -> alt.LayerChart:
    """Draw the terms of the training loss over the epochs (columns epoch, term, loss)."""
    terms = list(dict.fromkeys(losses["term"]))
    colours = {"total": TEACHER}
    for place, term in enumerate(term for term in terms if term != "total"):
        colours[term] = TERM_COLOURS[place % len(TERM_COLOURS)]
    line = (
        alt.Chart(losses)
        .mark_line(strokeWidth=2)
        .encode(
            x=make_epochs_axis(),
            y=alt.Y("loss:Q", title="Training loss", axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "term:N",
                scale=alt.Scale(domain=terms, range=[colours[term] for term in terms]),
                legend=make_legend(),
            ),
            strokeDash=alt.StrokeDash(
                "term:N",
                scale=alt.Scale(
                    domain=terms, range=[[4, 3] if term == "total" else [1, 0] for term in terms]
                ),
                legend=make_legend(),
            ),
            tooltip=[
                alt.Tooltip("term:N", title="Term"),
                alt.Tooltip("epoch:Q", title="Epoch"),
                alt.Tooltip("loss:Q", title="Loss", format=".4f"),
            ],
        )
    )
    return finish(
        line, height=HEIGHT, description="Each term of the training loss by epoch, and their sum."
    )


def draw_confusion(
    cells: pd.DataFrame, classes: tuple[str, ...], dark: bool = False
) -> alt.LayerChart:
    """Draw the confusion matrix: true class by row, said class by column, coloured by share (see confusion_table).

    With `dark` the page is dark: numbers on pale tiles are then light.
    """
    cells = cells.assign(percent=(cells["share"].fillna(0) * 100).round())
    angle = -35 if len(classes) <= 6 else -90
    base = alt.Chart(cells).encode(
        x=alt.X(
            "said_class:N", sort=list(classes), title="Said", axis=make_row_labels(150, angle)
        ),
        y=alt.Y("true_class:N", sort=list(classes), title="True", axis=make_row_labels(150)),
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
        plain = alt.value(ON_DARK if dark else ON_LIGHT)
        layers.append(
            base.mark_text(fontSize=13).encode(
                text=alt.condition(alt.datum.share > 0, alt.Text("percent:Q"), alt.value("")),
                color=alt.condition(alt.datum.share > 0.5, alt.value("white"), plain),
            )
        )
    return finish(
        *layers,
        height=min(90 + 52 * len(classes), 560),
        description="Confusion matrix in per cent of each true class: true in rows, said in columns.",
    )


def draw_recall(recalls: pd.DataFrame) -> alt.LayerChart:
    """Draw one row per class: the model's recall as a dot with interval, the teacher's as a tick (see recall_table)."""
    y = make_rows("class:N", list(recalls["class"]), 190)
    x = make_percent_axis("recall:Q", "Recall")
    tooltip = [
        alt.Tooltip("class:N", title="Class"),
        alt.Tooltip("recall:Q", title="Recall", format=".1%"),
        *tell_interval(".1%"),
        alt.Tooltip("teacher:Q", title="Recall of the teacher", format=".1%"),
        alt.Tooltip("people:Q", title="People"),
        alt.Tooltip("recordings:Q", title="Recordings"),
    ]
    bars = draw_intervals(recalls, 3, 0.45).encode(
        x=alt.X("low:Q", scale=SHARES), x2="high:Q", y=y, color=alt.value(SEARCHED)
    )
    return finish(
        bars,
        _draw_two(recalls, "recall", y, x, tooltip),
        height=FRAME + (34 if len(recalls) <= 8 else 22) * len(recalls),
        description="Recall of each class with its 95 % interval, beside the teacher's.",
    )


def draw_people(people: pd.DataFrame) -> alt.LayerChart:
    """Draw one row per person: the model's accuracy as a dot, the teacher's as a tick (see people_table)."""
    y = make_rows("person:N", list(people["person"]), 160)
    x = make_percent_axis("accuracy:Q", "Accuracy")
    links = []
    teacher = people.dropna(subset=["teacher"])
    if not teacher.empty:  # an empty layer would add a row named null
        links.append(
            alt.Chart(teacher)
            .mark_rule(color=TEACHER, opacity=0.4, strokeWidth=1.5)
            .encode(x=x, x2="teacher:Q", y=y)
        )
    tooltip = [
        alt.Tooltip("person:N", title="Person"),
        alt.Tooltip("classes:N", title="True class"),
        alt.Tooltip("accuracy:Q", title="Accuracy", format=".0%"),
        alt.Tooltip("teacher:Q", title="Accuracy of the teacher", format=".0%"),
        alt.Tooltip("recordings:Q", title="Recordings"),
    ]
    return finish(
        *links,
        _draw_two(people, "accuracy", y, x, tooltip),
        height=FRAME + 22 * len(people),
        description="Accuracy of each person beside the teacher's, the least well recognised first.",
    )


def draw_calibration(bins: pd.DataFrame) -> alt.LayerChart:
    """Draw accuracy against confidence with the diagonal (columns of calibration_table, and `model`)."""
    diagonal = (
        alt.Chart(pd.DataFrame({"confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]}))
        .mark_line(color=TEACHER, strokeDash=[1, 4], strokeWidth=1.3, strokeCap="round")
        .encode(x="confidence:Q", y="accuracy:Q")
    )
    base = alt.Chart(bins).encode(
        x=alt.X(
            "confidence:Q",
            title="How sure the model is",
            scale=SHARES,
            axis=alt.Axis(format="%", tickCount=5, grid=False),
        ),
        y=alt.Y(
            "accuracy:Q",
            title="How often it is right",
            scale=SHARES,
            axis=alt.Axis(format="%", tickCount=5),
        ),
        color=_colour(bins["model"]),
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("confidence:Q", title="Mean confidence", format=".1%"),
            alt.Tooltip("accuracy:Q", title="Right", format=".1%"),
            alt.Tooltip("share:Q", title="Share of the recordings", format=".1%"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.6, opacity=0.7)
    dots = base.mark_point(filled=True, opacity=1).encode(
        size=alt.Size("share:Q", scale=alt.Scale(zero=True, range=[14, 260]), legend=None),
        shape=_shape(bins["model"], "square"),
    )
    return finish(
        diagonal,
        lines,
        dots,
        height=300,
        description="Reliability: how often the model is right against how sure it is; the dotted "
        "diagonal is perfect calibration.",
    )


def draw_robustness(scores: pd.DataFrame) -> alt.LayerChart:
    """Draw macro F1 against the share of hidden joints (columns of robustness_table)."""
    ends = [*scores["macro_f1"], *scores["low"].dropna(), *scores["high"].dropna()]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    scale = alt.Scale(domain=[max(low - 0.04, 0), min(high + 0.04, 1)], nice=False)
    # a little apart, so that no interval hides another
    drawn = scores.assign(
        place=scores["hidden"] + scores["model"].map({HERE: -0.002, THERE: 0.002})
    )
    x = alt.X(
        "place:Q",
        title="Joints hidden",
        axis=alt.Axis(format="%", values=sorted(set(scores["hidden"])), grid=False),
        scale=alt.Scale(nice=False, padding=14),
    )
    y = alt.Y(
        "macro_f1:Q", title="Macro F1", scale=scale, axis=alt.Axis(tickCount=5, format=".2f")
    )
    colour = _colour(scores["model"])
    # an empty layer would have no extent
    bars = [
        draw_intervals(drawn, 2.5, 0.4).encode(
            x=x, y=alt.Y("low:Q", scale=scale, title="Macro F1"), y2="high:Q", color=colour
        )
    ]
    base = alt.Chart(drawn).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("hidden:Q", title="Joints hidden", format=".0%"),
            alt.Tooltip("macro_f1:Q", title="Macro F1", format=".3f"),
            *tell_interval(".3f"),
        ],
    )
    lines = base.mark_line(strokeWidth=2)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        shape=_shape(scores["model"], "square")
    )
    return finish(
        *(bars if scores["low"].notna().any() else []),
        lines,
        dots,
        height=300,
        description="Macro F1 on confirm people with a share of the joints hidden, with 95 % "
        "intervals, beside the teacher's.",
    )


def draw_probabilities(answers: pd.DataFrame, classes: tuple[str, ...]) -> alt.LayerChart:
    """Draw a pair of bars per class for one recording (columns of probability_table); an arrow marks the true class."""
    present = [model for model in (HERE, THERE) if (answers["model"] == model).any()]
    y = make_rows("class:N", classes, 190)
    offset = alt.YOffset("model:N", sort=present)
    tooltip = [
        alt.Tooltip("class:N", title="Class"),
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("probability:Q", title="Probability", format=".1%"),
        alt.Tooltip("low:Q", title="Least of its seeds", format=".1%"),
        alt.Tooltip("high:Q", title="Most", format=".1%"),
    ]
    bars = (
        alt.Chart(answers)
        .mark_bar(height=alt.RelativeBandSize(0.7), cornerRadiusEnd=2)
        .encode(
            x=make_percent_axis("probability:Q", "Probability"),
            y=y,
            yOffset=offset,
            color=_colour(answers["model"]),
            tooltip=tooltip,
        )
    )
    seeds = (
        alt.Chart(answers[answers["high"] > answers["low"]])
        .mark_rule(color=TEACHER, strokeWidth=1.5)
        .encode(
            x=alt.X("low:Q", scale=SHARES),
            x2="high:Q",
            y=y,
            yOffset=alt.YOffset("model:N", sort=present, bandPosition=0.5),
        )
    )
    true = (
        alt.Chart(answers[answers["true"]].drop_duplicates("class"))
        .mark_point(shape="triangle-left", filled=True, size=90, color=CONFIRMED, opacity=1)
        .encode(x=alt.value("width"), y=y)
    )
    return finish(
        bars,
        seeds,
        true,
        height=FRAME + (12 + 15 * len(present)) * answers["class"].nunique(),
        description="Probability of each class for this recording, of this model and of the teacher; "
        "an arrow marks the true class.",
    )


def draw_channels(lines: pd.DataFrame, time: str, unit: str) -> alt.Chart:
    """Draw the channels of a recording without an up axis, one panel per node (columns of channel_table)."""
    channels = list(dict.fromkeys(lines["channel"]))
    chart: alt.Chart = (
        alt.Chart(lines, width="container")
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("time:Q", title=time, axis=alt.Axis(grid=False), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=unit),
            color=alt.Color(
                "channel:N",
                scale=alt.Scale(
                    domain=channels,
                    range=[
                        CHANNEL_COLOURS[k % len(CHANNEL_COLOURS)] for k in range(len(channels))
                    ],
                ),
                legend=make_legend(),
            ),
            tooltip=[
                alt.Tooltip("node:N", title="Of"),
                alt.Tooltip("channel:N", title="Channel"),
                alt.Tooltip("time:Q", title=time, format=".3~g"),
                alt.Tooltip("value:Q", title=unit, format=".3~g"),
            ],
        )
        .properties(
            height=230, description="Each channel of this part of the recording against time."
        )
    )
    return chart


def _draw_two(
    table: pd.DataFrame, column: str, y: alt.Y, x: alt.X, tooltip: list[alt.Tooltip]
) -> alt.Chart:
    """Draw a column's values of the model and of the teacher; the teacher's are drawn first, below."""
    teacher = table.dropna(subset=["teacher"])
    both = pd.concat(
        [
            teacher.assign(model=THERE, **{column: teacher["teacher"]}),
            table.dropna(subset=[column]).assign(model=HERE),
        ],
        ignore_index=True,
    )
    points: alt.Chart = draw_dots(both, 80).encode(
        x=x, y=y, color=_colour(both["model"]), shape=_shape(both["model"]), tooltip=tooltip
    )
    return points


def _colour(models: pd.Series[str]) -> alt.Color:
    present = [model for model in (HERE, THERE) if (models == model).any()]
    colours = {HERE: SEARCHED, THERE: TEACHER}
    scale = alt.Scale(domain=present, range=[colours[model] for model in present])
    return alt.Color("model:N", scale=scale, legend=make_legend())


def _shape(models: pd.Series[str], teacher: str = UPRIGHT) -> alt.Shape:
    present = [model for model in (HERE, THERE) if (models == model).any()]
    shapes = {HERE: "circle", THERE: teacher}
    scale = alt.Scale(domain=present, range=[shapes[model] for model in present])
    # the legend of shapes joins that of colours, whose domain is the same
    return alt.Shape("model:N", scale=scale, legend=make_legend())


def _draw_reference(table: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """Draw a dashed line across the chart at the teacher's score, labelled at its left."""
    base = alt.Chart(table.assign(words=THERE)).encode(y=y)
    return [
        base.mark_rule(color=TEACHER, strokeDash=[6, 4], strokeWidth=1.3, strokeCap="round"),
        base.mark_text(color=TEACHER, align="left", baseline="bottom", dy=-4).encode(
            x=alt.value(4), text="words:N"
        ),
    ]
