"""Measure how long the exported teacher and confirmed students take, so that all can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gaitforge.members import Member
from gaitforge.records.confirm import LATENCIES, Latencies, Latency
from gaitforge.records.json_file import Unreadable
from gaitforge.work import SplitFolder, fingerprint
from trainers.terminal.say import say
from trainers.training.measures import measure_exported
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder


def write_latencies(
    windows: WindowFolder, folder: SplitFolder, teacher: Teacher, members: Sequence[Member]
) -> None:
    """Write `confirm/latency.json`: the teacher and a row per member; times of the same sizes are kept.

    A model that cannot be exported has no times, which is said: it may well be confirmed.
    """
    before = _before(folder)
    rows = (before.teacher, *before.members) if before else ()
    kept = {row.key: replace(row, trial=None) for row in rows}

    def row(name: str, family: str, sizes: Mapping[str, Any]) -> Latency:
        key = fingerprint({"family": family, "sizes": dict(sizes), "windows": windows.key})
        return kept.get(key) or _measured(key, name, family, sizes, windows)

    content = Latencies(
        teacher=row("the teacher", teacher.family, teacher.sizes),
        members=tuple(
            replace(row(f"trial {trial.number}", trial.family, trial.sizes), trial=trial.number)
            for trial in (member.trial for member in members)
        ),
    )
    if content != before:
        LATENCIES.write(folder.latencies, content)


def _measured(
    key: str, name: str, family: str, sizes: Mapping[str, Any], windows: WindowFolder
) -> Latency:
    try:
        # untrained: the time does not depend on the weights
        facts = measure_exported(windows.build(family, sizes), windows)
    except (RuntimeError, ArithmeticError) as error:
        reason = str(error).strip().partition("\n")[0]
        say(f"  {name} cannot be exported, so its latency is unknown ({reason})")
        return Latency(key=key, latency_ms_p50=None, latency_ms_p95=None, onnx_bytes=None)
    return Latency(
        key=key,
        latency_ms_p50=facts.latency_ms_p50,
        latency_ms_p95=facts.latency_ms_p95,
        onnx_bytes=facts.onnx_bytes,
    )


def _before(folder: SplitFolder) -> Latencies | None:
    """Read what the file says now; None where it is missing, damaged or older."""
    try:
        return LATENCIES.find(folder.latencies)
    except Unreadable:
        return None
