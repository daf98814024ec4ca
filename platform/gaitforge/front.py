"""Fronts: which trials nothing beats, how much they cover, and where they bend.

Costs are minimised; a score that should rise enters with its sign turned. The search's own
front is macro F1 (up) against parameters (down, on a log10 scale).
"""

from __future__ import annotations

import bisect

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating] | NDArray[np.integer]
Ints = NDArray[np.int64]


def non_dominated(costs_NM: Numbers) -> NDArray[np.bool_]:
    """Return True for each point that no other beats, [N].

    A point is beaten by one that costs no more in anything and less in something; equal points do
    not beat each other, so that both stay. Raises ValueError for costs that are not finite.
    """
    points, which_N = _distinct(costs_NM)
    unbeaten: NDArray[np.bool_] = _unbeaten(points)[which_N]
    return unbeaten


def front_ranks(costs_NM: Numbers) -> Ints:
    """Return for each point the number of its front, [N]: 0 where nothing beats it, 1 where only front 0 does, ...

    Equal points share a front. Raises ValueError for costs that are not finite.
    Source: Deb et al. 2002 (NSGA-II), sec. III-A; two costs in one sweep as in Jensen 2003.
    """
    points, which_N = _distinct(costs_NM)
    ranks = np.zeros(len(points), dtype=np.int64)
    if points.shape[1] == 2:
        # The least second cost of each front so far. It rises with the front, and a point is
        # beaten by the fronts where it is no larger, since the first cost only grows.
        least: list[float] = []
        for index, cost in enumerate(points[:, 1].tolist()):
            ranks[index] = rank = bisect.bisect_right(least, cost)
            least[rank : rank + 1] = [cost]
    else:
        left = np.arange(len(points))
        while len(left) > 0:
            unbeaten = _unbeaten(points[left])
            left = left[~unbeaten]
            ranks[left] += 1
    ranks_N: Ints = ranks[which_N]
    return ranks_N


def crowding(costs_NM: Numbers) -> Floats:
    """Measure how much room each point of one front has, [N]: the larger, the lonelier.

    It is the distance between the neighbours on both sides, as a share of the front's extent,
    summed over the costs; infinite where a neighbour is missing. Ties in one cost are sorted by the
    others, so that the room of distinct points does not hang on their order.
    Raises ValueError for costs that are not finite.
    Source: Deb et al. 2002 (NSGA-II), sec. III-B.
    """
    costs = _finite(costs_NM)
    room_N = np.zeros(len(costs))
    for column in costs.T:
        order = np.lexsort((*costs.T[::-1], column))
        row = column[order]
        # without an extent all neighbours are at distance 0
        extent = float(np.ptp(row)) if len(row) else 0.0
        room_N[order[1:-1]] += (row[2:] - row[:-2]) / (extent or 1.0)
        room_N[order[:1]] = room_N[order[-1:]] = np.inf
    return room_N


def front_order(costs_NM: Numbers) -> Ints:
    """Return all indices from the best to the worst, [N]: by front, then by room within it, then as they came."""
    ranks_N = front_ranks(costs_NM)
    room_N = np.zeros(len(ranks_N))
    for rank in np.unique(ranks_N):
        members = ranks_N == rank
        room_N[members] = crowding(costs_NM[members])
    return np.lexsort((-room_N, ranks_N)).astype(np.int64)


def hypervolume_2d(costs_N2: Numbers, reference: tuple[float, float]) -> float:
    """Measure the area between the points and the reference that some point beats, exactly (a sweep).

    A point that is not below the reference in both costs adds nothing.
    Source: Zitzler & Thiele 1999 (the size of the space covered).
    """
    costs = _below(costs_N2, reference)
    costs = costs[np.argsort(costs[:, 0])]
    widths = np.diff(costs[:, 0], append=reference[0])
    heights = reference[1] - np.minimum.accumulate(costs[:, 1])
    return float((widths * heights).sum())


def hypervolume_3d(costs_N3: Numbers, reference: tuple[float, float, float]) -> float:
    """Measure the same in three costs: areas of the first two, swept along the third."""
    costs = _below(costs_N3, reference)
    costs = costs[non_dominated(costs)]
    costs = costs[np.argsort(costs[:, 2])]
    depths = np.diff(costs[:, 2], append=reference[2])
    areas = [hypervolume_2d(costs[: i + 1, :2], reference[:2]) for i in range(len(costs))]
    return float((depths * np.asarray(areas)).sum())


def f1_params_hypervolume(
    f1_N: Numbers, params_N: Numbers, reference: tuple[float, float]
) -> float:
    """Measure what a search has reached: the area on macro F1 x log10(parameters) that its trials beat.

    `reference` is the (macro F1, parameters) that a trial must beat in both to count.
    """
    worst = _f1_params_costs(np.asarray(reference[:1]), np.asarray(reference[1:]))[0]
    return hypervolume_2d(_f1_params_costs(f1_N, params_N), (float(worst[0]), float(worst[1])))


def f1_params_front(f1_N: Numbers, params_N: Numbers) -> Ints:
    """Return the indices of the trials that nothing beats, from the smallest to the largest."""
    members = np.flatnonzero(non_dominated(_f1_params_costs(f1_N, params_N)))
    return members[np.argsort(params_N[members], kind="stable")]


def knee(f1_N: Numbers, params_N: Numbers) -> int:
    """Return the index of the front's member after which more parameters buy little.

    It is the one farthest above the chord between the front's ends, on (log10 parameters, F1); how
    the two axes are scaled does not change which that is. Where none lies above the chord, it is
    the end with the best F1. Raises ValueError without trials. Source: Das 1999, "On
    characterizing the knee of the Pareto curve"; the plain chord is our reconstruction.
    """
    members = f1_params_front(f1_N, params_N)
    if len(members) == 0:
        raise ValueError("There are no trials, but a knee needs one; finish a trial first.")
    f1, size = f1_N[members].astype(np.float64), np.log10(params_N[members])
    # The distance from a line is proportional to the height above it.
    height = f1 - np.interp(size, size[[0, -1]], f1[[0, -1]])
    best = int(np.argmax(height))
    return int(members[best if height[best] > 1e-12 else -1])


def spread_along_front(params_N: Numbers, count: int) -> Ints:
    """Pick `count` members of a front, spread evenly in log parameters, smallest first; return their indices.

    Both ends are among them; for a count of 1 it is the largest, which has the best F1. A front of
    fewer members is returned whole. Raises ValueError for a count below 1 and for an empty front.
    """
    if count < 1 or len(params_N) == 0:
        raise ValueError(
            f"{count} of {len(params_N)} members are asked for, but both must be at least 1; "
            "raise the count or finish a trial first."
        )
    by_size = np.argsort(_log10(params_N), kind="stable")[::-1]
    size = _log10(params_N)[by_size]
    count = min(count, len(size))
    chosen: list[int] = []
    start = 0
    for nth, target in enumerate(np.linspace(size[0], size[-1], count)):
        # The nearest member that is not taken and leaves enough of them for the targets to come.
        stop = len(size) - (count - nth - 1)
        start += int(np.argmin(np.abs(size[start:stop] - target))) + 1
        chosen.append(int(by_size[start - 1]))
    return np.asarray(chosen[::-1], dtype=np.int64)


def _f1_params_costs(f1_N: Numbers, params_N: Numbers) -> Floats:
    if f1_N.shape != params_N.shape or f1_N.ndim != 1:
        raise ValueError(
            f"There are scores of shape {f1_N.shape} and parameter counts of shape "
            f"{params_N.shape}, but each trial has one of both; give two rows of the same length."
        )
    return np.stack([-f1_N.astype(np.float64), _log10(params_N)], axis=1)


def _log10(params_N: Numbers) -> Floats:
    if (params_N <= 0).any():
        raise ValueError(
            f"A trial has {params_N.min()} parameters, but a count must be above 0; leave it out."
        )
    logs: Floats = np.log10(params_N.astype(np.float64))
    return logs


def _distinct(costs_NM: Numbers) -> tuple[Floats, Ints]:
    """Return the points that differ, sorted by the first cost, then the second, ..., and which each point is, [N]."""
    costs = _finite(costs_NM)
    order = np.lexsort(costs.T[::-1])
    is_new = np.ones(len(costs), dtype=np.bool_)
    is_new[1:] = (costs[order[1:]] != costs[order[:-1]]).any(axis=1)
    which_N = np.empty(len(costs), dtype=np.int64)
    which_N[order] = np.cumsum(is_new) - 1
    return costs[order[is_new]], which_N


def _unbeaten(points_DM: Floats) -> NDArray[np.bool_]:
    """Return True for each point that no other beats; the points differ and are sorted by `_distinct`.

    A point can only be beaten by an earlier one.
    """
    unbeaten = np.zeros(len(points_DM), dtype=np.bool_)
    if points_DM.shape[1] == 2:
        least = np.minimum.accumulate(points_DM[:, 1])
        unbeaten[:1] = True
        unbeaten[1:] = points_DM[1:, 1] < least[:-1]
        return unbeaten
    left = np.arange(len(points_DM))
    while len(left) > 0:
        first, left = left[0], left[1:]
        unbeaten[first] = True
        left = left[(points_DM[left] < points_DM[first]).any(axis=1)]
    return unbeaten


def _finite(costs_NM: Numbers) -> Floats:
    costs = costs_NM.astype(np.float64)
    if costs.ndim != 2 or not np.isfinite(costs).all():
        raise ValueError(
            f"Costs of shape {costs.shape} hold nan or infinity, or are no table, but must be "
            "finite [N, M]; leave out trials without a score."
        )
    return costs


def _below(costs_NM: Numbers, reference: tuple[float, ...]) -> Floats:
    costs, limit = _finite(costs_NM), np.asarray(reference, dtype=np.float64)
    if costs.shape[1:] != limit.shape or not np.isfinite(limit).all():
        raise ValueError(
            f"The reference is {reference}, but must hold one finite cost for each of the "
            f"{costs.shape[1]} columns; give the worst costs that still count."
        )
    return costs[(costs < limit).all(axis=1)]
