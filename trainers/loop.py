"""The training loop: fit, epoch, step. It knows no Ray, no files and no settings but FitPlan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.losses import (
    LOSSES,
    Distillation,
    Heads,
    Targets,
    class_weights,
    loss_terms,
    needed,
)
from gaitforge.metrics import accuracy, confusion, macro_f1, recording_scores
from gaitforge.settings import FitPlan
from trainers.memory import Memory, draw
from trainers.speed import Graphed, Speed, sent_ahead

CHECK_STEPS = 50  # from one look at the loss to the next: a look makes a GPU's launches wait


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows of one role as tensors, on the CPU or wholly on the device.

    joints_NWTVC and seen_NWTV hold W fixed views of each of N windows (view 0 is the clean one);
    recording_N says which recording a window was cut from. The teacher's logits, embedding and nodes
    are its answers to each view, or None where no term asks for them; the last two are half floats,
    and may lie elsewhere where a device has no room for them.
    """

    joints_NWTVC: Tensor
    seen_NWTV: Tensor
    label_N: Tensor
    recording_N: NDArray[np.int64]
    classes: int
    teacher_logits_NWK: Tensor | None = None
    teacher_embedding_NWD: Tensor | None = None
    teacher_joints_NWQVD: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def views(self) -> int:
        return self.joints_NWTVC.shape[1]

    @property
    def device(self) -> torch.device:
        return self.label_N.device

    @property
    def bytes(self) -> int:
        tensors = (self.joints_NWTVC, self.seen_NWTV, *self._answers)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def _answers(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.teacher_logits_NWK, self.teacher_embedding_NWD, self.teacher_joints_NWQVD

    def take(self, window_B: Tensor, view_B: Tensor) -> tuple[Batch, Targets]:
        """The given views of the given windows, with what they are held against."""
        batch = Batch(
            joints_BTVC=self.joints_NWTVC[window_B, view_B].float(),
            seen_BTV=self.seen_NWTV[window_B, view_B],
        )
        taken = (_taken(answer, window_B, view_B) for answer in self._answers)
        return batch, Targets(self.label_N[window_B], *taken)

    def first(self, count: int) -> Examples:
        """The first windows, in the memory of them all."""
        return Examples(
            self.joints_NWTVC[:count],
            self.seen_NWTV[:count],
            self.label_N[:count],
            self.recording_N[:count],
            self.classes,
            *(None if answer is None else answer[:count] for answer in self._answers),
        )

    def to(self, device: torch.device) -> Examples:
        return Examples(
            self.joints_NWTVC.to(device),
            self.seen_NWTV.to(device),
            self.label_N.to(device),
            self.recording_N,
            self.classes,
            *(None if answer is None else answer.to(device) for answer in self._answers),
        )


def _taken(answer: Tensor | None, window_B: Tensor, view_B: Tensor) -> Tensor | None:
    if answer is None:
        return None
    there = answer.device
    return answer[window_B.to(there), view_B.to(there)].float().to(window_B.device)


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch this process takes: worker `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def of(self, whole: Tensor) -> Tensor:
        """This worker's rows."""
        return whole[self.rank :: self.world]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """One epoch: mean training loss, its named terms, validation scores per recording, seconds."""

    epoch: int
    train_loss: float
    terms: Mapping[str, float] = field(default_factory=dict)
    val_macro_f1: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Recordings scored by a model: ids, true classes, mean window logits [R, K]."""

    recording_R: NDArray[np.int64]
    true_R: NDArray[np.int64]
    logits_RK: NDArray[np.float64]

    @property
    def confusion_KK(self) -> NDArray[np.int64]:
        return confusion(self.true_R, self.logits_RK.argmax(axis=1), self.logits_RK.shape[1])

    @property
    def macro_f1(self) -> float:
        return float(macro_f1(self.confusion_KK))

    @property
    def accuracy(self) -> float:
        return float(accuracy(self.confusion_KK))


class Fitting:
    """A model in training: all that a step changes, and so all that a checkpoint must hold.

    `heads` are what distillation terms train along with it; they are no part of the model.
    """

    def __init__(self, model: nn.Module, plan: FitPlan, heads: Heads | None = None) -> None:
        self.model = model
        self.plan = plan
        self.heads = heads
        self.epoch = 0  # epochs done
        self.step = 0  # steps done of the epoch that is under way
        self.sums: dict[str, Tensor] = {}  # of each loss term over those steps
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, heads),
            lr=plan.lr,
            weight_decay=plan.weight_decay,
            # one launch instead of hundreds; on a CPU the other way is as fast
            fused=True if self.device.type == "cuda" else None,
        )

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser state and loss sums under flat names, for a file of plain tensors."""
        flat = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.heads is not None:
            flat |= {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        flat |= {f"sums.{name}": value for name, value in self.sums.items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}

    def load(self, tensors: Mapping[str, Tensor], epoch: int, step: int = 0) -> None:
        """Go on from `tensors()` of a fitting of the same model and plan, `step` steps into an epoch."""
        self.model.load_state_dict(_named(tensors, "model."))
        if self.heads is not None:
            self.heads.load_state_dict(_named(tensors, "heads."))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.epoch, self.step = epoch, step
        self.sums = {
            name: value.to(self.device) for name, value in _named(tensors, "sums.").items()
        }

    def check(self) -> None:
        """Raise FloatingPointError where a loss of the epoch so far was no finite number."""
        total = sum(value.item() for value in self.sums.values())
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The loss became {total} in epoch {self.epoch + 1}; lower fit.lr or fit.clip."
            )


def parameter_groups(model: nn.Module, heads: Heads | None) -> list[dict[str, Any]]:
    """What weight decay pulls to 0, and what it leaves: the parameters that a module names in UNDECAYED.

    Those are no weights but numbers of a meaning, such as a scan's rates of decay.
    """
    kept = {
        id(module.get_parameter(name))
        for module in model.modules()
        for name in getattr(module, "UNDECAYED", ())
    }
    # the heads last, so that the model's states keep their numbers
    weights = [*model.parameters(), *(heads.parameters() if heads is not None else ())]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if id(weight) not in kept]},
        {"params": [weight for weight in weights if id(weight) in kept], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


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
    share: Share = Share(),
    parallel: nn.Module | None = None,
    speed: Speed | None = None,
    after_step: Callable[[], None] | None = None,
) -> Iterator[EpochMetrics]:
    """Train up to `fitting.plan.epochs`; yield the metrics of each epoch. Stop by not asking for the next.

    `parallel` is the model as the training step must call it where several workers share it, or it
    is compiled. `after_step` may keep `fitting`, which can go on from any step. With other numbers
    of workers a step sees the same windows, views and noise and has the same gradient; only dropout
    and batch norm, which know the share alone, differ.
    """
    plan = fitting.plan
    check_share(len(train), plan.batch, share.world)
    check_terms(distillation, share.world)
    goal = Goal(
        distillation=distillation,
        class_weights_K=class_weights(train.label_N, train.classes).to(fitting.device)
        if plan.balance
        else None,
        label_smoothing=plan.label_smoothing,
    )
    speed = speed or Speed.here(fitting.model, fitting.device, alone=parallel is None)
    model = fitting.model if parallel is None else parallel
    gradients: Gradients = partial(find_gradients, fitting, model, goal, speed.bf16)
    if speed.graphed:
        gradients = Graphed(gradients)
    while fitting.epoch < plan.epochs:
        started = time.monotonic()
        model.train()
        terms = train_epoch(fitting, train, goal, gradients, share, after_step)
        fitting.epoch, fitting.step, fitting.sums = fitting.epoch + 1, 0, {}
        scored = score(fitting.model, valid, plan.batch * 4, share)
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
    share: Share = Share(),
    after_step: Callable[[], None] | None = None,
) -> dict[str, float]:
    """The steps that are left of a pass over the training windows; the mean of each loss term.

    Order, views, noise and dropout follow from (plan.seed, epoch, step) alone, so that a step that
    is run again after a crash is the same step.
    """
    plan, device = fitting.plan, fitting.device
    generator = torch.Generator().manual_seed(plan.seed * 100_003 + fitting.epoch)
    steps = epoch_steps(len(train), train.views, plan.batch, generator, train.device)
    left = steps[fitting.step :]
    batches = taken_and_drawn(train, steps, fitting, goal.distillation, share)
    if train.device != device:
        batches = sent_ahead(batches, device)
    noise = torch.Generator(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step, (batch, targets) in zip(left, batches, strict=True):
            set_learning_rate(fitting.optimizer, plan, fitting.epoch + fitting.step / len(steps))
            noise.manual_seed(step.seed)
            batch = disturb(batch, plan, noise, share, len(step.window_B))
            seed_dropout(step.seed + 1 + share.rank, device)
            terms = gradients(batch, targets, share_of_loss(step, train.label_N, goal, share))
            fitting.optimizer.step()
            for name, value in terms.items():
                fitting.sums[name] = fitting.sums.get(name, 0.0) + value.double()
            fitting.step += 1
            if fitting.step % CHECK_STEPS == 0:
                fitting.check()
            if after_step is not None:
                after_step()
    agree(fitting, share)
    fitting.check()
    return {name: value.item() / len(steps) for name, value in fitting.sums.items()}


def taken_and_drawn(
    train: Examples,
    steps: Sequence[Step],
    fitting: Fitting,
    distillation: Distillation,
    share: Share,
) -> Iterator[tuple[Batch, Targets]]:
    """The batches of the steps that are left, with all that the distillation terms need for each."""
    drawn = needed(distillation.terms, "drawn")
    joints = train.teacher_joints_NWQVD
    memory = None if joints is None or not drawn else Memory.of(joints, train.label_N)
    epoch, epochs = fitting.epoch, fitting.plan.epochs
    for number, step in enumerate(steps[fitting.step :], start=fitting.step):
        batch, targets = train.take(share.of(step.window_B), share.of(step.view_B))
        targets = draw(targets, drawn, memory, len(targets.label_B), step.seed)
        if distillation.warmup > 0:
            done = (epoch + number / len(steps)) / epochs
            ramp = torch.tensor(min(done / distillation.warmup, 1.0), device=train.device)
            targets = targets._replace(ramp=ramp)
        yield batch, targets


# a batch, what it is held against, the shares of its loss -> the loss terms; the gradient is left in the weights
Gradients = Callable[[Batch, Targets, "LossShare | None"], dict[str, Tensor]]


def find_gradients(
    fitting: Fitting,
    parallel: nn.Module,
    goal: Goal,
    bf16: bool,
    batch: Batch,
    targets: Targets,
    part: LossShare | None,
) -> dict[str, Tensor]:
    """The loss terms of a batch; their clipped gradient is left in the weights' `grad`."""
    with torch.autocast(batch.joints_BTVC.device.type, dtype=torch.bfloat16, enabled=bf16):
        output = parallel(batch)
    output = output._replace(logits_BK=output.logits_BK.float())
    terms = loss_terms(
        output,
        targets,
        goal.distillation,
        goal.class_weights_K,
        goal.label_smoothing,
        fitting.heads,
    )
    if part is not None:
        terms = {name: value * part.of(name) for name, value in terms.items()}
    fitting.optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(fitting.model.parameters(), fitting.plan.clip)
    if fitting.heads is not None:  # apart, so that theirs does not make the student's small
        nn.utils.clip_grad_norm_(fitting.heads.parameters(), fitting.plan.clip)
    return {name: value.detach() for name, value in terms.items()}


class Step(NamedTuple):
    """One step's global batch, whoever takes which part of it, and the seed of its noise."""

    window_B: Tensor
    view_B: Tensor
    seed: int


def epoch_steps(
    windows: int,
    views: int,
    batch: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> list[Step]:
    """The steps of an epoch, the same for any number of workers; their indices lie on the device.

    The order is filled up from its own start, so that no batch is smaller than the others: one
    window alone breaks batch norm.
    """
    order_N = torch.randperm(windows, generator=generator)
    size = min(batch, windows)
    steps = math.ceil(windows / size)
    window_SB = order_N.repeat(2)[: steps * size].view(steps, size)
    view_SB = torch.randint(views, (steps, size), generator=generator)
    seed_S = torch.randint(2**31, (steps,), generator=generator).tolist()
    pairs = zip(window_SB.to(device), view_SB.to(device), strict=True)
    return [Step(*pair, seed) for pair, seed in zip(pairs, seed_S, strict=True)]


def check_share(windows: int, batch: int, world: int) -> None:
    """Raise ValueError where a worker would get fewer than two windows of a batch."""
    size = min(batch, windows)
    if size < 2 * world and world > 1:
        raise ValueError(
            f"{world} workers cannot share batches of {size} of the {windows} training windows, since each needs "
            "two; lower teacher.workers."
        )


def check_terms(distillation: Distillation, world: int) -> None:
    """Raise ValueError where workers would share the batches of a term that needs them whole."""
    whole = [name for name in distillation.terms if LOSSES[name].whole_batch]
    if whole and world > 1:
        raise ValueError(
            f"The term '{whole[0]}' relates the windows of a whole batch or trains a head, but {world} workers share "
            "the batch; train with one worker, or without the term."
        )


class LossShare(NamedTuple):
    """What a worker's mean over its windows counts for, times the number of workers.

    The mean over the workers is then the loss of the whole batch, also where the batch does not
    divide evenly or a worker got the rarer classes, by whose weights cross entropy is averaged.
    """

    by_class: Tensor | float
    by_window: float

    def of(self, term: str) -> Tensor | float:
        return self.by_class if term == "cross_entropy" else self.by_window


def share_of_loss(step: Step, label_N: Tensor, goal: Goal, share: Share) -> LossShare | None:
    """This worker's share of a step's loss; None where it is the whole."""
    if share.world == 1:
        return None
    mine = share.of(step.window_B)
    by_window = share.world * len(mine) / len(step.window_B)
    if goal.class_weights_K is None:
        return LossShare(by_window, by_window)
    weight_B = goal.class_weights_K[label_N[step.window_B].to(goal.class_weights_K.device)]
    return LossShare(share.world * share.of(weight_B).sum() / weight_B.sum(), by_window)


def agree(fitting: Fitting, share: Share) -> None:
    """Give all workers the mean of their loss sums and batch norm statistics: all score, stop and keep alike."""
    if share.world == 1:
        return
    kept = fitting.model.state_dict()
    values = [
        b for name, b in fitting.model.named_buffers() if name in kept and b.is_floating_point()
    ]
    values += list(fitting.sums.values())
    for value in values:
        torch.distributed.all_reduce(value)
        value /= share.world


def seed_dropout(seed: int, device: torch.device) -> None:
    """Dropout knows no generator but the global ones; `torch.manual_seed` takes 0.1 ms for all that there are."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def set_learning_rate(optimizer: torch.optim.Optimizer, plan: FitPlan, epoch: float) -> None:
    """Linear warm-up, then half a cosine down to a hundredth, at a fractional epoch."""
    done = epoch / plan.epochs
    if done < plan.warmup:
        factor = done / plan.warmup
    else:
        factor = 0.01 + 0.99 * 0.5 * (
            1 + math.cos(math.pi * (done - plan.warmup) / (1 - plan.warmup))
        )
    for group in optimizer.param_groups:
        group["lr"] = plan.lr * max(factor, 0.01)


def disturb(
    batch: Batch,
    plan: FitPlan,
    generator: torch.Generator,
    share: Share = Share(),
    windows: int | None = None,
) -> Batch:
    """Noise on coordinates and hidden joints, on top of a view whose teacher output stays the target.

    Drawn for all `windows` that the workers share, on the generator's device.
    """
    joints, seen = batch.joints_BTVC, batch.seen_BTV
    whole, device = windows or len(seen), generator.device
    if plan.jitter > 0:
        noise = torch.randn((whole, *joints.shape[1:]), generator=generator, device=device)
        joints = joints + plan.jitter * share.of(noise).to(joints.device) * seen[..., None]
    if plan.joint_drop > 0:
        drawn = torch.rand((whole, 1, seen.shape[2]), generator=generator, device=device)
        seen = seen & (share.of(drawn) >= plan.joint_drop).to(seen.device)
        joints = joints * seen[..., None]
    return Batch(joints_BTVC=joints, seen_BTV=seen)


@torch.no_grad()
def window_logits(
    model: nn.Module, examples: Examples, batch: int, view: int = 0, share: Share = Share()
) -> NDArray[np.float64]:
    """Logits [N, K] of one view of every window, in evaluation mode; workers find their shares and tell them all."""
    model.eval()
    device = device_of(model)
    logits_NK = torch.zeros((len(examples), examples.classes), device=device)
    for window_B in torch.split(share.of(torch.arange(len(examples))), batch):
        if len(window_B):  # there may be more workers than windows
            inputs, _ = examples.take(window_B, torch.full_like(window_B, view))
            logits_NK[window_B] = model(inputs.to(device)).logits_BK.float()
    if share.world > 1:
        torch.distributed.all_reduce(logits_NK)
    return logits_NK.cpu().double().numpy()


def device_of(model: nn.Module) -> torch.device:
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))


def score(model: nn.Module, examples: Examples, batch: int, share: Share = Share()) -> Scored:
    """Clean views scored, and averaged over the windows of each recording."""
    return score_logits(window_logits(model, examples, batch, share=share), examples)


def score_logits(logits_NK: NDArray[np.float64], examples: Examples) -> Scored:
    """Window logits [N, K] averaged over the windows of each recording."""
    recording_R, logits_RK = recording_scores(logits_NK, examples.recording_N)
    _, first_R = np.unique(examples.recording_N, return_index=True)
    return Scored(recording_R, examples.label_N.cpu().numpy()[first_R], logits_RK)
