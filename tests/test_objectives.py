"""The table of objectives: what is minimised, how far a search has come, and what enters its front."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from gaitforge.cost import Cost
from gaitforge.objectives import (
    OBJECTIVES,
    SearchedFront,
    check_objectives,
    cost,
    costs,
    group_by_configuration,
    value_of,
)
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.json_file import plain
from gaitforge.records.search import FRONT
from gaitforge.records.trial import Trial

DEFAULT = ("macro_f1", "params")
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def trial(number: int, f1: float = 0.5, params: int = 100, **change: Any) -> Trial:
    """A finished trial of a configuration of its own."""
    finished = Trial(
        number=number, state="finished", family="tcn", sizes={}, params=params, macs=10 * params,
        bytes=4 * params, seed=number, hash=f"student {number}", suggested={}, distributions={}, recipe=Recipe(),
        distill=Distillation(), scores={"val_macro_f1": f1, "val_accuracy": f1},
    )  # fmt: skip
    return replace(finished, **change)


def front_of(
    *trials: Trial, names: tuple[str, ...] = DEFAULT, reference: tuple[float, ...] = (0.0, 1000.0)
) -> SearchedFront:
    front = SearchedFront(names, reference)
    for one in trials:
        front.add(one)
    return front


# the table


@every_objective
def test_a_better_value_costs_less(name: str) -> None:
    less, more = cost(name, 0.25), cost(name, 0.5)
    assert more < less if OBJECTIVES[name].up else less < more


@every_objective
def test_what_is_counted_is_a_field_of_a_trial_and_of_a_cost(name: str) -> None:
    objective = OBJECTIVES[name]
    if objective.counted:
        assert value_of(trial(3, params=7), name) == {"params": 7, "macs": 70, "bytes": 28}[name]
        assert objective.key in {field.name for field in fields(Cost)}
    else:
        assert value_of(trial(3, scores={objective.key: 0.25}), name) == 0.25


@every_objective
def test_a_score_is_of_the_validation_people_and_a_size_is_not(name: str) -> None:
    objective = OBJECTIVES[name]
    assert objective.is_score == objective.key.startswith("val_") == (not objective.log)
    assert objective.is_score == (objective.worst is not None)


def test_costs_by_hand() -> None:
    table = costs([[0.9, 1000, 0.1], [0.8, 10, 0.2]], ["macro_f1", "params", "calibration_error"])
    assert table == pytest.approx(np.array([[-0.9, 3.0, 0.1], [-0.8, 1.0, 0.2]]))


def test_a_size_of_nothing_has_a_cost_that_can_be_compared() -> None:
    assert math.isfinite(cost("latency_ms", 0.0))


def test_a_value_at_a_rung_is_that_of_the_rung() -> None:
    one = trial(0, 0.9)
    assert value_of(one, "macro_f1", {"epoch": 1, "val_macro_f1": 0.3}) == 0.3
    assert value_of(one, "params", {"epoch": 1, "val_macro_f1": 0.3}) == 100


def test_a_trial_without_the_score_is_named_as_one_of_another_search() -> None:
    with pytest.raises(ValueError, match=r"Trial 5 has no weighted kappa, .* move its file"):
        value_of(trial(5), "weighted_kappa")
    with pytest.raises(ValueError, match="Trial 5 has no macro F1"):
        value_of(trial(5, state="stopped", scores=None), "macro_f1")


def test_an_unknown_objective_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        KeyError, match=r"no objective 'accuracy'\. Known: balanced_accuracy, .*par"
    ):
        check_objectives(["accuracy", "params"])


@pytest.mark.parametrize(
    "names",
    [[], ["macro_f1"], ["params", "params"], ["macro_f1", "robustness"], ["params", "macs"]],
)
def test_what_makes_no_front_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"search\.objectives is .*, but must "):
        check_objectives(names)


def test_any_score_and_any_cost_make_a_front() -> None:
    check_objectives(["latency_ms", "weighted_kappa"])
    check_objectives(list(OBJECTIVES))


# how far a search has come


def test_hypervolume_of_two_objectives_by_hand() -> None:
    """0.5 at 10 parameters and 0.9 at 100, up to 0 at 1000: 0.5 * 2 + 0.4 * 1."""
    front = front_of(trial(0, 0.5, 10), trial(1, 0.9, 100))
    assert front.hypervolume == pytest.approx(1.4)
    front.add(trial(2, 0.4, 50))
    assert front.hypervolume == pytest.approx(1.4)


def test_hypervolume_of_three_objectives_by_hand() -> None:
    """The same two, which differ in their calibration error too: each a box, less what they share."""
    names = ("macro_f1", "params", "calibration_error")
    scores = [
        {"val_macro_f1": 0.5, "val_calibration_error": 0.25},
        {"val_macro_f1": 0.9, "val_calibration_error": 0.5},
    ]
    front = front_of(
        trial(0, params=10, scores=scores[0]), trial(1, params=100, scores=scores[1]),
        names=names, reference=(0.0, 1000.0, 1.0),
    )  # fmt: skip
    first, second, both = 0.5 * 2 * 0.75, 0.9 * 1 * 0.5, 0.5 * 1 * 0.5
    assert front.hypervolume == pytest.approx(first + second - both)


def test_of_more_than_three_objectives_there_is_no_hypervolume() -> None:
    names = ("macro_f1", "params", "macs", "bytes")
    front = front_of(trial(0), names=names, reference=(0.0, 1e3, 1e4, 1e4))
    assert front.hypervolume is None
    assert [row.trial for row in front.list_rows()] == [0]


def test_an_empty_front_covers_nothing() -> None:
    assert front_of().hypervolume == 0.0
    assert front_of().list_rows() == []


def test_who_does_not_beat_the_reference_is_on_the_front_and_adds_nothing() -> None:
    front = front_of(trial(0, 0.9, 1000), trial(1, 0.0, 10))
    assert front.hypervolume == 0.0
    assert [row.trial for row in front.list_rows()] == [1, 0]


# what enters the front


def test_the_front_is_what_nothing_beats_from_the_smallest_to_the_largest() -> None:
    front = front_of(
        trial(0, 0.9, 500), trial(1, 0.5, 10), trial(2, 0.5, 11), trial(3, 0.7, 100), trial(4, 0.9, 500)
    )  # fmt: skip
    assert [row.trial for row in front.list_rows()] == [1, 3, 0, 4]
    assert plain(front.list_rows()[0]) == {
        "trial": 1, "family": "tcn", "params": 10, "macs": 100, "bytes": 40, "seeds": 1, "trials": [1],
        "val_macro_f1": 0.5, "val_accuracy": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["stopped", "failed", "running"])
def test_only_what_has_finished_enters(state: str) -> None:
    """The score of a few epochs would pass for that of a student."""
    front = front_of(trial(0, 0.5))
    assert front.add(trial(1, 1.0, 1, state=state, reason="why")) is False
    assert [row.trial for row in front.list_rows()] == [0]
    assert group_by_configuration([trial(1, 1.0, state=state)]) == []


def test_several_seeds_of_a_configuration_count_by_their_means() -> None:
    seeds = [trial(number, f1, hash="same") for number, f1 in ((4, 0.9), (2, 0.6), (9, 0.3))]
    front = front_of(*seeds, trial(5, 0.7))
    (row,) = front.list_rows()
    assert row.trial == 5
    front = front_of(*seeds)
    (row,) = front.list_rows()
    assert (row.trial, row.seeds, row.trials) == (2, 3, (2, 4, 9))
    assert (row.val_macro_f1, row.val_accuracy) == pytest.approx((0.6, 0.6))
    assert front.hypervolume == pytest.approx(0.6)


def test_a_trial_counts_once() -> None:
    front = front_of(trial(0, 0.9))
    assert front.add(trial(0, 0.9)) is False
    assert front.add(trial(1, 0.1, hash="student 0")) is True
    assert front.list_rows()[0].seeds == 2


def test_a_bad_seed_of_a_member_may_bring_another_onto_the_front() -> None:
    front = front_of(trial(0, 0.9), trial(1, 0.8))
    assert [row.trial for row in front.list_rows()] == [0]
    assert front.add(trial(2, 0.5, hash="student 0"))
    assert [row.trial for row in front.list_rows()] == [1]


def test_configurations_are_the_finished_trials_by_their_hash() -> None:
    found = group_by_configuration([trial(0), trial(1), trial(2, hash="student 0")])
    assert [student.trials for student in found] == [(0, 2), (1,)]
    assert [student.first.number for student in found] == [0, 1]


def test_the_file_of_a_front_names_its_objectives_and_its_reference() -> None:
    content = FRONT.as_dict(front_of(trial(0, 0.5, 10)).as_record("s"))
    assert content["objectives"] == ["macro_f1", "params"]
    assert content["reference"] == [0.0, 1000.0]
    assert content["hypervolume"] == pytest.approx(1.0)
    assert [row["trial"] for row in content["front"]] == [0]
