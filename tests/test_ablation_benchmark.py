"""The benchmark of the ablation: its choice by some people, and what the others say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch.nn.functional import softplus

from benchmarks.ablation import change_parts, choose, choosing_folds, report
from benchmarks.ablation_plans import ABLATIONS, BEFORE, CHANGES, OLD, TOGETHER
from benchmarks.distillation_report import Row
from gaitforge.layout import Layout
from gaitforge.models.dynstg_mamba import DynstgMamba, DynstgMambaBlock, DynstgMambaSizes

PEOPLE = 4  # of a fold, with a recording of each of two classes
HALF = PEOPLE


def row(fold: str, name: str, *, seed: int = 0, right: int = HALF) -> Row:
    """A model that is right of the first so many of a fold's eight recordings."""
    true = [0, 1] * PEOPLE
    predicted = [label if number < right else 1 - label for number, label in enumerate(true)]
    people = [f"{fold} {person}" for person in range(PEOPLE) for _ in true[:2]]
    return Row(fold, name, seed, 7, people, true, predicted)


def choosing(right: Mapping[str, int], *, sets: Sequence[str] = tuple(ABLATIONS)) -> list[Row]:
    """All that chooses, of one seed: every way is right of half, but those that are named."""
    rows = []
    for name in sets:
        for fold in choosing_folds(ABLATIONS[name]):
            rows += [row(fold, way, right=right.get(way, HALF)) for way in ABLATIONS[name].ways]
    return rows


def both(right: Mapping[str, int]) -> dict[str, list[Row]]:
    return {name: choosing(right, sets=[name]) for name in ABLATIONS}


def test_what_gains_is_chosen_and_of_the_steps_only_the_better() -> None:
    right = {"relu": 6, "warm-up of 30 %": 2, "steps .03 to .3": 5, "steps .3 to 1": 6}
    assert choose(both(right), 1) == ["relu", "steps .3 to 1"]


def test_what_gains_on_one_set_and_loses_more_on_the_other_is_not_chosen() -> None:
    first, second = ABLATIONS
    rows = {
        first: choosing({"relu": 6}, sets=[first]),
        second: choosing({"relu": 1}, sets=[second]),
    }
    assert choose(rows, 1) == []


def test_what_only_one_set_has_is_chosen_by_that() -> None:
    assert choose(both({"no class weights": 6}), 1) == ["no class weights"]


def test_nothing_is_chosen_while_a_row_is_missing() -> None:
    rows = both({})
    assert choose(rows, 2) is None
    last = next(iter(rows))
    assert choose({**rows, last: rows[last][:-1]}, 1) is None


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_folds_that_choose_have_no_say_in_what_scores(name: str) -> None:
    folds = len(choosing_folds(ABLATIONS[name]))
    rows = both({"relu": 8})
    rows[name] += [row("fold-8", BEFORE, right=5), row("fold-8", TOGETHER, right=5)]
    told = report(rows, 1)
    part = told.split(f"{name}, the folds that score: ")[1].split("\n\n")[1]

    assert told.startswith("Chosen by the first folds: relu.")
    assert f"{name}, the folds that choose: {folds * PEOPLE} people" in told
    before, together = part.splitlines()[2:]
    assert before.startswith("| as before | 7 | 1 | 0.619 | 0.625 |")
    assert together.startswith("| together | 7 | 1 | 0.619 | 0.625 |  | +0.000 |")


def test_the_parts_of_before_are_made_from_the_outside() -> None:
    layout = Layout(name="pair", joints=("a", "b"), bones=((0, 1),), up="none")
    model = DynstgMambaSizes(widths=(64,), strides=(1,), states=2).build(layout, 3, 2).eval()
    assert isinstance(model, DynstgMamba)
    block = model.blocks[0]
    assert isinstance(block, DynstgMambaBlock)
    x_BVTD = torch.randn(1, 2, 6, 64, generator=torch.Generator().manual_seed(0))
    mixing = torch.rand(1, 1, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    plain = block.temporal(x_BVTD)
    change_parts(model, {**OLD, "activation": "relu"})
    steps_E = softplus(block.state_space.delta.bias)

    assert (plain < 0).any()
    torch.testing.assert_close(block.temporal(x_BVTD), plain.relu())
    assert steps_E.min() >= 1e-3 * 0.999
    assert steps_E.max() <= 0.1 * 1.001
    # half the mixing of two hops, summed, is its mean
    half = block.state_space.forward(x_BVTD, mixing / 2)
    torch.testing.assert_close(block.state_space(x_BVTD, mixing), half)
    assert not torch.equal(half, block.state_space.forward(x_BVTD, mixing))


def test_every_change_is_of_a_size_or_of_the_recipe() -> None:
    for name, change in CHANGES.items():
        assert (name == BEFORE) == (not change.sizes and not change.fit)
