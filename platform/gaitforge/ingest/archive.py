"""An .npz, looked at before anything in it is unpacked: names, types, shapes and sizes first, then what is asked for.

Nothing that the file tells of itself is believed: each array's header must agree with the size that the archive
gives, what is unpacked must be as long as that and have its checksum, and all arrays together are bounded by the size
of the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import ast
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.regular_file import open_regular

# A file of arrays may unpack to this many times its size, or to so many bytes: files of real movements become 1.1 to
# 1.6 times as large, and those made to fill the memory up to 1,030 times.
MOST_TIMES = 100
ALWAYS_BYTES = 32 * 2**20
# Far more arrays than a table of recordings has columns.
MOST_ARRAYS = 1_000

_DIRECTORY_BYTES = 4 * 2**20  # of the archive's list of members, about 100 for each
_HEADER_BYTES = 10_000  # of an array's header; numpy's own limit
_CHUNK_BYTES = 2**20
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {
    1: 2,
    2: 4,
}  # of a header's length, by the format's version; the third is for names of fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What an array's header tells, with where its bytes lie."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns_first: bool
    begin: int
    """Bytes of the member before the array's own."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Archive:
    """An open .npz and the headers of its arrays, by name."""

    path: Path
    zipped: zipfile.ZipFile
    headers: Mapping[str, Header]

    def load(self, name: str) -> NDArray[Any]:
        """Unpack one array; raises ValueError where it is damaged."""
        header = self.headers[name]
        with damage_told(self.path):
            data = np.empty(header.nbytes, np.uint8)
            with self.zipped.open(header.member) as member:
                _read(member, header.begin)
                filled = 0
                while filled < len(data):
                    chunk = _read(member, min(_CHUNK_BYTES, len(data) - filled))
                    data[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
                    filled += len(chunk)
        array = data.view(header.dtype).reshape(
            header.shape, order="F" if header.columns_first else "C"
        )
        if header.dtype.kind == "U" and _is_no_text(array):
            raise ValueError(f"{self.path} has text in '{name}' that is none; write it again.")
        return array


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an .npz and read its headers.

    Raises FileNotFoundError, PermissionError or ValueError, which names the path, for a file that is none, is damaged,
    or would unpack to more than a file of its size can be meant to hold.
    """
    file = open_regular(path, "The recordings file", "mend its path in the settings")
    with _Bounded(file.detach()) as bounded:
        if not zipfile.is_zipfile(bounded):
            raise ValueError(
                f"{path} is not an .npz archive; write it with numpy.savez_compressed."
            )
        with damage_told(path):
            zipped = zipfile.ZipFile(bounded)
        with zipped:
            yield Archive(path, zipped, _headers(path, zipped, path.stat().st_size))


class _Bounded(BufferedReader):
    """A file of which nobody reads very much at once, as `zipfile` would a list of members of any length."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise ValueError(f"its list of members takes {size:,} bytes")
        return super().read(size)


def _headers(path: Path, zipped: zipfile.ZipFile, file_bytes: int) -> dict[str, Header]:
    members = zipped.infolist()
    if len(members) > MOST_ARRAYS:
        raise ValueError(
            f"{path} holds {len(members):,} arrays, but may hold at most {MOST_ARRAYS:,}; leave out what is neither "
            "frames, offsets nor one value for each recording."
        )
    headers: dict[str, Header] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ValueError(
                f"{path} holds '{name}', which is no array; write it with numpy.savez_compressed."
            )
        if name in headers:
            raise ValueError(f"{path} holds '{name}' twice; write it again.")
        headers[name] = _header(path, zipped, member, name)
    unpacked = sum(header.nbytes for header in headers.values())
    most = max(MOST_TIMES * file_bytes, ALWAYS_BYTES)
    if unpacked > most:
        raise ValueError(
            f"{path} has {file_bytes:,} bytes and would unpack to {unpacked:,}, but a file of movements unpacks to at "
            f"most {MOST_TIMES} times its size; fetch it again, or write it with numpy.savez, uncompressed."
        )
    return headers


def _header(path: Path, zipped: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Header:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{path} holds '{name}' in a compression that numpy does not write; write it with "
            "numpy.savez_compressed."
        )
    with damage_told(path), zipped.open(member) as content:
        told = read_header(content, name)
    dtype, columns_first, shape, begin = told
    refuse_objects(path, dtype)
    header = Header(
        member=member, dtype=dtype, columns_first=columns_first, shape=shape, begin=begin
    )
    if header.begin + header.nbytes != member.file_size:
        raise ValueError(
            f"{path} is damaged ('{name}' should take {header.nbytes:,} bytes by its header, and takes "
            f"{member.file_size - header.begin:,}); fetch or write it again."
        )
    return header


def read_header(content: Any, name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Read an array's header: its type, whether columns come first, its shape, and how many bytes the header takes.

    Raises what `damage_told` knows.
    """
    start = _read(content, 8)
    width = _LENGTH_BYTES.get(start[6])
    if start[:6] != _MAGIC or width is None:
        raise ValueError(f"'{name}' does not begin as an array does")
    length = int.from_bytes(_read(content, width), "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"the header of '{name}' takes {length:,} bytes")
    told = _told(_read(content, length).decode("latin1"), name)
    return *told, 8 + width + length


def refuse_objects(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise ValueError for an array of Python objects."""
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects, which are never loaded; save its arrays as plain "
            "numbers or text."
        )


def _told(text: str, name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Return type, order and shape that a header tells; raises what `damage_told` knows."""
    try:
        # Python 2 wrote 72L for a long number
        told = ast.literal_eval(re.sub(r"(?<=\d)L\b", "", text).strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"the header of '{name}' cannot be read") from error
    if not isinstance(told, dict) or set(told) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"the header of '{name}' is of another kind")
    kind, columns_first, shape = told["descr"], told["fortran_order"], told["shape"]
    if not isinstance(kind, str) or "," in kind:
        raise ValueError(f"'{name}' has columns of its own, but must be plain numbers or text")
    if (
        not isinstance(columns_first, bool)
        or not isinstance(shape, tuple)
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise ValueError(f"the header of '{name}' gives the shape {shape!r}")
    dtype = np.dtype(kind)
    if dtype.itemsize == 0 or dtype.subdtype is not None or dtype.names is not None:
        raise ValueError(f"'{name}' is of type '{kind}'")
    return dtype, columns_first, shape


def _read(content: Any, size: int) -> bytes:
    """Read bytes of a member; raises EOFError where they are fewer."""
    data = bytearray()
    while len(data) < size:
        more = content.read(size - len(data))
        if not more:
            raise EOFError("it ends too soon")
        data += more
    return bytes(data)


def _is_no_text(array: NDArray[Any]) -> bool:
    """Tell whether text holds numbers that are no characters."""
    codes = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
    return bool(codes.size and codes.max() > 0x10FFFF)


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what zipfile, zlib and the parser of a header raise into one sentence that names the file."""
    try:
        yield
    # RuntimeError: zipfile takes flipped bits for encryption or an unknown compression;
    # OverflowError: a place in the file of more than 63 bits; SyntaxError, TypeError, MemoryError: of a type or shape
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        OverflowError,
        SyntaxError,
        TypeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}); fetch or write it again.") from error
