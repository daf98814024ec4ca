"""The dashboard speaks of every state, survives every file, and shows what the artefacts say."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import charts, reading, review_tables
from dashboard.app import work_path
from dashboard.artefacts import Fields, trial_of
from dashboard.reading import Predicted, Problem
from gaitforge.work import WorkFolder, read_json, write_json
from tests.toy_work import (
    Toy,
    make_confirm,
    make_search,
    make_split,
    make_store,
    make_teacher,
    make_teacher_live,
    make_trial,
    make_work,
)

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
SMALL = Toy(trials=6, wanted=6, running=1, stopped=1, failed=0)
BARE = Toy(trials=0, running=0)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[[WorkFolder], AppTest]:
    """Opens the page on a work folder; no state may end in an exception."""

    def run(work: WorkFolder) -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), str(work.root)])
        app = AppTest.from_file(str(APP), default_timeout=30).run()
        assert not app.exception
        return app

    return run


def words(app: AppTest) -> str:
    """Everything that the page says."""
    said = [
        *app.title,
        *app.subheader,
        *app.header,
        *app.text,
        *app.info,
        *app.warning,
        *app.caption,
        *app.code,
    ]
    said += [*app.markdown, *app.error]
    return "\n".join(element.value for element in said)


def table(app: AppTest, column: str) -> pd.DataFrame:
    """The table of the page that has this column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)


# ---------------------------------------------------------------- the page


def test_full_folder_shows_the_answer_the_fronts_and_one_model(
    full: WorkFolder, show: Callable[[WorkFolder], AppTest]
) -> None:
    app = show(full)
    scores = read_json(full.run("people").confirm / "scores.json")
    chosen = next(m for m in scores["members"] if m["trial"] == scores["chosen"])
    said = words(app)
    assert scores["sentence"] in said
    assert "416 recordings of 52 people, 5 in quarantine" in said
    assert "28 train, 12 validation, 12 confirm people" in said
    assert "28 finished trials, 9 stopped, 1 failed" in said
    assert "12 people. Bars are 95 % intervals by bootstrap over people." in said
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Macro F1, 12 unseen people"] == f"{chosen['macro_f1']:.3f}"
    assert metrics["Of the teacher's size"] == f"1 / {1_284_100 / chosen['params']:,.0f}"
    assert app.header[-1].value == f"Trial {scores['chosen']}"
    assert len(app.get("vega_lite_chart")) == 10
    assert table(app, "Last sign")["Trial"].tolist() == [38, 39]
    assert len(table(app, "on_front")) == 38
    assert len(table(app, "gain")) == 3
    assert "could not be used" not in said


def test_choosing_a_trial_shows_that_trial(
    full: WorkFolder, show: Callable[[WorkFolder], AppTest]
) -> None:
    app = show(full)
    app.selectbox(key="model").set_value(12).run()
    assert app.header[-1].value == "Trial 12"
    assert [code.value for code in app.code] == [
        "the loss was not finite at epoch 5 (learning rate 0.0098)"
    ]
    assert "There are no stored predictions of this model." in words(app)
    app.selectbox(key="model").set_value(0).run()
    settings = table(app, "Setting")
    trial = read_json(full.run("people").trials / "0.json")
    shown = dict(zip(settings["Setting"], settings["Value"], strict=True))
    assert shown["channels"] == str(trial["sizes"]["channels"])
    assert shown["weights.kd"] == f"{trial['distill']['weights']['kd']:.4g}"
    app.selectbox(key="model").set_value(review_tables.TEACHER).run()
    assert app.header[-1].value == "Teacher"
    assert [radio.options for radio in app.radio][-1] == ["Confirm people", "Validation people"]
    assert not app.exception


def test_accuracy_can_be_looked_at_instead_of_macro_f1(
    full: WorkFolder, show: Callable[[WorkFolder], AppTest]
) -> None:
    app = show(full)
    app.radio(key="measure").set_value("accuracy").run()
    assert not app.exception
    assert "The front is that of macro F1" in words(app)


def test_a_split_is_chosen_where_there_are_several(
    tmp_path: Path, show: Callable[[WorkFolder], AppTest]
) -> None:
    work = make_work(tmp_path / "work", SMALL)
    make_split(work, Toy(split="other"))
    app = show(work)
    assert app.selectbox(key="split").options == ["other", "people"]
    assert "no trained teacher" in words(app)
    app.selectbox(key="split").set_value("people").run()
    assert not app.exception
    assert len(app.metric) > 0


def nothing(work: WorkFolder) -> None: ...


def empty(work: WorkFolder) -> None:
    work.make()


def ingested(work: WorkFolder) -> None:
    make_store(work)


def split(work: WorkFolder) -> None:
    make_store(work)
    make_split(work)


def teacher_training(work: WorkFolder) -> None:
    split(work)
    make_teacher_live(work)


def teacher(work: WorkFolder) -> None:
    split(work)
    make_teacher(work)


def none_ended(work: WorkFolder) -> None:
    teacher(work)
    make_search(work, Toy(trials=2, running=2, wanted=20))


def none_finished(work: WorkFolder) -> None:
    none_ended(work)
    make_trial(work, Toy(), np.random.default_rng(1), number=5, state="failed")


def not_confirmed(work: WorkFolder) -> None:
    make_work(work.root, Toy(trials=6, running=0, wanted=20, stopped=0, confirmed=False))


def few_people(work: WorkFolder) -> None:
    make_work(work.root, Toy(trials=6, people=4))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (nothing, ["There is no such folder", "gaitforge run run.toml"]),
        (empty, ["Nothing is ingested yet", "gaitforge ingest run.toml"]),
        (ingested, ["no split yet", "gaitforge split run.toml"]),
        (split, ["no trained teacher yet", "gaitforge teacher run.toml"]),
        (teacher_training, ["The teacher is training: epoch 3 has ended"]),
        (teacher, ["The search has not been started", "Nothing is confirmed yet", "Teacher"]),
        (none_ended, ["no finished trial so far", "0 finished trials"]),
        (none_finished, ["no finished trial so far", "0 finished trials, 1 failed"]),
        (not_confirmed, ["No confirmed answer yet", "gaitforge confirm run.toml"]),
        (few_people, ["4 confirm people are too few for an interval"]),
    ],
)
def test_every_state_is_put_into_words(
    make: Callable[[WorkFolder], None],
    expected: list[str],
    tmp_path: Path,
    show: Callable[[WorkFolder], AppTest],
) -> None:
    work = WorkFolder(tmp_path / "work")
    make(work)
    said = words(show(work))
    assert [phrase for phrase in expected if phrase not in said] == []


def test_trials_that_are_silent_for_long_are_said_to_be_so(
    tmp_path: Path, show: Callable[[WorkFolder], AppTest]
) -> None:
    work = make_work(tmp_path / "work", SMALL)
    old = work.run("people").search / "running" / "5.json"
    os.utime(old, (1e9, 1e9))
    assert "None of the running trials has reported for two minutes" in words(show(work))


def test_broken_and_foreign_files_are_named_and_the_rest_is_shown(
    tmp_path: Path, show: Callable[[WorkFolder], AppTest]
) -> None:
    work = make_work(tmp_path / "work", SMALL)
    run = work.run("people")
    (run.trials / "1.json").write_bytes((run.trials / "1.json").read_bytes()[:200])
    (run.trials / "notes.txt").write_text("buy milk")
    write_json(run.trials / "77.json", {"schema": 1, "name": "of another program"})
    write_json(run.trials / "78.json", read_json(run.trials / "2.json"))
    write_json(run.search / "front.json", {"schema": 9})
    (run.predictions / "validation-teacher.parquet").write_bytes(b"PAR1 not really")
    (run.teacher / "history.parquet").write_bytes(b"")
    app = show(work)
    problems = table(app, "Why")
    why = dict(zip(problems["File"], problems["Why"], strict=True))
    search, rest = "runs/people/search", "runs/people"
    assert set(why) == {
        f"{search}/trials/1.json",
        f"{search}/trials/notes.txt",
        f"{search}/trials/77.json",
        f"{search}/trials/78.json",
        f"{search}/front.json",
        f"{rest}/predictions/validation-teacher.parquet",
        f"{rest}/teacher/history.parquet",
    }
    assert "not JSON" in why[f"{search}/trials/1.json"]
    assert "lacks 'number'" in why[f"{search}/trials/77.json"]
    assert "holds trial 2, not 78" in why[f"{search}/trials/78.json"]
    assert "schema is 9" in why[f"{search}/front.json"]
    assert "7 files could not be used" in words(app)
    assert len(table(app, "on_front")) == 4
    assert len(table(app, "gain")) == 3


def test_text_of_files_never_becomes_markdown_or_html(
    tmp_path: Path, show: Callable[[WorkFolder], AppTest]
) -> None:
    nasty = "<b onclick=x>**:red[ataxia]**</b>"
    toy = Toy(classes=(nasty, "healthy"), trials=3, running=1, failed=0, stopped=0)
    work = make_work(tmp_path / "work", toy)
    run = work.run("people")
    for path in [*run.trials.iterdir(), run.teacher / "model.json"]:
        write_json(path, {**read_json(path), "family": nasty, "reason": nasty})
    scores = read_json(run.confirm / "scores.json")
    write_json(run.confirm / "scores.json", {**scores, "sentence": nasty})
    app = show(work)
    formatted = [*app.markdown, *app.caption, *app.info, *app.warning, *app.subheader]
    assert not [element.value for element in formatted if "ataxia" in element.value]
    assert not [html for html in app.get("html") if "ataxia" in str(html.proto)]
    assert not [metric for metric in app.metric if "ataxia" in metric.label + metric.value]
    assert nasty in [text.value for text in app.text]
    assert nasty in [code.value for code in app.code]


@pytest.mark.slow
def test_page_opens_while_the_folder_is_being_written(
    tmp_path: Path, show: Callable[[WorkFolder], AppTest]
) -> None:
    work = make_work(tmp_path / "work", SMALL)
    rng, done = np.random.default_rng(3), threading.Event()

    def write() -> None:
        number = 100
        while not done.is_set():
            make_trial(work, SMALL, rng, number=number, state="running")
            make_trial(work, SMALL, rng, number=number, state="finished")
            (work.run("people").search / "running" / f"{number}.json").unlink()
            make_confirm(work, SMALL)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = [len(table(show(work), "on_front")) for _ in range(3)]
    finally:
        done.set()
        writer.join()
    assert counts == sorted(counts)
    assert counts[-1] > 5


def test_dashboard_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, dashboard.app\n"
        "print(sorted({'torch', 'ray', 'optuna', 'trainers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_no_file_beside_the_app_bears_a_librarys_name() -> None:
    """`streamlit run` puts the folder first on the path, where such a file would hide the library."""
    own = {path.stem for path in APP.parent.glob("*.py")}
    assert own & (set(sys.stdlib_module_names) | {"altair", "pandas", "tables", "numpy"}) == set()


def test_work_folder_comes_from_the_argument_then_the_environment() -> None:
    assert work_path(["app.py", "a"], {"GAITFORGE_WORK": "b"}) == Path("a")
    assert work_path(["app.py"], {"GAITFORGE_WORK": "b"}) == Path("b")
    assert work_path(["app.py"], {}) == Path("work")


# ---------------------------------------------------------------- reading


def test_a_file_is_read_again_only_when_its_time_or_size_changes(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", SMALL)
    path = work.run("people").trials / "0.json"
    stat, whole = path.stat(), path.read_bytes()
    assert reading.read_line(work, "people").problems == ()
    path.write_bytes(b" " * len(whole))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert reading.read_line(work, "people").problems == ()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert len(reading.read_line(work, "people").problems) == 1


def test_an_epoch_of_a_running_trial_is_no_news_for_the_whole_page(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", SMALL)
    rng, before = np.random.default_rng(0), reading.pulse(work, "people")
    make_trial(work, SMALL, rng, number=50, state="running")
    assert reading.pulse(work, "people") == before
    assert [row.trial.number for row in reading.read_progress(work, "people").running] == [5, 50]
    make_trial(work, SMALL, rng, number=50, state="failed")
    assert reading.pulse(work, "people") != before
    assert [row.trial.number for row in reading.read_progress(work, "people").running] == [5]


def test_a_front_of_four_objectives_has_no_hypervolume_and_is_no_damaged_file(
    tmp_path: Path,
) -> None:
    work = make_work(tmp_path, Toy(trials=12))
    path = work.run("people").search / "front.json"
    assert reading.read_progress(work, "people").hypervolume is not None
    write_json(path, {**read_json(path), "hypervolume": None})
    assert reading.read_progress(work, "people").hypervolume is None


def test_front_is_found_from_the_trials_where_its_file_is_missing(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", Toy(confirmed=False))
    named = reading.read_line(work, "people").front
    (work.run("people").search / "front.json").unlink()
    assert reading.read_line(work, "people").front == named


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("state", "asleep", "its state is 'asleep'"),
        ("params", "many", "its 'params' is 'many', but must be a whole number"),
        ("params", True, "must be a whole number"),
        ("scores", None, "it is finished, but has no scores"),
        ("scores", {"val_macro_f1": float("nan")}, "its 'scores.val_macro_f1' is nan"),
        ("curve", [{"epoch": 0}, {"epoch": -1}], "its 'curve[1].epoch' is -1"),
        ("sizes", [1], "its 'sizes' is [1], but must be an object"),
    ],
)
def test_a_trial_that_breaks_its_form_is_refused_in_words(
    key: str, value: object, reason: str, full: WorkFolder
) -> None:
    content = read_json(full.run("people").trials / "0.json")
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (the words are compared below)
        trial_of(Fields.of_file({**content, key: value}))
    assert reason in str(refused.value)


def test_predictions_of_other_classes_are_refused(full: WorkFolder) -> None:
    problems: list[Problem] = []
    files = reading.prediction_files(full, "people", problems)
    whose = Predicted(role="confirm", model="teacher", trial=None)
    good = ("a", "b", "c", "d")
    assert len(reading.read_predictions(full, files[whose], whose, good, problems)) == 96
    assert problems == []
    assert reading.read_predictions(full, files[whose], whose, good[:3], problems).empty
    assert "not of the 3 classes" in problems[0].reason


# ---------------------------------------------------------------- tables and charts


def test_one_bad_student_does_not_press_the_front_into_a_line(full: WorkFolder) -> None:
    line = reading.read_line(full, "people")
    searched = review_tables.searched_points(review_tables.models(line).values())
    confirmed = review_tables.confirmed_points(line.confirm)
    before = charts.shared_axes("macro_f1", searched, confirmed)
    bad = searched[searched["kind"] == "beaten"].head(1).assign(macro_f1=0.01)
    after = charts.shared_axes("macro_f1", pd.concat([searched, bad]), confirmed)
    assert after.score[0] > 0.1
    assert before.score[0] < confirmed["macro_f1"].min()
    assert before.score[1] >= max(searched["macro_f1"].max(), confirmed["high"].max())


def test_fronts_click_by_trial_and_draw_the_step_line_for_macro_f1_only(full: WorkFolder) -> None:
    line = reading.read_line(full, "people")
    searched = review_tables.searched_points(review_tables.models(line).values())
    confirmed = review_tables.confirmed_points(line.confirm)
    for measure, members in [("macro_f1", len(line.front)), ("accuracy", 0)]:
        axes = charts.shared_axes(measure, searched, confirmed)
        spec = charts.searched_chart(searched, axes, chosen=None).to_dict()
        assert [param["select"]["fields"] for param in spec["params"]] == [["trial"]]
        lines = [layer for layer in spec["layer"] if layer.get("mark", {}).get("type") == "line"]
        assert [layer["mark"]["interpolate"] for layer in lines] == ["step-after"]
        assert len(spec["datasets"][lines[0]["data"]["name"]]) == members
        charts.confirmed_chart(confirmed, axes, chosen=None, margin=0.05).to_dict()
