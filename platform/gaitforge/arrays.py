"""Arrays of NumPy files, each held against the head that tells of it: its hash, its type, its shape."""

from __future__ import annotations

import errno
import os
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from gaitforge.weights import hash_file
from gaitforge.work import on_s3

# what NumPy raises for headers that somebody has made up
_MADE_UP = (
    ValueError, OSError, EOFError, TypeError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


class Damaged(ValueError):
    """The error for an array that is not what it must be; its text is how a sentence begins."""


def map_array(
    path: Path, dtype: DTypeLike, shape: Sequence[int | None], *, whole: bool = False
) -> NDArray[Any]:
    """Map a file's array, or load the `whole` of it; raises Damaged unless it is of that type and shape.

    None in a shape stands for any size.
    """
    if not path.is_file():
        raise Damaged(f"{path} is not there")
    try:
        array = np.load(path, mmap_mode=None if whole else "r", allow_pickle=False)
    except _MADE_UP as error:
        raise Damaged(f"{path} cannot be read as an array ({error})") from error
    if not isinstance(array, np.ndarray):
        raise Damaged(f"{path} holds no array")
    sizes = zip(array.shape, shape, strict=False)
    fits = array.ndim == len(shape) and all(want in (None, size) for size, want in sizes)
    if array.dtype != np.dtype(dtype) or not fits:
        told = ", ".join("any" if size is None else str(size) for size in shape)
        raise Damaged(
            f"{path} holds {array.dtype} of shape {list(array.shape)}, but must hold {np.dtype(dtype)} of [{told}]"
        )
    return array


def check_array(
    path: Path, sha256: str | None, dtype: DTypeLike, shape: Sequence[int | None]
) -> None:
    """Raise Damaged where a file's array is not the one of that hash, type and shape.

    On S3 the hash alone is looked at.
    """
    if not path.is_file():
        raise Damaged(f"{path} is not there")
    if hash_file(path) != sha256:
        raise Damaged(f"{path} holds another array than the file beside it tells of")
    if not on_s3(path):
        map_array(path, dtype, shape)


def new_array(path: Path, kind: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Return a file as an array to be written, its room on the disk taken: else a full disk would kill the process."""
    array: np.memmap[Any, Any] = open_memmap(path, "w+", kind, shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # it is not known there
                    raise
    return array
