"""Which windows of a batch are alike, whatever the features are (Tung and Mori 2019).

Tung, Mori 2019, "Similarity-Preserving Knowledge Distillation", eqs. 2 to 4.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def similarity_loss(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Mean squared difference of the windows' inner products [B, B], each row with norm 1.

    Published on whole activation maps; here on embeddings. The widths of the two may differ.
    """
    return functional.mse_loss(_alike(student_BD), _alike(teacher_BD))


def _alike(x_BD: Tensor) -> Tensor:
    return functional.normalize(x_BD @ x_BD.T, dim=1)
