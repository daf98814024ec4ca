"""Consistency: several views of a window should have one answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gaitforge.losses.consistency import consistency_loss


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_consistency_has_the_value_of_the_hand_calculation() -> None:
    # 3 : 1 and 1 : 3 have an even mean
    logits = torch.tensor([[[3.0, 1.0]], [[1.0, 3.0]]]).log()
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert consistency_loss(logits).item() == pytest.approx(by_hand)
    # beside a window whose views agree it is half of that
    both = torch.cat([logits, torch.zeros(2, 1, 2)], dim=1)
    assert consistency_loss(both).item() == pytest.approx(by_hand / 2)


def test_views_that_are_answered_alike_are_0_and_certain_opposites_the_log_of_their_number() -> (
    None
):
    alike = drawn(1, 6, 4).expand(3, 6, 4) + torch.tensor([0.0, 1.0, -2.0])[:, None, None]
    assert consistency_loss(alike).item() == pytest.approx(0, abs=1e-12)
    apart = 1e4 * torch.eye(3)[:, None]  # 3 views of a window, each sure of a class of its own
    assert consistency_loss(apart).item() == pytest.approx(math.log(3))


def test_consistency_knows_no_order_of_views() -> None:
    logits = drawn(3, 5, 4)
    torch.testing.assert_close(consistency_loss(logits), consistency_loss(logits.flip(0)))


def test_the_gradient_of_consistency_is_that_of_its_value_and_draws_views_together() -> None:
    logits = drawn(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(consistency_loss, logits)
    before = consistency_loss(logits)
    (slope,) = torch.autograd.grad(before, logits)
    assert consistency_loss(logits - 0.1 * slope) < before
    # also where nothing moves, or one class is all
    for still in (torch.zeros(2, 3, 4), 1e4 * torch.eye(4)[None, :3].expand(2, 3, 4)):
        inputs = still.clone().requires_grad_()
        consistency_loss(inputs).backward()  # type: ignore[no-untyped-call]
        assert inputs.grad is not None
        assert inputs.grad.abs().max() < 1e-6


def test_one_view_is_refused() -> None:
    with pytest.raises(ValueError, match="There is 1 view, but consistency compares at least 2"):
        consistency_loss(torch.zeros(1, 3, 4))
