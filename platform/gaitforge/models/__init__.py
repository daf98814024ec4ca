"""FAMILIES: every kind of model, by name; a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol, cast, get_type_hints

from torch import nn

from gaitforge.layout import Layout
from gaitforge.models.ctrgcn import CtrgcnSizes
from gaitforge.models.dynstg_mamba import DynstgMambaSizes
from gaitforge.models.output import Output
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.streams import KEY, STREAMS, order_streams, with_streams
from gaitforge.models.tcn import TcnSizes

__all__ = [
    "FAMILIES",
    "STREAMS",
    "Output",
    "Sizes",
    "check_kind",
    "make_sizes",
    "sizes_from",
    "with_streams",
]


class Sizes(Protocol):
    """The sizes of one family: a frozen dataclass of ints, floats, bools, strings and tuples of ints."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        """Make a model that maps a Batch of `channels` coordinates per joint to an Output."""
        ...

    def as_dict(self) -> dict[str, object]:
        """Return JSON-able values from which `make_sizes` makes the same sizes."""
        ...


FAMILIES: dict[str, type[Sizes]] = {
    "ctrgcn": CtrgcnSizes,
    "dynstg_mamba": DynstgMambaSizes,
    "stgcn": StgcnSizes,
    "tcn": TcnSizes,
}


# of a size, as run.toml and JSON can say it
SIZE_TYPES = (int, float, bool, str, tuple[int, ...])


def check_kind(kind: object) -> type[Sizes]:
    """Return what FAMILIES may hold; raises ValueError for anything else.

    It is a frozen dataclass with `build` and `as_dict`, whose fields have defaults and SIZE_TYPES.
    """
    name = getattr(kind, "__name__", repr(kind))
    if not isinstance(kind, type) or not is_dataclass(kind):
        raise ValueError(f"{name} is no dataclass, but the sizes of a family must be one.")
    if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ValueError(
            f"{name} can be changed, but sizes must stay as they are: use @dataclass(frozen=True)."
        )
    for method in ("build", "as_dict"):
        if not callable(getattr(kind, method, None)):
            raise ValueError(f"{name} has no method '{method}', but sizes must have one.")
    types = get_type_hints(kind)
    for field in fields(kind):
        if field.name == KEY:
            raise ValueError(
                f"{name} has a size '{KEY}', but every family has that name already, for what its models see; choose "
                "another."
            )
        if types[field.name] not in SIZE_TYPES:
            raise ValueError(
                f"{name}.{field.name} is of type {types[field.name]}, but must be int, float, bool, str or "
                "tuple[int, ...]."
            )
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{name}.{field.name} has no default, but every size must have one.")
    return cast("type[Sizes]", kind)


def make_sizes(family: str, values: Mapping[str, object]) -> Sizes:
    """Make sizes of a family from JSON or TOML values; what `values` lacks keeps its default.

    The key `streams` is every family's: what its models see of each joint. Raises KeyError for a
    family or a size that is not known, ValueError for a value that is not of its type or that the
    family refuses.
    """
    if family not in FAMILIES:
        raise KeyError(
            f"There is no model family '{family}'; known are {', '.join(FAMILIES)}, the nearest "
            f"is '{_nearest(family, FAMILIES)}'."
        )
    return sizes_from(FAMILIES[family], family, values)


def sizes_from(kind: type[Sizes], family: str, values: Mapping[str, object]) -> Sizes:
    """Make sizes of this kind as `make_sizes` does; `family` is what its sentences call it."""
    types = get_type_hints(kind)
    names = [*(field.name for field in fields(kind)), KEY]
    for name in values:
        if name not in names:
            raise KeyError(
                f"The family '{family}' has no size '{name}'; known are {', '.join(names)}, the "
                f"nearest is '{_nearest(name, names)}'."
            )
    make: Callable[..., Sizes] = kind
    own = {
        name: _convert(family, name, value, types[name])
        for name, value in values.items()
        if name != KEY
    }
    if KEY not in values:
        return make(**own)
    streams = order_streams(values[KEY], f"The size '{KEY}' of the family '{family}'")
    return with_streams(make(**own), streams)


def _nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    return get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _convert(family: str, name: str, value: object, wanted: object) -> object:
    """Convert a value to its field's type: JSON knows no tuples, and writes 1 for 1.0."""
    if wanted == tuple[int, ...]:
        if isinstance(value, list | tuple) and all(_is_int(item) for item in value):
            return tuple(value)
        must = "a list of whole numbers"
    elif wanted is float:
        if isinstance(value, float) or _is_int(value):
            return float(value)  # type: ignore[arg-type]
        must = "a number"
    elif wanted is int:
        if _is_int(value):
            return value
        must = "a whole number"
    elif wanted is bool:
        if isinstance(value, bool):
            return value
        must = "true or false"
    else:
        if isinstance(value, str):
            return value
        must = "a string"
    raise ValueError(
        f"The size '{name}' of the family '{family}' is {value!r}, but must be {must}; mend it."
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
