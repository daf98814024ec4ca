"""CTR-GCN: every channel has a graph of its own, refined from a shared one by the movement itself.

Chen, Zhang, Yuan, Li, Deng, Hu 2021, "Channel-wise topology refinement graph convolution for
skeleton-based action recognition". From it: the refinement R = A + alpha xi(tanh(psi(x_v) - phi(x_w))),
the three learned graphs that start as itself, towards and away from the root, the four temporal branches,
the ten blocks and their widths. As its authors' public network starts: alpha at 0 and the graph
convolution's last normalisation at 1e-6, so that the graph convolution begins as its shortcut.
Ours: the seen flag at the input, one person, no biases before a batch normalisation, the mean over
frames taken before psi and phi, which are linear, instead of after, and the sizes below the published.

Maps are x_BDTV; A_kvw and R_BDvw hold the weight from joint v to joint w.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models.convolution import FrameConvolution
from gaitforge.models.graph import PARTITIONS, partitioned_adjacency
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput
from gaitforge.models.output import Output

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
        if not self.widths or min(self.widths) < 1:
            raise ValueError(
                f"CtrgcnSizes.widths is {self.widths}, but needs at least one width of 1 or more; "
                "name the width of each block."
            )
        if len(self.strides) != len(self.widths) or min(self.strides) < 1:
            raise ValueError(
                f"CtrgcnSizes.strides is {self.strides}, but must hold one stride of 1 or more for "
                f"each of the {len(self.widths)} widths; write 1 where a block keeps its frames."
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(
                f"CtrgcnSizes.kernel is {self.kernel}, but must be odd and at least 1: an even "
                "kernel shifts the output by half a frame."
            )
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
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"CtrgcnSizes.dropout is {self.dropout}, but must lie in [0, 1); 0 turns it off."
            )

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
        graph_kvw = normalised(partitioned_adjacency(layout))
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
        x_BDTV = self.joint_input(batch).permute(0, 3, 1, 2).contiguous()
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
        self.shortcut = _shortcut(width_in, width, stride) if residual else None

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
        self.shortcut = _shortcut(width_in, width, 1)

    def forward(self, x_BDTV: Tensor) -> Tensor:
        mean_BDV = x_BDTV.mean(2)
        mixed = sum(
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
        relation_BRvw = torch.tanh(source.unsqueeze(3) - target.unsqueeze(2))
        refined_BDvw = graph_vw + alpha * self.xi(relation_BRvw)
        mixed: Tensor = self.mix_channels(x_BDTV) @ refined_BDvw
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
                *_narrowed(width, part),
                FrameConvolution(part, part, kernel=kernel, stride=stride, dilation=dilation),
                nn.BatchNorm2d(part),
            )
            for dilation in dilations
        ]
        branches.append(
            nn.Sequential(
                *_narrowed(width, part),
                nn.MaxPool2d((3, 1), (stride, 1), (1, 0)),
                nn.BatchNorm2d(part),
            )
        )
        branches.append(
            nn.Sequential(FrameConvolution(width, part, stride=stride), nn.BatchNorm2d(part))
        )
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BDTV: Tensor) -> Tensor:
        return torch.cat([branch(x_BDTV) for branch in self.branches], dim=1)


def normalised(partition_kvw: Tensor) -> Tensor:
    """The same edges with the weights into a joint summing to 1 in every partition that has any."""
    sums = partition_kvw.sum(dim=1, keepdim=True)
    return partition_kvw / torch.where(sums > 0, sums, 1.0)


def _narrowed(width: int, part: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, part, 1, bias=False), nn.BatchNorm2d(part), nn.ReLU()


def _shortcut(width_in: int, width: int, stride: int) -> nn.Module:
    if width_in == width and stride == 1:
        return nn.Identity()
    return nn.Sequential(FrameConvolution(width_in, width, stride=stride), nn.BatchNorm2d(width))
