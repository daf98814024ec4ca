"""Opens a page of the dashboard without a browser, and says what stands on it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs

import pandas as pd
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from gaitforge.work import WorkFolder
from tests.small_line import PATIENCE_S

APP = Path(__file__).parents[1] / "dashboard" / "app.py"


class Show(Protocol):
    def __call__(self, *works: WorkFolder, page: str = "overview", query: str = "") -> AppTest: ...


def open_page(page: str = "overview", query: str = "") -> AppTest:
    """The page as it stands on its first run with the query of a URL; it must not end in an exception."""
    app = AppTest.from_file(str(APP), default_timeout=PATIENCE_S)
    for name, values in parse_qs(query, keep_blank_values=True).items():
        app.query_params[name] = values
    return turn_to(app, page)


def turn_to(app: AppTest, page: str) -> AppTest:
    """Another page of the same session."""
    # switch_page knows pages that are files only; ours are functions, known by their path
    app._page_hash = calc_hash(page)
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything that the page says."""
    said = [
        *app.title,
        *app.subheader,
        *app.header,
        *app.text,
        *app.info,
        *app.warning,
        *app.caption,
        *app.code,
    ]
    said += [*app.markdown, *app.error]
    return "\n".join(element.value for element in said)


def table(app: AppTest, column: str) -> pd.DataFrame:
    """The table of the page that has this column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)
