"""The page Overview: the verdict and its reasons, what failed, and what was searched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.frame.cells import without_formulas
from dashboard.frame.states import find_next_step, has_unread_scores, show_failures
from dashboard.frame.view import View
from dashboard.fronts import charts as charts_fronts
from dashboard.fronts import tables as front_tables
from dashboard.fronts.good_enough import USUAL_LOSS, find_smallest_good_enough, say_interval_points
from dashboard.fronts.scales import SIZES
from dashboard.reading import work_folder as reading
from dashboard.reading.models import TEACHER, Model, interval_words, many, over, verdict_word
from dashboard.reading.work_folder import Found, Progress, SplitResults
from gaitforge.duration import say_duration
from gaitforge.records.confirm import BAD, GOOD, OPEN, Member, Scores, Verdict

MARKS = {GOOD: "✓", BAD: "✗", OPEN: "?"}
MOST_CLASSES = 6
ROLES = ("train", "validation", "confirm")


def show_overview(view: View) -> None:
    progress = reading.read_progress(view.work, view.split)
    confirm = view.results.confirm
    if confirm is None:
        show_no_answer(view.results, view.models, progress)
        show_failures(view.results)
    else:
        show_answer(confirm, view.outdated.answer is not None)
        with st.container(key="pair_verdict"):
            left, right = st.columns(2, gap="large")
        with left:
            show_reasons(confirm.verdict)
        with right:
            show_failures(view.results)
            show_confirmed_front(view, confirm)
        show_person_by_person(confirm)
    for sentence in reading.read_wider_answers(view.work, view.split, view.problems):
        st.text(sentence)
    show_searched(view.found, view.results, progress)


def show_no_answer(results: SplitResults, models: Mapping[int, Model], progress: Progress) -> None:
    """Say why there is no confirmed answer, and which student the search alone would suggest."""
    if has_unread_scores(results):
        st.warning(
            "The confirmed scores that are here cannot be read, or an older gaitforge has written them: run "
            "`gaitforge confirm run.toml` again."
        )
    else:
        st.info(f"**No confirmed answer yet.** {find_next_step(results, progress)}")
    so_far = find_smallest_good_enough(
        None, models, size="params", budget=math.inf, loss=USUAL_LOSS
    )
    if so_far is not None:
        st.text(so_far.sentence)


def show_answer(confirm: Scores, outdated: bool) -> None:
    """Show the verdict's word and sentence as confirm wrote them, and the numbers of its student."""
    verdict, member = confirm.verdict, confirm.answer
    with st.container(key="answer", gap="xsmall"):
        with st.container(key="word"):
            st.text(verdict_word(verdict, outdated))
        with st.container(key="sentence"):
            st.text(drop_word(verdict))
    if member is not None:
        show_answer_numbers(confirm, member)


def drop_word(verdict: Verdict) -> str:
    """Return the verdict's sentence without its leading word, which is shown above it."""
    rest = verdict.sentence.removeprefix(f"{verdict.word.capitalize()}: ")
    return rest[:1].upper() + rest[1:]


def show_reasons(verdict: Verdict) -> None:
    """List the verdict's reasons, each marked for, against or open; app.STYLE sets them in columns."""
    st.subheader("What it rests on", anchor=False)
    with st.container(key="reasons", gap="xsmall"):
        for place, reason in enumerate(verdict.rests_on):
            with st.container(key=f"reason_{reason.says}_{place}", gap=None):
                st.text(MARKS[reason.says])
                st.text(f"{reason.about[:1].upper()}{reason.about[1:]}")
                st.text(reason.text)


def show_person_by_person(confirm: Scores) -> None:
    """Show each person's difference to the teacher if people are too few for an interval; else nothing."""
    member = confirm.answer
    by_person = member.network.by_person
    if not confirm.too_few or by_person is None:
        return
    st.subheader("Person by person", anchor=False)
    st.dataframe(
        without_formulas(
            pd.DataFrame(
                {
                    "person": list(by_person.differences),
                    "difference": list(by_person.differences.values()),
                }
            )
        ),
        hide_index=True,
        width=420,
        column_config={
            "person": st.column_config.TextColumn("Person"),
            "difference": st.column_config.NumberColumn(
                "Right answers, minus the teacher's", format="percent"
            ),
        },
        key="person_by_person",
    )
    st.caption(
        f"Of trial {member.trial}'s network. Were both equally good, chance alone would set them as far apart in "
        f"{by_person.sign_flip_p:.0%} of cases (exact sign flips over people)."
    )


def show_confirmed_front(view: View, confirm: Scores) -> None:
    """Show a small chart of the confirmed students beside the teacher; the page Trade-off has the full one."""
    if not confirm.members:
        return
    families = sorted({model.family for model in view.models.values() if model.number != TEACHER})
    points = front_tables.confirmed_points(confirm, view.models, "macro_f1", "params", families)
    searched = front_tables.searched_points([], "macro_f1", "params", False, families)
    axes = charts_fronts.find_shared_axes("macro_f1", "params", searched, points, families)
    st.altair_chart(
        charts_fronts.draw_confirmed(
            points, axes, None, confirm.chosen, confirm.margin, math.inf, 290
        ),
        key="confirmed_in_short",
    )
    people = many(confirm.people, "person", "people")
    st.caption(
        f"The confirmed students on {people} whom nothing had seen before. {front_tables.drawn_words(confirm)}"
    )


def show_answer_numbers(confirm: Scores, member: Member) -> None:
    """Show the scores of the network that is handed out beside teacher and reference, and the gain of distillation."""
    size, score, teacher, difference, reference, gain = st.columns(6)
    network = member.network
    size.metric(
        "Parameters",
        f"{member.params:,}",
        f"1 / {confirm.teacher.params / max(member.params, 1):,.0f} of the teacher's",
        delta_color="off",
        delta_arrow="off",
    )
    people = many(confirm.people, "unseen person", "unseen people")
    _score(
        score, f"Macro F1, {people}", f"{network.macro_f1:.3f}", interval_words(network.interval)
    )
    _score(
        teacher,
        "Macro F1 of the teacher",
        f"{confirm.teacher.macro_f1:.3f}",
        interval_words(confirm.teacher.interval),
    )
    _score(
        difference,
        "Minus the teacher, points",
        f"{100 * network.difference:+.1f}",
        say_interval_points(network.difference_interval),
    )
    _score(
        reference,
        "Minus the reference, points",
        f"{100 * network.against_reference.difference:+.1f}",
        say_interval_points(network.against_reference.difference_interval),
    )
    alone = member.alone
    if alone is not None:
        _score(
            gain,
            "Distillation adds, points",
            f"{100 * alone.difference:+.1f}",
            say_interval_points(alone.difference_interval),
        )
    words = f"The network of seed {network.seed}, which is handed out"
    words += "." if confirm.too_few else ", with intervals over people."
    if alone is not None and member.seeds > 1:
        words += f" What distillation adds is of the mean of {member.seeds} seeds"
        words += "." if confirm.too_few else f", {over(member.seeds)}."
    st.caption(words)


def _score(column: st.delta_generator.DeltaGenerator, label: str, value: str, ends: str) -> None:
    """Show a number with its 95 % interval below it."""
    column.metric(
        label,
        value,
        f"95 %: {ends}" if ends else "no interval",
        delta_color="off",
        delta_arrow="off",
    )


def show_searched(found: Found, results: SplitResults, progress: Progress) -> None:
    """Show facts of data, teacher and search side by side, and the trials by state."""
    cards = {
        "Data": _data_facts(found, results),
        "Teacher": _teacher_facts(results, in_training=bool(progress.teacher)),
        "Search": _search_facts(results),
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
    if results.search is not None or results.trials:
        counts = front_tables.states_table(results, len(progress.running))
        if not counts.empty:
            st.subheader("Trials", anchor=False)
            st.altair_chart(charts_fronts.draw_states(counts), key="states")


def show_facts(card: str, facts: Mapping[str, str]) -> None:
    """List names and values; the app's style sets them in two columns."""
    for place, (name, value) in enumerate(facts.items()):
        with st.container(key=f"fact_{card}_{place}", gap=None):
            st.text(name)
            st.text(value)


def _data_facts(found: Found, results: SplitResults) -> dict[str, str]:
    facts: dict[str, str] = {}
    store = found.store
    if store is not None:
        facts["Recordings"] = f"{store.recordings:,}"
        facts["In quarantine"] = f"{store.quarantined:,}"
        facts["People"] = f"{store.people:,}"
        facts[many(len(store.classes), "class", "classes")] = join_few(store.classes)
    if results.split is not None:
        roles = Counter(results.split.roles.values())
        for role in sorted(roles, key=lambda role: (*ROLES, role).index(role)):
            facts[f"{role.capitalize()} people"] = f"{roles[role]:,}"
    return facts


def join_few(names: Sequence[str]) -> str:
    """Join the first MOST_CLASSES names and say how many more there are; the page Store lists all."""
    shown = ", ".join(names[:MOST_CLASSES])
    more = len(names) - MOST_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown


def _teacher_facts(results: SplitResults, in_training: bool) -> dict[str, str]:
    teacher = results.teacher
    if teacher is None:
        return {"State": "in training" if in_training else "not trained yet"}
    return {
        "Family": teacher.family,
        "Parameters": f"{teacher.params:,}",
        "MACs a window": f"{teacher.macs:,}",
        "Macro F1": f"{teacher.val_macro_f1:.3f} on validation people",
        "Accuracy": f"{teacher.val_accuracy:.3f} on validation people",
        "Training": f"{many(teacher.epochs, 'epoch')}, {say_duration(teacher.seconds)}",
    }


def _search_facts(results: SplitResults) -> dict[str, str]:
    search = results.search
    if search is None:
        return {"State": "not started yet"}
    spent = sum(trial.seconds for trial in results.trials)
    # parameters as they were counted, of the teacher's share too; the others as the settings have them
    limits = {
        "params": search.max_params,
        **{name: search.settings.get(f"max_{name}") for name in ("macs", "bytes", "latency_ms")},
    }
    told = [SIZES[name].text(limit) for name, limit in limits.items() if limit is not None]
    return {
        "Families": ", ".join(search.families),
        "Objectives": ", ".join(search.objectives),
        "Budget": ", ".join(told) or "none",
        "Trials": f"{len(results.trials):,} of {search.trials:,} ended, after at most {many(search.epochs, 'epoch')}",
        "To the end": f"{results.count('finished'):,} trained for {many(search.epochs, 'epoch')}",
        "Over budget": f"{search.rejected:,} proposals were never trained",
        "Training": f"{say_duration(spent)} in all"
        + (f", the search took {say_duration(search.seconds)}" if search.seconds else ""),
    }
