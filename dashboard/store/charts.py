"""Charts of what the store holds, drawn from the tables of store/tables.py; pure functions."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dashboard.frame.chart_style import CONFIRMED, SEARCHED, TEACHER, finish, make_rows
from dashboard.store.tables import NO_ROLE, ROLES

ROLE_COLOURS = dict(zip((*ROLES, NO_ROLE), (SEARCHED, "#9dbbe4", CONFIRMED, TEACHER), strict=True))
ROW = 26


def draw_people(people: pd.DataFrame) -> alt.LayerChart:
    """Draw the number of people by class as bars, divided by role (see people_table)."""
    roles = [role for role in ROLE_COLOURS if (people["role"] == role).any()]
    roles += sorted(set(people["role"]) - set(roles))
    colours = [ROLE_COLOURS.get(role, "#a661b8") for role in roles]
    order = {role: place for place, role in enumerate(roles)}
    bars = (
        alt.Chart(people.assign(place=people["role"].map(order)))
        .mark_bar(height=14, cornerRadius=1)
        .encode(
            y=_classes(people["class"]),
            x=alt.X(
                "people:Q",
                title=None,
                axis=alt.Axis(tickMinStep=1, format="d", tickCount=6, orient="top", domain=False),
            ),
            color=alt.Color(
                "role:N",
                scale=alt.Scale(domain=roles, range=colours),
                legend=alt.Legend(orient="top", direction="horizontal", title=None, offset=8),
            ),
            order="place:Q",
            tooltip=[
                alt.Tooltip("class:N", title="Class"),
                alt.Tooltip("role:N", title="Role"),
                alt.Tooltip("people:Q", title="People"),
                alt.Tooltip("recordings:Q", title="Recordings"),
            ],
        )
    )
    classes = people["class"].nunique()
    return finish(
        bars, height=70 + ROW * classes, description=f"People of {classes} classes by role."
    )


def draw_lengths(table: pd.DataFrame, unit: str) -> alt.LayerChart:
    """Draw the lengths per class: a line from shortest to longest, a bar for the middle half, and the median."""
    y = _classes(table["class"])
    scale = alt.Scale(zero=True, nice=True)

    def x(field: str) -> alt.X:
        axis = alt.Axis(orient="top", domain=False, tickCount=6)
        return alt.X(f"{field}:Q", title=None, scale=scale, axis=axis)

    tooltip = [
        alt.Tooltip("class:N", title="Class"),
        *(
            alt.Tooltip(f"{name}:Q", title=words, format=".4~g")
            for name, words in (
                ("shortest", "Shortest"),
                ("low", "A quarter below"),
                ("median", "Median"),
                ("high", "A quarter above"),
                ("longest", "Longest"),
            )
        ),
        alt.Tooltip("recordings:Q", title="Recordings"),
    ]
    base = alt.Chart(table).encode(y=y, tooltip=tooltip)
    return finish(
        base.mark_rule(color=SEARCHED, opacity=0.45).encode(x=x("shortest"), x2="longest:Q"),
        base.mark_bar(color=SEARCHED, height=10, opacity=0.6, cornerRadius=2).encode(
            x=x("low"), x2="high:Q"
        ),
        base.mark_tick(color=CONFIRMED, thickness=2.5, height=14).encode(x=x("median")),
        height=52 + ROW * len(table),
        description=f"Lengths of the recordings of {len(table)} classes, in {unit}.",
    )


def draw_missing(joints: pd.DataFrame) -> alt.LayerChart:
    """Draw for each joint a bar of the share of frames in which it is missing."""
    bars = (
        alt.Chart(joints)
        .mark_bar(color=SEARCHED, height=12, cornerRadiusEnd=2)
        .encode(
            y=make_rows("joint:N", joints["joint"].tolist(), 180),
            x=alt.X(
                "share:Q",
                title="Missing, of all frames",
                axis=alt.Axis(format=".1~%", orient="top", tickCount=5, domain=False),
            ),
            tooltip=[
                alt.Tooltip("joint:N", title="Joint"),
                alt.Tooltip("share:Q", title="Missing, of all frames", format=".2%"),
            ],
        )
    )
    worst = joints.sort_values("share").iloc[-1]
    return finish(
        bars,
        height=52 + 20 * len(joints),
        description=f"How often each joint is missing; most often {worst['joint']}, {worst['share']:.1%}.",
    )


def _classes(names: pd.Series[str]) -> alt.Y:
    return make_rows("class:N", sorted(set(names)), 220)
