"""Measure what a search may optimise besides the macro F1: further validation scores, and the exported latency."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from gaitforge.export import Exported, export_onnx
from gaitforge.metrics import (
    balanced_accuracy,
    expected_calibration_error,
    softmax,
    weighted_kappa,
)
from gaitforge.work import ExportFolder
from trainers.training.examples import Examples
from trainers.training.scoring import Scored, score
from trainers.training.window_folder import WindowFolder, take_few_windows

BATCH = 256
# of the joints of a window: what a person who passes behind furniture loses in a depth camera
HIDDEN_SHARE = 0.2
HIDDEN_SEED = 20_261


def measure_validation(
    model: nn.Module, valid: Examples, objectives: Sequence[str]
) -> tuple[dict[str, float], Scored]:
    """Return a model's validation scores by the names that trials keep them under, and the scored recordings.

    The score with hidden joints costs a second pass, and is taken only where it is an objective.
    """
    scored = score(model, valid, BATCH)
    calibration = expected_calibration_error(softmax(scored.logits_RK), scored.true_R)
    kappa = weighted_kappa(scored.confusion_KK)
    scores = {
        "val_macro_f1": scored.macro_f1,
        "val_accuracy": scored.accuracy,
        "val_balanced_accuracy": balanced_accuracy(scored.confusion_KK),
        # without a value where truth and answer are all one class: no agreement beyond chance is shown
        "val_weighted_kappa": 0.0 if math.isnan(kappa) else kappa,
        "val_calibration_error": calibration,
    }
    if "robustness" in objectives:
        scores["val_robust_macro_f1"] = score(model, hide_joints(valid), BATCH).macro_f1
    return scores, scored


def hide_joints(examples: Examples, share: float = HIDDEN_SHARE) -> Examples:
    """Return the clean views with a share of the joints hidden for a whole window, the same ones at every call.

    A joint that is hidden at one share is hidden at every larger one.
    """
    seen = examples.seen_NTV
    generator = torch.Generator().manual_seed(HIDDEN_SEED)
    kept = torch.rand((len(seen), 1, seen.shape[2]), generator=generator) >= share
    seen = seen & kept.to(seen.device)
    joints = examples.joints_NTVC * seen[..., None]
    return dataclasses.replace(examples, joints_NTVC=joints, seen_NTV=seen, views=1)


def measure_exported_latency_ms(model: nn.Module, windows: WindowFolder) -> float:
    """Return the median milliseconds that the exported model takes for one window on one CPU thread.

    It does not depend on the weights, so that it can be measured before a student is trained.
    """
    return measure_exported(model, windows).latency_ms_p50


def measure_exported(model: nn.Module, windows: WindowFolder) -> Exported:
    """Export the model to a file that is not kept, and return what is measured on it; the model moves to the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        return export_onnx(
            model.cpu(), *take_few_windows(windows), ExportFolder(Path(folder)).onnx
        )
