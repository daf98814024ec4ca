"""Reads the CSV that Vicon Nexus exports: parts, each with its own rate, of which any may be absent.

A part is a line with its name, one with its rate in Hz, one with names ("Subject:LKNE") over their first columns, one
with fields (Frame, Sub Frame, X, Y, Z), one with units, and a line for each frame. The markers are those of
"Trajectories"; where a file has none, those of "Model Outputs" that are places: their unit is one of length. Other
parts (joints, segments, devices) hold no places of points and are passed over. The subject before the colon is the
person where all markers have the same; where they differ, it stays part of the names. Which axis points up is the
laboratory's own, and no file tells it. Numbers in text that is separated by semicolons may have a decimal comma.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import AXES, ReadOptions
from gaitforge.ingest.table_columns import Roles
from gaitforge.ingest.table_files import DELIMITERS, Head, Table, read_lines
from gaitforge.ingest.tables import read_rows
from gaitforge.layout import METRES
from gaitforge.regular_file import spell_name

TRAJECTORIES = "trajectories"
MODEL_OUTPUTS = "model outputs"
PARTS = (TRAJECTORIES, MODEL_OUTPUTS, "joints", "segments", "devices", "events")
_HEADER = ("rate", "names", "fields")
_EMPTY = ' \t"'
_FRAME = "frame"


@dataclass(slots=True)
class _Part:
    """What has been read of a part: the cells of its header's lines, and of each frame its number and coordinates.

    `markers` are the columns of x, y and z by name, and `unit` is theirs, "" where the file has no line of units.
    """

    name: str
    header: dict[str, list[str]] = field(default_factory=dict)
    markers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unit: str = ""
    rows: list[NDArray[np.float64]] = field(default_factory=list)


def is_vicon(head: Head) -> bool:
    """Tell whether a CSV file is made of the parts of Vicon Nexus."""
    names = (_name_of(line) for line in head.lines)
    return _name_of(head.lines[0]) in PARTS or bool({TRAJECTORIES, MODEL_OUTPUTS} & {*names})


def read_vicon(head: Head, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the markers of a file as one movement; raises as `Parse` does."""
    source = spell_name(head.path)
    parts = _read_parts(head)
    outputs = parts.get(MODEL_OUTPUTS)
    if outputs and not outputs.unit:
        outputs.markers = {}  # without a line of units nothing tells places from angles
    held_in = [parts[name] for name in (TRAJECTORIES, MODEL_OUTPUTS) if name in parts]
    part = next((part for part in held_in if part.markers), None)
    if part is None:
        held = f"the parts {', '.join(parts)}" if parts else "no part"
        raise ValueError(
            f"{source} holds {held}, but no markers in a part Trajectories, nor Model Outputs in a unit of length; "
            "export one of them from Nexus as well."
        )
    if not part.rows:
        raise ValueError(
            f"{source} has no line of a frame in its part {part.name}; export it again."
        )
    names, subject = _without_subject(list(part.markers))
    rows_ND = np.stack(part.rows)
    columns = [_FRAME, *(f"{n}" for n in range(1, rows_ND.shape[1]))]
    rows = pa.table({name: pa.array(rows_ND[:, n]) for n, name in enumerate(columns)})
    table = Table(path=head.path, names=tuple(columns), rows=lambda numbers, texts: iter([rows]))
    points = {name: (tuple(columns[1 + 3 * n : 4 + 3 * n]), "") for n, name in enumerate(names)}
    roles = Roles(frame=_FRAME, time="", fps="", joint="", recording=(), points=points, further=())
    for motion in read_rows(table, roles, options):
        if isinstance(motion, Motion):
            rate = _number(part.header["rate"][0])
            yield replace(motion, fps=rate, unit=part.unit, person=subject)
        else:
            yield motion


def _read_parts(head: Head) -> dict[str, _Part]:
    """Read a file's parts by name; rows only of those whose markers are places."""
    source = spell_name(head.path)
    delimiter = max(DELIMITERS, key="".join(head.lines[:5]).count)
    parts: dict[str, _Part] = {}
    part: _Part | None = None
    for number, line in enumerate(read_lines(head.path), start=1):
        name = _name_of(line)
        if not line.strip(f"{delimiter}{_EMPTY}"):
            continue
        if name and _number(name) is None:
            if name in parts:
                raise ValueError(f"{source} has two parts '{name}'; leave one in it.")
            part = parts[name] = _Part(name=name)
            continue
        if part is None:
            raise ValueError(
                f"Line {number} of {source} stands before the name of any part, such as Trajectories; export it again."
            )
        if part.name in (TRAJECTORIES, MODEL_OUTPUTS):
            cells = [cell.strip(_EMPTY) for cell in line.split(delimiter)]
            if delimiter == ";" and part.markers:
                cells = [cell.replace(",", ".") for cell in cells]  # decimal commas
            _take_line(part, cells, f"line {number} of {source}")
    return parts


def _take_line(part: _Part, cells: list[str], where: str) -> None:
    if len(part.header) < len(_HEADER):
        kind = _HEADER[len(part.header)]
        part.header[kind] = cells
        if kind == "rate" and not 0 < (_number(cells[0]) or 0) < math.inf:
            raise ValueError(
                f"In {where} the rate of the part {part.name} is '{cells[0]}', but must be above 0 Hz; export it again."
            )
        if kind == "fields":
            if cells[0].casefold() != _FRAME:
                raise ValueError(
                    f"In {where} the fields of the part {part.name} begin with '{cells[0]}', but must with Frame; "
                    "export it again."
                )
            part.markers = _find_markers(part.header["names"], cells, where)
        return
    if not cells[0] and not part.rows:
        _take_units(part, cells, where)
        return
    width = len(part.header["fields"])
    if any(cells[width:]):
        raise ValueError(
            f"There are {len(cells)} cells in {where}, but {width} fields; export it again."
        )
    cells += [""] * (
        width - len(cells)
    )  # some programs leave out those behind the last that holds anything
    wanted = [0, *(n for columns in part.markers.values() for n in columns)]
    try:
        part.rows.append(np.array([float(cells[n] or "nan") for n in wanted]))
    except ValueError as error:
        raise ValueError(
            f"There is a cell in {where} that is no number ({error}); mend it."
        ) from error


def _find_markers(
    names: Sequence[str], fields: Sequence[str], where: str
) -> dict[str, tuple[int, ...]]:
    """Return the columns of x, y and z of each name that has all three."""
    found: dict[str, dict[str, int]] = {}
    name = ""
    for n, axis in enumerate(fields):
        name = (names[n] if n < len(names) else "") or name
        if name and axis.casefold() in AXES:
            axes = found.setdefault(name, {})
            if axis.casefold() in axes:
                raise ValueError(
                    f"In {where} there are two columns {axis} of '{name}'; give each marker a name of its own."
                )
            axes[axis.casefold()] = n
    return {
        name: tuple(axes[axis] for axis in AXES)
        for name, axes in found.items()
        if len(axes) == len(AXES)
    }


def _take_units(part: _Part, cells: Sequence[str], where: str) -> None:
    units: dict[str, None] = {}
    for name, columns in list(part.markers.items()):
        own = {cells[n].casefold() if n < len(cells) else "" for n in columns}
        if part.name == MODEL_OUTPUTS and not own <= set(METRES):
            del part.markers[name]  # an angle, a force, a moment
        else:
            units |= dict.fromkeys(own)
    if len(units) > 1:
        raise ValueError(
            f"In {where} places have several units ({', '.join(map(repr, units))}), but must have one; export it again."
        )
    part.unit = next(iter(units), "")


def _without_subject(names: Sequence[str]) -> tuple[list[str], str]:
    """Return markers without the subject that all name, and it; markers of none, such as *12, name nobody else."""
    subjects = {name.partition(":")[0] for name in names if ":" in name}
    bare = [name.partition(":")[2] or name for name in names]
    if len(subjects) != 1 or len(set(bare)) < len(bare):
        return list(names), ""
    return bare, subjects.pop()


def _name_of(line: str) -> str:
    """Return the only cell of a line that holds anything, if it is the first, in small letters."""
    cells = line.strip(_EMPTY + "\r\n,;")
    return "" if set(cells) & {*DELIMITERS} or line[:1] in DELIMITERS else cells.casefold()


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
