"""The review page in screen order: what is there, the answer, accuracy against size, one model.

Start it with `gaitforge dashboard WORK`. What stands in a work folder (names of people, classes,
families, reasons) is other people's text: st.text, st.code, st.dataframe, st.selectbox and charts
show it as it is; it is never put into Markdown or HTML.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import choice, reading, review_tables
from dashboard.fronts import show_fronts
from dashboard.reading import Found, Line, Problem, Progress, Running
from dashboard.review_tables import interval_words, many
from dashboard.student import show_student
from dashboard.view import View
from gaitforge.work import WorkFolder, open_path

LOOK_EVERY_S = 2
# A trial reports at each epoch; on our sizes one takes seconds, so that minutes mean trouble.
SILENT_S = 120

STYLE = """<style>
.stMainBlockContainer {max-width: 1320px; padding-top: 2.2rem; padding-bottom: 5rem;}
[data-testid="stText"] {font-family: inherit; white-space: pre-wrap;}
.st-key-place h1 {font-size: 1.25rem; line-height: 1.3; padding: 0;}
.st-key-place [data-testid="stHeading"] {margin-bottom: 1rem;}
.st-key-place [data-testid="stText"] {opacity: .65; font-size: .9rem; line-height: 1.5;}
.st-key-answer {border-left: 4px solid #dd6a1f; padding-left: 1.2rem; margin: .6rem 0;}
.st-key-answer [data-testid="stText"] {font-size: 1.75rem; line-height: 1.3; font-weight: 600;}
[data-testid="stMetricValue"] {font-size: 1.45rem;}
</style>"""


def main() -> None:
    st.set_page_config(page_title="gaitforge", layout="wide")
    st.html(STYLE)
    work = WorkFolder(work_path(sys.argv, os.environ))
    found = reading.look(work)
    name = show_place(work, found)
    seen = reading.pulse(work, name)
    if name is None:
        show_beginning(found)
        show_problems(found.problems)
        watch(work, name, seen)
        return
    line = reading.read_line(work, name)
    problems = [*found.problems, *line.problems]
    show_answer(line)
    watch(work, name, seen)
    models = review_tables.models(line)
    if models:
        chosen = choice.settle(name, line, models)
        show_fronts(line, models, chosen)
        show_student(
            View(
                work=work,
                others=(),
                split=name,
                found=found,
                line=line,
                models=models,
                chosen=chosen,
                problems=problems,
            )
        )
    show_problems(problems)


def work_path(argv: Sequence[str], environment: Mapping[str, str]) -> Path:
    """The work folder: the first argument after `--`, else GAITFORGE_WORK, else `work`."""
    return open_path(argv[1] if len(argv) > 1 else environment.get("GAITFORGE_WORK") or "work")


def show_place(work: WorkFolder, found: Found) -> str | None:
    """The folder and what is in it; the chosen split, or None where there is none."""
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    name = found.splits[0] if found.splits else None
    if len(found.splits) > 1:
        name = right.selectbox("Split", found.splits, key="split")
    with left, st.container(key="place", gap=None):
        st.title("gaitforge", anchor=False)
        st.text(str(work.root.absolute()))
        store = found.store
        if store is not None:
            people = many(store.people, "person", "people")
            aside = f", {store.quarantined:,} in quarantine" if store.quarantined else ""
            st.text(f"{many(store.recordings, 'recording')} of {people}{aside}")
            classes = many(len(store.classes), "class", "classes")
            st.text(f"{classes}: {', '.join(store.classes)}")
        split = None if name is None else reading.read_split(work, name)
        if split is not None:
            roles = ", ".join(f"{count} {role}" for role, count in split.people.items())
            st.text(f"Split {name}: {roles} people")
    return name


def show_beginning(found: Found) -> None:
    if not found.exists:
        st.info(
            "There is no such folder. Make it with `gaitforge run run.toml`, or name another: "
            "`gaitforge dashboard WORK`."
        )
    elif found.store is None:
        st.info(
            "Nothing is ingested yet. `gaitforge ingest run.toml` reads your files into the store."
        )
    else:
        st.info(
            "The recordings are here, but there is no split yet. `gaitforge split run.toml` says "
            "which people train, validate and confirm."
        )


def show_answer(line: Line) -> None:
    confirm = line.confirm
    if confirm is None:
        st.info(f"**No confirmed answer yet.** {_next_step(line)}")
        return
    with st.container(key="answer"):
        st.text(confirm.sentence)
    member = confirm.chosen_member
    if member is not None:
        size, ratio, score, sure, teacher = st.columns(5)
        size.metric("Parameters", f"{member.params:,}")
        ratio.metric(
            "Of the teacher's size",
            f"1 / {confirm.teacher_params / max(member.params, 1):,.0f}",
            help=f"The teacher has {confirm.teacher_params:,} parameters.",
        )
        people = many(confirm.people, "unseen person", "unseen people")
        score.metric(f"Macro F1, {people}", f"{member.macro_f1:.3f}")
        sure.metric("95 % interval", interval_words(member.interval) or "none")
        teacher.metric("Macro F1 of the teacher", f"{confirm.teacher_macro_f1:.3f}")
    if confirm.too_few:
        st.warning(
            f"{many(confirm.people, 'confirm person is', 'confirm people are')} too few for an "
            "interval or a test. Read the scores person by person below, or pool folds over all."
        )


def _next_step(line: Line) -> str:
    if line.teacher is None and not line.trials:
        return "There is no trained teacher yet. `gaitforge teacher run.toml` trains one."
    if line.search is None and not line.trials:
        return "The search has not been started. `gaitforge search run.toml` starts it."
    if line.count("finished") == 0:
        return "The search has no finished trial so far; the first will appear here by itself."
    return (
        "The searched front is measured on the people who chose it, which flatters it. "
        "`gaitforge confirm run.toml` measures it on people whom nothing has seen."
    )


@st.fragment(run_every=LOOK_EVERY_S)
def watch(work: WorkFolder, name: str | None, seen: object) -> None:
    """What moves, on its own clock; the rest of the page is drawn again only when it has news."""
    if reading.pulse(work, name) != seen:
        st.rerun()
    if name is not None:
        show_progress(reading.read_progress(work, name))


def show_progress(progress: Progress) -> None:
    if progress.teacher:
        last = progress.teacher[-1]
        scored = (
            "" if last.macro_f1 is None else f", macro F1 {last.macro_f1:.3f} on validation people"
        )
        st.info(f"The teacher is training: epoch {last.epoch} has ended{scored}.")
    wanted = progress.wanted
    if wanted is None or (progress.ended >= wanted and not progress.running):
        return
    with st.container(border=True, key="progress"):
        words = [f"Search: {progress.ended} of {wanted} trials have ended"]
        words.append(f"{len(progress.running)} running" if progress.running else "none is running")
        if progress.hypervolume is not None:
            words.append(f"hypervolume {progress.hypervolume:.4f}")
        st.progress(min(progress.ended / max(wanted, 1), 1.0), text=", ".join(words))
        if progress.running:
            st.dataframe(
                _running_table(progress.running),
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
        silent = [row for row in progress.running if row.silent_s > SILENT_S]
        if progress.running and len(silent) == len(progress.running):
            st.warning(
                "None of the running trials has reported for two minutes: the search may have "
                "been ended. The same command again goes on from where it stopped."
            )


def _running_table(running: Sequence[Running]) -> pd.DataFrame:
    rows = []
    for row in running:
        scores = [epoch.macro_f1 for epoch in row.trial.curve if epoch.macro_f1 is not None]
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


def show_problems(problems: Sequence[Problem]) -> None:
    if not problems:
        return
    files = many(len({problem.file for problem in problems}), "file")
    st.warning(f"{files} could not be used. All the others are shown above.")
    st.dataframe(
        pd.DataFrame(
            {"File": [problem.file for problem in problems], "Why": [p.reason for p in problems]}
        ).drop_duplicates(),
        hide_index=True,
        column_config={
            "File": st.column_config.TextColumn(),
            "Why": st.column_config.TextColumn(width="large"),
        },
        key="problems",
    )


if __name__ == "__main__":
    main()
