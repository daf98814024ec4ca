"""Arrays of bodies, as public sets hold them: the walker's numbers, with what stands for "not there" made missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.ingest.tracking import keep_walker


def to_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32; a double beyond those becomes infinite, which Recording refuses with its reason."""
    with np.errstate(over="ignore", invalid="ignore"):
        own = numbers.astype(np.float32)
    own[np.isnan(own)] = np.nan  # of the kind that may be computed with
    return own


def split_confidence(
    numbers: NDArray[Any], channel: int | None, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return coordinates [..., C] and confidence [...] of numbers whose last axis holds both.

    Raises ValueError where there is no such channel.
    """
    positions = to_float32(numbers)
    if channel is None:
        return positions, None
    if channel >= numbers.shape[-1]:
        raise ValueError(
            f"{path} has {numbers.shape[-1]} channels, so there is no confidence channel {channel}; give an index from "
            f"0 to {numbers.shape[-1] - 1} or leave it out."
        )
    return np.delete(positions, channel, axis=-1), positions[..., channel].copy()


def find_walker(
    positions_MTVC: NDArray[np.float32], confidence_MTV: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return positions [T, V, C] and confidence [T, V] of the walker among bodies.

    Missing is a joint without confidence, a body all of whose coordinates are 0 in a frame, and on pictures (two
    coordinates) a joint at 0, 0. A confidence beyond 1 is 1. Bodies in space are each one person throughout, as
    depth cameras follow them, and all one where no frame shows two; those on pictures are in any order in each frame,
    and are followed.
    """
    flat = positions_MTVC.shape[3] == 2
    zero = (positions_MTVC == 0).all(axis=3)
    missing = zero if flat else zero & zero.all(axis=2, keepdims=True)
    if confidence_MTV is not None:
        confidence_MTV = np.clip(confidence_MTV, 0, 1)
        missing = missing | ~(confidence_MTV > 0)
        confidence_MTV = np.where(missing, np.float32(0), confidence_MTV)
    seen = np.where(missing[..., None], np.float32(np.nan), positions_MTVC)
    return keep_walker(seen, confidence_MTV, believed=not flat)
