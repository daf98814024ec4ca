"""What a step draws of the teacher's stored outputs, and students that learn by every kind of term."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gaitforge.losses import LOSSES, Distillation, Heads, Targets
from gaitforge.losses.heads import HEADS
from gaitforge.losses.nodes import PHASES
from gaitforge.settings import FitPlan
from tests.test_loop import (
    CLASSES,
    KD,
    NOISY,
    VIEWS,
    WINDOWS,
    examples,
    new_fitting,
    same,
    stop_and_go_on,
)
from trainers.training.examples import GRAPHS_DRAWN, PAIRS_DRAWN, Examples, Memory, draw
from trainers.training.fitting import Fitting
from trainers.training.loop import draw_batches, fit
from trainers.training.sharing import Shard
from trainers.training.steps import epoch_steps

JOINTS, WIDTH = 3, 6
EVERY = Distillation(weights=dict.fromkeys(LOSSES, 0.1), warmup=0.5)


def joints() -> Tensor:
    """Each node says which window, view, phase and joint it is."""
    shape = (WINDOWS, VIEWS, PHASES, JOINTS)
    every = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij"), dim=-1)
    return torch.cat([every, torch.ones(*shape, WIDTH - 4)], dim=-1).half()


def taught() -> Examples:
    embedding = torch.randn(WINDOWS, VIEWS, WIDTH, generator=torch.Generator().manual_seed(3))
    return replace(
        examples(), teacher_embedding_NWD=embedding.half(), teacher_joints_NWQVD=joints()
    )


def fitting_of_every_term() -> Fitting:
    plain = new_fitting(**NOISY)
    heads = Heads.new(HEADS, 4, WIDTH, plain.plan.seed)
    return Fitting(plain.model, plain.plan, heads)


def trained(fitting: Fitting, distillation: Distillation = EVERY) -> list[dict[str, float]]:
    epochs = fit(fitting, taught(), examples(views=1), distillation)
    return [dict(metrics.terms) for metrics in epochs]


# what is drawn


def memory() -> Memory:
    return Memory.of(joints(), torch.tensor([0] * 7 + [2] * 3))


def test_as_many_are_drawn_of_every_class_that_there_is() -> None:
    graphs = memory().draw_graphs(torch.Generator().manual_seed(0))
    assert graphs.shape == (2 * GRAPHS_DRAWN, PHASES, JOINTS, WIDTH)
    windows = graphs[:, 0, 0, 0]
    assert windows[:GRAPHS_DRAWN].max() < 7 <= windows[GRAPHS_DRAWN:].min()
    assert set(graphs[:, 0, 0, 1].tolist()) == {0.0, 1.0}  # of all views


def test_a_drawn_phase_gives_every_joint_its_node() -> None:
    nodes = memory().draw_nodes(torch.Generator().manual_seed(0))
    assert nodes.shape == (2 * 32, JOINTS, WIDTH)
    assert nodes.dtype == torch.float32
    assert nodes[..., 3].tolist() == [[0, 1, 2]] * len(nodes)
    for column in (0, 1, 2):  # the window, view and phase are one for all joints
        assert (nodes[..., column] == nodes[:, :1, column]).all()


@pytest.mark.parametrize(
    ("classes", "joints", "phases"),
    [(2, 1, 32), (4, 2, 32), (4, 22, 5), (20, 22, 2)],
)
def test_a_step_draws_32_nodes_of_a_joint_and_class_or_what_keeps_all_to_512(
    classes: int, joints: int, phases: int
) -> None:
    memory = Memory.of(torch.zeros(classes, 1, PHASES, joints, 1), torch.arange(classes))
    assert len(memory.draw_nodes(torch.Generator().manual_seed(0))) == classes * phases


def test_all_of_the_memory_is_drawn_sooner_or_later() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([memory().draw_nodes(generator)[:, 0, :3] for _ in range(300)])
    assert len(rows.unique(dim=0)) == WINDOWS * VIEWS * PHASES  # type: ignore[no-untyped-call]


def drawn(seed: int, *what: str) -> Targets:
    return draw(Targets(torch.zeros(4, dtype=torch.int64)), what, memory(), 4, seed)


def test_a_step_draws_the_same_whenever_it_is_run_and_whatever_else_is_drawn() -> None:
    one, again = drawn(7, "pairs", "nodes", "graphs"), drawn(7, "graphs", "pairs")
    assert one.pairs_X2 is not None
    assert one.pairs_X2.shape == (PAIRS_DRAWN, 2)
    assert set(one.pairs_X2.flatten().tolist()) == {0, 1, 2, 3}
    for name in ("pairs_X2", "memory_graphs_MQVD"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert again.memory_nodes_MVD is None
    other = drawn(8, "pairs", "nodes")
    for name in ("pairs_X2", "memory_nodes_MVD"):
        assert not torch.equal(getattr(one, name), getattr(other, name))


def test_the_memory_is_the_stored_outputs_and_no_copy_of_them() -> None:
    stored = joints()
    assert Memory.of(stored, torch.zeros(WINDOWS, dtype=torch.int64)).joints_NWQVD is stored


def test_a_memory_that_was_not_loaded_is_missed_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"draws nodes of the memory, but .* were not loaded"):
        draw(Targets(torch.zeros(4, dtype=torch.int64)), ["nodes"], None, 4, 0)


def test_only_what_was_loaded_is_gathered() -> None:
    _, targets = examples().take(torch.tensor([3, 7]), torch.tensor([1, 0]))
    assert targets[2:] == (None,) * 6
    _, targets = taught().take(torch.tensor([3, 7]), torch.tensor([1, 0]))
    assert targets.teacher_joints_BQVD is not None
    assert targets.teacher_embedding_BD is not None
    assert targets.teacher_joints_BQVD[:, 0, 0, :2].tolist() == [[3, 1], [7, 0]]
    assert targets.teacher_embedding_BD.dtype == torch.float32


def test_every_step_draws_anew_and_a_step_that_is_run_again_draws_the_same() -> None:
    fitting, train = fitting_of_every_term(), taught()
    steps = epoch_steps(WINDOWS, VIEWS, 4, 0, 0)
    once, again = (
        [targets for _, targets in draw_batches(train, steps, fitting, EVERY, Shard())]
        for _ in range(2)
    )
    for name in ("pairs_X2", "memory_nodes_MVD", "memory_graphs_MQVD"):
        values = [getattr(targets, name) for targets in once]
        assert all(not torch.equal(values[0], value) for value in values[1:])
        assert all(
            torch.equal(value, getattr(targets, name))
            for value, targets in zip(values, again, strict=True)
        )


# training by every term


def test_every_term_is_trained_and_told_of() -> None:
    terms = trained(fitting_of_every_term())
    assert set(terms[0]) == {"cross_entropy", *LOSSES}
    assert all(np.isfinite(value) for epoch in terms for value in epoch.values())


def test_heads_are_trained_along_and_are_no_part_of_the_model() -> None:
    fitting = fitting_of_every_term()
    assert fitting.heads is not None
    before = {name: value.clone() for name, value in fitting.heads.state_dict().items()}
    plain = new_fitting()
    assert fitting.model.state_dict().keys() == plain.model.state_dict().keys()
    trained(fitting)
    after = fitting.heads.state_dict()
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    assert {f"heads.{name}" for name in before} <= fitting.tensors().keys()


@pytest.mark.parametrize("steps", [2, 5])
def test_a_student_of_every_term_goes_on_from_its_file_bit_by_bit(
    steps: int, tmp_path: Path
) -> None:
    whole, stopped, resumed = (fitting_of_every_term() for _ in range(3))
    losses = trained(whole)
    stop_and_go_on(stopped, resumed, steps, tmp_path, taught(), EVERY)
    assert trained(resumed) == losses[stopped.epoch :]
    assert same(whole.tensors(), resumed.tensors())


def test_terms_grow_over_their_warm_up() -> None:
    """Of 4 epochs of 3 steps, the first half: the factors of the first epoch are 0, 1/6 and 2/6."""
    plan = FitPlan(epochs=4, batch=4, lr=1e-12, weight_decay=0.0)

    def of(warmup: float) -> list[dict[str, float]]:
        fitting = Fitting(new_fitting(dropout=0.0).model, plan)
        return trained(fitting, replace(KD, warmup=warmup))

    grown, whole = of(0.5), of(0.0)
    assert 0 < grown[0]["kd"] < 0.4 * whole[0]["kd"]
    assert grown[2]["kd"] == pytest.approx(whole[2]["kd"], rel=1e-3)
    assert grown[0]["cross_entropy"] == pytest.approx(whole[0]["cross_entropy"], rel=1e-3)


@pytest.mark.parametrize("name", [name for name, term in LOSSES.items() if term.whole_batch])
def test_terms_of_the_whole_batch_are_refused_for_workers_that_share_it(name: str) -> None:
    epochs = fit(
        fitting_of_every_term(), taught(), taught(), Distillation(weights={name: 1.0}), Shard(0, 2)
    )
    with pytest.raises(ValueError, match=f"'{name}' relates .* but 2 workers share the batch"):
        next(epochs)


def test_the_classes_here_are_those_of_the_memory() -> None:
    assert len(Memory.of(joints(), taught().label_N).by_class) == CLASSES
