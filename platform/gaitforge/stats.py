"""How sure a score is, and whether two models differ: jackknife over people and seeds, and exact sign flips.

People are left out, never recordings: the recordings of one person resemble each other, so that
leaving out recordings would promise more certainty than there is. A model is given by the confusion
matrices of each person, [P, K, K], or [S, P, K, K] where it was trained with S seeds.

One seed is one network, and an interval tells what other people would have changed about it. With
several seeds the score is that of a recipe, their mean, and an interval tells what other people and
other seeds would have changed. P counts people here, S seeds, M members of a front, R resamples.

Everything here is worked out without drawing numbers, so that the same question has the same answer on
every page and in every file; only `probability_on_front` draws. `benchmarks/error_rates.py` measures
how often the intervals hold the truth and how often a test is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

from gaitforge.metrics import confusion, macro_f1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEVEL = 0.95
# Of fewer people no interval is printed: they hold the truth too often, being too wide (benchmarks/error_rates.py).
MIN_PEOPLE = 12
# Where fewer people than this are ever wrong (or ever right), or have other answers from two models, their
# spread says too little of what other people would do; some are then taken to be wrong, or to differ, as a whole.
FEW_WRONG, FEW_DIFFER = 5, 8
EXACT_PEOPLE = 16  # 65,536 orders
DRAWS_SEED = 2026  # of the bootstrap: the same people are drawn for all models of a split


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A score, or a difference of two: as observed, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimism:
    """How much better a search scored its models than other people show them to be, in macro F1.

    `luck` went away when they were trained again and scored on the same people, `people` on other
    people. Intervals are None where people, or seeds, are too few; of `people` there is none.
    """

    luck: float
    people: float
    interval: tuple[float, float] | None  # of the total
    luck_interval: tuple[float, float] | None

    @property
    def total(self) -> float:
        return self.luck + self.people

    def as_dict(self) -> dict[str, Any]:
        """Return it as the reports hold it."""
        return {
            "total": self.total,
            "interval": self.interval and list(self.interval),
            "luck": self.luck,
            "luck_interval": self.luck_interval and list(self.luck_interval),
            "people": self.people,
        }


@dataclass(frozen=True, slots=True)
class Jackknife:
    """A score, and what it is without each person, for every seed; `right_P`: each person's share of right answers."""

    score_S: Floats
    without_SP: Floats
    right_P: Floats

    @classmethod
    def from_confusions(
        cls, confusions_SPKK: Ints, score: Callable[[Floats], Floats] = macro_f1
    ) -> Jackknife:
        """Leave out each person in turn; `score` maps [..., K, K] to [...]. Raises ValueError as `person_accuracy`."""
        counts_SPKK = _add_seeds(confusions_SPKK).astype(np.float64)
        sums_S1KK = counts_SPKK.sum(axis=1, keepdims=True)
        return cls(
            score(sums_S1KK)[:, 0],
            score(sums_S1KK - counts_SPKK),
            person_accuracy(confusions_SPKK),
        )


def is_too_few(people: int) -> bool:
    """Return True where people are too few for an interval, so that each is to be shown instead."""
    return people < MIN_PEOPLE


def level_at_once(claims: int, level: float = LEVEL) -> float:
    """Return the level of each of so many intervals that all together hold at `level` (Bonferroni's inequality)."""
    if claims < 1:
        raise ValueError(f"There are {claims} claims, but at least one must be made.")
    return 1 - (1 - level) / claims


def person_confusions(
    true_N: NDArray[np.integer],
    predicted_N: NDArray[np.integer],
    person_N: Sequence[str],
    people: Sequence[str],
    classes: int,
) -> Ints:
    """Count the confusion matrix of each person [P, K, K], in the order of `people`.

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


def mean_macro_f1(confusions_SPKK: Ints) -> float:
    """Return macro F1 over all people's recordings together, mean over the seeds."""
    return float(macro_f1(_add_seeds(confusions_SPKK).sum(axis=1)).mean())


def person_accuracy(confusions_SPKK: Ints) -> Floats:
    """Return the share of each person's recordings whose class was found, mean over the seeds, [P].

    Raises ValueError for shapes that are no confusion matrices and for a person without recordings.
    """
    confusions = _add_seeds(confusions_SPKK)
    hits_SP = np.trace(confusions, axis1=-2, axis2=-1)
    share_P: Floats = (hits_SP / confusions.sum(axis=(-2, -1))).mean(axis=0)
    return share_P


def estimate(confusions_SPKK: Ints, level: float = LEVEL) -> Estimate:
    """Estimate macro F1 with its interval: of one network over people, of several seeds over people and seeds."""
    return _estimate_share(Jackknife.from_confusions(confusions_SPKK), level)


def estimate_mean(confusions_MSPKK: Sequence[Ints], level: float = LEVEL) -> Estimate:
    """Estimate the mean macro F1 of several models of the same people and number of seeds, as `estimate`."""
    parts = [Jackknife.from_confusions(confusions) for confusions in confusions_MSPKK]
    return _estimate_share(
        Jackknife(
            np.mean([part.score_S for part in parts], axis=0),
            np.mean([part.without_SP for part in parts], axis=0),
            np.mean([part.right_P for part in parts], axis=0),
        ),
        level,
    )


def estimate_recall(confusions_SPKK: Ints, place: int) -> Estimate | None:
    """Estimate the recall of one class with its interval; None where too few people have recordings of it."""
    confusions = _add_seeds(confusions_SPKK)
    own = confusions[:, confusions[0, :, place].sum(axis=-1) > 0]
    if is_too_few(own.shape[1]):
        return None
    of_class = np.zeros_like(own)
    of_class[:, :, place] = own[:, :, place]

    def recall(counts_xKK: Floats) -> Floats:
        return _share(counts_xKK[..., place, place], counts_xKK[..., place, :].sum(axis=-1))

    return _estimate_share(Jackknife.from_confusions(of_class, recall), LEVEL)


def estimate_balanced_accuracy(confusions_SPKK: Ints) -> Estimate:
    """Estimate the mean recall of the classes that have recordings, with its interval, as `estimate`."""

    def balanced(counts_xKK: Floats) -> Floats:
        truth_xK = counts_xKK.sum(axis=-1)
        recall_xK = _share(np.diagonal(counts_xKK, axis1=-2, axis2=-1), truth_xK)
        return _share(recall_xK.sum(axis=-1), (truth_xK > 0).sum(axis=-1).astype(np.float64))

    return _estimate_share(Jackknife.from_confusions(confusions_SPKK, balanced), LEVEL)


def estimate_rank_correlation(first_P: Floats, second_P: Floats) -> Estimate:
    """Estimate Spearman's rank correlation over people, with its interval; 0, from -1 to 1, where a side never varies.

    An interval of t on Fisher's scale, over the jackknife of people, but at least that of numbers that have nothing
    to do with each other (Fieller, Hartley & Pearson 1957): without it few people would promise too much. Raises
    ValueError for fewer than 4 people or sides that do not match.
    """
    people = len(first_P)
    if people < 4 or first_P.shape != (people,) or second_P.shape != (people,):
        raise ValueError(
            f"There are numbers of shape {first_P.shape} and {second_P.shape}, but each of at least 4 people has two."
        )
    if np.ptp(first_P) == 0 or np.ptp(second_P) == 0:
        return Estimate(mean=0.0, low=-1.0, high=1.0)
    others_PP = ~np.eye(people, dtype=np.bool_)
    scaled_P = np.array([_fisher(first_P[row], second_P[row]) for row in others_PP])
    jackknife = (people - 1) / people * float(np.square(scaled_P - scaled_P.mean()).sum())
    half = float(stdtrit(people - 1, (1 + LEVEL) / 2)) * max(jackknife, 1.06 / (people - 3)) ** 0.5
    scaled = _fisher(first_P, second_P)
    return Estimate(
        mean=_correlate_ranks(first_P, second_P),
        low=float(np.tanh(scaled - half)),
        high=float(np.tanh(scaled + half)),
    )


def _fisher(first_P: Floats, second_P: Floats) -> float:
    """Return the rank correlation on Fisher's scale, which has an end for perfect ones."""
    return float(np.arctanh(np.clip(_correlate_ranks(first_P, second_P), -0.999, 0.999)))


def _correlate_ranks(first_P: Floats, second_P: Floats) -> float:
    if np.ptp(first_P) == 0 or np.ptp(second_P) == 0:
        return 0.0
    return float(np.corrcoef(_rank(first_P), _rank(second_P))[0, 1])


def _rank(value_P: Floats) -> Floats:
    """Return ranks from 1, their mean for equal values."""
    _, place_P, counts = np.unique(value_P, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2, dtype=np.float64)[place_P]


def compare(first_SPKK: Ints, second_SPKK: Ints, level: float = LEVEL) -> Estimate:
    """Estimate macro F1 of the first model minus that of the second, on the same people, with its interval.

    Any two models will do, with any numbers of seeds; where one has several, the interval is over
    people and seeds. It is an interval of t over the jackknife of people (Efron & Tibshirani 1993,
    ch. 11), moved outwards for the skewness of people's differences (Johnson 1978, "Modified t tests").
    Where hardly anybody differs, of all or of one class, it is at least that of a difference which some people bear
    as a whole (as Tango 1998 has it for pairs, with the variance under the difference that is tested). Without
    these, rare failures of whole people pass too often. One person excludes nothing. Raises ValueError where
    the recordings are not the same.
    """
    _check_paired(first_SPKK, second_SPKK)
    first, second = Jackknife.from_confusions(first_SPKK), Jackknife.from_confusions(second_SPKK)
    mean = float(first.score_S.mean() - second.score_S.mean())
    if len(first.right_P) == 1:
        return Estimate(mean=mean, low=-1.0, high=1.0)
    spread = _Spread.from_parts([(first, 1.0), (second, -1.0)], level)
    differ = _count_people_with(first.right_P - second.right_P)
    rare_loss, rare_gain = _bound_rare_classes(first_SPKK, second_SPKK, spread.quantile)
    low = min(
        mean - spread.half + min(spread.skew, 0.0),
        -spread.farthest(-mean, differ, FEW_DIFFER),
        mean - rare_loss,
    )
    high = max(
        mean + spread.half + max(spread.skew, 0.0),
        spread.farthest(mean, differ, FEW_DIFFER),
        mean + rare_gain,
    )
    return Estimate(mean=mean, low=max(-1.0, low), high=min(1.0, high))


def _bound_rare_classes(
    first_SPKK: Ints, second_SPKK: Ints, quantile: float
) -> tuple[float, float]:
    """Return how much more macro F1 one class may lose, and may gain, than was seen, where few of its people differ.

    Macro F1 weighs a class of three people like one of fifty. Were a share x of a class's people wrong as a
    whole, its F1 would be 2 (1 - x) / (2 - x), and macro F1 smaller by x / (2 - x) / K; x goes as far as Wilson's
    interval over the people of that class.
    """
    truth_PK = _add_seeds(first_SPKK)[0].sum(axis=-1)
    apart_PK = _recalls(first_SPKK) - _recalls(second_SPKK)
    classes = np.flatnonzero(truth_PK.sum(axis=0) > 0)
    farthest = [0.0, 0.0]
    for place in classes:
        own_P = apart_PK[truth_PK[:, place] > 0, place]
        if _count_people_with(own_P) >= FEW_DIFFER:
            continue
        for side, seen in enumerate((-float(own_P.mean()), float(own_P.mean()))):
            share = _wilson(seen, len(own_P), quantile)
            if share > seen:
                more = (_lost(share) - _lost(max(seen, 0.0))) / len(classes)
                farthest[side] = max(farthest[side], more)
    return farthest[0], farthest[1]


def _recalls(confusions_SPKK: Ints) -> Floats:
    """Return each person's recall of each class, all seeds together, [P, K]; 0 where the person has none of it."""
    counts_PKK = _add_seeds(confusions_SPKK).sum(axis=0).astype(np.float64)
    return _share(np.diagonal(counts_PKK, axis1=-2, axis2=-1), counts_PKK.sum(axis=-1))


def _lost(share: float) -> float:
    """Return what the F1 of a class loses where that share of its people is wrong as a whole."""
    return share / (2 - share)


def is_noninferior(difference: Estimate, margin: float) -> bool:
    """Return True where the first model is shown to lose less than `margin` of macro F1 to the second.

    Shown means that the whole interval lies above -margin (with a 95 % interval a one-sided test
    at 2.5 %, as in the CONSORT extension for non-inferiority, Piaggio et al. 2012).
    """
    if not margin >= 0:
        raise ValueError(
            f"The margin is {margin}, but must be at least 0; 0.05 allows a loss of 0.05."
        )
    return difference.low > -margin


def find_tested(params_M: Sequence[int], passes_M: Sequence[bool]) -> tuple[bool, ...]:
    """Tell which members were tested at all: from the largest to the smallest, up to the first that fails.

    A fixed order of tests, each at the full level, holds the level of all of them together, since a
    false claim needs the first false one to pass (Maurer, Hothorn & Lehmacher 1995). A member is shown
    to be as good where it was tested and passes. Of two of one size the later counts as the larger.
    """
    tested = [False] * len(params_M)
    for member in sorted(range(len(params_M)), key=lambda m: (params_M[m], m), reverse=True):
        tested[member] = True
        if not passes_M[member]:
            break
    return tuple(tested)


def sign_flip_p_value(first_SPKK: Ints, second_SPKK: Ints) -> float:
    """Return how often chance alone sets two models at least this far apart in macro F1: exact, two-sided.

    Were the models equally good, each person's two results could as well be the other way round: all
    2^P ways of swapping them are tried, all seeds of a person together (Fisher 1935, sec. 21).
    With P people it is never below 2^(1 - P). Raises ValueError for more than EXACT_PEOPLE people,
    where the recordings are not the same, or the numbers of seeds neither match nor one of them is 1.
    """
    _check_paired(first_SPKK, second_SPKK)
    first, second = _add_seeds(first_SPKK), _add_seeds(second_SPKK)
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ValueError(
            f"The models have {len(first)} and {len(second)} seeds, but swapping needs the "
            "same number or a single one; leave the surplus seeds out."
        )
    people = first.shape[1]
    if people > EXACT_PEOPLE:
        raise ValueError(
            f"There are {people} people, but all ways of swapping are tried for at most {EXACT_PEOPLE}; "
            "compare them by an interval."
        )
    # one of two mirrored orders is enough: their distances are the same
    orders_RP = np.array([(0, *order) for order in itertools.product((0, 1), repeat=people - 1)])
    one = macro_f1(_resample(first, 1 - orders_RP) + _resample(second, orders_RP))
    other = macro_f1(_resample(second, 1 - orders_RP) + _resample(first, orders_RP))
    distance_R = np.abs((one - other).mean(axis=0))
    # Orders that are equal on paper may differ in the last bits.
    return float((distance_R >= distance_R[0] - 1e-12).mean())


def draw_people(people: int, resamples: int) -> Ints:
    """Draw how often each resample has each person, [R, P]; the same for the same number of people.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    if people < 1 or resamples < 1:
        raise ValueError(
            f"{resamples} resamples of {people} people cannot be drawn; give at least one of each."
        )
    generator = np.random.default_rng(DRAWS_SEED)
    return generator.multinomial(people, np.full(people, 1 / people), resamples)


def draw_macro_f1(confusions_SPKK: Ints, weights_RP: Ints) -> Floats:
    """Return `mean_macro_f1` of each resample of people, [R].

    Raises ValueError for shapes that do not match and for a person without recordings.
    """
    draws_SR = macro_f1(_resample(_add_seeds(confusions_SPKK), weights_RP))
    mean_R: Floats = draws_SR.mean(axis=0)
    return mean_R


def probability_on_front(draws_MR: Floats, params_M: NDArray[np.integer]) -> Floats:
    """Return the share of resamples in which nothing beats each member of a front, [M].

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


def estimate_optimism(
    believed_M: Floats, validated_MS: Floats, confirmed_MSPKK: Sequence[Ints]
) -> Optimism:
    """Estimate the mean optimism over models that a search scored `believed_M`.

    Their refits have `validated_MS` on the same people and `confirmed_MSPKK` on others. What the search
    believed is known exactly; the interval of the total is over the other people and the seeds, that
    of `luck` over the seeds. Raises ValueError for rows that do not match.
    """
    models = len(believed_M)
    rows = [believed_M, validated_MS, confirmed_MSPKK]
    if models == 0 or any(len(row) != models for row in rows) or validated_MS.ndim != 2:
        raise ValueError(
            f"There are {[len(row) for row in rows]} rows of scores, but each of at least one model needs a row of "
            "all; give [M], [M, S] and M times [S, P, K, K]."
        )
    confirmed = estimate_mean(confirmed_MSPKK)
    believed, validated = float(believed_M.mean()), float(validated_MS.mean())
    ends = luck_ends = None
    if not is_too_few(confirmed_MSPKK[0].shape[-3]):
        ends = believed - confirmed.high, believed - confirmed.low
    seeds = validated_MS.shape[1]
    if seeds > 1:
        error = float(validated_MS.mean(axis=0).std(ddof=1)) / seeds**0.5
        half = float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) * error
        # the seeds' true mean lies between 0 and 1
        luck_ends = believed - min(validated + half, 1.0), believed - max(validated - half, 0.0)
    return Optimism(
        luck=believed - validated,
        people=validated - confirmed.mean,
        interval=ends,
        luck_interval=luck_ends,
    )


def spread_over_seeds(scores_MS: Floats) -> float | None:
    """Return the standard deviation of a score over seeds, pooled over models [M, S]; None for a single seed."""
    if scores_MS.shape[1] < 2:
        return None
    return float(np.sqrt(scores_MS.var(axis=1, ddof=1).mean()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spread:
    """How far a sum of models' scores may be from the truth, on both sides."""

    half: float  # of the interval of t
    skew: float  # by how much the interval of t is to be moved, were it moved as a whole
    quantile: float  # of t
    seeds: float  # variance that comes of seeds
    people: int

    @classmethod
    def from_parts(cls, parts: Sequence[tuple[Jackknife, float]], level: float) -> _Spread:
        """Add up the variance of people, and what seeds add to it, over models with their signs.

        Seeds are crossed with people, so that the spread over seeds holds some of the people's chance;
        that part is taken off (Cameron, Gelbach & Miller 2011, for errors clustered in two ways). The
        degrees of freedom are those of Satterthwaite 1946.
        """
        if not 0 < level < 1:
            raise ValueError(f"The level is {level}, but must lie between 0 and 1; 0.95 is usual.")
        deviation_P = sum(
            sign * (part.without_SP.mean(axis=0) - part.without_SP.mean()) for part, sign in parts
        )
        people = len(deviation_P)
        inflate = (people - 1) / people
        variances = [(inflate * float((deviation_P**2).sum()), people - 1)]
        for part, _ in parts:
            seeds = len(part.score_S)
            if seeds > 1:
                own_SP = part.without_SP - part.without_SP.mean(axis=1, keepdims=True)
                rest_SP = own_SP - own_SP.mean(axis=0)
                shared = inflate * float((rest_SP**2).sum()) / (seeds * (seeds - 1))
                of_seeds = float(part.score_S.var(ddof=1)) / seeds
                variances.append((max(0.0, of_seeds - shared), seeds - 1))
        total = sum(variance for variance, _ in variances)
        below = sum(variance**2 / freedom for variance, freedom in variances if freedom)
        freedom = total**2 / below if below > 0 else people - 1
        quantile = float(stdtrit(max(freedom, 1.0), (1 + level) / 2))
        return cls(
            half=quantile * total**0.5,
            # of people alone: few seeds say nothing of how skewed people are
            skew=_skew(-deviation_P, float(stdtrit(people - 1, (1 + level) / 2))),
            quantile=quantile,
            seeds=total - variances[0][0],
            people=people,
        )

    def farthest(self, seen: float, bearing: int, few: int) -> float:
        """Return the largest true value that a `seen` one does not exclude, where too `few` people bear it to tell.

        -inf where enough people do.
        """
        if bearing >= few:
            return -np.inf
        return _wilson(seen, self.people, self.quantile, self.seeds)


def _wilson(seen: float, people: int, quantile: float, more: float = 0.0) -> float:
    """Return the largest true share of people that an observed share does not exclude; -inf where none is left.

    Were x true, it would have the variance x - x**2 of one person, and `more` that does not come of people:
    Wilson's interval for a share (1927). A share that was `seen` may be negative, as a difference is.
    """
    square = quantile**2
    each = square / people
    middle = 2 * seen + each
    inside = middle**2 - 4 * (1 + each) * (seen**2 - square * more)
    return float((middle + inside**0.5) / (2 * (1 + each))) if inside >= 0 else -np.inf


def _skew(influence_P: Floats, quantile: float) -> float:
    """Return Johnson's shift of an interval of t for skewed people; `influence_P` is what each adds to the score."""
    people = len(influence_P)
    variance = float((influence_P**2).mean())
    if variance <= 0:
        return 0.0
    skewness = float((influence_P**3).mean()) / variance**1.5
    error = ((people - 1) * variance) ** 0.5
    return float(skewness * error / people**0.5 / 6 * (1 + 2 * quantile**2))


def _count_people_with(difference_P: Floats) -> int:
    """Count the people who have any of a difference."""
    return int((np.abs(difference_P) > 1e-12).sum())


def _estimate_share(jackknife: Jackknife, level: float) -> Estimate:
    """Estimate a score from 0 to 1: an interval of t on log odds, where its spread does not depend on it.

    Where hardly anybody is wrong it is at least that of people who are wrong as a whole (`_Spread.farthest`):
    of people who were all right, the jackknife would say that nobody is ever wrong. One person excludes nothing.
    """
    mean = float(jackknife.score_S.mean())
    if len(jackknife.right_P) == 1:
        return Estimate(mean=mean, low=0.0, high=1.0)
    spread = _Spread.from_parts([(jackknife, 1.0)], level)
    low = high = mean
    if 0 < mean < 1:
        odds, half = np.log(mean / (1 - mean)), spread.half / (mean * (1 - mean))
        low, high = float(expit(odds - half)), float(expit(odds + half))
    right_P = jackknife.right_P
    return Estimate(
        mean=mean,
        low=max(
            0.0,
            min(low, 1 - spread.farthest(1 - mean, _count_people_with(1 - right_P), FEW_WRONG)),
        ),
        high=min(1.0, max(high, spread.farthest(mean, _count_people_with(right_P), FEW_WRONG))),
    )


def _share(above: Floats, below: Floats) -> Floats:
    """Return above / below, 0 where there is nothing."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _add_seeds(confusions_SPKK: Ints) -> Ints:
    """Return [S, P, K, K] from that or [P, K, K]."""
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
    first, second = _add_seeds(first_SPKK), _add_seeds(second_SPKK)
    truth_PK = first[0].sum(axis=-1)
    for model in (first, second):
        if model.shape[1:] != first.shape[1:] or (model.sum(axis=-1) != truth_PK).any():
            raise ValueError(
                "The two models were scored on different recordings, but a paired comparison "
                "needs the same people in the same order; score both on the same role."
            )


def _resample(confusions_SPKK: Ints, weights_RP: Ints) -> Floats:
    """Return weighted sums over people, [S, R, K, K]."""
    seeds, people, classes, _ = confusions_SPKK.shape
    if weights_RP.ndim != 2 or weights_RP.shape[1] != people:
        raise ValueError(
            f"The weights have shape {weights_RP.shape}, but must be [R, {people}] for {people} "
            "people; draw them with draw_people."
        )
    # As floats the product runs in BLAS, and counts stay exact.
    cells_SPx = confusions_SPKK.reshape(seeds, people, classes * classes).astype(np.float64)
    sums_SRx: Floats = weights_RP.astype(np.float64) @ cells_SPx
    return sums_SRx.reshape(seeds, -1, classes, classes)
