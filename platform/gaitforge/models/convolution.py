"""FrameConvolution: each joint's frames convolved, with strides that no processor gets wrong.

With K the kernel's frames, s the stride, d the dilation, and frames beyond the window 0,

    y[b, d', t, v] = sum over d and k of W[d', d, k] x[b, d, s t + (k - K // 2) dilation, v]
"""

from __future__ import annotations

from torch import Tensor, nn


class FrameConvolution(nn.Conv2d):
    """A convolution [B, D, T, V] -> [B, D', T', V] over `kernel` (odd) frames, of every `stride`-th; no biases.

    Where `kernel` is 1, the other frames are dropped before a convolution of stride 1: the same sums.
    A 1x1 convolution that strides, of fewer than 8 channels in channels-last memory, writes beyond
    its workspace in oneDNN's backward pass on processors with AVX2 and without AVX-512 (oneDNN issue
    6035; torch 2.13 has it): wrong gradients in silence with two threads, a dead process with one.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            width_in,
            width,
            (kernel, 1),
            (1 if kernel == 1 else stride, 1),
            (kernel // 2 * dilation, 0),
            (dilation, 1),
            groups,
            bias=False,
        )
        self.every = stride if kernel == 1 else 1

    def forward(self, x_BDTV: Tensor) -> Tensor:
        return super().forward(x_BDTV if self.every == 1 else x_BDTV[:, :, :: self.every])


def make_shortcut(width_in: int, width: int, stride: int) -> nn.Module:
    """Make the path around a block: the map as it is, or BN(1x1 convolution) where its shape changes."""
    if width_in == width and stride == 1:
        return nn.Identity()
    return nn.Sequential(FrameConvolution(width_in, width, stride=stride), nn.BatchNorm2d(width))
