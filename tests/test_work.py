"""The work folder: files whole or not at all, written once where they must not change."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    as_json,
    fingerprint,
    follow_mode,
    for_arrow,
    open_path,
    read_json,
    read_object,
    sweep_drafts,
    write_json,
    write_once,
    write_parquet,
    write_whole,
)


def test_every_artefact_lies_below_the_work_folder() -> None:
    work = WorkFolder(Path("w"))
    run = work.run("main")
    assert isinstance(run, SplitFolder)
    assert run.trials == Path("w/runs/main/search/trials")
    assert run.teacher_outputs == Path("w/runs/main/teacher_outputs")
    assert work.split_file("main") == Path("w/splits/main.json")
    assert work.summary == Path("w/summary.json")
    assert work.store == Path("w/store")
    assert work.export == Path("w/export")


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_it_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("write", [write_whole, write_once])
def test_a_full_disk_leaves_the_old_file_and_no_draft(
    write: Callable[[Path, bytes], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", no_room)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left on device") as raised:
            write(tmp_path / name, b"data")
        assert raised.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_file_written_once_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "trials" / "0.json"
    assert write_once(path, b"first") is True
    assert write_once(path, b"second") is False
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_json_survives_its_file_and_knows_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None], "ü": "x"})
    assert read_json(path) == {"a": [1, 2.5, None], "ü": "x"}
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json({"score": float("nan")})


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1',
        b"",
        b"\xff\xfe{}",
        b"[NaN]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad.json is not JSON .*; remove it and run its stage"):
        read_json(path)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (Path.mkdir, "it is a folder, but must be a file; move it away, then"),
        (make_pipe, "it is neither a file nor a folder (a pipe or a device)"),
        (make_device, "it is neither a file nor a folder (a pipe or a device)"),
        (make_loop, "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_named_and_never_waited_for(
    what: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    what(path)
    with pytest.raises(OSError, match=f"{path} cannot be read as a JSON file: {re.escape(said)}"):
        read_json(path)
    with pytest.raises(OSError, match=f"\\[Errno.*{path}"):  # before pyarrow is asked
        for_arrow(path)


def test_a_file_that_this_user_may_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read all
    with pytest.raises(PermissionError, match="this user may not read it; let its owner"):
        read_json(tmp_path / "a.json")


def test_parquet_files_carry_page_checksums(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_parquet(path, pa.table({"a": list(range(1000))}))
    assert pq.read_table(path, page_checksum_verification=True)["a"].to_pylist()[-1] == 999
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_fingerprint_changes_with_any_value_and_not_with_the_order_of_keys() -> None:
    one = fingerprint({"a": 1, "b": [1, 2]})
    assert one == fingerprint({"b": [1, 2], "a": 1})
    assert (
        len({one, fingerprint({"a": 1, "b": [2, 1]}), fingerprint({"a": 1.5, "b": [1, 2]})}) == 3
    )
    assert len(one) == 12


def test_a_work_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    WorkFolder(tmp_path / "a" / "b").make()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_work_folder_that_cannot_be_written_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermissionError, match=r"cannot be written .*; choose another folder"):
        WorkFolder(tmp_path / "file" / "work").make()


def test_files_of_the_log_can_be_read_by_others(tmp_path: Path) -> None:
    """A search may run under one user and be reviewed by another."""
    write_once(tmp_path / "once", b"x")
    write_whole(tmp_path / "whole", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_file_without_the_keys_that_it_must_have_is_named(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    for data, words in (({"b": 1}, "holds no 'a'"), ([1], "holds no 'a'"), (None, "holds no 'a'")):
        write_json(path, data)
        with pytest.raises(ValueError, match=words):
            read_object(path, "a", "b")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_object(path)
    write_json(path, {"a": 1, "b": 2})
    assert read_object(path, "a") == {"a": 1, "b": 2}


@pytest.fixture
def own_umask() -> None:
    os.umask(0o022)


def modes_of_what_is_made(folder: Path) -> tuple[int, int]:
    """The modes of a folder and a file that are made in a work folder by a run."""
    work = WorkFolder(folder)
    work.make()
    follow_mode(work.root)
    write_json(work.run("main").front, {})
    made = work.run("main").front
    return made.parent.stat().st_mode & 0o777, made.stat().st_mode & 0o777


@pytest.mark.usefixtures("own_umask")
def test_a_new_work_folder_and_all_in_it_is_its_owners_alone(tmp_path: Path) -> None:
    assert modes_of_what_is_made(tmp_path / "above" / "work") == (0o700, 0o600)
    assert (tmp_path / "above" / "work").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "above").stat().st_mode & 0o777 == 0o755  # not ours


@pytest.mark.usefixtures("own_umask")
@pytest.mark.parametrize(
    ("mode", "folders", "files"),
    [(0o700, 0o700, 0o600), (0o2770, 0o770, 0o660), (0o750, 0o750, 0o640), (0o755, 0o755, 0o644)],
)
def test_a_work_folder_that_is_there_keeps_its_mode_and_hands_it_down(
    mode: int, folders: int, files: int, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(mode)
    assert modes_of_what_is_made(work) == (folders, files)
    assert work.stat().st_mode & 0o7777 == mode


@pytest.mark.usefixtures("own_umask")
def test_what_a_work_folder_on_s3_leaves_on_disks_is_its_owners_alone(tmp_path: Path) -> None:
    follow_mode(open_path("s3://bucket/work"))
    write_json(tmp_path / "copy.json", {})
    assert (tmp_path / "copy.json").stat().st_mode & 0o777 == 0o600


def test_drafts_of_killed_writers_are_swept_and_hidden_files_of_others_are_not(
    tmp_path: Path,
) -> None:
    hexes = "0123456789abcdef" * 2
    drafts = [f".a.json.{hexes}", f".a.json.{hexes}.once", ".a.json.once", f".probe-{hexes}-node"]
    others = [".held", ".making", ".DS_Store", ".nfs0001", ".notes.v2.txt", "a.json", f"a.{hexes}"]
    for name in (*drafts, *others):
        path = tmp_path / "runs" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    young = tmp_path / "runs" / f".b.json.{hexes}"
    young.touch()
    sweep_drafts(tmp_path)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {*others, young.name}


def test_a_file_that_the_disk_cannot_hold_leaves_the_old_one_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.json"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (write_whole, write_once):
        with pytest.raises(OSError, match="No space left"):
            write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]
