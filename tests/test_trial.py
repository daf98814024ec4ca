"""One trial in a worker: killed anywhere it ends as without the kill, and whatever breaks it is its reason."""

from __future__ import annotations

import errno
import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaitforge.layout import Layout
from gaitforge.models.tcn import TcnSizes
from gaitforge.recipe import Distillation, Recipe
from gaitforge.recording import Recording
from gaitforge.records.split import Split
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, write_whole
from trainers.arithmetic.check import Refused
from trainers.search import trial as trial_module
from trainers.search.trial import (
    BrokenAcceleratorError,
    TrialContext,
    average_rung_scores,
    is_sticky,
    run_trial,
)
from trainers.training import scoring
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import EpochMetrics
from trainers.training.predictions import read_predictions
from trainers.training.student import StudentSpec, train_student

LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
ROLES = {f"p{i}": role for i, role in enumerate(["train"] * 4 + ["validation"] * 4)}
SPLIT = Split(name="main", rule={}, store="s", roles=ROLES)
SIZES = TcnSizes(channels=4, layers=1, kernel=3, dropout=0.2)
EPOCHS, RUNGS = 6, (1, 3)
NEVER = EPOCHS + 1


class Killed(BaseException):
    """What ends a process without a word."""


def walks(people: Collection[str]) -> Iterator[Recording]:
    """Two walks of each person; the legs of every second person swing faster."""
    for person in sorted(people):
        number = int(person[1:])
        for walk in range(2):
            rng = np.random.default_rng([number, walk])
            positions = 0.5 * rng.normal(size=(20, 3, 3)).astype(np.float32)
            positions[:, 1:, 0] += np.sin(np.arange(20) * (0.3 + 0.3 * (number % 2)))[:, None]
            yield Recording(
                recording=f"{person}-{walk}",
                person=person,
                label=("ill", "well")[number % 2],
                positions_TVC=positions,
            )


@dataclass(frozen=True)
class Data:
    """The windows and the teacher's outputs that all trials here share."""

    windows: Path
    outputs: Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("data")
    cache = build_windows(
        root, store_fingerprint="s", split=SPLIT, layout=LEGS, classes=("ill", "well"),
        settings=WindowSettings(length=16, views=2), recordings=walks,
    )  # fmt: skip
    train = cache.open_role("train")
    cache.open_role("validation")
    logits = np.random.default_rng(0).normal(size=(train.n, 2, 2)).astype(np.float32)
    np.save(root / "logits.npy", logits)
    return Data(cache.folder, root)


class Worker:
    """A worker process that takes one proposed trial; `train_student` is watched, and may be broken off."""

    def __init__(
        self, folder: Path, data: Data, patch: pytest.MonkeyPatch, **context: Any
    ) -> None:
        self.log = TrialLog(SplitFolder(folder))
        self.context = TrialContext(
            **{
                "folder": str(folder), "windows": str(data.windows), "outputs": str(data.outputs),
                "objectives": ("macro_f1", "params"), "rungs": RUNGS, "max_latency_ms": None, **context,
            }
        )  # fmt: skip
        self.patch = patch
        self.weights: dict[str, Tensor] = {}
        self.trained: list[int] = []

    def run(
        self, trial: Trial, *, until: int = NEVER, error: BaseException | None = None
    ) -> list[dict[str, float]]:
        """What the trial reports; after epoch `until` comes the error."""

        def watched(spec: StudentSpec, fitting: Fitting) -> Iterator[EpochMetrics]:
            for metrics in train_student(spec, fitting):
                self.trained.append(metrics.epoch)
                yield metrics
                if metrics.epoch == until:
                    raise error or Killed
            self.weights = fitting.tensors()

        self.patch.setattr(trial_module, "train_student", watched)
        reported: list[dict[str, float]] = []
        with suppress(Killed):
            reported.extend(run_trial(trial, self.context))
        return reported

    def kill_at_rung(self, trial: Trial, number: int) -> None:
        """Ended while it waits for the answer to its report number `number`, from 1."""
        reports = run_trial(trial, self.context)
        for _ in range(number):
            next(reports)
        del reports

    def in_flight(self) -> list[str]:
        """The files of a trial that has not ended."""
        files = [*self.log.folder.running.glob("*"), *self.log.folder.rungs.glob("*")]
        return sorted(f"{path.parent.name}/{path.name}" for path in files)


@pytest.fixture
def worker(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path / "main", data, monkeypatch)


@pytest.fixture
def whole(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Another worker, that nothing interrupts."""
    return Worker(tmp_path / "whole", data, monkeypatch)


def proposed(number: int = 0, seed: int = 3, **change: Any) -> Trial:
    """A student as the searcher sends it."""
    trial = Trial(
        number=number, state="running", family="tcn", sizes=SIZES.as_dict(), params=100, macs=1000, seed=seed,
        hash="0123456789ab", suggested={}, distributions={}, distill=Distillation(weights={"kd": 1.0}),
        recipe=Recipe(epochs=EPOCHS, batch=4, lr=1e-2),
    )  # fmt: skip
    return replace(trial, **change)


def without_times(trial: Trial) -> Trial:
    curve = tuple({**row, "seconds": 0.0} for row in trial.curve)
    return replace(trial, curve=curve, seconds=0.0, started="", ended=None)


def same_weights(first: Worker, second: Worker) -> bool:
    return first.weights.keys() == second.weights.keys() and all(
        torch.equal(first.weights[name], second.weights[name]) for name in first.weights
    )


def assert_same_end(worker: Worker, whole: Worker) -> None:
    """Bit for bit: weights, optimiser, curve, rungs, scores and predictions."""
    assert same_weights(worker, whole)
    ended, expected = worker.log.read(0), whole.log.read(0)
    assert ended.state == "finished"
    assert without_times(ended) == without_times(expected)
    tables = [
        read_predictions(one.log.folder, "validation", "student", 0, ended.seed).drop(["split"])
        for one in (worker, whole)
    ]
    assert tables[0].equals(tables[1])
    assert worker.in_flight() == []


# to the end


def test_a_trial_reports_at_its_rungs_and_logs_its_end(worker: Worker) -> None:
    reported = worker.run(proposed())
    trial = worker.log.read(0)
    assert [scores["epoch"] for scores in reported] == list(RUNGS)
    assert trial.rungs == tuple(reported)
    assert (trial.state, trial.epochs, trial.reason) == ("finished", EPOCHS, None)
    assert [row["epoch"] for row in trial.curve] == list(range(1, EPOCHS + 1))
    assert trial.scores is not None
    assert trial.scores["val_macro_f1"] == trial.curve[-1]["val_macro_f1"]
    assert trial.scores.keys() >= {"val_accuracy", "val_weighted_kappa", "val_calibration_error"}
    assert trial.seconds == pytest.approx(sum(row["seconds"] for row in trial.curve))
    assert trial.started <= (trial.ended or "")
    assert worker.in_flight() == []


def test_the_predictions_of_a_finished_trial_are_kept(worker: Worker) -> None:
    worker.run(proposed())
    table = read_predictions(worker.log.folder, "validation", "student", 0, 3)
    assert set(table["person"].to_pylist()) == {"p4", "p5", "p6", "p7"}


def test_what_is_compared_at_a_rung_is_the_mean_of_the_later_half() -> None:
    curve = [{"epoch": epoch, "a": epoch / 10, "b": 1.0} for epoch in (1, 2, 3, 4, 5)]
    assert average_rung_scores(curve, ["a", "b"]) == pytest.approx(
        {"epoch": 5, "a": 0.4, "b": 1.0}
    )
    assert average_rung_scores(curve[:4], ["a"]) == pytest.approx({"epoch": 4, "a": 0.35})
    assert average_rung_scores(curve[:1], ["a"]) == pytest.approx({"epoch": 1, "a": 0.1})


def test_scores_that_are_objectives_are_measured_every_epoch(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("weighted_kappa", "robustness", "params")
    worker = Worker(tmp_path, data, monkeypatch, objectives=names)
    reported = worker.run(proposed())
    trial = worker.log.read(0)
    for key in ("val_weighted_kappa", "val_robust_macro_f1"):
        by_epoch = [row[key] for row in trial.curve]
        at_rungs = [by_epoch[0], (by_epoch[1] + by_epoch[2]) / 2]
        assert [scores[key] for scores in reported] == pytest.approx(at_rungs)
        assert (trial.scores or {})[key] == by_epoch[-1]


def test_an_onlooker_sees_each_epoch(worker: Worker) -> None:
    worker.run(proposed(), until=4)
    running = worker.log.read_running(0)
    assert running is not None
    assert (running.state, running.epochs, len(running.curve)) == ("running", 4, 4)
    assert running.scores is not None
    assert worker.in_flight() == ["rungs/0.safetensors", "running/0.json"]


# killed, and run again


@pytest.mark.parametrize("until", [1, 2, 5, EPOCHS])
def test_a_killed_trial_ends_as_it_would_have_ended(
    worker: Worker, whole: Worker, until: int
) -> None:
    expected = whole.run(proposed())
    before = worker.run(proposed(), until=until)
    assert list(worker.log) == []
    resumed = worker.run(proposed())
    last = max((rung for rung in RUNGS if rung <= until), default=0)
    assert worker.trained == [*range(1, until + 1), *range(last + 1, EPOCHS + 1)]
    assert before + resumed == expected
    assert_same_end(worker, whole)


@pytest.mark.parametrize("number", [1, 2])
def test_a_trial_killed_while_it_waits_at_a_rung_reports_it_again(
    worker: Worker, whole: Worker, number: int
) -> None:
    expected = whole.run(proposed())
    worker.kill_at_rung(proposed(), number)
    assert worker.run(proposed()) == expected[number - 1 :]
    assert_same_end(worker, whole)


def test_a_trial_killed_again_and_again_still_ends_the_same(worker: Worker, whole: Worker) -> None:
    whole.run(proposed())
    for until in (2, 2, 3, 5, 4, 6):
        worker.run(proposed(), until=until)
    worker.run(proposed())
    assert_same_end(worker, whole)


@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_beside_the_checkpoint_loses_no_rung(
    worker: Worker, whole: Worker, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Scores and weights are two files: one of them is written first."""
    whole.run(proposed())
    calls = 0
    for after in (False, True):

        def write(path: Path, content: bytes, after: bool = after) -> None:
            nonlocal calls
            calls += 1
            if calls < number or after:
                write_whole(path, content)
            if calls == number:
                raise Killed

        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(trial_module, "write_whole", write)
            worker.run(proposed())
    worker.run(proposed())
    assert_same_end(worker, whole)


def test_weights_without_their_scores_are_trained_anew(worker: Worker, whole: Worker) -> None:
    """A power cut kept the one file and lost the other, which is not written through to the disk."""
    expected = whole.run(proposed())
    worker.run(proposed(), until=4)
    worker.log.show_running(proposed())
    assert worker.run(proposed()) == expected
    assert_same_end(worker, whole)


def test_scores_without_their_weights_are_trained_anew(worker: Worker, whole: Worker) -> None:
    expected = whole.run(proposed())
    worker.run(proposed(), until=4)
    worker.log.checkpoint(0).unlink()
    assert worker.run(proposed()) == expected
    assert_same_end(worker, whole)


@pytest.mark.parametrize("change", [{"seed": 4}, {"hash": "another"}], ids=["seed", "hash"])
def test_what_another_student_of_that_number_left_is_ignored(
    worker: Worker, whole: Worker, change: dict[str, Any]
) -> None:
    other = proposed(**change)
    expected = whole.run(other)
    worker.run(proposed(), until=5)
    assert worker.run(other) == expected
    assert_same_end(worker, whole)


# what breaks it


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA out of memory\nand much more"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), "MemoryError: no message"),
        (KeyError("stride"), "KeyError: 'stride'"),
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (AssertionError(""), "AssertionError: no message"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_the_reason_of_a_failed_trial_which_keeps_its_curve(
    worker: Worker, error: Exception, reason: str
) -> None:
    reported = worker.run(proposed(), until=4, error=error)
    trial = worker.log.read(0)
    assert (trial.state, trial.reason, trial.scores) == ("failed", reason, None)
    assert [row["epoch"] for row in trial.curve] == [1, 2, 3, 4]
    assert trial.rungs == tuple(reported)
    assert trial.epochs == 4
    assert trial.ended is not None
    assert worker.in_flight() == []


def test_where_an_error_was_raised_is_kept_beside_its_reason(worker: Worker) -> None:
    worker.run(proposed(), until=1, error=ValueError("one line\nand a second"))
    trial = worker.log.read(0)
    assert trial.reason == "ValueError: one line"
    assert "in watched" in str(trial.traceback)
    assert str(trial.traceback).endswith("ValueError: one line\nand a second\n")


@pytest.mark.parametrize(
    ("error", "sticky"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered\nCompile"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (torch.AcceleratorError("unspecified launch failure"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), False),
        (ValueError("CUDA error: in the name of a file"), False),
        (FloatingPointError("The loss became nan in epoch 1"), False),
    ],
    ids=lambda value: str(value)[:24],
)
def test_after_a_sticky_error_the_process_is_given_up_once_its_trial_is_kept(
    worker: Worker, error: Exception, sticky: bool
) -> None:
    if sticky:
        with pytest.raises(BrokenAcceleratorError):
            worker.run(proposed(), until=1, error=error)
    else:
        worker.run(proposed(), until=1, error=error)
    assert worker.log.read(0).state == "failed"


def test_a_sticky_error_is_known_under_the_error_that_it_caused() -> None:
    above = FloatingPointError("The loss became nan")
    above.__cause__ = RuntimeError("CUDA error: unspecified launch failure")
    assert is_sticky(above)
    assert not is_sticky(FloatingPointError("The loss became nan"))


def test_a_trial_that_has_ended_is_not_trained_again(worker: Worker) -> None:
    worker.run(proposed(), until=2, error=ValueError("mend it"))
    before = worker.log.read(0)
    worker.trained.clear()
    assert worker.run(proposed()) == []
    assert worker.trained == []
    assert worker.log.read(0) == before


def test_what_is_refused_before_the_training_is_the_reason_of_the_trial(worker: Worker) -> None:
    def prepare() -> None:
        raise ValueError("Ray counts a GPU on this node, but torch finds none.")

    assert list(run_trial(proposed(), worker.context, prepare)) == []
    assert worker.trained == []
    reason = "ValueError: Ray counts a GPU on this node, but torch finds none."
    assert worker.log.read(0).reason == reason


def test_a_student_that_cannot_be_built_fails_with_its_reason(worker: Worker) -> None:
    worker.run(proposed(family="none"))
    trial = worker.log.read(0)
    assert trial.state == "failed"
    assert "none" in (trial.reason or "")


def test_a_window_cache_that_is_gone_fails_the_trial_in_one_sentence(worker: Worker) -> None:
    worker.context = replace(worker.context, windows=str(worker.log.folder.root / "gone"))
    worker.run(proposed())
    assert "FileNotFoundError: The window cache" in (worker.log.read(0).reason or "")


def test_a_loss_that_is_no_number_fails_the_trial(worker: Worker) -> None:
    wild = proposed()
    worker.run(replace(wild, recipe=replace(wild.recipe, lr=1e30, warmup=0.0)))
    trial = worker.log.read(0)
    assert trial.state == "failed"
    assert (trial.reason or "").startswith("FloatingPointError: The loss became nan in epoch 1")
    assert trial.curve == ()


def test_a_student_whose_answers_are_no_numbers_fails(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "window_logits", nan_logits)
    worker.run(proposed())
    trial = worker.log.read(0)
    assert (trial.state, trial.scores) == ("failed", None)
    assert (trial.reason or "").startswith("FloatingPointError: A model answers 8 of 8 windows")


def nan_logits(model: object, examples: Examples, *_: object, **__: object) -> Any:
    return np.full((len(examples), examples.classes), np.nan)


def test_the_failure_of_another_student_keeps_none_of_its_curve(worker: Worker) -> None:
    worker.run(proposed(), until=4)
    worker.run(proposed(hash="another", family="none"))
    trial = worker.log.read(0)
    assert (trial.hash, trial.state, trial.curve) == ("another", "failed", ())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_the_end_of_the_process_is_no_failure_of_the_trial(
    worker: Worker, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        worker.run(proposed(), until=4, error=error)
    assert list(worker.log) == []
    assert worker.in_flight() == ["rungs/0.safetensors", "running/0.json"]


def test_a_full_disk_is_no_failure_of_the_trial_and_it_goes_on_later(worker: Worker) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(Refused, match=r"is full \(No space left on device\); free some"):
        worker.run(proposed(), until=4, error=full)
    assert list(worker.log) == []
    assert worker.in_flight() == ["rungs/0.safetensors", "running/0.json"]
    worker.run(proposed())
    assert worker.log.read(0).state == "finished"


def test_a_trial_that_was_stopped_at_a_rung_leaves_nothing_in_flight(worker: Worker) -> None:
    """The searcher has put its end into the log before the worker hears of it."""
    reports = run_trial(proposed(), worker.context)
    at_rung = next(reports)
    running = worker.log.read_running(0)
    assert running is not None
    worker.log.add(replace(running, state="stopped", reason="behind", rungs=(at_rung,)))
    del reports
    assert worker.in_flight() == []
    assert worker.log.read(0).state == "stopped"


# latency


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What comes out when a student is timed, first to last."""
    latencies = [2.0, 50.0]
    monkeypatch.setattr(trial_module, "measure_exported_latency_ms", lambda *_: latencies.pop(0))
    return latencies


def test_a_student_that_is_too_slow_is_stopped_before_it_is_trained(
    worker: Worker, measured: list[float]
) -> None:
    worker.context = replace(worker.context, max_latency_ms=0.5)
    assert worker.run(proposed()) == []
    trial = worker.log.read(0)
    assert worker.trained == []
    assert (trial.state, trial.epochs, trial.scores, trial.curve) == ("stopped", 0, None, ())
    assert trial.reason == (
        "before training: 2 ms a window once exported, and search.max_latency_ms is 0.5"
    )
    # behind all that came to a rung, as far as it is over the limit in powers of ten
    assert trial.violation == pytest.approx(len(RUNGS) + math.log10(4))
    assert trial.ended is not None
    assert worker.in_flight() == []


def test_the_latency_is_one_of_the_scores_and_is_measured_once(
    worker: Worker, measured: list[float]
) -> None:
    """A second time is another number: the trial would be compared by two of them."""
    worker.context = replace(worker.context, max_latency_ms=3.0)
    before = worker.run(proposed(), until=2)
    reported = before + worker.run(proposed())
    assert [scores["latency_ms"] for scores in reported] == [2.0, 2.0]
    assert (worker.log.read(0).scores or {})["latency_ms"] == 2.0
    assert measured == [50.0]


def test_a_machine_that_must_not_train_leaves_the_trial_to_others(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(family: str, windows: str) -> None:
        raise Refused(f"tin computes wrong gradients for the family '{family}'.")

    monkeypatch.setattr(trial_module, "trust", refuse)
    with pytest.raises(Refused, match="tin computes wrong gradients for the family 'tcn'"):
        worker.run(proposed())
    assert list(worker.log) == []
