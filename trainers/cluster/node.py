"""What runs on a node itself, before any work: it must start where our dependencies are missing."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import socket
import struct
from dataclasses import dataclass
from importlib import metadata

# a difference in any of these gives other numbers, files that the others cannot read, or none at all
COMPARED = ("ray", "torch", "numpy", "pyarrow", "deltalake", "safetensors", "pydantic", "optuna")
_SIOCGIFADDR = 0x8915
UMASK = "GAITFORGE_UMASK"  # in a worker's environment: the driver's, which follows the work folder


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What a node says of itself."""

    name: str  # its address in the cluster
    versions: dict[str, str]  # of Python, packages and those that extend us; "" = not installed
    fault: str  # why it could not use the shared folder; "" = it could
    free_bytes: int  # of the disk with its temporary files


def examine_node(shared: str, probe: str, write: bool) -> NodeFacts:
    """Return this node's versions, and whether it reads what was written to the shared folder and can answer there."""
    name = _address()
    fault = ""
    added: dict[str, str] = {}
    try:
        from gaitforge.extensions import find_extensions
        from gaitforge.work import open_path, write_whole

        added = {item.package: item.version for item in find_extensions()}

        folder = open_path(shared)
        found = (folder / f".probe-{probe}").read_bytes()
        if found != probe.encode():
            fault = "it reads something else there"
        if write:
            write_whole(folder / f".probe-{probe}-{name}", found)
    except ImportError as error:
        fault = f"it lacks a package: {error}"
    except OSError as error:
        fault = error.strerror or str(error)
    python = ".".join(platform.python_version_tuple()[:2])
    return NodeFacts(
        name=name,
        versions={"python": python, **{item: _version(item) for item in COMPARED}, **added},
        fault=fault,
        free_bytes=shutil.disk_usage("/tmp").free,
    )  # fmt: skip


def prepare_worker() -> None:
    """Let gloo and NCCL talk through the interface with this node's address, and files be as open as the driver's.

    gloo takes the one that the host's name resolves to, which on many machines is the loopback.
    """
    if umask := os.environ.get(UMASK):
        os.umask(int(umask, 8))
    name = find_interface(_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        # without the = it means all whose names begin so
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")


def find_interface(address: str) -> str | None:
    """Find the network interface with an IPv4 address (Linux); None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(
                    ask.fileno(), _SIOCGIFADDR, struct.pack("256s", name[:15].encode())
                )
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _address() -> str:
    """Return this node's address in the cluster."""
    import ray

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _version(package: str) -> str:
    try:
        # builds for CPU and CUDA differ after the plus
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""
