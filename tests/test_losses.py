"""The training losses: values by hand, and the contract of every distillation term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gaitforge.losses import (
    LOSSES,
    Distillation,
    Heads,
    Targets,
    Term,
    check_known,
    class_weights,
    loss_terms,
    needed,
    temperature_of,
)
from gaitforge.losses.heads import HEADS
from gaitforge.losses.kd import soft_label_kl
from gaitforge.losses.nodes import PHASES, pooled_joints
from gaitforge.models import Output

WIDTH, TEACHER_WIDTH, JOINTS, CLASSES = 5, 7, 3, 4

every_term = pytest.mark.parametrize("name", LOSSES)


def output(logits_BK: Tensor) -> Output:
    """What a family gives; embedding and joint map do not depend on the logits here."""
    batch = len(logits_BK)
    return Output(logits_BK, torch.ones(batch, 5), torch.ones(batch, 5, 4, 3))


def against(teacher_BK: Tensor | None, batch: int = 1) -> Targets:
    return Targets(torch.zeros(batch, dtype=torch.int64), teacher_BK)


def random_logits(seed: int) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def student_says(batch: int = 6, joints: int = JOINTS, width: int = WIDTH) -> Output:
    """Whatever a student may say, with gradients."""
    rng = torch.Generator().manual_seed(1)
    return Output(
        torch.randn(batch, CLASSES, generator=rng).requires_grad_(),
        torch.randn(batch, width, generator=rng).requires_grad_(),
        torch.randn(batch, width, 8, joints, generator=rng).requires_grad_(),
    )


def teacher_said(batch: int = 6, joints: int = JOINTS) -> Targets:
    """Whatever a teacher may have said, wider than the student, and what is drawn for a step."""
    rng = torch.Generator().manual_seed(2)
    return Targets(
        torch.arange(batch) % CLASSES,
        torch.randn(batch, CLASSES, generator=rng),
        torch.randn(batch, TEACHER_WIDTH, generator=rng),
        torch.randn(batch, PHASES, joints, TEACHER_WIDTH, generator=rng),
        torch.randint(batch, (8, 2), generator=rng),
        torch.randn(5, joints, TEACHER_WIDTH, generator=rng),
        torch.randn(5, PHASES, joints, TEACHER_WIDTH, generator=rng),
    )


def heads(width: int = WIDTH) -> Heads:
    return Heads.new(list(HEADS), width, TEACHER_WIDTH, 0)


def value_of(name: str, said: Output, targets: Targets, through: Heads) -> Tensor:
    distillation = Distillation(weights={name: 1.0})
    return loss_terms(said, targets, distillation, None, 0.0, through)[name]


def ends(term: Term) -> tuple[float, ...]:
    return term.temperature or (1.0,)


# every term


@every_term
def test_every_term_is_a_finite_number_that_is_not_negative(name: str) -> None:
    for temperature in ends(LOSSES[name]):
        distillation = Distillation(
            weights={name: 1.0}, temperature=temperature, temperatures={name: temperature}
        )
        said, targets = student_says(), teacher_said()
        value = loss_terms(said, targets, distillation, None, 0.0, heads())[name]
        assert value.shape == ()
        assert value.isfinite()
        assert value > 0


@every_term
def test_every_term_is_zero_for_a_student_that_says_what_the_teacher_says(name: str) -> None:
    said = Output(*(tensor.detach() for tensor in student_says()))
    targets = teacher_said()._replace(
        teacher_logits_BK=said.logits_BK.clone(),
        teacher_embedding_BD=said.embedding_BD.clone(),
        teacher_joints_BQVD=pooled_joints(said.joints_BDTV),
        memory_nodes_MVD=torch.randn(5, JOINTS, WIDTH),
        memory_graphs_MQVD=torch.randn(5, PHASES, JOINTS, WIDTH),
    )
    as_they_are = Heads({name: nn.Identity() for name in HEADS})
    assert value_of(name, said, targets, as_they_are).abs() < 1e-6


@every_term
def test_every_term_teaches_the_student_and_leaves_teacher_and_memory_alone(name: str) -> None:
    said, targets = student_says(), teacher_said()
    for target in targets:
        if target is not None and target.is_floating_point():
            target.requires_grad_()
    value_of(name, said, targets, heads()).backward()  # type: ignore[no-untyped-call]
    gradients = [tensor.grad for tensor in said if tensor.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0
    held = (
        targets.teacher_logits_BK, targets.teacher_embedding_BD, targets.teacher_joints_BQVD,
        targets.memory_nodes_MVD, targets.memory_graphs_MQVD,
    )  # fmt: skip
    assert all(tensor is not None and tensor.grad is None for tensor in held)


@every_term
def test_a_temperature_that_was_given_reaches_the_term(name: str) -> None:
    if LOSSES[name].temperature is None:
        return
    cold, warm = (
        loss_terms(
            student_says(), teacher_said(),
            Distillation(weights={name: 1.0}, temperature=end, temperatures={name: end}), None, 0.0, heads(),
        )[name]
        for end in ends(LOSSES[name])
    )  # fmt: skip
    assert cold.item() != pytest.approx(warm.item(), rel=0.01)


@pytest.mark.parametrize("name", ["kd_standardised", "dkd_standardised"])
def test_a_standardised_term_knows_neither_size_nor_offset_of_the_students_logits(
    name: str,
) -> None:
    said, targets = student_says(), teacher_said()
    larger = said._replace(logits_BK=3 * said.logits_BK + 1)
    once, again = (value_of(name, output, targets, heads()) for output in (said, larger))
    torch.testing.assert_close(once, again, rtol=1e-4, atol=0)


@every_term
def test_a_term_with_fewest_classes_teaches_nothing_with_one_less(name: str) -> None:
    """A search refuses it there: it would count as distilled and be the student alone."""
    fewest = LOSSES[name].fewest_classes
    said, targets = student_says(), teacher_said()
    for classes in {2, fewest}:
        logits = said.logits_BK[:, :classes].detach().requires_grad_()
        assert targets.teacher_logits_BK is not None
        few = targets._replace(
            teacher_logits_BK=targets.teacher_logits_BK[:, :classes],
            label_B=targets.label_B % classes,
        )
        value_of(name, said._replace(logits_BK=logits), few, heads()).backward()  # type: ignore[no-untyped-call]
        if "logits" in LOSSES[name].stored:
            assert logits.grad is not None
            assert (logits.grad.abs().max() > 1e-4) == (classes >= fewest)


def test_nodes_are_related_to_nodes_and_graphs_to_graphs() -> None:
    said, targets = student_says(), teacher_said()
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


def one_class(said: Output, targets: Targets) -> tuple[Output, Targets]:
    return said, targets._replace(label_B=torch.zeros_like(targets.label_B))


def certain_teacher(said: Output, targets: Targets) -> tuple[Output, Targets]:
    sure = 50.0 * nn.functional.one_hot(targets.label_B, CLASSES).float()
    return said, targets._replace(teacher_logits_BK=sure)


def silent_student(said: Output, targets: Targets) -> tuple[Output, Targets]:
    """All its outputs are zeros, as those of a net whose units have died."""
    return Output(*(torch.zeros_like(tensor).requires_grad_() for tensor in said)), targets


def silent_teacher(said: Output, targets: Targets) -> tuple[Output, Targets]:
    quiet = targets._replace(
        teacher_logits_BK=torch.zeros(len(targets.label_B), CLASSES),
        teacher_embedding_BD=torch.zeros(len(targets.label_B), TEACHER_WIDTH),
        teacher_joints_BQVD=torch.zeros(len(targets.label_B), PHASES, JOINTS, TEACHER_WIDTH),
    )
    return said, quiet


@every_term
@pytest.mark.parametrize("batch", [2, 6])
@pytest.mark.parametrize(
    "case", [one_class, certain_teacher, silent_student, silent_teacher], ids=lambda c: c.__name__
)
def test_every_term_and_its_gradient_are_finite_at_the_edges(
    name: str, batch: int, case: type
) -> None:
    said, targets = case(student_says(batch), teacher_said(batch))
    for temperature in ends(LOSSES[name]):
        distillation = Distillation(
            weights={name: 1.0}, temperature=temperature, temperatures={name: temperature}
        )
        through = heads()
        terms = loss_terms(said, targets, distillation, None, 0.0, through)
        assert terms[name].isfinite()
        terms[name].backward()  # type: ignore[no-untyped-call]
        trained = [*said, *through.parameters()]
        assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in trained)


@every_term
@pytest.mark.parametrize(("of_student", "of_teacher"), [(1, 3), (3, 1), (1, 1)])
def test_every_term_holds_where_a_family_has_mixed_the_joints(
    name: str, of_student: int, of_teacher: int
) -> None:
    said, targets = student_says(joints=of_student), teacher_said(joints=of_teacher)
    assert value_of(name, said, targets, heads()) > 0


@every_term
def test_every_term_says_what_to_run_where_there_are_no_teacher_outputs(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' needs .*; run `gaitforge outputs` first"):
        value_of(name, student_says(), against(None, 6), heads())


@every_term
def test_every_term_can_be_searched_on_a_log_scale(name: str) -> None:
    term = LOSSES[name]
    assert 0 < term.weight[0] < term.weight[1]
    if term.temperature is not None:
        assert 0 < term.temperature[0] <= term.default <= term.temperature[1]


@every_term
def test_a_term_that_workers_may_share_is_a_mean_over_windows(name: str) -> None:
    """What workers that share a batch may be given."""

    def of(rows: slice) -> float:
        said = Output(*(tensor[rows] for tensor in student_says()))
        targets = teacher_said()
        part = targets._replace(
            label_B=targets.label_B[rows],
            teacher_logits_BK=None if (t := targets.teacher_logits_BK) is None else t[rows],
            teacher_embedding_BD=None if (t := targets.teacher_embedding_BD) is None else t[rows],
            teacher_joints_BQVD=None if (t := targets.teacher_joints_BQVD) is None else t[rows],
            pairs_X2=torch.tensor([[0, 1], [1, 2]]),
        )
        return value_of(name, said, part, heads()).item()

    whole = of(slice(0, 6))
    parts = (of(slice(0, 3)) + of(slice(3, 6))) / 2
    is_mean = whole == pytest.approx(parts, rel=1e-4)
    assert is_mean or LOSSES[name].whole_batch


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
    with pytest.raises(KeyError, match=r"no distillation term 'kld'. Known: kd"):
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
    said, targets, kd = student_says(), teacher_said(), Distillation(weights={"kd": 1.0})
    whole = loss_terms(said, targets, kd, None, 0.0)
    half = loss_terms(said, targets._replace(ramp=torch.tensor(0.5)), kd, None, 0.0)
    assert half["kd"].item() == pytest.approx(whole["kd"].item() / 2)
    assert half["cross_entropy"] == whole["cross_entropy"]


def test_what_terms_need_is_named_once_each() -> None:
    assert needed(["kd", "dkd"], "stored") == ("logits",)
    assert needed(["cgrkd_nodes", "hint", "rkd"], "stored") == ("embedding", "joints")
    assert needed(["cgrkd_nodes", "cgrkd_batch", "hint"], "head") == ("hint", "relations")
    assert needed(["kd"], "drawn") == ()
