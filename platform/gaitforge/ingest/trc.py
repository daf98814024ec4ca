"""Reads TRC, the markers of OpenSim, OpenCap and Pose2Sim: text, a line for each frame, three fields for each marker.

Line 1 begins with PathFileType; line 2 names the values of line 3; line 4 names the markers, line 5 their axes. A
marker that was not found has empty fields, or NaN, and a frame whose number is left out is missing. The file does not
say which axis is up: OpenSim's is y.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from gaitforge.ingest.lines import check_growth, find_twice, read_lines, tell_apart, to_numbers
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.times import count_decimals, fill_gaps, find_contradiction, place_by_number
from gaitforge.ingest.units import name_unit

_AGAIN = "write it again"
_WHOLE = re.compile(r"(\d{1,18})(?:\.0*)?")
_NEEDED = ("DataRate", "NumFrames", "NumMarkers", "Units")


def parse_trc(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the file's one motion; raises ValueError where its header and what is there do not agree.

    `S01:LKNE` is the marker LKNE of that person, unless markers of several are there. Times that tell another rate than
    the header make it unusable, unless the options tell one.
    """
    with closing(read_lines(path)) as lines:
        motion = _read(path, enumerate(lines, start=1), options)
    yield motion


def _read(path: Path, lines: Iterator[tuple[int, str]], options: ReadOptions) -> Motion | Unusable:
    header = _read_header(path, lines)
    markers = _whole(path, header, "NumMarkers")
    promised = _whole(path, header, "NumFrames")
    names = _read_names(path, lines, markers)
    width = 2 + 3 * markers
    axes: tuple[int, ...] = (0, 1, 2)
    numbers, own, times = array("d"), array("d"), array("d")
    frames = characters = decimals = 0
    for line, text in lines:
        fields = _split(text)
        characters += len(text)
        if not any(fields):
            continue
        if not frames and _names_axes(fields):
            axes = _read_axes(path, line, fields, markers)
            continue
        if len(fields) < width and "\t" in text and text.endswith("\n"):
            # whoever strips white space leaves out the last markers, where they are missing
            check_growth(path, 8 * (len(numbers) + width), characters)
            fields += [""] * (width - len(fields))
        if len(fields) < width or any(fields[width:]):
            raise ValueError(
                f"{path} has {len(fields)} fields in line {line}, but {markers} markers need {width}; fetch it again, "
                f"or {_AGAIN}."
            )
        number, time = to_numbers(fields[:2], path, line)
        own.append(number)
        times.append(time)
        decimals = max(decimals, count_decimals(fields[1]))
        numbers.extend(to_numbers(fields[2:width], path, line))
        frames += 1
    if frames != promised:
        raise ValueError(
            f"{path} holds {frames:,} frames, but its header promises {promised:,}; fetch it again, or {_AGAIN}."
        )
    rate = _read_rate(path, header["DataRate"])
    unit = name_unit(header["Units"], path, options)
    person, points = tell_apart(names)
    if (twice := find_twice(points)) is not None:
        return Unusable(reason=f"two points have one name: {twice}")
    places_T = place_by_number(np.asarray(own))
    if isinstance(places_T, Unusable):
        return places_T
    wrong = find_contradiction(rate, places_T, np.asarray(times), decimals)
    if wrong is not None and options.fps is None:
        return wrong
    with np.errstate(over="ignore", invalid="ignore"):
        positions_TVC = np.asarray(numbers).astype(np.float32)
    positions_TVC = positions_TVC.reshape(frames, markers, 3)[:, :, axes]
    return Motion(
        positions_TVC=fill_gaps(positions_TVC, places_T, path, characters),
        points=points,
        fps=rate,
        unit=unit,
        up="y",
        person=person,
    )


def _read_header(path: Path, lines: Iterator[tuple[int, str]]) -> Mapping[str, str]:
    first = next((text for _, text in lines if text.strip("\ufeff \t\r\n")), "")
    if not first.lstrip().casefold().startswith("pathfiletype"):
        raise ValueError(
            f"{path} is no TRC file: it begins with {first[:20]!r}, but must begin with PathFileType; {_AGAIN}."
        )
    _, keys = next(lines, (0, ""))
    _, values = next(lines, (0, ""))
    header = dict(zip(_split(keys), _split(values), strict=False))
    for key in _NEEDED:
        if not header.get(key):
            raise ValueError(
                f"{path} does not tell its {key} in lines 2 and 3; add it, or {_AGAIN}."
            )
    return header


def _read_names(path: Path, lines: Iterator[tuple[int, str]], markers: int) -> tuple[str, ...]:
    line, text = next(lines, (4, ""))
    fields = _split(text)
    if len(fields) < 2 or fields[1].casefold() != "time":
        raise ValueError(f"{path} has no line 4 of Frame#, Time and the markers' names; {_AGAIN}.")
    names = tuple(filter(None, fields[2:]))
    if len(names) != markers or not markers:
        raise ValueError(
            f"{path} names {len(names)} markers in line {line}, but its header promises {markers:,}; mend NumMarkers, "
            "or the names."
        )
    return names


def _names_axes(fields: Sequence[str]) -> bool:
    word = next(filter(None, fields), "")
    return word[:1].upper() in ("X", "Y", "Z")


def _read_axes(path: Path, line: int, fields: Sequence[str], markers: int) -> tuple[int, ...]:
    """Return where X, Y and Z of each marker are found among its three fields."""
    letters = "".join(field[:1].upper() for field in fields)
    order = letters[:3]
    if sorted(order) != ["X", "Y", "Z"] or letters != order * markers:
        raise ValueError(
            f"{path} has the axes {letters[:12]} ... in line {line}, but each of its {markers} markers needs X, Y and "
            f"Z, in one order; {_AGAIN}."
        )
    return tuple(order.index(axis) for axis in "XYZ")


def _read_rate(path: Path, text: str) -> float:
    rate = to_numbers([text], path, 3)[0]
    if not 0 < rate < np.inf:
        raise ValueError(
            f"{path} has a DataRate of {text[:20]}, but it must be above 0 Hz; mend line 3."
        )
    return rate


def _whole(path: Path, header: Mapping[str, str], key: str) -> int:
    found = _WHOLE.fullmatch(header[key])
    if found is None:
        raise ValueError(
            f"{path} has {header[key][:20]!r} as {key}, but it must be a whole number; mend line 3."
        )
    return int(found[1])


def _split(text: str) -> list[str]:
    """Return the fields of a line; where nobody set tabs, white space parts them."""
    fields = text.rstrip("\r\n").split("\t") if "\t" in text else text.split()
    return [field.strip() for field in fields]
