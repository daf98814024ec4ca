"""Two hosts on one machine: namespaces of network, processes, mounts and name each, joined by a cable that can be cut.

Needs root and Linux. Each host has its own folder mounted at CACHE, so that what is meant for a
node's own disk is not shared by accident; the rest of the file system stands for the shared one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "a-token-of-these-two-hosts-and-nobody-else"
PORT = 6399
BOOT_S = 300.0
CACHE = Path("/mnt/gaitforge-node")
# on the head: a node counts as lost after some 5 s, not 25
WATCHFUL = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def refusal() -> str:
    """Why this machine cannot play two hosts; "" where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "needs ip, unshare and nsenter (iproute2, util-linux)"
    made = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount", "true"], capture_output=True
    )
    return "" if made.returncode == 0 else "namespaces are not allowed here"


@dataclass(slots=True)
class Host:
    """One of the two: commands run in it, and its power can be cut."""

    name: str
    address: str
    folder: Path  # its disk
    python: str
    environment: Mapping[str, str]
    core: int | None = None  # of this machine
    hidden: Sequence[Path] = ()  # folders that are empty here
    init: int = 0  # the id, seen from outside, of its first process
    power: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Boot it: everything in it dies with its first process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        boot = (
            f"mount --make-rprivate / && mount --bind {self.folder} {CACHE} && hostname {self.name} && "
            + "".join(f"mount -t tmpfs none {path} && " for path in self.hidden)
            + "ip link set lo up && exec sleep infinity"
        )
        namespaces = (
            "--net",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        )
        self.power = subprocess.Popen(
            ["unshare", *namespaces, "bash", "-c", boot],
            start_new_session=True,
            stderr=subprocess.DEVNULL,  # of its own death, when the power is cut
        )
        children = Path(f"/proc/{self.power.pid}/task/{self.power.pid}/children")
        until = time.monotonic() + BOOT_S
        while not (found := children.read_text().split()) or self._booting(int(found[0])):
            if time.monotonic() > until or self.power.poll() is not None:
                raise RuntimeError(f"The host {self.name} did not boot.")
            time.sleep(0.02)
        self.init = int(found[0])

    def kill(self) -> None:
        """Cut its power: no process in it survives or is asked."""
        if self.power is not None:
            os.kill(self.init, signal.SIGKILL)
            self.power.wait()
            self.power = None

    def command(self, arguments: Sequence[str]) -> list[str]:
        """A command line that runs these arguments in the host."""
        pinned = ["taskset", "-c", str(self.core)] if self.core is not None else []
        return ["nsenter", "-t", str(self.init), "-a", "--wd=/", *pinned, *arguments]

    def popen(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program in the host; what it prints goes to a file, or is asked of the process."""
        variables = {**self.environment, **(environment or {})}
        if output is None:
            return subprocess.Popen(
                self.command(arguments),
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        with output.open("a", encoding="utf-8") as file:
            return subprocess.Popen(
                self.command(arguments), env=variables, stdout=file, stderr=file, text=True
            )

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the host to its end."""
        program = self.popen(arguments, environment)
        try:
            out, err = program.communicate(timeout=timeout_s)
        finally:
            program.kill()
        return subprocess.CompletedProcess(arguments, program.returncode, out, err)

    def check(self, *arguments: str) -> None:
        """Run a program that must not fail."""
        answer = self.run(arguments)
        if answer.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} on {self.name}: {answer.stderr}")

    def ray(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """`ray start` with these arguments."""
        answer = self.run(
            [self.python, "-m", "ray.scripts.scripts", "start", "--node-ip-address", self.address, *arguments],
            environment,
        )  # fmt: skip
        if answer.returncode != 0:
            raise RuntimeError(f"ray start on {self.name}: {answer.stdout}{answer.stderr}")

    def _booting(self, init: int) -> bool:
        return Path(f"/proc/{init}/comm").read_text().strip() != "sleep"


@dataclass(slots=True)
class TwoHosts:
    """`head` and `worker` at the two ends of a cable."""

    folder: Path
    python: str = sys.executable
    cores: tuple[int, int] | None = None  # of this machine, one for each
    cpus: int = 1
    watchful: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    head: Host = field(init=False)
    worker: Host = field(init=False)

    def __post_init__(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder / "ray"),
            **self.environment,
        }
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        core = self.cores or (None, None)
        self.head, self.worker = (
            Host(name, f"10.77.0.{i}", self.folder / name, self.python, environment, core[i - 1])
            for i, name in enumerate(("head", "worker"), start=1)
        )

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    def start(self, worker: bool = True) -> None:
        """Boot both, and start Ray's head on the one and, unless told otherwise, a node on the other."""
        self.head.start()
        self.worker.start()
        self._wire()
        self.head.ray(
            "--head", "--port", str(PORT), "--num-cpus", str(self.cpus), "--include-dashboard", "false",
            environment=WATCHFUL if self.watchful else None,
        )  # fmt: skip
        if worker:
            self.join()

    def join(self, cpus: int | None = None) -> None:
        """Ray on the worker host, as a node of the head's cluster."""
        self.worker.ray("--address", self.address, "--num-cpus", str(cpus or self.cpus))

    def reboot_worker(self) -> None:
        """A new worker host at the old one's address."""
        self.worker.kill()
        self.worker.start()
        self._wire()

    def _wire(self) -> None:
        """A cable between the two, which dies with the worker host."""
        cable = f"gf{os.getpid()}"
        _ip("link", "add", cable, "type", "veth", "peer", "name", f"{cable}p")
        for host, end in ((self.head, cable), (self.worker, f"{cable}p")):
            _ip("link", "set", end, "netns", str(host.init), "name", "wire")
            host.check("ip", "link", "set", "wire", "up")
        self.worker.check("ip", "addr", "add", f"{self.worker.address}/24", "dev", "wire")
        # a socket of its own, since the head's address must outlive the cable
        if self.head.run(["ip", "link", "show", "socket"]).returncode:
            self.head.check("ip", "link", "add", "socket", "type", "bridge")
            self.head.check("ip", "addr", "add", f"{self.head.address}/24", "dev", "socket")
            self.head.check("ip", "link", "set", "socket", "up")
        self.head.check("ip", "link", "set", "wire", "master", "socket")

    def cut(self) -> None:
        """Pull the cable out."""
        self.worker.check("ip", "link", "set", "wire", "down")

    def mend(self) -> None:
        """Plug it in again."""
        self.worker.check("ip", "link", "set", "wire", "up")

    def stop(self) -> None:
        for host in (self.worker, self.head):
            host.kill()


@contextmanager
def two_hosts(folder: Path, **options: object) -> Iterator[TwoHosts]:
    """Two hosts with Ray on both, gone at the end of the block."""
    hosts = TwoHosts(folder, **options)  # type: ignore[arg-type]
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.stop()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
