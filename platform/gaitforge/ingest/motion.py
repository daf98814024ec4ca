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
from gaitforge.ingest.options import ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected, Value
from gaitforge.regular_file import spell_name

UNKNOWN = "unknown"  # person and class of a recording that nobody has labelled
METRES: Mapping[str, float] = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254}
_BETWEEN = re.compile(r"[\s_.:/-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """One movement of a file.

    `positions_TVC` float32 [T, V, C], NaN for a point that was not found, in `unit` ("m", "mm", "px"; "" where the
    file does not say). `points` are the file's own names of its points, None where it has none and its order is its
    format's. `up` is the axis that points up ("y", "z", "-y"; "" where the file does not say). `fps` in Hz. `id` is
    the movement's own where the file tells one, and `person`, `label` and further `columns` what it tells of those.
    """

    positions_TVC: NDArray[np.float32]
    points: tuple[str, ...] | None = None
    confidence_TV: NDArray[np.float32] | None = None
    fps: float | None = None
    unit: str = ""
    up: str = ""
    id: str = ""
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
            own = motion.id or (f"{begin}-{position:05d}" if self.several else begin)
            person = label = UNKNOWN
            columns: dict[str, Value] = {}
            reason = motion.reason if isinstance(motion, Unusable) else ""
            if labelled:
                told = motion if isinstance(motion, Motion) else Motion(positions_TVC=NOTHING)
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


NOTHING = np.empty((0, 0, 0), np.float32)


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
    that have no names, or numbers that are no coordinates in the layout's space.
    """
    positions, confidence = motion.positions_TVC, motion.confidence_TV
    channels = positions.shape[2]
    if layout.up_axis is not None and not max(2, layout.up_axis + 1) <= channels <= 3:
        raise ValueError(
            f"{path} has {channels} numbers for each point, but the layout '{layout.name}' with up = '{layout.up}' "
            "needs coordinates; choose a layout with up = 'none' for angles, forces and the like."
        )
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
        positions, confidence = _gather(positions, confidence, sources)
    if motion.unit in METRES and layout.unit in METRES and motion.unit != layout.unit:
        positions = positions * np.float32(METRES[motion.unit] / METRES[layout.unit])
    if motion.up and layout.up != "none":
        positions = turn_up(positions, motion.up, layout.up)
    return positions, confidence


def match(
    points: Sequence[str], layout: Layout, joints: Mapping[str, Sequence[str]]
) -> list[list[int]]:
    """Find the file's points of each joint [V]: those that `joints` names, else the one of the same name.

    Names are alike where they differ in case, spaces, underscores, dots, colons and hyphens only. A joint of which a
    point is not in the file has none.
    """
    exact = {name: n for n, name in enumerate(points)}
    alike = {_BETWEEN.sub("", name).casefold(): n for n, name in reversed(list(enumerate(points)))}
    found: list[list[int]] = []
    for joint in layout.joints:
        wanted = joints.get(joint, (joint,))
        places = [
            exact.get(name, alike.get(_BETWEEN.sub("", name).casefold(), -1)) for name in wanted
        ]
        found.append([] if -1 in places else places)
    return found


def turn_up(positions_TVC: NDArray[np.float32], source: str, target: str) -> NDArray[np.float32]:
    """Turn positions [T, V, 3] so that what `source` points to ("z", "-y") is where `target` points to.

    The turn is by a right angle about the third axis, or a half turn: what was left stays left. Two coordinates, which
    cannot be turned out of their plane, are only turned where both axes are the same.
    """
    a, b = "xyz".index(source[-1]), "xyz".index(target[-1])
    same_sign = source.startswith("-") == target.startswith("-")
    if a == b and same_sign:
        return positions_TVC
    turned = positions_TVC.copy()
    if a == b:
        turned[..., a] *= -1
        turned[..., 0 if a else 1] *= -1
    elif positions_TVC.shape[2] == 3:
        sign = np.float32(1 if same_sign else -1)
        turned[..., b] = sign * positions_TVC[..., a]
        turned[..., a] = -sign * positions_TVC[..., b]
    return turned


def _gather(
    positions: NDArray[np.float32],
    confidence: NDArray[np.float32] | None,
    sources: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
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
