"""Messages for what is missing, unfinished or unreadable, each with what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.frame.cells import without_formulas
from dashboard.reading.files import OUTSIDE
from dashboard.reading.models import many
from dashboard.reading.work_folder import Found, Outdated, Problem, Progress, SplitResults
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
    """Say why there is nothing to see yet, and which command comes next."""
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


def find_next_step(results: SplitResults, progress: Progress) -> str:
    """Say what is missing before there is an answer, and which command comes next."""
    if results.teacher is None and not results.trials:
        if progress.teacher:
            return "The teacher is still training; the search comes after it."
        return "There is no trained teacher yet. `gaitforge teacher run.toml` trains one."
    if results.search is None and not results.trials:
        return "The search has not been started. `gaitforge search run.toml` starts it."
    if has_given_up(results):
        return "The search gave up, since too many of its trials failed; the reasons stand below."
    if results.count("finished") == 0:
        return "The search has no finished trial so far; the first will appear here by itself."
    flattered = "The searched front is measured on the people who chose it, which flatters it. "
    if results.search is not None and len(results.trials) < results.search.trials:
        return (
            f"{flattered}When the search has ended, `gaitforge confirm run.toml` measures it on people whom "
            "nothing has seen."
        )
    return f"{flattered}`gaitforge confirm run.toml` measures it on people whom nothing has seen."


def has_unread_scores(results: SplitResults) -> bool:
    """Tell whether confirmed scores exist that cannot be read: broken, or written by another version."""
    return any(problem.file.endswith(SCORES) for problem in results.problems)


def show_outdated(outdated: Outdated) -> None:
    """Warn that the confirmed answer or the export was made from other data than the folder holds now."""
    sentences = [text for text in (outdated.answer, outdated.export) if text is not None]
    if not sentences:
        return
    with st.container(key="outdated", gap="xsmall"):
        st.warning("What is confirmed or exported here is not of what lies here now.")
        for sentence in sentences:
            st.text(sentence)


def explain_standstill(results: SplitResults) -> str:
    """Say what to do if no trial is running although some of those asked for have not ended."""
    if has_given_up(results):
        return "The search gave up: too many of its trials failed. The overview gives the reasons."
    return (
        "No trial is running: the search has been stopped, or is just starting. "
        "`gaitforge search run.toml` goes on from where it stopped."
    )


def has_given_up(results: SplitResults) -> bool:
    """Tell whether the search gave up: enough trials ended, and a larger share failed than `max_failed` allows."""
    share = results.search.settings.get("max_failed") if results.search else None
    ended, failed = len(results.trials), results.count("failed")
    return share is not None and ended >= GAVE_UP_AFTER and failed > share * ended


def show_failures(results: SplitResults) -> None:
    """List the failed trials by family and reason, and name families without a finished trial; else show nothing."""
    failed = results.count("failed")
    note = failure_note(count_failures(results.trials))
    if failed == 0 and note is None:
        return
    if failed == 0:
        st.warning("Of some families no student has finished so far.")
        st.text(note)
        return
    if has_given_up(results):
        st.error(
            f"The search gave up: {failed} of {many(len(results.trials), 'ended trial')} failed. Mend what the "
            "reasons below name, then start it anew with `gaitforge search run.toml --fresh`."
        )
    else:
        st.warning(
            f"{many(failed, 'trial')} of {len(results.trials):,} failed. They are left out of every front."
        )
    if note is not None and results.confirm is None:  # the verdict says it too
        st.text(note)
    table = failures_table(results.trials)
    st.dataframe(
        without_formulas(table),
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
    """List the files that could not be used, why, and what to do about each."""
    if not problems:
        return
    files = many(len({problem.file for problem in problems}), "file")
    st.warning(f"{files} could not be used. All the others are shown above.")
    st.dataframe(
        without_formulas(
            pd.DataFrame(
                {
                    "File": [problem.file for problem in problems],
                    "Why": [problem.reason for problem in problems],
                    "What to do": [find_remedy(problem) for problem in problems],
                }
            ).drop_duplicates()
        ),
        hide_index=True,
        column_config={
            "File": st.column_config.TextColumn(),
            "Why": st.column_config.TextColumn(width="medium"),
            "What to do": st.column_config.TextColumn(width="medium"),
        },
        row_height=row_height(problem.reason + find_remedy(problem) for problem in problems),
        key="problems",
    )


def row_height(texts: Iterable[str], fits: int = ONE_LINE) -> int | None:
    """Return the height in pixels of rows with three lines if a text is longer than `fits`; else None, the default."""
    return WRAPPED if any(len(text) > fits for text in texts) else None


def find_remedy(problem: Problem) -> str:
    """Say what to do about an unusable file, by the reason and by the folder it lies in."""
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
    """Count failures: columns family, failed, of (its ended trials), example, reason; the most frequent first."""
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
