"""CTR-GCN: what its parts compute (the whole: test_whole_models.py; its size: test_model_sizes.py)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gaitforge.batch import Batch
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models.ctrgcn import (
    CtrgcnSizes,
    MultiScaleConvolution,
    RefinedConvolution,
    normalise_edges,
)
from gaitforge.models.graph import partitioned_adjacency

CHAIN = Layout(name="chain", joints=("a", "b", "c"), bones=((0, 1), (1, 2)))


def test_edges_into_a_joint_sum_to_one_in_every_partition_that_has_any() -> None:
    itself, nearer, farther = normalise_edges(partitioned_adjacency(CHAIN))

    torch.testing.assert_close(itself, torch.eye(3))
    # rows are sources; the root is a
    torch.testing.assert_close(nearer, torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    torch.testing.assert_close(farther, torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))


def test_refined_convolution_is_its_formula() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = RefinedConvolution(width_in=5, width=6, relations=2)
        x_BDTV, graph_vw = torch.randn(2, 5, 7, 3), torch.randn(3, 3)
    made = layer(x_BDTV, x_BDTV.mean(2), graph_vw, torch.tensor(0.7))

    # psi and phi of every frame, then the mean, as published
    source, target = (
        linear(x_BDTV.flatten(2)).unflatten(2, (7, 3)).mean(2) for linear in (layer.psi, layer.phi)
    )
    for joint in range(3):
        relation_BRv = torch.tanh(source - target[:, :, joint : joint + 1])
        refined_BDv = graph_vw[:, joint] + 0.7 * layer.xi(relation_BRv.unsqueeze(2)).squeeze(2)
        expected = torch.einsum("bdtv,bdv->bdt", layer.mix_channels(x_BDTV), refined_BDv)
        torch.testing.assert_close(made[..., joint], expected)


def test_without_refinement_all_channels_share_the_graph() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = RefinedConvolution(width_in=5, width=6, relations=2)
        x_BDTV, graph_vw = torch.randn(2, 5, 7, 3), torch.randn(3, 3)
    made = layer(x_BDTV, x_BDTV.mean(2), graph_vw, torch.tensor(0.0))

    torch.testing.assert_close(
        made, torch.einsum("bdtv,vw->bdtw", layer.mix_channels(x_BDTV), graph_vw)
    )


@pytest.mark.parametrize(("dilations", "width"), [((1, 2), 8), ((1, 2, 3, 4), 12)])
@pytest.mark.parametrize("stride", [1, 2])
def test_temporal_branches_share_the_width_and_agree_on_the_frames(
    dilations: tuple[int, ...], width: int, stride: int
) -> None:
    layer = MultiScaleConvolution(width=width, stride=stride, kernel=5, dilations=dilations)
    x_BDTV = torch.randn(2, width, 17, 3)

    assert layer(x_BDTV).shape == (2, width, 17 if stride == 1 else 9, 3)
    dilated = [
        m.dilation for m in layer.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 1)
    ]
    assert dilated == [(dilation, 1) for dilation in dilations]


def test_strides_shorten_the_map_and_nothing_else() -> None:
    model = CtrgcnSizes(widths=(4, 8, 8), strides=(1, 2, 2)).build(LAYOUTS["coco17"], 3, 2)
    batch = Batch(
        joints_BTVC=torch.randn(2, 17, 17, 3), seen_BTV=torch.ones(2, 17, 17, dtype=torch.bool)
    )

    assert model(batch).joints_BDTV.shape == (2, 8, 5, 17)
