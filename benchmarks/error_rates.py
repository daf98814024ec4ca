"""How often intervals hold the truth, and how often a student is wrongly called as good as its teacher.

    python -m benchmarks.error_rates                        the table, 4,000 simulations a row
    python -m benchmarks.error_rates --people 12 --simulations 400

People, recordings and networks are drawn in the image of `auva_grf` (four classes, 194 people, five
recordings each): `--image` prints beside each other what the packed rows of the distillation benchmark
say of real networks and what the generator gives. Every student's true loss is equal to the margin, so
that each "not inferior" is false; nominal are 2.5 %. What decides is the code that ships:
`gaitforge.stats` and `gaitforge.decision.judge`.

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
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaitforge import stats
from gaitforge.decision import judge
from gaitforge.metrics import macro_f1
from gaitforge.stats import Estimate, Ints

Floats = NDArray[np.float64]

PEOPLE = (8, 10, 12, 30, 58, 194)
MARGIN = 0.05
STUDENTS, SEEDS, RECORDINGS = 4, 3, 5
SEED_SD = 0.025  # of true macro F1, from one seed to another of the same student
PARAMS = (200, 900, 1700, 3100)  # their order alone matters
# the shares of a score's variance; the rest is that of recording and network
PERSON, PERSON_MODEL, PERSON_SEED, RECORDING = 0.52, 0.10, 0.08, 0.12
REAL = Path(__file__).parent / "distillation_auva_grf.parquet"


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


def simulate(kind: Kind, people: int, simulations: int, seed: int = 0) -> dict[str, float]:
    """How often, over new people each time, what is printed is true: shares from 0 to 1."""
    class_P = classes_of(kind, people)
    share_K = np.bincount(class_P) / people
    teacher = strength_of(kind, share_K, kind.teacher)
    student = strength_of(kind, share_K, kind.teacher - MARGIN)
    teacher_f1 = float(true_f1(kind, share_K, teacher))
    student_f1 = float(true_f1(kind, share_K, student))
    steep = float(true_f1(kind, share_K, student + 0.1) - student_f1) / 0.1
    seed_sd = SEED_SD / steep
    spread = student + seed_sd * np.random.default_rng(5).normal(size=20_000)
    recipe_f1 = float(true_f1(kind, share_K, spread).mean())
    generator = np.random.default_rng([seed, people])
    rows: list[dict[str, bool]] = []
    for _ in range(simulations):
        told, *networks = draw_networks(
            kind, class_P, [[teacher], *[[student]] * STUDENTS], generator
        )
        judged = judge(
            [network[0] for network in networks], told[0], PARAMS, teacher_f1 - student_f1
        )
        alone = [stats.noninferior(j.difference, teacher_f1 - student_f1) for j in judged]
        drawn = student + seed_sd * generator.normal(size=(2, SEEDS))
        recipe, other = draw_networks(kind, class_P, drawn.tolist(), generator)
        rows.append(
            {
                "score of a network": _holds(stats.estimate(told), teacher_f1),
                "network against teacher": _holds(judged[-1].difference, student_f1 - teacher_f1),
                "score of a recipe": _holds(stats.estimate(recipe), recipe_f1),
                "recipe against recipe": _holds(stats.compare(recipe, other), 0.0),
                "one passes": alone[-1],
                "any of four": any(alone),
                # with too few people nothing is called shown; then what a test would do
                "as shipped": _first(judged, alone),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _holds(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


def _first(judged: Sequence[object], alone: Sequence[bool]) -> bool:
    tested = stats.tested_down(PARAMS, alone)
    return any(t and passed for t, passed in zip(tested, alone, strict=True))


def table(kinds: Sequence[str], people: Sequence[int], simulations: int) -> Iterator[str]:
    """The rows of a Markdown table, each as it is done."""
    head: list[str] = []
    for kind in kinds:
        for count in people:
            shares = simulate(KINDS[kind], count, simulations)
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
    rows = pq.read_table(REAL).to_pylist()
    wanted = ("alone", "kd", "teacher dynstg_mamba")
    people = sorted({person for row in rows for person in row["persons"]})

    def real(name: str) -> Ints:
        found = []
        for seed in range(5 if name in wanted[:2] else 1):
            own = [row for row in rows if row["name"] == name and row["seed"] == seed]
            flat = {
                key: np.concatenate([row[key] for row in own])
                for key in ("true", "predicted", "persons")
            }
            found.append(
                stats.person_confusions(
                    flat["true"].astype(np.int64),
                    flat["predicted"].astype(np.int64),
                    flat["persons"].tolist(),
                    people,
                    4,
                )
            )
        return np.stack(found)

    kind = KINDS["auva_grf"]
    class_P = classes_of(kind, len(people))
    share_K = np.bincount(class_P) / len(people)
    student = strength_of(kind, share_K, 0.48)
    steep = float(true_f1(kind, share_K, student + 0.1) - true_f1(kind, share_K, student)) / 0.1
    generator = np.random.default_rng(0)
    drawn = student + SEED_SD / steep * generator.normal(size=(2, 40))
    made = draw_networks(
        kind, class_P, [*drawn.tolist(), [strength_of(kind, share_K, 0.52)]], generator
    )
    yield "| | real | generated |"
    yield "|---|---|---|"
    described = [_describe([real(name) for name in wanted]), _describe(made)]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--image", action="store_true", help="real networks beside generated ones")
    options = parser.parse_args()
    started = time.monotonic()
    for line in (
        image() if options.image else table(options.kinds, options.people, options.simulations)
    ):
        print(line, flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
