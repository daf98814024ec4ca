"""How each JSON file is written, read and refused: by its schema number, its record class and one error sentence.

A record is a frozen dataclass whose fields are the keys of its file, in their order. Keys that it does
not know are passed over, so that a later version may add some; a key that is missing, of another kind
or of another schema number is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import GetPydanticSchema, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from gaitforge.work import as_json, read_bytes, write_whole

T = TypeVar("T")

NEWER = "use the version of gaitforge that wrote it, or begin anew with `gaitforge run --fresh run.toml`"

# what a value must be, by the name of pydantic's error
KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "sequence_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
}


class Unreadable(ValueError):
    """The error for a file that cannot be used; `found` says why, and goes on after the file's name."""

    def __init__(self, path: Path, what: str, found: str, remedy: str) -> None:
        super().__init__(f"{path} cannot be used as {what}: {found}; {remedy}.")
        self.found = found


class Newer(Unreadable):
    """The error for a file of a later version, which no stage may write over by itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JsonFile(Generic[T]):
    """One kind of JSON file of a work folder: the record that it holds, and who writes it.

    `schema` is the number that the file bears; None for what never outlives the process that wrote it.
    `what` names it in a sentence, and `remedy` says what to do where it cannot be used.
    """

    record: type[T]
    schema: int | None = 1
    what: str
    stage: str  # the command that writes it
    remedy: str = ""

    def as_dict(self, record: T) -> dict[str, Any]:
        """Return the file's content as plain values."""
        head = {} if self.schema is None else {"schema": self.schema}
        return {**head, **plain(record)}

    def as_json(self, record: T) -> bytes:
        """Return the file's content; raises ValueError for a number that is not finite."""
        return as_json(self.as_dict(record))

    def write(self, path: Path, record: T) -> None:
        """Write the file, whole or not at all."""
        write_whole(path, self.as_json(record))

    def read(self, path: Path) -> T:
        """Read the file.

        Raises FileNotFoundError where there is none, another OSError where it cannot be read (a folder, a
        file of another user), Unreadable (a ValueError) where its content is not of this kind.
        """
        try:
            text = self._content(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"There is no file {path} ({self.what}); run `{self.stage}` first."
            ) from error
        return self.parse(text, path)

    def find(self, path: Path) -> T | None:
        """Read the file; return None where there is none. Raises what `read` does where it cannot be used."""
        try:
            text = self._content(path)
        except FileNotFoundError:
            return None
        return self.parse(text, path)

    def _content(self, path: Path) -> bytes:
        """Read a file's bytes; raises an OSError of the same class, with a sentence, where that cannot be done."""
        return read_bytes(path, self.what, self._remedy)

    def parse(self, text: bytes | str, path: Path) -> T:
        """Read a file's content; raises Unreadable, which names `path`, where it is not of this kind."""
        try:
            return self._reader.validate_json(text, strict=True)
        except ValidationError as error:
            found = found_by(error, self.schema)
            if _is_newer(error, self.schema):
                raise Newer(path, self.what, found, NEWER) from error
            raise self.refusal(path, found) from error

    def check_version(self, path: Path) -> None:
        """Raise Newer where a later version wrote the file; whatever else is wrong with it passes."""
        try:
            self.find(path)
        except Newer:
            raise
        except (Unreadable, OSError):
            pass

    def parse_many(self, texts: Sequence[str]) -> list[T]:
        """Read the content of many files at once; raises ValueError where any of them is not of this kind."""
        return self._many.validate_json(f"[{','.join(texts)}]", strict=True)

    def refusal(self, path: Path, found: str) -> Unreadable:
        """Return the error for a file that cannot be used; `found` says what is wrong with it."""
        return Unreadable(path, self.what, found, self._remedy)

    @property
    def _remedy(self) -> str:
        return self.remedy or f"run `{self.stage}` again"

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the file, for readers of other programs."""
        told = TypeAdapter(self.record).json_schema(schema_generator=_WithoutTitles)
        number = {} if self.schema is None else {"schema": {"const": self.schema}}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **{key: value for key, value in told.items() if key not in ("properties", "required")},
            "properties": {**number, **told["properties"]},
            "required": [*number, *told.get("required", ())],
        }

    @cached_property
    def _reader(self) -> TypeAdapter[T]:
        return TypeAdapter(self._numbered)

    @cached_property
    def _many(self) -> TypeAdapter[list[T]]:
        return TypeAdapter(list[self._numbered])  # type: ignore[name-defined]

    @property
    def _numbered(self) -> Any:
        """Return the type that pydantic reads: the record, chosen by its schema number, which is looked at first."""
        number = self.schema
        if number is None:
            return self.record

        def choice(source: Any, handler: Any) -> CoreSchema:
            return core_schema.tagged_union_schema(
                {number: handler(source)}, discriminator=_schema_number
            )

        return Annotated[self.record, GetPydanticSchema(choice)]


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles of keys, which would only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def plain(value: Any) -> Any:
    """Return a record, or a part of one, as values that JSON knows, in the order of its file.

    A value with a method `as_dict` is converted by that. Where fields of a base class come later in the
    file, the class names in FIRST those that come before them.
    """
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if dataclasses.is_dataclass(value):
        known = {item.name: item for item in dataclasses.fields(value)}
        order = dict.fromkeys((*getattr(value, "FIRST", ()), *known))
        pairs = {name: getattr(value, name) for name in order}
        return {
            name: plain(its)
            for name, its in pairs.items()
            if not _is_left_out(its, known[name].metadata)
        }
    if isinstance(value, Mapping):
        return {key: plain(its) for key, its in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(its) for its in value]
    return value


def _is_left_out(value: Any, metadata: Mapping[str, Any]) -> bool:
    """Tell whether a field's value is one for which it does not stand in a file."""
    if value is None:
        return "absent" in metadata
    return "off" in metadata and bool(value == metadata["off"])


def parts_of(record: Any) -> dict[str, Any]:
    """Return the fields of a record by name, for making another record that has the same fields."""
    return {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}


def found_by(error: ValidationError, schema: int | None) -> str:
    """Say the first thing that is wrong with a file, in words that go on after its name."""
    first = error.errors(include_url=False)[0]
    kind, given = first["type"], first["input"]
    if kind == "json_invalid":
        return f"it is not JSON ({first['ctx']['error']})"
    if kind == "union_tag_not_found":
        if not isinstance(given, dict):
            return "it holds no JSON object"
        return f"it tells no schema, but must be of schema {schema}"
    if kind == "union_tag_invalid":
        return f"its schema is {_shown(given['schema'])}, but must be {schema}"
    place = first["loc"] if schema is None else first["loc"][1:]
    if kind == "value_error":
        reason = str(first["ctx"]["error"]).rstrip(".")
        return f"its '{_dotted(place)}' cannot be ({reason})" if place else reason
    if not place:
        return "it holds no JSON object"
    if kind == "missing":
        return f"it lacks '{_dotted(place)}'"
    must = KINDS.get(kind)
    if kind == "literal_error":
        must = f"one of {first['ctx']['expected'].replace(' or ', ', ')}"
    elif kind == "greater_than_equal":
        must = f"at least {first['ctx']['ge']:g}"
    elif kind in ("less_than_equal", "int_parsing_size"):
        must = "a whole number of at most 63 bits"
    elif kind == "too_short" and not given:
        must = "not empty"
    elif kind in ("too_short", "too_long", "unexpected_positional_argument"):
        must = "of another length"
    return f"its '{_dotted(place)}' is {_shown(given)}, but must be {must or first['msg']}"


def _is_newer(error: ValidationError, schema: int | None) -> bool:
    """Tell whether a file was refused for a schema number that is higher than its own."""
    first = error.errors(include_url=False)[0]
    if schema is None or first["type"] != "union_tag_invalid":
        return False
    told = _schema_number(first["input"])
    return isinstance(told, (int, float)) and told > schema


def _schema_number(content: Any) -> float | str | None:
    """Return the schema number that a file's content tells; None where it tells none, a text for what is no number."""
    if not isinstance(content, dict) or "schema" not in content:
        return None
    told = content["schema"]
    # by type, since Python holds True for equal to 1
    return told if type(told) in (int, float) else _shown(told)


def _dotted(place: Sequence[int | str]) -> str:
    """Write a place in a file as a path, such as members[0].trial."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
