"""Fronts and hypervolumes, by hand and against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.front import (
    f1_params_front,
    f1_params_hypervolume,
    hypervolume_2d,
    hypervolume_3d,
    knee,
    non_dominated,
    spread_along_front,
)

Floats = NDArray[np.float64]


def test_front_keeps_only_trials_nothing_beats() -> None:
    costs = np.array([[1, 3], [2, 2], [3, 1], [3, 3]])  # the last is beaten by the second
    assert non_dominated(costs).tolist() == [True, True, True, False]


def test_equal_trials_stay_on_the_front_together() -> None:
    assert non_dominated(np.array([[1, 2], [1, 2], [2, 2]])).tolist() == [True, True, False]


def test_front_of_nothing_and_of_one() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert non_dominated(np.array([[5.0, 5.0]])).tolist() == [True]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_front_is_what_all_pairs_say(objectives: int) -> None:
    for seed in range(10):
        costs = np.random.default_rng(seed).integers(0, 6, size=(40, objectives))
        beaten = [
            any((other <= point).all() and (other < point).any() for other in costs)
            for point in costs
        ]
        assert non_dominated(costs).tolist() == [not b for b in beaten]


def test_front_refuses_trials_without_a_score() -> None:
    with pytest.raises(ValueError, match="leave out trials without a score"):
        non_dominated(np.array([[1.0, np.nan]]))


def test_hypervolume_by_hand() -> None:
    costs = np.array([[1, 3], [2, 1], [2, 2]])  # the last is beaten and adds nothing
    assert hypervolume_2d(costs, (4, 4)) == 1 * 1 + 2 * 3
    assert hypervolume_3d(np.array([[1, 1, 1], [0, 2, 2]]), (3, 3, 3)) == 8 + 3 - 2


def test_points_beyond_the_reference_add_nothing() -> None:
    costs = np.array([[1, 1], [-9, 2], [0, 3], [5, -9]])
    assert hypervolume_2d(costs, (2, 2)) == 1
    assert hypervolume_2d(np.empty((0, 2)), (2, 2)) == 0
    assert hypervolume_3d(np.array([[1, 1, 2], [0, 0, 7]]), (2, 2, 2)) == 0


@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_is_the_sum_of_beaten_cells(seed: int) -> None:
    generator = np.random.default_rng(seed)
    flat = np.round(generator.random((12, 2)) * 1.2, 1)  # rounded: shared coordinates
    assert hypervolume_2d(flat, (1, 0.9)) == pytest.approx(_cells(flat, (1, 0.9)))
    deep = np.round(generator.random((9, 3)) * 1.2, 1)
    assert hypervolume_3d(deep, (1, 0.9, 1.1)) == pytest.approx(_cells(deep, (1, 0.9, 1.1)))


def _cells(costs: Floats, reference: tuple[float, ...]) -> float:
    """The volume of those cells of the grid through all coordinates that some point beats."""
    edges = [
        np.unique(np.append(column[column < limit], limit))
        for column, limit in zip(costs.T, reference, strict=True)
    ]
    volume = 0.0
    for cell in itertools.product(*(range(len(edge) - 1) for edge in edges)):
        low = np.array([edge[i] for edge, i in zip(edges, cell, strict=True)])
        high = np.array([edge[i + 1] for edge, i in zip(edges, cell, strict=True)])
        if (costs <= low).all(axis=1).any():
            volume += float(np.prod(high - low))
    return volume


def test_hypervolume_does_not_care_for_the_order_of_points() -> None:
    costs = np.random.default_rng(0).random((20, 3))
    volume = hypervolume_3d(costs, (1, 1, 1))
    assert hypervolume_3d(costs[::-1], (1, 1, 1)) == pytest.approx(volume)


def test_a_reference_needs_a_cost_for_each_column() -> None:
    with pytest.raises(ValueError, match="one finite cost for each of the 3 columns"):
        hypervolume_2d(np.zeros((1, 3)), (1, 1))


def test_search_hypervolume_is_f1_times_decades_of_parameters() -> None:
    f1, params = np.array([0.7, 0.9]), np.array([1_000, 100_000])
    # 0.2 above the reference for 3 decades, and another 0.2 for one.
    volume = f1_params_hypervolume(f1, params, (0.5, 1_000_000))
    assert volume == pytest.approx(0.2 * 3 + 0.2 * 1)
    assert f1_params_hypervolume(f1[:0], params[:0], (0.5, 1_000_000)) == 0


def test_search_hypervolume_refuses_models_without_parameters() -> None:
    with pytest.raises(ValueError, match="0 parameters"):
        f1_params_hypervolume(np.array([0.5]), np.array([0]), (0.1, 100))


def test_search_front_runs_from_the_smallest_to_the_largest() -> None:
    f1 = np.array([0.9, 0.6, 0.7, 0.65, 0.9])
    params = np.array([300, 100, 200, 250, 400])
    assert f1_params_front(f1, params).tolist() == [1, 2, 0]


def test_knee_is_where_more_parameters_stop_paying() -> None:
    # The fourth is beaten by the third, and no member of the front.
    f1 = np.array([0.50, 0.85, 0.90, 0.89])
    params = np.array([100, 1_000, 100_000, 200_000])
    assert knee(f1, params) == 1


@pytest.mark.parametrize("decades", [1, 5])
def test_knee_does_not_depend_on_the_scale_of_the_axes(decades: int) -> None:
    f1 = np.array([0.1, 0.5, 0.8, 0.9, 0.95])
    params = 10.0 ** (decades * np.array([0.0, 0.2, 0.3, 0.8, 1.0]))
    assert knee(f1, params) == 2
    assert knee(f1 / 10, params) == 2


def test_without_a_bend_the_knee_is_the_best_f1() -> None:
    assert knee(np.array([0.5, 0.6, 0.7]), np.array([10, 100, 1_000])) == 2
    assert knee(np.array([0.8, 0.5]), np.array([1_000, 10])) == 0
    assert knee(np.array([0.8]), np.array([10])) == 0
    assert knee(np.array([0.5, 0.51, 0.9]), np.array([10, 100, 1_000])) == 2


def test_knee_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no trials"):
        knee(np.array([]), np.array([]))


def test_spread_is_even_in_log_parameters() -> None:
    params = np.array([10, 20, 30, 100, 900, 1_000, 2_000, 10_000])
    assert spread_along_front(params, 4).tolist() == [0, 3, 5, 7]


@pytest.mark.parametrize("count", [2, 3, 5, 9, 10, 11])
def test_spread_has_both_ends_and_each_member_once(count: int) -> None:
    for seed in range(10):
        params = np.random.default_rng(seed).integers(1, 10**6, size=10)
        chosen = spread_along_front(params, count)
        assert len(set(chosen.tolist())) == len(chosen) == min(count, 10)
        assert (np.diff(params[chosen]) >= 0).all()
        assert params[chosen[0]] == params.min()
        assert params[chosen[-1]] == params.max()


def test_a_spread_of_one_is_the_best_f1() -> None:
    assert spread_along_front(np.array([10, 1_000, 100]), 1).tolist() == [1]


def test_a_spread_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        spread_along_front(np.array([10]), 0)
    with pytest.raises(ValueError, match="at least 1"):
        spread_along_front(np.array([]), 3)
