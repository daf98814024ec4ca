"""Which model the page is about: one answer, whichever chart, table or list was clicked last.

The answer is the value of the list (session_state["model"]). A chart's own selection cannot be set
from here, and clicking a point that it holds for selected already says nothing; so a chart whose
selection is overtaken by another click is drawn afresh under its next key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from dashboard.reading import Line
from dashboard.review_tables import Model

CHARTS = ("searched", "confirmed")


def settle(split: str, line: Line, models: Mapping[int, Model]) -> int:
    """The number of the model that was chosen, else of the one that one would ask for first."""
    if st.session_state.get("model") not in models or st.session_state.get("model_split") != split:
        front = [model for model in models.values() if model.on_front]
        best = max(front, key=lambda model: model.macro_f1 or 0.0, default=None)
        wishes = [line.confirm.chosen if line.confirm else None, best.number if best else None]
        st.session_state["model"] = next(
            wish for wish in (*wishes, *models) if wish is not None and wish in models
        )
        st.session_state["model_split"] = split
    return int(st.session_state["model"])


def chart_key(chart: str) -> str:
    return f"{chart}_{st.session_state.get(f'{chart}_turn', 0)}"


def from_chart(chart: str) -> Callable[[], None]:
    """What a chart calls when a point is clicked; a click beside every point changes nothing."""

    key = chart_key(
        chart
    )  # as drawn: another call may give the chart its next key before this one

    def choose() -> None:
        state = st.session_state.get(key)
        picked = state["selection"].get("picked") if state else None
        if picked and isinstance(picked[0].get("trial"), int):
            _choose(picked[0]["trial"], by=chart)

    return choose


def from_table() -> None:
    """What the table of trials calls; its rows are positions in the order it was shown in."""
    rows = st.session_state["trials"]["selection"]["rows"]
    order = st.session_state["trials_order"]
    if rows and rows[0] < len(order):
        _choose(order[rows[0]], by="trials")


def from_list() -> None:
    _choose(st.session_state["model"], by="model")


def _choose(number: int, by: str) -> None:
    st.session_state["model"] = number
    for chart in CHARTS:
        if chart != by:
            st.session_state[f"{chart}_turn"] = st.session_state.get(f"{chart}_turn", 0) + 1
