"""Which confirmed students are as good as their teacher: the tests behind the answer, their order and their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gaitforge.stats import Estimate, Ints, compare, find_tested, is_noninferior, is_too_few


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One network against the teacher: the difference, whether it was tested, and what came of it.

    `noninferior` is None where people are too few for a test, and False where a larger student has
    failed before this one was tested.
    """

    difference: Estimate
    tested: bool
    noninferior: bool | None


def say_judged(*, tested: bool, noninferior: bool | None, margin: float) -> str:
    """Say what came of a network's test, as it stands after its name."""
    if noninferior is None:
        return "too few people to test it"
    if noninferior:
        return f"shown to lose less than {margin:g} macro F1 to the teacher"
    if tested:
        return f"not shown to lose less than {margin:g} macro F1 to the teacher"
    return "not tested, since a larger student failed"


def say_interval(ends: Sequence[float]) -> str:
    """Write the ends of an interval of differences."""
    return f"{ends[0]:+.3f} to {ends[1]:+.3f}"


class HasDifference(Protocol):
    """What is asked of a record here that tells a difference."""

    @property
    def difference(self) -> float: ...
    @property
    def difference_interval(self) -> tuple[float, float] | None: ...


def say_difference(difference: HasDifference, at_once: str = "") -> str:
    """Write a difference, with its interval where it has one; `at_once` says of what that holds."""
    ends = difference.difference_interval
    sure = "" if ends is None else f" (95 % interval{at_once} {say_interval(ends)})"
    return f"{difference.difference:+.3f}{sure}"


def judge(
    networks_MPKK: Sequence[Ints], teacher_PKK: Ints, params_M: Sequence[int], margin: float
) -> list[Judged]:
    """Test the networks that would be handed out, one of each member, from the largest down to the first that fails.

    The chance that any of them is wrongly called as good is that of one test, however many there are.
    """
    differences = [compare(network, teacher_PKK) for network in networks_MPKK]
    if is_too_few(teacher_PKK.shape[-3]):
        return [Judged(difference=d, tested=False, noninferior=None) for d in differences]
    passes = [is_noninferior(difference, margin) for difference in differences]
    tested = find_tested(params_M, passes)
    return [
        Judged(difference=difference, tested=is_tested, noninferior=is_tested and passed)
        for difference, is_tested, passed in zip(differences, tested, passes, strict=True)
    ]
