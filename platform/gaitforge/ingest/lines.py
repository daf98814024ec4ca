"""Text files of numbers, line by line: a line is bounded, and so is what is told of it."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from pathlib import Path

from gaitforge.ingest.archive import ALWAYS_BYTES, MOST_TIMES
from gaitforge.regular_file import open_regular

MOST_LINE_BYTES = 4 * 2**20  # a frame of a thousand points takes about 60 kB


def read_lines(path: Path) -> Generator[str, None, None]:
    """Yield the lines of a recordings file, each with its end of line where it has one.

    What is no UTF-8 is read as Latin-1. The file is open until the generator is closed. Raises as `open_regular` does,
    and ValueError for a line without end.
    """
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        for number in range(1, 2**63):
            try:
                line = file.readline(MOST_LINE_BYTES + 1)
            except OSError as error:
                raise ValueError(
                    f"{path} cannot be read beyond line {number - 1} ({error.strerror}); fetch it again."
                ) from error
            if not line:
                return
            if len(line) > MOST_LINE_BYTES:
                raise ValueError(
                    f"{path} has more than {MOST_LINE_BYTES:,} bytes in line {number}, which is no line of a "
                    "movement; fetch or write it again."
                )
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                text = line.decode("latin-1")
            yield text


def to_numbers(fields: Sequence[str], path: Path, line: int) -> list[float]:
    """Return the fields' numbers, NaN for an empty one; raises ValueError for what is no number."""
    try:
        return [_to_number(field) for field in fields]
    except ValueError:
        wrong = next(field for field in fields if not _is_number(field))
        raise ValueError(
            f"{path} has {wrong[:40]!r} in line {line}, where a number must stand; mend that line, or write the file "
            "again."
        ) from None


def check_growth(path: Path, numbers_bytes: int, file_bytes: int) -> None:
    """Raise ValueError where a file would become far larger in memory than files of movements do."""
    if numbers_bytes > max(MOST_TIMES * file_bytes, ALWAYS_BYTES):
        raise ValueError(
            f"{path} would take {numbers_bytes:,} bytes in memory for {file_bytes:,} bytes of text, but a file of "
            f"movements takes at most {MOST_TIMES} times its size; fetch or write it again."
        )


def find_twice(names: Sequence[str]) -> str | None:
    """Return the first name that stands twice, if any does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def tell_apart(labels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the one subject of all labels that name any, and the labels without it; of several subjects all stays."""
    subjects = {label.rpartition(":")[0] for label in labels if ":" in label}
    if len(subjects) != 1:
        return "", tuple(labels)
    return subjects.pop(), tuple(label.rpartition(":")[2] for label in labels)


def _to_number(field: str) -> float:
    if "_" in field:  # Python's own way to write thousands
        raise ValueError(field)
    return float(field) if field and not field.isspace() else math.nan


def _is_number(field: str) -> bool:
    try:
        _to_number(field)
    except ValueError:
        return False
    return True
