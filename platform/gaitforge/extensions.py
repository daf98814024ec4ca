"""Extensions: what installed packages add to FAMILIES, LOSSES, READERS and SPACES, by entry points.

Importing this file adds nothing: whoever uses the tables calls `load_extensions` first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # readers alone are loaded without torch
    from gaitforge.spaces import Space

FAMILY, LOSS, READER, SPACE = (
    "gaitforge.families",
    "gaitforge.losses",
    "gaitforge.readers",
    "gaitforge.spaces",
)
# group of entry points -> what one of it is called; a space comes after its family
GROUPS = {READER: "reader", FAMILY: "family", LOSS: "term", SPACE: "space"}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """One thing that an installed package adds; `entry` says where it lies."""

    group: str
    name: str
    package: str  # as it is installed
    version: str
    entry: EntryPoint

    @property
    def what(self) -> str:
        """Return its kind and name for a sentence, such as "family 'mean'"."""
        return f"{GROUPS[self.group]} '{self.name}'"

    def refuse(self, reason: str) -> ValueError:
        """Return the error for an extension that cannot be added; it names the package and the reason."""
        return ValueError(
            f"The package {self.package} {self.version} adds the {self.what} as {self.entry.value}, but {reason}; mend "
            "or uninstall the package."
        )


@cache
def find_extensions() -> tuple[Extension, ...]:
    """List what installed packages declare, in the order of GROUPS, without importing any of it.

    Packages are searched once per process.
    """
    found = [
        Extension(
            group=group,
            name=entry.name,
            package=entry.dist.name if entry.dist else "(unknown)",
            version=entry.dist.version if entry.dist else "",
            entry=entry,
        )
        for group in GROUPS
        for entry in metadata.entry_points(group=group)
    ]
    order = list(GROUPS)
    return tuple(
        sorted(found, key=lambda item: (order.index(item.group), item.name, item.package))
    )


def load_extensions(spaces: dict[str, Space]) -> None:
    """Add all extensions to their tables, search spaces to `spaces`; what is there already stays.

    Raises ValueError, naming the package, for a name that is taken or no plain word (of a reader: no
    suffix), for what cannot be loaded, and for what is not of its table's kind.
    """
    for extension in find_extensions():
        load(extension, spaces)


def load_readers() -> None:
    """Add only the extensions that read files, without loading torch; raises ValueError as `load_extensions` does."""
    for extension in find_extensions():
        if extension.group == READER:
            load(extension, {})


def load(extension: Extension, spaces: dict[str, Space]) -> None:
    """Add one extension to its table; raises ValueError as `load_extensions` does."""
    if extension.group == READER:
        from gaitforge.ingest import READERS, check_reader

        _add(extension, READERS, check_reader)
        return
    from gaitforge.losses import LOSSES, check_term
    from gaitforge.models import FAMILIES, check_kind
    from gaitforge.spaces import check_space

    if extension.group == FAMILY:
        _add(extension, FAMILIES, check_kind)
    elif extension.group == LOSS:
        _add(extension, LOSSES, check_term)
    else:
        _add(extension, spaces, lambda space: check_space(extension.name, space))


def _add(extension: Extension, table: dict[str, T], check: Callable[[object], T]) -> None:
    wanted = "a suffix in lower case, as '.csv'" if extension.group == READER else "a plain word"
    if not _is_name(extension):
        raise extension.refuse(f"its name must be {wanted}")
    try:
        thing = extension.entry.load()
    except Exception as error:  # whatever the import of a stranger's module raises
        raise extension.refuse(
            f"that cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    known = table.get(extension.name)
    if known is thing:
        return
    if known is not None:
        raise extension.refuse("that name is taken")
    try:
        table[extension.name] = check(thing)
    except ValueError as error:
        raise extension.refuse(
            f"that is no {GROUPS[extension.group]}: {str(error).rstrip('.')}"
        ) from error


def _is_name(extension: Extension) -> bool:
    name = extension.name
    if extension.group == READER:
        return name.startswith(".") and name == name.lower() and len(name) > 1
    return name.isidentifier()
