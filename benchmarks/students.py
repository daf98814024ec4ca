"""A table of students: every one of a small space trained once per seed, so that searches can be replayed in seconds.

    gaitforge run examples/auva_grf.toml                       # the teacher and its outputs
    python benchmarks/students.py work/auva_grf                # trains what is missing; stop and go on at any time
    python benchmarks/students.py work/auva_grf --pack         # benchmarks/auva_grf_students.parquet

Students are trained for EPOCHS with the recipe of a search. Their score on the validation people after
each epoch is what a replayed search sees; the one on the confirm people, after the last epoch, is what
tells how much a search flatters itself, and no search sees it. `--shard 0/2` and `--shard 1/2` share the work
between two processes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gaitforge.losses import Distillation
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.settings import FitPlan
from gaitforge.work import WorkFolder, as_json, fingerprint, read_json, write_once, write_parquet
from search_spaces import Proposal
from trainers.search.budget import CostCounter
from trainers.training.examples import load_examples
from trainers.training.scoring import score
from trainers.training.student import StudentSpec, new_student, train_student
from trainers.training.window_folder import WindowFolder

EPOCHS = 27
# Rungs of the methods of others: 1, 3, 9 and 27 epochs, as gaitforge's own are by default.
GRACE, REDUCTION = 1, 3
PACKED = Path(__file__).parent / "auva_grf_students.parquet"

# Searched values by family; each is an ordered scale of whole numbers or a choice.
CHOICES: dict[str, dict[str, list[Any]]] = {
    "tcn": {
        "tcn.channels_log2": [2, 3, 4, 5, 6],
        "tcn.layers": [1, 2, 3, 4],
        "tcn.kernel": [3, 9],
    },
    "stgcn": {
        "stgcn.width_log2": [2, 3, 4, 5],
        "stgcn.depth": [2, 3, 4],
        "stgcn.kernel": [3, 9],
        "stgcn.temporal": ["separable", "full"],
    },
}
SHARED: dict[str, list[Any]] = {"lr_step": [0, 1, 2], "weight.kd": [0.1, 1.0]}
ORDERED = ("tcn.channels_log2", "tcn.layers", "stgcn.width_log2", "stgcn.depth", "lr_step")


def suggest(trial: optuna.trial.BaseTrial) -> Proposal:
    """One student of the space, as a search asks for it."""
    family = trial.suggest_categorical("family", sorted(CHOICES))
    values: dict[str, Any] = {
        name: trial.suggest_int(name, choices[0], choices[-1])
        if name in ORDERED
        else trial.suggest_categorical(name, choices)
        for name, choices in {**CHOICES[family], **SHARED}.items()
    }
    sizes: TcnSizes | StgcnSizes
    if family == "tcn":
        sizes = TcnSizes(
            channels=2 ** values["tcn.channels_log2"],
            layers=values["tcn.layers"],
            kernel=values["tcn.kernel"],
            dropout=0.1,
        )
    else:
        width, depth = 2 ** values["stgcn.width_log2"], values["stgcn.depth"]
        half = depth // 2
        sizes = StgcnSizes(
            widths=(width,) * half + (round(1.5 * width),) * (depth - half),
            strides=(2,) + (1,) * (half - 1) + (2,) + (1,) * (depth - half - 1),
            kernel=values["stgcn.kernel"],
            temporal=values["stgcn.temporal"],
            dropout=0.1,
        )
    return Proposal(
        family=family,
        sizes=sizes,
        lr=1e-3 * math.sqrt(10) ** values["lr_step"],
        weight_decay=0.02,
        distillation=Distillation(weights={"kd": values["weight.kd"]}, temperature=2.0),
    )


def configurations() -> list[dict[str, Any]]:
    """Every student of the space, in an order that is even over it at any point."""
    every: list[dict[str, Any]] = []
    for family, choices in CHOICES.items():
        names = [*choices, *SHARED]
        every += [
            {"family": family, **dict(zip(names, values, strict=True))}
            for values in itertools.product(*choices.values(), *SHARED.values())
        ]
    order = np.random.default_rng(0).permutation(len(every))
    return [every[i] for i in order]


def key_of(suggested: Mapping[str, Any]) -> str:
    """The name of a student in the table, the same for the same searched values."""
    return fingerprint(dict(suggested))


def train_one(
    suggested: Mapping[str, Any], seed: int, windows: str, outputs: str
) -> dict[str, Any]:
    """One student to the end: its curve, and its score on the confirm people."""
    proposal = suggest(optuna.trial.FixedTrial(dict(suggested)))
    folder = WindowFolder.open(Path(windows))
    cost = CostCounter(folder)(proposal.sizes)
    plan = FitPlan(epochs=EPOCHS, seed=seed, lr=proposal.lr, weight_decay=proposal.weight_decay)
    spec = StudentSpec(
        family=proposal.family,
        sizes=proposal.sizes.as_dict(),
        plan=plan,
        distillation=proposal.distillation,
        windows=windows,
        teacher_outputs=outputs,
    )
    fitting = new_student(spec)
    curve = [
        {
            "epoch": metrics.epoch,
            "val_macro_f1": metrics.val_macro_f1,
            "val_accuracy": metrics.val_accuracy,
            "seconds": metrics.seconds,
        }
        for metrics in train_student(spec, fitting)
    ]
    unseen = score(fitting.result, load_examples(folder, "confirm"), 256)
    return {
        "key": key_of(suggested), "suggested": dict(suggested), "family": proposal.family, "params": cost.params,
        "macs": cost.macs, "seed": seed, "curve": curve, "confirm_macro_f1": unseen.macro_f1,
    }  # fmt: skip


def train_missing(work: WorkFolder, seeds: int, shard: tuple[int, int]) -> None:
    (cache,) = (work.cache / "windows").iterdir()
    run = work.run("main")
    target = work.root / "students"
    todo = [(seed, s) for seed in range(seeds) for s in configurations()][shard[0] :: shard[1]]
    torch.set_num_threads(1)
    for number, (seed, suggested) in enumerate(todo, start=1):
        path = target / f"{key_of(suggested)}-seed{seed}.json"
        if path.is_file():
            continue
        row = train_one(suggested, seed, str(cache), str(run.teacher_outputs))
        write_once(path, as_json(row))
        last = row["curve"][-1]
        print(
            f"{number}/{len(todo)}  {row['family']:<5} {row['params']:>7,} parameters  macro F1 "
            f"{last['val_macro_f1']:.3f}  {sum(e['seconds'] for e in row['curve']):.1f} s",
            flush=True,
        )


def pack(work: WorkFolder) -> None:
    """All curves as one small Parquet file, one row per student, seed and epoch."""
    rows: list[dict[str, Any]] = []
    for path in sorted((work.root / "students").glob("*.json")):
        student = read_json(path)
        rows += [
            {
                **{name: student[name] for name in ("key", "family", "params", "macs", "seed")},
                "suggested": json.dumps(student["suggested"], sort_keys=True),
                **{name: epoch[name] for name in ("epoch", "val_macro_f1", "val_accuracy", "seconds")},
                "confirm_macro_f1": student["confirm_macro_f1"] if epoch["epoch"] == EPOCHS else None,
            }
            for epoch in student["curve"]
        ]  # fmt: skip
    write_parquet(PACKED, pa.Table.from_pylist(rows))
    print(f"{len(rows):,} rows in {PACKED}, {PACKED.stat().st_size:,} bytes")


def read_packed(path: Path = PACKED) -> Iterator[dict[str, Any]]:
    """The rows that `pack` wrote."""
    yield from pq.read_table(path).to_pylist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="the work folder of examples/auva_grf.toml")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--shard", default="0/1", metavar="I/N")
    parser.add_argument("--pack", action="store_true", help="write the Parquet file and stop")
    options = parser.parse_args()
    work = WorkFolder(options.work)
    if options.pack:
        pack(work)
        return
    index, count = map(int, options.shard.split("/"))
    train_missing(work, options.seeds, (index, count))


if __name__ == "__main__":
    main()
