"""The page Student: one model's scores, confidence, recordings, training and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.frame import choice, model_tables
from dashboard.frame.cells import without_formulas
from dashboard.frame.view import View
from dashboard.reading import model_files
from dashboard.reading import work_folder as reading
from dashboard.reading.model_files import Export
from dashboard.reading.models import TEACHER, Model, Setting, interval_words, many, say_tested
from dashboard.reading.work_folder import Predicted
from dashboard.student import charts as charts_model
from dashboard.student.downloads import show_downloads
from dashboard.student.recordings import show_recordings
from dashboard.student.scores import make_pair, show_scores

PEOPLE_WORDS = {
    ("confirm", "student"): "Confirm people",
    ("confirm", "teacher"): "Confirm people",
    ("confirm", "student_alone"): "Confirm people, not distilled",
    ("validation", "student"): "Validation people",
    ("validation", "teacher"): "Validation people",
}


NETWORK = "Confirm people, the network that is handed out"


def show_student(view: View) -> None:
    """Show the chosen model; what cannot be read of it is added to `view.problems`."""
    model = view.models[view.chosen]
    show_choice(view, model)
    export = model_files.read_export(view.work, view.problems, view.outdated.export)
    is_its = export is not None and export.split == view.split and export.trial == model.number
    own_export = export if is_its else None
    show_numbers(view, model, own_export)
    if model.reason is not None:
        st.markdown(f"This trial {model.state}, because:")
        st.code(model.reason, language=None, wrap_lines=True)
    if model.number != TEACHER:
        show_downloads(view, model, own_export)
    show_held_against(view, model)
    show_predictions(view, model)
    show_training(view, model)


def show_held_against(view: View, model: Model) -> None:
    """Compare a confirmed student, or the teacher, with teacher, reference and chance on the confirm people."""
    confirm = view.results.confirm
    if confirm is None or (model.member is None and model.number != TEACHER):
        return
    table = model_tables.held_against_table(confirm, model.member)
    empty = [name for name in table if (table[name].isna() | table[name].eq("")).all()]
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.subheader("On people never seen before", anchor=False)
    st.dataframe(
        without_formulas(table.drop(columns=[*empty, *(["over"] if confirm.too_few else [])])),
        hide_index=True,
        height="content",
        column_config={
            "model": text("", width="medium"),
            "macro_f1": number("Macro F1", format="%.3f"),
            "interval": text("95 % interval"),
            "difference": text("Minus the teacher"),
            "difference_interval": text("95 % interval "),
            "reference": text("Minus the reference"),
            "reference_interval": text("95 % interval  "),
            "over": text("Intervals are"),
        },
        key="held_against",
    )
    words = f"{many(confirm.people, 'person', 'people')}"
    if confirm.too_few:
        words += ", too few for intervals"
    if model.member is not None:
        words += f". Its network: {say_tested(confirm, model.member)}"
    st.caption(f"{words}.")


def show_choice(view: View, model: Model) -> None:
    heading, corner = st.columns([2, 1], vertical_alignment="bottom")
    with heading:
        st.header(model.title, anchor=False)
        st.text(f"{model.family}   {model.sizes}")
    corner.selectbox(
        "Model",
        list(view.models),
        format_func=lambda number: _in_list(view.models[number]),
        on_change=choice.from_list,
        label_visibility="collapsed",
        key="model",
    )


def show_numbers(view: View, model: Model, export: Export | None) -> None:
    member, teacher = model.member, view.models.get(TEACHER)
    size, work, searched, confirmed, latency, time = st.columns(6)
    share = None
    if teacher is not None and model.number != TEACHER and teacher.params:
        share = f"{100 * model.params / teacher.params:.2g} % of the teacher's"
    size.metric("Parameters", f"{model.params:,}")
    work.metric("MACs a window", "unknown" if model.macs is None else f"{model.macs / 1e6:,.2f} M")
    searched.metric(
        "Macro F1, validation", "none" if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    )
    if member is not None:
        network = member.network
        confirmed.metric("Macro F1, confirm", f"{network.macro_f1:.3f}")
        confirmed.caption(
            f"its network; 95 % interval {interval_words(network.interval)}"
            if network.interval
            else "its network; too few people for an interval"
        )
    elif model.number == TEACHER and view.results.confirm is not None:
        confirmed.metric("Macro F1, confirm", f"{view.results.confirm.teacher.macro_f1:.3f}")
        ends = interval_words(view.results.confirm.teacher.interval)
        confirmed.caption(f"95 % interval {ends}" if ends else "too few people for an interval")
    else:
        confirmed.metric("Macro F1, confirm", "none")
        confirmed.caption("not confirmed")
    if share is not None:
        size.caption(share)
    searched.caption("one training, chosen by it")
    work.caption("multiply-accumulates")
    show_latency(model, teacher, export, latency)
    time.metric("Training", f"{model.seconds:,.0f} s")
    time.caption(many(model.epochs, "epoch"))


def show_latency(
    model: Model, teacher: Model | None, export: Export | None, place: DeltaGenerator
) -> None:
    """Show the latency measured by export, else by confirm, else by the search before training."""
    measured = model.latency if export is None else export.latency
    if measured is None:
        place.metric("Latency", "not measured")
        place.caption("`gaitforge confirm` measures its students and the teacher")
        return
    place.metric("Latency", f"{measured.p50:.2g} ms")
    words = "a window, one CPU thread"
    if measured.p95 is not None:
        words += f", 95 % within {measured.p95:.2g} ms"
    if teacher is not None and teacher.latency is not None and model.number != TEACHER:
        faster = teacher.latency.p50 / max(measured.p50, 1e-9)
        words += f"; 1 / {faster:,.{0 if faster >= 10 else 1}f} of the teacher's"
    place.caption(words)


def show_predictions(view: View, model: Model) -> None:
    """Show which classes and people the model gets right, how sure it is, and the recordings themselves."""
    classes = _classes(view)
    trial = None if model.number == TEACHER else model.number
    files = reading.find_prediction_files(
        view.work, view.split, view.problems, {None, model.number}
    )
    whose = {
        words: Predicted(role=role, model=kind, trial=trial)
        for (role, kind), words in PEOPLE_WORDS.items()
        if Predicted(role=role, model=kind, trial=trial) in files
    }
    recipe = Predicted(role="confirm", model="student", trial=trial)
    if recipe in files and model.member is not None and model.member.seeds > 1:
        whose |= {NETWORK: recipe}
    if not whose or not classes:
        st.info("There are no stored predictions of this model.")
        return
    st.subheader("How good it is", anchor=False)
    words = st.radio(
        "People",
        list(whose),
        horizontal=True,
        label_visibility="collapsed",
        key=f"people_{model.number}",
    )
    picked = whose[words]
    table = _read(view, files, picked, classes)
    if words == NETWORK and model.member is not None:
        table = model_tables.keep_network(table, model.member.network.seed)
    if table.empty:
        st.info("The stored predictions of this model could not be used; the reason stands below.")
        return
    of_teacher = Predicted(role=picked.role, model="teacher", trial=None)
    teacher = table.head(0) if trial is None else _read(view, files, of_teacher, classes)
    show_scores(view, model, table, teacher, classes)
    show_recordings(view, table, teacher, classes)


def show_training(view: View, model: Model) -> None:
    st.subheader("How it was trained", anchor=False)
    left, right = make_pair("training", [3, 2])
    with left:
        show_curves(model, view.models.get(TEACHER))
    with right:
        show_settings(model.settings)


def show_curves(model: Model, teacher: Model | None) -> None:
    measure = str(st.session_state.get("front_measure", "macro_f1"))
    if measure not in ("macro_f1", "accuracy"):
        measure = "macro_f1"
    curve, losses = model_tables.curve_table(model.curve), model_tables.loss_table(model.curve)
    if curve.empty and losses.empty:
        st.info("There is no learning curve of this model.")
        return
    reference = None
    if teacher is not None and model.number != TEACHER:
        reference = teacher.macro_f1 if measure == "macro_f1" else teacher.accuracy
    if not curve.empty:
        st.altair_chart(charts_model.draw_curve(curve, measure, reference), key="curve")
    if not losses.empty:
        st.altair_chart(charts_model.draw_loss(losses), key="losses")


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
        without_formulas(table),
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 493),
        column_config={"Of": text(), "Setting": text(), "Value": text()},
        key="settings",
    )


def _read(
    view: View,
    files: Mapping[Predicted, tuple[Path, ...]],
    whose: Predicted,
    classes: tuple[str, ...],
) -> pd.DataFrame:
    paths = files.get(whose, ())
    return reading.read_predictions(view.work, paths, whose, classes, view.problems)


def _classes(view: View) -> tuple[str, ...]:
    """Return the class names in the order of the stored probabilities; empty if unknown."""
    if view.found.store is not None:
        return view.found.store.classes
    return view.results.teacher.classes if view.results.teacher is not None else ()


def _in_list(model: Model) -> str:
    score = model.state if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    return f"{model.title}, {model.family}, {model.params:,} parameters, {score}"
