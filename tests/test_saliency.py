"""Saliency: when in a window an answer is decided."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.losses.saliency import (
    draw_donors,
    measure_saliency,
    replace_phases,
    saliency_loss,
)
from gaitforge.models.output import Output


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windows(joints_BT: Tensor) -> Batch:
    """Windows of one joint with one coordinate."""
    joints = joints_BT[:, :, None, None]
    return Batch(joints_BTVC=joints, seen_BTV=torch.ones(joints.shape[:3], dtype=torch.bool))


def reads(weight_T: Tensor) -> Callable[[Batch], Output]:
    """A model whose first of two logits is a weighted sum of the frames."""

    def model(batch: Batch) -> Output:
        score_B = batch.joints_BTVC[:, :, 0, 0] @ weight_T
        logits = torch.stack([score_B, torch.zeros_like(score_B)], dim=1)
        return Output(logits, logits, logits[:, :, None, None])

    return model


def test_only_the_phase_that_a_model_reads_is_salient() -> None:
    # eight frames, two a phase; the model reads a frame of the third phase: 3 : 1 here, 1 : 1 with the donor's
    asked, donor = windows(torch.full((1, 8), math.log(3))), windows(torch.zeros(1, 8))
    found = measure_saliency(reads(torch.eye(8)[5]), asked, donor, 1.0)
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, by_hand, 0.0]]))
    # 9 : 1 at temperature 2 is 3 : 1 again, times the square of the temperature
    asked = windows(torch.full((1, 8), math.log(9)))
    warm = measure_saliency(reads(torch.eye(8)[5]), asked, donor, 2.0)
    torch.testing.assert_close(warm, 4 * found)


def test_phases_are_replaced_one_after_the_other_with_what_was_seen() -> None:
    own = windows(torch.zeros(2, 6))
    seen = torch.zeros(2, 6, 1, dtype=torch.bool)
    theirs = torch.tensor([1.0, 2.0])[:, None, None, None].expand_as(own.joints_BTVC)
    donor = Batch(joints_BTVC=theirs, seen_BTV=seen)
    changed = replace_phases(own, donor)
    # six frames in four phases: 2, 1, 2 and 1
    rows = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]
    of_first = torch.tensor(rows, dtype=torch.float32)
    torch.testing.assert_close(
        changed.joints_BTVC[:, :, 0, 0], torch.cat([of_first, 2 * of_first])
    )
    assert torch.equal(changed.seen_BTV[:4, :, 0], of_first == 0)


def test_saliency_is_compared_in_units_of_its_mean() -> None:
    # 1 and 3 are 0.5 and 1.5 in means; smooth L1 of differences of 0.5 is 0.125
    student, teacher = torch.tensor([[1.0, 3.0]]), torch.tensor([[5.0, 5.0]])
    assert saliency_loss(student, teacher).item() == pytest.approx(0.125)
    assert saliency_loss(7 * student, student).item() == pytest.approx(0, abs=1e-9)


def test_nothing_salient_has_finite_gradients() -> None:
    still = torch.zeros(3, 4, requires_grad=True)
    saliency_loss(still, torch.ones(3, 4)).backward()  # type: ignore[no-untyped-call]
    assert still.grad is not None
    assert still.grad.isfinite().all()


def test_the_gradient_of_saliency_reaches_the_weights() -> None:
    asked, donor = windows(drawn(3, 8, seed=1)), windows(drawn(3, 8, seed=2))
    teacher = measure_saliency(reads(drawn(8, seed=3)), asked, donor, 2.0)

    def loss(weight_T: Tensor) -> Tensor:
        return saliency_loss(measure_saliency(reads(weight_T), asked, donor, 2.0), teacher)

    weight_T = drawn(8, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(loss, weight_T)
    assert loss(drawn(8, seed=3)).item() == pytest.approx(0, abs=1e-12)


def test_donors_are_of_another_class_and_follow_from_the_seed() -> None:
    label = torch.tensor([0, 0, 1, 2, 0, 1])
    donors = [draw_donors(label, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert all((label[donor] != label).all() for donor in donors)
    assert torch.equal(donors[0], donors[1])
    assert not torch.equal(donors[0], donors[2])
    with pytest.raises(ValueError, match="All windows are of one class"):
        draw_donors(torch.zeros(3, dtype=torch.int64), torch.Generator())
