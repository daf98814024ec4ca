"""Windows as tensors, with the teacher's stored outputs: loaded, then taken and drawn as a step's Targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.draws import mix
from gaitforge.losses import Targets, collect_needed
from gaitforge.recipe import CLEAN, Disturbance
from gaitforge.records.teacher import OUTPUTS
from gaitforge.settings import FitPlan
from gaitforge.views import Views, disturb
from gaitforge.work import OutputsFolder
from trainers.training.speed import choose_home, find_device
from trainers.training.window_folder import WindowFolder


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows of one role as tensors, on the CPU or wholly on the device.

    joints_NTVC and seen_NTV are clean windows, which `maker` turns into `views` views of each and scales; without one
    they are z-scores, and all views of a window are alike. recording_N is the index of the recording that each window
    was cut from; key_N and place_NC are as in `WindowSet`. The teacher's logits, embedding and joints are its outputs
    for each view, half floats, or None where no loss term needs them. They may lie on the CPU where the device has
    no room for them. `answered` is how the views were disturbed that the teacher saw.
    """

    joints_NTVC: Tensor
    seen_NTV: Tensor
    label_N: Tensor
    recording_N: NDArray[np.int64]
    classes: int
    views: int = 1
    maker: Views | None = None
    key_N: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    place_NC: Tensor = field(default_factory=lambda: torch.zeros(0))
    teacher_logits_NWK: Tensor | None = None
    teacher_embedding_NWD: Tensor | None = None
    teacher_joints_NWQVD: Tensor | None = None
    answered: Disturbance = CLEAN

    def __post_init__(self) -> None:
        if not len(self.key_N):
            where, joints = self.label_N.device, self.joints_NTVC
            object.__setattr__(self, "key_N", torch.arange(len(joints), device=where))
            place_NC = torch.zeros((len(joints), joints.shape[-1]), device=where)
            object.__setattr__(self, "place_NC", place_NC)

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def device(self) -> torch.device:
        return self.label_N.device

    @property
    def bytes(self) -> int:
        tensors = (self.joints_NTVC, self.seen_NTV, *self._answers)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def _answers(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.teacher_logits_NWK, self.teacher_embedding_NWD, self.teacher_joints_NWQVD

    def take(self, window_B: Tensor, view_B: Tensor | None = None) -> tuple[Batch, Targets]:
        """Return the views `view_B` of the windows `window_B` as a batch, and the Targets to compare it with.

        Without `view_B` the clean windows.
        """
        batch = self.take_batch(window_B, view_B)
        if view_B is None:
            view_B = torch.zeros_like(window_B)
        logits_BK, embedding_BD, joints_BQVD = (
            _gather(answer, window_B, view_B) for answer in self._answers
        )
        return batch, Targets(
            label_B=self.label_N[window_B],
            teacher_logits_BK=logits_BK,
            teacher_embedding_BD=embedding_BD,
            teacher_joints_BQVD=joints_BQVD,
        )

    def take_batch(self, window_B: Tensor, view_B: Tensor | None = None) -> Batch:
        """Return the views `view_B` of the windows `window_B`; without `view_B` the clean windows."""
        joints_BTVC = self.joints_NTVC.index_select(0, window_B)
        seen_BTV = self.seen_NTV.index_select(0, window_B)
        if self.maker is None:
            return Batch(joints_BTVC=joints_BTVC, seen_BTV=seen_BTV)
        place_BC, key_B = self.place_NC[window_B], self.key_N[window_B]
        return self.maker.make(
            joints_BTVC, seen_BTV, place_BC, key_B, view_B if self.views > 1 else None
        )

    def disturb(
        self, batch: Batch, window_B: Tensor, view_B: Tensor, plan: FitPlan, epoch: int
    ) -> Batch:
        """Return a batch that was taken with the noise and hidden joints that the plan wants.

        Other ones in each epoch; where the teacher has answered disturbed views, those of the view.
        """
        if self.answered.is_none:
            key_B = mix(self.key_N[window_B], plan.seed, epoch)
        else:
            key_B = self._key_of_view(window_B, view_B)
        return self._disturb(batch, plan.disturbance, key_B)

    def take_answered(self, window_B: Tensor, view_B: Tensor) -> Batch:
        """Return the views of the windows as the teacher sees them: disturbed as `answered` tells."""
        batch = self.take_batch(window_B, view_B)
        return self._disturb(batch, self.answered, self._key_of_view(window_B, view_B))

    def _disturb(self, batch: Batch, how: Disturbance, key_B: Tensor) -> Batch:
        if how.is_none:
            return batch
        return disturb(batch, how, key_B, None if self.maker is None else self.maker.part_PV)

    def _key_of_view(self, window_B: Tensor, view_B: Tensor) -> Tensor:
        """Return the keys by which views are disturbed where the teacher sees them so."""
        seed = 0 if self.maker is None else self.maker.settings.seed
        return mix(self.key_N[window_B], seed, view_B)

    def select(self, index: slice | Tensor) -> Examples:
        """Return some of the windows; of a slice the tensors share the memory of these."""
        rows = index if isinstance(index, slice) else index.cpu().numpy()
        return dataclasses.replace(
            self,
            recording_N=self.recording_N[rows],
            **{name: value[index] for name, value in self._tensors().items()},
        )

    def take_first(self, count: int) -> Examples:
        """Return the first `count` windows; their tensors share the memory of these."""
        return self.select(slice(count))

    def to(self, device: torch.device) -> Examples:
        return dataclasses.replace(
            self,
            maker=None if self.maker is None else self.maker.to(device),
            **{name: value.to(device) for name, value in self._tensors().items()},
        )

    def _tensors(self) -> dict[str, Any]:
        named = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def _gather(answer: Tensor | None, window_B: Tensor, view_B: Tensor) -> Tensor | None:
    if answer is None:
        return None
    there = answer.device
    return _take_views(answer, window_B.to(there), view_B.to(there)).float().to(window_B.device)


def _take_views(of_NW: Tensor, window_B: Tensor, view_B: Tensor) -> Tensor:
    """Return views of windows, of a tensor [N, W, ...] without gaps: twice as fast on a CPU as two indices are.

    Measured by `python -m benchmarks.feeding`.
    """
    flat = of_NW.view(-1, *of_NW.shape[2:])
    return flat.index_select(0, window_B * of_NW.shape[1] + view_B)


def load_taught(
    windows: str, teacher_outputs: str, terms: Iterable[str]
) -> tuple[Examples, Examples]:
    """Load the training windows, with the teacher's outputs that the terms need, and the validation windows.

    `windows` and `teacher_outputs` are folders; a student's `fit` is given both. Raises FileNotFoundError where
    either folder is not there.
    """
    train, valid = hold_examples(windows, teacher_outputs)
    return add_answers(train, teacher_outputs, terms), valid


def add_answers(train: Examples, teacher_outputs: str, terms: Iterable[str]) -> Examples:
    """Return `train`, which has the teacher's logits, with its embedding and joints where the terms need them."""
    asked = collect_needed(terms, "stored")
    embedding, joints = (
        hold_outputs(teacher_outputs, name) if name in asked else None
        for name in ("embedding", "joints")
    )
    return dataclasses.replace(train, teacher_embedding_NWD=embedding, teacher_joints_NWQVD=joints)


@lru_cache(maxsize=4)
def hold_outputs(teacher_outputs: str, name: str) -> Tensor:
    """Map one array of the teacher's outputs once per worker process; copy it to the device where it fits."""
    array = load_outputs(Path(teacher_outputs), name)
    return array.to(choose_home(array.nbytes, find_device()))


@lru_cache(maxsize=2)
def hold_examples(windows: str, teacher_outputs: str) -> tuple[Examples, Examples]:
    """Map the training windows with the teacher's logits, and the validation windows, once per worker process.

    Either is copied to the device where it fits.
    """
    folder, device = WindowFolder.open(Path(windows)), find_device()
    train = load_examples(folder, "train", Path(teacher_outputs))
    valid = load_examples(folder, "validation")
    return train.to(choose_home(train.bytes, device)), valid.to(choose_home(valid.bytes, device))


def load_examples(
    windows: WindowFolder, role: str, teacher_outputs: Path | None = None
) -> Examples:
    """Return a role's mapped windows as tensors, with the teacher's logits where a folder of its outputs is given."""
    mapped = windows.open_role(role)
    logits, answered = None, CLEAN
    if teacher_outputs is not None:
        logits = load_outputs(teacher_outputs, "logits")
        head = OUTPUTS.find(OutputsFolder(teacher_outputs).head)
        answered = answered if head is None else head.disturbance
    return Examples(
        _tensor(mapped.joints),
        _tensor(mapped.seen),
        torch.from_numpy(np.array(mapped.label_N)),
        np.array(mapped.recording_N),
        len(windows.classes),
        views=windows.settings.views if role == "train" else 1,
        maker=Views.of(windows.settings, windows.layout, windows.normalisation),
        key_N=torch.from_numpy(np.array(mapped.key_N)),
        place_NC=torch.from_numpy(np.array(mapped.place_NC)),
        teacher_logits_NWK=logits,
        answered=answered,
    )


def load_outputs(teacher_outputs: Path, name: str) -> Tensor:
    """Return one mapped array of the teacher's outputs (logits, embedding or joints) as a tensor.

    Raises FileNotFoundError where there is no such file.
    """
    path = OutputsFolder(teacher_outputs).array(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The teacher's outputs in {teacher_outputs} have no {path.name}; run `gaitforge outputs run.toml` again."
        )
    return _tensor(np.load(path, mmap_mode="c", allow_pickle=False))


def _tensor(mapped: NDArray[Any]) -> Tensor:
    """Make a tensor that shares a memory map, opened copy-on-write since torch knows no read-only tensors."""
    if isinstance(mapped, np.memmap) and mapped.mode != "c":
        mapped = np.load(str(mapped.filename), mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(mapped)


# Published, of images: 4,096 pixels and 1,024 regions in all, the same number of each class. Ours: 32 nodes of every
# joint and class, or as many as keep all of them to 512, but two (costs: benchmarks/loss_cost.py).
NODES_DRAWN = 512
PHASES_DRAWN = 2, 32  # of each class; a phase gives a node of every joint
GRAPHS_DRAWN = 16  # of each class
PAIRS_DRAWN = 32  # of the batch's windows; all pairs of 32 would be 1,024
# seeds of steps are below: noise and dropout take those, and small numbers above
OWN_SEEDS = {"pairs": 2**31 + 2**20, "nodes": 2**31 + 2**21, "graphs": 2**31 + 2**22}


@dataclass(frozen=True, slots=True)
class Memory:
    """The teacher's joint features for all views of the training windows [N, W, Q, V', D'], and windows by class.

    Each step draws nodes and graphs of it for its loss. It is never updated, so that nothing in it goes stale.
    """

    joints_NWQVD: Tensor
    by_class: tuple[Tensor, ...]  # of the classes that there are

    @classmethod
    def of(cls, joints_NWQVD: Tensor, label_N: Tensor) -> Memory:
        labels = label_N.cpu()
        counts = torch.bincount(labels).tolist()
        windows = (torch.nonzero(labels == k)[:, 0] for k, count in enumerate(counts) if count)
        return cls(joints_NWQVD, tuple(windows))

    @property
    def phases_drawn(self) -> int:
        """Return how many phases a step draws of each class: as NODES_DRAWN allows, within PHASES_DRAWN."""
        fewest, most = PHASES_DRAWN
        in_budget = NODES_DRAWN // (len(self.by_class) * self.joints_NWQVD.shape[3])
        return min(max(fewest, in_budget), most)

    def draw_nodes(self, generator: torch.Generator) -> Tensor:
        """Draw all joints of `phases_drawn` random phases of each class [M, V', D']."""
        window_M, view_M = self._windows(self.phases_drawn, generator)
        phases = self.joints_NWQVD.shape[2]
        phase_M = torch.randint(phases, window_M.shape, generator=generator)
        device = self.joints_NWQVD.device
        return self.joints_NWQVD[
            window_M.to(device), view_M.to(device), phase_M.to(device)
        ].float()

    def draw_graphs(self, generator: torch.Generator) -> Tensor:
        """Draw all phases and joints of GRAPHS_DRAWN random windows of each class [M, Q, V', D']."""
        window_M, view_M = self._windows(GRAPHS_DRAWN, generator)
        device = self.joints_NWQVD.device
        return self.joints_NWQVD[window_M.to(device), view_M.to(device)].float()

    def _windows(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` windows of each class, whatever its size, and a view of each; one may be drawn twice."""
        chosen = [
            windows[torch.randint(len(windows), (count,), generator=generator)]
            for windows in self.by_class
        ]
        window_M = torch.cat(chosen)
        view_M = torch.randint(self.joints_NWQVD.shape[1], window_M.shape, generator=generator)
        return window_M, view_M


def draw(
    targets: Targets, what: Sequence[str], memory: Memory | None, batch: int, seed: int
) -> Targets:
    """Return a step's targets with what is drawn for it: pairs of its windows, nodes and graphs of the memory.

    Each kind follows from the step's seed, whatever else is drawn. Raises ValueError where nodes or graphs
    are to be drawn and there is no memory.
    """
    device = targets.label_B.device
    for kind in what:
        generator = torch.Generator().manual_seed(seed + OWN_SEEDS[kind])
        if kind == "pairs":
            pairs_X2 = torch.randint(batch, (PAIRS_DRAWN, 2), generator=generator)
            targets = targets._replace(pairs_X2=pairs_X2.to(device))
        elif memory is None:
            raise ValueError(
                f"A term draws {kind} of the memory, but the teacher's joint maps were not loaded; load them."
            )
        elif kind == "nodes":
            targets = targets._replace(memory_nodes_MVD=memory.draw_nodes(generator).to(device))
        else:
            targets = targets._replace(memory_graphs_MQVD=memory.draw_graphs(generator).to(device))
    return targets
