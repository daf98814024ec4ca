"""Files of the user that are opened only where they are files: a pipe would be waited for, a device never ends."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def spell_name(name: str | Path) -> str:
    """Write out the bytes of a file's name that are no UTF-8, since no table holds such text."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def check_regular(path: Path, what: str, remedy: str) -> None:
    """Raise an OSError or a ValueError, with one sentence, where a path names no file.

    `what` begins the sentence ("The recordings file"), and `remedy` ends it. FileNotFoundError where there is nothing.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} {path} does not exist; {remedy}.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise _refusal(error, path, what, remedy) from error
    _check_mode(mode, path, what, remedy)


def open_regular(path: Path, what: str, remedy: str) -> BufferedReader:
    """Open a file for reading; raises as `check_regular` does, and PermissionError where this user may not read it."""
    check_regular(path, what, remedy)
    try:
        # without waiting, should it have become a pipe by now
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise _refusal(error, path, what, remedy) from error
    try:
        _check_mode(os.fstat(file.fileno()).st_mode, path, what, remedy)
    except ValueError:
        file.close()
        raise
    return file


def read_regular(path: Path, what: str, remedy: str, most: int) -> bytes:
    """Return the first `most` bytes of a file, or all; raises as `open_regular` does, and OSError for a broken disk."""
    with open_regular(path, what, remedy) as file:
        try:
            return file.read(most)
        except OSError as error:
            raise _refusal(error, path, what, remedy) from error


def _check_mode(mode: int, path: Path, what: str, remedy: str) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ValueError(f"{what} {path} is {kind}, but must be a file; {remedy}.")


def _refusal(
    error: OSError | ValueError, path: Path, what: str, remedy: str
) -> OSError | ValueError:
    """Return the error with one sentence, of the same class."""
    if isinstance(error, ValueError):
        return ValueError(f"{what} {path} cannot be read ({error}); {remedy}.")
    if isinstance(error, PermissionError):
        remedy = "let its owner give this user the right to read it and to enter the folders above"
    return type(error)(f"{what} {path} cannot be read ({error.strerror}); {remedy}.")
