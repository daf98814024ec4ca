"""The trial log: one file per ended trial that never changes, and the table made from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, read_json


def ended(number: int = 0, **change: Any) -> Trial:
    trial = Trial(
        number=number,
        state="finished",
        family="tcn",
        sizes={"channels": 8},
        params=812,
        macs=9000,
        seed=number,
        hash="0123456789ab",
        suggested={"tcn.channels": 8},
        distributions={"tcn.channels": "{}"},
        recipe={"lr": 1e-3},
        distill={"weights": {"kd": 1.0}, "temperature": 2.0},
        scores={"val_macro_f1": 0.8, "val_accuracy": 0.85},
        curve=({"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}),
        epochs=2,
        seconds=1.5,
        started="2026-11-20T06:00:00+00:00",
        ended="2026-11-20T06:00:02+00:00",
    )
    return replace(trial, **change)


def failed(number: int) -> Trial:
    return ended(number, state="failed", reason="RuntimeError: out of memory", scores=None)


@pytest.fixture
def log(tmp_path: Path) -> TrialLog:
    return TrialLog(SplitFolder(tmp_path))


def test_a_trial_survives_its_file(log: TrialLog) -> None:
    log.add(ended())
    assert log.read(0) == ended()


def test_an_entry_never_changes(log: TrialLog) -> None:
    assert log.add(ended()) is True
    assert log.add(ended(scores={"val_macro_f1": 1.0, "val_accuracy": 1.0})) is False
    assert log.read(0) == ended()


def test_only_ended_trials_enter_the_log(log: TrialLog) -> None:
    with pytest.raises(ValueError, match="Trial 3 is running, but only an ended one"):
        log.add(ended(3, state="running"))
    assert list(log) == []


def test_trials_come_in_the_order_of_their_numbers(log: TrialLog) -> None:
    for number in (10, 2, 0):
        log.add(ended(number))
    assert [trial.number for trial in log] == [0, 2, 10]


def test_a_running_trial_can_be_seen_and_is_no_entry(log: TrialLog) -> None:
    log.show_running(ended(4, state="running", ended=None))
    running = log.folder.search / "running" / "4.json"
    assert read_json(running)["epochs"] == 2
    assert list(log) == []
    log.add(ended(4))
    assert not running.exists()


def test_what_a_killed_search_left_running_is_forgotten(log: TrialLog) -> None:
    for number in range(3):
        log.show_running(ended(number, state="running"))
    log.add(ended(0))
    log.forget_running()
    assert not list((log.folder.search / "running").iterdir())
    assert [trial.number for trial in log] == [0]


def test_a_draft_of_a_killed_writer_is_no_entry(log: TrialLog) -> None:
    log.add(ended())
    (log.folder.trials / ".1.json.0123").write_text("{")
    assert [trial.number for trial in log] == [0]


@pytest.mark.parametrize("content", ["[]", "{}", '{"curve": [], "number": 0}', "{"])
def test_a_file_that_is_no_trial_is_named(log: TrialLog, content: str) -> None:
    log.add(ended())
    (log.folder.trials / "1.json").write_text(content)
    with pytest.raises(ValueError, match=r"1.json is not (a trial of this version|JSON)"):
        list(log)


def test_a_trial_of_a_later_version_with_more_keys_can_be_read(log: TrialLog) -> None:
    log.add(ended())
    path = log.folder.trials / "0.json"
    path.write_text(json.dumps(read_json(path) | {"energy_mj": 3}))
    assert log.read(0) == ended()


def test_a_score_that_is_no_number_cannot_be_written(log: TrialLog) -> None:
    with pytest.raises(ValueError, match="JSON"):
        log.add(ended(scores={"val_macro_f1": float("nan"), "val_accuracy": 0.0}))
    assert list(log) == []


def test_the_table_has_a_row_for_each_ended_trial(log: TrialLog) -> None:
    log.add(ended(1))
    log.add(failed(0))
    log.compact()
    rows = pq.read_table(log.folder.search / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [0, 1]
    assert [row["state"] for row in rows] == ["failed", "finished"]
    assert [row["val_macro_f1"] for row in rows] == [None, 0.8]
    assert rows[0]["reason"] == "RuntimeError: out of memory"
    assert json.loads(rows[1]["suggested"]) == {"tcn.channels": 8}


def test_without_trials_there_is_no_table(log: TrialLog) -> None:
    log.compact()
    assert not (log.folder.search / "trials.parquet").exists()
