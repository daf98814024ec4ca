"""What the parts of `dynstg_mamba` and of its recipe are worth on people that nobody saw: one change at a time.

    nohup python -m benchmarks.ablation &           trains what is missing; stop and go on at any time
    python -m benchmarks.ablation --pack            benchmarks/ablation_*.parquet
    python -m benchmarks.ablation --report          the tables

The plan is ablation_plans.py. On the first folds of each set every change is trained with every seed. Those
that gain there, on the mean of the sets, are chosen (of the two ranges of steps the better one, if it gains), and
the people of the other folds score the model as before, with the sum of hops, with all that was chosen
together, and beside other families. `--shard 0/2` and `--shard 1/2` share the folds between two
processes; the other folds are begun when the choice can be made, so that one may have to be started again.

The family has one form of each part; the other ones are made here, from the outside (`change_parts`).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.ablation_plans import (
    ABLATIONS,
    BEFORE,
    CHANGES,
    LATER,
    OLD,
    RANGES,
    SECOND_LOOK,
    SUM,
    TOGETHER,
    Ablation,
    Change,
)
from benchmarks.distillation import (
    Fold,
    model_row,
    open_folds,
    row_path,
    run_epochs,
    write_row,
)
from benchmarks.distillation_plans import Sizes
from benchmarks.distillation_report import (
    Model,
    Row,
    cells,
    find_models,
    how_sure,
    minus,
    pack,
    read_packed,
    read_rows,
    table_row,
    told_as,
)
from gaitforge.losses import Distillation
from gaitforge.models.dynstg_mamba import DynstgMamba, DynstgMambaBlock
from gaitforge.models.gssm import STEPS
from gaitforge.settings import FitPlan
from gaitforge.stats import mean_macro_f1
from gaitforge.work import fingerprint
from trainers.training.loop import fit as fit_model
from trainers.training.scoring import window_logits
from trainers.training.window_folder import new_fitting

SEEDS = 2
Rows = Mapping[str, Sequence[Row]]  # of each set


def folder_of(out: Path, name: str) -> Path:
    """The folder of a set's rows, which is another one where the plan is."""
    ablation = ABLATIONS[name]
    told = {"plan": ablation.plan.as_plain(), "sizes": ablation.sizes, "old": OLD}
    return out / f"{name}-{fingerprint(told)}"


def packed_path(name: str) -> Path:
    return Path(__file__).parent / f"ablation_{name}.parquet"


def rows_of(out: Path) -> Rows:
    """What this machine trained, or the packed rows of a set where it trained nothing."""
    found = {}
    for name in ABLATIONS:
        folder = folder_of(out, name)
        found[name] = read_rows(folder) or read_packed(packed_path(name), folder.name)
    return found


# what is trained


def train_all(out: Path, seeds: int, index: int, count: int) -> Iterator[str]:
    """Train what is missing: what chooses, what is chosen, the other families, and what was thought of later."""
    folds = {
        name: list(open_folds(ablation.plan, folder_of(out, name)))
        for name, ablation in ABLATIONS.items()
    }
    for seed in range(seeds):
        for name, ablation in ABLATIONS.items():
            for fold in folds[name][: ablation.choosing][index::count]:
                for way in ablation.ways:
                    yield from train_missing(fold, ablation, way, CHANGES[way], seed)
    chosen = choose(rows_of(out), seeds)
    if chosen is None:
        yield "Nothing can be chosen yet: another process has folds to train; start this one again after it."
        return
    yield f"chosen: {', '.join(chosen) or 'nothing'}"
    scored = {
        BEFORE: CHANGES[BEFORE],
        TOGETHER: reduce(or_, (CHANGES[way] for way in chosen), Change()),
        SUM: CHANGES[SUM],
    }
    others = [(name, fold) for name in ABLATIONS for fold in scoring(folds[name], name)]
    for seed in range(seeds):
        for name, fold in others[index::count]:
            for way, change in scored.items():
                yield from train_missing(fold, ABLATIONS[name], way, change, seed)
    for seed in range(seeds):
        for name, fold in others[index::count]:
            yield from train_missing(fold, ABLATIONS[name], LATER, SECOND_LOOK, seed)
    for seed in range(seeds):
        for name, fold in others[index::count]:
            plan = ABLATIONS[name].plan
            for family, (_, sizes) in plan.teachers.items():
                yield from train_row(fold, family, family, sizes, plan.teacher_fit, seed, {})


def scoring(folds: Sequence[Fold], name: str) -> Sequence[Fold]:
    return folds[ABLATIONS[name].choosing :]


def train_missing(
    fold: Fold, ablation: Ablation, way: str, change: Change, seed: int
) -> Iterator[str]:
    """Train the changed model of one fold and seed, if it is not there yet."""
    fit = dataclasses.replace(ablation.plan.teacher_fit, **change.fit)
    parts = {**OLD, **change.sizes}
    yield from train_row(fold, way, "dynstg_mamba", ablation.sizes, fit, seed, parts)


def train_row(
    fold: Fold, name: str, family: str, sizes: Sizes, fit: FitPlan, seed: int, parts: Sizes
) -> Iterator[str]:
    fit = dataclasses.replace(fit, seed=seed)
    identity = {"family": family, "sizes": {**sizes, **parts}, "fit": dataclasses.asdict(fit)}
    path = row_path(fold, name, identity)
    if path.is_file():
        return
    train = fold.train
    fitting = new_fitting(fold.windows, family, sizes, fit, torch.device("cpu"))
    if isinstance(fitting.model, DynstgMamba):
        change_parts(fitting.model, parts)
    seconds = run_epochs(fit_model(fitting, train, train.take_first(1), Distillation()))
    unseen = window_logits(fitting.model, fold.unseen, 256)
    yield write_row(path, fold, name, seed, model_row(fitting.model, seconds, unseen, fold))


def change_parts(model: DynstgMamba, parts: Sizes) -> None:
    """Make an untrained model of parts that the family does not have, or has no more; as OLD names them."""
    low, high = (math.log(end) for end in (parts["least_step"], parts["most_step"]))
    first, last = map(math.log, STEPS)
    for block in model.blocks:
        assert isinstance(block, DynstgMambaBlock)
        if parts["hops"] == "mean":
            block.state_space.register_forward_pre_hook(average_hops)
        if parts["activation"] == "relu":
            block.temporal.register_forward_hook(rectify)
        with torch.no_grad():
            bias_E = block.state_space.delta.bias
            # the same draw over another range
            share_E = (softplus(bias_E).log() - first) / (last - first)
            steps_E = (low + share_E * (high - low)).exp()
            bias_E.copy_(steps_E + torch.log(-torch.expm1(-steps_E)))


def average_hops(_: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Make the sum over hops, of which a block's mixing is the softmax, their mean."""
    x_BVTD, mixing_BpkVV = given
    return x_BVTD, mixing_BpkVV / mixing_BpkVV.shape[2]


def rectify(_: nn.Module, __: tuple[Tensor], found: Tensor) -> Tensor:
    return found.relu()


# what is chosen


def choose(rows: Rows, seeds: int) -> list[str] | None:
    """The changes that gain on the folds that choose, on the mean of the sets; None where rows are missing."""
    gains: dict[str, list[float]] = {}
    for name, ablation in ABLATIONS.items():
        models = find_models(rows[name], choosing_folds(ablation), seeds)
        if any(
            way not in models or len(models[way].confusions_SPKK) < seeds for way in ablation.ways
        ):
            return None
        score = {way: mean_macro_f1(models[way].confusions_SPKK) for way in ablation.ways}
        for way in ablation.ways:
            gains.setdefault(way, []).append(score[way] - score[BEFORE])
    mean = {way: float(np.mean(of_sets)) for way, of_sets in gains.items()}
    best_steps = max(RANGES, key=mean.__getitem__)
    single = [way for way in CHANGES if way not in (BEFORE, *RANGES)]
    return [way for way in (*single, best_steps) if mean[way] > 0]


def choosing_folds(ablation: Ablation) -> list[str]:
    return [f"fold-{number}" for number in range(ablation.choosing)]


# what is told


def report(rows: Rows, seeds: int) -> str:
    """Markdown: of each set what chose, what the others say of it, and what all folds say of what all have."""
    chosen = choose(rows, seeds)
    parts = [f"Chosen by the first folds: {', '.join(chosen or ()) or 'nothing'}."]
    for name, ablation in ABLATIONS.items():
        there = sorted({row.fold for row in rows[name]})
        choosing = choosing_folds(ablation)
        others = [fold for fold in there if fold not in choosing]
        for title, folds in (
            ("the folds that choose", choosing),
            ("the folds that score", others),
            ("all folds", there),
        ):
            models = find_models(rows[name], folds, seeds)
            if len(models) > 1 and BEFORE in models:
                parts.append(table(f"{name}, {title}", models))
    return "\n\n".join(parts)


def table(title: str, models: Mapping[str, Model]) -> str:
    """The model as before, and the others held against it, in the order of the plan."""
    before = models[BEFORE]
    order = [way for way in (*CHANGES, TOGETHER, LATER) if way in models and way != BEFORE]
    order += sorted(set(models) - {*order, BEFORE})
    people, classes = before.confusions_SPKK.shape[1:3]
    columns = "parameters", "seeds", "macro F1", "accuracy", "sd over seeds", "minus as before"
    lines = [
        f"{title}: {people} people, {classes} classes.",
        "",
        table_row("model", *columns, told_as(before)),
        table_row(*["---"] * 8),
        table_row(*told(before), "", ""),
        *(
            table_row(*told(models[name]), *minus(models[name], before, len(order)))
            for name in order
        ),
        "",
        *how_sure(before, len(order), "models are held against it"),
    ]
    return "\n".join(lines)


def told(model: Model) -> list[str]:
    spread = model.over_seeds
    return [*cells(model), "" if spread is None else f"{spread:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work/ablation"))
    parser.add_argument("--shard", default="0/1", metavar="I/N")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--pack", action="store_true", help="write what is there for all")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there")
    options = parser.parse_args()
    if options.pack:
        for name in ABLATIONS:
            pack(folder_of(options.out, name), packed_path(name))
        return
    if options.report:
        print(report(rows_of(options.out), options.seeds))
        return
    torch.set_num_threads(1)
    index, count = map(int, options.shard.split("/"))
    for said in train_all(options.out, options.seeds, index, count):
        print(said, flush=True)


if __name__ == "__main__":
    main()
