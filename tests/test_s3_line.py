"""The whole line with its work folder on S3, in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dashboard.reading import work_folder as reading
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, open_path, read_json
from tests.small_line import ended, run, start, wait_for, write_recordings, write_run

pytestmark = pytest.mark.slow


def stamps(folder: Path) -> dict[str, object]:
    """What would differ if a file had been written again: the summary always is."""
    return {
        str(path): (path.stat().st_mtime_ns, getattr(path.stat(), "etag", ""))
        for path in folder.rglob("*")
        if path.name != "summary.json"
    }


def test_the_line_works_on_s3_and_goes_on_after_a_kill(
    tmp_path: Path, ray_home: Path, s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where the windows of an S3 work folder are kept
    work = WorkFolder(open_path(s3_folder))
    split = work.run("main")
    settings = write_run(tmp_path, {"": {"work": s3_folder}})

    process = start("run", settings, ray_home=ray_home)
    wait_for(lambda: len(list(split.trials.glob("*.json"))) >= 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    before = {path.name: path.stat() for path in split.trials.glob("*.json")}
    teacher = stamps(split.teacher)

    answer = run("run", settings, ray_home=ray_home)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    after = {path.name: path.stat() for path in split.trials.glob("*.json")}
    assert before.items() <= after.items()
    assert [trial.number for trial in TrialLog(split)] == [0, 1, 2, 3]
    assert {key: teacher.get(key) for key in stamps(split.teacher)} == stamps(split.teacher)
    assert not split.running.exists()
    assert not split.rungs.exists()
    assert not (split.search / "ray").exists()
    assert not (split.teacher / "ray").exists()
    assert not work.cache.exists()
    assert list((tmp_path / ".cache" / "gaitforge" / "windows").iterdir())

    done = stamps(split.root) | stamps(work.store)
    again = run("run", settings, ray_home=ray_home)
    assert again.returncode == 0, again.stderr
    kept = stamps(split.root) | stamps(work.store)
    # the verdict and the tables are worked out anew; nothing is trained
    derived = ("search.json", "front.json", "scores.json", ".parquet")
    assert [k for k in done if not k.endswith(derived)] == [
        k for k in kept if not k.endswith(derived)
    ]
    assert {k: v for k, v in done.items() if not k.endswith(derived)} == {
        k: v for k, v in kept.items() if not k.endswith(derived)
    }

    shown = run("show", s3_folder, ray_home=ray_home)
    assert shown.returncode == 0, shown.stderr
    assert "search: 4 finished" in shown.stdout
    assert read_json(work.summary)["search"]["trials"]["finished"] == 4
    assert reading.look(work).problems == ()
    line = reading.read_results(work, "main")
    assert line.problems == ()
    assert line.count("finished") == 4
    assert line.teacher is not None
    assert line.confirm is not None

    recordings = write_recordings(tmp_path / "new.npz")
    predicted = run("predict", f"{s3_folder}/export", recordings, ray_home=ray_home)
    assert predicted.returncode == 0, predicted.stderr
    assert len(predicted.stdout.splitlines()) == 1 + 6
