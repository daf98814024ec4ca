"""ClassHead: the last map of a family -> class logits."""

from __future__ import annotations

from torch import Tensor, nn

from gaitforge.models.output import Output


class ClassHead(nn.Module):
    """Mean over frames and joints, dropout of the mean in training, then one linear layer.

    embedding = mean over t and v of x_btv; logits = W dropout(embedding) + b.
    """

    def __init__(self, *, width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, classes)

    def forward(self, joints_BDTV: Tensor) -> Output:
        embedding_BD = joints_BDTV.mean(dim=(2, 3))
        return Output(
            logits_BK=self.classify(self.dropout(embedding_BD)),
            embedding_BD=embedding_BD,
            joints_BDTV=joints_BDTV,
        )
