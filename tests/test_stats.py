"""Intervals over people and seeds, exact sign flips, and the order of tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as students_t

from gaitforge.metrics import confusion, macro_f1
from gaitforge.stats import (
    EXACT_PEOPLE,
    FEW_DIFFER,
    FEW_WRONG,
    LEVEL,
    MIN_PEOPLE,
    Estimate,
    compare,
    draw_macro_f1,
    draw_people,
    estimate,
    estimate_balanced_accuracy,
    estimate_mean,
    estimate_optimism,
    estimate_rank_correlation,
    estimate_recall,
    is_noninferior,
    is_too_few,
    level_at_once,
    mean_macro_f1,
    person_accuracy,
    person_confusions,
    probability_on_front,
    sign_flip_p_value,
    spread_over_seeds,
)
from gaitforge.stats import find_tested as down_from_the_largest

Ints = NDArray[np.int64]


def _people(
    right_share: float, seeds: int = 1, people: int = 12, recordings: int = 10, seed: int = 0
) -> Ints:
    """People of three classes in turn, whose recordings are found with a given probability."""
    generator = np.random.default_rng(seed)
    matrices = np.zeros((seeds, people, 3, 3), dtype=np.int64)
    for s in range(seeds):
        for person in range(people):
            true = np.full(recordings, person % 3)
            missed = generator.random(recordings) >= right_share
            predicted = (true + missed * generator.integers(1, 3, recordings)) % 3
            matrices[s, person] = confusion(true, predicted, classes=3)
    return matrices


def answers(*right_of_each: int, recordings: int = 4) -> Ints:
    """One network of two classes [1, P, 2, 2]: people of both in turn, with so many recordings right."""
    matrices = np.zeros((1, len(right_of_each), 2, 2), dtype=np.int64)
    for person, right in enumerate(right_of_each):
        matrices[0, person, person % 2, person % 2] = right
        matrices[0, person, person % 2, 1 - person % 2] = recordings - right
    return matrices


def quantile(freedom: float, level: float = LEVEL) -> float:
    return float(students_t.ppf((1 + level) / 2, freedom))


# people and their scores


def test_person_confusions_keep_the_order_of_people() -> None:
    matrices = person_confusions(
        np.array([0, 1, 1]),
        np.array([0, 0, 1]),
        ["bo", "al", "bo"],
        people=["al", "bo"],
        classes=2,
    )
    assert matrices.tolist() == [[[0, 0], [1, 0]], [[1, 0], [0, 1]]]


@pytest.mark.parametrize("people", [["al"], ["al", "bo", "cy"]])
def test_person_confusions_refuse_other_people(people: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Person '(bo|cy)' is missing"):
        person_confusions(np.array([0, 0]), np.array([0, 0]), ["al", "bo"], people, classes=1)


def test_mean_macro_f1_pools_people_and_averages_seeds() -> None:
    perfect, hopeless = _people(1.0), _people(0.0)
    assert mean_macro_f1(np.concatenate([perfect, hopeless])) == pytest.approx(0.5)


def test_person_accuracy_is_the_mean_over_seeds() -> None:
    matrices = np.array([[[[3, 1], [0, 0]]], [[[1, 3], [0, 0]]]])
    assert person_accuracy(matrices).tolist() == [0.5]


def test_too_few_people_for_an_interval() -> None:
    assert MIN_PEOPLE == 12
    assert [is_too_few(people) for people in (11, 12)] == [True, False]


def test_people_without_recordings_are_refused() -> None:
    matrices = _people(0.5)
    matrices[0, 4] = 0
    for scored in (estimate, mean_macro_f1, person_accuracy):
        with pytest.raises(ValueError, match="no recording"):
            scored(matrices)


def test_matrices_of_another_shape_are_refused() -> None:
    for shape in ((2, 2), (0, 2, 2), (3, 2, 3)):
        with pytest.raises(ValueError, match=r"must be \[P, K, K\]"):
            estimate(np.ones(shape, dtype=np.int64))


# the interval of a score


def test_an_interval_is_of_t_over_the_jackknife_on_the_scale_of_log_odds() -> None:
    """Six of six people are sometimes wrong, so that nothing else than their spread decides."""
    right = (3, 2, 3, 1, 2, 3)
    of_all, without = f1_of_two(right), [f1_of_two(right, left_out) for left_out in range(6)]
    middle = mean(without)
    variance = 5 / 6 * sum((one - middle) ** 2 for one in without)
    odds = math.log(of_all / (1 - of_all))
    half = quantile(5) * math.sqrt(variance) / (of_all * (1 - of_all))
    found = estimate(answers(*right))
    assert found.mean == pytest.approx(of_all)
    assert found.low == pytest.approx(1 / (1 + math.exp(half - odds)))
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - odds)))


def f1_of_two(right: Sequence[int], left_out: int | None = None, recordings: int = 4) -> float:
    """Macro F1 of `answers`, recording by recording."""
    hits, truths, said = [0, 0], [0, 0], [0, 0]
    for person, own in enumerate(right):
        if person == left_out:
            continue
        for take in range(recordings):
            true = person % 2
            answer = true if take < own else 1 - true
            truths[true] += 1
            said[answer] += 1
            hits[true] += answer == true
    return mean(2 * hits[k] / (truths[k] + said[k]) for k in (0, 1))


def test_where_nobody_is_wrong_the_interval_is_wilsons_for_a_share() -> None:
    for people in (12, 40):
        found = estimate(answers(*[4] * people))
        square = quantile(people - 1) ** 2
        assert (found.mean, found.high) == (1.0, 1.0)
        assert found.low == pytest.approx(people / (people + square))
        nobody_right = estimate(answers(*[0] * people))
        assert (nobody_right.mean, nobody_right.low) == (0.0, 0.0)
        assert nobody_right.high == pytest.approx(square / (people + square))


def test_where_few_are_wrong_the_interval_is_at_least_wilsons() -> None:
    right = [4] * 30
    right[:FEW_WRONG] = [3] * FEW_WRONG  # one recording of so many that their spread is trusted
    enough = estimate(answers(*right))
    right[0] = 4
    few = estimate(answers(*right))
    square, wrong = quantile(29) ** 2, 1 - few.mean
    # Wilson 1927 in its closed form
    middle = wrong + square / 60
    reach = quantile(29) * math.sqrt(wrong * (1 - wrong) / 30 + square / 3600)
    assert few.low == pytest.approx(1 - (middle + reach) / (1 + square / 30))
    assert few.low < 0.9 < enough.low


def test_one_person_excludes_nothing() -> None:
    one = answers(3)
    assert estimate(one) == Estimate(mean=mean_macro_f1(one), low=0.0, high=1.0)
    apart = compare(one, answers(4))
    assert (apart.low, apart.high) == (-1.0, 1.0)
    assert apart.mean == pytest.approx(mean_macro_f1(one) - 1)


def test_a_class_of_one_person_leaves_numbers_and_doubt() -> None:
    """Without its only person the class is in neither truth nor answers, and leaves the mean."""
    matrices = np.zeros((1, 12, 2, 2), dtype=np.int64)
    matrices[0, :11, 0, 0] = 4
    matrices[0, 11, 1, 0] = 4
    found = estimate(matrices)
    assert 0 < found.low < found.mean < found.high < 1
    assert found.high - found.low > 0.3
    everybody_of_one = np.zeros((1, 12, 2, 2), dtype=np.int64)
    everybody_of_one[0, :, 0, 0] = 4
    assert estimate(everybody_of_one).mean == 1.0


def test_a_level_between_0_and_1_is_needed_and_a_higher_one_is_wider() -> None:
    matrices = _people(0.6)
    narrow, wide = estimate(matrices, 0.9), estimate(matrices, 0.999)
    assert wide.low < narrow.low < narrow.high < wide.high
    for wrong in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            estimate(matrices, wrong)


def test_intervals_that_hold_together_share_their_error() -> None:
    assert level_at_once(1) == pytest.approx(0.95)
    assert level_at_once(5) == pytest.approx(0.99)
    with pytest.raises(ValueError, match="0 claims"):
        level_at_once(0)


def test_the_mean_of_models_is_that_of_their_scores_and_no_surer_for_being_the_same() -> None:
    one, other = _people(0.8, seeds=2), _people(0.5, seeds=2, seed=4)
    assert estimate_mean([one, other]).mean == pytest.approx(
        (mean_macro_f1(one) + mean_macro_f1(other)) / 2
    )
    twice, once = estimate_mean([one, one]), estimate(one)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_the_recall_of_a_class_is_over_those_who_have_it() -> None:
    matrices = _people(0.7, people=36)
    found = estimate_recall(matrices, 1)
    assert found is not None
    own = matrices[0, 1::3, 1]
    assert found.mean == pytest.approx(own[:, 1].sum() / own.sum())
    assert 0 < found.low < found.mean < found.high < 1
    assert estimate_recall(matrices[:, :35], 2) is None  # 11 people have it


# the interval of a difference


def test_identical_models_differ_by_nothing_but_other_people_may_show_more() -> None:
    for people in (12, 58, 194):
        matrices = _people(0.7, people=people)
        same = compare(matrices, matrices)
        square = quantile(people - 1) ** 2
        assert same.mean == 0.0
        assert (same.low, same.high) == pytest.approx(
            (-square / (people + square), square / (people + square))
        )


def test_an_interval_is_moved_outwards_for_skewed_differences_and_never_inwards() -> None:
    """Eight of eight people have other answers, so that nothing else than their spread and skewness decides."""
    first, second = (4, 3, 4, 2, 4, 3, 4, 3), (3, 2, 2, 4, 3, 2, 3, 2)
    apart = [f1_of_two(first, p) - f1_of_two(second, p) for p in range(8)]
    middle = mean(apart)
    deviations = [one - middle for one in apart]
    error = math.sqrt(7 / 8 * sum(one**2 for one in deviations))
    skewness = -mean(one**3 for one in deviations) / mean(one**2 for one in deviations) ** 1.5
    shift = skewness * error / math.sqrt(8) / 6 * (1 + 2 * quantile(7) ** 2)
    seen = f1_of_two(first) - f1_of_two(second)
    found = compare(answers(*first), answers(*second))
    assert skewness < -0.1, "the case must show the shift"
    assert found.mean == pytest.approx(seen)
    assert found.low == pytest.approx(seen - quantile(7) * error + shift)
    assert found.high == pytest.approx(seen + quantile(7) * error)


def test_where_few_differ_the_interval_is_at_least_that_of_people_who_differ_as_a_whole() -> None:
    teacher = [4] * 40
    student = [*[2] * (FEW_DIFFER - 1), *[4] * (41 - FEW_DIFFER)]
    few = compare(answers(*student), answers(*teacher))
    square, seen = quantile(39) ** 2, -few.mean
    middle = seen + square / 80
    reach = quantile(39) * math.sqrt(seen * (1 - seen) / 40 + square / 6400)
    assert few.low == pytest.approx(-(middle + reach) / (1 + square / 40))
    student[FEW_DIFFER - 1] = 2
    enough = compare(answers(*student), answers(*teacher))
    assert few.low < enough.low, "one loser more, and yet surer: their spread is trusted"


def test_a_difference_turned_round_has_its_interval_turned_round() -> None:
    student, teacher = _people(0.9, seeds=3), _people(0.6, seed=5)
    better, worse = compare(student, teacher), compare(teacher, student)
    assert better.mean == pytest.approx(mean_macro_f1(student) - mean_macro_f1(teacher))
    assert 0 < better.low < better.mean < better.high
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


def test_pairing_narrows_the_interval_of_models_that_err_alike() -> None:
    # Eight people are hard for both models; the student misses one recording more of everybody.
    teacher = _people(0.9, people=36)[0]
    teacher[:8] = _people(0.4, people=36)[0, :8]
    student = teacher.copy()
    for person, matrix in enumerate(student):
        k = person % 3
        matrix[k, k] -= 1
        matrix[k, (k + 1) % 3] += 1
    paired, alone = compare(student, teacher), estimate(teacher)
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_one_seed_needs_no_seed_axis() -> None:
    student, teacher = _people(0.6), _people(0.8, seed=3)
    assert compare(student[0], teacher[0]) == compare(student, teacher)
    assert estimate(student[0]) == estimate(student)


def test_models_scored_on_different_recordings_are_not_compared() -> None:
    for compared in (compare, sign_flip_p_value):
        with pytest.raises(ValueError, match="different recordings"):
            compared(_people(0.5), _people(0.5, recordings=9))
        with pytest.raises(ValueError, match="different recordings"):
            compared(_people(0.5), _people(0.5, people=11))


@pytest.mark.parametrize(("margin", "expected"), [(0.05, True), (0.03, False), (0.02, False)])
def test_noninferior_is_a_whole_interval_above_the_margin(margin: float, expected: bool) -> None:
    assert is_noninferior(Estimate(mean=0.01, low=-0.03, high=0.05), margin) is expected


@pytest.mark.parametrize("margin", [-0.05, math.nan])
def test_a_negative_margin_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        is_noninferior(Estimate(mean=0, low=0, high=0), margin)


# several seeds


def crossed(right_SP: list[list[int]]) -> Ints:
    """Seeds [S, P, 2, 2] of `answers`."""
    return np.concatenate([answers(*row) for row in right_SP])


def variances(right: list[list[int]]) -> tuple[float, float]:
    """Of the mean score of `answers`: what comes of people, and what seeds add beside the chance that they share."""
    seeds, people = len(right), len(right[0])
    without = [[f1_of_two(row, person) for person in range(people)] for row in right]
    of_person = [mean(column) for column in zip(*without, strict=True)]
    inflate = (people - 1) / people
    of_people = inflate * sum((one - mean(of_person)) ** 2 for one in of_person)
    own = [[value - mean(row) for value in row] for row in without]
    common = [mean(column) for column in zip(*own, strict=True)]
    rest = sum((v - c) ** 2 for row in own for v, c in zip(row, common, strict=True))
    spread = stdev(f1_of_two(row) for row in right) ** 2 / seeds
    return of_people, spread - inflate * rest / (seeds * (seeds - 1))


def test_the_spread_over_seeds_is_added_without_the_chance_that_it_shares_with_people() -> None:
    right = [[3, 2, 1, 2, 3, 1, 2, 3], [2, 3, 2, 3, 3, 2, 3, 3], [1, 2, 2, 1, 2, 1, 1, 3]]
    score = mean(f1_of_two(row) for row in right)
    of_people, of_seeds = variances(right)
    assert of_seeds > 0, "the case must show seeds"
    total = of_people + of_seeds
    freedom = total**2 / (of_people**2 / 7 + of_seeds**2 / 2)
    odds = math.log(score / (1 - score))
    half = quantile(freedom) * math.sqrt(total) / (score * (1 - score))
    found = estimate(crossed(right))
    assert found.mean == pytest.approx(score)
    assert found.low == pytest.approx(1 / (1 + math.exp(half - odds)))
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - odds)))


def test_seeds_that_differ_widen_what_few_who_differ_leave_open() -> None:
    right = [[4] * 30, [3, *[4] * 29], [2, 2, *[4] * 28]]
    lost = 1 - mean(f1_of_two(row) for row in right)
    of_people, of_seeds = variances(right)
    assert of_seeds > 0, "the case must show seeds"
    freedom = (of_people + of_seeds) ** 2 / (of_people**2 / 29 + of_seeds**2 / 2)
    square = quantile(freedom) ** 2
    # the largest x with (x - lost)**2 <= square * ((x - x**2) / 30 + of_seeds)
    a, b, c = 1 + square / 30, 2 * lost + square / 30, lost**2 - square * of_seeds
    found = compare(crossed(right), answers(*[4] * 30))
    assert found.low == pytest.approx(-(b + math.sqrt(b**2 - 4 * a * c)) / (2 * a))


def test_seeds_that_are_copies_of_each_other_add_nothing() -> None:
    one = _people(0.7)
    copies = np.concatenate([one, one, one])
    assert (estimate(copies).low, estimate(copies).high) == pytest.approx(
        (estimate(one).low, estimate(one).high)
    )
    other = _people(0.5, seed=8)
    many, single = compare(copies, other), compare(one, other)
    assert (many.low, many.high) == pytest.approx((single.low, single.high))


def test_seeds_that_differ_widen_the_interval_more_where_they_are_few() -> None:
    people = 194  # so many that what is left is of seeds
    seeds = [_people(share, people=people, seed=k) for k, share in enumerate((0.5, 0.9) * 3)]
    two, six = (estimate(np.concatenate(some)) for some in (seeds[:2], seeds))
    one = estimate(seeds[0])
    assert one.high - one.low < 0.1 < six.high - six.low < two.high - two.low


def test_two_seeds_move_an_interval_for_the_skewness_of_people_as_many_would() -> None:
    """With one degree of freedom t is 12.7, and its square would move the interval across all values."""
    first, second = [4, 3, 4, 2, 4, 3, 4, 3], [2, 1, 1, 4, 2, 1, 2, 1]
    two = [first, [max(0, right - 2) for right in first]]
    by_seed = [[f1_of_two(row, p) - f1_of_two(second, p) for p in range(8)] for row in two]
    apart = [mean(column) for column in zip(*by_seed, strict=True)]
    deviations = [one - mean(apart) for one in apart]
    of_people = 7 / 8 * sum(one**2 for one in deviations)
    _, of_seeds = variances(two)
    freedom = (of_people + of_seeds) ** 2 / (of_people**2 / 7 + of_seeds**2)
    assert freedom < 2, "the case must have few degrees of freedom"
    skewness = -mean(one**3 for one in deviations) / mean(one**2 for one in deviations) ** 1.5
    shift = skewness * math.sqrt(of_people / 8) / 6 * (1 + 2 * quantile(7, 0.5) ** 2)
    half = quantile(freedom, 0.5) * math.sqrt(of_people + of_seeds)
    # at a level at which neither end is that of all values
    found = compare(crossed(two), answers(*second), level=0.5)
    assert found.low == pytest.approx(found.mean - half + min(shift, 0.0))
    assert found.high == pytest.approx(found.mean + half + max(shift, 0.0))
    assert abs(shift) > 0.001, "the case must show the shift"


def test_no_interval_leaves_the_values_that_are_possible() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        people, seeds = int(generator.integers(1, 14)), int(generator.integers(1, 4))
        one = crossed(generator.integers(0, 5, (seeds, people)).tolist())
        other = crossed(generator.integers(0, 5, (1, people)).tolist())
        for found, least in ((estimate(one), 0.0), (compare(one, other), -1.0)):
            assert least <= found.low <= found.mean + 1e-12
            assert found.mean - 1e-12 <= found.high <= 1.0


# which members are tested


def test_members_are_tested_from_the_largest_to_the_first_that_fails() -> None:
    params = [300, 100, 400, 200]
    assert down_from_the_largest(params, [True, True, True, True]) == (True, True, True, True)
    assert down_from_the_largest(params, [False, True, True, True]) == (True, False, True, False)
    assert down_from_the_largest(params, [True, True, False, True]) == (False, False, True, False)
    assert down_from_the_largest([], []) == ()


def test_of_two_of_one_size_the_later_is_tested_first() -> None:
    assert down_from_the_largest([100, 100], [True, False]) == (False, True)
    assert down_from_the_largest([100, 100], [False, True]) == (True, True)


# sign flips


def test_sign_flips_of_four_people_by_hand() -> None:
    """Each person has two recordings, both right or both wrong, so that F1 can be worked out in the head."""
    first, second = answers(2, 2, 2, 2, recordings=2), answers(0, 0, 2, 2, recordings=2)
    # Nobody swapped: 1 against 0.5 (each class with 2 hits of 4 and 4). The last two are the same either way,
    # so that of 16 orders 4 leave it and 4 turn it round; one swapped gives 0.733 against 0.733.
    assert mean_macro_f1(second) == 0.5
    assert sign_flip_p_value(first, second) == 0.5


def test_four_people_who_all_lose_give_the_smallest_p_that_four_can() -> None:
    first, second = answers(2, 2, 2, 2, recordings=2), answers(1, 1, 1, 1, recordings=2)
    assert sign_flip_p_value(first, second) == 2 / 16
    assert sign_flip_p_value(second, first) == 2 / 16
    assert sign_flip_p_value(first, first) == 1.0
    assert sign_flip_p_value(answers(3), answers(1)) == 1.0


def test_sign_flips_equal_those_of_plain_loops() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        people, seeds = int(generator.integers(2, 7)), int(generator.integers(1, 3))
        first = crossed(generator.integers(0, 5, (seeds, people)).tolist())
        second = crossed(generator.integers(0, 5, (1, people)).tolist())
        distances = []
        for order in itertools.product([False, True], repeat=people):
            apart = []
            for seed in first:
                here = [
                    b if swap else a for a, b, swap in zip(seed, second[0], order, strict=True)
                ]
                there = [
                    a if swap else b for a, b, swap in zip(seed, second[0], order, strict=True)
                ]
                apart.append(float(macro_f1(sum(here)) - macro_f1(sum(there))))
            distances.append(abs(mean(apart)))
        expected = mean(float(one >= distances[0] - 1e-12) for one in distances)
        assert sign_flip_p_value(first, second) == pytest.approx(expected)


def test_sign_flips_need_few_people_and_seeds_that_can_be_swapped() -> None:
    many = answers(*[3] * (EXACT_PEOPLE + 1))
    with pytest.raises(ValueError, match="17 people"):
        sign_flip_p_value(many, many)
    with pytest.raises(ValueError, match="2 and 3 seeds"):
        sign_flip_p_value(_people(0.5, seeds=2), _people(0.5, seeds=3))


# drawing people, for the share of resamples on a front


def test_every_resample_draws_as_many_people_as_there_are_each_once_on_average() -> None:
    weights = draw_people(5, 4000)
    assert weights.shape == (4000, 5)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == 5).all()
    # a mean has a standard deviation of 0.014
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


def test_the_same_people_are_drawn_every_time() -> None:
    np.testing.assert_array_equal(draw_people(12, 20), draw_people(12, 20))


def test_nobody_cannot_be_drawn() -> None:
    for people, resamples in ((0, 10), (10, 0)):
        with pytest.raises(ValueError, match="at least one of each"):
            draw_people(people, resamples)


def test_draws_are_the_macro_f1_of_the_drawn_people() -> None:
    matrices, weights = _people(0.6, seeds=2, people=5), draw_people(5, 20)
    draws = draw_macro_f1(matrices, weights)
    for draw, row in zip(draws, weights, strict=True):
        drawn = np.repeat(np.arange(5), row)
        by_seed = [float(macro_f1(seed[drawn].sum(axis=0))) for seed in matrices]
        assert draw == pytest.approx(mean(by_seed))


def test_weights_must_match_the_people() -> None:
    with pytest.raises(ValueError, match=r"must be \[R, 12\]"):
        draw_macro_f1(_people(0.5), draw_people(11, 5))


def test_probability_on_front_by_hand() -> None:
    # In the first resample the small one beats both, in the second nothing beats anything.
    draws = np.array([[0.8, 0.6], [0.7, 0.7], [0.8, 0.8]])
    shares = probability_on_front(draws, np.array([10, 20, 30]))
    assert shares.tolist() == [1.0, 0.5, 0.5]


def test_equal_members_stay_on_the_front_together() -> None:
    draws = np.array([[0.8], [0.8]])
    assert probability_on_front(draws, np.array([10, 10])).tolist() == [1.0, 1.0]
    assert probability_on_front(draws, np.array([10, 11])).tolist() == [1.0, 0.0]


def test_probability_on_front_counts_resamples() -> None:
    generator = np.random.default_rng(0)
    draws = generator.integers(0, 6, size=(7, 40)) / 5.0
    params = generator.integers(1, 5, size=7)
    expected = np.zeros(7)
    for i in range(7):
        for r in range(40):
            beaten = False
            for j in range(7):
                as_good = draws[j, r] >= draws[i, r] and params[j] <= params[i]
                better = draws[j, r] > draws[i, r] or params[j] < params[i]
                beaten = beaten or (as_good and better)
            expected[i] += (not beaten) / 40
    assert probability_on_front(draws, params) == pytest.approx(expected)


# how much a search flatters its models


def test_optimism_is_split_into_what_refits_and_what_other_people_take() -> None:
    confirmed = [_people(0.7, seeds=2), _people(0.6, seeds=2, seed=4)]
    found = estimate_optimism(np.array([0.9, 0.8]), np.array([[0.8, 0.9], [0.7, 0.8]]), confirmed)
    score = mean(mean_macro_f1(model) for model in confirmed)
    assert found.luck == pytest.approx(0.85 - 0.8)
    assert found.people == pytest.approx(0.8 - score)
    assert found.total == pytest.approx(0.85 - score)


def test_the_interval_of_optimism_is_that_of_the_confirmed_mean_turned_round() -> None:
    confirmed = [_people(0.7, seeds=2), _people(0.6, seeds=2, seed=4)]
    found = estimate_optimism(np.array([0.9, 0.8]), np.array([[0.8, 0.9], [0.7, 0.8]]), confirmed)
    its = estimate_mean(confirmed)
    assert found.interval == pytest.approx((0.85 - its.high, 0.85 - its.low))
    assert found.interval is not None
    assert found.interval[0] < found.total < found.interval[1]


def test_the_interval_of_luck_is_of_t_over_the_seeds_and_stays_possible() -> None:
    confirmed = [_people(0.7, seeds=3)]
    found = estimate_optimism(np.array([0.9]), np.array([[0.78, 0.80, 0.82]]), confirmed)
    half = quantile(2) * 0.02 / math.sqrt(3)
    assert found.luck_interval == pytest.approx((0.1 - half, 0.1 + half))
    wild = estimate_optimism(np.array([0.9]), np.array([[0.1, 0.9]]), [_people(0.7, seeds=2)])
    assert wild.luck_interval == pytest.approx((0.9 - 1.0, 0.9 - 0.0))


def test_optimism_of_few_people_or_one_seed_has_no_interval_of_them() -> None:
    few = estimate_optimism(
        np.array([0.9]), np.array([[0.8, 0.7]]), [_people(0.7, seeds=2, people=11)]
    )
    assert few.interval is None
    assert few.luck_interval is not None
    single = estimate_optimism(np.array([0.9]), np.array([[0.8]]), [_people(0.7)])
    assert single.luck_interval is None
    assert single.interval is not None


def test_optimism_needs_a_row_of_every_score() -> None:
    scored = _people(0.7)
    with pytest.raises(ValueError, match="needs a row of all"):
        estimate_optimism(np.array([0.7, 0.8]), np.array([[0.7]]), [scored, scored])
    with pytest.raises(ValueError, match="needs a row of all"):
        estimate_optimism(np.empty(0), np.empty((0, 2)), [])


def test_spread_over_seeds_is_pooled_over_models_and_not_between_them() -> None:
    scores_MS = np.array([[0.1, 0.3], [0.8, 0.9]])
    assert spread_over_seeds(scores_MS) == pytest.approx(((0.02 + 0.005) / 2) ** 0.5)
    assert spread_over_seeds(scores_MS[:, :1]) is None


# balanced accuracy and rank correlation


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_there_are() -> None:
    # 3 of 4 found of the first class, 1 of 2 of the second; the third has none
    people = np.array(
        [[[3, 1, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 0]]], dtype=np.int64
    )
    assert estimate_balanced_accuracy(people).mean == pytest.approx((0.75 + 0.5) / 2)


def test_balanced_accuracy_of_always_one_class_is_chance_however_many_have_it() -> None:
    always = np.zeros((1, 20, 2, 2), dtype=np.int64)
    always[0, :18, 0, 0] = always[0, 18:, 1, 0] = 3
    found = estimate_balanced_accuracy(always)
    assert found.mean == pytest.approx(0.5)
    assert found.low <= 0.5 <= found.high


def test_rank_correlation_has_the_value_of_the_hand_calculation() -> None:
    # differences of ranks 0, 1, -1, 0, 0: 1 - 6 * 2 / (5 * 24)
    first, second = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([10.0, 30.0, 20.0, 40.0, 500.0])
    found = estimate_rank_correlation(first, second)
    assert found.mean == pytest.approx(0.9)
    assert found.low < 0.9 < found.high < 1
    # equal values share their mean rank: ranks 1.5, 1.5, 3, 4, 5 against 1 to 5
    tied = estimate_rank_correlation(np.array([1.0, 1.0, 3.0, 4.0, 5.0]), first)
    assert tied.mean == pytest.approx(9.5 / math.sqrt(9.5 * 10))


def test_rank_correlation_is_that_of_the_opposite_with_its_sign_turned() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=30), rng.normal(size=30)
    found, turned = (estimate_rank_correlation(first, sign * second) for sign in (1, -1))
    assert (turned.mean, turned.low, turned.high) == pytest.approx(
        (-found.mean, -found.high, -found.low)
    )


def test_what_never_varies_correlates_with_nothing_and_excludes_nothing() -> None:
    found = estimate_rank_correlation(np.ones(20), np.arange(20.0))
    assert (found.mean, found.low, found.high) == (0, -1, 1)


def test_perfect_ranks_of_few_people_are_not_perfect_of_all() -> None:
    found = estimate_rank_correlation(np.arange(12.0), np.arange(12.0))
    assert found.mean == pytest.approx(1)
    assert 0.9 < found.low < 1


def test_intervals_of_unrelated_numbers_hold_zero_nearly_always() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = estimate_rank_correlation(rng.normal(size=20), rng.exponential(size=20))
        held += found.low <= 0 <= found.high
    assert held >= 0.93 * 300


def test_rank_correlation_of_three_people_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 people"):
        estimate_rank_correlation(np.arange(3.0), np.arange(3.0))
