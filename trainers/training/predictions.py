"""The predictions table: each recording's class probabilities by each model; confirm scores from it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from gaitforge.metrics import softmax
from gaitforge.weights import hash_file
from gaitforge.work import SplitFolder, for_arrow, write_parquet
from trainers.training.scoring import Scored
from trainers.training.window_folder import WindowFolder

COLUMNS: dict[str, pa.DataType] = {
    "split": pa.string(),
    "role": pa.string(),
    "model": pa.string(),  # teacher | reference | student | student_alone
    "trial": pa.int64(),  # null for the teacher and the reference
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
) -> str:
    """Write one model's predictions for the people of one role to a file; return the hash of its content.

    One of the same name is replaced.
    """
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
    path = folder.predicted(role, model, trial, seed)
    write_parquet(path, table)
    return hash_file(path)


def read_predictions(
    folder: SplitFolder, role: str, model: str, trial: int | None, seed: int
) -> pa.Table:
    """Read the table that `write_predictions` wrote; raises ValueError where there is none, or a damaged one."""
    path = folder.predicted(role, model, trial, seed)
    try:
        table = pq.read_table(for_arrow(path), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        found = "are not there" if not path.is_file() else "cannot be read"
        raise ValueError(
            f"The predictions {path} {found}; run `gaitforge confirm run.toml` again, which makes them anew."
        ) from error
    if not table.schema.equals(SCHEMA):
        raise ValueError(
            f"The predictions {path} hold other columns than they must ({', '.join(COLUMNS)}); run "
            "`gaitforge confirm run.toml` again, which makes them anew."
        )
    return table
