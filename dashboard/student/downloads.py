"""Downloads of one student's files, or the command that makes them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.frame.view import View
from dashboard.reading import model_files
from dashboard.reading.model_files import Export
from dashboard.reading.models import Model
from dashboard.student.run_file import run_toml


def show_downloads(view: View, model: Model, export: Export | None) -> None:
    """Offer the student's files for download, or say which command makes those that are missing."""
    number = model.number
    with st.container(border=True, key="downloads"):
        st.markdown("**Take it with you**")
        row = st.container(horizontal=True)
        weights = None
        if model.member is not None:
            weights = model_files.read_tested_weights(
                view.work, view.split, model.member, view.problems
            )
        if export is not None and export.is_current:
            files = view.work.exported
            _download(view, row, "ONNX", files.onnx, f"trial-{number}.onnx")
            _download(view, row, "Weights", files.weights, f"trial-{number}.safetensors")
            _download(view, row, "Card", files.card_text, f"trial-{number}-card.md")
        elif weights is not None:
            _download(view, row, "Weights", weights, f"trial-{number}.safetensors")
        _download_run(view, row, number)
        st.caption(_files_words(model, export, weights is not None))


def _download(view: View, place: DeltaGenerator, label: str, path: Path, name: str) -> None:
    content = model_files.read_content(view.work, path)
    if content is not None:
        place.download_button(
            f"{label} ({len(content) / 1000:,.0f} kB)",
            content,
            file_name=name,
            mime="application/octet-stream",
            on_click="ignore",
            key=f"download_{label.lower()}",
        )


def _download_run(view: View, place: DeltaGenerator, number: int) -> None:
    try:
        text = run_toml(view.work, view.split, number)
    except (OSError, ValueError, KeyError, TypeError):
        return  # what is missing or broken is named on its own account
    place.download_button(
        "run.toml of this student",
        text,
        file_name=f"trial-{number}.toml",
        mime="application/toml",
        on_click="ignore",
        key="download_run",
    )


def _files_words(model: Model, export: Export | None, kept: bool) -> str:
    toml = "The run.toml trains this student alone: same people, same teacher's settings."
    if export is not None and export.is_current:
        return f"ONNX, weights and card are of seed {export.seed}, the best on validation people. {toml}"
    how = (
        f"For ONNX and card, set `trial = {model.number}` under `[export]` in your run.toml and type "
        "`gaitforge export run.toml`."
    )
    if export is not None:
        return f"The export of this trial is out of date. {how} {toml}"
    if kept and model.member is not None:
        return f"The weights are of seed {model.member.network.seed}, the best on validation people. {how} {toml}"
    return (
        "Only confirmed students have weights to hand out: raise `members` under `[confirm]` and type "
        f"`gaitforge confirm run.toml`. {toml}"
    )
