"""What a worker process must know of its node before it joins others: the network interface."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

import ray.util

SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface
ADDRESS = slice(20, 24)  # in struct ifreq: 16 bytes of name, then family and port of sockaddr_in


def prepare_worker() -> None:
    """Let gloo and NCCL use the interface by which Ray knows this node, unless the user named one.

    By itself gloo takes what the host's name resolves to, which is often 127.0.0.1.
    """
    ip: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    interface = interface_of(ip)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        # without the = it would also mean eth01 where it says eth0
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")


def interface_of(ip: str) -> str | None:
    """The name of the interface with that IPv4 address; None where no interface has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            if socket.inet_ntoa(answer[ADDRESS]) == ip:
                return name
    return None
