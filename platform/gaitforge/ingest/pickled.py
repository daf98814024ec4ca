"""Pickles, read by a machine that can make arrays of numbers, text, numbers and plain containers, and nothing else.

A pickle is a program: of Python's own reader it may ask for any function of any module. This is the only place of the
project where one is read, and Python's reader has no part in it: each instruction is looked at here, what is not known
is refused before it is done, and no function that the file names is ever looked up. The names of numpy's functions by
which arrays are written (`ADMITTED`) only stand for what is done here in their place.

What the file promises costs nothing: texts and bytes are left in it until they are asked for, and arrays are no larger
than their bytes in the file. Keys of a dictionary must be text or small numbers, since hashing a tuple of tuples can
take for ever. What is made may refer to itself: whoever takes it apart must go by what is wanted, not by what is there.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.regular_file import open_regular
from gaitforge.sentences import one_line

IN_PLACE_BYTES = 1_024  # text and bytes that are longer stay in the file until they are asked for
ALWAYS_STEPS = 1_000_000
BYTES_OF_A_STEP = 8  # at least, of a file of many steps: each may take 130 bytes of memory
MOST_TIMES_AGAIN = 10  # of its size, by which a file's arrays may be read again, as scores that all its walks share
_MOST_LINE = 10_000
_PIECE_BYTES = 2**16
_DTYPES = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}


class _Known(Enum):
    """What is done in place of a function that a pickle may name."""

    RECONSTRUCT = auto()
    FROM_BUFFER = auto()
    SCALAR = auto()
    ARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()
    NO_BYTES = auto()
    ORDERED = auto()


ADMITTED: dict[str, _Known] = {
    "numpy.core.multiarray._reconstruct": _Known.RECONSTRUCT,
    "numpy._core.multiarray._reconstruct": _Known.RECONSTRUCT,
    "numpy.core.numeric._frombuffer": _Known.FROM_BUFFER,
    "numpy._core.numeric._frombuffer": _Known.FROM_BUFFER,
    "numpy.core.multiarray.scalar": _Known.SCALAR,
    "numpy._core.multiarray.scalar": _Known.SCALAR,
    "numpy.ndarray": _Known.ARRAY,
    "numpy.dtype": _Known.DTYPE,
    "_codecs.encode": _Known.ENCODE,  # how protocols 0 to 2 write bytes
    "builtins.bytes": _Known.NO_BYTES,
    "__builtin__.bytes": _Known.NO_BYTES,
    "collections.OrderedDict": _Known.ORDERED,
}


class _Fault(ValueError):
    """What is wrong with a pickle, without the file's name."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes that lie in the file; `encoding` where they are text. `again` is what the text is encoded by."""

    begin: int
    length: int
    encoding: str = ""
    again: str = ""


@dataclass(slots=True, eq=False)
class _Dtype:
    name: str
    order: str = "="
    told: bool = False


@dataclass(slots=True, eq=False)
class PickledArray:
    """An array whose numbers are still in the file; `shape` and `dtype` are as the file tells."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("f4"))
    columns_first: bool = False
    _content: _Span | bytes | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def fill(
        self, shape: object, dtype: object, columns_first: object, content: object
    ) -> PickledArray:
        """Take what the file tells of the array; raises _Fault where it contradicts itself."""
        if self._content is not None:
            raise _Fault("an array is told twice")
        if not isinstance(dtype, _Dtype):
            raise _Fault("an array has no type")
        if not (
            isinstance(shape, tuple)
            and len(shape) <= 8
            and all(type(size) is int and 0 <= size < 2**40 for size in shape)
        ):
            raise _Fault("an array has no shape")
        if isinstance(content, str):  # bytes of Python 2
            content = _to_bytes(content)
        if isinstance(content, list):
            raise _Fault("it holds an array of Python objects")
        if not isinstance(content, _Span | bytes):
            raise _Fault("an array has no bytes")
        self.shape, self.columns_first, self._content = shape, bool(columns_first), content
        self.dtype = np.dtype(dtype.order + dtype.name)
        held = len(content) if isinstance(content, bytes) else content.length
        # text that stands for bytes takes up to two for one, and six in a line
        longer = isinstance(content, _Span) and content.again
        if self.nbytes != held and not (longer and self.nbytes < held):
            raise _Fault(
                f"an array of {self.nbytes:,} bytes by its shape has {held:,} in the file"
            )
        return self


@dataclass(slots=True)
class Pickle:
    """An open pickle: the `tree` of what it holds, whose arrays `load` reads."""

    path: Path
    tree: object
    _file: BufferedReader
    _left: int
    """Bytes that arrays may still take: those of all together are in the file."""
    _left_again: int
    """Bytes that arrays may still take which have been read before."""
    _known: set[PickledArray] = field(default_factory=set)

    def load(self, array: PickledArray) -> NDArray[Any]:
        """Read an array's numbers; raises ValueError where they are not all there.

        What the file names several times is in it once, and may be read again, but not without end.
        """
        if array in self._known:
            self._left_again -= array.nbytes
        else:
            self._known.add(array)
            self._left -= array.nbytes
        if self._left_again < 0:
            raise ValueError(
                f"{self.path} names its arrays again and again, {MOST_TIMES_AGAIN} times its size in all, which no set "
                "of walks does; write it again with an array for each."
            )
        if self._left < 0:
            raise ValueError(
                f"{self.path} is damaged (its arrays are together larger than itself); fetch or write it again."
            )
        content = array._content
        try:
            data = _read_span(self._file, content) if isinstance(content, _Span) else content
        except ValueError as error:
            raise _refusal(self.path, str(error)) from error
        if data is None or len(data) != array.nbytes:
            raise _refusal(self.path, "an array's bytes are not as many as its shape tells")
        flat = np.frombuffer(data, array.dtype)
        return flat.reshape(array.shape, order="F" if array.columns_first else "C")


@contextmanager
def open_pickle(path: Path) -> Iterator[Pickle]:
    """Open a pickle and read all of it but its long texts and its arrays' numbers.

    Raises FileNotFoundError, PermissionError or ValueError, which names the path, for a file that is none, is damaged,
    or names any function that is not in ADMITTED.
    """
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            tree = _Machine(file, size).run()
        except (_Fault, UnicodeDecodeError) as error:
            raise _refusal(path, str(error)) from error
        yield Pickle(path, tree, file, size, MOST_TIMES_AGAIN * size)


def _refusal(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is no pickle that can be read here ({one_line(reason)}), since only numpy's arrays of numbers, text, "
        "numbers, lists, tuples and dictionaries are; save it again with these alone."
    )


def _read_span(file: BufferedReader, span: _Span) -> bytes:
    data = os.pread(file.fileno(), span.length, span.begin)
    if len(data) != span.length:
        raise ValueError("it ends too soon")
    if not span.again:
        return data
    return data.decode(span.encoding).encode(span.again)


class _Machine:
    """Reads a pickle, instruction by instruction."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []  # the stacks under the marks
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        steps = ALWAYS_STEPS + self._size // BYTES_OF_A_STEP
        for _ in range(steps):
            code = self._read(1)
            if code == b".":
                return self._pop()
            do = _STEPS.get(code)
            if do is None:
                raise _Fault(f"it has the instruction {code!r}")
            do(self)
        raise _Fault("it is made of far more parts than its size tells")

    # what the file holds

    def _read(self, length: int) -> bytes:
        if not 0 <= length <= self._size - self._at:
            raise _Fault("it ends too soon")
        data = self._file.read(length)
        if len(data) != length:
            raise _Fault("it ends too soon")
        self._at += length
        return data

    def _line(self) -> bytes:
        line = self._file.readline(_MOST_LINE)
        if not line.endswith(b"\n"):
            raise _Fault("it has a line without an end")
        self._at += len(line)
        return line[:-1]

    def _number(self, kind: str) -> int:
        number: int = struct.unpack(kind, self._read(struct.calcsize(kind)))[0]
        return number

    def _content(self, kind: str, encoding: str = "") -> bytes | str | _Span:
        """Return bytes or text whose length comes before it; a long one stays where it is."""
        length = self._number(kind)
        if length <= IN_PLACE_BYTES:
            data = self._read(length)
            return data.decode(encoding, "strict") if encoding else data
        if length > self._size - self._at:
            raise _Fault("it ends too soon")
        span = _Span(self._at, length, encoding)
        self._at += length
        self._file.seek(self._at)
        return span

    # the stack

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            raise _Fault("it takes more than it has put down")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            raise _Fault("it takes more than it has put down")
        return self._stack[-1]

    def _to_mark(self) -> list[object]:
        if not self._below:
            raise _Fault("it goes back to a mark that is not there")
        values, self._stack = self._stack, self._below.pop()
        return values

    # instructions

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _drop_to_mark(self) -> None:
        self._to_mark()

    def _skip_frame(self) -> None:
        self._read(8)

    def _protocol(self) -> None:
        if (version := self._number("B")) > 5:
            raise _Fault(f"it has the protocol {version}")

    def _long(self) -> None:
        self._push(int.from_bytes(self._read(self._number("B")), "little", signed=True))

    def _written_number(self, kind: type[int] | type[float]) -> None:
        text = self._line().removesuffix(b"L")
        if kind is int and text in (b"00", b"01"):
            self._push(text == b"01")
            return
        try:
            self._push(kind(text) if len(text) <= 100 else kind(""))
        except ValueError:
            raise _Fault("it has a number that is none") from None

    def _written_text(self) -> None:
        begin = self._at
        line = self._file.readline(IN_PLACE_BYTES)
        if line.endswith(b"\n"):
            self._at += len(line)
            self._push(line[:-1].decode("raw-unicode-escape"))
            return
        while line and not line.endswith(b"\n"):
            self._at += len(line)
            line = self._file.readline(_PIECE_BYTES)
        if not line:
            raise _Fault("it has a line without an end")
        self._at += len(line)
        self._push(_Span(begin, self._at - 1 - begin, "raw-unicode-escape"))

    def _append(self, values: list[object]) -> None:
        target = self._top()
        if type(target) is not list:
            raise _Fault("it adds to what is no list")
        target.extend(values)

    def _set(self, values: list[object]) -> None:
        target = self._top()
        if type(target) is not dict:
            raise _Fault("it sets a key of what is no dictionary")
        _fill(target, values)

    def _remember(self, place: int) -> None:
        self._memo[place] = self._top()

    def _recall(self, place: int) -> None:
        if place not in self._memo:
            raise _Fault("it recalls what it has not remembered")
        self._push(self._memo[place])

    def _written_place(self) -> int:
        try:
            return int(self._line()[:20])
        except ValueError:
            raise _Fault("it has a number that is none") from None

    def _name(self, module: object, name: object) -> None:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
        known = ADMITTED.get(full)
        if known is None:
            raise _Fault(f"it calls for '{full[:100] or 'what has no name'}'")
        self._push(known)

    def _stack_name(self) -> None:
        name = self._pop()
        self._name(self._pop(), name)

    def _written_name(self) -> None:
        module = self._line().decode("utf-8")
        self._name(module, self._line().decode("utf-8"))

    def _call(self) -> None:
        given, known = self._pop(), self._pop()
        arguments = given if isinstance(given, tuple) else (None,) * 10
        match known, arguments:
            case _Known.RECONSTRUCT, (_Known.ARRAY, _, _):
                self._push(PickledArray())
            case _Known.FROM_BUFFER, (content, dtype, shape, order):
                self._push(PickledArray().fill(shape, dtype, order == "F", content))
            case _Known.SCALAR, (_Dtype() as dtype, bytes() as data):
                kind = np.dtype(dtype.order + dtype.name)
                if len(data) != kind.itemsize:
                    raise _Fault("a number has not the bytes of its type")
                self._push(np.frombuffer(data, kind)[0].item())
            case _Known.DTYPE, (str() as name, *_):
                if name.startswith("O"):
                    raise _Fault("it holds an array of Python objects")
                if name not in _DTYPES:
                    raise _Fault(f"it holds an array of the type '{name[:20]}'")
                self._push(_Dtype(name))
            case _Known.ENCODE, (str() as text, "latin1" | "latin-1"):
                self._push(_to_bytes(text))
            case _Known.ENCODE, (_Span(again="") as span, "latin1" | "latin-1") if span.encoding:
                self._push(_Span(span.begin, span.length, span.encoding, "latin-1"))
            case _Known.NO_BYTES, ():
                self._push(b"")
            case _Known.ORDERED, ():
                self._push({})
            case _:
                named = next((name for name, what in ADMITTED.items() if what is known), "")
                raise _Fault(
                    f"it gives '{named}' what numpy does not"
                    if named
                    else "it calls what is no function"
                )

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        match target, state:
            case PickledArray(), (1, shape, dtype, columns_first, content):
                target.fill(shape, dtype, columns_first, content)
            case _Dtype(told=False), (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                target.order, target.told = order, True
            case _:
                raise _Fault("it sets up what is neither an array nor its type")


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise _Fault("it has bytes that are none") from None


def _fill(target: dict[object, object], values: list[object]) -> None:
    if len(values) % 2:
        raise _Fault("it has a key without a value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        # large numbers may be chosen so that they all fall together
        if type(key) is not str and not (type(key) is int and abs(key) < 2**31):
            raise _Fault("it has a key that is neither text nor a small number")
        target[key] = value


def _made(values: list[object]) -> dict[object, object]:
    target: dict[object, object] = {}
    _fill(target, values)
    return target


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    def make(machine: _Machine) -> None:
        machine._push(tuple([machine._pop() for _ in range(count)][::-1]))

    return make


def _push(make: Callable[[_Machine], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(make(machine))


# By their codes (pickletools.opcodes). Left out are those that make objects (OBJ, INST, NEWOBJ, EXT1, PERSID, ...).
_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine._protocol,
    b"\x95": _Machine._skip_frame,
    b"(": _Machine._mark,
    b"0": _Machine._drop,
    b"1": _Machine._drop_to_mark,
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"J": _push(lambda m: m._number("<i")),
    b"K": _push(lambda m: m._number("B")),
    b"M": _push(lambda m: m._number("<H")),
    b"\x8a": _Machine._long,
    b"G": _push(lambda m: struct.unpack(">d", m._read(8))[0]),
    b"I": lambda m: m._written_number(int),
    b"L": lambda m: m._written_number(int),
    b"F": lambda m: m._written_number(float),
    b"V": _Machine._written_text,
    b"U": _push(lambda m: m._content("B", "latin-1")),  # text of Python 2
    b"T": _push(lambda m: m._content("<i", "latin-1")),
    b"\x8c": _push(lambda m: m._content("B", "utf-8")),
    b"X": _push(lambda m: m._content("<I", "utf-8")),
    b"\x8d": _push(lambda m: m._content("<Q", "utf-8")),
    b"C": _push(lambda m: m._content("B")),
    b"B": _push(lambda m: m._content("<I")),
    b"\x8e": _push(lambda m: m._content("<Q")),
    b"\x96": _push(lambda m: m._content("<Q")),
    b"]": _push(lambda m: []),
    b"}": _push(lambda m: {}),
    b")": _push(lambda m: ()),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"t": _push(lambda m: tuple(m._to_mark())),
    b"l": _push(lambda m: m._to_mark()),
    b"d": _push(lambda m: _made(m._to_mark())),
    b"a": lambda m: m._append([m._pop()]),
    b"e": lambda m: m._append(m._to_mark()),
    b"s": lambda m: m._set([m._pop(), m._pop()][::-1]),
    b"u": lambda m: m._set(m._to_mark()),
    b"p": lambda m: m._remember(m._written_place()),
    b"q": lambda m: m._remember(m._number("B")),
    b"r": lambda m: m._remember(m._number("<I")),
    b"\x94": lambda m: m._remember(len(m._memo)),
    b"g": lambda m: m._recall(m._written_place()),
    b"h": lambda m: m._recall(m._number("B")),
    b"j": lambda m: m._recall(m._number("<I")),
    b"c": _Machine._written_name,
    b"\x93": _Machine._stack_name,
    b"R": _Machine._call,
    b"b": _Machine._build,
}
