"""C3D files made by hand, byte for byte as the format's manual has them, to hold readers against."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
INTEL, DEC = 84, 85
Texts = Sequence[str]


def write_c3d(
    path: Path,
    labels: Texts,
    positions_TVC: NDArray[np.float64],
    residuals_TV: NDArray[np.float64] | None = None,
    *,
    rate: float = 50.0,
    scale: float = -1.0,
    processor: int = INTEL,
    texts: Mapping[str, Mapping[str, Texts]] | None = None,
    words: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Path:
    """Write points; with a `scale` above 0 as integers of that unit, else as floats.

    `texts` and `words`, of 16 bits, are further parameters by group: {"POINT": {"UNITS": ["mm"]}}.
    """
    frames, points = positions_TVC.shape[:2]
    residuals = np.zeros((frames, points)) if residuals_TV is None else residuals_TV
    groups: dict[str, dict[str, bytes]] = {
        "POINT": {
            "USED": _numbers(processor, "h", points),
            "FRAMES": _numbers(processor, "h", frames if frames < 32_768 else -1),
            "SCALE": _numbers(processor, "f", scale),
            "RATE": _numbers(processor, "f", rate),
            "DATA_START": _numbers(processor, "h", 0),  # its place is known below
            "LABELS": _texts(labels),
        },
        "ANALOG": {"USED": _numbers(processor, "h", 0)},
    }
    for group, parameters in (texts or {}).items():
        groups.setdefault(group, {}).update({name: _texts(t) for name, t in parameters.items()})
    for group, lists in (words or {}).items():
        groups.setdefault(group, {}).update({name: _words(w) for name, w in lists.items()})
    blocks = -(-len(_section(groups)) // BLOCK)
    groups["POINT"]["DATA_START"] = _numbers(processor, "h", 2 + blocks)
    section = bytearray(_section(groups).ljust(blocks * BLOCK, b"\0"))
    section[:4] = bytes([1, 0x50, blocks, processor])
    header = (
        struct.pack("<5H", points, 0, 1, min(frames, 65_535), 10)
        + _float(processor, scale)
        + struct.pack("<2H", 2 + blocks, 0)
        + _float(processor, rate)
    )
    data = np.concatenate([positions_TVC, residuals[:, :, None]], axis=2)
    if scale > 0:
        data[:, :, :3] = np.rint(data[:, :, :3] / scale)
    if scale > 0:
        body = data.astype("<i2").tobytes()
    else:
        body = b"".join(_float(processor, value) for value in data.ravel().tolist())
    path.write_bytes((bytes([2, 0x50]) + header).ljust(BLOCK, b"\0") + section + body)
    return path


def _float(processor: int, value: float) -> bytes:
    """DEC's floats are four times as large as Intel's of the same bits, and have their halves changed over."""
    if processor == INTEL:
        return struct.pack("<f", value)
    bits = struct.pack("<f", value * 4)
    return bits[2:] + bits[:2]


def _section(groups: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """All groups with their parameters: name lengths, numbers, offsets to the next, contents."""
    section = b"\0" * 4
    for number, (group, parameters) in enumerate(groups.items(), start=1):
        section += _entry(-number, group, b"")
        for name, content in parameters.items():
            section += _entry(number, name, content)
    return section + b"\0\0"


def _entry(number: int, name: str, content: bytes) -> bytes:
    body = content + b"\0"  # no description
    return (
        struct.pack("bb", len(name), number)
        + name.encode()
        + struct.pack("<h", len(body) + 2)
        + body
    )


def _numbers(processor: int, kind: str, value: float) -> bytes:
    if kind == "h":
        return struct.pack("<bBh", 2, 0, int(value))
    return struct.pack("<bB", 4, 0) + _float(processor, value)


def _words(words: Sequence[int]) -> bytes:
    return struct.pack("<bBB", 2, 1, len(words)) + struct.pack(f"<{len(words)}H", *words)


def _texts(texts: Texts) -> bytes:
    width = max(map(len, texts), default=0)
    joined = b"".join(text.ljust(width).encode("latin-1") for text in texts)
    return struct.pack("bBBB", -1, 2, width, len(texts)) + joined
