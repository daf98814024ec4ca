"""How often intervals hold the truth, and how often a student is wrongly called as good as its teacher.

    python -m benchmarks.error_rates                        the table, 4,000 simulations a row
    python -m benchmarks.error_rates --people 12 --simulations 400
    python -m benchmarks.error_rates --before               beside it, the intervals of earlier versions
    python -m benchmarks.error_rates --rare                 whole people of a rare class that fail
    python -m benchmarks.error_rates --image                how far generated networks resemble real ones

People, recordings and networks are drawn in the image of `auva_grf` (four classes, 194 people, five
recordings each). Every student's true loss is equal to the margin, so that each "not inferior" is
false; nominal are 2.5 %. What decides is the code that ships: `gaitforge.stats` and
`gaitforge.decision.judge`, which tests four students from the largest down. Beside it stands how often
any of them would pass were each tested by itself: that is what the order is for, and never printed to users.

A recording's score for a class is the strength of its own class plus noise of the person, of the person
and the model, of the person and the seed, of the recording, and of recording and network. People have
one class each, and the classes keep their shares, as a split gives them. The truth is that of endless people.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.distillation_report import Row, find_models, packed_path, whole_folds
from gaitforge import stats
from gaitforge.decision import Judged, judge
from gaitforge.metrics import macro_f1
from gaitforge.stats import Estimate, Ints

Floats = NDArray[np.float64]

PEOPLE = (8, 10, 12, 30, 58, 194)
MARGIN = 0.05
STUDENTS, SEEDS, RECORDINGS = 4, 3, 5
SEED_SD = 0.025  # of true macro F1, from one seed to another of the same student
# people in all and in the rare class
RARE, RARE_SIMULATIONS = ((100, 5), (100, 10), (194, 10), (194, 20), (194, 47)), 4000
PARAMS = (200, 900, 1700, 3100)  # their order alone matters
# the shares of a score's variance; the rest is that of recording and network
PERSON, PERSON_MODEL, PERSON_SEED, RECORDING = 0.60, 0.14, 0.10, 0.08

# the columns of the table
NETWORK, AGAINST = "covered: a network", "covered: a network minus the teacher"
RECIPE, RECIPES = "covered: a recipe", "covered: a recipe minus another"
PASSES = "wrong: one student"
EACH_BY_ITSELF = "any of four, were each tested by itself (not what ships)"
SHIPPED = "wrong: any of four, as shipped"
NETWORK_BEFORE = "before: a network"
RECIPES_BEFORE = "before: a recipe minus another"
COLUMNS = (
    NETWORK,
    AGAINST,
    RECIPE,
    RECIPES,
    PASSES,
    SHIPPED,
    EACH_BY_ITSELF,
    NETWORK_BEFORE,
    RECIPES_BEFORE,
)
RESAMPLES = 1000  # of the intervals of before


@dataclass(frozen=True, slots=True)
class Kind:
    """Shares of the classes among people, and how much easier each class is to tell."""

    name: str
    teacher: float  # true macro F1
    share_K: tuple[float, ...] = (37 / 194, 62 / 194, 43 / 194, 52 / 194)
    easier_K: tuple[float, ...] = (0.0, 0.9, 0.1, 0.1)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("auva_grf", 0.52),
        Kind("good", 0.75),
        Kind("very good", 0.95),
        # healthy or not, a quarter and three quarters
        Kind("two classes", 0.88, (47 / 194, 147 / 194), (0.0, 0.0)),
    )
}


def true_f1(kind: Kind, share_K: Floats, strength: float | Floats) -> Floats:
    """Macro F1 over endless people of a network of that strength."""
    grid, cells_GKK = _cells(kind)
    rates = np.stack(
        [
            [np.interp(strength, grid, cells_GKK[:, i, j]) for j in range(len(share_K))]
            for i in range(len(share_K))
        ]
    )
    joint = np.moveaxis(rates * share_K.reshape(-1, *[1] * (rates.ndim - 1)), (0, 1), (-2, -1))
    return macro_f1(joint)


@lru_cache
def _cells(kind: Kind) -> tuple[Floats, Floats]:
    """Strengths, and for each the chance of every answer (column) to every class (row), [G, K, K]."""
    generator = np.random.default_rng(1)
    classes = len(kind.share_K)
    grid = np.linspace(-1, 7, 161)
    cells = np.zeros((len(grid), classes, classes))
    for truth in range(classes):
        noise_NK = generator.normal(size=(200_000, classes))  # the same for all strengths
        for place, strength in enumerate(grid):
            scores = noise_NK.copy()
            scores[:, truth] += strength + kind.easier_K[truth]
            cells[place, truth] = np.bincount(scores.argmax(axis=1), minlength=classes) / len(
                scores
            )
    return grid, cells


def strength_of(kind: Kind, share_K: Floats, f1: float) -> float:
    """The strength with that true macro F1."""
    grid, _ = _cells(kind)
    return float(np.interp(f1, true_f1(kind, share_K, grid), grid))


def classes_of(kind: Kind, people: int) -> NDArray[np.int64]:
    """The class of each person: the shares as near as whole people allow, at least one of each."""
    wanted_K = np.array(kind.share_K) * people
    seats_K = np.maximum(np.floor(wanted_K).astype(np.int64), 1)
    while seats_K.sum() != people:
        more = seats_K.sum() < people
        seats_K[np.argmax(wanted_K - seats_K) if more else np.argmin(wanted_K - seats_K)] += (
            1 if more else -1
        )
    return np.repeat(np.arange(len(seats_K)), seats_K)


def draw_networks(
    kind: Kind,
    class_P: NDArray[np.int64],
    strengths: Sequence[Sequence[float]],
    generator: np.random.Generator,
) -> list[Ints]:
    """The answers of networks about new people: for each model [S, P, K, K], a strength for each seed."""
    people, classes = len(class_P), len(kind.share_K)

    def noise(share: float, *shape: int) -> Floats:
        return generator.normal(scale=share**0.5, size=(*shape, classes))

    rest = 1 - PERSON - PERSON_MODEL - PERSON_SEED - RECORDING
    common = noise(PERSON, people, 1) + noise(RECORDING, people, RECORDINGS)
    own_PK = np.eye(classes)[class_P]
    easier_P = np.array(kind.easier_K)[class_P]
    models = []
    for seeds in strengths:
        of_model = common + noise(PERSON_MODEL, people, 1)
        counts = np.zeros((len(seeds), people, classes, classes), dtype=np.int64)
        for seed, strength in enumerate(seeds):
            scores = of_model + noise(PERSON_SEED, people, 1) + noise(rest, people, RECORDINGS)
            scores += (own_PK * (strength + easier_P)[:, None])[:, None, :]
            said = np.eye(classes, dtype=np.int64)[scores.argmax(axis=-1)].sum(axis=1)
            counts[seed, np.arange(people), class_P] = said
        models.append(counts)
    return models


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of endless people with the classes of so many."""

    class_P: NDArray[np.int64]
    teacher: float  # strengths
    student: float
    seed_sd: float  # of the strength of a student's seeds
    teacher_f1: float
    student_f1: float
    recipe_f1: float  # over all seeds

    @property
    def loss(self) -> float:
        """Of every student to the teacher: MARGIN, but for the steps of the table of rates."""
        return self.teacher_f1 - self.student_f1

    @classmethod
    def of(cls, kind: Kind, people: int) -> Truth:
        class_P = classes_of(kind, people)
        share_K = np.bincount(class_P) / people
        teacher = strength_of(kind, share_K, kind.teacher)
        student = strength_of(kind, share_K, kind.teacher - MARGIN)
        seed_sd = SEED_SD / steepness(kind, share_K, student)
        seeds = student + seed_sd * np.random.default_rng(5).normal(size=20_000)
        return cls(
            class_P=class_P, teacher=teacher, student=student, seed_sd=seed_sd,
            teacher_f1=float(true_f1(kind, share_K, teacher)),
            student_f1=float(true_f1(kind, share_K, student)),
            recipe_f1=float(true_f1(kind, share_K, seeds).mean()),
        )  # fmt: skip


def steepness(kind: Kind, share_K: Floats, strength: float) -> float:
    """True macro F1 by strength."""
    near = true_f1(kind, share_K, np.array([strength, strength + 0.1]))
    return float(near[1] - near[0]) / 0.1


def simulate(
    kind: Kind, people: int, simulations: int, *, seed: int = 0, before: bool = False
) -> dict[str, float]:
    """How often, over new people each time, what is printed is true, and how often a pass is false: shares."""
    truth = Truth.of(kind, people)
    generator = np.random.default_rng([seed, people])
    rows = [
        {
            **_networks(kind, truth, generator, before),
            **_recipes(kind, truth, generator, before),
        }
        for _ in range(simulations)
    ]
    return {
        name: float(np.mean([row[name] for row in rows])) for name in COLUMNS if name in rows[0]
    }


def _networks(
    kind: Kind, truth: Truth, generator: np.random.Generator, before: bool
) -> dict[str, bool]:
    """A teacher and four students of one seed each, which all lose the margin."""
    strengths = [[truth.teacher], *[[truth.student]] * STUDENTS]
    teacher, *students = draw_networks(kind, truth.class_P, strengths, generator)
    judged = judge([student[0] for student in students], teacher[0], PARAMS, truth.loss)
    alone = [stats.is_noninferior(one.difference, truth.loss) for one in judged]
    found = {
        NETWORK: _holds(stats.estimate(teacher), truth.teacher_f1),
        AGAINST: _holds(judged[-1].difference, -truth.loss),
        PASSES: alone[-1],
        EACH_BY_ITSELF: any(alone),
        SHIPPED: any(_as_shipped(judged, alone)),
    }
    if before:
        found[NETWORK_BEFORE] = _holds(_percentiles(_draws(teacher)), truth.teacher_f1)
    return found


def _recipes(
    kind: Kind, truth: Truth, generator: np.random.Generator, before: bool
) -> dict[str, bool]:
    """Two recipes that are equally good, of several seeds each."""
    drawn = truth.student + truth.seed_sd * generator.normal(size=(2, SEEDS))
    recipe, other = draw_networks(kind, truth.class_P, drawn.tolist(), generator)
    found = {
        RECIPE: _holds(stats.estimate(recipe), truth.recipe_f1),
        RECIPES: _holds(stats.compare(recipe, other), 0.0),
    }
    if before:
        found[RECIPES_BEFORE] = _holds(_percentiles(_draws(recipe) - _draws(other)), 0.0)
    return found


def _holds(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


def _as_shipped(judged: Sequence[Judged], alone: Sequence[bool]) -> list[bool]:
    """Which students are called as good; of too few people, whom nothing is called, which tests would."""
    if any(one.noninferior is None for one in judged):
        tested = stats.find_tested(PARAMS, alone)
        return [is_tested and passed for is_tested, passed in zip(tested, alone, strict=True)]
    return [bool(one.noninferior) for one in judged]


def _draws(model_SPKK: Ints) -> Floats:
    """Macro F1 of people drawn again, mean over the seeds."""
    return stats.draw_macro_f1(model_SPKK, stats.draw_people(model_SPKK.shape[1], RESAMPLES))


def _percentiles(draws_R: Floats) -> Estimate:
    """The interval of earlier versions: the middle 95 % of what people drawn again give."""
    low, high = np.quantile(draws_R, [0.025, 0.975])
    return Estimate(mean=float(draws_R.mean()), low=float(low), high=float(high))


def table(
    kinds: Sequence[str], people: Sequence[int], simulations: int, before: bool
) -> Iterator[str]:
    """The rows of a Markdown table, each as it is done."""
    head: list[str] = []
    for kind in kinds:
        for count in people:
            shares = simulate(KINDS[kind], count, simulations, before=before)
            if not head:
                head = ["networks", "people", *shares]
                yield "| " + " | ".join(head) + " |"
                yield "|" + "---|" * len(head)
            cells = [
                f"{share:.3f} ± {(share * (1 - share) / simulations) ** 0.5:.3f}"
                for share in shares.values()
            ]
            yield "| " + " | ".join([kind, str(count), *cells]) + " |"


def image() -> Iterator[str]:
    """What real networks of auva_grf and generated ones have in common, as a Markdown table."""
    rows = [Row(**row) for row in pq.read_table(packed_path("auva_grf")).to_pylist()]
    real = find_models(rows, whole_folds(rows), seeds=5)
    kind = KINDS["auva_grf"]
    class_P = classes_of(kind, len(real["alone"].people))
    share_K = np.bincount(class_P) / len(class_P)
    student, teacher = (strength_of(kind, share_K, f1) for f1 in (0.48, kind.teacher))
    generator = np.random.default_rng(0)
    seed_sd = SEED_SD / steepness(kind, share_K, student)
    drawn = student + seed_sd * generator.normal(size=(2, 40))
    made = draw_networks(kind, class_P, [*drawn.tolist(), [teacher]], generator)
    yield "| | real | generated |"
    yield "|---|---|---|"
    wanted = ("alone", "kd", "teacher dynstg_mamba")
    described = [_describe([real[name].confusions_SPKK for name in wanted]), _describe(made)]
    for name in described[0]:
        yield f"| {name} | {described[0][name]:.3f} | {described[1][name]:.3f} |"


def _describe(models: Sequence[Ints]) -> dict[str, float]:
    """Two students of several seeds and a teacher."""
    first, second, teacher = models
    hits = [
        stats.person_accuracy(one[None]) for one in (first[0], first[1], second[0], teacher[0])
    ]
    share = float(hits[0].var(ddof=1) / (hits[0].mean() * (1 - hits[0].mean())))
    scores = np.array(
        [[stats.mean_macro_f1(one[None]) for one in model] for model in (first, second)]
    )
    spread = stats.spread_over_seeds(scores)
    assert spread is not None
    return {
        "macro F1 of the student": float(scores[0].mean()),
        "macro F1 of the teacher": stats.mean_macro_f1(teacher),
        "share of a right answer's variance that lies between people": share,
        "correlation of people's accuracy, two seeds": float(np.corrcoef(hits[0], hits[1])[0, 1]),
        "correlation of people's accuracy, two students": float(
            np.corrcoef(hits[0], hits[2])[0, 1]
        ),
        "correlation of people's accuracy, student and teacher": float(
            np.corrcoef(hits[0], hits[3])[0, 1]
        ),
        "standard deviation of macro F1 over seeds": spread,
    }


def rare() -> Iterator[str]:
    """How often a student is wrongly called as good that fails whole people of one rare class, as a Markdown table."""
    yield "| people | of the rare class | wrong: one student |"
    yield "|---|---|---|"
    for people, few in RARE:
        share = fail_whole(people, few, RARE_SIMULATIONS)
        error = (share * (1 - share) / RARE_SIMULATIONS) ** 0.5
        yield f"| {people} | {few} | {share:.3f} ± {error:.3f} |"


def fail_whole(people: int, few: int, simulations: int) -> float:
    """The share of wrong calls where a teacher is always right and the true loss is equal to the margin."""
    class_P = np.arange(people) >= few
    teacher_PKK = np.zeros((people, 2, 2), dtype=np.int64)
    teacher_PKK[np.arange(people), class_P.astype(np.int64), class_P.astype(np.int64)] = RECORDINGS
    chances = np.linspace(0, 1, 10_001)
    true_loss = [
        1 - float(macro_f1(np.array([[few * (1 - c), few * c], [0, people - few]])))
        for c in chances
    ]
    chance = chances[np.searchsorted(true_loss, MARGIN)]
    generator = np.random.default_rng([people, few])
    wrong = 0
    for _ in range(simulations):
        student_PKK = teacher_PKK.copy()
        student_PKK[:few][generator.random(few) < chance, 0] = [0, RECORDINGS]
        wrong += bool(judge([student_PKK], teacher_PKK, PARAMS[:1], MARGIN)[0].noninferior)
    return wrong / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument(
        "--before", action="store_true", help="also the intervals of people drawn again alone"
    )
    parser.add_argument(
        "--rare", action="store_true", help="whole people of a rare class that fail"
    )
    parser.add_argument("--image", action="store_true", help="real networks beside generated ones")
    options = parser.parse_args()
    started = time.monotonic()
    if options.image:
        lines = image()
    elif options.rare:
        lines = rare()
    else:
        lines = table(options.kinds, options.people, options.simulations, options.before)
    for line in lines:
        print(line, flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
