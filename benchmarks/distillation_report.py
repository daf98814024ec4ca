"""The rows of distillation.py as tables and a figure, and as one file that a repository can hold.

A row is one model, trained with one seed, scored on the people held out of one fold.

A claim on a way to teach is one on other people and other seeds, and one of as many as were tried: intervals
of differences are over both, and hold for all lines of their table at once. Of too few people there is none;
exact sign flips tell whether chance alone sets these very networks as far apart, times the number of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.distillation_plans import TOGETHER, Plan
from gaitforge.metrics import macro_f1
from gaitforge.stats import (
    LEVEL,
    Ints,
    compare,
    estimate,
    is_too_few,
    level_at_once,
    mean_macro_f1,
    person_confusions,
    sign_flip_p_value,
    spread_over_seeds,
)
from gaitforge.work import read_json, write_parquet


class Row(NamedTuple):
    """What a model said of the recordings of one fold."""

    fold: str
    name: str
    seed: int
    params: int | None
    persons: Sequence[str]
    true: Sequence[int]
    predicted: Sequence[int]


COLUMNS: list[tuple[str, pa.DataType]] = [
    ("fold", pa.string()),
    ("name", pa.string()),
    ("seed", pa.int8()),
    ("params", pa.int32()),
    ("persons", pa.list_(pa.string())),
    ("true", pa.list_(pa.int8())),
    ("predicted", pa.list_(pa.int8())),
]


def packed_path(plan: str) -> Path:
    return Path(__file__).parent / f"distillation_{plan}.parquet"


def pack(out: Path, target: Path) -> None:
    """Write all rows as one small Parquet file, which knows the plan that they are of by the folder's name."""
    rows = read_rows(out)
    schema = pa.schema(COLUMNS, metadata={"plan": out.name})
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
    write_parquet(target, table)
    print(f"{len(rows):,} rows in {target}, {target.stat().st_size:,} bytes")


def read_packed(path: Path, plan: str) -> list[Row]:
    """The rows that `pack` wrote; none where there are none, or where the plan has changed since."""
    if not path.is_file():
        return []
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(b"plan") != plan.encode():
        return []
    return [Row(**row) for row in table.to_pylist()]


def read_rows(source: Path) -> list[Row]:
    """The rows of a folder that distillation.py fills; none where there are none yet."""
    rows = []
    for path in sorted(source.glob("fold-*/rows/*.json")):
        row = {"fold": path.parent.parent.name, "params": None, **read_json(path)}
        rows.append(Row(**{name: row[name] for name in Row._fields}))
    return rows


class Model(NamedTuple):
    """One line of a table: confusion matrices [S, P, K, K] over the people of all its folds."""

    name: str
    params: int | None
    people: tuple[str, ...]
    confusions_SPKK: Ints

    @property
    def few(self) -> bool:
        """Whether its people are too few for an interval."""
        return is_too_few(len(self.people))

    @property
    def accuracy(self) -> float:
        every = self.confusions_SPKK.sum(axis=(0, 1))
        return float(np.trace(every) / every.sum())

    @property
    def over_seeds(self) -> float | None:
        """The standard deviation of macro F1 over seeds."""
        scores_S = macro_f1(self.confusions_SPKK.sum(axis=1))
        return spread_over_seeds(np.asarray(scores_S)[None])


def whole_folds(rows: Sequence[Row]) -> list[str]:
    """The folds that have every model with its first seed that any fold has."""
    there: dict[str, set[str]] = {}
    for row in rows:
        if row.seed == 0:
            there.setdefault(row.fold, set()).add(row.name)
    wanted = set().union(*there.values())
    return sorted(fold for fold, names in there.items() if names == wanted)


def find_models(rows: Sequence[Row], folds: Sequence[str], seeds: int) -> dict[str, Model]:
    """Every model over the same folds, with those of the first seeds that it has in all of them."""
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if row.fold in folds and row.seed < seeds:
            found.setdefault(row.name, {}).setdefault(row.seed, []).append(row)
    classes = 1 + max((max(row.true) for row in rows), default=0)
    models = {}
    for name, by_seed in found.items():
        whole = [rows for _, rows in sorted(by_seed.items()) if len(rows) == len(folds)]
        if whole:
            people = sorted({person for row in whole[0] for person in row.persons})
            matrices = [confusions(rows, people, classes) for rows in whole]
            models[name] = Model(name, whole[0][0].params, tuple(people), np.stack(matrices))
    return models


def confusions(rows: Sequence[Row], people: Sequence[str], classes: int) -> Ints:
    """Confusion matrices [P, K, K] of all rows together."""
    persons = [person for row in rows for person in row.persons]
    true = np.concatenate([row.true for row in rows])
    predicted = np.concatenate([row.predicted for row in rows])
    return person_confusions(true, predicted, persons, people, classes)


def best_of_others(
    plan: Plan, rows: Sequence[Row], folds: Sequence[str], seeds: int
) -> Model | None:
    """What the best way is worth: chosen by the people of one half of the folds, scored by those of the other."""
    halves = [find_models(rows, folds[half::2], seeds) for half in (0, 1)]
    parts = []
    for choosing, scoring in (halves, halves[::-1]):
        both = [way for way in plan.ways if way in choosing and way in scoring and way != "alone"]
        if not both:
            return None
        # a way with fewer seeds than others may have been lucky
        most = max(len(choosing[way].confusions_SPKK) for way in both)
        both = [way for way in both if len(choosing[way].confusions_SPKK) == most]
        best = max(both, key=lambda way: mean_macro_f1(choosing[way].confusions_SPKK))
        parts.append(scoring[best])
    fewest = min(len(part.confusions_SPKK) for part in parts)
    people = [person for part in parts for person in part.people]
    matrices = np.concatenate([part.confusions_SPKK[:fewest] for part in parts], axis=1)
    name = f"the best by the other folds ({', '.join(part.name for part in parts)})"
    order = np.argsort(people)
    return Model(name, parts[0].params, tuple(sorted(people)), matrices[:, order])


def report(plan: Plan, rows: Sequence[Row], which: slice, seeds: int, figure: Path | None) -> str:
    """Markdown: what learns from labels against the machine, then the ways against the student alone."""
    folds = whole_folds(rows)[which]
    if not folds:
        return "No fold has every model with its first seed; train what is missing."
    models = find_models(rows, folds, seeds)
    machine = models["svm"]
    people, classes = machine.confusions_SPKK.shape[1:3]
    references = [f"teacher {name}" for name in plan.teachers]
    teachers = [models[name] for name in (*references, TOGETHER) if name in models]
    title = f"{plan.data}: {len(folds)} {'fold' if len(folds) == 1 else 'folds'}, {people} people, {classes} classes."
    alone = models.get("alone")
    if alone is None:
        return "\n".join([title, "", *labels_table([machine, *teachers])])
    ways = [models[name] for name in plan.ways if name in models and name != "alone"]
    if best := best_of_others(plan, rows, folds, seeds):
        ways.append(best)
    if figure is not None:
        draw_gains([machine, *teachers], ways, alone, figure)
    by_labels = labels_table([machine, *teachers, alone])
    return "\n".join([title, "", *by_labels, "", *ways_table(alone, ways)])


def labels_table(models: Sequence[Model]) -> list[str]:
    """The machine first, which the others are held against."""
    machine, *others = models
    columns = "from labels", "parameters", "seeds", "macro F1", "accuracy", "minus SVM"
    return [
        table_row(*columns, told_as(machine)),
        table_row(*["---"] * 7),
        table_row(*cells(machine), "", ""),
        *(table_row(*cells(model), *minus(model, machine, len(others))) for model in others),
        "",
        *how_sure(machine, len(others), "models are held against the SVM"),
    ]


def ways_table(alone: Model, ways: Sequence[Model]) -> list[str]:
    """The student alone, and taught in each way."""

    def told(model: Model, *gains: str) -> str:
        name, _, *scores = cells(model)
        spread = model.over_seeds
        return table_row(name, *scores, "" if spread is None else f"{spread:.3f}", *gains)

    columns = "seeds", "macro F1", "accuracy", "sd over seeds", "minus alone"
    return [
        table_row("student, taught", *columns, told_as(alone)),
        table_row(*["---"] * 7),
        told(alone, "", ""),
        *(told(way, *minus(way, alone, len(ways))) for way in ways),
        "",
        *how_sure(alone, len(ways), "ways to teach were tried"),
    ]


def cells(model: Model) -> list[str]:
    """Name, parameters, seeds, macro F1 with its interval over people and seeds, accuracy."""
    found = estimate(model.confusions_SPKK)
    return [
        model.name,
        "" if model.params is None else f"{model.params:,}",
        str(len(model.confusions_SPKK)),
        f"{found.mean:.3f}" + ("" if model.few else f" ({found.low:.3f} to {found.high:.3f})"),
        f"{model.accuracy:.3f}",
    ]


def told_as(model: Model) -> str:
    """The head of the column that says how sure a difference is."""
    return "p" if model.few else "shown"


def minus(model: Model, other: Model, claims: int) -> tuple[str, str]:
    """The difference of two models, one of so many claims: with its interval, and what it shows.

    Of too few people: alone, of the seeds that both have, and the p of exact sign flips times the number of claims.
    """
    pair = held_against(model, other)
    gain = compare(*pair, level_at_once(claims))
    if model.few:
        return f"{gain.mean:+.3f}", f"{min(1.0, sign_flip_p_value(*pair) * claims):.2g}"
    shown = "better" if gain.low > 0 else "worse" if gain.high < 0 else "nothing"
    return f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})", shown


def held_against(model: Model, other: Model) -> tuple[Ints, Ints]:
    """The confusion matrices of both; of too few people those of the seeds that both have, which can be swapped."""
    first, second = model.confusions_SPKK, other.confusions_SPKK
    seeds = min(len(first), len(second)) if model.few else None
    return first[:seeds], second[:seeds]


def how_sure(model: Model, claims: int, tried: str) -> list[str]:
    """What the last columns of a table of so many claims rest on."""
    if model.few:
        return [
            f"{claims} {tried}. {len(model.people)} people are too few for intervals: p is of exact sign flips over "
            f"people, times {claims}, and like the difference of the seeds that both have; it says nothing of others."
        ]
    each = 100 * level_at_once(claims)
    return [
        f"{claims} {tried}. The intervals of differences are over people and seeds and hold for all {claims} at once "
        f"in {100 * LEVEL:.0f} % (each at {each:.2f} %); those of macro F1 hold each for itself. What has one seed is "
        "that one network, which says nothing of how others would turn out."
    ]


def table_row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def draw_gains(others: Sequence[Model], ways: Sequence[Model], alone: Model, path: Path) -> None:
    """Macro F1 minus that of the student alone, with intervals as in the tables, as SVG; others than ways are grey."""
    rows = []
    for models, grey in ((others, True), (ways, False)):
        for model in models:
            gain = compare(*held_against(model, alone), level_at_once(len(models)))
            ends = (gain.mean, gain.mean) if alone.few else (gain.low, gain.high)
            rows.append((model.name, gain.mean, *ends, grey))
    data = pd.DataFrame(rows, columns=["model", "gain", "low", "high", "grey"])
    y = alt.Y("model:N", sort=None, title=None, axis=alt.Axis(labelLimit=360))
    colour = alt.Color("grey:N", legend=None, scale=alt.Scale(range=["#0b6e99", "#8a8f98"]))
    base = alt.Chart(data).encode(y=y, color=colour)
    marks = (
        alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color="#8a8f98").encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title="Macro F1 minus that of the student alone"), x2="high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(x="gain:Q"),
    )
    title = f"95 % intervals over people and seeds, of all {len(ways)} ways at once"
    if alone.few:
        title = f"{len(alone.people)} people, too few for intervals"
    alt.layer(*marks).properties(width=420, title=title).save(path)
