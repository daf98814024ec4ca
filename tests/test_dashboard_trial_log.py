"""The trial log is read from its table as far as the files agree with it, and the files are the truth."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from dashboard.frame.thinning import thin
from dashboard.reading import files, trial_log
from dashboard.reading import work_folder as reading
from dashboard.reading.trial_log import StoredCurve, read_trials
from dashboard.reading.work_folder import Predicted
from gaitforge.records.json_file import JsonFile
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, write_parquet
from tests.test_trials import ended, failed
from tests.toy_work import Toy, make_work

MANY = 25  # more than the dashboard reads without the table


@pytest.fixture
def log(tmp_path: Path) -> TrialLog:
    """Twenty-five trials and the table of them."""
    log = TrialLog(WorkFolder(tmp_path).run("main"))
    for number in range(MANY):
        write_trial(log, ended(number) if number else failed(0))
    log.compact()
    return log


def write_trial(log: TrialLog, trial: Trial) -> None:
    TRIAL.write(log.folder.trial(trial.number), trial)


def forbid_files(monkeypatch: pytest.MonkeyPatch, *allowed: str) -> None:
    """Makes reading any other trial's file an error."""

    def parsed(path: str, kind: JsonFile[Trial]) -> object:
        assert Path(path).name in allowed, f"{path} was read"
        return kind.read(Path(path))

    monkeypatch.setattr(files, "parse_file", parsed)


def scores(log: TrialLog) -> dict[int, float | None]:
    return {trial.number: trial.macro_f1 for trial in read_trials(log.folder).trials}


def test_what_the_table_holds_is_not_read_from_files(
    log: TrialLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_files(monkeypatch)
    trials = read_trials(log.folder).trials
    assert [trial.number for trial in trials] == list(range(MANY))
    assert trials[0].reason == "RuntimeError: out of memory"
    assert trials[1].macro_f1 == 0.8
    assert trials[1].suggested == {"tcn.channels": 8}
    assert trials[1].weights == {"kd": 1.0}


def test_table_and_files_tell_the_same(log: TrialLog, monkeypatch: pytest.MonkeyPatch) -> None:
    by_table = read_trials(log.folder).trials
    trial_log._looks.clear()
    (log.folder.search / "trials.parquet").unlink()
    assert read_trials(log.folder).trials == by_table
    assert [len(trial.curve) for trial in by_table] == [2] * MANY


def test_a_curve_is_read_when_it_is_looked_at(log: TrialLog) -> None:
    trial = read_trials(log.folder).trials[3]
    assert isinstance(trial.curve, StoredCurve)
    assert [epoch["train_loss"] for epoch in trial.curve] == [0.5, 0.25]
    assert trial.curve[-1]["epoch"] == 2
    (log.folder.trials / "3.json").unlink()
    assert list(trial.curve) == []


def test_a_changed_file_wins_over_the_table(
    log: TrialLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trial(log, ended(7, scores={"val_macro_f1": 0.123, "val_accuracy": 0.2}))
    forbid_files(monkeypatch, "7.json")
    assert scores(log)[7] == 0.123


def test_an_older_file_in_its_place_wins_as_well(log: TrialLog) -> None:
    path = log.folder.trials / "7.json"
    write_trial(log, ended(7, scores={"val_macro_f1": 0.123, "val_accuracy": 0.2}))
    os.utime(path, ns=(0, 0))
    assert scores(log)[7] == 0.123


def test_a_removed_file_is_no_trial_whatever_the_table_says(log: TrialLog) -> None:
    (log.folder.trials / "7.json").unlink()
    assert 7 not in scores(log)


def test_a_new_trial_is_read_from_its_file_alone(
    log: TrialLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_trials(log.folder)
    assert read_trials(log.folder) is before
    write_trial(log, ended(MANY))
    forbid_files(monkeypatch, f"{MANY}.json")
    after = read_trials(log.folder).trials
    assert len(after) == MANY + 1
    assert after[5] is before.trials[5]


def test_a_damaged_file_is_a_problem_though_the_table_knows_it(log: TrialLog) -> None:
    (log.folder.trials / "7.json").write_text("{")
    read = read_trials(log.folder)
    assert len(read.trials) == MANY - 1
    assert [problem.file for problem in read.problems] == ["7.json"]


@pytest.mark.parametrize("damage", ["cut", "other columns", "no JSON", "other schema"])
def test_a_table_that_cannot_be_used_costs_time_only(log: TrialLog, damage: str) -> None:
    path = log.folder.search / "trials.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("brief")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "other columns":
        write_parquet(path, table.drop_columns(["brief"]))
    else:
        text = "{" if damage == "no JSON" else '{"schema": 2}'
        write_parquet(path, table.set_column(at, "brief", [[text] * MANY]))
    read = read_trials(log.folder)
    assert len(read.trials) == MANY
    assert read.problems == ()


def test_the_table_is_written_anew_from_the_files_that_it_lacks_or_that_changed(
    log: TrialLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trial(log, ended(7, scores={"val_macro_f1": 0.123, "val_accuracy": 0.2}))
    write_trial(log, ended(MANY))
    (log.folder.trials / "3.json").unlink()
    read: list[str] = []

    def noted(kind: JsonFile[Trial], path: Path) -> Trial:
        read.append(path.name)
        return kind.parse(path.read_bytes(), path)

    monkeypatch.setattr(JsonFile, "read", noted)
    log.compact()
    assert sorted(read) == [f"{MANY}.json", "7.json"]
    rows = pq.read_table(log.folder.search / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [n for n in range(MANY + 1) if n != 3]
    assert rows[6]["val_macro_f1"] == 0.123


def test_a_table_of_an_earlier_version_is_written_anew(log: TrialLog) -> None:
    path = log.folder.search / "trials.parquet"
    now = pq.read_table(path)
    write_parquet(path, now.select(["trial", "state", "val_macro_f1"]))
    log.compact()
    assert pq.read_table(path).equals(now)


def test_predictions_of_other_models_are_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, running=0, failed=0, stopped=0))
    looked: list[str] = []
    parsed_keys = reading._parsed_keys

    def noted(path: str, stamp: files.Stamp) -> object:
        looked.append(Path(path).name)
        return parsed_keys(path, stamp)

    monkeypatch.setattr(reading, "_parsed_keys", noted)
    found = reading.find_prediction_files(work, "people", [], models={None, 2})
    assert Predicted(role="validation", model="student", trial=2) in found
    assert {name for name in looked if "teacher" not in name} == {"validation-student-2.parquet"}


# ---------------------------------------------------------------- points


def points(count: int) -> pd.DataFrame:
    return pd.DataFrame({"x": [10.0**n for n in range(count)], "y": range(count)}, dtype=float)


def test_few_points_are_all_drawn() -> None:
    table = points(4)
    thinned = thin(table, "x", "y", table["x"] > 1e9)
    assert thinned.table["x"].tolist() == table["x"].tolist()
    assert thinned.words == ""


def test_of_many_points_one_of_each_spot_is_drawn_and_all_that_are_to_be_kept() -> None:
    table = pd.DataFrame({"x": [1.0] * 5 + [2.0] * 5, "y": [1.0] * 5 + [2.0] * 5})
    keep = pd.Series([False] * 4 + [True] * 2 + [False] * 4)
    thinned = thin(table, "x", "y", keep, most=4)
    assert thinned.table.index.tolist() == [0, 4, 5, 6]
    assert thinned.table["stands_for"].tolist() == [4, 1, 1, 4]
    assert thinned.words == "4 of 10 points are drawn, one for each spot."


def test_points_stay_below_the_most_and_spread_over_the_chart() -> None:
    table = points(300)
    thinned = thin(table, "x", "y", table["y"] < 0, log_x=True, most=50).table
    assert 25 <= len(thinned) <= 50
    assert thinned["stands_for"].sum() == 300
    assert thinned["y"].min() == 0
    assert thinned["y"].max() >= 290
