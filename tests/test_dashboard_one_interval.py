"""One score and one difference have one interval: in scores.json, on Overview, on Student and on Compare."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.compare.page import AS
from dashboard.frame import model_tables
from dashboard.reading import model_files
from dashboard.reading import work_folder as reading
from dashboard.reading.work_folder import Predicted
from gaitforge.work import WorkFolder, read_json
from tests.toy_work import Toy, make_work
from tests.try_page import APP, Show, open_page, table, words


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(
        tmp_path_factory.mktemp("full") / "work", Toy(people=16, trials=12, running=0)
    )


@pytest.fixture(scope="module")
def scores(full: WorkFolder) -> dict[str, Any]:
    return dict(read_json(full.run("people").confirm / "scores.json"))


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "overview", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def ends(pairs: pd.DataFrame, first: str, second: str) -> list[float]:
    """Difference and the ends of its interval."""
    (row,) = pairs[(pairs["first"] == first) & (pairs["second"] == second)].to_dict("records")
    return [row["difference"], row["low"], row["high"]]


def told(row: dict[str, Any]) -> list[float]:
    return [row["difference"], *row["difference_interval"]]


def signed(low: float, high: float) -> str:
    return f"{low:+.3f} to {high:+.3f}"


@pytest.mark.slow
def test_compare_works_out_the_intervals_that_confirm_wrote(
    full: WorkFolder, scores: dict[str, Any], show: Show
) -> None:
    trials = [member["trial"] for member in scores["members"]]
    query = "&".join(f"compare={number}" for number in [*trials, -1])
    app = show(full, page="compare", query=query)
    recipes = table(app, "first")
    assert "intervals are over people, and over people and seeds" in words(app)
    app.segmented_control(key="compare_as").set_value(AS[1]).run()
    networks = table(app, "first")
    assert "over people and seeds where" not in words(app)
    assert len(recipes) == len(networks) == 6
    for member in scores["members"]:
        name = f"Trial {member['trial']}"
        assert ends(recipes, name, "Teacher") == pytest.approx(told(member))
        assert ends(networks, name, "Teacher") == pytest.approx(told(member["network"]))
        facts = table(app, "fact").set_index("fact")[name]
        low, high = member["network"]["difference_interval"]
        assert f"({signed(low, high)})" in facts["its network, minus the teacher"]
        low, high = member["difference_interval"]
        assert f"({signed(low, high)})" in facts["mean of its seeds, minus the teacher"]


@pytest.mark.slow
def test_student_shows_the_intervals_that_confirm_wrote(
    full: WorkFolder, scores: dict[str, Any], show: Show
) -> None:
    for member in scores["members"][:2]:
        rows = table(show(full, page="student", query=f"trial={member['trial']}"), "over")
        found = rows.set_index("model").to_dict("index")
        for name, its, over in (
            ("its network, seed 10002", member["network"], "over people"),
            ("mean of 5 seeds", member, "over people and seeds"),
        ):
            assert found[name]["macro_f1"] == its["macro_f1"]
            assert found[name]["difference"] == f"{its['difference']:+.3f}"
            assert found[name]["difference_interval"] == signed(*its["difference_interval"])
            assert found[name]["interval"] == "{:.3f} to {:.3f}".format(*its["interval"])
            assert found[name]["over"] == over
        # the row minus the column, as show, the card and the verdict have it
        for name, difference in (
            ("its network, seed 10002", member["network"]["against_reference"]),
            ("teacher", scores["reference"]["teacher_minus_this"]),
        ):
            assert found[name]["reference"] == f"{difference['difference']:+.3f}"
            assert found[name]["reference_interval"] == signed(*difference["difference_interval"])
        for name in ("reference: ridge regression", "always the commonest class"):
            assert found[name]["difference"] == found[name]["reference"] == ""


def test_students_robustness_without_a_missing_joint_is_its_score_with_its_interval(
    full: WorkFolder, scores: dict[str, Any]
) -> None:
    classes = tuple(sorted(Toy().classes))
    for member in scores["members"]:
        answers = model_files.read_robustness(full, "people", member["trial"], [])
        answers["model"] = ["teacher" if name == "teacher" else "it" for name in answers["model"]]
        whole = model_tables.robustness_table(answers, classes)
        whole = whole[whole["hidden"] == 0].set_index("model")
        for name, its in (("it", member), ("teacher", scores["teacher"])):
            row = whole.loc[name]
            assert [row["macro_f1"], row["low"], row["high"]] == pytest.approx(
                [its["macro_f1"], *its["interval"]]
            )


def test_overview_shows_the_intervals_that_confirm_wrote(
    full: WorkFolder, scores: dict[str, Any], show: Show
) -> None:
    chosen = next(m for m in scores["members"] if m["trial"] == scores["chosen"])
    metrics = {metric.label: metric.delta for metric in show(full).metric}
    low, high = chosen["network"]["interval"]
    assert metrics["Macro F1, 16 unseen people"] == f"95 %: {low:.3f} to {high:.3f}"
    low, high = chosen["network"]["difference_interval"]
    assert metrics["Minus the teacher, points"] == f"95 %: {100 * low:+.1f} to {100 * high:+.1f}"
    low, high = chosen["alone"]["difference_interval"]
    assert metrics["Distillation adds, points"] == f"95 %: {100 * low:+.1f} to {100 * high:+.1f}"


def test_recall_counts_people_and_seeds_as_the_scores_do(full: WorkFolder) -> None:
    """One network, and five copies of it, which differ in nothing, have the same interval."""
    classes = tuple(sorted(Toy().classes))
    files = reading.find_prediction_files(full, "people", [])
    whose = Predicted(role="confirm", model="teacher", trial=None)
    one = reading.read_predictions(full, files[whose], whose, classes, [])
    one["true_class"] = one["true_class"].where(one["true_class"] != classes[1], classes[0])
    one["true_class"] = one["true_class"].where(one["true_class"] != classes[2], classes[0])
    copies = pd.concat([one.assign(seed=seed) for seed in range(5)], ignore_index=True)
    alone, together = (
        model_tables.recall_table(its, its.head(0), classes)[["low", "high"]].iloc[0].tolist()
        for its in (one, copies)
    )
    assert alone == pytest.approx(together)
    assert alone[0] < alone[1]
