"""Kinds of values that several files hold, and how a part that has a form of its own is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_type_hints

from pydantic import AllowInfNan, Field, GetPydanticSchema
from pydantic_core import core_schema

from gaitforge.normalise import Normalisation
from gaitforge.provenance import Provenance
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.json_file import parts_of

Number = Annotated[float, AllowInfNan(False)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[Number, Number] | None  # lower and upper end; None where people are too few
ABSENT = {"absent": True}  # of a field that stands in the file only where it has a value
Searched = str | int | float | bool | None  # what a sampler may choose


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moments:
    """How a normalisation is written."""

    mean: Sequence[Sequence[Number]]
    std: Sequence[Sequence[Number]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """How a provenance is written: nothing may be missing, since who has been seen is never nobody by default."""

    identity: str
    made_from: Mapping[str, str]
    seen: tuple[str, ...]
    unknown: tuple[str, ...]


# as a recipe, of which a file must tell all
_Recipe = dataclasses.make_dataclass("_Recipe", list(get_type_hints(Recipe).items()), kw_only=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Distilled:
    """How a distillation is written."""

    weights: Mapping[str, Number]
    temperature: Number
    temperatures: Mapping[str, Number] = field(default_factory=dict)
    warmup: Number = 0.0


def _by_way_of(written: type[Any], made: Callable[[Any], Any]) -> GetPydanticSchema:
    """Read a part in the form in which it is written, and make of it what the program works with."""
    return GetPydanticSchema(
        lambda _, handler: core_schema.no_info_after_validator_function(made, handler(written))
    )


Moments = Annotated[
    Normalisation,
    _by_way_of(
        _Moments,
        lambda it: Normalisation.from_dict({"mean": it.mean, "std": it.std}, "the normalisation"),
    ),
]
Told = Annotated[
    Provenance,
    _by_way_of(
        _Told,
        lambda it: Provenance(
            identity=it.identity,
            made_from=it.made_from,
            seen=frozenset(it.seen),
            unknown=it.unknown,
        ),
    ),
]
Trained = Annotated[Recipe, _by_way_of(_Recipe, lambda it: Recipe(**parts_of(it)))]
Distilled = Annotated[
    Distillation, _by_way_of(_Distilled, lambda it: Distillation(**parts_of(it)))
]
