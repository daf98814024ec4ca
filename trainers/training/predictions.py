"""The predictions table: each recording's class probabilities by each model; dashboard and statistics read only it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from gaitforge.metrics import softmax
from gaitforge.work import SplitFolder, for_arrow, write_parquet
from trainers.training.scoring import Scored
from trainers.training.window_folder import WindowFolder

COLUMNS: dict[str, pa.DataType] = {
    "split": pa.string(),
    "role": pa.string(),
    "model": pa.string(),  # teacher | student | student_alone
    "trial": pa.int64(),  # null for the teacher
    "seed": pa.int64(),
    "recording": pa.string(),
    "person": pa.string(),
    "true_class": pa.string(),
    "probabilities": pa.list_(pa.float32()),  # in the store's order of classes
}
SCHEMA = pa.schema(COLUMNS)


def write_predictions(
    folder: SplitFolder,
    windows: WindowFolder,
    role: str,
    model: str,
    trial: int | None,
    seed: int,
    scored: Scored,
) -> None:
    """Write one model's predictions for the people of one role to a file; replace one of the same name."""
    recordings = windows.list_recordings(role)
    rows = len(scored.recording_R)
    table = pa.table(
        {
            "split": [folder.root.name] * rows,
            "role": [role] * rows,
            "model": [model] * rows,
            "trial": [trial] * rows,
            "seed": [seed] * rows,
            "recording": [recordings[i].recording for i in scored.recording_R],
            "person": [recordings[i].person for i in scored.recording_R],
            "true_class": [windows.classes[i] for i in scored.true_R],
            "probabilities": list(softmax(scored.logits_RK).astype("float32")),
        },
        schema=SCHEMA,
    )
    write_parquet(folder.predicted(role, model, trial, seed), table)


def read_predictions(
    folder: SplitFolder, role: str, model: str, trial: int | None, seed: int
) -> pa.Table:
    """Read the table that `write_predictions` wrote."""
    return pq.read_table(for_arrow(folder.predicted(role, model, trial, seed)))
