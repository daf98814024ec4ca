"""From one layout's joints to another's: what both have is carried over, and what cannot be is missing.

A joint is known by the place that it stands for. Most names say it alike in every layout, however they spell the side.
`PLACES` tells of the built-in layouts where a name says another place than elsewhere: OpenPose's neck is the mean of
the shoulders and Kinect's is a neck, an Xsens hand is a wrist. A place is worked out from others in two cases alone, in
which it is defined so (`MEANS`). A spine half-way up, a neck from ears or a knee's centre from one epicondyle would be
inventions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.motion import gather_points, turn_up
from gaitforge.layout import METRES, Layout, spell_joint
from gaitforge.recording import Recording, Rejected

# OpenPose trains neck and mid-hip as these means, and the hips of Human3.6M's skeleton are as far to both sides
MEANS: Mapping[str, tuple[str, str]] = {
    "mid_hip": ("left_hip", "right_hip"),
    "mid_shoulder": ("left_shoulder", "right_shoulder"),
}


def _on_both_sides(places: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{side}_{joint}": f"{side}_{place}"
        for joint, place in places.items()
        for side in ("left", "right")
    }


# layout -> joint -> its place; a place in brackets is no other layout's
PLACES: Mapping[str, Mapping[str, str]] = {
    "body25": {"neck": "mid_shoulder"},
    # the top of the head; neck and hip are annotated as seen
    "halpe26": {"head": "(halpe26)", "neck": "(halpe26)", "hip": "(halpe26)"},
    "h36m17": {
        "pelvis": "mid_hip",
        "spine": "(h36m17)",
        "head": "(h36m17)",
        **_on_both_sides({"foot": "ankle"}),
    },
    # the knuckle, not the tip
    "mediapipe33": _on_both_sides({"thumb": "thumb (mediapipe33)"}),
    "kinect20": {"spine": "(kinect20)"},
    "mvnx23": {
        "neck": "(mvnx23)",
        "head": "(mvnx23)",
        **_on_both_sides(
            {
                "shoulder": "clavicle (mvnx23)",
                "upper_arm": "shoulder",
                "fore_arm": "elbow",
                "hand": "wrist",
                "upper_leg": "hip",
                "lower_leg": "knee",
                "foot": "ankle",
            }
        ),
    },
    "opencap43": {"LHJC_study": "left_hip", "RHJC_study": "right_hip"},
}


def convert(
    positions_TVC: NDArray[np.float32],
    confidence_TV: NDArray[np.float32] | None,
    source: Layout,
    target: Layout,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return positions [T, V, C] and confidence [T, V] of the target's joints, in its unit, with its axis up.

    A joint that the source does not have is NaN, with a confidence of 0. Raises ValueError where no joint is shared, or
    the target's axis is none of the coordinates.
    """
    if target.up_axis is not None and positions_TVC.shape[2] <= target.up_axis:
        raise ValueError(
            f"Recordings of {positions_TVC.shape[2]} coordinates cannot have the layout '{target.name}', whose "
            f"up = '{target.up}'; choose a layout whose up axis they have."
        )
    positions, confidence = gather_points(positions_TVC, confidence_TV, map_joints(source, target))
    if source.unit in METRES and target.unit in METRES and source.unit != target.unit:
        positions = positions * np.float32(METRES[source.unit] / METRES[target.unit])
    if "none" not in (source.up, target.up):
        positions = turn_up(positions, source.up, target.up)
    return positions, confidence


def map_joints(source: Layout, target: Layout) -> list[list[int]]:
    """Return the source's joints of each joint of the target [V]: one, two whose mean it is, or none.

    Raises ValueError where that is none for all.
    """
    places = _places(source)
    known = {spell_joint(place): joint for joint, place in reversed(list(enumerate(places)))}
    known |= {
        place: joint for joint, place in enumerate(places)
    }  # a name goes before one that is alike
    found: list[list[int]] = []
    for place in _places(target):
        joint = known.get(place, known.get(spell_joint(place), -1))
        ends = [known.get(spell_joint(end), -1) for end in MEANS.get(place, ())]
        found.append([joint] if joint >= 0 else ends if -1 not in ends else [])
    if not any(found):
        raise ValueError(
            f"The layout '{source.name}' of ingest.read.from_layout has no joint of the layout '{target.name}'; name "
            "one that shares joints with it."
        )
    return found


def convert_all(
    items: Iterable[Recording | Rejected],
    source: Layout,
    target: Layout,
    where: str,
    first: int = 0,
) -> Iterator[Recording | Rejected]:
    """Yield a file's recordings with the target's joints; one that has none of them is a Rejected, its file `where`.

    `first` is the position in the file of the first of them.
    """
    for position, item in enumerate(items, first):
        if isinstance(item, Rejected):
            yield item
            continue
        positions_TVC, confidence_TV = convert(
            item.positions_TVC, item.confidence_TV, source, target
        )
        try:
            yield replace(
                item,
                positions_TVC=positions_TVC,
                confidence_TV=confidence_TV,
                fps=item.fps or target.fps,
            )
        except ValueError as error:
            yield Rejected(
                source=where,
                position=position,
                person=item.person,
                label=item.label,
                reason=str(error),
                recording=item.recording,
            )


def _places(layout: Layout) -> list[str]:
    """Return what each joint stands for [V]; a place in brackets bears its joint's name, and is this layout's alone."""
    own = PLACES.get(layout.name, {})
    places = [own.get(joint, joint) for joint in layout.joints]
    return [
        f"{joint} {place}" if place.startswith("(") else place
        for joint, place in zip(layout.joints, places, strict=True)
    ]
