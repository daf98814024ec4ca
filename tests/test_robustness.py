"""Robustness: confirmed models are scored with joints hidden, once, and each by its own weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save
from torch import nn

from gaitforge.records.confirm import REFIT
from gaitforge.records.teacher import TEACHER
from gaitforge.weights import write_weights
from gaitforge.work import SplitFolder, read_json, write_json, write_whole
from tests.made import made
from tests.test_confirm import MEMBER, confirm_windows, confirmed
from tests.test_measures import examples
from trainers.confirm import robustness
from trainers.confirm.refit_file import SEED, STUDENT
from trainers.confirm.robustness import SHARES, write_robustness
from trainers.training.measures import hide_joints
from trainers.training.window_folder import WindowFolder

SIZES = {"channels": 8, "layers": 1}


def keep(root: Path, windows: WindowFolder, seeds: Iterable[int]) -> None:
    """A teacher and refits of the trial of MEMBER, with the first weights that their seeds give."""
    folder = SplitFolder(root)
    torch.manual_seed(0)
    told = write_weights(folder.teacher_model, weights(windows.build("tcn", SIZES)))
    TEACHER.write(folder.teacher_model, made(TEACHER, family="tcn", sizes=SIZES, **told))
    for seed in seeds:
        head = folder.refit(STUDENT, MEMBER.number, seed)
        torch.manual_seed(seed)
        told = write_weights(head, weights(windows.build("tcn", SIZES)))
        REFIT.write(head, made(REFIT, identity=f"of {seed}", family="tcn", sizes=SIZES, **told))


def weights(model: nn.Module) -> bytes:
    return save(dict(model.state_dict()))


def test_teacher_and_refits_are_scored_on_every_recording_at_every_share(tmp_path: Path) -> None:
    windows = confirm_windows(tmp_path, 6)
    keep(tmp_path, windows, (SEED, SEED + 1))
    write_robustness(windows, SplitFolder(tmp_path), [confirmed()], seeds=2)
    table = pq.read_table(tmp_path / "confirm" / "robustness.parquet").to_pandas()
    assert len(table) == 3 * len(SHARES) * 12  # models, shares, recordings of six people
    models = table.groupby(["model", "seed", "hidden"]).size()
    assert set(models.index.get_level_values("hidden")) == set(SHARES)
    assert set(models) == {12}
    assert table["trial"].isna().sum() == len(SHARES) * 12
    truth = {row.recording: row.true_class for row in table.itertuples()}
    assert truth["p00-0"] == "ill"
    assert truth["p01-1"] == "well"


def test_a_second_run_scores_nothing_and_new_weights_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, folder = confirm_windows(tmp_path, 2), SplitFolder(tmp_path)
    keep(tmp_path, windows, (SEED,))
    write_robustness(windows, folder, [confirmed()], seeds=1)
    path = folder.confirm / "robustness.parquet"
    before = path.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.delattr(robustness, "score")
        write_robustness(windows, folder, [confirmed()], seeds=1)
    assert path.stat().st_mtime_ns == before
    head = folder.refit(STUDENT, MEMBER.number, SEED)
    write_json(head, {**read_json(head), "identity": "trained anew"})
    write_robustness(windows, folder, [confirmed()], seeds=1)
    assert path.stat().st_mtime_ns > before


def test_a_damaged_table_is_written_anew(tmp_path: Path) -> None:
    windows, folder = confirm_windows(tmp_path, 2), SplitFolder(tmp_path)
    keep(tmp_path, windows, (SEED,))
    write_whole(folder.confirm / "robustness.parquet", b"PAR1")
    write_robustness(windows, folder, [confirmed()], seeds=1)
    assert len(pq.read_table(folder.confirm / "robustness.parquet")) == 2 * len(SHARES) * 4


def test_what_is_hidden_at_one_share_is_hidden_at_every_larger_one() -> None:
    clean = examples([0] * 20, [0] * 20)
    seen = [hide_joints(clean, share).seen_NTV for share in SHARES]
    assert torch.equal(seen[0], clean.seen_NTV)
    for more, less in zip(seen[1:], seen, strict=False):
        assert not (more & ~less).any()
        assert int(more.sum()) < int(less.sum())
