"""Small sizes of every family, derived from the tables, for tests that hold over all of them."""

from __future__ import annotations

from gaitforge.models import FAMILIES, Sizes, make_sizes
from search_spaces import SPACES


def small_sizes(family: str, **changed: object) -> Sizes:
    """The smallest student of a family, or its defaults where it has no space; `changed` where it has such sizes."""
    space = SPACES.get(family)
    sizes = make_sizes(family, {}) if space is None else space.smallest
    known = FAMILIES[family].__dataclass_fields__
    mine = {name: value for name, value in changed.items() if name in known}
    return make_sizes(family, {**sizes.as_dict(), **mine})
