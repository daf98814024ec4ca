"""A work folder as the line leaves it, made without training anything, for tests of readers.

The numbers are drawn, not measured, but they agree with each other: scores come from the
predictions, the front from the scores, the sentence from the confirmed members.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaitforge.layout import LAYOUTS
from gaitforge.recording import Recording, Rejected
from gaitforge.store import SkeletonStore
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    for_arrow,
    read_json,
    write_json,
    write_parquet,
    write_whole,
)

TEACHER_PARAMS = 1_284_100
MARGIN = 0.05
EPOCHS = 30
FRAMES = 12
REFERENCE = [0.25, TEACHER_PARAMS]
SIZES: dict[str, dict[str, list[int]]] = {
    "stgcn": {"channels": [8, 16, 32, 64], "blocks": [2, 3, 4]},
    "tcn": {"channels": [16, 32, 64, 96], "layers": [2, 3, 4, 5], "kernel": [3, 5, 7]},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Toy:
    """How much of a work folder to make; the last of its `trials` are those that run."""

    classes: tuple[str, ...] = ("ataxia", "healthy", "knee osteoarthritis", "parkinson")
    people: int = 12
    trials: int = 40
    wanted: int = 60
    running: int = 2
    failed: int = 1
    stopped: int = 9
    confirmed: bool = True
    split: str = "people"
    seed: int = 7


def make_store(work: WorkFolder, toy: Toy = Toy()) -> None:
    """A store of eight short recordings of each person, of which one joint is never seen."""
    layout, people = LAYOUTS["kinect25"], list(_people(toy))
    rng = np.random.default_rng(toy.seed)
    still_VC = rng.normal(0, 0.4, (layout.joint_count, 3))
    items: list[Recording | Rejected] = []
    for place, person in enumerate(people):
        for take in range(8):
            sway_T = np.sin(np.linspace(0, 6, FRAMES) + place + take)
            positions_TVC = (still_VC * (1 + 0.2 * sway_T[:, None, None])).astype(np.float32)
            positions_TVC[:, 3] = np.nan
            items.append(
                Recording(
                    recording=f"{person}-{take}",
                    person=person,
                    label=sorted(toy.classes)[place % len(toy.classes)],
                    positions_TVC=positions_TVC,
                    fps=25.0,
                )
            )
    items += [
        Rejected(source="walks.npz", position=k, person="P99", label="healthy", reason="1 frames")
        for k in range(5)
    ]
    SkeletonStore.write(work.store, layout, items, "0f3a5c7e9b1d")


def make_split(work: WorkFolder, toy: Toy = Toy()) -> None:
    content = {
        "schema": 1,
        "name": toy.split,
        "rule": {"kind": "people", "validation": 0.2, "confirm": 0.2, "seed": 0},
        "store": "0f3a5c7e9b1d",
        "roles": _people(toy),
    }
    write_json(work.split_file(toy.split), content)


def make_teacher(work: WorkFolder, toy: Toy = Toy()) -> None:
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed)
    scores = _predict(
        run, toy, rng, role="validation", model="teacher", trial=None, skill=2.9, seeds=[0]
    )
    model = {
        "schema": 1,
        "fingerprint": "5d7e90aa1c34",
        "family": "stgcn",
        "sizes": {"channels": 128, "blocks": 6},
        "params": TEACHER_PARAMS,
        "macs": 212_000_000,
        "layout": LAYOUTS["kinect25"].as_dict(),
        "classes": sorted(toy.classes),
        "windows": {"mode": "resample", "frames": 64, "views": 4},
        "normalisation": {"centre": "root", "scale_m": 0.51},
        "val_macro_f1": scores[0],
        "val_accuracy": scores[1],
        "best_epoch": EPOCHS - 4,
        "epochs": EPOCHS,
        "seconds": 412.5,
    }
    write_json(run.teacher / "model.json", model)
    curve = _curve(rng, EPOCHS, scores, terms=())
    columns = ("epoch", "train_loss", "val_macro_f1", "val_accuracy", "seconds")
    write_parquet(
        run.teacher / "history.parquet",
        pa.table({column: [row[column] for row in curve] for column in columns}),
    )


def make_search(work: WorkFolder, toy: Toy = Toy()) -> None:
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed + 1)
    search = {
        "schema": 1,
        "identity": "a3f1c2d4e5b6",
        "families": sorted(SIZES),
        "trials": toy.wanted,
        "epochs": EPOCHS,
        "seed": 0,
        "reference": REFERENCE,
        "max_params": 200_000,
        "rejected": 11,
        "seconds": 958.0,
    }
    write_json(run.search / "search.json", search)
    trials: list[dict[str, Any]] = []
    for number in range(toy.trials):
        state = "finished"
        if number >= toy.trials - toy.running:
            state = "running"
        elif number % 13 == 12 and sum(t["state"] == "failed" for t in trials) < toy.failed:
            state = "failed"
        elif number % 4 == 3 and sum(t["state"] == "stopped" for t in trials) < toy.stopped:
            state = "stopped"
        trials.append(make_trial(work, toy, rng, number=number, state=state))
    _write_front(run, trials)


def make_trial(
    work: WorkFolder, toy: Toy, rng: np.random.Generator, *, number: int, state: str
) -> dict[str, Any]:
    """Write one trial's file (and predictions, where it finished) and return its content."""
    run = work.run(toy.split)
    family = sorted(SIZES)[int(rng.integers(len(SIZES)))]
    sizes = {name: int(rng.choice(values)) for name, values in SIZES[family].items()}
    depth = sizes.get("blocks", sizes.get("layers", 1))
    params = sizes["channels"] ** 2 * sizes.get("kernel", 4) * depth + sizes["channels"] * 79
    skill = _skill(params) + rng.normal(0, 0.2)
    scores: tuple[float, float] | None = None
    if state == "finished":
        scores = _predict(
            run,
            toy,
            rng,
            role="validation",
            model="student",
            trial=number,
            skill=skill,
            seeds=[number],
        )
    epochs = {"finished": EPOCHS, "stopped": 10, "running": 12 + number % 7, "failed": 4}[state]
    reason = {
        "stopped": "dominated at epoch 10 within its band of parameter counts",
        "failed": "the loss was not finite at epoch 5 (learning rate 0.0098)",
    }.get(state)
    weights = {"kd": round(float(rng.uniform(0, 2)), 3), "rkd": round(float(rng.uniform(0, 1)), 3)}
    recipe = {
        "lr": round(float(10 ** rng.uniform(-3.3, -2)), 5),
        "weight_decay": 0.01,
        "batch": 32,
    }
    curve = _curve(rng, epochs, scores or (0.6, 0.62), terms=("cross_entropy", "kd", "rkd"))
    if state == "stopped":  # its scores are those of its last epoch
        scores = curve[-1]["val_macro_f1"], curve[-1]["val_accuracy"]
    trial = {
        "schema": 1,
        "number": number,
        "state": state,
        "reason": reason,
        "hash": f"{number:012x}",
        "family": family,
        "sizes": sizes,
        "params": params,
        "macs": params * 64,
        "seed": number,
        "distributions": {},
        "suggested": {**{f"{family}.{name}": size for name, size in sizes.items()}, **recipe},
        "recipe": recipe,
        "distill": {"weights": weights, "temperature": 4.0},
        "scores": {"val_macro_f1": scores[0], "val_accuracy": scores[1]} if scores else None,
        "curve": curve,
        "epochs": epochs,
        "seconds": round(epochs * 0.8, 1),
        "started": f"2026-03-02T10:{number % 60:02d}:00+00:00",
        "ended": None if state == "running" else f"2026-03-02T11:{number % 60:02d}:24+00:00",
    }
    folder = run.search / "running" if state == "running" else run.trials
    write_json(folder / f"{number}.json", trial)
    return trial


def make_confirm(work: WorkFolder, toy: Toy = Toy()) -> None:
    """Confirm three members of the searched front, each also trained alone, with five seeds."""
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed + 2)
    front = _front_of(run)
    picked = front if len(front) <= 3 else [front[0], front[len(front) // 2], front[-1]]
    seeds = [0, 1, 2, 3, 4]
    too_few = toy.people < 8
    per_person: list[dict[str, Any]] = []

    def scored(model: str, trial: int | None, skill: float) -> tuple[float, float]:
        return _predict(
            run,
            toy,
            rng,
            role="confirm",
            model=model,
            trial=trial,
            skill=skill,
            seeds=[0] if trial is None else seeds,
            per_person=per_person,
        )

    def interval(f1: float, half: float) -> list[float] | None:
        return (
            None
            if too_few
            else [round(max(f1 - half, 0.0), 4), round(min(f1 + half * 0.8, 1.0), 4)]
        )

    teacher = scored("teacher", None, 2.75)
    members = []
    for place, member in enumerate(picked):
        # Without the luck that chose it: on unseen people a front is a little lower.
        skill = _skill(member["params"]) + 0.55
        distilled = scored("student", member["trial"], skill)
        alone = scored("student_alone", member["trial"], skill - 0.35)
        difference = distilled[0] - teacher[0]
        gain = distilled[0] - alone[0]
        members.append(
            {
                **{key: member[key] for key in ("trial", "family", "params", "macs")},
                "macro_f1": distilled[0],
                "interval": interval(distilled[0], 0.06),
                "accuracy": distilled[1],
                "p_on_front": None if too_few else [0.71, 0.93, 0.88][place],
                "noninferior": None if too_few else difference - 0.02 > -MARGIN,
                "difference": difference,
                "difference_interval": None if too_few else [difference - 0.02, difference + 0.02],
                "seeds": len(seeds),
                "alone": {
                    "macro_f1": alone[0],
                    "interval": interval(alone[0], 0.07),
                    "accuracy": alone[1],
                    "difference": gain,
                    "difference_interval": None if too_few else [gain - 0.04, gain + 0.04],
                },
            }
        )
    make_robustness(run, [member["trial"] for member in picked])
    good = [m for m in members if m["noninferior"]]
    chosen = good[0] if good else None
    write_json(
        run.confirm / "scores.json",
        {
            "schema": 1,
            "margin": MARGIN,
            "people": toy.people,
            "too_few": too_few,
            "teacher": {
                "macro_f1": teacher[0],
                "interval": interval(teacher[0], 0.05),
                "accuracy": teacher[1],
                "params": TEACHER_PARAMS,
                "family": "stgcn",
            },
            "members": members,
            "per_person": per_person,
            "chosen": chosen["trial"] if chosen else None,
            "sentence": _sentence(chosen, teacher[0], toy.people),
        },
    )


def make_robustness(run: SplitFolder, trials: list[int]) -> None:
    """The confirm people's predictions again; the more joints are hidden, the more are of the first class."""
    tables = []
    for model, trial in [("teacher", None), *(("student", trial) for trial in trials)]:
        name = "teacher" if trial is None else f"{model}-{trial}"
        table = pq.read_table(for_arrow(run.predictions / f"confirm-{name}.parquet"))
        classes = sorted({str(name) for name in table["true_class"].to_pylist()})
        said_N = np.array(table["probabilities"].to_pylist()).argmax(axis=1)
        for hidden in (0.0, 0.1, 0.2, 0.3):
            lost_N = np.arange(len(table)) % 10 < 10 * hidden
            tables.append(
                table.select(["model", "trial", "seed", "recording", "person", "true_class"])
                .append_column("hidden", pa.array([hidden] * len(table)))
                .append_column(
                    "said_class", pa.array([classes[k] for k in np.where(lost_N, 0, said_N)])
                )
            )
    write_parquet(run.confirm / "robustness.parquet", pa.concat_tables(tables))


def make_work(root: Path, toy: Toy = Toy()) -> WorkFolder:
    """Every artefact that the dashboard reads, below `root`."""
    work = WorkFolder(root)
    make_store(work, toy)
    make_split(work, toy)
    make_teacher(work, toy)
    make_search(work, toy)
    if toy.confirmed:
        make_confirm(work, toy)
    return work


def make_teacher_live(work: WorkFolder, toy: Toy = Toy()) -> None:
    """A teacher in its third epoch, whose fourth line is half written."""
    curve = _curve(np.random.default_rng(toy.seed), 3, (0.7, 0.72), terms=())
    lines = "".join(json.dumps(row) + "\n" for row in curve) + '{"epoch": 4, "train'
    write_whole(work.run(toy.split).teacher / "live.jsonl", lines.encode())


def _people(toy: Toy) -> dict[str, str]:
    training = 2 * toy.people + 4
    roles = ["train"] * training + ["validation"] * toy.people + ["confirm"] * toy.people
    return {f"P{index + 1:02d}": role for index, role in enumerate(roles)}


def _skill(params: int) -> float:
    """How well a student of this size can do, in logits: it saturates just under the teacher."""
    return float(2.8 - 1.9 * (params / 1000) ** -0.45)


def _predict(
    run: SplitFolder,
    toy: Toy,
    rng: np.random.Generator,
    *,
    role: str,
    model: str,
    trial: int | None,
    skill: float,
    seeds: list[int],
    per_person: list[dict[str, Any]] | None = None,
) -> tuple[float, float]:
    """Write predictions of eight recordings a person; mean macro F1 and accuracy of the seeds."""
    people = [person for person, its in _people(toy).items() if its == role]
    count, recordings = len(toy.classes), 8
    # The same people are hard for every model: what pairs the models in the statistics.
    ease_P = np.random.default_rng(toy.seed).normal(0, 0.5, len(people))
    truth_N = np.repeat(np.arange(len(people)) % count, recordings)
    tables, scores, hits = [], [], []
    for seed in seeds:
        logits_NK = rng.normal(0, 1, (len(truth_N), count))
        logits_NK[np.arange(len(truth_N)), truth_N] += skill + np.repeat(ease_P, recordings)
        # Neighbouring classes are told apart less well.
        logits_NK[np.arange(len(truth_N)), (truth_N + 1) % count] += 0.6
        exp_NK = np.exp(logits_NK)
        said_N = logits_NK.argmax(axis=1)
        scores.append((_macro_f1(truth_N, said_N, count), float((truth_N == said_N).mean())))
        hits.append(truth_N == said_N)
        rows = len(truth_N)
        tables.append(
            pa.table(
                {
                    "split": pa.array([toy.split] * rows),
                    "role": pa.array([role] * rows),
                    "model": pa.array([model] * rows),
                    "trial": pa.array([trial] * rows, pa.int64()),
                    "seed": pa.array([seed] * rows, pa.int64()),
                    "recording": pa.array([f"{p}-{i}" for p in people for i in range(recordings)]),
                    "person": pa.array(np.repeat(people, recordings).tolist()),
                    "true_class": pa.array([sorted(toy.classes)[k] for k in truth_N]),
                    "probabilities": pa.array(
                        (exp_NK / exp_NK.sum(axis=1, keepdims=True)).astype(np.float32).tolist(),
                        pa.list_(pa.float32()),
                    ),
                }
            )
        )
    name = "teacher" if trial is None else f"{model}-{trial}"
    write_parquet(run.predictions / f"{role}-{name}.parquet", pa.concat_tables(tables))
    if per_person is not None:
        for person, right in zip(
            people, np.mean(hits, axis=0).reshape(len(people), -1).mean(axis=1), strict=True
        ):
            per_person.append(
                {
                    "person": person,
                    "model": model,
                    "trial": trial,
                    "accuracy": round(float(right), 4),
                    "recordings": recordings,
                }
            )
    macro_f1, accuracy = np.mean(scores, axis=0)
    return round(float(macro_f1), 4), round(float(accuracy), 4)


def _macro_f1(truth_N: NDArray[np.int64], said_N: NDArray[np.int64], count: int) -> float:
    f1 = []
    for k in range(count):
        hit = int(((truth_N == k) & (said_N == k)).sum())
        miss = int(((truth_N == k) != (said_N == k)).sum())
        f1.append(2 * hit / (2 * hit + miss) if hit + miss else 0.0)
    return float(np.mean(f1))


def _curve(
    rng: np.random.Generator, epochs: int, end: tuple[float, float], *, terms: tuple[str, ...]
) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(epochs):
        grown = 1 - np.exp(-(epoch + 1) / (epochs / 4))
        parts = {
            name: round(
                float((1.4 - place * 0.35) * (1.1 - 0.85 * grown) + rng.normal(0, 0.02)), 4
            )
            for place, name in enumerate(terms)
        }
        noise = 0.0 if epoch == epochs - 1 else float(rng.normal(0, 0.012))
        rows.append(
            {
                "epoch": epoch + 1,
                "train_loss": round(sum(parts.values()) or float(1.5 - 1.2 * grown), 4),
                **({"terms": parts} if terms else {}),
                "val_macro_f1": round(float(end[0] * (0.3 + 0.7 * grown) + noise), 4),
                "val_accuracy": round(float(end[1] * (0.35 + 0.65 * grown) + noise), 4),
                "seconds": 0.8,
            }
        )
    return rows


def _front_of(run: SplitFolder) -> list[dict[str, Any]]:
    front: list[dict[str, Any]] = read_json(run.search / "front.json")["front"]
    return front


def _write_front(run: SplitFolder, trials: list[dict[str, Any]]) -> None:
    finished = sorted(
        (t for t in trials if t["state"] == "finished"),
        key=lambda t: (t["params"], -t["scores"]["val_macro_f1"]),
    )
    front: list[dict[str, Any]] = []
    for trial in finished:
        if not front or trial["scores"]["val_macro_f1"] > front[-1]["val_macro_f1"]:
            front.append(
                {
                    **{key: trial[key] for key in ("family", "params", "macs")},
                    "trial": trial["number"],
                    **trial["scores"],
                }
            )
    write_json(
        run.search / "front.json",
        {"schema": 1, "hypervolume": 1.0934, "reference": REFERENCE, "front": front},
    )


def _sentence(chosen: dict[str, Any] | None, teacher: float, people: int) -> str:
    if chosen is None:
        return f"No student is shown to be as good as the teacher on {people} unseen people."
    return (
        f"Trial {chosen['trial']} has {TEACHER_PARAMS / chosen['params']:.0f} times fewer "
        f"parameters than the teacher and scores {chosen['macro_f1']:.3f} macro F1 on "
        f"{people} unseen people, "
        f"where the teacher scores {teacher:.3f}."
    )
