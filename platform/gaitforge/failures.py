"""Count how the students of each family ended, and say in words why some failed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gaitforge.records.summary import FamilyEnds

FAILED_SHARE = 0.1  # of a family's students; above it, which ones finished is no longer chance
# a line of a native stack as Ray's workers print it: address, the frame's size, the function
FRAME = re.compile(r"^(?:PC:)?\s*@\s+0x[0-9a-f]+\s+(?:\(unknown\)|\d+)\s+(\S.*)$")
# a frame without a name, and those by which a process sends itself a signal
SILENT = ("(unknown)", "kill", "raise", "gsignal", "abort")


class Ended(Protocol):
    """The fields of a trial that are read here; any class that has them will do."""

    @property
    def family(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str | None: ...


def count_failures(trials: Iterable[Ended]) -> dict[str, FamilyEnds]:
    """Count, by family, how many trials finished, stopped and failed, and how often each reason to fail was given."""
    states: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for trial in trials:
        states.setdefault(trial.family, Counter())[trial.state] += 1
        if trial.state == "failed":
            reasons.setdefault(trial.family, Counter())[str(trial.reason)] += 1
    return {
        family: FamilyEnds(
            finished=states[family]["finished"],
            stopped=states[family]["stopped"],
            failed=states[family]["failed"],
            reasons=dict(reasons.get(family, Counter()).most_common()),
        )
        for family in sorted(states)
    }


def failure_note(failures: Mapping[str, FamilyEnds]) -> str | None:
    """Return a sentence that names the families of which a search says little; None where there are none.

    Of such a family no student finished, or more than FAILED_SHARE failed. `failures` comes from
    `count_failures`.
    """
    parts = []
    for family, counts in failures.items():
        ended, failed = counts.ended, counts.failed
        if counts.finished and failed <= FAILED_SHARE * ended:
            continue
        students = f"the {ended} student{'' if ended == 1 else 's'} of {family}"
        part = (
            f"of {students} {failed} failed ({100 * failed / ended:.0f} %)"
            if counts.finished
            else f"of {students} none finished ({counts.stopped} stopped early, {failed} failed)"
        )
        if failed:
            part += f", most often since {_shortened(next(iter(counts.reasons)))}"
        parts.append(part)
    if not parts:
        return None
    return (
        f"What the search says of a family rests on those that finished, and {'; '.join(parts)}."
    )


def find_top_frame(stderr: Sequence[str]) -> str | None:
    """Find the innermost named function of the native stack that a dying process printed; None where there is none.

    Functions by which a process sends itself a signal are passed over.
    """
    named = (match[1] for line in stderr if (match := FRAME.match(line)))
    return next((name for name in named if name not in SILENT), None)


def describe_student(family: str, sizes: Mapping[str, Any]) -> str:
    """Describe a family and its sizes in words, such as: tcn (channels 16, layers 2)."""
    return f"{family} ({', '.join(f'{name} {_value(value)}' for name, value in sizes.items())})"


def _shortened(reason: str) -> str:
    """Cut a reason to at most 160 characters without its full stop, so that it fits into a sentence."""
    text = reason.rstrip(".")
    return text if len(text) <= 160 else f"{text[:159]}…"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        names = all(isinstance(item, str) for item in value)
        return ("+" if names else "-").join(map(_value, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
