"""Windows of one role as tensors, with what they are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.losses import (
    Targets,
)


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows of one role as tensors, on the CPU or wholly on the device.

    joints_NWTVC and seen_NWTV hold W fixed views of each of N windows (view 0 is the clean one);
    recording_N says which recording a window was cut from. The teacher's logits, embedding and nodes
    are its answers to each view, or None where no term asks for them; the last two are half floats,
    and may lie elsewhere where a device has no room for them.
    """

    joints_NWTVC: Tensor
    seen_NWTV: Tensor
    label_N: Tensor
    recording_N: NDArray[np.int64]
    classes: int
    teacher_logits_NWK: Tensor | None = None
    teacher_embedding_NWD: Tensor | None = None
    teacher_joints_NWQVD: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def views(self) -> int:
        return self.joints_NWTVC.shape[1]

    @property
    def device(self) -> torch.device:
        return self.label_N.device

    @property
    def bytes(self) -> int:
        tensors = (self.joints_NWTVC, self.seen_NWTV, *self._answers)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def _answers(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.teacher_logits_NWK, self.teacher_embedding_NWD, self.teacher_joints_NWQVD

    def take(self, window_B: Tensor, view_B: Tensor) -> tuple[Batch, Targets]:
        """The given views of the given windows, with what they are held against."""
        batch = Batch(
            joints_BTVC=self.joints_NWTVC[window_B, view_B].float(),
            seen_BTV=self.seen_NWTV[window_B, view_B],
        )
        taken = (_taken(answer, window_B, view_B) for answer in self._answers)
        return batch, Targets(self.label_N[window_B], *taken)

    def first(self, count: int) -> Examples:
        """The first windows, in the memory of them all."""
        return Examples(
            self.joints_NWTVC[:count],
            self.seen_NWTV[:count],
            self.label_N[:count],
            self.recording_N[:count],
            self.classes,
            *(None if answer is None else answer[:count] for answer in self._answers),
        )

    def to(self, device: torch.device) -> Examples:
        return Examples(
            self.joints_NWTVC.to(device),
            self.seen_NWTV.to(device),
            self.label_N.to(device),
            self.recording_N,
            self.classes,
            *(None if answer is None else answer.to(device) for answer in self._answers),
        )


def _taken(answer: Tensor | None, window_B: Tensor, view_B: Tensor) -> Tensor | None:
    if answer is None:
        return None
    there = answer.device
    return answer[window_B.to(there), view_B.to(there)].float().to(window_B.device)
