"""Which columns of a table hold frame, time, recording, and each joint's coordinates and confidence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaitforge.ingest.options import AXES, CONFIDENCE, ReadOptions

# how columns are called where run.toml does not say; case, spaces, underscores, dots, hyphens and brackets aside
USUAL: Mapping[str, tuple[str, ...]] = {
    "frame": ("frame", "frame_number", "frame_index", "frame_idx", "frame_id", "frame_num", "frame_no", "fnum"),
    "time": tuple(
        f"{word}{unit}"
        for word in ("time", "timestamp", "t")
        for unit in ("", "s", "sec", "secs", "seconds", "ms", "msec", "milliseconds", "us", "ns")
    ),
    "joint": (
        "joint", "joint_name", "landmark_name", "keypoint_name", "landmark", "keypoint", "bodypart", "marker", "point",
        "joint_index", "landmark_index", "keypoint_index", "joint_id", "landmark_id", "keypoint_id",
    ),
    "recording": ("recording",),
    "fps": ("fps", "frame_rate"),
    **{axis: (axis,) for axis in AXES},
    "confidence": CONFIDENCE,
}  # fmt: skip
PATTERNS = (
    "{joint}_{axis}", "{axis}_{joint}", "{joint}.{axis}", "{joint} {axis}", "{joint}-{axis}", "{joint}:{axis}",
)  # fmt: skip
_BETWEEN = re.compile(r"[\s_.\-()\[\]]+")
_NUMBERED = r"\d+"  # x0, y0: between letters no end of the axis could be found
VELOCITY = (
    "v"  # beside coordinates of joints with names; the confidence only of those that are numbers
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Which columns of a table hold what; "" where none does.

    `points` has the columns of each point's x, y and, where the table has it, z, then that of its confidence. A table
    with a line for each joint of a frame has one point of no name, and the column `joint`. `recording` are the columns
    that together tell recordings apart.
    """

    frame: str
    time: str
    fps: str
    joint: str
    recording: tuple[str, ...]
    points: Mapping[str, tuple[tuple[str, ...], str]]
    further: tuple[str, ...]

    @property
    def channels(self) -> int:
        return len(next(iter(self.points.values()))[0])


def find_roles(names: Sequence[str], source: str, options: ReadOptions) -> Roles:
    """Tell which columns hold what: those that run.toml names, else those of the usual names.

    Raises ValueError where a column that run.toml names is not there, or no columns of joints are found.
    """
    named = {name for value in options.columns.values() for name in _split(value, names)}
    usual = {_plain(name): name for name in reversed(names) if name not in named}
    found = {role: _find(role, names, usual, source, options) for role in USUAL}
    recording = _find_recording(names, found["recording"], source, options)
    taken = {
        found["frame"],
        found["time"],
        found["fps"],
        *recording,
        options.person,
        options.label,
    }
    joint = found["joint"]
    named_long = "joint" in options.columns
    is_long = not options.wide and joint and (named_long or bool(found["x"] and found["y"]))
    points: dict[str, tuple[tuple[str, ...], str]]
    if is_long:
        for role in ("x", "y"):
            if not found[role]:
                raise ValueError(_tell(source, names, f"a column '{role}'", "columns"))
        if not found["frame"] and not found["time"]:
            raise ValueError(
                _tell(source, names, "a column of frame numbers, or of times,", "columns")
            )
        axes = tuple(found[axis] for axis in AXES if found[axis])
        points = {"": (axes, found["confidence"])}
        taken.add(joint)
    else:
        joint = ""
        points = _find_points([name for name in names if name not in taken], source, options)
        if not points:
            raise ValueError(
                _tell(
                    source,
                    names,
                    "columns of joints, such as left_knee_x and left_knee_y,",
                    "wide",
                )
            )
    used = {column for axes, sure in points.values() for column in (*axes, sure)}
    texts = {found["time"], found["fps"], joint, *recording, options.person, options.label}
    both = next((name for name in names if name in used | {found["frame"]} and name in texts), "")
    if both:
        raise ValueError(
            f"{source} has the column '{both}' for two things, as a coordinate or frame and as another; name two in "
            "[ingest.read]."
        )
    return Roles(
        frame=found["frame"],
        time=found["time"],
        fps=found["fps"],
        joint=joint,
        recording=recording,
        points=points,
        further=tuple(
            name
            for name in names
            if name not in used and (name not in taken or name in (options.person, options.label))
        ),
    )


def is_number(point: str) -> bool:
    """Tell whether a point has no name, but is only counted."""
    return point.isascii() and point.isdecimal() and len(point) < 10


def _plain(name: str) -> str:
    return _BETWEEN.sub("", name).casefold()


def _find(
    role: str, names: Sequence[str], usual: Mapping[str, str], source: str, options: ReadOptions
) -> str:
    named = options.columns.get(role, "")
    if named and role != "recording":
        if named not in names:
            raise ValueError(
                _tell(
                    source,
                    names,
                    f"the column '{named}' that ingest.read.columns names",
                    "columns",
                )
            )
        return named
    return next((usual[key] for key in map(_plain, USUAL[role]) if key in usual), "")


def _find_recording(
    names: Sequence[str], found: str, source: str, options: ReadOptions
) -> tuple[str, ...]:
    named = options.columns.get("recording", "")
    if not named:
        return (found,) if found else ()
    several = _split(named, names)
    for name in several:
        if name not in names:
            raise ValueError(
                _tell(
                    source, names, f"the column '{name}' that ingest.read.columns names", "columns"
                )
            )
    return tuple(several)


def _split(named: str, names: Sequence[str]) -> list[str]:
    return [named] if named in names else [part.strip() for part in named.split(",")]


def _find_points(
    names: Sequence[str], source: str, options: ReadOptions
) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the columns of each point by the pattern that finds most; the first of those that find as many."""
    if options.wide:
        best = _match(names, options.wide, ".+")
    else:
        tried = [_match(names, pattern, ".+") for pattern in PATTERNS]
        tried.append(_match(names, "{axis}{joint}", _NUMBERED))
        best = max(tried, key=len)
        if not all(map(is_number, best)):
            for columns in best.values():
                columns.pop(VELOCITY, None)
    for point, columns in best.items():
        for axis, same in columns.items():
            if len(same) > 1:
                raise ValueError(
                    f"{source} has two columns for {axis} of '{point}', '{same[0]}' and '{same[1]}'; leave one, or say "
                    "in ingest.read.wide which are meant."
                )
    with_z = {point for point, axes in best.items() if "z" in axes}
    if with_z and len(with_z) < len(best):
        lacking = next(point for point in best if point not in with_z)
        raise ValueError(
            f"{source} has x, y and z of '{next(iter(with_z))}', but no z of '{lacking}'; add it, or say in "
            "ingest.read.wide how the columns of joints are named."
        )
    return {
        point: (
            tuple(axes[axis][0] for axis in AXES if axis in axes),
            next((axes[word][0] for word in CONFIDENCE if word in axes), ""),
        )
        for point, axes in best.items()
    }


def _match(names: Sequence[str], pattern: str, joint: str) -> dict[str, dict[str, list[str]]]:
    """Return the columns that a pattern finds, by point and axis, of points with at least x and y."""
    words = f"(?P<axis>{'|'.join((*AXES, *CONFIDENCE))})"
    expression = re.escape(pattern).replace(re.escape("{axis}"), words)
    expression = expression.replace(re.escape("{joint}"), f"(?P<joint>{joint})")
    fits = re.compile(expression, re.IGNORECASE | re.ASCII)
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        if match := fits.fullmatch(name):
            axes = found.setdefault(match["joint"], {})
            axes.setdefault(match["axis"].lower(), []).append(name)
    return {point: axes for point, axes in found.items() if "x" in axes and "y" in axes}


def _tell(source: str, names: Sequence[str], lacking: str, key: str) -> str:
    shown = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    return (
        f"{source} has the columns {shown or 'of none'}, but needs {lacking} to be a table of joints; add it, or name "
        f"its own in ingest.read.{key}."
    )
