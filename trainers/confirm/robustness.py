"""Score confirmed students and their teacher on unseen people where joints are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from gaitforge.members import Member
from gaitforge.records.confirm import REFIT
from gaitforge.work import SplitFolder, fingerprint, for_arrow, write_parquet
from trainers.confirm.refit_file import SEED, STUDENT, load_refit
from trainers.terminal.say import say
from trainers.training.examples import load_examples
from trainers.training.measures import BATCH, HIDDEN_SEED, hide_joints
from trainers.training.scoring import score
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

SHARES = (0.0, 0.1, 0.2, 0.3)  # of the joints, hidden for a whole window
COLUMNS: dict[str, pa.DataType] = {
    "model": pa.string(),  # teacher | student
    "trial": pa.int64(),  # null for the teacher
    "seed": pa.int64(),
    "hidden": pa.float64(),  # one of SHARES
    "recording": pa.string(),
    "person": pa.string(),
    "true_class": pa.string(),
    "said_class": pa.string(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorable:
    """A trained model that confirm has left, not loaded yet; `trial` is None for the teacher."""

    model: str
    trial: int | None
    seed: int
    identity: str

    def load(self, folder: SplitFolder, windows: WindowFolder) -> nn.Module:
        if self.trial is None:
            return Teacher.read(folder).load(folder, windows)
        return load_refit(windows, folder.refit(self.model, self.trial, self.seed))


def write_robustness(
    windows: WindowFolder, folder: SplitFolder, members: Sequence[Member], seeds: int
) -> None:
    """Write `confirm/robustness.parquet`: each model's answer to each recording with SHARES of the joints hidden.

    It is kept for the same models on the same windows. The same joints are hidden for every model, and
    those that are hidden at a share are hidden at every larger one.
    """
    path = folder.robustness
    models = list(list_scorables(folder, members, seeds))
    identity = fingerprint(
        {
            "models": [[model.model, model.trial, model.seed, model.identity] for model in models],
            "windows": windows.key, "shares": SHARES, "seed": HIDDEN_SEED,
        }
    )  # fmt: skip
    if read_identity(folder) == identity:
        return
    say(f"  {len(models)} models where joints are missing")
    confirm = load_examples(windows, "confirm")
    recordings = windows.list_recordings("confirm")
    hidden = {share: hide_joints(confirm, share) for share in SHARES}
    rows: list[dict[str, Any]] = []
    for model in models:
        built = model.load(folder, windows)
        for share, examples in hidden.items():
            with limit_threads(model):
                scored = score(built, examples, BATCH)
            rows += [
                {
                    "model": model.model, "trial": model.trial, "seed": model.seed, "hidden": share,
                    "recording": recordings[i].recording, "person": recordings[i].person,
                    "true_class": windows.classes[true], "said_class": windows.classes[said],
                }
                for i, true, said in zip(
                    scored.recording_R, scored.true_R, scored.logits_RK.argmax(axis=1), strict=True
                )
            ]  # fmt: skip
    schema = pa.schema(COLUMNS, metadata={"identity": identity})
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))


def list_scorables(
    folder: SplitFolder, members: Sequence[Member], seeds: int
) -> Iterator[Scorable]:
    """Yield the teacher, and the distilled refits of each member."""
    teacher = Teacher.read(folder).fingerprint
    yield Scorable(model="teacher", trial=None, seed=0, identity=teacher)
    for member in members:
        for seed in range(SEED, SEED + seeds):
            head = REFIT.read(folder.refit(STUDENT, member.trial.number, seed))
            yield Scorable(
                model=STUDENT, trial=member.trial.number, seed=seed, identity=head.identity
            )


@contextmanager
def limit_threads(model: Scorable) -> Iterator[None]:
    """Let a student score on one thread within the block; the teacher keeps all.

    A student has too little to do for two: on a busy machine they wait for each other, up to 15 times as long.
    """
    before = torch.get_num_threads()
    if model.trial is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_identity(folder: SplitFolder) -> str | None:
    """Read the identity of the table that is there; None where there is none that can be read."""
    try:
        schema = pq.read_schema(for_arrow(folder.robustness))
    except (OSError, pa.ArrowException):
        return None
    return (schema.metadata or {}).get(b"identity", b"").decode()
