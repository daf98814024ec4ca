"""The page of one student alone, as a script for AppTest: work folder and trial are its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

from dashboard import reading, review_tables
from dashboard.student import show_student
from dashboard.view import View
from gaitforge.work import WorkFolder

work = WorkFolder(Path(sys.argv[1]))
found = reading.look(work)
line = reading.read_line(work, found.splits[0])
models = review_tables.models(line)
st.session_state.setdefault("model", int(sys.argv[2]))
view = View(
    work=work,
    others=(),
    split=found.splits[0],
    found=found,
    line=line,
    models=models,
    chosen=st.session_state["model"],
    problems=[],
)
show_student(view)
for problem in view.problems:
    st.code(f"{problem.file}: {problem.reason}", language=None)
