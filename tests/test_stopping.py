"""Rules of stopping a command, and of output that cannot be written: a sentence and a status, never a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.small_line import PATIENCE_S, ROOT, write_recordings, write_run
from tests.test_cli import must_say, one_sentence, write_file_run
from trainers.__main__ import main
from trainers.cluster import connection
from trainers.terminal.stopping import (
    Stopped,
    check_stop,
    claim_last_word,
    listen_again,
    listening,
    stop_status,
    told_to_stop,
)

STATUS = {signal.SIGINT: 1, signal.SIGTERM: 143, signal.SIGHUP: 129}


def raise_signal(told: signal.Signals) -> Callable[..., None]:
    def act(*_: object) -> None:
        signal.raise_signal(told)

    return act


@pytest.mark.parametrize("told", STATUS)
def test_each_signal_stops_a_stage_with_its_status(
    told: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("trainers.pipeline.ingest_recordings", raise_signal(told))
    before = [signal.getsignal(one) for one in STATUS]
    assert main(["ingest", str(write_run(tmp_path))]) == STATUS[told]
    must_say(one_sentence(capsys.readouterr().err), "stopped", "the same command goes on")
    assert [signal.getsignal(one) for one in STATUS] == before
    assert not told_to_stop()


def test_a_stop_that_a_library_kept_for_itself_ends_the_line_before_its_next_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(*_: object) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", swallow)
    assert main(["run", str(write_run(tmp_path))]) == 143
    assert not (tmp_path / "work" / "splits").exists()


@pytest.mark.parametrize("told", STATUS)
def test_a_stop_that_comes_while_an_object_is_taken_away_still_stops_the_stage(
    told: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Python drops what is raised in a destructor or a weak reference's callback, and prints a traceback of it."""

    class Thing:
        pass

    rest = threading.Event()

    def ingest(*_: object) -> None:
        thing = Thing()
        hearing = weakref.ref(thing, lambda _: signal.raise_signal(told))
        del thing
        assert hearing() is None
        rest.wait(PATIENCE_S)

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", ingest)
    hook = sys.unraisablehook
    assert main(["ingest", str(write_run(tmp_path))]) == STATUS[told]
    must_say(one_sentence(capsys.readouterr().err), "stopped", "the same command goes on")
    assert sys.unraisablehook is hook


def test_what_else_an_object_that_is_taken_away_raises_is_complained_of_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: heard.append(what.exc_type))

    class Thing:
        def __del__(self) -> None:
            raise LookupError

    with listening():
        Thing()
    assert heard == [LookupError]


def test_what_fails_of_a_stop_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ConnectionError(104, "the worker has been terminated as well") from None

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", fail)
    assert main(["ingest", str(write_run(tmp_path))]) == 143
    must_say(one_sentence(capsys.readouterr().err), "stopped", "goes on")


def test_a_command_with_a_sentence_of_its_own_for_a_stop_says_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def watch(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise Stopped("The job is not watched any more.") from None

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", watch)
    assert main(["ingest", str(write_run(tmp_path))]) == 143
    assert one_sentence(capsys.readouterr().err) == "The job is not watched any more."


def test_whoever_waits_for_ctrl_c_gets_the_other_signals_as_such() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with listening():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # to the process and to its group: one wish
            assert stop_status() == 143
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]

    async def wait() -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    with listening(), pytest.raises(KeyboardInterrupt):
        asyncio.run(wait())


def test_what_is_ignored_stays_so_and_a_background_command_can_be_terminated() -> None:
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGHUP, signal.SIGINT)}
    try:
        with listening():
            signal.raise_signal(signal.SIGHUP)  # as under nohup
            signal.raise_signal(signal.SIGINT)  # as behind an & of a script
            check_stop()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_a_stop_is_known_to_other_threads_while_a_library_has_the_handler() -> None:
    with listening():
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.raise_signal(signal.SIGTERM)
        known: list[bool] = []
        asking = threading.Thread(target=lambda: known.append(told_to_stop()))
        asking.start()
        asking.join()
        assert known == [True]
        with pytest.raises(KeyboardInterrupt):
            check_stop()
    with listening():
        check_stop()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listen_again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


# output that cannot be written

CLOSED, FULL = ">&-", ">/dev/full"


def in_shell(
    command: Sequence[object], *redirections: str, unbuffered: str = ""
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "trainers", *map(str, command)]
    script = f'exec "$@" {" ".join(redirections)}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip


@pytest.mark.parametrize(("where", "unbuffered"), [(CLOSED, ""), (FULL, ""), (FULL, "1")])
def test_an_answer_that_cannot_be_written_is_one_sentence(
    where: str, unbuffered: str, tmp_path: Path
) -> None:
    assert main(["ingest", str(write_run(tmp_path))]) == 0
    answer = in_shell(["show", tmp_path / "work"], where, unbuffered=unbuffered)
    assert answer.returncode == 1
    words = ("closed", "give the command") if where == CLOSED else ("No space left", "free some")
    must_say(one_sentence(answer.stderr), *words)


def test_help_for_a_full_device_is_one_sentence() -> None:
    answer = in_shell(["--help"], FULL)
    assert answer.returncode == 1
    must_say(one_sentence(answer.stderr), "No space left")


def test_work_goes_on_without_standard_files_and_no_file_takes_their_place(tmp_path: Path) -> None:
    settings = write_file_run(tmp_path)
    answer = in_shell(["ingest", settings], "<&-", CLOSED, "2>&-")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    answer = in_shell(["show", tmp_path / "work"])
    assert "6 recordings of 6 people" in answer.stdout


def test_work_whose_progress_cannot_be_written_ends_with_a_sentence(tmp_path: Path) -> None:
    answer = in_shell(["ingest", write_file_run(tmp_path)], FULL)
    assert answer.returncode == 1
    must_say(one_sentence(answer.stderr), "No space left", "the same command")


@pytest.mark.parametrize("errors", ["2>&-", "2>/dev/full"])
def test_a_refusal_that_nobody_can_read_keeps_its_status(errors: str, tmp_path: Path) -> None:
    settings = write_file_run(tmp_path)
    write_recordings(tmp_path / "walks.npz", offsets=None)
    answer = in_shell(["ingest", settings], errors)
    assert (answer.returncode, answer.stderr) == (2, "")
    assert answer.stdout == "ingest: recordings into the store\n"


def test_of_a_command_that_was_stopped_and_of_its_watcher_only_the_first_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signal to the whole group ends Ray too, of which its watcher hears when the command is about to end."""
    ended: list[int] = []
    monkeypatch.setattr(connection, "time", SimpleNamespace(sleep=lambda s: None))
    monkeypatch.setattr(connection, "os", SimpleNamespace(_exit=ended.append))
    with listening():
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(PATIENCE_S)
        assert claim_last_word()
    connection._end("Ray's raylet died on this machine")
    with listening():
        connection._end("Ray's raylet died on this machine")
        assert capsys.readouterr().err.startswith("gaitforge: Ray's raylet died on this machine; ")
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
            threading.Event().wait(PATIENCE_S)
        connection._end("Ray's raylet died on this machine")
        assert not claim_last_word()
    assert ended == [143, 1, 129]
    assert capsys.readouterr().err == "gaitforge: stopped; the same command goes on from here.\n"


@pytest.mark.parametrize(
    ("status", "loads_ray", "said"),
    [(143, False, ""), (143, True, "late\n"), (2, False, "late\n")],
)
def test_a_stopped_command_ends_at_once_with_its_status_unless_ray_has_to_be_ended(
    status: int, loads_ray: bool, said: str
) -> None:
    """Else Python may remember a Ctrl-C that met an import, and kill itself by that in the end."""
    code = (
        "import atexit, sys; from trainers.__main__ import leave; atexit.register(print, 'late'); "
        f"sys.modules |= {{'ray': sys}} if {loads_ray} else {{}}; leave({status})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert (answer.returncode, answer.stdout, answer.stderr) == (status, said, "")
