"""Motion: a movement as a lab's file holds it, before anything is known of a layout, people and classes.

A file format is a function that yields motions (`Parse`); `MotionReader` makes a reader of it, which puts the file's
points in the layout's order, turns them to its unit and its up axis, and looks up person and class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.descriptions import describe
from gaitforge.ingest.options import SHARE, ReadOptions, WatchedPoints
from gaitforge.layout import METRES, Layout, spell_joint
from gaitforge.recording import Recording, Rejected, Value
from gaitforge.regular_file import spell_name

UNKNOWN = "unknown"  # person and class of a recording that nobody has labelled
_BETWEEN = re.compile(r"[\s_.:/-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """One movement of a file.

    `positions_TVC` float32 [T, V, C], NaN for a point that was not found, in `unit` ("m", "mm", "px", "share" of the
    image's width and height; "" where the file does not say). `points` are the file's own names of its points, None
    where it has none and its order is its format's. `up` is the axis that points up ("y", "z", "-y"; "" where the file
    does not say). `fps` in Hz. `id` is the movement's own where the file tells one; `part` is what tells it from others
    of the file where the file has no ids, such as a number. `person`, `label` and further `columns` what it tells of
    those.
    """

    positions_TVC: NDArray[np.float32]
    points: tuple[str, ...] | None = None
    confidence_TV: NDArray[np.float32] | None = None
    fps: float | None = None
    unit: str = ""
    up: str = ""
    id: str = ""
    part: str = ""
    person: str = ""
    label: str = ""
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusable:
    """A movement of a file that cannot be used; a `reason` is its kind and, behind a colon, what differs."""

    reason: str
    id: str = ""


Parse = Callable[[Path, ReadOptions], Iterator[Motion | Unusable]]
"""Yields a file's movements in its order, one at a time.

Raises FileNotFoundError, or ValueError with one sentence that names the file, for a fault of the file as a whole.
"""


@dataclass(frozen=True, slots=True)
class MotionReader:
    """A reader of a format whose files hold motions; the ids of `several` in a file have a number behind the name."""

    parse: Parse
    several: bool = False

    def __call__(
        self,
        path: Path,
        layout: Layout,
        options: ReadOptions,
        *,
        labelled: bool = True,
        name: str | None = None,
    ) -> Iterator[Recording | Rejected]:
        """Yield the file's recordings; raises as `Parse` does, and ValueError where its points are not the layout's."""
        check_joints(options.joints, layout)
        begin = spell_name(path.stem) if name is None else name
        for position, motion in enumerate(self.parse(path, options)):
            part = motion.part if isinstance(motion, Motion) else ""
            part = part or (f"{position:05d}" if self.several else "")
            own = motion.id or (f"{begin}-{part}" if part else begin)
            person = label = UNKNOWN
            columns: dict[str, Value] = {}
            reason = motion.reason if isinstance(motion, Unusable) else ""
            if labelled:
                told = motion if isinstance(motion, Motion) else NOBODY
                described = describe(path, own, told.person, told.label, options)
                person, label = described.person, options.rename(described.label)
                columns = {**told.columns, **described.columns}
                reason = reason or described.reason
            elif isinstance(motion, Motion):
                columns = dict(motion.columns)
            if isinstance(motion, Motion) and not reason:
                positions_TVC, confidence_TV = fit(motion, layout, options, path)
                try:
                    yield Recording(
                        recording=own,
                        person=person,
                        label=label,
                        positions_TVC=positions_TVC,
                        confidence_TV=confidence_TV,
                        fps=options.fps or motion.fps or layout.fps,
                        columns=columns,
                    )
                    continue
                except ValueError as error:
                    reason = str(error)
            yield Rejected(
                source=spell_name(path),
                position=position,
                person=person,
                label=label,
                reason=reason,
                recording=own,
            )


# what cannot be used need not tell whose it is
NOBODY = Motion(positions_TVC=np.empty((0, 0, 0), np.float32), person=UNKNOWN, label=UNKNOWN)


def check_joints(joints: Mapping[str, Sequence[str]], layout: Layout) -> None:
    """Raise ValueError where ingest.read.joints names a joint that the layout does not have."""
    for joint in joints:
        if joint not in layout.joints:
            raise ValueError(
                f"ingest.read.joints names '{joint}', but the layout '{layout.name}' has {', '.join(layout.joints)}; "
                "name one of these."
            )


def fit(
    motion: Motion, layout: Layout, options: ReadOptions, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return positions [T, V, C] and confidence [T, V] of the layout's joints, in its unit, with its axis up.

    A joint that the file does not have is missing. Raises ValueError where it has none, or another number of points
    that have no names, where shares of an image come without its size, and where no coordinate can point up.
    """
    positions, confidence = motion.positions_TVC, motion.confidence_TV
    if motion.points is None:
        if positions.shape[1] != layout.joint_count:
            raise ValueError(
                f"{path} has {positions.shape[1]} joints, but the layout '{layout.name}' has {layout.joint_count}; "
                "choose the layout that the file was recorded with."
            )
    else:
        sources = match(motion.points, layout, options.joints)
        if not any(sources):
            shown = ", ".join(motion.points[:12]) + (" ..." if len(motion.points) > 12 else "")
            raise ValueError(
                f"{path} has the points {shown}, none of which is a joint of the layout '{layout.name}' "
                f"({', '.join(layout.joints[:6])} ...); name them in [ingest.read.joints], or choose another layout."
            )
        own, confidence = gather_points(positions, confidence, sources)
        positions = own if layout.up_axis is None else _with_zeros(own, positions, sources)
    unit, up = options.unit or motion.unit, options.up or motion.up
    positions = _out_of_image(positions, unit, layout, options, path)
    if layout.up_axis is not None and positions.shape[2] < max(2, layout.up_axis + 1):
        raise ValueError(
            f"{path} has {positions.shape[2]} coordinates per joint, but the layout '{layout.name}' has "
            f"up = '{layout.up}'; choose a layout whose up axis the file has, or one with up = 'none' for angles, "
            "forces and the like."
        )
    return bring_to(layout, positions, unit, up), confidence


def bring_to(
    layout: Layout, positions: NDArray[np.float32], unit: str, up: str
) -> NDArray[np.float32]:
    """Return positions [T, V, C] of a unit and an axis that is up, "" where unknown, as those of the layout."""
    if unit in METRES and layout.unit in METRES and unit != layout.unit:
        positions = positions * np.float32(METRES[unit] / METRES[layout.unit])
    return turn_up(positions, up, layout.up) if up and layout.up != "none" else positions


def seem_shares(positions_TVC: NDArray[np.float32]) -> bool:
    """Tell whether nearly all x and y lie where shares of an image do, from 0 to 1, and not all in one place."""
    flat = positions_TVC[..., :2].ravel()
    flat = flat[np.isfinite(flat)]
    if positions_TVC.shape[2] < 2 or not flat.size:
        return False
    low, high = np.percentile(flat.astype(np.float64), (1, 99))
    return bool(low >= -0.05 and high <= 1.05 and low < high)


def _out_of_image(
    positions: NDArray[np.float32], unit: str, layout: Layout, options: ReadOptions, path: Path
) -> NDArray[np.float32]:
    """Return pixels for shares of an image; positions in lengths stay, and are refused with an image's size."""
    if unit == "px" and not options.unit and seem_shares(positions):
        unit = SHARE  # as OpenPose writes with --keypoint_scale 3
    if options.image is None:
        if unit == SHARE or (unit == "" and layout.unit == "px" and seem_shares(positions)):
            raise ValueError(
                f"{path} has coordinates from 0 to 1, as shares of an image are, whose sides differ; tell its width "
                "and height in pixels: ingest.read.image = [1920, 1080], or if they are none, "
                'ingest.read.unit = "px".'
            )
        return positions
    if unit not in ("", SHARE):
        raise ValueError(
            f"{path} has coordinates in {unit}, but ingest.read.image is for shares of an image; leave it out."
        )
    return scale_shares(positions, options.image)


def scale_shares(
    positions_TVC: NDArray[np.float32], image: tuple[int, int]
) -> NDArray[np.float32]:
    """Return pixels for shares of an image's width and height; a depth is a share of the width, as MediaPipe has it."""
    width, height = image
    return positions_TVC * np.array([width, height, width][: positions_TVC.shape[2]], np.float32)


def match(
    points: Sequence[str], layout: Layout, joints: Mapping[str, Sequence[str]]
) -> list[list[int]]:
    """Find the file's points of each joint [V]: those that `joints` names, else the one of the same name.

    Names are alike where they differ in case, spaces, underscores, dots, colons and hyphens only, or in how they tell
    the side ("LKnee", "knee_left"). A joint of which a point is not in the file has none.
    """
    exact = {name: n for n, name in enumerate(points)}
    watched = joints if isinstance(joints, WatchedPoints) else None
    alike = {_BETWEEN.sub("", name).casefold(): n for n, name in reversed(list(enumerate(points)))}
    sided = {spell_joint(name): n for n, name in reversed(list(enumerate(points)))}
    found: list[list[int]] = []
    for joint in layout.joints:
        wanted = joints.get(joint, (joint,))
        places = [
            exact.get(
                name,
                alike.get(
                    _BETWEEN.sub("", name).casefold(),
                    sided.get(spell_joint(name), alike.get(_with_side_letter(name), -1)),
                ),
            )
            for name in wanted
        ]
        if watched is not None and joint in joints:
            watched.learn(
                points, [n for n, place in zip(wanted, places, strict=True) if place >= 0]
            )
        found.append([] if -1 in places else places)
    return found


def _with_side_letter(name: str) -> str:
    """Spell "left_knee" as markers often are: "lknee"; "" for a name without a side."""
    side, _, rest = spell_joint(name).partition(" ")
    return side[0] + rest if rest else ""


def turn_up(positions_TVC: NDArray[np.float32], source: str, target: str) -> NDArray[np.float32]:
    """Turn positions [T, V, 3] so that what `source` points to ("z", "-y") is where `target` points to.

    The turn is by a right angle about the third axis, or a half turn: what was left stays left. Of a picture, which has
    two coordinates, the one that is not up stays, so that it looks as before; they stay both where one axis is z.
    """
    a, b = "xyz".index(source[-1]), "xyz".index(target[-1])
    same_sign = source.startswith("-") == target.startswith("-")
    if a == b and same_sign:
        return positions_TVC
    sign = np.float32(1 if same_sign else -1)
    turned = positions_TVC.copy()
    if positions_TVC.shape[2] == 2:
        if max(a, b) < 2:
            turned[..., b] = sign * positions_TVC[..., a]
            turned[..., 1 - b] = positions_TVC[..., 1 - a]
    elif a == b:
        turned[..., a] *= -1
        turned[..., 0 if a == 2 else 2] *= -1
    else:
        turned[..., b] = sign * positions_TVC[..., a]
        turned[..., a] = -sign * positions_TVC[..., b]
    return turned


def _with_zeros(
    own: NDArray[np.float32], positions: NDArray[np.float32], sources: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """Return joints [T, V, C] that are 0 where one of their several points is.

    0 stands for "not found" in many files, and is found and told as such (see cleaning.py); half of it would not be.
    """
    for joint, places in enumerate(sources):
        if len(places) > 1:
            own[(positions[:, places] == 0).all(axis=2).any(axis=1), joint] = 0
    return own


def gather_points(
    positions: NDArray[np.float32],
    confidence: NDArray[np.float32] | None,
    sources: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the mean of the points of each joint and the least of their confidences; without points it is missing."""
    frames, _, channels = positions.shape
    own = np.full((frames, len(sources), channels), np.nan, np.float32)
    sure = None if confidence is None else np.zeros((frames, len(sources)), np.float32)
    for joint, places in enumerate(sources):
        if places:
            # infinities that are added stay for the check of recordings
            with np.errstate(invalid="ignore", over="ignore"):
                own[:, joint] = positions[:, places].mean(axis=1)
            if sure is not None and confidence is not None:
                sure[:, joint] = confidence[:, places].min(axis=1)
    return own, sure
