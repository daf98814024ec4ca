"""What a cluster is held against before any work: its room, its address, its token, its nodes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from gaitforge.settings import ClusterSettings
from tests.small_line import PATIENCE_S, ROOT
from trainers.cluster import connection as cluster_module
from trainers.cluster.connection import (
    cores_per_worker,
    count_concurrent_trials,
    find_usable_gpus,
    gpus_per_worker,
    pick_packed_node,
)
from trainers.cluster.fleet import Node
from trainers.cluster.joining import (
    ALIVE,
    check_address,
    check_folder,
    check_versions,
    find,
    find_token,
    is_loopback,
    ship_code,
)
from trainers.cluster.node import COMPARED, NodeFacts, examine_node, find_interface

SMALL, LARGE = Node("a", 2.0, 0.0), Node("b", 8.0, 1.0)


@pytest.mark.parametrize(
    ("cores", "gpus", "times"),
    [
        (1, 0.0, 8),
        (3, 0.0, 2),
        (9, 0.0, 0),
        (1, 0.1, 8),  # of ten tenths, the cores allow eight
        (1, 0.3, 3),
        (1, 0.4, 2),
        (1, 1.0, 1),
        (1, 2.0, 0),
    ],
)
def test_a_node_holds_what_its_cores_and_gpus_allow(cores: float, gpus: float, times: int) -> None:
    assert LARGE.count_fitting(cores, gpus) == times


def test_a_share_of_a_gpu_is_never_made_of_two() -> None:
    assert Node("c", 16.0, 2.0).count_fitting(1, 0.6) == 2
    assert Node("c", 16.0, 3.0).count_fitting(1, 1.5) == 2
    assert (
        Node("c", 16.0, 1.0).count_fitting(1, 0.1) == 10
    )  # ten times .1 is not 1 in floating point


@pytest.mark.parametrize(
    ("workers", "cores"),
    [(1, 8), (2, 4), (3, 2), (4, 2), (5, 2), (6, 1), (10, 1), (99, 1)],
)
def test_the_teachers_workers_share_the_cores_without_straddling_nodes(
    workers: int, cores: int
) -> None:
    assert cores_per_worker([SMALL, LARGE], workers, 0.0) == cores


def test_students_are_packed_on_the_smallest_node_that_holds_all() -> None:
    nodes = [SMALL, LARGE, Node("c", 4.0, 0.0)]
    chosen = [pick_packed_node(nodes, trials, 1, 0.0).name for trials in (1, 2, 3, 8, 9)]
    assert chosen == ["a", "a", "c", "b", "b"]


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "list_nodes", lambda: [SMALL, LARGE])


@pytest.mark.usefixtures("two_nodes")
@pytest.mark.parametrize(
    ("settings", "gpus", "trials"),
    [
        (ClusterSettings(), 0.0, 10),
        (ClusterSettings(cpus_per_trial=3), 0.0, 2),  # none of the node with two cores
        (ClusterSettings(concurrent=4), 0.0, 4),
        (ClusterSettings(concurrent=40), 0.0, 10),
        (ClusterSettings(concurrent=40, autoscales=True), 0.0, 40),
        (ClusterSettings(), 0.25, 4),
    ],
)
def test_as_many_students_train_at_a_time_as_fit_the_nodes(
    settings: ClusterSettings, gpus: float, trials: int
) -> None:
    assert count_concurrent_trials(settings, gpus) == trials


def test_a_gpu_that_torch_cannot_use_is_none_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert find_usable_gpus() == 0
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert find_usable_gpus() is None


@pytest.mark.usefixtures("two_nodes")
def test_teacher_workers_take_gpus_only_where_each_gets_one() -> None:
    assert gpus_per_worker(ClusterSettings(), 1) == 1.0
    assert gpus_per_worker(ClusterSettings(), 2) == 0.0
    assert gpus_per_worker(ClusterSettings(gpus_per_worker=0.5), 2) == 0.5


class Gatekeeper(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """A gcs_server's answer to who shows the token, or to everybody."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != ALIVE:
            return None

        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            shown = dict(context.invocation_metadata()).get("authorization")
            if self.token is not None and shown != f"Bearer {self.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "missing or incorrect")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def gatekeeper(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that wants the token of the test's parameter."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Gatekeeper(request.param),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))


@pytest.mark.parametrize("gatekeeper", ["right"], indirect=True)
@pytest.mark.parametrize(("token", "words"), [("", "has none"), ("wrong", "does not take")])
def test_a_cluster_that_does_not_take_our_token_is_refused(
    token: str, words: str, gatekeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with pytest.raises(PermissionError, match=words):
        check_address(gatekeeper)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    check_address(gatekeeper)


@pytest.mark.parametrize("gatekeeper", [None], indirect=True)
def test_a_cluster_that_asks_for_no_token_is_only_taken_on_this_machine(
    gatekeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_address(gatekeeper)
    monkeypatch.setattr("trainers.cluster.joining.is_loopback", lambda address: False)
    with pytest.raises(PermissionError, match="asks nobody for a token"):
        check_address(gatekeeper)


def test_what_is_no_ray_is_refused_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def greet() -> None:
            visitor, _ = listener.accept()
            with visitor:
                visitor.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ConnectionError, match="No Ray cluster answers"):
            check_address(address)
        thread.join()
    with pytest.raises(ConnectionError, match="No Ray cluster answers"):
        check_address(address)  # now nobody listens


def test_the_token_is_the_environments_before_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_token() is None
    (tmp_path / "token").write_text("of the file\n", encoding="utf-8")
    assert find_token() == "of the file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    assert find_token() == "of the environment"


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:6379", True),
        ("localhost:1", True),
        ("[::1]:6379", True),
        ("10.0.0.1:6379", False),
        ("head.example.org:6379", False),
    ],
)
def test_only_the_loopback_is_this_machine(address: str, here: bool) -> None:
    assert is_loopback(address) == here


@pytest.mark.parametrize("address", ["cluster", "http://a:8265", "ray://a:10001", "a:b", ":6379"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ValueError, match=r"cluster\.address"):
        find(address)
    assert find("10.0.0.1:6379") == "10.0.0.1:6379"


def facts(**versions: str) -> NodeFacts:
    same = dict.fromkeys(COMPARED, "1.0") | {"python": "3.11"}
    return NodeFacts(name="10.0.0.2", versions=same | versions, fault="", free_bytes=1)


def test_a_node_with_another_version_is_refused_with_what_to_install() -> None:
    check_versions(facts(), facts())
    with pytest.raises(
        ValueError, match=r"10\.0\.0\.2 has torch 2\.0 and not 1\.0.*pip install torch==1\.0"
    ):
        check_versions(facts(), facts(torch="2.0"))
    with pytest.raises(ValueError, match=r"deltalake not at all"):
        check_versions(facts(), facts(deltalake=""))
    with pytest.raises(ValueError, match=r"Python"):
        check_versions(facts(), facts(python="3.12"))


def test_a_node_that_reads_another_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / ".probe-x").write_bytes(b"x")
    assert examine_node(str(tmp_path), "x", write=False).fault == ""
    (tmp_path / ".probe-x").write_bytes(b"y")
    assert "something else" in examine_node(str(tmp_path), "x", write=False).fault
    assert (
        examine_node(str(tmp_path / "gone"), "x", write=False).fault == "No such file or directory"
    )


def test_what_is_shipped_is_our_packages_alone() -> None:
    names = {Path(folder).name for folder in ship_code({})["py_modules"]}
    assert names == {"gaitforge", "trainers", "search_spaces"}


def test_a_current_folder_whose_packages_workers_would_load_for_ours_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "trainers").mkdir()
    check_folder(tmp_path)  # without __init__.py it yields to a package
    check_folder(ROOT)
    (tmp_path / "search_spaces.py").touch()
    with pytest.raises(
        ValueError, match=r"search_spaces\.py, which .* run the command in another"
    ):
        check_folder(tmp_path)


def test_the_interface_with_the_loopback_address_is_found() -> None:
    assert find_interface("127.0.0.1") == "lo"
    assert find_interface("203.0.113.77") is None


WAITING = """
import sys, time
from pathlib import Path
import ray
from gaitforge.settings import ClusterSettings
from trainers.cluster import connection as cluster

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
cluster.WAIT_S = 1.0  # whole seconds, as Ray counts them

release, begun = Path(sys.argv[1], "release"), Path(sys.argv[1], "begun")

@ray.remote(num_cpus=2)
def busy():
    begun.touch()
    while not release.exists():
        time.sleep(0.05)

def say(line):
    print(line)
    release.touch()  # it has been said once

cluster.say = say
other = busy.remote()
while not begun.exists():
    time.sleep(0.05)
settings = ClusterSettings()
with cluster.wait_for_room(settings, "The teacher", 2, 1):
    print("it began")
try:
    with cluster.wait_for_room(settings, "The teacher", 3, 1):
        print("never")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_what_waits_for_room_says_for_what_and_what_can_never_have_it_is_refused(
    tmp_path: Path, ray_home: Path
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={
            "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "RAY_TMPDIR": str(ray_home),
            "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path),
        },
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    *waited, began, refused = answer.stdout.splitlines()
    assert waited
    assert "The teacher asks for 2 times 1 core, and 0 cores are free" in waited[0]
    assert began == "it began"
    assert "The teacher asks for 3 times 1 core, but the cluster has" in refused
