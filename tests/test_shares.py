"""The share of a GPU that students get: measured where there is a GPU, once, and kept to by every worker."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gaitforge.cost import Cost
from gaitforge.models import Sizes
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.records.search import Need
from gaitforge.settings import ClusterSettings, FitPlan, SearchSettings
from gaitforge.work import SplitFolder, read_json
from search_spaces import SPACES
from tests.small_line import PATIENCE_S, ROOT
from tests.test_packing import GB, NEED
from tests.test_search import windows
from trainers.search import gpu_shares as shares
from trainers.search.budget import Budget
from trainers.search.gpu_shares import (
    find_gpu_share,
    find_largest_students,
    list_gpu_kinds,
    measure_on_gpu,
    memory_limit,
    read_kept_share,
)
from trainers.training.student import StudentSpec

AUTO = ClusterSettings()
SEARCH = SearchSettings(families=("tcn",), max_params_share=None)


def node(gpus: float, cores: float = 8, kind: str = "H200", alive: bool = True) -> dict[str, Any]:
    has = {"CPU": cores} | ({"GPU": gpus, f"accelerator_type:{kind}": 1.0} if gpus else {})
    return {"Alive": alive, "Resources": has, "NodeManagerAddress": "127.0.0.1", "NodeID": "n"}


def macs_of(sizes: Sizes) -> Cost:
    """Work that grows with the width alone."""
    width = sizes.channels if isinstance(sizes, TcnSizes) else 1
    return Cost(params=width, macs=width)


class Cluster:
    """Nodes as Ray names them, and what would be measured on each kind of GPU."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, *nodes: dict[str, Any]) -> None:
        self.folder = SplitFolder(folder / "main")
        self.needs: dict[str, Need] = {}
        self.measured: list[str] = []
        self.specs: list[StudentSpec] = []
        patch.setattr("ray.nodes", lambda: list(nodes))
        patch.setattr(shares, "_measure", self.measure)

    def measure(self, kind: str, specs: list[StudentSpec], *rest: object) -> Need:
        self.measured.append(kind)
        self.specs = specs
        return self.needs.get(kind, NEED)

    def share(self, settings: SearchSettings = SEARCH, cluster: ClusterSettings = AUTO) -> float:
        return find_gpu_share(
            cluster, settings, Budget(params=64), macs_of, windows(self.folder.root),
            self.folder.teacher_outputs, self.folder,
        )  # fmt: skip


# which share


def test_without_a_gpu_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(0), node(4, alive=False))
    assert cluster.share() == 0.0
    assert cluster.measured == []


def test_a_share_that_the_settings_name_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1))
    assert cluster.share(cluster=ClusterSettings(gpus_per_trial=0.25)) == 0.25
    assert cluster.share(cluster=ClusterSettings(gpus_per_trial=0.0)) == 0.0
    assert cluster.measured == []


def test_the_measured_share_is_said_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1, cores=16))
    assert cluster.share() == 0.1
    assert capsys.readouterr().out == (
        "  10 students share a GPU (a card): 2.0 GB and 10 % of its time each, limited by its time\n"
    )
    kept = read_json(cluster.folder.search / "packing.json")
    assert (kept["students"], kept["share"]) == (10, 0.1)
    assert cluster.share() == 0.1
    assert cluster.measured == ["accelerator_type:H200"]


def test_other_settings_or_data_are_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1))
    cluster.share()
    cluster.share(replace(SEARCH, trials=7))  # more of the same students
    assert len(cluster.measured) == 1
    cluster.share(replace(SEARCH, fit=FitPlan(batch=256)))
    assert len(cluster.measured) == 2


def test_other_cores_change_the_share_without_a_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Cluster(monkeypatch, tmp_path, node(1, cores=16)).share() == 0.1
    smaller = Cluster(monkeypatch, tmp_path, node(1, cores=4))
    assert smaller.share() == 0.25
    assert smaller.measured == []


def test_of_several_kinds_of_gpu_the_one_with_room_for_the_fewest_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1, 16), node(2, 32, kind="T4"))
    cluster.needs["accelerator_type:T4"] = replace(NEED, device_bytes=16 * GB, bytes=4 * GB)
    assert cluster.share() == 0.3333
    assert sorted(cluster.measured) == ["accelerator_type:H200", "accelerator_type:T4"]


def test_confirming_takes_the_share_that_the_search_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1, cores=16))
    assert read_kept_share(AUTO, cluster.folder) == 1.0
    cluster.share()
    assert read_kept_share(AUTO, cluster.folder) == 0.1
    assert read_kept_share(AUTO, cluster.folder.fold("fold0")) == 0.1
    assert read_kept_share(ClusterSettings(gpus_per_trial=0.5), cluster.folder) == 0.5
    without = Cluster(monkeypatch, tmp_path, node(0))
    assert read_kept_share(AUTO, without.folder) == 0.0


def test_cores_are_counted_beside_each_gpu_of_a_kind() -> None:
    nodes = [node(2, cores=9), node(1, cores=8), node(0, cores=64), node(1, cores=2, kind="T4")]
    assert list_gpu_kinds(nodes) == {"accelerator_type:H200": 4, "accelerator_type:T4": 2}
    assert list_gpu_kinds([{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}]) == {"": 4}


# which students are measured


def test_the_largest_student_that_the_budget_allows_is_measured() -> None:
    free = find_largest_students(["tcn"], Budget(), macs_of)["tcn"]
    limited = find_largest_students(["tcn"], Budget(params=40), macs_of)["tcn"]
    assert isinstance(free, TcnSizes)
    assert isinstance(limited, TcnSizes)
    assert 100 < free.channels <= 128
    assert 20 < limited.channels <= 40


def test_a_family_whose_drawn_students_are_all_over_budget_gives_its_smallest() -> None:
    assert find_largest_students(["stgcn"], Budget(params=0), macs_of) == {
        "stgcn": SPACES["stgcn"].smallest
    }
    assert isinstance(SPACES["stgcn"].smallest, StgcnSizes)


def test_one_student_of_each_family_is_measured_with_the_settings_of_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Cluster(monkeypatch, tmp_path, node(1))
    cluster.share(replace(SEARCH, families=("tcn", "stgcn"), fit=FitPlan(batch=64)))
    assert [spec.family for spec in cluster.specs] == ["tcn", "stgcn"]
    assert {spec.plan.batch for spec in cluster.specs} == {64}
    assert cluster.specs[0].distillation.weights == {"kd": 1.0}


# what a worker keeps to


def test_the_memory_of_all_students_fits_the_gpu_with_their_contexts() -> None:
    assert memory_limit(0.25, []) == 0.25
    assert memory_limit(0.25, [replace(NEED, outside_bytes=4 * GB)]) == pytest.approx(0.2)
    # a student that was measured to fit its share is never refused its memory
    assert memory_limit(0.1, [NEED]) * NEED.device_bytes >= NEED.bytes - NEED.outside_bytes
    # shares that were set by hand, too small for the contexts alone
    assert memory_limit(0.02, [replace(NEED, outside_bytes=4 * GB)]) == 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU here")
def test_a_gpu_that_only_ray_sees_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"Ray counts a GPU on .*, but torch .* there .*; install a"
    ):
        measure_on_gpu([], None)


WORKERS = """
import json, os, sys
from pathlib import Path
import ray, torch
from gaitforge.settings import ClusterSettings
from gaitforge.work import SplitFolder
from trainers.cluster.blind_gpus import check_gpus
from trainers.search import gpu_shares as shares
from trainers.search.gpu_packing import Need
from trainers.search.gpu_shares import keep_to_share

folder = SplitFolder(Path(sys.argv[1]))
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)

def worker():
    torch.set_num_threads(3)  # what an earlier task has left
    keep_to_share(folder)
    return [torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")]

found = {}
for cpus, gpus in ((1, 0), (2, 0)):
    found[f"{cpus} {gpus}"] = ray.get(ray.remote(num_cpus=cpus, num_gpus=gpus)(worker).remote())
try:
    ray.get(ray.remote(num_cpus=1, num_gpus=0.25)(worker).remote())
except ValueError as error:
    found["worker"] = str(error.cause)
try:
    check_gpus(0.25)
except ValueError as error:
    found["nodes"] = str(error)
check_gpus(0)
try:
    shares._measure("", [], None, ClusterSettings())
except ValueError as error:
    found["refused"] = str(error)
need = Need(device="a card", device_bytes=2, bytes=1, outside_bytes=0, step_s=0.1, busy=0.5)
shares.measure_on_gpu = lambda specs, data: need
found["measured"] = shares._measure("", [], None, ClusterSettings()) == need
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU here")
def test_a_worker_of_ray_keeps_to_its_cores_and_a_gpu_that_torch_cannot_use_is_refused(
    ray_home: Path, tmp_path: Path
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tmp_path)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={
            "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "RAY_TMPDIR": str(ray_home),
            "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["1 0"] == [1, ""]
    assert found["2 0"] == [2, ""]
    for refused in ("worker", "nodes", "refused"):
        assert found[refused].startswith("Ray counts a GPU on "), refused
    assert found["measured"]
