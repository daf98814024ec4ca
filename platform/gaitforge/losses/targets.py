"""What a student is held against: the label, and what the teacher put out for the same view."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """`label_B` class indices; the teacher's stored logits [B, K], or None where no teacher is used."""

    label_B: Tensor
    teacher_logits_BK: Tensor | None = None
