"""Whether a recorded column, such as age or site, may have taught a model what looks like the class.

Two things make a shortcut: the windows tell the column, and the column tells the class. Each is measured on people
whom it was not fitted to, the people of several roles in turn: the first by the ridge regression that is everybody's
reference, on the windows; the second by a table of the column's values, without any windows. The class itself is told
by the same regression, to compare with.

Numbers are held against the truth by Spearman's rank correlation over people, text and numbers of few values by
balanced accuracy. A score has a chance (0, or 1 / values) at which nothing was told.

Letters: N windows, R recordings, P people, D features, S strengths, Y targets (values of a column, or one number).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitforge.metrics import recording_scores
from gaitforge.recording import Value
from gaitforge.records.confirm import BAD, GOOD, OPEN, Says
from gaitforge.records.shortcuts import ColumnFacts, Telling
from gaitforge.reference import make_candidates, solve_targets
from gaitforge.sentences import one_line
from gaitforge.stats import (
    MIN_PEOPLE,
    estimate_balanced_accuracy,
    estimate_rank_correlation,
    is_too_few,
    person_confusions,
)
from gaitforge.window_cache import WindowSet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Raise it whenever the code finds other numbers in the same columns and windows.
FORMAT = 1

FEW_NUMBERS = 5  # a column of so few different numbers is one of codes, such as of sites
MOST_VALUES = 12  # of a text; more are names
SHARED_BY = 3  # people who must share a value for it to be learned
BINS = 4  # of a number that is to tell the class: quarters of the people
MOST_COLUMNS = 24  # a table of hundreds of measurements would take longer than all else of confirm
MOST_WINDOWS = 3000  # of all roles together
MOST_FEATURES = 512  # random ones; a linear machine may have twice as many
WIDTHS = (1.0, 2.0)  # of the kernel, in median distances: the middle ones of the reference
FOLDS = 5  # of people; each is asked about in turn, and the next one chooses the machine
MOST_NAMED, LONG = 8, 40  # of names in a sentence, and of a name's letters
LITTLE = 0.3  # a link whose interval ends below this part of the way from chance to 1 carries no shortcut

NUMBER, TEXT = "number", "text"
RANKS, BALANCED = "rank correlation", "balanced accuracy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortcuts:
    """What was found: how well the windows tell the class, and each column; `says` and `sentence` of all together."""

    label: Telling | None
    columns: tuple[ColumnFacts, ...]
    says: Says
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """A column's targets by recording: a number, or the place of its value; nan where missing."""

    name: str
    values: tuple[str, ...]  # none: a number
    target_R: Floats

    @property
    def is_number(self) -> bool:
        return not self.values


def find_shortcuts(
    roles: Sequence[WindowSet],
    columns: Mapping[str, Mapping[str, Value]],
    classes: Sequence[str],
    seed: int = 0,
) -> Shortcuts:
    """Measure every column on the people of these roles, each scored by what was fitted to others.

    `columns` has values of recordings by the column's name. Columns beyond MOST_COLUMNS are left out, and said to be.
    The same windows, columns and seed give the same numbers.
    """
    windows = _merge(roles)
    people = len(set(windows.persons))
    names = list(columns)[:MOST_COLUMNS]
    label = Column(name="", values=tuple(classes), target_R=_labels(windows))
    read: dict[str, Column | str] = {
        name: _too_few(people)
        if is_too_few(people)
        else _read_column(name, columns[name], windows)
        for name in names
    }
    usable = [column for column in read.values() if isinstance(column, Column)]
    fold_R = _deal(windows, label)
    told = _tell_from_windows([label, *usable], windows, fold_R, seed) if usable else {}
    rows = tuple(
        ColumnFacts(name=name, cannot=column, from_windows=None, class_from_it=None)
        if isinstance(column, str)
        else ColumnFacts(
            name=name, cannot=None, from_windows=told[name],
            class_from_it=_tell_class(column, label, windows, fold_R),
        )
        for name, column in read.items()
    )  # fmt: skip
    own = told.get(label.name)
    says, sentence = say_shortcuts(rows, len(columns) - len(names))
    return Shortcuts(label=own, columns=rows, says=says, sentence=sentence)


def say_shortcuts(rows: Sequence[ColumnFacts], left_out: int) -> tuple[Says, str]:
    """Say what the columns show, and whether it speaks for a student, against it, or leaves it open."""
    if not rows:
        return OPEN, (
            "No column, such as age, site or device, was recorded: nobody knows whether the classes differ in more "
            "than the movement."
        )
    ways = [row for row in rows if is_way_round(row)]
    silent = [row for row in rows if row.cannot is not None]
    harmless = [row for row in rows if is_harmless(row)]
    unsure = [row for row in rows if row not in ways and row not in silent and row not in harmless]
    parts = []
    if ways:
        parts.append(
            "A student may answer by what comes with the class rather than by it: the windows tell "
            f"{_join(map(_name, ways))}, which by itself tells the class."
        )
    if harmless:
        parts.append(f"Shown to be no such way: {_join(map(_name, harmless))}.")
    if unsure:
        parts.append(f"Not shown to be one, nor to be none: {_join(map(_name, unsure))}.")
    if silent:
        each = _join(f"{_name(row)} ({row.cannot})" for row in silent)
        parts.append(f"Cannot tell of {each}.")
    if left_out:
        parts.append(f"Not looked at: {left_out} more columns.")
    says = BAD if ways else GOOD if not (unsure or silent or left_out) else OPEN
    return says, " ".join(parts)


def describe_column(row: ColumnFacts, label: Telling | None) -> str:
    """Describe what was measured of a column in a line; `label` is how well the windows tell the class."""
    if row.cannot is not None:
        return f"column {_name(row)}: cannot tell, {row.cannot}"
    return f"column {_name(row)}: {_say_links(row, label)}"


def is_way_round(row: ColumnFacts) -> bool:
    """Tell whether the windows are shown to tell the column, and the column the class."""
    links = (row.from_windows, row.class_from_it)
    return all(link is not None and link.interval[0] > link.chance for link in links)


def is_harmless(row: ColumnFacts) -> bool:
    """Tell whether one of the two is shown to be little."""
    links = (row.from_windows, row.class_from_it)
    return any(link is not None and scale(link.interval[1], link) < LITTLE for link in links)


def scale(value: float, told: Telling) -> float:
    """Return a score of the kind of `told` as a part of the way from chance to 1."""
    return (value - told.chance) / (1 - told.chance)


def say_told(told: Telling) -> str:
    """Say a score with its interval."""
    low, high = told.interval
    return f"{told.measure} {told.value:.2f} (95 % interval {low:.2f} to {high:.2f})"


def _say_links(row: ColumnFacts, label: Telling | None) -> str:
    """Say how well the windows tell a column, beside the class, and how well it tells the class."""
    assert row.from_windows is not None
    assert row.class_from_it is not None
    as_well = ""
    if label is not None:
        own, other = scale(row.from_windows.value, row.from_windows), scale(label.value, label)
        how = "as well as" if own >= other else "worse than"
        as_well = f", {how} the class ({label.measure} {label.value:.2f})"
    return (
        f"which the windows tell with {say_told(row.from_windows)}{as_well}, and which by itself tells the class with "
        f"{say_told(row.class_from_it)}"
    )


def _name(row: ColumnFacts) -> str:
    """Return the column's name as a sentence may hold it: the files' own names may be anything."""
    name = one_line(row.name)
    return name if len(name) <= LONG else f"{name[:LONG]}…"


def _join(texts: Iterable[str]) -> str:
    """Join texts, of which no more than MOST_NAMED are named."""
    every = list(texts)
    more = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED] + ([f"and {more} more"] if more > 0 else []))


def _too_few(people: int) -> str:
    return f"known of {people} people, but intervals hold from {MIN_PEOPLE} on"


# --- columns ---


def _read_column(name: str, values: Mapping[str, Value], windows: WindowSet) -> Column | str:
    """Return a column's targets, or why nothing can be told of it."""
    known = [_clean(values.get(recording)) for recording in windows.recordings]
    found = {value for value in known if value is not None}
    if not found:
        return "nowhere known"
    if len(found) == 1:
        return "everywhere the same"
    if len(found) > FEW_NUMBERS and not any(isinstance(value, str) for value in found):
        column = Column(name=name, values=(), target_R=_numbers(known))
    else:
        texts = [None if value is None else _as_text(value) for value in known]
        shared = _find_shared(texts, windows.persons)
        if len(shared) < 2:
            return f"fewer than two of its values are shared by {SHARED_BY} people"
        if len(shared) > MOST_VALUES:
            return f"{len(shared)} different values, more than {MOST_VALUES}"
        column = Column(name=name, values=shared, target_R=_places(texts, shared))
    known_R = ~np.isnan(column.target_R)
    people = len(set(np.array(windows.persons)[known_R].tolist()))
    return _too_few(people) if is_too_few(people) else column


def _clean(value: Value) -> str | float | None:
    """Return a value, None where it is missing."""
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    return float(value) if math.isfinite(value) else None


def _as_text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _numbers(values: Sequence[str | float | None]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _find_shared(texts: Sequence[str | None], persons: Sequence[str]) -> tuple[str, ...]:
    """Return the texts, sorted, that enough people have."""
    people: dict[str, set[str]] = {}
    for text, person in zip(texts, persons, strict=True):
        if text is not None:
            people.setdefault(text, set()).add(person)
    return tuple(sorted(text for text, who in people.items() if len(who) >= SHARED_BY))


def _places(texts: Sequence[str | None], shared: Sequence[str]) -> Floats:
    place = {text: float(i) for i, text in enumerate(shared)}
    return np.array([math.nan if text is None else place.get(text, math.nan) for text in texts])


# --- windows and people ---


def _merge(roles: Sequence[WindowSet]) -> WindowSet:
    """Join the roles' windows, in memory: at most MOST_WINDOWS, evenly over each role."""
    whole = sum(role.n for role in roles)
    thin = [
        _thin(role, max(1, role.n * MOST_WINDOWS // max(whole, MOST_WINDOWS))) for role in roles
    ]
    starts = np.cumsum([0, *(len(role.recordings) for role in roles)])
    return WindowSet(
        joints=np.concatenate([role.joints for role in thin]),
        seen=np.concatenate([role.seen for role in thin]),
        place_NC=np.concatenate([role.place_NC for role in thin]),
        key_N=np.concatenate([role.key_N for role in thin]),
        normalisation=roles[0].normalisation,  # that of the training people, for all roles
        label_N=np.concatenate([role.label_N for role in thin]),
        recording_N=np.concatenate(
            [role.recording_N + start for role, start in zip(thin, starts[:-1], strict=True)]
        ),
        recordings=tuple(recording for role in roles for recording in role.recordings),
        persons=tuple(person for role in roles for person in role.persons),
    )


def _thin(windows: WindowSet, most: int) -> WindowSet:
    row_N = np.unique(np.linspace(0, windows.n - 1, min(windows.n, most)).astype(np.int64))
    return dataclasses.replace(
        windows,
        joints=windows.joints[row_N],
        seen=windows.seen[row_N],
        place_NC=windows.place_NC[row_N],
        key_N=windows.key_N[row_N],
        label_N=windows.label_N[row_N],
        recording_N=windows.recording_N[row_N],
    )


def _labels(windows: WindowSet) -> Floats:
    """Return the class of each recording [R]; nan for one that has no window left."""
    label_R = np.full(len(windows.recordings), np.nan)
    label_R[windows.recording_N] = windows.label_N
    return label_R


def _deal(windows: WindowSet, label: Column) -> Ints:
    """Return the fold of each recording [R]: people are dealt in the order of their class, then of their name."""
    first: dict[str, float] = {}
    for person, place in zip(windows.persons, label.target_R, strict=True):
        first.setdefault(person, place)
    order = sorted(first, key=lambda person: (first[person], person))
    fold = {person: i % FOLDS for i, person in enumerate(order)}
    return np.array([fold[person] for person in windows.persons])


# --- a column from the windows ---


def _tell_from_windows(
    columns: Sequence[Column], windows: WindowSet, fold_R: Ints, seed: int
) -> dict[str, Telling]:
    """Tell all columns by machines that were fitted to the windows of other people than they are asked about.

    Of the people who are fitted to, one fold chooses width and strength; the machine that was chosen is then fitted
    to all of them.
    """
    fold_N = fold_R[windows.recording_N]
    best: dict[tuple[str, int], tuple[float, Floats]] = {}
    candidates = make_candidates(
        windows, np.random.default_rng(seed), widths=WIDTHS, most_random=MOST_FEATURES,
        most_linear=2 * MOST_FEATURES,
    )  # fmt: skip
    for _, lift in candidates:
        lifted_ND = np.concatenate([chunk_ND for _, chunk_ND in lift.cut_chunks(windows)])
        for column in columns:
            target_N = column.target_R[windows.recording_N]
            for fold in range(FOLDS):
                asked_N, choosing_N = fold_N == fold, fold_N == (fold + 1) % FOLDS
                tried_SNY = _answer(
                    column, lifted_ND, np.where(asked_N | choosing_N, np.nan, target_N), choosing_N
                )
                fits = [_fit_of(column, target_N[choosing_N], tried_NY) for tried_NY in tried_SNY]
                strength = int(np.argmax(fits))  # the first of equals: the stronger ridge
                key = column.name, fold
                if key not in best or fits[strength] > best[key][0]:
                    answer_SNY = _answer(
                        column, lifted_ND, np.where(asked_N, np.nan, target_N), asked_N
                    )
                    best[key] = fits[strength], answer_SNY[strength]
    told = {}
    for column in columns:
        answer_NY = np.zeros((windows.n, max(len(column.values), 1)))
        for fold in range(FOLDS):
            answer_NY[fold_N == fold] = best[column.name, fold][1]
        told[column.name] = _score(column, answer_NY, windows)
    return told


def _answer(
    column: Column, lifted_ND: Floats, target_N: Floats, asked_N: NDArray[np.bool_]
) -> Floats:
    """Return answers [S, asked, Y] by machines of all strengths; windows without a target weigh 0 in the fit."""
    known_N = ~np.isnan(target_N)
    if column.is_number:
        middle, spread = _moments(target_N[known_N])
        # folds are compared by people's ranks, so that answers stay in the column's unit
        target_NY = np.where(known_N, (target_N - middle) / spread, 0)[:, None]
        weight_N = known_N / max(int(known_N.sum()), 1)
    else:
        middle, spread = 0.0, 1.0
        place_N = np.where(known_N, target_N, 0).astype(np.int64)
        target_NY = np.eye(len(column.values))[place_N] * known_N[:, None]
        count_Y = target_NY.sum(axis=0)
        weight_N = known_N / np.maximum(count_Y[place_N] * np.count_nonzero(count_Y), 1)
    weight_SDY, bias_SY = solve_targets(
        [(slice(0, len(lifted_ND)), lifted_ND)], lifted_ND.shape[1], weight_N, target_NY, weight_N @ target_NY
    )  # fmt: skip
    answer_SNY: Floats = lifted_ND[asked_N] @ weight_SDY + bias_SY[:, None]
    return answer_SNY * spread + middle


def _moments(values: Floats) -> tuple[float, float]:
    """Return mean and deviation; the deviation is 1 where nothing varies."""
    if not values.size:
        return 0.0, 1.0
    return float(values.mean()), float(values.std()) or 1.0


def _fit_of(column: Column, target_N: Floats, answer_NY: Floats) -> float:
    """Return how well windows with a target are answered: a correlation, or balanced accuracy; 0 without any."""
    known_N = ~np.isnan(target_N)
    target, answer = target_N[known_N], answer_NY[known_N]
    if column.is_number:
        if len(target) < 2 or np.ptp(target) == 0 or np.ptp(answer) == 0:
            return 0.0
        return float(np.corrcoef(target, answer[:, 0])[0, 1])
    right = answer.argmax(axis=1) == target
    recalls = [right[target == place].mean() for place in np.unique(target)]
    return float(np.mean(recalls)) if recalls else 0.0


def _score(column: Column, answer_NY: Floats, windows: WindowSet) -> Telling:
    """Score the mean answers to recordings, or to people, that have a target."""
    row_R, answer_RY = recording_scores(answer_NY, windows.recording_N)
    target_R = column.target_R[row_R]
    person_R = np.array(windows.persons)[row_R]
    known_R = ~np.isnan(target_R)
    if not column.is_number:
        said_R = answer_RY.argmax(axis=1)
        return _score_values(column, target_R[known_R], said_R[known_R], person_R[known_R])
    people = np.unique(person_R[known_R])
    of_people = [known_R & (person_R == person) for person in people]
    found = estimate_rank_correlation(
        np.array([target_R[row].mean() for row in of_people]),
        np.array([answer_RY[row, 0].mean() for row in of_people]),
    )
    return Telling(
        measure=RANKS, value=found.mean, interval=(found.low, found.high), chance=0.0, people=len(people)
    )  # fmt: skip


def _score_values(
    column: Column, true_R: Floats, said_R: NDArray[np.integer], person_R: NDArray[np.str_]
) -> Telling:
    people = sorted(set(person_R.tolist()))
    confusions_PKK = person_confusions(
        true_R.astype(np.int64), said_R, person_R.tolist(), people, len(column.values)
    )
    found = estimate_balanced_accuracy(confusions_PKK)
    chance = 1 / np.unique(true_R).size
    return Telling(
        measure=BALANCED, value=found.mean, interval=(found.low, found.high), chance=chance, people=len(people)
    )  # fmt: skip


# --- the class from a column ---


def _tell_class(column: Column, label: Column, windows: WindowSet, fold_R: Ints) -> Telling:
    """Score tables from the column's values, or from quarters of its numbers, to the class that is likeliest there.

    Each table is of other people than it is asked about; classes count as if they had as many recordings.
    """
    known_R = ~np.isnan(column.target_R) & ~np.isnan(label.target_R)
    said_R = np.zeros(len(known_R), dtype=np.int64)
    for fold in range(FOLDS):
        own_R, asked_R = known_R & (fold_R != fold), known_R & (fold_R == fold)
        if own_R.any() and asked_R.any():
            said_R[asked_R] = _look_up(column, label, own_R, asked_R)
    return _score_values(
        label, label.target_R[known_R], said_R[known_R], np.array(windows.persons)[known_R]
    )


def _look_up(
    column: Column, label: Column, own_R: NDArray[np.bool_], asked_R: NDArray[np.bool_]
) -> Ints:
    cell_R, cells = column.target_R, len(column.values)
    if column.is_number:
        edges = np.quantile(cell_R[own_R], np.arange(1, BINS) / BINS)
        cell_R, cells = np.searchsorted(edges, cell_R, "right").astype(np.float64), BINS
    count_CK = np.zeros((cells, len(label.values)))
    places = cell_R[own_R].astype(np.int64), label.target_R[own_R].astype(np.int64)
    np.add.at(count_CK, places, 1)
    share_CK = count_CK / np.maximum(count_CK.sum(axis=0), 1)
    said: Ints = share_CK.argmax(axis=1)[cell_R[asked_R].astype(np.int64)]
    return said
