"""Distances and angles between the windows of a batch (Park et al. 2019).

Park, Kim, Lu, Cho 2019, "Relational Knowledge Distillation", eqs. 5 to 10. With x_i the embedding of window i and
h Huber's loss (x**2 / 2 below 1, |x| - 1/2 above),

    d_ij  = |x_i - x_j| / mean over i != j of |x_i - x_j|
    c_ijk = cosine between x_j - x_i and x_k - x_i
    loss  = DISTANCE * mean over i, j of h(student d_ij - teacher d_ij)
            + ANGLE * mean over i, j, k of h(student c_ijk - teacher c_ijk)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

DISTANCE = 25.0
ANGLE = 50.0
LEAST = 1e-6  # of a length; windows that lie on one another have no angle


def relation_loss(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Return DISTANCE * Huber of pairwise distances in units of their mean + ANGLE * Huber of the angles of triples.

    The widths of the two may differ. Unchanged by a rotation, shift or scaling of either side. A
    batch of two has one distance and no angle, and so nothing to teach.
    """
    distance = functional.smooth_l1_loss(_distances(student_BD), _distances(teacher_BD))
    angle = functional.smooth_l1_loss(_angles(student_BD), _angles(teacher_BD))
    return DISTANCE * distance + ANGLE * angle


def _distances(x_BD: Tensor) -> Tensor:
    """Return distances [B, B] over their mean; those of a window to itself are 0 and not in the mean."""
    between_BB = (x_BD[:, None] - x_BD[None]).square().sum(dim=-1)
    # the root has no gradient at 0, where every window is to itself
    distance_BB = torch.sqrt(between_BB.clamp(min=LEAST**2))
    distance_BB = distance_BB * (1 - torch.eye(len(x_BD), device=x_BD.device, dtype=x_BD.dtype))
    return distance_BB / (distance_BB.sum() / max(1, len(x_BD) * (len(x_BD) - 1))).clamp(min=LEAST)


def _angles(x_BD: Tensor) -> Tensor:
    """Return cosines [B, B, B] of the angle at window i between j and k; 0 where j or k is i."""
    towards_BBD = functional.normalize(x_BD[None] - x_BD[:, None], dim=-1, eps=LEAST)
    return towards_BBD @ towards_BBD.transpose(1, 2)  # [i, j, D] @ [i, D, k]
