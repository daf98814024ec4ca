"""The window cache as the training processes see it: a folder to map, made into tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaitforge.layout import Layout
from gaitforge.models import make_sizes
from gaitforge.normalise import Normalisation
from gaitforge.settings import FitPlan
from gaitforge.window_cache import WindowSet, open_role
from gaitforge.windows import WindowSettings
from gaitforge.work import read_json
from trainers.loop import Examples, Fitting

FEW = 7  # an export is checked with batches of 1 and of 7


class RecordingOf(NamedTuple):
    """A recording and the person it is of."""

    recording: str
    person: str


@dataclass(frozen=True, slots=True)
class WindowFolder:
    """One split's cached windows: what they are, and where; roles must have been built before."""

    folder: Path
    layout: Layout
    classes: tuple[str, ...]
    settings: WindowSettings
    normalisation: Normalisation

    @classmethod
    def open(cls, folder: Path) -> WindowFolder:
        """Raises FileNotFoundError where the cache has been removed."""
        path = folder / "meta.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"The window cache {folder} is gone; run the stage again to build it."
            )
        meta = read_json(path)
        return cls(
            folder,
            Layout.from_dict(meta["layout"], str(path)),
            tuple(meta["classes"]),
            WindowSettings.from_dict(meta["settings"], str(path)),
            Normalisation.from_dict(meta["normalisation"], str(path)),
        )

    @property
    def key(self) -> str:
        """Changes with everything that the windows depend on."""
        return self.folder.name

    @property
    def channels(self) -> int:
        return int(self.normalisation.mean_VC.shape[1])

    @property
    def length(self) -> int:
        return self.settings.length

    def build(self, family: str, sizes: Mapping[str, Any]) -> nn.Module:
        """A model of that family and those sizes for these windows."""
        return make_sizes(family, sizes).build(self.layout, self.channels, len(self.classes))

    def role(self, role: str) -> WindowSet:
        return open_role(self.folder, role)

    def recordings(self, role: str) -> list[RecordingOf]:
        """The recordings of a role in the order that window arrays count them."""
        windows = self.role(role)
        return [
            RecordingOf(*pair) for pair in zip(windows.recordings, windows.persons, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """What a model must know of its windows to be used elsewhere."""
        return {
            "layout": self.layout.as_dict(),
            "classes": list(self.classes),
            "channels": self.channels,
            "windows": self.settings.as_dict(),
            "normalisation": self.normalisation.as_dict(),
        }


def new_fitting(
    windows: WindowFolder,
    family: str,
    sizes: Mapping[str, Any],
    plan: FitPlan,
    device: torch.device,
) -> Fitting:
    """A model with the first weights that the plan's seed gives, ready to train."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = windows.build(family, sizes)
    return Fitting(model.to(device), plan)


def load_examples(
    windows: WindowFolder, role: str, teacher_outputs: Path | None = None
) -> Examples:
    """The windows of a role as tensors over the mapped files, with the teacher's logits where given."""
    mapped = windows.role(role)
    logits = None
    if teacher_outputs is not None:
        logits = _tensor(np.load(teacher_outputs / "logits.npy", mmap_mode="c"))
    return Examples(
        _tensor(mapped.joints),
        _tensor(mapped.seen),
        torch.from_numpy(np.array(mapped.label_N)),
        np.array(mapped.recording_N),
        len(windows.classes),
        logits,
    )


def few_windows(windows: WindowFolder) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """FEW real validation windows [N, T, V, C] and what was seen, repeated where there are fewer."""
    valid = windows.role("validation")
    index = np.arange(FEW) % valid.n
    return np.array(valid.joints[index, 0]), np.array(valid.seen[index, 0])


def _tensor(mapped: NDArray[Any]) -> torch.Tensor:
    """A tensor over a memory map; copy-on-write, since torch knows no read-only tensors."""
    if isinstance(mapped, np.memmap) and mapped.mode != "c":
        mapped = np.load(str(mapped.filename), mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(mapped)
