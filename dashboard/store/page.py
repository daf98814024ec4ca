"""The page Store: who was recorded, for how long, what is missing, and what could not be used."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.frame.cells import without_formulas
from dashboard.frame.view import View, show_folded
from dashboard.reading.models import many
from dashboard.store import charts as charts_store
from dashboard.store import tables as store_tables
from dashboard.store.reading import Held, read_roles, read_store
from dashboard.store.tables import SECONDS

MANY_CLASSES = 24  # more of them scroll


def show_store(view: View) -> None:
    st.subheader("The store", anchor=False)
    held = read_store(view.work, view.problems)
    if held is None:
        st.info(
            "Nothing is ingested yet, or the store cannot be read. `gaitforge ingest run.toml` reads "
            "your files into it."
        )
        return
    show_numbers(held)
    if held.index is None:
        st.info("The recordings cannot be read; the reason stands below.")
    elif not held.index.empty:
        show_people(view, held.index)
        show_missing(held, len(held.index))
        show_columns(held.index)
    show_quarantine(held.quarantine)


def show_numbers(held: Held) -> None:
    info, index = held.info, held.index
    people, recordings, length, joints, away = st.columns(5)
    people.metric("People", f"{info.people:,}")
    recordings.metric("Recordings", f"{info.recordings:,}")
    if index is not None and not index.empty:
        table, unit = store_tables.add_lengths(index)
        whole = table["length"].sum()
        length.metric(
            "Recorded", f"{whole / 60:,.1f} min" if unit == SECONDS else f"{whole:,.0f} frames"
        )
    joints.metric("Joints", f"{len(info.layout.joints)}")
    away.metric("In quarantine", f"{info.quarantined:,}")
    layout = info.layout
    rates = [] if index is None else sorted(index["fps"].dropna().unique())
    rate = (
        "no frame rate"
        if not rates
        else f"{rates[0]:g} frames a second"
        if len(rates) == 1
        else f"{rates[0]:g} to {rates[-1]:g} frames a second"
    )
    channels = many(info.channels, "channel")
    st.text(
        f"Layout {layout.name}, {channels} in {layout.unit}, {rate}. "
        f"Version {info.version} of the store, made from inputs {info.fingerprint}."
    )


def show_people(view: View, index: pd.DataFrame) -> None:
    people = store_tables.people_table(index, read_roles(view.work, view.split))
    lengths = store_tables.lengths_table(index)
    unit = store_tables.add_lengths(index)[1]
    tall = len(lengths) > MANY_CLASSES
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**People by class and role**")
        with st.container(height=520 if tall else "content", border=False):
            st.altair_chart(charts_store.draw_people(people), key="store_people")
        words = "Roles are those of the split in view; people, never recordings, are split."
        if store_tables.average_classes_per_person(index) > 1:
            words += " A person who shows several classes stands in each of them."
        st.caption(words)
    with right:
        st.markdown(f"**Lengths in {unit}**")
        shortest, longest = lengths["shortest"].min(), lengths["longest"].max()
        if shortest == longest:
            st.text(f"All recordings are of the same length: {shortest:.4g} {unit}.")
        else:
            with st.container(height=520 if tall else "content", border=False):
                st.altair_chart(charts_store.draw_lengths(lengths, unit), key="store_lengths")
        words = ""
        if shortest != longest:
            words = "Orange: the median; bar: the middle half; line: from shortest to longest."
        if unit != SECONDS:
            words += " Not all recordings have a frame rate, so that there are no seconds."
        if words:
            st.caption(words.strip())
    with st.expander("As tables"):
        left, right = st.columns(2, gap="large")
        left.dataframe(without_formulas(people), hide_index=True, key="store_people_table")
        right.dataframe(without_formulas(lengths), hide_index=True, key="store_lengths_table")


def show_missing(held: Held, recordings: int) -> None:
    missing = held.missing
    if missing is None:
        return
    st.markdown("**Missing joints**")
    looked = (
        "all recordings"
        if missing.seen == recordings
        else f"{missing.seen:,} of {recordings:,} recordings, evenly taken"
    )
    if missing.recordings.empty:
        st.text(f"No joint is missing in any frame ({looked}).")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.altair_chart(charts_store.draw_missing(missing.joints), key="store_missing")
    with right:
        st.dataframe(
            without_formulas(missing.recordings.assign(share=100 * missing.recordings["share"])),
            hide_index=True,
            column_config={
                "recording": st.column_config.TextColumn("Recording"),
                "person": st.column_config.TextColumn("Person"),
                "label": st.column_config.TextColumn("Class"),
                "share": st.column_config.NumberColumn("Joints missing", format="%.1f %%"),
            },
            key="store_missing_table",
        )
    st.caption(
        f"Of {looked}. A joint is missing in a frame where it has no number; models are told which "
        f"are. {many(len(missing.recordings), 'recording misses', 'recordings miss')} some."
    )


def show_columns(index: pd.DataFrame) -> None:
    table = store_tables.summarise_further_columns(index)
    if table.empty:
        return
    st.markdown("**What the sources told besides**")
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        column_config={
            "column": st.column_config.TextColumn("Column"),
            "known": st.column_config.NumberColumn("Known", format="%.0f %%", width="small"),
            "values": st.column_config.TextColumn("Values", width="large"),
        },
        key="store_columns",
    )


def show_quarantine(quarantine: pd.DataFrame | None) -> None:
    st.markdown("**Quarantine**")
    if quarantine is None:
        st.info("It cannot be read; the reason stands below.")
        return
    if quarantine.empty:
        st.text("Every recording of the sources could be used.")
        return
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    reasons = store_tables.reasons_table(quarantine)
    st.dataframe(
        without_formulas(reasons),
        hide_index=True,
        column_config={
            "reason": text("Why it could not be used", width="large"),
            "recordings": number("Recordings", width="small"),
            "sources": number("Sources", width="small"),
        },
        key="store_reasons",
    )
    show_folded(
        f"All {many(len(quarantine), 'recording')}",
        quarantine,
        {
            "source": text("Source"),
            "position": number("Position in it"),
            "person": text("Person"),
            "label": text("Class"),
            "reason": text("Why", width="large"),
        },
        key="store_quarantine",
    )
