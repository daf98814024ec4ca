"""Look at a file of recordings before anything is known of it: what it holds, and settings to begin with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest import READERS, check_paths, suffix_of
from gaitforge.ingest.archive import open_archive
from gaitforge.ingest.descriptions import describe
from gaitforge.ingest.motion import Motion, MotionReader, Unusable, match, seem_shares, turn_up
from gaitforge.ingest.npz import read_npz
from gaitforge.ingest.options import ReadOptions
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.quality import medians_of
from gaitforge.recording import Recording
from gaitforge.sentences import escape
from gaitforge.toml import quote

MOST_MOTIONS = 1_000  # of a file with many, the first so many are looked at
MOST_POINTS = 200  # all pairs of points are held against each other for bones
ENOUGH = 0.75  # share of a layout's joints that a file must have to be of that layout
WIDTH, HEIGHT = (
    48,
    22,
)  # of the figure, in characters; a character is about twice as high as it is wide
_HEAD = re.compile(r"head|nose|eye|ear|neck|c7|vertex|skull", re.IGNORECASE)
_FOOT = re.compile(r"ankle|foot|toe|heel|ank\b|hee\b|calc", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was found in a file; `motions` are those that were looked at, `shown` the one with most seen points."""

    path: Path
    motions: int
    is_all: bool  # of the file
    unusable: tuple[str, ...]  # reasons
    frames: tuple[int, int]  # least and most of a movement
    shown: Motion
    layout: Layout
    built_in: bool  # whether `layout` is one of LAYOUTS
    people: tuple[str, ...]
    labels: tuple[str, ...]


def look(path: Path, options: ReadOptions | None = None, layout: Layout | None = None) -> Look:
    """Read a file, or the first MOST_MOTIONS movements of it, without a layout; `layout` is taken where given.

    Raises KeyError for a suffix without a reader, FileNotFoundError or ValueError where the file cannot be read or
    holds no movement that can be used.
    """
    check_paths([path], "give the path of a file that does")
    motions: list[Motion] = []
    reasons: list[str] = []
    count, ended = 0, True
    options = options or ReadOptions()
    for item in _parse(path, options):
        if count == MOST_MOTIONS:
            ended = False
            break
        count += 1
        if isinstance(item, Unusable):
            reasons.append(item.reason)
        elif item.positions_TVC.size == 0 or np.isnan(item.positions_TVC).all():
            reasons.append("every joint of every frame is missing")
        else:
            # of all but the fullest only the numbers are kept
            motions.append(_described(item, path, options))
            if len(motions) > 1:
                small = min(motions[-2:], key=_count_seen)
                motions[-2:] = [_emptied(small), max(motions[-2:], key=_count_seen)]
    if not motions:
        why = f" ({reasons[0]})" if reasons else ""
        raise ValueError(f"{path} holds no movement that can be used{why}; look at another file.")
    shown = motions[-1]
    found = find_layout(shown) if layout is None else layout
    lengths = [len(motion.positions_TVC) for motion in motions]
    return Look(
        path=path,
        motions=count,
        is_all=ended,
        unusable=tuple(dict.fromkeys(reasons)),
        frames=(min(lengths), max(lengths)),
        shown=shown,
        layout=found or guess_layout(shown),
        built_in=found is not None,
        people=tuple(sorted({motion.person for motion in motions} - {""})),
        labels=tuple(sorted({motion.label for motion in motions} - {""})),
    )


def find_layout(motion: Motion) -> Layout | None:
    """Find the built-in layout that most of whose joints the file names, or one of as many joints without names."""
    if motion.points is None:
        alike = [
            lay for lay in LAYOUTS.values() if lay.joint_count == motion.positions_TVC.shape[1]
        ]
        return alike[0] if alike else None
    points = motion.points
    shares = {
        name: sum(map(bool, match(points, layout, {}))) / layout.joint_count
        for name, layout in LAYOUTS.items()
    }
    # of two that it has whole, the one that leaves fewer points over
    best = max(shares, key=lambda name: (shares[name], LAYOUTS[name].joint_count))
    return LAYOUTS[best] if shares[best] >= ENOUGH else None


def guess_layout(motion: Motion) -> Layout:
    """Make a layout of a file's own points, to begin with: bones join points whose distance changes least.

    Left and right are paired by name. Raises ValueError for more than MOST_POINTS points.
    """
    points = motion.points or tuple(f"joint_{n}" for n in range(motion.positions_TVC.shape[1]))
    if len(points) > MOST_POINTS:
        raise ValueError(
            f"It has {len(points):,} points, but a starting layout is made of at most {MOST_POINTS}; "
            "choose some by [ingest.read.joints]."
        )
    names = tuple(escape(name) for name in points)
    bones = tuple(_join_rigid(motion.positions_TVC)) if len(points) > 1 else ()
    return Layout(
        name="mine",
        joints=names,
        bones=bones,
        left_right=tuple(_pair_sides(names)),
        unit=motion.unit or "m",
        up=find_up(motion) or "none",
        fps=motion.fps,
        root=(_find_middle(motion.positions_TVC),),
    )


def find_up(motion: Motion) -> str:
    """Return the axis that points up: the file's word, else the one along which heads are above feet; "" for none."""
    if motion.up:
        return motion.up
    points = motion.points or ()
    heads = [n for n, name in enumerate(points) if _HEAD.search(name)]
    feet = [n for n, name in enumerate(points) if _FOOT.search(name)]
    if not heads or not feet:
        return ""
    centre = np.array([_median(motion.positions_TVC[:, some]) for some in (heads, feet)])
    rise = centre[0] - centre[1]
    if not np.isfinite(rise).all() or not rise.any():
        return ""
    axis = int(np.abs(rise).argmax())
    return ("-" if rise[axis] < 0 else "") + "xyz"[axis]


def describe_lines(seen: Look) -> Iterator[str]:
    """Yield the lines that tell a person what was found."""
    motion = seen.shown
    frames, points, channels = motion.positions_TVC.shape
    more = "" if seen.is_all else " or more"
    least, most = seen.frames
    long = f"{least:,} frames" if least == most else f"{least:,} to {most:,} frames"
    yield f"{seen.path}: {seen.motions:,}{more} movement{'s' if seen.motions > 1 else ''} of {long}"
    rate = f"{motion.fps:g} Hz ({frames / motion.fps:.1f} s shown)" if motion.fps else "not told"
    yield f"  frame rate   {rate}"
    unit = motion.unit or "not told"
    if _seems_of_image(motion):
        unit = "not told: shares of an image? then set ingest.read.image to its width and height"
    yield f"  points       {points} of {channels} coordinates, unit {unit}"
    up = find_up(motion)
    yield f"  up           {motion.up or (f'not told; heads are above feet along {up}' if up else 'not told')}"
    yield f"  names        {_shorten(motion.points) if motion.points else 'none: the order of the format'}"
    yield f"  missing      {_tell_missing(motion)}"
    for axis, name in zip(range(channels), "xyz", strict=False):
        values = motion.positions_TVC[..., axis].astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        low, high = np.percentile(values, (1, 99))
        yield f"  {name}            {low:.4g} to {high:.4g} (98 of 100 values)"
    if motion.confidence_TV is not None and not np.isnan(motion.confidence_TV).all():
        yield f"  confidence   {np.nanmin(motion.confidence_TV):.2f} to {np.nanmax(motion.confidence_TV):.2f}"
    yield f"  people       {_shorten(seen.people) or 'not told'}"
    yield f"  classes      {_shorten(seen.labels) or 'not told'}"
    columns = ", ".join(motion.columns)
    if columns:
        yield f"  columns      {columns}"
    if seen.unusable:
        yield f"  unusable     {'; '.join(seen.unusable[:3])}"
    if seen.built_in:
        found = seen.layout
        has = found.joint_count
        if motion.points is not None:
            has = sum(map(bool, match(motion.points, found, {})))
        yield f"  layout       {found.name} ({has} of its {found.joint_count} joints)"
    else:
        yield "  layout       none that is built in; below stands one of the file's own points, with guessed bones"


def draw(seen: Look) -> Iterator[str]:
    """Yield the lines of a figure of the frame with most points, seen from where it is broadest."""
    motion = seen.shown
    positions = motion.positions_TVC
    if positions.shape[2] not in (2, 3):
        return
    up = find_up(motion)
    if up:
        positions = turn_up(positions, up, "y")
    frame = positions[int((~np.isnan(positions).any(axis=2)).sum(axis=1).argmax())].astype(float)
    seen_V = np.isfinite(frame).all(axis=1)
    if not seen_V.any():
        return
    across = 0
    if frame.shape[1] == 3 and np.ptp(frame[seen_V, 2]) > np.ptp(frame[seen_V, 0]):
        across = 2
    flat = frame[:, [across, 1]]
    low, size = flat[seen_V].min(axis=0), np.ptp(flat[seen_V], axis=0)
    step = max(size[0] / (WIDTH - 1), size[1] / (HEIGHT - 1) / 2, 1e-12)
    column = np.zeros(len(flat), int)
    row = np.zeros(len(flat), int)
    column[seen_V] = np.rint((flat[seen_V, 0] - low[0]) / step)
    row[seen_V] = np.rint((flat[seen_V, 1] - low[1]) / step / 2)
    cells = np.full((int(row.max()) + 1, int(column.max()) + 1), " ")
    for a, b in _bones_of(seen):
        if seen_V[a] and seen_V[b]:
            steps = max(abs(row[a] - row[b]), abs(column[a] - column[b]), 1)
            along = np.linspace(0, 1, steps + 1)
            cells[
                np.rint(row[a] + along * (row[b] - row[a])).astype(int),
                np.rint(column[a] + along * (column[b] - column[a])).astype(int),
            ] = "."
    cells[row[seen_V], column[seen_V]] = "o"
    for line in cells[::-1]:
        yield "    " + "".join(line).rstrip()


def write_settings(seen: Look, folder: Path = Path()) -> str:
    """Return a run.toml to begin with, to be saved in `folder`, for files like this one."""
    beside = os.path.relpath(os.path.realpath(seen.path.parent), os.path.realpath(folder))
    files = "*" if seen.path.is_dir() else f"*{seen.path.suffix}"
    if beside != ".":
        files = f"{beside}/{files}"
    elif seen.path.is_dir():
        files = seen.path.name  # all beside run.toml need not be recordings
    layout = seen.layout.name if seen.built_in else "mine.layout.toml"
    lines = [
        'work = "work/mine"',
        "",
        "[ingest]",
        f"files = [{quote(files)}]",
        f"layout = {quote(layout)}",
    ]
    reading = [*_list_reading(seen)]
    lines += ["", "[ingest.read]", *reading] if reading else []
    if seen.built_in and seen.shown.points is not None:
        places = match(seen.shown.points, seen.layout, {})
        lacking = [
            joint for joint, place in zip(seen.layout.joints, places, strict=True) if not place
        ]
        if lacking:
            lines += ["", "[ingest.read.joints]"]
            lines += [f'# {joint} = ["..."]' for joint in lacking]
    frames = int(np.median(seen.frames))
    length = max(8, min(64, frames // 8 * 8))
    lines += ["", "[windows]", 'mode = "slide"', f"length = {length}", f"stride = {length // 2}"]
    if seen.layout.up == "none":
        lines.append("flip = false")
    return "\n".join(lines) + "\n"


def _list_reading(seen: Look) -> Iterator[str]:
    """Yield the lines of [ingest.read] that a file like this one needs, or may."""
    motion, layout = seen.shown, seen.layout
    if seen.path.suffix.lower() != ".npz" and not (seen.people and seen.labels):
        yield "# who it is, and of which class: by the file's path, or by a table with a line for each file"
        yield "path = '^(?P<person>[A-Za-z0-9]+)_(?P<label>[a-z]+)'"
        yield '# table = "people.csv"        # file,subject,label,age,...'
    if not motion.fps and not layout.fps:
        yield "# fps = 30                    # Hz: it is not told"
    if _seems_of_image(motion):
        yield "# width and height in pixels, where coordinates are shares of the image"
        yield "image = [1920, 1080]" if layout.unit == "px" else "# image = [1920, 1080]"
    up = find_up(motion)
    if not motion.up and up and layout.up not in ("none", up):
        yield f'up = "{up}"                     # heads are above feet along it'


def write_layout(layout: Layout) -> str:
    """Return a layout as the TOML file that `read_layout` reads."""
    content: Mapping[str, object] = layout.as_dict()
    lines = [f"name = {quote(layout.name)}", f"unit = {quote(layout.unit)}"]
    lines += [
        f"up = {quote(layout.up)}" + ("  # not told: say x, y or z" if layout.up == "none" else "")
    ]
    if layout.fps:
        lines.append(f"fps = {layout.fps:g}")
    lines.append(f"root = {content['root']}  # what recordings are centred on")
    lines += ["joints = ["]
    lines += [f"  {quote(joint)}, # {n}" for n, joint in enumerate(layout.joints)]
    lines += ["]", f"bones = {content['bones']}  # guessed: pairs whose distance changes least"]
    lines += [f"left_right = {content['left_right']}", "[parts]", "# left_leg = [..]"]
    return "\n".join(lines) + "\n"


def _described(motion: Motion, path: Path, options: ReadOptions) -> Motion:
    """Return a motion with what the path or a table tells, and in the unit and axis that the settings tell."""
    changed = replace(motion, unit=options.unit or motion.unit, up=options.up or motion.up)
    if not (options.path or options.table):
        return changed
    name = motion.id or path.stem
    found = describe(path, name, motion.person, motion.label, options)
    label = options.rename(found.label)
    return replace(
        changed, person=found.person, label=label, columns={**motion.columns, **found.columns}
    )


def _parse(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    read = READERS[suffix_of(path)]
    if isinstance(read, MotionReader):
        yield from read.parse(path, options)
    elif read is read_npz:
        yield from _parse_npz(path, options)
    else:
        raise ValueError(
            f"Files of '{path.suffix}' are read by an extension that needs a layout; name one in run.toml and ingest."
        )


def _parse_npz(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    with open_archive(path) as archive:
        frames = archive.headers.get("frames")
        labelled = options.person in archive.headers and options.label in archive.headers
    joints = frames.shape[1] if frames is not None and len(frames.shape) == 3 else 1
    order = Layout(name="file", joints=tuple(map(str, range(joints))), bones=(), up="none")
    for item in read_npz(path, order, replace(options, fps=None), labelled=labelled):
        if not isinstance(item, Recording):
            yield Unusable(reason=item.reason, id=item.recording)
            continue
        yield Motion(
            positions_TVC=item.positions_TVC,
            confidence_TV=item.confidence_TV,
            id=item.recording,
            person=item.person if labelled else "",
            label=item.label if labelled else "",
            columns=item.columns,
        )


def _seems_of_image(motion: Motion) -> bool:
    return motion.unit in ("", "px") and seem_shares(motion.positions_TVC)


def _count_seen(motion: Motion) -> int:
    return int((~np.isnan(motion.positions_TVC)).sum())


def _emptied(motion: Motion) -> Motion:
    frames = len(motion.positions_TVC)
    return replace(motion, positions_TVC=np.empty((frames, 0, 0), np.float32), confidence_TV=None)


def _median(positions: NDArray[np.float32]) -> NDArray[np.float64]:
    finite = positions.reshape(-1, positions.shape[-1])
    finite = finite[np.isfinite(finite).all(axis=1)]
    if not len(finite):
        return np.full(positions.shape[-1], np.nan)
    return np.median(finite.astype(np.float64), axis=0)


def _join_rigid(positions_TVC: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield the bones of the tree that joins points whose distance changes least, and which are near (Prim)."""
    sample = positions_TVC[:: max(1, len(positions_TVC) // 64)].astype(np.float64)
    sample[~np.isfinite(sample)] = np.nan
    count = sample.shape[1]
    cost = np.empty((count, count))
    for a in range(count):
        distance = np.sqrt(((sample - sample[:, a : a + 1]) ** 2).sum(axis=2))
        middle = medians_of(distance)
        spread = medians_of(np.abs(distance - middle))
        cost[a] = np.nan_to_num(spread + 0.05 * middle, nan=np.inf)
    np.fill_diagonal(cost, np.inf)
    joined = np.zeros(count, bool)
    joined[0] = True
    nearest, least = np.zeros(count, int), cost[0].copy()
    for _ in range(count - 1):
        least[joined] = np.inf
        new = int(np.where(joined, np.inf, least).argmin())
        if joined[new]:  # nothing was seen together with the rest
            new = int(np.flatnonzero(~joined)[0])
        yield int(nearest[new]), new
        joined[new] = True
        closer = cost[new] < least
        nearest[closer], least[closer] = new, cost[new][closer]


def _find_middle(positions_TVC: NDArray[np.float32]) -> int:
    centres = np.array([_median(positions_TVC[:, [v]]) for v in range(positions_TVC.shape[1])])
    middle = medians_of(centres)
    away = ((centres - middle) ** 2).sum(axis=1)
    return int(np.nanargmin(away)) if np.isfinite(away).any() else 0


def _pair_sides(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of points whose names differ in left and right, or in a leading L and R, only."""
    places = {name: n for n, name in enumerate(names)}
    for n, name in enumerate(names):
        others = (
            re.sub("left", lambda m: _as(m.group(), "right"), name, flags=re.IGNORECASE),
            re.sub(r"^l(?=[A-Z_.]|$)", "r", re.sub(r"^L", "R", name)),
            re.sub(r"(?<=[_. ])L$", "R", re.sub(r"(?<=[_. ])l$", "r", name)),
        )
        other = next((places[o] for o in others if o != name and o in places), None)
        if other is not None:
            yield n, other


def _as(word: str, other: str) -> str:
    return other.upper() if word.isupper() else other.title() if word[0].isupper() else other


def _bones_of(seen: Look) -> Iterable[tuple[int, int]]:
    if not seen.built_in or seen.shown.points is None:
        return seen.layout.bones
    places = match(seen.shown.points, seen.layout, {})
    return [(places[a][0], places[b][0]) for a, b in seen.layout.bones if places[a] and places[b]]


def _tell_missing(motion: Motion) -> str:
    missing = np.isnan(motion.positions_TVC).any(axis=2).mean(axis=0)
    if not missing.any():
        return "nothing"
    worst = int(missing.argmax())
    name = motion.points[worst] if motion.points else f"number {worst}"
    return f"{missing.mean():.1%} of points, most of {name} ({missing[worst]:.0%})"


def _shorten(names: Sequence[str]) -> str:
    few = ", ".join(names[:10])
    return f"{few} and {len(names) - 10:,} more" if len(names) > 10 else few
