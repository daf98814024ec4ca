"""Reads AlphaPose's results: a JSON list of the people of all pictures, or one of its forms "cmu" and "open"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.frames import number_frames, see_walker
from gaitforge.ingest.json_stream import stream_json, to_numbers
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.ingest.openpose import COCO_18
from gaitforge.ingest.options import ReadOptions
from gaitforge.layout import LAYOUTS

COCO_17 = LAYOUTS["coco17"].joints
HALPE_26 = LAYOUTS["halpe26"].joints
_POINTS: dict[int, tuple[str, ...]] = {3 * len(points): points for points in (COCO_17, HALPE_26)}
_FORM_POINTS: dict[int, tuple[str, ...]] = {
    3 * len(COCO_18): COCO_18
}  # of the forms that other programs' files have
_FORMS = {"bodies": "joints", "people": "pose_keypoints_2d"}


def parse_alphapose(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the walker of a file, in pixels with y down.

    The number in a picture's name is its frame, and pictures of several folders are of several films; frames that are
    left out, or show nobody, are missing. Where every person has an `idx`, that tells them apart. Raises as `Parse`
    says.
    """
    pictures: list[str] = []
    numbers: list[NDArray[np.float32]] = []
    known: list[int] = []
    points: tuple[str, ...] = ()
    for picture, person, mark, kinds in _people(path):
        if len(person) not in kinds:
            wanted = ", ".join(f"{count} ({count // 3} points)" for count in kinds)
            raise ValueError(
                f"{path} has {len(person)} numbers for a person ({len(person) / 3:g} points), but {wanted} are known; "
                "estimate the poses with a model of COCO's 17 or Halpe's 26 points."
            )
        points = points or kinds[len(person)]
        if len(person) != 3 * len(points):
            raise ValueError(
                f"{path} has people of {len(points)} and of {len(person) // 3} points; keep those of one model."
            )
        pictures.append(picture)
        numbers.append(person)
        if mark is not None:
            known.append(mark)
    frames = number_frames(pictures, path)
    yield see_walker(
        frames,
        np.stack(numbers).reshape(len(numbers), -1, 3)
        if numbers
        else np.empty((0, 0, 3), np.float32),
        points,
        frames,
        known if len(known) == len(numbers) else None,
    )


read_alphapose = MotionReader(parse_alphapose)

_Person = tuple[str, NDArray[np.float32], int | None, dict[int, tuple[str, ...]]]


def _people(path: Path) -> Iterator[_Person]:
    """Yield each person with the picture's name, the number that the file gives them, and what points there may be."""
    for key, entry in stream_json(path):
        if key in ("version", "people") and not isinstance(entry, dict):
            raise ValueError(
                f"{path} is a frame of OpenPose's; name its folder, which is read as one recording."
            )
        told = entry if isinstance(entry, dict) else {}
        if key:
            many, one = next(((m, o) for m, o in _FORMS.items() if m in told), ("", ""))
            bodies = told.get(many)
            for body in bodies if isinstance(bodies, list) else [None]:
                person = to_numbers(body.get(one)) if isinstance(body, dict) else None
                if person is None:
                    raise _refusal(path)
                yield _picture(key), person, None, _FORM_POINTS
            continue
        picture, person = told.get("image_id"), to_numbers(told.get("keypoints"))
        if person is None or type(picture) not in (str, int):
            raise _refusal(path)
        mark = told.get("idx")
        marked = type(mark) is int and abs(mark) < 2**31
        yield _picture(str(picture)), person, mark if marked else None, _POINTS


def _picture(name: str) -> str:
    """Return a picture's name, with its folder, without the ending, which may have a number of its own (.jp2)."""
    folder, slash, own = name.replace("\\", "/").rpartition("/")
    return folder + slash + PurePath(own).stem


def _refusal(path: Path) -> ValueError:
    return ValueError(
        f"{path} is no list of AlphaPose's results, whose entries have 'image_id' and 'keypoints' of finite numbers "
        "(or, by picture, 'bodies' with 'joints' or 'people' with 'pose_keypoints_2d'); convert the file, or write it "
        "with AlphaPose."
    )
