"""READERS: one reader per file format; a new one is a new file here and a line in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gaitforge.ingest.npz import ReadOptions, read_npz
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected

__all__ = ["READERS", "ReadOptions", "Reader", "read_files"]


class Reader(Protocol):
    """Gives one item per recording, in the file's order.

    Raises ValueError or FileNotFoundError before the first item where the file as a whole is at
    fault. Where not `labelled`, a file without classes and persons is none: they are "unknown".
    """

    def __call__(
        self, path: Path, layout: Layout, options: ReadOptions, *, labelled: bool = True
    ) -> Iterator[Recording | Rejected]: ...


READERS: dict[str, Reader] = {
    ".npz": read_npz,
}


def read_files(
    paths: Sequence[Path], layout: Layout, options: ReadOptions, *, labelled: bool = True
) -> Iterator[Recording | Rejected]:
    """The recordings of all files; an id that occurred before makes its recording a Rejected.

    New recordings, which nobody has given a class yet, are not `labelled`.

    Raises KeyError for a suffix without a reader and FileNotFoundError for a missing file before
    any file is read; what a reader raises about a later file comes when that file's turn comes.
    """
    for path in paths:
        if path.suffix.lower() not in READERS:
            raise KeyError(
                f"No reader for '{path.suffix}' ({path.name}); known are {', '.join(READERS)}; "
                "convert the file, or add a reader in gaitforge/ingest/__init__.py."
            )
        if not path.is_file():
            raise FileNotFoundError(
                f"The recordings file {path} does not exist; mend its path in the settings."
            )
    return _read_in_turn(paths, layout, options, labelled)


def _read_in_turn(
    paths: Sequence[Path], layout: Layout, options: ReadOptions, labelled: bool
) -> Iterator[Recording | Rejected]:
    seen: set[str] = set()
    for path in paths:
        read = READERS[path.suffix.lower()]
        for position, item in enumerate(read(path, layout, options, labelled=labelled)):
            if isinstance(item, Recording):
                if item.recording in seen:
                    item = Rejected(
                        source=str(path),
                        position=position,
                        person=item.person,
                        label=item.label,
                        reason=f"the id '{item.recording}' occurs twice",
                    )
                else:
                    seen.add(item.recording)
            yield item
