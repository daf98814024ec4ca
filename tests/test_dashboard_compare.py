"""Compare: what differs between models, on whom, and what two work folders may and may not say of each other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.compare import charts as charts_compare
from dashboard.compare import tables as compare_tables
from dashboard.compare.page import LISTED, list_pickable, people_words, pick_first
from dashboard.frame.chart_style import CONFIRMED
from dashboard.frame.chart_style import TEACHER as GREY
from dashboard.frame.view import View
from dashboard.reading import work_folder as reading
from dashboard.reading.models import TEACHER, Model, Setting, collect_models
from gaitforge.records.confirm import SCORES
from gaitforge.work import WorkFolder, read_json, write_json
from tests.made import made
from tests.toy_work import Toy, make_split, make_store, make_work
from tests.try_page import APP, Show, open_page, table, words

CLASSES = ("a", "b")


def model(number: int, *settings: tuple[str, str, str], **other: object) -> Model:
    one = Model(
        number=number,
        family="tcn",
        state="finished",
        reason=None,
        params=1000,
        macs=None,
        macro_f1=0.5,
        accuracy=0.5,
        epochs=3,
        seconds=1.5,
        on_front=False,
        settings=tuple(Setting(group=g, name=n, value=v) for g, n, v in settings),
        curve=(),
        member=None,
    )
    return replace(one, **other)  # type: ignore[arg-type]


def said(*answers: tuple[str, str, str], seed: int = 0) -> pd.DataFrame:
    """Predictions of (person, true class, said class), each a recording of its own."""
    rows = [(seed, f"r{n}", p, t, s) for n, (p, t, s) in enumerate(answers)]
    return pd.DataFrame(rows, columns=["seed", "recording", "person", "true_class", "said_class"])


def row(table: pd.DataFrame, name: str) -> list[object]:
    """The values of a row by its name in the index."""
    return list(table.to_dict("split")["data"][list(table.index).index(name)])


# ---------------------------------------------------------------- settings and facts


def test_settings_that_differ_come_first() -> None:
    one = model(1, ("sizes", "layers", "3"), ("recipe", "batch", "32"), ("recipe", "lr", "0.1"))
    two = model(2, ("sizes", "layers", "3"), ("recipe", "batch", "32"), ("recipe", "lr", "0.2"))
    found = compare_tables.settings_table([one, two])
    assert found["setting"].tolist() == ["lr", "family", "layers", "batch"]
    assert found["differs"].tolist() == [True, False, False, False]
    assert found[["Trial 1", "Trial 2"]].to_numpy()[0].tolist() == ["0.1", "0.2"]


def test_only_what_all_models_say_alike_is_shared() -> None:
    one = model(1, ("recipe", "lr", "0.1"), ("sizes", "layers", "3"), ("trial", "seed", "1"))
    two = model(2, ("recipe", "lr", "0.1"), ("sizes", "layers", "3"), ("trial", "seed", "1"))
    teacher = model(TEACHER, ("sizes", "layers", "3"))
    found = compare_tables.settings_table([one, two, teacher]).set_index("setting")
    # the teacher does not tell its recipe
    shared = {"family": True, "layers": True, "lr": False, "seed": False}
    assert found["shared"].to_dict() == shared
    assert not found["differs"].any()
    found = compare_tables.settings_table([one, two]).set_index("setting")
    assert found["shared"].all()


def test_a_seed_and_a_teacher_without_a_recipe_are_no_differences() -> None:
    student = model(1, ("recipe", "lr", "0.1"), ("trial", "seed", "1"))
    other = model(2, ("recipe", "lr", "0.1"), ("trial", "seed", "2"))
    teacher = model(TEACHER, ("windows", "frames", "64"))
    found = compare_tables.settings_table([student, other, teacher])
    assert not found["differs"].any()


def test_a_term_that_only_one_student_uses_is_a_difference() -> None:
    one = model(1, ("distillation", "weights.kd", "1"))
    two = model(2, ("distillation", "temperature", "4"))
    found = compare_tables.settings_table([one, two]).set_index("setting")
    assert bool(found.loc["weights.kd", "differs"])
    assert found.loc["weights.kd", "Trial 2"] == ""


def test_facts_have_intervals_and_leave_out_what_nobody_has(full: WorkFolder) -> None:
    confirm = reading.read_results(full, "people").confirm
    network = {
        "seed": 10_000, "macro_f1": 0.62, "interval": [0.55, 0.7], "accuracy": 0.6, "difference": -0.01,
        "difference_interval": [-0.08, 0.06], "tested": False,
        "against_reference": {"difference": 0.1, "difference_interval": [0.02, 0.2]},
    }  # fmt: skip
    its = {
        "trial": 1, "family": "tcn", "params": 1000, "macro_f1": 0.6, "interval": [0.5, 0.7], "accuracy": 0.6,
        "noninferior": False, "difference": -0.02, "difference_interval": [-0.1, 0.06], "seeds": 5, "alone": None,
        "network": network,
    }  # fmt: skip
    member = made(SCORES, members=[its]).members[0]
    models = [model(1, member=member), model(2)]
    found = compare_tables.facts_table(models, confirm).set_index("fact")
    assert row(found, "macro F1, confirm people, its network") == ["0.620 (0.550 to 0.700)", ""]
    assert row(found, "macro F1, confirm people, mean of its seeds")[0] == "0.600 (0.500 to 0.700)"
    assert found.loc["its network, minus the teacher", "Trial 1"] == "-0.010 (-0.080 to +0.060)"
    assert found.loc["its network, minus the reference", "Trial 1"] == "+0.100 (+0.020 to +0.200)"
    assert (
        found.loc["mean of its seeds, minus the teacher", "Trial 1"] == "-0.020 (-0.100 to +0.060)"
    )
    assert (
        found.loc["its network, tested", "Trial 1"] == "not tested, since a larger student failed"
    )
    assert "MACs a window" not in found.index
    assert row(found, "training") == ["3 epochs, 2 s"] * 2


# ---------------------------------------------------------------- on the same people


def test_people_on_whom_models_differ_most_come_first() -> None:
    one = said(("p1", "a", "a"), ("p1", "b", "b"), ("p2", "a", "a"), ("p3", "b", "b"))
    two = said(("p1", "a", "a"), ("p1", "b", "a"), ("p2", "a", "a"), ("p3", "b", "a"))
    found = compare_tables.people_table({"one": one, "two": two})
    assert found["person"].tolist() == ["p3", "p1", "p2"]
    assert found["two"].tolist() == [0.0, 0.5, 1.0]
    assert found["spread"].tolist() == [1.0, 0.5, 0.0]
    assert found["classes"].tolist() == ["b", "a, b", "a"]
    long = compare_tables.long_people(found, ["one", "two"])
    assert len(long) == 6


def test_whoever_only_one_model_was_asked_about_is_no_agreement() -> None:
    one = said(("p1", "a", "a"), ("p2", "a", "a"), ("p3", "a", "a"))
    two = said(("p1", "a", "b"), ("p2", "a", "a"))
    found = compare_tables.people_table({"one": one, "two": two})
    assert found["person"].tolist() == ["p1", "p2", "p3"]
    assert found["spread"].isna().tolist() == [False, False, True]
    assert people_words(found, 1) == (
        "They differ on 1 of 3 people; on 1 all are right equally often."
    )
    assert people_words(found[1:], 0) == (
        "They differ on none of 2 people; on 1 all are right equally often."
    )


def test_of_many_people_on_whom_models_differ_the_drawn_are_counted() -> None:
    table = pd.DataFrame({"spread": [0.9, 0.5, 0.1, 0.0]})
    assert people_words(table, 2) == (
        "They differ on 3 of 4 people, of whom the 2 most different are drawn; on 1 all are right equally often."
    )


def test_pairs_are_paired_over_people_and_need_the_same_recordings() -> None:
    right = [(f"p{n:02d}", "ab"[n % 2], "ab"[n % 2]) for n in range(12)]
    wrong = [*right[:-1], ("p11", "b", "a")]
    pairs = compare_tables.pairs_table(
        {"one": said(*right), "two": said(*wrong), "odd": said(*right[:-1])}, CLASSES
    )
    assert pairs[["first", "second"]].values.tolist() == [["one", "two"]]
    first = pairs.iloc[0]
    # of the wrong one six of the seven called a are right (F1 12/13), and five of the six b (F1 10/11)
    assert first["difference"] == pytest.approx(1 - (12 / 13 + 10 / 11) / 2)
    # one person in twelve says little of how many others would differ
    assert -0.5 < first["low"] < 0 <= first["difference"] <= first["high"]


def test_with_few_people_pairs_have_no_interval() -> None:
    one = said(("p1", "a", "a"), ("p2", "b", "b"))
    two = said(("p1", "a", "b"), ("p2", "b", "b"))
    pairs = compare_tables.pairs_table({"one": one, "two": two}, CLASSES)
    assert np.isnan(pairs["low"]).all()


def test_recalls_are_told_for_each_model_and_class() -> None:
    one = said(("p1", "a", "a"), ("p2", "a", "b"), ("p3", "b", "b"))
    found = compare_tables.recalls_table({"one": one, "two": one}, CLASSES)
    assert found[["model", "class", "recall"]].values.tolist() == [
        ["one", "a", 0.5],
        ["one", "b", 1.0],
        ["two", "a", 0.5],
        ["two", "b", 1.0],
    ]


def test_looks_keep_the_accent_for_the_student_in_question() -> None:
    look = charts_compare.choose_looks(["Trial 1", "Trial 2", "Teacher"], "Teacher", "Trial 2")
    assert look["Trial 2"][0] == CONFIRMED
    assert look["Teacher"][0] == GREY
    assert len(set(look.values())) == 3


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "compare", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def test_the_page_begins_with_the_chosen_one_its_rival_and_the_teacher(
    full: WorkFolder, show: Show
) -> None:
    app = show(full)
    scores = read_json(full.run("people").confirm / "scores.json")
    picked = app.multiselect(key="compared").value
    assert picked[0] == scores["chosen"]
    assert picked[-1] == TEACHER
    assert len(picked) == 3
    facts = table(app, "fact")
    assert facts.columns[-1] == "Teacher"
    assert "On the same people** (confirm people)" in words(app)
    assert len(table(app, "first")) == 3
    assert len(app.get("vega_lite_chart")) == 4


def test_people_on_whom_all_agree_are_listed_only_where_they_are_asked_for(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, running=0))
    chosen = read_json(work.run("people").confirm / "scores.json")["chosen"]
    folder = work.run("people").predictions
    of_teacher, own = (
        pq.read_table(folder / f"confirm-{name}.parquet")
        for name in ("teacher", f"student-{chosen}")
    )
    said_ = dict(
        zip(
            of_teacher["recording"].to_pylist(),
            of_teacher["probabilities"].to_pylist(),
            strict=True,
        )
    )
    place = own.schema.get_field_index("probabilities")
    # of two people it says what the teacher says
    rows = [
        said_[row["recording"]] if row["person"] in ("P51", "P52") else row["probabilities"]
        for row in own.to_pylist()
    ]
    changed = own.set_column(place, own.field(place), pa.array(rows, own.field(place).type))
    pq.write_table(changed, folder / f"confirm-student-{chosen}.parquet")
    app = show(work)
    student, _, teacher = app.multiselect(key="compared").value
    app.multiselect(key="compared").set_value([student, teacher]).run()
    differing = table(app, "spread")
    assert (differing["spread"] > 0).all()
    app.toggle(key="people_everybody").set_value(True).run()
    everybody = table(app, "spread")
    assert len(everybody) == 12
    agreed_on = everybody[~everybody["person"].isin(differing["person"])]
    assert {"P51", "P52"} <= set(agreed_on["person"])
    assert (agreed_on["spread"] == 0).all()


def test_students_that_were_not_confirmed_are_held_against_each_other_on_validation_people(
    full: WorkFolder, show: Show
) -> None:
    app = show(full)
    members = {
        m["trial"] for m in read_json(full.run("people").confirm / "scores.json")["members"]
    }
    others = [
        number
        for number in range(38)
        if number not in members
        and read_json(full.run("people").trials / f"{number}.json")["state"] == "finished"
    ]
    app.multiselect(key="compared").set_value(others[:4]).run()
    assert not app.exception
    assert "(validation people)" in words(app)
    assert len(table(app, "first")) == 6


def test_a_model_without_predictions_is_named_as_left_out(full: WorkFolder, show: Show) -> None:
    app = show(full)
    front = app.multiselect(key="compared").value[:2]
    app.multiselect(key="compared").set_value([*front, 12]).run()  # trial 12 failed
    assert "Without Trial 12, which has no predictions there." in words(app)


def test_a_link_opens_the_same_models(full: WorkFolder, show: Show) -> None:
    app = show(full, query="compare=4&compare=-1&compare=999&compare=x")
    assert app.multiselect(key="compared").value == [4, TEACHER]
    assert app.query_params["compare"] == ["4", "-1"]


def test_one_model_alone_is_nothing_to_compare(full: WorkFolder, show: Show) -> None:
    app = show(full)
    app.multiselect(key="compared").set_value([0]).run()
    assert "Pick at least two models" in words(app)


def test_of_very_many_models_those_that_matter_can_be_picked(full: WorkFolder) -> None:
    line = reading.read_results(full, "people")
    few = collect_models(line)
    most = {n: model(n, macro_f1=n / 1e4) for n in range(1000, 1000 + LISTED)} | few
    view = View(
        work=full, others=(), split="people", found=reading.look(full), results=line, models=most, chosen=12,
        outdated=reading.Outdated(answer=None, export=None), problems=[],
    )  # fmt: skip
    options = list_pickable(view)
    assert {TEACHER, 12, *line.front} <= set(options)
    assert len(options) <= LISTED + len(line.front) + 5
    assert pick_first(view)[0] == 12


def test_two_folders_are_held_against_each_other(
    full: WorkFolder, tmp_path: Path, show: Show
) -> None:
    other = make_work(tmp_path / "other", Toy(classes=("x", "y"), trials=8, people=9, seed=3))
    path = other.run("people").search / "search.json"
    write_json(path, {**read_json(path), "settings": {"seed": 1, "fit": {"batch": 64}}})
    app = show(full, other)
    app.segmented_control(key="compare_what").set_value("work folders").run()
    assert not app.exception
    said_ = words(app)
    assert "tell other classes apart" in said_
    assert "other people" in said_
    facts = table(app, "fact").set_index("fact")
    assert row(facts, "confirm people") == ["12", "9"]
    assert facts.columns.tolist() == ["work", "other"]
    differing = table(app, "setting").set_index("setting")
    assert row(differing, "fit.batch") == ["", "64"]


@pytest.mark.parametrize(
    "make", [lambda work: None, lambda work: work.make(), make_store, make_split]
)
def test_a_folder_with_little_in_it_can_be_named_as_the_other(
    full: WorkFolder,
    tmp_path: Path,
    show: Show,
    make: Callable[[WorkFolder], None],
) -> None:
    other = WorkFolder(tmp_path / "other")
    make(other)
    app = show(full, other)
    app.segmented_control(key="compare_what").set_value("work folders").run()
    assert not app.exception
