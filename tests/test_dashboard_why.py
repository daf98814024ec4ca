"""Why: importance, the terms of the front, parallel axes and slices say what the trials say."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.reading import work_folder as reading
from dashboard.why import charts as charts_why
from dashboard.why import tables as why_tables
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import Trial
from gaitforge.records.values import Searched
from gaitforge.work import WorkFolder, read_json, write_json, write_parquet
from tests.toy_work import Toy, make_work
from tests.try_page import APP, Show, open_page, table, words


def trial(
    number: int,
    searched: Mapping[str, Searched],
    macro_f1: float = 0.5,
    weights: Mapping[str, float] | None = None,
    family: str = "tcn",
    params: int = 1000,
) -> Trial:
    return Trial(
        number=number, state="finished", family=family, sizes={}, params=params, macs=0, seed=0, hash="",
        suggested=searched, recipe=Recipe(),
        distill=Distillation(weights=dict(weights or {})), epochs=1, seconds=1.0,
        scores={"val_macro_f1": macro_f1, "val_accuracy": 0.5, "latency_ms": 2.0},
    )  # fmt: skip


# ---------------------------------------------------------------- importance


def importance(*rows: tuple[str | None, str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["family", "objective", "name", "importance"])


def test_importance_of_a_family_is_apart_from_that_of_all() -> None:
    told = importance(
        (None, "macro_f1", "lr", 0.2),
        (None, "macro_f1", "weight.kd", 0.8),
        ("tcn", "macro_f1", "tcn.channels", 0.9),
        ("tcn", "params", "tcn.channels", 1.0),
    )
    over_all = why_tables.importance_table(told, "macro_f1", None)
    assert over_all["setting"].tolist() == ["weight of kd", "learning rate"]
    assert over_all["importance"].tolist() == [0.8, 0.2]
    of_tcn = why_tables.importance_table(told, "params", "tcn")
    assert of_tcn["setting"].tolist() == ["channels of tcn"]
    assert why_tables.importance_table(told, "macro_f1", "stgcn").empty


@pytest.mark.parametrize(
    ("columns", "problems"),
    [
        ({"objective": ["f"], "name": ["lr"], "importance": [0.5], "family": ["tcn"]}, 0),
        ({"name": ["lr"], "importance": [0.5], "family": ["tcn"]}, 1),
        ({"objective": ["f"], "name": ["lr"], "importance": [0.5]}, 1),
    ],
)
def test_importance_is_read_where_it_has_all_columns(
    tmp_path: Path, columns: dict[str, list[object]], problems: int
) -> None:
    work, found = WorkFolder(tmp_path), list[reading.Problem]()
    table_ = pd.DataFrame(columns)
    path = work.run("people").search / "importance.parquet"
    write_parquet(path, pa.Table.from_pandas(table_))
    read = reading.read_importance(work, "people", found)
    assert len(found) == problems
    assert len(read) == 1 - problems


def test_a_damaged_importance_is_a_problem(tmp_path: Path) -> None:
    work, found = WorkFolder(tmp_path), list[reading.Problem]()
    path = work.run("people").search / "importance.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1")
    assert reading.read_importance(work, "people", found).empty
    assert found[0].file == "runs/people/search/importance.parquet"


# ---------------------------------------------------------------- what trials searched


def test_settings_have_names_that_one_would_say() -> None:
    named = {name: why_tables.setting_words(name) for name in ("lr", "tcn.channels", "weight.kd")}
    assert list(named.values()) == ["learning rate", "channels of tcn", "weight of kd"]
    assert why_tables.setting_words("temperature.dist") == "temperature of dist"
    assert why_tables.setting_words("terms.logits") == "term for logits"
    assert why_tables.setting_words("stgcn.first_stride") == "first stride of stgcn"


def test_sizes_of_other_families_are_left_out() -> None:
    trials = [
        trial(0, {"family": "tcn", "lr": 0.1, "tcn.layers": 3, "weight.kd": 1.0}),
        trial(1, {"family": "stgcn", "lr": 0.2, "stgcn.depth": 3}, family="stgcn"),
    ]
    assert why_tables.list_searched_names(trials, None) == ["family", "lr", "weight.kd"]
    assert why_tables.list_searched_names(trials[:1], "tcn") == ["lr", "weight.kd", "tcn.layers"]


def test_values_of_objectives_come_from_where_the_trial_keeps_them() -> None:
    one = trial(0, {}, macro_f1=0.75, params=321)
    values = {name: why_tables.objective_value(one, name) for name in ("macro_f1", "params")}
    assert values == {"macro_f1": 0.75, "params": 321.0}
    assert why_tables.objective_value(one, "latency_ms") == 2.0
    assert why_tables.objective_value(one, "robustness") is None
    assert why_tables.objective_value(one, "unheard of") is None


def test_terms_of_the_front_are_counted_with_their_weights() -> None:
    trials = [
        trial(0, {}, weights={"kd": 1.0}),
        trial(1, {}, weights={"kd": 3.0, "rkd": 5.0}),
        trial(2, {}, weights={"rkd": 9.0}),
        trial(3, {}, weights={}),
    ]
    kd, rkd = why_tables.terms_table(trials, front={0, 1}).to_dict("records")
    assert list(kd.values()) == ["kd", 2, 2, 1.0, 2.0, 3.0, 50.0]
    assert list(rkd.values()) == ["rkd", 1, 2, 5.0, 5.0, 5.0, 50.0]
    unused = why_tables.terms_table(trials, front={3}).to_dict("records")[0]
    assert unused["front"] == 0
    assert math.isnan(unused["median"])


def test_a_slice_has_the_finished_trials_that_were_asked_for_the_setting() -> None:
    trials = [
        trial(0, {"lr": 0.1}, macro_f1=0.4),
        trial(1, {"lr": 0.2}, macro_f1=0.5),
        trial(2, {"lr": 0.3}, macro_f1=0.6),
        trial(3, {}),
    ]
    found = why_tables.slice_table(trials, "lr", "macro_f1", front={1, 2}, chosen=2)
    assert found["value"].tolist() == [0.1, 0.2, 0.3]
    assert found["kind"].tolist() == ["beaten", "front", "chosen"]


def test_a_slice_over_a_choice_has_text() -> None:
    trials = [trial(0, {"x": True}), trial(1, {"x": "none"})]
    found = why_tables.slice_table(trials, "x", "macro_f1", front=(), chosen=-1)
    assert found["value"].tolist() == ["yes", "none"]


# ---------------------------------------------------------------- axes


def test_axes_run_over_the_finished_trials_by_logarithm_where_they_span_decades() -> None:
    trials = [
        trial(0, {"lr": 0.001, "layers": 1, "kind": "b", "fixed": 4}, macro_f1=0.2),
        trial(1, {"lr": 0.01, "layers": 3, "kind": "a", "fixed": 4}, macro_f1=0.6),
        trial(2, {"lr": 0.1, "layers": 5, "kind": "a", "fixed": 4}, macro_f1=0.4),
    ]
    axes = why_tables.make_axes(trials, ["lr", "layers", "kind", "fixed"], ["macro_f1"])
    assert [axis.name for axis in axes] == ["lr", "layers", "kind", "macro_f1"]
    lr, layers, kind, score = axes
    assert [lr.place(value) for value in (0.001, 0.01, 0.1)] == pytest.approx([0, 0.5, 1])
    assert layers.place(2) == pytest.approx(0.25)
    assert kind.marks == {0.25: "a", 0.75: "b"}
    assert (kind.place("b"), kind.place("c"), layers.place("2"), layers.place(None)) == (
        0.75,
        None,
        None,
        None,
    )
    assert score.marks == {0.0: "0.2", 1.0: "0.6"}


def test_each_picked_trial_crosses_each_axis_and_some_others_are_drawn_behind() -> None:
    trials = [trial(n, {"layers": n}, macro_f1=n / 400) for n in range(301)]
    axes = why_tables.make_axes(trials, ["layers"], ["macro_f1"])
    paths = why_tables.paths_table(trials, picked={1, 300}, axes=axes, chosen=300)
    by_kind = paths.groupby("kind")["trial"].nunique()
    assert by_kind["picked"] == 1
    assert by_kind["chosen"] == 1
    assert 40 <= by_kind["other"] <= why_tables.CONTEXT
    chosen = paths[paths["kind"] == "chosen"]
    assert chosen["place"].tolist() == [1.0, 1.0]
    assert chosen["value"].tolist() == ["300", "0.75"]


def test_charts_of_empty_tables_are_charts() -> None:
    nothing = why_tables.slice_table([], "lr", "macro_f1", (), -1)
    chart = charts_why.draw_slice(
        nothing, setting="x", objective="y", families=["tcn"], log_x=False, log_y=False
    )
    assert chart.to_dict()["description"].startswith("x against y of 0")


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "why", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def test_the_page_tells_what_the_front_learns_by(full: WorkFolder, show: Show) -> None:
    app = show(full)
    front = read_json(full.run("people").search / "front.json")["front"]
    terms = table(app, "term").set_index("term")
    assert terms.loc["kd", "front"] == len(front)
    assert "What decides is written when the search ends" in words(app)
    assert len(app.get("vega_lite_chart")) == 3


@pytest.mark.slow
def test_a_family_has_its_own_importance_and_slices(full: WorkFolder, show: Show) -> None:
    rows = importance((None, "macro_f1", "lr", 1.0), ("tcn", "macro_f1", "tcn.kernel", 1.0))
    path = full.run("people").search / "importance.parquet"
    write_parquet(path, pa.Table.from_pandas(rows))
    app = show(full)
    assert "Sizes belong to a family" in words(app)
    assert app.selectbox(key="why_setting").value == "lr"
    app.selectbox(key="why_family").set_value("tcn").run()
    assert app.selectbox(key="why_setting").value == "lr"
    assert "Sizes belong to a family" not in words(app)
    assert show(full, query="family=tcn").selectbox(key="why_setting").value == "tcn.kernel"
    app.segmented_control(key="why_group").set_value("by hand").run()
    app.selectbox(key="why_setting").set_value("tcn.layers").run()
    assert not app.exception
    path.unlink()


def test_a_link_opens_the_page_as_it_was(full: WorkFolder, show: Show) -> None:
    query = "family=tcn&setting=tcn.layers&objective=params&group=by hand"
    app = show(full, query=query)
    assert app.selectbox(key="why_family").value == "tcn"
    assert app.selectbox(key="why_setting").value == "tcn.layers"
    assert app.selectbox(key="why_objective").value == "params"
    assert app.segmented_control(key="why_group").value == "by hand"
    odd = show(full, query="family=nobody&setting=../../etc&objective=7&group=")
    assert odd.selectbox(key="why_family").value == "all families"


def test_with_nothing_finished_the_page_says_so(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", Toy(trials=2, running=2, confirmed=False))
    assert "No trial has finished yet" in words(show(work))


def test_too_few_trials_are_said_to_be_too_few(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", Toy(trials=5, running=0, stopped=0, failed=0))
    said = words(show(work))
    assert "5 finished trials cannot tell what decides: it takes 8." in said


def test_text_of_trials_is_no_markdown(tmp_path: Path, show: Show) -> None:
    nasty = "**bold** <b>x</b>"
    work = make_work(tmp_path / "work", Toy(trials=12, running=0, stopped=0, failed=0))
    for number, path in enumerate(work.run("people").trials.iterdir()):
        content = read_json(path)
        searched = {**content["suggested"], nasty: nasty}
        weights = {nasty: 1.0}
        write_json(
            path,
            {
                **content,
                "suggested": searched,
                "distill": {"weights": weights, "temperature": 4.0},
                "family": nasty * (number % 2 + 1),
            },
        )
    app = show(work)
    markdown = [element.value for element in (*app.markdown, *app.caption, *app.info)]
    assert nasty not in "".join(markdown)
    assert all(nasty not in str(group.options) for group in app.segmented_control)
    assert nasty in app.selectbox(key="why_family").options
    assert table(app, "term")["term"].tolist() == [nasty]
