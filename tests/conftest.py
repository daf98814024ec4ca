"""What several test files share: a place for Ray, and one finished line."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gaitforge.work import SplitFolder, WorkFolder
from tests.node_python import NodePython, make_node_python
from tests.s3_server import BUCKET, s3_server
from tests.small_line import processes, run, write_run


def pytest_configure() -> None:
    """Let Ctrl-C and SIGHUP through: a shell in the background, or nohup, has tests and all they start ignore them."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def kept_umask() -> Iterator[None]:
    """The umask that tests began with, also after a command that ran in this process has set its own."""
    umask = os.umask(0o022)
    os.umask(umask)
    yield
    os.umask(umask)


@dataclass(frozen=True, slots=True)
class LineFolder:
    """A folder with run.toml and the work of its line."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "run.toml"

    @property
    def work(self) -> WorkFolder:
        return WorkFolder(self.folder / "work")

    @property
    def split(self) -> SplitFolder:
        return self.work.run("main")


@dataclass(frozen=True, slots=True)
class FinishedLine(LineFolder):
    """The work of a whole line; tests read it, or copy it."""

    out: str


@contextmanager
def own_ray() -> Iterator[Path]:
    """A folder for Ray's files, short since Unix sockets lie in it; what still uses it is killed."""
    home = Path(tempfile.mkdtemp(prefix="gf", dir="/tmp"))
    try:
        yield home
    finally:
        for pid in processes(home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def ray_home() -> Iterator[Path]:
    with own_ray() as home:
        yield home


@pytest.fixture(scope="session")
def node_python(tmp_path_factory: pytest.TempPathFactory) -> NodePython:
    """A Python as a node of a cluster has it, once for all tests."""
    return make_node_python(tmp_path_factory.mktemp("node") / "venv")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedLine:
    """`gaitforge run` on the small line, once for all tests."""
    folder = tmp_path_factory.mktemp("finished")
    with own_ray() as home:
        answer = run("run", write_run(folder), ray_home=home)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return FinishedLine(folder, answer.stdout)


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "requests.log") as address:
        yield address


@pytest.fixture
def s3_folder(s3_address: str) -> str:
    """A folder of a bucket in which nothing is yet."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
