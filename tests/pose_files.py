"""Hand-made files of pose estimators and public sets, which several tests read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def walk(frames: int, joints: int, coordinates: int = 2, shift: float = 0) -> NDArray[np.float32]:
    """Positions [T, V, C], of which no two are equal and none is 0."""
    numbers = np.arange(1, 1 + frames * joints * coordinates, dtype=np.float32)
    return numbers.reshape(frames, joints, coordinates) + np.float32(shift)


def flat(joints_VC: NDArray[np.float32], confidence: float = 0.5) -> list[float]:
    """The numbers of a person as estimators write them: x, y, confidence of each point."""
    third = np.full((len(joints_VC), 1), confidence, np.float32)
    return [float(value) for value in np.concatenate([joints_VC, third], axis=1).ravel()]


def frame_of(*people: Sequence[float], key: str = "pose_keypoints_2d") -> dict[str, object]:
    """A frame of OpenPose's."""
    return {
        "version": 1.3,
        "people": [{"person_id": [-1], key: list(p), "face_keypoints_2d": []} for p in people],
    }


def write_openpose(folder: Path, frames: Mapping[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in frames.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, "utf-8")
    return folder


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def result(image: str | int, joints_VC: NDArray[np.float32], **more: object) -> dict[str, object]:
    """One person of AlphaPose's results."""
    return {
        "image_id": image, "category_id": 1, "keypoints": flat(joints_VC), "score": 2.9,
        "box": [1.0, 2.0, 3.0, 4.0], **more,
    }  # fmt: skip


def annotation(name: str, label: object = 8, **changed: Any) -> dict[str, Any]:
    """One annotation of pyskl's: a person on a picture, in half floats."""
    points = walk(4, 17)[None].astype(np.float16)
    plain: dict[str, Any] = {
        "frame_dir": name, "label": label, "img_shape": (1080, 1920), "original_shape": (1080, 1920),
        "total_frames": 4, "keypoint": points, "keypoint_score": np.full((1, 4, 17), 0.5, np.float16),
    }  # fmt: skip
    return {key: value for key, value in (plain | changed).items() if value is not None}


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def body_line(body: str = "72057594037931101") -> str:
    return f"{body} 0 1 1 1 1 0 0.01 -0.02 2"


def joint_line(x: float, y: float, z: float, state: int = 2) -> str:
    return f"{x} {y} {z} 276.1 208.2 1000.5 500.5 -0.2 0.1 0.9 0.05 {state}"


def skeleton_text(frames: Sequence[Sequence[tuple[str, NDArray[np.float32]]]]) -> str:
    """The lines of an NTU file: of each frame the bodies, with their ids and joints [25, 3]."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints_V3 in bodies:
            lines += [body_line(body), str(len(joints_V3))]
            lines += [joint_line(float(x), float(y), float(z)) for x, y, z in joints_V3]
    return "\n".join(lines) + "\n"
