"""The training loop: fit, epoch, step. It uses no Ray, no files and no settings but FitPlan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from gaitforge.ahead import keep_freed_memory
from gaitforge.batch import Batch
from gaitforge.losses import (
    LOSSES,
    Distillation,
    Targets,
    check_known,
    class_weights,
    collect_needed,
    loss_terms,
)
from gaitforge.losses.consistency import consistency_loss
from gaitforge.settings import FitPlan
from trainers.training.examples import Examples, Memory, draw
from trainers.training.fitting import Fitting
from trainers.training.scoring import score
from trainers.training.sharing import LossFactors, Shard, agree, check_shards
from trainers.training.speed import CudaGraphGradients, Speed, send_ahead
from trainers.training.steps import (
    VIEWS_TOGETHER,
    Step,
    epoch_steps,
    seed_dropout,
    set_learning_rate,
    spread_views,
)

CHECK_STEPS = 50  # from one look at the loss to the next: a look makes a GPU's launches wait


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """Metrics of one epoch: mean training loss, its named terms, validation scores per recording, seconds."""

    epoch: int
    train_loss: float
    terms: Mapping[str, float] = field(default_factory=dict)
    val_macro_f1: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a step minimises."""

    distillation: Distillation
    class_weights_K: Tensor | None
    label_smoothing: float


def fit(
    fitting: Fitting,
    train: Examples,
    valid: Examples,
    distillation: Distillation,
    shard: Shard = Shard(),
    parallel: nn.Module | None = None,
    speed: Speed | None = None,
    after_step: Callable[[], None] | None = None,
) -> Iterator[EpochMetrics]:
    """Train until `fitting.plan.epochs` epochs are done; yield the metrics of each. Stop by not asking for the next.

    `train` holds the teacher's stored outputs that the terms of `distillation` compare the model with.
    `parallel` is the model that the training step calls instead of `fitting.model`: wrapped for several
    workers, or compiled. `after_step` is called after each step and may save `fitting`, which can go on
    from any step. With any number of workers a step sees the same windows, views and noise and has the
    same gradient; only dropout and batch norm differ, since each worker sees its own shard alone.

    Raises KeyError for an unknown loss term, ValueError where workers cannot share the batches or the teacher has
    seen views that were disturbed otherwise, and FloatingPointError where the loss is not finite.
    """
    plan = fitting.plan
    keep_freed_memory()
    check_answered(train, plan, distillation)
    check_views(train, plan, shard.world)
    check_shards(len(train), plan.batch, shard.world)
    check_terms(distillation, shard.world)
    goal = Goal(
        distillation=distillation,
        class_weights_K=class_weights(train.label_N, train.classes).to(fitting.device)
        if plan.balance
        else None,
        label_smoothing=plan.label_smoothing,
    )
    speed = speed or Speed.choose(fitting.model, fitting.device, alone=parallel is None)
    model = fitting.model if parallel is None else parallel
    gradients: Gradients = partial(
        find_gradients, fitting=fitting, model=model, goal=goal, bf16=speed.bf16
    )
    if speed.cuda_graph:
        gradients = CudaGraphGradients(gradients)
    while fitting.epoch < plan.epochs:
        started = time.monotonic()
        model.train()
        terms = train_epoch(fitting, train, goal, gradients, shard, after_step)
        fitting.epoch, fitting.step, fitting.sums = fitting.epoch + 1, 0, {}
        scored = score(fitting.result, valid, plan.batch * 4, shard)
        yield EpochMetrics(
            epoch=fitting.epoch,
            train_loss=sum(terms.values()),
            terms=terms,
            val_macro_f1=scored.macro_f1,
            val_accuracy=scored.accuracy,
            seconds=time.monotonic() - started,
        )


def train_epoch(
    fitting: Fitting,
    train: Examples,
    goal: Goal,
    gradients: Gradients,
    shard: Shard = Shard(),
    after_step: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Train the steps that are left of this epoch; return the mean of each loss term over the epoch.

    The order of the windows, their views, noise and dropout follow from (plan.seed, epoch, step) alone,
    so that a step that is run again after a crash is the same step.
    """
    plan, device = fitting.plan, fitting.device
    steps = epoch_steps(
        len(train), train.views, plan.batch, plan.seed, fitting.epoch, train.device
    )
    left = steps[fitting.step :]
    batches = draw_batches(train, steps, fitting, goal.distillation, shard)
    if train.device != device:
        batches = send_ahead(batches, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step, (batch, targets) in zip(left, batches, strict=True):
            set_learning_rate(fitting.optimizer, plan, fitting.epoch + fitting.step / len(steps))
            seed_dropout(step.seed + 1 + shard.rank, device)
            terms = gradients(batch, targets, find_loss_factors(step, train.label_N, goal, shard))
            fitting.optimizer.step()
            for name, value in terms.items():
                fitting.sums[name] = fitting.sums.get(name, 0.0) + value.double()
            fitting.step += 1
            fitting.take_average(len(steps))
            if fitting.step % CHECK_STEPS == 0:
                fitting.check()
            if after_step is not None:
                after_step()
    agree(fitting, shard)
    fitting.check()
    return {name: value.item() / len(steps) for name, value in fitting.sums.items()}


def draw_batches(
    train: Examples,
    steps: Sequence[Step],
    fitting: Fitting,
    distillation: Distillation,
    shard: Shard,
) -> Iterator[tuple[Batch, Targets]]:
    """Yield batch and targets of each step that is left, with all that the distillation terms need."""
    drawn = collect_needed(distillation.terms, "drawn")
    joints = train.teacher_joints_NWQVD
    memory = None if joints is None or not drawn else Memory.of(joints, train.label_N)
    epoch, epochs = fitting.epoch, fitting.plan.epochs
    for number, step in enumerate(steps[fitting.step :], start=fitting.step):
        window_B, view_B = shard.take_rows(step.window_B), shard.take_rows(step.view_B)
        if fitting.plan.consistency > 0:
            window_B, view_B = spread_views(window_B, view_B, train.views)
        batch, targets = train.take(window_B, view_B)
        batch = train.disturb(batch, window_B, view_B, fitting.plan, epoch)
        targets = draw(targets, drawn, memory, len(targets.label_B), step.seed)
        if distillation.warmup > 0:
            done = (epoch + number / len(steps)) / epochs
            ramp = torch.tensor(min(done / distillation.warmup, 1.0), device=train.device)
            targets = targets._replace(ramp=ramp)
        yield batch, targets


# a batch, what it is held against, the factors of its loss -> the loss terms; the gradient is left in the weights
Gradients = Callable[[Batch, Targets, "LossFactors | None"], dict[str, Tensor]]


def find_gradients(
    batch: Batch,
    targets: Targets,
    part: LossFactors | None,
    *,
    fitting: Fitting,
    model: nn.Module,
    goal: Goal,
    bf16: bool,
) -> dict[str, Tensor]:
    """Return the loss terms of a batch; leave their clipped gradient in the weights' `grad`.

    `model` is `fitting.model`, or that model wrapped for several workers or compiled; `part` is this worker's
    factors of the loss, None where it has the whole.
    """
    with torch.autocast(batch.joints_BTVC.device.type, dtype=torch.bfloat16, enabled=bf16):
        output = model(batch)
    output = output._replace(logits_BK=output.logits_BK.float())
    terms = loss_terms(
        output,
        targets,
        goal.distillation,
        goal.class_weights_K,
        goal.label_smoothing,
        fitting.heads,
    )
    if fitting.plan.consistency > 0:
        logits_RBK = output.logits_BK.unflatten(0, (-1, VIEWS_TOGETHER)).transpose(0, 1)
        terms["consistency"] = fitting.plan.consistency * consistency_loss(logits_RBK)
    if part is not None:
        terms = {name: value * part.pick(name) for name, value in terms.items()}
    fitting.optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(fitting.model.parameters(), fitting.plan.clip)
    if fitting.heads is not None:  # apart, so that theirs does not make the student's small
        nn.utils.clip_grad_norm_(fitting.heads.parameters(), fitting.plan.clip)
    return {name: value.detach() for name, value in terms.items()}


def check_answered(train: Examples, plan: FitPlan, distillation: Distillation) -> None:
    """Raise ValueError where a student would be shown other views than the teacher has answered, disturbed ones."""
    if distillation.terms and not train.answered.is_none and train.answered != plan.disturbance:
        raise ValueError(
            f"The teacher has answered views that were disturbed by {train.answered}, but the student's are by "
            f"{plan.disturbance}; make them alike, or take search.teacher_sees = 'clean'."
        )


def check_views(train: Examples, plan: FitPlan, world: int) -> None:
    """Raise ValueError where the plan compares views of a window and there is one, or workers share the batch."""
    if plan.consistency > 0 and world > 1:
        raise ValueError(
            f"fit.consistency is {plan.consistency} and needs whole batches, but {world} workers share them; train "
            "with one worker, or make it 0."
        )
    if plan.consistency > 0 and train.views < 2:
        raise ValueError(
            f"fit.consistency is {plan.consistency} and compares views of a window, but windows.views is "
            f"{train.views}; raise it to 2 or more."
        )


def check_terms(distillation: Distillation, world: int) -> None:
    """Raise KeyError for an unknown term, ValueError for one that needs whole batches where workers share them."""
    check_known(distillation)
    whole = [name for name in distillation.terms if LOSSES[name].whole_batch]
    if whole and world > 1:
        raise ValueError(
            f"The term '{whole[0]}' relates the windows of a whole batch or trains a head, but {world} workers share "
            "the batch; train with one worker, or without the term."
        )


def find_loss_factors(step: Step, label_N: Tensor, goal: Goal, shard: Shard) -> LossFactors | None:
    """Return what this worker multiplies a step's loss by; None where one worker has the whole."""
    if shard.world == 1:
        return None
    mine = shard.take_rows(step.window_B)
    by_window = shard.world * len(mine) / len(step.window_B)
    if goal.class_weights_K is None:
        return LossFactors(by_window, by_window)
    weight_B = goal.class_weights_K[label_N[step.window_B].to(goal.class_weights_K.device)]
    return LossFactors(shard.world * shard.take_rows(weight_B).sum() / weight_B.sum(), by_window)
