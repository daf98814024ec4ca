"""Rules of the gradients: no family strides a 1x1 convolution, float32 agrees with float64, faults are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import optuna
import pytest
import torch
from torch import nn

from benchmarks.faulty_family import NAME, FaultySizes
from benchmarks.gradients import few_problems
from gaitforge.gradients import (
    WRONG,
    Difference,
    Problem,
    gradient_difference,
    relative_error,
)
from gaitforge.layout import LAYOUTS
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.models.convolution import FrameConvolution
from search_spaces import SPACES
from tests.small_sizes import small_sizes
from trainers.arithmetic.check import Asked, compare, find_typical_sizes

COCO = LAYOUTS["coco17"]
FORMATS = {
    "as the family has them": None,
    "channels last": torch.channels_last,
    "plain": torch.contiguous_format,
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def built(family: str, sizes: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return make_sizes(family, sizes).build(COCO, 3, 4)


def strided_1x1(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d)
        and set(module.kernel_size) == {1}
        and set(module.stride) != {1}
    ]


def problem(family: str, sizes: Mapping[str, object]) -> Problem:
    return Problem(sizes=sizes, layout=COCO.as_dict(), channels=3, classes=3)


# what no model contains


@every_family
def test_no_student_and_no_default_teacher_strides_a_1x1_convolution(family: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    space = SPACES.get(family)  # of one without, the defaults are all there is
    drawn = [space.suggest(study.ask()).as_dict() for _ in range(10)] if space else []
    for sizes in (small_sizes(family).as_dict(), {}, *drawn):
        assert strided_1x1(built(family, dict(sizes))) == [], sizes


@pytest.mark.parametrize("temporal", ["separable", "full"])
def test_a_kernel_of_one_frame_is_no_strided_1x1_convolution_either(temporal: str) -> None:
    sizes = {"widths": [4, 8], "strides": [2, 3], "kernel": 1}
    assert strided_1x1(built("stgcn", {**sizes, "temporal": temporal})) == []
    assert strided_1x1(built("ctrgcn", sizes)) == []


def test_the_rule_above_would_see_one() -> None:
    with torch.device("meta"):
        assert strided_1x1(FaultySizes().build(COCO, 3, 4)) == ["stride"]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 4])
def test_frames_are_convolved_as_torch_does_it_with_a_stride(kernel: int, groups: int) -> None:
    torch.manual_seed(0)
    ours = FrameConvolution(4, 4, kernel=kernel, stride=3, groups=groups)
    torchs = nn.Conv2d(4, 4, (kernel, 1), (3, 1), (kernel // 2, 0), groups=groups, bias=False)
    torchs.load_state_dict(ours.state_dict())  # the weights of before still load
    x_BDTV = torch.randn(2, 4, 11, 3)
    torch.testing.assert_close(ours(x_BDTV), torchs(x_BDTV))


# float32 against float64


@every_family
@pytest.mark.parametrize("memory", FORMATS)
def test_the_smallest_of_every_family_has_the_gradients_of_float64(
    family: str, memory: str
) -> None:
    smallest = small_sizes(family).as_dict()
    found = gradient_difference(family, problem(family, smallest), FORMATS[memory])
    assert found.error < 1e-3, found


# where a fault was seen, for every family, and a few others; `python -m benchmarks.gradients` looks at all
CELLS = [
    *((family, "AVX2", 1) for family in FAMILIES),
    *((family, "AVX2", 2) for family in ("ctrgcn", "stgcn", "tcn")),
    ("ctrgcn", "SSE41", 2),
    ("stgcn", "SSE41", 2),
    ("stgcn", "", 2),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "instructions", "threads"), CELLS)
def test_gradients_are_those_of_float64_whatever_the_processor(
    family: str, instructions: str, threads: int
) -> None:
    environment = {"ONEDNN_MAX_CPU_ISA": instructions} if instructions else {}
    found = compare(
        Asked(family=family, problems=few_problems(family)),
        threads,
        memory="channels_last",
        environment=environment,
    )
    assert found.error < 1e-3, found


class HalfTooLarge(torch.autograd.Function):
    """The identity, whose gradient is wrong by half in float32 alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (1.5 if gradient.dtype == torch.float32 else 1.0)


def test_an_operation_that_is_wrong_in_float32_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, wrong = FrameConvolution.forward, cast(Callable[..., torch.Tensor], HalfTooLarge.apply)
    monkeypatch.setattr(FrameConvolution, "forward", lambda self, x: wrong(plain(self, x)))
    found = gradient_difference("stgcn", problem("stgcn", {"widths": [4], "strides": [1]}))
    assert found.error == pytest.approx(0.5, abs=0.01)
    assert found.is_wrong


def test_rounding_of_a_gradient_that_is_nearly_zero_is_no_error() -> None:
    wanted, found = torch.tensor([0.0, 0.0]), torch.tensor([3e-9, -4e-9])
    assert relative_error(found, wanted, least=1e-3) == pytest.approx(5e-6)
    assert relative_error(
        torch.tensor([3.0, 3.0]), torch.tensor([2.0, 2.0]), least=1e-3
    ) == pytest.approx(0.5)
    assert relative_error(torch.tensor([torch.nan, 2.0]), wanted, least=1e-3) == math.inf


def test_a_deep_model_of_many_kinks_is_no_further_from_float64() -> None:
    sizes = {"widths": [8] * 6, "strides": [1, 2, 1, 2, 1, 1]}
    assert gradient_difference("ctrgcn", problem("ctrgcn", sizes)).error < 1e-3


def test_what_is_wrong_begins_above_the_bound() -> None:
    assert not Difference(error=WRONG, parameter="w").is_wrong
    assert Difference(error=float("inf"), parameter="w").is_wrong


# what the check catches


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_convolution_that_onednn_gets_wrong_is_caught(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread: the process dies; two: gradients are wrong, or a loop has no end."""
    monkeypatch.setitem(FAMILIES, NAME, FaultySizes)
    old = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    asked = Asked(
        family=NAME, problems=tuple(problem(NAME, {"width": width}) for width in (4, 5, 7))
    )
    found = compare(asked, threads, environment=old, cpu_s=15)
    assert found.is_wrong
    assert found.died if threads == 1 else found.died or found.error > 0.1
    assert not compare(asked, threads, environment=old, onednn=False).is_wrong


def test_a_family_of_no_space_is_checked_by_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, NAME, FaultySizes)
    assert find_typical_sizes(NAME) == ({"width": 4},)
    assert len(find_typical_sizes("stgcn")) == 2
