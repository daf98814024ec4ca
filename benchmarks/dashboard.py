"""How long the dashboard takes to open and to answer, and its memory, on a generated log of trials.

    python -m benchmarks.dashboard                        # 10,000 trials, then 100,000
    python -m benchmarks.dashboard --trials 10000 --keep /tmp/log

A log of that size is written as a search would leave it (files, table, front), with a teacher, a
confirmed front and a small store beside it. Then the dashboard is started as `gaitforge dashboard`
starts it, and Chromium opens its pages, one after the other. A page counts as painted when its charts
are drawn and the server has nothing more to say; `first` is the first page that a server just
started shows to its first visitor, the others are opened after it. An interaction is timed from the
click or key until the same. Memory is the highest resident size of the server's process.

The goals at 10,000 trials: first paint 3 s, an interaction 1 s, memory 1 GB. Those of 100,000 are
printed, not promised.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, WorkFolder, write_json
from tests.toy_work import Toy, make_confirm, make_split, make_store, make_teacher

ROOT = Path(__file__).parents[1]
EPOCHS = 15
FRONT = 12
TOY = Toy(trials=0, running=0)
TEACHER_PARAMS = 1_284_100


def generated_trial(number: int, rng: np.random.Generator) -> Trial:
    """One trial as a search over two families logs it; a third of them finished, the rest stopped."""
    family = "tcn" if rng.random() < 0.6 else "stgcn"
    width = round(math.exp(rng.uniform(math.log(4), math.log(96))))
    depth = int(rng.integers(1, 7))
    params = width * width * depth * 3 + 79 * width
    lr = math.exp(rng.uniform(math.log(5e-4), math.log(1e-2)))
    weights = {"kd": round(math.exp(rng.uniform(math.log(0.1), math.log(4))), 4)}
    if rng.random() < 0.4:
        weights["rkd"] = round(math.exp(rng.uniform(math.log(0.3), math.log(30))), 4)
    temperature = round(float(rng.uniform(1, 8)), 3)
    finished = rng.random() < 0.34
    epochs = EPOCHS if finished else int(rng.choice([3, 9]))
    best = 0.9 - 0.5 * (params / 1000) ** -0.4 - 0.03 * abs(math.log(lr / 3e-3))
    best = float(np.clip(best + rng.normal(0, 0.03), 0.05, 0.97))
    curve = []
    for epoch in range(1, epochs + 1):
        grown = 1 - math.exp(-epoch / 4)
        terms = {name: round(weight * (1.2 - grown), 4) for name, weight in weights.items()}
        terms = {"cross_entropy": round(1.4 - 0.9 * grown, 4), **terms}
        curve.append(
            {
                "epoch": epoch,
                "train_loss": round(sum(terms.values()), 4),
                "terms": terms,
                "val_macro_f1": round(best * grown, 4),
                "val_accuracy": round(min(best * grown + 0.02, 1.0), 4),
                "seconds": 0.41,
            }
        )
    score = float(curve[-1]["val_macro_f1"])  # type: ignore[arg-type]
    sizes: dict[str, Any] = {"channels" if family == "tcn" else "width": width}
    sizes |= {
        "layers" if family == "tcn" else "depth": depth,
        "kernel": int(rng.choice([3, 5, 9])),
    }
    searched = {f"{family}.{name}": value for name, value in sizes.items()}
    searched |= {"family": family, "lr": lr, "weight_decay": 0.02, "temperature": temperature}
    searched |= {f"weight.{name}": weight for name, weight in weights.items()}
    searched["terms.relations"] = "rkd" if "rkd" in weights else "none"
    return Trial(
        number=number,
        state="finished" if finished else "stopped",
        reason=None if finished else f"others of its size were better after {epochs} epochs",
        family=family,
        sizes=sizes,
        params=params,
        macs=params * 64,
        bytes=4 * params + 1800,
        seed=number,
        hash=f"{number:012x}",
        suggested=searched,
        distributions=dict.fromkeys(searched, '{"name": "IntDistribution"}' * 3),
        recipe={"epochs": EPOCHS, "batch": 32, "lr": lr, "weight_decay": 0.02, "clip": 1.0},
        distill={"weights": weights, "temperature": temperature},
        scores={
            "val_macro_f1": score,
            "val_accuracy": min(score + 0.02, 1.0),
            "val_balanced_accuracy": max(score - 0.01, 0.0),
            "val_calibration_error": 0.08,
        },
        curve=tuple(curve),
        epochs=epochs,
        seconds=0.41 * epochs,
        node="head",
        started="2026-11-20T06:00:00+00:00",
        ended="2026-11-20T06:00:06+00:00",
    )


def write_log(folder: SplitFolder, trials: int) -> None:
    """`search/` after so many trials: their files, the table, the front and the head."""
    rng = np.random.default_rng(0)
    folder.trials.mkdir(parents=True, exist_ok=True)
    finished = []
    for number in range(trials):
        trial = generated_trial(number, rng)
        # not by TrialLog.add, which waits for the disk each time
        (folder.trials / f"{number}.json").write_text(json.dumps(trial.as_dict(), indent=1))
        if trial.state == "finished":
            finished.append(trial)
    TrialLog(folder).compact()
    front: list[dict[str, Any]] = []
    for trial in sorted(finished, key=lambda t: (t.params, -(t.scores or {})["val_macro_f1"])):
        scores = dict(trial.scores or {})
        if not front or scores["val_macro_f1"] > front[-1]["val_macro_f1"] + 0.002:
            row = {"trial": trial.number, "family": trial.family, "params": trial.params}
            front.append({**row, "macs": trial.macs, "bytes": trial.bytes, **scores})
    objectives = ["macro_f1", "params"]
    reference = [0.0, float(TEACHER_PARAMS)]
    write_json(
        folder.search / "front.json",
        {
            "schema": 1,
            "objectives": objectives,
            "hypervolume": 1.8,
            "reference": reference,
            "front": front,
        },
    )
    write_json(
        folder.search / "search.json",
        {
            "schema": 1,
            "identity": "a3f1c2d4e5b6",
            "families": ["stgcn", "tcn"],
            "trials": trials,
            "epochs": EPOCHS,
            "rungs": [3, 9],
            "seed": 0,
            "objectives": objectives,
            "reference": reference,
            "max_params": 200_000,
            "rejected": 0,
            "seconds": 0.41 * 8 * trials,
        },
    )


def write_work(root: Path, trials: int) -> WorkFolder:
    """A whole work folder with a log of that size."""
    work = WorkFolder(root)
    make_store(work, TOY)
    make_split(work, TOY)
    make_teacher(work, TOY)
    write_log(work.run(TOY.split), trials)
    make_confirm(work, TOY)
    return work
