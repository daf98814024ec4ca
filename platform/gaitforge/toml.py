"""TOML read, with its faults in one sentence, and written, which Python does not do."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gaitforge.regular_file import read_regular

# the ids of ten thousand people; a key of so many parts takes the parser seconds, and the square of that for more
MOST_BYTES = 200_000
MOST_DEEP = 20  # tables and lists in one another; settings have five
_TOO_DEEP = "holds tables or lists in one another beyond any use; take them apart"


def read_toml(path: Path, kind: str, wanted: str) -> dict[str, Any]:
    """Read a TOML file; `kind` and `wanted` name it in what is raised ("settings file", "a run.toml").

    Raises FileNotFoundError where it does not exist, PermissionError where this user may not read it, ValueError where
    it is not TOML or holds what no settings do: numbers that are not finite or of more than 64 bits, NUL characters,
    tables in tables without end.
    """
    data = read_regular(path, f"The {kind}", f"give the path of {wanted}", MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"The {kind} {path} is larger than {MOST_BYTES:,} bytes, which no {kind} is; give the path of {wanted}."
        )
    try:
        content = tomllib.loads(data.decode())
    except RecursionError as error:
        raise ValueError(f"The {kind} {path} {_TOO_DEEP}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The {kind} {path} is not TOML ({error}); mend that line.") from error
    except ValueError as error:  # Python's own limit
        raise ValueError(
            f"The {kind} {path} has a number of thousands of digits; give a smaller one."
        ) from error
    if fault := _fault(content):
        raise ValueError(f"The {kind} {path} {fault}.")
    return content


def _fault(content: dict[str, Any]) -> str | None:
    """Return what no settings hold, in words that go on after the file's name; None where all is well."""
    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    while waiting:
        name, depth, value = waiting.pop()
        if depth > MOST_DEEP:
            return _TOO_DEEP
        if isinstance(value, Mapping):
            for key, item in value.items():
                if "\0" in key:
                    return f"has a NUL character in the key {key!r}; remove it"
                waiting.append((f"{name}.{key}" if name else key, depth + 1, item))
        elif isinstance(value, list):
            waiting += [(name, depth + 1, item) for item in value]
        elif isinstance(value, str) and "\0" in value:
            return f"has a NUL character in '{name}'; remove it"
        elif isinstance(value, float) and not math.isfinite(value):
            return (
                f"cannot be used: {name} is {value}, but a number must be finite; give one that is"
            )
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"has a whole number of more than 64 bits in '{name}'; give a smaller one"
    return None


def write_toml(data: Mapping[str, Any]) -> str:
    """Write plain values as TOML that tomllib reads back as the same."""
    return "\n".join(_lines(data, "")) + "\n"


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if name and (plain or not table):
        yield from ("", f"[{name}]")
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{name}.{_key(key)}" if name else _key(key))


def _value(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value)  # numbers, and TOML's dates


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quote(key)


def quote(text: str) -> str:
    """Return text as TOML has it, in quotation marks."""
    # JSON's strings are TOML's, but for this character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
