"""Space: which sizes of one family a search may try.

A space asks for values by name, and one of Optuna's trials answers; the space itself does not use Optuna.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from gaitforge.models import FAMILIES, Sizes


class Suggester(Protocol):
    """What a space asks for its values: one of Optuna's trials, or anything else that picks one in the range.

    The same name must always come with the same range: a study knows one range for one name.
    """

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    @overload
    def suggest_categorical(self, name: str, choices: Sequence[bool]) -> bool: ...
    @overload
    def suggest_categorical(self, name: str, choices: Sequence[int]) -> int: ...
    @overload
    def suggest_categorical(self, name: str, choices: Sequence[float]) -> float: ...
    @overload
    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str: ...


@dataclass(frozen=True, slots=True)
class Space:
    """`suggest` asks a trial for the sizes of one student; `smallest` is the least it can give.

    `version` grows with what `suggest` asks for: a search does not go on in another space.
    """

    suggest: Callable[[Suggester], Sizes]
    smallest: Sizes
    version: int = 1


def check_space(family: str, space: object) -> Space:
    """Return `space` where SPACES may hold it for the family; raises ValueError where it may not."""
    if not isinstance(space, Space):
        raise ValueError(f"{space!r} is no gaitforge.spaces.Space.")
    if family not in FAMILIES:
        raise ValueError(f"there is no model family '{family}' that it could be the space of.")
    if not isinstance(space.smallest, FAMILIES[family]):
        raise ValueError(
            f"its smallest is {space.smallest!r}, but must be {FAMILIES[family].__name__}."
        )
    return space
