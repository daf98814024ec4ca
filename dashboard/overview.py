"""The first page: the answer in one sentence, and what was searched to find it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import charts_fronts, front_tables, reading
from dashboard.artefacts import Confirm, Member
from dashboard.good_enough import USUAL_LOSS, interval_points, smallest_good_enough
from dashboard.progress import duration
from dashboard.reading import Found, Line, Progress
from dashboard.review_tables import TEACHER, Model, interval_words, many
from dashboard.scales import SIZES
from dashboard.states import next_step, show_failures
from dashboard.view import View

MOST_CLASSES = 6
ROLES = ("train", "validation", "confirm")


def show_overview(view: View) -> None:
    progress = reading.read_progress(view.work, view.split)
    show_answer(view.line, view.models, progress)
    show_confirmed_front(view)
    for sentence in reading.read_wider_answers(view.work, view.split, view.problems):
        st.text(sentence)
    show_searched(view.found, view.line, progress)
    show_failures(view.line)


def show_answer(line: Line, models: Mapping[int, Model], progress: Progress) -> None:
    """The sentence, or why there is none."""
    confirm = line.confirm
    if confirm is None:
        st.info(f"**No confirmed answer yet.** {next_step(line, progress)}")
        so_far = smallest_good_enough(
            None, models, size="params", budget=math.inf, loss=USUAL_LOSS
        )
        if so_far is not None:
            st.text(so_far.sentence)
        return
    answer = smallest_good_enough(
        confirm, models, size="params", budget=math.inf, loss=confirm.margin
    )
    with st.container(key="answer"):
        st.text(answer.sentence if answer else confirm.sentence)
    member = next((m for m in confirm.members if answer and m.trial == answer.trial), None)
    if member is not None:
        show_answer_numbers(confirm, member)
    if confirm.too_few:
        st.warning(
            f"{many(confirm.people, 'confirm person is', 'confirm people are')} too few for an "
            "interval or a test. Read the scores person by person on the student's page, or pool folds over all."
        )


def show_confirmed_front(view: View) -> None:
    """The confirmed students beside the teacher, in small; the trade-off's page has all of it."""
    confirm = view.line.confirm
    if confirm is None or not confirm.members:
        return
    families = sorted({model.family for model in view.models.values() if model.number != TEACHER})
    points = front_tables.confirmed_points(confirm, view.models, "macro_f1", "params", families)
    searched = front_tables.searched_points([], "macro_f1", "params", False, families)
    axes = charts_fronts.shared_axes("macro_f1", "params", searched, points, families)
    answer = smallest_good_enough(
        confirm, view.models, size="params", budget=math.inf, loss=confirm.margin
    )
    st.altair_chart(
        charts_fronts.confirmed_chart(
            points, axes, None, answer.trial if answer else None, confirm.margin, math.inf, 290
        ),
        key="confirmed_in_short",
    )
    sure = "" if confirm.too_few else " Bars are 95 % intervals by bootstrap over people."
    people = many(confirm.people, "person", "people")
    st.caption(
        f"The confirmed students on {people} whom nothing had seen before.{sure} "
        "Faint: the same student without distillation."
    )


def show_answer_numbers(confirm: Confirm, member: Member) -> None:
    size, score, teacher, difference, gain = st.columns(5)
    size.metric(
        "Parameters",
        f"{member.params:,}",
        f"1 / {confirm.teacher_params / max(member.params, 1):,.0f} of the teacher's",
        delta_color="off",
        delta_arrow="off",
    )
    people = many(confirm.people, "unseen person", "unseen people")
    _score(score, f"Macro F1, {people}", f"{member.macro_f1:.3f}", interval_words(member.interval))
    _score(
        teacher,
        "Macro F1 of the teacher",
        f"{confirm.teacher_macro_f1:.3f}",
        interval_words(confirm.teacher_interval),
    )
    lead = member.macro_f1 - confirm.teacher_macro_f1
    _score(
        difference,
        "Difference, points",
        f"{100 * lead:+.1f}",
        interval_points(member.difference_interval),
    )
    alone = member.alone
    if alone is not None and alone.gain is not None:
        _score(
            gain,
            "Distillation adds, points",
            f"{100 * alone.gain:+.1f}",
            interval_points(alone.gain_interval),
        )


def _score(column: st.delta_generator.DeltaGenerator, label: str, value: str, ends: str) -> None:
    """A number with its 95 % interval below it."""
    column.metric(
        label,
        value,
        f"95 %: {ends}" if ends else "no interval",
        delta_color="off",
        delta_arrow="off",
    )


def show_searched(found: Found, line: Line, progress: Progress) -> None:
    """Data, teacher and search, side by side."""
    cards = {
        "Data": _data_facts(found, line),
        "Teacher": _teacher_facts(line, in_training=bool(progress.teacher)),
        "Search": _search_facts(line),
    }
    with st.container(key="cards"):
        columns = st.columns(3, gap="medium")
    for (title, facts), column in zip(cards.items(), columns, strict=True):
        with (
            column,
            st.container(border=True, key=f"card_{title}", gap="xxsmall", height="stretch"),
        ):
            st.subheader(title, anchor=False)
            show_facts(title, facts)
    if line.search is not None or line.trials:
        counts = front_tables.states_table(line, len(progress.running))
        if not counts.empty:
            st.subheader("Trials", anchor=False)
            st.altair_chart(charts_fronts.states_chart(counts), key="states")


def show_facts(card: str, facts: Mapping[str, str]) -> None:
    """Names and values below each other; the style of the page sets them in two columns."""
    for place, (name, value) in enumerate(facts.items()):
        with st.container(key=f"fact_{card}_{place}", gap=None):
            st.text(name)
            st.text(value)


def _data_facts(found: Found, line: Line) -> dict[str, str]:
    facts: dict[str, str] = {}
    store = found.store
    if store is not None:
        facts["Recordings"] = f"{store.recordings:,}"
        facts["In quarantine"] = f"{store.quarantined:,}"
        facts["People"] = f"{store.people:,}"
        facts[many(len(store.classes), "class", "classes")] = few(store.classes)
    if line.split is not None:
        roles = line.split.people
        for role in sorted(roles, key=lambda role: (*ROLES, role).index(role)):
            facts[f"{role.capitalize()} people"] = f"{roles[role]:,}"
    return facts


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are; the store's page has them all."""
    shown = ", ".join(names[:MOST_CLASSES])
    more = len(names) - MOST_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown


def _teacher_facts(line: Line, in_training: bool) -> dict[str, str]:
    teacher = line.teacher
    if teacher is None:
        return {"State": "in training" if in_training else "not trained yet"}
    return {
        "Family": teacher.family,
        "Parameters": f"{teacher.params:,}",
        "MACs a window": "unknown" if teacher.macs is None else f"{teacher.macs:,}",
        "Macro F1": f"{teacher.macro_f1:.3f} on validation people",
        "Accuracy": f"{teacher.accuracy:.3f} on validation people",
        "Training": f"{many(teacher.epochs, 'epoch')}, {duration(teacher.seconds)}",
    }


def _search_facts(line: Line) -> dict[str, str]:
    search = line.search
    if search is None:
        return {"State": "not started yet"}
    spent = sum(trial.seconds for trial in line.trials)
    families = search.families or tuple(sorted({trial.family for trial in line.trials}))
    limits = [SIZES[name].text(limit) for name, limit in search.limits.items() if name in SIZES]
    return {
        "Families": ", ".join(families),
        "Objectives": ", ".join(search.objectives),
        "Budget": ", ".join(limits) or "none",
        "Trials": f"{len(line.trials):,} of {search.wanted:,} ended, {search.epochs} epochs each",
        "Over budget": f"{search.rejected:,} proposals were never trained",
        "Training": f"{duration(spent)} in all"
        + (f", the search took {duration(search.seconds)}" if search.seconds else ""),
    }
