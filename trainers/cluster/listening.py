"""Which sockets this process and those that it started listen on, as Linux tells in /proc."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"  # a socket's state in /proc/net/tcp
_WORDS = {
    8: "=I",
    32: "=IIII",
}  # hexadecimal digits of an address -> its words, as this processor orders bytes


@dataclass(frozen=True, order=True, slots=True)
class Listener:
    """A socket on which a process listens."""

    process: str
    address: str
    port: int

    @property
    def is_beyond(self) -> bool:
        """Tell whether other machines can reach it."""
        address: IPv4Address | IPv6Address = ip_address(self.address)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return not (mapped or address).is_loopback


def find_listeners(pids: Collection[int]) -> list[Listener]:
    """List the TCP sockets that these processes listen on, as far as this user may know; without /proc none."""
    sockets = dict(_sockets())
    found = set()
    for pid in pids:
        process = Path("/proc", str(pid))
        with suppress(OSError):  # it has ended, or is not ours
            name = (process / "comm").read_text(encoding="utf-8").strip()
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    if there := sockets.get(os.readlink(link)):
                        found.add(Listener(name, *there))
    return sorted(found)


def find_family(pid: int) -> set[int]:
    """Return a process and all that it has started, and those have, and that still run."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after = path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2]
            children.setdefault(int(after.split()[1]), []).append(int(path.parent.name))
    family: set[int] = set()
    new = [pid]
    while new:
        family.add(one := new.pop())
        new += children.get(one, [])
    return family


def _sockets() -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the sockets of this machine that are listened on: how /proc names each, and its address and port."""
    for table, kind in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with suppress(OSError):
            rows = Path("/proc/net", table).read_text(encoding="utf-8").splitlines()[1:]
            for row in map(str.split, rows):
                if row[3] == _LISTENING:
                    address, _, port = row[1].rpartition(":")
                    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                    packed = struct.pack(_WORDS[len(address)], *words)
                    yield f"socket:[{row[9]}]", (socket.inet_ntop(kind, packed), int(port, 16))
