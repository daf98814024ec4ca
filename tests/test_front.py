"""Fronts and hypervolumes, by hand and against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.front import (
    crowding,
    f1_params_front,
    f1_params_hypervolume,
    front_order,
    front_ranks,
    hypervolume_2d,
    hypervolume_3d,
    knee,
    non_dominated,
    spread_along_front,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sets_with_ties(objectives: int) -> Iterator[Ints]:
    """100 random sets of 0 to 30 points on grids so small that ties and equal points are the rule."""
    for seed in range(100):
        generator = np.random.default_rng(seed)
        size = (int(generator.integers(0, 31)), objectives)
        yield generator.integers(0, generator.integers(1, 9), size)


def beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def beaten_cells(points: list[list[int]], reference: Sequence[int]) -> int:
    """How many unit cells between 0 and the reference have a point at or below their low corner."""
    return sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points)
        for cell in itertools.product(*map(range, reference))
    )


def test_front_keeps_only_trials_nothing_beats() -> None:
    costs = np.array([[1, 3], [2, 2], [3, 1], [3, 3]])  # the last is beaten by the second
    assert non_dominated(costs).tolist() == [True, True, True, False]


def test_equal_trials_stay_on_the_front_together() -> None:
    assert non_dominated(np.array([[1, 2], [1, 2], [2, 2]])).tolist() == [True, True, False]


def test_front_of_nothing_and_of_one() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert non_dominated(np.array([[5.0, 5.0]])).tolist() == [True]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_front_and_ranks_are_what_all_pairs_say(objectives: int) -> None:
    for costs in sets_with_ties(objectives):
        points = costs.tolist()
        assert non_dominated(costs).tolist() == [
            not any(beats(q, p) for q in points) for p in points
        ]
        rank, ranks, left = 0, [-1] * len(points), set(range(len(points)))
        while left:
            front = {i for i in left if not any(beats(points[j], points[i]) for j in left)}
            for i in front:
                ranks[i] = rank
            rank, left = rank + 1, left - front
        assert front_ranks(costs).tolist() == ranks


def test_ranks_by_hand() -> None:
    costs = np.array([[2, 2], [1, 3], [3, 3], [2, 2], [2, 3]])
    assert front_ranks(costs).tolist() == [0, 0, 2, 0, 1]


def test_room_by_hand() -> None:
    # Extents 10 and 4: the second has (4 - 0) / 10 + (4 - 1) / 4 between its neighbours.
    costs = np.array([[0, 4], [1, 3], [4, 1], [10, 0]])
    assert crowding(costs).tolist() == [np.inf, 0.4 + 0.75, 0.9 + 0.75, np.inf]
    assert crowding(costs[:2]).tolist() == [np.inf, np.inf]
    assert crowding(costs[:0]).tolist() == []


def test_an_equal_trial_takes_the_room() -> None:
    costs = np.array([[0, 4], [1, 3], [1, 3], [1, 3], [4, 0]])
    assert crowding(costs).tolist() == [np.inf, 0.25 + 0.75, 0, 0.75 + 0.25, np.inf]
    assert crowding(np.full((3, 2), 7)).tolist() == [np.inf, 0, np.inf]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_room_is_that_between_the_neighbours(objectives: int) -> None:
    for values in sets_with_ties(objectives):
        points = np.unique(values, axis=0).tolist()
        room = [0.0] * len(points)
        for m in range(objectives):
            row = sorted(range(len(points)), key=lambda i: (points[i][m], points[i]))
            for place, i in enumerate(row):
                if place in (0, len(row) - 1):
                    room[i] = math.inf
                    continue
                between = points[row[place + 1]][m] - points[row[place - 1]][m]
                extent = points[row[-1]][m] - points[row[0]][m]
                room[i] += between / extent if extent else 0
        shuffled = np.random.default_rng(0).permutation(len(points))
        costs = np.asarray(points, dtype=np.float64).reshape(-1, objectives)
        assert crowding(costs[shuffled]) == pytest.approx(np.asarray(room)[shuffled])


def test_order_is_by_front_then_room_then_index() -> None:
    costs = np.array([[5, 5], [1, 3], [2, 2.5], [3, 1], [6, 6], [6, 6]])
    # 0 is alone on front 1; 1 and 3 are the ends of front 0, 2 lies between them
    assert front_order(costs).tolist() == [1, 3, 2, 0, 4, 5]
    assert front_order(costs[:0]).tolist() == []


def test_order_names_each_trial_once_and_its_fronts_in_turn() -> None:
    for costs in sets_with_ties(2):
        order = front_order(costs)
        assert sorted(order.tolist()) == list(range(len(costs)))
        ranks = front_ranks(costs)
        assert (np.diff(ranks[order]) >= 0).all()
        for rank in range(int(ranks.max(initial=0)) + 1):
            members = order[ranks[order] == rank]
            room = dict(
                zip(np.flatnonzero(ranks == rank), crowding(costs[ranks == rank]), strict=True)
            )
            assert members.tolist() == sorted(members, key=lambda i: (-room[i], i))


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


def test_hypervolume_is_the_number_of_beaten_cells() -> None:
    for flat, deep in zip(sets_with_ties(2), sets_with_ties(3), strict=True):
        # references among the values: some points lie on them, some beyond
        assert hypervolume_2d(flat, (6, 5)) == beaten_cells(flat.tolist(), (6, 5))
        assert hypervolume_3d(deep, (6, 4, 5)) == beaten_cells(deep.tolist(), (6, 4, 5))


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


def test_search_front_is_what_all_pairs_say() -> None:
    for values in sets_with_ties(2):
        f1, params = values[:, 0] / 8, values[:, 1] + 1
        costs = [[-f, p] for f, p in zip(f1.tolist(), params.tolist(), strict=True)]
        unbeaten = [i for i, p in enumerate(costs) if not any(beats(q, p) for q in costs)]
        assert f1_params_front(f1, params).tolist() == sorted(unbeaten, key=lambda i: costs[i][1])


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
