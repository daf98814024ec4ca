"""The trial log: one file per ended trial that never changes, and the table made from it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, read_json, write_whole


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
        recipe=Recipe(lr=1e-3),
        distill=Distillation(weights={"kd": 1.0}),
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


def test_how_a_worker_ended_survives_the_file_and_stays_out_of_the_table(log: TrialLog) -> None:
    dead = replace(failed(0), killed_by="SIGSEGV", stderr=("one", "two"), traceback="at a line")
    log.add(dead)
    assert log.read(0) == dead
    log.compact()
    (brief,) = pq.read_table(log.folder.search / "trials.parquet")["brief"].to_pylist()
    row = json.loads(str(brief))
    assert row["killed_by"] == "SIGSEGV"
    assert not {"stderr", "traceback"} & row.keys()


def test_a_trial_of_before_deaths_had_names_is_read(log: TrialLog) -> None:
    old = TRIAL.as_dict(failed(0))
    for key in ("killed_by", "stderr", "traceback"):
        del old[key]
    write_whole(log.file(0), json.dumps(old).encode())
    assert log.read(0) == failed(0)


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


def test_the_end_of_a_trial_removes_what_it_kept_to_go_on(log: TrialLog) -> None:
    log.show_running(ended(4, state="running"))
    log.folder.rungs.mkdir()
    for number in (4, 5):
        log.checkpoint(number).touch()
    log.add(ended(4))
    assert not log.checkpoint(4).exists()
    assert log.checkpoint(5).exists()


def test_what_was_in_flight_is_found_by_number(log: TrialLog) -> None:
    for number in (10, 2):
        log.show_running(ended(number, state="running"))
    assert [trial.number for trial in log.list_interrupted()] == [2, 10]
    assert log.read_running(10) == ended(10, state="running")
    assert log.read_running(3) is None


def test_what_has_ended_is_no_longer_in_flight(log: TrialLog) -> None:
    """A kill came between the entry and the clearing away."""
    log.add(ended(0))
    log.show_running(ended(0, state="running"))
    log.folder.rungs.mkdir()
    log.checkpoint(0).touch()
    assert log.has(0)
    assert not log.has(1)
    assert log.list_interrupted() == []
    assert not list(log.folder.running.iterdir())
    assert not log.checkpoint(0).exists()


def test_a_trial_that_ends_while_one_looks_is_not_in_flight(log: TrialLog) -> None:
    log.show_running(ended(1, state="running"))
    (log.folder.running / "2.json").symlink_to("gone")  # listed, and not there any more
    assert [trial.number for trial in log.list_interrupted()] == [1]


def test_half_a_file_of_a_running_trial_is_none(log: TrialLog) -> None:
    log.show_running(ended(1, state="running"))
    (log.folder.running / ".2.json.0123").write_text("{")
    assert [trial.number for trial in log.list_interrupted()] == [1]


def test_rungs_and_rejected_proposals_survive_their_file(log: TrialLog) -> None:
    trial = ended(
        3,
        state="stopped",
        reason="after epoch 1 it is number 2 of 2",
        rungs=({"epoch": 1, "val_macro_f1": 0.5},),
        rejected=({"suggested": {"tcn.channels": 99}, "params": 9000, "excess": 2.5},),
        sampler={"Nsga2:generation": 4},
        violation=1.25,
    )
    log.add(trial)
    assert log.read(3) == trial


def test_a_trial_of_a_version_before_bytes_and_rungs_can_be_read(log: TrialLog) -> None:
    log.add(ended())
    path = log.folder.trials / "0.json"
    later = {"bytes", "sampler", "rungs", "rejected", "violation"}
    path.write_text(json.dumps({k: v for k, v in read_json(path).items() if k not in later}))
    assert log.read(0) == ended()


def test_a_draft_of_a_killed_writer_is_no_entry(log: TrialLog) -> None:
    log.add(ended())
    (log.folder.trials / ".1.json.0123").write_text("{")
    assert [trial.number for trial in log] == [0]


@pytest.mark.parametrize("content", ["[]", "{}", '{"curve": [], "number": 0}', "{"])
def test_a_file_that_is_no_trial_is_named(log: TrialLog, content: str) -> None:
    log.add(ended())
    (log.folder.trials / "1.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"1.json cannot be used as a trial: it .*; move it out of the folder"
    ):
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
    assert json.loads(rows[1]["scores"]) == {"val_macro_f1": 0.8, "val_accuracy": 0.85}
    assert json.loads(rows[0]["scores"]) == {}


def test_without_trials_there_is_no_table(log: TrialLog) -> None:
    log.compact()
    assert not (log.folder.search / "trials.parquet").exists()


def test_what_a_killed_writer_left_is_removed_and_a_draft_in_writing_is_not(log: TrialLog) -> None:
    log.add(ended())
    log.show_running(ended(1, state="running"))
    old, young = (log.folder.running / f".1.json.{digit * 32}" for digit in "01")
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    log.remove_drafts()
    assert not old.exists()
    assert young.exists()
    assert log.has(0)
    assert log.read_running(1) is not None


def test_a_kill_while_a_trial_leaves_flight_leaves_no_checkpoint_behind(
    log: TrialLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.show_running(ended(state="running"))
    write_whole(log.checkpoint(0), b"weights")
    unlink = Path.unlink
    removed: list[Path] = []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name in ("0.json", "0.safetensors"):
            if removed:
                raise KeyboardInterrupt
            removed.append(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        log.add(ended())
    monkeypatch.undo()
    assert log.list_interrupted() == []
    assert not log.checkpoint(0).exists()
    assert log.read_running(0) is None
