"""Reads the CSV that DeepLabCut writes: three header lines, scorer, bodyparts and coords, or a fourth, individuals.

`likelihood` is the confidence. Two coordinates are pixels of an image, whose y points down. Each individual is a
movement; `single`, the points that belong to none of several animals, is left out where there are others. Individuals
are only numbered from video to video, so that they tell no person: they become a column.

A. Mathis et al., "DeepLabCut: markerless pose estimation of user-defined body parts with deep learning", Nature
Neuroscience 21 (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import AXES, CONFIDENCE, ReadOptions
from gaitforge.ingest.table_columns import Roles
from gaitforge.ingest.table_files import Head, open_csv
from gaitforge.ingest.tables import read_rows
from gaitforge.regular_file import spell_name

LINES = ("scorer", "individuals", "bodyparts", "coords")
_SINGLE = "single"


def is_deeplabcut(head: Head) -> bool:
    """Tell whether a CSV file begins as DeepLabCut's do."""
    return head.first_cell(0) == "scorer" and "bodyparts" in map(head.first_cell, (1, 2))


def read_deeplabcut(head: Head, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the individuals of a file; raises as `Parse` does."""
    source = spell_name(head.path)
    lines = {head.first_cell(n): n for n in range(min(4, len(head.lines)))}
    header = [name for name in LINES if name in lines]
    if [lines[name] for name in header] != list(range(len(header))) or header[-1:] != ["coords"]:
        raise ValueError(
            f"{source} begins as a file of DeepLabCut, but lacks the line '{_first_lacking(header)}' of its header; "
            "export it again."
        )
    parts, coords = head.cells(lines["bodyparts"]), head.cells(lines["coords"])
    owners = head.cells(lines["individuals"]) if "individuals" in lines else [""] * len(parts)
    if not len(parts) == len(coords) == len(owners):
        raise ValueError(
            f"{source} has {len(parts)} cells in its line bodyparts, but {len(coords)} in its line coords; export it "
            "from DeepLabCut again."
        )
    # a column of no bodypart or coordinate is one more of the index, as labelled images have it
    names = ["frame", *(str(n) for n in range(1, len(coords)))]
    found: dict[str, dict[str, dict[str, str]]] = {}
    for n, (owner, part, axis) in enumerate(zip(owners, parts, coords, strict=True)):
        if n and axis.lower() in (*AXES, *CONFIDENCE):
            axes = found.setdefault(owner, {}).setdefault(part, {})
            if axis.lower() in axes:
                raise ValueError(f"{source} has two columns for {axis} of '{part}'; leave one.")
            axes[axis.lower()] = names[n]
    if len(found) > 1:
        found.pop(_SINGLE, None)
    table = open_csv(head, header=len(header), names=names)
    for owner, points in found.items():
        roles = _roles(source, points)
        unit, up = ("px", "-y") if roles.channels == 2 else ("", "")
        for motion in read_rows(table, roles, options):
            if isinstance(motion, Motion) and owner:
                motion = replace(motion, part=owner, columns={"individual": owner})
            yield replace(motion, unit=unit, up=up) if isinstance(motion, Motion) else motion
    if not found:
        raise ValueError(f"{source} has no columns x and y of a bodypart; export it again.")


def _first_lacking(header: list[str]) -> str:
    return next((name for name in LINES if name not in (*header, "individuals")), LINES[0])


def _roles(source: str, points: dict[str, dict[str, str]]) -> Roles:
    width = {len([axis for axis in AXES if axis in axes]) for axes in points.values()}
    if len(width) > 1 or any("x" not in axes or "y" not in axes for axes in points.values()):
        raise ValueError(
            f"{source} has bodyparts with other coordinates than others have; export it from DeepLabCut again."
        )
    return Roles(
        frame="frame",
        time="",
        fps="",
        joint="",
        recording=(),
        points={
            part: (
                tuple(axes[axis] for axis in AXES if axis in axes),
                next((axes[word] for word in CONFIDENCE if word in axes), ""),
            )
            for part, axes in points.items()
        },
        further=(),
    )
