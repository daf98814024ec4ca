"""What `benchmarks/gpu.py` would do on a GPU, with tiny numbers on what is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Moved, Report, rates_of, run_limited, table
from gaitforge.work import read_json, write_json
from tests.small_line import ROOT


def test_an_operation_moves_what_it_reads_and_writes_and_a_view_nothing() -> None:
    a = torch.zeros(10, 10)
    with Moved() as seen:
        a.t()
        torch.empty(1000)
    assert seen.bytes == 0
    with Moved() as seen:
        a + 1
    assert seen.bytes == 2 * a.nbytes
    with Moved() as seen:
        torch.relu_(a)  # read and written in place
    assert seen.bytes == 2 * a.nbytes


def test_rows_are_on_disk_as_they_come(tmp_path: Path) -> None:
    report = Report(tmp_path, "rates")
    report.add("copy", tb_per_s=4.2)
    assert [row["name"] for row in read_json(tmp_path / "rates.json")["rows"]] == ["copy"]
    report.add("matrix", tflop_per_s=790.0)
    assert rates_of(tmp_path) == {"copy": 4.2, "matrix": 790.0}
    assert rates_of(tmp_path / "nothing") == {}


def test_a_part_that_takes_too_long_is_cut_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "rates.json", {"date": "2026-11-20", "device": "a card", "torch": "2", "cores": 2, "rows": [
        {"name": "copy", "tb_per_s": 4.2},
    ]})  # fmt: skip
    script = tmp_path / "part.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setitem(gpu.LIMITS_S, "rates", 0.2)
    end = run_limited("rates", tmp_path, quick=False)
    assert end == "cut at its time limit after 0 s"
    script.write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setitem(gpu.LIMITS_S, "rates", 60)
    assert run_limited("rates", tmp_path, quick=False).startswith("failed with exit status 3")
    assert table(tmp_path, {"rates": end}).split() == [
        "rates:", *end.split()[:-1], "s;", "2026-11-20,", "a", "card,", "torch", "2,", "2", "cores", "copy",
        "tb_per_s", "4.2",
    ]  # fmt: skip


def test_all_parts_together_take_less_than_eight_minutes() -> None:
    assert sum(gpu.LIMITS_S.values()) < 480 - 10


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_nothing_is_measured_that_would_pass_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "no CUDA device" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_part_runs_with_tiny_numbers(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(tmp_path), "--quick"],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    names = {
        part: [row["name"] for row in read_json(tmp_path / f"{part}.json")["rows"]]
        for part in gpu.LIMITS_S
    }
    assert names == {
        "rates": ["copy", "matrix"],
        "teacher": [
            "eager fp32, batch 2", "eager bf16, batch 2", "as fit trains it, batch 2", "compiled bf16, batch 2",
            "compiling, batch 2",
        ],
        "students": [
            "1 student, its process started for it", "starting 1 more", "1 at a time", "2 at a time",
            "one student measured",
        ],
    }  # fmt: skip
    rows = [row for part in gpu.LIMITS_S for row in read_json(tmp_path / f"{part}.json")["rows"]]
    assert not [row for row in rows if "failed" in row]
    assert (tmp_path / "table.md").read_text() in answer.stdout + "\n"
