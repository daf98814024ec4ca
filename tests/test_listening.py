"""What a process listens on is found in /proc, with whether other machines reach it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from trainers.cluster.listening import Listener, find_family, find_listeners


@pytest.mark.parametrize(
    ("kind", "address", "beyond"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", False),
    ],
)
def test_a_listening_socket_is_found_with_its_address(
    kind: socket.AddressFamily, address: str, beyond: bool
) -> None:
    with socket.socket(kind) as server:
        if kind is socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((address, 0))
        port = server.getsockname()[1]
        bound = [one for one in find_listeners([os.getpid()]) if one.port == port]
        assert bound == []  # nobody is let in yet
        server.listen()
        (one,) = [one for one in find_listeners([os.getpid()]) if one.port == port]
        assert (one.address, one.is_beyond) == (address, beyond)
    assert one not in find_listeners([os.getpid()])


@pytest.mark.parametrize(
    ("address", "beyond"),
    [("127.8.9.1", False), ("192.0.2.2", True), ("::ffff:192.0.2.2", True)],
)
def test_only_the_loopback_is_closed_to_other_machines(address: str, beyond: bool) -> None:
    assert Listener("raylet", address, 1).is_beyond == beyond


def test_a_family_reaches_to_the_grandchildren() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        family = find_family(child.pid)
        child.communicate("\n")
    assert len(family) == 2
    assert child.pid in family
