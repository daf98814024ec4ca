"""Teacher outputs: what the teacher says to every view of every training window, stored once for all students."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from gaitforge.losses.nodes import pooled_joints
from gaitforge.work import (
    SplitFolder,
    fingerprint,
    read_json,
    write_json,
    write_parquet,
    write_whole,
)
from trainers.examples import WindowFolder, load_examples
from trainers.loop import Examples
from trainers.progress import say
from trainers.teacher import Teacher

BATCH = 128


def write_outputs(windows: WindowFolder, folder: SplitFolder) -> Path:
    """Write `teacher_outputs/`; kept as it is where it came from the same teacher. Returns its folder.

    `outputs.parquet` has a row for each training window and view: logits [K] and embedding [D] as
    floats, joint features [PHASES, V', D'] of the last map as half floats, each flattened. The
    students map `logits.npy` [N, views, K], which holds the same logits.
    """
    teacher = Teacher.read(folder)
    identity = fingerprint({"teacher": teacher.fingerprint, "windows": windows.key})
    head = folder.teacher_outputs / "outputs.json"
    if head.is_file() and read_json(head)["identity"] == identity:
        return folder.teacher_outputs
    head.unlink(missing_ok=True)
    model = teacher.load(folder, windows)
    train = load_examples(windows, "train")
    logits_NWK, tables, shape = answer_all(model, train)
    folder.teacher_outputs.mkdir(parents=True, exist_ok=True)
    write_parquet(folder.teacher_outputs / "outputs.parquet", pa.concat_tables(tables))
    logits = io.BytesIO()
    np.save(logits, logits_NWK)
    write_whole(folder.teacher_outputs / "logits.npy", logits.getvalue())
    write_json(
        head,
        {
            "schema": 1,
            "identity": identity,
            "windows": len(train),
            "views": train.views,
            "joint_features": list(shape),
        },
    )
    say(f"  {len(train):,} training windows in {train.views} views answered")
    return folder.teacher_outputs


@torch.no_grad()
def answer_all(
    model: nn.Module, train: Examples
) -> tuple[np.ndarray, list[pa.Table], tuple[int, ...]]:
    """Logits [N, W, K] float32, the rows of the table, and the shape of one window's joint features."""
    logits_NWK = np.zeros((len(train), train.views, train.classes), dtype=np.float32)
    tables = []
    shape: tuple[int, ...] = ()
    for view in range(train.views):
        for window_B in torch.split(torch.arange(len(train)), BATCH):
            batch, _ = train.take(window_B, torch.full_like(window_B, view))
            output = model(batch)
            logits_NWK[window_B.numpy(), view] = output.logits_BK.numpy()
            features = pooled_joints(output.joints_BDTV).half()
            shape = tuple(features.shape[1:])
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
    return logits_NWK, tables, shape


def _rows(values: Tensor) -> pa.Array[Any]:
    flat = values.flatten(1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.flatten().numpy()), flat.shape[1])
