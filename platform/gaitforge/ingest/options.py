"""How files become recordings: the keys of [ingest.read]."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gaitforge.layout import METRES

_SHOWN = 12  # names in a sentence
SHARE = "share"  # the unit of x and y that go from 0 to 1 across the image
UNITS = (*METRES, "px", SHARE)

AXES = ("x", "y", "z")
CONFIDENCE = ("confidence", "visibility", "likelihood", "score", "conf", "c", "v")
# what `columns` may name
ROLES = ("frame", "time", "joint", *AXES, "confidence", "recording", "fps")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How a file's contents become recordings."""

    confidence_channel: int | None = None
    """Index of the channel of `frames` that is no coordinate but the confidence, from 0 to 1."""
    label: str = "label"
    """Array or column that holds the class."""
    person: str = "subject"
    """Array or column that holds the person."""
    relabel: Mapping[str, str] = field(default_factory=dict)
    """Renames or merges classes, old name to new: { mild = "ill", severe = "ill", "*" = "rest" };
    "*" stands for all others.
    """
    fps: float | None = None
    """Frame rate in Hz; takes the place of the file's and of the layout's."""
    path: str = ""
    """A regular expression that is searched in each file's name, then with one folder more until it
    fits, and whose groups tell of the recording: `person`, `label`, and any other as a further
    column: '(?P<person>S\\d+)_(?P<label>[a-z]+)_'.
    """
    unit: str = ""
    """Unit of the files' coordinates: m, dm, cm, mm, in, ft, px or share (of an image); takes the
    place of what a file tells. Lengths are brought to the layout's.
    """
    up: str = ""
    """Axis that points up in the files: x, y, z, or with a minus what points down; takes the place of
    what a file tells. Recordings are turned to the layout's.
    """
    table: str = ""
    """A CSV file, its path relative to the folder of run.toml, with a line for each recording. Its
    column `recording` or `file` says which; without both, the person does. The other columns are
    those of `label` and `person`, and further ones.
    """
    joints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Joint of the layout to the file's points, where they have other names; of several points, the
    mean: { left_knee = ["LKNE"], pelvis = ["LASI", "RASI"] }.
    """
    from_layout: str = ""
    """The layout that the files have, where it is another than `ingest.layout`: a built-in one's name,
    or the path of a .toml file. Joints that both have are carried over, the others are missing.
    """
    image: tuple[int, int] | None = None
    """Width and height in pixels of the images that coordinates are shares of (from 0 to 1, as
    MediaPipe writes them): x and z are multiplied by the width, y by the height.
    """
    columns: Mapping[str, str] = field(default_factory=dict)
    """Tables: which columns hold `frame`, `time`, `fps`, `recording` where a table holds several
    (of several columns, with commas between), and where a line is a joint of a frame: `joint`, `x`,
    `y`, `z`, `confidence`. Only those that have other names need be named.
    """
    wide: str = ""
    """Tables with a line for each frame: how their columns are named, such as "{joint}_{axis}". The
    axes are x, y, z and a word for the confidence: `confidence`, `visibility`, `likelihood`,
    `score`, `conf`, `c` or `v`.
    """

    def __post_init__(self) -> None:
        if self.confidence_channel is not None and self.confidence_channel < 0:
            raise ValueError(
                f"confidence_channel is {self.confidence_channel}, but channels count from 0; "
                "give the index of the confidence or leave it out."
            )
        if self.label == self.person:
            raise ValueError(
                f"The array '{self.label}' is named both as class and as person; name two arrays."
            )
        if not all(self.relabel.values()):
            raise ValueError("relabel gives a class an empty name; give every class a name.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(
                f"fps is {self.fps}, but a frame rate must be above 0 Hz; mend it or leave it out."
            )
        if self.image is not None and min(self.image) < 1:
            raise ValueError(
                f"image is {list(self.image)}, but an image has a width and a height of at least 1 pixel; mend it."
            )
        if self.up and self.up.removeprefix("-") not in ("x", "y", "z"):
            raise ValueError(
                f"up is '{self.up}', but must be x, y or z, or one of them behind a minus; mend it or leave it out."
            )
        if self.unit and self.unit not in UNITS:
            raise ValueError(
                f"unit is '{self.unit}', but must be one of {', '.join(UNITS)}; mend it or leave it out."
            )
        try:
            re.compile(self.path)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(
                f"path is {self.path!r}, which is no regular expression ({error}); mend it or leave it out."
            ) from error
        if not all(self.joints.values()):
            raise ValueError(
                "joints gives a joint no point of the file; name at least one, or leave the joint out."
            )
        for role in self.columns:
            if role not in ROLES:
                raise ValueError(
                    f"columns names '{role}', but a table's columns are {', '.join(ROLES)}; name one of these."
                )
        if len(set(self.columns.values())) < len(self.columns):
            raise ValueError("columns names a column twice; each role has a column of its own.")
        if self.wide and not (self.wide.count("{joint}") == 1 == self.wide.count("{axis}")):
            raise ValueError(
                f"wide is {self.wide!r}, but must have {{joint}} and {{axis}} once each, such as "
                '"{joint}_{axis}"; mend it or leave it out.'
            )

    def rename(self, label: str) -> str:
        """Return the class that `relabel` makes of a file's."""
        # an empty class stays empty, so that it is quarantined instead of joining "all others"
        return self.relabel.get(label, self.relabel.get("*", label)) if label else label


class WatchedPoints(dict[str, tuple[str, ...]]):
    """The `joints` of ingest.read, which learn what points the files have."""

    def __init__(self, joints: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(joints)
        self.found: set[str] = set()
        self.points: dict[str, None] = {}

    def learn(self, points: Sequence[str], found: Collection[str]) -> None:
        """Note the points of a file, and which of those that are named it has."""
        self.found.update(found)
        if len(self.points) < _SHOWN:
            self.points |= dict.fromkeys(points)

    def refuse_unused(self) -> None:
        """Raise ValueError where a point is named that is in no file, which can only be a slip."""
        unused = [name for names in self.values() for name in names if name not in self.found]
        if unused and self.points:
            near = difflib.get_close_matches(unused[0], self.points, n=1)
            hint = f"is '{near[0]}' meant? Else mend" if near else "mend"
            shown = ", ".join(list(self.points)[:_SHOWN])
            raise ValueError(
                f"ingest.read.joints names the point '{unused[0]}', which no file has (they have {shown} ...); {hint} "
                "the name, or leave it out."
            )


class Watched(dict[str, str]):
    """A `relabel` that knows which classes it was asked about."""

    def __init__(self, relabel: Mapping[str, str]) -> None:
        super().__init__(relabel)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def refuse_unused(self) -> None:
        """Raise ValueError where it names a class that nobody asked about, which can only be a slip."""
        asked = self.asked - {"*"}
        unused = [name for name in self if name != "*" and name not in asked]
        if unused and asked:  # else nothing was read, or by a reader that renames nothing
            shown = ", ".join(sorted(asked)[:_SHOWN]) + (" ..." if len(asked) > _SHOWN else "")
            raise ValueError(
                f"ingest.read.relabel names the class '{unused[0]}', but the recordings are of the classes {shown}; "
                "mend the name, or leave it out."
            )
