"""A work folder as the line leaves it, made without training anything, for tests of readers.

The numbers are drawn, not measured, but they agree with each other: scores and intervals come from
the predictions, the front from the scores, the verdict from the confirmed members.
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

from gaitforge import stats
from gaitforge.decision import judge
from gaitforge.failures import count_failures
from gaitforge.layout import LAYOUTS
from gaitforge.metrics import balanced_accuracy, weighted_kappa
from gaitforge.provenance import Provenance
from gaitforge.recipe import Recipe
from gaitforge.recording import Recording, Rejected
from gaitforge.records.confirm import SCORES, Flattery
from gaitforge.records.json_file import plain
from gaitforge.records.search import FRONT
from gaitforge.records.search import SEARCH as SEARCH_FILE
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.records.trial import TRIAL
from gaitforge.stats import Ints
from gaitforge.store import SkeletonStore
from gaitforge.trials import TrialLog
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    for_arrow,
    write_parquet,
    write_whole,
)
from tests.made import made, made_report
from trainers.confirm.answers import optimism_sentence
from trainers.confirm.trust import reach_verdict

TEACHER_PARAMS = 1_284_100
MARGIN = 0.05
EPOCHS = 30
SEEDS = [10_000, 10_001, 10_002, 10_003, 10_004]  # of confirm
BEST_SEED = 2  # the place among them of the one that is handed out
FRAMES = 12
SEARCH = "a3f1c2d4e5b6"
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
    rule = {"rule": "fractions", "fractions": [0.6, 0.2, 0.2], "seed": 0}
    split = Split(name=toy.split, rule=rule, store="0f3a5c7e9b1d", roles=_people(toy))
    SPLIT.write(work.split_file(toy.split), split)


def make_teacher(work: WorkFolder, toy: Toy = Toy()) -> None:
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed)
    scores = _predict(
        run, toy, rng, role="validation", model="teacher", trial=None, skill=2.9, seeds=[0]
    )
    model = made(
        TEACHER, fingerprint="5d7e90aa1c34", family="stgcn", sizes={"channels": 128, "blocks": 6},
        params=TEACHER_PARAMS, macs=212_000_000, layout=LAYOUTS["kinect25"].as_dict(), classes=sorted(toy.classes),
        windows={"mode": "resample", "length": 64, "views": 4}, val_macro_f1=scores[0], val_accuracy=scores[1],
        best_epoch=EPOCHS - 4, epochs=EPOCHS, seconds=412.5,
    )  # fmt: skip
    TEACHER.write(run.teacher_model, model)
    outputs = made(OUTPUTS, provenance={"made_from": {"teacher": model.fingerprint}})
    OUTPUTS.write(run.outputs.head, outputs)
    curve = _curve(rng, EPOCHS, scores, terms=())
    columns = ("epoch", "train_loss", "val_macro_f1", "val_accuracy", "seconds")
    write_parquet(
        run.teacher_history,
        pa.table({column: [row[column] for row in curve] for column in columns}),
    )


def make_search(work: WorkFolder, toy: Toy = Toy()) -> None:
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed + 1)
    head = made(
        SEARCH_FILE, identity=SEARCH, families=sorted(SIZES), trials=toy.wanted, epochs=EPOCHS, seed=0,
        reference=REFERENCE, max_params=200_000, rejected=11, seconds=958.0, settings={},
        provenance={"identity": SEARCH, "made_from": {"teacher": "5d7e90aa1c34"}},
    )  # fmt: skip
    SEARCH_FILE.write(run.search_head, head)
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
    recipe: dict[str, Any] = {
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
        "recipe": plain(Recipe(**recipe)),
        "distill": {"weights": weights, "temperature": 4.0},
        "scores": {"val_macro_f1": scores[0], "val_accuracy": scores[1]} if scores else None,
        "curve": curve,
        "epochs": epochs,
        "seconds": round(epochs * 0.8, 1),
        "started": f"2026-03-02T10:{number % 60:02d}:00+00:00",
        "ended": None if state == "running" else f"2026-03-02T11:{number % 60:02d}:24+00:00",
    }
    path = run.running_trial(number) if state == "running" else run.trial(number)
    TRIAL.write(path, TRIAL.parse(json.dumps(trial), path))
    return trial


def make_confirm(work: WorkFolder, toy: Toy = Toy()) -> None:
    """Confirm three members of the searched front, each also trained alone, with five seeds."""
    run, rng = work.run(toy.split), np.random.default_rng(toy.seed + 2)
    front = _front_of(run)
    picked = front if len(front) <= 3 else [front[0], front[len(front) // 2], front[-1]]
    few = stats.is_too_few(toy.people)

    def said(model: str, trial: int | None, skill: float) -> Ints:
        """Predictions of a model, which are written; their confusion matrices [S, P, K, K]."""
        seeds = [0] if trial is None else SEEDS
        _predict(run, toy, rng, role="confirm", model=model, trial=trial, skill=skill, seeds=seeds)
        return confusions_of(run, toy, model, trial)

    teacher = said("teacher", None, 2.2)
    reference = said("reference", None, 1.3)
    chance = np.zeros_like(teacher)
    chance[..., 0] = teacher.sum(axis=-1)
    # Without the luck that chose it: on unseen people a front is a little lower.
    skills = [_skill(member["params"]) + 0.55 for member in picked]
    students = [
        said("student", member["trial"], skill)
        for member, skill in zip(picked, skills, strict=True)
    ]
    networks = [student[BEST_SEED] for student in students]
    params = [int(member["params"]) for member in picked]
    judged = judge(networks, teacher[0], params, MARGIN)
    members = []
    for place, member in enumerate(picked):
        alone = said("student_alone", member["trial"], skills[place] - 0.35)
        network = networks[place]
        members.append(
            {
                **{key: member[key] for key in ("trial", "family", "params", "macs")},
                "searched": "front",
                **_scores(students[place]),
                **_difference(stats.compare(students[place], teacher), few),
                "seeds": len(SEEDS),
                "p_on_front": None if few else [0.71, 0.93, 0.88][place],
                "noninferior": judged[place].noninferior,
                "alone": {
                    **_scores(alone),
                    **_difference(stats.compare(students[place], alone), few),
                },
                "network": {
                    "seed": SEEDS[BEST_SEED],
                    **_scores(network),
                    **_difference(judged[place].difference, few),
                    "tested": judged[place].tested,
                    "against_reference": _difference(stats.compare(network, reference), few),
                    "against_chance": _difference(stats.compare(network, chance), few),
                    "by_person": _one_by_one(network, teacher, toy),
                },
            }
        )
    make_robustness(run, [member["trial"] for member in picked])
    good = [m for m in members if m["noninferior"]]
    if few:
        enough = stats.mean_macro_f1(teacher) - MARGIN
        good = [m for m in members if m["network"]["macro_f1"] >= enough]
    report = {
        "margin": MARGIN,
        "people": toy.people,
        "too_few": few,
        "times_scored": 1,
        "teacher": {**_scores(teacher), "params": TEACHER_PARAMS, "family": "stgcn"},
        "reference": _beside(teacher, reference, few),
        "chance": _beside(teacher, chance, few),
        "members": members,
        "optimism": _optimism(picked, students),
        "per_person": [
            row
            for model, trial, counts in [
                ("teacher", None, teacher),
                *(("student", m["trial"], s) for m, s in zip(picked, students, strict=True)),
            ]
            for row in _per_person(model, trial, counts, toy)
        ],
        "chosen": min(good, key=lambda m: m["params"])["trial"] if good else None,
    }
    told = reach_verdict(made_report(report), count_failures(TrialLog(run)))
    made_from = Provenance(identity="c0d1e2f3a4b5", made_from={"search": SEARCH})
    scores = made(
        SCORES, **report, verdict=plain(told), sentence=told.sentence, provenance=made_from.as_dict()
    )  # fmt: skip
    SCORES.write(run.scores, scores)


def confusions_of(run: SplitFolder, toy: Toy, model: str, trial: int | None) -> Ints:
    """Confusion matrices [S, P, K, K] of what a model said of the confirm people."""
    name = model if trial is None else f"{model}-{trial}"
    table = pq.read_table(for_arrow(run.predictions / f"confirm-{name}.parquet"))
    classes, people = sorted(toy.classes), confirm_people(toy)
    seed_N = np.array(table["seed"].to_pylist())
    true_N = np.array([classes.index(str(name)) for name in table["true_class"].to_pylist()])
    said_N = np.array(table["probabilities"].to_pylist()).argmax(axis=1)
    person_N = np.array(table["person"].to_pylist())
    return np.stack(
        [
            stats.person_confusions(
                true_N[seed_N == seed],
                said_N[seed_N == seed],
                person_N[seed_N == seed].tolist(),
                people,
                len(classes),
            )
            for seed in sorted(set(seed_N.tolist()))
        ]
    )


def confirm_people(toy: Toy) -> list[str]:
    return sorted(person for person, role in _people(toy).items() if role == "confirm")


def _scores(counts: Ints) -> dict[str, Any]:
    found, summed = stats.estimate(counts), counts.sum(axis=tuple(range(counts.ndim - 2)))
    return {
        "macro_f1": found.mean,
        "interval": None if stats.is_too_few(counts.shape[-3]) else [found.low, found.high],
        "accuracy": float(np.trace(summed) / summed.sum()),
        "balanced_accuracy": balanced_accuracy(summed),
        "weighted_kappa": weighted_kappa(summed),
    }


def _difference(found: stats.Estimate, few: bool) -> dict[str, Any]:
    ends = None if few else [found.low, found.high]
    return {"difference": found.mean, "difference_interval": ends}


def _beside(teacher: Ints, other: Ints, few: bool) -> dict[str, Any]:
    better = _difference(stats.compare(teacher, other), few)
    return {**_scores(other), "teacher_minus_this": better}


def _one_by_one(network: Ints, teacher: Ints, toy: Toy) -> dict[str, Any] | None:
    if toy.people > stats.EXACT_PEOPLE:
        return None
    apart_P = stats.person_accuracy(network) - stats.person_accuracy(teacher)
    return {
        "differences": dict(zip(confirm_people(toy), apart_P.tolist(), strict=True)),
        "sign_flip_p": stats.sign_flip_p_value(network, teacher),
    }


def _optimism(picked: list[dict[str, Any]], students: list[Ints]) -> dict[str, Any]:
    """As if each refit had lost a point on the people who chose its student."""
    believed = np.array([member["val_macro_f1"] for member in picked])
    validated = believed[:, None] - np.linspace(0, 0.02, len(SEEDS))

    def over(which: list[int]) -> Flattery:
        found = stats.estimate_optimism(
            believed[which], validated[which], [students[i] for i in which]
        )
        return Flattery(
            total=found.total, interval=found.interval, luck=found.luck, luck_interval=found.luck_interval,
            people=found.people,
        )  # fmt: skip

    rows = [
        {
            "trial": member["trial"],
            "searched": "front",
            "believed": float(believed[i]),
            "validated": float(validated[i].mean()),
            "confirmed": stats.mean_macro_f1(students[i]),
            **plain(over([i])),
        }
        for i, member in enumerate(picked)
    ]
    flattery = over(list(range(len(picked))))
    report = {
        **plain(flattery),
        "seed_sd": stats.spread_over_seeds(validated),
        "members": rows,
    }
    return {**report, "sentence": optimism_sentence(flattery, len(picked))}


def _per_person(model: str, trial: int | None, counts: Ints, toy: Toy) -> list[dict[str, Any]]:
    return [
        {
            "person": person,
            "model": model,
            "trial": trial,
            "accuracy": float(right),
            "recordings": 8,
        }
        for person, right in zip(confirm_people(toy), stats.person_accuracy(counts), strict=True)
    ]


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
    lines = (
        "".join(json.dumps({**row, "epochs": EPOCHS}) + "\n" for row in curve)
        + '{"epoch": 4, "train'
    )
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
) -> tuple[float, float]:
    """Write predictions of eight recordings a person; mean macro F1 and accuracy of the seeds."""
    people = [person for person, its in _people(toy).items() if its == role]
    count, recordings = len(toy.classes), 8
    # The same people are hard for every model: what pairs the models in the statistics.
    ease_P = np.random.default_rng(toy.seed).normal(0, 0.5, len(people))
    truth_N = np.repeat(np.arange(len(people)) % count, recordings)
    # And the same recordings, most of all.
    shared_NK = np.random.default_rng(toy.seed + 1).normal(0, 1, (len(truth_N), count))
    tables, scores = [], []
    for seed in seeds:
        logits_NK = rng.normal(0, 1, (len(truth_N), count))
        if role == "confirm":
            logits_NK = 0.8 * shared_NK + 0.6 * logits_NK
        logits_NK[np.arange(len(truth_N)), truth_N] += skill + np.repeat(ease_P, recordings)
        # Neighbouring classes are told apart less well.
        logits_NK[np.arange(len(truth_N)), (truth_N + 1) % count] += 0.6
        exp_NK = np.exp(logits_NK)
        said_N = logits_NK.argmax(axis=1)
        scores.append((_macro_f1(truth_N, said_N, count), float((truth_N == said_N).mean())))
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
    name = model if trial is None else f"{model}-{trial}"
    write_parquet(run.predictions / f"{role}-{name}.parquet", pa.concat_tables(tables))
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
    return [plain(row) for row in FRONT.read(run.front).front]


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
                    "trials": [trial["number"]],
                    **trial["scores"],
                }
            )
    told = made(FRONT, search=SEARCH, hypervolume=1.0934, reference=REFERENCE, front=front)
    FRONT.write(run.front, told)
