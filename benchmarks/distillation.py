"""What distillation gives a student on people that nobody saw: folds by person, one recipe, seeds.

    python -m benchmarks.distillation auva_grf [--out DIR]          trains what is missing; stop and go on at any time
    python -m benchmarks.distillation auva_grf --report [--figure FILE.svg]

Every fold trains the teachers anew on the people of the other folds, stores what the teaching one says to
them, and trains the student in every way of WAYS once per seed. Nothing is chosen on the way: epochs
are fixed, the last weights are scored, and a term's weight is the middle of the range that a search
would try. `--shard 0/2` and `--shard 1/2` share the work between two processes, `--folds 2` and `--seeds 3` leave
the rest for later; with `--report`, `--folds 2` and `--after 2` tell of the first two folds and of the others alone.
The support vector machine is that of `svm_reference.py`, on the same folds.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.svm_reference import features, new_machine
from gaitforge.losses import LOSSES, Distillation
from gaitforge.settings import FitPlan, IngestSettings, as_dict
from gaitforge.splits import Split, SplitSettings, make_splits
from gaitforge.stats import (
    Ints,
    compare,
    draw_people,
    interval,
    macro_f1_draws,
    mean_macro_f1,
    person_confusions,
    too_few,
)
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import as_json, fingerprint, read_json, write_once
from trainers.examples import WindowFolder, load_examples, new_fitting
from trainers.ingest import ingest_recordings
from trainers.loop import EpochMetrics, Examples, fit, score_logits, window_logits
from trainers.outputs import answer_all
from trainers.student import StudentSpec, new_student, with_answers

DATA = Path(__file__).parents[2] / "shared" / "data"
RESAMPLES = 2000
Sizes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One experiment: data, folds, models and recipe."""

    data: str
    folds: (
        tuple[tuple[str, ...], ...] | int
    )  # the people held out, or how many parts to deal them into
    windows: WindowSettings
    teachers: Mapping[str, tuple[str, Sizes]]  # the first one teaches
    teacher_fit: FitPlan
    student: tuple[str, Sizes]
    student_fit: FitPlan
    parts: int = 0  # of the training people, each answered by a teacher that never saw it
    ways: tuple[str, ...] = field(default_factory=lambda: tuple(WAYS))


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train the student."""

    weights: Mapping[str, float] = field(default_factory=dict)
    label_smoothing: float = 0.0
    outputs: str = "outputs"  # or "unseen": of teachers that never saw the person


def middle(*terms: str) -> dict[str, float]:
    """Each term with the geometric mean of the weights that a search would try."""
    return {term: math.sqrt(math.prod(LOSSES[term].weight)) for term in terms}


RELATIONS = "cgrkd_batch", "cgrkd_nodes", "cgrkd_graphs"
WAYS: dict[str, Way] = {
    "alone": Way(),
    "label smoothing": Way(label_smoothing=0.1),
    "kd": Way(middle("kd")),
    "kd, heavy": Way({"kd": LOSSES["kd"].weight[1]}),
    "kd standardised": Way(middle("kd_standardised")),
    "dkd": Way(middle("dkd")),
    "dist": Way(middle("dist")),
    "rkd": Way(middle("rkd")),
    "sp": Way(middle("sp")),
    "hint": Way(middle("hint")),
    "attention": Way(middle("attention")),
    "cgrkd": Way(middle(*RELATIONS)),
    "kd + cgrkd": Way(middle("kd", *RELATIONS)),
    "kd + hint": Way(middle("kd", "hint")),
    "kd + hint + label smoothing": Way(middle("kd", "hint"), label_smoothing=0.1),
    "kd, unseen": Way(middle("kd"), outputs="unseen"),
    "dist, unseen": Way(middle("dist"), outputs="unseen"),
    "kd, unseen, + label smoothing": Way(middle("kd"), label_smoothing=0.1, outputs="unseen"),
}

SMALL: Sizes = {"widths": [32, 64, 64], "strides": [1, 2, 2]}
MEDIUM: Sizes = {"widths": [64, 64, 128, 128], "strides": [1, 2, 1, 2]}
FULL: Sizes = {"temporal": "full", "dropout": 0.3}
KINECT = Plan(
    data="ui_prmd_kinect",
    folds=tuple((f"s{n:03}", f"s{n + 1:03}") for n in (9, 7, 5, 3, 1)),
    windows=WindowSettings(
        mode="resample", length=32, center="first", flip=False, rotation_deg=30.0
    ),
    teachers={
        "dynstg_mamba": ("dynstg_mamba", MEDIUM),
        "stgcn": ("stgcn", {**MEDIUM, **FULL}),
    },
    teacher_fit=FitPlan(epochs=12),
    student=(
        "dynstg_mamba",
        {"widths": [16, 20, 24], "strides": [2, 2, 1], "states": 8, "expand": 1, "filter": "static", "dropout": 0.1},
    ),
    student_fit=FitPlan(epochs=12),
    ways=(
        "alone", "label smoothing", "kd", "kd, heavy", "dkd", "dist", "hint", "cgrkd", "kd + cgrkd", "kd + hint",
        "kd + hint + label smoothing",
    ),
)  # fmt: skip
PLANS: dict[str, Plan] = {
    "auva_grf": Plan(
        data="auva_grf",
        folds=10,
        windows=WindowSettings(mode="resample", length=51, flip=False, time_warp=0.05),
        teachers={
            "dynstg_mamba": ("dynstg_mamba", {**SMALL, "dropout": 0.3}),
            "stgcn": ("stgcn", {**SMALL, **FULL}),
            "ctrgcn": ("ctrgcn", {**SMALL, "dropout": 0.3}),
        },
        teacher_fit=FitPlan(epochs=30, jitter=0.1),
        student=(
            "dynstg_mamba",
            {"widths": [4, 8, 8], "strides": [2, 2, 1], "states": 4, "expand": 1, "filter": "static", "dropout": 0.1},
        ),
        student_fit=FitPlan(epochs=20),
        parts=3,
    ),
    "ui_prmd_kinect": KINECT,
    # the network that others have trained on these people, at its published size: no student
    "ui_prmd_ctrgcn": dataclasses.replace(
        KINECT, folds=(("s009", "s010"),), windows=dataclasses.replace(KINECT.windows, length=64),
        teachers={"ctrgcn": ("ctrgcn", {})}, ways=(),
    ),
    # as the Kinect plan, taught by the other one
    "ui_prmd_kinect_stgcn": dataclasses.replace(
        KINECT, teachers={"stgcn": KINECT.teachers["stgcn"]}, ways=("alone", "kd", "kd, heavy", "cgrkd"),
    ),
}  # fmt: skip


class Fold(NamedTuple):
    """The people of one fold, and where what is made of them lies."""

    plan: Plan
    split: Split
    folder: Path
    windows: WindowFolder

    @property
    def unseen(self) -> Examples:
        return load_examples(self.windows, "confirm")

    @property
    def train(self) -> Examples:
        return load_examples(self.windows, "train")


def open_folds(plan: Plan, out: Path) -> Iterator[Fold]:
    """Each fold with its windows built, scaled by its training people."""
    layout = DATA / f"{plan.data}.layout.toml"
    ingest_recordings(
        IngestSettings(files=(str(DATA / f"{plan.data}.npz"),), layout=str(layout)), out / "store"
    )
    store = SkeletonStore.open(out / "store")
    for split in make_folds(plan.folds, store):
        cache = build_windows(
            out / "cache", store_fingerprint=store.info.fingerprint, split=split, layout=store.layout,
            classes=store.classes, settings=plan.windows, recordings=store.recordings,
        )  # fmt: skip
        for role in ("train", "confirm"):
            cache.role(role)
        yield Fold(plan, split, out / split.name, WindowFolder.open(cache.folder))


def make_folds(folds: tuple[tuple[str, ...], ...] | int, store: SkeletonStore) -> list[Split]:
    """Splits without validation people, since nothing is chosen: all others train."""
    labels_by_person: dict[str, set[str]] = {}
    for recording in store.recordings():
        labels_by_person.setdefault(recording.person, set()).add(recording.label)
    if isinstance(folds, int):
        dealt = make_splits(
            SplitSettings(rule="folds", folds=folds), labels_by_person, store.info.fingerprint
        )
        held = [split.people("confirm") for split in dealt]
    else:
        held = list(folds)
    return [
        Split(
            name=f"fold-{number}", rule={"rule": "people"}, store=store.info.fingerprint,
            roles={p: "confirm" if p in people else "train" for p in labels_by_person},
        )
        for number, people in enumerate(held)
    ]  # fmt: skip


# what is trained


def train_missing(fold: Fold, seed: int) -> Iterator[str]:
    """The students of one fold and seed that are not there yet, and before them the models of the fold."""
    plan = fold.plan
    if seed == 0:
        yield from score_machine(fold)
        for name, (family, sizes) in plan.teachers.items():
            path = row_path(fold, f"teacher {name}", {})
            if not path.is_file():
                model, row = trained(fold, family, sizes, plan.teacher_fit, fold.train)
                if name == next(iter(plan.teachers)):
                    keep_answers(answer_all(model, fold.train)[0], fold.folder / "outputs")
                yield write_row(path, fold, f"teacher {name}", 0, row)
        answer_unseen(fold)
    for name in plan.ways:
        way = WAYS[name]
        path = row_path(fold, name, {**dataclasses.asdict(way), "seed": seed})
        if not path.is_file():
            yield write_row(path, fold, name, seed, train_student(fold, way, seed))


def trained(
    fold: Fold, family: str, sizes: Sizes, plan: FitPlan, train: Examples
) -> tuple[nn.Module, dict[str, Any]]:
    """A model trained to the plan's last epoch, and its row."""
    fitting = new_fitting(fold.windows, family, sizes, plan, torch.device("cpu"))
    seconds = run_epochs(fit(fitting, train, train.first(1), Distillation()))
    return fitting.model, {**scored(fitting.model, fold), "seconds": seconds}


def train_student(fold: Fold, way: Way, seed: int) -> dict[str, Any]:
    family, sizes = fold.plan.student
    plan = dataclasses.replace(
        fold.plan.student_fit, seed=seed, label_smoothing=way.label_smoothing
    )
    spec = StudentSpec(
        family=family, sizes=sizes, fit=as_dict(plan), weights=way.weights, temperature=2.0,
        windows=str(fold.windows.folder), teacher_outputs=str(fold.folder / way.outputs),
    )  # fmt: skip
    fitting = new_student(spec)
    train = with_answers(load_examples(fold.windows, "train", Path(spec.teacher_outputs)), spec)
    seconds = run_epochs(fit(fitting, train, train.first(1), spec.distillation))
    return {**scored(fitting.model, fold), "seconds": seconds}


def run_epochs(epochs: Iterator[EpochMetrics]) -> float:
    return sum(metrics.seconds for metrics in epochs)


def scored(model: nn.Module, fold: Fold) -> dict[str, Any]:
    """What the model says of the recordings of the people held out."""
    unseen = fold.unseen
    answers = score_logits(window_logits(model, unseen, 256), unseen)
    recordings = fold.windows.recordings("confirm")
    return {
        "persons": [recordings[number].person for number in answers.recording_R],
        "params": sum(weight.numel() for weight in model.parameters()),
        "true": answers.true_R.tolist(),
        "predicted": answers.logits_RK.argmax(axis=1).tolist(),
    }


def answer_unseen(fold: Fold) -> None:
    """Write the logits of teachers that did not see the person: the training people are dealt into parts."""
    target = fold.folder / "unseen"
    if not fold.plan.parts or (target / "logits.npy").is_file():
        return
    train, (family, sizes) = fold.train, next(iter(fold.plan.teachers.values()))
    person_R = np.array([person for _, person in fold.windows.recordings("train")])
    part_N = dealt(person_R, train, fold.plan.parts)
    logits_NWK = np.zeros((len(train), train.views, train.classes), dtype=np.float32)
    for part in range(fold.plan.parts):
        others, own = (
            torch.from_numpy(np.flatnonzero(mask)) for mask in (part_N != part, part_N == part)
        )
        model, _ = trained(fold, family, sizes, fold.plan.teacher_fit, chosen(train, others))
        logits_NWK[own.numpy()] = answer_all(model.eval(), chosen(train, own))[0]["logits"]
    keep_answers({"logits": logits_NWK}, target)


def dealt(person_R: NDArray[np.str_], train: Examples, parts: int) -> NDArray[np.int64]:
    """The part of each window: people in the order of their most frequent class, dealt in turn."""
    label_N = train.label_N.numpy()
    person_N = person_R[train.recording_N]
    classes = {
        person: int(np.bincount(label_N[person_N == person]).argmax()) for person in set(person_N)
    }
    order = sorted(classes, key=lambda person: (classes[person], person))
    part_of = {person: number % parts for number, person in enumerate(order)}
    return np.array([part_of[person] for person in person_N])


def chosen(examples: Examples, index: torch.Tensor) -> Examples:
    """Some of the windows, without answers."""
    return Examples(
        examples.joints_NWTVC[index], examples.seen_NWTV[index], examples.label_N[index],
        examples.recording_N[index.numpy()], examples.classes,
    )  # fmt: skip


def keep_answers(arrays: Mapping[str, NDArray[Any]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        draft = folder / f".{name}.npy"
        np.save(draft, array)
        draft.rename(folder / f"{name}.npy")


def score_machine(fold: Fold) -> Iterator[str]:
    """The support vector machine of the fold."""
    path = row_path(fold, "svm", {})
    if path.is_file():
        return
    store = SkeletonStore.open(fold.folder.parent / "store")
    sets = []
    for role in ("train", "confirm"):
        recordings = list(store.recordings(fold.split.people(role)))
        inputs = np.stack([features(recording, store.layout) for recording in recordings])
        sets.append((inputs, np.array([store.classes.index(r.label) for r in recordings])))
    (inputs, labels), (unseen, true) = sets
    predicted = new_machine().fit(inputs, labels).predict(unseen)
    persons = [recording.person for recording in recordings]
    row = {"true": true.tolist(), "predicted": predicted.tolist(), "persons": persons}
    yield write_row(path, fold, "svm", 0, row)


def row_path(fold: Fold, name: str, identity: Mapping[str, Any]) -> Path:
    return fold.folder / "rows" / f"{name} {fingerprint(dict(identity))}.json"


def write_row(path: Path, fold: Fold, name: str, seed: int, row: Mapping[str, Any]) -> str:
    write_once(path, as_json({"name": name, "seed": seed, **row}))
    right = np.mean(np.array(row["true"]) == row["predicted"])
    return f"{fold.split.name}  seed {seed}  {name:<30} accuracy {right:.3f}  {row.get('seconds', 0):.1f} s"


# what is reported


class Model(NamedTuple):
    """One row of the table: confusion matrices [S, P, K, K] over the people of all its folds."""

    name: str
    params: int | None
    people: tuple[str, ...]
    confusions_SPKK: Ints

    @property
    def accuracy(self) -> float:
        every = self.confusions_SPKK.sum(axis=(0, 1))
        return float(np.trace(every) / every.sum())


def read_models(folders: Sequence[Path], classes: int) -> dict[str, Model]:
    """Every model over the same folds: those in which each has a seed at least; seeds that all of them have."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for folder in folders:
        for path in (folder / "rows").glob("*.json"):
            row = read_json(path)
            found.setdefault(row["name"], {}).setdefault(row["seed"], {})[folder.name] = row
    names = {folder.name for folder in folders}
    models = {}
    for name, by_seed in found.items():
        whole = [rows for seed, rows in sorted(by_seed.items()) if rows.keys() == names]
        if whole:
            first = whole[0].values()
            people = sorted({person for row in first for person in row["persons"]})
            matrices = [confusions(list(rows.values()), people, classes) for rows in whole]
            params = next(iter(first)).get("params")
            models[name] = Model(name, params, tuple(people), np.stack(matrices))
    return models


def confusions(rows: Sequence[Mapping[str, Any]], people: Sequence[str], classes: int) -> Ints:
    """Confusion matrices [P, K, K] of all rows together."""
    persons = [person for row in rows for person in row["persons"]]
    true, predicted = (
        np.array([label for row in rows for label in row[name]]) for name in ("true", "predicted")
    )
    return person_confusions(true, predicted, persons, people, classes)


def best_of_others(folders: Sequence[Path], classes: int) -> Model | None:
    """What the best way is worth: chosen by the people of one half of the folds, scored by those of the other."""
    halves = [read_models(folders[half::2], classes) for half in (0, 1)]
    parts = []
    for choosing, scoring in (halves, halves[::-1]):
        both = [name for name in WAYS if name in choosing and name in scoring and name != "alone"]
        if not both:
            return None
        best = max(both, key=lambda name: mean_macro_f1(choosing[name].confusions_SPKK))
        parts.append(scoring[best])
    seeds = min(len(part.confusions_SPKK) for part in parts)
    people = [person for part in parts for person in part.people]
    matrices = np.concatenate([part.confusions_SPKK[:seeds] for part in parts], axis=1)
    name = f"the best by the other folds ({', '.join(part.name for part in parts)})"
    order = np.argsort(people)
    return Model(name, parts[0].params, tuple(sorted(people)), matrices[:, order])


def report(plan: Plan, out: Path, which: slice, figure: Path | None) -> str:
    """Markdown: the teachers against the machine, then the ways against the student alone; of which folds."""
    every = sorted(path.parent for path in out.glob("fold-*/rows"))[which]
    wanted = {"svm", *(f"teacher {name}" for name in plan.teachers), *plan.ways}
    folders = [folder for folder in every if wanted <= trained_once(folder)]
    if not folders:
        return f"No fold in {out} has every model once; run it on."
    store = SkeletonStore.open(out / "store")
    models = read_models(folders, len(store.classes))
    teacher = models[f"teacher {next(iter(plan.teachers))}"]
    weights_RP = draw_people(teacher.confusions_SPKK, RESAMPLES)
    people = teacher.confusions_SPKK.shape[1]
    lines = [
        f"{plan.data}: {len(folders)} {'fold' if len(folders) == 1 else 'folds'}, {people} people, "
        f"{len(store.classes)} classes; teacher {teacher.name.removeprefix('teacher ')}"
        + (f", student {plan.student[0]}." if plan.ways else "."), "",
        "| | parameters | seeds | macro F1 | accuracy | minus alone | of the gap |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    order = ["svm", *(f"teacher {name}" for name in plan.teachers), *WAYS]
    rows = [models[name] for name in order if name in models]
    if best := best_of_others(folders, len(store.classes)):
        rows.append(best)
    alone = models.get("alone")
    lines += [line(model, alone, teacher, weights_RP) for model in rows]
    if figure is not None and alone is not None:
        draw_gains(rows, alone, weights_RP, figure)
    return "\n".join(lines)


def trained_once(folder: Path) -> set[str]:
    """The models that a fold has with their first seed."""
    rows = map(read_json, (folder / "rows").glob("*.json"))
    return {row["name"] for row in rows if row["seed"] == 0}


def line(model: Model, alone: Model | None, teacher: Model, weights_RP: Ints) -> str:
    f1 = mean_macro_f1(model.confusions_SPKK)
    few = too_few(weights_RP.shape[1])
    within = ""
    if not few:
        low, high = interval(macro_f1_draws(model.confusions_SPKK, weights_RP))
        within = f" ({low:.3f} to {high:.3f})"
    cells = [
        model.name, "" if model.params is None else f"{model.params:,}", str(len(model.confusions_SPKK)),
        f"{f1:.3f}{within}", f"{model.accuracy:.3f}",
    ]  # fmt: skip
    if alone is None or model is alone:
        return table_row(*cells, "", "")
    gain = compare(model.confusions_SPKK, alone.confusions_SPKK, weights_RP)
    gap = compare(teacher.confusions_SPKK, alone.confusions_SPKK, weights_RP)
    # a share of a gap that may be none says nothing
    share = f"{gain.mean / gap.mean:.0%}" if gap.low > 0 and not few else "-"
    shown = f"{gain.mean:+.3f}" + ("" if few else f" ({gain.low:+.3f} to {gain.high:+.3f})")
    return table_row(*cells, shown, share)


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def draw_gains(rows: Sequence[Model], alone: Model, weights_RP: Ints, path: Path) -> None:
    """Each row's macro F1 minus that of the student alone, with its interval over people, as SVG."""
    gains = {
        row.name: compare(row.confusions_SPKK, alone.confusions_SPKK, weights_RP)
        for row in rows
        if row is not alone
    }
    data = pd.DataFrame(
        [
            (name, gain.mean, gain.low, gain.high, name.split()[0] in ("svm", "teacher"))
            for name, gain in gains.items()
        ],
        columns=["model", "gain", "low", "high", "reference"],
    )
    y = alt.Y("model:N", sort=list(gains), title=None, axis=alt.Axis(labelLimit=360))
    colour = alt.Color("reference:N", legend=None, scale=alt.Scale(range=["#0b6e99", "#8a8f98"]))
    base = alt.Chart(data).encode(y=y, color=colour)
    marks = (
        alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color="#8a8f98").encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title="Macro F1 minus that of the student alone"), x2="high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(x="gain:Q"),
    )
    chart = alt.layer(*marks).properties(width=420, title="95 % intervals: people drawn again")
    chart.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", choices=list(PLANS))
    parser.add_argument("--out", type=Path, default=Path("work/distillation"))
    parser.add_argument("--shard", default="0/1", metavar="I/N")
    parser.add_argument("--folds", type=int, help="only so many")
    parser.add_argument("--after", type=int, default=0, metavar="N", help="without the first N")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    plan = PLANS[options.plan]
    out = options.out / f"{options.plan}-{fingerprint(as_plain(plan))}"
    if options.report:
        print(report(plan, out, slice(options.after, options.folds), options.figure))
        return
    torch.set_num_threads(1)
    index, count = map(int, options.shard.split("/"))
    folds = list(open_folds(plan, out))[options.after : options.folds][index::count]
    for seed in range(options.seeds):
        for fold in folds:
            for said in train_missing(fold, seed):
                print(said, flush=True)


def as_plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON knows it, without its ways: rows are kept by the way that they are of."""
    plain = {**dataclasses.asdict(plan), "windows": plan.windows.as_dict()}
    del plain["ways"]
    return plain


if __name__ == "__main__":
    main()
