"""Records for tests: what a test tells of a file, and the rest as a tiny line has written it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeVar

from gaitforge.provenance import Provenance
from gaitforge.records import FILES
from gaitforge.records.confirm import SCORES, Report
from gaitforge.records.json_file import JsonFile

T = TypeVar("T")

WRITTEN = Path(__file__).parent / "written"
REPORT = JsonFile(record=Report, schema=None, what="a report", stage="a test")
# tables without fixed keys
BY_NAME = (
    "differences", "reasons", "roles", "made_from", "chosen", "needs", "sizes", "settings", "layout", "parts",
)  # fmt: skip


def kind_of(path: PurePath) -> JsonFile[Any]:
    """The kind of a file by its place in a work folder."""
    kinds = [kind for key, kind in FILES.items() if _pattern(key).fullmatch(path.as_posix())]
    assert len(kinds) == 1, path
    return kinds[0]


def made(kind: JsonFile[T], /, **content: Any) -> T:
    """A record of a kind with this content, as JSON has it; what is left out is that of the tiny line."""
    return kind.parse(json.dumps(_filled(sample(kind), content)), Path("made.json"))


def made_report(content: Mapping[str, Any]) -> Report:
    """What confirm reports before its verdict."""
    return REPORT.parse(json.dumps(_filled(sample(SCORES), content)), Path("made.json"))


@cache
def sample(kind: JsonFile[Any]) -> Any:
    """The content of the tiny line's file of a kind."""
    files = sorted(path for path in WRITTEN.rglob("*.json") if path.name != "settings.json")
    path = next(path for path in files if kind_of(path.relative_to(WRITTEN)) is kind)
    return json.loads(path.read_text())


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<[a-z]+>", "[^/]+", key.replace(".", r"\.")))


def _filled(whole: Any, told: Any) -> Any:
    if isinstance(whole, dict) and isinstance(told, dict):
        inner = {
            key: its if key in BY_NAME else _filled(whole.get(key), its)
            for key, its in told.items()
        }
        return {**whole, **inner}
    if isinstance(whole, list) and whole and isinstance(told, list):
        return [_filled(whole[0], its) for its in told]
    return told


def read_provenance(path: Path) -> Provenance:
    """What any file of the line tells of what it was made from."""
    return Provenance.from_dict(json.loads(path.read_text())["provenance"], str(path))
