"""Which windows of a batch are alike, whatever the features are (Tung and Mori 2019).

Tung, Mori 2019, "Similarity-Preserving Knowledge Distillation", eqs. 2 to 4. With x_i the embedding of window i,

    g_ij = x_i . x_j / |(x_i . x_1, ..., x_i . x_B)|
    loss = mean over i, j of (student g_ij - teacher g_ij) ** 2
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def similarity_loss(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Return the mean squared difference of the windows' inner products [B, B], each row with norm 1.

    Published on whole activation maps; here on embeddings. The widths of the two may differ.
    """
    return functional.mse_loss(_similarities(student_BD), _similarities(teacher_BD))


def _similarities(x_BD: Tensor) -> Tensor:
    return functional.normalize(x_BD @ x_BD.T, dim=1)  # [B, B]
