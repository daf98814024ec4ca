"""Joining a cluster that others have started: all that is checked before any work, each fault in one sentence."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import grpc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.cluster.node import UMASK, NodeFacts, examine_node
from trainers.cluster.shipment import NOT_SHIPPED, SHIPPED

PROBE_S = 10.0  # for an answer from a cluster's address; a network that needs more cannot train
EXAMINE_S = 120.0  # for every node's answer; the first one waits until the code has reached it
UNANSWERED_S = (
    30.0  # of silence before a cluster counts as gone; a link may be cut for some seconds
)
T = TypeVar("T")
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"


def find(address: str) -> str:
    """Find `host:port` of a cluster; "auto" means the one that this machine is part of.

    Raises ConnectionError where there is none, ValueError where the text is neither.
    """
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdigit()) or "://" in address:
            raise ValueError(
                f"cluster.address is '{address}', but must be 'local', 'auto' or the host:port of a cluster's head."
            )
        return address
    services: Any = ray._private.services
    # the last one started here, as Ray itself would have it
    found = os.environ.get("RAY_ADDRESS") or services.find_bootstrap_address(None)
    found = found or next(iter(sorted(services.find_gcs_addresses())), "")
    if not found:
        raise ConnectionError(
            "cluster.address is 'auto', but this machine is part of no cluster; run `ray start` here, or set it to "
            "'local'."
        )
    return str(found)


def check_address(address: str) -> None:
    """Make sure that Ray answers at `host:port`, asks for a token unless it is this machine's own, and takes ours.

    Asked of its gcs_server directly: Ray's own attempt takes 10 minutes where nothing listens and 20 s
    for a wrong token. Raises ConnectionError where no Ray answers, PermissionError for the rest.
    """
    token = find_token()
    # ours first: an open cluster takes any
    answer = ask(address, token)
    if answer == grpc.StatusCode.UNAUTHENTICATED:
        raise PermissionError(
            f"The cluster at {address} "
            + ("does not take this machine's token" if token else "asks for a token, and this machine has none")
            + "; copy the head's, which `ray get-auth-token` prints, to ~/.ray/auth_token here and on every node."
        )  # fmt: skip
    if answer != grpc.StatusCode.OK:
        raise ConnectionError(
            f"No Ray cluster answers at cluster.address = '{address}' ({answer.value[1]}); "
            "start one with `ray start --head`, or set it to 'local'."
        )
    if not is_loopback(address) and ask(address, None) == grpc.StatusCode.OK:
        raise PermissionError(
            f"The cluster at {address} asks nobody for a token, so that everyone in its network can run programs on "
            "it; start it anew after `ray get-auth-token --generate` with RAY_AUTH_MODE=token on every node."
        )


def ask(address: str, token: str | None) -> grpc.StatusCode:
    """Return what Ray's gcs_server at an address answers to who shows that token, or none."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(ALIVE)
        try:
            call(b"", timeout=PROBE_S, metadata=metadata)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
    return grpc.StatusCode.OK


def is_answering(address: str) -> bool:
    """Return True where somebody is there at all."""
    return ask(address, find_token()) not in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


def find_token() -> str | None:
    """Return the token that Ray would show from here: the environment's, else that of the user's file."""
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if token:
        return token
    path = find_token_file()
    return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None


def find_token_file() -> Path:
    """Return the path of the user's file with the token, whether there is one or not."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def is_loopback(address: str) -> bool:
    """Return True where only this machine can reach `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What all nodes said of themselves, and this process; `seen` are those whose answer the shared folder has."""

    here: NodeFacts
    nodes: Sequence[NodeFacts]
    seen: Collection[str]


def survey(shared: Path) -> Survey:
    """Run on every node what shows that it can work on `shared`; RuntimeError where one does not answer."""
    shared.mkdir(parents=True, exist_ok=True)
    probe = uuid.uuid4().hex
    (shared / f".probe-{probe}").write_bytes(probe.encode())
    try:
        facts = ask_nodes(str(shared), probe)
        written = {fact.name: shared / f".probe-{probe}-{fact.name}" for fact in facts}
        return Survey(
            here=examine_node(str(shared), probe, write=False),
            nodes=facts,
            seen={
                name
                for name, path in written.items()
                if path.is_file() and path.read_bytes() == probe.encode()
            },
        )
    finally:
        for path in shared.glob(f".probe-{probe}*"):
            path.unlink(missing_ok=True)


def check_nodes(shared: Path) -> Sequence[NodeFacts]:
    """Return what every node said of itself; raise where one cannot work on `shared`.

    Raises RuntimeError where a node does not answer, ValueError where its versions are others than
    this process's, PermissionError where it does not see the folder.
    """
    found = survey(shared)
    for node in found.nodes:
        check_versions(found.here, node)
        if node.fault or node.name not in found.seen:
            raise PermissionError(
                f"The node {node.name} does not share the work folder {shared} with this machine "
                f"({node.fault or 'what it wrote is not there'}); mount it at this path on every node, open to "
                "the user that Ray runs as there, or set 'work' to a folder that all see."
            )
    return found.nodes


def ask_nodes(shared: str, probe: str) -> list[NodeFacts]:
    """Run `examine_node` on all nodes that are alive, side by side."""
    facts = run_on_every_node(examine_node, shared, probe, True)
    return sorted(facts.values(), key=lambda node: node.name)


def run_on_every_node(
    function: Callable[..., T], *arguments: Any, wait_s: float = EXAMINE_S
) -> dict[str, T]:
    """Run a function on each node that is alive, side by side; return its results by the node's address.

    Raises RuntimeError where a node does not answer, or cannot run it.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    asked = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments): str(node["NodeManagerAddress"])
        for node in alive
    }
    ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=wait_s)
    if silent:
        raise RuntimeError(
            f"The node {asked[silent[0]]} has not answered for {wait_s:.0f} s; look at it with `ray status`, "
            "or take it out of the cluster."
        )
    answers: dict[str, T] = {}
    for ref in ready:
        try:
            answers[asked[ref]] = ray.get(ref)
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"The node {asked[ref]} cannot run gaitforge ({str(error).strip().splitlines()[-1]}); see Ray's "
                "logs there."
            ) from error
    return answers


def check_versions(here: NodeFacts, node: NodeFacts) -> None:
    """Refuse a node on which the same program could give other numbers, or none."""
    other = [
        f"{name} {node.versions.get(name) or 'not at all'} and not {version}"
        for name, version in here.versions.items()
        if node.versions.get(name) != version
    ]
    if other:
        wanted = " ".join(
            f"{name}=={version}"
            for name, version in here.versions.items()
            if node.versions.get(name) != version and name != "python"
        )
        raise ValueError(
            f"The node {node.name} has {', '.join(other)}; all nodes must have this machine's versions: run "
            f"`pip install {wanted}` there." if wanted else
            f"The node {node.name} has {', '.join(other)}; all nodes must have this machine's Python."
        )  # fmt: skip


def check_folder(folder: Path) -> None:
    """Refuse a current folder that holds packages named as ours: Ray's workers would load those instead.

    Ray puts it before all else on their path. Raises ValueError.
    """
    for name in SHIPPED:
        theirs, ours = PathFinder.find_spec(name, [str(folder)]), find_spec(name)
        # a folder without __init__.py has no origin, and yields to a package
        if theirs and theirs.origin and ours and not _is_same(theirs.origin, ours.origin):
            raise ValueError(
                f"The current folder has a package of its own, {theirs.origin}, which Ray's workers would load "
                f"instead of gaitforge's '{name}'; run the command in another folder."
            )


def _is_same(path: str, other: str | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)


def read_umask() -> int:
    """Return what this process keeps from others of what it makes; it can only be asked by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def ship_code(environment: dict[str, str]) -> dict[str, Any]:
    """Return the runtime environment that brings our code to the workers: nodes need only Ray, torch and the like."""
    found = [spec.submodule_search_locations for spec in map(find_spec, SHIPPED) if spec]
    return {
        "py_modules": [folders[0] for folders in found if folders],
        "excludes": list(NOT_SHIPPED),
        "env_vars": environment | {UMASK: f"{read_umask():o}"},
        "worker_process_setup_hook": "trainers.cluster.node.prepare_worker",
    }
