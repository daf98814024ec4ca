"""Reads BVH: a skeleton of offsets and, for each frame, its joints' rotations, from which positions are computed.

A joint lies at its parent's position plus its offset, which all rotations above it have turned. Its own rotation is
the product of its rotation channels in the order in which the file names them: `Zrotation Yrotation Xrotation` is
R_z R_y R_x. A joint that has position channels lies where they say instead of at its offset, as Blender and
MotionBuilder have it. The file tells no unit; y is up by convention.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.lines import check_growth, find_twice, read_lines, tell_apart, to_numbers
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.times import whole_rate

_CHUNK = 1024  # frames that are computed at once: rotations of all joints above one are held
_MOST_CHANNELS = 6
_MOST_DEPTH = 500  # a hand's finger is about 15 joints below the hip
_CHANNELS = {
    f"{axis}{kind}": (kind, n) for n, axis in enumerate("xyz") for kind in ("position", "rotation")
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joint:
    """A joint, or the end of a bone, which has no channels; `depth` is the number of joints above it.

    `begin` is where its channels begin in a frame's numbers; `channels` are pairs of kind and axis.
    """

    name: str
    depth: int
    offset: tuple[float, float, float]
    channels: tuple[tuple[str, int], ...]
    begin: int


def parse_bvh(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the file's one motion: its joints in their order, and the ends of its bones as `<joint>_end`.

    A joint's second end is `<joint>_end_2`. What all names begin with (`mixamorig:`) goes. Raises ValueError where the
    file has several roots, or promises what it does not hold.
    """
    with closing(read_lines(path)) as lines:
        motion = _read(path, _Lines(lines))
    yield motion


def _read(path: Path, lines: _Lines) -> Motion | Unusable:
    joints = _Skeleton(path, lines).read()
    width = sum(len(joint.channels) for joint in joints)
    promised, fps = _read_head(path, lines)
    numbers = array("d")
    for line, text in lines:
        numbers.extend(to_numbers(text.split(), path, line))
    if len(numbers) != promised * width or not width:
        raise ValueError(
            f"{path} holds {len(numbers):,} numbers behind its Frame Time, but {promised:,} frames of {width:,} "
            "channels are promised; fetch or write it again."
        )
    points = tuple(joint.name for joint in joints)
    if all(":" in point for point in points):
        _, points = tell_apart(points)
    if (twice := find_twice(points)) is not None:
        return Unusable(reason=f"two joints have one name: {twice}")
    check_growth(path, 12 * promised * len(joints), lines.characters)
    return Motion(
        positions_TVC=_compute_positions(joints, np.asarray(numbers).reshape(promised, width)),
        points=points,
        fps=fps,
        up="y",
    )


def _compute_positions(joints: Sequence[_Joint], rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the positions [T, V, 3] of joints, each behind its parent, from rows of channels, angles in degrees."""
    frames = len(rows)
    positions = np.empty((frames, len(joints), 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, frames, _CHUNK):
            chunk = rows[begin : begin + _CHUNK]
            # what is above the joint at hand, by depth
            places: list[NDArray[np.float64]] = []
            turns: list[NDArray[np.float64]] = []
            for n, joint in enumerate(joints):
                del places[joint.depth :], turns[joint.depth :]
                place, turn = _move(joint, chunk)
                if places:
                    place = places[-1] + np.einsum("tij,tj->ti", turns[-1], place)
                    turn = turns[-1] @ turn
                places.append(place)
                turns.append(turn)
                positions[begin : begin + _CHUNK, n] = place
    return positions


def _move(
    joint: _Joint, chunk: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a joint lies in its parent's frame [T, 3], and how it turns what is below it [T, 3, 3]."""
    place = np.tile(np.array(joint.offset), (len(chunk), 1))
    turn = np.tile(np.eye(3), (len(chunk), 1, 1))
    for n, (kind, axis) in enumerate(joint.channels, start=joint.begin):
        if kind == "position":
            place[:, axis] = chunk[:, n]
        else:
            turn = turn @ _rotate(axis, np.radians(chunk[:, n]))
    return place, turn


def _rotate(axis: int, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right-handed rotations [T, 3, 3] about an axis, of columns."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(angles), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, a, a] = turn[:, b, b] = np.cos(angles)
    turn[:, b, a] = np.sin(angles)
    turn[:, a, b] = -turn[:, b, a]
    return turn


class _Lines:
    """The lines of the file with their numbers, and how much has been read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = enumerate(lines, start=1)
        self.line = 0
        self.characters = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self

    def __next__(self) -> tuple[int, str]:
        self.line, text = next(self._lines)
        self.characters += len(text)
        return self.line, text


class _Skeleton:
    """Reads what stands before MOTION, word by word."""

    def __init__(self, path: Path, lines: _Lines) -> None:
        self._path = path
        self._lines = lines
        self._words = (word for _, text in lines for word in text.split())

    def read(self) -> list[_Joint]:
        if self._word().upper() != "HIERARCHY":
            raise self._fault("does not begin with HIERARCHY")
        joints: list[_Joint] = []
        above: list[int] = []
        ends: set[int] = set()
        ends_of: dict[int, int] = {}
        width = 0
        while (word := self._word().upper()) != "MOTION":
            if word == "}" and above:
                above.pop()
                continue
            is_end = word == "END"
            if word == "ROOT" and joints:
                raise ValueError(
                    f"{self._path} has two roots, but a recording is of one person; give each a file of its own."
                )
            if word != "ROOT" and (not above or word not in ("JOINT", "END")):
                raise self._fault(f"has {word[:20]!r} where a joint must stand")
            if above and above[-1] in ends:
                raise self._fault("has a joint below an End Site")
            if len(above) == _MOST_DEPTH:
                raise self._fault(f"has more than {_MOST_DEPTH} joints below each other")
            name = self._name()
            if is_end:
                count = ends_of[above[-1]] = ends_of.get(above[-1], 0) + 1
                name = f"{joints[above[-1]].name}_end" + (f"_{count}" if count > 1 else "")
                ends.add(len(joints))
            offset, channels = self._offset(), () if is_end else self._channels()
            joints.append(
                _Joint(
                    name=name,
                    depth=len(above),
                    offset=offset,
                    channels=channels,
                    begin=width,
                )
            )
            width += len(channels)
            above.append(len(joints) - 1)
        if above or not joints:
            raise self._fault("has braces that do not match, or no joint")
        return joints

    def _name(self) -> str:
        """Return the words before a brace; names with spaces are about."""
        words: list[str] = []
        while (word := self._word()) != "{":
            words.append(word)
            if len(words) > 100 or word == "}":
                raise self._fault("has a joint without {")
        if not words:
            raise self._fault("has a joint without a name")
        return " ".join(words)

    def _offset(self) -> tuple[float, float, float]:
        if self._word().upper() != "OFFSET":
            raise self._fault("has a joint that does not begin with its OFFSET")
        words = [self._word() for _ in range(3)]
        x, y, z = to_numbers(words, self._path, self._lines.line)
        return x, y, z

    def _channels(self) -> tuple[tuple[str, int], ...]:
        if self._word().upper() != "CHANNELS":
            raise self._fault("has a joint without CHANNELS behind its OFFSET")
        count = self._word()
        if count not in map(str, range(_MOST_CHANNELS + 1)):
            raise self._fault(f"has a joint of {count[:20]!r} channels, but it may have 0 to 6")
        names = [self._word() for _ in range(int(count))]
        channels = [_CHANNELS.get(name.casefold()) for name in names]
        known = tuple(channel for channel in channels if channel is not None)
        if len(known) < len(names) or len(set(known)) < len(known):
            raise self._fault(
                f"has the channels {' '.join(names)[:80]!r}, but each must be of Xposition to Zrotation, once"
            )
        return known

    def _word(self) -> str:
        word = next(self._words, None)
        if word is None:
            raise self._fault("ends before its MOTION")
        return word

    def _fault(self, what: str) -> ValueError:
        return ValueError(
            f"{self._path} {what} (line {self._lines.line}), so that it is no BVH file or is damaged; fetch or write "
            "it again."
        )


def _read_head(path: Path, lines: _Lines) -> tuple[int, float]:
    """Return the frames that are promised, and the frame rate in Hz."""
    told: dict[str, str] = {}
    for _, text in lines:
        if text.strip():
            key, _, value = text.partition(":")
            told[" ".join(key.casefold().split())] = value.strip()
        if len(told) == 2:
            break
    frames, step = told.get("frames", ""), told.get("frame time", "")
    if not (frames.isascii() and frames.isdigit() and len(frames) < 19) or not step:
        raise ValueError(
            f"{path} does not have its Frames and its Frame Time behind MOTION; fetch or write it again."
        )
    seconds = to_numbers([step], path, lines.line)[0]
    if not 1e-6 < seconds < 1e6:
        raise ValueError(
            f"{path} has a Frame Time of {step[:20]}, but it must be seconds above 0; mend it."
        )
    return int(frames), whole_rate(step, seconds)
