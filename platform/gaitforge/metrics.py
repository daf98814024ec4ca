"""Scores of predicted classes: accuracy, recall, macro F1, kappa and calibration.

Everything but calibration is read off a confusion matrix [K, K] (rows are the truth, columns the
prediction), because matrices of people and folds add up and scores do not.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Counts of recordings, or such counts weighted by a bootstrap.
Counts = NDArray[np.int64] | NDArray[np.float64]
Floats = NDArray[np.float64]

Id = TypeVar("Id", bound=np.generic)


def confusion(
    true_N: NDArray[np.integer], predicted_N: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count how often each class (row) was taken for each class (column), [K, K].

    Raises ValueError for lengths that differ and for class numbers outside 0 to `classes` - 1.
    """
    if true_N.shape != predicted_N.shape or true_N.ndim != 1:
        raise ValueError(
            f"There are {true_N.shape} true and {predicted_N.shape} predicted classes, but each "
            "recording needs one of both; give two rows of the same length."
        )
    for row in (true_N, predicted_N):
        if row.size and not (row.min() >= 0 and row.max() < classes):
            raise ValueError(
                f"Class numbers run from {row.min()} to {row.max()}, but must lie in 0 to "
                f"{classes - 1}; number them in the store's class order."
            )
    # int64 first: small integer types would overflow in the product.
    cells_N = true_N.astype(np.int64) * classes + predicted_N.astype(np.int64)
    return np.bincount(cells_N, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion_KK: Counts) -> float:
    """Return the share of recordings whose class was found; nan without recordings."""
    return float(_ratio(np.trace(confusion_KK), confusion_KK.sum()))


def recall_K(confusion_KK: Counts) -> Floats:
    """Return the share of each class's recordings that was found, [K]; nan where a class has none."""
    return _ratio(np.diagonal(confusion_KK), confusion_KK.sum(axis=1))


def balanced_accuracy(confusion_KK: Counts) -> float:
    """Return macro recall, the mean recall of the classes that have recordings; nan without any."""
    recalls = recall_K(confusion_KK)
    return float(_ratio(np.nansum(recalls), np.isfinite(recalls).sum()))


def macro_f1(confusion_xKK: Counts) -> Floats:
    """Return the mean F1 of the classes, over any leading axes: [..., K, K] gives [...], [K, K] a scalar.

    A class that occurs neither in the truth nor among the predictions is left out of the mean; one
    that occurs in the truth and is never predicted counts 0, as does one that is only predicted.
    This equals scikit-learn's `f1_score(true, predicted, average="macro")`, whose labels are by
    default those present in either row; `labels=range(K)` would count an absent class as 0.
    A matrix without recordings gives nan.
    """
    hits_xK = np.diagonal(confusion_xKK, axis1=-2, axis2=-1)
    occurrences_xK = confusion_xKK.sum(axis=-1) + confusion_xKK.sum(axis=-2)
    f1_xK = 2 * hits_xK / np.maximum(occurrences_xK, np.finfo(np.float64).tiny)
    return _ratio(f1_xK.sum(axis=-1), (occurrences_xK > 0).sum(axis=-1))


def weighted_kappa(confusion_KK: Counts) -> float:
    """Return agreement beyond chance on ordered classes, a miss costing its distance in classes (linear).

    From below 0 (worse than chance) to 1; nan where truth and prediction are all one class, since
    chance then agrees as well. Source: Cohen 1968, "Weighted kappa".
    """
    classes = confusion_KK.shape[0]
    distance_KK = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    chance_KK = np.outer(confusion_KK.sum(axis=1), confusion_KK.sum(axis=0))
    observed = (distance_KK * confusion_KK).sum() * confusion_KK.sum()
    return float(1 - _ratio(observed, (distance_KK * chance_KK).sum()))


def expected_calibration_error(
    probabilities_NK: NDArray[np.floating], true_N: NDArray[np.integer], bins: int = 10
) -> float:
    """Measure how far confidence and accuracy lie apart, from 0 to 1.

    The confidence is the largest probability; recordings are put in `bins` equal bins of it (a
    value on an edge belongs below), and the bins' |accuracy - mean confidence| are averaged by
    their size. Raises ValueError for rows that do not match.
    Source: Guo et al. 2017 (arXiv 1706.04599), eq. 3.
    """
    recordings = len(probabilities_NK)
    if recordings == 0 or true_N.shape != (recordings,):
        raise ValueError(
            f"There are {recordings} rows of probabilities and {true_N.shape} true classes, but "
            "each recording needs one of both; give at least one recording."
        )
    confidence_N = probabilities_NK.max(axis=1)
    gap_N = (probabilities_NK.argmax(axis=1) == true_N) - confidence_N.astype(np.float64)
    bin_N = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence_N, side="left")
    return float(np.abs(np.bincount(bin_N, weights=gap_N)).sum() / recordings)


def softmax(logits_NK: NDArray[np.floating]) -> Floats:
    """Return probabilities of classes [N, K] from their logits."""
    logits = logits_NK.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def recording_scores(
    logits_NK: NDArray[np.floating], recording_N: NDArray[Id]
) -> tuple[NDArray[Id], Floats]:
    """Average the logits of each recording's windows, [R, K]; return the recordings [R] too, in sorted order.

    `recording_N` names or numbers the recording of each window. Raises ValueError where the two
    rows differ in length, FloatingPointError for logits of which no class follows.
    """
    if logits_NK.ndim != 2 or recording_N.shape != logits_NK.shape[:1]:
        raise ValueError(
            f"There are logits of shape {logits_NK.shape} for recordings of shape "
            f"{recording_N.shape}, but each window needs one row of both; give [N, K] and [N]."
        )
    broken_N = ~np.isfinite(logits_NK).all(axis=1)
    if broken_N.any():
        raise FloatingPointError(
            f"A model answers {broken_N.sum()} of {len(broken_N)} windows with logits that are no finite numbers, of "
            "which no class follows; train it with a lower fit.lr."
        )
    recordings, row_N, windows = np.unique(recording_N, return_inverse=True, return_counts=True)
    sums = np.zeros((len(recordings), logits_NK.shape[1]))
    np.add.at(sums, row_N, logits_NK)
    return recordings, sums / windows[:, None]


def _ratio(above: NDArray[np.number] | np.number, below: NDArray[np.number] | np.number) -> Floats:
    """Return above / below, nan where below is 0, in silence."""
    quotient = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotient, where=np.asarray(below) != 0)
    scalar_if_0d: Floats = quotient[()]
    return scalar_if_0d
