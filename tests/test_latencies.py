"""Latencies: every member is measured once for its sizes, and one that cannot be exported holds up nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from gaitforge.export import Exported
from gaitforge.members import Member
from gaitforge.provenance import Provenance
from gaitforge.work import SplitFolder, read_json
from tests.test_confirm import MEMBER, confirm_windows, confirmed
from trainers.confirm import latencies
from trainers.confirm.latencies import write_latencies
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

TEACHER = Teacher(
    fingerprint="f", family="tcn", sizes={"channels": 64, "layers": 1}, params=1, macs=1, val_macro_f1=0.5,
    val_accuracy=0.5, best_epoch=1, epochs=1, seconds=1.0, provenance=Provenance(identity="t"),
)  # fmt: skip
FACTS = Exported(onnx_bytes=9, max_abs_difference=0.0, latency_ms_p50=0.25, latency_ms_p95=0.5)


def of(number: int, channels: int) -> Member:
    return confirmed(replace(MEMBER, number=number, sizes={"channels": channels, "layers": 1}))


class Measure:
    """Counts what it is asked to measure; it cannot export what has more than 100 channels."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, model: nn.Module, windows: WindowFolder) -> Exported:
        self.asked += 1
        if max(value.shape[0] for value in model.parameters()) > 100:
            raise ArithmeticError("The exported student's logits differ by 1.")
        return FACTS


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Measure:
    measure = Measure()
    monkeypatch.setattr(latencies, "measure_exported", measure)
    return measure


def test_what_was_measured_for_the_same_sizes_is_kept(tmp_path: Path, measure: Measure) -> None:
    windows, folder = confirm_windows(tmp_path, 2), SplitFolder(tmp_path)
    write_latencies(windows, folder, TEACHER, [of(3, 8), of(5, 12)])
    path = folder.confirm / "latency.json"
    rows = read_json(path)["members"]
    assert [(row["trial"], row["latency_ms_p50"]) for row in rows] == [(3, 0.25), (5, 0.25)]
    before = path.stat().st_mtime_ns
    write_latencies(windows, folder, TEACHER, [of(3, 8), of(5, 12)])
    assert (measure.asked, path.stat().st_mtime_ns) == (3, before)
    assert read_json(path)["teacher"]["latency_ms_p50"] == 0.25
    # another search, one of the same sizes
    write_latencies(windows, folder, TEACHER, [of(4, 8), of(6, 16)])
    assert measure.asked == 4
    assert [row["trial"] for row in read_json(path)["members"]] == [4, 6]


def test_a_member_that_cannot_be_exported_has_no_latency(
    tmp_path: Path, measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    windows, folder = confirm_windows(tmp_path, 2), SplitFolder(tmp_path)
    write_latencies(windows, folder, TEACHER, [of(3, 128), of(5, 8)])
    first, second = read_json(folder.confirm / "latency.json")["members"]
    assert first["latency_ms_p50"] is None
    assert second["latency_ms_p50"] == 0.25
    assert "trial 3 cannot be exported" in capsys.readouterr().out


def test_a_damaged_file_is_measured_anew(tmp_path: Path, measure: Measure) -> None:
    windows, folder = confirm_windows(tmp_path, 2), SplitFolder(tmp_path)
    for text in ("{", "[]", '{"members": [{}]}'):
        folder.confirm.mkdir(exist_ok=True)
        (folder.confirm / "latency.json").write_text(text)
        write_latencies(windows, folder, TEACHER, [of(3, 8)])
        assert len(read_json(folder.confirm / "latency.json")["members"]) == 1
    assert measure.asked == 6
