"""Costs of small models, worked out by hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gaitforge.cost import checkpoint_bytes, count, latency_ms, scan_macs
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import FAMILIES, Sizes, make_sizes
from gaitforge.models.ctrgcn import CtrgcnSizes
from gaitforge.models.dynstg_mamba import DynstgMambaSizes
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes

PLATES = Layout(name="plates", joints=("one", "other"), bones=((0, 1),), up="none")


def test_tcn_costs_what_it_costs_by_hand() -> None:
    sizes = TcnSizes(channels=4, layers=1, kernel=3)
    cost = count(sizes, PLATES, channels=3, classes=2, frames=10)

    # input norm 2 * 2*3; 1x1 from 2 joints * (3 + seen); kernel 3; 1x1; two norms; head
    assert cost.params == 12 + (8 * 4 + 4) + 3 * 16 + 16 + 2 * 8 + (4 * 2 + 2)
    assert cost.macs == 10 * (8 * 4 + 3 * 16 + 16) + 4 * 2


@pytest.mark.parametrize(
    ("temporal", "temporal_weights"), [("full", 3 * 16), ("separable", 3 * 4 + 16)]
)
def test_stgcn_costs_what_it_costs_by_hand(temporal: str, temporal_weights: int) -> None:
    sizes = StgcnSizes(widths=(4,), strides=(2,), kernel=3, temporal=temporal)
    cost = count(sizes, PLATES, channels=3, classes=2, frames=10)

    # input norm 2 * 2*3; importance 3*2*2; 1x1 from 3 * (3 + seen); temporal; two norms; head
    assert cost.params == 12 + 12 + 12 * 4 + temporal_weights + 2 * 8 + (4 * 2 + 2)
    graph = 10 * 4 * (3 * 2 * 2)  # frames, channels in, [3*2, 2] times [2]
    mixing = 10 * 2 * (12 * 4)  # frames, joints
    convolution = 5 * 2 * temporal_weights  # half the frames are left
    assert cost.macs == graph + mixing + convolution + 4 * 2


def test_dynstg_mamba_costs_what_it_costs_by_hand() -> None:
    sizes = DynstgMambaSizes(widths=(4,), strides=(2,), states=3, expand=2)
    cost = count(sizes, PLATES, channels=3, classes=2, frames=10)

    # two hops of two joints: B, W, its bias, gamma, rho; queries and keys of 16; per hop a 1x1; norm
    learned = 2 * (4 + 4 + 2 + 1 + 1) + (4 * 32 + 32)
    spatial = learned + 2 * 16 + 8
    temporal = 4 * (3 + 7) + 16 + 8
    # norm; in; convolution of 4; Delta of rank 1, B and C; Delta; A; D; out
    scanned = 8 + 4 * 16 + 8 * 5 + 8 * (1 + 6) + 8 * 2 + 8 * 3 + 8 + 8 * 4
    assert cost.params == 12 + spatial + temporal + scanned + (4 * 2 + 2)

    filters = 2 * (2 * 2 * 2) + 2 * 4 * 32 + 2 * 2 * 16  # B W; of the mean frame: q and k, q.k
    mixing = 2 * 10 * (2 * 2 * 4 + 2 * 16)  # hops, frames: joints with joints, channels
    temporal_macs = 5 * 2 * (4 * 7 + 16)  # half the frames are left; 3 and 7 frames are one kernel
    linear = 5 * 2 * (4 * 16 + 8 * 4 + 8 * 7 + 8 + 8 * 4) + 5 * (
        2 * 2 * 8
    )  # and Delta of the joints
    scan = 5 * 2 * 8 * (4 * 3 + 2)
    assert scan_macs(sizes, PLATES, channels=3, classes=2, frames=10) == scan
    assert cost.macs == filters + mixing + temporal_macs + linear + scan + 4 * 2


def test_ctrgcn_costs_what_it_costs_by_hand() -> None:
    sizes = CtrgcnSizes(widths=(4,), strides=(2,), kernel=3)
    cost = count(sizes, PLATES, channels=3, classes=2, frames=10)

    # graphs and alpha; psi and phi of 8, xi, 1x1, with biases, for each of 3; norm
    graph = 3 * 4 + 1 + 3 * (2 * (4 * 8 + 8) + 8 * 4 + 4 + 4 * 4 + 4) + 8
    # four branches of one channel: 1x1 and norm, three with another norm, two with 3 frames
    temporal = 4 * (4 + 2) + 3 * 2 + 2 * 3
    assert cost.params == 12 + graph + temporal + (4 * 2 + 2)
    refined = 3 * (2 * 2 * 4 * 8 + 4 * 8 * 4)  # of the mean frame, then pairs of joints
    mixing = 3 * 10 * (2 * 16 + 2 * 2 * 4)  # channels, joints
    branches = 3 * (10 * 2 * 4) + 2 * (5 * 2 * 3) + 5 * 2 * 4
    assert cost.macs == refined + mixing + branches + 4 * 2


def test_only_a_scan_has_macs_of_a_scan() -> None:
    assert scan_macs(StgcnSizes(), PLATES, channels=3, classes=2, frames=10) == 0


def test_scanning_from_both_ends_costs_the_scan_twice() -> None:
    one, both = (
        DynstgMambaSizes(widths=(4,), strides=(1,), bidirectional=bidirectional)
        for bidirectional in (False, True)
    )
    scan = scan_macs(one, PLATES, channels=3, classes=2, frames=10)

    assert scan_macs(both, PLATES, channels=3, classes=2, frames=10) == 2 * scan
    costs = [count(sizes, PLATES, channels=3, classes=2, frames=10) for sizes in (one, both)]
    assert costs[1].macs - costs[0].macs == scan
    assert costs[1].params == costs[0].params


@pytest.mark.parametrize("family", FAMILIES)
def test_params_are_those_of_the_real_model(family: str) -> None:
    sizes = make_sizes(family, {})
    model = sizes.build(LAYOUTS["coco17"], 3, 4)
    cost = count(sizes, LAYOUTS["coco17"], channels=3, classes=4, frames=48)

    assert cost.params == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "sizes",
    [
        CtrgcnSizes(widths=(8, 12), strides=(1, 1)),
        DynstgMambaSizes(widths=(8, 12), strides=(1, 1)),
        StgcnSizes(widths=(8, 12), strides=(1, 1)),
        TcnSizes(),
    ],
    ids=lambda sizes: type(sizes).__name__,
)
def test_macs_without_strides_grow_with_the_frames(sizes: Sizes) -> None:
    short, middle, long = (
        count(sizes, PLATES, channels=2, classes=3, frames=frames).macs for frames in (8, 16, 24)
    )

    assert long - middle == middle - short > 0


def test_counting_leaves_no_weights_and_no_randomness_behind() -> None:
    before = torch.random.get_rng_state()
    count(StgcnSizes(), PLATES, channels=2, classes=3, frames=10)

    assert torch.equal(before, torch.random.get_rng_state())


def test_latency_is_in_milliseconds_and_skips_the_warmup() -> None:
    calls: list[float] = []

    def slow_at_first() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.05 if len(calls) <= 2 else 0.002)

    latency = latency_ms(slow_at_first, repeats=10, warmup=2)

    assert len(calls) == 12
    assert 2 <= latency.p50 < 40
    assert latency.p50 <= latency.p95


def test_latency_of_no_calls_is_refused() -> None:
    with pytest.raises(ValueError, match="time at least 1"):
        latency_ms(lambda: None, repeats=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_are_those_of_the_file_of_weights(family: str, tmp_path: Path) -> None:
    """Counted on a model that was never allocated."""
    sizes, layout = make_sizes(family, {}), LAYOUTS["coco17"]
    model = sizes.build(layout, 3, 4)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    written = (tmp_path / "model.safetensors").stat().st_size

    assert count(sizes, layout, channels=3, classes=4, frames=48).bytes == written
    assert checkpoint_bytes(model) == written
