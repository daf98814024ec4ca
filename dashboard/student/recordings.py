"""One recording as a moving figure, with what the model and its teacher say of it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.frame import model_tables
from dashboard.frame.view import View, show_folded
from dashboard.reading import model_files
from dashboard.reading.models import many
from dashboard.student import charts as charts_model
from dashboard.student import stick_figure
from dashboard.student.charts import HERE, THERE
from dashboard.student.scores import make_pair
from gaitforge.windows import WindowSettings

ALL, WRONG, DISAGREE = "All", "Wrong ones", "Student and teacher disagree"
EVERY_CLASS, EVERYBODY = "All classes", "Everybody"
CHANNELS = ("x", "y", "z")


def show_recordings(
    view: View,
    table: pd.DataFrame,
    teacher: pd.DataFrame,
    classes: tuple[str, ...],
) -> None:
    """Let the visitor choose a recording; show it moving, and what the models say of it."""
    st.subheader("Recordings", anchor=False)
    rows = pick_recordings(
        model_tables.recording_table(table, teacher, classes),
        classes,
        has_teacher=not teacher.empty,
    )
    if rows.empty:
        st.info("There is no such recording. Choose others above.")
        return
    answers = model_tables.collect_answers(rows)
    recording = st.selectbox(
        f"Recording ({len(rows):,} to choose from)",
        list(answers),
        format_func=lambda name: answers[name].words,
        key="recording",
    )
    answer = answers[recording]
    left, right = make_pair("recording", [3, 2])
    with left:
        show_movement(view, answer.person, recording)
    with right:
        st.markdown("**What is said of it**")
        st.text(
            f"True: {answer.true_class}\nThis model: {answer.said_class}, {answer.sure:.0%} sure"
            + ("" if answer.teacher_said is None else f"\nThe teacher: {answer.teacher_said}")
        )
        said = model_tables.probability_table({HERE: table, THERE: teacher}, recording, classes)
        st.altair_chart(charts_model.draw_probabilities(said, classes), key="probabilities")
        seeds = int(table["seed"].nunique())
        st.caption(
            "The arrow marks the true class."
            + (
                f" Bars are means of {many(seeds, 'training')}, lines reach from the least to the most."
                if seeds > 1
                else ""
            )
        )
    text = st.column_config.TextColumn
    show_folded(
        f"All {len(rows):,} as a table",
        rows,
        {
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
    """Show the three filters and return the recordings that pass them."""
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
            chart = charts_model.draw_channels(of_node, title, shown.layout.unit)
            st.altair_chart(chart, key=f"channels_{shown.layout.joints.index(str(node))}")
    else:
        numbers = stick_figure.make_figure(
            shown.recording, shown.layout, WindowSettings().min_confidence
        )
        stick_figure.show_figure(numbers, key="player")
    rate = (
        "without a frame rate" if shown.recording.fps is None else f"at {shown.recording.fps:g} Hz"
    )
    seen = float(shown.recording.seen_TV(WindowSettings().min_confidence).mean())
    st.caption(f"{many(frames, 'frame')} {rate}; {seen:.0%} of the joints are seen.")
