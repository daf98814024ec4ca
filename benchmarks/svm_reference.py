"""A support vector machine on the same split as a run: what a model must beat to be worth its size.

    python benchmarks/svm_reference.py work/auva_grf [SPLIT]

Each recording becomes its coordinates at 16 moments, their spread and their speed over the
recording; features are scaled by the training people, classes by an RBF kernel. Validation people
are not used, so that nothing is tuned. Scored on the confirm people, with an interval over them.
Needs scikit-learn (the extra `bench`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.records.split import SPLIT
from gaitforge.stats import (
    estimate,
    is_too_few,
    person_accuracy,
    person_confusions,
)
from gaitforge.store import SkeletonStore
from gaitforge.windows import WindowSettings, prepare
from gaitforge.work import WorkFolder

FRAMES = 16
SETTINGS = WindowSettings(mode="resample", length=FRAMES, views=1, center="first")


def features(recording: Recording, layout: Layout) -> NDArray[np.float64]:
    """Coordinates at 16 moments, then the sd and the mean speed of each coordinate."""
    (window_TVC,), _ = prepare(recording, layout, SETTINGS)
    flat_TF = window_TVC.reshape(FRAMES, -1).astype(np.float64)
    speed = np.abs(np.diff(flat_TF, axis=0)).mean(axis=0)
    return np.concatenate([flat_TF.ravel(), flat_TF.std(axis=0), speed])


def new_machine() -> Pipeline:
    return make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="a work folder with a store and a split")
    parser.add_argument("split", nargs="?", default="main", help="its name; main by itself")
    options = parser.parse_args(arguments)
    work = WorkFolder(options.work)
    split = SPLIT.read(work.split_file(options.split))
    store = SkeletonStore.open(work.store)
    roles = {}
    for role in ("train", "confirm"):
        recordings = list(store.read_recordings(split.people(role)))
        roles[role] = (
            np.stack([features(recording, store.layout) for recording in recordings]),
            np.array([store.classes.index(recording.label) for recording in recordings]),
            [recording.person for recording in recordings],
        )
    machine = new_machine()
    machine.fit(roles["train"][0], roles["train"][1])
    inputs, true, persons = roles["confirm"]
    people = sorted(set(persons))
    confusions = person_confusions(
        true, machine.predict(inputs), persons, people, len(store.classes)
    )
    accuracy = np.trace(confusions.sum(axis=0)) / confusions.sum()
    found = estimate(confusions)
    text = f"SVM: accuracy {accuracy:.3f}, macro F1 {found.mean:.3f}"
    if is_too_few(len(people)):
        each = zip(people, person_accuracy(confusions), strict=True)
        print(text + ", by person " + ", ".join(f"{person} {value:.3f}" for person, value in each))
        return 0
    print(f"{text} ({found.low:.3f} to {found.high:.3f} over {len(people)} people)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
