"""Joint layouts as data: names, bones, left/right pairs, body parts, unit and up axis.

The letters that end tensor names everywhere in this project:
B batch, N windows, T frames, V joints (graph nodes), C channels (coordinates), P body parts,
D width of an embedding, K classes, F clinical features, P also people where a person axis is meant,
Q phases (equal parts of a window's time), M entries drawn from a memory, X drawn pairs of windows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.toml import read_toml

METRES: Mapping[str, float] = {
    "m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048,
}  # fmt: skip
MOST_JOINTS = 5_000  # a table of all pairs of joints is made
UP_AXES = ("x", "y", "z", "-x", "-y", "-z", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A set of joints and how they hang together.

    `bones` and `left_right` hold pairs of joint indices, `parts` body-part name -> joint indices.
    `up` is the axis that points up, "-y" where y counts downwards as in an image; "none" says that
    the nodes are not points of a body in space (force plates, say), so that nothing is centred,
    rotated or mirrored. `root` is the joint that recordings are centred on and that the spatial
    graph partition measures distance from.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    left_right: tuple[tuple[int, int], ...] = ()
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unit: str = "m"
    up: str = "y"
    fps: float | None = None
    root: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise ValueError(
                f"Layout '{self.name}' names a joint twice or none at all; give each joint one name."
            )
        if self.up not in UP_AXES:
            raise ValueError(
                f"Layout '{self.name}' has up = '{self.up}', but it must be one of {', '.join(UP_AXES)}."
            )
        if len(self.joints) > MOST_JOINTS:
            raise ValueError(
                f"Layout '{self.name}' has {len(self.joints):,} joints, but may have at most {MOST_JOINTS:,}; "
                "leave some out."
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(
                f"Layout '{self.name}' has fps = {self.fps}, but a frame rate must be above 0 Hz; mend it or leave it "
                "out."
            )
        indices = {
            "bones": [i for pair in self.bones for i in pair],
            "left_right": [i for pair in self.left_right for i in pair],
            "parts": [i for part in self.parts.values() for i in part],
            "root": list(self.root),
        }
        for key, used in indices.items():
            beyond = [i for i in used if not 0 <= i < len(self.joints)]
            if beyond:
                raise ValueError(
                    f"Layout '{self.name}' uses joint {beyond[0]} in {key}, but it has joints 0 to "
                    f"{len(self.joints) - 1}; mend {key}."
                )
        if not self.root:
            raise ValueError(f"Layout '{self.name}' has no root joint; name at least one.")
        _check_pairs(self)
        _check_bones(self)

    @property
    def joint_count(self) -> int:
        return len(self.joints)

    @property
    def up_axis(self) -> int | None:
        """Return the index of the coordinate that tells height, or None where there is no up."""
        return None if self.up == "none" else "xyz".index(self.up[-1])

    @property
    def up_sign(self) -> int:
        """Return 1, or -1 where the coordinate that tells height grows downwards."""
        return -1 if self.up.startswith("-") else 1

    def mirrored(self) -> NDArray[np.int64]:
        """Return the joint order [V] after a left-right flip: left joints take the places of right ones."""
        order = np.arange(self.joint_count)
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return order

    def adjacency(self) -> NDArray[np.bool_]:
        """Return a symmetric [V, V], True where two joints share a bone; the diagonal is False."""
        linked = np.zeros((self.joint_count, self.joint_count), dtype=np.bool_)
        for a, b in self.bones:
            linked[a, b] = linked[b, a] = True
        return linked

    def hops_from_root(self) -> NDArray[np.int64]:
        """Count the bones between each joint and the nearest root joint [V]; joints without a path get V."""
        linked = self.adjacency()
        hops = np.full(self.joint_count, self.joint_count, dtype=np.int64)
        frontier = list(self.root)
        hops[frontier] = 0
        while frontier:
            reached = np.flatnonzero(linked[frontier].any(axis=0) & (hops == self.joint_count))
            hops[reached] = hops[frontier[0]] + 1
            frontier = reached.tolist()
        return hops

    def as_dict(self) -> dict[str, Any]:
        """Return the layout in the form of its TOML file, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "up": self.up,
            "fps": self.fps,
            "root": list(self.root),
            "joints": list(self.joints),
            "bones": [list(pair) for pair in self.bones],
            "left_right": [list(pair) for pair in self.left_right],
            "parts": {name: list(part) for name, part in self.parts.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str) -> Layout:
        """Read what `as_dict` gave; `source` names the file in what is raised (ValueError)."""
        known = {"name", "unit", "up", "fps", "root", "joints", "bones", "left_right", "parts"}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(
                f"{source} has the key '{unknown[0]}'; a layout knows {', '.join(sorted(known))}."
            )
        missing = sorted({"name", "joints", "bones"} - set(data))
        if missing:
            raise ValueError(
                f"{source} lacks '{missing[0]}'; a layout needs name, joints and bones."
            )
        try:
            layout: dict[str, Any] = {
                "name": _text(data["name"]),
                "joints": tuple(_text(joint) for joint in _rows(data["joints"])),
                "bones": _pairs(data["bones"]),
                "left_right": _pairs(data.get("left_right", ())),
                "parts": {
                    str(name): tuple(_index(i) for i in _rows(part))
                    for name, part in data.get("parts", {}).items()
                },
                "unit": _text(data.get("unit", "m")),
                "up": _text(data.get("up", "y")),
                "fps": None if data.get("fps") is None else _number(data["fps"]),
                "root": tuple(_index(i) for i in _rows(data.get("root", (0,)))),
            }
        except (TypeError, AttributeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise ValueError(
                f"{source} is not a layout ({reason}); compare it with the example in docs/data.md."
            ) from error
        return cls(**layout)


def _check_pairs(layout: Layout) -> None:
    """Raise ValueError where a pair, a part or the root names a joint that it cannot mean."""
    names, paired = layout.joints, set[int]()
    for left, right in layout.left_right:
        if left == right:
            raise ValueError(
                f"Layout '{layout.name}' pairs '{names[left]}' with itself in left_right, but a pair is a joint of the "
                "left and one of the right; mend or remove it."
            )
        if twice := sorted({left, right} & paired):
            raise ValueError(
                f"Layout '{layout.name}' has '{names[twice[0]]}' in two pairs of left_right, but a joint has one "
                "counterpart; keep one of them."
            )
        if _side(names[left]) == "right" or _side(names[right]) == "left":
            raise ValueError(
                f"Layout '{layout.name}' has the pair '{names[left]}' and '{names[right]}' in left_right, but the left "
                "joint comes first; turn it round."
            )
        paired |= {left, right}
    for place, joints in {**layout.parts, "root": layout.root}.items():
        twice = [joint for joint, times in Counter(joints).items() if times > 1]
        if twice:
            raise ValueError(
                f"Layout '{layout.name}' names '{names[twice[0]]}' twice in {place}; name it once."
            )


def _check_bones(layout: Layout) -> None:
    """Raise ValueError where bones cannot be those of a body; nodes without an up axis may hang on nothing."""
    names, known = layout.joints, set[tuple[int, int]]()
    for a, b in layout.bones:
        if a == b:
            raise ValueError(
                f"Layout '{layout.name}' has a bone from '{names[a]}' to itself, but a bone joins two joints; mend or "
                "remove it."
            )
        if (min(a, b), max(a, b)) in known:
            raise ValueError(
                f"Layout '{layout.name}' has the bone between '{names[a]}' and '{names[b]}' twice; keep one."
            )
        known.add((min(a, b), max(a, b)))
    if layout.up == "none" or not layout.bones:
        return
    bodies = _find_bodies(layout)
    if alone := [body for body in bodies if len(body) == 1]:
        raise ValueError(
            f"Layout '{layout.name}' has no bone at '{names[alone[0][0]]}', though other joints have some; add its "
            "bone, or leave the joint out."
        )
    if len(bodies) > 1:
        raise ValueError(
            f"Layout '{layout.name}' has bones that hang together in {len(bodies)} pieces, but a body is one; join "
            f"'{names[bodies[0][0]]}' and '{names[bodies[1][0]]}' by bones."
        )


def _find_bodies(layout: Layout) -> list[list[int]]:
    """Return the sets of joints that bones hold together, in the order of their first joints."""
    beside: list[list[int]] = [[] for _ in layout.joints]
    for a, b in layout.bones:
        beside[a].append(b)
        beside[b].append(a)
    bodies: list[list[int]] = []
    found: set[int] = set()
    for first in range(layout.joint_count):
        if first in found:
            continue
        body, waiting = [], [first]
        found.add(first)
        while waiting:
            joint = waiting.pop()
            body.append(joint)
            news = [other for other in dict.fromkeys(beside[joint]) if other not in found]
            found.update(news)
            waiting += news
        bodies.append(body)
    return bodies


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W_a-zA-Z]+|[^\W\d_]+")
_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right"}


def _side(name: str) -> str | None:
    """Return the side that a joint's name has as a word, None where it has none."""
    words = [word.casefold() for word in _WORDS.findall(name)]
    return next((word for word in words if word in ("left", "right")), None)


def spell_joint(name: str) -> str:
    """Spell a joint's name in small letters with its side first: "LKnee", "knee_left" and "Left.Knee" are "left knee".

    A side is the word left or right, or l or r alone, at either end; what has none is only put in small letters.
    """
    words = [word.casefold() for word in _WORDS.findall(name)]
    for first, rest in ((0, words[1:]), (-1, words[:-1])):
        if rest and words[first] in _SIDES and (len(words[first]) > 1 or rest[first].isalpha()):
            return f"{_SIDES[words[first]]} {''.join(rest)}"
    return "".join(words)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} stands where a text must be")
    return value


def _index(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} stands where a joint's index must be")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} stands where a number must be")
    return float(value)


def _rows(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} stands where a list must be")
    return value


def _pairs(rows: Any) -> tuple[tuple[int, int], ...]:
    pairs = [tuple(_index(i) for i in _rows(row)) for row in _rows(rows)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("A layout's bones and left_right must be pairs of joint indices.")
    return tuple((pair[0], pair[1]) for pair in pairs)


def read_layout(name_or_path: str) -> Layout:
    """Return a built-in layout by name, or read one from the user's TOML file.

    Raises KeyError for a name that is neither, ValueError for a file that is not a layout.
    """
    if name_or_path in LAYOUTS:
        return LAYOUTS[name_or_path]
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise KeyError(
            f"There is no layout '{name_or_path}'. Built in: {', '.join(LAYOUTS)}; or give the path of a .toml file."
        )
    return _read(path)


def _read(path: Path) -> Layout:
    content = read_toml(path, "layout file", "a layout's .toml file")
    return Layout.from_dict(content, source=f"The layout file {path}")


_FOLDER = Path(__file__).with_name("layouts")
_NAMES = (
    "coco17", "kinect25", "body25", "h36m17", "halpe26", "kinect20", "mediapipe33", "mvnx23", "ntu25", "opencap43",
)  # fmt: skip

LAYOUTS: dict[str, Layout] = {name: _read(_FOLDER / f"{name}.toml") for name in _NAMES}
