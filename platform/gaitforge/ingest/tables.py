"""Reads tables of joints: a line for each frame (wide), or one for each joint of a frame (long), in CSV or Parquet.

A table is one recording, or several where a column tells them apart. Lines may be in any order. Frame numbers that are
left out become frames in which everything is missing. Where there is a column of times instead of frame numbers, a step
of about two usual ones leaves one frame out. Cells without a number are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaitforge.ingest.descriptions import kind_of
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.table_columns import Roles, find_roles
from gaitforge.ingest.table_files import Table, open_parquet
from gaitforge.recording import Value
from gaitforge.regular_file import spell_name

# A recording may have so many places for each that the table fills, and always so many: one wrong frame number would
# fill the memory otherwise. A marker that is seen in a tenth of the frames is worth keeping.
MOST_EMPTY = 10
ALWAYS_PLACES = 100_000
# a further column with so many more values than recordings changes from line to line
MOST_VALUES = 10
# beyond it floats do not tell whole numbers apart
_MOST_FRAME = 2.0**53
_UNITS = {"ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNIT = re.compile(r"(?:[^a-z]|time|stamp)(ms|msec|milliseconds|us|ns)\W*$", re.IGNORECASE)
_SECONDS = re.compile(r"[^a-z](s|sec|secs|seconds)\W*$", re.IGNORECASE)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def read_parquet_table(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the recordings of a table of joints in Parquet; raises as `Parse` does."""
    return read_table(open_parquet(path), options)


def read_table(table: Table, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the recordings of a table in the order in which it begins them; raises as `Parse` does."""
    yield from read_rows(table, find_roles(table.names, spell_name(table.path), options), options)


def read_rows(table: Table, roles: Roles, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the recordings of a table whose columns are known.

    Memory is that of a recording where the lines of each are together, else that of the table. Raises ValueError with
    one sentence that names the file.
    """
    source = spell_name(table.path)
    every_further = roles.further
    numbers = [name for axes, sure in roles.points.values() for name in (*axes, sure) if name]
    if roles.frame:
        numbers.append(roles.frame)
    texts = [roles.time, roles.fps, roles.joint, *roles.recording, *roles.further]
    texts = [name for name in dict.fromkeys(texts) if name and name not in numbers]
    if not roles.recording:
        batches = list(table.rows(numbers, texts))
        if not sum(batch.num_rows for batch in batches):
            raise ValueError(
                f"{source} names columns, but holds no line of numbers; write it again."
            )
        rows = pa.concat_tables(batches)
        survey = _Survey(
            joints=_points_of(_distinct(rows, roles.joint, source)) if roles.joint else ()
        )
        yield _Group(rows=rows, roles=roles, source=source, survey=survey).motion(options)
        return
    survey = _look(table, roles, source, options)
    roles = replace(roles, further=tuple(survey.kinds))
    texts = [name for name in texts if name in survey.kinds or name not in every_further]
    batches_in_turn = table.rows(numbers, texts)
    if not survey.is_together:
        rows = pa.concat_tables(list(batches_in_turn)).unify_dictionaries()
        rank = {name: n for n, name in enumerate(survey.ids)}
        codes_N, names = _keys(rows, roles.recording, source)
        places = np.array([rank.get(name, -1) for name in names])[codes_N]
        batches_in_turn = iter([rows.take(np.argsort(places, kind="stable"))])
    for id_, rows in _cut(batches_in_turn, roles, source):
        group = _Group(rows=rows, roles=roles, source=source, survey=survey, id=id_)
        yield group.motion(options)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Survey:
    """What is known of a whole table: ids in the order in which they begin, and the joints of a long one.

    `kinds` makes values of the cells of each further column that is worth reading.
    """

    ids: tuple[str, ...] = ()
    is_together: bool = True
    joints: tuple[str, ...] = ()
    kinds: dict[str, Callable[[str], Value]] = field(default_factory=dict)


def _look(table: Table, roles: Roles, source: str, options: ReadOptions) -> _Survey:
    """Read the columns of text once: what a recording is made of must not depend on the others before it."""
    ids: dict[str, None] = {}
    joints: dict[str, None] = {}
    cells: dict[str, set[str]] = {name: set() for name in roles.further}
    last = None
    is_together = True
    texts = [*roles.recording, *([roles.joint] if roles.joint else []), *roles.further]
    for rows in table.rows((), list(dict.fromkeys(texts))):
        codes_N, names = _keys(rows, roles.recording, source)
        runs = [names[code] for code, _ in _runs(codes_N)]
        for id_ in runs:
            is_together &= id_ == last or id_ not in ids
            ids[id_] = None
            last = id_
        if roles.joint:
            joints |= dict.fromkeys(_distinct(rows, roles.joint, source))
        for name in list(cells):
            found = _distinct(rows, name, source)
            if len(found) > len(runs) + MOST_VALUES and name not in (
                options.person,
                options.label,
            ):
                del cells[name]  # it is one of frames, not of recordings
                continue
            # one cell of each kind is as good as all of them
            cells[name] |= set({kind_of([cell]): cell for cell in found}.values())
    if not ids:
        raise ValueError(f"{source} names columns, but holds no line of numbers; write it again.")
    return _Survey(
        ids=tuple(ids),
        is_together=is_together,
        joints=_points_of(joints),
        kinds={name: kind_of(found) for name, found in cells.items()},
    )


def _cut(batches: Iterator[pa.Table], roles: Roles, source: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield each recording's id and rows, of batches in which a recording's rows follow each other."""
    waiting: list[pa.Table] = []
    current = ""
    for rows in batches:
        codes_N, names = _keys(rows, roles.recording, source)
        begin = 0
        for code, end in _runs(codes_N):
            id_ = names[code]
            if waiting and id_ != current:
                yield current, pa.concat_tables(waiting)
                waiting = []
            current = id_
            waiting.append(rows.slice(begin, end - begin))
            begin = end
    if waiting:
        yield current, pa.concat_tables(waiting)


def _runs(codes_N: Ints) -> Iterator[tuple[int, int]]:
    """Yield each code with where its run of equal ones ends."""
    ends = [*(np.flatnonzero(np.diff(codes_N)) + 1).tolist(), len(codes_N)]
    for end in ends if len(codes_N) else []:
        yield int(codes_N[end - 1]), end


def _keys(rows: pa.Table, columns: Sequence[str], source: str) -> tuple[Ints, list[str]]:
    """Return the recording of each row [N] as a place in a list of ids, and that list."""
    codes_N, names = np.zeros(rows.num_rows, np.int64), [""]
    for column in columns:
        own_N, texts = _read_text(rows, column, source)
        if (own_N == 0).any():
            raise ValueError(
                f"{source} has lines without a '{column}', but that column tells recordings apart; fill it, or name "
                "another in ingest.read.columns."
            )
        pairs, codes_N = np.unique(codes_N * len(texts) + own_N, return_inverse=True)
        both = [divmod(pair, len(texts)) for pair in pairs.tolist()]
        names = [f"{names[a]}/{texts[b]}" if names[a] else texts[b] for a, b in both]
    return codes_N, names


def _read_text(rows: pa.Table, column: str, source: str) -> tuple[Ints, list[str]]:
    """Return a column's cells [N] as places in a list of texts, and that list; the first is that of empty cells."""
    places = {"": 0}
    parts = [np.empty(0, np.int64)]
    for chunk in rows.column(column).chunks:
        texts = [str(text or "").strip() for text in _dictionary(chunk)]
        broken = next((text for text in texts if "\n" in text or "\r" in text), None)
        if broken is not None:
            raise ValueError(
                f"{source} has the cell {broken!r} in its column '{column}', but a cell is of one line; mend it."
            )
        own = np.array([*(places.setdefault(text, len(places)) for text in texts), 0])
        parts.append(own[_codes(chunk)])
    return np.concatenate(parts), list(places)


def _dictionary(chunk: Any) -> list[str | None]:
    texts: list[str | None] = chunk.dictionary.to_pylist()
    return texts


def _codes(chunk: Any) -> Ints:
    """Return each cell's place in the dictionary [N], -1 where there is none."""
    codes: Ints = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _distinct(rows: pa.Table, column: str, source: str) -> list[str]:
    """Return the texts that a column holds in the order in which they occur, "" left out."""
    codes_N, texts = _read_text(rows, column, source)
    codes, first = np.unique(codes_N, return_index=True)
    return [texts[code] for code in codes[np.argsort(first)].tolist() if code]


def _points_of(names: Collection[str]) -> tuple[str, ...]:
    """Return names of points in their order: bare numbers as they count, others as they occur."""
    if all(name.isascii() and name.isdecimal() and len(name) < 10 for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(names)


def _name_points(points: Sequence[str], options: ReadOptions) -> tuple[str, ...] | None:
    """Return the points as `Motion` has them: None where they are counted from 0 or 1, and run.toml names none."""
    numbers = [
        int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else -1
        for name in points
    ]
    is_counted = numbers in ([*range(len(points))], [*range(1, len(points) + 1)])
    return None if is_counted and not options.joints else tuple(points)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """All rows of a recording."""

    rows: pa.Table
    roles: Roles
    source: str
    survey: _Survey
    id: str = ""

    @property
    def where(self) -> str:
        return f"{self.source}, recording '{self.id}'," if self.id else self.source

    def motion(self, options: ReadOptions) -> Motion | Unusable:
        """Make a motion of the rows; raises ValueError where they contradict each other."""
        roles = self.roles
        if roles.joint:
            points = self.survey.joints
            place = {name: n for n, name in enumerate(points)}
            codes_N, texts = _read_text(self.rows, roles.joint, self.source)
            if (codes_N == 0).any():
                raise ValueError(
                    f"{self.where} has lines without a '{roles.joint}'; fill it, or name the column of joints in "
                    "ingest.read.columns."
                )
            joint_N = np.array([place.get(text, -1) for text in texts])[codes_N]
            count = 1
        else:
            points = _points_of(roles.points)
            joint_N = None
            count = len(points)
        frame_N, times_N = self._frames()
        first, last = int(frame_N.min()), int(frame_N.max())
        frames, filled = last - first + 1, len(frame_N) * count
        if frames * len(points) > max(ALWAYS_PLACES, MOST_EMPTY * filled):
            return Unusable(
                id=self.id,
                reason=f"its frame numbers leap: from {first} to {last} in {len(frame_N)} lines of the table",
            )
        self._check_once(frame_N, joint_N, points)
        read = _Numbers(rows=self.rows)
        columns = [roles.points[name] for name in (points if joint_N is None else [""])]
        values_NVC = np.stack([read.coordinates(axes) for axes, _ in columns], axis=1)
        positions = np.full((frames, len(points), roles.channels), np.nan, np.float32)
        confidence = None
        if any(sure for _, sure in columns):
            confidence = np.zeros((frames, len(points)), np.float32)
            sure_NV = np.stack([read.confidence(sure) for _, sure in columns], axis=1)
        at = frame_N - first
        if joint_N is None:
            positions[at] = values_NVC
            if confidence is not None:
                confidence[at] = sure_NV
        else:
            positions[at, joint_N] = values_NVC[:, 0]
            if confidence is not None:
                confidence[at, joint_N] = sure_NV[:, 0]
        return Motion(
            positions_TVC=positions,
            points=_name_points(points, options),
            confidence_TV=confidence,
            fps=self._fps(frame_N, times_N),
            id=self.id,
            person=self._tell(options.person),
            label=self._tell(options.label),
            columns=self._further(options),
        )

    def _frames(self) -> tuple[Ints, Floats | None]:
        """Return each row's frame [N], and its time in the column's own unit [N] where there are such."""
        times_N = None if not self.roles.time else read_times(self.rows.column(self.roles.time))
        if self.roles.frame:
            numbers = self.rows.column(self.roles.frame).to_numpy()
            return as_frames(numbers, self.roles.frame, self.where), times_N
        if times_N is not None and np.isfinite(times_N).all():
            moments, place_N = np.unique(times_N, return_inverse=True)
            # a clock that stands tells no order
            if self.roles.joint or len(moments) == len(times_N):
                frame_N = count_steps(moments)[place_N]
                is_regular = find_step(frame_N, times_N) is not None
                return (frame_N if is_regular else place_N), times_N
        if self.roles.joint:
            raise ValueError(
                f"{self.where} has lines without a time in '{self.roles.time}', and no column of frame numbers; fill "
                "it, or name one in ingest.read.columns."
            )
        return np.arange(self.rows.num_rows), times_N

    def _check_once(self, frame_N: Ints, joint_N: Ints | None, points: Sequence[str]) -> None:
        places = frame_N if joint_N is None else (frame_N - frame_N.min()) * len(points) + joint_N
        order = np.argsort(places, kind="stable")
        twice = np.flatnonzero(np.diff(places[order]) == 0)
        if twice.size:
            row = int(order[twice[0] + 1])
            joint = "" if joint_N is None else f" for the joint '{points[int(joint_N[row])]}'"
            raise ValueError(
                f"{self.where} has two lines of frame {frame_N[row]}{joint}, but may have one; where it holds several "
                "recordings or people, name the column that tells them apart as recording in ingest.read.columns."
            )

    def _fps(self, frame_N: Ints, times_N: Floats | None) -> float | None:
        told = _distinct(self.rows, self.roles.fps, self.source) if self.roles.fps else []
        if len(told) == 1:
            number = kind_of(told)(told[0])
            if isinstance(number, int | float) and number > 0:
                return float(number)
        if times_N is None:
            return None
        return find_rate(frame_N, times_N, self.roles.time)

    def _tell(self, column: str) -> str:
        """Return the person or the class that all rows agree on, "" where the table has no such column."""
        if column not in self.roles.further:
            return ""
        told = _distinct(self.rows, column, self.source)
        if len(told) > 1:
            raise ValueError(
                f"{self.where} has '{told[0]}' and '{told[1]}' in its column '{column}', but a recording has one; name "
                "the column that tells recordings apart as recording in ingest.read.columns, or mend it."
            )
        return told[0] if told else ""

    def _further(self, options: ReadOptions) -> dict[str, Value]:
        """Return the columns in which all rows agree; others are no column of a recording."""
        values: dict[str, Value] = {}
        for name in self.roles.further:
            told = _distinct(self.rows, name, self.source)
            if name not in (options.person, options.label) and len(told) == 1:
                values[name] = self.survey.kinds.get(name, kind_of(told))(told[0])
        return values


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Columns of numbers as arrays, NaN where a cell holds none, infinite beyond float32."""

    rows: pa.Table

    def coordinates(self, axes: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._column(name) for name in axes], axis=1)

    def confidence(self, column: str) -> NDArray[np.float32]:
        """Return a point's confidence, 1 where only others have one."""
        return self._column(column) if column else np.ones(self.rows.num_rows, np.float32)

    def _column(self, name: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            return self.rows.column(name).to_numpy().astype(np.float32)


def as_frames(numbers_N: Floats, column: str, where: str) -> Ints:
    """Return frame numbers as whole ones; raises ValueError where some are none."""
    is_whole = np.abs(numbers_N) < _MOST_FRAME
    is_whole &= np.floor(np.where(is_whole, numbers_N, 0.5)) == numbers_N
    if not is_whole.all():
        wrong = numbers_N[~is_whole][0]
        raise ValueError(
            f"{where} has {'no number' if np.isnan(wrong) else wrong} as a frame in '{column}', but frames are counted "
            "in whole numbers; mend it, or name another column as frame or time in ingest.read.columns."
        )
    return numbers_N.astype(np.int64)


def read_times(column: pa.ChunkedArray[Any]) -> Floats | None:
    """Return times [N], NaN where there is none, or None where the column holds other text.

    Numbers are as they stand; dates with a time of day become seconds.
    """
    found: list[Floats] = []
    for chunk in column.chunks:
        texts = [str(text or "").strip() or None for text in _dictionary(chunk)]
        words = pa.array([*texts, None], pa.string())
        try:
            values = words.cast(pa.float64())
        except pa.ArrowInvalid:
            try:
                seconds = (
                    words.cast(pa.timestamp("ns")).cast(pa.int64()).cast(pa.float64(), safe=False)
                )
            except pa.ArrowInvalid:
                return None
            found.append(seconds.to_numpy(zero_copy_only=False)[_codes(chunk)] / 1e9)
            continue
        found.append(values.to_numpy(zero_copy_only=False)[_codes(chunk)])
    return np.concatenate(found) if found else None


def count_steps(times_M: Floats) -> Ints:
    """Return the frame [M] of each of several times that rise, from 0 on; a step of twice the usual leaves one out."""
    steps = np.diff(times_M)
    if not steps.size:
        return np.zeros(len(times_M), np.int64)
    usual = np.median(steps)
    # a leap is refused where frames are counted; here it must only fit into whole numbers
    counts = np.clip(np.rint(steps / usual), 1, 2.0**31)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def find_step(frame_N: Ints, times_N: Floats) -> float | None:
    """Return the time from frame to frame, or None where times are not regular.

    They are where each is within half a frame of where the first and the last put it.
    """
    is_known = np.isfinite(times_N)
    frame_M, times_M = frame_N[is_known], times_N[is_known]
    if len(frame_M) < 2:
        return None
    first, last = int(frame_M.argmin()), int(frame_M.argmax())
    frames = float(frame_M[last] - frame_M[first])
    with np.errstate(over="ignore", invalid="ignore"):
        step = float(times_M[last] - times_M[first]) / frames if frames else 0.0
        off = np.abs(times_M - times_M[first] - (frame_M - frame_M[first]) * step)
        is_regular = 0 < step < np.inf and bool((off <= step / 2).all())
    return step if is_regular else None


def find_rate(frame_N: Ints, times_N: Floats, column: str) -> float | None:
    """Return the frames a second that times tell, or None where they tell none.

    Times are seconds, or milliseconds where their step is from 2 to 1,000; another unit is told by the column's name,
    such as time_us.
    """
    step = find_step(frame_N, times_N)
    if step is None:
        return None
    unit = _UNIT.search(column)
    if unit:
        scale = _UNITS[unit[1].lower()]
    elif step < 1 or _SECONDS.search(column):
        scale = 1.0
    elif 2 <= step <= 1000:
        scale = 1e-3
    else:
        return None
    if step * scale < 1e-300:
        return None
    rate = 1 / (step * scale)
    # times that are rounded, such as 33, 67 and 100 ms, tell the rate only so well
    known = times_N[np.isfinite(times_N)]
    rounding = next((unit for unit in (1, 0.1, 0.01, 1e-3) if _are_multiples(known, unit)), 0.0)
    off = rounding / max(float(np.ptp(known)) - rounding, rounding or 1.0)
    whole = round(rate)
    is_whole = whole > 0 and abs(rate - whole) <= rate * off
    return float(whole) if is_whole else float(f"{rate:.6g}")


def _are_multiples(times_N: Floats, unit: float) -> bool:
    counts = times_N / unit
    return bool((np.abs(counts - np.rint(counts)) < 1e-6).all())
