"""Rules of the whole line on real Ray: what it writes, that it repeats itself, and that nothing kills it.

Each test has its own folder for Ray's files, by which the processes of its run are known.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gaitforge.familiar import describe_training
from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.records.json_file import plain
from gaitforge.records.split import SPLIT
from gaitforge.records.trial import Trial
from gaitforge.store import SkeletonStore
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, read_json, write_json
from tests.conftest import FinishedLine, own_ray
from tests.line_state import (
    EPOCHS,
    TRIAL,
    copied,
    find,
    kill,
    live_epochs,
    numbers,
    rows_of,
    split_of,
    timeless,
)
from tests.made import read_provenance
from tests.small_line import (
    ROOT,
    SETTINGS,
    Tables,
    ended,
    processes,
    run,
    start,
    wait_for,
    write_recordings,
    write_run,
)
from tests.test_cli import must_say, one_sentence, refused
from trainers.__main__ import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes by /proc"),
]

TRIALS = 4  # of SETTINGS

KEYS = {
    "store/store.json": "schema fingerprint version recordings people classes channels quarantined",
    "store/layout.json": "name unit up joints bones left_right parts root fps",
    "settings.json": "schema work ingest split windows teacher search confirm export cluster",
    "splits/main.json": "schema name rule store roles",
    "runs/main/teacher/model.json": "schema fingerprint family sizes params macs layout classes windows normalisation "
    "val_macro_f1 val_accuracy best_epoch epochs seconds weights_sha256",
    "runs/main/reference/reference.json": "schema identity windows width strength features params "
    "val_macro_f1 val_accuracy chance_class chance_val_macro_f1 chance_val_accuracy seconds "
    "weights_sha256",
    "runs/main/search/search.json": "schema identity families trials epochs seed reference max_params rejected seconds",
    "runs/main/search/trials/0.json": "schema number state reason hash family sizes params macs seed suggested recipe "
    "distill scores curve epochs seconds started ended",
    "runs/main/search/front.json": "schema hypervolume reference front",
    "runs/main/confirm/scores.json": "schema margin people too_few times_scored teacher reference chance members "
    "optimism per_person chosen verdict sentence",
    "runs/main/confirm/latency.json": "schema teacher members",
    "runs/main/confirm/shortcuts.json": "schema identity class_from_windows columns says sentence",
    "export/card.json": "schema trial seed network verdict reference chance margin too_few family sizes params macs "
    "layout classes windows normalisation read onnx "
    "onnx_bytes max_abs_difference latency_ms_p50 latency_ms_p95",
}
COLUMNS = {
    "store/quarantine.parquet": "source position person label reason",
    "runs/main/teacher/history.parquet": "epoch train_loss val_macro_f1 val_accuracy seconds",
    "runs/main/search/trials.parquet": "trial state family params val_macro_f1 val_accuracy",
    "runs/main/confirm/robustness.parquet": "model trial seed hidden recording person true_class said_class",
    "runs/main/predictions/confirm-teacher-seed0.parquet": "split role model trial seed recording person true_class "
    "probabilities",
}
SUMMARY = {
    "store": "recordings people classes quarantined version",
    "teacher": "family params val_macro_f1 val_accuracy seconds",
    "search": "trials rejected hypervolume reference epochs seconds",
    "confirm_teacher": "macro_f1 interval accuracy",
    "reference": "macro_f1 interval accuracy",
    "chance": "macro_f1 interval accuracy",
    "verdict": "word sentence rests_on",
    "export": "trial onnx onnx_bytes max_abs_difference latency_ms_p50 latency_ms_p95",
    "exported": "trial split seed macro_f1 interval difference difference_interval noninferior "
    "against_reference against_chance",
    "outdated": "answer export",
    "shortcuts": "says sentence class_from_windows columns",
}
FRONTS = {
    "searched_front": "trial family params macs val_macro_f1 val_accuracy",
    "confirmed_front": "trial family params macro_f1 interval accuracy p_on_front noninferior seeds "
    "against_reference against_chance",
}


def check_trials(split: SplitFolder, count: int) -> list[Trial]:
    """All trials, of which every one has ended exactly once and has left nothing of its time in flight."""
    trials = list(TrialLog(split))
    assert [trial.number for trial in trials] == list(range(count))
    for trial in trials:
        assert [row["epoch"] for row in trial.curve] == list(range(1, 1 + trial.epochs))
    assert [*split.running.glob("*"), *split.rungs.glob("*"), *split.search.rglob(".*")] == []
    return trials


def epochs_in_flight(split: SplitFolder, number: int) -> int:
    with suppress(FileNotFoundError):  # the trial may end while we look
        trial = TrialLog(split).read_running(number)
        return trial.epochs if trial else 0
    return 0


# --- what a finished line has written ---


def test_the_line_writes_every_artefact_with_its_keys(finished: FinishedLine) -> None:
    root = finished.work.root
    for file, keys in KEYS.items():
        assert set(keys.split()) <= set(read_json(root / file)), file
    for file, columns in COLUMNS.items():
        assert set(columns.split()) <= set(pq.read_schema(root / file).names), file
    for file in ("student.onnx", "student.safetensors", "card.md"):
        assert (root / "export" / file).stat().st_size > 0
    assert not list(root.rglob("*.pkl"))
    assert not (finished.split.teacher / "ray").exists()
    assert not (finished.split.search / "ray").exists()
    check_trials(finished.split, TRIALS)


def test_the_summary_has_exactly_the_agreed_keys(finished: FinishedLine) -> None:
    summary = read_json(finished.work.summary)
    assert set(summary) == {"schema", "failures", "times_scored", *SUMMARY, *FRONTS}
    for part, keys in SUMMARY.items():
        assert set(summary[part]) == set(keys.split()), part
    for part, keys in FRONTS.items():
        assert summary[part]
        assert all(set(row) == set(keys.split()) for row in summary[part]), part
    assert summary["search"]["trials"] == {"finished": TRIALS, "stopped": 0, "failed": 0}


def test_a_confirm_person_is_in_no_other_role_of_the_predictions(finished: FinishedLine) -> None:
    roles = read_json(finished.work.split_file("main"))["roles"]
    for path in finished.split.predictions.glob("*.parquet"):
        for row in rows_of(path):
            assert roles[row["person"]] == row["role"]
            assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_second_run_redoes_nothing(finished: FinishedLine, ray_home: Path) -> None:
    def states() -> dict[Path, tuple[int, int]]:
        """Every file that costs work, with its inode and time: rewriting it would change both."""
        split = finished.split
        folders = (
            finished.work.store,
            finished.work.export,
            split.teacher,
            split.teacher_outputs,
            split.trials,
            split.confirm / "refits",
        )
        files: list[Path] = []
        files += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        files += [split.confirm / name for name in ("robustness.parquet", "latency.json")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = states()
    summary = read_json(finished.work.summary)
    answer = run("run", finished.settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert states() == before
    assert not list(ray_home.iterdir()), "Ray was started for nothing"
    assert read_json(finished.work.summary) == summary


def test_show_and_doctor_describe_a_finished_line(finished: FinishedLine, ray_home: Path) -> None:
    shown = run("show", finished.work.root, ray_home=ray_home)
    assert (shown.returncode, shown.stderr) == (0, "")
    for part in (
        "24 recordings",
        "teacher: tcn",
        "4 finished",
        "searched front",
        "confirmed",
        "export: trial",
    ):
        assert part in shown.stdout
    assert "not there yet" not in shown.stdout
    examined = run("doctor", finished.settings, ray_home=ray_home)
    assert (examined.returncode, examined.stderr) == (0, "")
    assert "settings     good" in examined.stdout
    assert "2 cores, 0 GPUs, 1 trial at a time" in examined.stdout
    assert examined.stdout.endswith("Nothing is missing.\n")


# --- predict ---


def write_new_recordings(path: Path, **settings: Any) -> list[str]:
    """New walkers of whom nobody says class or person; the ids of their recordings."""
    walks = list(
        synthetic_cohort(SyntheticSettings(seconds=3.0, seed=5, people_per_class=1, **settings))
    )
    np.savez(
        path,
        frames=np.concatenate([walk.positions_TVC for walk in walks]),
        offsets=np.cumsum([0, *(len(walk.positions_TVC) for walk in walks)]),
    )
    return [f"{path.stem}-{i:05d}" for i in range(len(walks))]


def test_predict_names_the_most_probable_class_of_every_new_recording_without_torch(
    finished: FinishedLine, tmp_path: Path
) -> None:
    ids = write_new_recordings(tmp_path / "new.npz")
    program = (
        "import sys; from trainers.__main__ import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 10 * bool({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, "predict", finished.work.export, tmp_path / "new.npz"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [row["recording"] for row in rows] == ids
    classes = read_json(finished.work.summary)["store"]["classes"]
    for row in rows:
        probabilities = {name: float(row[name]) for name in classes}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
        assert probabilities[row["predicted"]] == max(probabilities.values())


def test_predict_gives_what_was_scored(
    finished: FinishedLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of the store, read from a file, gets the probabilities that confirm wrote."""
    card = read_json(finished.work.export / "card.json")
    (path,) = finished.split.predictions.glob(
        f"confirm-student-{card['trial']}-seed{card['seed']}.parquet"
    )
    scored = {row["recording"]: row["probabilities"] for row in rows_of(path)}
    tables = SETTINGS["ingest.synthetic"]
    walks = [
        walk
        for walk in synthetic_cohort(SyntheticSettings(**tables))  # type: ignore[arg-type]
        if walk.recording in scored
    ]
    np.savez(
        tmp_path / "walks.npz",
        frames=np.concatenate([walk.positions_TVC for walk in walks]),
        offsets=np.cumsum([0, *(len(walk.positions_TVC) for walk in walks)]),
        clip_id=np.array([walk.recording for walk in walks]),
    )
    capsys.readouterr()
    assert main(["predict", str(finished.work.export), str(tmp_path / "walks.npz")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len(scored)
    for row in rows:
        values = [float(row[name]) for name in card["classes"]]
        assert values == pytest.approx(scored[row["recording"]], abs=1e-4)


def test_predict_says_why_it_cannot_use_recordings(
    finished: FinishedLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, export = tmp_path / "new.npz", finished.work.export

    def must_answer(name: str, *words: str) -> None:
        """Every row has a name that ends so, and a reason of these words."""
        capsys.readouterr()
        assert main(["predict", str(export), str(path)]) == 2
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert rows
        for row in rows:
            assert row["predicted"] == ""
            assert name in row["recording"]
            must_say(row["reason"], *words)

    write_new_recordings(path, layout="kinect25")
    must_answer("new.npz", "25 joints", "'coco17' has 17", "layout")
    write_new_recordings(path, dimensions=2)
    must_answer("new-0", "2 coordinates", "trained on 3")
    write_recordings(path, frames=np.full((72, 17, 3), np.nan, dtype=np.float32))
    must_answer("new-0", "is missing")
    must_say(refused(capsys, "predict", export, tmp_path / "no.npz"), "no.npz does not exist")


SPOILED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "as trained": (lambda frames: frames, ""),
    "upside down": (lambda frames: frames * [1, -1, -1], "the head below the feet"),
    "z up": (lambda frames: frames[..., [0, 2, 1]] * [1, -1, 1], "joints at other heights"),
    "another order": (lambda frames: frames[:, ::-1], "bones of another length"),
    "hips unseen": (
        lambda frames: np.where(np.isin(np.arange(17), [11, 12])[:, None], np.nan, frames),
        "left_hip, right_hip not seen",
    ),
    "hips zero": (
        lambda frames: np.where(np.isin(np.arange(17), [11, 12])[:, None], 0, frames + 3),
        "left_hip, right_hip not seen",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_predict_says_what_is_unlike_the_training_people_and_strict_does_not_answer(
    finished: FinishedLine, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, words = SPOILED[name]
    path = tmp_path / "new.npz"
    write_new_recordings(path, fps=20.0)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, frames=spoil(arrays["frames"]).astype(np.float32), offsets=arrays["offsets"])

    def ask(*flags: str) -> tuple[int, list[dict[str, str]]]:
        capsys.readouterr()
        status = main(["predict", *flags, str(finished.work.export), str(path)])
        return status, list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    status, rows = ask()
    assert status == 0
    assert rows
    assert all(words in row["unlike"] if words else row["unlike"] == "" for row in rows)
    status, strict = ask("--strict")
    if not words:
        assert (status, strict) == (0, rows)
        return
    assert status == 2
    for row, before in zip(strict, rows, strict=True):
        assert row["predicted"] == ""
        assert row["unlike"] == before["unlike"]
        assert row["reason"].startswith("it is unlike the training people's recordings: ")


def test_the_card_holds_the_range_of_the_training_people_alone(finished: FinishedLine) -> None:
    card = read_json(finished.work.export / "card.json")
    store = SkeletonStore.open(finished.work.store)
    split = SPLIT.read(finished.work.split_file("main"))
    told = describe_training(store.read_recordings(split.people("train")), store.layout)
    assert told is not None
    assert card["familiar"] == plain(told)
    assert card["familiar"]["recordings"] == card["people"]["train"]  # one of each


# --- wrong input on a line that has results ---


def test_a_changed_search_is_refused_and_fresh_sets_the_old_one_aside(
    finished: FinishedLine,
    tmp_path: Path,
    ray_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = copied(finished, tmp_path, changes={"search.fit": {"epochs": 3}})
    split = split_of(settings)
    before = numbers(split)
    sentence = refused(capsys, "search", settings)
    must_say(sentence, "other settings", "search.fit has changed", "undo the change", "--fresh")
    assert numbers(split) == before

    answer = run("search", settings, "--fresh", ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    check_trials(split, TRIALS)
    assert {trial.epochs for trial in TrialLog(split)} == {3}
    (aside,) = split.root.glob("until-*")
    kept = {
        path.name: timeless(read_json(path)) for path in (aside / "search" / "trials").iterdir()
    }
    assert kept == before["trials"]
    assert (aside / "confirm" / "scores.json").is_file()


def test_a_teacher_at_chance_is_refused_before_anything_is_written(
    finished: FinishedLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = copied(finished, tmp_path, changes={"search": {"allow_chance": False}})
    split = split_of(settings)
    head = split.teacher / "model.json"
    write_json(head, {**read_json(head), "val_macro_f1": 0.0})
    files = {path: path.stat().st_ino for path in split.root.rglob("*")}
    sentence = refused(capsys, "search", settings, "--fresh")
    must_say(sentence, "0.000 on the validation people", "set search.allow_chance = true")
    assert {path: path.stat().st_ino for path in split.root.rglob("*")} == files


def test_the_reference_is_told_beside_the_teacher_and_scored_on_the_same_people(
    finished: FinishedLine,
) -> None:
    told = [
        line for line in finished.out.splitlines() if "on the validation people: teacher" in line
    ]
    assert len(told) == 1
    for word in ("teacher 0.", "reference 0.", "chance 0."):
        assert word in told[0].replace("1.000", "0.999")
    for role in ("validation", "confirm"):
        teacher, reference = (
            [
                (row["recording"], row["true_class"])
                for row in rows_of(finished.split.predictions / f"{role}-{model}-seed0.parquet")
            ]
            for model in ("teacher", "reference")
        )
        assert teacher == reference


def test_more_trials_are_the_same_search(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, changes={"search": {"trials": TRIALS + 1}})
    before = numbers(split_of(settings))["trials"]
    answer = run("search", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    check_trials(split_of(settings), TRIALS + 1)
    after = numbers(split_of(settings))["trials"]
    assert {name: after[name] for name in before} == before


def test_fewer_trials_than_have_ended_are_enough(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, changes={"search": {"trials": 1}})
    before = numbers(split_of(settings))
    answer = run("search", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert numbers(split_of(settings)) == before


def test_people_whom_the_teacher_has_seen_are_confirmed_by_no_way(
    finished: FinishedLine, tmp_path: Path, ray_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: Tables = {"split": {"seed": 5}, "teacher.fit": {"epochs": 2}}
    settings = copied(finished, tmp_path, changes=changes)
    work = WorkFolder(tmp_path / "work")

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in work.root.rglob("*") if path.is_file()}

    before = files()
    for arguments in (["split"], ["teacher"], ["search"], ["confirm"], ["export"], ["run"]):
        must_say(refused(capsys, *arguments, settings), "undo the change", "--fresh")
    # what once left the old teacher in its place
    must_say(refused(capsys, "search", settings, "--fresh"), "gaitforge run --fresh run.toml")
    assert files() == before

    answer = run("run", settings, "--fresh", ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    split = SPLIT.read(work.split_file("main"))
    confirm = set(split.people("confirm"))
    assert confirm != set(SPLIT.read(finished.work.split_file("main")).people("confirm"))
    for head in ("teacher/model.json", "teacher_outputs/outputs.json", "search/search.json"):
        told = read_provenance(work.run("main").root / head)
        assert told.seen == set(split.roles) - confirm
    (aside,) = work.run("main").root.glob("until-*")
    lost = {path.name for path in before if work.run("main").root in path.parents}
    assert lost - {path.name for path in aside.rglob("*")} == set()


@pytest.mark.parametrize(
    ("stage", "changes", "words"),
    [
        (
            "search",
            {"search": {"max_params": 10}},
            (
                "search.max_params has changed",
                "undo the change",
                "gaitforge search --fresh run.toml",
            ),
        ),
        (
            "search",
            {"search.fit": {"epochs": 9}},
            ("search.fit has changed", "undo the change", "gaitforge search --fresh run.toml"),
        ),
        ("run", {"teacher.fit": {"epochs": 3}}, ("students of another teacher", "--fresh")),
        ("run", {"windows": {"length": 20}}, ("students of another teacher", "undo the change")),
        (
            "search",
            {"windows": {"length": 20}},
            ("The teacher in", "gaitforge run --fresh run.toml"),
        ),
        ("search", {"search": {"objectives": ["macro_f1", "macs"]}}, ("search.objectives has",)),
        (
            "export",
            {"export": {"trial": 77}},
            ("export.trial is 77", "confirmed trials are", "name one"),
        ),
        (
            "search",
            {"search": {"trials": TRIALS + 1}, "cluster": {"address": "127.0.0.1:1"}},
            ("No Ray cluster answers", "127.0.0.1:1", "ray start --head"),
        ),
    ],
    ids=[
        "parameters",
        "epochs",
        "teacher",
        "windows",
        "search-windows",
        "objectives",
        "export",
        "cluster",
    ],
)
def test_wrong_settings_for_a_finished_line_are_refused_and_cost_nothing(
    stage: str,
    changes: Tables,
    words: tuple[str, ...],
    finished: FinishedLine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = copied(finished, tmp_path, changes=changes)
    before = numbers(split_of(settings))
    must_say(refused(capsys, stage, settings), *words)
    assert numbers(split_of(settings)) == before


# --- early stopping ---


def test_a_search_stops_students_that_fall_behind_and_none_of_them_is_in_its_front(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    rungs = {"first": 1, "factor": 3, "keep": 0.2}  # after epochs 1 and 3 of 8
    changes: Tables = {"search": {"trials": 8}, "search.stopping": rungs}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    answer = run("search", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    split = split_of(settings)
    trials = check_trials(split, 8)
    states = [trial.state for trial in trials]
    assert set(states) == {"finished", "stopped"}
    for trial in trials:
        if trial.state == "finished":
            assert trial.epochs == 8
        else:
            assert trial.epochs in (1, 3)
            must_say(str(trial.reason), f"after epoch {trial.epochs} it is number", "its size")
            assert f"trial {trial.number:>3} stopped" in answer.stdout
    front = {row["trial"] for row in read_json(split.search / "front.json")["front"]}
    assert front <= {trial.number for trial in trials if trial.state == "finished"}
    summary = read_json(settings.parent / "work" / "summary.json")
    assert summary["search"]["trials"]["stopped"] == states.count("stopped")


# --- kills ---


@dataclass(frozen=True, slots=True)
class KilledLine:
    """A line whose driver was killed in the teacher and in the search, and what it had then."""

    split: SplitFolder
    shown: list[dict[str, Any]]
    trials: dict[str, bytes]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> KilledLine:
    """The same line as `finished`, in another folder, by three commands of which two are killed."""
    settings = write_run(tmp_path_factory.mktemp("killed"))
    split = split_of(settings)
    with own_ray() as home:
        driver = start("run", settings, ray_home=home)
        wait_for(lambda: live_epochs(split) >= 3, driver)
        shown = (split.teacher / "live.jsonl").read_text(encoding="utf-8").splitlines()
        driver.kill()
        ended(driver)
        wait_for(lambda: not processes(home))
        assert live_epochs(split) < EPOCHS, "killed too late to show anything"

        driver = start("run", settings, ray_home=home)
        wait_for(lambda: (split.trials / "1.json").is_file(), driver)
        wait_for(lambda: any(split.rungs.glob("[0-9]*")), driver)
        driver.kill()
        ended(driver)
        trials = {path.name: path.read_bytes() for path in split.trials.glob("*.json")}
        assert len(trials) < TRIALS, "killed too late to show anything"

        answer = run("run", settings, ray_home=home)
        assert (answer.returncode, answer.stderr) == (0, "")
    return KilledLine(split, [json.loads(line) for line in shown], trials)


def test_a_killed_teacher_goes_on_after_its_last_epoch_and_ends_with_the_same_weights(
    finished: FinishedLine, killed: KilledLine
) -> None:
    history = rows_of(killed.split.teacher / "history.parquet")
    assert [row["epoch"] for row in history] == list(range(1, 1 + EPOCHS))
    # the last epoch that was shown may have been killed before its checkpoint, and is then run again
    kept = [row["seconds"] for row in killed.shown[:-1]]
    assert [row["seconds"] for row in history[: len(kept)]] == kept
    one, other = numbers(finished.split), numbers(killed.split)
    assert other["history"] == one["history"]
    assert other["weights"] == one["weights"]


def test_a_killed_search_loses_no_ended_trial_and_runs_none_twice(killed: KilledLine) -> None:
    check_trials(killed.split, TRIALS)
    for name, content in killed.trials.items():
        assert (killed.split.trials / name).read_bytes() == content


def test_the_same_seed_gives_the_same_numbers_twice_also_through_kills(
    finished: FinishedLine, killed: KilledLine
) -> None:
    one, other = numbers(finished.split), numbers(killed.split)
    for part in one:
        assert other[part] == one[part], part


def test_a_trial_goes_on_without_its_worker_and_fails_without_the_next(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    changes: Tables = {"search": {"trials": 3}, "search.fit": {"epochs": 60}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    split = split_of(settings)
    driver = start("search", settings, ray_home=ray_home)
    wait_for(lambda: epochs_in_flight(split, 0) >= 10, driver)
    kill(ray_home, TRIAL)
    wait_for(lambda: epochs_in_flight(split, 1) >= 1, driver)
    killed = kill(ray_home, TRIAL)
    wait_for(lambda: find(ray_home, TRIAL) not in (None, killed), driver)
    kill(ray_home, TRIAL)
    answer = ended(driver)
    assert (answer.returncode, answer.stderr) == (0, "")
    once, twice, untouched = check_trials(split, 3)
    assert (once.state, once.epochs) == ("finished", 60)
    assert (twice.state, untouched.state) == ("failed", "finished")
    assert (once.killed_by, twice.killed_by) == (None, "SIGKILL")
    assert "the worker process was killed by SIGKILL" in str(twice.reason)
    assert "trial   1 failed   tcn (channels " in answer.stdout


def test_a_search_killed_beyond_a_rung_goes_on_from_it(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    rung = 20
    changes: Tables = {
        "search": {"trials": 2},
        # a trial of a fast machine must not end in the moment between the look and the kill
        "search.fit": {"epochs": 500, "batch": 2},
        "search.stopping": {"first": rung, "factor": 100},
        "cluster": {"concurrent": 2},
    }
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    split = split_of(settings)
    driver = start("search", settings, ray_home=ray_home)
    wait_for(lambda: max(epochs_in_flight(split, n) for n in (0, 1)) >= rung + 10, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    ended(driver)
    wait_for(lambda: not processes(ray_home))
    killed = {trial.number: trial for trial in TrialLog(split).list_interrupted()}
    beyond = [number for number, trial in killed.items() if trial.epochs > rung]
    assert beyond, "killed too late to show anything"

    answer = run("search", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    trials = check_trials(split, 2)
    for number in beyond:
        # an epoch that was run again took another time
        before, after = killed[number].curve, trials[number].curve
        assert after[:rung] == before[:rung]
        assert after[rung] != before[rung]


@pytest.mark.parametrize("program", ["gcs_server", "raylet"])
def test_a_search_whose_ray_is_killed_ends_with_a_sentence_which_ray_has_not(
    program: str, finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    changes: Tables = {"search.fit": {"epochs": 200}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    driver = start("search", settings, ray_home=ray_home)
    wait_for(lambda: epochs_in_flight(split_of(settings), 0) >= 1, driver)
    kill(ray_home, program)
    answer = ended(driver)
    assert answer.returncode == 1
    must_say(one_sentence(answer.stderr), f"Ray's {program} died", "the same command goes on")
    wait_for(lambda: not processes(ray_home))


# one member, so that its seeds are many trainings whatever the front is
INTERRUPTED: dict[str, Tables] = {
    "teacher": {},
    "search": {},
    "confirm": {"confirm": {"members": 1, "neighbours": 0, "seeds": 12}},
}
STOPS = [
    # stage, signal, whether all processes of the command get it, exit status
    ("teacher", signal.SIGTERM, False, 143),
    ("search", signal.SIGINT, True, 1),  # as a terminal does for Ctrl-C
    ("search", signal.SIGTERM, True, 143),  # as schedulers do
    ("confirm", signal.SIGHUP, False, 129),
]


@pytest.mark.parametrize(("stage", "told", "everywhere", "status"), STOPS)
def test_stopping_a_stage_ends_it_cleanly_and_the_same_command_goes_on(
    stage: str,
    told: signal.Signals,
    everywhere: bool,
    status: int,
    finished: FinishedLine,
    tmp_path: Path,
    ray_home: Path,
) -> None:
    settings = copied(finished, tmp_path, stage, changes=INTERRUPTED[stage])
    split = split_of(settings)
    started = {
        "teacher": lambda: live_epochs(split) >= 2,
        "search": lambda: (split.trials / "0.json").is_file(),
        "confirm": lambda: any((split.confirm / "refits").glob("*.json")),
    }
    driver = start(stage, settings, ray_home=ray_home)
    wait_for(started[stage], driver)
    (os.killpg if everywhere else os.kill)(driver.pid, told)
    answer = ended(driver)
    assert answer.returncode == status, answer.stderr
    assert "goes on" in one_sentence(without_ray_log(answer.stderr))
    wait_for(lambda: not processes(ray_home))
    answer = run(stage, settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    for part in ("weights", "trials"):
        assert numbers(split)[part] == numbers(finished.split)[part]
    if stage == "confirm":
        assert "of 24 trainings are there already" in answer.stdout


def test_a_command_that_is_terminated_while_ray_starts_ends_cleanly(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, "search", "confirm", changes={})
    driver = start("search", settings, ray_home=ray_home)
    wait_for(lambda: find(ray_home, "gcs_server") is not None, driver)
    os.kill(driver.pid, signal.SIGTERM)
    answer = ended(driver)
    assert answer.returncode == 143, answer.stderr
    assert "goes on" in one_sentence(without_ray_log(answer.stderr))
    wait_for(lambda: not processes(ray_home))


def without_ray_log(err: str) -> str:
    """Standard error without what Ray's core logs there, as that it could not tell us of tasks under way."""
    ours = [line for line in err.splitlines() if not line.startswith("[20")]
    return "\n".join([*ours, ""])


# --- other shapes of the line ---


def test_a_search_of_failing_trials_gives_up_with_their_common_reason(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    # noise beyond float32 makes every loss NaN
    changes: Tables = {"search.fit": {"jitter": 1e38}, "search": {"trials": 20}}
    settings = copied(finished, tmp_path, "search", "confirm", changes=changes)
    for _ in range(2):  # and so does the same command again, without new trials
        answer = run("search", settings, ray_home=ray_home)
        assert answer.returncode == 1
        must_say(
            one_sentence(answer.stderr), "gave up", "4 of 4 trials failed", "The loss became nan"
        )
        check_trials(split_of(settings), 4)


def test_two_folds_pool_their_people(tmp_path: Path, ray_home: Path) -> None:
    changes: Tables = {
        "split": {"rule": "folds", "folds": 2, "fractions": [0.6, 0.2, 0.2]},
        "teacher.fit": {"epochs": 2},
        "search": {"trials": 1},
        "search.fit": {"epochs": 1},
        "confirm": {"members": 1, "alone": False},
        "cluster": {"concurrent": 2},
    }
    settings = write_run(tmp_path, changes)
    answer = run("run", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    work = WorkFolder(tmp_path / "work")
    pooled = read_json(work.pooled)
    assert (pooled["people"], pooled["splits"]) == (24, 2)
    assert pooled["teacher"]["interval"] is not None
    summary = read_json(work.summary)
    assert summary["confirm_teacher"]["macro_f1"] == pooled["teacher"]["macro_f1"]
    assert {row["split"] for row in summary["confirmed_front"]} == {"fold-1-of-2", "fold-2-of-2"}
    assert run("show", work.root, ray_home=ray_home).returncode == 0
