"""Several models of one kind that answer together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gaitforge.batch import Batch
from gaitforge.models.output import Output


class Ensemble(nn.Module):
    """Batch -> Output: the mean of the members' logits, and the embedding and joints of the first.

    Members learn from different first weights, so that their features have no common axes, and a mean of them would
    say nothing.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Batch) -> Output:
        outputs: list[Output] = [member(batch) for member in self.members]
        logits_BK = torch.stack([output.logits_BK for output in outputs]).mean(0)
        return outputs[0]._replace(logits_BK=logits_BK)
