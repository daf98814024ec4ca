"""Reads the exchange format: one .npz of plain arrays, recordings laid end to end.

`frames` float [all frames, V, C]; `offsets` int [recordings + 1], recording i being
frames[offsets[i]:offsets[i + 1]]; `subject` and `label`, and any further column, one entry per
recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.archive import Header, open_archive
from gaitforge.ingest.cleaning import MOST_CONFIDENCE
from gaitforge.ingest.motion import UNKNOWN, bring_to, scale_shares
from gaitforge.ingest.options import ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected, Value
from gaitforge.regular_file import spell_name

FIXED = ("frames", "offsets")


def read_npz(
    path: Path,
    layout: Layout,
    options: ReadOptions,
    *,
    labelled: bool = True,
    name: str | None = None,
) -> Iterator[Recording | Rejected]:
    """Yield the recordings of one file in its order, each as a Recording or, if unusable, as Rejected.

    A recording's id is its `clip_id` where the file has one for each, else "<name>-<position>"
    with the file's own name by default. Persons and classes are text or whole numbers, and are
    stripped of spaces. Arrays that serve as neither become columns, with
    null for NaN; a `label` array that is not the class, or was renamed, is kept as `file_label`.
    Where not `labelled`, the file need not tell classes and persons: all are "unknown".

    Raises FileNotFoundError, or ValueError for a fault of the file as a whole, on the call itself:
    nothing has been yielded by then.
    """
    with open_archive(path) as archive:
        headers = archive.headers
        _check_names(path, headers, options if labelled else None)
        _check_frames(path, headers["frames"], layout, options.confidence_channel)
        total = headers["frames"].shape[0]
        _check_offsets(path, headers["offsets"], total)
        offsets = _offsets(path, archive.load("offsets"), total)
        count = len(offsets) - 1
        if labelled:
            _check_type(path, options.person, headers[options.person], "persons")
            _check_type(path, options.label, headers[options.label], "classes")
        others = [key for key in headers if key not in FIXED]
        for key in others:
            _check_column(path, key, headers[key], count)
        arrays = {key: archive.load(key) for key in others}
        frames_TVC = archive.load("frames")
    if options.confidence_channel is not None:
        _check_confidence(path, frames_TVC[:, :, options.confidence_channel])
    if labelled:
        _check_text(path, options.person, arrays[options.person], "persons")
        _check_text(path, options.label, arrays[options.label], "classes")
    columns = {key: _column(array) for key, array in arrays.items()}
    rates = _take_rates(path, columns, layout, options, count)
    persons = labels = [UNKNOWN] * count
    if labelled:
        persons = _as_text(columns.pop(options.person))
        labels = [options.rename(label) for label in _as_text(columns[options.label])]
    contents = _Contents(
        source=spell_name(path),
        frames_TVC=frames_TVC,
        offsets=offsets,
        ids=_take_ids(columns, path.stem if name is None else name, count),
        persons=persons,
        labels=labels,
        columns=_drop_class(columns, options),
        confidence_channel=options.confidence_channel,
        fps=rates,
        image=options.image,
        layout=layout,
        unit=options.unit,
        up=options.up,
    )
    return (contents.item(i) for i in range(len(contents.ids)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Contents:
    """A checked file: what one recording is cut from."""

    source: str
    frames_TVC: NDArray[np.floating[Any]]
    offsets: list[int]
    ids: list[str]
    persons: list[str]
    labels: list[str]
    columns: dict[str, list[Value]]
    confidence_channel: int | None
    fps: list[float | None]
    image: tuple[int, int] | None
    layout: Layout
    unit: str
    up: str

    def item(self, i: int) -> Recording | Rejected:
        frames = self.frames_TVC[self.offsets[i] : self.offsets[i + 1]]
        # a double beyond float32 becomes infinite, which Recording then refuses with its reason
        with np.errstate(over="ignore", invalid="ignore"):
            # a copy: a view would keep the whole file in memory
            positions = np.array(frames, dtype=np.float32)
        confidence = None
        if self.confidence_channel is not None:
            confidence = positions[:, :, self.confidence_channel].copy()
            positions = np.delete(positions, self.confidence_channel, axis=2)
        if self.image is not None:
            positions = scale_shares(positions, self.image)
        positions = bring_to(self.layout, positions, self.unit, self.up)
        try:
            return Recording(
                recording=self.ids[i],
                person=self.persons[i],
                label=self.labels[i],
                positions_TVC=positions,
                confidence_TV=confidence,
                fps=self.fps[i],
                columns={name: values[i] for name, values in self.columns.items()},
            )
        except ValueError as error:
            return Rejected(
                source=self.source,
                position=i,
                person=self.persons[i],
                label=self.labels[i],
                reason=str(error),
                recording=self.ids[i],
            )


def _check_names(path: Path, arrays: Mapping[str, object], options: ReadOptions | None) -> None:
    """Raise ValueError where an array is missing; without options, class and person may be."""
    if options and (taken := {options.person, options.label} & set(FIXED)):
        raise ValueError(
            f"ingest.read names the array '{min(taken)}' of {path} as class or person, but it holds the recordings' "
            "numbers; name another."
        )
    for name in (*FIXED, options.person, options.label) if options else FIXED:
        if name not in arrays:
            remedy = (
                "" if name in FIXED else ", or name the arrays of class and person in ingest.read"
            )
            raise ValueError(
                f"{path} has no array '{name}' (it has {', '.join(sorted(arrays)) or 'none'}); "
                f"add it{remedy}."
            )


def _check_frames(
    path: Path, frames: Header, layout: Layout, confidence_channel: int | None
) -> None:
    if len(frames.shape) != 3:
        raise ValueError(
            f"{path} has frames of shape {frames.shape}, but they must be "
            "[all frames, joints, channels]; reshape them."
        )
    if frames.dtype.kind != "f":
        raise ValueError(
            f"{path} has frames of type {frames.dtype}, but they must be floating point, "
            "with NaN for a missing joint; convert them."
        )
    joints, channels = frames.shape[1:]
    if joints != layout.joint_count:
        raise ValueError(
            f"{path} has {joints} joints, but the layout '{layout.name}' has "
            f"{layout.joint_count}; choose the layout that the file was recorded with."
        )
    coordinates = channels
    if confidence_channel is not None:
        coordinates -= 1
        if confidence_channel >= channels:
            raise ValueError(
                f"{path} has {channels} channels, so there is no confidence channel "
                f"{confidence_channel}; give an index from 0 to {channels - 1} or leave it out."
            )
    # without an up axis channels may be any measurements (forces, say), else a point in space
    least = 1 if layout.up_axis is None else max(2, layout.up_axis + 1)
    most = channels if layout.up_axis is None else 3
    if not least <= coordinates <= most:
        raise ValueError(
            f"{path} has {coordinates} coordinates per joint, but the layout '{layout.name}' with "
            f"up = '{layout.up}' needs {least} to {max(least, most)}; "
            "set confidence_channel if one of the channels is a confidence."
        )


def _check_confidence(path: Path, confidence_TV: NDArray[Any]) -> None:
    # NaN compares as False: no confidence is allowed
    if (confidence_TV < 0).any() or (confidence_TV > MOST_CONFIDENCE).any():
        raise ValueError(
            f"{path} has a confidence from {np.nanmin(confidence_TV):g} to "
            f"{np.nanmax(confidence_TV):g}, but it must lie between 0 and 1; rescale it."
        )


def _check_offsets(path: Path, offsets: Header, total: int) -> None:
    if len(offsets.shape) != 1 or offsets.dtype.kind not in "iu" or offsets.shape[0] < 2:
        raise ValueError(
            f"{path} has offsets of type {offsets.dtype} and shape {offsets.shape}, but they must "
            "be whole numbers, one more than there are recordings; write them again."
        )
    # fewer frames than recordings: most would be empty, and each takes room as it is refused
    if offsets.shape[0] > total + 2:
        raise ValueError(
            f"{path} has {offsets.shape[0] - 1:,} recordings by its offsets, but {total:,} frames; write them again."
        )


def _offsets(path: Path, offsets: NDArray[Any], total: int) -> list[int]:
    bounds: list[int] = offsets.tolist()
    fault = None
    if bounds[0] != 0:
        fault = f"start at {bounds[0]} instead of 0"
    elif any(end < start for start, end in pairwise(bounds)):
        fault = "run backward"
    elif bounds[-1] > total:
        fault = f"end at {bounds[-1]}, beyond the {total} frames"
    elif bounds[-1] < total:
        fault = f"end at {bounds[-1]} and leave frames {bounds[-1]} to {total - 1} to no recording"
    if fault:
        raise ValueError(
            f"{path} has offsets that {fault}; write them from 0 to {total}, never stepping back."
        )
    return bounds


def _check_type(path: Path, name: str, header: Header, what: str) -> None:
    """Raise ValueError unless the names of persons or classes are text or whole numbers."""
    # True and False may be classes, but nobody's id
    if header.dtype.kind not in ("USiub" if what == "classes" else "USiu"):
        raise ValueError(
            f"{path} has {what} of type {header.dtype} in '{name}', but they must be text or whole "
            "numbers, since 1 and 1.0 would be two; save them as integers or as text."
        )


def _check_text(path: Path, name: str, array: NDArray[Any], what: str) -> None:
    """Raise ValueError unless the names of persons or classes that are text can be written as UTF-8."""
    for position, value in enumerate(array.tolist() if array.dtype.kind in "SU" else ()):
        try:
            value.decode() if isinstance(value, bytes) else value.encode()
        except UnicodeError:
            raise ValueError(
                f"{path} has {value!a} at position {position} of '{name}', which is no UTF-8 text; "
                f"decode the names of {what} in the encoding that they were written in, and save text."
            ) from None


def _check_column(path: Path, name: str, header: Header, count: int) -> None:
    if header.shape != (count,):
        raise ValueError(
            f"{path} has {count} recordings by its offsets, but '{name}' has shape {header.shape}; "
            "give it one entry per recording or leave it out."
        )
    if header.dtype.kind not in "UiuSbf":
        raise ValueError(
            f"{path} has the column '{name}' of type {header.dtype}, but a column must be text "
            "or real numbers; convert it or leave it out."
        )


def _column(array: NDArray[Any]) -> list[Value]:
    """Return one Python value per recording: text, whole number, number, or None for NaN."""
    match array.dtype.kind:
        case "U":
            # half a character stands for a byte that nobody could decode
            return [str(value).encode("utf-8", "replace").decode() for value in array.tolist()]
        case "S":
            return [value.decode("utf-8", "replace") for value in array.tolist()]
        case "f":
            return [None if math.isnan(value) else value for value in _as_doubles(array)]
        case "b":
            return [int(value) for value in array.tolist()]
        case _:
            whole: list[Value] = array.tolist()
            return whole


def _as_doubles(array: NDArray[Any]) -> list[float]:
    with np.errstate(over="ignore", invalid="ignore"):
        doubles: list[float] = array.astype(np.float64).tolist()
    return doubles


def _take_ids(columns: dict[str, list[Value]], name: str, count: int) -> list[str]:
    """Take the recordings' ids out of the columns; a `clip_id` that serves as id is no longer one."""
    values = columns.get("clip_id", [])
    clips = _as_text(values)
    whole = not any(isinstance(value, float) for value in values)
    if clips and whole and all(clips) and len(set(clips)) == count:
        del columns["clip_id"]
        return clips
    return [f"{name}-{i:05d}" for i in range(count)]


def _take_rates(
    path: Path,
    columns: dict[str, list[Value]],
    layout: Layout,
    options: ReadOptions,
    count: int,
) -> list[float | None]:
    """Take the frame rates out of the columns: the settings' go before the file's, and these before the layout's."""
    own = columns.pop("fps", [None] * count)
    if options.fps is not None:
        return [options.fps] * count
    if any(isinstance(rate, str) for rate in own):
        raise ValueError(
            f"{path} has text in 'fps', but these must be the recordings' frame rates in Hz; save numbers, or give the "
            "array another name."
        )
    return [layout.fps if rate is None else float(rate) for rate in own]


def _as_text(values: list[Value]) -> list[str]:
    return ["" if value is None else str(value).strip() for value in values]


def _drop_class(columns: dict[str, list[Value]], options: ReadOptions) -> dict[str, list[Value]]:
    """Return the columns without an unchanged class.

    A `label` array becomes `file_label`, since `label` is the class that was chosen.
    """
    return {
        "file_label" if name == "label" else name: values
        for name, values in columns.items()
        if name != options.label or options.relabel
    }
