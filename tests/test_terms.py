"""The distillation terms: values by hand, and what each leaves unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gaitforge.layout import Layout
from gaitforge.losses.attention import attention_loss
from gaitforge.losses.cgrkd import average_nodes, batch_relations, memory_relations
from gaitforge.losses.dist import correlation_loss
from gaitforge.losses.dkd import decoupled_kl
from gaitforge.losses.heads import (
    Heads,
    NodeShape,
    find_node_shape,
    make_hint_head,
    make_relation_head,
)
from gaitforge.losses.hint import hint_loss
from gaitforge.losses.kd import soft_label_kl
from gaitforge.losses.nodes import PHASES, check_joints, match_joints, pool_joints
from gaitforge.losses.rkd import relation_loss
from gaitforge.losses.similarity import similarity_loss
from gaitforge.losses.standardise import standardise
from gaitforge.losses.wttm import transformed_teacher_kl
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rotation(width: int) -> Tensor:
    turned: Tensor = torch.linalg.qr(drawn(width, width, seed=9))[0]
    return turned


# decoupled


def test_decoupled_soft_labels_have_the_value_of_the_hand_calculation() -> None:
    # teacher 1/2, 3/8, 1/8 and student 1/3 each; the first class is the true one
    teacher = torch.tensor([[4.0, 3.0, 1.0]]).log()
    label = torch.tensor([0])
    target = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    others = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = decoupled_kl(torch.zeros(1, 3), teacher, label, 1.0)
    assert loss.item() == pytest.approx(target + 8 * others, rel=1e-5)


def test_decoupled_parts_make_up_the_soft_labels() -> None:
    """Zhao 2022, eq. 5: KL = KL of (true, others) + (1 - teacher's probability) * KL among the others."""
    student, teacher = drawn(1, 4, seed=1), drawn(1, 4, seed=2)
    label = torch.tensor([2])

    def parts(z: Tensor) -> tuple[Tensor, Tensor]:
        p = z.softmax(1)[0]
        rest = p[[0, 1, 3]]
        return torch.stack([p[2], rest.sum()]), rest / rest.sum()

    (b_s, r_s), (b_t, r_t) = parts(student), parts(teacher)
    target = (b_t * (b_t / b_s).log()).sum()
    others = (r_t * (r_t / r_s).log()).sum()
    assert soft_label_kl(student, teacher, 1.0) == pytest.approx(target + b_t[1] * others)
    assert decoupled_kl(student, teacher, label, 1.0) == pytest.approx(target + 8 * others)


def test_both_decoupled_parts_are_softened_by_the_temperature() -> None:
    # at temperature 2 the logits' ratios 16 : 9 : 1 are 4 : 3 : 1, and the student's stay even
    teacher = torch.tensor([[16.0, 9.0, 1.0]]).log()
    label = torch.tensor([0])
    cold = decoupled_kl(torch.zeros(1, 3), torch.tensor([[4.0, 3.0, 1.0]]).log(), label, 1.0)
    torch.testing.assert_close(decoupled_kl(torch.zeros(1, 3), teacher, label, 2.0), 4 * cold)


def test_with_two_classes_decoupled_soft_labels_are_the_soft_labels() -> None:
    student, teacher = drawn(5, 2, seed=1), drawn(5, 2, seed=2)
    label = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(
        decoupled_kl(student, teacher, label, 4.0), soft_label_kl(student, teacher, 4.0)
    )


# standardised


def test_standardised_logits_have_mean_zero_and_deviation_one() -> None:
    assert standardise(torch.tensor([[5.0, 7.0, 9.0]])).tolist() == [[-1.0, 0.0, 1.0]]
    assert standardise(torch.full((1, 3), 4.0)).tolist() == [[0.0, 0.0, 0.0]]


def test_standardised_soft_labels_know_neither_size_nor_offset_of_the_logits() -> None:
    student, teacher = drawn(5, 4, seed=1), drawn(5, 4, seed=2)
    once = soft_label_kl(standardise(student), standardise(teacher), 2.0)
    again = soft_label_kl(standardise(3 * student - 7), standardise(0.1 * teacher + 1), 2.0)
    torch.testing.assert_close(once, again, rtol=1e-4, atol=0)
    alike = soft_label_kl(standardise(3 * teacher + 1), standardise(teacher), 2.0)
    assert alike.abs() < 1e-6


# correlation


def test_probabilities_that_are_linear_in_the_teachers_cost_nothing() -> None:
    teacher = drawn(8, 4)
    student = (0.5 * teacher.softmax(1) + 0.5 / 4).log()
    assert correlation_loss(student, teacher, 1.0).abs() < 1e-5
    assert soft_label_kl(student, teacher, 1.0) > 0.01


def test_correlation_has_the_value_of_the_hand_calculation() -> None:
    # two windows of three classes; the student has the teacher's answers the wrong way round
    teacher = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])
    # over classes: centred (.8, -.1, -.7)/3 against (-.7, -.1, .8)/3: (-.56 + .01 - .56) / (.64 + .01 + .49)
    between = 1 + 1.11 / 1.14
    # over windows: -1 for the first and the last class, none for the second, which never changes
    within = 1 - (-1 + 0 - 1) / 3
    loss = correlation_loss(teacher.flip(0).log(), teacher.log(), 1.0)
    assert loss.item() == pytest.approx(between + within, rel=1e-5)


def test_the_gradient_of_correlations_keeps_its_size_at_any_temperature() -> None:
    teacher, norms = drawn(8, 4, seed=1), []
    for temperature in (1.0, 8.0):
        student = (0.5 * drawn(8, 4, seed=2)).requires_grad_()
        correlation_loss(student, teacher, temperature).backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        norms.append(student.grad.norm().item())
    assert 0.5 < norms[1] / norms[0] < 2


# relations between windows


def test_distances_and_angles_have_the_value_of_the_hand_calculation() -> None:
    # teacher: sides 3, 4, 5 with the right angle at the first; student: all on a line, 1 apart
    teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    student = torch.tensor([[0.0], [1.0], [2.0]])

    def huber(x: float) -> float:
        return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5

    # distances over their means 4 and 4/3; each pair twice, of nine
    distance = 2 / 9 * (huber(3 / 4 - 3 / 4) + huber(1 - 6 / 4) + huber(5 / 4 - 3 / 4))
    # cosines at each window; j and k may change places, and j = k gives 1 on both sides
    angle = 2 / 27 * (huber(1 - 0) + huber(-1 - 3 / 5) + huber(1 - 4 / 5))
    loss = relation_loss(student, teacher)
    assert loss.item() == pytest.approx(25 * distance + 50 * angle, rel=1e-5)


@pytest.mark.parametrize("loss", [relation_loss, similarity_loss])
def test_relations_between_windows_know_no_rotation_and_no_scale(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    student, teacher = drawn(6, 5, seed=1), drawn(6, 7, seed=2)
    turned = loss(3 * student @ rotation(5), 0.2 * teacher @ rotation(7))
    torch.testing.assert_close(turned, loss(student, teacher), rtol=1e-4, atol=1e-6)
    assert loss(2 * teacher @ rotation(7), teacher).abs() < 1e-5


def test_distances_and_angles_know_no_shift() -> None:
    student, teacher = drawn(6, 5, seed=1), drawn(6, 7, seed=2)
    torch.testing.assert_close(
        relation_loss(student + 4, teacher - 2), relation_loss(student, teacher), rtol=1e-4, atol=0
    )


def test_two_windows_have_no_relation_to_teach() -> None:
    assert relation_loss(drawn(2, 5), drawn(2, 7, seed=1)).abs() < 1e-6


def test_similarity_has_the_value_of_the_hand_calculation() -> None:
    # inner products: teacher the identity; student all ones, each row over root 2
    student, teacher = torch.ones(2, 1), torch.eye(2)
    off = 1 / math.sqrt(2)
    by_hand = (2 * (1 - off) ** 2 + 2 * off**2) / 4
    assert similarity_loss(student, teacher).item() == pytest.approx(by_hand)


# maps


def test_nodes_are_means_of_equal_parts_of_the_time() -> None:
    joints_BDTV = torch.arange(8.0).view(1, 1, 8, 1).repeat(1, 2, 1, 3)
    nodes = pool_joints(joints_BDTV)
    assert nodes.shape == (1, PHASES, 3, 2)
    assert nodes[0, :, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]


def test_a_hint_is_the_mean_squared_difference() -> None:
    student, teacher = torch.zeros(1, 4, 1, 2), torch.tensor([1.0, 3.0]).expand(1, 4, 1, 2)
    assert hint_loss(student, teacher).item() == 5.0


def test_attention_has_the_value_of_the_hand_calculation() -> None:
    # one phase is all that the teacher looks at, the student looks at all four alike
    teacher = torch.zeros(1, 4, 1, 2)
    teacher[0, 2] = 3.0
    student = torch.ones(1, 4, 1, 5)
    by_hand = (3 * 0.5**2 + (0.5 - 1) ** 2) / 4
    assert attention_loss(student, teacher).item() == pytest.approx(by_hand)


def test_attention_knows_neither_sign_nor_scale_of_the_features() -> None:
    student, teacher = drawn(3, 4, 2, 5, seed=1), drawn(3, 4, 2, 7, seed=2)
    torch.testing.assert_close(
        attention_loss(-2 * student, 5 * teacher), attention_loss(student, teacher)
    )


def test_joints_that_one_side_has_mixed_are_averaged_on_the_other() -> None:
    nodes = drawn(2, 4, 3, 5)
    torch.testing.assert_close(match_joints(nodes, 1)[:, :, 0], nodes.mean(dim=2))
    assert match_joints(nodes, 3) is nodes
    assert match_joints(nodes[:, :, :1], 3).shape[2] == 1


def test_joints_that_cannot_be_matched_are_refused() -> None:
    for fits in ((3, 3), (1, 3), (3, 1)):
        check_joints(*fits)
    with pytest.raises(ValueError, match="student's last map has 6 joints and the teacher's 22"):
        check_joints(6, 22)


# cross-graph relations

PAIRS = torch.tensor([[0, 0], [0, 1], [2, 1]])


def relations(student: Tensor, teacher: Tensor, memory: Tensor) -> list[Tensor]:
    return [
        batch_relations(student, teacher, PAIRS, 0.1),
        memory_relations(student, teacher, memory.flatten(0, 2), 0.1),
        memory_relations(student, teacher, average_nodes(memory), 0.1),
    ]


def test_a_student_with_the_teachers_features_has_the_teachers_relations() -> None:
    teacher, memory = drawn(3, 4, 2, 5), drawn(6, 4, 2, 5, seed=1)
    for value in relations(teacher.clone(), teacher, memory):
        assert 0 <= value.abs() < 1e-8
    for value in relations(drawn(3, 4, 2, 5, seed=2), teacher, memory):
        assert value > 0.1


def test_relations_know_no_rotation_that_all_share() -> None:
    student, teacher, memory = drawn(3, 4, 2, 5, seed=2), drawn(3, 4, 2, 5), drawn(6, 4, 2, 5)
    turn = rotation(5)
    together = relations(student @ turn, teacher @ turn, memory @ turn)
    torch.testing.assert_close(together, relations(student, teacher, memory), rtol=1e-4, atol=1e-6)
    alone = relations(student @ turn, teacher, memory)
    # a batch's relations to itself are the same from any side; those to the memory are not
    torch.testing.assert_close(alone[0], together[0], rtol=1e-4, atol=1e-6)
    assert (alone[1] - together[1]).abs() > 0.01


def test_batch_relations_have_the_value_of_the_hand_calculation() -> None:
    # two windows of two nodes each; the teacher's are at right angles, the student's are all one
    teacher = torch.eye(2)[None, :, None].repeat(2, 1, 1, 1)
    student = torch.ones(2, 2, 1, 2)
    p = 1 / (1 + math.exp(-1 / 0.5))  # cosines 1 and 0 at a temperature of 0.5
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    loss = batch_relations(student, teacher, torch.tensor([[0, 1]]), 0.5)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_memory_relations_have_the_value_of_the_hand_calculation() -> None:
    # one node, in the teacher along the first entry of the memory, in the student between both
    teacher, student = torch.tensor([2.0, 0.0]), torch.tensor([3.0, 3.0])
    p = 1 / (1 + math.exp(-1 / 0.5))
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    loss = memory_relations(
        student.view(1, 1, 1, 2), teacher.view(1, 1, 1, 2), 7 * torch.eye(2), 0.5
    )
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_a_graph_is_the_mean_of_its_nodes_directions_however_strong_each_is() -> None:
    memory = torch.zeros(2, 4, 1, 2)
    memory[1, :, 0] = torch.tensor([[3.0, 4.0], [30.0, 40.0], [0.0, 5.0], [1.0, 0.0]])
    torch.testing.assert_close(
        average_nodes(memory),
        torch.tensor([[0.0, 0.0], [(0.6 + 0.6 + 1) / 4, (0.8 + 0.8 + 1) / 4]]),
    )


# transformed teacher


def test_a_transformed_teacher_has_the_value_of_the_hand_calculation() -> None:
    # gamma 1/2: the teacher's 9/10 and 1/10 become 3 : 1, and their roots sum to 4 / sqrt(10)
    teacher, student = torch.tensor([[9.0, 1.0]]).double().log(), torch.zeros(1, 2).double()
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    by_hand = 4 / math.sqrt(10) * divergence
    assert transformed_teacher_kl(student, teacher, 2.0).item() == pytest.approx(
        by_hand, rel=1e-12
    )


def test_a_smooth_teacher_counts_more_than_a_certain_one() -> None:
    # of 4 classes at gamma 1/2 an even teacher weighs 4 ** (1 - 1/2) = 2, a certain one 1
    certain, even = torch.tensor([[200.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    student = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    of_even = transformed_teacher_kl(student, even, 2.0).item()
    of_certain = transformed_teacher_kl(student, certain, 2.0).item()
    # of the bits that q spends, 1, 2, 3 and 3, an even answer has the mean 9/4, of which 2 are its own
    assert of_even == pytest.approx(2 * (9 / 4 - 2) * math.log(2))
    assert of_certain == pytest.approx(math.log(2))
    both = transformed_teacher_kl(student.expand(2, 4), torch.cat([even, certain]), 2.0)
    assert both.item() == pytest.approx((of_even + of_certain) / 2)


def test_a_transformed_teacher_at_temperature_one_is_the_soft_labels() -> None:
    student, teacher = drawn(6, 4, seed=1).double(), drawn(6, 4, seed=2).double()
    torch.testing.assert_close(
        transformed_teacher_kl(student, teacher, 1.0), soft_label_kl(student, teacher, 1.0)
    )


def test_a_student_rests_where_it_says_what_the_transformed_teacher_says() -> None:
    teacher = drawn(6, 4, seed=2).double()
    for temperature in (1.0, 2.0, 8.0):
        student = (teacher / temperature + 3).requires_grad_()
        loss = transformed_teacher_kl(student, teacher, temperature)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert student.grad is not None
        assert student.grad.abs().max() < 1e-12


def test_the_gradient_of_a_transformed_teacher_is_the_published_one() -> None:
    # eq. 20 with the weight of eq. 23: u (q - t), here over a batch of one
    student, teacher = drawn(1, 4, seed=1).double().requires_grad_(), drawn(1, 4, seed=2).double()
    transformed_teacher_kl(student, teacher, 2.5).backward()  # type: ignore[no-untyped-call]
    powers = torch.softmax(teacher, dim=1) ** 0.4
    by_hand = powers.sum() * (torch.softmax(student, dim=1) - powers / powers.sum())
    assert student.grad is not None
    torch.testing.assert_close(student.grad, by_hand.detach())
    assert torch.autograd.gradcheck(lambda z: transformed_teacher_kl(z, teacher, 2.5), student)


# heads


def test_heads_have_the_published_layers() -> None:
    relation = make_relation_head(3, 5)
    assert sum(weight.numel() for weight in relation.parameters()) == 3 * 5 + 2 * 5 + 5 * 5
    assert not list(relation.buffers())
    assert sum(weight.numel() for weight in make_hint_head(3, 5).parameters()) == 3 * 5 + 5


def test_heads_follow_from_their_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, same, other = (Heads.new(["relations"], 3, 5, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [heads.state_dict()["relations.0.weight"] for heads in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_head_brings_every_node_to_the_teachers_width() -> None:
    nodes = drawn(2, 4, 3, 5)
    heads = Heads.new(["hint"], 5, 7, 0)
    projected = heads.project("hint", nodes)
    assert projected.shape == (2, 4, 3, 7)
    torch.testing.assert_close(projected[1, 2, 0], heads["hint"](nodes[1, 2, 0]))


def test_the_shape_of_the_nodes_is_known_before_anything_is_built() -> None:
    legs = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
    stgcn = StgcnSizes(widths=(4, 6), strides=(1, 2), kernel=3)
    assert find_node_shape(stgcn, legs, 3, 2, 16) == NodeShape(joints=3, width=6)
    assert find_node_shape(TcnSizes(channels=8, layers=1), legs, 3, 2, 16) == NodeShape(
        joints=1, width=8
    )
