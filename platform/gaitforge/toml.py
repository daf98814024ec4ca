"""TOML read, with its faults in one sentence, and written, which Python does not do."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read_toml(path: Path, kind: str, wanted: str) -> dict[str, Any]:
    """Read a TOML file; `kind` and `wanted` name it in what is raised ("settings file", "a run.toml").

    Raises FileNotFoundError where it does not exist, ValueError where it is not TOML.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The {kind} {path} does not exist; give the path of {wanted}.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The {kind} {path} is not TOML ({error}); mend that line.") from error


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
        return _text(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value)  # numbers, and TOML's dates


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    # JSON's strings are TOML's, but for this character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
