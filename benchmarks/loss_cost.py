"""What each distillation term costs: a student's step with it, as a ratio to the step without any.

    python benchmarks/loss_cost.py [--quick]

On random windows and a random teacher's outputs, of the size of four classes of 22 joints, on one
thread. Steps of all variants take turns; the medians of their CPU time are compared. Beside it stands
the norm of a term's gradient in the student's weights, at a weight of 1 and as a ratio to that of the
cross entropy, for untrained students; with a trained teacher's outputs the terms on features pull more.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.losses import LOSSES, Distillation, Heads, Targets, collect_needed, loss_terms
from gaitforge.losses.heads import find_node_shape
from gaitforge.losses.nodes import PHASES
from gaitforge.models import Sizes
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.settings import FitPlan
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import Goal, draw_batches, find_gradients
from trainers.training.sharing import Shard
from trainers.training.steps import epoch_steps

JOINTS, FRAMES, CHANNELS, CLASSES = 22, 64, 3, 4
WINDOWS, VIEWS, TEACHER_WIDTH = 256, 2, 128
LAYOUT = Layout(
    name="chain",
    joints=tuple(map(str, range(JOINTS))),
    bones=tuple((joint, joint + 1) for joint in range(JOINTS - 1)),
)
STUDENTS: dict[str, Sizes] = {
    "stgcn": StgcnSizes(widths=(16, 16, 24, 24), strides=(2, 1, 2, 1), kernel=5),
    "tcn": TcnSizes(channels=32, layers=3),
}
TOGETHER = ("cgrkd_batch", "cgrkd_nodes", "cgrkd_graphs")
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (), **{name: (name,) for name in LOSSES}, "cgrkd, all three": TOGETHER,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One variant: seconds of a step, and its gradient's norm against that of the cross entropy."""

    step_s: float
    gradient: float


def windows() -> Examples:
    """Random windows, and random outputs of a teacher whose features are as after a ReLU."""
    rng = torch.Generator().manual_seed(0)
    return Examples(
        torch.randn(WINDOWS, FRAMES, JOINTS, CHANNELS, generator=rng),
        torch.ones(WINDOWS, FRAMES, JOINTS, dtype=torch.bool),
        torch.arange(WINDOWS) % CLASSES,
        np.arange(WINDOWS),
        CLASSES,
        views=VIEWS,
        teacher_logits_NWK=2 * torch.randn(WINDOWS, VIEWS, CLASSES, generator=rng),
        teacher_embedding_NWD=torch.randn(WINDOWS, VIEWS, TEACHER_WIDTH, generator=rng)
        .relu()
        .half(),
        teacher_joints_NWQVD=torch.randn(
            WINDOWS, VIEWS, PHASES, JOINTS, TEACHER_WIDTH, generator=rng
        )
        .relu()
        .half(),
    )


def new_fitting(sizes: Sizes, terms: tuple[str, ...]) -> Fitting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = sizes.build(LAYOUT, CHANNELS, CLASSES)
    width = find_node_shape(sizes, LAYOUT, CHANNELS, CLASSES, FRAMES).width
    names = collect_needed(terms, "head")
    heads = Heads.new(names, width, TEACHER_WIDTH, 0) if names else None
    return Fitting(model, FitPlan(), heads)


def goal_of(terms: tuple[str, ...]) -> Goal:
    weights = {name: LOSSES[name].weight[0] for name in terms}
    return Goal(
        distillation=Distillation(weights=weights), class_weights_K=None, label_smoothing=0.1
    )


def only_read(examples: Examples, terms: tuple[str, ...]) -> Examples:
    """The windows with what the terms read of the teacher, as a student has them."""
    read = collect_needed(terms, "stored")
    if "embedding" not in read:
        examples = dataclasses.replace(examples, teacher_embedding_NWD=None)
    if "joints" not in read:
        examples = dataclasses.replace(examples, teacher_joints_NWQVD=None)
    return examples


def timed_step(fitting: Fitting, examples: Examples, goal: Goal, number: int) -> float:
    """CPU seconds of one step, gathering and drawing included."""
    plan = fitting.plan
    steps = epoch_steps(WINDOWS, VIEWS, plan.batch, number, 0)[:1]
    started = time.process_time()
    ((batch, targets),) = draw_batches(examples, steps, fitting, goal.distillation, Shard())
    find_gradients(
        batch, targets, None, fitting=fitting, model=fitting.model, goal=goal, bf16=False
    )
    fitting.optimizer.step()
    return time.process_time() - started


def gradient_norm(
    fitting: Fitting, batch: Batch, targets: Targets, terms: tuple[str, ...]
) -> float:
    """Of the terms at a weight of 1, in the student's weights; of the cross entropy without terms."""
    distillation = Distillation(weights=dict.fromkeys(terms, 1.0))
    values = loss_terms(fitting.model(batch), targets, distillation, None, 0.1, fitting.heads)
    chosen = [values[name] for name in terms or ("cross_entropy",)]
    weights: list[nn.Parameter] = list(fitting.model.parameters())
    found = torch.autograd.grad(torch.stack(chosen).sum(), weights, allow_unused=True)
    gradients: list[Tensor] = [gradient for gradient in found if gradient is not None]
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


def measure(sizes: Sizes, rounds: int) -> dict[str, Row]:
    """Every variant's step and gradient."""
    every = windows()
    fittings = {name: new_fitting(sizes, terms) for name, terms in VARIANTS.items()}
    norms = {}
    for name, terms in VARIANTS.items():
        steps = epoch_steps(WINDOWS, VIEWS, 32, 0, 0)[:1]
        distillation = goal_of(terms).distillation
        ((batch, targets),) = draw_batches(every, steps, fittings[name], distillation, Shard())
        norms[name] = gradient_norm(fittings[name], batch, targets, terms)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(rounds):
        for name, terms in VARIANTS.items():
            some = only_read(every, terms)
            seconds[name].append(timed_step(fittings[name], some, goal_of(terms), number))
    return {
        name: Row(
            step_s=statistics.median(times[len(times) // 4 :]),  # the first are warm-up
            gradient=norms[name] / norms["none"],
        )
        for name, times in seconds.items()
    }


def print_tables(rounds: int) -> None:
    """One column of ratios for each student."""
    measured = {}
    for family, sizes in STUDENTS.items():
        measured[family] = measure(sizes, rounds)
        plain = measured[family]["none"].step_s
        params = sum(weight.numel() for weight in new_fitting(sizes, ()).model.parameters())
        print(f"{family}: {params:,} parameters, {1000 * plain:.1f} ms a step without terms")
    print(
        f"\n{'term':<20}"
        + "".join(f"{family + ' step':>14}{'gradient':>12}" for family in STUDENTS)
    )
    for name in VARIANTS:
        cells = ""
        for rows in measured.values():
            cells += (
                f"{rows[name].step_s / rows['none'].step_s:>14.2f}{rows[name].gradient:>12.3g}"
            )
        print(f"{name:<20}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few steps: about half a minute")
    torch.set_num_threads(1)
    print_tables(12 if parser.parse_args().quick else 60)


if __name__ == "__main__":
    main()
