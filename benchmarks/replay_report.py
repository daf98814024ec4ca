"""What the replayed searches say: tables as text, and hypervolume against epochs as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.replay_table import Table, best_hypervolumes, reference
from gaitforge.front import f1_params_front, f1_params_hypervolume

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]

STOCK = "stock:tpe"  # what the others are held against
SHARES = (0.1, 0.25, 0.5, 1.0)
RESAMPLES = 10_000
OWN, COMPARED = "#3572c6", "#7c828d"


class Curves:
    """The hypervolume of each search of one method: a step at the end of each student.

    By the scores that the search saw, or (`unseen`) by those of its front on the confirm people.
    """

    def __init__(self, rows: Rows, ref: tuple[float, float], unseen: bool = False) -> None:
        self.rows = sorted(rows, key=lambda row: int(row["seed"]))
        self.seeds = [int(row["seed"]) for row in self.rows]
        self.steps = [_steps(row, ref, unseen) for row in self.rows]

    def at(self, spent: float) -> Floats:
        """The hypervolume of each search after `spent` epochs, [searches]; 0 before its first student."""
        return np.asarray(
            [
                steps[np.searchsorted(row["spent"], spent, side="right")]
                for row, steps in zip(self.rows, self.steps, strict=True)
            ]
        )

    def first(self, goal: float) -> Floats:
        """The epochs that each search spent until it reached `goal`; infinity where it never did."""
        reached = []
        for row, steps in zip(self.rows, self.steps, strict=True):
            there = np.flatnonzero(steps[1:] >= goal)
            reached.append(float(row["spent"][there[0]]) if len(there) else np.inf)
        return np.asarray(reached)


def report(rows: Rows, table: Table) -> str:
    """All tables, as text."""
    methods = _by_method(rows)
    if not methods:
        return "There are no searches in the file."
    budget = int(rows[0]["budget"])
    ref = reference(table)
    curves = {name: Curves(own, ref) for name, own in methods.items()}
    unseen = {name: Curves(own, ref, unseen=True) for name, own in methods.items()}
    mean, luckiest = best_hypervolumes(table)
    seeds = sorted({len(student.confirm_f1_S) for student in table.values()})
    parts = [
        f"{len(table)} students with {' to '.join(map(str, seeds))} seeds each. Hypervolume over macro F1 and log10 "
        f"parameters, reference {ref[0]:g} and {ref[1]:,.0f}. All students tried: {mean:.4f} at their mean, "
        f"{luckiest:.4f} at their luckiest seeds.",
        _over_budget(curves, budget, "hypervolume after"),
    ]
    if STOCK in curves:
        parts.append(_against_stock(curves))
    parts.append(_over_budget(unseen, budget, "on confirm people after"))
    if STOCK in curves:
        parts.append(_against_stock(unseen))
    parts += [_trials(methods), _optimism(methods, table)]
    return "\n\n".join(parts)


def write_plot(rows: Rows, table: Table, path: Path) -> None:
    """What each search still misses against epochs spent, one panel for each method, as SVG."""
    best = best_hypervolumes(table)[1]
    curves = {name: Curves(own, reference(table)) for name, own in _by_method(rows).items()}
    if not curves:
        return
    points = []
    for spent in np.linspace(0, int(rows[0]["budget"]), 201)[1:]:
        compared = STOCK if STOCK in curves else next(iter(curves))
        stock = best - np.median(curves[compared].at(spent))
        for name, own in curves.items():
            low, median, high = np.percentile(best - own.at(spent), [25, 50, 75])
            points.append((name, spent, low, median, high, stock))
    data = pd.DataFrame(points, columns=["method", "spent", "low", "median", "high", "stock"])
    data.loc[:, "low":"stock"] = data.loc[:, "low":"stock"].clip(
        lower=best / 1000
    )  # the axis is a log
    base = alt.Chart(data).encode(x=alt.X("spent:Q", title="Epochs spent"))
    layers = (
        base.mark_area(opacity=0.25, color=OWN).encode(y=_missing("low"), y2="high:Q"),
        base.mark_line(color=COMPARED, strokeDash=[4, 3]).encode(y=_missing("stock")),
        base.mark_line(color=OWN).encode(y=_missing("median")),
    )
    panels = alt.Facet("method:N", title=None, sort=list(curves))
    chart = alt.layer(*layers).properties(width=230, height=170).facet(panels, columns=3)
    best_at = f"What all students at their luckiest seeds would reach ({best:.3f}), minus what a search has"
    legend = f"Median and quartiles of the searches; dashed: the median of {STOCK}"
    chart.properties(title=alt.TitleParams(best_at, subtitle=legend)).save(path)


def _missing(column: str) -> alt.Y:
    scale = alt.Scale(type="log", nice=False)
    return alt.Y(f"{column}:Q", title="Hypervolume missing (log)", scale=scale)


def _over_budget(curves: Mapping[str, Curves], budget: int, what: str) -> str:
    head = [what, *(f"{share * budget:,.0f} epochs" for share in SHARES)]
    lines = []
    for name, own in curves.items():
        cells = [np.percentile(own.at(share * budget), [50, 25, 75]) for share in SHARES]
        lines.append([name, *(f"{m:.4f} ({low:.4f} to {high:.4f})" for m, low, high in cells)])
    return _table(head, lines) + "\nMedian over searches and, in brackets, quartiles."


def _against_stock(curves: Mapping[str, Curves]) -> str:
    goal = float(np.median(curves[STOCK].at(np.inf)))
    lines = []
    for name, own in curves.items():
        first = own.first(goal)
        half = float(np.percentile(first, 50, method="inverted_cdf"))
        epochs = f"{half:,.0f}" if np.isfinite(half) else "never"
        share = f"{np.isfinite(first).mean():.0%}"
        lines.append([name, epochs, share, _paired(own, curves[STOCK])])
    head = [f"reaching {goal:.4f}", "half after", "in the end", f"final minus {STOCK}"]
    return _table(head, lines) + (
        f"\n{goal:.4f} is the median final hypervolume of {STOCK}: epochs until half of the searches had reached it, "
        "and the share that ever did. The difference is the mean over pairs of searches with the same seed, with the "
        "95 % bootstrap interval over seeds."
    )


def _paired(own: Curves, stock: Curves) -> str:
    if own is stock:
        return "-"
    ours = dict(zip(own.seeds, own.at(np.inf), strict=True))
    theirs = dict(zip(stock.seeds, stock.at(np.inf), strict=True))
    diff = np.asarray([ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()])
    if len(diff) < 2:
        return "too few pairs"
    drawn = np.random.default_rng(0).choice(diff, (RESAMPLES, len(diff))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{diff.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def _trials(methods: Mapping[str, Rows]) -> str:
    lines = []
    for name, rows in methods.items():
        started, full, claimed, low = (
            np.mean([row[column] for row in rows])
            for column in ("started", "full", "claimed", "claimed_low")
        )
        different = np.mean([len(set(row["key"])) for row in rows])
        own = f"{low:.1f} of {claimed:.1f}" if claimed else "-"
        lines.append(
            [name, f"{len(rows)}", *(f"{n:.1f}" for n in (started, full, different)), own]
        )
    head = [
        "mean",
        "searches",
        "started",
        "to the end",
        "different",
        "stopped ones in its own front",
    ]
    return _table(head, lines) + (
        "\nTrials of a search. Different: students among those trained to the end, whatever their seed. Its own front: "
        "study.best_trials, which mixes fidelities where trials are stopped; nothing else here counts stopped trials."
    )


def _optimism(methods: Mapping[str, Rows], table: Table) -> str:
    ref = reference(table)
    every = np.asarray(
        [[s.val_f1_SE[:, -1].mean(), s.confirm_f1_S.mean()] for s in table.values()]
    ).mean(axis=0)
    lines = []
    for name, rows in methods.items():
        fronts = [_front(row) for row in rows if len(row["val_f1"])]
        means = np.asarray([front[:2].mean(axis=1) for front in fronts])
        low, high = np.percentile(means[:, 0] - means[:, 1], [25, 75])
        volumes = [f1_params_hypervolume(front[1], front[2], ref) for front in fronts]
        lines.append(
            [
                name,
                f"{np.mean([front.shape[1] for front in fronts]):.1f}",
                *_flattered(*means.mean(axis=0)),
                f"{low:+.3f} to {high:+.3f}",
                "{:.4f} ({:.4f} to {:.4f})".format(*np.percentile(volumes, [50, 25, 75])),
            ]
        )
    lines.append(["any student", "-", *_flattered(*every), "-", "-"])
    measured = ["validation", "confirm", "optimism", "quartiles", "confirm hypervolume"]
    return _table(["final front", "members", *measured], lines) + (
        "\nMean macro F1 of the members, then over searches; the last line is the mean over the whole "
        "table, where nothing was selected. Confirm hypervolume: that of the members by their confirm scores, "
        "median and quartiles."
    )


def _flattered(val: float, confirm: float) -> tuple[str, str, str]:
    return f"{val:.3f}", f"{confirm:.3f}", f"{val - confirm:+.3f}"


def _front(row: Mapping[str, Any]) -> Floats:
    """Validation macro F1, confirm macro F1 and parameters of the members, [3, members].

    The same student with the same seed of the table is one member.
    """
    named = [f"{key} {draw}" for key, draw in zip(row["key"], row["draw"], strict=True)]
    _, first = np.unique(named, return_index=True)
    values = np.asarray([row["val_f1"], row["confirm_f1"], row["params"]], np.float64)[:, first]
    front: Floats = values[:, f1_params_front(values[0], values[2])]
    return front


def _steps(row: Mapping[str, Any], ref: tuple[float, float], unseen: bool) -> Floats:
    """The hypervolume after 0, 1, 2, ... students; `unseen`: of their front, by its confirm scores."""
    seen, confirm = np.asarray(row["val_f1"]), np.asarray(row["confirm_f1"])
    params = np.asarray(row["params"])
    after = []
    for count in range(1, len(seen) + 1):
        counted = f1_params_front(seen[:count], params[:count]) if unseen else np.arange(count)
        f1 = confirm if unseen else seen
        after.append(f1_params_hypervolume(f1[counted], params[counted], ref))
    return np.asarray([0.0, *after])


def _by_method(rows: Rows) -> dict[str, Rows]:
    names = list(dict.fromkeys(row["method"] for row in rows))
    return {name: [row for row in rows if row["method"] == name] for name in names}


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *lines]
    )
