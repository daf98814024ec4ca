"""Rules that every search space must keep, as checks: those of this project and those of extensions alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from gaitforge.cost import count
from gaitforge.layout import LAYOUTS
from gaitforge.models import Sizes, sizes_from
from gaitforge.spaces import Space
from gaitforge.testing import require

DRAWN = 50  # students that a rule looks at
Value = bool | int | float | str
T = TypeVar("T", bound=Value)


def check(family: str, space: Space, kind: type[Sizes]) -> None:
    """Check the space of a family against every rule; takes seconds. `kind` is the family's class of sizes.

    Raises AssertionError for the first rule that is broken.
    """
    check_kind(family, space, kind)
    for holds in CHECKS.values():
        holds(family, space)


def check_kind(family: str, space: Space, kind: type[Sizes]) -> None:
    """Check that the smallest sizes and all that are drawn are of the family's class."""
    for sizes in (space.smallest, *(space.suggest(draw) for draw in draw_answers(5))):
        require(
            isinstance(sizes, kind),
            f"The space of '{family}' gives {sizes!r}, but must give {kind.__name__}.",
        )


def check_stored(family: str, space: Space) -> None:
    """Check that every proposal can be stored as JSON and made again."""
    for draw in draw_answers():
        sizes = space.suggest(draw)
        made = sizes_from(type(sizes), family, json.loads(json.dumps(sizes.as_dict())))
        require(made == sizes, f"{sizes!r} come back from their as_dict() as {made!r}.")


def check_repeated(family: str, space: Space) -> None:
    """Check that the same searched values always make the same student.

    A search that starts from others' values, or goes on after a kill, has nothing but these.
    """
    for draw in draw_answers():
        sizes = space.suggest(draw)
        again = space.suggest(Answers(draw.share, dict(draw.values)))
        require(
            again == sizes,
            f"The space of '{family}' makes {sizes!r} and then {again!r} of the same values; let nothing else decide.",
        )


def check_names(family: str, space: Space) -> None:
    """Check that every name begins with the family's and has one range, so that one study can hold all families."""
    ranges: dict[str, object] = {}
    for draw in draw_answers():
        space.suggest(draw)
        require(draw.values, f"The space of '{family}' asks for nothing; let it suggest a size.")
        for name, asked in draw.ranges.items():
            require(
                name.startswith(f"{family}."),
                f"The space of '{family}' asks for '{name}', but its names must begin with '{family}.'.",
            )
            require(
                ranges.setdefault(name, asked) == asked,
                f"The space of '{family}' asks for '{name}' in the ranges {ranges[name]} and {asked}, but a study "
                "knows one range for one name; ask for a share and work the size out.",
            )


def check_smallest(family: str, space: Space) -> None:
    """Check that no draw has fewer parameters than `smallest`, and that the low end of all ranges has as many.

    A search refuses, before it starts, a budget that the smallest does not meet.
    """
    least = count_params(space.smallest)
    lowest = count_params(space.suggest(lowest_answers()))
    require(
        lowest == least,
        f"The smallest of the space of '{family}' has {least} parameters, but the lowest of all ranges gives {lowest}.",
    )
    for draw in draw_answers(5):
        params = count_params(space.suggest(draw))
        require(
            params >= least,
            f"The space of '{family}' gives a student of {params} parameters, but its smallest has {least}.",
        )


CHECKS: Mapping[str, Callable[[str, Space], None]] = MappingProxyType(
    {
        "stored": check_stored,
        "repeated": check_repeated,
        "names": check_names,
        "smallest": check_smallest,
    }
)


@dataclass(slots=True)
class Answers:
    """Answers each question once and remembers it: `share` says where in the range, from 0 to below 1.

    `values` holds the answers by name, given ones included; `ranges` holds the ranges that were asked for.
    """

    share: Callable[[], float]
    values: dict[str, Value] = field(default_factory=dict)
    ranges: dict[str, object] = field(default_factory=dict)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        self.ranges[name] = (low, high, step, log)
        if name not in self.values:
            at = int(_between(self.share(), low, high + 1, log))
            self.values[name] = low + (at - low) // step * step
        return int(self.values[name])

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.ranges[name] = (low, high, step, log)
        if name not in self.values:
            at = _between(self.share(), low, high, log)
            self.values[name] = at if step is None else low + (at - low) // step * step
        return float(self.values[name])

    def suggest_categorical(self, name: str, choices: Sequence[T]) -> T:
        self.ranges[name] = tuple(choices)
        if name not in self.values:
            self.values[name] = choices[int(self.share() * len(choices))]
        return next(choice for choice in choices if choice == self.values[name])


def draw_answers(number: int = DRAWN) -> Iterator[Answers]:
    """Draw `number` sets of answers that are spread over the ranges; the same in every call."""
    rng = np.random.default_rng(1)
    return (Answers(lambda: float(rng.random())) for _ in range(number))


def lowest_answers() -> Answers:
    """Return answers at the low end of every range; of categories the first."""
    return Answers(lambda: 0.0)


def highest_answers() -> Answers:
    """Return answers at the high end of every range; of categories the last."""
    return Answers(lambda: math.nextafter(1.0, 0.0))


def count_params(sizes: Sizes) -> int:
    """Count the parameters for 17 joints in three coordinates and four classes."""
    return count(sizes, LAYOUTS["coco17"], channels=3, classes=4, frames=32).params


def _between(share: float, low: float, high: float, log: bool) -> float:
    if log:
        return float(low * (high / low) ** share)
    return low + (high - low) * share
