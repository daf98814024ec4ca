"""The study file: Optuna reads from it what the trial log holds, and values of finished trials only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.search import SEARCH
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, write_json
from tests.made import made
from trainers.__main__ import main
from trainers.search.optuna_file import add_study, write_studies

RANGES = {
    "family": CategoricalDistribution(["stgcn", "tcn"]),
    "tcn.channels": IntDistribution(4, 128, log=True),
    "lr": FloatDistribution(0.0005, 0.01, log=True),
}


def trial(number: int, f1: float, params: int, **change: Any) -> Trial:
    made = Trial(
        number=number,
        state="finished",
        family="tcn",
        sizes={"channels": 8},
        params=params,
        macs=9000,
        seed=7,
        hash=f"{number:012d}",
        suggested={"family": "tcn", "tcn.channels": 8, "lr": 0.002},
        distributions={name: distribution_to_json(kind) for name, kind in RANGES.items()},
        recipe=Recipe(lr=0.002),
        distill=Distillation(weights={"kd": 1.0}),
        scores={"val_macro_f1": f1, "val_accuracy": 0.85},
        curve=({"epoch": 1, "val_macro_f1": 0.25}, {"epoch": 2, "val_macro_f1": f1}),
        epochs=2,
        seconds=1.5,
        started="2026-11-20T06:00:00+00:00",
        ended="2026-11-20T06:00:02+00:00",
    )
    return replace(made, **change)


FAILED = trial(
    3, 0, 500, state="failed", reason="RuntimeError: out of memory", scores=None, curve=()
)
TRIALS = [
    trial(0, 0.8, 1000),
    trial(1, 0.7, 2000),
    # the best and the smallest so far, but after one epoch of two
    trial(2, 0.9, 100, state="stopped", reason="behind at epoch 1", epochs=1),
    FAILED,
    trial(4, 0.85, 3000),
]


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return log(WorkFolder(tmp_path / "walks"), "people", TRIALS)


def log(work: WorkFolder, split: str, trials: list[Trial]) -> WorkFolder:
    write_json(work.split_file(split), {})
    for its in trials:
        TrialLog(work.run(split)).add(its)
    return work


def read(file: Path, name: str = "walks people") -> optuna.Study:
    """The study as any other program gets it."""
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.load_study(storage=storage, study_name=name)


def test_only_finished_trials_have_values(work: WorkFolder, tmp_path: Path) -> None:
    write_studies(work, tmp_path / "study.log")
    done, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    assert [(t.state, t.values) for t in read(tmp_path / "study.log").trials] == [
        (done, [0.8, 1000]),
        (done, [0.7, 2000]),
        (pruned, None),
        (failed, None),
        (done, [0.85, 3000]),
    ]


def test_front_of_the_study_has_no_trial_that_was_stopped(
    work: WorkFolder, tmp_path: Path
) -> None:
    write_studies(work, tmp_path / "study.log")
    study = read(tmp_path / "study.log")
    assert study.metric_names == ["macro_f1", "params"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [best.number for best in study.best_trials] == [0, 4]


def test_a_trial_keeps_its_ranges_times_curve_and_origin(work: WorkFolder, tmp_path: Path) -> None:
    write_studies(work, tmp_path / "study.log")
    stopped, failed = read(tmp_path / "study.log").trials[2:4]
    assert stopped.distributions == RANGES
    assert stopped.params == {"family": "tcn", "tcn.channels": 8, "lr": 0.002}
    assert stopped.duration == timedelta(seconds=2)
    assert stopped.intermediate_values == {1: 0.25, 2: 0.9}
    assert stopped.user_attrs == {
        "number": 2,
        "state": "stopped",
        "reason": "behind at epoch 1",
        "family": "tcn",
        "params": 100,
        "macs": 9000,
        "seed": 7,
        "epochs": 1,
        "seconds": 1.5,
        "hash": "000000000002",
        "val_macro_f1": 0.9,
        "val_accuracy": 0.85,
    }
    assert failed.user_attrs["reason"] == "RuntimeError: out of memory"
    assert "val_macro_f1" not in failed.user_attrs


def test_a_trial_is_found_by_its_number_in_the_log_where_numbers_are_missing(
    tmp_path: Path,
) -> None:
    work = log(WorkFolder(tmp_path / "walks"), "people", [TRIALS[1], TRIALS[4]])
    write_studies(work, tmp_path / "study.log")
    trials = read(tmp_path / "study.log").trials
    assert [(t.number, t.user_attrs["number"]) for t in trials] == [(0, 1), (1, 4)]


def test_what_was_over_budget_is_no_trial(tmp_path: Path) -> None:
    proposal = {"suggested": {}, "distributions": {}, "params": 10**6, "macs": 10**9}
    work = log(
        WorkFolder(tmp_path / "walks"), "people", [replace(TRIALS[0], rejected=(proposal,) * 3)]
    )
    write_studies(work, tmp_path / "study.log")
    assert len(read(tmp_path / "study.log").trials) == 1


def test_each_split_with_ended_trials_is_a_study(work: WorkFolder, tmp_path: Path) -> None:
    log(work, "fold1", TRIALS[:1])
    log(work, "fold2", [])
    said = write_studies(work, tmp_path / "study.log")
    assert "'walks fold1' with 1 trials, 'walks people' with 5 trials" in said
    assert len(read(tmp_path / "study.log", "walks fold1").trials) == 1
    assert len(read(tmp_path / "study.log").trials) == 5


def test_objectives_are_those_of_the_search(work: WorkFolder, tmp_path: Path) -> None:
    head = made(SEARCH, objectives=["macs", "macro_f1", "params"])
    SEARCH.write(work.run("people").search_head, head)
    write_studies(work, tmp_path / "study.log")
    study = read(tmp_path / "study.log")
    assert study.metric_names == ["macs", "macro_f1", "params"]
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE", "MINIMIZE"]
    assert study.trials[0].values == [9000, 0.8, 1000]


def test_a_study_has_the_objectives_that_it_is_given() -> None:
    storage = optuna.storages.InMemoryStorage()
    add_study(
        storage,
        "one",
        TRIALS,
        [("epochs", "minimize", lambda made: made.epochs), ("seed", "maximize", lambda _: 5)],
    )
    study = optuna.load_study(storage=storage, study_name="one")
    assert study.metric_names == ["epochs", "seed"]
    assert study.trials[0].values == [2, 5]


def test_a_file_that_is_there_is_never_written_over(
    work: WorkFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.log"
    command = ["show", str(work.root), "--optuna", str(file)]
    assert main(command) == 0
    assert f"optuna-dashboard {file}" in capsys.readouterr().out
    before = file.read_bytes()
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert file.read_bytes() == before
    # neither a draft nor a lock stays behind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.log", "walks"]


def test_without_an_ended_trial_there_is_no_file(tmp_path: Path) -> None:
    work = log(WorkFolder(tmp_path / "walks"), "people", [])
    with pytest.raises(FileNotFoundError, match="no ended trials"):
        write_studies(work, tmp_path / "study.log")
    assert not (tmp_path / "study.log").exists()


def test_a_file_that_cannot_be_written_is_refused_in_a_sentence(
    work: WorkFolder, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be written .*; name another file"):
        write_studies(work, tmp_path / "file" / "study.log")
