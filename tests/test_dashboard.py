"""The dashboard speaks of every state, survives every file, and shows what the artefacts say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.app import PAGES, work_folders
from dashboard.reading import models as review_tables
from dashboard.reading import work_folder as reading
from dashboard.reading.work_folder import Predicted, Problem
from dashboard.serving import build_serve_command
from gaitforge.records.json_file import Unreadable
from gaitforge.records.trial import TRIAL
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
from tests.try_page import Show, open_page, table, turn_to, words

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
SMALL = Toy(trials=6, wanted=6, running=1, stopped=1, failed=0)
BARE = Toy(trials=0, running=0)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    return make_work(tmp_path_factory.mktemp("full") / "work")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Opens a page on work folders; no state may end in an exception."""

    def run(*works: WorkFolder, page: str = "overview", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


# ---------------------------------------------------------------- the page


@pytest.mark.slow
def test_each_page_of_a_full_folder_opens_without_a_complaint(
    full: WorkFolder, show: Show
) -> None:
    for page in PAGES:
        app = show(full, page=page.path)
        assert "could not be used" not in words(app)
        (bar,) = app.get("progress")
        assert bar.proto.text.startswith("Search: 38 of 60 trials have ended, 2 running")


@pytest.mark.slow
def test_choosing_a_trial_shows_that_trial(full: WorkFolder, show: Show) -> None:
    app = show(full, page="student")
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


def test_a_split_is_chosen_where_there_are_several(tmp_path: Path, show: Show) -> None:
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
        (teacher_training, ["The teacher is training: epoch 3 of 30 has ended", "in training"]),
        (teacher, ["The search has not been started", "Teacher"]),
        (none_ended, ["no finished trial so far"]),
        (none_finished, ["no finished trial so far", "1 trial of 1 failed"]),
        (not_confirmed, ["No confirmed answer yet", "gaitforge confirm run.toml"]),
        (few_people, ["4 people are too few for an interval", "confirm.folds"]),
    ],
)
def test_every_state_is_put_into_words(
    make: Callable[[WorkFolder], None],
    expected: list[str],
    tmp_path: Path,
    show: Show,
) -> None:
    work = WorkFolder(tmp_path / "work")
    make(work)
    said = words(show(work))
    assert [phrase for phrase in expected if phrase not in said] == []


def test_trials_that_are_silent_for_long_are_said_to_be_so(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", SMALL)
    old = work.run("people").search / "running" / "5.json"
    os.utime(old, (1e9, 1e9))
    assert "None of the running trials has reported for two minutes" in words(show(work))


@pytest.mark.slow
def test_broken_and_foreign_files_are_named_and_the_rest_is_shown(
    tmp_path: Path, show: Show
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
    app = show(work, page="student")
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
    remedies = dict(zip(problems["File"], problems["What to do"], strict=True))
    assert "with the version of gaitforge that wrote it" in remedies[f"{search}/front.json"]
    assert "gaitforge search run.toml replaces" in remedies[f"{search}/trials/1.json"]
    assert "Move it elsewhere" in remedies[f"{search}/trials/notes.txt"]
    app = turn_to(app, "trade-off")
    assert len(table(app, "on_front")) == 4
    assert len(table(app, "gain")) == 3


@pytest.mark.slow
def test_text_of_files_never_becomes_markdown_or_html(tmp_path: Path, show: Show) -> None:
    nasty = "<b onclick=x>**:red[ataxia]**</b>"
    toy = Toy(classes=(nasty, "healthy"), trials=3, running=1, failed=0, stopped=0)
    work = make_work(tmp_path / "work", toy)
    run = work.run("people")
    for path in [*run.trials.iterdir(), run.teacher / "model.json"]:
        write_json(path, {**read_json(path), "family": nasty, "reason": nasty})
    scores = read_json(run.confirm / "scores.json")
    write_json(run.confirm / "scores.json", {**scores, "sentence": nasty})
    said: list[str] = []
    for page in PAGES:
        app = show(work, page=page.path)
        formatted = [
            *app.markdown,
            *app.caption,
            *app.info,
            *app.warning,
            *app.subheader,
            *app.error,
        ]
        assert not [element.value for element in formatted if "ataxia" in element.value]
        assert not [html for html in app.get("html") if "ataxia" in str(html.proto)]
        assert not [metric for metric in app.metric if "ataxia" in metric.label + metric.value]
        said += [text.value for text in app.text] + [code.value for code in app.code]
    assert f"{nasty}, healthy" in said  # the classes
    assert nasty in said  # a family, a reason


@pytest.mark.slow
def test_page_opens_while_the_folder_is_being_written(tmp_path: Path, show: Show) -> None:
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
        counts = [len(table(show(work, page="trade-off"), "on_front")) for _ in range(3)]
    finally:
        done.set()
        writer.join()
    assert counts == sorted(counts)
    assert counts[-1] > 5


@pytest.mark.slow
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
    folder = APP.parent
    own = {path.stem for path in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/*.py")
    }
    assert own & (set(sys.stdlib_module_names) | {"altair", "pandas", "tables", "numpy"}) == set()


def test_work_folders_come_from_the_arguments_then_the_environment() -> None:
    def named(argv: list[str], environment: dict[str, str]) -> list[Path]:
        return [folder.root for folder in work_folders(argv, environment)]

    assert named(["app.py", "a", "c"], {"GAITFORGE_WORK": "b"}) == [Path("a"), Path("c")]
    assert named(["app.py"], {"GAITFORGE_WORK": "b"}) == [Path("b")]
    assert named(["app.py"], {}) == [Path("work")]


def test_the_store_is_shown_before_there_is_a_split(tmp_path: Path, show: Show) -> None:
    work = WorkFolder(tmp_path / "work")
    make_store(work)
    assert "no split yet" not in words(show(work, page="store"))
    assert "no split yet" in words(show(work, page="why"))


def test_it_is_served_on_this_machine_only_and_without_details_of_errors() -> None:
    command = build_serve_command(["/a/work", "/another"], 8501)
    options = dict(zip(command[6::2], command[7::2], strict=False))
    assert options["--server.address"] == "127.0.0.1"
    assert options["--client.showErrorDetails"] == "none"
    assert options["--browser.gatherUsageStats"] == "false"
    assert command[-3:] == ["--", "/a/work", "/another"]


# ---------------------------------------------------------------- links


LED_OUT = [
    "runs/people/search/trials/7.json",
    "runs/people/search/trials",
    "runs/people/search/running",
    "runs/people/search/search.json",
    "runs/people/confirm/scores.json",
    "runs/people/confirm/latency.json",
    "runs/people/teacher",
    "runs/people/teacher/model.safetensors",
    "runs/people/predictions",
    "runs/people",
    "runs",
    "splits",
    "store/store.json",
]
SECRET = "secret-of-another-folder"


def lead_out(folder: Path, inside: str) -> WorkFolder:
    """A work folder of which one part is a link to the same part of another one, full of secrets."""
    toy = Toy(trials=8, wanted=8, running=1, stopped=0, failed=0, classes=("a", SECRET))
    other = make_work(folder / "other", toy)
    for pattern in ("trials/*.json", "running/*.json", "model.json"):
        for path in other.root.rglob(pattern):
            write_json(path, {**read_json(path), "family": SECRET})
    scores = other.run("people").confirm / "scores.json"
    write_json(scores, {**read_json(scores), "sentence": SECRET})
    write_json(scores.with_name("latency.json"), {"schema": 1, "members": [], "of": SECRET})
    work = make_work(folder / "work", SMALL)
    target = work.root / inside
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    target.symlink_to(other.root / inside)
    return work


@pytest.mark.parametrize("inside", LED_OUT)
def test_nothing_is_read_by_a_link_that_leads_out_of_the_work_folder(
    inside: str, tmp_path: Path
) -> None:
    work = lead_out(tmp_path, inside)
    found, line = reading.look(work), reading.read_results(work, "people")
    problems = [*found.problems, *line.problems]
    files = reading.find_prediction_files(work, "people", problems)
    progress = reading.read_progress(work, "people")
    assert SECRET not in str((found, line, files, progress))
    assert all(path.resolve().is_relative_to(work.root) for its in files.values() for path in its)
    if (
        "running" not in inside
    ):  # which are looked at every two seconds, and never complained about
        assert inside in {problem.file for problem in problems} or inside.startswith("runs")
        assert any("link" in p.reason or "leads out" in p.reason for p in problems)


@pytest.mark.slow
@pytest.mark.parametrize("inside", LED_OUT)
def test_no_page_shows_what_a_link_leads_to(inside: str, tmp_path: Path, show: Show) -> None:
    work = lead_out(tmp_path, inside)
    for page in PAGES:
        app = show(work, page=page.path)
        shown = words(app) + "".join(frame.value.to_csv() for frame in app.dataframe)
        assert SECRET not in shown + "".join(str(c.proto) for c in app.get("vega_lite_chart"))


def test_a_work_folder_may_itself_be_reached_by_a_link(tmp_path: Path, show: Show) -> None:
    make_work(tmp_path / "work", SMALL)
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert "could not be used" not in words(show(WorkFolder(tmp_path / "link")))


# ---------------------------------------------------------------- reading


def test_a_file_is_read_again_only_when_its_time_or_size_changes(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", SMALL)
    path = work.run("people").trials / "0.json"
    stat, whole = path.stat(), path.read_bytes()
    assert reading.read_results(work, "people").problems == ()
    path.write_bytes(b" " * len(whole))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert reading.read_results(work, "people").problems == ()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert len(reading.read_results(work, "people").problems) == 1


def test_an_epoch_of_a_running_trial_is_no_news_for_the_whole_page(tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", SMALL)
    rng, before = np.random.default_rng(0), reading.read_pulse(work, "people")
    make_trial(work, SMALL, rng, number=50, state="running")
    assert reading.read_pulse(work, "people") == before
    assert [row.trial.number for row in reading.read_progress(work, "people").running] == [5, 50]
    make_trial(work, SMALL, rng, number=50, state="failed")
    assert reading.read_pulse(work, "people") != before
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
    named = reading.read_results(work, "people").front
    (work.run("people").search / "front.json").unlink()
    assert reading.read_results(work, "people").front == named


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("state", "asleep", "its 'state' is \"asleep\", but must be one of 'finished'"),
        ("params", "many", "its 'params' is \"many\", but must be a whole number"),
        ("params", True, "must be a whole number"),
        ("scores", None, "trial 0 is finished, but has no scores"),
        ("scores", {"val_macro_f1": float("nan")}, "its 'scores.val_macro_f1' is NaN"),
        ("curve", [{"epoch": 0}, {"epoch": -1}], "its 'curve[1].epoch' is -1"),
        ("sizes", [1], "its 'sizes' is [1], but must be an object"),
    ],
)
def test_a_trial_that_breaks_its_form_is_refused_in_words(
    key: str, value: object, reason: str, full: WorkFolder
) -> None:
    content = read_json(full.run("people").trials / "0.json")
    with pytest.raises(Unreadable) as refused:
        TRIAL.parse(json.dumps({**content, key: value}), Path("0.json"))
    assert reason in str(refused.value)


def test_predictions_of_other_classes_are_refused(full: WorkFolder) -> None:
    problems: list[Problem] = []
    files = reading.find_prediction_files(full, "people", problems)
    whose = Predicted(role="confirm", model="teacher", trial=None)
    good = ("a", "b", "c", "d")
    assert len(reading.read_predictions(full, files[whose], whose, good, problems)) == 96
    assert problems == []
    assert reading.read_predictions(full, files[whose], whose, good[:3], problems).empty
    assert "not of the 3 classes" in problems[0].reason
