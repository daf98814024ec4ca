"""The GPU path, with the CPU's result as the oracle; skipped where there is no CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gaitforge.layout import LAYOUTS
from gaitforge.losses import Distillation
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.settings import FitPlan
from tests.small_sizes import small_sizes
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import fit
from trainers.training.scoring import window_logits
from trainers.training.speed import (
    CUDA_GRAPHS,
    Speed,
    choose_home,
    compile_model,
    list_tensors,
    send_ahead,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

# of ours, two layers; another family is tried at the smallest sizes of its space
DEEPER: dict[str, dict[str, object]] = {
    "ctrgcn": {"widths": [8, 16], "strides": [1, 2]},
    "dynstg_mamba": {"widths": [8, 16], "strides": [1, 2], "states": 4},
    "stgcn": {"widths": [8, 16], "strides": [1, 2]},
    "tcn": {"channels": 8, "layers": 2},
}
LAYOUT = LAYOUTS["coco17"]
CLASSES = 3
CUDA = torch.device("cuda")


def walks() -> Examples:
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(24, 16, LAYOUT.joint_count, 3, generator=generator)
    label = torch.arange(24) % CLASSES
    joints[:, :, 0, 0] += 3.0 * label[:, None]
    seen = torch.ones(joints.shape[:-1], dtype=torch.bool)
    logits = torch.nn.functional.one_hot(label, CLASSES).float()[:, None].repeat(1, 2, 1) * 4
    return Examples(joints, seen, label, np.arange(24), CLASSES, 2, teacher_logits_NWK=logits)


def fitting(family: str, device: str, epochs: int = 6, dropout: float = 0.0) -> Fitting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = (
            make_sizes(family, {**DEEPER[family], "dropout": dropout})
            if family in DEEPER
            else small_sizes(family, dropout=dropout)
        )
        model = sizes.build(LAYOUT, 3, CLASSES)
    return Fitting(model.to(device), FitPlan(epochs=epochs, batch=8, lr=1e-2))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_on_the_gpu_are_those_of_the_cpu(family: str) -> None:
    examples = walks()
    cpu = window_logits(fitting(family, "cpu").model, examples, 8)
    gpu = window_logits(fitting(family, "cuda").model, examples.to(CUDA), 8)
    np.testing.assert_allclose(gpu, cpu, rtol=1e-3, atol=1e-3)


def trained(fitting: Fitting, examples: Examples, speed: Speed | None = None) -> list[float]:
    """The training losses of all epochs, with a teacher's outputs."""
    distillation = Distillation(weights={"kd": 1.0}, temperature=2.0)
    return [
        metrics.train_loss
        for metrics in fit(fitting, examples, walks(), distillation, speed=speed)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_first_epochs_in_float32_have_the_losses_of_the_cpu(family: str) -> None:
    cpu = trained(fitting(family, "cpu", epochs=2), walks())
    gpu = trained(fitting(family, "cuda", epochs=2), walks().to(CUDA), Speed())
    assert gpu == pytest.approx(cpu, rel=5e-3)  # convolutions multiply in TF32


@pytest.mark.parametrize("family", FAMILIES)
def test_first_epoch_in_bfloat16_has_the_loss_of_the_cpu(family: str) -> None:
    cpu = trained(fitting(family, "cpu", epochs=1), walks())
    gpu = trained(fitting(family, "cuda", epochs=1), walks().to(CUDA), Speed(bf16=True))
    assert gpu == pytest.approx(cpu, rel=5e-2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_recorded_step_is_the_step(
    family: str, bf16: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it drops out: a replay takes the seed of its step."""
    plain, graphed = (fitting(family, "cuda", epochs=3, dropout=0.3) for _ in range(2))
    losses = trained(plain, walks().to(CUDA), Speed(bf16=bf16))
    assert trained(graphed, walks().to(CUDA), Speed(bf16=bf16, cuda_graph=True)) == pytest.approx(
        losses, rel=1e-3
    )
    assert capsys.readouterr().out == "", "it could not be recorded"
    for name, value in plain.tensors().items():
        torch.testing.assert_close(graphed.tensors()[name], value, rtol=1e-2, atol=1e-3)


def test_windows_on_the_host_arrive_as_those_on_the_device() -> None:
    sent, kept = (fitting("tcn", "cuda", epochs=3) for _ in range(2))
    assert trained(sent, walks(), Speed()) == pytest.approx(
        trained(kept, walks().to(CUDA), Speed()), rel=1e-5
    )


def test_batches_that_are_sent_ahead_are_those_of_the_host() -> None:
    examples = walks()
    batches = [examples.take(torch.arange(i, i + 8), torch.zeros(8).long()) for i in range(16)]
    arrived = list(send_ahead(iter(batches), CUDA))
    for one, other in zip(batches, arrived, strict=True):
        for first, second in zip(list_tensors(*one), list_tensors(*other), strict=True):
            assert second.is_cuda
            assert torch.equal(first, second.cpu())


def test_a_compiled_model_has_the_losses_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    examples, plain, quick = walks().to(CUDA), fitting("stgcn", "cuda"), fitting("stgcn", "cuda")
    batch, _ = examples.take(torch.arange(8), torch.zeros(8).long())
    parallel = compile_model(quick.model, batch, bf16=False)
    if parallel is quick.model:
        pytest.skip(capsys.readouterr().out)  # no compiler or no Triton here
    one, other = (
        next(fit(f, examples, examples, Distillation(), parallel=model, speed=Speed()))
        for f, model in ((plain, None), (quick, parallel))
    )
    assert other.train_loss == pytest.approx(one.train_loss, rel=5e-3)


def test_a_fit_on_the_gpu_goes_on_from_the_middle_of_an_epoch() -> None:
    whole, stopped, resumed = (fitting("tcn", "cuda", epochs=3, dropout=0.3) for _ in range(3))
    examples = walks().to(CUDA)
    losses = trained(whole, examples)

    def stop() -> None:
        if (stopped.epoch, stopped.step) == (1, 2):
            raise InterruptedError

    kd = Distillation(weights={"kd": 1.0}, temperature=2.0)
    with pytest.raises(InterruptedError):
        list(fit(stopped, examples, examples, kd, after_step=stop))
    resumed.load(stopped.tensors(), stopped.epoch, stopped.step)
    assert trained(resumed, examples) == pytest.approx(losses[1:], rel=1e-3)


def test_small_models_are_recorded_and_large_ones_compiled_where_it_pays() -> None:
    small, large = nn.Linear(10, 10), nn.Linear(2_000, 1_000)
    assert Speed.choose(small, CUDA, steps=100_000) == Speed(bf16=True, cuda_graph=CUDA_GRAPHS)
    assert not Speed.choose(small, CUDA, alone=False).cuda_graph
    assert Speed.choose(large, CUDA, steps=100_000) == Speed(bf16=True, compiled=True)
    assert Speed.choose(large, CUDA, steps=1_000) == Speed(bf16=True)


def test_windows_lie_on_the_device_where_they_fit() -> None:
    free, _ = torch.cuda.mem_get_info()
    assert choose_home(10**6, CUDA) == CUDA
    assert choose_home(free, CUDA).type == "cpu"


@pytest.mark.parametrize("family", FAMILIES)
def test_training_on_the_gpu_learns(family: str) -> None:
    examples = walks().to(CUDA)
    epochs = list(fit(fitting(family, "cuda", epochs=12), examples, examples, Distillation()))
    assert epochs[-1].train_loss < 0.8 * epochs[0].train_loss
    assert epochs[-1].val_accuracy > 0.6
