"""store/store.json: which version of the recordings is in force, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaitforge.layout import Layout
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import Count


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """The version of the store's log that is in force and what it holds.

    `reasons` counts the quarantined by the kind of their reason, the most frequent first.
    """

    fingerprint: str
    version: int
    recordings: Count
    people: Count
    classes: tuple[str, ...]
    channels: Count
    quarantined: Count
    layout: Layout
    reasons: Mapping[str, int] = field(default_factory=dict)


STORE = JsonFile(record=StoreInfo, what="the store's head", stage="gaitforge ingest")
