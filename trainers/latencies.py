"""How long confirmed students take once they are exported: measured by confirm, so that all can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaitforge.work import SplitFolder, fingerprint, read_json, write_json
from trainers.confirm import Member
from trainers.examples import WindowFolder
from trainers.measures import exported
from trainers.progress import say


def write_latencies(windows: WindowFolder, folder: SplitFolder, members: Sequence[Member]) -> None:
    """Write `confirm/latency.json`, a row per member; what was measured for the same sizes is kept.

    A member that cannot be exported has no times, which is said: it may well be confirmed.
    """
    path = folder.confirm / "latency.json"
    kept = _kept(folder)
    rows = []
    for member in members:
        trial = member.trial
        key = fingerprint(
            {"family": trial.family, "sizes": dict(trial.sizes), "windows": windows.key}
        )
        row = kept.get(key)
        if row is None:
            row = {"key": key, **_measured(member, windows)}
        rows.append({**row, "trial": trial.number})
    if {row["key"]: row for row in rows} != kept:
        write_json(path, {"schema": 1, "members": rows})


def _measured(member: Member, windows: WindowFolder) -> dict[str, float | None]:
    try:
        # untrained: the time does not depend on the weights
        facts = exported(windows.build(member.trial.family, member.trial.sizes), windows)
    except (RuntimeError, ArithmeticError) as error:
        reason = str(error).strip().partition("\n")[0]
        say(
            f"  trial {member.trial.number} cannot be exported, so its latency is unknown ({reason})"
        )
        return {"latency_ms_p50": None, "latency_ms_p95": None, "onnx_bytes": None}
    return {
        "latency_ms_p50": facts.latency_ms_p50,
        "latency_ms_p95": facts.latency_ms_p95,
        "onnx_bytes": facts.onnx_bytes,
    }


def _kept(folder: SplitFolder) -> Mapping[str, dict[str, Any]]:
    """The rows that are there by what they were measured for; none of a damaged file."""
    path = folder.confirm / "latency.json"
    if not path.is_file():
        return {}
    try:
        return {row["key"]: row for row in read_json(path)["members"]}
    except (ValueError, KeyError, TypeError):
        return {}
