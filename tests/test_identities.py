"""What trials, refits and searches are called, and how a trial is written, stays what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation
from gaitforge.settings import (
    ConfirmSettings,
    FitPlan,
    SearchSettings,
    TeacherSettings,
    teacher_identity,
)
from gaitforge.windows import WindowSettings
from gaitforge.work import read_json
from tests.test_searcher import ByHand
from trainers.confirm.refit_file import make_refits
from trainers.search.claim import search_identity
from trainers.training.window_folder import WindowFolder

SIZES = {"family": "tcn", "tcn.channels": 8, "tcn.layers": 2, "tcn.kernel": 5, "tcn.dropout": 0.1}
SHARED = {**SIZES, "lr": 0.002, "weight_decay": 0.03}
Case = tuple[dict[str, Any], dict[str, Any]]  # values to try first, and further settings
KD: Case = {**SHARED, "terms.logits": "kd", "weight.kd": 0.5, "temperature": 3.5}, {}
RICH: Case = (
    {
        **SHARED, "terms.logits": "dkd", "weight.dkd": 0.25, "temperature.dkd": 4.5,
        "terms.windows": "rkd", "weight.rkd": 0.125, "terms.maps": "none",
    },
    {"terms": ("kd", "dkd", "rkd", "hint"), "terms_warmup": 0.25},
)  # fmt: skip
RECIPE = {
    "epochs": 3, "batch": 32, "lr": 0.002, "weight_decay": 0.03, "label_smoothing": 0.1,
    "warmup": 0.1, "clip": 1.0, "balance": True, "jitter": 0.5, "joint_drop": 0.0,
}  # fmt: skip


def proposed(folder: Path, start: dict[str, Any], settings: dict[str, Any]) -> ByHand:
    """A search that tries those values first, with a plan of its own."""
    plan = FitPlan(epochs=3, seed=50, jitter=0.5)
    return ByHand(folder, starts=(start,), families=("tcn",), fit=plan, **settings)


@pytest.mark.parametrize(
    ("case", "distill", "name", "file"),
    [
        (
            KD,
            {"weights": {"kd": 0.5}, "temperature": 3.5},
            "3929f2283c84",
            "4c6a197779be7f52212d314bbee8e323a6187a5fdccd129e6e38ddd0bc831226",
        ),
        (
            RICH,
            {
                "weights": {"dkd": 0.25, "rkd": 0.125}, "temperature": 1.0,
                "temperatures": {"dkd": 4.5}, "warmup": 0.25,
            },
            "0a62ee7b9842",
            "a1c4026ecd2f146399ad3d49e672c92900e7c10d863f0cb12b665d6598b4410d",
        ),
    ],
    ids=["kd", "rich"],
)  # fmt: skip
def test_a_trial_is_written_and_called_as_ever(
    case: Case, distill: dict[str, Any], name: str, file: str, tmp_path: Path
) -> None:
    search = proposed(tmp_path, *case)
    _, trial = search.ask()
    path = search.searcher.log.folder.running / "0.json"
    written = read_json(path)
    assert list(written["recipe"].items()) == list(RECIPE.items())
    assert list(written["distill"].items()) == list(distill.items())
    assert (trial.hash, trial.seed) == (name, 50)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file


@pytest.mark.parametrize(
    ("case", "names"),
    [
        (KD, ["39807bcc9326", "744110c614e6", "71b961a1ecf1", "c08fea0ca217"]),
        (RICH, ["82c18ea89073", "fb8957ee32f2", "e1fbe4df72a4", "7189cbae7967"]),
    ],
    ids=["kd", "rich"],
)
def test_refits_are_called_as_ever(case: Case, names: list[str], tmp_path: Path) -> None:
    _, trial = proposed(tmp_path, *case).ask()
    legs = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
    numbers = np.ones((3, 3), dtype=np.float32)
    windows = WindowFolder(
        Path("/cache/windows/0123456789ab"), legs, ("ill", "well"), WindowSettings(length=16, views=1),
        Normalisation(mean_VC=numbers, std_VC=numbers),
    )  # fmt: skip
    refits = make_refits(ConfirmSettings(seeds=2), trial, windows, Path("/outputs"), "t")
    assert [refit.identity for refit in refits] == names


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SearchSettings(terms=()), "0be6ebc81444"),
        (SearchSettings(), "e12f5e1ae758"),
        (
            SearchSettings(
                families=("dynstg_mamba", "tcn"), terms=("kd", "rkd"), terms_warmup=0.25,
                fit=FitPlan(epochs=3),
            ),
            "1b88ecd8dcc6",
        ),
    ],
    ids=["alone", "defaults", "warm-up"],
)  # fmt: skip
def test_searches_are_called_as_ever(settings: SearchSettings, name: str) -> None:
    assert search_identity(settings, "windows", "teacher") == name


def test_teachers_are_called_as_ever() -> None:
    settings = TeacherSettings(fit=FitPlan(epochs=3, seed=5))
    assert teacher_identity(settings, "windows") == "c1e0cfe3fc3b"
