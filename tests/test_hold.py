"""Rules of the hold on a work folder: of two commands the second is refused, and a hold ends with its owner."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gaitforge.hold import Held, Owner, hold
from gaitforge.work import WorkFolder, open_path
from tests.small_line import ROOT, write_run
from tests.test_cli import must_say, one_sentence
from trainers.__main__ import main

Say = Callable[[str], None]
HOLDING = """
import sys
from gaitforge.hold import hold
from gaitforge.work import open_path
with hold(open_path(sys.argv[1]), "search", print, lambda: None, float(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = tmp_path if request.param == "disk" else request.getfixturevalue("s3_folder")
    return open_path(name)


def holder(folder: Path, lease_s: float) -> subprocess.Popen[str]:
    """Another process that holds the folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder), str(lease_s)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def held(folder: Path, lease_s: float = 0.6) -> list[str]:
    """What is said while the folder is taken and given back."""
    said: list[str] = []
    with hold(folder, "run", said.append, lambda: None, lease_s):
        pass
    return said


def test_the_second_command_is_refused_and_learns_who_the_first_is(folder: Path) -> None:
    # so long a lease that it is no matter how busy the machine is
    process = holder(folder, 30.0)
    with pytest.raises(Held) as refused:
        held(folder, 30.0)
    must_say(
        str(refused.value), str(folder), "`gaitforge search`", f"process {process.pid} on", "since",
        "the same work twice", "another folder",
    )  # fmt: skip
    process.communicate("")
    assert process.returncode == 0
    assert held(folder) == []


def test_a_hold_dies_with_its_owner(folder: Path) -> None:
    process = holder(folder, 600.0)
    process.kill()
    process.communicate()
    # of the same machine it is known that it is dead, whatever its lease
    assert held(folder, 600.0) == []


def test_a_lease_of_another_machine_ends_once_it_is_not_renewed(
    s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_path(s3_folder)
    process = holder(folder, 600.0)
    process.kill()
    process.communicate()
    monkeypatch.setattr("gaitforge.hold._place", lambda: "another boot")
    (said,) = held(folder, 0.6)
    must_say(said, "`gaitforge search`", str(process.pid), "is it there still?")
    assert held(folder) == []


def test_of_two_that_find_an_old_lease_one_has_it(s3_folder: str) -> None:
    folder = open_path(s3_folder)
    (folder / ".held").write_bytes(b"no owner that can be read")
    inside = threading.Semaphore(0)
    leave = threading.Event()
    refused: list[Held] = []

    def take() -> None:
        try:
            # longer than a busy machine may take to renew it
            with hold(folder, "run", lambda text: None, lambda: None, 6.0):
                inside.release()
                leave.wait()
        except Held as error:
            refused.append(error)
            leave.set()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert inside.acquire(blocking=False)
    assert not inside.acquire(blocking=False)


def test_who_has_lost_the_lease_is_told_and_leaves_the_others_alone(s3_folder: str) -> None:
    folder = open_path(s3_folder)
    lost = threading.Event()
    with hold(folder, "run", lambda text: None, lost.set, 0.6):
        (folder / ".held").write_bytes(b"somebody else's")
        assert lost.wait(60)
    assert (folder / ".held").read_bytes() == b"somebody else's"


def test_a_disk_without_locks_is_said_to_be_so_and_hinders_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (said,) = held(tmp_path)
    must_say(said, str(tmp_path), "has no locks", "no other command")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff", b"[" * 100_000])
def test_a_hold_that_cannot_be_read_is_of_an_unknown_owner(content: bytes, tmp_path: Path) -> None:
    assert Owner.read(content) is None
    must_say(str(Held(tmp_path, Owner.read(content))), "another command")


def test_a_held_work_folder_is_read_and_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    work = WorkFolder(tmp_path / "work")
    before = work.settings.read_bytes()
    changed = write_run(tmp_path, {"search": {"trials": 5}})
    capsys.readouterr()
    with hold(work.root, "search", print, lambda: None):
        assert main(["split", str(changed)]) == 1
        must_say(
            one_sentence(capsys.readouterr().err), f"process {os.getpid()}", "wait for its end"
        )
        assert work.settings.read_bytes() == before
        assert main(["show", str(work.root)]) == 0
    assert main(["split", str(changed)]) == 0


def test_a_command_whose_lease_was_taken_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken(root: Path, command: str, say: Say, lost: Callable[[], None]) -> object:
        lost()
        signal.pause()
        return None

    monkeypatch.setattr("gaitforge.hold.hold", taken)
    assert main(["ingest", str(write_run(tmp_path))]) == 143
    assert "another command has taken over" in capsys.readouterr().out
