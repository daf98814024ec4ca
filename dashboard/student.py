"""The page of one model: how good it is and on whom, how sure, how it moves, how it was trained, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import charts_model, choice, model_files, model_tables, reading, stick_figure
from dashboard.artefacts import Setting
from dashboard.charts_model import HERE, THERE
from dashboard.model_files import CARD_TEXT, ONNX, WEIGHTS, Export, Latency, Refit
from dashboard.reading import Predicted
from dashboard.review_tables import TEACHER, Model, interval_words, many
from dashboard.run_file import run_toml
from dashboard.view import View
from gaitforge.metrics import accuracy, macro_f1
from gaitforge.stats import MIN_PEOPLE
from gaitforge.windows import WindowSettings

PEOPLE_WORDS = {
    ("confirm", "student"): "Confirm people",
    ("confirm", "teacher"): "Confirm people",
    ("confirm", "student_alone"): "Confirm people, not distilled",
    ("validation", "student"): "Validation people",
    ("validation", "teacher"): "Validation people",
}
ALL, WRONG, DISAGREE = "All", "Wrong ones", "Student and teacher disagree"
EVERY_CLASS, EVERYBODY = "All classes", "Everybody"
CHANNELS = ("x", "y", "z")
FEW_PEOPLE = 12


def show_student(view: View) -> None:
    """Everything about the model that is chosen; adds to `view.problems` what could not be read for it."""
    model = view.models[view.chosen]
    show_choice(view, model)
    export = model_files.read_export(view.work, view.split, view.problems)
    is_its = export is not None and export.split == view.split and export.trial == model.number
    own_export = export if is_its else None
    show_numbers(view, model, own_export)
    if model.reason is not None:
        st.markdown(f"This trial {model.state}, because:")
        st.code(model.reason, language=None, wrap_lines=True)
    if model.number != TEACHER:
        show_downloads(view, model, own_export)
    show_predictions(view, model)
    show_training(view, model)


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
        confirmed.metric("Macro F1, confirm", f"{member.macro_f1:.3f}")
        confirmed.caption(
            f"95 % interval {interval_words(member.interval)}"
            if member.interval
            else "too few people for an interval"
        )
    elif model.number == TEACHER and view.line.confirm is not None:
        confirmed.metric("Macro F1, confirm", f"{view.line.confirm.teacher_macro_f1:.3f}")
        ends = interval_words(view.line.confirm.teacher_interval)
        confirmed.caption(f"95 % interval {ends}" if ends else "too few people for an interval")
    else:
        confirmed.metric("Macro F1, confirm", "none")
        confirmed.caption("not confirmed")
    if share is not None:
        size.caption(share)
    searched.caption("one training, chosen by it")
    work.caption("multiply-accumulates")
    show_latency(view, model, export, latency)
    time.metric("Training", f"{model.seconds:,.0f} s")
    time.caption(many(model.epochs, "epoch"))


def show_latency(view: View, model: Model, export: Export | None, place: DeltaGenerator) -> None:
    """Of the export, else as confirm has measured it, else as the search has before it trained it."""
    measured = export.latency if export is not None else None
    if measured is None and model.number != TEACHER:
        measured = model_files.read_latency(view.work, view.split, model.number, view.problems)
    if measured is None and "latency_ms" in model.scores:
        measured = Latency(p50=model.scores["latency_ms"], p95=None)
    if measured is None:
        place.metric("Latency", "not measured")
        place.caption(
            "`gaitforge confirm` measures its students"
            if model.number != TEACHER
            else "students alone are measured"
        )
        return
    place.metric("Latency", f"{measured.p50:.2g} ms")
    rest = "" if measured.p95 is None else f"; 95 % within {measured.p95:.2g} ms"
    place.caption(f"a window, one CPU thread{rest}")


def show_downloads(view: View, model: Model, export: Export | None) -> None:
    """What one takes away, or what to type where it is not there yet."""
    number = model.number
    with st.container(border=True, key="downloads"):
        st.markdown("**Take it with you**")
        row = st.container(horizontal=True)
        refit = model_files.best_refit(view.work, view.split, number, view.problems)
        if export is not None and export.is_current:
            folder = view.work.export
            _download(view, row, "ONNX", folder / ONNX, f"trial-{number}.onnx")
            _download(view, row, "Weights", folder / WEIGHTS, f"trial-{number}.safetensors")
            _download(view, row, "Card", folder / CARD_TEXT, f"trial-{number}-card.md")
        elif refit is not None:
            _download(view, row, "Weights", refit.weights, f"trial-{number}.safetensors")
        _download_run(view, row, number)
        st.caption(_files_words(model, export, refit))


def _download(view: View, place: DeltaGenerator, label: str, path: Path, name: str) -> None:
    content = model_files.content(view.work, path)
    if content is not None:
        place.download_button(
            f"{label} ({len(content) / 1000:,.0f} kB)",
            content,
            file_name=name,
            mime="application/octet-stream",
            on_click="ignore",
            key=f"download_{label.lower()}",
        )


def _download_run(view: View, place: DeltaGenerator, number: int) -> None:
    try:
        text = run_toml(view.work, view.split, number)
    except (OSError, ValueError, KeyError, TypeError):
        return  # what is missing or broken is named on its own account
    place.download_button(
        "run.toml of this student",
        text,
        file_name=f"trial-{number}.toml",
        mime="application/toml",
        on_click="ignore",
        key="download_run",
    )


def _files_words(model: Model, export: Export | None, refit: Refit | None) -> str:
    toml = "The run.toml trains this student alone: same people, same teacher's settings."
    if export is not None and export.is_current:
        return f"ONNX, weights and card are of seed {export.seed}, the best on validation people. {toml}"
    how = (
        f"For ONNX and card, set `trial = {model.number}` under `[export]` in your run.toml and type "
        "`gaitforge export run.toml`."
    )
    if export is not None:
        return f"The export of this trial is older than its confirmation. {how} {toml}"
    if refit is not None:
        return f"The weights are of seed {refit.seed}, the best on validation people. {how} {toml}"
    return (
        "Only confirmed students have weights to hand out: raise `members` under `[confirm]` and type "
        f"`gaitforge confirm run.toml`. {toml}"
    )


def show_predictions(view: View, model: Model) -> None:
    """Which classes and people it gets right, how sure it is, and the recordings themselves."""
    classes = _classes(view)
    trial = None if model.number == TEACHER else model.number
    files = reading.prediction_files(view.work, view.split, view.problems, {None, model.number})
    whose = {
        words: Predicted(role=role, model=kind, trial=trial)
        for (role, kind), words in PEOPLE_WORDS.items()
        if Predicted(role=role, model=kind, trial=trial) in files
    }
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
    if table.empty:
        st.info("The stored predictions of this model could not be used; the reason stands below.")
        return
    of_teacher = Predicted(role=picked.role, model="teacher", trial=None)
    teacher = table.head(0) if trial is None else _read(view, files, of_teacher, classes)
    show_scores(table, classes)
    show_classes(table, teacher, classes)
    show_trust(view, model, table, teacher, classes)
    show_recordings(view, model, table, teacher, classes)


def show_scores(table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    counts = model_tables.confusions(table, classes)
    people, seeds = table["person"].nunique(), table["seed"].nunique()
    said = (
        f"{many(table['recording'].nunique(), 'recording')} of "
        f"{many(people, 'person', 'people')}, {many(seeds, 'training')}"
    )
    if counts is not None:
        f1 = sum(float(macro_f1(of_seed.sum(axis=0))) for of_seed in counts) / len(counts)
        share = accuracy(counts.sum(axis=(0, 1)))
        said += f": macro F1 {f1:.3f}, accuracy {share:.1%}"
    st.text(said)


def show_classes(table: pd.DataFrame, teacher: pd.DataFrame, classes: tuple[str, ...]) -> None:
    people = model_tables.people_table(table, teacher)
    left, right = _pair("classes", [1, 1])
    with left:
        st.markdown("**Recall by class**, with 95 % intervals over people")
        recalls = model_tables.recall_table(table, teacher, classes)
        st.altair_chart(charts_model.recall_chart(recalls), key="recall")
        if recalls["low"].isna().any():
            st.caption(f"A class of fewer than {MIN_PEOPLE} people has no interval.")
    # many people fill a column of their own
    with right if len(people) <= FEW_PEOPLE else left:
        st.markdown("**Confusions**, in per cent of the true class")
        cells = model_tables.confusion_table(table, classes)
        dark = st.context.theme.type == "dark"
        st.altair_chart(charts_model.confusion_chart(cells, classes, dark), key="confusions")
    with right:
        st.markdown("**Accuracy by person**, the least well recognised first")
        with st.container(height=640 if len(people) > 24 else "content", border=False):
            st.altair_chart(charts_model.people_chart(people), key="people")


def show_trust(
    view: View,
    model: Model,
    table: pd.DataFrame,
    teacher: pd.DataFrame,
    classes: tuple[str, ...],
) -> None:
    left, right = _pair("trust", [1, 1])
    with left:
        st.markdown("**Calibration**: how often it is right when it is so sure")
        bins = [model_tables.calibration_table(table).assign(model=HERE)]
        error = model_tables.calibration_error(table, classes)
        words = "" if error is None else f"Expected calibration error {error:.1%}"
        if not teacher.empty:
            bins.append(model_tables.calibration_table(teacher).assign(model=THERE))
            of_teacher = model_tables.calibration_error(teacher, classes)
            words += "" if of_teacher is None else f", the teacher's {of_teacher:.1%}"
        drawn = pd.concat(bins, ignore_index=True)
        st.altair_chart(charts_model.calibration_chart(drawn), key="calibration")
        st.caption(
            f"{words}. Above the diagonal it is right more often than it says. "
            "A point is a tenth of the scale, its size the share of the recordings."
        )
    with right:
        st.markdown("**Robustness**: macro F1 on confirm people where joints are missing")
        trial = None if model.number == TEACHER else model.number
        answers = model_files.read_robustness(view.work, view.split, trial, view.problems)
        own = answers["trial"].isna() if trial is None else answers["trial"] == trial
        named = answers.assign(model=[HERE if it else THERE for it in own])
        if not own.any():
            st.info(
                "It has not been measured: `gaitforge confirm run.toml` does so for every confirmed student."
            )
        else:
            scores = model_tables.robustness_table(named, classes)
            st.altair_chart(charts_model.robustness_chart(scores), key="robustness")
            few = ""
            if scores["low"].isna().any():
                few = f" Fewer than {MIN_PEOPLE} people have no interval."
            st.caption(
                "The same joints are hidden for both, for a whole window; bars are 95 % intervals over people."
                + few
            )


def show_recordings(
    view: View,
    model: Model,
    table: pd.DataFrame,
    teacher: pd.DataFrame,
    classes: tuple[str, ...],
) -> None:
    """One recording, moving, and what is said of it."""
    st.subheader("Recordings", anchor=False)
    rows = pick_recordings(
        model_tables.recording_table(table, teacher, classes),
        classes,
        has_teacher=not teacher.empty,
    )
    if rows.empty:
        st.info("There is no such recording. Choose others above.")
        return
    answers = model_tables.answers(rows)
    recording = st.selectbox(
        f"Recording ({len(rows):,} to choose from)",
        list(answers),
        format_func=lambda name: answers[name].words,
        key="recording",
    )
    answer = answers[recording]
    left, right = _pair("recording", [3, 2])
    with left:
        show_movement(view, answer.person, recording)
    with right:
        st.markdown("**What is said of it**")
        st.text(
            f"True: {answer.true_class}\nThis model: {answer.said_class}, {answer.sure:.0%} sure"
            + ("" if answer.teacher_said is None else f"\nThe teacher: {answer.teacher_said}")
        )
        said = model_tables.probability_table({HERE: table, THERE: teacher}, recording, classes)
        st.altair_chart(charts_model.probability_chart(said, classes), key="probabilities")
        seeds = int(table["seed"].nunique())
        st.caption(
            "The arrow marks the true class."
            + (
                f" Bars are means of {many(seeds, 'training')}, lines reach from the least to the most."
                if seeds > 1
                else ""
            )
        )
    with st.expander(f"All {len(rows):,} as a table"):
        text = st.column_config.TextColumn
        st.dataframe(
            rows,
            hide_index=True,
            column_config={
                "recording": text("Recording"),
                "person": text("Person"),
                "true_class": text("True"),
                "said_class": text("Said"),
                "sure": st.column_config.NumberColumn("How sure", format="percent"),
                "teacher_said": text("Teacher said"),
            },
            key="rows",
        )


def pick_recordings(
    rows: pd.DataFrame, classes: tuple[str, ...], has_teacher: bool
) -> pd.DataFrame:
    """The recordings that the three choices leave."""
    which, of_class, of_person = st.columns([2, 1, 1], vertical_alignment="bottom")
    kind = which.segmented_control(
        "Which",
        [ALL, WRONG, *([DISAGREE] if has_teacher else [])],
        default=ALL,
        key=f"which_{has_teacher}",
    )
    wanted = of_class.selectbox("True class", [EVERY_CLASS, *classes], index=0, key="true_class")
    if kind == WRONG:
        rows = rows[rows["true_class"] != rows["said_class"]]
    elif kind == DISAGREE:
        rows = rows[rows["teacher_said"].notna() & (rows["teacher_said"] != rows["said_class"])]
    if wanted in classes:
        rows = rows[rows["true_class"] == wanted]
    people = [EVERYBODY, *sorted(set(rows["person"]))]
    person = of_person.selectbox("Person", people, index=0, key="person")
    # by place, since a person may bear the name of the first choice
    return rows if person == people[0] else rows[rows["person"] == person]


def show_movement(view: View, person: str, recording: str) -> None:
    shown = model_files.read_recording(view.work, person, recording, view.problems)
    if shown is None:
        st.info("The store does not hold this recording any more, or cannot be read.")
        return
    frames = len(shown.recording.positions_TVC)
    if shown.layout.up_axis is None:
        timed = shown.recording.fps is not None
        width = shown.recording.positions_TVC.shape[2]
        lines = model_tables.channel_table(shown.recording, shown.layout.joints, CHANNELS[:width])
        title = "Time (s)" if timed else "Time (% of the recording)"
        for node, of_node in lines.groupby("node", sort=False):
            st.text(str(node))
            chart = charts_model.channel_chart(of_node, title, shown.layout.unit)
            st.altair_chart(chart, key=f"channels_{shown.layout.joints.index(str(node))}")
    else:
        numbers = stick_figure.figure(
            shown.recording, shown.layout, WindowSettings().min_confidence
        )
        stick_figure.show_figure(numbers, key="player")
    rate = (
        "without a frame rate" if shown.recording.fps is None else f"at {shown.recording.fps:g} Hz"
    )
    seen = float(shown.recording.seen_TV(WindowSettings().min_confidence).mean())
    st.caption(f"{many(frames, 'frame')} {rate}; {seen:.0%} of the joints are seen.")


def show_training(view: View, model: Model) -> None:
    st.subheader("How it was trained", anchor=False)
    left, right = _pair("training", [3, 2])
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
        st.altair_chart(charts_model.curve_chart(curve, measure, reference), key="curve")
    if not losses.empty:
        st.altair_chart(charts_model.loss_chart(losses), key="losses")


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


def _pair(name: str, widths: list[int]) -> list[DeltaGenerator]:
    """Two columns, which lie below each other where the window is narrow (see STYLE in app.py)."""
    with st.container(key=f"pair_{name}"):
        return st.columns(widths, gap="large")


def _read(
    view: View,
    files: Mapping[Predicted, tuple[Path, ...]],
    whose: Predicted,
    classes: tuple[str, ...],
) -> pd.DataFrame:
    paths = files.get(whose, ())
    return reading.read_predictions(view.work, paths, whose, classes, view.problems)


def _classes(view: View) -> tuple[str, ...]:
    """The names of the classes in the order of the stored probabilities; empty where unknown."""
    if view.found.store is not None:
        return view.found.store.classes
    return view.line.teacher.classes if view.line.teacher is not None else ()


def _in_list(model: Model) -> str:
    score = model.state if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    return f"{model.title}, {model.family}, {model.params:,} parameters, {score}"
