"""Recording: one movement of one person, and what a reader could not make one of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Value = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One movement of one person.

    `positions_TVC` float32 [T, V, C] with NaN for a missing joint (C = 2 or 3 coordinates, or
    forces). `confidence_TV` float32 [T, V] from 0 (missing) to 1 where the source has it.
    `fps` is None where the source has no frame rate (time-normalised strides).
    `columns` are the source's further columns, one value each.

    Raises ValueError where a reader must quarantine: wrong shape, infinities, nothing seen.
    """

    recording: str
    person: str
    label: str
    positions_TVC: NDArray[np.float32]
    confidence_TV: NDArray[np.float32] | None = None
    fps: float | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = self.positions_TVC
        if positions.ndim != 3 or positions.dtype != np.float32:
            raise ValueError(
                f"wrong shape: positions are {positions.dtype} of shape {positions.shape}, "
                "but must be float32 [T, V, C]"
            )
        if positions.shape[0] < 2:
            raise ValueError(
                f"too few frames: {positions.shape[0]}, but a movement needs at least 2"
            )
        if not np.isfinite(positions).all():  # as few are
            if np.isinf(positions).any():
                raise ValueError("positions hold infinities; a missing joint must be NaN")
            if np.isnan(positions).all():
                raise ValueError("every joint of every frame is missing")
        if self.confidence_TV is not None and self.confidence_TV.shape != positions.shape[:2]:
            raise ValueError(
                f"wrong shape: confidence has shape {self.confidence_TV.shape}, "
                f"but must be {positions.shape[:2]} like the positions"
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(
                f"impossible frame rate: {self.fps}, but it must be above 0 Hz and finite"
            )
        if not self.person or not self.label:
            raise ValueError("the person or the label is empty")

    def with_columns(self, columns: Mapping[str, Value]) -> Recording:
        """Return the recording with these further columns; its movement has been checked and is not checked again."""
        other = object.__new__(Recording)
        for name in self.__slots__:
            object.__setattr__(other, name, columns if name == "columns" else getattr(self, name))
        return other

    def seen_TV(self, min_confidence: float) -> NDArray[np.bool_]:
        """Return True where a joint has all its coordinates and at least `min_confidence`."""
        seen = np.ones(self.positions_TVC.shape[:2], dtype=np.bool_)
        # channel by channel, as any() over an axis of three takes ten times as long
        for channel in range(self.positions_TVC.shape[2]):
            seen &= ~np.isnan(self.positions_TVC[..., channel])
        if self.confidence_TV is not None:
            seen &= np.nan_to_num(self.confidence_TV) >= min_confidence
            seen &= np.nan_to_num(self.confidence_TV) > 0
        return seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """What a reader could not turn into a recording, for the quarantine.

    A `reason` is its kind and, behind a colon, what differs from recording to recording. `recording` is the id
    where the reader knows it.
    """

    source: str
    position: int
    person: str
    label: str
    reason: str
    recording: str = field(default="", compare=False)


def find_kind(reason: str) -> str:
    """Return the kind of a reason, which many recordings may share."""
    return reason.partition(":")[0]
