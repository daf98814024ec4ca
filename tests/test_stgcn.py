"""ST-GCN: its graph, its size as published, and what its parts compute."""

from __future__ import annotations

import pytest
import torch

from gaitforge.batch import Batch
from gaitforge.cost import count
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models.graph import partitioned_adjacency
from gaitforge.models.stgcn import GraphConvolution, StgcnSizes

# a chain a - b - c with its root at a, and d, which hangs on nothing
CHAIN = Layout(name="chain", joints=("a", "b", "c", "d"), bones=((0, 1), (1, 2)), up="none")


def test_partitions_tell_itself_from_nearer_and_farther_joints() -> None:
    same, nearer, farther = partitioned_adjacency(CHAIN)
    third = 1 / 3

    # rows are sources, columns targets; b has three neighbours, a and c two, d itself
    torch.testing.assert_close(same, torch.diag(torch.tensor([0.5, third, 0.5, 1.0])))
    expected_nearer = torch.zeros(4, 4)
    expected_nearer[0, 1], expected_nearer[1, 2] = third, 0.5
    torch.testing.assert_close(nearer, expected_nearer)
    expected_farther = torch.zeros(4, 4)
    expected_farther[1, 0], expected_farther[2, 1] = 0.5, third
    torch.testing.assert_close(farther, expected_farther)


def test_two_roots_of_a_layout_are_as_far_as_each_other() -> None:
    same, nearer, farther = partitioned_adjacency(LAYOUTS["coco17"])
    left_hip, right_hip = 11, 12

    assert same[left_hip, right_hip] > 0
    assert nearer[left_hip, right_hip] == farther[left_hip, right_hip] == 0


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), CHAIN], ids=lambda layout: layout.name)
def test_weights_of_a_target_sum_to_one(layout: Layout) -> None:
    weights = partitioned_adjacency(layout)

    torch.testing.assert_close(weights.sum(dim=(0, 1)), torch.ones(layout.joint_count))


def test_graph_convolution_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = GraphConvolution(joints=4, width_in=3, width=5)
    torch.nn.init.uniform_(layer.importance_kvw)
    adjacency = partitioned_adjacency(CHAIN)
    x_BDTV = torch.randn(2, 3, 6, 4)
    weights_wkc = layer.mix_channels.weight.view(5, 3, 3)
    formula = torch.einsum(
        "okc,bctv,kvw->botw", weights_wkc, x_BDTV, adjacency * layer.importance_kvw
    )

    torch.testing.assert_close(layer(x_BDTV, adjacency), formula)


def test_joint_without_a_bone_hears_and_tells_nothing() -> None:
    torch.manual_seed(0)
    layer = GraphConvolution(joints=4, width_in=3, width=5)
    x_BDTV = torch.randn(1, 3, 6, 4)
    changed = x_BDTV.clone()
    changed[..., 3] += 1
    difference = layer(changed, partitioned_adjacency(CHAIN)) - layer(
        x_BDTV, partitioned_adjacency(CHAIN)
    )

    assert difference[..., :3].abs().max() == 0
    assert difference[..., 3].abs().max() > 0


def test_canonical_network_has_the_published_number_of_parameters() -> None:
    canonical = StgcnSizes(
        widths=(64, 64, 64, 64, 128, 128, 128, 256, 256, 256),
        strides=(1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
        temporal="full",
    )
    cost = count(canonical, LAYOUTS["kinect25"], channels=3, classes=60, frames=64)

    assert cost.params == pytest.approx(3.099e6, rel=0.02)
    # 3.65 G were counted for two bodies per clip
    assert cost.macs == pytest.approx(3.65e9 / 2, rel=0.02)


@pytest.mark.parametrize("temporal", ["full", "separable"])
def test_strides_shorten_the_map_and_nothing_else(temporal: str) -> None:
    sizes = StgcnSizes(widths=(4, 8, 8), strides=(1, 2, 2), temporal=temporal)
    model = sizes.build(LAYOUTS["coco17"], 3, 2)
    batch = Batch(
        joints_BTVC=torch.randn(2, 17, 17, 3), seen_BTV=torch.ones(2, 17, 17, dtype=torch.bool)
    )

    assert model(batch).joints_BDTV.shape == (2, 8, 5, 17)


def test_separable_temporal_convolution_saves_what_it_says() -> None:
    def params(temporal: str) -> int:
        sizes = StgcnSizes(widths=(16,), strides=(1,), kernel=5, temporal=temporal)
        return count(sizes, CHAIN, channels=3, classes=2, frames=8).params

    assert params("full") - params("separable") == 5 * 16**2 - (5 * 16 + 16**2)
