"""Costs of small models, worked out by hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gaitforge.cost import checkpoint_bytes, count, latency_ms
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import FAMILIES, make_sizes
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


@pytest.mark.parametrize("family", FAMILIES)
def test_params_are_those_of_the_real_model(family: str) -> None:
    sizes = make_sizes(family, {})
    model = sizes.build(LAYOUTS["coco17"], 3, 4)
    cost = count(sizes, LAYOUTS["coco17"], channels=3, classes=4, frames=48)

    assert cost.params == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_macs_without_strides_grow_with_the_frames(family: str) -> None:
    values: dict[str, object] = {"strides": [1, 1, 1, 1]} if family == "stgcn" else {}
    short, middle, long = (
        count(make_sizes(family, values), PLATES, channels=2, classes=3, frames=frames).macs
        for frames in (8, 16, 24)
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
