"""Where the features are strong: maps of energy instead of the features (Zagoruyko and Komodakis 2017).

Zagoruyko, Komodakis 2017, "Paying More Attention to Attention", eq. 2, with squares (p = 2).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attention_loss(student_BQVD: Tensor, teacher_BQVD: Tensor) -> Tensor:
    """Mean squared difference of the nodes' energies, each window's map with norm 1.

    Published on several maps in full; here on the last one pooled to phases, before it is squared
    (the teacher is stored like that). The widths of the two may differ.
    """
    return functional.mse_loss(_energy(student_BQVD), _energy(teacher_BQVD))


def _energy(nodes_BQVD: Tensor) -> Tensor:
    return functional.normalize(nodes_BQVD.square().mean(dim=-1).flatten(1), dim=1)
