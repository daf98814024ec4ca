"""What is not there, not done or not readable, each in words with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading.files import OUTSIDE
from dashboard.reading.models import many
from dashboard.reading.work_folder import Found, Line, Outdated, Problem, Progress
from gaitforge.failures import count_failures, failure_note
from gaitforge.records.trial import Trial
from gaitforge.work import SplitFolder, WorkFolder

GAVE_UP_AFTER = 4  # ended trials, from which on a search may give up
WRAPPED = 62  # pixels of a row that has room for three lines
ONE_LINE, NARROW = 80, 44  # characters, in a table of the whole page and in one of half of it
STORE = WorkFolder(Path()).store_head.as_posix()
SCORES = SplitFolder(Path()).scores.as_posix()  # within a split's folder
OTHER_VERSION = "its schema is"


def show_beginning(found: Found) -> None:
    """Why there is nothing to see yet, and which command comes next."""
    if not found.exists:
        st.info(
            "There is no such folder. Make it with `gaitforge run run.toml`, or name another: "
            "`gaitforge dashboard WORK`."
        )
    elif found.store is None and any(p.file == STORE for p in found.problems):
        st.error("The store's file cannot be read; the table below says why, and what to do.")
    elif found.store is None:
        st.info(
            "Nothing is ingested yet. `gaitforge ingest run.toml` reads your files into the store."
        )
    else:
        st.info(
            "The recordings are here, but there is no split yet. `gaitforge split run.toml` says "
            "which people train, validate and confirm."
        )


def next_step(line: Line, progress: Progress) -> str:
    """What is missing before the answer can be given."""
    if line.teacher is None and not line.trials:
        if progress.teacher:
            return "The teacher is still training; the search comes after it."
        return "There is no trained teacher yet. `gaitforge teacher run.toml` trains one."
    if line.search is None and not line.trials:
        return "The search has not been started. `gaitforge search run.toml` starts it."
    if gave_up(line):
        return "The search gave up, since too many of its trials failed; the reasons stand below."
    if line.count("finished") == 0:
        return "The search has no finished trial so far; the first will appear here by itself."
    flattered = "The searched front is measured on the people who chose it, which flatters it. "
    if line.search is not None and len(line.trials) < line.search.trials:
        return (
            f"{flattered}When the search has ended, `gaitforge confirm run.toml` measures it on people whom "
            "nothing has seen."
        )
    return f"{flattered}`gaitforge confirm run.toml` measures it on people whom nothing has seen."


def unread_scores(line: Line) -> bool:
    """Whether there are confirmed scores of which this dashboard cannot tell: broken, or of another version."""
    return any(problem.file.endswith(SCORES) for problem in line.problems)


def show_outdated(outdated: Outdated) -> None:
    """That what was confirmed or exported is not of what lies there now, above all that is told of it."""
    sentences = [text for text in (outdated.answer, outdated.export) if text is not None]
    if not sentences:
        return
    with st.container(key="outdated", gap="xsmall"):
        st.warning("What is confirmed or exported here is not of what lies here now.")
        for sentence in sentences:
            st.text(sentence)


def standstill(line: Line) -> str:
    """What to do where no trial is running, though not all that were asked for have ended."""
    if gave_up(line):
        return "The search gave up: too many of its trials failed. The overview gives the reasons."
    return (
        "No trial is running: the search has been stopped, or is just starting. "
        "`gaitforge search run.toml` goes on from where it stopped."
    )


def gave_up(line: Line) -> bool:
    """Whether more of the trials have failed than the search puts up with."""
    share = line.search.settings.get("max_failed") if line.search else None
    ended, failed = len(line.trials), line.count("failed")
    return share is not None and ended >= GAVE_UP_AFTER and failed > share * ended


def show_failures(line: Line) -> None:
    """Which families' trials have failed and why, and of which nothing finished; nothing where all is well."""
    failed = line.count("failed")
    note = failure_note(count_failures(line.trials))
    if failed == 0 and note is None:
        return
    if failed == 0:
        st.warning("Of some families no student has finished so far.")
        st.text(note)
        return
    if gave_up(line):
        st.error(
            f"The search gave up: {failed} of {many(len(line.trials), 'ended trial')} failed. Mend what the "
            "reasons below name, then start it anew with `gaitforge search run.toml --fresh`."
        )
    else:
        st.warning(
            f"{many(failed, 'trial')} of {len(line.trials):,} failed. They are left out of every front."
        )
    if note is not None and line.confirm is None:  # the verdict says it too
        st.text(note)
    table = failures_table(line.trials)
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "family": st.column_config.TextColumn("Family", width=80),
            "failed": st.column_config.NumberColumn("Failed", width=60),
            "of": st.column_config.NumberColumn("Of", width=50),
            "example": st.column_config.NumberColumn("As trial", width=65),
            "reason": st.column_config.TextColumn("Reason", width=320),
        },
        row_height=row_height(table["reason"], NARROW),
        key="failures",
    )


def show_problems(problems: Sequence[Problem]) -> None:
    """The files that could not be used, why, and what to do about each."""
    if not problems:
        return
    files = many(len({problem.file for problem in problems}), "file")
    st.warning(f"{files} could not be used. All the others are shown above.")
    st.dataframe(
        pd.DataFrame(
            {
                "File": [problem.file for problem in problems],
                "Why": [problem.reason for problem in problems],
                "What to do": [remedy(problem) for problem in problems],
            }
        ).drop_duplicates(),
        hide_index=True,
        column_config={
            "File": st.column_config.TextColumn(),
            "Why": st.column_config.TextColumn(width="medium"),
            "What to do": st.column_config.TextColumn(width="medium"),
        },
        row_height=row_height(problem.reason + remedy(problem) for problem in problems),
        key="problems",
    )


def row_height(texts: Iterable[str], fits: int = ONE_LINE) -> int | None:
    """Room for three lines where a text may need them, being longer than what fits in one; None for the usual."""
    return WRAPPED if any(len(text) > fits for text in texts) else None


def remedy(problem: Problem) -> str:
    """What to do about a file that could not be used, by where it lies."""
    if OTHER_VERSION in problem.reason and problem.file.endswith(SCORES):
        return "Run gaitforge confirm run.toml again, or open it with the version of gaitforge that wrote it."
    if OTHER_VERSION in problem.reason:
        return (
            "Open the folder with the version of gaitforge that wrote it, or run its stage again."
        )
    if problem.reason == OUTSIDE or "is a link" in problem.reason:
        return "Move what it leads to itself into the folder."
    if "only" in problem.reason and "belong here" in problem.reason:
        return "Move it elsewhere; nothing else is needed."
    parts = problem.file.split("/")
    if "trials" in parts:
        return "Move it out of the folder; gaitforge search run.toml replaces the trial."
    if "predictions" in parts:
        return "Remove it and run the stage that wrote it again."
    for stage, folder in (
        ("ingest", "store"),
        ("split", "splits"),
        ("teacher", "teacher"),
        ("search", "search"),
        ("confirm", "confirm"),
    ):
        if folder in parts:
            return f"Remove it and run gaitforge {stage} run.toml again."
    return "Remove it and run its stage again."


def failures_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Columns family, failed, of (its ended trials), example, reason: the most frequent first."""
    ended = Counter(trial.family for trial in trials)
    failed: dict[tuple[str, str], list[int]] = {}
    for trial in trials:
        if trial.state == "failed":
            why = trial.family, trial.reason or "no reason was given"
            failed.setdefault(why, []).append(trial.number)
    rows = sorted(
        (
            (family, len(numbers), ended[family], numbers[0], reason)
            for (family, reason), numbers in failed.items()
        ),
        key=lambda row: (-row[1], row[3]),
    )
    return pd.DataFrame(rows, columns=["family", "failed", "of", "example", "reason"])
