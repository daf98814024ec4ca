"""What every page of the dashboard is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.reading import Found, Line, Outdated, Problem
from dashboard.review_tables import Model
from gaitforge.work import WorkFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What every page gets: the work folder and split in view, what was read, and the model in question."""

    work: WorkFolder
    others: tuple[WorkFolder, ...]  # the other folders the dashboard was started with
    split: str
    found: Found
    line: Line
    models: Mapping[int, Model]  # review_tables.models(line); TEACHER = -1
    chosen: int  # a key of models
    outdated: Outdated
    problems: list[Problem]  # pages add what they could not read
