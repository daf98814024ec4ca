"""Reads the annotations of pyskl and MMAction2: a pickle of dictionaries, each with the key points of a movement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gaitforge.ingest.bodies import find_walker, split_confidence, to_float32
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.ingest.ntu import read_name
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.pickled import Pickle, PickledArray, open_pickle
from gaitforge.sentences import one_line

MOST_BODIES = 64


def parse_pyskl(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the walker of each annotation: [M, T, V, C], 2 coordinates in pixels with y down, 3 as they are.

    An id is the `frame_dir`, a class the number of `label`; a name as NTU's tells the person. Raises as `Parse` says.
    """
    with open_pickle(path) as pickle:
        tree = pickle.tree
        annotations = tree.get("annotations") if isinstance(tree, dict) else tree
        if not isinstance(annotations, list | tuple):
            raise ValueError(
                f"{path} holds {_kind(annotations)} where a list of annotations must be, or a dictionary with "
                "'annotations'; save it as pyskl and MMAction2 do."
            )
        for annotation in annotations:
            yield _read(pickle, annotation, options)


read_pyskl = MotionReader(parse_pyskl, several=True)


def _read(pickle: Pickle, annotation: object, options: ReadOptions) -> Motion | Unusable:
    if not isinstance(annotation, dict):
        return Unusable(reason=f"it is no annotation: {_kind(annotation)}")
    told: Mapping[object, object] = annotation
    name = told.get("frame_dir")
    id_ = name.strip() if isinstance(name, str) else ""
    points, scores = told.get("keypoint"), told.get("keypoint_score")
    if not isinstance(points, PickledArray):
        return Unusable(reason=f"it has no array 'keypoint': {_kind(points)}", id=id_)
    shape = points.shape if len(points.shape) != 3 else (1, *points.shape)
    fault = _fault_of(shape, scores)
    if fault:
        return Unusable(reason=fault, id=id_)
    length, channels = shape[1], shape[3]
    channel = options.confidence_channel
    if isinstance(scores, PickledArray):
        channel = None
    elif channel is None and channels == 3 and "img_shape" in told:
        raise ValueError(
            f"{pickle.path} has three numbers for a joint of a picture ('{one_line(id_[:80])}') and no "
            "'keypoint_score'; where the third is the confidence, say ingest.read.confidence_channel = 2, and where it "
            "is a coordinate, leave 'img_shape' out."
        )
    total, label = told.get("total_frames", length), told.get("label")
    if type(total) is not int or not 0 < total <= length:
        return Unusable(
            reason=f"its frames are not those that total_frames tells: {length}", id=id_
        )
    if type(label) not in (int, str) and label is not None:
        return Unusable(reason=f"its label is no class: {_kind(label)}", id=id_)
    positions, confidence = split_confidence(
        pickle.load(points).reshape(shape)[:, :total], channel, pickle.path
    )
    if isinstance(scores, PickledArray):
        confidence = to_float32(pickle.load(scores).reshape(shape[:3])[:, :total])
    if positions.shape[3] not in (2, 3):
        return Unusable(reason=f"it has {positions.shape[3]} coordinates", id=id_)
    on_picture = positions.shape[3] == 2
    positions_TVC, confidence_TV = find_walker(positions, confidence)
    named = read_name(id_)
    return Motion(
        positions_TVC=positions_TVC,
        confidence_TV=confidence_TV,
        unit="px" if on_picture else "",
        up="-y" if on_picture else "",
        id=id_,
        person=named.person,
        label="" if label is None else str(label),
        columns=dict(named.columns),
    )


def _fault_of(shape: tuple[int, ...], scores: object) -> str:
    """Return why key points of a shape [M, T, V, C], with their scores, are none; "" where they are."""
    if len(shape) != 4 or not all(shape):
        return f"wrong shape: 'keypoint' is {shape}, but must be [M, T, V, C]"
    if shape[0] > MOST_BODIES:
        return f"wrong shape: 'keypoint' is of {shape[0]} bodies, but may be of {MOST_BODIES}"
    if isinstance(scores, PickledArray):
        own = scores.shape if len(scores.shape) != 2 else (1, *scores.shape)
        if own != shape[:3]:
            return f"wrong shape: 'keypoint_score' is {scores.shape}, but 'keypoint' is {shape}"
    elif scores is not None:
        return f"'keypoint_score' is no array: {_kind(scores)}"
    return ""


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__.strip("_")
