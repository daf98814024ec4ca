"""Store the teacher's outputs for every view of every training window, once for all students."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaitforge.losses.nodes import pool_joints
from gaitforge.records.json_file import Unreadable
from gaitforge.records.teacher import OUTPUTS, OutputsHead
from gaitforge.work import (
    OutputsFolder,
    SplitFolder,
    write_parquet,
    write_whole,
)
from trainers.terminal.say import say
from trainers.training.examples import Examples, load_examples
from trainers.training.teacher_file import (
    Teacher,
    find_outputs_fault,
    outputs_identity,
    outputs_provenance,
)
from trainers.training.window_folder import WindowFolder

BATCH = 128
HALF = float(np.finfo(np.float16).max)


def write_outputs(windows: WindowFolder, folder: SplitFolder) -> Path:
    """Write `teacher_outputs/`, or keep it where it came from the same teacher; return its folder.

    `outputs.parquet` has a row for each training window and view: logits [K] and embedding [D] as
    floats, joint features [PHASES, V', D'] of the last map as half floats, each flattened. Students
    map the same as arrays: `logits.npy` [N, views, K] floats, `embedding.npy` [N, views, D] and
    `joints.npy` [N, views, PHASES, V', D'] half floats.

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
    identity = outputs_identity(teacher.fingerprint, windows.key)
    files = folder.outputs
    if _is_there(files, identity):
        return files.root
    files.head.unlink(missing_ok=True)
    model = teacher.load(folder, windows)
    train = load_examples(windows, "train")
    arrays, tables = answer_all(model, train)
    files.root.mkdir(parents=True, exist_ok=True)
    write_parquet(files.table, pa.concat_tables(tables))
    hashes = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.save(file, array)
        content = file.getvalue()
        write_whole(files.array(name), content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    phases, joints, width = arrays["joints"].shape[2:]
    head = OutputsHead(
        identity=identity, windows=len(train), views=train.views, embedding=arrays["embedding"].shape[2],
        joint_features=(phases, joints, width), sha256=hashes, provenance=outputs_provenance(told, windows.provenance),
    )  # fmt: skip
    OUTPUTS.write(files.head, head)
    say(f"  {len(train):,} training windows in {train.views} views answered")
    return files.root


def _is_there(files: OutputsFolder, identity: str) -> bool:
    """Tell whether the outputs of that identity are there, with the arrays that their head tells of."""
    try:
        head = OUTPUTS.find(files.head)
    except Unreadable:  # or of an older version
        return False
    return head is not None and head.identity == identity and find_outputs_fault(files) is None


@torch.no_grad()
def answer_all(
    model: nn.Module, train: Examples
) -> tuple[dict[str, NDArray[Any]], list[pa.Table]]:
    """Run the teacher on all views of the training windows; return the arrays by name, and the table's parts.

    Raises FloatingPointError where one of its outputs is not finite.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tables = []
    for view in range(train.views):
        for window_B in torch.split(torch.arange(len(train)), BATCH):
            batch, _ = train.take(window_B, torch.full_like(window_B, view))
            output = model(batch)
            features = _half(pool_joints(output.joints_BDTV))
            answers = {
                "logits": output.logits_BK,
                "embedding": _half(output.embedding_BD),
                "joints": features,
            }
            for name, answer in answers.items():
                if not torch.isfinite(answer).all():
                    raise FloatingPointError(
                        f"The teacher's {name} of a training window are no finite numbers, of which no student learns; "
                        "train it with a lower teacher.fit.lr."
                    )
                if name not in arrays:
                    shape = (len(train), train.views, *answer.shape[1:])
                    arrays[name] = np.zeros(shape, dtype=answer.numpy().dtype)
                arrays[name][window_B.numpy(), view] = answer.numpy()
            tables.append(
                pa.table(
                    {
                        "window": pa.array(window_B.numpy()),
                        "view": pa.array(np.full(len(window_B), view)),
                        "logits": _rows(output.logits_BK),
                        "embedding": _rows(output.embedding_BD),
                        "joint_features": _rows(features),
                    }
                )
            )
    return arrays, tables


def _half(values: Tensor) -> Tensor:
    """Convert to half floats; what they cannot hold becomes their largest, since an infinity would spoil every loss."""
    return values.clamp(-HALF, HALF).half()


def _rows(values: Tensor) -> pa.Array[Any]:
    flat = values.flatten(1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.flatten().numpy()), flat.shape[1])
