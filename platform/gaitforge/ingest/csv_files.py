"""Reads a CSV file by what its first lines show: Vicon Nexus, DeepLabCut, or any other table of joints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gaitforge.ingest.deeplabcut import is_deeplabcut, read_deeplabcut
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.table_files import open_csv, read_head
from gaitforge.ingest.tables import read_table
from gaitforge.ingest.vicon import is_vicon, read_vicon


def read_csv(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the movements of a CSV file; raises as `Parse` does."""
    head = read_head(path)
    if is_vicon(head):
        return read_vicon(head, options)
    if is_deeplabcut(head):
        return read_deeplabcut(head, options)
    return read_table(open_csv(head), options)
