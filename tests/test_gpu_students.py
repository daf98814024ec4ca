"""Students that share a GPU, each in a process of its own; skipped where there is no CUDA device."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.gpu import QUICK, small_student
from trainers.search.gpu_packing import measure_student, pack
from trainers.training.student import StudentSpec, new_student, train_student

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


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
