"""The reference that anybody could have had: ridge regression on random Fourier features, and chance.

One-vs-all least squares with class-balanced weights on features of clean windows; a linear machine is
among the candidates. Random features of a Gaussian kernel are those of Rahimi and Recht 2007, "Random
Features for Large-Scale Kernel Machines"; the median distance as the unit of its width is the usual
rule of thumb.

Letters: N windows, F features of a window, D features of the machine, S strengths, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaitforge.metrics import accuracy, confusion, macro_f1, recording_scores
from gaitforge.window_cache import WindowSet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Raise it whenever the code makes another machine of the same windows.
FORMAT = 1

FRAMES = 16  # moments of a window whose coordinates are features
RANDOM = 2048  # random features at most
RANDOM_PER_WINDOW = 2  # more would tell a few windows no further apart, and cost their cube
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # of the kernel, in median distances between training windows
STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # of the ridge, as shares of all variance
CHUNK = 1024  # windows in memory at a time
SAMPLE = 1000  # windows whose distances give the median
MOST_LINEAR = 4096  # features beyond which a linear machine would cost more than all others


class Scores(NamedTuple):
    """What some answers are worth, by recording."""

    macro_f1: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lift:
    """From clean windows to the features of a machine [N, D]; without frequencies these are the windows' own."""

    mean_F: Floats
    factor_F: Floats  # 1 / sd over the training windows; 0 where a feature never varies there
    frequency_FD: NDArray[np.float32]
    phase_D: Floats

    def cut_chunks(self, windows: WindowSet) -> Iterator[tuple[slice, Floats]]:
        """Yield where each chunk lies among the windows, and its features."""
        for rows, raw_NF in cut_features(windows):
            scaled_NF = (raw_NF - self.mean_F) * self.factor_F
            if self.phase_D.size:
                angle_ND = scaled_NF @ self.frequency_FD.astype(np.float64) + self.phase_D
                yield rows, np.cos(angle_ND) * np.sqrt(2 / self.phase_D.size)
            else:
                yield rows, scaled_NF


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """A fitted machine."""

    lift: Lift
    weight_DK: Floats
    bias_K: Floats

    def logits(self, windows: WindowSet) -> Floats:
        """Return scores of the classes [N, K]: the largest is the answer; they are no logarithms of probabilities."""
        return np.concatenate(
            [lifted @ self.weight_DK + self.bias_K for _, lifted in self.lift.cut_chunks(windows)]
        )

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it by name, for a file."""
        lift = {item.name: getattr(self.lift, item.name) for item in dataclasses.fields(Lift)}
        return {**lift, "weight_DK": self.weight_DK, "bias_K": self.bias_K}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Reference:
        """Read what `as_arrays` gave."""
        lift = Lift(**{item.name: arrays[item.name] for item in dataclasses.fields(Lift)})
        return cls(lift=lift, weight_DK=arrays["weight_DK"], bias_K=arrays["bias_K"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which candidate the validation people chose, and what it scores on them."""

    width: float | None  # in median distances; None = the linear machine
    strength: float
    valid: Scores


def fit_reference(
    train: WindowSet, valid: WindowSet, classes: int, seed: int = 0
) -> tuple[Reference, Choice]:
    """Fit a small grid of machines on the training people; return the best on the validation people.

    Validation people choose here as they choose a teacher's epoch. Memory does not grow with the
    number of windows. From training people of one class it learns to answer that class. The same
    windows and seed give the same machine.
    """
    best: tuple[Reference, Choice] | None = None
    for width, lift in make_candidates(train, np.random.default_rng(seed)):
        weight_SDK, bias_SK = solve(lift, train, classes)
        for strength, logits_NK, weight_DK, bias_K in zip(
            STRENGTHS,
            _all_logits(lift, weight_SDK, bias_SK, valid),
            weight_SDK,
            bias_SK,
            strict=True,
        ):
            choice = Choice(width=width, strength=strength, valid=score_windows(logits_NK, valid))
            # the first of equals: the linear machine, the stronger ridge
            if best is None or choice.valid > best[1].valid:
                best = Reference(lift=lift, weight_DK=weight_DK, bias_K=bias_K), choice
    assert best is not None
    return best


def make_candidates(
    train: WindowSet,
    generator: np.random.Generator,
    *,
    widths: Sequence[float] = WIDTHS,
    most_random: int = RANDOM,
    most_linear: int = MOST_LINEAR,
) -> Iterator[tuple[float | None, Lift]]:
    """Yield the linear machine and one for each width of the kernel, scaled by the training windows."""
    mean_F, factor_F = fit_scale(train)
    plain = Lift(
        mean_F=mean_F, factor_F=factor_F, frequency_FD=np.zeros((len(mean_F), 0), np.float32), phase_D=np.zeros(0)
    )  # fmt: skip
    if len(mean_F) <= most_linear:
        yield None, plain
    median = median_distance(plain, train, generator)
    random = min(most_random, RANDOM_PER_WINDOW * train.n)
    normal_FD = generator.standard_normal((len(mean_F), random))
    phase_D = generator.uniform(0, 2 * np.pi, random)
    for width in widths:
        frequency_FD = (normal_FD / (width * median)).astype(np.float32)
        yield width, dataclasses.replace(plain, frequency_FD=frequency_FD, phase_D=phase_D)


def solve(lift: Lift, train: WindowSet, classes: int) -> tuple[Floats, Floats]:
    """Solve the ridge regressions of all strengths: weights [S, D, K] and biases [S, K].

    A bias is not shrunk. The scores of a window sum to 1 over the classes, and those of a class
    without training windows are 0: it is never the answer.
    """
    weight_N = balance_weights(train.label_N, classes)
    prior_K = np.asarray(np.bincount(train.label_N, weight_N, classes), dtype=np.float64)
    size = lift.phase_D.size or len(lift.mean_F)
    return solve_targets(
        lift.cut_chunks(train), size, weight_N, np.eye(classes)[train.label_N], prior_K
    )


def solve_targets(
    chunks: Iterable[tuple[slice, Floats]],
    size: int,
    weight_N: Floats,
    target_NK: Floats,
    prior_K: Floats,
) -> tuple[Floats, Floats]:
    """Solve the ridge regressions of all strengths to any targets: weights [S, D, K] and biases [S, K].

    `chunks` say where features [N, D] of `size` D lie; `weight_N` sum to 1, and `prior_K` are the targets' weighted
    means.
    """
    square_DD = np.zeros((size, size))
    target_DK = np.zeros((size, len(prior_K)))
    mean_D = np.zeros(size)
    for rows, lifted_ND in chunks:
        weighted_ND = lifted_ND * weight_N[rows, None]
        square_DD += weighted_ND.T @ lifted_ND
        target_DK += weighted_ND.T @ target_NK[rows]
        mean_D += weighted_ND.sum(axis=0)
    power = float(np.trace(square_DD))
    square_DD -= np.outer(mean_D, mean_D)
    target_DK -= np.outer(mean_D, prior_K)
    variance = float(np.trace(square_DD))
    # rounding: all windows are alike, and the weights must stay near 0
    if variance <= 1e-9 * power:
        variance = 1.0
    weight_SDK = np.stack(
        [
            np.linalg.solve(square_DD + strength * variance * np.eye(size), target_DK)
            for strength in STRENGTHS
        ]
    )
    return weight_SDK, prior_K - mean_D @ weight_SDK


def balance_weights(label_N: Ints, classes: int) -> Floats:
    """Return weights of windows [N] that sum to 1, and to the same in each class that occurs."""
    count_K = np.bincount(label_N, minlength=classes)
    weight_N: Floats = 1 / (count_K[label_N] * np.count_nonzero(count_K))
    return weight_N


def fit_scale(train: WindowSet) -> tuple[Floats, Floats]:
    """Return the mean of each feature over the training windows and 1 / its deviation, 0 where it does not vary."""
    # near the mean, so that squares keep their digits
    shift_F = next(cut_features(train))[1].mean(axis=0)
    sums_F = squares_F = np.zeros_like(shift_F)
    for _, raw_NF in cut_features(train):
        sums_F = sums_F + (raw_NF - shift_F).sum(axis=0)
        squares_F = squares_F + np.square(raw_NF - shift_F).sum(axis=0)
    mean_F = sums_F / train.n
    sd_F = np.sqrt(np.maximum(squares_F / train.n - mean_F**2, 0))
    # rounding leaves a little of a feature that does not vary
    varies_F = sd_F > 1e-9 * (1 + np.abs(shift_F))
    return shift_F + mean_F, np.where(varies_F, 1 / np.where(varies_F, sd_F, 1), 0)


def median_distance(plain: Lift, train: WindowSet, generator: np.random.Generator) -> float:
    """Return the median distance between training windows, over a sample of them; 1 where all are alike."""
    row_N = np.sort(generator.permutation(train.n)[:SAMPLE])
    raw_NF = compute_features(*train.score(row_N))
    sample_NF = (raw_NF - plain.mean_F) * plain.factor_F
    square_N = np.square(sample_NF).sum(axis=1)
    squares_NN = square_N[:, None] + square_N - 2 * sample_NF @ sample_NF.T
    pairs = squares_NN[np.triu_indices(len(sample_NF), 1)]
    median = float(np.median(pairs)) if pairs.size else 0.0
    return math.sqrt(median) if median > 0 else 1.0


def cut_features(windows: WindowSet) -> Iterator[tuple[slice, Floats]]:
    """Yield where each chunk of windows lies, and their features [N, F]."""
    for start in range(0, windows.n, CHUNK):
        rows = slice(start, min(start + CHUNK, windows.n))
        yield rows, compute_features(*windows.score(rows))


def compute_features(joints_NTVC: NDArray[np.float32], seen_NTV: NDArray[np.bool_]) -> Floats:
    """Return coordinates at FRAMES moments, then the deviation and the mean speed of each coordinate, [N, F].

    What was not seen, or is no number, counts as the training people's mean (0 in z-scores), and in
    neither deviation nor speed.
    """
    joints = joints_NTVC.astype(np.float64)
    seen = seen_NTV[..., None] & np.isfinite(joints)
    joints = np.where(seen, joints, 0)
    moment_M = np.linspace(0, joints.shape[1] - 1, FRAMES)
    low_M = np.floor(moment_M).astype(np.int64)
    high_M = np.minimum(low_M + 1, joints.shape[1] - 1)
    part_M = (moment_M - low_M)[:, None, None]
    sampled = joints[:, low_M] * (1 - part_M) + joints[:, high_M] * part_M
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    away = np.where(seen, joints - joints.sum(axis=1, keepdims=True) / count, 0)
    deviation = np.sqrt(np.square(away).sum(axis=1) / count[:, 0])
    both = seen[:, 1:] & seen[:, :-1]
    step = np.where(both, np.abs(np.diff(joints, axis=1)), 0)
    speed = step.sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return np.concatenate(
        [part.reshape(len(joints), -1) for part in (sampled, deviation, speed)], axis=1
    )


def score_windows(logits_NK: Floats, windows: WindowSet) -> Scores:
    """Score the mean logits of each recording."""
    _, logits_RK = recording_scores(logits_NK, windows.recording_N)
    return answer_scores(recording_labels(windows), logits_RK.argmax(axis=1), logits_NK.shape[1])


def recording_labels(windows: WindowSet) -> Ints:
    """Return the class of each recording [R], in the order of `recording_scores`."""
    _, first_R = np.unique(windows.recording_N, return_index=True)
    label_R: Ints = windows.label_N[first_R]
    return label_R


def answer_scores(true_R: Ints, answer_R: Ints, classes: int) -> Scores:
    """Return macro F1 and accuracy of answers to recordings."""
    confusion_KK = confusion(true_R, answer_R, classes)
    return Scores(float(macro_f1(confusion_KK)), float(accuracy(confusion_KK)))


def majority_class(train_labels: Ints, classes: int) -> int:
    """Return the commonest class of the training recordings; the first of equals."""
    return int(np.bincount(train_labels, minlength=classes).argmax())


def score_chance(train_labels: Ints, labels: Ints, classes: int) -> Scores:
    """Score somebody who always answers the commonest class of the training recordings."""
    answer = majority_class(train_labels, classes)
    return answer_scores(labels, np.full_like(labels, answer), classes)


def _all_logits(lift: Lift, weight_SDK: Floats, bias_SK: Floats, windows: WindowSet) -> Floats:
    """Return scores [S, N, K] by the machines of all strengths, over features that are made once."""
    return np.concatenate(
        [lifted_ND @ weight_SDK + bias_SK[:, None] for _, lifted_ND in lift.cut_chunks(windows)],
        axis=1,
    )
