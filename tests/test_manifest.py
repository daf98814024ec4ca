"""Rules of the files that start a cluster: their readers take them, and they ask for what the run needs."""

from __future__ import annotations

import base64
import copy
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config, validate_config

from gaitforge.ingest.synthetic import SyntheticSettings
from gaitforge.settings import ClusterSettings, IngestSettings, RunSettings, TeacherSettings
from tests.rayjob_schema import CONFIG_MAP, RAY_JOB
from tests.small_line import Tables, write_run
from trainers.__main__ import main
from trainers.cluster.fleet import plan_fleet
from trainers.cluster.manifest import Machines, Pods, write_kuberay_manifest
from trainers.cluster.shipment import pack

Document = dict[str, Any]
SHARED: Tables = {"": {"work": "/shared/walks"}}


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command prints for the small line with some keys changed."""

    def call(*arguments: str, changes: Tables = SHARED) -> str:
        path = write_run(tmp_path, changes)
        capsys.readouterr()
        status = main(["cluster", "manifest", str(path), *arguments])
        answer = capsys.readouterr()
        assert status == (2 if answer.err else 0)
        return answer.err or answer.out

    return call


Printed = Callable[..., str]
GROWS: Tables = {**SHARED, "cluster": {"autoscales": True, "concurrent": 40}}
FLEETS: dict[str, tuple[tuple[str, ...], Tables]] = {
    "as it is": ((), SHARED),
    "an image and GPUs": (("--image", "here/gait:1", "--gpus", "2", "--nodes", "3"), SHARED),
    "a growing cluster": ((), GROWS),
}


# KubeRay


def kuberay(text: str) -> tuple[Document, Document]:
    config, job = yaml.safe_load_all(text)
    return config, job


@pytest.mark.parametrize("name", FLEETS)
def test_the_ray_job_has_the_fields_of_its_definition(name: str, printed: Printed) -> None:
    arguments, changes = FLEETS[name]
    config, job = kuberay(printed("--for", "kuberay", *arguments, changes=changes))
    jsonschema.validate(config, CONFIG_MAP)
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize("name", FLEETS)
def test_rays_own_reader_of_kuberay_finds_the_nodes(name: str, printed: Printed) -> None:
    arguments, changes = FLEETS[name]
    _, job = kuberay(printed("--for", "kuberay", *arguments, changes=changes))
    read = autoscaling_config._derive_autoscaling_config_from_ray_cr(
        {
            "metadata": {"name": "any", "namespace": "any"},
            "spec": job["spec"]["rayClusterSpec"],
        }
    )
    types = read["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0  # no trial lands beside the driver
    nodes = types["nodes"]
    expected = {
        "as it is": (1, 1, 8, None),
        "an image and GPUs": (3, 3, 8, 2),
        "a growing cluster": (1, 5, 8, None),
    }[name]
    resources = nodes["resources"]
    assert expected == (
        nodes["min_workers"], nodes["max_workers"], resources["CPU"], resources.get("GPU"),
    )  # fmt: skip


SPOILED: dict[str, Callable[[Document], object]] = {
    "misspelt key of the job": lambda job: job["spec"].update(entryPoint="x"),
    "misspelt key of the cluster": lambda job: job["spec"]["rayClusterSpec"].update(authOption={}),
    "misspelt key of a group": lambda job: group(job).update(maxReplica=3),
    "misspelt key of a pod": lambda job: group(job)["template"]["spec"].update(volume=[]),
    "text for a number": lambda job: group(job).update(replicas="2"),
    "a number for text": lambda job: group(job).update(rayStartParams={"num-cpus": 0}),
    "unknown mode": lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="yes"),
    "missing count": lambda job: group(job).pop("maxReplicas"),
}


def group(job: Document) -> Document:
    (found,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_ray_job_is_not_taken(name: str, printed: Printed) -> None:
    _, job = kuberay(printed("--for", "kuberay"))
    spoiled = copy.deepcopy(job)
    SPOILED[name](spoiled)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, RAY_JOB)


def test_pods_find_the_shipment_where_the_job_looks_for_it(printed: Printed) -> None:
    config, job = kuberay(printed("--for", "kuberay"))
    ((name, encoded),) = config["binaryData"].items()
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(encoded)))
    assert 'address = "auto"' in archive.read("gaitforge-run/run.toml").decode()
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert environment["working_dir"] == f"file:///gaitforge/{name}"
    cluster = job["spec"]["rayClusterSpec"]
    for template in (cluster["headGroupSpec"]["template"], group(job)["template"]):
        spec = template["spec"]
        sources = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {
            m["mountPath"]: sources[m["name"]] for m in spec["containers"][0]["volumeMounts"]
        }
        assert mounts["/gaitforge"]["configMap"]["name"] == config["metadata"]["name"]
        claim = mounts["/shared/walks"]["persistentVolumeClaim"]
        assert claim == {"claimName": "gaitforge-work"}


def test_every_ray_of_kubernetes_asks_for_a_token_and_its_head_notices_a_lost_node_soon(
    printed: Printed,
) -> None:
    _, job = kuberay(printed("--for", "kuberay"))
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    values = {variable["name"]: variable["value"] for variable in head["env"]}
    assert values["RAY_health_check_period_ms"] == "1000"


def test_an_image_of_ones_own_installs_nothing_and_rays_image_the_rest(printed: Printed) -> None:
    _, own = kuberay(printed("--for", "kuberay", "--image", "here/gait:1"))
    assert "pip" not in yaml.safe_load(own["spec"]["runtimeEnvYAML"])
    _, rays = kuberay(printed("--for", "kuberay"))
    packages = [
        line.split("==")[0] for line in yaml.safe_load(rays["spec"]["runtimeEnvYAML"])["pip"]
    ]
    assert "torch" in packages
    assert not [name for name in packages if name.startswith(("ray", "streamlit"))]
    (container,) = group(rays)["template"]["spec"]["containers"]
    assert container["image"].startswith(f"rayproject/ray:{ray.__version__}-py3")


def test_data_larger_than_a_config_map_is_refused(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.cluster.manifest.MAX_CONFIG_BYTES", 1000)
    assert "put the data in the work folder's volume" in printed("--for", "kuberay")


def test_what_no_manifest_can_bring_is_named_at_its_top(printed: Printed) -> None:
    changes: Tables = {
        **SHARED,
        "ingest": {"files": ["/data/big.npz"], "layout": "coco17"},
        "ingest.synthetic": None,
    }
    for kind in ("kuberay", "ray-up"):
        notes = [
            line for line in printed("--for", kind, changes=changes).splitlines() if line[0] == "#"
        ]
        assert any("/data/big.npz must be there on every node" in note for note in notes)
        assert any("/shared/walks" in note for note in notes)


def test_a_work_folder_in_an_object_store_needs_no_volume(tmp_path: Path) -> None:
    shipment = replace(pack(write_run(tmp_path, SHARED)), work="s3://bucket/walks")
    text = write_kuberay_manifest(shipment, plan_fleet(shipment.settings, None, 8, None), Pods())
    config, job = kuberay(text)
    jsonschema.validate(config, CONFIG_MAP)
    jsonschema.validate(job, RAY_JOB)
    (container,) = group(job)["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "gaitforge-store"}}]
    assert "persistentVolumeClaim" not in text
    assert "obstore==" in text
    assert "credentials are a Secret gaitforge-store" in text


# ray up


def ray_up_schema() -> Document:
    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(schema, dict)
    return schema


PROVIDERS: dict[str, tuple[str, ...]] = {
    "placeholders": (),
    "own machines": ("--hosts", "ray-head", "ray-1", "ray-2"),
    "aws": ("--provider", "aws", "--gpus", "1"),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_cluster_file_fits_rays_schema_and_its_own_loader(name: str, printed: Printed) -> None:
    cluster = yaml.safe_load(printed("--for", "ray-up", *PROVIDERS[name]))
    jsonschema.validate(cluster, ray_up_schema())
    complete = prepare_config(copy.deepcopy(cluster))
    validate_config(complete)
    nodes = {
        "placeholders": {"type": "local", "head_ip": "HEAD", "worker_ips": ["NODE_1"]},
        "own machines": {"type": "local", "head_ip": "ray-head", "worker_ips": ["ray-1", "ray-2"]},
        "aws": {"type": "aws", "region": "eu-central-1"},
    }[name]
    assert complete["provider"] == nodes
    most = {kind["max_workers"] for kind in complete["available_node_types"].values()}
    assert max(most) == {"placeholders": 1, "own machines": 2, "aws": 1}[name]


@pytest.mark.parametrize(
    "spoil",
    [lambda c: c.update(max_worker=3), lambda c: c.update(max_workers="3")],
    ids=["misspelt", "text for a number"],
)
def test_a_spoiled_cluster_file_is_not_taken(
    spoil: Callable[[Document], None], printed: Printed
) -> None:
    cluster = yaml.safe_load(printed("--for", "ray-up"))
    spoil(cluster)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, ray_up_schema())


def test_every_node_of_ray_up_gets_the_token_and_asks_for_it(printed: Printed) -> None:
    cluster = yaml.safe_load(printed("--for", "ray-up"))
    assert cluster["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert all("RAY_AUTH_MODE=token" in line for line in cluster[key] if "ray start" in line)
        subprocess.run(["sh", "-n"], input="\n".join(cluster[key]), text=True, check=True)
    start = cluster["head_start_ray_commands"][-1]
    assert "RAY_health_check_failure_threshold=3" in start
    assert "0.0.0.0" not in start  # the dashboard stays on the head's loopback


def test_hosts_are_a_head_and_nodes_of_ones_own(printed: Printed) -> None:
    assert "a head and at least 1 node" in printed("--for", "ray-up", "--hosts", "alone")
    with pytest.raises(ValueError, match="of the provider 'local'"):
        Machines(provider="aws", hosts=("one", "two"))
    with pytest.raises(ValueError, match="no provider 'gcp'; known are local, aws"):
        Machines(provider="gcp")


# a job


def test_the_script_of_a_job_is_one_that_a_shell_takes(printed: Printed, tmp_path: Path) -> None:
    script = printed("--for", "job", "--address", "http://head:8265")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "ray job submit --address http://head:8265 " in script
    assert str(tmp_path / "run.toml") in script


def test_a_manifest_goes_into_a_file(printed: Printed, tmp_path: Path) -> None:
    out = tmp_path / "cluster.yaml"
    assert str(out) in printed("--for", "ray-up", "--out", str(out))
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["cluster_name"] == "gaitforge-walks"


# how many nodes


def settings(workers: int | tuple[int, int] = 1, **cluster: Any) -> RunSettings:
    return RunSettings(
        work="/shared/walks",
        ingest=IngestSettings(synthetic=SyntheticSettings()),
        teacher=TeacherSettings(workers=workers),
        cluster=ClusterSettings(**cluster),
    )


NODES: dict[str, tuple[RunSettings, int, int | None, tuple[int, int, int]]] = {
    "as many trials as fit": (settings(), 8, None, (2, 2, 0)),
    "trials at a time": (settings(concurrent=20), 8, None, (3, 3, 0)),
    "cores of each trial": (settings(concurrent=20, cpus_per_trial=4), 8, None, (10, 10, 0)),
    "trials on a GPU": (settings(concurrent=20, gpus_per_trial=0.25), 8, None, (5, 5, 1)),
    "workers of the teacher": (settings(workers=16, concurrent=1), 4, None, (4, 4, 0)),
    "a GPU for each worker": (settings(workers=4, concurrent=1), 8, 2, (2, 2, 2)),
    "grows": (settings(workers=(2, 8), concurrent=1, autoscales=True), 2, None, (4, 1, 0)),
}


@pytest.mark.parametrize("name", NODES)
def test_there_are_as_many_nodes_as_the_run_can_use(name: str) -> None:
    run, cpus, gpus, (nodes, fewest, each) = NODES[name]
    fleet = plan_fleet(run, None, cpus, gpus)
    assert (fleet.nodes, fleet.fewest, fleet.gpus) == (nodes, fewest, each)


@pytest.mark.parametrize(
    ("run", "nodes", "cpus", "gpus", "sentence"),
    [
        (settings(cpus_per_trial=16), None, 8, None, "holds no trial of 16 cores"),
        (settings(gpus_per_trial=2.0), None, 8, 1, "no trial of 1 cores and 2 GPUs"),
        (settings(workers=16), 1, 8, None, "teacher.workers asks for 16"),
        (settings(), 0, 8, None, "0 nodes"),
        (settings(), 1, 0, None, "0 cores"),
    ],
)
def test_nodes_that_could_never_hold_the_run_are_refused(
    run: RunSettings, nodes: int | None, cpus: int, gpus: int | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan_fleet(run, nodes, cpus, gpus)
