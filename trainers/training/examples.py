"""Windows of one role as tensors, with the teacher's outputs for them, from which batches and Targets are taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.losses import Targets, needed
from gaitforge.work import OutputsFolder
from trainers.training.speed import find_device, home
from trainers.training.window_folder import WindowFolder


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows of one role as tensors, on the CPU or wholly on the device.

    joints_NWTVC and seen_NWTV hold W fixed views of each of N windows; view 0 is the clean one.
    recording_N is the index of the recording that each window was cut from. The teacher's logits,
    embedding and joints are its outputs for each view, or None where no loss term needs them. Embedding
    and joints are half floats, and may lie on the CPU where the device has no room for them.
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
        """Return the views `view_B` of the windows `window_B` as a batch, and the Targets to compare it with."""
        batch = Batch(
            joints_BTVC=self.joints_NWTVC[window_B, view_B].float(),
            seen_BTV=self.seen_NWTV[window_B, view_B],
        )
        taken = (_taken(answer, window_B, view_B) for answer in self._answers)
        return batch, Targets(self.label_N[window_B], *taken)

    def first(self, count: int) -> Examples:
        """Return the first `count` windows; their tensors share the memory of these."""
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


def load_taught(
    windows: str, teacher_outputs: str, terms: Iterable[str]
) -> tuple[Examples, Examples]:
    """Load the training windows, with the teacher's outputs that the terms need, and the validation windows.

    `windows` and `teacher_outputs` are folders. Raises FileNotFoundError where either is not there.
    """
    train, valid = hold_examples(windows, teacher_outputs)
    return add_answers(train, teacher_outputs, terms), valid


def add_answers(train: Examples, teacher_outputs: str, terms: Iterable[str]) -> Examples:
    """Return `train`, which has the teacher's logits, with its embedding and joints where the terms need them."""
    asked = needed(terms, "stored")
    embedding, joints = (
        hold_outputs(teacher_outputs, name) if name in asked else None
        for name in ("embedding", "joints")
    )
    return dataclasses.replace(train, teacher_embedding_NWD=embedding, teacher_joints_NWQVD=joints)


@lru_cache(maxsize=4)
def hold_outputs(teacher_outputs: str, name: str) -> Tensor:
    """Map one array of the teacher's outputs once per worker process; copy it to the device where it fits."""
    array = load_outputs(Path(teacher_outputs), name)
    return array.to(home(array.nbytes, find_device()))


@lru_cache(maxsize=2)
def hold_examples(windows: str, teacher_outputs: str) -> tuple[Examples, Examples]:
    """Map the training windows with the teacher's logits, and the validation windows, once per worker process.

    Either is copied to the device where it fits.
    """
    folder, device = WindowFolder.open(Path(windows)), find_device()
    train = load_examples(folder, "train", Path(teacher_outputs))
    valid = load_examples(folder, "validation")
    return train.to(home(train.bytes, device)), valid.to(home(valid.bytes, device))


def load_examples(
    windows: WindowFolder, role: str, teacher_outputs: Path | None = None
) -> Examples:
    """Return a role's mapped windows as tensors, with the teacher's logits where a folder of its outputs is given."""
    mapped = windows.role(role)
    logits = None
    if teacher_outputs is not None:
        logits = load_outputs(teacher_outputs, "logits")
    return Examples(
        _tensor(mapped.joints),
        _tensor(mapped.seen),
        torch.from_numpy(np.array(mapped.label_N)),
        np.array(mapped.recording_N),
        len(windows.classes),
        logits,
    )


def load_outputs(teacher_outputs: Path, name: str) -> Tensor:
    """Return one mapped array of the teacher's outputs (logits, embedding or joints) as a tensor.

    Raises FileNotFoundError where there is no such file.
    """
    path = OutputsFolder(teacher_outputs).array(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The teacher's outputs in {teacher_outputs} have no {path.name}; run `gaitforge outputs` again."
        )
    return _tensor(np.load(path, mmap_mode="c", allow_pickle=False))


def _tensor(mapped: NDArray[Any]) -> Tensor:
    """Make a tensor that shares a memory map, opened copy-on-write since torch knows no read-only tensors."""
    if isinstance(mapped, np.memmap) and mapped.mode != "c":
        mapped = np.load(str(mapped.filename), mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(mapped)
