"""The network interface of a node: found by its address, and told to gloo and NCCL."""

from __future__ import annotations

import os

import pytest
import ray.util

from trainers.cluster.joining import read_umask, ship_code
from trainers.cluster.node import find_interface, prepare_worker

NAMES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _loopback_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that Ray knows by 127.0.0.1, whose environment names no interface."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")


def test_the_loopback_interface_bears_127_0_0_1() -> None:
    assert find_interface("127.0.0.1") == "lo"


def test_an_address_that_no_interface_bears_has_none() -> None:
    assert find_interface("192.0.2.1") is None  # kept for documentation (RFC 5737)
    assert find_interface("::1") is None


def test_a_worker_is_told_the_interface_of_its_node() -> None:
    prepare_worker()
    assert [os.environ[name] for name in NAMES] == ["lo", "=lo"]


def test_what_a_worker_writes_is_as_open_as_what_the_driver_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os.umask(0o007)
    try:
        told = ship_code({})["env_vars"]
        os.umask(0o022)  # that of `ray start`
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        prepare_worker()
        assert read_umask() == 0o007
    finally:
        os.umask(before)


def test_an_interface_that_the_user_named_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    prepare_worker()
    assert [os.environ[name] for name in NAMES] == ["ib0", "=lo"]


def test_a_node_whose_address_is_on_no_interface_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind address translation, say: then the user has to name it."""
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.1")
    prepare_worker()
    assert not any(name in os.environ for name in NAMES)
