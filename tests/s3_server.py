"""An S3 server on this machine: moto's, in a process of its own, with one bucket."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.small_line import PATIENCE_S

BUCKET = "gaitforge"


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Its address; the requests are in `log`, and the environment of this process names it within the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=sink, stderr=subprocess.STDOUT,
        )  # fmt: skip
    ours = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in ours}
    try:
        _make_bucket(server, port)
        os.environ.update(ours)
        yield ours["AWS_ENDPOINT_URL"]
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        server.kill()
        server.wait()


def _make_bucket(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert server.poll() is None, "moto's server has ended"
        assert time.monotonic() < deadline, "moto's server does not answer"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("PUT", f"/{BUCKET}", body=b"")
            assert connection.getresponse().status == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
