"""Scores of predicted classes, on matrices small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gaitforge.metrics import (
    accuracy,
    balanced_accuracy,
    confusion,
    expected_calibration_error,
    macro_f1,
    recall_K,
    recording_scores,
    softmax,
    weighted_kappa,
)

# Three of four of class 0 found, one of two of class 1.
TWO_CLASSES = np.array([[3, 1], [1, 1]])


def test_confusion_has_the_truth_in_rows() -> None:
    matrix = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert matrix.dtype == np.int64


def test_confusion_does_not_overflow_small_integers() -> None:
    last = np.array([199], dtype=np.uint8)
    assert confusion(last, last, classes=200)[199, 199] == 1


def test_confusion_of_nothing_is_empty() -> None:
    nothing = np.array([], dtype=np.int64)
    assert confusion(nothing, nothing, classes=2).tolist() == [[0, 0], [0, 0]]


def test_confusion_refuses_classes_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="from 0 to 2, but must lie in 0 to 1"):
        confusion(np.array([0, 2]), np.array([0, 1]), classes=2)
    with pytest.raises(ValueError, match="from -1 to 1"):
        confusion(np.array([0, 1]), np.array([-1, 1]), classes=2)


def test_confusion_refuses_rows_of_different_length() -> None:
    with pytest.raises(ValueError, match="same length"):
        confusion(np.array([0, 1]), np.array([0]), classes=2)


def test_accuracy_and_recalls_by_hand() -> None:
    assert accuracy(TWO_CLASSES) == pytest.approx(4 / 6)
    assert recall_K(TWO_CLASSES) == pytest.approx([3 / 4, 1 / 2])
    assert balanced_accuracy(TWO_CLASSES) == pytest.approx(5 / 8)


def test_a_class_without_truth_has_no_recall_and_no_say_in_balanced_accuracy() -> None:
    matrix = np.array([[2, 2], [0, 0]])
    assert recall_K(matrix) == pytest.approx([1 / 2, np.nan], nan_ok=True)
    assert balanced_accuracy(matrix) == pytest.approx(1 / 2)


def test_macro_f1_by_hand() -> None:
    assert macro_f1(TWO_CLASSES) == pytest.approx((6 / 8 + 2 / 4) / 2)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        pytest.param([[2, 0, 0], [0, 3, 0], [0, 0, 0]], 1.0, id="absent class left out"),
        pytest.param([[2, 0], [2, 0]], (4 / 6 + 0) / 2, id="never predicted counts 0"),
        pytest.param([[3, 1], [0, 0]], (6 / 7 + 0) / 2, id="only predicted counts 0"),
        pytest.param([[0, 0], [0, 0]], np.nan, id="nothing is nan"),
    ],
)
def test_macro_f1_of_missing_classes(matrix: list[list[int]], expected: float) -> None:
    assert macro_f1(np.array(matrix)) == pytest.approx(expected, nan_ok=True)


def test_macro_f1_of_many_matrices_is_that_of_each() -> None:
    matrices = np.random.default_rng(0).integers(0, 3, size=(4, 5, 3, 3))
    scores = macro_f1(matrices)
    assert scores.shape == (4, 5)
    for index in np.ndindex(4, 5):
        assert scores[index] == pytest.approx(_macro_f1_in_words(matrices[index]), nan_ok=True)


def _macro_f1_in_words(matrix: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    scores = []
    for k in range(len(matrix)):
        hits, truth, predicted = matrix[k, k], matrix[k].sum(), matrix[:, k].sum()
        if truth + predicted == 0:
            continue
        precision = hits / predicted if predicted else 0.0
        recall = hits / truth if truth else 0.0
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0.0)
    return float(np.mean(scores)) if scores else float("nan")


def test_scores_of_no_recordings_are_nan() -> None:
    nothing = np.zeros((2, 2), dtype=np.int64)
    scores = [accuracy(nothing), balanced_accuracy(nothing), weighted_kappa(nothing)]
    assert np.isnan(scores).all()


def test_weighted_kappa_is_1_for_agreement_0_for_chance_and_negative_below() -> None:
    assert weighted_kappa(np.diag([2, 1, 4])) == pytest.approx(1.0)
    assert weighted_kappa(np.array([[1, 1], [1, 1]])) == pytest.approx(0.0)
    assert weighted_kappa(np.array([[0, 2], [2, 0]])) == pytest.approx(-1.0)
    assert np.isnan(weighted_kappa(np.array([[5, 0], [0, 0]])))


def test_weighted_kappa_charges_the_distance_of_a_miss() -> None:
    # One recording of each class but one miss: distance 2 costs twice distance 1.
    # Chance: rows (2,1,1) x columns (1,1,2) / 4 x distance = (2 + 8 + 1 + 2 + 2 + 1) / 4 = 4.
    far = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    assert weighted_kappa(far) == pytest.approx(1 - 2 / 4)
    # Chance: rows (2,1,1) x columns (1,2,1) / 4 x distance = (4 + 4 + 1 + 1 + 2 + 2) / 4 = 3.5.
    near = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert weighted_kappa(near) == pytest.approx(1 - 1 / 3.5)


def test_calibration_error_by_hand() -> None:
    # Bin (0.8, 0.9]: one right, one wrong at 0.9, gap 0.4. Bin (0.5, 0.6]: right at 0.6, gap 0.4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    true = np.array([0, 1, 1])
    assert expected_calibration_error(probabilities, true) == pytest.approx(0.4)
    # In one bin the gaps meet: |2/3 - 0.8|.
    assert expected_calibration_error(probabilities, true, bins=1) == pytest.approx(0.8 - 2 / 3)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not() -> None:
    certain = np.eye(3)
    assert expected_calibration_error(certain, np.array([0, 1, 2])) == 0
    assert expected_calibration_error(certain, np.array([1, 2, 0])) == 1


def test_calibration_error_refuses_rows_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="at least one recording"):
        expected_calibration_error(np.eye(2), np.array([0]))


def test_softmax_sums_to_1_and_stands_large_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3.0)]], dtype=np.float32))
    assert probabilities[0] == pytest.approx([0.5, 0.5])
    assert probabilities[1] == pytest.approx([0.25, 0.75])


def test_a_recording_scores_the_mean_logits_of_its_windows() -> None:
    logits = np.array([[1, 0], [0, 4], [3, 2]], dtype=np.float32)
    recordings, means = recording_scores(logits, np.array(["walk_b", "walk_a", "walk_b"]))
    assert recordings.tolist() == ["walk_a", "walk_b"]
    assert means.tolist() == [[0, 4], [2, 1]]


def test_recording_scores_take_numbers_too() -> None:
    recordings, means = recording_scores(np.array([[1.0], [2.0]]), np.array([7, 3]))
    assert recordings.tolist() == [3, 7]
    assert means.tolist() == [[2], [1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_finite_numbers_are_of_no_class(value: float) -> None:
    with pytest.raises(FloatingPointError, match=r"answers 1 of 3 windows .*no class follows; "):
        recording_scores(np.array([[1, 0], [0, value], [3, 2]]), np.array([1, 1, 2]))


def test_recording_scores_refuse_windows_without_recording() -> None:
    with pytest.raises(ValueError, match="each window needs"):
        recording_scores(np.zeros((3, 2)), np.array([1, 2]))
