"""One page of the dashboard by itself, as AppTest runs it, on a work folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from gaitforge.work import WorkFolder

ROOT = Path(__file__).parents[1]
PAGE = """
from pathlib import Path

import streamlit as st

from dashboard import reading, review_tables
from dashboard.{module} import {function}
from dashboard.review_tables import TEACHER
from dashboard.view import View
from gaitforge.work import WorkFolder

folders = [WorkFolder(Path(name)) for name in {folders}]
found = reading.look(folders[0])
split = found.splits[0] if found.splits else "people"
line = reading.read_line(folders[0], split)
models = review_tables.models(line)
confirmed = line.confirm.chosen if line.confirm else None
chosen = confirmed if confirmed in models else next(reversed(models), TEACHER)
view = View(
    work=folders[0],
    others=tuple(folders[1:]),
    split=split,
    found=found,
    line=line,
    models=models,
    chosen=chosen,
    problems=[*found.problems, *line.problems],
)
{function}(view)
for problem in view.problems:
    st.text(f"{{problem.file}}: {{problem.reason}}")
"""


def show_page(
    monkeypatch: pytest.MonkeyPatch, module: str, function: str, *works: WorkFolder
) -> AppTest:
    """The page on the first work folder, beside the others; no state may end in an exception."""
    monkeypatch.syspath_prepend(str(ROOT))
    folders = [str(work.root) for work in works]
    script = PAGE.format(module=module, function=function, folders=folders)
    app = AppTest.from_string(script, default_timeout=60).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything that the page says."""
    said = [*app.title, *app.subheader, *app.text, *app.info, *app.warning, *app.caption]
    said += [*app.markdown, *app.error]
    return "\n".join(element.value for element in said)


def table(app: AppTest, column: str) -> pd.DataFrame:
    """The table of the page that has this column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)
