"""Bootstrap and permutation over people."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.metrics import confusion, macro_f1
from gaitforge.stats import (
    MIN_PEOPLE,
    Difference,
    bootstrap_weights,
    class_strata,
    compare,
    interval,
    macro_f1_draws,
    mean_macro_f1,
    noninferior,
    optimism,
    paired_p_value,
    person_accuracy,
    person_confusions,
    probability_on_front,
    recall_draws,
    spread_over_seeds,
    too_few,
)

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


def _weights(people: int = 12, resamples: int = 400, seed: int = 1) -> Ints:
    return bootstrap_weights(None, people, resamples, np.random.default_rng(seed))


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


def test_strata_are_the_classes_of_people_who_have_one() -> None:
    assert class_strata(_people(0.5, people=4)) == ["0", "1", "2", "0"]
    both = _people(0.5, people=4)[0]
    both[0, 1, 1] = 1
    assert class_strata(both) is None


def test_every_resample_draws_as_many_people_as_there_are() -> None:
    weights = _weights(people=7, resamples=50)
    assert weights.shape == (50, 7)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == 7).all()


def test_every_resample_keeps_the_size_of_each_stratum() -> None:
    strata = np.array(["ill", "well", "ill", "ill", "well", "rare"])
    weights = bootstrap_weights(strata.tolist(), 6, 50, np.random.default_rng(0))
    for stratum, size in {"ill": 3, "well": 2, "rare": 1}.items():
        assert (weights[:, strata == stratum].sum(axis=1) == size).all()
    assert len(np.unique(weights, axis=0)) > 1


def test_each_person_is_drawn_once_on_average() -> None:
    assert _weights(people=5, resamples=4000).mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


def test_the_same_seed_draws_the_same_people() -> None:
    assert (_weights(seed=3) == _weights(seed=3)).all()


def test_nobody_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="0 people"):
        _weights(people=0)
    with pytest.raises(ValueError, match="with 2 strata"):
        bootstrap_weights(["a", "b"], 3, 10, np.random.default_rng(0))


def test_draws_are_the_macro_f1_of_the_drawn_people() -> None:
    matrices, weights = _people(0.6, seeds=2, people=5), _weights(people=5, resamples=20)
    draws = macro_f1_draws(matrices, weights)
    for draw, row in zip(draws, weights, strict=True):
        drawn = np.repeat(np.arange(5), row)
        by_seed = [float(macro_f1(seed[drawn].sum(axis=0))) for seed in matrices]
        assert draw == pytest.approx(np.mean(by_seed))


def test_one_seed_needs_no_seed_axis() -> None:
    matrices, weights = _people(0.6), _weights()
    assert (macro_f1_draws(matrices[0], weights) == macro_f1_draws(matrices, weights)).all()


def test_mean_macro_f1_pools_people_and_averages_seeds() -> None:
    perfect, hopeless = _people(1.0), _people(0.0)
    assert mean_macro_f1(np.concatenate([perfect, hopeless])) == pytest.approx(0.5)


def test_a_perfect_classifier_leaves_no_doubt() -> None:
    assert interval(macro_f1_draws(_people(1.0, seeds=2), _weights())) == (1.0, 1.0)


def test_an_interval_holds_the_middle_of_the_draws() -> None:
    assert interval(np.arange(101.0), level=0.9) == pytest.approx((5, 95))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(np.arange(3.0), level=95)


def test_people_without_recordings_are_refused() -> None:
    matrices = _people(0.5)
    matrices[0, 4] = 0
    with pytest.raises(ValueError, match="no recording"):
        macro_f1_draws(matrices, _weights())


def test_weights_must_match_the_people() -> None:
    with pytest.raises(ValueError, match=r"must be \[R, 12\]"):
        macro_f1_draws(_people(0.5), _weights(people=11))


def test_identical_models_do_not_differ() -> None:
    matrices = _people(0.7)
    same = compare(matrices, matrices, _weights())
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    assert paired_p_value(matrices, matrices, 100, np.random.default_rng(0)) == 1.0


def test_a_difference_is_positive_where_the_student_is_better() -> None:
    student, teacher = _people(0.9, seeds=3), _people(0.6, seed=5)
    better = compare(student, teacher, _weights())
    assert better.mean == pytest.approx(mean_macro_f1(student) - mean_macro_f1(teacher))
    assert 0 < better.low < better.mean < better.high
    worse = compare(teacher, student, _weights())
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


def test_pairing_narrows_the_interval_of_models_that_err_alike() -> None:
    # Two people are hard for both models; the student misses one recording more of everybody.
    teacher = _people(0.9, people=9)[0]
    teacher[:2] = _people(0.4, people=9)[0, :2]
    student = teacher.copy()
    for person, matrix in enumerate(student):
        k = person % 3
        matrix[k, k] -= 1
        matrix[k, (k + 1) % 3] += 1
    weights = _weights(people=9)
    paired = compare(student, teacher, weights)
    low, high = interval(macro_f1_draws(teacher, weights))
    assert paired.high - paired.low < (high - low) / 2


def test_models_scored_on_different_recordings_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different recordings"):
        compare(_people(0.5), _people(0.5, recordings=9), _weights())
    with pytest.raises(ValueError, match="different recordings"):
        compare(_people(0.5), _people(0.5, people=11), _weights())


@pytest.mark.parametrize(("margin", "expected"), [(0.05, True), (0.03, False), (0.02, False)])
def test_noninferior_is_a_whole_interval_above_the_margin(margin: float, expected: bool) -> None:
    assert noninferior(Difference(mean=0.01, low=-0.03, high=0.05), margin) is expected


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        noninferior(Difference(mean=0, low=0, high=0), margin=-0.05)


def test_too_few_people_for_an_interval() -> None:
    assert MIN_PEOPLE == 8
    assert [too_few(people) for people in (7, 8)] == [True, False]


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


def test_p_value_tells_clear_differences_from_none() -> None:
    generator = np.random.default_rng(0)
    clear = paired_p_value(_people(0.95, seeds=3), _people(0.4, seed=5), 500, generator)
    alike = paired_p_value(_people(0.7, seed=2), _people(0.7, seed=3), 500, generator)
    assert 1 / 500 <= clear < 0.01
    assert alike > 0.05


def test_p_value_is_the_same_either_way_round() -> None:
    first, second = _people(0.8, seeds=2), _people(0.7, seed=9)
    there = paired_p_value(first, second, 200, np.random.default_rng(0))
    back = paired_p_value(second, first, 200, np.random.default_rng(0))
    assert there == back


def test_p_value_needs_seeds_that_can_be_swapped() -> None:
    with pytest.raises(ValueError, match="2 and 3 seeds"):
        paired_p_value(_people(0.5, seeds=2), _people(0.5, seeds=3), 10, np.random.default_rng(0))


def test_person_accuracy_is_the_mean_over_seeds() -> None:
    matrices = np.array([[[[3, 1], [0, 0]]], [[[1, 3], [0, 0]]]])
    assert person_accuracy(matrices).tolist() == [0.5]


# how much a search flatters its models


def test_optimism_is_split_into_what_refits_and_what_other_people_take() -> None:
    found = optimism(
        np.array([0.9, 0.8]), np.array([[0.8, 0.9], [0.7, 0.8]]), np.array([0.7, 0.75]), None
    )
    assert found.luck == pytest.approx(0.85 - 0.8)
    assert found.people == pytest.approx(0.8 - 0.725)
    assert found.total == pytest.approx(0.85 - 0.725)
    assert found.interval is None


def test_the_interval_of_optimism_is_that_of_the_confirmed_mean_turned_round() -> None:
    draws_MR = np.array([np.linspace(0.6, 0.8, 101), np.linspace(0.7, 0.8, 101)])
    found = optimism(
        np.array([0.9, 0.8]), np.array([[0.8], [0.8]]), draws_MR.mean(axis=1), draws_MR
    )
    low, high = interval(draws_MR.mean(axis=0))
    assert found.interval == pytest.approx((0.85 - high, 0.85 - low))
    assert found.interval is not None
    assert found.interval[0] < found.total < found.interval[1]


def test_a_search_that_is_right_has_no_optimism() -> None:
    found = optimism(np.array([0.7]), np.array([[0.7, 0.7]]), np.array([0.7]), None)
    assert (found.luck, found.people, found.total) == (0.0, 0.0, 0.0)


def test_optimism_needs_a_row_of_every_score() -> None:
    with pytest.raises(ValueError, match="needs a row of all"):
        optimism(np.array([0.7, 0.8]), np.array([[0.7]]), np.array([0.7, 0.8]), None)
    with pytest.raises(ValueError, match="needs a row of all"):
        optimism(np.empty(0), np.empty((0, 2)), np.empty(0), None)


def test_spread_over_seeds_is_pooled_over_models_and_not_between_them() -> None:
    scores_MS = np.array([[0.1, 0.3], [0.8, 0.9]])
    assert spread_over_seeds(scores_MS) == pytest.approx(((0.02 + 0.005) / 2) ** 0.5)
    assert spread_over_seeds(scores_MS[:, :1]) is None


# random small cases against the same in plain loops


class Case:
    """A teacher and a front of models, with the people and draws to score them by."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        people, classes, seeds = rng.integers(2, 9), rng.integers(2, 4), rng.integers(1, 4)
        self.resamples = int(rng.integers(5, 30))
        truth_P = rng.integers(0, classes, people)
        recordings_P = rng.integers(1, 4, people)

        def model(seeds: int) -> Ints:
            confusions = np.zeros((seeds, people, classes, classes), dtype=np.int64)
            for s in range(seeds):
                for p in range(people):
                    for _ in range(recordings_P[p]):
                        said = truth_P[p] if rng.random() < 0.6 else rng.integers(0, classes)
                        confusions[s, p, truth_P[p], said] += 1
            return confusions

        self.teacher = model(1)
        self.models = [model(int(seeds)) for _ in range(rng.integers(1, 5))]
        self.params = rng.integers(1, 4, len(self.models)) * 100  # sizes that coincide, too
        self.weights = bootstrap_weights(None, int(people), self.resamples, rng)
        self.margin = float(rng.uniform(0.01, 0.6))


CASES = pytest.mark.parametrize("case", [Case(seed) for seed in range(50)], ids=range(50))


def f1_of(confusions_SPKK: Ints, weights_P: Ints) -> float:
    """Macro F1 of people counted so many times, mean over seeds, recording by recording."""
    by_seed = []
    for person_matrices in confusions_SPKK.tolist():
        classes = len(person_matrices[0])
        hits, truths, answers = [0] * classes, [0] * classes, [0] * classes
        for times, matrix in zip(weights_P.tolist(), person_matrices, strict=True):
            for true in range(classes):
                for said in range(classes):
                    truths[true] += times * matrix[true][said]
                    answers[said] += times * matrix[true][said]
                    hits[true] += times * matrix[true][said] if true == said else 0
        f1 = [
            2 * hits[k] / (truths[k] + answers[k])
            for k in range(classes)
            if truths[k] + answers[k]
        ]
        by_seed.append(sum(f1) / len(f1))
    return sum(by_seed) / len(by_seed)


def quantile_of(values: list[float], share: float) -> float:
    """Between the two values whose ranks enclose the share."""
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    below = int(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])


@CASES
def test_draws_equal_those_of_plain_loops(case: Case) -> None:
    for model in [case.teacher, *case.models]:
        expected = [f1_of(model, row) for row in case.weights]
        assert macro_f1_draws(model, case.weights) == pytest.approx(expected)
        everybody = np.ones(model.shape[1], dtype=np.int64)
        assert mean_macro_f1(model) == pytest.approx(f1_of(model, everybody))


@CASES
def test_differences_and_noninferiority_equal_those_of_plain_loops(case: Case) -> None:
    everybody = np.ones(case.teacher.shape[1], dtype=np.int64)
    for model in case.models:
        draws = [f1_of(model, row) - f1_of(case.teacher, row) for row in case.weights]
        low, high = quantile_of(draws, 0.025), quantile_of(draws, 0.975)
        found = compare(model, case.teacher, case.weights)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.mean == pytest.approx(
            f1_of(model, everybody) - f1_of(case.teacher, everybody)
        )
        assert noninferior(found, case.margin) is (low > -case.margin)


@CASES
def test_probability_on_front_equals_that_of_plain_loops(case: Case) -> None:
    # of the same floats, since sums in another order would break ties
    draws = [macro_f1_draws(model, case.weights).tolist() for model in case.models]
    sizes = case.params.tolist()
    expected = []
    for mine, size in zip(draws, sizes, strict=True):
        unbeaten = 0
        for r in range(case.resamples):
            beaten = False
            for other, its_size in zip(draws, sizes, strict=True):
                if its_size < size and other[r] >= mine[r]:
                    beaten = True
                if its_size == size and other[r] > mine[r]:
                    beaten = True
            unbeaten += not beaten
        expected.append(unbeaten / case.resamples)
    assert probability_on_front(np.array(draws), case.params) == pytest.approx(expected)


def test_recalls_are_of_all_seeds_together_and_nan_where_nobody_of_a_class_was_drawn() -> None:
    first = [[[2, 0], [0, 0]], [[0, 0], [1, 3]]]
    second = [[[1, 1], [0, 0]], [[0, 0], [1, 3]]]
    draws = recall_draws(np.array([first, second]), np.array([[1, 1], [2, 0]]))
    assert draws[0].tolist() == [0.75, 0.75]
    assert draws[1, 0] == 0.75
    assert np.isnan(draws[1, 1])
