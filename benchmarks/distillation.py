"""What distillation gives a student on people that nobody saw: folds by person, one recipe, seeds.

    python -m benchmarks.distillation auva_grf                      trains what is missing; stop and go on at any time
    python -m benchmarks.distillation auva_grf --pack               benchmarks/distillation_auva_grf.parquet
    python -m benchmarks.distillation auva_grf --report [--figure FILE.svg]

Every fold trains the teachers anew on the people of the other folds, stores what they say to
them, and trains the student in every way of the plan once per seed. Nothing is chosen on the way: epochs
are fixed, the last weights are scored, and a term's weight is the middle of the range that a search
would try (distillation_plans.py). `--shard 0/2` and `--shard 1/2` share the work between two processes; `--folds 2`,
`--seeds 3` and `--ways kd hint` leave the rest for later. `--report` tells of what this machine trained, or of the
packed rows where it trained nothing; there `--folds 2` and `--after 2` tell of the first two folds and of the others.
The support vector machine is that of `svm_reference.py`, on the same folds.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.distillation_plans import PLANS, TOGETHER, WAYS, Plan, Sizes, Way
from benchmarks.distillation_report import pack, packed_path, read_packed, read_rows, report
from benchmarks.svm_reference import features, new_machine
from gaitforge.losses import Distillation
from gaitforge.records.split import Split
from gaitforge.settings import FitPlan, IngestSettings
from gaitforge.splits import SplitSettings, make_splits
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import build_windows
from gaitforge.work import as_json, fingerprint, write_once
from trainers.ingest import ingest_recordings
from trainers.teacher.members import deal_parts
from trainers.teacher.outputs import answer_all, find_shapes
from trainers.training.examples import Examples, add_answers, load_examples
from trainers.training.loop import EpochMetrics, fit
from trainers.training.scoring import score_logits, window_logits
from trainers.training.student import StudentSpec, new_student
from trainers.training.window_folder import WindowFolder, new_fitting

DATA = Path(__file__).parents[2] / "shared" / "data"


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
            classes=store.classes, settings=plan.windows, recordings=store.read_recordings,
        )  # fmt: skip
        for role in ("train", "confirm"):
            cache.open_role(role)
        yield Fold(plan, split, out / split.name, WindowFolder.open(cache.folder))


def make_folds(folds: tuple[tuple[str, ...], ...] | int, store: SkeletonStore) -> list[Split]:
    """Splits without validation people, since nothing is chosen: all others train."""
    labels_by_person: dict[str, set[str]] = {}
    for recording in store.read_recordings():
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
                model, seconds = trained(fold, family, sizes, plan.teacher_fit, fold.train)
                answers = answer(model, fold.train)
                unseen = window_logits(model, fold.unseen, 256)
                keep_answers({**answers, "unseen": unseen}, answers_of(fold, name))
                row = model_row(model, seconds, unseen, fold)
                yield write_row(path, fold, f"teacher {name}", 0, row)
        if len(plan.teachers) > 1:
            yield from join_teachers(fold)
        if any(WAYS[name].unseen for name in plan.ways):
            answer_unseen(fold)
    for name in plan.ways:
        way = WAYS[name]
        path = row_path(fold, name, {**dataclasses.asdict(way), "seed": seed})
        if not path.is_file():
            yield write_row(path, fold, name, seed, train_student(fold, way, seed))


def answers_of(fold: Fold, teacher: str) -> Path:
    """The folder of what a teacher, or all of them together, said to the training windows."""
    return fold.folder / "outputs" / teacher


def join_teachers(fold: Fold) -> Iterator[str]:
    """The mean of all teachers' logits, as answers and as a row of its own."""
    path = row_path(fold, TOGETHER, {})
    if path.is_file():
        return
    means = {
        name: np.mean(
            [np.load(answers_of(fold, t) / f"{name}.npy") for t in fold.plan.teachers], axis=0
        )
        for name in ("logits", "unseen")
    }
    keep_answers({"logits": means["logits"].astype(np.float16)}, answers_of(fold, TOGETHER))
    yield write_row(path, fold, TOGETHER, 0, scored(means["unseen"], fold))


def trained(
    fold: Fold, family: str, sizes: Sizes, plan: FitPlan, train: Examples
) -> tuple[nn.Module, float]:
    """A model trained to the plan's last epoch, and the seconds that it took."""
    fitting = new_fitting(fold.windows, family, sizes, plan, torch.device("cpu"))
    seconds = run_epochs(fit(fitting, train, train.take_first(1), Distillation()))
    return fitting.result, seconds


def train_student(fold: Fold, way: Way, seed: int) -> dict[str, Any]:
    family, sizes = fold.plan.student
    plan = dataclasses.replace(
        fold.plan.student_fit, seed=seed, label_smoothing=way.label_smoothing, average=way.average,
        consistency=way.consistency,
    )  # fmt: skip
    answers = (
        fold.folder / "unseen" if way.unseen else answers_of(fold, way.teacher or fold.plan.first)
    )
    spec = StudentSpec(
        family=family, sizes=sizes, plan=plan, distillation=Distillation(weights=way.weights),
        windows=str(fold.windows.folder), teacher_outputs=str(answers),
    )  # fmt: skip
    fitting = new_student(spec)
    train = load_examples(fold.windows, "train", Path(spec.teacher_outputs))
    train = add_answers(train, spec.teacher_outputs, spec.distillation.terms)
    if way.views is not None:
        train = take_views(train, way.views)
    seconds = run_epochs(fit(fitting, train, train.take_first(1), spec.distillation))
    return model_row(
        fitting.result, seconds, window_logits(fitting.result, fold.unseen, 256), fold
    )


def take_views(train: Examples, views: int) -> Examples:
    """The first views of each window, with the teacher's answers to them."""
    logits, embedding, joints = (
        None if answers is None else answers[:, :views].contiguous()
        for answers in (train.teacher_logits_NWK, train.teacher_embedding_NWD, train.teacher_joints_NWQVD)
    )  # fmt: skip
    return dataclasses.replace(
        train, views=views, teacher_logits_NWK=logits, teacher_embedding_NWD=embedding,
        teacher_joints_NWQVD=joints,
    )  # fmt: skip


def run_epochs(epochs: Iterator[EpochMetrics]) -> float:
    return sum(metrics.seconds for metrics in epochs)


def model_row(
    model: nn.Module, seconds: float, unseen_NK: NDArray[np.float64], fold: Fold
) -> dict[str, Any]:
    """A trained model: its size, its time, and what its logits say of the recordings of the people held out."""
    params = sum(weight.numel() for weight in model.parameters())
    return {**scored(unseen_NK, fold), "params": params, "seconds": seconds}


def scored(logits_NK: NDArray[np.float64], fold: Fold) -> dict[str, Any]:
    """What window logits say of the recordings of the people held out."""
    answers = score_logits(logits_NK, fold.unseen)
    recordings = fold.windows.list_recordings("confirm")
    return {
        "persons": [recordings[number].person for number in answers.recording_R],
        "true": answers.true_R.tolist(),
        "predicted": answers.logits_RK.argmax(axis=1).tolist(),
    }


def answer_unseen(fold: Fold) -> None:
    """Write the logits of teachers that did not see the person: the training people are dealt into parts."""
    target = fold.folder / "unseen"
    if (target / "logits.npy").is_file():
        return
    train, (family, sizes) = fold.train, fold.plan.teachers[fold.plan.first]
    part_N = deal_parts(fold.windows.open_role("train"), fold.plan.parts)
    logits_NWK = np.zeros((len(train), train.views, train.classes), dtype=np.float16)
    for part in range(fold.plan.parts):
        others, own = (
            torch.from_numpy(np.flatnonzero(mask)) for mask in (part_N != part, part_N == part)
        )
        model, _ = trained(fold, family, sizes, fold.plan.teacher_fit, train.select(others))
        logits_NWK[own.numpy()] = answer(model, train.select(own))["logits"]
    keep_answers({"logits": logits_NWK}, target)


def answer(model: nn.Module, train: Examples) -> dict[str, NDArray[np.float16]]:
    """What a model answers to all views of the training windows."""
    each = find_shapes(model, train)
    found = {
        name: np.zeros((len(train), train.views, *shape), np.float16)
        for name, shape in each.items()
    }
    answer_all(model, train, found)
    return found


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
        recordings = list(store.read_recordings(fold.split.people(role)))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", choices=list(PLANS))
    parser.add_argument("--out", type=Path, default=Path("work/distillation"))
    parser.add_argument("--shard", default="0/1", metavar="I/N")
    parser.add_argument("--folds", type=int, help="only so many")
    parser.add_argument("--after", type=int, default=0, metavar="N", help="without the first N")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), help="only these of the plan")
    parser.add_argument("--pack", action="store_true", help="write what is there for all")
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    plan = PLANS[options.plan]
    if options.ways:
        kept = tuple(name for name in plan.ways if name in options.ways)
        plan = dataclasses.replace(plan, ways=kept)
    out = options.out / f"{options.plan}-{fingerprint(plan.as_plain())}"
    if options.pack:
        pack(out, packed_path(options.plan))
        return
    if options.report:
        rows = read_rows(out) or read_packed(packed_path(options.plan), out.name)
        which = slice(options.after, options.folds)
        print(report(plan, rows, which, options.seeds, options.figure))
        return
    torch.set_num_threads(1)
    index, count = map(int, options.shard.split("/"))
    folds = list(open_folds(plan, out))[options.after : options.folds][index::count]
    for seed in range(options.seeds):
        for fold in folds:
            for said in train_missing(fold, seed):
                print(said, flush=True)


if __name__ == "__main__":
    main()
