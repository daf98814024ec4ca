"""The card of the student that was handed out: export/card.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gaitforge.layout import Layout
from gaitforge.records.confirm import (
    REFIT,
    SCORES,
    Beaten,
    Member,
    Network,
    RefitHead,
    Scores,
    TeacherScores,
    Verdict,
)
from gaitforge.records.json_file import JsonFile, plain
from gaitforge.records.store import HowRead
from gaitforge.records.values import ABSENT, Classes, Count, Moments, Number, Told, Windows
from gaitforge.work import fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedOut(Network):
    """The network that was handed out; `noninferior` is None where people are too few."""

    noninferior: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutVerdict(Verdict):
    """A verdict and the trial that it is about, which need not be the one that was named for export."""

    FIRST: ClassVar[tuple[str, ...]] = ("about",)

    about: Count


Quantiles = Annotated[tuple[Number, ...], Field(min_length=7, max_length=7)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Familiar:
    """What recordings of the training people are like (see familiar.py), so that predict can tell of unlike ones.

    `checks` are quantiles at 0, 1, 5, 50, 95, 99 and 100 % over `recordings`. Of each joint: `unseen`, the greatest
    share of frames without it, and `heights`, beside the mean joint; of each bone: `shortest` and `longest`, in body
    sizes; null where nothing was seen.
    """

    recordings: Count
    checks: Mapping[str, Quantiles]
    unseen: Sequence[Number]
    heights: Sequence[Number | None]
    shortest: Sequence[Number | None]
    longest: Sequence[Number | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What an exported student is, what it takes, how it was tested and on whom; `people` counts those of each role."""

    identity: str
    trial: Count
    family: str
    sizes: Mapping[str, Any]
    params: Count
    macs: Count
    seed: int
    layout: Layout
    classes: Classes
    channels: Count
    windows: Windows
    normalisation: Moments
    read: HowRead
    split: str
    people: Mapping[str, Count]
    confirmed: Member
    network: HandedOut
    teacher: TeacherScores
    reference: Beaten
    chance: Beaten
    margin: Number
    too_few: bool
    verdict: AboutVerdict
    sentence: str
    provenance: Told
    onnx: str
    onnx_bytes: Count
    onnx_sha256: str
    max_abs_difference: Number
    latency_ms_p50: Number
    latency_ms_p95: Number
    made: str
    familiar: Familiar | None = field(default=None, metadata=ABSENT)


# 1 held no hash of the ONNX file
CARD = JsonFile(
    record=Card, schema=2, what="the card of an export", stage="gaitforge export run.toml",
    remedy="export the student again with `gaitforge export run.toml`",
)  # fmt: skip


def export_identity(refit: RefitHead, scores: Scores, read: HowRead) -> str:
    """Return a hash of all that an export is made from: the refit, the scores, and how recordings are read."""
    return fingerprint(
        {"refit": REFIT.as_dict(refit), "scores": SCORES.as_dict(scores), "read": plain(read)}
    )
