"""The teacher: Ray Train workers run the training loop, with checkpoints that resume bit by bit."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer, get_device
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from gaitforge.cost import count
from gaitforge.extensions import load_extensions
from gaitforge.failures import describe_student
from gaitforge.losses import Distillation
from gaitforge.models import make_sizes
from gaitforge.models.ensemble import Ensemble
from gaitforge.records.json_file import Unreadable, plain
from gaitforge.records.teacher import (
    LIVE,
    TEACHER,
    TRAINING,
    LiveEpoch,
    TeacherEpoch,
    TeacherModel,
    TrainingState,
)  # fmt: skip
from gaitforge.settings import (
    ClusterSettings,
    FitPlan,
    TeacherSettings,
    teacher_identity,
)
from gaitforge.weights import find_weights_fault, write_weights
from gaitforge.work import (
    CheckpointFolder,
    SplitFolder,
    open_path,
    remove_tree,
    set_aside,
    write_parquet,
    write_whole,
)
from search_spaces import SPACES
from trainers.arithmetic.check import trust
from trainers.arithmetic.machines import check_arithmetic
from trainers.cluster.blind_gpus import check_gpus, refuse_blind
from trainers.cluster.connection import (
    connect,
    cores_per_worker,
    gpus_per_worker,
    list_nodes,
    wait_for_room,
)
from trainers.cluster.deaths import speak_when_dying
from trainers.teacher.lost_nodes import LATE_STARTS, GivesUp, Keeper, KeepsItsName, forget_killed
from trainers.teacher.meeting import LocalTorchConfig
from trainers.teacher.members import deal_parts
from trainers.terminal.say import say
from trainers.training.examples import Examples, load_examples
from trainers.training.fitting import Fitting
from trainers.training.loop import EpochMetrics, fit
from trainers.training.predictions import write_predictions
from trainers.training.reference import write_reference
from trainers.training.scoring import score
from trainers.training.sharing import Shard, agree, check_shards
from trainers.training.speed import Speed, choose_home, compile_model
from trainers.training.teacher_file import (
    Teacher,
    build_teacher,
    check_replaced,
    check_weights,
    teacher_provenance,
)
from trainers.training.window_folder import NodeData, WindowFolder, new_fitting


def train_teacher(
    settings: TeacherSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    folder: SplitFolder,
    progress: Callable[[Path], Any],
    fresh: bool = False,
) -> Teacher:
    """Train the teacher by Ray Train and write `teacher/`; keep a finished one with the same inputs.

    Before it comes the reference that it will be compared with (`reference/`), kept likewise.

    `progress` gets the path of the live epoch log and returns a context manager that shows it.
    Raises ValueError where students of another teacher have been searched and `fresh` was not asked
    for, RuntimeError where training fails.
    """
    sizes = make_sizes(settings.family, settings.sizes)
    identity = teacher_identity(settings, windows.key)
    head = folder.teacher_model
    check_replaced(folder, identity, fresh)
    if _fingerprint(folder, fresh) == identity:
        if not fresh:
            check_weights(folder)
        if find_weights_fault(head) is None:
            write_reference(windows, folder)  # where somebody has removed it
            return Teacher.read(folder)
    cost = count(sizes, windows.layout, windows.channels, len(windows.classes), windows.length)
    job = Job(
        windows=str(windows.folder), family=settings.family, sizes=dict(settings.sizes), fit=settings.fit,
        patience=settings.patience, members=settings.members, cross_fit=settings.cross_fit,
        live=str(folder.teacher_live),
        data=windows.on_nodes("train", "validation"),
    )  # fmt: skip
    if settings.cross_fit:
        deal_parts(windows.open_role("train"), settings.members)
    check_shards(windows.open_role("train").n, settings.fit.batch, settings.worker_range[1])
    if fresh and (head.is_file() or folder.search_head.is_file()):
        aside = set_aside(folder, everything=True)
        say(f"  the teacher of before, and all that was made with it, lie in {aside} now")
    elif head.is_file():
        say("  the teacher that is there is of other windows or settings: it is trained anew")
    write_reference(windows, folder)
    folder.teacher.mkdir(parents=True, exist_ok=True)
    connect(cluster, folder.root)
    threads, gpus = find_worker_room(settings, cluster)
    check_arithmetic(cluster, [settings.family], windows, threads, gpus, settings.sizes)
    with progress(open_path(job.live)):
        checkpoint = run_workers(
            job, settings, cluster, folder.teacher / "ray", f"teacher-{identity}"
        )
    with checkpoint.as_directory() as kept:
        folders = [find_member(Path(kept), member, job.members) for member in range(job.members)]
        states = [TRAINING.read(files.state) for files in folders]
        found = [load_file(files.best) for files in folders]
    model = build_teacher(windows, settings.family, sizes.as_dict(), settings.members)
    models = list(model.members) if isinstance(model, Ensemble) else [model]
    for one, best in zip(models, found, strict=True):
        one.load_state_dict(best)
    state = states[0]
    history = state.history
    # it would describe other weights if we were killed before the end
    head.unlink(missing_ok=True)
    weights = write_weights(head, save(model.state_dict()))
    write_parquet(
        folder.teacher_history,
        pa.Table.from_pylist([plain(row) for row in history]),
    )
    scored = score(model.eval(), load_examples(windows, "validation"), 256)
    write_predictions(folder, windows, "validation", "teacher", None, 0, scored)
    told = teacher_provenance(identity, windows.provenance, windows.people("train", "validation"))
    teacher = TeacherModel(
        fingerprint=identity, family=settings.family, sizes=sizes.as_dict(), params=settings.members * cost.params,
        macs=settings.members * cost.macs, val_macro_f1=scored.macro_f1, val_accuracy=scored.accuracy,
        best_epoch=state.best_epoch, epochs=len(history),
        seconds=sum(row.seconds for its in states for row in its.history), members=settings.members,
        cross_fit=settings.cross_fit, layout=windows.layout,
        classes=windows.classes, channels=windows.channels, windows=windows.settings,
        normalisation=windows.normalisation, **weights, provenance=told,
    )  # fmt: skip
    TEACHER.write(head, teacher)
    remove_tree(folder.teacher / "ray")
    return Teacher.read(folder)


def _fingerprint(folder: SplitFolder, fresh: bool) -> str | None:
    """Return the fingerprint of the teacher that is there; None without one.

    One that cannot be read, as of another version, raises ValueError, or is None with `fresh`, which sets it aside.
    """
    try:
        told = TEACHER.find(folder.teacher_model)
    except Unreadable:
        if not fresh:
            raise
        return None
    return None if told is None else told.fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every worker is told; it is sent to other processes."""

    windows: str
    family: str
    sizes: Mapping[str, Any]
    fit: FitPlan
    patience: int
    live: str
    data: NodeData | None  # what a node lacks of the windows at first
    members: int = 1
    cross_fit: bool = False


def run_workers(
    job: Job, settings: TeacherSettings, cluster: ClusterSettings, storage: Path, name: str
) -> train.Checkpoint:
    """Run the workers to their end and return the last checkpoint.

    `name` holds the hash of all inputs: Ray Train goes on from the last checkpoint of a run of the
    same name, which is what a repeated command wants, and must never do with other inputs. Raises
    RuntimeError where training fails.
    """
    fewest, most = (job.members, job.members) if job.members > 1 else settings.worker_range
    ray_name = storage / "ray_name"
    forget_killed(ray_name)
    cores: float
    if job.members > 1:
        cores, gpus = share_among_members(job.members, cluster)
    else:
        cores, gpus = find_worker_room(settings, cluster)
    resources: dict[str, float] = {"CPU": cores}
    if gpus > 0:
        resources["GPU"] = gpus
    check_gpus(gpus)
    callbacks = [
        GivesUp(f"{job.live.removesuffix('.jsonl')}-failed.txt"),
        KeepsItsName(str(ray_name)),
        ShowsEpochs(job.live, job.fit.epochs),
    ]
    # the types that are ignored are those of Train's first version
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=LocalTorchConfig() if cluster.address == "local" else None,
        scaling_config=train.ScalingConfig(
            num_workers=most if fewest == most else (fewest, most),  # type: ignore[arg-type]
            use_gpu=gpus > 0,
            resources_per_worker=resources,
            placement_strategy=cluster.placement.upper(),
        ),
        run_config=train.RunConfig(
            name=name,
            storage_path=str(storage.resolve()),
            # GivesUp tells a lost node from an error that comes again, which these counts do not
            failure_config=train.FailureConfig(  # type: ignore[call-arg]
                max_failures=-1, max_preemption_failures=-1, controller_failure_limit=LATE_STARTS
            ),
            callbacks=callbacks,  # type: ignore[arg-type]
            checkpoint_config=train.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        with (
            wait_for_room(cluster, "The teacher", fewest, resources["CPU"], gpus),
            keep_interrupts(),
        ):
            result = trainer.fit()
    except train.TrainingFailedError as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        model = describe_student(job.family, job.sizes)
        raise RuntimeError(
            f"Training the teacher failed: {reason}; it was {model}, and the same command goes on from the last epoch."
        ) from error
    except ray.exceptions.RayActorError as error:  # Train asks for no other
        raise RuntimeError(
            "Training the teacher failed: the process that controls its workers has died (out of memory, or killed); "
            "the same command goes on from the last epoch."
        ) from error
    if result.checkpoint is None:
        raise RuntimeError(
            f"Teacher training ended without a checkpoint; see Ray's logs of the run {name}."
        )
    checkpoint: train.Checkpoint = result.checkpoint
    return checkpoint


def find_worker_room(settings: TeacherSettings, cluster: ClusterSettings) -> tuple[int, float]:
    """Return the cores and GPUs of each worker."""
    fewest, most = settings.worker_range
    gpus = gpus_per_worker(cluster, fewest)
    # what an elastic training may grow to later must not make its first workers small
    now = min(most, max(fewest, sum(node.count_fitting(1, gpus) for node in list_nodes())))
    return cores_per_worker(list_nodes(), now, gpus), gpus


def share_among_members(members: int, cluster: ClusterSettings) -> tuple[float, float]:
    """Return the cores and GPUs of each member's worker: whole ones where there are enough, else equal shares."""
    nodes = list_nodes()
    cores = sum(node.cores for node in nodes)
    if cores < members:
        return math.floor(100 * cores / members) / 100, 0.0
    gpus = gpus_per_worker(cluster, members)
    return cores_per_worker(nodes, members, gpus), gpus


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt within the block and after it.

    Ray Train's own handler ends the process without a word, and stays when the training is over.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@dataclass(slots=True)
class TrainingHistory:
    """The result of the epochs so far: all metrics, and the best epoch's weights."""

    epochs: list[TeacherEpoch] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    def add(self, metrics: EpochMetrics, model: nn.Module) -> None:
        self.epochs.append(
            TeacherEpoch(
                epoch=metrics.epoch, train_loss=metrics.train_loss, val_macro_f1=metrics.val_macro_f1,
                val_accuracy=metrics.val_accuracy, seconds=metrics.seconds,
            )
        )  # fmt: skip
        if (
            not self.best_epoch
            or metrics.val_macro_f1 > self.epochs[self.best_epoch - 1].val_macro_f1
        ):
            self.best_epoch = metrics.epoch
            self.best = {
                name: value.detach().cpu().clone() for name, value in model.state_dict().items()
            }

    def is_out_of_patience(self, patience: int) -> bool:
        return patience > 0 and len(self.epochs) - self.best_epoch >= patience


def train_worker(config: dict[str, Any]) -> None:
    """Train the teacher in one of its workers, as Ray Train calls it."""
    speak_when_dying()
    load_extensions(SPACES)
    refuse_blind()
    job: Job = config["job"]
    if job.data is not None:
        job.data.bring()
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    member = rank if job.members > 1 else 0
    shard = Shard() if job.members > 1 else Shard(rank, world)
    # the environment's number is that of a process which had not loaded torch yet
    assigned = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
    trust(job.family, job.windows, job.sizes)
    device = get_device()
    windows = WindowFolder.open(Path(job.windows))
    train_set, valid_set = (
        examples.to(choose_home(examples.bytes, device))
        for examples in (load_examples(windows, role) for role in ("train", "validation"))
    )
    if job.cross_fit:
        part_N = torch.from_numpy(deal_parts(windows.open_role("train"), job.members))
        train_set = train_set.select(torch.nonzero(part_N != member)[:, 0].to(train_set.device))
    plan = dataclasses.replace(job.fit, seed=job.fit.seed + member)
    fitting = new_fitting(windows, job.family, job.sizes, plan, device)
    history = TrainingHistory()
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            load_checkpoint(find_member(Path(folder), member, job.members), fitting, history)
    if job.members > 1:
        run_member(job, fitting, history, train_set, valid_set, member)
    else:
        run_epochs(job, fitting, history, train_set, valid_set, shard)


def find_member(checkpoint: Path, member: int, members: int) -> CheckpointFolder:
    """Return the part of a checkpoint that a member has written; of a teacher of one member that is all of it."""
    return CheckpointFolder(checkpoint if members == 1 else checkpoint / f"member-{member}")


def run_member(
    job: Job,
    fitting: Fitting,
    history: TrainingHistory,
    train_set: Examples,
    valid_set: Examples,
    member: int,
) -> None:
    """Train one member of several; each keeps a checkpoint of every epoch, and all report equally often.

    A member that has run out of patience goes on reporting until the last epoch, since a report waits for all.
    """
    speed, parallel = prepare_model(fitting, train_set, Shard())
    epochs = fit(fitting, train_set, valid_set, Distillation(), parallel=parallel, speed=speed)
    for epoch in range(len(history.epochs), job.fit.epochs):
        if not history.is_out_of_patience(job.patience):
            history.add(next(epochs), fitting.model)
        # not the epochs done: those of a member that has ended do not grow
        reached = {
            "epoch": epoch + 1,
            "step": 0,
            "history": [plain(row) for row in history.epochs],
        }
        with tempfile.TemporaryDirectory() as folder:
            files = find_member(Path(folder), member, job.members)
            files.root.mkdir(exist_ok=True)
            save_checkpoint(files, fitting, history)
            train.report(reached, checkpoint=train.Checkpoint.from_directory(folder))


def run_epochs(
    job: Job,
    fitting: Fitting,
    history: TrainingHistory,
    train_set: Examples,
    valid_set: Examples,
    shard: Shard,
) -> None:
    """Train to the last epoch or the end of patience; rank 0 keeps a checkpoint of every epoch."""
    if history.is_out_of_patience(job.patience):
        return

    def keep() -> None:
        agree(fitting, shard)
        fitting.check()
        report(fitting, history, shard)

    speed, parallel = prepare_model(fitting, train_set, shard)
    keeper = Keeper(keep)
    epochs = fit(
        fitting, train_set, valid_set, Distillation(),
        shard=shard, parallel=parallel, speed=speed, after_step=keeper.after_step,
    )  # fmt: skip
    for metrics in epochs:
        history.add(metrics, fitting.result)
        report(fitting, history, shard)
        keeper.note_kept()
        if history.is_out_of_patience(job.patience):
            return


def prepare_model(
    fitting: Fitting, train_set: Examples, shard: Shard
) -> tuple[Speed, nn.Module | None]:
    """Choose what is done for speed, and make the model that a step calls; None where it is the plain one."""
    plan = fitting.plan
    steps = (plan.epochs - fitting.epoch) * -(-len(train_set) // plan.batch)
    speed = Speed.choose(fitting.model, fitting.device, alone=shard.world == 1, steps=steps)
    model = fitting.model
    if speed.compiled:
        some_B = torch.arange(min(plan.batch, len(train_set)), device=train_set.device)
        batch, _ = train_set.take(
            shard.take_rows(some_B), torch.zeros_like(shard.take_rows(some_B))
        )
        model = compile_model(model, batch.to(fitting.device), speed.bf16)
    if shard.world > 1:
        # each worker's batch norm goes its own way to the next `agree`, which costs fewer messages
        model = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    return speed, None if model is fitting.model else model


def report(fitting: Fitting, history: TrainingHistory, shard: Shard) -> None:
    """Tell Ray how far the training is, a barrier over the workers; rank 0 adds a checkpoint."""
    reached: dict[str, Any] = {"epoch": fitting.epoch, "step": fitting.step}
    if shard.rank != 0:
        train.report(reached)
        return
    reached["history"] = [plain(row) for row in history.epochs]  # for ShowsEpochs
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(CheckpointFolder(Path(folder)), fitting, history)
        train.report(reached, checkpoint=train.Checkpoint.from_directory(folder))


def save_checkpoint(files: CheckpointFolder, fitting: Fitting, history: TrainingHistory) -> None:
    """Write flat tensors and JSON: all that `load_checkpoint` needs to go on as if nothing had happened."""
    save_file(fitting.tensors(), files.tensors)
    save_file(history.best, files.best)
    state = TrainingState(
        epoch=fitting.epoch,
        step=fitting.step,
        best_epoch=history.best_epoch,
        history=history.epochs,
        time=time.time(),
    )
    TRAINING.write(files.state, state)


def load_checkpoint(files: CheckpointFolder, fitting: Fitting, history: TrainingHistory) -> None:
    """Load what `save_checkpoint` wrote into `history` and a new fitting of the same model and plan."""
    state = TRAINING.read(files.state)
    fitting.load(load_file(files.tensors), state.epoch, state.step)
    history.epochs = list(state.history)
    history.best_epoch = state.best_epoch
    history.best = load_file(files.best)


class ShowsEpochs(train.UserCallback):
    """Writes the epochs so far for whoever watches, one JSON object a line.

    Ray calls it in the process that controls the run, once the checkpoint is the one to go on from:
    an epoch that has been shown is not trained again.
    """

    def __init__(self, path: str, epochs: int) -> None:
        self.path = path
        self.epochs = epochs

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        rows = (LiveEpoch(**row, epochs=self.epochs) for row in metrics[0]["history"])
        text = "".join(json.dumps(LIVE.as_dict(row)) + "\n" for row in rows)
        write_whole(open_path(self.path), text.encode())
