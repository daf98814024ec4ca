"""The page of one student: its tables by hand, its figure, its files, and what is said where something is missing."""

from __future__ import annotations

import pandas as pd

from dashboard import model_tables
from dashboard.artefacts import Epoch


def predictions(*rows: tuple[int, str, str, str]) -> pd.DataFrame:
    said = pd.DataFrame(rows, columns=["seed", "person", "true_class", "said_class"])
    return said.assign(recording=[str(place) for place in range(len(rows))])


def test_confusions_are_means_over_seeds_and_shares_of_the_true_class() -> None:
    cells = model_tables.confusion_table(
        predictions(
            (0, "p", "a", "a"), (1, "p", "a", "b"), (0, "q", "b", "b"), (1, "q", "b", "b")
        ),
        ("a", "b", "c"),
    )
    filled = cells[cells["recordings"] > 0].to_numpy().tolist()
    assert filled == [["a", "a", 0.5, 0.5], ["a", "b", 0.5, 0.5], ["b", "b", 1.0, 1.0]]
    assert len(cells) == 9
    assert cells[cells["true_class"] == "c"]["share"].isna().all()


def test_people_stand_beside_the_teacher_with_the_least_well_recognised_first() -> None:
    student = predictions((0, "p", "a", "a"), (0, "q", "b", "a"), (0, "q", "b", "b"))
    people = model_tables.people_table(student, predictions((0, "q", "b", "b")))
    assert people["person"].tolist() == ["q", "p"]
    assert people["accuracy"].tolist() == [0.5, 1.0]
    assert people["teacher"].fillna(-1).tolist() == [1.0, -1.0]


def test_loss_terms_are_told_apart_from_the_whole() -> None:
    curve = [
        Epoch(epoch=0, train_loss=3.0, macro_f1=0.5, accuracy=0.5, terms={"kd": 1.0, "ce": 2.0}),
        Epoch(epoch=1, train_loss=None, macro_f1=None, accuracy=None),
    ]
    losses = model_tables.loss_table(curve)
    assert losses.to_numpy().tolist() == [[0, "total", 3.0], [0, "kd", 1.0], [0, "ce", 2.0]]
    assert model_tables.curve_table(curve)["epoch"].tolist() == [0]
