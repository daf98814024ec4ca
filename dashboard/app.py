"""The dashboard's Streamlit app: its list of pages, and the frame drawn around each of them.

Start it with `gaitforge dashboard WORK [WORK...]`. Text from a work folder (names of people, classes and
families, reasons) was written by others and is not trusted: it is shown only by st.text, st.code,
st.dataframe, st.selectbox and charts, which show it literally, and never put into Markdown or HTML.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import streamlit as st

from dashboard.compare.page import AS, STUDENTS, show_compare
from dashboard.frame import choice
from dashboard.frame.progress import watch
from dashboard.frame.save_charts import show_save_charts
from dashboard.frame.states import (
    explain_standstill,
    find_next_step,
    show_beginning,
    show_outdated,
    show_problems,
)
from dashboard.frame.view import View, hold
from dashboard.fronts.overview import show_overview
from dashboard.fronts.tables import seconds_per_trial
from dashboard.fronts.trade_off import default_loss, show_trade_off
from dashboard.reading import models as review_tables
from dashboard.reading import work_folder as reading
from dashboard.reading.files import read_stamp
from dashboard.reading.models import TEACHER
from dashboard.reading.work_folder import Found, Outdated, SplitResults
from dashboard.store.page import show_store
from dashboard.student.page import show_student
from dashboard.why.page import ALL, FRONT, show_why
from gaitforge.work import WorkFolder, open_path


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of the dashboard; `needs` says what must exist before it is shown: a store, a split or models."""

    title: str
    path: str
    show: Callable[[View], None]
    needs: Literal["store", "split", "models"] = "models"


PAGES = (
    Page(title="Overview", path="overview", show=show_overview, needs="split"),
    Page(title="Trade-off", path="trade-off", show=show_trade_off),
    Page(title="Why", path="why", show=show_why),
    Page(title="Student", path="student", show=show_student),
    Page(title="Compare", path="compare", show=show_compare),
    Page(title="Store", path="store", show=show_store, needs="store"),
)

NOTHING = SplitResults(
    split=None, teacher=None, teacher_curve=(), search=None, trials=(), front=frozenset(), confirm=None, problems=()
)  # fmt: skip

STYLE = """<style>
.stMainBlockContainer {max-width: 1360px; padding-top: 4.2rem; padding-bottom: 5rem;}
@media (min-width: 860px) {.stAppToolbar {max-width: 1360px; margin: 0 auto; padding-left: 4.2rem;}}
[data-testid="stText"] {font-family: inherit; white-space: pre-wrap;}
.st-key-place {margin-bottom: .4rem;}
.st-key-place [data-testid="stText"] {opacity: .65; font-size: .9rem;}
.st-key-answer {border-left: 4px solid #dd6a1f; padding-left: 1.1rem; margin: .5rem 0;}
.st-key-answer [data-testid="stText"] {font-size: 1.45rem; line-height: 1.35; font-weight: 600;}
.st-key-answer .st-key-sentence [data-testid="stText"] {font-size: 1.08rem; font-weight: 400;}
[class*="st-key-reason_"] {display: grid !important; grid-template-columns: 1.3rem 8.6rem 1fr; line-height: 1.4;}
[class*="st-key-reason_"] > :nth-child(2) {opacity: .6;}
[class*="st-key-reason_"] > :first-child * {font-weight: 700;}
[class*="st-key-reason_good"] > :first-child * {color: #2f9d84 !important;}
[class*="st-key-reason_bad"] > :first-child * {color: #c9483c !important;}
[class*="st-key-reason_open"] > :first-child {opacity: .6;}
[class*="st-key-fact_"] {display: grid !important; grid-template-columns: 8.2rem 1fr; line-height: 1.45;}
[class*="st-key-fact_"] > :first-child {opacity: .6;}
[class*="st-key-card_"] {height: 100%;}
[data-testid="stMultiSelect"] [data-tag] {background: rgba(124, 130, 141, .18); color: inherit;}
[data-testid="stMultiSelect"] [data-tag] * {color: inherit;}
@media (max-width: 1000px) {
  .st-key-cards [data-testid="stHorizontalBlock"] {flex-wrap: wrap;}
  [class*="st-key-pair_"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] {flex-wrap: wrap;}
  [class*="st-key-pair_"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    > [data-testid="stColumn"] {min-width: 100%;}
  .st-key-cards [data-testid="stColumn"] {min-width: 340px;}
}
</style>"""


def main() -> None:
    st.set_page_config(page_title="gaitforge", layout="wide")
    st.html(STYLE)
    folders = work_folders(sys.argv, os.environ)
    choice.restore()
    first, *others = PAGES
    pages = [st.Page(wrap_page(first, folders), title=first.title, url_path="start", default=True)]
    pages += [
        st.Page(wrap_page(page, folders), title=page.title, url_path=page.path) for page in others
    ]
    # the first one stands at "/"; Streamlit would answer its name by "Page not found"
    pages.append(
        st.Page(
            wrap_page(first, folders), title=first.title, url_path=first.path, visibility="hidden"
        )
    )
    st.navigation(pages, position="top").run()


def wrap_page(page: Page, folders: tuple[WorkFolder, ...]) -> Callable[[], None]:
    """Wrap a page as the function without arguments that Streamlit's navigation calls."""

    def draw() -> None:
        show_page(page, folders)

    return draw


def work_folders(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[WorkFolder, ...]:
    """Open the work folders named after `--`; without any, GAITFORGE_WORK, else `work`."""
    named = argv[1:] or [environment.get("GAITFORGE_WORK") or "work"]
    return tuple(WorkFolder(open_path(name)) for name in named)


def show_page(page: Page, folders: tuple[WorkFolder, ...]) -> None:
    """Draw a page in its frame: folder and split at the top, then progress; at the end what could not be read."""
    work = folders[choice.settle("work", range(len(folders)), 0)]
    found = reading.look(work)
    name = choice.settle("split", found.splits, found.splits[0]) if found.splits else None
    show_place(folders, found)
    seen = reading.read_pulse(work, name)
    if name is None and not (page.needs == "store" and found.store is not None):
        show_beginning(found)
        show_problems(found.problems)
        watch(work, name, seen, None, "", whole=False)
        return
    results = reading.read_results(work, name) if name is not None else NOTHING
    per_trial_s = seconds_per_trial(results.trials)
    watch(work, name, seen, per_trial_s, explain_standstill(results), whole=page is PAGES[0])
    told = (
        results.teacher, results.teacher_curve, results.teacher_bytes, results.trials, results.front,
        results.confirm, results.latencies,
    )  # fmt: skip
    models = hold("models", (name, *told), lambda: review_tables.collect_models(results))
    outdated = Outdated(answer=None, export=None)
    if name is not None:
        stamps = tuple(read_stamp(path) for path in reading.answer_files(work, name))
        outdated = hold(
            "outdated",
            (work.root, name, stamps),
            lambda: reading.read_outdated(work, name, results),
        )
    view = View(
        work=work,
        others=tuple(folder for folder in folders if folder is not work),
        split=name or "",
        found=found,
        results=results,
        models=models,
        chosen=choice.settle_model(f"{work.root}/{name}", results, models) if models else TEACHER,
        outdated=outdated,
        problems=[*found.problems, *results.problems],
    )
    if models or page.needs != "models":
        show_outdated(view.outdated)
        page.show(view)
    else:
        st.info(find_next_step(results, reading.read_progress(work, view.split)))
    show_problems(view.problems)
    show_save_charts()
    choice.write_url(defaults(found, results))


def show_place(folders: tuple[WorkFolder, ...], found: Found) -> None:
    """Show the work folder and the split; offer a list where there are several."""
    several, splits = len(folders) > 1, len(found.splits) > 1
    with st.container(key="place", horizontal=True, vertical_alignment="center"):
        if several:
            st.selectbox(
                "Work folder",
                range(len(folders)),
                format_func=lambda place: folder_name(folders[place].root),
                key="work",
                width=320,
                label_visibility="collapsed",
            )
        if splits:
            st.selectbox(
                "Split", found.splits, key="split", width=200, label_visibility="collapsed"
            )
        work = folders[st.session_state["work"]]
        st.text(str(work.root))


def folder_name(path: Path) -> str:
    return path.name or str(path)


def defaults(found: Found, results: SplitResults) -> dict[str, object]:
    """Return what is chosen for each part of the URL that is not given."""
    families = sorted({trial.family for trial in results.trials})
    return {
        "work": 0,
        "split": found.splits[0] if found.splits else None,
        "measure": "macro_f1",
        "family": ALL,
        "group": FRONT,
        "beside": STUDENTS,
        "as": AS[0],
        "x": "params",
        "states": ["stopped"],
        "families": families,
        "loss": default_loss(results),
    }


if __name__ == "__main__":
    main()
