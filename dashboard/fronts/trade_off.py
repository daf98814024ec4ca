"""The page Trade-off: accuracy against size, searched beside confirmed, and the smallest good enough student."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard.frame import choice
from dashboard.frame.cells import without_formulas
from dashboard.frame.view import View, hold
from dashboard.fronts import charts as charts_fronts
from dashboard.fronts import tables as front_tables
from dashboard.fronts.good_enough import (
    USUAL_LOSS,
    Answer,
    find_smallest_good_enough,
    say_interval_points,
    say_points,
)
from dashboard.fronts.scales import (
    CONFIRMED,
    MEASURES,
    SIZES,
    list_budget_steps,
    list_stored_measures,
    list_stored_sizes,
)
from dashboard.reading import models as review_tables
from dashboard.reading.models import TEACHER, many, verdict_word
from dashboard.reading.work_folder import SplitResults
from gaitforge.records.confirm import Scores

STOPPED = "stopped"
LARGEST_LOSS = 20.0  # points


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What to draw, and what is good enough; `loss` is in macro F1, `budget` in the unit of `size`."""

    measure: str
    size: str
    stopped: bool
    families: list[str]
    budget: float
    loss: float


def show_trade_off(view: View) -> None:
    wish = ask(view)
    answer = find_smallest_good_enough(
        view.results.confirm, view.models, size=wish.size, budget=wish.budget, loss=wish.loss
    )
    show_answer(view, answer, wish)
    searched = hold(
        "searched",
        (view.models, wish.measure, wish.size, wish.stopped, wish.families),
        lambda: front_tables.searched_points(
            view.models.values(), wish.measure, wish.size, wish.stopped, wish.families
        ),
    )
    confirmed = front_tables.confirmed_points(
        view.results.confirm, view.models, wish.measure, wish.size, wish.families
    )
    families = sorted({m.family for m in view.models.values() if m.number != TEACHER})
    axes = charts_fronts.find_shared_axes(wish.measure, wish.size, searched, confirmed, families)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Searched", anchor=False)
        show_searched(view, searched, axes, answer, wish)
    with right:
        st.subheader("Confirmed", anchor=False)
        show_confirmed(view, confirmed, axes, answer, wish)
    confirm = view.results.confirm
    if confirm is not None and confirm.members:
        show_members(confirm)
    show_trials(view, searched)
    left, right = st.columns(2, gap="medium")
    with left:
        show_hypervolume(view.results)
    with right:
        show_optimism(view.results)


def show_answer(view: View, answer: Answer | None, wish: Wish) -> None:
    """Show the verdict's word from confirm, and the student found for the sliders' budget and loss."""
    sentence = answer.sentence if answer else "There is no student to choose from yet."
    results = view.results
    with st.container(key="answer", gap="xsmall"):
        if results.confirm is None:
            st.text(sentence)
            return
        with st.container(key="word"):
            st.text(verdict_word(results.confirm.verdict, view.outdated.answer is not None))
        with st.container(key="sentence"):
            st.text(sentence)
    if not math.isinf(wish.budget) or round(wish.loss, 6) != round(default_loss(results) / 100, 6):
        st.caption(
            f"The verdict is of the margin that confirm was given, {say_points(results.confirm.margin)}, and of no "
            "budget; the sentence below it follows the sliders."
        )


def ask(view: View) -> Wish:
    """Show the controls above the fronts and return what is set in them."""
    models = view.models.values()
    measures, sizes = list_stored_measures(models), list_stored_sizes(models)
    families = sorted({m.family for m in models if m.number != TEACHER})
    choice.settle("front_measure", measures, measures[0])
    choice.settle("front_size", sizes, sizes[0])
    choice.settle_many("front_families", families, families)
    choice.settle_many("front_states", [STOPPED], [STOPPED])
    first, second, third, fourth = st.columns([3, 3, 4, 2], vertical_alignment="bottom")
    measure = first.selectbox(
        "Accuracy by", measures, format_func=lambda name: MEASURES[name].words, key="front_measure"
    )
    size = second.selectbox(
        "Against", sizes, format_func=lambda name: SIZES[name].words, key="front_size"
    )
    shown = third.multiselect(
        "Families", families, key="front_families", placeholder="None is drawn"
    )
    states = fourth.pills(
        "Also draw",
        [STOPPED],
        selection_mode="multi",
        format_func=lambda state: f"{state} trials",
        key="front_states",
    )
    steps = list_budget_steps(
        [
            SIZES[size].read_from(m) or 0.0
            for m in models
            if m.number != TEACHER and m.state == "finished"
        ]
    )
    choice.settle("budget", steps, math.inf)
    choice.settle(
        "loss", [n / 2 for n in range(int(2 * LARGEST_LOSS) + 1)], default_loss(view.results)
    )
    left, right = st.columns(2, gap="medium")
    budget = left.select_slider(
        f"Budget: {SIZES[size].limit}",
        steps,
        format_func=lambda value: "no limit" if math.isinf(value) else SIZES[size].text(value),
        key="budget",
    )
    loss = right.slider(
        "Accepted loss to the teacher, points of macro F1",
        0.0,
        LARGEST_LOSS,
        step=0.5,
        format="%.1f",
        key="loss",
    )
    return Wish(
        measure=measure,
        size=size,
        stopped=STOPPED in states,
        families=shown,
        budget=budget,
        loss=loss / 100,
    )


def default_loss(results: SplitResults) -> float:
    """Return the margin of confirm in points, rounded to the slider's steps; before confirm 5 points."""
    margin = results.confirm.margin if results.confirm else USUAL_LOSS
    return min(round(200 * margin) / 2, LARGEST_LOSS)


def show_searched(
    view: View, drawn: pd.DataFrame, axes: charts_fronts.Axes, answer: Answer | None, wish: Wish
) -> None:
    results = view.results
    found = answer.trial if answer else None
    inside = drawn["score"].between(*axes.scores)
    thinned = front_tables.thin_points(drawn[inside], [view.chosen, found])
    if not drawn.empty:
        st.altair_chart(
            charts_fronts.draw_searched(thinned.table, axes, view.chosen, found, wish.budget),
            key=choice.chart_key("searched"),
            on_select=choice.from_chart("searched"),
        )
    words = [many(results.count("finished"), "finished trial")]
    words += [
        f"{results.count(state)} {state}"
        for state in ("stopped", "failed")
        if results.count(state)
    ]
    unknown = sum(
        model.state == "finished" and SIZES[wish.size].read_from(model) is None
        for model in view.models.values()
    )
    outside = int((~inside).sum())
    caption = f"On the validation people, who chose this front. {', '.join(words)}"
    if unknown:
        what = SIZES[wish.size].words.lower().partition(",")[0]
        caption += f"; {unknown} of the finished are of unknown {what}"
    caption += f"; {many(outside, 'lies', 'lie')} outside the axes." if outside else "."
    if (wish.measure, wish.size) != ("macro_f1", "params"):
        caption += " The front drawn is that of these two axes, not the search's own."
    if thinned.words:
        caption += f" {thinned.words}"
    st.caption(caption + " Click a point to choose it, drag to choose several.")


def show_confirmed(
    view: View, drawn: pd.DataFrame, axes: charts_fronts.Axes, answer: Answer | None, wish: Wish
) -> None:
    confirm = view.results.confirm
    if confirm is None:
        st.info(
            "Nothing is confirmed yet. `gaitforge confirm run.toml` retrains the members of the "
            "front and scores them on the confirm people."
        )
        return
    if drawn.empty:
        known = ", ".join(
            measure.words.lower() for name, measure in MEASURES.items() if name in CONFIRMED
        )
        st.info(
            f"{MEASURES[wish.measure].words} is not stored for the confirm people; what is: {known}."
        )
        return
    by_f1 = wish.measure == "macro_f1"
    st.altair_chart(
        charts_fronts.draw_confirmed(
            drawn,
            axes,
            view.chosen,
            answer.trial if answer else None,
            wish.loss if by_f1 else None,
            wish.budget,
        ),
        key=choice.chart_key("confirmed"),
        on_select=choice.from_chart("confirmed"),
    )
    caption = f"On {many(confirm.people, 'person', 'people')} whom nothing had seen before"
    if not by_f1:
        caption += ". Intervals and the accepted loss are of macro F1 and not drawn here."
    else:
        caption += ": too few for intervals." if confirm.too_few else "."
        caption += f" {front_tables.drawn_words(confirm)}"
    st.caption(caption)


def show_members(confirm: Scores) -> None:
    table = review_tables.member_table(confirm)
    score = st.column_config.NumberColumn
    empty = [name for name in table if (table[name].isna() | table[name].eq("")).all()]
    st.subheader("Confirmed students", anchor=False)
    st.caption(
        "Macro F1 on the confirm people. First the one network of each that is handed out, with intervals over people, "
        "tested from the largest student down to the first that fails; then the mean of its seeds, with intervals over "
        "people and seeds."
    )
    st.dataframe(
        without_formulas(table.drop(columns=empty)),
        hide_index=True,
        column_config={
            "trial": score("Trial", width="small"),
            "family": st.column_config.TextColumn("Family"),
            "params": score("Parameters", format="localized"),
            "network": score("Network", format="%.3f"),
            "network_interval": st.column_config.TextColumn("95 % interval"),
            "difference": score("To teacher", format="%+.3f"),
            "difference_interval": st.column_config.TextColumn("95 % interval "),
            "verdict": st.column_config.TextColumn(
                "Its test",
                help=f"Whether the network loses less than {confirm.margin:g} macro F1 to the teacher. Below a student "
                "that fails none is tested.",
            ),
            "reference": score("To reference", format="%+.3f"),
            "reference_interval": st.column_config.TextColumn("95 % interval  "),
            "macro_f1": score("Mean of seeds", format="%.3f"),
            "interval": st.column_config.TextColumn("95 % interval   "),
            "alone": score("Not distilled", format="%.3f"),
            "gain": score("Gain", format="%+.3f"),
            "gain_interval": st.column_config.TextColumn("95 % interval    "),
            "p_on_front": score("P(front)", format="%.2f"),
            "seeds": score("Seeds", width="small"),
        },
        key="members",
    )


def show_trials(view: View, drawn: pd.DataFrame) -> None:
    """Show the table of trials; its selected row follows other charts and lists, and a click chooses a trial."""
    if not view.results.trials:
        return
    brush = choice.read_brushed("searched")
    brushed = front_tables.keep_within(drawn, brush) if brush else None
    table = hold(
        "trial_table", (view.models,), lambda: review_tables.trial_table(view.models.values())
    )
    if brushed is not None:
        table = table[table["trial"].isin(brushed["trial"])].reset_index(drop=True)
    choice.keep_brushed(() if brushed is None else table["trial"].tolist())
    rows = table.index[table["trial"] == view.chosen].tolist()
    st.session_state["trials"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    st.session_state["trials_order"] = table["trial"].tolist()
    number = st.column_config.NumberColumn
    st.subheader("Trials of the search", anchor=False)
    st.caption(
        "Scores of the validation people. "
        + (
            "All of them; drag in the chart to choose several."
            if brushed is None
            else f"The {len(table)} that the drag in the chart chose; double-click there for all."
        )
    )
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 318),
        column_config={
            "trial": number("Trial", width="small"),
            "family": st.column_config.TextColumn("Family", width="small"),
            "state": st.column_config.TextColumn("State", width="small"),
            "on_front": st.column_config.CheckboxColumn("On front", width="small"),
            "params": number("Parameters", format="localized"),
            "macs": number("MACs", format="compact"),
            "macro_f1": number("Macro F1", format="%.3f"),
            "accuracy": number("Accuracy", format="%.3f"),
            "epochs": number("Epochs", width="small"),
            "seconds": number("Seconds", format="%.1f"),
            "sizes": st.column_config.TextColumn("Sizes"),
            "reason": st.column_config.TextColumn("Why it ended early"),
        },
        selection_mode="single-row",
        on_select=choice.from_table,
        key="trials",
    )


def show_hypervolume(results: SplitResults) -> None:
    volumes = hold(
        "hypervolume",
        (results.trials, results.search),
        lambda: front_tables.hypervolume_table(results.trials, results.search),
    )
    st.subheader("Hypervolume over time", anchor=False)
    if volumes.empty:
        st.caption(
            "There is none: no trial has finished, or the search has over three objectives."
        )
        return
    st.altair_chart(charts_fronts.draw_hypervolume(volumes), key="hypervolume")
    st.caption(
        "How much of what can be reached the front covers, on the validation people. "
        "A curve that has long been flat says that more trials would change little."
    )


def show_optimism(results: SplitResults) -> None:
    st.subheader("Optimism of the search", anchor=False)
    if results.confirm is None:
        st.caption(
            "It takes scores of people whom the search has not seen: `gaitforge confirm run.toml` works it out."
        )
        return
    optimism = results.confirm.optimism
    st.altair_chart(
        charts_fronts.draw_optimism(front_tables.optimism_table(optimism)), key="optimism"
    )
    ends, of_luck = optimism.interval, say_interval_points(optimism.luck_interval)
    sure = (
        "too few people for an interval"
        if ends is None
        else f"95 % interval {say_interval_points(ends)}, over people and seeds"
    )
    luck = f" (95 % interval {of_luck}, over seeds)" if of_luck else ""
    st.caption(
        f"The search's scores of its front, minus the confirmed ones: {100 * optimism.total:+.1f} points of macro "
        f"F1 ({sure}). Of that, {100 * optimism.luck:+.1f}{luck} went when the same students were refitted and scored "
        f"on the same people, as luck of selection and seed does, and {100 * optimism.people:+.1f} with other people."
    )
