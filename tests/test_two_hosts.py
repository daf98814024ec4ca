"""A real cluster of two hosts: the line over both, refusals, and what a lost node, link or driver costs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.two_hosts import CACHE, Host, TwoHosts, refusal
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, read_json
from tests.node_python import NodePython, make_node_python
from tests.small_line import PATIENCE_S, ROOT, Tables, ended, wait_for, write_run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(5 * PATIENCE_S),
    pytest.mark.skipif(bool(refusal()), reason=refusal()),
]

EPOCHS = 800
# a trial lasts long enough to be interrupted, and is compared every few seconds
LONG: Tables = {
    "teacher.fit": {"epochs": 3, "batch": 8},
    "search": {"trials": 4, "families": ["tcn"], "max_params_share": 0.5},
    "search.fit": {"epochs": EPOCHS, "batch": 8},
    "search.stopping": {"first": 100, "factor": 2, "keep": 0.99},
    "confirm": {"members": 1, "seeds": 1, "neighbours": 0, "alone": False},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodePython:
    return make_node_python(tmp_path_factory.mktemp("node") / "venv")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short, since the paths of Ray's sockets are in it."""
    path = Path(tempfile.mkdtemp(prefix="gf", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def hosts(node: NodePython, folder: Path) -> Iterator[TwoHosts]:
    """A head and a worker of one core each, the worker without our code."""
    hosts = TwoHosts(folder, python=str(node.python))
    hosts.worker.hidden = [ROOT / name for name in ("platform", "trainers", "search_spaces")]
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.stop()


def settings_for(hosts: TwoHosts, folder: Path, changes: Tables | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cluster = {"address": hosts.address, "concurrent": 2, "cache": str(CACHE)}
    changes = dict(changes or {})
    changes["cluster"] = cluster | dict(changes.get("cluster") or {})
    return write_run(folder, changes)


def start(host: Host, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The command in a host, with this checkout's code for the driver alone."""
    path = f"{ROOT / 'platform'}:{ROOT}"
    return host.popen(
        [host.python, "-m", "trainers", *map(str, arguments)], {"PYTHONPATH": path, **environment}
    )


def run(host: Host, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return ended(start(host, *arguments, **environment))


def split_of(settings: Path) -> SplitFolder:
    return WorkFolder(settings.parent / "work").run("main")


def test_the_line_runs_over_both_hosts_with_nothing_of_ours_on_the_worker(
    hosts: TwoHosts, folder: Path
) -> None:
    settings = settings_for(
        hosts,
        folder / "line",
        {"teacher": {"workers": 2}, "teacher.fit": {"epochs": 4, "batch": 8}},
    )
    answer = run(hosts.head, "run", settings)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "2 nodes, 2 cores" in answer.stdout
    summary = read_json(settings.parent / "work" / "summary.json")
    assert summary["search"]["trials"]["finished"] == 4
    assert summary["export"]["onnx_bytes"] > 0
    # each node made its own windows: nothing of them is in the folder that both see
    for host in (hosts.head, hosts.worker):
        (windows,) = (host.folder / "windows").glob("[0-9a-f]*")
        assert {path.name for path in windows.iterdir() if path.is_dir()} == {
            "train", "validation", "confirm",
        }  # fmt: skip
    assert not (settings.parent / "work" / "cache").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RAY_AUTH_TOKEN": "wrong"}, "does not take this machine's token"),
        ({"RAY_AUTH_TOKEN": ""}, "asks for a token, and this machine has none"),
    ],
)
def test_a_wrong_token_is_refused_before_ray_is_asked(
    environment: dict[str, str], words: str, hosts: TwoHosts, folder: Path
) -> None:
    settings = settings_for(hosts, folder / "refused")
    for stage in ("ingest", "split"):
        assert run(hosts.head, stage, settings).returncode == 0
    answer = run(hosts.head, "teacher", settings, **environment)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_node_that_does_not_see_the_work_folder_is_named(hosts: TwoHosts, folder: Path) -> None:
    settings = settings_for(hosts, folder / "unshared")
    (settings.parent / "work").mkdir()
    hosts.worker.check("mount", "-t", "tmpfs", "none", str(settings.parent))
    answer = run(hosts.head, "run", settings)
    assert answer.returncode == 2
    assert "The node 10.77.0.2 does not share the work folder" in answer.stderr
    assert "Traceback" not in answer.stderr
    # what was done before the cluster was needed is kept, and no probe is left
    assert (settings.parent / "work" / "splits" / "main.json").is_file()
    assert not list((settings.parent / "work").rglob(".probe-*"))


WHERE = """
import sys, time, ray
from pathlib import Path
from gaitforge.settings import ClusterSettings
from trainers.cluster.connection import connect
from trainers.search.search import trial_resources
settings = ClusterSettings(address=sys.argv[1], placement=sys.argv[2])
connect(settings, Path(sys.argv[3]))
for _ in range(4):
    while ray.available_resources().get("CPU", 0) < 2:  # those of the groups before are given back late
        time.sleep(0.05)
    groups = [trial_resources(settings, 0.0, 1).to_placement_group() for _ in range(int(sys.argv[4]))]
    ray.get([group.ready() for group in groups])
    table = ray.util.placement_group_table()
    print(*(node for group in groups for node in table[group.id.hex()]["bundles_to_node_id"].values()))
    for group in groups:
        ray.util.remove_placement_group(group)
"""


def test_students_are_packed_on_one_host_as_far_as_it_goes(hosts: TwoHosts, folder: Path) -> None:
    def where(placement: str, trials: int) -> list[list[str]]:
        arguments = [hosts.address, placement, str(folder), str(trials)]
        answer = hosts.head.run(
            [hosts.head.python, "-c", WHERE, *arguments],
            {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"},
        )
        assert answer.returncode == 0, answer.stderr
        return [line.split() for line in answer.stdout.splitlines()[1:]]

    one = where("pack", 1)
    assert len({node for nodes in one for node in nodes}) == 1
    # what does not fit there goes elsewhere
    assert all(len(set(nodes)) == 2 for nodes in where("pack", 2) + where("spread", 2))


def test_a_killed_node_costs_its_trial_the_time_since_its_rung_and_nothing_that_had_ended(
    hosts: TwoHosts, folder: Path
) -> None:
    settings = settings_for(hosts, folder / "killed", LONG)
    split = split_of(settings)
    driver = start(hosts.head, "run", settings)
    try:
        log = TrialLog(split)
        wait_for(lambda: on_worker(log) is not None, driver)
        lost = on_worker(log)
        assert lost is not None
        before = {path: path.read_bytes() for path in split.trials.glob("*.json")}
        hosts.worker.kill()
        err = ended(driver).stderr
    finally:
        driver.kill()
        hosts.reboot_worker()
        hosts.join()
    assert (driver.returncode, err) == (0, "")
    assert {path: path.read_bytes() for path in before} == before
    trials = {trial.number: trial for trial in TrialLog(split)}
    assert sorted(trials) == [0, 1, 2, 3]
    assert {trial.state for trial in trials.values()} == {"finished"}
    again = trials[lost]
    assert again.node == "head"
    assert [row["epoch"] for row in again.curve] == list(range(1, EPOCHS + 1))


def on_worker(log: TrialLog) -> int | None:
    """A trial in flight on the worker that is past its first rung."""
    return next(
        (
            trial.number
            for trial in log.list_interrupted()
            if trial.node == "worker" and trial.epochs > 100 and len(list(log)) >= 1
        ),
        None,
    )


def test_a_killed_driver_leaves_nothing_behind_and_the_same_command_goes_on(
    hosts: TwoHosts, folder: Path
) -> None:
    settings = settings_for(hosts, folder / "driver", LONG)
    split = split_of(settings)
    driver = start(hosts.head, "run", settings)
    wait_for(lambda: len(list(TrialLog(split))) >= 1, driver)
    driver.send_signal(signal.SIGKILL)
    kill_trainers(hosts.head)
    driver.communicate()
    before = {path: path.read_bytes() for path in split.trials.glob("*.json")}
    answer = run(hosts.head, "run", settings)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(trial.number for trial in TrialLog(split)) == [0, 1, 2, 3]


def kill_trainers(host: Host) -> None:
    """kill -9 the driver in a host, whose `nsenter` outside is only its shadow."""
    subprocess.run(host.command(["pkill", "-KILL", "-f", "trainers run"]), check=False)
