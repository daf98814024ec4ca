"""What the fault injection calls lost, repeated, done twice or left behind: it must not overlook any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from safetensors.numpy import save

from benchmarks.faults_report import Ending, Injection, by_kind
from benchmarks.faults_watch import Watch, ending
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import State, Trial
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, write_json, write_parquet, write_whole

EPOCHS = 4


def trial(
    number: int, seconds: tuple[float, ...], state: State = "running", **change: Any
) -> Trial:
    """A trial whose epochs took so long."""
    curve = tuple({"epoch": i, "seconds": s} for i, s in enumerate(seconds, start=1))
    plain = Trial(
        number=number, state=state, family="tcn", sizes={}, params=1, macs=1, seed=number, hash="h", suggested={},
        distributions={}, recipe=Recipe(), distill=Distillation(), curve=curve, epochs=len(curve), scores={},
    )  # fmt: skip
    return replace(plain, **change)


def injection() -> Injection:
    return Injection(number=0, kind="driver", search=0, moment="training", ended_before=0)


@pytest.fixture
def log(tmp_path: Path) -> TrialLog:
    return TrialLog(SplitFolder(tmp_path / "main"))


@pytest.fixture
def watch(log: TrialLog) -> Watch:
    return Watch(log.folder)


def end(watch: Watch) -> Ending:
    return ending(watch, 2, EPOCHS, search=0, status=0, starts=1, leftovers=[], other_failures=[])


def test_epochs_trained_again_are_counted_once_and_those_that_a_checkpoint_held_apart(
    log: TrialLog, watch: Watch
) -> None:
    killed = injection()
    log.show_running(trial(0, (0.1, 0.2, 0.3)))
    write_whole(log.checkpoint(0), save({}, metadata={"epoch": "1"}))
    watch.look(None)
    log.show_running(trial(0, (0.1, 0.25)))  # from the checkpoint: epochs 2 and 3 are lost
    watch.look(killed)
    watch.look(killed)
    assert (killed.repeated, killed.beyond) == (2, 0)
    log.show_running(trial(0, (0.15,)))  # from nothing, in spite of the checkpoint
    watch.look(killed)
    assert (killed.repeated, killed.beyond) == (4, 1)
    assert watch.in_flight() == {0: 1}


def test_a_trial_file_that_is_gone_or_another_is_lost(log: TrialLog, watch: Watch) -> None:
    for number in (0, 1, 2):
        log.add(trial(number, (0.1,) * EPOCHS, "finished"))
    watch.look(None)
    assert watch.lost() == []
    (log.folder.trials / "0.json").unlink()
    (log.folder.trials / "1.json").write_text("{}")
    assert watch.lost() == [0, 1]


def test_a_failed_trial_is_put_down_to_the_kill_before_it(log: TrialLog, watch: Watch) -> None:
    killed = injection()
    log.add(trial(0, (), "failed", reason="the worker died"))
    watch.look(killed)
    assert killed.failed == ["0: the worker died"]
    assert "| driver | 1 | 0 | 0 | 1 |" in by_kind([killed])


def test_a_clean_end_has_nothing_to_tell(log: TrialLog, watch: Watch) -> None:
    log.add(trial(0, (0.1,) * EPOCHS, "finished"))
    log.add(trial(1, (0.1,), "stopped", reason="it is last"))
    watch.look(None)
    found = end(watch)
    assert found.states == {"finished": 1, "stopped": 1}
    assert not any(
        [found.missing, found.lost, found.twice, found.wasted, found.broken, found.stale]
    )


def test_what_is_missing_twice_broken_or_left_at_the_end_is_found(
    log: TrialLog, watch: Watch
) -> None:
    log.add(trial(0, (0.1,), "finished"))  # of 4 epochs
    log.add(trial(5, (0.1,) * EPOCHS, "finished", seed=0))  # the same student and seed
    watch.look(None)
    log.show_running(trial(5, (0.2,)))  # a worker that goes on after its trial's end
    watch.look(None)
    write_whole(log.checkpoint(0), b"")
    (log.folder.search / ".front.json.0").touch()
    write_parquet(log.folder.search / "trials.parquet", pa.table({"trial": [0, 0]}))
    write_json(log.folder.search / "front.json", {"front": [{"trial": 5}, {"trial": 5}]})
    found = end(watch)
    assert found.missing == [1]
    assert found.twice == ["front: 5", "table: 0", "trials: h with seed 0"]
    assert found.wasted == [5]
    assert found.broken == [0]
    assert sorted(found.stale) == [
        "search/.front.json.0", "search/rungs/0.safetensors", "search/running/5.json",
    ]  # fmt: skip
