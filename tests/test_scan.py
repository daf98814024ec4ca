"""The selective scan: every way of computing it is held against a plain loop in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gaitforge.export import _quiet_exporter
from gaitforge.models import scan as scan_module
from gaitforge.models import scan_torch
from gaitforge.models.scan import selective_scan
from gaitforge.models.scan_cpu import fused_scan, try_compiling
from gaitforge.models.scan_cuda import find_mamba_scan, scan_by_mamba
from gaitforge.models.scan_kernels import KEPT, LANES
from gaitforge.models.scan_torch import exportable_scan, stepwise_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
NAMES = ("u", "delta", "A", "B", "C", "D")
CPU_SCANS: dict[str, Scan] = {"fused": fused_scan, "stepwise": stepwise_scan}
# windows, frames, channels, states: fewer and more than one block of lanes and one run of kept states
SHAPES = [
    (3, 10, 5, 4), (2, KEPT + 3, LANES + 7, 3), (18, 2 * KEPT, 4, 2), (2, 5, LANES, 2), (1, 1, 1, 1)
]  # fmt: skip


def oracle(
    u_NTD: Tensor, delta_NTD: Tensor, a_DS: Tensor, b_NTS: Tensor, c_NTS: Tensor, skip_D: Tensor
) -> Tensor:
    """The definition, one frame after the other; gradients are autograd's."""
    h_NDS = torch.zeros(u_NTD.shape[0], *a_DS.shape, dtype=u_NTD.dtype)
    outputs = []
    for t in range(u_NTD.shape[1]):
        delta_ND1, u_ND1 = delta_NTD[:, t, :, None], u_NTD[:, t, :, None]
        b_N1S, c_N1S = b_NTS[:, t, None, :], c_NTS[:, t, None, :]
        h_NDS = torch.exp(delta_ND1 * a_DS) * h_NDS + delta_ND1 * b_N1S * u_ND1
        outputs.append((c_N1S * h_NDS).sum(dim=-1) + skip_D * u_NTD[:, t])
    return torch.stack(outputs, dim=1)


def arguments(
    windows: int, frames: int, channels: int, states: int, *, largest_delta: float = 0.3
) -> list[Tensor]:
    """As a Mamba layer makes them: A = -1..-S, delta positive, all in float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    delta = torch.rand(windows, frames, channels, generator=generator, dtype=torch.float64)
    return [
        normal(windows, frames, channels),
        delta * largest_delta,
        -torch.arange(1.0, states + 1, dtype=torch.float64).repeat(channels, 1),
        normal(windows, frames, states),
        normal(windows, frames, states),
        normal(channels),
    ]


def with_gradients(scan: Scan, given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """y, then the derivatives of a weighted sum of y by every argument, in float64."""
    leaves = [value.to(dtype).clone().requires_grad_() for value in given]
    y = scan(*leaves)
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).reshape(y.shape)
    (y * weights).sum().backward()  # type: ignore[no-untyped-call]
    found = [leaf.grad for leaf in leaves]
    return [y.detach().double(), *(grad.double() for grad in found if grad is not None)]


def relative(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest value; A has no say in a single frame."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-300))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_numba_compiles_the_loops_here() -> None:
    assert try_compiling() == ""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CPU_SCANS)
def test_every_scan_and_its_gradients_are_those_of_the_oracle(
    name: str, shape: tuple[int, int, int, int]
) -> None:
    given = arguments(*shape)
    wanted = with_gradients(oracle, given, torch.float64)
    for dtype, most in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        found = with_gradients(CPU_SCANS[name], given, dtype)
        errors = dict(zip(("y", *NAMES), map(relative, found, wanted), strict=True))
        assert {key: error for key, error in errors.items() if not error <= most} == {}


@pytest.mark.parametrize("name", CPU_SCANS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    given = [value.requires_grad_() for value in arguments(2, 5, 3, 2)]
    assert torch.autograd.gradcheck(CPU_SCANS[name], given)


def test_the_scan_of_a_cpu_is_the_fused_one() -> None:
    given = [value.float() for value in arguments(3, 12, 6, 4)]
    assert torch.equal(selective_scan(*given), fused_scan(*given))


def test_gradients_flow_to_those_arguments_that_need_them() -> None:
    u, *rest = arguments(2, 6, 4, 3)
    u.requires_grad_()
    selective_scan(u, *rest).sum().backward()  # type: ignore[no-untyped-call]
    assert u.grad is not None
    assert all(value.grad is None for value in rest)


@pytest.mark.slow
@pytest.mark.parametrize("name", CPU_SCANS)
@pytest.mark.parametrize("largest_delta", [0.0, 1.0, 100.0])
def test_two_thousand_frames_stay_finite_and_right(name: str, largest_delta: float) -> None:
    given = arguments(2, 2000, 3, 4, largest_delta=largest_delta)
    wanted = with_gradients(oracle, given, torch.float64)
    found = with_gradients(CPU_SCANS[name], given, torch.float32)
    for value, right in zip(found, wanted, strict=True):
        assert value.isfinite().all()
        assert (value - right).abs().max() <= 1e-5 * right.abs().max()


def test_a_broken_number_is_not_hidden() -> None:
    u, delta, *rest = (value.float() for value in arguments(2, 8, 3, 2))
    delta[0, 3, 1] = float("nan")
    y = selective_scan(u, delta, *rest)
    assert y[0, 3:, 1].isnan().all()
    assert y[1].isfinite().all()
    assert y[0, :, 0].isfinite().all()


@pytest.mark.parametrize("name", CPU_SCANS)
def test_a_frame_changes_nothing_before_it(name: str) -> None:
    given = [value.float() for value in arguments(2, 50, 4, 3)]
    before = CPU_SCANS[name](*given)
    for number in (0, 1, 3, 4):
        changed = [value.clone() for value in given]
        changed[number][:, 40] += 0.5
        after = CPU_SCANS[name](*changed)
        assert torch.equal(before[:, :40], after[:, :40])
        assert not torch.equal(before[:, 40], after[:, 40])


def test_a_window_is_the_same_in_every_batch() -> None:
    u, delta, a, b, c, skip = (value.float() for value in arguments(21, 40, 70, 4))
    together = selective_scan(u, delta, a, b, c, skip)
    for n in (0, 7, 20):
        alone = selective_scan(u[n : n + 1], delta[n : n + 1], a, b[n : n + 1], c[n : n + 1], skip)
        assert torch.equal(alone[0], together[n])


@pytest.mark.usefixtures("two_threads")
def test_threads_change_no_bit() -> None:
    given = [value.float() for value in arguments(21, 40, 70, 4)]
    several = with_gradients(fused_scan, given, torch.float32)
    torch.set_num_threads(1)
    one = with_gradients(fused_scan, given, torch.float32)
    assert all(torch.equal(left, right) for left, right in zip(several, one, strict=True))


def test_what_does_not_lie_in_a_row_is_read_as_it_is_seen() -> None:
    u, *rest = arguments(3, 9, 5, 2)
    scattered = u.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not scattered.is_contiguous()
    assert torch.equal(selective_scan(scattered, *rest), selective_scan(u, *rest))


def test_no_windows_give_no_output() -> None:
    given = arguments(0, 9, 5, 2)
    found = with_gradients(fused_scan, given, torch.float32)
    assert found[0].shape == (0, 9, 5)
    assert not found[3].any()


def test_sixteen_bits_are_computed_in_float32() -> None:
    given = [value.bfloat16() for value in arguments(2, 30, 4, 3)]
    found = selective_scan(*given)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, selective_scan(*(value.float() for value in given)).bfloat16())


@pytest.mark.parametrize("channels", [64, 100, 128])
def test_nothing_of_the_size_of_all_states_is_kept_for_the_backward_pass(channels: int) -> None:
    states = 16
    given = [value.float().requires_grad_() for value in arguments(2, 96, channels, states)]
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        selective_scan(*given)
    everything = 2 * 96 * channels * states
    assert max(kept) <= everything / states  # the inputs themselves


class Broken(ModuleType):
    """A module whose native library cannot be loaded, as llvmlite's where its file is gone."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("Could not find/load shared object file")


@pytest.mark.parametrize("instead", [None, Broken("scan_cpu")], ids=["missing", "broken"])
def test_without_numba_the_torch_version_answers_and_says_so_once(
    instead: ModuleType | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [value.float() for value in arguments(2, 9, 4, 3)]
    right = selective_scan(*given)
    monkeypatch.setitem(sys.modules, "gaitforge.models.scan_cpu", instead)
    scan_module._find_fused_scan.cache_clear()
    try:
        torch.testing.assert_close(selective_scan(*given), right, rtol=1e-5, atol=1e-6)
        selective_scan(*given)
    finally:
        scan_module._find_fused_scan.cache_clear()
    assert capsys.readouterr().err.count("numba is missing") == 1


@pytest.mark.parametrize(
    ("number", "shape", "name"),
    [
        (1, (2, 9, 3), "delta"),
        (2, (5, 3), "A"),
        (3, (2, 8, 3), "B"),
        (4, (3,), "C"),
        (5, (1,), "D"),
    ],
)
def test_shapes_that_do_not_fit_are_named(number: int, shape: tuple[int, ...], name: str) -> None:
    given = arguments(2, 9, 4, 3)
    given[number] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"got {name} of shape .* it must be|got u of shape"):
        selective_scan(*given)


def test_whole_numbers_are_refused() -> None:
    given = arguments(2, 9, 4, 3)
    given[1] = given[1].long()
    with pytest.raises(ValueError, match=r"delta of torch\.int64"):
        selective_scan(*given)


def test_a_model_that_is_only_counted_has_the_work_of_its_scan() -> None:
    given = [value.to("meta") for value in arguments(2, 9, 4, 3)]
    with FlopCounterMode(display=False) as counter:
        y = selective_scan(*given)
    assert y.shape == (2, 9, 4)
    assert counter.get_total_flops() // 2 == 2 * 9 * 4 * (4 * 3 + 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_mamba_is_given_what_its_kernel_takes(dtype: torch.dtype) -> None:
    """The checks of selective_scan.cpp of mamba-ssm 2.3.2, round the oracle in place of its kernel."""

    def kernel(
        u_NDT: Tensor,
        delta_NDT: Tensor,
        a_DS: Tensor,
        b_NST: Tensor,
        c_NST: Tensor,
        skip_D: Tensor,
    ) -> Tensor:
        sequences = (u_NDT, delta_NDT, b_NST, c_NST)
        assert {value.dtype for value in sequences} == {dtype}
        assert all(value.stride(-1) == 1 for value in sequences)
        assert a_DS.dtype == skip_D.dtype == torch.float32
        u, delta, b, c = (value.transpose(1, 2).float() for value in sequences)
        return oracle(u, delta, a_DS, b, c, skip_D).transpose(1, 2).to(dtype)

    u, *rest = (value.float() for value in arguments(2, 9, 4, 3))

    def there(u_NTD: Tensor, *others: Tensor) -> Tensor:
        made = scan_by_mamba(kernel, u_NTD.to(dtype), *others)
        assert made.dtype == dtype
        return made.float()

    found = with_gradients(there, [u, *rest], torch.float32)
    wanted = with_gradients(oracle, [u, *rest], torch.float32)
    torch.testing.assert_close(found[0], wanted[0], rtol=3e-2, atol=5e-2)
    for value, right in zip(found[1:], wanted[1:], strict=True):
        assert relative(value, right) <= 6e-2


def on_a_gpu(given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """y and the derivatives there; A and D stay float32, as under autocast."""

    def there(*values: Tensor) -> Tensor:
        kinds = (dtype, dtype, torch.float32, dtype, dtype, torch.float32)
        sent = (value.to("cuda", kind) for value, kind in zip(values, kinds, strict=True))
        return selective_scan(*sent).float().cpu()

    return with_gradients(there, given, torch.float32)


needs_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no CUDA device here"
)


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("shape", [(3, 64, 32, 16), (2, 300, 24, 8), (1, 2000, 8, 4)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float32, 6e-4, 2e-3), (torch.bfloat16, 3e-2, 5e-2)]
)
def test_mamba_on_a_gpu_is_the_oracle_within_its_own_tolerances(
    dtype: torch.dtype, rtol: float, atol: float, shape: tuple[int, int, int, int]
) -> None:
    if find_mamba_scan() is None:
        pytest.skip("mamba-ssm is not installed with its CUDA kernels")
    kinds = (dtype, dtype, torch.float32, dtype, dtype, torch.float32)
    rounded = [value.to(kind) for value, kind in zip(arguments(*shape), kinds, strict=True)]
    wanted = with_gradients(oracle, rounded, torch.float64)
    found = on_a_gpu(rounded, dtype)
    torch.testing.assert_close(found[0], wanted[0], rtol=rtol, atol=atol)
    for name, value, right in zip(NAMES, found[1:], wanted[1:], strict=True):
        # a sum over frames and windows: its error is a share of the largest
        assert relative(value, right) <= 2 * rtol, name


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("largest_delta", [30.0, 1e4])
def test_huge_steps_stay_finite_on_a_gpu(largest_delta: float) -> None:
    found = on_a_gpu(arguments(2, 300, 24, 8, largest_delta=largest_delta), torch.float32)
    assert all(value.isfinite().all() for value in found)


@pytest.mark.gpu
@needs_a_gpu
def test_without_mamba_a_gpu_gives_the_oracle_in_plain_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan_module, "find_mamba_scan", lambda: None)
    given = arguments(3, 40, 12, 4)
    wanted = with_gradients(oracle, given, torch.float64)
    for value, right in zip(on_a_gpu(given, torch.float32), wanted, strict=True):
        assert relative(value, right) <= 1e-5


class SmallMamba(nn.Module):
    """Linear maps to all that the scan takes, and the scan."""

    def __init__(self, channels: int = 6, states: int = 4) -> None:
        super().__init__()
        self.sizes = (channels, channels, states, states)
        self.widen = nn.Linear(3, sum(self.sizes))
        self.a_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(channels, 1))
        self.skip = nn.Parameter(torch.ones(channels))

    def forward(self, x_NTC: Tensor) -> Tensor:
        u, delta, b, c = self.widen(x_NTC).split(self.sizes, dim=-1)
        delta = nn.functional.softplus(delta)
        return selective_scan(u, delta, -torch.exp(self.a_log), b, c, self.skip).mean(dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["one node", "unrolled"])
def test_an_exported_scan_answers_alike_at_other_batch_sizes(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "unrolled":
        monkeypatch.setattr(scan_torch, "find_scan_operator", lambda: None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallMamba().eval()
        windows = torch.randn(7, 12, 3)
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (windows[:2],),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim.AUTO},),
        )
    assert program is not None
    path = tmp_path / "scan.onnx"
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in program.model.graph}
    assert ("Scan" in kinds) == (form == "one node")
    for size in (1, 7):
        answer = session.run(None, {session.get_inputs()[0].name: windows[:size].numpy()})[0]
        with torch.no_grad():
            np.testing.assert_allclose(answer, model(windows[:size]).numpy(), atol=1e-5)


@pytest.mark.parametrize("form", ["one node", "unrolled"])
def test_what_is_exported_is_the_oracle(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "unrolled":
        monkeypatch.setattr(scan_torch, "find_scan_operator", lambda: None)
    given = arguments(3, 10, 5, 4)
    torch.testing.assert_close(exportable_scan(*given), oracle(*given))
