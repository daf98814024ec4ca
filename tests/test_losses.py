"""The training losses: values by hand, and the contract of every distillation term."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gaitforge.losses import (
    LOSSES,
    Distillation,
    Heads,
    Targets,
    Term,
    check_known,
    class_weights,
    collect_needed,
    loss_terms,
    temperature_of,
)
from gaitforge.losses.heads import HEADS
from gaitforge.losses.kd import soft_label_kl
from gaitforge.losses.nodes import pool_joints
from gaitforge.losses.sides import Sides, require
from gaitforge.models import Output
from gaitforge.testing import losses
from gaitforge.testing.losses import (
    TEACHER_WIDTH,
    WIDTH,
    draw_student_outputs,
    draw_teacher_targets,
)

every_term = pytest.mark.parametrize("name", LOSSES)


def output(logits_BK: Tensor) -> Output:
    """What a family gives; embedding and joint map do not depend on the logits here."""
    batch = len(logits_BK)
    return Output(logits_BK, torch.ones(batch, 5), torch.ones(batch, 5, 4, 3))


def against(teacher_BK: Tensor | None, batch: int = 1) -> Targets:
    return Targets(torch.zeros(batch, dtype=torch.int64), teacher_BK)


def random_logits(seed: int) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def heads() -> Heads:
    return Heads.new(list(HEADS), WIDTH, TEACHER_WIDTH, 0)


def by_joint(sides: Sides, _: float) -> Tensor:
    """A loss of somebody who has not thought of families that mix the joints."""
    student = pool_joints(sides.output.joints_BDTV).norm(dim=-1)
    teacher = require(sides.targets.teacher_joints_BQVD).norm(dim=-1)
    return (
        functional.mse_loss(student, teacher)
        if student.shape == teacher.shape
        else teacher.sum() * 0
    )


def value_of(name: str, said: Output, targets: Targets, through: Heads) -> Tensor:
    distillation = Distillation(weights={name: 1.0})
    return loss_terms(said, targets, distillation, None, 0.0, through)[name]


# every term


@every_term
@pytest.mark.parametrize("check", losses.CHECKS)
def test_every_term_holds(check: str, name: str) -> None:
    losses.CHECKS[check](LOSSES[name], name)


@every_term
def test_a_temperature_that_was_given_reaches_the_term(name: str) -> None:
    if LOSSES[name].temperature is None:
        return
    cold, warm = (
        loss_terms(
            draw_student_outputs(), draw_teacher_targets(),
            Distillation(weights={name: 1.0}, temperature=end, temperatures={name: end}), None, 0.0, heads(),
        )[name]
        for end in LOSSES[name].temperature or ()
    )  # fmt: skip
    assert cold.item() != pytest.approx(warm.item(), rel=0.01)


@pytest.mark.parametrize("name", ["kd_standardised", "dkd_standardised"])
def test_a_standardised_term_knows_neither_size_nor_offset_of_the_students_logits(
    name: str,
) -> None:
    said, targets = draw_student_outputs(), draw_teacher_targets()
    larger = said._replace(logits_BK=3 * said.logits_BK + 1)
    once, again = (value_of(name, output, targets, heads()) for output in (said, larger))
    torch.testing.assert_close(once, again, rtol=1e-4, atol=0)


def test_nodes_are_related_to_nodes_and_graphs_to_graphs() -> None:
    said, targets = draw_student_outputs(), draw_teacher_targets()
    for name, drawn in (
        ("cgrkd_nodes", "memory_nodes_MVD"),
        ("cgrkd_graphs", "memory_graphs_MQVD"),
    ):
        other = targets._replace(**{drawn: getattr(targets, drawn).flip(-1)})
        changed = {
            term: value_of(term, said, other, heads()) != value_of(term, said, targets, heads())
            for term in ("cgrkd_nodes", "cgrkd_graphs")
        }
        assert changed == {term: term == name for term in changed}


@every_term
def test_every_term_says_what_to_run_where_there_are_no_teacher_outputs(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{name}' needs .*; run `gaitforge outputs run.toml` first"
    ):
        value_of(name, draw_student_outputs(), against(None, 6), heads())


# what the contract refuses

GOOD = Term(compute=lambda sides, _: functional.mse_loss(*sides.pair_logits()), stored="logits",
            choice="logits", weight=(0.1, 1.0))  # fmt: skip


def test_a_term_of_anybody_is_checked_whole() -> None:
    losses.check(GOOD)


@pytest.mark.parametrize(
    ("check", "term", "sentence"),
    [
        ("declared", replace(GOOD, stored="embedding"), "declare what it reads"),
        ("declared", replace(LOSSES["hint"], head=None), "declare what it reads"),
        ("value", replace(GOOD, compute=lambda sides, _: -sides.pair_logits()[0].exp().mean()), "finite and above 0"),
        ("value", replace(GOOD, compute=lambda sides, _: sides.pair_logits()[0] ** 2), r"has the shape \(6, 4\)"),
        ("agreement", replace(GOOD, compute=lambda sides, _: sides.pair_logits()[0].exp().mean()), "but must be 0"),
        ("gradients", replace(GOOD, compute=lambda sides, _: sides.pair_logits()[1].exp().mean()), "does not depend"),
        ("temperature", replace(GOOD, temperature=(0.5, 2.0)), "use it, or declare None"),
        ("fewest classes", replace(GOOD, fewest_classes=3), "With 2 classes the term 'of yours' teaches, but"),
        ("edges", replace(GOOD, compute=lambda sides, _: sides.pair_logits()[0].norm().sqrt()), "a student of zeros"),
        ("mixed joints", replace(LOSSES["attention"], compute=by_joint), "has 1 joints and the teacher 3"),
        ("mean over windows", replace(LOSSES["sp"], whole_batch=False), "declare whole_batch = True"),
    ],
)  # fmt: skip
def test_a_term_that_breaks_a_rule_is_told_which(check: str, term: Term, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        losses.CHECKS[check](term, "of yours")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stored": "labels"}, "Term.stored is 'labels', but must be one of logits, embedding, joints"),
        ({"drawn": "triples"}, "Term.drawn is 'triples', but must be one of None, pairs, nodes, graphs"),
        ({"head": "mlp"}, "Term.head is 'mlp', but must be one of None, relations, hint"),
        ({"weight": (0.0, 1.0)}, "must be a range above 0: it is searched on a log scale"),
        ({"temperature": (2.0, 8.0)}, r"Term.temperature is \(2.0, 8.0\), .* holds the default, 1.0"),
    ],
)  # fmt: skip
def test_an_impossible_term_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(GOOD, **change)


# soft labels


def test_soft_labels_have_the_value_of_the_hand_calculation() -> None:
    # teacher 3 : 1, student even: 0.75 ln(0.75 / 0.5) + 0.25 ln(0.25 / 0.5)
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_label_kl(student, teacher, 1.0).item() == pytest.approx(by_hand)


def test_soft_labels_are_softened_by_the_temperature_and_scaled_by_its_square() -> None:
    # at temperature 2 the teacher's 9 : 1 is 3 : 1
    teacher, student = torch.tensor([[math.log(9), 0.0]]), torch.zeros(1, 2)
    by_hand = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_label_kl(student, teacher, 2.0).item() == pytest.approx(by_hand)


def test_soft_labels_are_averaged_over_the_batch() -> None:
    teacher = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    both = soft_label_kl(torch.zeros(2, 2), teacher, 1.0)
    first = soft_label_kl(torch.zeros(1, 2), teacher[:1], 1.0)
    assert both.item() == pytest.approx(first.item() / 2)


def test_soft_labels_are_the_divergence_from_the_teacher_to_the_student() -> None:
    """A class that the teacher rules out and the student does not costs little, the reverse a lot."""
    sure, unsure = torch.tensor([[9.0, 0.0]]), torch.zeros(1, 2)
    student_is_sure = soft_label_kl(sure, unsure, 1.0)
    teacher_is_sure = soft_label_kl(unsure, sure, 1.0)
    assert student_is_sure > 3 > 1 > teacher_is_sure


def test_gradient_at_a_high_temperature_is_that_of_matching_logits() -> None:
    # Hinton 2015, sec. 2.1: for zero-mean logits it goes to (student - teacher) / classes
    student = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-2.0, 1.0, 1.0]], dtype=torch.float64)
    soft_label_kl(student, teacher, 1e4).backward()  # type: ignore[no-untyped-call]
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
    with pytest.raises(KeyError, match=r"no distillation term 'kld'. Known: .*\bkd\b"):
        check_known(Distillation(weights={"kld": 1.0}))


def test_impossible_distillation_is_refused() -> None:
    with pytest.raises(ValueError, match="weight of 'kd' is -1, but must not be negative"):
        Distillation(weights={"kd": -1})
    with pytest.raises(ValueError, match="temperature of 'kd' is 0, but must be above 0"):
        Distillation(temperature=0)
    with pytest.raises(ValueError, match=r"temperature of 'rkd' is -1\.0, but must"):
        Distillation(temperatures={"rkd": -1.0})
    with pytest.raises(ValueError, match=r"warm-up of the terms is 2, but must be in \[0, 1\]"):
        Distillation(warmup=2)


def test_each_term_has_its_own_temperature_and_its_default_where_none_is_given() -> None:
    some = Distillation(temperature=3.0, temperatures={"dkd": 5.0})
    assert [temperature_of(name, some) for name in ("kd", "dkd", "cgrkd_nodes")] == [3.0, 5.0, 0.1]


def test_distillation_by_soft_labels_alone_is_recorded_as_it_always_was() -> None:
    """Trials are counted as one configuration by what is recorded of them."""
    kd = Distillation(weights={"kd": 1.5}, temperature=3.0)
    assert kd.as_dict() == {"weights": {"kd": 1.5}, "temperature": 3.0}
    rich = Distillation(weights={"dkd": 1.0}, temperatures={"dkd": 4.0}, warmup=0.2)
    assert Distillation(**rich.as_dict()) == rich


def test_the_ramp_multiplies_the_terms_and_not_the_cross_entropy() -> None:
    said, targets, kd = (
        draw_student_outputs(),
        draw_teacher_targets(),
        Distillation(weights={"kd": 1.0}),
    )
    whole = loss_terms(said, targets, kd, None, 0.0)
    half = loss_terms(said, targets._replace(ramp=torch.tensor(0.5)), kd, None, 0.0)
    assert half["kd"].item() == pytest.approx(whole["kd"].item() / 2)
    assert half["cross_entropy"] == whole["cross_entropy"]


def test_what_terms_need_is_named_once_each() -> None:
    assert collect_needed(["kd", "dkd"], "stored") == ("logits",)
    assert collect_needed(["cgrkd_nodes", "hint", "rkd"], "stored") == ("embedding", "joints")
    assert collect_needed(["cgrkd_nodes", "cgrkd_batch", "hint"], "head") == ("hint", "relations")
    assert collect_needed(["kd"], "drawn") == ()
