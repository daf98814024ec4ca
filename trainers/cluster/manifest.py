"""Files that start a cluster for a run.toml: a RayJob for KubeRay, a cluster for `ray up`, a script for a job.

What a file must leave to its reader is said in the lines at its top.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from trainers.cluster.fleet import Fleet
from trainers.cluster.requirements import find_version, read_needs
from trainers.cluster.shipment import Shipment, write_entrypoint

# A lost node is noticed after about 5 s in place of 24: three missed checks, one a second.
HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
NOT_ON_NODES = {"streamlit", "altair"}  # the dashboard's
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
MAX_CONFIG_BYTES = 900_000  # of the 1 MiB that Kubernetes allows for a ConfigMap
ENVIRONMENT = "$HOME/.gaitforge"  # of a machine of `ray up`
MOUNTED = "/gaitforge"  # where pods see the shipment
PROVIDERS = ("local", "aws")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pods:
    """What pods are made of, besides the size of a node."""

    memory: str = "16Gi"  # as Kubernetes writes it
    image: str | None = None  # holds Ray, torch and the dependencies; None = Ray's own, and pip
    claim: str = "gaitforge-work"  # the volume claim behind the work folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Where `ray up` finds machines."""

    provider: str = "local"  # one's own, reached by ssh; or of PROVIDERS
    hosts: tuple[str, ...] = ()  # one's own: the head and the nodes; () = names to be put in

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(
                f"There is no provider '{self.provider}'; known are {', '.join(PROVIDERS)}."
            )
        if self.hosts and (self.provider != "local" or len(self.hosts) < 2):
            raise ValueError(
                f"The hosts are {', '.join(self.hosts)}, but must be a head and at least 1 node, of the provider "
                "'local'; name them so, or leave them out."
            )


def write_kuberay_manifest(shipment: Shipment, fleet: Fleet, pods: Pods) -> str:
    """Write a ConfigMap with the shipment and a RayJob that runs it, for `kubectl create -f`.

    KubeRay 1.5.1 or later, whose `authOptions` makes the token. Raises ValueError where the files
    that travel are more than a ConfigMap takes.
    """
    zipped = shipment.as_zip()
    if len(zipped) > MAX_CONFIG_BYTES:
        raise ValueError(
            f"The files of this run come to {len(zipped) / 1e6:.1f} MB, but a ConfigMap takes "
            f"{MAX_CONFIG_BYTES / 1e6:.1f}; put the data in the work folder's volume, and name them by their "
            "absolute paths."
        )
    name = make_cluster_name(shipment)
    archive = f"run-{hashlib.sha256(zipped).hexdigest()[:12]}.zip"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-shipment"},
        "binaryData": {archive: base64.b64encode(zipped).decode()},
    }
    environment: dict[str, Any] = {"working_dir": f"file://{MOUNTED}/{archive}"}
    if pods.image is None:
        # its image has Ray, and a second one would not be its own
        environment["pip"] = [
            r for r in list_node_requirements(shipment.work) if not r.startswith("ray[")
        ]
    autoscales = shipment.settings.cluster.autoscales
    cluster: dict[str, Any] = {
        "rayVersion": _version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # no trials beside the driver and the head's own processes
            "rayStartParams": {"num-cpus": "0"},
            "template": _pod(name, shipment, fleet, pods, head=True),
        },
        "workerGroupSpecs": [
            {
                "groupName": "nodes",
                "replicas": fleet.fewest,
                "minReplicas": fleet.fewest,
                "maxReplicas": fleet.nodes,
                "rayStartParams": {},
                "template": _pod(name, shipment, fleet, pods, head=False),
            }
        ],
    }
    if autoscales:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {"idleTimeoutSeconds": 120}
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": write_entrypoint("run"),
            "runtimeEnvYAML": _Block(_yaml(environment)),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,  # to read the head's logs
            "backoffLimit": 2,  # on a new cluster, which goes on from the work folder
            "rayClusterSpec": cluster,
        },
    }
    return _document(_kuberay_notes(shipment, pods), config, job)


def _kuberay_notes(shipment: Shipment, pods: Pods) -> list[str]:
    notes = [
        "Written by `gaitforge cluster manifest --for kuberay`. KubeRay 1.5.1 or later.",
        "Start: kubectl create -f FILE (`apply` would copy the shipment into an annotation). Again: delete it first.",
    ]
    if _is_store(shipment.work):
        notes.append(
            "Work folder in an object store: its credentials are a Secret gaitforge-store of environment variables."
        )
    else:
        notes.append(
            f"Work folder {shipment.work}: the volume claim '{pods.claim}', of the access mode ReadWriteMany."
        )
    if pods.image is None:
        notes.append(
            "No --image was given: every node installs torch and the dependencies as it starts, for minutes."
        )
    return notes + _expected(shipment)


def _pod(name: str, shipment: Shipment, fleet: Fleet, pods: Pods, *, head: bool) -> dict[str, Any]:
    size: dict[str, Any] = {"cpu": str(fleet.cpus), "memory": pods.memory}
    if fleet.gpus and not head:
        size["nvidia.com/gpu"] = str(fleet.gpus)
    variables = {"RAY_USAGE_STATS_ENABLED": "0"} | (HEALTH_CHECKS if head else {})
    if pods.image is None and not fleet.gpus:
        variables["PIP_EXTRA_INDEX_URL"] = CPU_WHEELS
    mounts = [{"name": "shipment", "mountPath": MOUNTED, "readOnly": True}]
    volumes: list[dict[str, Any]] = [
        {"name": "shipment", "configMap": {"name": f"{name}-shipment"}}
    ]
    spec: dict[str, Any] = {
        "name": "ray-head" if head else "ray-worker",
        "image": pods.image or _ray_image(fleet.gpus > 0),
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": {"limits": size, "requests": dict(size)},
    }
    if head:
        spec["ports"] = [
            {"containerPort": 6379, "name": "gcs-server"},
            {"containerPort": 8265, "name": "dashboard"},
            {"containerPort": 10001, "name": "client"},
        ]
    if _is_store(shipment.work):
        spec["envFrom"] = [{"secretRef": {"name": "gaitforge-store"}}]
    else:
        mounts.append({"name": "work", "mountPath": shipment.work, "readOnly": False})
        volumes.append({"name": "work", "persistentVolumeClaim": {"claimName": pods.claim}})
    spec["volumeMounts"] = mounts
    # the group of Ray's images, for volumes that would be root's
    return {
        "spec": {"securityContext": {"fsGroup": 100}, "containers": [spec], "volumes": volumes}
    }


def describe_ray_up_cluster(shipment: Shipment, fleet: Fleet, machines: Machines) -> str:
    """Describe a cluster for `ray up`: machines of one's own, or of AWS; the token travels with it."""
    checks = " ".join(f"{name}={value}" for name, value in HEALTH_CHECKS.items())
    # an environment of its own, since many systems let pip install nothing into theirs
    python = f"{ENVIRONMENT}/bin/python3"
    pip = f"{python} -m pip install" + ("" if fleet.gpus else f" --extra-index-url {CPU_WHEELS}")
    path = f"export PATH={ENVIRONMENT}/bin:$PATH;"
    cluster: dict[str, Any] = {
        "cluster_name": make_cluster_name(shipment),
        "max_workers": fleet.nodes,
        "provider": _provider(fleet, machines),
        "auth": {"ssh_user": "ubuntu" if machines.provider == "aws" else "USER"},
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        "setup_commands": [
            "chmod 600 ~/.ray/auth_token",
            f"test -x {python} || python{_python()} -m venv {ENVIRONMENT}",
            f"{pip} {shlex.join(list_node_requirements(shipment.work))}",
        ],
        # its dashboard listens on the loopback alone, where `ray dashboard` reaches it
        "head_start_ray_commands": [
            f"{path} ray stop",
            f"{path} RAY_AUTH_MODE=token {checks} ray start --head --port=6379 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            f"{path} ray stop",
            f"{path} RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379",
        ],
    }
    notes = [
        "Written by `gaitforge cluster manifest --for ray-up`.",
        "Before: ray get-auth-token --generate. Start: ray up FILE. Then: ray dashboard FILE, and beside it",
        "gaitforge cluster submit run.toml --address http://127.0.0.1:8265",
        f"Every node must have python{_python()}, as this machine has,",
    ]
    if _is_store(shipment.work):
        notes.append(f"and the credentials of {shipment.work} in its environment.")
    else:
        notes.append(f"and see the same folder at {shipment.work}.")
    if machines.provider == "local":
        if not machines.hosts:
            notes.append("Put the machines' names in the place of HEAD and NODE_1 ..., and USER.")
        cluster["auth"]["ssh_private_key"] = "~/.ssh/id_ed25519"
    else:
        kind = "g5.2xlarge" if fleet.gpus else "m6i.2xlarge"
        notes.append(f"Choose the region and the machines: {kind} stands for a node.")
        cluster["available_node_types"] = {
            "head": {
                "resources": {"CPU": 0},
                "min_workers": 0,
                "max_workers": 0,
                "node_config": {"InstanceType": "m6i.2xlarge"},
            },
            "node": {
                "resources": {"CPU": fleet.cpus} | ({"GPU": fleet.gpus} if fleet.gpus else {}),
                "min_workers": fleet.fewest,
                "max_workers": fleet.nodes,
                "node_config": {"InstanceType": kind},
            },
        }
        cluster["head_node_type"] = "head"
        cluster["head_setup_commands"] = [f"{python} -m pip install boto3"]  # it adds the nodes
    return _document(notes + _expected(shipment), cluster)


def _provider(fleet: Fleet, machines: Machines) -> dict[str, Any]:
    if machines.provider == "aws":
        return {"type": "aws", "region": "eu-central-1"}
    head, *nodes = machines.hosts or ("HEAD", *(f"NODE_{i + 1}" for i in range(fleet.nodes)))
    return {"type": "local", "head_ip": head, "worker_ips": nodes}


def write_job_script(path: Path, address: str) -> str:
    """Write a shell script that sends a run.toml to the cluster whose jobs are taken at `address`."""
    return "\n".join(
        [
            "#!/bin/sh",
            "# Written by `gaitforge cluster manifest --for job`; `gaitforge cluster submit` does the same at once.",
            "# The token: RAY_AUTH_TOKEN, or ~/.ray/auth_token with what the head's holds.",
            "set -eu",
            "export RAY_AUTH_MODE=token",
            'shipment="$(mktemp -d)"',
            "trap 'rm -rf \"$shipment\"' EXIT",
            f'gaitforge cluster ship {shlex.quote(str(path.resolve()))} --out "$shipment"',
            f'ray job submit --address {shlex.quote(address)} --working-dir "$shipment" -- {write_entrypoint("run")}',
            "",
        ]
    )


def list_node_requirements(work: str) -> list[str]:
    """List what a node installs by pip: our dependencies but the dashboard's, in this machine's versions.

    The same versions, since what one node writes another must read.
    """
    needed = [
        f"{requirement.name}{_extras(requirement)}=={_version(requirement.name)}"
        for requirement in read_needs().packages
        if requirement.name not in NOT_ON_NODES
    ]
    return [*needed, f"obstore=={_version('obstore')}"] if _is_store(work) else needed


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def make_cluster_name(shipment: Shipment) -> str:
    """Return the work folder's name in letters that Kubernetes takes."""
    name = re.sub(r"[^a-z0-9]+", "-", shipment.work.rstrip("/").rpartition("/")[2].lower())
    return f"gaitforge-{name.strip('-')}"[:40].rstrip(
        "-"
    )  # KubeRay adds to it, and 63 is the most


def _version(package: str) -> str:
    found = find_version(package)
    if found is None:
        raise ModuleNotFoundError(
            f"{package} is missing here, so that its version for the nodes is not known; run `gaitforge doctor`."
        )
    return found.partition("+")[0]  # a node's build of torch may be another


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _ray_image(gpu: bool) -> str:
    tag = f"{_version('ray')}-py{_python().replace('.', '')}"
    return f"rayproject/ray:{tag}-gpu" if gpu else f"rayproject/ray:{tag}"


def _is_store(work: str) -> bool:
    return "://" in work


def _expected(shipment: Shipment) -> list[str]:
    return [f"{path} must be there on every node." for path in shipment.expected]


class _Block(str):
    """Text that YAML writes as a block of lines."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, and with blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: _Block) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(_Block, _block)


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, width=1000)


def _document(notes: list[str], *documents: Mapping[str, Any]) -> str:
    return "".join(f"# {note}\n" for note in notes) + "---\n".join(map(_yaml, documents))
