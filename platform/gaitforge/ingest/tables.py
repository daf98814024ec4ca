"""Reads tables of joints: a line for each frame (wide), or one for each joint of a frame (long), in CSV or Parquet.

A table is one recording, or several where a column tells them apart. Lines may be in any order. Frame numbers that are
left out become frames in which everything is missing. Where there is a column of times instead of frame numbers, times
rise from line to line, and a step of about two usual ones leaves one frame out. Where there is neither, pandas' index
numbers the frames, if the file has it. Cells without a number are missing.
"""

from __future__ import annotations

import math
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
from gaitforge.ingest.table_columns import VELOCITY, Roles, find_roles, is_number
from gaitforge.ingest.table_files import NO_NUMBER, Table, open_parquet
from gaitforge.recording import Value
from gaitforge.regular_file import spell_name

# A recording may have so many places for each that the table fills, and always so many: one wrong frame number would
# fill the memory otherwise. A marker that is seen in a tenth of the frames is worth keeping.
MOST_EMPTY = 10
ALWAYS_PLACES = 100_000
# a further column with so many more values than recordings changes from line to line
MOST_VALUES = 10
# dates with and without a zone
_DATES = (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
# beyond it floats do not tell whole numbers apart
_MOST_FRAME = 2.0**53
_UNITS = {"ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNIT = re.compile(r"(?:[^a-z]|time|stamp)(ms|msec|milliseconds|us|ns)\W*$", re.IGNORECASE)
_SECONDS = re.compile(r"[^a-z](s|sec|secs|seconds)\W*$", re.IGNORECASE)
_COMMA = re.compile(r"[-+]?\d+,\d+", re.ASCII)
_CLOCK = re.compile(
    r"(?P<sign>-?)(?:(?P<d>\d{1,9}) days? )?(?:(?P<h>\d{1,9}):)?(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:[.,]\d+)?)", re.ASCII
)  # fmt: skip
# pandas makes 3.0 of a joint's number where a line has none
_WHOLE = re.compile(r"(\d+)\.0+", re.ASCII)

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
    # nobody named it, so that anything else goes before
    index = "" if roles.frame or roles.time or table.index in numbers else table.index
    texts += [index] if index and index not in texts else []
    if not roles.recording:
        batches = list(table.rows(numbers, texts))
        if not sum(batch.num_rows for batch in batches):
            raise ValueError(
                f"{source} names columns, but holds no line of numbers; write it again."
            )
        rows = pa.concat_tables(batches)
        survey = _Survey(
            joints=_points_of(_joints(rows, roles.joint, source)) if roles.joint else ()
        )
        roles = _without_velocity(roles, survey.joints, options)
        group = _Group(rows=rows, roles=roles, source=source, survey=survey, index=index)
        yield group.motion(options)
        return
    survey = _look(table, roles, source, options)
    roles = _without_velocity(roles, survey.joints, options)
    roles = replace(roles, further=tuple(survey.kinds))
    index = index if survey.is_together else ""
    texts = [name for name in texts if name in (index, *survey.kinds) or name not in every_further]
    batches_in_turn = table.rows(numbers, texts)
    if not survey.is_together:
        rows = pa.concat_tables(list(batches_in_turn)).unify_dictionaries()
        rank = {name: n for n, name in enumerate(survey.ids)}
        codes_N, names = _keys(rows, roles.recording, source)
        places = np.array([rank.get(name, -1) for name in names])[codes_N]
        batches_in_turn = iter([rows.take(np.argsort(places, kind="stable"))])
    for id_, rows in _cut(batches_in_turn, roles, source):
        group = _Group(rows=rows, roles=roles, source=source, survey=survey, index=index, id=id_)
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
            joints |= dict.fromkeys(_joints(rows, roles.joint, source))
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


def _joints(rows: pa.Table, column: str, source: str) -> list[str]:
    """Return the joints that a long table's column names, in the order in which they occur."""
    return list(dict.fromkeys(map(_spell_joint, _distinct(rows, column, source))))


def _spell_joint(text: str) -> str:
    number = _WHOLE.fullmatch(text)
    return number[1] if number else text


def _without_velocity(roles: Roles, joints: Sequence[str], options: ReadOptions) -> Roles:
    """Leave out a long table's column v where joints have names: it is as likely a velocity as a confidence."""
    axes, sure = next(iter(roles.points.values()))
    is_named = "confidence" in options.columns or all(map(is_number, joints))
    if not roles.joint or is_named or sure.strip().casefold() != VELOCITY:
        return roles
    return replace(roles, points={"": (axes, "")})


def _points_of(names: Collection[str]) -> tuple[str, ...]:
    """Return names of points in their order: bare numbers as they count, others as they occur."""
    if all(map(is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(names)


def _name_points(points: Sequence[str], options: ReadOptions) -> tuple[str, ...] | None:
    """Return the points as `Motion` has them: None where they are counted from 0 or 1, and run.toml names none."""
    numbers = [int(name) if is_number(name) else -1 for name in points]
    is_counted = numbers in ([*range(len(points))], [*range(1, len(points) + 1)])
    return None if is_counted and not options.joints else tuple(points)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """All rows of a recording; `index` is a column that may number them, or ""."""

    rows: pa.Table
    roles: Roles
    source: str
    survey: _Survey
    index: str = ""
    id: str = ""

    @property
    def where(self) -> str:
        return f"{self.source}, recording '{self.id}'," if self.id else self.source

    def motion(self, options: ReadOptions) -> Motion | Unusable:
        """Make a motion of the rows; raises ValueError where they contradict each other."""
        roles = self.roles
        read = _Numbers(rows=self.rows)
        joint_N = None
        points = _points_of(roles.points)
        if roles.joint:
            points = self.survey.joints
            joint_N = self._joints(read)
        count = 1 if roles.joint else len(points)
        frame_N, times = self._frames(joint_N, options)
        first, last = int(frame_N.min()), int(frame_N.max())
        frames, filled = last - first + 1, len(frame_N) * count
        if frames * len(points) > max(ALWAYS_PLACES, MOST_EMPTY * filled):
            return Unusable(
                id=self.id,
                reason=f"its frame numbers leap: from {first} to {last} in {len(frame_N)} lines of the table",
            )
        self._check_once(frame_N, joint_N, points)
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
            is_seen = joint_N >= 0
            positions[at[is_seen], joint_N[is_seen]] = values_NVC[is_seen, 0]
            if confidence is not None:
                confidence[at[is_seen], joint_N[is_seen]] = sure_NV[is_seen, 0]
        return Motion(
            positions_TVC=positions,
            points=_name_points(points, options),
            confidence_TV=confidence,
            fps=self._fps(frame_N, times),
            id=self.id,
            person=self._tell(options.person),
            label=self._tell(options.label),
            columns=self._further(options),
        )

    def _joints(self, read: _Numbers) -> Ints:
        """Return the joint of each row [N], -1 in a row that only says that its frame has none."""
        roles = self.roles
        place = {name: n for n, name in enumerate(self.survey.joints)}
        codes_N, texts = _read_text(self.rows, roles.joint, self.source)
        is_none = codes_N == 0
        (axes, _), *_ = roles.points.values()
        if not place or (is_none.any() and np.isfinite(read.coordinates(axes)[is_none]).any()):
            raise ValueError(
                f"{self.where} has lines without a '{roles.joint}'; fill it, or name the column of joints in "
                "ingest.read.columns."
            )
        joint_N: Ints = np.array([place.get(_spell_joint(text), -1) for text in texts])[codes_N]
        return joint_N

    def _frames(self, joint_N: Ints | None, options: ReadOptions) -> tuple[Ints, Times | None]:
        """Return each row's frame [N], and its time where there are such."""
        times = self._times(options)
        if self.roles.frame:
            numbers = self.rows.column(self.roles.frame).to_numpy()
            return as_frames(numbers, self.roles.frame, self.where), times
        if times is not None:
            self._check_rising(times.values_N, joint_N)
            if np.isfinite(times.values_N).all():
                moments, place_N = np.unique(times.values_N, return_inverse=True)
                frame_N = count_steps(moments)[place_N]
                is_regular = find_step(frame_N, times.values_N) is not None
                return (frame_N if is_regular else place_N), times
        if joint_N is not None:
            raise ValueError(
                f"{self.where} has lines without a time in '{self.roles.time}', and no column of frame numbers; fill "
                "it, or name one in ingest.read.columns."
            )
        numbered_N = self._indexed()
        return np.arange(self.rows.num_rows) if numbered_N is None else numbered_N, times

    def _indexed(self) -> Ints | None:
        """Return each row's frame [N] by a column that nobody named, if it holds whole numbers that rise."""
        told = read_times(self.rows.column(self.index)) if self.index else None
        if told is None or told.is_seconds or not (np.abs(told.values_N) < _MOST_FRAME).all():
            return None
        is_whole = bool((np.floor(told.values_N) == told.values_N).all())
        rises = bool((np.diff(told.values_N) > 0).all())
        return told.values_N.astype(np.int64) if is_whole and rises else None

    def _times(self, options: ReadOptions) -> Times | None:
        """Return the time of each row; raises ValueError where they cannot be read, and nothing else tells the rate."""
        column = self.roles.time
        if not column:
            return None
        times = read_times(self.rows.column(column))
        if times is None and options.fps is None and self._told_rate() is None:
            cells = _distinct(self.rows, column, self.source)
            wrong = next((cell for cell in cells[:1000] if parse_times([cell]) is None), cells[0])
            raise ValueError(
                f"{self.where} has {wrong[:40]!r} in its column of times '{column}', but times are all numbers, all "
                "clock times, or all dates; mend it, name another as time in ingest.read.columns, or say the frame "
                "rate as ingest.read.fps."
            )
        return times

    def _check_rising(self, times_N: Floats, joint_N: Ints | None) -> None:
        """Raise ValueError where times go back or stand, which only several recordings or people explain."""
        is_known = np.isfinite(times_N)
        known_M = times_N[is_known]
        steps = np.diff(known_M)
        if joint_N is not None:
            # a long table may go through all frames of one joint before the next
            joint_M = joint_N[is_known]
            order = np.argsort(joint_M, kind="stable")
            known_M, joint_M = known_M[order], joint_M[order]
            steps = np.where(np.diff(joint_M) == 0, np.diff(known_M), 1)
        wrong = np.flatnonzero(~(steps > 0))
        if wrong.size:
            before, after = known_M[wrong[0] : wrong[0] + 2].tolist()
            raise ValueError(
                f"{self.where} goes from the time {before} to {after} in '{self.roles.time}', but times rise from line "
                "to line where nothing numbers frames; where it holds several recordings or people, name the columns "
                'that tell them apart as recording in ingest.read.columns (such as "subject, trial"), else sort its '
                "lines, or leave that column out."
            )

    def _check_once(self, frame_N: Ints, joint_N: Ints | None, points: Sequence[str]) -> None:
        places = frame_N
        if joint_N is not None:
            is_seen = joint_N >= 0
            frame_N, joint_N = frame_N[is_seen], joint_N[is_seen]
            places = (frame_N - frame_N.min(initial=0)) * len(points) + joint_N
        order = np.argsort(places, kind="stable")
        twice = np.flatnonzero(np.diff(places[order]) == 0)
        if twice.size:
            row = int(order[twice[0] + 1])
            joint = "" if joint_N is None else f" for the joint '{points[int(joint_N[row])]}'"
            raise ValueError(
                f"{self.where} has two lines of frame {frame_N[row]}{joint}, but may have one; where it holds several "
                "recordings or people, name the column that tells them apart as recording in ingest.read.columns."
            )

    def _fps(self, frame_N: Ints, times: Times | None) -> float | None:
        told = self._told_rate()
        if told is None and times is not None:
            return find_rate(frame_N, times, self.roles.time)
        return told

    def _told_rate(self) -> float | None:
        """Return the rate that a column of it tells."""
        told = _distinct(self.rows, self.roles.fps, self.source) if self.roles.fps else []
        if len(told) == 1:
            number = kind_of(told)(told[0])
            if isinstance(number, int | float) and number > 0:
                return float(number)
        return None

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """The time of each row [N], NaN where there is none; in the column's own unit, or in seconds."""

    values_N: Floats
    is_seconds: bool


def read_times(column: pa.ChunkedArray[Any]) -> Times | None:
    """Return the times of a column, or None where it holds other text.

    Numbers are as they stand; clock times and dates with a time of day become seconds.
    """
    texts: list[str] = []
    places: list[Ints] = []
    for chunk in column.chunks:
        codes = _codes(chunk)
        places.append(np.where(codes < 0, -1, codes + len(texts)))
        texts += [str(text or "").strip() for text in _dictionary(chunk)]
    told = parse_times(texts)
    if told is None or not places:
        return None
    values = np.append(told.values_N, np.nan)  # where a place is -1
    return Times(values_N=values[np.concatenate(places)], is_seconds=told.is_seconds)


def parse_times(texts: Sequence[str]) -> Times | None:
    """Return the times that texts tell, or None where they are not all of one kind."""
    cells = [None if text in NO_NUMBER else text for text in texts]
    told = [cell for cell in cells if cell is not None]
    if all(map(_COMMA.fullmatch, told)):
        cells = [cell and cell.replace(",", ".") for cell in cells]
    clocks = [_CLOCK.fullmatch(cell) for cell in told[:1]]
    if all(clocks) and told:
        clocks = [_CLOCK.fullmatch(cell) for cell in told]
        if not all(clocks):
            return None
        seconds = iter([_read_clock(clock) for clock in clocks if clock])
        values = np.array([math.nan if cell is None else next(seconds) for cell in cells])
        return Times(values_N=values, is_seconds=True)
    words = pa.array(cells, pa.string())
    for kind, unit in ((pa.float64(), 1.0), *((kind, 1e9) for kind in _DATES)):
        try:
            read = words.cast(kind)
        except pa.ArrowInvalid:
            continue
        if unit != 1.0:
            read = read.cast(pa.int64()).cast(pa.float64(), safe=False)
        return Times(
            values_N=read.to_numpy(zero_copy_only=False) / unit,
            is_seconds=unit != 1.0,
        )
    return None


def _read_clock(clock: re.Match[str]) -> float:
    """Return the seconds of a clock time."""
    days, hours, minutes = (int(clock[part] or 0) for part in "dhm")
    seconds = 60 * (60 * (24 * days + hours) + minutes) + float(clock["s"].replace(",", "."))
    return -seconds if clock["sign"] else seconds


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


def find_rate(frame_N: Ints, times: Times, column: str) -> float | None:
    """Return the frames a second that times tell, or None where they tell none.

    Where the column's name tells no unit, as time_us does, times are seconds; milliseconds where their step is from 2
    to 1,000; microseconds where it is larger; nanoseconds where it is above a million.
    """
    times_N = times.values_N
    step = find_step(frame_N, times_N)
    if step is None:
        return None
    unit = _UNIT.search(column)
    if times.is_seconds:
        scale = 1.0
    elif unit:
        scale = _UNITS[unit[1].lower()]
    elif step < 1 or _SECONDS.search(column):
        scale = 1.0
    elif 2 <= step <= 1000:
        scale = 1e-3
    elif 1000 < step <= 1e9:
        scale = 1e-6 if step <= 1e6 else 1e-9
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
