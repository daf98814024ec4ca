"""The training loop: the same numbers every time, also in parts, and honest scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.losses import Distillation
from gaitforge.models import Output
from gaitforge.models.gssm import GraphSelectiveStateSpace
from gaitforge.models.tcn import TcnSizes
from gaitforge.settings import FitPlan
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import (
    Goal,
    find_gradients,
    find_loss_factors,
    fit,
)
from trainers.training.scoring import score, score_logits, window_logits
from trainers.training.sharing import Shard, check_shards
from trainers.training.steps import Step, epoch_steps, set_learning_rate, spread_views

LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
WINDOWS, VIEWS, FRAMES, CLASSES = 10, 2, 16, 2
KD = Distillation(weights={"kd": 1.0}, temperature=2.0)
NOISY = {"jitter": 0.1, "joint_drop": 0.1}


def examples(*, taught: bool = True, views: int = VIEWS) -> Examples:
    """Ten windows of five recordings; the legs of the second class swing faster."""
    generator = torch.Generator().manual_seed(5)
    label_N = torch.arange(WINDOWS) // 2 % CLASSES
    phase_T = torch.arange(FRAMES) / FRAMES * 6.0
    joints = 0.3 * torch.randn(WINDOWS, FRAMES, 3, 3, generator=generator)
    joints[:, :, 1:, 0] += torch.sin(phase_T * (1 + label_N[:, None]))[:, :, None]
    teacher = torch.randn(WINDOWS, views, CLASSES, generator=generator)
    teacher += 2.0 * nn.functional.one_hot(label_N)[:, None]
    return Examples(
        joints,
        torch.ones(joints.shape[:-1], dtype=torch.bool),
        label_N,
        np.arange(WINDOWS) // 2,
        CLASSES,
        views=views,
        teacher_logits_NWK=teacher if taught else None,
    )


def new_fitting(*, dropout: float = 0.2, **plan: Any) -> Fitting:
    sizes = TcnSizes(channels=4, layers=1, kernel=3, dropout=dropout)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sizes.build(LEGS, channels=3, classes=CLASSES)
    return Fitting(model, FitPlan(**{"epochs": 4, "batch": 4, "lr": 1e-2, **plan}))


def trained(fitting: Fitting) -> list[float]:
    """The training losses of the epochs that are left."""
    return [metrics.train_loss for metrics in fit(fitting, examples(), examples(views=1), KD)]


def one_epoch(fitting: Fitting, train: Examples | None = None) -> dict[str, float]:
    train = train or examples()
    return dict(next(fit(fitting, train, train, KD)).terms)


def weights(fitting: Fitting) -> dict[str, Tensor]:
    return fitting.tensors()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


# the same numbers


def test_known_loss() -> None:
    """If these change, results change: say so in the commit.

    The tolerance is for other versions of torch and other processors, which sum in another order;
    there is no dropout, since what it drops depends on the build of torch.
    """
    known = [1.365630, 1.168559, 1.252700, 1.105215]
    assert trained(new_fitting(dropout=0.0, **NOISY)) == pytest.approx(known, abs=1e-4)


def test_weight_decay_spares_what_a_module_names() -> None:
    torch.manual_seed(0)
    block = GraphSelectiveStateSpace(width=4, states=3, expand=1, bidirectional=False)
    before = {name: value.clone() for name, value in block.named_parameters()}
    fitting = Fitting(block, FitPlan(lr=0.1, weight_decay=0.5))
    for parameter in block.parameters():
        parameter.grad = torch.zeros_like(parameter)
    fitting.optimizer.step()
    for name, value in block.named_parameters():
        spared = name in ("a_log_ES", "skip_E")
        torch.testing.assert_close(value, before[name] * (1.0 if spared else 0.95))


def test_same_seed_gives_the_same_weights() -> None:
    first, second = new_fitting(**NOISY), new_fitting(**NOISY)
    assert trained(first) == trained(second)
    assert same(weights(first), weights(second))


def test_another_seed_gives_other_weights() -> None:
    first, second = new_fitting(), new_fitting(seed=1)
    assert trained(first) != trained(second)


def test_what_others_drew_from_the_global_generator_changes_nothing() -> None:
    first, second = new_fitting(**NOISY), new_fitting(**NOISY)
    trained(first)
    torch.rand(7)
    trained(second)
    assert same(weights(first), weights(second))


def test_training_leaves_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    one_epoch(new_fitting(**NOISY))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fit_that_goes_on_from_its_file_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, stopped, resumed = new_fitting(**NOISY), new_fitting(**NOISY), new_fitting(**NOISY)
    trained(whole)

    epochs = fit(stopped, examples(), examples(views=1), KD)
    next(epochs), next(epochs)
    save_file(stopped.tensors(), tmp_path / "state.safetensors")
    resumed.load(load_file(tmp_path / "state.safetensors"), epoch=stopped.epoch)
    assert len(trained(resumed)) == 2

    assert same(weights(whole), weights(resumed))


class Interrupted(Exception):
    """What stops a fit after some steps."""


def stop_and_go_on(
    stopped: Fitting,
    resumed: Fitting,
    steps: int,
    folder: Path,
    train: Examples,
    distill: Distillation,
) -> None:
    """Train the first for so many steps, and give the second what a checkpoint of it holds."""
    done, state = 0, folder / "state.safetensors"

    def stop_after() -> None:
        nonlocal done
        done += 1
        if done == steps:
            save_file(stopped.tensors(), state)
            raise Interrupted

    with pytest.raises(Interrupted):
        list(fit(stopped, train, examples(views=1), distill, after_step=stop_after))
    resumed.load(load_file(state), stopped.epoch, stopped.step)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_fit_that_goes_on_from_the_middle_of_an_epoch_ends_with_the_same_weights(
    steps: int, tmp_path: Path
) -> None:
    whole, stopped, resumed = new_fitting(**NOISY), new_fitting(**NOISY), new_fitting(**NOISY)
    losses = trained(whole)
    stop_and_go_on(stopped, resumed, steps, tmp_path, examples(), KD)
    # an epoch has three steps; after its last, what is left of it is the scoring
    assert (stopped.epoch, stopped.step) == divmod(steps, 3) if steps % 3 else (0, 3)

    assert trained(resumed) == losses[stopped.epoch :]
    assert same(weights(whole), weights(resumed))


def test_a_checkpoint_is_a_copy_that_training_does_not_change() -> None:
    fitting = new_fitting()
    one_epoch(fitting)
    kept = fitting.tensors()
    frozen = {name: value.clone() for name, value in kept.items()}
    one_epoch(fitting)
    assert same(kept, frozen)
    assert not same(kept, fitting.tensors())


# averaged weights


def states(fitting: Fitting) -> list[dict[str, Tensor]]:
    """The model after each step of a whole fit."""
    seen: list[dict[str, Tensor]] = []

    def keep() -> None:
        seen.append({name: value.clone() for name, value in fitting.model.state_dict().items()})

    list(fit(fitting, examples(), examples(views=1), KD, after_step=keep))
    return seen


def test_the_result_is_the_mean_over_the_steps_of_the_last_epochs() -> None:
    fitting = new_fitting(average=0.5, **NOISY)
    last = states(fitting)[6:]  # of four epochs of three steps
    assert len(last) == 6
    for name, value in fitting.result.state_dict().items():
        steps = torch.stack([state[name] for state in last])
        mean = steps.mean(dim=0) if value.is_floating_point() else steps[-1]
        torch.testing.assert_close(value, mean)
    assert any("running_mean" in name for name in last[0])  # statistics too


def test_averaging_changes_no_step_and_no_score_before_it_begins() -> None:
    plain, averaged = new_fitting(**NOISY), new_fitting(average=0.5, **NOISY)
    first, second = (
        list(fit(one, examples(), examples(views=1), KD)) for one in (plain, averaged)
    )
    assert [m.train_loss for m in first] == [m.train_loss for m in second]
    assert same(dict(plain.model.state_dict()), dict(averaged.model.state_dict()))
    assert [m.val_macro_f1 for m in first[:2]] == [m.val_macro_f1 for m in second[:2]]
    assert plain.result is plain.model


def test_scores_of_averaged_epochs_are_those_of_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting, scored = new_fitting(average=0.5), list[nn.Module]()

    def note(model: nn.Module, *others: Any) -> Any:
        scored.append(model)
        return score(model, *others)

    monkeypatch.setattr("trainers.training.loop.score", note)
    trained(fitting)
    assert fitting.averaged is not None
    assert scored == [fitting.model, fitting.model, fitting.averaged, fitting.averaged]


@pytest.mark.parametrize(
    ("average", "epochs", "before"),
    [(0.0, 8, 8), (0.25, 8, 6), (0.3, 10, 7), (0.01, 8, 7), (1.0, 8, 0), (0.5, 1, 0)],
)
def test_a_share_of_the_last_epochs_is_averaged_and_never_less_than_one(
    average: float, epochs: int, before: int
) -> None:
    assert FitPlan(average=average, epochs=epochs).unaveraged == before


@pytest.mark.parametrize("steps", [5, 6, 7, 9, 11])
def test_a_fit_that_goes_on_has_the_same_mean(steps: int, tmp_path: Path) -> None:
    whole, stopped, resumed = (new_fitting(average=0.5, **NOISY) for _ in range(3))
    trained(whole)
    stop_and_go_on(stopped, resumed, steps, tmp_path, examples(), KD)
    trained(resumed)
    assert whole.averaged is not None
    assert same(weights(whole), weights(resumed))


# epochs


def test_fit_stops_when_nobody_asks_for_the_next_epoch() -> None:
    fitting = new_fitting()
    assert next(fit(fitting, examples(), examples(), KD)).epoch == 1
    assert fitting.epoch == 1


def test_the_training_loss_is_the_sum_of_its_named_terms() -> None:
    metrics = next(fit(new_fitting(), examples(), examples(), KD))
    assert set(metrics.terms) == {"cross_entropy", "kd"}
    assert metrics.train_loss == pytest.approx(sum(metrics.terms.values()))


def test_training_learns_what_tells_the_classes_apart() -> None:
    fitting = new_fitting(epochs=30, dropout=0.0)
    untaught = examples(taught=False)
    *_, last = fit(fitting, untaught, untaught, Distillation())
    assert last.val_macro_f1 == last.val_accuracy == 1.0


def test_a_loss_that_is_no_number_ends_training_with_a_sentence() -> None:
    broken = examples()
    broken.joints_NTVC[:, 3, 1, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 1; lower fit.lr"):
        one_epoch(new_fitting(), broken)


def test_classes_of_different_size_are_balanced_unless_the_plan_says_no() -> None:
    few = examples()
    few = replace(few, label_N=torch.tensor([0] * 8 + [1] * 2))
    balanced, plain = (
        next(fit(new_fitting(balance=balance, dropout=0.0), few, few, Distillation()))
        for balance in (True, False)
    )
    assert balanced.train_loss != plain.train_loss


# batches


@pytest.mark.parametrize(("windows", "batch"), [(8, 4), (10, 4), (10, 16), (33, 32), (3, 2)])
def test_every_window_appears_in_every_epoch(windows: int, batch: int) -> None:
    steps = epoch_steps(windows, VIEWS, batch, 0, 0)
    counts = Counter(torch.cat([step.window_B for step in steps]).tolist())
    size = min(batch, windows)
    assert sorted(counts) == list(range(windows))
    # the order is filled up from its own start, so that all batches are of one size
    assert {len(step.window_B) for step in steps} == {size}
    assert sum(counts.values()) - windows < size
    assert max(counts.values()) <= (1 if windows % size == 0 else 2)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_workers_share_out_a_batch_as_evenly_as_it_goes(world: int) -> None:
    batch_B = torch.arange(10)
    parts = [Shard(rank, world).take_rows(batch_B) for rank in range(world)]
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
    assert {len(part) for part in parts} <= {10 // world, 10 // world + 1}


def test_fewer_than_two_windows_of_a_batch_for_a_worker_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"4 workers cannot share batches of 7 .* lower teacher.workers"
    ):
        check_shards(7, 32, 4)
    check_shards(8, 32, 4)
    check_shards(1, 32, 1)


def test_order_and_views_differ_from_epoch_to_epoch() -> None:
    first, second = (epoch_steps(64, 4, 64, 0, epoch)[0] for epoch in range(2))
    assert not torch.equal(first.window_B, second.window_B)
    assert set(first.view_B.tolist()) == {0, 1, 2, 3}
    assert first.seed != second.seed


def test_as_many_epochs_as_views_show_each_view_of_each_window_once() -> None:
    shown: dict[int, list[int]] = {window: [] for window in range(6)}
    for epoch in range(5):
        for step in epoch_steps(6, 5, 3, 7, epoch):
            for window, view in zip(step.window_B.tolist(), step.view_B.tolist(), strict=True):
                shown[window].append(view)
    assert {tuple(sorted(views)) for views in shown.values()} == {(0, 1, 2, 3, 4)}
    assert len({tuple(views) for views in shown.values()}) > 1  # they begin with different ones


def test_the_answer_of_the_teacher_belongs_to_the_view_that_is_taken() -> None:
    train = examples()
    batch, targets = train.take(torch.tensor([3, 7]), torch.tensor([1, 0]))
    assert train.teacher_logits_NWK is not None
    assert targets.teacher_logits_BK is not None
    assert torch.equal(batch.joints_BTVC[0], train.joints_NTVC[3])
    assert torch.equal(targets.teacher_logits_BK[0], train.teacher_logits_NWK[3, 1])
    assert torch.equal(targets.teacher_logits_BK[1], train.teacher_logits_NWK[7, 0])
    assert targets.label_B.tolist() == [1, 1]


# shares of the loss


class Weighted(nn.Module):
    """Logits (weight times the sum of x, 0): a model without batch norm, whose gradient is plain."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.1))

    def forward(self, batch: Batch) -> Output:
        sums_B = batch.joints_BTVC[..., 0].sum(dim=(1, 2))
        logits = torch.stack([self.weight * sums_B, torch.zeros_like(sums_B)], dim=1)
        return Output(logits, logits, logits[..., None, None])


def five_windows() -> Examples:
    """Sums of x of 1 to 5; one window of the first class, four of the second."""
    joints = torch.zeros(5, FRAMES, 3, 3)
    joints[:, 0, 0, 0] = torch.arange(1.0, 6.0)
    return Examples(
        joints,
        torch.ones(joints.shape[:-1], dtype=torch.bool),
        torch.tensor([0, 1, 1, 1, 1]),
        np.arange(5),
        CLASSES,
        teacher_logits_NWK=torch.tensor([[2.0, 0.0]] * 5)[:, None],
    )


WHOLE = Step(torch.arange(5), torch.zeros(5, dtype=torch.int64), 0)


def shared_gradient(goal: Goal, world: int) -> tuple[float, dict[str, float]]:
    """The mean over workers of the gradient of the weight, and of the loss terms."""
    train, gradients, sums = five_windows(), [], Counter[str]()
    for rank in range(world):
        shard, model = Shard(rank, world), Weighted()
        fitting = Fitting(model, FitPlan(clip=1e9))
        taken = train.take(shard.take_rows(WHOLE.window_B), shard.take_rows(WHOLE.view_B))
        part = find_loss_factors(WHOLE, train.label_N, goal, shard)
        terms = find_gradients(*taken, part, fitting=fitting, model=model, goal=goal, bf16=False)
        assert model.weight.grad is not None
        gradients.append(model.weight.grad.item())
        sums.update({name: value.item() for name, value in terms.items()})
    return sum(gradients) / world, {name: value / world for name, value in sums.items()}


def test_the_gradient_of_a_whole_batch_has_the_value_of_the_hand_calculation() -> None:
    goal = Goal(distillation=Distillation(), class_weights_K=None, label_smoothing=0.0)
    gradient, _ = shared_gradient(goal, 1)
    # cross entropy of (w s, 0): (p - 1) s for the first class, p s for the second
    p = [1 / (1 + np.exp(-0.1 * s)) for s in range(1, 6)]
    by_hand = ((p[0] - 1) * 1 + p[1] * 2 + p[2] * 3 + p[3] * 4 + p[4] * 5) / 5
    assert gradient == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("class_weights_K", [None, torch.tensor([4.0, 1.0])])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_workers_have_together_the_gradient_of_the_whole_batch(
    world: int, class_weights_K: Tensor | None, label_smoothing: float
) -> None:
    """Five windows do not divide evenly, and the rare class is with one worker."""
    goal = Goal(distillation=KD, class_weights_K=class_weights_K, label_smoothing=label_smoothing)
    alone, terms_alone = shared_gradient(goal, 1)
    shared, terms_shared = shared_gradient(goal, world)
    assert shared == pytest.approx(alone, rel=1e-5)
    assert terms_shared == pytest.approx(terms_alone, rel=1e-5)


# noise


@pytest.mark.parametrize("world", [2, 3])
def test_workers_see_the_noise_that_one_would_see(world: int) -> None:
    plan, train = FitPlan(jitter=0.5, joint_drop=0.3), examples()
    window_B, view_B = torch.arange(8), torch.arange(8) % VIEWS

    def shown(shard: Shard) -> Batch:
        window, view = shard.take_rows(window_B), shard.take_rows(view_B)
        return train.disturb(train.take_batch(window, view), window, view, plan, epoch=3)

    alone = shown(Shard())
    assert not torch.equal(alone.joints_BTVC, train.joints_NTVC[:8])
    for rank in range(world):
        shard = Shard(rank, world)
        noisy = shown(shard)
        assert torch.equal(noisy.joints_BTVC, shard.take_rows(alone.joints_BTVC))
        assert torch.equal(noisy.seen_BTV, shard.take_rows(alone.seen_BTV))


def test_noise_is_new_in_every_epoch_unless_the_teacher_has_answered_it() -> None:
    plan, index = FitPlan(jitter=0.5), torch.arange(4)
    clean = examples()
    answered = replace(clean, answered=plan.disturbance)

    def shown(train: Examples, view: int, epoch: int) -> Tensor:
        view_B = torch.full_like(index, view)
        batch = train.take_batch(index, view_B)
        return train.disturb(batch, index, view_B, plan, epoch).joints_BTVC

    assert not torch.equal(shown(clean, 1, 0), shown(clean, 1, 1))
    assert torch.equal(shown(answered, 1, 0), shown(answered, 1, 1))
    assert not torch.equal(shown(answered, 0, 0), shown(answered, 1, 0))


def test_a_student_is_refused_views_that_are_disturbed_otherwise_than_the_teacher_saw() -> None:
    train = replace(examples(), answered=FitPlan(jitter=0.5).disturbance)
    with pytest.raises(
        ValueError, match=r"make them alike, or take search\.teacher_sees = 'clean'"
    ):
        next(fit(new_fitting(jitter=0.4), train, examples(), KD))
    assert next(fit(new_fitting(jitter=0.5), train, examples(), KD)).epoch == 1
    assert next(fit(new_fitting(jitter=0.4), train, examples(), Distillation())).epoch == 1


def test_a_plan_without_noise_leaves_the_windows_alone() -> None:
    train, index = examples(), torch.arange(4)
    batch = train.take_batch(index)
    assert train.disturb(batch, index, index, FitPlan(), 0) is batch


# learning rate


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0.0, 0.01), (1.0, 0.5), (2.0, 1.0), (6.0, 0.505), (10.0, 0.01)],
)
def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine(epoch: float, rate: float) -> None:
    fitting = new_fitting(epochs=10, warmup=0.2, lr=1.0)
    set_learning_rate(fitting.optimizer, fitting.plan, epoch)
    assert fitting.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_without_warm_up_the_learning_rate_starts_at_its_highest() -> None:
    fitting = new_fitting(warmup=0.0, lr=0.5)
    set_learning_rate(fitting.optimizer, fitting.plan, 0.0)
    assert fitting.optimizer.param_groups[0]["lr"] == pytest.approx(0.5)


# scores


class SumOfX(nn.Module):
    """Logits (sum of x, 0): a model whose answers can be read off its input."""

    def forward(self, batch: Batch) -> Output:
        assert not self.training
        sums_B = batch.joints_BTVC[..., 0].sum(dim=(1, 2))
        logits = torch.stack([sums_B, torch.zeros_like(sums_B)], dim=1)
        return Output(logits, logits, logits[..., None, None])


def two_recordings() -> Examples:
    """Two windows of recording 4 (sums 5 and -3) and one of recording 2 (sum -1)."""
    joints = torch.zeros(3, FRAMES, 3, 3)
    joints[:, 0, 0, 0] = torch.tensor([5.0, -1.0, -3.0])
    return Examples(
        joints,
        torch.ones(joints.shape[:-1], dtype=torch.bool),
        torch.tensor([0, 1, 0]),
        np.array([4, 2, 4]),
        CLASSES,
    )


def test_clean_views_are_scored_whatever_the_batch() -> None:
    for batch in (1, 2, 64):
        logits = window_logits(SumOfX().train(), two_recordings(), batch)
        assert logits.tolist() == [[5, 0], [-1, 0], [-3, 0]]


def test_a_recording_is_scored_by_the_mean_of_its_windows() -> None:
    scored = score(SumOfX(), two_recordings(), 2)
    assert scored.recording_R.tolist() == [2, 4]
    assert scored.true_R.tolist() == [1, 0]
    assert scored.logits_RK.tolist() == [[-1, 0], [1, 0]]
    assert scored.accuracy == 1.0  # window by window it would be 2 of 3
    assert scored.confusion_KK.tolist() == [[1, 0], [0, 1]]


def test_a_class_that_is_never_found_lowers_macro_f1_more_than_accuracy() -> None:
    examples_of_two = two_recordings()
    scored = score_logits(np.array([[1.0, 0], [1.0, 0], [1.0, 0]]), examples_of_two)
    assert scored.accuracy == 0.5
    assert scored.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


# views of a window that must agree


def test_a_step_with_consistency_has_four_views_of_a_quarter_of_its_windows() -> None:
    window, view = spread_views(torch.arange(8), torch.tensor([0, 5, *range(6)]), 12)
    assert window.tolist() == [0] * 4 + [1] * 4
    assert view.tolist() == [0, 3, 6, 9, 5, 8, 11, 2]
    few = spread_views(torch.arange(3), torch.zeros(3, dtype=torch.int64), 2)
    assert (few[0].tolist(), few[1].tolist()) == ([0] * 4, [0, 1, 0, 1])


def test_consistency_is_a_named_part_of_the_loss_and_asks_for_views() -> None:
    fitting = new_fitting(consistency=0.5, dropout=0.0)
    metrics = next(fit(fitting, examples(), examples(views=1), Distillation()))
    assert set(metrics.terms) == {"cross_entropy", "consistency"}
    # here all views of a window are alike
    assert metrics.terms["consistency"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"fit\.consistency is 0\.5 .* but windows\.views is 1; "):
        next(fit(new_fitting(consistency=0.5), examples(views=1), examples(), Distillation()))
