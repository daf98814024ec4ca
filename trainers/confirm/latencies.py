"""How long the teacher and confirmed students take once exported: measured by confirm, so that all can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaitforge.members import Member
from gaitforge.work import SplitFolder, fingerprint, read_json, write_json
from trainers.terminal.say import say
from trainers.training.measures import exported
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder


def write_latencies(
    windows: WindowFolder, folder: SplitFolder, teacher: Teacher, members: Sequence[Member]
) -> None:
    """Write `confirm/latency.json`: the teacher and a row per member; what was measured for the same sizes is kept.

    A model that cannot be exported has no times, which is said: it may well be confirmed.
    """
    before = _before(folder)
    rows = (before["teacher"], *before["members"]) if before else ()
    kept = {row["key"]: {name: row[name] for name in row if name != "trial"} for row in rows}

    def row(name: str, family: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
        key = fingerprint({"family": family, "sizes": dict(sizes), "windows": windows.key})
        return kept.get(key) or {"key": key, **_measured(name, family, sizes, windows)}

    content = {
        "schema": 1,
        "teacher": row("the teacher", teacher.family, teacher.sizes),
        "members": [
            {**row(f"trial {trial.number}", trial.family, trial.sizes), "trial": trial.number}
            for trial in (member.trial for member in members)
        ],
    }
    if content != before:
        write_json(folder.confirm / "latency.json", content)


def _measured(
    name: str, family: str, sizes: Mapping[str, Any], windows: WindowFolder
) -> dict[str, float | None]:
    try:
        # untrained: the time does not depend on the weights
        facts = exported(windows.build(family, sizes), windows)
    except (RuntimeError, ArithmeticError) as error:
        reason = str(error).strip().partition("\n")[0]
        say(f"  {name} cannot be exported, so its latency is unknown ({reason})")
        return {"latency_ms_p50": None, "latency_ms_p95": None, "onnx_bytes": None}
    return {
        "latency_ms_p50": facts.latency_ms_p50,
        "latency_ms_p95": facts.latency_ms_p95,
        "onnx_bytes": facts.onnx_bytes,
    }


def _before(folder: SplitFolder) -> dict[str, Any] | None:
    """What the file says now; None of one that is missing, damaged or older."""
    path = folder.confirm / "latency.json"
    try:
        content = read_json(path)
        known = all(
            isinstance(row["key"], str) for row in (content["teacher"], *content["members"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if known else None
