"""Which Parquet encoding the store's positions should have: size and speed on real skeletons.

Prints sizes as a share of the raw float32 bytes, and speeds of writing and reading (with checksums
verified, one row group per person) as a share of the speed of copying those bytes in memory. Both
are ratios within one run, so that they mean something on a busy machine.

    python benchmarks/store_encodings.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import read_layout
from gaitforge.recording import Recording

DATA = Path(__file__).parents[2] / "shared" / "data"
NAME = "ui_prmd_kinect"
REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """One way to write a recording's positions.

    `order` is the order of the axes T, V, C of positions_TVC in the list.
    """

    name: str
    level: int | None = None  # of zstd; None: not compressed
    byte_split: bool = False
    half: bool = False
    order: tuple[int, int, int] = (0, 1, 2)


ENCODINGS = (
    Encoding(name="plain"),
    Encoding(name="zstd 3", level=3),
    Encoding(name="byte split + zstd 1", level=1, byte_split=True),
    Encoding(name="byte split + zstd 3 (the store)", level=3, byte_split=True),
    Encoding(name="byte split + zstd 9", level=9, byte_split=True),
    Encoding(name="byte split + zstd 3, [V, C, T]", level=3, byte_split=True, order=(1, 2, 0)),
    Encoding(name="half, plain", half=True),
    Encoding(name="half, zstd 3", level=3, half=True),
    Encoding(name="half, byte split + zstd 3", level=3, byte_split=True, half=True),
)


def main() -> None:
    if not DATA.is_dir():
        print(f"Skipped: the real data are not at {DATA}.")
        return
    layout = read_layout(str(DATA / f"{NAME}.layout.toml"))
    items = list(read_files([DATA / f"{NAME}.npz"], layout, ReadOptions()))
    recordings = [item for item in items if isinstance(item, Recording)]
    recordings.sort(key=lambda recording: recording.person)
    people = [list(group) for _, group in groupby(recordings, key=lambda item: item.person)]
    raw = np.concatenate([recording.positions_TVC.ravel() for recording in recordings])
    target = np.empty_like(raw)
    copying_s = best_time(lambda: np.copyto(target, raw))
    print(f"{NAME}: {len(recordings)} recordings, {raw.nbytes / 1e6:.1f} MB, {len(people)} people")
    print(f"{'encoding':34}{'size':>8}{'write':>8}{'read':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for encoding in ENCODINGS:
            path = Path(folder) / "positions.parquet"
            groups = [as_table(group, encoding) for group in people]
            writing_s = best_time(lambda: write(path, groups, encoding))  # noqa: B023
            reading_s = best_time(lambda: read(path))  # noqa: B023
            size = path.stat().st_size / raw.nbytes
            speeds = f"{copying_s / writing_s:8.3f}{copying_s / reading_s:8.3f}"
            print(f"{encoding.name:34}{size:8.3f}{speeds}")
    lost = np.nanmax(np.abs(raw.astype(np.float16).astype(np.float32) - raw))
    print(f"Half floats move a coordinate by up to {lost * 1000:.2f} mm; the others lose nothing.")


def best_time(work: Callable[[], None]) -> float:
    """Seconds of the fastest of some repeats: the one that others disturbed least."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def as_table(recordings: Sequence[Recording], encoding: Encoding) -> pa.Table:
    flat: list[NDArray[np.floating]] = [
        recording.positions_TVC.transpose(encoding.order).ravel() for recording in recordings
    ]
    bounds = pa.array(np.cumsum([0, *map(len, flat)], dtype=np.int32), pa.int32())
    values = np.concatenate(flat).astype(np.float16 if encoding.half else np.float32)
    return pa.table({"positions": pa.ListArray.from_arrays(bounds, pa.array(values))})


def write(path: Path, groups: Sequence[pa.Table], encoding: Encoding) -> None:
    with pq.ParquetWriter(
        path,
        groups[0].schema,
        compression="none" if encoding.level is None else "zstd",
        compression_level=encoding.level,
        use_dictionary=False,
        write_statistics=False,
        column_encoding={
            "positions.list.element": "BYTE_STREAM_SPLIT" if encoding.byte_split else "PLAIN"
        },
        write_page_checksum=True,
    ) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=len(group))


def read(path: Path) -> None:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            file.read_row_group(group, use_threads=False)


if __name__ == "__main__":
    main()
