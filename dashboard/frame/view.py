"""The data that every page of the dashboard is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import pandas as pd
import streamlit as st

from dashboard.frame.cells import without_formulas
from dashboard.reading.models import Model
from dashboard.reading.work_folder import Found, Outdated, Problem, SplitResults
from gaitforge.work import WorkFolder

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The data of a page: the work folder and split in view, what was read of them, and the model in question."""

    work: WorkFolder
    others: tuple[WorkFolder, ...]  # the other folders the dashboard was started with
    split: str
    found: Found
    results: SplitResults
    models: Mapping[int, Model]  # review_tables.collect_models(results); TEACHER = -1
    chosen: int  # a key of models
    outdated: Outdated
    problems: list[Problem]  # pages add what they could not read


def show_folded(
    title: str, table: pd.DataFrame, columns: Mapping[str, ColumnConfig], key: str
) -> None:
    """Show the full table in a collapsed section under a title."""
    with st.expander(title):
        st.dataframe(without_formulas(table), hide_index=True, column_config=columns, key=key)


def hold(name: str, of: tuple[object, ...], make: Callable[[], T]) -> T:
    """Return the value `make` gave last time under this name; call it again only if `of` has changed.

    Comparing ten thousand trials takes less than a millisecond as long as they are the same objects. One value is
    held per name and visitor; callers must not change it.
    """
    key = f"held_{name}"
    before = st.session_state.get(key)
    if before is None or before[0] != of:
        before = st.session_state[key] = of, make()
    return cast(T, before[1])
