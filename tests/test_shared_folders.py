"""A work folder on a disk, on a mounted disk without hard links, and on S3: the same rules hold on all."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.reading import files
from dashboard.reading import work_folder as reading
from gaitforge.s3 import S3Path
from gaitforge.store import SkeletonStore
from gaitforge.trials import TrialLog
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    for_arrow,
    on_disk,
    on_s3,
    open_path,
    read_json,
    remove_tree,
    set_aside,
    write_json,
    write_once,
    write_parquet,
    write_whole,
)
from tests.small_line import PATIENCE_S, ROOT, write_run
from tests.test_store import LEG, REJECTED, recording
from tests.test_trials import ended
from tests.toy_work import make_work
from tests.try_page import turn_to, words
from trainers.pipeline import Line
from trainers.training.window_folder import lock_node

PLACES = ("disk", "no hard links", "s3")


def refuse_link(*_: object, **__: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.fixture(params=PLACES)
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    if request.param == "s3":
        yield open_path(request.getfixturevalue("s3_folder"))
        return
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse_link)
    yield tmp_path


@pytest.fixture
def bucket_folder(s3_folder: str) -> Path:
    return open_path(s3_folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".once"))


def test_a_file_is_replaced_whole_and_leaves_no_draft(folder: Path) -> None:
    write_whole(folder / "deep" / "a.json", b"old")
    write_whole(folder / "deep" / "a.json", b"new")
    assert (folder / "deep" / "a.json").read_bytes() == b"new"
    assert names(folder / "deep") == ["a.json"]


def test_a_file_written_once_never_changes(folder: Path) -> None:
    path = folder / "trials" / "0.json"
    assert write_once(path, b"first") is True
    assert write_once(path, b"second") is False
    assert path.read_bytes() == b"first"
    assert names(folder / "trials") == ["0.json"]


def test_of_many_writers_of_one_file_exactly_one_has_written_it(folder: Path) -> None:
    path = folder / "0.json"
    writers = [str(number).encode() * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: write_once(path, data), writers))
    assert won.count(True) == 1
    assert path.read_bytes() == writers[won.index(True)]


def test_json_and_parquet_come_back(folder: Path) -> None:
    write_json(folder / "a.json", {"a": [1, 2.5, None], "ü": "x"})
    assert read_json(folder / "a.json") == {"a": [1, 2.5, None], "ü": "x"}
    write_parquet(folder / "t.parquet", pa.table({"a": [1, 2]}))
    assert pq.read_table(for_arrow(folder / "t.parquet"))["a"].to_pylist() == [1, 2]
    with on_disk(folder / "a.json") as copy:
        assert copy.stat().st_size == (folder / "a.json").stat().st_size
    with pytest.raises(FileNotFoundError):
        read_json(folder / "b.json")


def test_the_trial_log_keeps_its_rules(folder: Path) -> None:
    log = TrialLog(SplitFolder(folder))
    assert list(log) == []
    for number in (1, 0, 10):
        log.show_running(ended(number, state="running"))
    write_whole(log.checkpoint(1), b"weights")
    assert [trial.number for trial in log.list_interrupted()] == [0, 1, 10]
    assert log.add(ended(1)) is True
    assert log.add(ended(1, seconds=9.0)) is False
    assert [trial.number for trial in log.list_interrupted()] == [0, 10]
    assert not log.checkpoint(1).exists()
    assert log.add(ended(0)) is True
    assert list(log) == [ended(0), ended(1)]
    log.compact()
    table = pq.read_table(for_arrow(folder / "search" / "trials.parquet"))
    assert table["trial"].to_pylist() == [0, 1]
    log.remove_drafts()
    assert list(log) == [ended(0), ended(1)]


def test_the_store_comes_back_in_all_its_versions(folder: Path) -> None:
    store = folder / "store"
    SkeletonStore.write(store, LEG, [recording("a", "p1"), recording("b", "p2")], "one")
    SkeletonStore.write(
        store, LEG, [recording(f"r{i}", f"p{i}") for i in range(4)] + [REJECTED], "two", group_bytes=1, file_bytes=200
    )  # fmt: skip
    opened = SkeletonStore.open(store)
    assert (opened.info.fingerprint, opened.info.version) == ("two", 1)
    assert [item.recording for item in opened.read_recordings()] == ["r0", "r1", "r2", "r3"]
    (one,) = opened.read_recordings(["p2"])
    np.testing.assert_array_equal(one.positions_TVC, recording("r2", "p2").positions_TVC)
    assert opened.read_index()["person"].to_pylist() == ["p0", "p1", "p2", "p3"]
    assert opened.read_quarantine()["reason"].to_pylist() == ["0 frames"]


def test_a_damaged_file_of_the_store_is_named(folder: Path) -> None:
    SkeletonStore.write(folder, LEG, [recording("a", "p1")], "one")
    (file,) = (folder / "recordings").glob("*.parquet")
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"\.parquet is damaged .*footer"):
        list(SkeletonStore.open(folder).read_recordings())


def test_a_work_folder_is_tried_and_left_empty(folder: Path) -> None:
    WorkFolder(folder / "w").make()
    assert list((folder / "w").iterdir()) == []


def test_an_old_search_is_moved_out_of_the_way_with_all_that_came_of_it(folder: Path) -> None:
    split = SplitFolder(folder / "runs" / "main")
    files = ("search/search.json", "search/trials/0.json", "confirm/refits/a.json")
    for name in (*files, "predictions/validation-student-0-seed0.parquet"):
        write_whole(split.root / name, name.encode())
    write_whole(split.predictions / "validation-teacher-seed0.parquet", b"stays")
    set_aside(split)
    assert not split.search.exists()
    assert not split.confirm.exists()
    assert names(split.predictions) == ["validation-teacher-seed0.parquet"]
    (aside,) = split.root.glob("until-*")
    assert [(aside / name).read_bytes().decode() for name in files] == list(files)
    assert names(aside / "predictions") == ["validation-student-0-seed0.parquet"]


def test_the_dashboard_reads_it_and_sees_what_changes(folder: Path) -> None:
    work = WorkFolder(folder)
    write_json(work.run("main").search / "search.json", {"a": 1})
    write_once(work.run("main").trials / "0.json", b"{}")
    assert reading.look(work).splits == ("main",)
    before = reading.read_pulse(work, "main")
    write_once(work.run("main").trials / "1.json", b"{}")
    assert reading.read_pulse(work, "main") != before
    remove_tree(folder / "runs")
    assert reading.look(work).splits == ()


HEADINGS = {
    "overview": "What it rests on",
    "trade-off": "Trials of the search",
    "why": "What decides each objective",
    "student": "How good it is",
    "compare": "Size and scores",
    "store": "People by class and role",
}


def test_the_dashboard_shows_a_finished_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_work(folder)
    app_file = str(ROOT / "dashboard" / "app.py")
    monkeypatch.setattr(sys, "argv", [app_file, str(folder)])
    app = AppTest.from_file(app_file, default_timeout=PATIENCE_S)
    for page, heading in HEADINGS.items():
        turn_to(app, page)
        assert str(folder) in [text.value for text in app.text]
        assert heading in words(app)
        assert not [frame for frame in app.dataframe if "What to do" in frame.value]
        assert "problem" not in " ".join(text.value for text in app.text)
    (split,) = reading.look(WorkFolder(folder)).splits
    line = reading.read_results(WorkFolder(folder), split)
    assert line.problems == ()
    assert line.trials


def test_a_file_changed_within_the_same_second_is_read_anew(bucket_folder: Path) -> None:
    path = bucket_folder / "a.json"
    write_whole(path, b"[1]")
    first = path.stat()
    write_whole(path, b"[2]")
    assert first.st_size == path.stat().st_size
    assert files.read_stamp(path) != (first.st_mtime_ns, first.st_size, first.etag)  # type: ignore[attr-defined]


def test_a_killed_claim_is_finished_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links a file is claimed before it is written: a kill in between must not lose it."""
    monkeypatch.setattr(os, "link", refuse_link)
    (tmp_path / ".0.json.once").mkdir()
    (tmp_path / ".0.json.once" / "0.json").write_bytes(b"of the killed one")
    assert write_once(tmp_path / "0.json", b"mine") is False
    assert (tmp_path / "0.json").read_bytes() == b"of the killed one"


def test_a_link_whose_answer_was_lost_is_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request that was not answered, and then says that the name exists."""
    link = os.link

    def link_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert write_once(tmp_path / "0.json", b"mine") is True


def test_a_path_of_s3_is_written_as_its_text(s3_folder: str) -> None:
    path = open_path(f"{s3_folder}/a") / "b.json"
    assert str(path) == f"{s3_folder}/a/b.json"
    assert open_path(str(path)) == path
    assert pickle.loads(pickle.dumps(path)) == path
    assert (path.name, path.stem, path.suffix) == ("b.json", "b", ".json")
    assert str(path.relative_to(open_path(s3_folder))) == "a/b.json"
    with pytest.raises(TypeError):
        Path(path)


def test_a_large_file_is_read_where_it_is_asked_for(bucket_folder: Path) -> None:
    data = os.urandom(3 * 2**20)
    (bucket_folder / "a").write_bytes(data)
    with (bucket_folder / "a").open("rb") as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]
        file.seek(7)
        assert file.read(2**20 + 1) == data[7 : 7 + 2**20 + 1]


def test_a_bucket_that_is_not_there_is_told_in_one_sentence(s3_address: str) -> None:
    with pytest.raises(PermissionError, match=r"missing/w cannot be written .*no such bucket\);"):
        WorkFolder(open_path("s3://missing/w")).make()


def test_a_server_that_does_not_answer_is_told_with_what_to_look_at(
    s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr("gaitforge.s3.PATIENCE", timedelta(seconds=0.1))
        with pytest.raises(
            PermissionError, match=r"cannot be written \(.*look at .*AWS_ENDPOINT_URL"
        ):
            WorkFolder(open_path(s3_folder)).make()


def test_without_the_extra_the_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['obstore'] = None; from gaitforge.work import open_path; open_path('s3://bucket/w')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ValueError" in answer.stderr
    assert "pip install 'gaitforge[s3]'" in answer.stderr


def test_who_works_on_disks_never_loads_the_library(tmp_path: Path) -> None:
    code = (
        "import sys, gaitforge.store, gaitforge.work; "
        f"gaitforge.work.open_path({str(tmp_path)!r}); print('obstore' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "False\n"


def test_the_marks_that_ray_makes_of_folders_are_no_files(bucket_folder: Path) -> None:
    system, name = pyarrow.fs.FileSystem.from_uri(str(bucket_folder))
    system.create_dir(f"{name}/search/ray/run", recursive=True)
    assert list(bucket_folder.rglob("*")) == []
    assert not (bucket_folder / "search").exists()
    write_whole(bucket_folder / "search" / "ray" / "state", b"x")
    write_whole(bucket_folder / "search" / "search.json", b"{}")
    remove_tree(bucket_folder / "search" / "ray")
    (bucket_folder / "search").rename(bucket_folder / "aside")
    assert not (bucket_folder / "search").exists()
    assert [path.name for path in bucket_folder.rglob("*")] == ["search.json"]


def test_windows_are_never_kept_on_s3(tmp_path: Path, s3_folder: str) -> None:
    from gaitforge.settings import read_settings

    settings = read_settings(write_run(tmp_path, {"": {"work": s3_folder}}))
    line = Line(settings)
    assert on_s3(line.work.root)
    assert line.cache == Path.home() / ".cache" / "gaitforge"
    assert isinstance(line.work.root, S3Path)


def test_a_mounted_disk_without_locks_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_node(tmp_path / "windows"):
        (tmp_path / "windows" / "a").mkdir()
    assert (tmp_path / "windows" / "a").is_dir()
