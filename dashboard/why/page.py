"""The page Why: which settings decide, what the front's students have in common, and one setting at a time."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from pandas.api.types import is_numeric_dtype

from dashboard.frame import choice
from dashboard.frame.cells import without_formulas
from dashboard.frame.thinning import thin
from dashboard.frame.view import View
from dashboard.reading import work_folder as reading
from dashboard.reading.models import many
from dashboard.why import charts as charts_why
from dashboard.why import tables as why_tables
from dashboard.why.tables import FEWEST_FOR_IMPORTANCE, objective_words, setting_words
from gaitforge.objectives import OBJECTIVES
from gaitforge.records.trial import Trial

ALL = "all families"
FRONT, CONFIRMED, BY_HAND = "the front", "the confirmed", "by hand"
BRUSHED = "dragged over in Trade-off"


def show_why(view: View) -> None:
    trials = view.results.trials
    finished = [trial for trial in trials if trial.state == "finished"]
    st.subheader("Why these students", anchor=False)
    if not finished:
        st.info(
            "No trial has finished yet, so that nothing can be said of what decides. The first "
            "will appear here by itself."
        )
        return
    families = sorted({trial.family for trial in finished})
    picked = ALL
    if len(families) > 1:
        picked = choice.settle("why_family", [ALL, *families], ALL)
        # no buttons: they would read a name as Markdown
        st.selectbox(
            "Families", [ALL, *families], label_visibility="collapsed", key="why_family", width=220
        )
    family = None if picked == ALL and len(families) > 1 else picked
    if len(families) == 1:
        family = families[0]
    of_family = [trial for trial in finished if family in (None, trial.family)]
    objectives = _objectives(view, of_family)
    show_importance(view, family, len(of_family), objectives)
    show_terms(view, of_family)
    show_paths(view, of_family, families, family, objectives)
    show_slice(view, of_family, families, family, objectives)


def show_importance(view: View, family: str | None, finished: int, objectives: list[str]) -> None:
    st.markdown("**What decides each objective**")
    found = reading.read_importance(view.work, view.split, view.problems)
    tables = {name: why_tables.importance_table(found, name, family) for name in objectives}
    tables = {name: table for name, table in tables.items() if not table.empty}
    if not tables:
        st.info(_why_no_importance(view, found, family, finished))
        return
    for column, (name, table) in zip(
        st.columns(max(len(tables), 2), gap="large"), tables.items(), strict=False
    ):
        with column:
            st.text(objective_words(name))
            st.altair_chart(
                charts_why.draw_importance(table, objective_words(name)),
                key=f"importance_{name}",
            )
    which = "all families" if family is None else "the students of this family"
    words = (
        f"Share of the difference between the best tenth and the rest that each setting explains "
        f"(PED-ANOVA over {many(finished, 'finished trial')} of {which}), of the validation people's scores."
    )
    if family is None:
        words += " Sizes belong to a family: pick one to see them."
    if finished < 5 * FEWEST_FOR_IMPORTANCE:
        words += " So few trials tell the first from the last, and little between."
    st.caption(words)


def _why_no_importance(view: View, found: pd.DataFrame, family: str | None, finished: int) -> str:
    if finished < FEWEST_FOR_IMPORTANCE:
        return (
            f"{many(finished, 'finished trial')} cannot tell what decides: it takes "
            f"{FEWEST_FOR_IMPORTANCE}."
        )
    if found.empty:
        return (
            "What decides is written when the search ends. Of one that was stopped, "
            "`gaitforge search run.toml` goes on."
        )
    return (
        "What decides among these students has not been written yet: "
        "`gaitforge search run.toml` writes it, without training again."
    )


def show_terms(view: View, finished: list[Trial]) -> None:
    table = why_tables.terms_table(finished, view.results.front)
    if table.empty:
        return
    members = sum(trial.number in view.results.front for trial in finished)
    st.markdown("**What the front learns from the teacher by**")
    left, right = st.columns(2, gap="large")
    with left:
        points = why_tables.term_points(finished, view.results.front)
        kept = points["on_front"] | points["trial"].eq(view.chosen)
        rest = points[~kept]
        step = max(len(rest) // 400, 1)
        points = pd.concat([rest.iloc[::step], points[kept]])
        st.altair_chart(
            charts_why.draw_terms(points, table["term"].tolist(), view.chosen), key="terms"
        )
    number = st.column_config.NumberColumn
    right.dataframe(
        without_formulas(table),
        hide_index=True,
        column_config={
            "term": st.column_config.TextColumn("Term"),
            "front": number("On the front"),
            "of": number("of", width="small"),
            "low": number("Weight from", format="%.3g"),
            "median": number("Median", format="%.3g"),
            "high": number("To", format="%.3g"),
            "share": number("Of all finished", format="%.0f %%"),
        },
        key="terms_table",
    )
    st.caption(
        f"Dots: the {many(members, 'student')} of the front; ticks: the other finished trials; "
        "diamond: the student in question. Beside its terms, every student learns from the labels with weight 1."
    )


def show_paths(
    view: View,
    finished: list[Trial],
    families: list[str],
    family: str | None,
    objectives: list[str],
) -> None:
    confirm = view.results.confirm
    groups = {FRONT: sorted(view.results.front)}
    if confirm is not None and confirm.members:
        groups[CONFIRMED] = [member.trial for member in confirm.members]
    if choice.read_brushed_trials():
        groups[BRUSHED] = list(choice.read_brushed_trials())
    st.markdown("**What they have in common**")
    left, right = st.columns([2, 3], vertical_alignment="center")
    which = choice.settle("why_group", [*groups, BY_HAND], FRONT)
    left.segmented_control(
        "Students",
        [*groups, BY_HAND],
        required=True,
        label_visibility="collapsed",
        key="why_group",
    )
    picked = groups.get(which, [])
    if which == BY_HAND:
        numbers = [trial.number for trial in finished]
        picked = right.multiselect(
            "Trials",
            numbers,
            default=[n for n in numbers if n == view.chosen],
            format_func=lambda number: f"trial {number}",
            label_visibility="collapsed",
            max_selections=20,
            key="why_trials",
        )
    axes = why_tables.make_axes(
        finished, why_tables.list_searched_names(finished, family), objectives
    )
    paths = why_tables.paths_table(finished, picked, axes, view.chosen)
    st.altair_chart(
        charts_why.draw_parallel_axes(
            paths, why_tables.marks_table(axes), [axis.words for axis in axes], families
        ),
        key="paths",
    )
    others = paths.loc[paths["kind"] == "other", "trial"].nunique()
    st.caption(
        f"Each line is a student; orange is the one in question, faint are {others} of the other "
        "finished trials. Axes run over all finished trials, in logarithms where they span a factor of ten."
    )


def show_slice(
    view: View,
    finished: list[Trial],
    families: list[str],
    family: str | None,
    objectives: list[str],
) -> None:
    st.markdown("**One setting at a time**")
    names = why_tables.list_searched_names(finished, family)
    if not names or not objectives:
        st.info("The trials do not say what was searched.")
        return
    left, right, _ = st.columns([2, 2, 3])
    choice.settle("why_setting", names, _first(view, names, objectives[0], family))
    choice.settle("why_objective", objectives, objectives[0])
    setting = left.selectbox("Setting", names, format_func=setting_words, key="why_setting")
    objective = right.selectbox(
        "Objective", objectives, format_func=objective_words, key="why_objective"
    )
    table = why_tables.slice_table(finished, setting, objective, view.results.front, view.chosen)
    if table.empty:
        st.info("No finished trial has this setting.")
        return
    counted = objective in OBJECTIVES and OBJECTIVES[objective].log
    numbers = is_numeric_dtype(table["value"])
    log_x = bool(numbers and why_tables.spans_decades(table["value"]))
    words = ""
    if numbers:
        thinned = thin(table, "value", "objective", table["kind"].ne("beaten"), log_x=log_x)
        table, words = thinned.table, thinned.words
    elif len(table) > 3000:
        kept = table["kind"].ne("beaten")
        of = len(table)
        table = pd.concat([table[~kept].iloc[:: max(of // 2000, 1)], table[kept]])
        words = f"{len(table):,} of {of:,} points are drawn, evenly taken."
    st.altair_chart(
        charts_why.draw_slice(
            table,
            setting=setting_words(setting).capitalize(),
            objective=objective_words(objective),
            families=families,
            log_x=log_x,
            log_y=counted,
        ),
        key=choice.chart_key("slice"),
        on_select=choice.from_chart("slice"),
    )
    st.caption(
        "Finished trials by family, those of the front large, the student in question ringed; a "
        "click chooses another. Scores are of the validation people. Settings were not varied one "
        f"by one: what looks like an effect may be that of another setting. {words}"
    )


def _first(view: View, names: list[str], objective: str, family: str | None) -> str:
    """Return the setting that decides most, to be shown first; the first name if that is unknown."""
    found = reading.read_importance(view.work, view.split, [])
    for of in (family, None):
        for name in why_tables.importance_table(found, objective, of)["name"]:
            if name in names:
                return str(name)
    return names[0]


def _objectives(view: View, finished: list[Trial]) -> list[str]:
    """List the search's objectives (macro F1 and parameters without one) for which at least one trial has a value."""
    asked = view.results.search.objectives if view.results.search else ()
    return [
        name
        for name in asked or ("macro_f1", "params")
        if any(why_tables.objective_value(trial, name) is not None for trial in finished)
    ]
