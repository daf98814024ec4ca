"""Joint layouts as data: names, bones, left/right pairs, body parts, unit and up axis.

The letters that end tensor names everywhere in this project:
B batch, N windows, T frames, V joints (graph nodes), C channels (coordinates), P body parts,
D width of an embedding, K classes, F clinical features, P also people where a person axis is meant,
Q phases (equal parts of a window's time), M entries drawn from a memory, X drawn pairs of windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.toml import read_toml

MOST_JOINTS = 5_000  # a table of all pairs of joints is made
UP_AXES = ("x", "y", "z", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A set of joints and how they hang together.

    `bones` and `left_right` hold pairs of joint indices, `parts` body-part name -> joint indices.
    `up` is the axis that points up; "none" says that the nodes are not points of a body in space
    (force plates, say), so that nothing is centred, rotated or mirrored. `root` is the joint that
    recordings are centred on and that the spatial graph partition measures distance from.
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

    @property
    def joint_count(self) -> int:
        return len(self.joints)

    @property
    def up_axis(self) -> int | None:
        """Return the index of the coordinate that points up, or None where there is no up."""
        return None if self.up == "none" else "xyz".index(self.up)

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
    return Layout.from_dict(
        read_toml(path, "layout file", "a layout's .toml file"), source=f"The layout file {path}"
    )


_COCO17 = Layout(
    name="coco17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    bones=(
        (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    ),
    left_right=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    parts={
        "trunk": (0, 1, 2, 3, 4),
        "left_arm": (5, 7, 9),
        "right_arm": (6, 8, 10),
        "left_leg": (11, 13, 15),
        "right_leg": (12, 14, 16),
    },
    root=(11, 12),
)  # fmt: skip

_KINECT25 = Layout(
    name="kinect25",
    joints=(
        "spine_base", "spine_mid", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle",
        "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot", "spine_shoulder",
        "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    bones=(
        (0, 1), (1, 20), (20, 2), (2, 3), (20, 4), (4, 5), (5, 6), (6, 7), (20, 8), (8, 9), (9, 10), (10, 11),
        (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19), (7, 21), (7, 22),
        (11, 23), (11, 24),
    ),
    left_right=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
    parts={
        "trunk": (0, 1, 2, 3, 20),
        "left_arm": (4, 5, 6, 7, 21, 22),
        "right_arm": (8, 9, 10, 11, 23, 24),
        "left_leg": (12, 13, 14, 15),
        "right_leg": (16, 17, 18, 19),
    },
    fps=30.0,
)  # fmt: skip

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (_COCO17, _KINECT25)}
