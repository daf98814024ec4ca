"""TCN: dilated convolution over time, on all joints of a frame as one vector.

After Bai, Kolter, Koltun 2018, "An empirical evaluation of generic convolutional and recurrent
networks for sequence modeling", sec. 3, in our form: not causal, since a window is there as a
whole, batch instead of weight normalisation, and a 1x1 convolution in the place of the second
dilated one. It knows no graph: the student for layouts with few joints, and what an ST-GCN has
to beat. Layer i, with dilation growth**i and W 1x1 convolutions, computes

    y_t = relu(x_t + BN(W dropout(relu(BN(sum over k of K_k x_(t + (k - kernel // 2) growth**i))))))

and the first of them sees x_t = W (all joints' coordinates and flags of frame t).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput
from gaitforge.models.output import Output
from gaitforge.models.size_checks import check_dropout, check_kernel

# Beyond this many frames to each side a layer sees only padding in any window we cut.
MAX_REACH = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TcnSizes:
    """Sizes of a TCN."""

    channels: int = 64
    """Width of every layer."""
    layers: int = 4
    """Number of layers; layer i has dilation `dilation_growth`**i."""
    kernel: int = 5
    """Frames, odd."""
    dilation_growth: int = 2
    """Dilation of a layer, as a factor of that before it."""
    dropout: float = 0.1
    """Share of a layer's hidden values that is dropped in training."""

    def __post_init__(self) -> None:
        for name in ("channels", "layers", "dilation_growth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TcnSizes.{name} is {getattr(self, name)}, but must be at least 1; raise it."
                )
        check_kernel("TcnSizes", self.kernel)
        check_dropout("TcnSizes", self.dropout)
        reach = (
            self.kernel // 2 * self.dilation_growth ** min(self.layers - 1, 64)
        )  # or it is too far to be counted
        if reach > MAX_REACH:
            raise ValueError(
                f"The last layer of TcnSizes reaches {reach} frames to each side, but a window "
                f"needs at most {MAX_REACH}; lower layers, dilation_growth or kernel."
            )

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        return Tcn(self, layout, channels, classes)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Tcn(nn.Module):
    """Batch -> Output; the joints are mixed at the input, so that `joints_BDTV` has V' = 1.

    Convolutions are two-dimensional over [B, D, T, 1]: in channels-last memory, which the input
    has already, they are faster on a CPU than one-dimensional ones.
    """

    def __init__(self, sizes: TcnSizes, layout: Layout, channels: int, classes: int) -> None:
        super().__init__()
        self.joint_input = JointInput(joints=layout.joint_count, channels=channels)
        self.widen = nn.Conv2d(layout.joint_count * self.joint_input.channels, sizes.channels, 1)
        self.layers = nn.ModuleList(
            TcnLayer(
                width=sizes.channels,
                kernel=sizes.kernel,
                dilation=sizes.dilation_growth**number,
                dropout=sizes.dropout,
            )
            for number in range(sizes.layers)
        )
        self.head = ClassHead(width=sizes.channels, classes=classes)

    def forward(self, batch: Batch) -> Output:
        frames_BTD = self.joint_input(batch).flatten(2)  # [B, T, V*(C+1)]
        x_BDT1 = self.widen(frames_BTD.unsqueeze(2).permute(0, 3, 1, 2))  # from [B, V*(C+1), T, 1]
        for layer in self.layers:
            x_BDT1 = layer(x_BDT1)
        output: Output = self.head(x_BDT1)
        return output


class TcnLayer(nn.Module):
    """relu(x + BN(1x1(dropout(relu(BN(dilated convolution of x))))))."""

    def __init__(self, *, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(
                width,
                width,
                (kernel, 1),
                padding=(kernel // 2 * dilation, 0),
                dilation=(dilation, 1),
                bias=False,
            ),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x_BDT1: Tensor) -> Tensor:
        return torch.relu(x_BDT1 + self.look(x_BDT1))
