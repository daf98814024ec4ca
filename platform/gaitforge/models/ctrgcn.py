"""CTR-GCN: every channel has a graph of its own, refined from a shared one by the movement itself.

Chen, Zhang, Yuan, Li, Deng, Hu 2021, "Channel-wise topology refinement graph convolution for
skeleton-based action recognition". From it: the refinement R = A + alpha xi(tanh(psi(x_v) - phi(x_w))),
the three learned graphs that start as itself, towards and away from the root, the four temporal branches,
the ten blocks and their widths. As its authors' public network starts: alpha at 0 and the graph
convolution's last normalisation at 1e-6, so that the graph convolution begins as its shortcut.
Ours: the seen flag at the input, one person, no biases before a batch normalisation, the mean over
frames taken before psi and phi, which are linear, instead of after, and the sizes below the published.

Maps are x_BDTV; A_kvw and R_BDvw hold the weight from joint v to joint w. A block computes, with m the mean of x over
its frames, k the three graphs and W, psi, phi, xi learned 1x1 convolutions of each,

    R_k = A_k + alpha xi_k(tanh(psi_k(m)_v - phi_k(m)_w))                  [B, D, V, V], a graph for each channel
    g_w = relu(BN(sum over k and v of R_kvw (W_k x)_v) + shortcut(x)_w)    [B, D, T, V]
    y   = relu(temporal(g) + shortcut(x))                                  [B, D, T', V]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models.convolution import FrameConvolution, make_shortcut
from gaitforge.models.graph import PARTITIONS, partitioned_adjacency
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput
from gaitforge.models.output import Output
from gaitforge.models.size_checks import check_blocks, check_dropout, check_kernel

INPUT_RELATIONS = 8  # channels of psi and phi where the input is coordinates, too few to reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class CtrgcnSizes:
    """Sizes of a CTR-GCN: one block per width; the defaults are as published."""

    widths: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    """Width of each block, shared evenly among the branches."""
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Frames, one per block."""
    kernel: int = 5
    """Frames of the temporal branches, odd."""
    dilations: tuple[int, ...] = (1, 2)
    """Dilations of the temporal branches; a maximum over 3 frames and a 1x1 convolution are two
    more.
    """
    reduction: int = 8
    """A graph is refined on a `reduction`-th of a block's channels."""
    dropout: float = 0.0
    """Share of the embedding that is dropped in training."""

    def __post_init__(self) -> None:
        check_blocks("CtrgcnSizes", self.widths, self.strides)
        check_kernel("CtrgcnSizes", self.kernel)
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(
                f"CtrgcnSizes.dilations is {self.dilations}, but needs at least one of 1 or more; "
                "name that of each temporal branch."
            )
        branches = len(self.dilations) + 2
        if any(width % branches for width in self.widths):
            raise ValueError(
                f"CtrgcnSizes.widths is {self.widths}, but each must divide by the {branches} temporal "
                f"branches; make them multiples of {branches}."
            )
        if self.reduction < 1:
            raise ValueError(
                f"CtrgcnSizes.reduction is {self.reduction}, but must be at least 1; raise it."
            )
        check_dropout("CtrgcnSizes", self.dropout)

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        return Ctrgcn(self, layout, channels, classes)

    def as_dict(self) -> dict[str, object]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


class Ctrgcn(nn.Module):
    """Batch -> Output; `joints_BDTV` keeps every joint of the layout."""

    def __init__(self, sizes: CtrgcnSizes, layout: Layout, channels: int, classes: int) -> None:
        super().__init__()
        self.joint_input = JointInput(joints=layout.joint_count, channels=channels)
        graph_kvw = normalise_edges(partitioned_adjacency(layout))
        inputs = (self.joint_input.channels, *sizes.widths)
        self.blocks = nn.ModuleList(
            CtrgcnBlock(
                graph_kvw=graph_kvw,
                width_in=width_in,
                width=width,
                stride=stride,
                relations=max(1, width_in // sizes.reduction) if number else INPUT_RELATIONS,
                kernel=sizes.kernel,
                dilations=sizes.dilations,
                residual=number > 0,
            )
            for number, (width_in, width, stride) in enumerate(
                zip(inputs, sizes.widths, sizes.strides, strict=False)
            )
        )
        self.head = ClassHead(width=sizes.widths[-1], classes=classes, dropout=sizes.dropout)

    def forward(self, batch: Batch) -> Output:
        x_BDTV = self.joint_input(batch).permute(0, 3, 1, 2).contiguous()  # [B, C+1, T, V]
        for block in self.blocks:
            x_BDTV = block(x_BDTV)
        output: Output = self.head(x_BDTV)
        return output


class CtrgcnBlock(nn.Module):
    """relu(temporal(graph(x)) + x)."""

    def __init__(
        self,
        *,
        graph_kvw: Tensor,
        width_in: int,
        width: int,
        stride: int,
        relations: int,
        kernel: int,
        dilations: tuple[int, ...],
        residual: bool,
    ) -> None:
        super().__init__()
        self.graph = GraphLayer(
            graph_kvw=graph_kvw, width_in=width_in, width=width, relations=relations
        )
        self.temporal = MultiScaleConvolution(
            width=width, stride=stride, kernel=kernel, dilations=dilations
        )
        self.shortcut = make_shortcut(width_in, width, stride) if residual else None

    def forward(self, x_BDTV: Tensor) -> Tensor:
        moved: Tensor = self.temporal(self.graph(x_BDTV))
        if self.shortcut is not None:
            moved = moved + self.shortcut(x_BDTV)
        return torch.relu(moved)


class GraphLayer(nn.Module):
    """relu(BN(sum_k of the refined convolutions) + x); alpha is one number for all k."""

    def __init__(self, *, graph_kvw: Tensor, width_in: int, width: int, relations: int) -> None:
        super().__init__()
        self.graph_kvw = nn.Parameter(graph_kvw.clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.refined = nn.ModuleList(
            RefinedConvolution(width_in=width_in, width=width, relations=relations)
            for _ in range(PARTITIONS)
        )
        self.norm = nn.BatchNorm2d(width)
        nn.init.constant_(self.norm.weight, 1e-6)
        self.shortcut = make_shortcut(width_in, width, 1)

    def forward(self, x_BDTV: Tensor) -> Tensor:
        mean_BDV = x_BDTV.mean(2)
        mixed = sum(  # [B, D', T, V]
            convolve(x_BDTV, mean_BDV, self.graph_kvw[part], self.alpha)
            for part, convolve in enumerate(self.refined)
        )
        return torch.relu(self.norm(mixed) + self.shortcut(x_BDTV))


class RefinedConvolution(nn.Module):
    """y_dw = sum_v R_dvw (W x)_dv with R = A + alpha xi(tanh(psi(x_v) - phi(x_w))); Chen 2021, sec. 3.2."""

    def __init__(self, *, width_in: int, width: int, relations: int) -> None:
        super().__init__()
        self.psi = nn.Conv1d(width_in, relations, 1)
        self.phi = nn.Conv1d(width_in, relations, 1)
        self.xi = nn.Conv2d(relations, width, 1)
        self.mix_channels = nn.Conv2d(width_in, width, 1)

    def forward(self, x_BDTV: Tensor, mean_BDV: Tensor, graph_vw: Tensor, alpha: Tensor) -> Tensor:
        source, target = self.psi(mean_BDV), self.phi(mean_BDV)
        # psi and phi give [B, R, V]; every pair of joints has the difference of its two
        relation_BRvw = torch.tanh(source.unsqueeze(3) - target.unsqueeze(2))
        refined_BDvw = graph_vw + alpha * self.xi(relation_BRvw)
        mixed: Tensor = self.mix_channels(x_BDTV) @ refined_BDvw  # [B, D, T, v] @ [B, D, v, w]
        return mixed


class MultiScaleConvolution(nn.Module):
    """Branches side by side: a dilated convolution each, a maximum over 3 frames, and a 1x1 convolution."""

    def __init__(
        self, *, width: int, stride: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        part = width // (len(dilations) + 2)
        branches = [
            nn.Sequential(
                *_narrow(width, part),
                FrameConvolution(part, part, kernel=kernel, stride=stride, dilation=dilation),
                nn.BatchNorm2d(part),
            )
            for dilation in dilations
        ]
        branches.append(
            nn.Sequential(
                *_narrow(width, part),
                nn.MaxPool2d((3, 1), (stride, 1), (1, 0)),
                nn.BatchNorm2d(part),
            )
        )
        branches.append(
            nn.Sequential(FrameConvolution(width, part, stride=stride), nn.BatchNorm2d(part))
        )
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BDTV: Tensor) -> Tensor:
        # each branch [B, D/branches, T', V]
        return torch.cat([branch(x_BDTV) for branch in self.branches], dim=1)


def normalise_edges(partition_kvw: Tensor) -> Tensor:
    """Return A_kvw / sum over v of A_kvw: the weights into a joint sum to 1 in every partition that has any."""
    sums = partition_kvw.sum(dim=1, keepdim=True)
    return partition_kvw / torch.where(sums > 0, sums, 1.0)


def _narrow(width: int, part: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, part, 1, bias=False), nn.BatchNorm2d(part), nn.ReLU()
