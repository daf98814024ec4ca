"""The trade-off page: what is drawn, what is good enough, and what hypervolume and optimism say."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.fronts import charts as charts_fronts
from dashboard.fronts import tables as front_tables
from dashboard.fronts.good_enough import Answer, find_smallest_good_enough
from dashboard.fronts.scales import list_budget_steps
from dashboard.reading import models as review_tables
from dashboard.reading import work_folder as reading
from dashboard.reading.models import Model
from gaitforge import stats
from gaitforge.objectives import SearchedFront
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.confirm import BAD, GOOD, SCORES, Member, Scores
from gaitforge.records.search import SEARCH as SEARCH_FILE
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, read_json, write_json
from tests.made import made
from tests.toy_work import Toy, make_split, make_work
from tests.try_page import APP, Show, open_page, table, turn_to, words

ALL = ("stgcn", "tcn")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "trade-off", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def answer(app: AppTest) -> str:
    """The sentence of the page."""
    return next(
        text.value for text in app.text if "student" in text.value or "Trial" in text.value
    )


# ---------------------------------------------------------------- the page


def test_page_shows_both_fronts_their_tables_and_the_sentence(
    full: WorkFolder, show: Show
) -> None:
    app = show(full)
    said = words(app)
    chosen = read_json(full.run("people").confirm / "scores.json")["chosen"]
    assert answer(app).startswith(f"Trial {chosen}, a ")
    assert "28 finished trials, 9 stopped, 1 failed" in said
    assert (
        "On 12 people whom nothing had seen before. Each is the one network that is handed out. Bars are 95 % "
        "intervals over people. Faint: the mean of its 5 seeds." in said
    )
    assert len(table(app, "on_front")) == 38
    assert len(table(app, "gain")) == 3
    # the toy's trials end within the same minute each hour: there is a hypervolume
    assert len(app.get("vega_lite_chart")) == 4


def test_the_verdict_stands_above_the_sentence_and_is_said_not_to_follow_the_sliders(
    full: WorkFolder, show: Show
) -> None:
    app = show(full)
    verdict = read_json(full.run("people").confirm / "scores.json")["verdict"]["word"]
    texts = [text.value for text in app.text]
    assert texts[texts.index(answer(app)) - 1] == verdict.capitalize()
    note = "The verdict is of the margin that confirm was given, 5 points, and of no budget"
    assert note not in words(app)
    for query in ("loss=1", "budget=1600"):
        moved = show(full, query=query)
        assert note in words(moved)
        assert verdict.capitalize() in [text.value for text in moved.text]


def test_before_confirmation_no_verdict_is_given(tmp_path: Path, show: Show) -> None:
    app = show(make_work(tmp_path / "work", Toy(trials=8, running=0, confirmed=False)))
    assert "Nothing is confirmed" in answer(app)
    assert not {"Ship", "Cannot tell"} & {text.value for text in app.text}


@pytest.mark.slow
def test_sliders_move_the_sentence(full: WorkFolder, show: Show) -> None:
    app = show(full)
    members = read_json(full.run("people").confirm / "scores.json")["members"]
    lows = [row["network"]["difference_interval"][0] for row in members]
    assert lows[1] < -0.2 < lows[2]  # so that below the largest none is tested
    smallest = members[2]
    app.slider(key="loss").set_value(20.0).run()
    assert answer(app).startswith(f"Trial {smallest['trial']}, a ")
    app.slider(key="loss").set_value(0.0).run()
    assert answer(app).startswith("No confirmed student is shown to be within 0 points")
    app.select_slider(key="budget").set_value(1600).run()
    assert answer(app).startswith("No confirmed student within 1,600 parameters is shown")


@pytest.mark.slow
def test_any_stored_score_and_size_can_be_drawn(full: WorkFolder, show: Show) -> None:
    app = show(full)
    app.selectbox(key="front_measure").set_value("accuracy").run()
    app.selectbox(key="front_size").set_value("macs").run()
    assert not app.exception
    said = words(app)
    assert "The front drawn is that of these two axes" in said
    assert "Intervals and the accepted loss are of macro F1" in said


def test_teacher_and_confirmed_students_stand_on_the_axis_of_latency_and_the_rest_is_counted(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=8, running=0, stopped=0, failed=0))
    run = work.run("people")
    member = read_json(run.confirm / "scores.json")["members"][0]["trial"]
    row = {
        "key": "k",
        "trial": member,
        "latency_ms_p50": 0.5,
        "latency_ms_p95": 0.6,
        "onnx_bytes": 9,
    }
    teacher = {"key": "t", "latency_ms_p50": 40.0, "latency_ms_p95": 41.0, "onnx_bytes": 9}
    write_json(run.confirm / "latency.json", {"schema": 1, "teacher": teacher, "members": [row]})
    (run.teacher / "model.safetensors").write_bytes(b"w" * 1234)
    line = reading.read_results(work, "people")
    models = review_tables.collect_models(line)
    # the toy's trials do not tell their bytes
    for size, takes in (("latency_ms", {-1: 40.0, member: 0.5}), ("bytes", {-1: 1234.0})):
        drawn = front_tables.searched_points(models.values(), "macro_f1", size, True, ALL)
        assert dict(zip(drawn["trial"], drawn["size"], strict=True)) == takes
    said = words(show(work, query="x=latency_ms"))
    assert "7 of the finished are of unknown latency" in said


@pytest.mark.slow
def test_choices_outlive_a_visit_to_another_page(full: WorkFolder, show: Show) -> None:
    app = show(full)
    app.slider(key="loss").set_value(12.5).run()
    app.selectbox(key="front_measure").set_value("accuracy").run()
    app = turn_to(turn_to(app, "student"), "trade-off")
    assert app.slider(key="loss").value == 12.5
    assert app.selectbox(key="front_measure").value == "accuracy"


@pytest.mark.slow
def test_what_was_dragged_over_can_be_looked_at_in_why(full: WorkFolder, show: Show) -> None:
    app = show(full, page="why")
    assert "dragged over in Trade-off" not in app.segmented_control(key="why_group").options
    app.session_state["brushed"] = (0, 1)
    app.run()
    app.segmented_control(key="why_group").set_value("dragged over in Trade-off").run()
    assert not app.exception
    other = Toy(split="other")
    make_split(full, other)
    app.run()
    app.selectbox(key="split").set_value("other").run()
    assert not app.exception
    full.split_file("other").unlink()


# ---------------------------------------------------------------- the URL


@pytest.mark.slow
def test_a_deep_link_restores_what_was_chosen(full: WorkFolder, show: Show) -> None:
    query = "trial=0&measure=accuracy&x=macs&families=tcn&loss=7.5"
    app = show(full, query=query)
    assert app.selectbox(key="front_measure").value == "accuracy"
    assert app.selectbox(key="front_size").value == "macs"
    assert app.multiselect(key="front_families").value == ["tcn"]
    assert app.slider(key="loss").value == 7.5
    assert turn_to(app, "student").header[0].value == "Trial 0"


def test_the_url_says_what_is_chosen_and_not_what_goes_without_saying(
    full: WorkFolder, show: Show
) -> None:
    app = show(full)
    assert set(app.query_params) == {"trial"}
    app.slider(key="loss").set_value(7.5).run()
    assert app.query_params["loss"] == "7.5"


@pytest.mark.slow
def test_that_nothing_of_a_list_is_chosen_is_in_the_url_too(full: WorkFolder, show: Show) -> None:
    app = show(full)
    app.button_group(key="front_states").set_value([]).run()
    assert app.query_params["states"] == ""
    assert show(full, query="states=").button_group(key="front_states").value == []
    assert show(full, query="families=").multiselect(key="front_families").value == []


@pytest.mark.slow
def test_a_family_that_comes_later_is_drawn_unless_some_were_left_out(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, running=0, failed=0, stopped=0))
    trials = sorted(work.run("people").trials.iterdir())
    for path in trials:
        write_json(path, {**read_json(path), "family": "tcn"})
    app = show(work)
    assert app.multiselect(key="front_families").value == ["tcn"]
    write_json(trials[0], {**read_json(trials[0]), "family": "ctrgcn"})
    app.run()
    assert app.multiselect(key="front_families").value == ["ctrgcn", "tcn"]
    app.multiselect(key="front_families").set_value(["tcn"]).run()
    write_json(trials[1], {**read_json(trials[1]), "family": "stgcn"})
    app.run()
    assert app.multiselect(key="front_families").value == ["tcn"]


def test_another_work_folder_does_not_keep_the_number_of_a_trial(
    full: WorkFolder, tmp_path: Path, show: Show
) -> None:
    other = make_work(tmp_path / "second", Toy(trials=6, running=0))
    app = show(full, other, query="trial=0")
    assert app.query_params["trial"] == "0"
    app.selectbox(key="work").set_value(1).run()
    chosen = read_json(other.run("people").confirm / "scores.json")["chosen"]
    assert app.query_params["trial"] != "0" or chosen == 0


@pytest.mark.parametrize(
    "query",
    [
        "work=../../etc&split=../secret&trial=passwd",
        "work=/etc/passwd&split=/etc&trial=-7",
        "work=7&split=nowhere&trial=99999999999999999999&measure=__class__&x=../x",
        "budget=nan&loss=-1&families=<b>&states=running",
        "work=-1&loss=1e400&budget=inf",
    ],
)
def test_a_url_of_nonsense_opens_what_was_there_anyway(
    query: str, full: WorkFolder, show: Show
) -> None:
    app = show(full, query=query)
    assert app.selectbox(key="front_measure").value == "macro_f1"
    assert app.slider(key="loss").value == 5.0
    assert str(full.root) in words(app)


def test_a_link_names_a_work_folder_by_its_place(
    full: WorkFolder, tmp_path: Path, show: Show
) -> None:
    other = make_work(tmp_path / "second", Toy(trials=6, running=0))
    app = show(full, other, query="work=1")
    assert str(other.root) in words(app)
    assert app.selectbox(key="work").options == ["work", "second"]
    assert "of 6" not in answer(app)


# ---------------------------------------------------------------- good enough


def member(trial: int, params: int, f1: float, low: float, high: float) -> Member:
    """One whose network scores `f1`, where the teacher has 0.8; as a recipe it is better by far."""
    network = {
        "macro_f1": f1, "interval": [f1 - 0.1, f1 + 0.1], "accuracy": f1, "difference": f1 - 0.8,
        "difference_interval": [low, high], "tested": True,
        "against_reference": {"difference": 0.1, "difference_interval": [0.0, 0.2]},
    }  # fmt: skip
    its = {
        "trial": trial, "family": "tcn", "params": params, "macs": 10 * params, "macro_f1": 0.9, "interval": [0.8, 1.0],
        "accuracy": f1, "p_on_front": None, "noninferior": None, "difference": 0.1, "difference_interval": [0.0, 0.2],
        "seeds": 3, "alone": None, "network": network,
    }  # fmt: skip
    return made(SCORES, members=[its]).members[0]


BESIDE = {
    "macro_f1": 0.3, "interval": None, "accuracy": 0.3,
    "teacher_minus_this": {"difference": 0.5, "difference_interval": [0.4, 0.6]},
}  # fmt: skip


def confirmed(*members: Member, too_few: bool = False, doubt: str | None = None) -> Scores:
    reasons = [
        {"about": "people", "says": BAD, "text": "Few."},
        {"about": "seeds", "says": GOOD, "text": "Many."},
    ]
    if doubt is not None:
        reasons.append({"about": "teacher against reference", "says": BAD, "text": doubt})
    scores = made(
        SCORES, margin=0.05, people=30, too_few=too_few, reference=BESIDE, chance=BESIDE, chosen=None,
        teacher={"family": "stgcn", "params": 100_000, "macro_f1": 0.8, "interval": [0.7, 0.9], "accuracy": 0.8},
        verdict={"word": "ship", "sentence": "", "rests_on": reasons},
    )  # fmt: skip
    return replace(scores, members=members)


SMALL = member(1, 1_000, 0.74, -0.12, 0.01)
LARGE = member(2, 9_000, 0.79, -0.04, 0.02)


def found_of(
    confirm: Scores, loss: float, budget: float = math.inf, size: str = "params"
) -> Answer:
    found = find_smallest_good_enough(confirm, {}, size=size, budget=budget, loss=loss)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("loss", "budget", "expected"),
    [
        (0.05, math.inf, 2),
        (
            0.04,
            math.inf,
            None,
        ),  # the interval must lie above, as in gaitforge.stats.is_noninferior
        (0.125, math.inf, 1),
        (0.05, 5_000, None),
        (0.125, 5_000, 1),
        (0.125, 500, None),
    ],
)
def test_the_smallest_whose_networks_whole_interval_is_good_enough_is_the_answer(
    loss: float, budget: float, expected: int | None
) -> None:
    found = found_of(confirmed(SMALL, LARGE), loss, budget)
    assert (found.trial, found.confirmed) == (expected, True)


def test_below_a_student_that_fails_none_is_tested() -> None:
    better = member(1, 1_000, 0.81, -0.01, 0.03)
    assert found_of(confirmed(better, LARGE), 0.03).trial is None
    assert found_of(confirmed(better, LARGE), 0.041).trial == 1
    # of two of one size the later counts as the larger, as in gaitforge.stats.find_tested
    assert found_of(confirmed(member(3, 9_000, 0.8, -0.01, 0.01), LARGE), 0.03).trial is None
    assert found_of(confirmed(LARGE, member(3, 9_000, 0.8, -0.01, 0.01)), 0.03).trial == 3


def test_what_the_budget_keeps_out_is_tested_all_the_same() -> None:
    better = member(1, 1_000, 0.81, -0.01, 0.03)
    found = found_of(confirmed(better, LARGE), 0.03, budget=2_000)
    assert found.trial is None
    assert "from an accepted loss of 4.5 points on" in found.sentence


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.04, 0.05, 0.12, 0.2])
def test_the_answer_is_that_of_the_rule_that_confirm_decides_by(margin: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        lows = rng.uniform(-0.2, 0.05, 4).round(3)
        sizes = rng.choice([10, 20, 30], 4)
        members = [member(n, int(sizes[n]), 0.8, float(lows[n]), 0.1) for n in range(4)]
        passes = [low > -margin for low in lows]
        tested = stats.find_tested(sizes.tolist(), passes)
        good = [
            m for m, is_tested, ok in zip(members, tested, passes, strict=True) if is_tested and ok
        ]
        smallest = min(good, key=lambda m: (m.params, m.trial), default=None)
        assert found_of(confirmed(*members), margin).trial == (
            smallest.trial if smallest else None
        )


def test_the_sentence_says_share_loss_interval_and_people() -> None:
    assert found_of(confirmed(SMALL, LARGE), 0.05).sentence == (
        "Trial 2, a tcn of 9,000 parameters, has 9.0 % of the teacher's parameters, and its network is shown to lose "
        "less than 5 points of macro F1 to the teacher (-1.0 points, 95 % interval -4.0 to +2.0, 30 people never seen "
        "before)."
    )


def test_a_teacher_that_is_not_shown_to_be_worth_imitating_is_said_first() -> None:
    for loss in (0.05, 0.0):
        found = found_of(confirmed(SMALL, LARGE, doubt="The teacher is no better."), loss)
        assert found.sentence.startswith("The teacher is no better. ")


def test_where_none_is_good_enough_the_sentence_says_from_which_loss_on_one_would_be() -> None:
    assert (
        "from an accepted loss of 4.5 points on"
        in found_of(confirmed(SMALL, LARGE), 0.01).sentence
    )
    assert found_of(confirmed(SMALL, LARGE), 0.045).trial == 2


def test_too_few_people_are_told_by_the_networks_scores_and_nothing_is_called_shown() -> None:
    few = confirmed(SMALL, LARGE, too_few=True)
    found = found_of(few, 0.06)
    assert found.trial == 1
    assert "scores at most 6 points of macro F1 below the teacher" in found.sentence
    none = found_of(few, 0.005)
    assert none.trial is None
    assert "good enough from an accepted loss of 1 points on" in none.sentence
    for sentence in (found.sentence, none.sentence):
        assert "Too few people for an interval" in sentence
        assert "shown" not in sentence


def test_before_confirmation_the_answer_is_marked_as_not_confirmed(full: WorkFolder) -> None:
    models = review_tables.collect_models(reading.read_results(full, "people"))
    found = find_smallest_good_enough(None, models, size="params", budget=math.inf, loss=0.1)
    assert found is not None
    assert not found.confirmed
    assert found.sentence.startswith("Not confirmed: ")
    assert find_smallest_good_enough(None, {}, size="params", budget=math.inf, loss=0.1) is None


def test_the_answer_at_the_margin_is_the_one_that_confirm_chose(full: WorkFolder) -> None:
    line = reading.read_results(full, "people")
    assert line.confirm is not None
    found = find_smallest_good_enough(
        line.confirm,
        review_tables.collect_models(line),
        size="params",
        budget=math.inf,
        loss=line.confirm.margin,
    )
    assert found is not None
    assert found.trial == line.confirm.chosen


# ---------------------------------------------------------------- tables and charts


def trial(number: int, f1: float, params: int, minute: int, settings: str = "") -> Trial:
    return Trial(
        number=number, state="finished", family="tcn", sizes={}, params=params, macs=0, seed=0, suggested={},
        recipe=Recipe(), distill=Distillation(), epochs=3, seconds=1.0, scores={"val_macro_f1": f1},
        hash=settings or str(number),
        ended=f"2026-03-02T10:{minute:02d}:00+00:00",
    )  # fmt: skip


SEARCH = made(
    SEARCH_FILE, trials=9, epochs=3, rejected=0, objectives=["macro_f1", "params"], reference=[0.0, 1000.0]
)  # fmt: skip


def test_hypervolume_grows_with_time_and_falls_only_where_a_second_seed_corrects_a_first() -> None:
    trials = [
        trial(0, 0.5, 100, 0),
        trial(1, 0.4, 100, 1),  # beaten: nothing changes
        trial(2, 0.8, 10, 3),
        trial(3, 0.4, 10, 4, settings="2"),  # the same student: its mean is 0.6
    ]
    table = front_tables.hypervolume_table(trials, SEARCH)
    assert table["minutes"].tolist() == [0.0, 3.0, 4.0, 4.0]
    assert table["hypervolume"].round(6).tolist() == [0.5, 1.6, 1.2, 1.2]


def test_hypervolume_at_the_end_is_that_of_the_searched_front(full: WorkFolder) -> None:
    log = list(TrialLog(full.run("people")))
    line = reading.read_results(full, "people")
    assert line.search is not None
    front = SearchedFront(line.search.objectives, line.search.reference)
    for ended in log:
        front.add(ended)
    table = front_tables.hypervolume_table(line.trials, line.search)
    assert table["hypervolume"].iloc[-1] == pytest.approx(front.hypervolume)


def test_time_left_leaves_out_a_pause_of_the_search() -> None:
    trials = [trial(n, 0.5, 100, minute) for n, minute in enumerate((0, 1, 2, 3, 58, 59))]
    assert front_tables.seconds_per_trial(trials) == 60.0
    assert front_tables.seconds_per_trial(trials[:3]) is None


def test_a_front_of_other_axes_is_found_from_what_is_drawn() -> None:
    def model(number: int, error: float, macs: int) -> Model:
        return Model(
            number=number, family="tcn", state="finished", reason=None, params=10, macs=macs, macro_f1=0.5,
            accuracy=0.5, epochs=1, seconds=1.0, on_front=False, settings=(), curve=(), member=None,
            scores={"val_calibration_error": error},
        )  # fmt: skip

    points = front_tables.searched_points(
        [model(0, 0.2, 100), model(1, 0.1, 200), model(2, 0.3, 300)], "calibration_error", "macs", True, ["tcn"]
    )  # fmt: skip
    assert dict(zip(points["trial"], points["kind"], strict=True)) == {
        0: "front",
        1: "front",
        2: "beaten",
    }


def test_confirmed_students_are_drawn_by_every_score_that_confirmation_stored(
    full: WorkFolder,
) -> None:
    path = full.run("people").confirm / "scores.json"
    content = read_json(path)
    content["teacher"]["balanced_accuracy"] = 0.5
    for place, row in enumerate(content["members"], start=1):
        row["balanced_accuracy"] = place / 10
        row["network"]["balanced_accuracy"] = 0.5 + place / 10
    confirm = SCORES.parse(json.dumps(content), path)
    points = front_tables.confirmed_points(confirm, {}, "balanced_accuracy", "params", ALL)
    assert points[points["kind"] != "recipe"]["score"].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert points[points["kind"] == "recipe"]["score"].tolist() == [0.1, 0.2, 0.3]
    assert points["low"].isna().all()
    assert front_tables.confirmed_points(confirm, {}, "calibration_error", "params", ALL).empty


def test_the_point_with_its_bar_is_the_network_that_ships_and_the_faint_one_its_recipe(
    full: WorkFolder,
) -> None:
    confirm = reading.read_results(full, "people").confirm
    assert confirm is not None
    points = front_tables.confirmed_points(confirm, {}, "macro_f1", "params", ALL)
    for member in confirm.members:
        of_it = points[points["trial"] == member.trial].set_index("kind")
        network, ends = member.network, member.network.interval
        assert ends is not None
        assert (member.macro_f1, member.interval) != (network.macro_f1, ends)
        drawn = [of_it[column]["confirmed"] for column in ("score", "low", "high")]
        assert drawn == [network.macro_f1, *ends]
        assert of_it.loc["recipe", "score"] == member.macro_f1
        assert of_it["low"].isna()["recipe"]
        assert of_it["high"].isna()["recipe"]
    one_seed = replace(confirm, members=tuple(replace(m, seeds=1) for m in confirm.members))
    points = front_tables.confirmed_points(one_seed, {}, "macro_f1", "params", ALL)
    assert set(points["kind"]) == {"teacher", "confirmed"}


def test_a_brush_keeps_what_lies_in_all_of_its_ranges() -> None:
    points = pd.DataFrame(
        {"trial": [1, 2, 3], "size": [10.0, 20.0, 30.0], "score": [0.1, 0.5, 0.9]}
    )
    kept = front_tables.keep_within(points, {"size": (15.0, 40.0), "score": (0.0, 0.6)})
    assert kept["trial"].tolist() == [2]


def test_budget_steps_are_round_and_go_from_the_smallest_student_past_the_largest() -> None:
    assert list_budget_steps([900.0, 2400.0]) == [1000, 1250, 1600, 2000, 2500, math.inf]
    assert list_budget_steps([]) == [math.inf]


def test_one_bad_student_does_not_press_the_front_into_a_line(full: WorkFolder) -> None:
    line = reading.read_results(full, "people")
    models = review_tables.collect_models(line)
    searched = front_tables.searched_points(models.values(), "macro_f1", "params", False, ALL)
    confirmed = front_tables.confirmed_points(line.confirm, models, "macro_f1", "params", ALL)
    before = charts_fronts.find_shared_axes("macro_f1", "params", searched, confirmed, ALL)
    bad = searched[searched["kind"] == "beaten"].head(1).assign(score=0.01)
    more = pd.concat([searched, bad])
    after = charts_fronts.find_shared_axes("macro_f1", "params", more, confirmed, ALL)
    assert after.scores[0] > 0.1
    assert before.scores[0] < confirmed["score"].min()
    assert before.scores[1] >= max(searched["score"].max(), confirmed["high"].max())


def test_fronts_select_by_trial_and_say_in_words_what_they_show(full: WorkFolder) -> None:
    line = reading.read_results(full, "people")
    models = review_tables.collect_models(line)
    searched = front_tables.searched_points(models.values(), "macro_f1", "params", True, ALL)
    confirmed = front_tables.confirmed_points(line.confirm, models, "macro_f1", "params", ALL)
    axes = charts_fronts.find_shared_axes("macro_f1", "params", searched, confirmed, ALL)
    spec = charts_fronts.draw_searched(searched, axes, 0, 1, 50_000.0).to_dict()
    assert [param["name"] for param in spec["params"]] == ["picked", "brush"]
    assert spec["params"][0]["select"]["fields"] == ["trial"]
    assert "Macro F1 on the validation people against parameters" in spec["description"]
    lines = [layer for layer in spec["layer"] if layer.get("mark", {}).get("type") == "line"]
    assert len(spec["datasets"][lines[0]["data"]["name"]]) == len(line.front)
    spec = charts_fronts.draw_confirmed(confirmed, axes, 0, 1, 0.05, math.inf).to_dict()
    assert "3 confirmed students with 95 % intervals" in spec["description"]
