"""The whole line in one process and in seconds: what Ray's workers do is done here, and nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

from gaitforge.export import Exported
from gaitforge.losses import Distillation
from gaitforge.records.trial import TRIAL
from gaitforge.work import CheckpointFolder, SplitFolder, open_path
from tests.small_line import Tables
from trainers import pipeline
from trainers.confirm import confirm, export, refit_file
from trainers.search import gate, search
from trainers.search.searcher import StudySearcher
from trainers.search.trial import TrialContext, run_trial
from trainers.teacher import teacher
from trainers.training.examples import load_examples
from trainers.training.loop import fit
from trainers.training.window_folder import WindowFolder, new_fitting

# a line that is over in a second
TOY: Tables = {
    "ingest.synthetic": {
        "people_per_class": 4,
        "recordings_per_person": 1,
        "seconds": 2.5,
        "fps": 20.0,
    },
    "windows": {"length": 8, "views": 1},
    "teacher.sizes": {"channels": 16, "layers": 1},
    "teacher.fit": {"epochs": 1, "batch": 8},
    "search": {"families": ["tcn"], "trials": 2, "max_params_share": 1.0, "gate": False},
    "search.fit": {"epochs": 1, "batch": 8},
    "search.stopping": {"first": 0},
    "confirm": {"members": 1, "neighbours": 0, "seeds": 1, "alone": False, "resamples": 100},
}


def changed(*changes: Tables) -> Tables:
    """TOY's tables with the keys of others changed."""
    tables: dict[str, dict[str, object]] = {name: dict(keys or {}) for name, keys in TOY.items()}
    for change in changes:
        for name, keys in change.items():
            tables.setdefault(name, {}).update(keys or {})
    return tables


def do_without_ray(patch: pytest.MonkeyPatch) -> None:
    """Let the stages do themselves what they would have workers do."""
    for stage in (teacher, search, confirm):
        patch.setattr(stage, "connect", lambda *_: None)
        patch.setattr(stage, "check_arithmetic", lambda *_: None)
    patch.setattr(teacher, "find_worker_room", lambda *_: (1, 0.0))
    patch.setattr(teacher, "run_workers", trained_here)
    patch.setattr(search, "gpus_per_trial", lambda *_: 0.0)
    patch.setattr(search, "find_gpu_share", lambda *_: 0.0)
    patch.setattr(tune, "with_parameters", partial)
    patch.setattr(search, "run_tune", tried_here)
    patch.setattr(gate, "train_alone", lambda spec, *_: gate.train_here(spec))
    patch.setattr(confirm, "read_kept_share", lambda *_: 0.0)
    patch.setattr(confirm, "run_refits", refitted_here)
    patch.setattr(pipeline, "write_latencies", lambda *_: None)
    patch.setattr(export, "export_onnx", exported_here)
    torch.set_num_threads(1)


class KeptHere:
    """The last checkpoint of a training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self.folder)


def trained_here(job: teacher.Job, settings: Any, cluster: Any, storage: Path, name: str) -> Any:
    windows = WindowFolder.open(Path(job.windows))
    cpu = torch.device("cpu")
    fitting = new_fitting(windows, job.family, job.sizes, job.fit, cpu)
    history = teacher.TrainingHistory()
    train, valid = (load_examples(windows, role) for role in ("train", "validation"))
    for metrics in fit(fitting, train, valid, Distillation()):
        history.add(metrics, fitting.result)
    storage.mkdir()
    teacher.save_checkpoint(CheckpointFolder(storage), fitting, history)
    return KeptHere(storage)


def tried_here(searcher: StudySearcher, trainable: Any, *_: Any) -> None:
    context: TrialContext = trainable.keywords["context"]
    while isinstance(config := searcher.suggest("one"), dict):
        folder = open_path(context.folder)
        for _scores in run_trial(TRIAL.parse(config["trial"], folder), context):
            pass
        searcher.on_trial_complete("one")


def refitted_here(
    todo: Sequence[refit_file.Refit], cluster: Any, folder: SplitFolder, data: Any
) -> None:
    for refit in todo:
        confirm.train_refit(refit, str(folder.root), data)


def exported_here(model: Any, joints: Any, seen: Any, path: Path) -> Exported:
    path.write_bytes(b"no network")
    return Exported(onnx_bytes=10, max_abs_difference=0.0, latency_ms_p50=1.0, latency_ms_p95=1.0)
