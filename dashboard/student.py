"""One page for one model: one model's numbers, curve, settings, confusions and people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import charts, choice, reading, review_tables
from dashboard.artefacts import Setting
from dashboard.reading import Predicted, Problem
from dashboard.review_tables import TEACHER, Model, interval_words
from dashboard.view import View
from gaitforge.work import WorkFolder

PEOPLE_WORDS = {
    ("confirm", "student"): "Confirm people",
    ("confirm", "teacher"): "Confirm people",
    ("confirm", "student_alone"): "Confirm people, not distilled",
    ("validation", "student"): "Validation people",
    ("validation", "teacher"): "Validation people",
}


def show_student(view: View) -> None:
    """Everything about the model `chosen`; adds to `problems` what could not be read for it."""
    models, model = view.models, view.models[view.chosen]
    heading, corner = st.columns([2, 1], vertical_alignment="bottom")
    heading.subheader(model.title, anchor=False)
    corner.selectbox(
        "Model",
        list(models),
        format_func=lambda number: _in_list(models[number]),
        on_change=choice.from_list,
        label_visibility="collapsed",
        key="model",
    )
    show_numbers(model)
    if model.reason is not None:
        st.markdown(f"This trial {model.state}, because:")
        st.code(model.reason, language=None, wrap_lines=True)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        show_curves(model, models.get(TEACHER))
    with right:
        show_settings(model.settings)
    show_predictions(view.work, view.split, _classes(view), model, view.problems)


def _classes(view: View) -> tuple[str, ...]:
    """The names of the classes in the order of the stored probabilities; empty where unknown."""
    if view.found.store is not None:
        return view.found.store.classes
    return view.line.teacher.classes if view.line.teacher is not None else ()


def show_numbers(model: Model) -> None:
    member = model.member
    size, work, searched, confirmed, time = st.columns(5)
    size.metric("Parameters", f"{model.params:,}")
    work.metric("MACs", "unknown" if model.macs is None else f"{model.macs / 1e6:,.2f} M")
    searched.metric(
        "Macro F1, validation", "none" if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    )
    if member is not None:
        confirmed.metric(
            "Macro F1, confirm", f"{member.macro_f1:.3f}", help=interval_words(member.interval)
        )
    time.metric("Training", f"{model.epochs} epochs, {model.seconds:,.0f} s")


def show_curves(model: Model, teacher: Model | None) -> None:
    measure = str(st.session_state.get("measure", "macro_f1"))
    curve, losses = review_tables.curve_table(model.curve), review_tables.loss_table(model.curve)
    if curve.empty and losses.empty:
        st.info("There is no learning curve of this model.")
        return
    reference = None
    if teacher is not None and model.number != TEACHER:
        reference = teacher.macro_f1 if measure == "macro_f1" else teacher.accuracy
    if not curve.empty:
        st.altair_chart(charts.curve_chart(curve, measure, reference), key="curve")
    if not losses.empty:
        st.altair_chart(charts.loss_chart(losses), key="losses")


def show_settings(settings: tuple[Setting, ...]) -> None:
    table = pd.DataFrame(
        {
            "Of": [setting.group for setting in settings],
            "Setting": [setting.name for setting in settings],
            "Value": [setting.value for setting in settings],
        }
    )
    text = st.column_config.TextColumn
    st.dataframe(
        table,
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 493),
        column_config={"Of": text(), "Setting": text(), "Value": text()},
        key="settings",
    )


def show_predictions(
    work: WorkFolder,
    split: str,
    classes: tuple[str, ...],
    model: Model,
    problems: list[Problem],
) -> None:
    """Which classes are taken for which, and which people the model does not understand."""
    files = reading.prediction_files(work, split, problems)
    trial = None if model.number == TEACHER else model.number
    whose = {
        words: Predicted(role=role, model=kind, trial=trial)
        for (role, kind), words in PEOPLE_WORDS.items()
        if Predicted(role=role, model=kind, trial=trial) in files
    }
    if not whose or not classes:
        st.info("There are no stored predictions of this model.")
        return
    words = st.radio(
        "People",
        list(whose),
        horizontal=True,
        label_visibility="collapsed",
        key=f"people_{model.number}",
    )
    picked = whose[words]
    table = _predictions(work, files, picked, classes, problems)
    if table.empty:
        st.info("The stored predictions of this model could not be used; the reason stands below.")
        return
    of_teacher = Predicted(role=picked.role, model="teacher", trial=None)
    teacher = (
        table.head(0)
        if picked == of_teacher
        else _predictions(work, files, of_teacher, classes, problems)
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Confusions**, percent of the recordings of each true class")
        st.altair_chart(
            charts.confusion_chart(review_tables.confusion_table(table, classes), classes),
            key="confusions",
        )
    with right:
        people = review_tables.people_table(table, teacher)
        st.markdown("**People**, the least well recognised first")
        with st.container(height=430 if len(people) > 15 else "content", border=False):
            st.altair_chart(charts.people_chart(people), key="people")


def _predictions(
    work: WorkFolder,
    files: Mapping[Predicted, tuple[Path, ...]],
    whose: Predicted,
    classes: tuple[str, ...],
    problems: list[Problem],
) -> pd.DataFrame:
    return reading.read_predictions(work, files.get(whose, ()), whose, classes, problems)


def _in_list(model: Model) -> str:
    score = model.state if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    return f"{model.title}, {model.family}, {model.params:,} parameters, {score}"
