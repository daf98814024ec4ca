"""How sure a score is, and whether two models differ: bootstrap and permutation over people.

People are resampled, never recordings: the recordings of one person resemble each other, so that
resampling them would promise more certainty than there is. A model is given
by the confusion matrices of each person, [P, K, K], or [S, P, K, K] where it was trained with S
seeds. Seeds are averaged, not resampled: an interval tells what other people would have changed.
P counts people here, R resamples, M members of a front.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitforge.metrics import confusion, macro_f1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_PEOPLE = 8  # percentile intervals of fewer are too narrow to be trusted
MIN_STRATUM = 10  # people of one class
DRAWS_SEED = 2026  # of the bootstrap: the same people are drawn for all models of a split


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Macro F1 of one model minus that of another: as observed, and the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimism:
    """How much better a search scored its models than other people show them to be, in macro F1.

    `luck` went away when they were trained again and scored on the same people; `people` went away
    on other people.
    """

    luck: float
    people: float
    interval: tuple[float, float] | None  # of the total; None where people are too few

    @property
    def total(self) -> float:
        return self.luck + self.people


def too_few(people: int) -> bool:
    """Whether people are too few for an interval, so that each is to be shown instead."""
    return people < MIN_PEOPLE


def person_confusions(
    true_N: NDArray[np.integer],
    predicted_N: NDArray[np.integer],
    person_N: Sequence[str],
    people: Sequence[str],
    classes: int,
) -> Ints:
    """The confusion matrix of each person [P, K, K], in the order of `people`.

    `person_N` names the person of each recording. Raises ValueError for a person who is not among
    `people`, or who has no recording.
    """
    if len(person_N) != len(true_N):
        raise ValueError(
            f"There are {len(person_N)} persons for {len(true_N)} recordings, but each recording "
            "has one; give rows of the same length."
        )
    if set(person_N) != set(people):
        odd = min(set(person_N) ^ set(people))
        raise ValueError(
            f"Person '{odd}' is missing on one side, but the people and those of the recordings "
            "must be the same; score the recordings of all people of the role."
        )
    names_N = np.asarray(person_N)
    return np.stack(
        [
            confusion(true_N[names_N == person], predicted_N[names_N == person], classes)
            for person in people
        ]
    )


def class_strata(confusions_SPKK: Ints) -> list[str] | None:
    """The class of each person, to stratify by; None where a person shows more than one class."""
    truth_PK = _with_seeds(confusions_SPKK)[0].sum(axis=-1) > 0
    if (truth_PK.sum(axis=1) != 1).any():
        return None
    return [str(number) for number in truth_PK.argmax(axis=1)]


def bootstrap_weights(
    strata_P: Sequence[str] | None, people: int, resamples: int, generator: np.random.Generator
) -> Ints:
    """How often each resample draws each person, [R, P]; every row sums to `people`.

    With strata (the class of each person) each stratum keeps its size, so that no resample loses a
    class; a person alone in a stratum is then drawn always, and adds no uncertainty. Small strata
    make intervals too narrow: in our simulation of three equal classes, intervals meant to hold
    the truth in 95 % held it in 84 % with 15 people (unstratified 91 %), in 93 % with 60 (94 %).
    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    Raises ValueError for strata that do not match the people, or nobody to draw from.
    """
    strata = ["everybody"] * people if strata_P is None else strata_P
    if people < 1 or resamples < 1 or len(strata) != people:
        raise ValueError(
            f"{resamples} resamples of {people} people with {len(strata)} strata cannot be drawn; "
            "give at least one of each, and the stratum of each person or None."
        )
    labels_P = np.asarray(strata)
    weights_RP = np.zeros((resamples, people), dtype=np.int64)
    for label in np.unique(labels_P):
        members = np.flatnonzero(labels_P == label)
        size = len(members)
        weights_RP[:, members] = generator.multinomial(size, np.full(size, 1 / size), resamples)
    return weights_RP


def draw_people(confusions_SPKK: Ints, resamples: int) -> Ints:
    """Bootstrap weights [R, P] over people, within classes where each class has people enough for it.

    With fewer than MIN_STRATUM people in a class, resampling within it makes intervals too narrow (a
    simulation with three classes of three people covered 81 % instead of 95): then all are drawn together.
    """
    strata = class_strata(confusions_SPKK)
    if strata is not None and min(Counter(strata).values()) < MIN_STRATUM:
        strata = None
    people = confusions_SPKK.shape[-3]
    return bootstrap_weights(strata, people, resamples, np.random.default_rng(DRAWS_SEED))


def mean_macro_f1(confusions_SPKK: Ints) -> float:
    """Macro F1 over all people's recordings together, mean over the seeds."""
    everybody_once = np.ones((1, confusions_SPKK.shape[-3]), dtype=np.int64)
    return float(macro_f1_draws(confusions_SPKK, everybody_once)[0])


def macro_f1_draws(confusions_SPKK: Ints, weights_RP: Ints) -> Floats:
    """`mean_macro_f1` of each resample of people, [R].

    Raises ValueError for shapes that do not match and for a person without recordings.
    """
    draws_SR = macro_f1(_resampled(_with_seeds(confusions_SPKK), weights_RP))
    mean_R: Floats = draws_SR.mean(axis=0)
    return mean_R


def recall_draws(confusions_SPKK: Ints, weights_RP: Ints) -> Floats:
    """The recall of each class under each resample of people, all seeds together, [R, K].

    It is nan where a resample holds nobody of a class. Raises as `macro_f1_draws`.
    """
    sums_RKK = _resampled(_with_seeds(confusions_SPKK), weights_RP).sum(axis=0)
    hits_RK = np.diagonal(sums_RKK, axis1=-2, axis2=-1)
    truth_RK = sums_RKK.sum(axis=-1)
    recalls_RK = np.full(truth_RK.shape, np.nan)
    np.divide(hits_RK, truth_RK, out=recalls_RK, where=truth_RK > 0)
    return recalls_RK


def interval(draws_R: Floats, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the draws. Source: Efron & Tibshirani 1993, ch. 13 (percentile)."""
    if not 0 < level < 1:
        raise ValueError(f"The level is {level}, but must lie between 0 and 1; 0.95 is usual.")
    low, high = np.quantile(draws_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(
    student_SPKK: Ints, teacher_SPKK: Ints, weights_RP: Ints, level: float = 0.95
) -> Difference:
    """Macro F1 of the student minus that of the teacher, paired: both get the same resamples.

    Any two models will do (distilled and alone, say), with any numbers of seeds. `mean` is the
    difference on all people as they are. Raises ValueError where the recordings are not the same.
    """
    _check_paired(student_SPKK, teacher_SPKK)
    draws_R = macro_f1_draws(student_SPKK, weights_RP) - macro_f1_draws(teacher_SPKK, weights_RP)
    low, high = interval(draws_R, level)
    observed = mean_macro_f1(student_SPKK) - mean_macro_f1(teacher_SPKK)
    return Difference(mean=observed, low=low, high=high)


def noninferior(difference: Difference, margin: float) -> bool:
    """Whether the student is shown to lose less than `margin` of macro F1 to the teacher.

    Shown means that the whole interval lies above -margin (with a 95 % interval a one-sided test
    at 2.5 %, as in the CONSORT extension for non-inferiority, Piaggio et al. 2012).
    """
    if not margin >= 0:
        raise ValueError(
            f"The margin is {margin}, but must be at least 0; 0.05 allows a loss of 0.05."
        )
    return difference.low > -margin


def paired_p_value(
    student_SPKK: Ints, teacher_SPKK: Ints, resamples: int, generator: np.random.Generator
) -> float:
    """How often chance alone sets two models at least this far apart in macro F1 (two-sided).

    Under the null hypothesis a person's two results could have come from either model: they are
    swapped at random, all seeds of a person together. Never 0, since the observed order is one
    of the possible ones (Phipson & Smyth 2010). Raises ValueError where the recordings are not the
    same, or the numbers of seeds neither match nor one of them is 1.
    """
    _check_paired(student_SPKK, teacher_SPKK)
    student, teacher = _with_seeds(student_SPKK), _with_seeds(teacher_SPKK)
    if len(student) != len(teacher) and 1 not in (len(student), len(teacher)):
        raise ValueError(
            f"The models have {len(student)} and {len(teacher)} seeds, but swapping needs the "
            "same number or a single one; leave the surplus seeds out."
        )
    swap_RP = generator.integers(0, 2, size=(resamples, student.shape[1]))
    swap_RP[0] = 0  # the observed order
    first = macro_f1(_resampled(student, 1 - swap_RP) + _resampled(teacher, swap_RP))
    second = macro_f1(_resampled(teacher, 1 - swap_RP) + _resampled(student, swap_RP))
    distance_R = np.abs((first - second).mean(axis=0))
    # Orders that are equal on paper may differ in the last bits.
    return float((distance_R >= distance_R[0] - 1e-12).mean())


def probability_on_front(draws_MR: Floats, params_M: NDArray[np.integer]) -> Floats:
    """The share of resamples in which nothing beats each member of a front, [M].

    `draws_MR` is the macro F1 of each member under the same resamples. A member is beaten by one
    with at least its F1 and at most its parameters, one of the two strictly.
    """
    if draws_MR.ndim != 2 or params_M.shape != draws_MR.shape[:1]:
        raise ValueError(
            f"There are draws of shape {draws_MR.shape} for parameter counts of shape "
            f"{params_M.shape}, but each member needs one row of both; give [M, R] and [M]."
        )
    share_M = np.empty(len(params_M))
    for member, (draws_R, params) in enumerate(zip(draws_MR, params_M, strict=True)):
        no_larger_M1 = (params_M <= params)[:, None]
        smaller_M1 = (params_M < params)[:, None]
        beats_MR = no_larger_M1 & (draws_MR >= draws_R) & (smaller_M1 | (draws_MR > draws_R))
        share_M[member] = 1 - beats_MR.any(axis=0).mean()
    return share_M


def optimism(
    believed_M: Floats, validated_MS: Floats, confirmed_M: Floats, draws_MR: Floats | None
) -> Optimism:
    """The mean optimism over models that a search scored `believed_M`.

    Their refits have `validated_MS` on the same people and `confirmed_M` on others, `draws_MR` under
    resamples of those. Only these are resampled: what the search believed is known exactly, and the
    question is how far it is from the truth. Raises ValueError for rows that do not match.
    """
    models = len(believed_M)
    rows = [believed_M, validated_MS, confirmed_M] + ([] if draws_MR is None else [draws_MR])
    if models == 0 or any(len(row) != models for row in rows) or validated_MS.ndim != 2:
        raise ValueError(
            f"There are {[row.shape for row in rows]} scores, but each of at least one model needs a row of all; "
            "give [M], [M, S], [M] and [M, R] or None."
        )
    believed, validated, confirmed = (float(row.mean()) for row in rows[:3])
    ends = None
    if draws_MR is not None:
        low, high = interval(draws_MR.mean(axis=0))
        ends = believed - high, believed - low
    return Optimism(luck=believed - validated, people=validated - confirmed, interval=ends)


def spread_over_seeds(scores_MS: Floats) -> float | None:
    """The standard deviation of a score over seeds, pooled over models [M, S]; None for a single seed."""
    if scores_MS.shape[1] < 2:
        return None
    return float(np.sqrt(scores_MS.var(axis=1, ddof=1).mean()))


def person_accuracy(confusions_SPKK: Ints) -> Floats:
    """The share of each person's recordings whose class was found, mean over the seeds, [P]."""
    confusions = _with_seeds(confusions_SPKK)
    hits_SP = np.trace(confusions, axis1=-2, axis2=-1)
    share_P: Floats = (hits_SP / confusions.sum(axis=(-2, -1))).mean(axis=0)
    return share_P


def _with_seeds(confusions_SPKK: Ints) -> Ints:
    """[S, P, K, K] from that or [P, K, K]."""
    shape = confusions_SPKK.shape
    if len(shape) not in (3, 4) or shape[-1] != shape[-2] or 0 in shape:
        raise ValueError(
            f"The confusion matrices have shape {shape}, but must be [P, K, K] or [S, P, K, K] of "
            "at least one person; make them with person_confusions."
        )
    if (confusions_SPKK.sum(axis=(-2, -1)) == 0).any():
        raise ValueError(
            "A person has no recording, but everybody who is resampled needs one; leave the "
            "person out of the role."
        )
    return confusions_SPKK.reshape(-1, *shape[-3:])


def _check_paired(first_SPKK: Ints, second_SPKK: Ints) -> None:
    first, second = _with_seeds(first_SPKK), _with_seeds(second_SPKK)
    truth_PK = first[0].sum(axis=-1)
    for model in (first, second):
        if model.shape[1:] != first.shape[1:] or (model.sum(axis=-1) != truth_PK).any():
            raise ValueError(
                "The two models were scored on different recordings, but a paired comparison "
                "needs the same people in the same order; score both on the same role."
            )


def _resampled(confusions_SPKK: Ints, weights_RP: Ints) -> Floats:
    """Weighted sums over people, [S, R, K, K]."""
    seeds, people, classes, _ = confusions_SPKK.shape
    if weights_RP.ndim != 2 or weights_RP.shape[1] != people:
        raise ValueError(
            f"The weights have shape {weights_RP.shape}, but must be [R, {people}] for {people} "
            "people; draw them with bootstrap_weights."
        )
    # As floats the product runs in BLAS, and counts stay exact.
    cells_SPx = confusions_SPKK.reshape(seeds, people, classes * classes).astype(np.float64)
    sums_SRx: Floats = weights_RP.astype(np.float64) @ cells_SPx
    return sums_SRx.reshape(seeds, -1, classes, classes)
