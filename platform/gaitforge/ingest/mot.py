"""Reads MOT and STO, the motions and storages of OpenSim: text, a header that `endheader` ends, a line for each frame.

Joint angles and forces are no positions: each column becomes a point of one coordinate, for layouts with up = "none".
Where the times leave out one or more of their even steps, frames are missing.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from gaitforge.ingest.lines import find_twice, read_lines, to_numbers
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.times import count_decimals, fill_gaps, place_by_time

MOST_HEADER_LINES = 1_000
_ROWS = ("nrows", "datarows")
_COLUMNS = ("ncolumns", "datacolumns")


def parse_mot(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the file's one motion [T, columns, 1]; raises ValueError where header and what is there do not agree.

    What the header tells of angles, that they are in degrees or not, is kept as the column `inDegrees`.
    """
    with closing(read_lines(path)) as lines:
        motion = _read(path, enumerate(lines, start=1))
    yield motion


def _read(path: Path, lines: Iterator[tuple[int, str]]) -> Motion | Unusable:
    header = _read_header(path, lines)
    names = next((_split(text) for _, text in lines if text.strip()), [])
    _drop_ends(names, 0)
    if not names or names[0].casefold() != "time":
        raise ValueError(
            f"{path} has no line of column names behind its endheader that begins with time; write it again."
        )
    _hold(path, header, _COLUMNS, len(names), "columns")
    numbers = array("d")
    frames = characters = decimals = 0
    for line, text in lines:
        characters += len(text)
        if not text.strip():
            continue
        fields = _split(text)
        _drop_ends(fields, len(names))
        if len(fields) != len(names):
            raise ValueError(
                f"{path} has {len(fields)} fields in line {line}, but {len(names)} columns; fetch or write it again."
            )
        numbers.extend(to_numbers(fields, path, line))
        decimals = max(decimals, count_decimals(fields[0]))
        frames += 1
    _hold(path, header, _ROWS, frames, "rows")
    if (twice := find_twice(names)) is not None:
        return Unusable(reason=f"two columns have one name: {twice}")
    rows = np.asarray(numbers).reshape(frames, len(names))
    placed = place_by_time(rows[:, 0], decimals)
    if placed is None:
        return Unusable(reason="its times are not evenly spaced, so that it has no frame rate")
    with np.errstate(over="ignore", invalid="ignore"):
        positions_TVC = rows[:, 1:, None].astype(np.float32)
    places_T, fps = placed
    degrees = header.get("indegrees")
    return Motion(
        positions_TVC=fill_gaps(positions_TVC, places_T, path, characters),
        points=tuple(names[1:]),
        fps=fps or None,
        columns={} if degrees is None else {"inDegrees": degrees},
    )


def _read_header(path: Path, lines: Iterator[tuple[int, str]]) -> dict[str, str]:
    """Return the header's values by their lower-case names: `nRows=12`, or, as once written, `datarows 12`."""
    header: dict[str, str] = {}
    for line, text in lines:
        if text.strip().casefold() == "endheader":
            return header
        key, _, value = re.sub(r"[=\s]+", " ", text.strip()).partition(" ")
        header.setdefault(key.casefold(), value)
        if line == MOST_HEADER_LINES:
            break
    raise ValueError(
        f"{path} is no MOT or STO file: its header is not ended by a line endheader; write it again."
    )


def _hold(
    path: Path, header: dict[str, str], keys: tuple[str, ...], found: int, what: str
) -> None:
    """Raise ValueError where the header promises another count; it need not promise any."""
    promised = next((header[key] for key in keys if key in header), None)
    if promised is not None and promised != str(found):
        raise ValueError(
            f"{path} holds {found:,} {what}, but its header promises {promised[:20]}; fetch it again, or write it "
            "again."
        )


def _split(text: str) -> list[str]:
    """Return the fields of a line; where nobody set tabs, white space parts them."""
    fields = text.rstrip("\r\n").split("\t") if "\t" in text else text.split()
    return [field.strip() for field in fields]


def _drop_ends(fields: list[str], least: int) -> None:
    """Drop the empty fields that a tab at the end of a line makes."""
    while len(fields) > least and not fields[-1]:
        fields.pop()
