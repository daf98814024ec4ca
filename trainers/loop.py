"""The training loop: fit, epoch, step. It knows no Ray, no files and no settings but FitPlan."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.losses import Distillation, Targets, class_weights, loss_terms
from gaitforge.metrics import accuracy, confusion, macro_f1, recording_scores
from gaitforge.settings import FitPlan


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows of one role as tensors, on the CPU or wholly on the device.

    joints_NWTVC and seen_NWTV hold W fixed views of each of N windows (view 0 is the clean one);
    recording_N says which recording a window was cut from; teacher_logits_NWK is the teacher's
    answer to each view, or None.
    """

    joints_NWTVC: Tensor
    seen_NWTV: Tensor
    label_N: Tensor
    recording_N: NDArray[np.int64]
    classes: int
    teacher_logits_NWK: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def views(self) -> int:
        return self.joints_NWTVC.shape[1]

    def take(self, window_B: Tensor, view_B: Tensor) -> tuple[Batch, Targets]:
        """The given views of the given windows, with what they are held against."""
        teacher = (
            None
            if self.teacher_logits_NWK is None
            else self.teacher_logits_NWK[window_B, view_B].float()
        )
        batch = Batch(
            joints_BTVC=self.joints_NWTVC[window_B, view_B].float(),
            seen_BTV=self.seen_NWTV[window_B, view_B],
        )
        return batch, Targets(self.label_N[window_B], teacher)

    def to(self, device: torch.device) -> Examples:
        logits = self.teacher_logits_NWK
        return Examples(
            self.joints_NWTVC.to(device),
            self.seen_NWTV.to(device),
            self.label_N.to(device),
            self.recording_N,
            self.classes,
            None if logits is None else logits.to(device),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch this process takes: worker `rank` of `world`."""

    rank: int = 0
    world: int = 1


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
    """A model in training: all that an epoch changes, and so all that a checkpoint must hold."""

    def __init__(self, model: nn.Module, plan: FitPlan) -> None:
        self.model = model
        self.plan = plan
        self.epoch = 0  # epochs done
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimiser state under flat names, for a file of plain tensors."""
        flat = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}

    def load(self, tensors: Mapping[str, Tensor], epoch: int) -> None:
        """Go on from `tensors()` of a fitting of the same model and plan after `epoch` epochs."""
        weights = {
            name.removeprefix("model."): t
            for name, t in tensors.items()
            if name.startswith("model.")
        }
        self.model.load_state_dict(weights)
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.epoch = epoch


def fit(
    fitting: Fitting,
    train: Examples,
    valid: Examples,
    distillation: Distillation,
    share: Share = Share(),
    parallel: nn.Module | None = None,
) -> Iterator[EpochMetrics]:
    """Train up to `fitting.plan.epochs`; yield the metrics of each epoch. Stop by not asking for the next.

    `parallel` is the model as the training step must call it where several workers share it.
    """
    plan = fitting.plan
    weights_K = class_weights(train.label_N, train.classes) if plan.balance else None
    while fitting.epoch < plan.epochs:
        started = time.monotonic()
        terms = train_epoch(
            fitting, train, distillation, weights_K, share, parallel or fitting.model
        )
        fitting.epoch += 1
        if share.world > 1:
            average_buffers(fitting.model, share.world)
        scored = score(fitting.model, valid, plan.batch * 4)
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
    distillation: Distillation,
    weights_K: Tensor | None,
    share: Share,
    parallel: nn.Module,
) -> dict[str, float]:
    """One pass over the training windows, each in one of its views; the mean of each loss term.

    Order, views, noise and dropout follow from (plan.seed, epoch) alone, so that an epoch that is
    run again after a crash is the same epoch.
    """
    plan = fitting.plan
    generator = torch.Generator().manual_seed(plan.seed * 100_003 + fitting.epoch)
    batches = epoch_batches(len(train), train.views, plan.batch, share, generator)
    noise = torch.Generator().manual_seed(plan.seed * 100_003 + fitting.epoch * 31 + share.rank)
    sums: dict[str, float] = {}
    parallel.train()
    devices = [train.label_N.device] if train.label_N.is_cuda else []
    with torch.random.fork_rng(devices=devices):  # dropout only knows the global generator
        torch.manual_seed(plan.seed * 100_003 + fitting.epoch * 31 + share.rank)
        for step, (window_B, view_B) in enumerate(batches):
            set_learning_rate(fitting.optimizer, plan, fitting.epoch + step / len(batches))
            batch, targets = train.take(window_B, view_B)
            batch = disturb(batch, plan, noise)
            terms = train_step(fitting, parallel, batch, targets, distillation, weights_K)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
    return {name: value / len(batches) for name, value in sums.items()}


def train_step(
    fitting: Fitting,
    parallel: nn.Module,
    batch: Batch,
    targets: Targets,
    distillation: Distillation,
    weights_K: Tensor | None,
) -> dict[str, float]:
    """One update of the weights; raises FloatingPointError where the loss is no finite number."""
    plan = fitting.plan
    device = batch.joints_BTVC.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        output = parallel(batch)
    output = output._replace(logits_BK=output.logits_BK.float())
    terms = loss_terms(output, targets, distillation, weights_K, plan.label_smoothing)
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"The loss became {loss.item()} in epoch {fitting.epoch + 1}; lower fit.lr or fit.clip."
        )
    fitting.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(fitting.model.parameters(), plan.clip)
    fitting.optimizer.step()
    return {name: value.item() for name, value in terms.items()}


def epoch_batches(
    windows: int, views: int, batch: int, share: Share, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Indices of windows and views of each step: the same global batches for any number of workers.

    The order is filled up from its own start, so that no batch is smaller than the others: a
    worker without windows would leave the others waiting, and one window alone breaks batch norm.
    """
    order_N = torch.randperm(windows, generator=generator)
    size = min(batch, max(windows, 2 * share.world))
    steps = math.ceil(windows / size)
    order_N = order_N.repeat(math.ceil(steps * size / windows))[: steps * size]
    view_N = torch.randint(views, (steps * size,), generator=generator)
    return [
        (
            order_N[start + share.rank : start + size : share.world],
            view_N[start + share.rank : start + size : share.world],
        )
        for start in range(0, steps * size, size)
    ]


def average_buffers(model: nn.Module, world: int) -> None:
    """Give all workers the mean of their batch norm statistics: then all score, and stop, alike."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            torch.distributed.all_reduce(buffer)
            buffer /= world


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


def disturb(batch: Batch, plan: FitPlan, generator: torch.Generator) -> Batch:
    """Noise on coordinates and hidden joints, on top of a view whose teacher output stays the target."""
    joints, seen = batch.joints_BTVC, batch.seen_BTV
    if plan.jitter > 0:
        noise = torch.randn(joints.shape, generator=generator).to(joints.device)
        joints = joints + plan.jitter * noise * seen[..., None]
    if plan.joint_drop > 0:
        kept = (
            torch.rand((seen.shape[0], 1, seen.shape[2]), generator=generator) >= plan.joint_drop
        )
        seen = seen & kept.to(seen.device)
        joints = joints * seen[..., None]
    return Batch(joints_BTVC=joints, seen_BTV=seen)


@torch.no_grad()
def window_logits(
    model: nn.Module, examples: Examples, batch: int, view: int = 0
) -> NDArray[np.float64]:
    """Logits [N, K] of one view of every window, in evaluation mode."""
    model.eval()
    parts = []
    for window_B in torch.split(torch.arange(len(examples)), batch):
        inputs, _ = examples.take(window_B, torch.full_like(window_B, view))
        parts.append(model(inputs).logits_BK.float().cpu())
    return torch.cat(parts).double().numpy()


def score(model: nn.Module, examples: Examples, batch: int) -> Scored:
    """Clean views scored, and averaged over the windows of each recording."""
    return score_logits(window_logits(model, examples, batch), examples)


def score_logits(logits_NK: NDArray[np.float64], examples: Examples) -> Scored:
    """Window logits [N, K] averaged over the windows of each recording."""
    recording_R, logits_RK = recording_scores(logits_NK, examples.recording_N)
    _, first_R = np.unique(examples.recording_N, return_index=True)
    return Scored(recording_R, examples.label_N.cpu().numpy()[first_R], logits_RK)
