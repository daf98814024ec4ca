"""The training losses: values by hand, and the contract of every distillation term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gaitforge.losses import LOSSES, Distillation, Targets, class_weights, loss_terms
from gaitforge.losses.kd import soft_label_kl
from gaitforge.models import Output

every_term = pytest.mark.parametrize("name", LOSSES)


def output(logits_BK: Tensor) -> Output:
    """What a family gives; embedding and joint map do not depend on the logits here."""
    batch = len(logits_BK)
    return Output(logits_BK, torch.ones(batch, 5), torch.ones(batch, 5, 4, 3))


def against(teacher_BK: Tensor | None, batch: int = 1) -> Targets:
    return Targets(torch.zeros(batch, dtype=torch.int64), teacher_BK)


def random_logits(seed: int) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


# every term


@every_term
def test_every_term_is_a_finite_number_that_is_not_negative(name: str) -> None:
    for temperature in LOSSES[name].temperature:
        value = LOSSES[name].compute(
            output(random_logits(1)), against(random_logits(2), 6), temperature
        )
        assert value.shape == ()
        assert value.isfinite()
        assert value > 0


@every_term
def test_every_term_is_zero_for_a_student_that_says_what_the_teacher_says(name: str) -> None:
    logits = random_logits(1)
    value = LOSSES[name].compute(output(logits), against(logits.clone(), 6), 2.0)
    assert value.abs() < 1e-6


@every_term
def test_every_term_teaches_the_student_and_leaves_the_teacher_alone(name: str) -> None:
    student, teacher = random_logits(1).requires_grad_(), random_logits(2)
    LOSSES[name].compute(output(student), against(teacher, 6), 2.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@every_term
def test_every_term_says_what_to_run_where_there_are_no_teacher_outputs(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' needs .*; run `gaitforge outputs` first"):
        LOSSES[name].compute(output(random_logits(1)), against(None, 6), 2.0)


@every_term
def test_every_term_can_be_searched_on_a_log_scale(name: str) -> None:
    term = LOSSES[name]
    assert 0 < term.weight[0] < term.weight[1]
    assert 0 < term.temperature[0] <= term.temperature[1]


# soft labels


def test_soft_labels_have_the_value_of_the_hand_calculation() -> None:
    # teacher 3 : 1, student even: 0.75 ln(0.75 / 0.5) + 0.25 ln(0.25 / 0.5)
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_label_kl(output(student), against(teacher), 1.0).item() == pytest.approx(by_hand)


def test_soft_labels_are_softened_by_the_temperature_and_scaled_by_its_square() -> None:
    # at temperature 2 the teacher's 9 : 1 is 3 : 1
    teacher, student = torch.tensor([[math.log(9), 0.0]]), torch.zeros(1, 2)
    by_hand = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_label_kl(output(student), against(teacher), 2.0).item() == pytest.approx(by_hand)


def test_soft_labels_are_averaged_over_the_batch() -> None:
    teacher = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    both = soft_label_kl(output(torch.zeros(2, 2)), against(teacher, 2), 1.0)
    first = soft_label_kl(output(torch.zeros(1, 2)), against(teacher[:1]), 1.0)
    assert both.item() == pytest.approx(first.item() / 2)


def test_soft_labels_are_the_divergence_from_the_teacher_to_the_student() -> None:
    """A class that the teacher rules out and the student does not costs little, the reverse a lot."""
    sure, unsure = torch.tensor([[9.0, 0.0]]), torch.zeros(1, 2)
    student_is_sure = soft_label_kl(output(sure), against(unsure), 1.0)
    teacher_is_sure = soft_label_kl(output(unsure), against(sure), 1.0)
    assert student_is_sure > 3 > 1 > teacher_is_sure


def test_gradient_at_a_high_temperature_is_that_of_matching_logits() -> None:
    # Hinton 2015, sec. 2.1: for zero-mean logits it goes to (student - teacher) / classes
    student = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-2.0, 1.0, 1.0]], dtype=torch.float64)
    soft_label_kl(output(student), against(teacher), 1e4).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, rtol=1e-3, atol=0)


# all terms together


def test_cross_entropy_of_an_undecided_student_is_the_log_of_the_classes() -> None:
    terms = loss_terms(output(torch.zeros(1, 4)), against(None), Distillation(), None, 0.0)
    assert list(terms) == ["cross_entropy"]
    assert terms["cross_entropy"].item() == pytest.approx(math.log(4))


def test_class_weights_and_label_smoothing_reach_the_cross_entropy() -> None:
    logits, label = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    terms = loss_terms(
        output(logits), Targets(label), Distillation(), torch.tensor([3.0, 1.0]), 0.0
    )
    first, second = math.log(1 + math.exp(-2)), math.log(2)
    assert terms["cross_entropy"].item() == pytest.approx((3 * first + second) / 4)

    smooth = loss_terms(output(logits[:1]), Targets(label[:1]), Distillation(), None, 0.2)
    # nine tenths of the first class and one of the second, whose logit is 2 lower
    assert smooth["cross_entropy"].item() == pytest.approx(first + 0.1 * 2)


def test_a_term_is_multiplied_by_its_weight() -> None:
    student, targets = output(random_logits(1)), against(random_logits(2), 6)
    once = loss_terms(student, targets, Distillation(weights={"kd": 1.0}), None, 0.0)
    thrice = loss_terms(student, targets, Distillation(weights={"kd": 3.0}), None, 0.0)
    assert thrice["kd"].item() == pytest.approx(3 * once["kd"].item())
    assert thrice["cross_entropy"] == once["cross_entropy"]


def test_a_weight_of_zero_drops_the_term_and_needs_no_teacher() -> None:
    terms = loss_terms(
        output(torch.zeros(1, 2)), against(None), Distillation(weights={"kd": 0.0}), None, 0.0
    )
    assert list(terms) == ["cross_entropy"]


def test_class_weights_go_by_the_inverse_of_the_counts_with_mean_one() -> None:
    # counts 3, 1 and none: 1/3 and 1 have the mean 2/3
    assert class_weights(torch.tensor([0, 0, 1, 0]), 3).tolist() == pytest.approx([0.5, 1.5, 0.0])


def test_classes_of_equal_size_weigh_one_each() -> None:
    assert class_weights(torch.tensor([0, 1, 2, 0, 1, 2]), 3).tolist() == [1.0, 1.0, 1.0]


def test_unknown_term_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no distillation term 'kld'. Known: kd"):
        Distillation(weights={"kld": 1.0})


def test_impossible_distillation_is_refused() -> None:
    with pytest.raises(ValueError, match="weight of 'kd' is -1, but must not be negative"):
        Distillation(weights={"kd": -1})
    with pytest.raises(ValueError, match="temperature is 0, but must be above 0"):
        Distillation(temperature=0)
