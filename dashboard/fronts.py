"""The middle of the page: accuracy against size, searched beside confirmed, and the trials."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard import charts, choice, review_tables
from dashboard.reading import Line
from dashboard.review_tables import Model, many


def show_fronts(line: Line, models: Mapping[int, Model], chosen: int) -> None:
    heading, switch = st.columns([3, 1], vertical_alignment="bottom")
    heading.subheader("Accuracy against size", anchor=False)
    measure = switch.radio(
        "Measure",
        list(charts.MEASURES),
        format_func=charts.MEASURES.__getitem__,
        horizontal=True,
        label_visibility="collapsed",
        key="measure",
    )
    searched = review_tables.searched_points(models.values())
    confirmed = review_tables.confirmed_points(line.confirm)
    axes = charts.shared_axes(measure, searched, confirmed)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Searched**, on the validation people, who chose this front")
        show_searched(line, searched, axes, chosen)
    with right:
        st.markdown("**Confirmed**, on people whom nothing had seen before")
        show_confirmed(line, confirmed, axes, chosen)
    if line.confirm is not None and line.confirm.members:
        show_members(review_tables.member_table(line.confirm))
    if line.trials:
        show_trials(review_tables.trial_table(models.values()), chosen)


def show_searched(line: Line, points: pd.DataFrame, axes: charts.Axes, chosen: int) -> None:
    if not points.empty:
        st.altair_chart(
            charts.searched_chart(points, axes, chosen),
            key=choice.chart_key("searched"),
            on_select=choice.from_chart("searched"),
        )
    words = [many(line.count("finished"), "finished trial")]
    words += [
        f"{line.count(state)} {state}" for state in ("stopped", "failed") if line.count(state)
    ]
    below = int((points[axes.measure] < axes.score[0]).sum())
    caption = f"{', '.join(words)}. Only finished trials are drawn"
    caption += f"; {many(below, 'lies', 'lie')} below the axis." if below else "."
    if axes.measure != "macro_f1":
        caption += " The front is that of macro F1, which the search was asked for."
    st.caption(caption)


def show_confirmed(line: Line, points: pd.DataFrame, axes: charts.Axes, chosen: int) -> None:
    confirm = line.confirm
    if confirm is None:
        st.info(
            "Nothing is confirmed yet. `gaitforge confirm run.toml` retrains the members of the "
            "front and scores them on the confirm people."
        )
        return
    st.altair_chart(
        charts.confirmed_chart(points, axes, chosen, confirm.margin),
        key=choice.chart_key("confirmed"),
        on_select=choice.from_chart("confirmed"),
    )
    people = many(confirm.people, "person", "people")
    if axes.measure != "macro_f1":
        st.caption(f"{people}. Intervals and the margin are of macro F1 and not drawn here.")
    elif confirm.too_few:
        st.caption(f"{people}: too few for intervals.")
    else:
        st.caption(f"{people}. Bars are 95 % intervals by bootstrap over people.")


def show_members(table: pd.DataFrame) -> None:
    score = st.column_config.NumberColumn
    empty = [name for name in table if (table[name].isna() | table[name].eq("")).all()]
    st.markdown(
        "**Confirmed students**, retrained with several seeds, with and without distillation"
    )
    st.dataframe(
        table.drop(columns=empty),
        hide_index=True,
        column_config={
            "trial": score("Trial", width="small"),
            "family": st.column_config.TextColumn("Family"),
            "params": score("Parameters", format="localized"),
            "macro_f1": score("Macro F1", format="%.3f"),
            "interval": st.column_config.TextColumn("95 % interval"),
            "difference": score("To teacher", format="%+.3f"),
            "difference_interval": st.column_config.TextColumn("95 % interval "),
            "verdict": st.column_config.TextColumn(
                "Non-inferior", help="Shown to lose less than the margin to the teacher."
            ),
            "p_on_front": score("P(front)", format="%.2f"),
            "alone": score("Not distilled", format="%.3f"),
            "gain": score("Gain", format="%+.3f"),
            "gain_interval": st.column_config.TextColumn("95 % interval  "),
            "seeds": score("Seeds", width="small"),
        },
        key="members",
    )


def show_trials(table: pd.DataFrame, chosen: int) -> None:
    """The table of trials; it follows what is chosen elsewhere, and a click in it chooses."""
    rows = table.index[table["trial"] == chosen].tolist()
    st.session_state["trials"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    st.session_state["trials_order"] = table["trial"].tolist()
    number = st.column_config.NumberColumn
    st.markdown("**Trials of the search**, scores of the validation people")
    st.dataframe(
        table,
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 318),
        column_config={
            "trial": number("Trial", width="small"),
            "family": st.column_config.TextColumn("Family", width="small"),
            "state": st.column_config.TextColumn("State", width="small"),
            "on_front": st.column_config.CheckboxColumn("On front", width="small"),
            "params": number("Parameters", format="localized"),
            "macs": number("MACs", format="compact"),
            "macro_f1": number("Macro F1", format="%.3f"),
            "accuracy": number("Accuracy", format="%.3f"),
            "epochs": number("Epochs", width="small"),
            "seconds": number("Seconds", format="%.1f"),
            "sizes": st.column_config.TextColumn("Sizes"),
            "reason": st.column_config.TextColumn("Why it ended early"),
        },
        selection_mode="single-row",
        on_select=choice.from_table,
        key="trials",
    )
