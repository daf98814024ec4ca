"""The page of one student: its tables by hand, its figure, its files, and what is said where something is missing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.frame import model_tables
from dashboard.reading import model_files
from dashboard.reading import models as review_tables
from dashboard.reading import work_folder as reading
from dashboard.reading.models import TEACHER
from dashboard.reading.work_folder import Latency, Problem
from dashboard.student import charts as charts_model
from dashboard.student import stick_figure
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording
from gaitforge.records.confirm import LATENCIES, REFIT, SCORES
from gaitforge.records.export import CARD, export_identity
from gaitforge.weights import write_weights
from gaitforge.work import (
    WorkFolder,
    read_json,
    write_json,
    write_parquet,
    write_whole,
)
from gaitforge.work import open_path as work_path
from tests.made import made
from tests.s3_server import BUCKET, s3_server
from tests.toy_work import Toy, make_work
from tests.try_page import APP, open_page, table, words

AB = ("a", "b")
ShowModel = Callable[..., AppTest]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("student") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> ShowModel:
    """Opens the page on one model of a work folder, the verdict's student if none is named."""

    def run(work: WorkFolder, number: int | None = None) -> AppTest:
        chosen = chosen_of(work) if number is None else number
        monkeypatch.setattr(sys, "argv", [str(APP), str(work.root)])
        return open_page("student", f"trial={chosen}")

    return run


def chosen_of(work: WorkFolder) -> int:
    return int(read_json(work.run("people").confirm / "scores.json")["chosen"])


def first_of(work: WorkFolder) -> int:
    """The smallest of the confirmed students."""
    return int(read_json(work.run("people").confirm / "scores.json")["members"][0]["trial"])


def charts(app: AppTest) -> set[str]:
    """The charts of the page by the first words of what they say they show."""
    specs = [json.loads(element.proto.spec) for element in app.get("vega_lite_chart")]
    return {" ".join(str(spec["description"]).split()[:2]) for spec in specs}


def players(app: AppTest) -> list[str]:
    """What the stick figures of the page have been given."""
    return [one.proto.json for one in app.get("bidi_component") if one.key == "player"]


# the page


def test_the_page_shows_all_that_is_known_of_a_confirmed_student(
    full: WorkFolder, show: ShowModel
) -> None:
    app = show(full)
    assert app.header[0].value == f"Trial {chosen_of(full)}"
    assert charts(app) == {
        "Recall of", "Confusion matrix", "Accuracy of", "Reliability: how", "Macro F1", "Probability of", "Each term",
    }  # fmt: skip
    metrics = {metric.label: metric.value for metric in app.metric}
    member = next(
        m for m in read_json(full.run("people").confirm / "scores.json")["members"]
        if m["trial"] == chosen_of(full)
    )  # fmt: skip
    assert metrics["Parameters"] == f"{member['params']:,}"
    assert metrics["Macro F1, confirm"] == f"{member['network']['macro_f1']:.3f}"
    said = words(app)
    assert "12 people. Its network: shown to lose less than 0.05 macro F1 to the teacher." in said
    assert "96 recordings of 12 people, 5 trainings: macro F1" in said
    assert "12 frames at 25 Hz; 96% of the joints are seen." in said
    assert len(players(app)) == 1
    # and in numbers, for who cannot see a chart or wants to save them
    assert len(table(app, "recall")) == 4
    assert len(table(app, "hidden")) == 8
    assert set(table(app, "confidence")["model"]) == {"this model", "teacher"}


def test_the_player_gets_numbers_alone(full: WorkFolder, show: ShowModel) -> None:
    (player,) = players(show(full))
    numbers = json.loads(player)
    for name, value in numbers.items():
        values = value if isinstance(value, list) else [value]
        assert all(isinstance(one, int | float) for one in values), name
    assert numbers["frames"] == 12


@pytest.mark.slow
def test_recordings_are_chosen_by_person_class_and_by_what_is_said_of_them(
    full: WorkFolder, show: ShowModel
) -> None:
    app = show(full, first_of(full))
    assert "Recording (96 to choose from)" in app.selectbox(key="recording").label
    app.segmented_control(key="which_True").set_value("Wrong ones").run()
    wrong = app.selectbox(key="recording").options
    assert 0 < len(wrong) < 96
    assert all(", said " in option for option in wrong)
    app.segmented_control(key="which_True").set_value("Student and teacher disagree").run()
    rows = table(app, "teacher_said")
    assert 0 < len(rows) < 96
    assert (rows["said_class"] != rows["teacher_said"]).all()
    app.segmented_control(key="which_True").set_value("All").run()
    app.selectbox(key="true_class").set_value("healthy").run()
    person = app.selectbox(key="person").options[1]
    app.selectbox(key="person").set_value(person).run()
    assert len(app.selectbox(key="recording").options) == 8
    rows = table(app, "teacher_said")
    assert set(rows["person"]) == {person}
    assert set(rows["true_class"]) == {"healthy"}
    assert not app.exception


def test_a_student_that_was_not_confirmed_says_what_to_type(
    full: WorkFolder, show: ShowModel
) -> None:
    members = {
        m["trial"] for m in read_json(full.run("people").confirm / "scores.json")["members"]
    }
    number = min(set(range(8)) - members - {3, 7})
    said = words(show(full, number))
    assert "raise `members` under `[confirm]`" in said
    assert "It has not been measured: `gaitforge confirm run.toml`" in said


def test_the_teacher_is_held_against_nobody(full: WorkFolder, show: ShowModel) -> None:
    app = show(full, TEACHER)
    assert app.header[0].value == "Teacher"
    assert "disagree" not in " ".join(app.segmented_control(key="which_False").options)
    assert not app.get("download_button")


def test_a_failed_trial_says_why_and_shows_its_curve(full: WorkFolder, show: ShowModel) -> None:
    app = show(full, 12)
    assert "the loss was not finite at epoch 5" in words(app)
    assert charts(app) == {"Macro F1", "Each term"}


def test_other_files_than_these_are_said_and_the_rest_is_shown(
    tmp_path: Path, show: ShowModel
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=8, running=0, stopped=0, failed=0))
    (work.run("people").confirm / "robustness.parquet").write_bytes(b"PAR1 no table")
    CARD.write(work.exported.card, made(CARD))
    write_json(work.exported.card, {**read_json(work.exported.card), "trial": "first"})
    for path in (work.store / "recordings").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-100])
    number = first_of(work)
    app = show(work, number)
    problems = table(app, "Why")
    why = dict(zip(problems["File"], problems["Why"], strict=True))
    assert "it is not a whole Parquet file" in why["runs/people/confirm/robustness.parquet"]
    assert "its 'trial' is \"first\", but must be" in why["export/card.json"]
    assert "is damaged" in why["store"]
    assert {"Recall of", "Reliability: how", "Each term"} <= charts(app)


def test_names_of_people_and_classes_are_shown_as_they_are(
    tmp_path: Path, show: ShowModel
) -> None:
    nasty = "<img src=x onerror=alert(1)> **:red[ataxia]**"
    toy = Toy(classes=(nasty, "healthy"), trials=6, running=0, failed=0, stopped=0)
    work = make_work(tmp_path / "work", toy)
    number = first_of(work)
    app = show(work, number)
    formatted = [*app.markdown, *app.caption, *app.info, *app.header, *app.subheader]
    assert not [element.value for element in formatted if "ataxia" in element.value]
    assert any(nasty in text.value for text in app.text)
    (player,) = players(app)
    assert "ataxia" not in player


@pytest.mark.slow
def test_a_student_on_s3_is_shown_as_one_on_a_disk(tmp_path: Path, show: ShowModel) -> None:
    with s3_server(tmp_path / "s3.log"):
        toy = Toy(trials=8, running=0, stopped=0, failed=0)
        work = make_work(work_path(f"s3://{BUCKET}/work"), toy)
        number = first_of(work)
        exported(work, number)
        app = show(work, number)
        assert {"Recall of", "Reliability: how", "Macro F1", "Probability of"} <= charts(app)
        assert len(players(app)) == 1
        assert {"download_onnx", "download_weights", "download_card"} <= set(buttons(app))
        assert not [frame for frame in app.dataframe if "Why" in frame.value]


# files to take away


def exported(work: WorkFolder, number: int, seed: int = 10_001) -> None:
    """Refits of a trial and an export that was made of one of them."""
    run = work.run("people")
    refits = {
        one: made(REFIT, trial=number, seed=one, val_macro_f1=f1)
        for one, f1 in ((10_000, 0.5), (seed, 0.7), (10_002, 0.6))
    }
    for one, refit in refits.items():
        path = run.refit("student", number, one)
        (hashed,) = write_weights(path, b"w%d" % one).values()
        refits[one] = replace(refit, weights_sha256=hashed)
        REFIT.write(path, refits[one])
    card = made(
        CARD, trial=number, split="people", seed=seed, onnx_bytes=4, latency_ms_p50=0.5, latency_ms_p95=0.75
    )  # fmt: skip
    identity = export_identity(refits[seed], SCORES.read(run.scores), card.read)
    CARD.write(work.exported.card, replace(card, identity=identity))
    for name in ("student.onnx", "student.safetensors", "card.md"):
        write_whole(work.export / name, name.encode())


def buttons(app: AppTest) -> dict[str, str]:
    return {str(one.key): one.proto.label for one in app.get("download_button")}


@pytest.fixture
def small(tmp_path: Path) -> WorkFolder:
    return make_work(tmp_path / "work", Toy(trials=8, running=0, stopped=0, failed=0))


def test_the_exported_student_is_handed_out_with_its_latency(
    small: WorkFolder, show: ShowModel
) -> None:
    number = first_of(small)
    exported(small, number)
    app = show(small, number)
    assert {"download_onnx", "download_weights", "download_card"} <= set(buttons(app))
    assert {metric.label: metric.value for metric in app.metric}["Latency"] == "0.5 ms"
    assert "seed 10001, the best on validation people" in words(app)


def test_an_export_that_is_older_than_the_confirmation_is_not_handed_out(
    small: WorkFolder, show: ShowModel
) -> None:
    scores = read_json(small.run("people").confirm / "scores.json")
    number = scores["members"][0]["trial"]
    exported(small, number)
    write_json(small.run("people").confirm / "scores.json", {**scores, "margin": 0.2})
    app = show(small, number)
    assert "The export of this trial is out of date." in words(app)
    assert "download_onnx" not in buttons(app)


def test_of_another_confirmed_student_there_are_the_weights_of_its_best_seed(
    small: WorkFolder, show: ShowModel
) -> None:
    first, second = (
        m["trial"] for m in read_json(small.run("people").confirm / "scores.json")["members"][:2]
    )
    exported(small, second)
    exported(small, first)
    app = show(small, second)
    assert f"set `trial = {second}` under `[export]`" in words(app)
    assert "download_weights" in buttons(app)
    assert "download_onnx" not in buttons(app)
    confirm = reading.read_results(small, "people").confirm
    assert confirm is not None
    its = next(member for member in confirm.members if member.trial == second)
    weights = model_files.read_tested_weights(small, "people", its, [])
    assert weights is not None
    assert model_files.read_content(small, weights) == f"w{its.network.seed}".encode()


def test_nothing_outside_the_work_folder_is_handed_out(small: WorkFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    number = first_of(small)
    exported(small, number)
    (small.export / "student.onnx").unlink()
    (small.export / "student.onnx").symlink_to(secret)
    assert model_files.read_content(small, small.export / "student.onnx") is None
    assert model_files.read_content(small, small.root / ".." / "secret") is None
    assert model_files.read_content(small, secret) is None
    assert model_files.read_content(small, small.export / "card.md") == b"card.md"
    outside = tmp_path / "refits"
    refits = small.run("people").confirm / "refits"
    refits.rename(outside)
    refits.symlink_to(outside)
    confirm = reading.read_results(small, "people").confirm
    assert confirm is not None
    for member in confirm.members:
        assert model_files.read_tested_weights(small, "people", member, []) is None
    (file,) = (small.store / "recordings").glob("*.parquet")
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    problems: list[Problem] = []
    assert model_files.read_recording(small, "P01", "P01-3", problems) is None
    assert [problem.file for problem in problems] == [f"store/recordings/{file.name}"]


def test_latency_is_what_confirm_has_measured_where_there_is_no_export(
    small: WorkFolder, show: ShowModel
) -> None:
    number = first_of(small)
    path = small.run("people").confirm / "latency.json"
    row = {
        "key": "k",
        "trial": number,
        "latency_ms_p50": 0.123,
        "latency_ms_p95": 0.2,
        "onnx_bytes": 9,
    }
    teacher = {"key": "t", "latency_ms_p50": 12.3, "latency_ms_p95": 13.0, "onnx_bytes": 9}
    write_json(path, {"schema": 1, "teacher": teacher, "members": [row]})
    app = show(small, number)
    assert {metric.label: metric.value for metric in app.metric}["Latency"] == "0.12 ms"
    assert "1 / 100 of the teacher's" in words(app)
    line = reading.read_results(small, "people")
    assert line.latencies == {
        number: Latency(p50=0.123, p95=0.2),
        None: Latency(p50=12.3, p95=13.0),
    }
    assert review_tables.collect_models(line)[TEACHER].latency == Latency(p50=12.3, p95=13.0)


def test_latencies_that_are_damaged_are_a_problem(small: WorkFolder) -> None:
    path = small.run("people").latencies
    unknown = {"latency_ms_p50": None, "latency_ms_p95": None, "onnx_bytes": None}
    row = {"key": "k", "trial": 3, **unknown}
    LATENCIES.write(path, made(LATENCIES, teacher=unknown, members=[row]))
    line = reading.read_results(small, "people")
    assert (line.latencies, line.problems) == ({}, ())
    write_json(path, {**read_json(path), "members": [{**row, "trial": "first"}]})
    line = reading.read_results(small, "people")
    assert [problem.file for problem in line.problems] == ["runs/people/confirm/latency.json"]


# the figure that moves


def walk(positions: list[list[list[float]]], fps: float | None = 10.0) -> Recording:
    values = np.array(positions, dtype=np.float32)
    return Recording(recording="r", person="p", label="a", positions_TVC=values, fps=fps)


def legs(up: str) -> Layout:
    return Layout(
        name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)), left_right=((1, 2),), up=up
    )  # fmt: skip


def whole(numbers: stick_figure.Numbers, name: str) -> np.ndarray:
    value = numbers[name]
    assert isinstance(value, list)
    return np.array(value).reshape(-1, 3)


def test_the_up_axis_is_drawn_upwards_whichever_it_is() -> None:
    points = {"hip": 2.0, "left": 1.0, "right": 1.0}  # metres above the ground
    for place, up in enumerate("xyz"):
        frame = [[0.0, 0.0, 0.0] for _ in points]
        for joint, height in zip(frame, points.values(), strict=True):
            joint[place] = height
        numbers = stick_figure.make_figure(walk([frame, frame]), legs(up))
        assert (whole(numbers, "at")[:3, 1] > [900, -1, -1]).all()
        assert whole(numbers, "at")[:3, [0, 2]].tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("coordinates", [2, 3])
def test_a_figure_whose_height_grows_downwards_stands_upright(coordinates: int) -> None:
    # an image of somebody who faces it: y down, the left at greater x, nearer at less z
    frame = [[0.0, -2.0, 5.0], [0.3, -1.0, 4.5], [-0.3, -1.0, 5.5]]
    seen = [joint[:coordinates] for joint in frame]
    at = whole(stick_figure.make_figure(walk([seen, seen]), legs("-y")), "at")[:3]
    assert at[0, 1] > at[1, 1] == at[2, 1]
    assert at[1, 0] > at[0, 0] > at[2, 0]
    assert bool(at[1, 2] > at[0, 2] > at[2, 2]) == (coordinates == 3)


def test_a_figure_faces_the_viewer_with_its_left_to_the_right() -> None:
    # it looks along +x (y is up), so that its left is at -z
    frame = [[0.0, 2.0, 0.0], [0.0, 1.0, -0.3], [0.0, 1.0, 0.3]]
    numbers = stick_figure.make_figure(walk([frame, frame]), legs("y"))
    yaw = numbers["yaw"]
    assert isinstance(yaw, float)
    at = whole(numbers, "at")[:3].astype(float)
    across = at[:, 0] * math.cos(yaw) + at[:, 2] * math.sin(yaw)
    assert across[1] > 100
    assert across[2] < -100
    assert numbers["sides"] == [0, 1, 2]


def test_two_coordinates_are_drawn_flat_and_missing_joints_are_marked() -> None:
    nan = float("nan")
    flat = walk(
        [[[0.0, 2.0], [-0.1, 1.0], [nan, nan]], [[1.0, 2.0], [0.9, 1.0], [1.1, 1.0]]], fps=None
    )
    numbers = stick_figure.make_figure(flat, legs("y"))
    # the left is to the left of the right here, and stays there
    assert (numbers["deep"], numbers["timed"], numbers["yaw"]) == (0, 0, 0)
    at = whole(numbers, "at")
    assert at[2].tolist() == [stick_figure.MISSING] * 3
    assert set(at[[0, 1, 3, 4, 5], 2]) == {0}
    assert numbers["fps"] == round(2 / stick_figure.NO_FRAME_RATE_S, 4)


def test_a_root_that_is_lost_stays_where_it_was() -> None:
    nan = float("nan")
    gone = [[nan] * 3, [nan] * 3, [nan] * 3]
    here, there = [[[x, 2.0, 0.0], [x, 1.0, -0.2], [x, 1.0, 0.2]] for x in (0.0, 1.0)]
    numbers = stick_figure.make_figure(walk([gone, here, gone, there]), legs("y"))
    root = whole(numbers, "root")
    assert (root[0] == root[1]).all()
    assert (root[2] == root[1]).all()
    assert root[3, 0] > root[2, 0]


def test_a_long_recording_keeps_its_time_with_fewer_frames() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3 * stick_figure.MOST_FRAMES, 3, 3)).tolist()
    numbers = stick_figure.make_figure(walk(values, fps=90.0), legs("y"))
    assert numbers["frames"] == stick_figure.MOST_FRAMES
    assert numbers["fps"] == 30.0


def test_every_joint_lies_on_the_stage_for_every_built_in_layout() -> None:
    rng = np.random.default_rng(0)
    for layout in LAYOUTS.values():
        values = rng.normal(size=(20, layout.joint_count, 3)).astype(np.float32) * 700
        numbers = stick_figure.make_figure(walk(values.tolist()), layout)
        away = np.abs(
            whole(numbers, "at") - np.repeat(whole(numbers, "root"), layout.joint_count, 0)
        )
        assert away.max() < 2 * stick_figure.UNIT


def test_what_is_no_body_is_drawn_as_lines(tmp_path: Path) -> None:
    recording = walk([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], fps=None)
    layout = Layout(name="plates", joints=("near", "far"), bones=(), up="none")
    with pytest.raises(ValueError, match="has no up axis"):
        stick_figure.make_figure(recording, layout)
    lines = model_tables.channel_table(recording, layout.joints, ("x", "y"))
    assert len(lines) == 8
    of_far = lines[(lines["node"] == "far") & (lines["channel"] == "y")]
    assert of_far[["time", "value"]].to_numpy().tolist() == [[0.0, 4.0], [100.0, 8.0]]
    charts_model.draw_channels(of_far, "Time", "N").to_dict()


def test_a_recording_that_has_left_the_store_is_none(full: WorkFolder) -> None:
    problems: list[Problem] = []
    assert model_files.read_recording(full, "P01", "P01-3", problems) is not None
    assert model_files.read_recording(full, "P01", "P02-3", problems) is None
    assert problems == []
    assert model_files.read_recording(full, "nobody", "x", problems) is None
    assert "no recording of 'nobody'" in problems[0].reason


# tables by hand


def predictions(*rows: tuple[int, str, str, str]) -> pd.DataFrame:
    said = pd.DataFrame(rows, columns=["seed", "person", "true_class", "said_class"])
    return said.assign(recording=[str(place) for place in range(len(rows))])


def test_confusions_are_means_over_seeds_and_shares_of_the_true_class() -> None:
    cells = model_tables.confusion_table(
        predictions(
            (0, "p", "a", "a"), (1, "p", "a", "b"), (0, "q", "b", "b"), (1, "q", "b", "b")
        ),
        ("a", "b", "c"),
    )
    filled = cells[cells["recordings"] > 0].to_numpy().tolist()
    assert filled == [["a", "a", 0.5, 0.5], ["a", "b", 0.5, 0.5], ["b", "b", 1.0, 1.0]]
    assert len(cells) == 9
    assert cells[cells["true_class"] == "c"]["share"].isna().all()


def test_people_stand_beside_the_teacher_with_the_least_well_recognised_first() -> None:
    student = predictions((0, "p", "a", "a"), (0, "q", "b", "a"), (0, "q", "b", "b"))
    people = model_tables.people_table(student, predictions((0, "q", "b", "b")))
    assert people["person"].tolist() == ["q", "p"]
    assert people["accuracy"].tolist() == [0.5, 1.0]
    assert people["teacher"].fillna(-1).tolist() == [1.0, -1.0]


def test_loss_terms_are_told_apart_from_the_whole() -> None:
    curve: list[dict[str, Any]] = [
        {
            "epoch": 0,
            "train_loss": 3.0,
            "val_macro_f1": 0.5,
            "val_accuracy": 0.5,
            "terms": {"kd": 1.0, "ce": 2.0},
        },
        {"epoch": 1},
    ]
    losses = model_tables.loss_table(curve)
    assert losses.to_numpy().tolist() == [[0, "total", 3.0], [0, "kd", 1.0], [0, "ce", 2.0]]
    assert model_tables.curve_table(curve)["epoch"].tolist() == [0]


def sure(*rows: tuple[int, str, str, float]) -> pd.DataFrame:
    """Recordings of classes a and b: seed, person, true class, probability of a."""
    table = pd.DataFrame(rows, columns=["seed", "person", "true_class", "a"])
    table["recording"] = table.groupby("seed").cumcount().astype(str)
    table["said_class"] = ["a" if value > 0.5 else "b" for value in table["a"]]
    table["probabilities"] = [[value, 1 - value] for value in table["a"]]
    return table.drop(columns="a")


def test_recall_has_an_interval_where_a_class_has_people_enough() -> None:
    many = [(0, f"a{k}", "a", 0.9 if k < 9 else 0.1) for k in range(12)]
    few = [(0, f"b{k}", "b", 0.1) for k in range(11)]
    table = sure(*many, *few)
    recalls = model_tables.recall_table(table, table.head(0), AB)
    assert recalls["recall"].tolist() == [0.75, 1.0]
    assert recalls["people"].tolist() == [12, 11]
    low, high = (recalls[end].tolist() for end in ("low", "high"))
    assert 0.3 < low[0] < 0.75 < high[0] <= 1.0
    assert math.isnan(low[1])
    assert math.isnan(high[1])
    assert recalls["teacher"].isna().all()


def test_calibration_by_hand() -> None:
    """Three are 0.9 sure of which two are right; one is 0.6 sure, and right."""
    table = sure((0, "p", "a", 0.9), (0, "p", "a", 0.9), (0, "p", "b", 0.9), (0, "p", "b", 0.4))
    bins = model_tables.calibration_table(table)
    np.testing.assert_allclose(bins["confidence"], [0.6, 0.9])
    np.testing.assert_allclose(bins["accuracy"], [1.0, 2 / 3])
    np.testing.assert_allclose(bins["share"], [0.25, 0.75])
    error = model_tables.calibration_error(table, AB)
    assert error == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.4)


def test_the_calibration_error_is_the_mean_of_the_seeds() -> None:
    """One is too sure, one not sure enough: each would be used alone."""
    table = sure((0, "p", "a", 0.8), (1, "p", "b", 0.8))
    assert model_tables.calibration_error(table, AB) == pytest.approx((0.2 + 0.8) / 2)


def test_robustness_is_the_mean_macro_f1_of_the_seeds_for_each_share() -> None:
    def said(
        hidden: float, seed: int, *classes: str
    ) -> list[tuple[str, float, int, str, str, str]]:
        return [
            ("this model", hidden, seed, f"p{k}", true, one)
            for k, (true, one) in enumerate(zip("ab", classes, strict=True))
        ]

    rows = [
        *said(0.0, 0, "a", "b"),
        *said(0.0, 1, "a", "b"),
        *said(0.2, 0, "a", "b"),
        *said(0.2, 1, "a", "a"),
    ]
    columns = ["model", "hidden", "seed", "person", "true_class", "said_class"]
    scores = model_tables.robustness_table(pd.DataFrame(rows, columns=columns), AB)
    assert scores["hidden"].tolist() == [0.0, 0.2]
    assert scores["macro_f1"].tolist() == pytest.approx([1.0, (1 + 1 / 3) / 2])
    assert scores["low"].isna().all()  # of two people


def test_an_answer_is_the_mean_of_the_seeds() -> None:
    student = sure((0, "p", "a", 0.9), (1, "p", "a", 0.3))
    teacher = sure((0, "p", "a", 0.2))
    (answer,) = model_tables.collect_answers(
        model_tables.recording_table(student, teacher, AB)
    ).values()
    assert (answer.said_class, answer.teacher_said) == ("a", "b")
    assert answer.sure == pytest.approx(0.6)
    assert answer.words == "0: p, a"
    alone = model_tables.recording_table(student, teacher.head(0), AB)
    assert model_tables.collect_answers(alone)["0"].teacher_said is None


def test_probabilities_of_many_classes_are_the_largest_and_the_true_one() -> None:
    names = tuple("abcdefghijkl")
    values = [0.3, 0.2, 0.1, 0.1, 0.08, 0.07, 0.06, 0.05, 0.02, 0.01, 0.005, 0.005]
    row = {
        "seed": 0,
        "recording": "r",
        "person": "p",
        "true_class": "l",
        "probabilities": [values],
    }
    table = model_tables.probability_table({"this model": pd.DataFrame(row)}, "r", names)
    assert table["class"].tolist() == [*"abcdefgh", "l"]
    assert table[table["true"]]["class"].tolist() == ["l"]
    charts_model.draw_probabilities(table, names).to_dict()


def test_classes_that_the_store_does_not_know_are_counted_nowhere() -> None:
    assert model_tables.count_confusions(sure((0, "p", "zebra", 0.9)), AB) is None
    missing_person = sure((0, "p", "a", 0.9), (0, "q", "a", 0.9), (1, "p", "a", 0.9))
    assert model_tables.count_confusions(missing_person, AB) is None


def test_robustness_of_another_trial_is_not_this_ones(small: WorkFolder) -> None:
    rows = model_files.read_robustness(small, "people", 99, [])
    assert set(rows["model"]) == {"teacher"}
    path = small.run("people").confirm / "robustness.parquet"
    write_parquet(path, pq.read_table(path).drop_columns(["hidden"]))
    problems: list[Problem] = []
    assert model_files.read_robustness(small, "people", 99, problems).empty
    assert len(problems) == 1


def test_every_chart_says_in_words_what_it_shows(full: WorkFolder) -> None:
    table = sure((0, "p", "a", 0.9), (0, "q", "b", 0.2))
    recalls = model_tables.recall_table(table, table, AB)
    drawn: list[Any] = [
        charts_model.draw_recall(recalls),
        charts_model.draw_people(model_tables.people_table(table, table)),
        charts_model.draw_confusion(model_tables.confusion_table(table, AB), AB),
        charts_model.draw_calibration(
            model_tables.calibration_table(table).assign(model="teacher")
        ),
        charts_model.draw_loss(pd.DataFrame({"epoch": [1], "term": ["kd"], "loss": [1.0]})),
        charts_model.draw_curve(
            pd.DataFrame({"epoch": [1], "macro_f1": [0.5]}), "macro_f1", teacher=0.6
        ),
    ]
    for chart in drawn:
        assert len(chart.to_dict()["description"]) > 20
