"""What the cache of a split's windows keeps beside its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gaitforge.layout import Layout
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import Classes, Moments, Windows


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowsHead:
    """cache/windows/<key>/meta.json: all that the windows depend on, and how they were scaled.

    `format` counts the forms that cached arrays have had.
    """

    format: int
    store: str
    roles: Mapping[str, str]
    settings: Windows
    layout: Layout
    classes: Classes
    split: str
    normalisation: Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleRecordings:
    """cache/windows/<key>/<role>/recordings.json: recordings in the order that the arrays count them.

    `sha256` has the hash of each array's file by the array's name, and that of the normalisation.
    """

    recordings: tuple[str, ...]
    persons: tuple[str, ...]
    sha256: Mapping[str, str]


_REMEDY = "remove the folder that holds it and run the stage again"
WINDOWS = JsonFile(
    record=WindowsHead,
    what="the windows' head",
    stage="gaitforge teacher run.toml",
    remedy=_REMEDY,
)
# 1 had no hashes
ROLE_RECORDINGS = JsonFile(
    record=RoleRecordings, schema=2, what="a list of windows' recordings", stage="gaitforge teacher run.toml",
    remedy=_REMEDY,
)  # fmt: skip
