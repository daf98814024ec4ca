"""One model's scores by class and person, its calibration and its robustness, from its predictions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.frame import model_tables
from dashboard.frame.cells import without_formulas
from dashboard.frame.view import View
from dashboard.reading import model_files
from dashboard.reading.models import TEACHER, Model, many, over
from dashboard.student import charts as charts_model
from dashboard.student.charts import HERE, THERE
from gaitforge.metrics import accuracy, macro_f1
from gaitforge.stats import MIN_PEOPLE

FEW_PEOPLE = 12
Tables = Mapping[str, pd.DataFrame]
"""Tables behind the charts, by title."""


def show_scores(
    view: View,
    model: Model,
    table: pd.DataFrame,
    teacher: pd.DataFrame,
    classes: tuple[str, ...],
) -> None:
    """Show all scores of a model; `table` and `teacher` are predictions for the same people."""
    st.text(scores_words(table, classes))
    tables = dict(show_classes(table, teacher, classes))
    left, right = make_pair("trust", [1, 1])
    with left:
        tables |= show_calibration(table, teacher, classes)
    with right:
        tables |= show_robustness(view, model, classes)
    show_tables(tables)


def scores_words(table: pd.DataFrame, classes: tuple[str, ...]) -> str:
    counts = model_tables.count_confusions(table, classes)
    people, seeds = table["person"].nunique(), table["seed"].nunique()
    said = (
        f"{many(table['recording'].nunique(), 'recording')} of "
        f"{many(people, 'person', 'people')}, {many(seeds, 'training')}"
    )
    if counts is not None:
        f1 = sum(float(macro_f1(of_seed.sum(axis=0))) for of_seed in counts) / len(counts)
        share = accuracy(counts.sum(axis=(0, 1)))
        said += f": macro F1 {f1:.3f}, accuracy {share:.1%}"
    return said


def show_classes(table: pd.DataFrame, teacher: pd.DataFrame, classes: tuple[str, ...]) -> Tables:
    people = model_tables.people_table(table, teacher)
    left, right = make_pair("classes", [1, 1])
    with left:
        recalls = model_tables.recall_table(table, teacher, classes)
        within = recalls["low"].notna().any()
        seeds = int(table["seed"].nunique())
        st.markdown(
            "**Recall by class**" + (f", with 95 % intervals {over(seeds)}" if within else "")
        )
        st.altair_chart(charts_model.draw_recall(recalls), key="recall")
        if recalls["low"].isna().any():
            st.caption(f"A class of fewer than {MIN_PEOPLE} people has no interval.")
    # many people fill a column of their own
    with right if len(people) <= FEW_PEOPLE else left:
        st.markdown("**Confusions**, in per cent of the true class")
        cells = model_tables.confusion_table(table, classes)
        dark = st.context.theme.type == "dark"
        st.altair_chart(charts_model.draw_confusion(cells, classes, dark), key="confusions")
    with right:
        st.markdown("**Accuracy by person**, the least well recognised first")
        with st.container(height=640 if len(people) > 24 else "content", border=False):
            st.altair_chart(charts_model.draw_people(people), key="people")
    return {"Recall by class": recalls, "Confusions": cells, "Accuracy by person": people}


def show_calibration(
    table: pd.DataFrame, teacher: pd.DataFrame, classes: tuple[str, ...]
) -> Tables:
    st.markdown("**Calibration**: how often it is right when it is so sure")
    bins = [model_tables.calibration_table(table).assign(model=HERE)]
    error = model_tables.calibration_error(table, classes)
    words = "" if error is None else f"Expected calibration error {error:.1%}"
    if not teacher.empty:
        bins.append(model_tables.calibration_table(teacher).assign(model=THERE))
        of_teacher = model_tables.calibration_error(teacher, classes)
        words += "" if of_teacher is None else f", the teacher's {of_teacher:.1%}"
    drawn = pd.concat(bins, ignore_index=True)
    st.altair_chart(charts_model.draw_calibration(drawn), key="calibration")
    st.caption(
        f"{words}. Above the diagonal it is right more often than it says. "
        "A point is a tenth of the scale, its size the share of the recordings."
    )
    return {"Calibration": drawn}


def show_robustness(view: View, model: Model, classes: tuple[str, ...]) -> Tables:
    st.markdown("**Robustness**: macro F1 on confirm people where joints are missing")
    trial = None if model.number == TEACHER else model.number
    answers = model_files.read_robustness(view.work, view.split, trial, view.problems)
    own = answers["trial"].isna() if trial is None else answers["trial"] == trial
    if not own.any():
        st.info(
            "It has not been measured: `gaitforge confirm run.toml` does so for every confirmed student."
        )
        return {}
    named = answers.assign(model=[HERE if it else THERE for it in own])
    scores = model_tables.robustness_table(named, classes)
    st.altair_chart(charts_model.draw_robustness(scores), key="robustness")
    few = (
        f" Fewer than {MIN_PEOPLE} people have no interval." if scores["low"].isna().any() else ""
    )
    seeds = int(named[own]["seed"].nunique())
    whose = "" if trial is None else "The distilled student's trainings, on average. "
    bars = "" if few else f"; bars are 95 % intervals {over(seeds)}"
    if seeds > 1 and not few:
        bars += ", the teacher's over people"
    st.caption(
        f"{whose}The same joints are hidden for every model, for a whole window{bars}.{few}"
    )
    return {"Robustness": scores}


def show_tables(tables: Tables) -> None:
    """Show the numbers behind the charts as tables, which can be saved as CSV from their own menu."""
    with st.expander("These numbers as tables"):
        for place, (name, table) in enumerate(tables.items()):
            if not table.empty:
                st.text(name)
                st.dataframe(
                    without_formulas(table.round(4)), hide_index=True, key=f"numbers_{place}"
                )


def make_pair(name: str, widths: list[int]) -> list[DeltaGenerator]:
    """Make two columns that are stacked in a narrow window (see STYLE in app.py)."""
    with st.container(key=f"pair_{name}"):
        return st.columns(widths, gap="large")
