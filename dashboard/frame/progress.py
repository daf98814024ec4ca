"""Progress while a stage works: how far it is, what runs, and about how long it will still take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.frame.cells import without_formulas
from dashboard.reading import work_folder as reading
from dashboard.reading.models import many
from dashboard.reading.work_folder import Progress, Running
from gaitforge.duration import say_duration
from gaitforge.records.teacher import LiveEpoch
from gaitforge.work import WorkFolder

LOOK_EVERY_S = 2
# A trial reports at each epoch; on our sizes one takes seconds, so that minutes mean trouble.
SILENT_S = 120


@st.fragment(run_every=LOOK_EVERY_S)
def watch(
    work: WorkFolder,
    name: str | None,
    seen: object,
    trial_s: float | None,
    standstill: str,
    whole: bool,
) -> None:
    """Redraw the progress every LOOK_EVERY_S seconds, and the whole page once files have changed since `seen`.

    `trial_s` is the mean time in seconds between the ends of trials, `standstill` the text shown while no trial
    runs, and `whole` adds a table of the running trials.
    """
    if reading.read_pulse(work, name) != seen:
        st.rerun()
    if name is not None:
        show_progress(reading.read_progress(work, name), trial_s, standstill, whole)


def show_progress(progress: Progress, trial_s: float | None, standstill: str, whole: bool) -> None:
    if progress.teacher:
        st.info(teacher_words(progress.teacher))
    wanted = progress.wanted
    if wanted is None or (progress.ended >= wanted and not progress.running):
        return
    silent = [row for row in progress.running if row.silent_s > SILENT_S]
    works = len(silent) < len(progress.running)
    with st.container(border=True, key="progress"):
        st.progress(
            min(progress.ended / max(wanted, 1), 1.0), text=search_words(progress, trial_s, works)
        )
        if whole and progress.running:
            show_running(progress)
        if not works:
            st.warning(
                "None of the running trials has reported for two minutes: the search may have "
                "been ended. The same command again goes on from where it stopped."
                if silent
                else standstill
            )


def teacher_words(curve: Sequence[LiveEpoch]) -> str:
    last = curve[-1]
    left = ""
    if last.epochs > last.epoch:
        epoch_s = float(np.median([epoch.seconds for epoch in curve]))
        left = f", at most {say_duration((last.epochs - last.epoch) * epoch_s)} left"
    return (
        f"The teacher is training: epoch {last.epoch} of {last.epochs} has ended, macro F1 {last.val_macro_f1:.3f} on "
        f"validation people{left}."
    )


def search_words(progress: Progress, trial_s: float | None, works: bool) -> str:
    wanted = progress.wanted or 0
    words = [f"Search: {progress.ended:,} of {many(wanted, 'trial')} have ended"]
    words.append(f"{len(progress.running)} running" if progress.running else "none is running")
    if progress.hypervolume is not None:
        words.append(f"hypervolume {progress.hypervolume:.3f}")
    if works and trial_s is not None and wanted > progress.ended:
        words.append(f"about {say_duration(trial_s * (wanted - progress.ended))} left")
    return ", ".join(words)


def show_running(progress: Progress) -> None:
    st.dataframe(
        without_formulas(running_table(progress.running)),
        hide_index=True,
        column_config={
            "Epoch": st.column_config.ProgressColumn(
                format="%d", min_value=0, max_value=progress.epochs
            ),
            "Macro F1 so far": st.column_config.LineChartColumn(y_min=0, y_max=1),
            "Now": st.column_config.NumberColumn(format="%.3f"),
            "Parameters": st.column_config.NumberColumn(format="localized"),
            "Last sign": st.column_config.NumberColumn(format="%d s ago"),
        },
        key="running",
    )


def running_table(running: Sequence[Running]) -> pd.DataFrame:
    rows = []
    for row in running:
        told = (epoch.get("val_macro_f1") for epoch in row.trial.curve)
        scores = [score for score in told if score is not None]
        rows.append(
            {
                "Trial": row.trial.number,
                "Family": row.trial.family,
                "Parameters": row.trial.params,
                "Epoch": len(row.trial.curve),
                "Macro F1 so far": scores,
                "Now": scores[-1] if scores else None,
                "Last sign": int(row.silent_s),
            }
        )
    return pd.DataFrame(rows)
