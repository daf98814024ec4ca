"""Tables that the fronts are drawn from; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.frame.thinning import Thinned, thin
from dashboard.fronts.good_enough import read_member_size
from dashboard.fronts.scales import CONFIRMED, MEASURES, SIZES
from dashboard.reading.models import TEACHER, Model
from dashboard.reading.work_folder import SplitResults
from gaitforge.front import hypervolume_2d, hypervolume_3d
from gaitforge.objectives import OBJECTIVES, costs
from gaitforge.records.confirm import NEAR, Optimism, Scores
from gaitforge.records.search import SearchHead
from gaitforge.records.trial import Trial

Floats = NDArray[np.float64]

SEARCHED_COLUMNS = ["trial", "kind", "family", "name", "size", "score", "params", "sizes", "ended"]
CONFIRMED_COLUMNS = [
    "trial", "kind", "family", "name", "size", "score", "low", "high", "params", "seeds", "p_on_front",
]  # fmt: skip
RECENT = 20  # ended trials from which the time left is told
PAUSE = 20  # times the median gap: the search was not running then


def searched_points(
    models: Iterable[Model], measure: str, size: str, stopped: bool, families: Sequence[str]
) -> pd.DataFrame:
    """Tabulate teacher, finished and, with `stopped`, stopped trials by their final scores (SEARCHED_COLUMNS).

    `kind` is "teacher", "front", "beaten" or "stopped". For macro F1 against parameters "front" is the search's
    own front; for other axes the finished trials drawn that no other beats on both.
    """
    rows = []
    for model in models:
        score, takes = MEASURES[measure].read_from(model), SIZES[size].read_from(model)
        if model.number == TEACHER:
            kind = "teacher"
        elif model.state == "finished":
            kind = "front" if model.on_front else "beaten"
        elif model.state == "stopped" and stopped:
            kind = "stopped"
        else:
            continue
        if kind != "teacher" and (model.family not in families or takes is None or takes <= 0):
            continue
        if score is None:
            continue
        rows.append(
            (
                model.number, kind, model.family, f"{model.title}, {model.family}", takes, score, model.params,
                model.sizes, model.state if model.reason is None else model.reason,
            )
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=SEARCHED_COLUMNS)
    table = table.astype({"size": "float64", "score": "float64"})
    if (measure, size) != ("macro_f1", "params"):
        students = table["kind"].isin(["front", "beaten"])
        table.loc[students, "kind"] = np.where(
            _unbeaten(table[students], MEASURES[measure].up), "front", "beaten"
        )
    return table


def confirmed_points(
    confirm: Scores | None,
    models: Mapping[int, Model],
    measure: str,
    size: str,
    families: Sequence[str],
) -> pd.DataFrame:
    """Tabulate the teacher, each member's network that is handed out, and the mean of its seeds if it has several.

    Empty if confirm does not score this measure, or before it.
    """
    rows: list[dict[str, object]] = []
    if confirm is not None and measure in CONFIRMED:
        by_f1 = measure == "macro_f1"
        teacher = models.get(TEACHER)
        takes = float(confirm.teacher.params) if size == "params" else None
        if teacher is not None and takes is None:
            takes = SIZES[size].read_from(teacher)
        ends = confirm.teacher.interval if by_f1 else None
        rows.append(
            {
                "trial": TEACHER, "kind": "teacher", "family": confirm.teacher.family,
                "name": f"Teacher, {confirm.teacher.family}", "params": confirm.teacher.params, "size": takes,
                "score": getattr(confirm.teacher, measure), "low": ends and ends[0], "high": ends and ends[1],
            }
        )  # fmt: skip
        for member in confirm.members:
            if member.family not in families:
                continue
            same = {
                "trial": member.trial, "family": member.family, "params": member.params, "seeds": member.seeds,
                "name": f"Trial {member.trial}, {member.family}", "size": read_member_size(member, models, size),
            }  # fmt: skip
            ends = member.network.interval if by_f1 else None
            rows.append(
                {
                    **same, "kind": "confirmed", "score": getattr(member.network, measure), "low": ends and ends[0],
                    "high": ends and ends[1],
                }
            )  # fmt: skip
            if member.seeds > 1:
                mean = getattr(member, measure)
                rows.append(
                    {**same, "kind": "recipe", "score": mean, "p_on_front": member.p_on_front}
                )
    table = pd.DataFrame(rows, columns=CONFIRMED_COLUMNS)
    numbers = dict.fromkeys(("size", "score", "low", "high", "p_on_front"), "float64")
    return table.astype({**numbers, "seeds": "Int64"})


def drawn_words(confirm: Scores) -> str:
    """Say in sentences what the points and bars of confirmed students stand for."""
    seeds = max((member.seeds for member in confirm.members), default=1)
    words = ["Each is the one network that is handed out."]
    if not confirm.too_few:
        words.append("Bars are 95 % intervals over people.")
    if seeds > 1:
        words.append(f"Faint: the mean of its {seeds} seeds.")
    return " ".join(words)


def states_table(results: SplitResults, running: int) -> pd.DataFrame:
    """Count the trials asked for: columns state, trials; by how they ended, running, or still to come."""
    counts: Counter[str] = Counter(trial.state for trial in results.trials)
    counts["running"] = running
    wanted = results.search.trials if results.search else 0
    counts["to come"] = max(wanted - len(results.trials) - running, 0)
    order = ("finished", "stopped", "failed", "running", "to come")
    rows = [(state, counts[state]) for state in order if counts[state]]
    return pd.DataFrame(rows, columns=["state", "trials"])


def hypervolume_table(trials: Iterable[Trial], search: SearchHead | None) -> pd.DataFrame:
    """Tabulate the hypervolume over time: columns minutes, trials, hypervolume; one row per change.

    It is the hypervolume of the search's objectives, as in its front.json: trials with the same settings count
    by the mean of their scores. Empty without a finished trial, or unless there are two or three known objectives.
    """
    empty = pd.DataFrame({"minutes": [], "trials": [], "hypervolume": []}, dtype="float64")
    if search is None or not 2 <= len(search.objectives) <= 3:
        return empty
    if len(search.reference) != len(search.objectives):
        return empty
    if any(name not in OBJECTIVES for name in search.objectives):
        return empty
    timed = sorted(
        ((moment, trial) for trial in trials if (moment := _moment(trial)) is not None),
        key=lambda pair: (pair[0], pair[1].number),
    )
    worst = costs([search.reference], search.objectives)[0]
    measured: dict[str, list[list[float]]] = {}
    front = np.empty((0, len(worst)))
    rows: list[tuple[float, int, float]] = []
    volume = 0.0
    for count, (moment, trial) in enumerate(timed, start=1):
        values = _objectives(trial, search.objectives)
        if values is None:
            continue
        seeds = measured.setdefault(trial.hash or str(trial.number), [])
        seeds.append(values)
        if len(seeds) > 1:  # its mean may be worse than what was on the front
            means = [np.mean(several, axis=0).tolist() for several in measured.values()]
            front = costs(means, search.objectives)
        else:
            point = costs([values], search.objectives)[0]
            if (front <= point).all(axis=1).any():
                continue
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
        reached = _volume(front, worst)
        if reached != volume or not rows:
            rows.append(((moment - timed[0][0]) / 60, count, reached))
            volume = reached
    if not rows:
        return empty
    rows.append(((timed[-1][0] - timed[0][0]) / 60, len(timed), volume))
    return pd.DataFrame(rows, columns=["minutes", "trials", "hypervolume"])


def optimism_table(optimism: Optimism) -> pd.DataFrame:
    """Tabulate scores as searched, refitted and confirmed: columns title, what, score; three rows per member."""
    rows = []
    for member in optimism.members:
        title = f"Trial {member.trial}" + (" (near the front)" if member.searched == NEAR else "")
        rows += [
            (title, "searched", member.believed),
            (title, "refitted", member.validated),
            (title, "confirmed", member.confirmed),
        ]
    return pd.DataFrame(rows, columns=["title", "what", "score"])


def seconds_per_trial(trials: Iterable[Trial]) -> float | None:
    """Return the mean time between the ends of the latest trials, without pauses; None for fewer than 4 trials."""
    ends = sorted(moment for trial in trials if (moment := _moment(trial)) is not None)
    gaps = [after - before for before, after in pairwise(ends[-RECENT:])]
    if len(gaps) < 3:
        return None
    longest = PAUSE * max(float(np.median(gaps)), 1.0)
    return float(np.mean([gap for gap in gaps if gap <= longest]))


def thin_points(points: pd.DataFrame, always: Collection[int | None]) -> Thinned:
    """Thin the points if they are too many to draw; front, teacher and the trials in `always` are kept."""
    keep = points["kind"].isin(["front", "teacher"]) | points["trial"].isin(list(always))
    return thin(points, "size", "score", keep, log_x=True)


def keep_within(points: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Keep the points inside all ranges of a drag."""
    inside = pd.Series(True, index=points.index)
    for field, (low, high) in ranges.items():
        if field in points:
            inside &= points[field].between(low, high)
    return points[inside]


def _unbeaten(points: pd.DataFrame, up: bool) -> NDArray[np.bool_]:
    """Mark the points that no other beats in both size and score [N]."""
    gain = points["score"].to_numpy() * (1 if up else -1)
    order = np.lexsort((-gain, points["size"].to_numpy()))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], gain[order][:-1]]))
    unbeaten = np.zeros(len(points), dtype=np.bool_)
    unbeaten[order] = gain[order] > best[: len(order)]
    return unbeaten


def _objectives(trial: Trial, names: Sequence[str]) -> list[float] | None:
    """Return the trial's objective values; None if it has not finished or lacks one."""
    if trial.state != "finished":
        return None
    own = {"params": trial.params, "macs": trial.macs, "bytes": trial.bytes or None}
    scores = trial.scores or {}
    found = [own.get(name) if name in own else scores.get(OBJECTIVES[name].key) for name in names]
    values = [float(value) for value in found if value is not None]
    return values if len(values) == len(names) else None


def _volume(front: Floats, worst: Floats) -> float:
    limits = [float(limit) for limit in worst]
    if len(limits) == 2:
        return hypervolume_2d(front, (limits[0], limits[1]))
    return hypervolume_3d(front, (limits[0], limits[1], limits[2]))


def _moment(trial: Trial) -> float | None:
    """Return when a trial ended as a Unix time in seconds; None if its file has no valid ISO date."""
    try:
        return datetime.fromisoformat(trial.ended).timestamp() if trial.ended else None
    except ValueError:
        return None
