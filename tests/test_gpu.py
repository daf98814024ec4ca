"""The GPU path, with the CPU's result as the oracle; skipped where there is no CUDA device."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.gpu import QUICK, small_student
from gaitforge.layout import LAYOUTS
from gaitforge.losses import Distillation
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.settings import FitPlan
from trainers.loop import Examples, Fitting, fit, window_logits
from trainers.packing import measure_student, pack
from trainers.student import StudentSpec, new_student, train_student

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


# students that share the GPU, each in a process of its own


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudentSpec:
    return small_student(tmp_path_factory.mktemp("students"), replace(QUICK, epochs=4))


def processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def trained_weights(spec: StudentSpec) -> dict[str, NDArray[np.float32]]:
    fitting = new_student(spec)
    for _ in train_student(spec, fitting):
        pass
    return {
        name: weight.detach().cpu().numpy() for name, weight in fitting.model.named_parameters()
    }


def out_of_memory(spec: StudentSpec) -> str:
    """How a student ends whose share of the memory is too small for it."""
    torch.cuda.set_per_process_memory_fraction(
        20e6 / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        trained_weights(replace(spec, sizes={"widths": [512, 512], "strides": [1, 1]}))
    except torch.OutOfMemoryError as error:
        return str(error)
    return "it fits"


def distance(one: dict[str, NDArray[np.float32]], other: dict[str, NDArray[np.float32]]) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def test_a_student_beside_another_on_the_gpu_ends_as_it_does_alone(spec: StudentSpec) -> None:
    with processes(2) as pool:
        alone = pool.submit(trained_weights, spec).result()
        beside = [pool.submit(trained_weights, spec.with_seed(seed)) for seed in (0, 1)]
        same, other = [future.result() for future in beside]
    assert distance(alone, other) > 0.1
    assert distance(alone, same) < 0.01  # sums on a GPU have no fixed order


def test_a_student_that_outgrows_its_share_of_the_memory_fails_alone(spec: StudentSpec) -> None:
    with processes(2) as pool:
        starved = pool.submit(out_of_memory, spec)
        beside = pool.submit(trained_weights, spec)
        assert "out of memory" in starved.result()
        assert all(np.isfinite(weight).all() for weight in beside.result().values())


def test_a_student_on_the_gpu_is_measured(spec: StudentSpec) -> None:
    with processes(1) as pool:
        need = pool.submit(measure_student, spec).result()
    assert need.device == torch.cuda.get_device_name()
    assert 0 < need.outside_bytes < need.bytes < need.device_bytes
    assert need.busy is None or 0 < need.busy <= 1
    assert 1 <= pack(need, cores_per_gpu=16).students <= 16
