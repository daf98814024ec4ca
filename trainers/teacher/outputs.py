"""Store the teacher's outputs for every view of every training window, once for all students."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaitforge.arrays import new_array
from gaitforge.losses import collect_needed
from gaitforge.losses.nodes import pool_joints
from gaitforge.models import Output
from gaitforge.models.ensemble import Ensemble
from gaitforge.recipe import CLEAN, Disturbance
from gaitforge.records.json_file import Unreadable
from gaitforge.records.teacher import OUTPUTS, OutputsHead
from gaitforge.weights import hash_file
from gaitforge.work import OutputsFolder, SplitFolder, written_aside
from trainers.teacher.members import deal_parts
from trainers.terminal.say import say
from trainers.terminal.stopping import check_stop
from trainers.training.examples import Examples, load_examples
from trainers.training.fitting import device_of
from trainers.training.speed import choose_home, find_device
from trainers.training.teacher_file import Teacher, find_outputs_fault, outputs_provenance
from trainers.training.window_folder import WindowFolder

BATCH = 128
HALF = float(np.finfo(np.float16).max)


def write_outputs(
    windows: WindowFolder, folder: SplitFolder, terms: Iterable[str], answered: Disturbance = CLEAN
) -> Path:
    """Write `teacher_outputs/`, or keep it where it came from the same teacher; return its folder.

    Students map arrays of half floats: `logits.npy` [N, views, K], and where one of the loss `terms` reads them
    `embedding.npy` [N, views, D] and `joints.npy` [N, views, PHASES, V', D'], the last map pooled to phases. They
    need not fit the memory. `answered` is how the views are disturbed that the teacher sees.

    Raises FileNotFoundError where there is no teacher, ValueError where it is one of other windows,
    FloatingPointError where one of its outputs is not finite.
    """
    teacher = Teacher.read(folder)
    told = teacher.provenance
    told.check_made_from(
        f"The teacher in {folder.teacher}",
        {"windows": windows.provenance},
        "undo the change, or run `gaitforge teacher run.toml` first",
    )
    provenance = outputs_provenance(told, windows.provenance, answered)
    files = folder.outputs
    kept = _find_kept(files, provenance.identity)
    if kept is not None and find_outputs_fault(files, terms) is None:
        return files.root
    names = ["logits", *collect_needed(terms, "stored")]
    if kept is not None:  # what a search has read stays
        names += kept.sha256
    files.head.unlink(missing_ok=True)
    device = find_device()
    model = teacher.load(folder, windows).to(device)
    train = dataclasses.replace(load_examples(windows, "train"), answered=answered)
    train = train.to(choose_home(train.bytes, device))
    shapes = find_shapes(model, train)
    hashes = {}
    with ExitStack() as written:
        arrays = {}
        for name in dict.fromkeys(names):
            path = written.enter_context(written_aside(files.array(name)))
            shape = (len(train), train.views, *shapes[name])
            arrays[name] = new_array(path, np.float16, shape)
        if teacher.cross_fit:
            part_N = deal_parts(windows.open_role("train"), teacher.members)
            answer_unseen(model, train, arrays, part_N)
        else:
            answer_all(model, train, arrays)
        for name, array in arrays.items():
            array.flush()
            hashes[name] = hash_file(Path(str(array.filename)))
    head = OutputsHead(
        identity=provenance.identity, windows=len(train), views=train.views, embedding=shapes["embedding"][0],
        joint_features=(shapes["joints"][0], shapes["joints"][1], shapes["joints"][2]), disturbance=answered,
        sha256=hashes, provenance=provenance,
    )  # fmt: skip
    OUTPUTS.write(files.head, head)
    say(f"  {len(train):,} training windows in {train.views} views answered")
    return files.root


def _find_kept(files: OutputsFolder, identity: str) -> OutputsHead | None:
    """Return the head of outputs of that identity; None where there are none, or of an older version."""
    try:
        head = OUTPUTS.find(files.head)
    except Unreadable:
        return None
    return head if head is not None and head.identity == identity else None


ANSWERS: Mapping[str, Callable[[Output], Tensor]] = {
    "logits": lambda output: output.logits_BK,
    "embedding": lambda output: output.embedding_BD,
    "joints": lambda output: pool_joints(output.joints_BDTV),
}


@torch.no_grad()
def find_shapes(model: nn.Module, train: Examples) -> dict[str, tuple[int, ...]]:
    """Return the shape of each answer to a window by its name."""
    batch = train.take_batch(torch.zeros(1, dtype=torch.int64, device=train.device))
    output = model.eval()(batch.to(device_of(model)))
    return {name: tuple(of(output).shape[1:]) for name, of in ANSWERS.items()}


@torch.no_grad()
def answer_all(
    model: nn.Module,
    train: Examples,
    arrays: Mapping[str, NDArray[Any]],
    index_N: Tensor | None = None,
) -> None:
    """Write what the model answers to all views of the training windows into arrays [N, views, ...] by name.

    The views are disturbed as `train.answered` tells.

    With `index_N` only of those windows.

    Raises FloatingPointError where one of its outputs is not finite, KeyboardInterrupt where the command was told to
    stop.
    """
    model.eval()
    device = device_of(model)
    if index_N is None:
        index_N = torch.arange(len(train))
    for window_B in torch.split(index_N.to(train.device), BATCH):
        # window by window, so that each page of a large file is written once
        for view in range(train.views):
            check_stop()
            batch = train.take_answered(window_B, torch.full_like(window_B, view))
            output = model(batch.to(device))
            for name, array in arrays.items():
                answer = ANSWERS[name](output).float()
                if not torch.isfinite(answer).all():
                    raise FloatingPointError(
                        f"The teacher's {name} of a training window are no finite numbers, of which no student learns; "
                        "train it with a lower teacher.fit.lr."
                    )
                # what half floats cannot hold becomes their largest: an infinity would spoil every loss
                array[window_B.cpu().numpy(), view] = answer.clamp(-HALF, HALF).cpu().numpy()


def answer_unseen(
    model: nn.Module,
    train: Examples,
    arrays: Mapping[str, NDArray[Any]],
    part_N: NDArray[np.int64],
) -> None:
    """Write what each member of an ensemble answers to the windows of its part, whose people it has never seen."""
    if not isinstance(model, Ensemble):
        raise TypeError(f"{type(model).__name__} has no members that could have left people out.")
    for part, member in enumerate(model.members):
        index_N = torch.from_numpy(np.flatnonzero(part_N == part))
        answer_all(member, train, arrays, index_N)
