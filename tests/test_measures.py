"""What a student is worth: the scores under the names that objectives know, and joints that are hidden alike."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.models import Output
from gaitforge.objectives import OBJECTIVES
from trainers.training import measures
from trainers.training.examples import Examples
from trainers.training.measures import HIDDEN_SHARE, hide_joints, measure_validation

FRAMES, JOINTS, CLASSES = 4, 40, 3
SCORES = {name: objective.key for name, objective in OBJECTIVES.items() if objective.is_score}


class Says(nn.Module):
    """A student whose logits stand in the coordinates of the first joint; 0 where that is not seen."""

    def forward(self, batch: Batch) -> Output:
        logits_BK: Tensor = batch.joints_BTVC[:, 0, 0]
        return Output(logits_BK, logits_BK, logits_BK[..., None, None])


def examples(truth: list[int], said: list[int], sure: float = 100.0, views: int = 1) -> Examples:
    """A recording of one window for each pair, and logits that are `sure` of what is said."""
    joints = torch.ones(len(truth), FRAMES, JOINTS, CLASSES)
    joints[:, :, 0] = sure * nn.functional.one_hot(torch.tensor(said), CLASSES)[:, None].float()
    seen = torch.ones(joints.shape[:-1], dtype=torch.bool)
    return Examples(joints, seen, torch.tensor(truth), np.arange(len(truth)), CLASSES, views)


def test_scores_by_hand() -> None:
    """Four recordings, of which one is said to be a class too high."""
    scores, scored = measure_validation(Says(), examples([0, 0, 1, 2], [0, 1, 1, 2]), ())
    assert scores["val_accuracy"] == 0.75
    assert scores["val_balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert scores["val_macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # observed distance 1 of 4; by chance 2 * (2 + 2) + 1 * (1 + 1) + 1 * (2 + 2) = 14 of 16
    assert scores["val_weighted_kappa"] == pytest.approx(1 - (1 / 4) / (14 / 16))
    assert scores["val_calibration_error"] == pytest.approx(0.25)  # quite sure, and wrong once
    assert scored.confusion_KK.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_every_score_that_may_be_an_objective_is_measured() -> None:
    scores, _ = measure_validation(Says(), examples([0, 1], [0, 1]), list(SCORES))
    assert set(SCORES.values()) <= scores.keys()


def test_the_second_pass_is_made_only_where_it_is_an_objective() -> None:
    every = set(SCORES) - {"robustness"}
    scores, _ = measure_validation(Says(), examples([0, 1], [0, 1]), list(every))
    assert "val_robust_macro_f1" not in scores


def test_agreement_on_a_single_class_shows_none_beyond_chance() -> None:
    scores, _ = measure_validation(Says(), examples([1, 1], [1, 1]), ())
    assert scores["val_weighted_kappa"] == 0.0
    assert scores["val_accuracy"] == 1.0


def test_weights_that_are_no_numbers_get_no_score_at_all() -> None:
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        measure_validation(Says(), examples([0, 1], [0, 1], sure=math.nan), ())


# joints that are hidden


def test_a_share_of_the_joints_is_hidden_for_a_whole_window() -> None:
    clean = examples([0] * 200, [0] * 200)
    hidden = hide_joints(clean)
    seen_NTV = hidden.seen_NTV
    assert (seen_NTV == seen_NTV[:, :1]).all()
    lost = 1 - seen_NTV[:, 0].float().mean().item()
    assert lost == pytest.approx(HIDDEN_SHARE, abs=0.02)  # of 8,000 joints
    assert len(np.unique(seen_NTV[:, 0].numpy(), axis=0)) > 190  # others in every window
    assert (hidden.joints_NTVC[~hidden.seen_NTV] == 0).all()
    kept = hidden.seen_NTV
    assert torch.equal(hidden.joints_NTVC[kept], clean.joints_NTVC[kept])


def test_the_same_joints_are_hidden_for_every_student() -> None:
    clean = examples([0] * 5, [0] * 5)
    torch.rand(3)
    assert torch.equal(hide_joints(clean).seen_NTV, hide_joints(clean).seen_NTV)


def test_hiding_leaves_the_examples_and_the_global_generator_as_they_were() -> None:
    clean = examples([0] * 5, [0] * 5)
    before, state = clean.seen_NTV.clone(), torch.get_rng_state()
    hide_joints(clean)
    assert torch.equal(clean.seen_NTV, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_joint_that_was_never_seen_is_not_seen_now_and_one_view_is_enough() -> None:
    clean = examples([0] * 50, [0] * 50, views=3)
    clean.seen_NTV[:, :, 7] = False
    hidden = hide_joints(clean)
    assert hidden.views == 1
    assert not hidden.seen_NTV[:, :, 7].any()


def test_robustness_is_the_score_where_joints_are_missing() -> None:
    """The student here reads one joint: where that is hidden, all classes are alike to it."""
    people = [0, 1, 2] * 40
    clean = examples(people, people)
    scores, _ = measure_validation(Says(), clean, ["robustness"])
    first_seen = hide_joints(clean).seen_NTV[:, 0, 0]
    assert scores["val_macro_f1"] == 1.0
    assert 0.7 < scores["val_robust_macro_f1"] < 0.95
    right = first_seen | (clean.label_N == 0)  # with all logits 0 it says the first class
    expected = measure_validation(Says(), examples(people, (clean.label_N * right).tolist()), ())[
        0
    ]["val_macro_f1"]
    assert scores["val_robust_macro_f1"] == pytest.approx(expected)


# latency


def test_latency_is_that_of_the_exported_file_which_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[Path] = []

    class Exported:
        latency_ms_p50 = 1.5

    def export(model: nn.Module, joints: object, seen: object, path: Path) -> Exported:
        path.write_text("onnx")
        files.append(path)
        return Exported()

    monkeypatch.setattr(measures, "export_onnx", export)
    monkeypatch.setattr(measures, "take_few_windows", lambda windows: (None, None))
    assert measures.measure_exported_latency_ms(Says(), None) == 1.5  # type: ignore[arg-type]
    assert not files[0].exists()
