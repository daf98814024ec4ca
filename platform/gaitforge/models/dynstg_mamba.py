"""DynSTG-Mamba: dynamic graph filter, temporal convolution and graph-mixed selective scan, block by block.

Zrimek, Mourchid, El Hassouni 2025 (arXiv 2503.13156, withdrawn by its authors) is where the name and
the three ideas come from: a filter that adapts the joints' connections to the phase of the movement
(DF-STGNN), a graph selective state space (STG-Mamba), and the distillation CGRKD (in losses). Its
equations and sizes could not be read, so that everything here is our reconstruction, and no number of
that paper is claimed. Choices where nothing is known at all: no activation follows the temporal
convolution, so that the path around each block's scan stays linear (a ReLU was tried; nothing came of
it on people held out), the class head is a plain mean, and how hops share the steps of the scan and where
these start (gssm.py; measured by benchmarks/ablation.py, told in docs/results.md).

The parts: dynamic_filter.py (spatial), `TemporalConvolution` below, gssm.py (the scan). A block computes

    f, mixing = filter(x)                                [B, V, T, D], [B, p, k, V, V]
    m         = pool(f) + BN(W (conv_3(f) + conv_7(f)))  [B, V, T', D]
    y         = m + scan(m, mixing)                      [B, V, T', D]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models.dynamic_filter import FILTERS, DynamicFilterConvolution, FeatureNorm
from gaitforge.models.graph import hop_adjacency
from gaitforge.models.gssm import GraphSelectiveStateSpace
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput
from gaitforge.models.output import Output
from gaitforge.models.size_checks import check_blocks, check_dropout

HOPS = 2  # the farthest bones that a filter starts from
SHORT, LONG = 3, 7  # frames of the two temporal convolutions


@dataclass(frozen=True, kw_only=True, slots=True)
class DynstgMambaSizes:
    """Sizes of a DynSTG-Mamba: one block per width; the defaults are the teacher M of our sizes."""

    widths: tuple[int, ...] = (64, 64, 128, 128)
    """Width of each block."""
    strides: tuple[int, ...] = (1, 2, 1, 2)
    """Frames, one per block."""
    states: int = 16
    """States per channel of the scan."""
    expand: int = 2
    """Channels of the scan, as a multiple of the block's width."""
    filter: str = "dynamic"
    """What joints are mixed by: "none" (bones alone), "static" (and what is learned) or "dynamic"
    (and what the movement says).
    """
    phases: int = 1
    """Equal parts of a window, for each of which the dynamic filter is worked out apart."""
    bidirectional: bool = False
    """Scan from both ends."""
    kalman: bool = False
    """Weigh filtered against raw joints by their variances."""
    dropout: float = 0.2
    """Share of the embedding that is dropped in training."""

    def __post_init__(self) -> None:
        check_blocks("DynstgMambaSizes", self.widths, self.strides)
        for name in ("states", "expand", "phases"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"DynstgMambaSizes.{name} is {getattr(self, name)}, but must be at least 1; raise it."
                )
        if self.filter not in FILTERS:
            raise ValueError(
                f"DynstgMambaSizes.filter is '{self.filter}', but must be one of "
                f"{', '.join(FILTERS)}; choose one."
            )
        if self.phases > 1 and self.filter != "dynamic":
            raise ValueError(
                f"DynstgMambaSizes.phases is {self.phases}, but a '{self.filter}' filter is the same in "
                "every phase; make it 1, or the filter 'dynamic'."
            )
        check_dropout("DynstgMambaSizes", self.dropout)

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        return DynstgMamba(self, layout, channels, classes)

    def as_dict(self) -> dict[str, object]:
        values = asdict(self)
        return {**values, "widths": list(self.widths), "strides": list(self.strides)}


class DynstgMamba(nn.Module):
    """Batch -> Output; `joints_BDTV` keeps every joint of the layout."""

    hops_kVV: Tensor

    def __init__(
        self, sizes: DynstgMambaSizes, layout: Layout, channels: int, classes: int
    ) -> None:
        super().__init__()
        hops_kVV = hop_adjacency(layout, HOPS)
        # not among the weights: the layout, stored beside them, says the same
        self.register_buffer("hops_kVV", hops_kVV, persistent=False)
        self.joint_input = JointInput(joints=layout.joint_count, channels=channels)
        inputs = (self.joint_input.channels, *sizes.widths)
        self.blocks = nn.ModuleList(
            DynstgMambaBlock(
                sizes,
                hops=len(hops_kVV),
                joints=layout.joint_count,
                width_in=width_in,
                width=width,
                stride=stride,
            )
            for width_in, width, stride in zip(inputs, sizes.widths, sizes.strides, strict=False)
        )
        self.head = ClassHead(width=sizes.widths[-1], classes=classes, dropout=sizes.dropout)

    def forward(self, batch: Batch) -> Output:
        # one map in memory from here on: see dynamic_filter.py
        x_BVTD = self.joint_input(batch).transpose(1, 2).contiguous()  # [B, V, T, C+1]
        for block in self.blocks:
            x_BVTD = block(x_BVTD, self.hops_kVV)
        output: Output = self.head(x_BVTD.permute(0, 3, 2, 1))
        return output


class DynstgMambaBlock(nn.Module):
    """Joints of a frame, then frames near each other, then the whole past of a joint."""

    def __init__(
        self,
        sizes: DynstgMambaSizes,
        *,
        hops: int,
        joints: int,
        width_in: int,
        width: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.spatial = DynamicFilterConvolution(
            hops=hops,
            joints=joints,
            width_in=width_in,
            width=width,
            kind=sizes.filter,
            phases=sizes.phases,
            kalman=sizes.kalman,
        )
        self.temporal = TemporalConvolution(width=width, stride=stride)
        self.state_space = GraphSelectiveStateSpace(
            width=width,
            states=sizes.states,
            expand=sizes.expand,
            bidirectional=sizes.bidirectional,
        )

    def forward(self, x_BVTD: Tensor, hops_kVV: Tensor) -> Tensor:
        # the filter that mixes the features is the filter that mixes Delta
        mixed, mixing_BpkVV = self.spatial(x_BVTD, hops_kVV)
        found: Tensor = self.state_space(self.temporal(mixed), mixing_BpkVV)
        return found


class TemporalConvolution(nn.Module):
    """pool(x) + BN(1x1(conv_3(x) + conv_7(x))), both depthwise over time; `pool` is the mean of a stride."""

    def __init__(self, *, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.short = nn.Conv2d(width, width, (1, SHORT), groups=width, bias=False)
        self.long = nn.Conv2d(width, width, (1, LONG), groups=width, bias=False)
        self.mix_channels = nn.Linear(width, width, bias=False)
        self.norm = FeatureNorm(width)

    def forward(self, x_BVTD: Tensor) -> Tensor:
        x_BDVT = x_BVTD.permute(0, 3, 1, 2)
        # the sum of both is one convolution, at the cost of the longer one
        margin = (LONG - SHORT) // 2
        kernel = self.long.weight + nn.functional.pad(self.short.weight, (margin, margin))
        moved = nn.functional.conv2d(  # [B, D, V, T']
            x_BDVT, kernel, stride=(1, self.stride), padding=(0, LONG // 2), groups=len(kernel)
        )
        kept = x_BDVT
        if self.stride > 1:
            step = (1, self.stride)
            kept = nn.functional.avg_pool2d(x_BDVT, step, step, ceil_mode=True)  # [B, D, V, T']
        mixed: Tensor = self.norm(self.mix_channels(moved.permute(0, 2, 3, 1)))  # [B, V, T', D]
        return kept.permute(0, 2, 3, 1) + mixed
