"""store/store.json: which version of the recordings is in force, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaitforge.layout import Layout
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import ABSENT, Classes, Count, Number


@dataclass(frozen=True, kw_only=True, slots=True)
class HowRead:
    """How recordings were read, and how new ones must be read: the keys of [ingest.read] that bear on it.

    Each has the name of its key, and is None where that is left out.
    """

    confidence_channel: int | None
    fps: Number | None
    joints: Mapping[str, tuple[str, ...]] | None = field(default=None, metadata=ABSENT)
    columns: Mapping[str, str] | None = field(default=None, metadata=ABSENT)
    wide: str | None = field(default=None, metadata=ABSENT)
    unit: str | None = field(default=None, metadata=ABSENT)
    up: str | None = field(default=None, metadata=ABSENT)
    image: tuple[Count, Count] | None = field(default=None, metadata=ABSENT)
    from_layout: Layout | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """The version of the store's log that is in force and what it holds.

    `reasons` counts the quarantined by the kind of their reason, the most frequent first. `read` is None for synthetic
    walkers, and in stores of older versions.
    """

    fingerprint: str
    version: Count
    recordings: Count
    people: Count
    classes: Classes
    channels: Count
    quarantined: Count
    layout: Layout
    reasons: Mapping[str, int] = field(default_factory=dict)
    read: HowRead | None = field(default=None, metadata=ABSENT)


STORE = JsonFile(record=StoreInfo, what="the store's head", stage="gaitforge ingest run.toml")
