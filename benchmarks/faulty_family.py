"""A family that computes as ours once did: with a 1x1 convolution that strides, which oneDNN may get wrong.

It is what shows that a check of gradients would catch something; see models/convolution.py for the fault.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models import Output
from gaitforge.models.heads import ClassHead
from gaitforge.models.inputs import JointInput

NAME = "faulty"


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultySizes:
    """Sizes of one strided 1x1 convolution behind one of stride 1."""

    width: int = 4

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        return Faulty(self, layout, channels, classes)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Faulty(nn.Module):
    """Batch -> Output, in channels-last memory as the convolutional families."""

    def __init__(self, sizes: FaultySizes, layout: Layout, channels: int, classes: int) -> None:
        super().__init__()
        self.joint_input = JointInput(joints=layout.joint_count, channels=channels)
        self.widen = nn.Conv2d(self.joint_input.channels, sizes.width, 1)
        self.stride = nn.Conv2d(sizes.width, 2 * sizes.width, 1, (2, 1), bias=False)
        self.head = ClassHead(width=2 * sizes.width, classes=classes)

    def forward(self, batch: Batch) -> Output:
        x_BDTV = self.joint_input(batch).permute(0, 3, 1, 2)
        output: Output = self.head(self.stride(self.widen(x_BDTV).relu()))
        return output
