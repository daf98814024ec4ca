"""The GPU path, with the CPU's result as the oracle; skipped where there is no CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaitforge.layout import LAYOUTS
from gaitforge.losses import Distillation
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.settings import FitPlan
from trainers.loop import Examples, Fitting, fit, window_logits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

SMALL: dict[str, dict[str, object]] = {
    "stgcn": {"widths": [8, 16], "strides": [1, 2], "dropout": 0.0},
    "tcn": {"channels": 8, "layers": 2, "dropout": 0.0},
}
LAYOUT = LAYOUTS["coco17"]
CLASSES = 3


def walks() -> Examples:
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(24, 2, 16, LAYOUT.joint_count, 3, generator=generator)
    label = torch.arange(24) % CLASSES
    joints[:, :, :, 0, 0] += 3.0 * label[:, None, None]
    seen = torch.ones(joints.shape[:-1], dtype=torch.bool)
    logits = torch.nn.functional.one_hot(label, CLASSES).float()[:, None].repeat(1, 2, 1) * 4
    return Examples(joints, seen, label, np.arange(24), CLASSES, logits)


def fitting(family: str, device: str, epochs: int = 6) -> Fitting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_sizes(family, SMALL[family]).build(LAYOUT, 3, CLASSES)
    return Fitting(model.to(device), FitPlan(epochs=epochs, batch=8, lr=1e-2))


def test_every_family_has_a_gpu_case() -> None:
    assert set(SMALL) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_on_the_gpu_are_those_of_the_cpu(family: str) -> None:
    examples = walks()
    cpu = window_logits(fitting(family, "cpu").model, examples, 8)
    gpu = window_logits(fitting(family, "cuda").model, examples.to(torch.device("cuda")), 8)
    np.testing.assert_allclose(gpu, cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_first_epoch_in_bfloat16_has_the_loss_of_the_cpu(family: str) -> None:
    examples, distillation = walks(), Distillation(weights={"kd": 1.0}, temperature=2.0)
    gpu_examples = examples.to(torch.device("cuda"))
    cpu = next(fit(fitting(family, "cpu"), examples, examples, distillation))
    gpu = next(fit(fitting(family, "cuda"), gpu_examples, gpu_examples, distillation))
    assert gpu.train_loss == pytest.approx(cpu.train_loss, rel=5e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_on_the_gpu_learns(family: str) -> None:
    examples = walks().to(torch.device("cuda"))
    epochs = list(fit(fitting(family, "cuda", epochs=12), examples, examples, Distillation()))
    assert epochs[-1].train_loss < 0.8 * epochs[0].train_loss
    assert epochs[-1].val_accuracy > 0.6
