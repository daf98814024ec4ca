"""Types of values that several files hold, some of them written in another form than the program works with."""

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
from gaitforge.windows import WindowSettings

Number = Annotated[float, AllowInfNan(False)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]  # what tables hold
Classes = Annotated[tuple[str, ...], Field(min_length=1)]
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
    """How a provenance is written; no key has a default, so that missing people never pass for unseen ones."""

    identity: str
    made_from: Mapping[str, str]
    seen: tuple[str, ...]
    unknown: tuple[str, ...]


# as a recipe, of which a file must tell all but what is off
_Recipe = dataclasses.make_dataclass(
    "_Recipe",
    [
        (its.name, get_type_hints(Recipe)[its.name], field(default=its.metadata["off"]))
        if "off" in its.metadata
        else (its.name, get_type_hints(Recipe)[its.name])
        for its in dataclasses.fields(Recipe)
    ],
    kw_only=True,
)
# as window settings, of which a file must tell all: a default would cut other windows than the model was made for;
# but for `fps`, which was not known to older versions and is left out where it is not used
_Windows = dataclasses.make_dataclass(
    "_Windows",
    [
        (name, hint, field(default=None, metadata=ABSENT)) if name == "fps" else (name, hint)
        for name, hint in get_type_hints(WindowSettings).items()
    ],
    namespace={"__doc__": WindowSettings.__doc__},
    kw_only=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Distilled:
    """How a distillation is written."""

    weights: Mapping[str, Number]
    temperature: Number
    temperatures: Mapping[str, Number] = field(default_factory=dict)
    warmup: Number = 0.0


def _by_way_of(written: type[Any], made: Callable[[Any], Any]) -> GetPydanticSchema:
    """Return the pydantic schema of a part that is read in its `written` form and turned into an object by `made`."""
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
Windows = Annotated[
    WindowSettings, _by_way_of(_Windows, lambda it: WindowSettings(**parts_of(it)))
]
Distilled = Annotated[
    Distillation, _by_way_of(_Distilled, lambda it: Distillation(**parts_of(it)))
]
