"""What the visitor has chosen: kept once for all pages, and mirrored in the URL.

session_state["model"] holds the number of the model in question, whichever chart, table or list was clicked
last. Streamlit cannot set a chart's own selection from here, and clicking a point that the chart holds as
selected sends no event. So when another click overrides a chart's selection, the chart is redrawn under a
new key, without a selection.

In the URL the page is the path, and `PARTS` lists the query. A work folder is given by its position among
those the dashboard was started with: no path is ever read from a URL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from dashboard.reading.models import Model
from dashboard.reading.work_folder import SplitResults

CHARTS = ("searched", "confirmed", "slice")
T = TypeVar("T")
NONE = ""  # in a URL, the value of a list of which nothing is chosen
LONGEST = 200  # characters of one value in a URL; the rest of a longer one is no name of ours


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the URL's query: the session state's key that it sets, and how its value is read from text.

    `read` returns None for an invalid value. A part with `many` is a list; its name is repeated, once per value.
    """

    key: str
    read: Callable[[str], object | None]
    many: bool = False


def _whole(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 19 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _text(text: str) -> str | None:
    return text if 0 < len(text) <= LONGEST else None


# The widgets' keys are other words than the query's where another page has such a widget of its own.
PARTS: Mapping[str, Part] = {
    "work": Part("work", _whole),
    "split": Part("split", _text),
    "trial": Part("model", _whole),
    "measure": Part("front_measure", _text),
    "x": Part("front_size", _text),
    "states": Part("front_states", _text, many=True),
    "families": Part("front_families", _text, many=True),
    "budget": Part("budget", _number),
    "loss": Part("loss", _number),
    "family": Part("why_family", _text),
    "group": Part("why_group", _text),
    "setting": Part("why_setting", _text),
    "objective": Part("why_objective", _text),
    "compare": Part("compared", _whole, many=True),
    "beside": Part("compare_what", _text),
    "as": Part("compare_as", _text),
}


def restore() -> None:
    """Take choices from the URL when a session starts, and keep those of the session at every run.

    Streamlit forgets a widget's value when another page does not draw it, unless it is assigned again.
    """
    state = st.session_state
    if "restored" not in state:
        state["restored"] = True
        for name, part in PARTS.items():
            texts = st.query_params.get_all(name)
            known = [value for text in texts if (value := part.read(text)) is not None]
            if part.many and (known or texts == [NONE]):
                state[part.key] = known
            elif known:
                state[part.key] = known[-1]
    for part in PARTS.values():
        if part.key in state:
            state[part.key] = state[part.key]


def settle(key: str, options: Sequence[T], first: T) -> T:
    """Return the chosen option and store it; fall back to `first` if the choice is not among the options."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = first
    chosen: T = st.session_state[key]
    return chosen


def settle_many(key: str, options: Sequence[T], first: Sequence[T]) -> list[T]:
    """Return the chosen options and store them; `first` if none was ever chosen or none is still an option.

    A list that the visitor emptied stays empty. If all options were chosen before, new ones are chosen too.
    """
    state, before = st.session_state, f"{key}_before"
    chosen = state.get(key, first)
    if chosen and list(chosen) == state.get(before):
        chosen = options
    known = [value for value in options if value in chosen]
    state[key] = known if known or not chosen else list(first)
    state[before] = list(options)
    return list(st.session_state[key])


def settle_model(place: str, results: SplitResults, models: Mapping[int, Model]) -> int:
    """Return the chosen model's number; without one the answer's, else the best of the front, else the first.

    `place` names the work folder and split that the number belongs to. When it changes, the choice and the
    brushed trials are dropped, since numbers mean other models there.
    """
    state = st.session_state
    moved = state.get("model_of", place) != place
    if moved:
        _draw_afresh(CHARTS)
        keep_brushed(())
    if state.get("model") not in models or moved:
        front = [model for model in models.values() if model.on_front]
        best = max(front, key=lambda model: model.macro_f1 or 0.0, default=None)
        answer = results.confirm.answer if results.confirm else None
        wishes = [answer.trial if answer else None, best.number if best else None]
        state["model"] = next(
            wish for wish in (*wishes, *models) if wish is not None and wish in models
        )
    state["model_of"] = place
    return int(state["model"])


def write_url(defaults: Mapping[str, object]) -> None:
    """Write the choices that differ from the defaults into the URL."""
    query: dict[str, str | list[str]] = {}
    for name, part in PARTS.items():
        value = st.session_state.get(part.key)
        if value is None or value == defaults.get(name, ()) or value == math.inf:
            continue
        query[name] = [str(one) for one in value] or [NONE] if part.many else _said(value)
    if query != _in_url():
        st.query_params.from_dict(query)


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_url() -> dict[str, str | list[str]]:
    return {
        name: st.query_params.get_all(name)
        if name in PARTS and PARTS[name].many
        else st.query_params[name]
        for name in st.query_params
    }


def chart_key(chart: str) -> str:
    return f"{chart}_{st.session_state.get(f'{chart}_turn', 0)}"


def from_chart(chart: str) -> Callable[[], None]:
    """Make the callback for a click in a chart: it chooses the clicked trial; a click beside all points is ignored."""
    # as drawn: another call may give the chart its next key before this one
    key = chart_key(chart)

    def choose() -> None:
        state = st.session_state.get(key)
        picked = state["selection"].get("picked") if state else None
        if picked and isinstance(picked[0].get("trial"), int):
            _choose(picked[0]["trial"], by=chart)

    return choose


def from_table() -> None:
    """Choose the trial clicked in the table of trials; Streamlit gives its row's position in the order shown."""
    rows = st.session_state["trials"]["selection"]["rows"]
    order = st.session_state["trials_order"]
    if rows and rows[0] < len(order):
        _choose(order[rows[0]], by="trials")


def from_list() -> None:
    _choose(st.session_state["model"], by="model")


def read_brushed(chart: str) -> Mapping[str, tuple[float, float]]:
    """Return the range dragged over in a chart, by field as (low, high); empty without a drag."""
    state = st.session_state.get(chart_key(chart))
    brush = state["selection"].get("brush") if state else None
    return {
        field: (float(min(ends)), float(max(ends)))
        for field, ends in (brush or {}).items()
        if isinstance(ends, list | tuple) and len(ends) == 2
    }


def keep_brushed(numbers: Iterable[int]) -> None:
    """Store the trials that the visitor dragged over, for pages without that chart."""
    st.session_state["brushed"] = tuple(numbers)


def read_brushed_trials() -> tuple[int, ...]:
    """Return the trials last dragged over on the Trade-off page; empty if there are none."""
    return tuple(st.session_state.get("brushed", ()))


def _choose(number: int, by: str) -> None:
    st.session_state["model"] = number
    _draw_afresh(chart for chart in CHARTS if chart != by)


def _draw_afresh(charts: Iterable[str]) -> None:
    for chart in charts:
        st.session_state[f"{chart}_turn"] = st.session_state.get(f"{chart}_turn", 0) + 1
