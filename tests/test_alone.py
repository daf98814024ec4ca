"""A Ray of this machine alone: who may reach it, who may read its files, and how long it may take to start."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from gaitforge.settings import ClusterSettings
from tests.conftest import FinishedLine
from tests.line_state import copied, live_epochs, split_of
from tests.small_line import ended, start, wait_for
from trainers.cluster import alone, connection
from trainers.cluster.alone import (
    PATIENCE,
    START_S,
    make_private_folder,
    use_loopback,
    wait_longer,
)
from trainers.cluster.connection import connect


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", *PATIENCE):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each `ray.init`, which does nothing."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize("mode", ["disabled", "k8s"])
def test_a_ray_without_its_token_is_refused(
    mode: str, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(PermissionError, match=rf"RAY_AUTH_MODE is '{mode}', .*; unset it\."):
        connect(ClusterSettings(), tmp_path)
    assert started == []


def test_an_empty_mode_asks_for_the_token_which_ray_would_not(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    alone.start_alone(1, 0)
    assert len(started) == 1
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_the_token_that_ray_wrote_for_everybody_is_kept_private(
    started: list[dict[str, Any]], tmp_path: Path
) -> None:
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("secret", encoding="utf-8")
    token.chmod(0o644)
    alone.start_alone(1, 0)
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_token_that_the_environment_says_is_elsewhere_and_is_not_is_refused(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"RAY_AUTH_TOKEN_PATH is '.*none', but no token"):
        connect(ClusterSettings(), tmp_path)
    assert started == []


def test_rays_files_lie_in_a_folder_that_only_this_user_enters(
    started: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone.start_alone(1, 0)
    folder = Path(started[0]["_temp_dir"]).parent
    assert folder.parent == tmp_path / "ray"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)  # somebody opened it
    assert make_private_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_too_long_a_path_for_sockets_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init(**arguments: object) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: '/a/long/one'")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ValueError, match=rf"{tmp_path}/ray, has too long a path .* shorter one"):
        alone.start_alone(1, 0)


def test_rays_check_of_paths_is_told_by_these_words(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    node: Any = ray._private.node.Node
    with pytest.raises(OSError, match="AF_UNIX"):
        node._prepare_socket_file(SimpleNamespace(), str(long / "socket"), "socket")


def test_a_folder_of_that_name_which_another_put_there_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / f"gf-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    folder = make_private_folder()
    assert folder.parent == tmp_path / "ray"
    assert not folder.is_symlink()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_each_of_rays_guesses_of_seconds_is_a_generous_one(started: list[dict[str, Any]]) -> None:
    own = "RAY_worker_register_timeout_seconds"
    os.environ[own] = "7"
    alone.start_alone(1, 0)
    assert os.environ[own] == "7"
    for name in set(PATIENCE) - {own}:
        seconds = int(os.environ[name]) / (1000 if name.endswith("_ms") else 1)
        assert seconds == START_S >= 300


def test_rays_executables_know_the_settings_of_our_patience() -> None:
    """With another Ray one of them may have another name, and would set nothing."""
    folder = Path(ray.__file__).parent
    programs = [folder / "core/src/ray" / name for name in ("raylet/raylet", "gcs/gcs_server")]
    texts = [path.read_bytes() for path in (*programs, folder / "_private" / "node.py")]
    for name in PATIENCE:
        assert any(name.encode() in text for text in texts), name


def test_a_node_that_is_late_is_waited_for_and_one_that_never_comes_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([RuntimeError("not yet")] * 3)
    seconds = iter([0.0, 29.0, 60.0, START_S - 1.0])

    def get_node(address: str, node: str) -> dict[str, str]:
        for error in answers:
            raise error
        return {"id": node}

    services: Any = ray._private.services
    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(alone, "time", SimpleNamespace(sleep=lambda s: None))
    with wait_longer(clock=lambda: next(seconds)):
        assert services.get_node("127.0.0.1:1", "n") == {"id": "n"}
    answers = iter([RuntimeError("never")])
    seconds = iter([0.0, START_S + 1.0])
    with wait_longer(clock=lambda: next(seconds)), pytest.raises(RuntimeError, match="never"):
        services.get_node("127.0.0.1:1", "n")
    assert services.get_node is get_node


def test_rays_start_asks_for_its_node_where_we_are_patient() -> None:
    """It looks the function up when it asks; with another Ray that may no longer be so."""
    node: Any = ray._private.node.Node
    assert {"services", "get_node"} <= set(node.__init__.__code__.co_names)


def test_the_loopback_stays_the_loopback_within_a_start_alone() -> None:
    services: Any = ray._private.services
    with use_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert ray._private.ray_constants.ENABLE_RAY_CLUSTER is True


def test_a_process_of_rays_that_died_is_named() -> None:
    assert alone.find_dead() == []
    child = subprocess.Popen(["bash", "-c", "exec -a x sleep 0"], executable="/bin/bash")
    try:
        path = Path(f"/proc/{child.pid}/stat")
        wait_for(lambda: ") Z " in path.read_text(encoding="utf-8"))
        name = path.read_text(encoding="utf-8").partition("(")[2].partition(")")[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alone, "WATCHED", (name,))
            assert alone.find_dead() == [name]
    finally:
        child.wait()


@pytest.mark.parametrize(
    ("looks", "sentences"),
    [
        (
            [["raylet"], ["raylet"]],
            ["Ray's raylet died on this machine (out of memory, or killed)"],
        ),
        # Ray ends them itself where it gives up
        ([["raylet"], []], []),
        ([[], []], []),
    ],
)
def test_a_ray_that_dies_while_it_starts_ends_the_command_with_a_sentence(
    looks: list[list[str]], sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()
    said: list[str] = []

    def find_dead() -> list[str]:
        if len(looks) == 1:
            started.set()
        return looks.pop(0)

    monkeypatch.setattr(connection, "WATCH_S", 0.001)
    monkeypatch.setattr(connection, "find_dead", find_dead)
    monkeypatch.setattr(connection, "_end", said.append)
    connection._watch_start(started)
    assert said == sentences


def of_ray(home: Path) -> set[int]:
    """The processes with this Ray's folder in their environment: all that its driver has started."""
    mark = f"RAY_TMPDIR={home}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue  # it has ended, or is not ours
    return found


def listening(home: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and address of each socket on which a process of this Ray listens, as `ss` tells."""
    pids = of_ray(home)
    told = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        for name, pid in re.findall(r'\("([^"]+)",pid=(\d+)', line):
            if int(pid) in pids:
                yield name, line.split()[3].rpartition(":")[0]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_nothing_of_a_local_ray_listens_beyond_the_loopback_while_a_teacher_trains(
    finished: FinishedLine, tmp_path: Path, ray_home: Path
) -> None:
    parts = ("teacher", "teacher_outputs", "search", "confirm")
    changes = {"teacher": {"workers": 2}, "teacher.fit": {"epochs": 100_000, "batch": 8}}
    settings = copied(finished, tmp_path, *parts, changes=changes)
    driver = start("teacher", settings, ray_home=ray_home)
    try:
        wait_for(lambda: live_epochs(split_of(settings)) >= 1, driver)
        found = list(listening(ray_home))
        folder = ray_home / f"gf-{os.getuid()}"
        mode = folder.stat().st_mode & 0o777
        sessions = list((folder / "ray").glob("session_2*"))
        token = Path(os.environ["HOME"], ".ray", "auth_token").stat().st_mode & 0o777
    finally:
        driver.kill()
        ended(driver)
    assert {"gcs_server", "raylet"} <= {name for name, _ in found}
    assert any(name.startswith("ray::RayTrain") for name, _ in found)
    beyond = {one for one in found if one[1] not in ("127.0.0.1", "[::ffff:127.0.0.1]", "[::1]")}
    assert beyond == set()
    assert (mode, token) == (0o700, 0o600)
    assert len(sessions) == 1
