"""Where the features are strong: maps of energy instead of the features (Zagoruyko and Komodakis 2017).

Zagoruyko, Komodakis 2017, "Paying More Attention to Attention", eq. 2, with squares (p = 2). With x a node's features,

    energy_qv = mean over d of x_qvd ** 2            a_b = energy_b / |energy_b|
    loss      = mean over b, q, v of (a_student - a_teacher) ** 2
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attention_loss(student_BQVD: Tensor, teacher_BQVD: Tensor) -> Tensor:
    """Return the mean squared difference of the nodes' energies, each window's map with norm 1.

    Published on several maps in full; here on the last one pooled to phases, before it is squared
    (the teacher is stored like that). The widths of the two may differ.
    """
    return functional.mse_loss(_energy(student_BQVD), _energy(teacher_BQVD))


def _energy(nodes_BQVD: Tensor) -> Tensor:
    energy_BN = nodes_BQVD.square().mean(dim=-1).flatten(1)  # [B, Q*V]
    return functional.normalize(energy_BN, dim=1)
