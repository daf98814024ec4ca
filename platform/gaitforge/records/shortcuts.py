"""What recorded columns tell: confirm/shortcuts.json."""

from __future__ import annotations

from dataclasses import dataclass

from gaitforge.records.confirm import Says
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import Count, Number, Told


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """How well something is told of people whom it was not fitted to.

    `measure` is a rank correlation or a balanced accuracy, `chance` what either is where nothing is told.
    """

    measure: str
    value: Number
    interval: tuple[Number, Number]
    chance: Number
    people: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnFacts:
    """A column: how well the windows tell it, and how well it alone tells the class; or why that `cannot` be told."""

    name: str
    cannot: str | None
    from_windows: Telling | None
    class_from_it: Telling | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutFacts:
    """confirm/shortcuts.json: the columns, how well the windows tell the class, and what that says in a sentence."""

    identity: str
    class_from_windows: Telling | None
    columns: tuple[ColumnFacts, ...]
    says: Says
    sentence: str
    provenance: Told


SHORTCUTS = JsonFile(
    record=ShortcutFacts, what="what recorded columns tell", stage="gaitforge confirm run.toml"
)
