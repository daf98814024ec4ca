"""The page Compare: two to four models side by side, or this work folder beside another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.compare import charts as charts_compare
from dashboard.compare import tables as compare_tables
from dashboard.compare.tables import MOST
from dashboard.frame import choice
from dashboard.frame.cells import without_formulas
from dashboard.frame.view import View
from dashboard.reading import work_folder as reading
from dashboard.reading.models import TEACHER, Model, many, over, search_settings
from dashboard.reading.work_folder import Predicted, Problem, SplitResults
from gaitforge.records.store import StoreInfo
from gaitforge.stats import MIN_PEOPLE
from gaitforge.work import WorkFolder

STUDENTS, FOLDERS = "models", "work folders"
AS = ("Students as means of their seeds", "The networks that are handed out")
LISTED = 400  # students that can be picked: a browser holds the whole list
PEOPLE = 20  # drawn; the table has all


def show_compare(view: View) -> None:
    heading, switch = st.columns([3, 2], vertical_alignment="bottom")
    heading.subheader("Compare", anchor=False)
    what: str | None = STUDENTS
    if view.others:
        choice.settle("compare_what", [STUDENTS, FOLDERS], STUDENTS)
        what = switch.segmented_control(
            "What",
            [STUDENTS, FOLDERS],
            required=True,
            label_visibility="collapsed",
            key="compare_what",
        )
    if what == FOLDERS:
        show_folders(view)
    else:
        show_models(view)


# ---------------------------------------------------------------- models


def show_models(view: View) -> None:
    options = list_pickable(view)
    picked = st.session_state.get("compared", pick_first(view))
    # of another work folder's none may be here
    known = [number for number in picked if number in options][:MOST]
    st.session_state["compared"] = known if known or not picked else pick_first(view)
    numbers = st.multiselect(
        "Two to four models",
        options,
        format_func=lambda number: _in_list(view.models[number]),
        max_selections=MOST,
        placeholder="Two to four models",
        key="compared",
    )
    if len(options) < len(view.models):
        st.caption(
            f"{len(options):,} of {len(view.models):,} can be picked: the teacher, the front, the "
            "confirmed ones, the one in question, and those that scored best."
        )
    if len(numbers) < 2:
        st.info("Pick at least two models to see them side by side.")
        return
    models = [view.models[number] for number in numbers]
    look = charts_compare.choose_looks(
        [model.title for model in models],
        "Teacher",
        view.models[view.chosen].title if view.chosen != TEACHER else "",
    )
    show_settings(models)
    show_scores(view, models, look)
    show_people(view, models, look)


def show_settings(models: Sequence[Model]) -> None:
    table = compare_tables.settings_table(models)
    marks = ["differs", "shared"]
    differing = table[table["differs"]].drop(columns=marks)
    same = table[table["shared"]].drop(columns=marks)
    others = table[~table["differs"] & ~table["shared"]].drop(columns=marks)
    st.markdown("**Settings that differ**")
    config = {
        "of": st.column_config.TextColumn("Of"),
        "setting": st.column_config.TextColumn("Setting"),
    }
    if differing.empty:
        st.text("None: they are the same student.")
    else:
        st.dataframe(
            without_formulas(differing),
            hide_index=True,
            height="content" if len(differing) < 14 else 493,
            column_config=config,
            key="settings_differ",
        )
    if not same.empty:
        with st.expander(f"{many(len(same), 'setting')} that all of them share"):
            st.dataframe(
                without_formulas(same), hide_index=True, column_config=config, key="settings_same"
            )
    if not others.empty:
        with st.expander(
            f"{many(len(others), 'other setting')}: seeds, and what is not told of all of them"
        ):
            st.dataframe(
                without_formulas(others),
                hide_index=True,
                column_config=config,
                key="settings_others",
            )


def show_scores(view: View, models: Sequence[Model], look: dict[str, tuple[str, str]]) -> None:
    confirm = view.results.confirm
    st.markdown("**Size and scores**")
    facts = compare_tables.facts_table(models, confirm)
    st.dataframe(
        without_formulas(facts),
        hide_index=True,
        height="content",
        column_config={"fact": st.column_config.TextColumn("")},
        key="facts",
    )
    left, right = st.columns(2, gap="large")
    with left:
        points = compare_tables.score_points(models, confirm)
        if points.empty:
            st.info("None of them has a score.")
        else:
            st.altair_chart(charts_compare.draw_scores(points, look), key="scores")
            words = "Hollow: the validation people, by whom students were chosen."
            if confirm is not None:
                people = many(confirm.people, "person", "people")
                words += f" Filled: the confirm people ({people} never seen before)"
                words += (
                    ", too few for intervals"
                    if confirm.too_few
                    else ", with 95 % intervals: of the teacher over people, of a mean of seeds over people and seeds"
                )
                words += "; a student is the mean of its seeds."
            st.caption(words)
    with right:
        curves = compare_tables.curves_table(models)
        if curves.empty:
            st.info("None of them has a learning curve.")
        else:
            st.altair_chart(charts_compare.draw_curves(curves, look), key="curves")


def show_people(view: View, models: Sequence[Model], look: dict[str, tuple[str, str]]) -> None:
    """Compare the models' answers on the same people: those of the role that most models have predictions for."""
    classes = view.found.store.classes if view.found.store else ()
    if not classes and view.results.teacher is not None:
        classes = view.results.teacher.classes
    role, predictions = read_same_people(view, models, classes)
    if len(predictions) < 2:
        st.info(
            "There are no predictions of two of these models on the same people: those of students "
            "that finished are kept, and on confirm people those of the confirmed ones."
        )
        return
    left_out = [model.title for model in models if model.title not in predictions]
    note = f" Without {', '.join(left_out)}, which has no predictions there." if left_out else ""
    st.markdown(f"**On the same people** ({role} people)")
    several = {title for title, its in predictions.items() if its["seed"].nunique() > 1}
    if role == "confirm" and several:
        choice.settle("compare_as", AS, AS[0])
        if (
            st.segmented_control(
                "A student is", AS, required=True, label_visibility="collapsed", key="compare_as"
            )
            == AS[1]
        ):
            predictions, several = compare_tables.keep_networks(models, predictions), set()
    seeds = 2 if several else 1
    pairs = compare_tables.pairs_table(predictions, classes)
    number = st.column_config.NumberColumn
    few = bool(pairs["low"].isna().all())
    if not pairs.empty:
        st.dataframe(
            without_formulas(pairs.drop(columns=["low", "high"]) if few else pairs),
            hide_index=True,
            column_config={
                "first": st.column_config.TextColumn("Macro F1 of"),
                "second": st.column_config.TextColumn("minus that of"),
                "difference": number("is", format="%+.3f"),
                "low": number("95 % interval from", format="%+.3f"),
                "high": number("to", format="%+.3f"),
            },
            key="pairs",
        )
        words = (
            "There are too few people for intervals: others may turn it round."
            if few
            else f"Paired, on the same recordings; intervals are {over(1)}"
            + (f", and {over(2)} where a model has several seeds" if several else "")
            + ". One that holds 0 shows no difference."
        )
        st.caption(words + note)
    elif note:
        st.caption(note.strip())
    left, right = st.columns(2, gap="large")
    with left:
        recalls = compare_tables.recalls_table(predictions, classes)
        st.markdown("**Recall of each class**")
        with st.container(height=900 if len(classes) > 24 else "content", border=False):
            st.altair_chart(charts_compare.draw_recalls(recalls, look), key="recalls")
        st.caption(
            "There are too few people of each class for intervals."
            if recalls["low"].isna().all()
            else f"Bars are 95 % intervals {over(seeds)}, of classes with at least {MIN_PEOPLE} people."
        )
    with right:
        table = compare_tables.people_table(predictions)
        differing = table[table["spread"] > 0]
        drawn = differing.head(PEOPLE)
        st.markdown("**People on whom they differ**")
        if not drawn.empty:
            st.altair_chart(
                charts_compare.draw_people(
                    compare_tables.long_people(drawn, list(predictions)), look
                ),
                key="people_differ",
            )
        st.caption(people_words(table, len(drawn)))
    with st.expander(
        f"The {many(len(differing), 'person', 'people')} on whom they differ, as a table"
    ):
        everybody = st.toggle("Everybody, also those on whom they agree", key="people_everybody")
        table = table if everybody else differing
        share = st.column_config.NumberColumn
        st.dataframe(
            without_formulas(table),
            hide_index=True,
            column_config={
                "person": st.column_config.TextColumn("Person"),
                "classes": st.column_config.TextColumn("True class"),
                "recordings": share("Recordings"),
                "spread": share("Spread", format="percent"),
                **{title: share(title, format="percent") for title in predictions},
            },
            key="people_all",
        )


def people_words(table: pd.DataFrame, drawn: int) -> str:
    """Say on how many people of `people_table` the models differ, and how many of those are drawn."""
    differing, agree = int((table["spread"] > 0).sum()), int((table["spread"] == 0).sum())
    people = many(len(table), "person", "people")
    first = f", of whom the {drawn} most different are drawn" if drawn < differing else ""
    return f"They differ on {differing or 'none'} of {people}{first}; on {agree} all are right equally often."


def read_same_people(
    view: View, models: Sequence[Model], classes: tuple[str, ...]
) -> tuple[str, dict[str, pd.DataFrame]]:
    """Return a role (confirm or validation) and, by title, the models' predictions for its people.

    It is the role for which most of the models have predictions; confirm if equal.
    """
    trials = {None if model.number == TEACHER else model.number for model in models}
    files = reading.find_prediction_files(view.work, view.split, view.problems, trials)
    found: dict[str, dict[str, Predicted]] = {}
    for role in ("confirm", "validation"):
        whose = {
            model.title: Predicted(
                role=role,
                model="teacher" if model.number == TEACHER else "student",
                trial=None if model.number == TEACHER else model.number,
            )
            for model in models
        }
        found[role] = {title: its for title, its in whose.items() if its in files}
    role = max(found, key=lambda role: len(found[role]))
    tables = {}
    for title, its in found[role].items():
        table = reading.read_predictions(view.work, files[its], its, classes, view.problems)
        if not table.empty and classes:
            tables[title] = table
    return role, tables


def list_pickable(view: View) -> list[int]:
    """List the models to choose from: all, or of more than LISTED the best and those that matter.

    Those are the front, the confirmed ones, the teacher and the chosen model.
    """
    if len(view.models) <= LISTED:
        return list(view.models)
    finished = [m for m in view.models.values() if m.macro_f1 is not None]
    best = sorted(finished, key=lambda m: -(m.macro_f1 or 0.0))[:LISTED]
    wanted = {m.number for m in best} | set(view.results.front) | {TEACHER, view.chosen}
    wanted |= {m.number for m in view.models.values() if m.member is not None}
    return [number for number in view.models if number in wanted]


def pick_first(view: View) -> list[int]:
    """Return the models compared at first: the chosen one, its best confirmed rival (else a front's), the teacher."""
    others = [m for m in view.models.values() if m.number not in (TEACHER, view.chosen)]
    rivals = [m for m in others if m.member is not None] or [m for m in others if m.on_front]
    best = max(rivals, key=lambda m: _score(m), default=None)
    wishes = [view.chosen, best.number if best else None, TEACHER]
    return list(dict.fromkeys(n for n in wishes if n is not None and n in view.models))


def _score(model: Model) -> float:
    return model.member.macro_f1 if model.member else model.macro_f1 or 0.0


def _in_list(model: Model) -> str:
    score = model.state if model.macro_f1 is None else f"{model.macro_f1:.3f}"
    return f"{model.title}, {model.family}, {model.params:,} parameters, {score}"


# ---------------------------------------------------------------- work folders


def show_folders(view: View) -> None:
    folders = view.others
    other = folders[0]
    left, right = st.columns(2)
    if len(folders) > 1:
        place = left.selectbox(
            "Beside",
            range(len(folders)),
            format_func=lambda n: str(folders[n].root),
            key="compare_folder",
        )
        other = folders[place]
    found = reading.look(other)
    if not found.splits:
        st.info("There is nothing to compare in that folder yet: it has no split.")
        return
    split = view.split if view.split in found.splits else found.splits[0]
    if len(found.splits) > 1:
        split = right.selectbox(
            "Its split", found.splits, index=found.splits.index(split), key="compare_split"
        )
    results = reading.read_results(other, split)
    view.problems.extend(
        Problem(f"{other.root.name}/{problem.file}", problem.reason)
        for problem in (*found.problems, *results.problems)
    )
    titles = _titles((view.work, view.split), (other, split))
    show_answers(titles, (view.results, results))
    for warning in explain_not_comparable(
        (view.found.store, found.store), (view.results, results)
    ):
        st.warning(warning)
    show_folder_tables(view, titles, (other, split), found.store, results)


def show_answers(titles: Sequence[str], both: Sequence[SplitResults]) -> None:
    for column, title, results in zip(st.columns(2, gap="large"), titles, both, strict=True):
        with column, st.container(border=True):
            st.caption("Confirmed answer of")
            st.text(title)
            st.text(
                results.confirm.verdict.sentence
                if results.confirm
                else "Nothing is confirmed yet."
            )


def show_folder_tables(
    view: View,
    titles: Sequence[str],
    other: tuple[WorkFolder, str],
    store: StoreInfo | None,
    results: SplitResults,
) -> None:
    places = ((view.work, view.split), other)
    both = (view.results, results)
    points = compare_tables.front_points(titles, both)
    st.markdown("**Accuracy against size**")
    if points.empty:
        st.info("Neither has a finished trial.")
    else:
        st.altair_chart(charts_compare.draw_fronts(points, titles), key="folder_fronts")
        st.caption(
            "Circles and steps: the searched fronts on the validation people. Diamonds: the "
            "confirmed students on people never seen before, each the mean of its seeds, with 95 % intervals over "
            "people and seeds."
        )
    st.markdown("**What was found**")
    facts = compare_tables.folder_facts(
        titles,
        both,
        [reading.read_progress(work, split) for work, split in places],
        [_store_words(view.found.store), _store_words(store)],
    )
    st.dataframe(
        without_formulas(facts),
        hide_index=True,
        height="content",
        column_config={"fact": st.column_config.TextColumn("")},
        key="folder_facts",
    )
    settings = [search_settings(its.search) for its in both]
    differing = compare_tables.list_settings_that_differ(titles, settings)
    if not differing.empty:
        st.markdown("**Settings of the searches that differ**")
        st.dataframe(
            without_formulas(differing),
            hide_index=True,
            column_config={"setting": st.column_config.TextColumn("Setting")},
            key="folder_settings",
        )


def explain_not_comparable(
    stores: tuple[StoreInfo | None, StoreInfo | None], both: tuple[SplitResults, SplitResults]
) -> list[str]:
    """Give the reasons why scores of the two folders cannot be compared: other classes, or other people."""
    one, other = stores
    said = []
    if one is not None and other is not None and one.classes != other.classes:
        said.append(
            "The two folders tell other classes apart: a score of one is no measure for the other."
        )
    people = [dict(Counter(its.split.roles.values())) if its.split else {} for its in both]
    if people[0] != people[1]:
        said.append(
            "The two folders have other people: a difference between them may be one of the people."
        )
    return said


def _titles(*places: tuple[WorkFolder, str]) -> list[str]:
    """Return a short unique name for each folder; full paths, splits or numbers are used where names are the same."""
    names = [work.root.name for work, _ in places]
    if len(set(names)) < len(names):
        names = [str(work.root) for work, _ in places]
    splits = [split for _, split in places]
    if len(set(splits)) > 1:
        names = [f"{name}, {split}" for name, split in zip(names, splits, strict=True)]
    return names if len(set(names)) == len(names) else [f"{n} ({k})" for k, n in enumerate(names)]


def _store_words(store: StoreInfo | None) -> str:
    if store is None:
        return ""
    recordings, people = (
        many(store.recordings, "recording"),
        many(store.people, "person", "people"),
    )
    return f"{recordings} of {people}, {many(len(store.classes), 'class', 'classes')}"
