"""The teacher over workers: what it survives, how it shares and keeps; on real Ray where it says slow."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import RayActorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.multiprocessing.spawn import spawn

from gaitforge.batch import Batch
from gaitforge.models import Output
from gaitforge.settings import ClusterSettings, FitPlan, TeacherSettings
from gaitforge.work import CheckpointFolder, read_json
from tests.conftest import FinishedLine
from tests.line_state import (
    EPOCHS,
    TEACHER,
    copied,
    find_all,
    kill,
    live_epochs,
    numbers,
    rows_of,
    split_of,
)
from tests.small_line import Tables, ended, run, start, wait_for, write_run
from tests.test_cli import must_say, one_sentence
from tests.test_loop import CLASSES, FRAMES, KD, NOISY, examples, new_fitting
from trainers.cluster.deaths import LOST_NODES
from trainers.teacher import lost_nodes, teacher
from trainers.teacher.lost_nodes import (
    ASK_S,
    KEEP_S,
    LOST_WORKERS,
    GivesUp,
    Keeper,
    KeepsItsName,
    plan_next_question,
)
from trainers.teacher.teacher import TrainingHistory, load_checkpoint, save_checkpoint
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import fit
from trainers.training.scoring import window_logits
from trainers.training.sharing import Shard

# of a test that runs the command
on_ray = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes by /proc")

# what is made by a teacher, and refuses another one
OF_A_TEACHER = "teacher", "teacher_outputs", "search", "confirm"


# what ends a training, and what does not


def lost(preempted: bool = False) -> dict[int, Exception]:
    return {0: RayActorError(preempted=preempted), 1: RuntimeError("Connection closed by peer")}


def reached(epoch: int, step: int = 0) -> list[dict[str, int]]:
    return [{"epoch": epoch, "step": step}]


def test_an_error_that_comes_again_ends_the_training_with_its_sentence() -> None:
    judge = GivesUp()
    judge.after_exception(None, {1: ValueError("frame 7 is missing; mend it.")})
    with pytest.raises(RuntimeError, match=r"^frame 7 is missing; mend it.$"):
        judge.after_exception(None, {0: ValueError("frame 7 is missing; mend it.\nmore")})


def test_an_error_that_comes_again_after_a_checkpoint_is_another_one() -> None:
    judge = GivesUp()
    for epoch in range(1, 6):
        judge.after_exception(None, {0: ValueError("Connection reset")})
        judge.after_report(None, reached(epoch), None)
    assert judge.errors == []


def test_a_report_from_no_farther_than_before_is_no_progress() -> None:
    judge = GivesUp()
    judge.after_report(None, reached(3, 7), None)
    for epoch, step in ((2, 90), (3, 0), (3, 7)):
        judge.after_exception(None, lost())
        judge.after_report(None, reached(epoch, step), None)
    assert judge.lost == 3
    judge.after_report(None, reached(3, 8), None)
    assert judge.lost == 0


def test_a_worker_that_dies_at_the_same_step_again_ends_a_training_that_reports_it_again() -> None:
    judge = GivesUp()
    errors = {0: RayActorError(error_msg=OWN)}
    judge.after_report(None, reached(1), None)
    judge.after_exception(None, errors)
    judge.after_report(None, reached(1), None)
    with pytest.raises(RuntimeError, match="2 times before the next"):
        judge.after_exception(None, errors)


def test_deaths_of_which_nothing_is_known_end_a_training_before_lost_nodes_would() -> None:
    judge = GivesUp()
    crashed = {
        0: RayActorError(error_msg="The actor is dead because its worker process has died.")
    }
    for _ in range(LOST_NODES):
        judge.after_exception(None, crashed)
    with pytest.raises(
        RuntimeError, match=r"what killed it is not known, 4 times before the next"
    ):
        judge.after_exception(None, crashed)


def test_lost_workers_end_a_training_only_where_it_gets_no_further() -> None:
    judge = GivesUp()
    for _ in range(LOST_WORKERS - 1):
        judge.after_exception(None, lost())
    judge.after_report(None, reached(1), None)
    for _ in range(LOST_WORKERS - 1):
        judge.after_exception(None, lost())
    with pytest.raises(RuntimeError, match="10 times in a row a worker died"):
        judge.after_exception(None, lost())


def test_nodes_that_are_lost_after_notice_never_end_a_training() -> None:
    judge = GivesUp()
    for _ in range(3 * LOST_WORKERS):
        judge.after_exception(None, lost(preempted=True))
    assert judge.lost == 0


OWN = "The actor is dead because its worker process has died. The process receives a SIGTERM."


def test_a_worker_that_dies_of_itself_twice_ends_a_training_and_leaves_its_last_words(
    tmp_path: Path,
) -> None:
    words = tmp_path / "failed.txt"
    judge = GivesUp(str(words))
    errors = {0: RayActorError(error_msg=OWN), 1: RuntimeError("Connection closed by peer")}
    judge.after_exception(None, errors)
    judge.after_report(None, reached(1), None)
    judge.after_exception(None, errors)
    with pytest.raises(
        RuntimeError, match=r"was killed by SIGTERM, 2 times before the next.*failed"
    ):
        judge.after_exception(None, errors)
    assert words.is_file()


def test_a_controller_that_dies_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> Any:
        raise RayActorError(error_msg="The actor died unexpectedly before finishing this task.")

    monkeypatch.setattr(teacher, "TorchTrainer", lambda *_, **__: SimpleNamespace(fit=die))
    monkeypatch.setattr(teacher, "find_worker_room", lambda *_: (1, 0.0))
    monkeypatch.setattr(teacher, "wait_for_room", lambda *_: nullcontext())
    job = teacher.Job(
        windows="", family="tcn", sizes={}, fit=FitPlan(), patience=0,
        live=str(tmp_path / "live.jsonl"), data=None,
    )  # fmt: skip
    with pytest.raises(
        RuntimeError, match=r"the process that controls its workers has died.*goes"
    ):
        teacher.run_workers(job, TeacherSettings(), ClusterSettings(), tmp_path, "teacher-x")


def test_workers_lost_with_their_node_are_given_more_lives_than_those_that_die() -> None:
    judge = GivesUp()
    gone = RayActorError(error_msg="The actor died because its node has died. Node Id: 9cdf")
    for _ in range(LOST_WORKERS - 1):
        judge.after_exception(None, {0: gone})
    assert judge.died == 0


# checkpoints within an epoch


class Clock:
    """Time that passes as the test says, and a notice that comes when it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.notice, self.questions = 0.0, False, 0
        monkeypatch.setattr(lost_nodes, "get_preemption_info", self.asked)
        monkeypatch.setattr(lost_nodes, "broadcast_from_rank_zero", lambda data: data)

    def keeper(self, keep: Callable[[], None]) -> Keeper:
        return Keeper(keep, clock=lambda: self.now)

    def asked(self) -> object | None:
        self.questions += 1
        return "going" if self.notice else None


def run_steps(clock: Clock, keeper: Keeper, steps: int, step_s: float) -> None:
    for _ in range(steps):
        clock.now += step_s
        keeper.after_step()


def test_notices_are_asked_for_about_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    run_steps(clock, clock.keeper(lambda: None), steps=10_000, step_s=0.01)
    # 100 s, and a few more at first, when it is not known how long a step takes
    assert 100 / ASK_S <= clock.questions <= 100 / ASK_S + 4


def test_a_slow_step_is_asked_after_at_once() -> None:
    assert plan_next_question(steps=1, seconds=60.0) == 1
    assert plan_next_question(steps=10, seconds=10.0) == 5


def test_a_notice_makes_checkpoints_as_long_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = Clock(monkeypatch), list[float]()
    keeper = clock.keeper(lambda: kept.append(clock.now))
    run_steps(clock, keeper, steps=50, step_s=1.0)
    assert kept == []
    clock.notice = True
    run_steps(clock, keeper, steps=30, step_s=1.0)
    assert len(kept) == 30 / ASK_S
    assert kept[0] <= 50 + ASK_S


def test_a_long_epoch_is_kept_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = Clock(monkeypatch), list[float]()
    keeper = clock.keeper(lambda: kept.append(clock.now))
    run_steps(clock, keeper, steps=int(3.5 * KEEP_S), step_s=1.0)
    assert len(kept) == 3


def test_a_checkpoint_that_was_kept_at_the_end_of_an_epoch_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, kept = Clock(monkeypatch), list[float]()
    keeper = clock.keeper(lambda: kept.append(clock.now))
    for _ in range(10):
        run_steps(clock, keeper, steps=int(KEEP_S / 2), step_s=1.0)
        keeper.note_kept()
    assert kept == []


def test_a_checkpoint_in_the_middle_of_an_epoch_holds_all_that_going_on_needs(
    tmp_path: Path,
) -> None:
    whole, stopped, resumed = new_fitting(**NOISY), new_fitting(**NOISY), new_fitting(**NOISY)
    *_, last = fit(whole, examples(), examples(views=1), KD)
    history = TrainingHistory()

    def keep_and_stop() -> None:
        if (stopped.epoch, stopped.step) == (1, 2):
            save_checkpoint(CheckpointFolder(tmp_path), stopped, history)
            raise InterruptedError

    epochs = fit(stopped, examples(), examples(views=1), KD, after_step=keep_and_stop)
    history.add(next(epochs), stopped.model)
    with pytest.raises(InterruptedError):
        next(epochs)

    again = TrainingHistory()
    load_checkpoint(CheckpointFolder(tmp_path), resumed, again)
    assert (resumed.epoch, resumed.step, again.epochs) == (1, 2, history.epochs)
    *_, end = fit(resumed, examples(), examples(views=1), KD)
    assert end.train_loss == last.train_loss
    one, other = whole.tensors(), resumed.tensors()
    assert all(torch.equal(one[name], other[name]) for name in one)


# real processes


class Plain(nn.Module):
    """One linear layer, without the batch norm and dropout of which each worker knows only its share."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.classify = nn.Linear(FRAMES * 3 * 3, CLASSES)

    def forward(self, batch: Batch) -> Output:
        flat_BD = batch.joints_BTVC.flatten(1)
        return Output(self.classify(flat_BD), flat_BD, flat_BD[..., None, None])


def uneven() -> Examples:
    """Two windows of the first class and eight of the second, so that the classes' weights differ."""
    return dataclasses.replace(examples(), label_N=torch.tensor([0] * 2 + [1] * 8))


def plain_losses(fitting: Fitting, shard: Shard, parallel: nn.Module | None) -> list[float]:
    return [m.train_loss for m in fit(fitting, uneven(), uneven(), KD, shard, parallel)]


def plain_fitting() -> Fitting:
    plan = FitPlan(epochs=3, batch=5, jitter=0.1, joint_drop=0.1, clip=0.5, average=0.5)
    return Fitting(Plain(), plan)


def share_steps(rank: int, folder: str) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    init = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
    fitting = plain_fitting()
    parallel = nn.parallel.DistributedDataParallel(fitting.model, broadcast_buffers=False)
    losses = plain_losses(fitting, Shard(rank, 2), parallel)
    weights = {name: value.clone() for name, value in fitting.result.state_dict().items()}
    # an odd number of windows, and fewer of them than workers
    for windows in (9, 1):
        logits = window_logits(
            fitting.result, uneven().take_first(windows), 2, shard=Shard(rank, 2)
        )
        weights[f"logits{windows}"] = torch.from_numpy(logits)
    normed = new_fitting(average=0.5)
    parallel = nn.parallel.DistributedDataParallel(normed.model, broadcast_buffers=False)
    plain_losses(normed, Shard(rank, 2), parallel)
    weights |= {f"normed.{n}": v.clone() for n, v in normed.result.state_dict().items()}
    save_file({**weights, "losses": torch.tensor(losses)}, f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_take_the_steps_that_one_takes(tmp_path: Path) -> None:
    """By gloo, with batches of five: three windows for the one and two for the other."""
    fitting = plain_fitting()
    losses = plain_losses(fitting, Shard(), None)
    spawn(share_steps, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    # each worker's batch norm has seen its own shard, and the mean of both is what they hand out
    normed = [name for name in first if name.startswith("normed.")]
    assert any("running_var" in name for name in normed)
    for name in normed:
        torch.testing.assert_close(first[name], second[name])
    for together in (first, second):
        assert together.pop("losses").tolist() == pytest.approx(losses, rel=1e-4)
        for windows in (9, 1):
            alone = window_logits(fitting.result, uneven().take_first(windows), 2)
            torch.testing.assert_close(
                together.pop(f"logits{windows}"), torch.from_numpy(alone), rtol=1e-3, atol=1e-4
            )
        for name, value in fitting.result.state_dict().items():
            torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@on_ray
def test_a_killed_teacher_worker_is_replaced_and_the_weights_are_the_same(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, "teacher", changes={})
    split = split_of(settings)
    driver = start("teacher", settings, ray_home=ray_home)
    wait_for(lambda: live_epochs(split) >= 2, driver)
    kill(ray_home, TEACHER)
    answer = ended(driver)
    assert (answer.returncode, answer.stderr) == (0, "")
    one, other = numbers(finished.split), numbers(split)
    assert other["history"] == one["history"]
    assert other["weights"] == one["weights"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@on_ray
def test_two_teacher_workers_train_one_model_and_resume(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, *OF_A_TEACHER, changes={"teacher": {"workers": 2}})
    split = split_of(settings)
    driver = start("teacher", settings, ray_home=ray_home)
    wait_for(lambda: live_epochs(split) >= 3, driver)
    driver.kill()
    ended(driver)
    answer = run("teacher", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    model = read_json(split.teacher / "model.json")
    assert model["epochs"] == EPOCHS
    assert 0 <= model["val_macro_f1"] <= 1
    losses = [row["train_loss"] for row in rows_of(split.teacher / "history.parquet")]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@on_ray
def test_elastic_workers_train_on_when_one_of_them_is_killed(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    settings = copied(finished, tmp_path, *OF_A_TEACHER, changes={"teacher": {"workers": [1, 2]}})
    split = split_of(settings)
    driver = start("teacher", settings, ray_home=ray_home)
    wait_for(lambda: live_epochs(split) >= 2, driver)
    workers = find_all(ray_home, TEACHER)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    answer = ended(driver)
    assert (answer.returncode, answer.stderr) == (0, "")
    history = rows_of(split.teacher / "history.parquet")
    assert [row["epoch"] for row in history] == list(range(1, 1 + EPOCHS))
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@on_ray
def test_an_error_of_the_data_ends_the_training_with_its_sentence(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    # noise beyond float32 makes every loss NaN
    changes: Tables = {"teacher.fit": {"jitter": 1e38, "epochs": 2}}
    settings = copied(finished, tmp_path, "teacher", "search", changes=changes)
    answer = run("teacher", settings, ray_home=ray_home)
    assert answer.returncode == 1
    must_say(
        one_sentence(answer.stderr), "Training the teacher failed: The loss became nan in epoch 1"
    )


# Train's own client asks for what a run needs; then its process is killed, as far as Ray can tell.
KILLED_DRIVER = """
import json, sys
from pathlib import Path
import ray
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client import (
    TrainAutoscalingCoordinatorClient,
)
from trainers.teacher.lost_nodes import forget_killed

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
forget_killed(Path(sys.argv[1]))  # nothing has asked for anything yet
client = TrainAutoscalingCoordinatorClient("train-dead")
client.send_resource_request(ScalingConfig(num_workers=1), 1)
held = lambda: ray.get(client._autoscaling_coordinator.get_reserved_resources.remote("train-dead", True))
before = held()
forget_killed(Path(sys.argv[1]))
print(json.dumps([bool(before), held()]))
"""


@pytest.mark.slow
@on_ray
def test_what_a_killed_driver_had_asked_for_is_given_back_at_the_next_start(
    tmp_path: Path, ray_home: Path
) -> None:
    kept = KeepsItsName(str(tmp_path / "ray_name"))
    kept.after_report(SimpleNamespace(run_id="dead"), [], None)
    path = tmp_path / "ray_name"
    answer = ended(start(path, ray_home=ray_home, program=("-c", KILLED_DRIVER)))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == [True, {}]


# Two nodes of one core; the one that trains is said, after an epoch, to go away soon.
GOING_AWAY = """
import os, signal, subprocess, sys, threading, time
from contextlib import suppress
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from gaitforge.work import read_json
from trainers.__main__ import main

settings, live = map(Path, sys.argv[1:])
os.environ |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)

def workers():
    found = ray._private.state.actors().values()
    found = [a for a in found if (a["ActorClassName"], a["State"]) == ("RayTrainWorker", "ALIVE")]
    return {actor["Address"]["NodeID"] for actor in found}

def watch():
    try:
        take_its_node()
    finally:  # what went wrong here would otherwise leave the training on its own
        os.kill(os.getpid(), signal.SIGINT)

def take_its_node():
    while not live.is_file():
        time.sleep(0.05)
    (first,) = workers()
    said = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "drain-node", "--address", cluster.address, "--node-id", first,
         "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
         "--deadline-remaining-seconds", "60"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    kept = set()
    while workers() <= {first}:
        time.sleep(0.2)  # the training needs the cores
        for path in live.parent.glob("ray/*/checkpoint*/state.json"):
            with suppress(OSError, ValueError):  # removed meanwhile for a newer one
                kept.add(read_json(path)["step"])
    assert said.wait() == 0
    print("kept at steps", sorted(kept), flush=True)
    shown = live.read_text()
    while live.read_text() == shown:
        time.sleep(0.05)

threading.Thread(target=watch, daemon=True).start()
sys.exit(main(["teacher", str(settings)]))
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
@on_ray
def test_a_notice_makes_a_checkpoint_within_the_epoch_and_another_node_goes_on_from_it(
    tmp_path: Path, ray_home: Path
) -> None:
    changes: Tables = {
        "ingest.synthetic": {"people_per_class": 4, "recordings_per_person": 100, "fps": 20.0},
        "teacher.sizes": {"channels": 192, "layers": 5},
        # never done: it is ended once another node has trained an epoch. Of 800 steps, so that there is
        # a question within an epoch
        "teacher.fit": {"epochs": 1000, "batch": 2},
    }
    settings = write_run(tmp_path, changes)
    for stage in ("ingest", "split"):
        assert run(stage, settings, ray_home=ray_home).returncode == 0
    split = split_of(settings)
    live = split.teacher / "live.jsonl"
    answer = ended(start(settings, live, ray_home=ray_home, program=("-c", GOING_AWAY)))
    assert "stopped; the same command goes on from here" in answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("kept at steps")]
    assert max(json.loads(line.removeprefix("kept at steps "))) > 0
    epochs = [json.loads(row)["epoch"] for row in live.read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))
