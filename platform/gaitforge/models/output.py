"""Output: what every model gives for a batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Class scores and the two taps that feature losses read.

    `logits_BK`; `embedding_BD` is what the class head sees; `joints_BDTV` is the last map
    [B, D, T', V'], where T' is T divided (rounded up) by the family's strides and V' is V, or 1
    in a family that has mixed the joints away.
    """

    logits_BK: Tensor
    embedding_BD: Tensor
    joints_BDTV: Tensor
