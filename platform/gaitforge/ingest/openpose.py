"""Reads a folder of OpenPose's frames: one JSON a frame, whose people have x, y and confidence of each point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.frames import number_frames, see_walker
from gaitforge.ingest.json_stream import read_json, to_numbers
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.layout import LAYOUTS
from gaitforge.regular_file import spell_name

MOST_FRAME_BYTES = 4 * 2**20  # a hundred people with faces and hands take 1 MB
_END = "_keypoints" + ".json"  # in two: names of our own files are spelt in work.py alone

BODY_25 = LAYOUTS["body25"].joints
COCO_18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
_POINTS: dict[int, tuple[str, ...]] = {3 * len(points): points for points in (BODY_25, COCO_18)}


def list_frames(folder: Path, remedy: str = "mend its path in the settings") -> list[Path]:
    """List the files of a folder that are frames: all that end in _keypoints.json, else all .json with a number.

    Raises FileNotFoundError where there is nothing, PermissionError, or ValueError for what is no folder of frames.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The recordings folder {folder} does not exist; {remedy}."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        kind = PermissionError if isinstance(error, PermissionError) else ValueError
        raise kind(
            f"The recordings folder {folder} cannot be read ({reason}); {remedy}."
        ) from error
    found = [name for name in names if name.lower().endswith(_END)]
    found = found or [
        name
        for name in names
        if name.lower().endswith(".json") and name[-6:-5] in set("0123456789")
    ]
    if not found:
        raise ValueError(
            f"The recordings file {folder} is a folder, but must be a file, or a folder of OpenPose's frames "
            f"(*{_END}); to name the files in it, use a pattern such as {folder}/*.c3d."
        )
    return [folder / name for name in found]


def parse_openpose(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the walker of a folder's frames, in pixels with y down.

    The number in a file's name is its frame; frames that are left out, or show nobody, are missing. Raises as `Parse`
    says.
    """
    files = list_frames(path)
    every = number_frames([_stem(file.name) for file in files], path)
    if len(set(every)) < len(every):
        raise ValueError(f"{path} has two files of one frame; keep one of each frame.")
    frames: list[int] = []
    people: list[NDArray[np.float32]] = []
    for frame, file in sorted(zip(every, files, strict=True)):
        for person in _read_people(file):
            if people and len(person) != len(people[0]):
                raise ValueError(
                    f"{file} has {len(person) // 3} points, but a frame before has {len(people[0]) // 3}; keep frames "
                    "of one model in a folder."
                )
            frames.append(frame)
            people.append(person)
    yield see_walker(
        frames,
        np.stack(people).reshape(len(people), -1, 3)
        if people
        else np.empty((0, 0, 3), np.float32),
        _POINTS[len(people[0])] if people else (),
        every,
    )


read_openpose = MotionReader(parse_openpose)


def _find_people(frame: object) -> list[NDArray[np.float32]] | None:
    """Return the numbers of each person of a frame [V * 3], or None where it is no frame of OpenPose's.

    Raises ValueError, without a file's name, for people whose points are of another model.
    """
    listed = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(listed, list):
        return None
    people: list[NDArray[np.float32]] = []
    for person in listed:
        if not isinstance(person, dict):
            return None
        # before version 1.3 the key had no dimensions
        told = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if told == []:  # a face or hands alone
            continue
        numbers = to_numbers(told)
        if numbers is None:
            return None
        if len(numbers) not in _POINTS:
            raise ValueError(
                f"has {len(numbers)} numbers for a person, but BODY_25 has 75 and COCO 54; estimate the poses with one "
                "of these models"
            )
        people.append(numbers)
    return people


def _read_people(file: Path) -> list[NDArray[np.float32]]:
    content = read_json(file, MOST_FRAME_BYTES)
    try:
        people = _find_people(content)
    except ValueError as error:
        raise ValueError(f"{file} {error}.") from error
    if people is None:
        raise ValueError(
            f"{file} is no frame of OpenPose's, which has a list 'people' with 'pose_keypoints_2d' of finite "
            f"numbers; to read the files of a folder one by one, name them by a pattern such as "
            f"{spell_name(file.parent)}/*.json."
        )
    return people


def _stem(name: str) -> str:
    lower = name.lower()
    return name[: -len(_END)] if lower.endswith(_END) else name[: -len(".json")]
