"""The line's reference beside a support vector machine with the features of the data page, on held-out people.

    python -m benchmarks.reference auva_grf         ten folds by person
    python -m benchmarks.reference ui_prmd_kinect   five folds of two people

Reference and `svm` learn from the training people of a fold; the validation people choose the reference's
width and ridge, and do nothing for the machine. `svm, all others` learns from both, as it does in the other tables.
Answers of all folds are pooled. Needs scikit-learn (the extra `bench`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation_plans import PLANS, Plan
from benchmarks.svm_reference import features, new_machine
from gaitforge.metrics import recording_scores
from gaitforge.records.split import Split
from gaitforge.reference import answer_scores, fit_reference, majority_class
from gaitforge.settings import IngestSettings
from gaitforge.splits import SplitSettings, make_splits
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import WindowCache, WindowSet, build_windows
from trainers.chain import collect_labels
from trainers.ingest import ingest_recordings

DATA = Path(__file__).parents[2] / "shared" / "data"
Ints = NDArray[np.int64]


def deal(plan: Plan, store: SkeletonStore) -> list[Split]:
    """The plan's folds, with validation people: a fifth of the others, or the next pair of those named."""
    if isinstance(plan.folds, int):
        rule = SplitSettings(rule="folds", folds=plan.folds)
        return make_splits(rule, collect_labels(store), store.info.fingerprint)
    return [
        Split(
            name=f"fold-{number}", rule={"rule": "people"}, store=store.info.fingerprint,
            roles=dict.fromkeys(collect_labels(store), "train")
            | dict.fromkeys(plan.folds[number - 1], "validation")
            | dict.fromkeys(held, "confirm"),
        )
        for number, held in enumerate(plan.folds)
    ]  # fmt: skip


def labels_of(windows: WindowSet) -> Ints:
    """The class of each recording, in the order of their mean scores."""
    _, first_R = np.unique(windows.recording_N, return_index=True)
    labels: Ints = windows.label_N[first_R]
    return labels


def answers(cache: WindowCache, store: SkeletonStore) -> Iterator[tuple[str, Ints, Ints]]:
    """Name, true classes and answers of each machine for the confirm people of one fold."""
    train, valid, confirm = (cache.open_role(role) for role in ("train", "validation", "confirm"))
    started = time.monotonic()
    machine, choice = fit_reference(train, valid, len(cache.classes))
    seconds = time.monotonic() - started
    _, logits_RK = recording_scores(machine.logits(confirm), confirm.recording_N)
    width = "linear" if choice.width is None else f"width {choice.width:g}"
    print(
        f"{cache.split.name}: {width}, ridge {choice.strength:g}, validation macro F1 {choice.valid.macro_f1:.3f}, "
        f"{seconds:.1f} s",
        flush=True,
    )
    true_R = labels_of(confirm)
    yield "reference", true_R, logits_RK.argmax(axis=1)
    common = majority_class(labels_of(train), len(cache.classes))
    yield "chance", true_R, np.full_like(true_R, common)
    for name, roles in (("svm", ("train",)), ("svm, all others", ("train", "validation"))):
        inputs, labels = inputs_of(store, cache.split, *roles)
        unseen, true = inputs_of(store, cache.split, "confirm")
        yield name, true, new_machine().fit(inputs, labels).predict(unseen)


def inputs_of(store: SkeletonStore, split: Split, *roles: str) -> tuple[NDArray[np.float64], Ints]:
    """What the support vector machine takes of the recordings of some roles, and their classes."""
    people = [person for role in roles for person in split.people(role)]
    recordings = list(store.read_recordings(people))
    inputs = np.stack([features(recording, store.layout) for recording in recordings])
    return inputs, np.array([store.classes.index(recording.label) for recording in recordings])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", choices=("auva_grf", "ui_prmd_kinect"))
    plan = PLANS[parser.parse_args().plan]
    said: Counter[tuple[str, int, int]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        data, layout = DATA / f"{plan.data}.npz", DATA / f"{plan.data}.layout.toml"
        ingest_recordings(IngestSettings(files=(str(data),), layout=str(layout)), out / "store")
        store = SkeletonStore.open(out / "store")
        for split in deal(plan, store):
            cache = build_windows(
                out / "cache", store_fingerprint=store.info.fingerprint, split=split, layout=store.layout,
                classes=store.classes, settings=plan.windows, recordings=store.read_recordings,
            )  # fmt: skip
            for name, true_R, answer_R in answers(cache, store):
                said.update((name, int(t), int(a)) for t, a in zip(true_R, answer_R, strict=True))
        classes = len(store.classes)
    print("\n| | macro F1 | accuracy |\n|---|---|---|")
    for name in dict.fromkeys(name for name, _, _ in said):
        pairs = np.array(
            [(t, a) for (n, t, a), count in said.items() if n == name for _ in range(count)]
        )
        scores = answer_scores(pairs[:, 0], pairs[:, 1], classes)
        print(f"| {name} | {scores.macro_f1:.3f} | {scores.accuracy:.3f} |")


if __name__ == "__main__":
    main()
