"""One split's cached windows as the training processes see them: a folder of arrays to map."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaitforge.layout import Layout
from gaitforge.losses import Heads, collect_needed
from gaitforge.losses.heads import NodeShape, find_node_shape
from gaitforge.models import make_sizes
from gaitforge.models.streams import Streamed
from gaitforge.normalise import Normalisation
from gaitforge.provenance import Provenance
from gaitforge.records.split import Split
from gaitforge.records.teacher import OUTPUTS
from gaitforge.settings import FitPlan
from gaitforge.weights import hash_file
from gaitforge.window_cache import (
    WindowSet,
    build_windows,
    find_head,
    is_built,
    open_role,
    window_provenance,
)
from gaitforge.windows import WindowSettings
from gaitforge.work import OutputsFolder, open_path
from trainers.training.fitting import Fitting

FEW = 7  # an export is checked with batches of 1 and of 7


class RecordingOf(NamedTuple):
    """The names of a recording and of its person."""

    recording: str
    person: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRecipe:
    """What a node needs to build one split's windows on its own disk; it is sent to other processes."""

    store: str  # seen by every node
    folder: str  # of the windows, at the same path on every node
    split: Split
    settings: WindowSettings

    @property
    def is_in_work(self) -> bool:
        """Tell whether the windows lie beside the store, where every process of the run sees them."""
        return Path(self.folder).is_relative_to(Path(self.store).parent)

    def make(self, *roles: str) -> WindowFolder:
        """Open the window folder; build roles that are missing, or of an older version, once per node.

        Raises ValueError where the store has changed since the split.
        """
        folder = Path(self.folder)
        if not all(is_built(folder, role) for role in roles):
            # here, since a process that finds its windows needs none of what reads a store
            from gaitforge.store import SkeletonStore

            with lock_node(folder.parent):
                store = SkeletonStore.open(open_path(self.store))
                cache = build_windows(
                    folder.parent.parent, store_fingerprint=store.info.fingerprint, split=self.split,
                    layout=store.layout, classes=store.classes, settings=self.settings,
                    recordings=store.read_recordings,
                )  # fmt: skip
                for role in roles:
                    cache.open_role(role)
        return WindowFolder.open(folder, self)


@contextmanager
def lock_node(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time run the block; one that is killed frees its place."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".making").open("w") as file:
        # a mounted disk may know no locks: two then make the same, and the first to end has made it
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeData:
    """What a node must have on its own disk before its workers map it; it is sent to other processes."""

    recipe: WindowRecipe
    roles: tuple[str, ...]
    outputs: str | None = None  # teacher outputs in the work folder
    # of them, at the same path on every node; None = mapped where they are
    copy: str | None = None
    files: tuple[str, ...] = (
        OutputsFolder(Path()).array("logits").name,
    )  # those of them that the terms read

    def bring(self) -> None:
        """Build the windows and copy the teacher's outputs that no process of this node has brought yet."""
        self.recipe.make(*self.roles)
        if self.outputs is None or self.copy is None:
            return
        copies = [Path(self.copy) / name for name in self.files]
        if all(copy.is_file() for copy in copies):
            return
        with lock_node(Path(self.copy).parent):
            for copy in copies:
                if not copy.is_file():
                    copy.parent.mkdir(exist_ok=True)
                    draft = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
                    source = OutputsFolder(open_path(self.outputs))
                    draft.write_bytes((source.root / copy.name).read_bytes())
                    if hash_file(draft) != OUTPUTS.read(source.head).sha256.get(copy.stem):
                        draft.unlink()
                        raise ValueError(
                            f"{copy.name} of {source.root} is not the array that {source.head.name} tells of; run "
                            "`gaitforge outputs run.toml`, which makes it again."
                        )
                    draft.rename(copy)


@dataclass(frozen=True, slots=True)
class WindowFolder:
    """One split's cached windows: their description and their folder; the roles must have been built before."""

    folder: Path
    layout: Layout
    classes: tuple[str, ...]
    settings: WindowSettings
    normalisation: Normalisation
    recipe: WindowRecipe | None = None  # for nodes that have no such folder yet
    split: Split | None = None

    @classmethod
    def open(cls, folder: Path, recipe: WindowRecipe | None = None) -> WindowFolder:
        """Read the description of cached windows; raises FileNotFoundError where the cache has been removed."""
        head = find_head(folder)
        if head is None:
            raise FileNotFoundError(
                f"The window cache {folder} is gone; run the stage again to build it."
            )
        split = Split(name=head.split, rule={}, store=head.store, roles=head.roles)
        return cls(
            folder, head.layout, head.classes, head.settings, head.normalisation, recipe, split
        )

    @property
    def provenance(self) -> Provenance:
        """Return what the windows were made from; their key alone where no cache tells it."""
        if self.split is None:
            return Provenance(identity=self.key)
        return window_provenance(self.split, self.layout, self.classes, self.settings)

    def people(self, *roles: str) -> frozenset[str]:
        """Return the people of the roles; none where the split is not known."""
        return frozenset(
            person for role in roles for person in (self.split.people(role) if self.split else ())
        )

    @property
    def key(self) -> str:
        """Return the cache's key, which changes with everything that the windows depend on."""
        return self.folder.name

    @property
    def channels(self) -> int:
        return int(self.normalisation.mean_VC.shape[1])

    @property
    def length(self) -> int:
        return self.settings.length

    def build(self, family: str, sizes: Mapping[str, Any]) -> nn.Module:
        """Build a model of that family and those sizes for these windows."""
        model = make_sizes(family, sizes).build(self.layout, self.channels, len(self.classes))
        if isinstance(model, Streamed):
            scale = self.normalisation
            model.scale_by(torch.tensor(scale.mean_VC), torch.tensor(scale.std_VC))
        return model

    def find_node_shape(self, family: str, sizes: Mapping[str, Any]) -> NodeShape:
        """Return joints and width of the family's last feature map, counted on the meta device."""
        made = make_sizes(family, sizes)
        return find_node_shape(made, self.layout, self.channels, len(self.classes), self.length)

    def open_role(self, role: str) -> WindowSet:
        return open_role(self.folder, role)

    def on_nodes(
        self, *roles: str, outputs: Path | None = None, terms: Iterable[str] = ()
    ) -> NodeData | None:
        """Return what a node must have of these windows and of teacher outputs; None where all share this disk.

        `terms` are the loss terms, which decide what of the outputs is needed besides the logits.
        """
        if self.recipe is None or self.recipe.is_in_work:
            return None
        return NodeData(
            recipe=self.recipe,
            roles=roles,
            outputs=None if outputs is None else str(outputs),
            copy=None if outputs is None else str(self.mapped_outputs(outputs)),
            files=tuple(
                OutputsFolder(Path()).array(name).name
                for name in dict.fromkeys(("logits", *collect_needed(terms, "stored")))
            ),
        )

    def mapped_outputs(self, outputs: Path) -> Path:
        """Return where students map teacher outputs: in the work folder where all see it, else in the node's cache."""
        if self.recipe is None or self.recipe.is_in_work:
            return outputs
        identity = OUTPUTS.read(OutputsFolder(outputs).head).identity
        return self.folder.parent.parent / "outputs" / identity

    def list_recordings(self, role: str) -> list[RecordingOf]:
        """List a role's recordings with their people, in the order that window arrays count them."""
        windows = self.open_role(role)
        return [
            RecordingOf(*pair) for pair in zip(windows.recordings, windows.persons, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return what a model must know of its windows to be used elsewhere, as JSON holds it."""
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
    heads: Heads | None = None,
) -> Fitting:
    """Build a model with the first weights that the plan's seed gives, to be trained on `device` with these heads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = windows.build(family, sizes)
    return Fitting(model.to(device), plan, None if heads is None else heads.to(device))


def take_few_windows(windows: WindowFolder) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return FEW real validation windows [N, T, V, C] and what was seen, repeated where there are fewer."""
    valid = windows.open_role("validation")
    index = np.arange(FEW) % valid.n
    return valid.score(index)
