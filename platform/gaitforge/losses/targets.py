"""What a student is held against: the label, the teacher's outputs for the same view, and what a step draws."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Targets(NamedTuple):
    """`label_B` class indices, and what the distillation terms of a run ask for; None where none does.

    The teacher's stored logits, embedding and nodes (its last map pooled to phases) belong to the
    batch's windows and views. Drawn for a step are ordered pairs of the batch's windows, and entries
    of the memory: the joints of single phases, and of whole windows. `ramp` is a factor of all terms.
    """

    label_B: Tensor
    teacher_logits_BK: Tensor | None = None
    teacher_embedding_BD: Tensor | None = None
    teacher_joints_BQVD: Tensor | None = None
    pairs_X2: Tensor | None = None
    memory_nodes_MVD: Tensor | None = None
    memory_graphs_MQVD: Tensor | None = None
    ramp: Tensor | None = None
