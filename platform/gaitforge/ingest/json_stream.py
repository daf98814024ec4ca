"""JSON that somebody else wrote: an entry at a time, without NaN, and never deeper or longer than it may be."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from gaitforge.regular_file import open_regular, read_regular

WHAT = "The recordings file"
REMEDY = "mend its path in the settings"
MOST_ENTRY = 2**18  # characters; 136 points of 3 numbers take 10,000
_CHUNK = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} stands where a number must be")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json(path: Path, most: int) -> object:
    """Return what a file of at most `most` bytes holds; raises FileNotFoundError or ValueError, which names it."""
    data = read_regular(path, WHAT, REMEDY, most + 1)
    if len(data) > most:
        raise ValueError(f"{path} is larger than {most:,} bytes, which no frame is; {REMEDY}.")
    try:
        value: object = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    return value


def stream_json(path: Path) -> Iterator[tuple[str, object]]:
    """Yield the entries of a file's list, or those of its object with their keys, one by one.

    Raises FileNotFoundError, or ValueError, which names the file: for what is neither a list nor an object, is damaged
    or has an entry of more than MOST_ENTRY characters.
    """
    with open_regular(path, WHAT, REMEDY) as file:
        try:
            yield from _entries(_Text(file))
        except (ValueError, RecursionError) as error:
            raise _damaged(path, error) from error


def to_numbers(values: object) -> NDArray[np.float32] | None:
    """Return a list of finite numbers as float32 [N], or None where it is anything else."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        return None
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(values, np.float64).astype(np.float32)
    except OverflowError:  # whole numbers of any length
        return None
    return numbers if bool(np.isfinite(numbers).all()) else None


class _Text:
    """The text of a file, of which a part is in memory."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._ended = False
        self._part = ""
        self._at = 0

    def next(self) -> str:
        """Return the next character that is no space, without taking it; "" at the end."""
        while True:
            self._fill()
            space = _SPACE.match(self._part, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._part) or self._ended:
                return self._part[self._at : self._at + 1]

    def take(self, *wanted: str) -> str:
        """Take the next character, which must be one of those."""
        found = self.next()
        if found not in wanted or not found:
            raise ValueError(
                f"{found!r} stands where {' or '.join(map(repr, wanted))} must be"
                if found
                else "it ends too soon"
            )
        self._at += 1
        return found

    def value(self) -> object:
        """Take the next value."""
        self.next()
        begin = self._at
        try:
            value, self._at = _DECODER.raw_decode(self._part, begin)
        except json.JSONDecodeError:
            if not self._ended:
                raise ValueError(
                    f"an entry is damaged, or has more than {MOST_ENTRY:,} characters"
                ) from None
            raise
        return value

    def _fill(self) -> None:
        """Have as much in memory as an entry may take."""
        while not self._ended and len(self._part) - self._at < MOST_ENTRY:
            data = self._file.read(_CHUNK)
            self._ended = not data
            self._part = self._part[self._at :] + self._decoder.decode(data, final=self._ended)
            self._at = 0


def _entries(text: _Text) -> Iterator[tuple[str, object]]:
    end = {"[": "]", "{": "}"}[text.take("[", "{")]
    while text.next() != end:
        key = ""
        if end == "}":
            told = text.value()
            if not isinstance(told, str):
                raise ValueError("a key is no text")
            key = told
            text.take(":")
        yield key, text.value()
        if text.next() != end:
            text.take(",", end)
    text.take(end)
    if text.next():
        raise ValueError("more follows behind its end")


def _damaged(path: Path, error: Exception) -> ValueError:
    match error:
        case RecursionError():
            reason = "it is nested too deep"
        case json.JSONDecodeError():  # its place is one of the part in memory
            reason = error.msg
        case _:
            reason = str(error)
    return ValueError(f"{path} is no JSON that can be read ({reason}); fetch or write it again.")
