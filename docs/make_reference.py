"""Write docs/run_toml.md and examples/every_key.toml from the settings' own docstrings.

`python docs/make_reference.py`. Every key, its default and its meaning stand once, in the dataclass that holds it; a
test holds both files to that.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaitforge.losses import LOSSES
from gaitforge.models import FAMILIES, STREAMS
from gaitforge.models.streams import KEY, StreamedSizes
from gaitforge.settings import RunSettings, TeacherSettings, table_type

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "run_toml.md"
EVERY_KEY = ROOT / "examples" / "every_key.toml"
COMMAND = "python docs/make_reference.py"

# What a key may be, where a table of the code says so and its docstring does not.
NAMES: dict[str, Mapping[str, object]] = {
    "teacher.family": FAMILIES,
    "search.families": FAMILIES,
    "search.terms": LOSSES,
    "search.streams": STREAMS,
}
# Values for keys without a default, or that exclude the table ingest.synthetic; all behind a # but `work`.
EXAMPLES: dict[str, Any] = {
    "work": "../work/every_key",
    "ingest.files": ["walks.npz"],
    "ingest.layout": "coco17",
    "ingest.read.confidence_channel": 2,
    "ingest.read.fps": 25.0,
    "windows.fps": 30.0,
    "ingest.read.image": [1920, 1080],
    "search.max_params": 50_000,
    "search.max_macs": 2_000_000,
    "search.max_bytes": 100_000,
    "search.max_latency_ms": 5.0,
    "export.trial": 7,
    "cluster.cpus": 4,
    "cluster.concurrent": 2,
}
COLUMN, WIDTH = 32, 120  # of the meanings in every_key.toml, and of its lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of run.toml; `default` is None where it has none."""

    name: str
    table: str
    hint: Any
    default: Any
    meaning: str

    @property
    def path(self) -> str:
        """The dotted name from the top of run.toml."""
        return f"{self.table}.{self.name}" if self.table else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table of run.toml with its plain keys."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


def read_docstrings(kind: type[Any]) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, and of those it extends, on one line."""
    found: dict[str, str] = {}
    for base in kind.__bases__:
        if dataclasses.is_dataclass(base):
            found |= read_docstrings(base)
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def list_tables(
    kind: type[Any] = RunSettings, name: str = "", value: object = None, meaning: str = ""
) -> Iterator[Table]:
    """Yield a settings dataclass as a table, then the tables inside it; `value` holds its defaults."""
    hints, docs = typing.get_type_hints(kind), read_docstrings(kind)
    keys, inside = [], []
    for field in dataclasses.fields(kind):
        path = f"{name}.{field.name}" if name else field.name
        default = _find_default(field) if value is None else getattr(value, field.name)
        table = table_type(hints[field.name])
        if table is not None:
            inside.append(list_tables(table, path, default, docs.get(field.name, "")))
        elif path == "teacher.sizes":
            family = str(_find_default(TeacherSettings.__dataclass_fields__["family"]))
            text = f"{docs[field.name]} These are those of {family}."
            inside.append(list_tables(FAMILIES[family], path, None, text))
        else:
            if path not in docs and field.name not in docs:
                raise ValueError(
                    f"{kind.__name__}.{field.name} has no docstring; write one below it."
                )
            known = f" Known: {', '.join(NAMES[path])}." if path in NAMES else ""
            keys.append(
                Key(
                    name=field.name,
                    table=name,
                    hint=hints[field.name],
                    default=default,
                    meaning=docs[field.name] + known,
                )
            )
    if name == "teacher.sizes":
        streams = StreamedSizes.__dataclass_fields__[KEY]
        meaning_of_streams = f"{read_docstrings(StreamedSizes)[KEY]} Known: {', '.join(STREAMS)}."
        keys.append(
            Key(
                name=KEY,
                table=name,
                hint=tuple[str, ...],
                default=_find_default(streams),
                meaning=meaning_of_streams,
            )
        )
    first = (inspect.getdoc(kind) or "").split("\n\n")[0]
    yield Table(name=name, meaning=meaning or " ".join(first.split()), keys=tuple(keys))
    for tables in inside:
        yield from tables


def _find_default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


# docs/run_toml.md


def write_reference() -> str:
    """Return the reference as Markdown: a section for each table, and one for each family's sizes."""
    lines = [
        "# Every key of run.toml",
        "",
        f"<!-- Written by `{COMMAND}` from the docstrings of the settings: change those. -->",
        "",
        "A key that is left out keeps its default. Required are `work`, and of `[ingest]` either `files` with their",
        "`layout` or the table `[ingest.synthetic]`. Paths are relative to the folder of run.toml. An unknown key is",
        "an error that names the nearest known one. `examples/every_key.toml` holds the same as a file to copy from.",
    ]
    for table in list_tables():
        if table.name == "teacher.sizes":
            for family, kind in FAMILIES.items():
                (sizes,) = list_tables(kind, "teacher.sizes")
                title = f'`[teacher.sizes]` of `family = "{family}"`'
                lines += _section(title, sizes.meaning, sizes.keys)
        else:
            title = f"`[{table.name}]`" if table.name else "Above all tables"
            meaning = table.meaning if table.name else "The one key that is in no table."
            lines += _section(title, meaning, table.keys)
    return "\n".join(lines) + "\n"


def _section(title: str, meaning: str, keys: tuple[Key, ...]) -> list[str]:
    rows = [
        f"| `{key.name}` | {_in_words(key.hint)} | {_shown_default(key)} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    return ["", f"## {title}", "", _escaped(meaning), "", "| key | kind | default | meaning |",
            "|---|---|---|---|", *rows]  # fmt: skip


def _shown_default(key: Key) -> str:
    return "" if key.default is None else f"`{_toml(key.default)}`"


def _escaped(text: str) -> str:
    """Return the text so that Markdown shows it as it is, but for `code`."""
    parts = text.split("`")
    plain = [
        part.replace("*", "\\*").replace("|", "\\|").replace("[", "\\[") for part in parts[::2]
    ]
    parts[::2] = plain
    return "`".join(parts)


def _in_words(hint: Any, several: bool = False) -> str:
    """Return a type as a user of TOML says it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [option for option in typing.get_args(hint) if option is not type(None)]
        return ", or ".join(map(_in_words, kinds))
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{_toml(value)}`" for value in typing.get_args(hint))
    if hint is bool:
        return "true or false"
    end = "s" if several else ""
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"list{end} of {count}{_in_words(inner[0], several=True)}"
    return {str: "text", int: "whole number", float: "number"}.get(hint, "table") + end


# examples/every_key.toml


def write_every_key() -> str:
    """Return a run.toml of all keys with their defaults and meanings."""
    lines = [
        "# Every key of a run.toml with its default. Copy the few you need: what is left out keeps its default.",
        "# A key behind a # has no default, or cannot be used beside the others; its value is an example.",
        f"# Written by `{COMMAND}` from the docstrings of the settings: change those.",
    ]
    for table in list_tables():
        lines.append("")
        if table.name:
            lines += _line(f"[{table.name}]", table.meaning)
        for key in table.keys:
            value = EXAMPLES.get(key.path, key.default)
            if value is None:
                raise ValueError(f"{key.path} has no default; give an example of it in EXAMPLES.")
            sign = "# " if key.path in EXAMPLES and key.path != "work" else ""
            lines += _line(f"{sign}{key.name} = {_toml(value)}", key.meaning)
    return "\n".join(lines) + "\n"


def _line(start: str, meaning: str) -> list[str]:
    """Return `start  # meaning`, the meaning broken into a column of its own."""
    column = max(COLUMN, len(start) + 1)
    words = meaning.replace("`", "").removesuffix(".")
    first, *rest = textwrap.wrap(words, WIDTH - column - 2, break_on_hyphens=False)
    return [f"{start:<{column}}# {first}", *(f"{'':<{column}}# {text}" for text in rest)]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:_}"
    return json.dumps(value)


if __name__ == "__main__":
    for path, text in ((REFERENCE, write_reference()), (EVERY_KEY, write_every_key())):
        path.write_text(text, encoding="utf-8")
        print(path)
