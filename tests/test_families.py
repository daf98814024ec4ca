"""The contract of every model family, held over the table FAMILIES, and how sizes are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models import FAMILIES, Output, Sizes, check_kind, make_sizes
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput
from gaitforge.models.tcn import TcnSizes
from gaitforge.testing import families
from tests.small_sizes import small_sizes

# Of ours, besides the small sizes that each has: published forms, and every switch on in one case.
MORE: dict[str, tuple[str, dict[str, object]]] = {
    "ctrgcn, three blocks": ("ctrgcn", {"widths": [8, 8, 16], "strides": [1, 2, 1]}),
    "dynstg_mamba, two blocks": (
        "dynstg_mamba",
        {"widths": [8, 16], "strides": [1, 2], "states": 4},
    ),
    "dynstg_mamba, all on": (
        "dynstg_mamba",
        {
            "widths": [8, 8],
            "strides": [2, 1],
            "states": 4,
            "phases": 4,
            "bidirectional": True,
            "kalman": True,
        },
    ),
    "dynstg_mamba, static": ("dynstg_mamba", {"widths": [8], "strides": [2], "filter": "static"}),
    "dynstg_mamba, bones": ("dynstg_mamba", {"widths": [8], "strides": [2], "filter": "none"}),
    "stgcn, as a teacher": ("stgcn", {}),
    "tcn, as a teacher": ("tcn", {}),
}
CASES: dict[str, Sizes] = {family: small_sizes(family) for family in FAMILIES} | {
    case: make_sizes(family, values) for case, (family, values) in MORE.items()
}
SLOW = ("first missing joint", "export", "streams")  # seconds for each family


def every_check() -> Iterator[Any]:
    """Check and case; exported is the small one of each family alone, since that takes longest."""
    for check in families.CHECKS:
        for case in FAMILIES if check in ("export", "streams") else CASES:
            yield pytest.param(check, case, marks=[pytest.mark.slow] * (check in SLOW))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_sizes_that_settings_can_say(family: str) -> None:
    assert check_kind(FAMILIES[family]) is FAMILIES[family]


@pytest.mark.parametrize(("check", "case"), list(every_check()))
def test_every_family_holds(check: str, case: str) -> None:
    families.CHECKS[check](CASES[case])


# what the contract refuses


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainSizes:
    """A family that holds the contract, and whose faults a test may choose."""

    width: int = 4
    forgets: bool = False  # to mask what stands for a missing joint
    idle: bool = False  # has a weight that nothing reads
    mixes: bool = False  # the windows of a batch

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        return Plain(self, layout, channels, classes)

    def as_dict(self) -> dict[str, object]:
        return {
            "width": self.width,
            "forgets": self.forgets,
            "idle": self.idle,
            "mixes": self.mixes,
        }


class Plain(nn.Module):
    """Batch -> Output by one linear layer."""

    def __init__(self, sizes: PlainSizes, layout: Layout, channels: int, classes: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.joint_input = JointInput(joints=layout.joint_count, channels=channels)
        self.widen = nn.Linear(channels + 1, sizes.width)
        self.idle = nn.Parameter(torch.ones(1)) if sizes.idle else None
        self.head = ClassHead(width=sizes.width, classes=classes)

    def forward(self, batch: Batch) -> Output:
        if self.sizes.forgets:
            batch = Batch(joints_BTVC=batch.joints_BTVC, seen_BTV=torch.ones_like(batch.seen_BTV))
        x_BTVC = self.joint_input(batch)
        if self.sizes.mixes:
            x_BTVC = x_BTVC + x_BTVC.mean(dim=0)
        output: Output = self.head(torch.tanh(self.widen(x_BTVC)).permute(0, 3, 1, 2))
        return output


@pytest.mark.slow
def test_a_family_of_anybody_is_checked_whole() -> None:
    families.check(PlainSizes)
    families.check(PlainSizes, PlainSizes(width=2), PlainSizes(width=7))
    with pytest.raises(AssertionError, match="are no PlainSizes; give sizes of that family"):
        families.check(PlainSizes, TcnSizes())


@pytest.mark.parametrize(
    ("check", "sizes", "sentence"),
    [
        ("missing joints", PlainSizes(forgets=True), "in the place of unseen joints changes the logits"),
        ("gradients", PlainSizes(idle=True), "The parameter idle of PlainSizes.* has no finite gradient"),
        ("alone", PlainSizes(mixes=True), "depends on the other windows of a batch"),
    ],
)  # fmt: skip
def test_a_family_that_breaks_a_rule_is_told_which(
    check: str, sizes: PlainSizes, sentence: str
) -> None:
    families.CHECKS[check](PlainSizes())
    with pytest.raises(AssertionError, match=sentence):
        families.CHECKS[check](sizes)


@dataclass(kw_only=True)
class Changeable:
    width: int = 4


@dataclass(frozen=True, kw_only=True)
class Mapped(PlainSizes):
    names: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Demanding(PlainSizes):
    depth: int


@dataclass(frozen=True)
class Unbuilt:
    width: int = 4


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (int, "int is no dataclass"),
        (Changeable, "Changeable can be changed"),
        (Unbuilt, "Unbuilt has no method 'build'"),
        (Mapped, r"Mapped\.names is of type .*, but must be int, float"),
        (Demanding, "Demanding.depth has no default"),
    ],
)
def test_sizes_that_settings_cannot_say_are_told(
    kind: Callable[..., object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_kind(kind)
    with pytest.raises(AssertionError, match=sentence):
        families.check(kind)  # type: ignore[arg-type]


# sizes from settings


def test_a_whole_number_is_taken_for_a_size_that_is_a_number() -> None:
    assert isinstance(make_sizes("tcn", {"dropout": 0}).as_dict()["dropout"], float)


def test_unknown_family_names_the_known_and_the_nearest() -> None:
    with pytest.raises(
        KeyError,
        match=r"no model family 'stgnc'; known are .*\bstgcn, .*the nearest is 'stgcn'",
    ):
        make_sizes("stgnc", {})


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"no size 'kernels'; .* the nearest is 'kernel'"):
        make_sizes("tcn", {"kernels": 5})


@pytest.mark.parametrize(
    ("family", "name", "value", "must"),
    [
        ("ctrgcn", "dilations", 2, "a list of whole numbers"),
        ("dynstg_mamba", "kalman", 1, "true or false"),
        ("tcn", "layers", 2.0, "a whole number"),
        ("tcn", "layers", True, "a whole number"),
        ("tcn", "dropout", "0.1", "a number"),
        ("tcn", "dropout", False, "a number"),
        ("stgcn", "widths", 64, "a list of whole numbers"),
        ("stgcn", "widths", [64, "64"], "a list of whole numbers"),
        ("stgcn", "temporal", 1, "a string"),
    ],
)
def test_size_of_another_type_is_refused(family: str, name: str, value: object, must: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{name}' of the family '{family}' is .* must be {must}"
    ):
        make_sizes(family, {name: value})


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("ctrgcn", {"widths": [6], "strides": [1]}),
        ("ctrgcn", {"widths": [], "strides": []}),
        ("ctrgcn", {"strides": [1]}),
        ("ctrgcn", {"kernel": 4}),
        ("ctrgcn", {"dilations": []}),
        ("ctrgcn", {"reduction": 0}),
        ("ctrgcn", {"dropout": 1.0}),
        ("dynstg_mamba", {"widths": []}),
        ("dynstg_mamba", {"strides": [1, 0, 1, 1]}),
        ("dynstg_mamba", {"states": 0}),
        ("dynstg_mamba", {"expand": 0}),
        ("dynstg_mamba", {"filter": "adaptive"}),
        ("dynstg_mamba", {"filter": "static", "phases": 4}),
        ("dynstg_mamba", {"dropout": -0.1}),
        ("stgcn", {"kernel": 4}),
        ("stgcn", {"widths": []}),
        ("stgcn", {"widths": [8, 0], "strides": [1, 1]}),
        ("stgcn", {"widths": [8, 8]}),
        ("stgcn", {"widths": [8], "strides": [0]}),
        ("stgcn", {"temporal": "sparse"}),
        ("stgcn", {"dropout": 1.0}),
        ("tcn", {"kernel": 4}),
        ("tcn", {"kernel": -1}),
        ("tcn", {"channels": 0}),
        ("tcn", {"layers": 0}),
        ("tcn", {"dilation_growth": 0}),
        ("tcn", {"dropout": -0.1}),
        ("tcn", {"layers": 12, "dilation_growth": 4}),
    ],
)
def test_impossible_sizes_are_refused(family: str, values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Sizes.*; |Sizes.*: "):
        make_sizes(family, values)


def test_batch_keeps_seen_boolean_when_floats_change_type() -> None:
    batch = Batch(
        joints_BTVC=torch.ones(2, 5, 3, 3),
        seen_BTV=torch.ones(2, 5, 3, dtype=torch.bool),
        features_BF=torch.ones(2, 6),
    )
    moved = batch.to("cpu", torch.float64)

    assert moved.joints_BTVC.dtype == torch.float64
    assert moved.seen_BTV.dtype == torch.bool
    assert moved.features_BF is not None
    assert moved.features_BF.dtype == torch.float64
