"""Reads a plain `.npy` of movements: ST-GCN's [N, C, T, V, M], and one recording as [M, T, V, C] or [T, V, C]."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.archive import damage_told, read_header, refuse_objects
from gaitforge.ingest.bodies import find_walker, split_confidence, to_float32
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.ingest.ntu import read_name
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.pickled import PickledArray, open_pickle
from gaitforge.layout import METRES
from gaitforge.regular_file import open_regular

MOST_BODIES = 6  # as many as a depth camera follows; more are recordings
MOST_ALONE = (
    2  # bodies of one recording without an axis of recordings; more may as well be recordings
)
_MANY = "[N, C, T, V, M]"
_BODIES = "[M, T, V, C]"
_ONE = "[T, V, C]"


def parse_npy(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the walker of each recording of a file, in the file's unit and axes.

    Frames at the end that are 0 throughout are padding. Names and classes come from the pickle of both beside the file
    (`find_labels`), where there is one. Raises as `Parse` says.
    """
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        array = _open(path, file)
        order = _order_of(array.shape, options.confidence_channel, path)
        names, labels = _read_labels(path, array.shape[0]) if order == _MANY else ([], [])
        looked = False
        for number in range(array.shape[0] if order == _MANY else 1):
            if order == _MANY:
                numbers = array.read(number).transpose(3, 1, 2, 0)  # [C, T, V, M] to [M, T, V, C]
                seen = np.flatnonzero((numbers != 0).any(axis=(0, 2, 3)))
                numbers = numbers[:, : int(seen[-1]) + 1 if len(seen) else 0]
            else:
                numbers = array.read(None)
                numbers = numbers[None] if order == _ONE else numbers
            name = names[number].removesuffix(".skeleton") if names else ""
            told = read_name(name or path.stem)
            if not numbers.size:
                yield Unusable(reason="it holds nothing but zeros", id=name)
                continue
            if not (looked or options.unit in METRES) and options.confidence_channel is None:
                _refuse_scores(numbers, path)
            looked = True
            positions, confidence = split_confidence(numbers, options.confidence_channel, path)
            positions_TVC, confidence_TV = find_walker(positions, confidence)
            yield Motion(
                positions_TVC=positions_TVC,
                confidence_TV=confidence_TV,
                id=name,
                person=told.person,
                label=labels[number] if labels else told.label,
                columns=dict(told.columns),
            )


read_npy = MotionReader(parse_npy, several=True)


def find_labels(path: Path) -> Path:
    """Return where the pickle of names and classes of a file lies: beside walks_data.npy, walks_label.pkl."""
    return path.with_name(re.sub(r"_data(_joint)?$", "", path.stem) + "_label.pkl")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Array:
    """An array in a file of its own, whose header is as long as the file."""

    path: Path
    file: BufferedReader
    dtype: np.dtype[Any]
    columns_first: bool
    shape: tuple[int, ...]
    begin: int

    def read(self, number: int | None) -> NDArray[Any]:
        """Read one entry of the first axis, or all."""
        shape = self.shape if number is None else self.shape[1:]
        length = math.prod(shape) * self.dtype.itemsize
        data = os.pread(self.file.fileno(), length, self.begin + (number or 0) * length)
        if len(data) != length:
            raise ValueError(
                f"{self.path} is damaged (it ends too soon); fetch or write it again."
            )
        flat = np.frombuffer(data, self.dtype)
        return flat.reshape(shape, order="F" if self.columns_first else "C")


def _open(path: Path, file: BufferedReader) -> _Array:
    with damage_told(path):
        dtype, columns_first, shape, begin = read_header(file, path.name)
    refuse_objects(path, dtype)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(
            f"{path} is of type {dtype}, but positions must be numbers of at most 64 bits; convert it."
        )
    promised, size = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if begin + promised != size:
        raise ValueError(
            f"{path} is damaged (it should take {promised:,} bytes by its header, and takes {size - begin:,}); fetch "
            "or write it again."
        )
    if columns_first and len(shape) == 5:
        raise ValueError(
            f"{path} is written by columns, so that no recording lies in one piece; write it again with "
            "numpy.ascontiguousarray."
        )
    return _Array(
        path=path, file=file, dtype=dtype, columns_first=columns_first, shape=shape, begin=begin
    )


def _order_of(shape: tuple[int, ...], confidence: int | None, path: Path) -> str:
    """Return the order of an array's axes; raises ValueError where it is another, or may be several."""
    wide = (2, 3) if confidence is None else (3, 4)
    known = (
        f"{_MANY} of at most {MOST_BODIES} bodies, {_BODIES} of at most {MOST_ALONE}, and {_ONE}, each of 2 or 3 "
        "coordinates"
    )
    fits = {
        # a wide first axis stands for coordinates of axes the other way round
        _MANY: len(shape) == 5 and shape[1] in wide and 0 < shape[4] <= MOST_BODIES,
        "[N, M, T, V, C]": len(shape) == 5 and shape[4] in wide and 0 < shape[1] <= MOST_BODIES,
        _BODIES: len(shape) == 4 and shape[3] in wide and 0 < shape[0] <= MOST_BODIES,
        "[C, T, V, M]": len(shape) == 4 and shape[0] in wide and 0 < shape[3] <= MOST_BODIES,
        _ONE: len(shape) == 3 and shape[2] in wide,
        "[C, T, V]": len(shape) == 3 and shape[0] in wide,
    }
    # three bodies of two coordinates are in no set, and two bodies on pictures or in space are in most
    if shape[1:2] == (3,) and shape[4:] == (2,):
        fits["[N, M, T, V, C]"] = False
    if shape[:1] == (2,) and shape[3:] == (3,):
        fits["[C, T, V, M]"] = False
    found = [order for order, may in fits.items() if may]
    if len(shape) == 4 and shape[0] > MOST_ALONE and shape[3] in wide and found in ([_BODIES], []):
        raise ValueError(
            f"{path} has the shape {shape}, whose first axis may as well count {shape[0]:,} recordings as bodies of "
            f"one; save it as {_MANY}, or each recording in a file of its own."
        )
    if not math.prod(shape) or not found:
        raise ValueError(f"{path} has the shape {shape}, but known are {known}; transpose it.")
    if len(found) > 1 or found[0] not in (_MANY, _BODIES, _ONE):
        raise ValueError(
            f"{path} has the shape {shape}, which reads as {' or '.join(found)}, but known are {known}; transpose it, "
            "or save it as an .npz of the exchange format."
        )
    return found[0]


def _refuse_scores(numbers: NDArray[Any], path: Path) -> None:
    """Raise ValueError where joints [..., 3] are shares of an image about its middle with a score, as in Kinetics."""
    if numbers.shape[-1] != 3 or numbers.dtype.kind != "f":
        return
    flat = to_float32(numbers).reshape(-1, 3)
    flat = flat[np.isfinite(flat).all(axis=1) & (flat != 0).any(axis=1)]
    if not len(flat):
        return
    centred = bool((np.abs(flat[:, :2]) <= 0.5).all() and (flat[:, :2] < 0).any())
    if centred and flat[:, 2].min() >= 0 and 0 < flat[:, 2].max() <= 1:
        raise ValueError(
            f"{path} has a third number from 0 to 1 for each joint, and the others from -0.5 to 0.5, as where they are "
            "shares of an image with a score; say ingest.read.confidence_channel = 2, or, where it is a coordinate, "
            'tell its unit, such as ingest.read.unit = "m".'
        )


def _read_labels(path: Path, count: int) -> tuple[Sequence[str], Sequence[str]]:
    """Return names and classes of a file's recordings; none where there is no file of them."""
    labels = find_labels(path)
    if not labels.exists():
        return [], []
    with open_pickle(labels) as pickle:
        tree = pickle.tree
        told = tree[:2] if isinstance(tree, list | tuple) else ()
        lists = [
            pickle.load(part).tolist() if isinstance(part, PickledArray) else part for part in told
        ]
    match lists:
        case [list() | tuple() as names, list() | tuple() as classes] if (
            len(names) == len(classes) == count
            and all(type(name) is str for name in names)
            and all(type(number) in (int, str) for number in classes)
        ):
            return [name.strip() for name in names], [str(number) for number in classes]
    raise ValueError(
        f"{labels} must hold the names and the classes of the {count} recordings of {path.name}, as two lists; write "
        "it again, or move it away."
    )
