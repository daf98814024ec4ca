"""Rules of a run as a job: the head's Python knows nothing of gaitforge, and asks for its token."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from gaitforge.work import WorkFolder, read_json
from tests.conftest import own_ray
from tests.node_python import NodePython
from tests.small_line import ROOT, Tables, ended, wait_for, write_run
from trainers.cluster.token import use_token

SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Head:
    """A head in a Python without gaitforge, whose jobs are taken at `address` by those with its token."""

    address: str
    home: Path
    gcs: str = ""  # host:port that nodes and drivers join

    def gaitforge(
        self, *arguments: object, token: str = SECRET
    ) -> subprocess.CompletedProcess[str]:
        """Our command on this machine, in a folder that is not the checkout."""
        return self.shell(sys.executable, "-m", "trainers", *arguments, token=token)

    def shell(
        self, *command: object, token: str = SECRET, **more: str
    ) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        own |= {
            "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
            "HOME": str(self.home),
            "RAY_AUTH_TOKEN": token,
        }
        return ended(
            subprocess.Popen(
                [str(part) for part in command],
                cwd=self.home,
                env=own | more,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@pytest.fixture(scope="module")
def head(node_python: NodePython) -> Iterator[Head]:
    with own_ray() as home:
        port, dashboard, client = free_ports(3)
        with (home / "out").open("w") as out:
            process = subprocess.Popen(
                [
                    node_python.ray, "start", "--head", "--block", "--num-cpus=2", f"--port={port}",
                    f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
                    "--dashboard-agent-listen-port=0", f"--temp-dir={home}",
                ],
                cwd=home,
                env=node_python.environment(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=SECRET),
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )  # fmt: skip
        try:
            wait_for(lambda: "runtime started" in (home / "out").read_text(), process)
            gcs = re.search(r"--address='(.+?)'", (home / "out").read_text())
            assert gcs is not None
            yield Head(f"http://127.0.0.1:{dashboard}", home, gcs[1])
        finally:
            process.kill()
            process.wait()


def shared(folder: Path) -> Tables:
    return {"": {"work": str(folder / "work")}}


@pytest.mark.slow
@pytest.mark.cluster
def test_a_job_runs_the_whole_line_on_a_node_that_knows_nothing_of_us(
    head: Head, tmp_path: Path
) -> None:
    settings = write_run(tmp_path, shared(tmp_path))
    answer = head.gaitforge("cluster", "submit", settings, "--address", head.address)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stderr == ""
    assert "export: a confirmed student" in answer.stdout
    work = WorkFolder(tmp_path / "work")
    summary = read_json(work.summary)
    assert summary["search"]["trials"]["finished"] == 4
    assert (work.export / "student.onnx").is_file()

    # the script does the same, and finds that all is done
    script = head.gaitforge(
        "cluster", "manifest", settings, "--for", "job", "--address", head.address
    )
    before = sorted(path.stat().st_mtime_ns for path in work.run("main").trials.iterdir())
    again = head.shell("sh", "-c", script.stdout)
    assert again.returncode == 0, again.stdout + again.stderr
    assert sorted(path.stat().st_mtime_ns for path in work.run("main").trials.iterdir()) == before


@pytest.mark.slow
@pytest.mark.cluster
def test_the_job_of_a_kuberay_manifest_starts_from_its_config_map(
    head: Head, tmp_path: Path
) -> None:
    settings = write_run(tmp_path, shared(tmp_path))
    text = head.gaitforge(
        "cluster", "manifest", settings, "--for", "kuberay", "--image", "any"
    ).stdout
    config, job = yaml.safe_load_all(text)
    ((name, encoded),) = config["binaryData"].items()
    (tmp_path / name).write_bytes(base64.b64decode(encoded))
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    # where a pod would have the ConfigMap mounted
    environment["working_dir"] = environment["working_dir"].replace("/gaitforge/", f"{tmp_path}/")
    entrypoint = job["spec"]["entrypoint"].replace(" run ", " ingest ")
    answer = head.shell(
        "ray", "job", "submit", "--address", head.address,
        "--runtime-env-json", json.dumps(environment), "--", *entrypoint.split(),
        RAY_AUTH_MODE="token",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (tmp_path / "work" / "store" / "store.json").is_file()


@pytest.mark.slow
@pytest.mark.cluster
def test_a_wrong_token_is_refused_before_anything_is_sent(head: Head, tmp_path: Path) -> None:
    settings = write_run(tmp_path, shared(tmp_path))
    answer = head.gaitforge(
        "cluster", "submit", settings, "--address", head.address, token="f" * 48
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "has another token than this machine" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.cluster
def test_a_job_ends_with_the_status_of_its_command(head: Head, tmp_path: Path) -> None:
    settings = write_run(tmp_path, shared(tmp_path))
    answer = head.gaitforge(
        "cluster", "submit", settings, "--address", head.address, "--stage", "export"
    )
    assert answer.returncode == 2
    assert "There is no store" in answer.stdout  # the job's own sentence
    assert "was refused; mend what it says above" in answer.stderr


@pytest.mark.slow
@pytest.mark.cluster
def test_a_driver_joins_by_address_with_nothing_but_its_token(head: Head, tmp_path: Path) -> None:
    settings = write_run(tmp_path, {**shared(tmp_path), "teacher.fit": {"epochs": 1}})
    text = settings.read_text(encoding="utf-8").partition("[cluster]")[0]
    settings.write_text(f'{text}[cluster]\naddress = "{head.gcs}"\n', encoding="utf-8")
    for stage in ("ingest", "split", "teacher"):
        answer = head.gaitforge(stage, settings)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    examined = head.gaitforge("doctor", settings)
    assert examined.returncode == 0, examined.stdout + examined.stderr
    (row,) = [line for line in examined.stdout.splitlines() if " (head) " in line]
    assert row.split()[2:4] == ["2", "0"]  # cores and GPUs
    assert " shared " in row
    refused = head.gaitforge("doctor", settings, token="f" * 48)
    assert refused.returncode == 1
    assert "! all  cannot be used" in refused.stdout
    assert "does not take this machine's token" in refused.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:8265", "must be that of its dashboard; write http://"),
        (f"http://127.0.0.1:{free_ports(1)[0]}", "No job server answers at http://127"),
    ],
    ids=["no URL", "nobody listens"],
)
def test_an_address_that_takes_no_jobs_is_answered_by_one_sentence(
    address: str, words: str, tmp_path: Path
) -> None:
    settings = write_run(tmp_path, shared(tmp_path))
    answer = Head(address, tmp_path).gaitforge("cluster", "submit", settings, "--address", address)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1


# the token


@pytest.fixture
def tokenless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody who has no token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def give_token(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(SECRET + "\n", encoding="utf-8")


def test_another_machine_is_not_spoken_to_without_a_token(tokenless: Path) -> None:
    use_token("127.0.0.1:6379")
    use_token("localhost:6379")
    assert "RAY_AUTH_MODE" not in os.environ
    with pytest.raises(
        PermissionError, match=r"no token for the cluster at 10\.0\.0\.1:6379; copy"
    ):
        use_token("10.0.0.1:6379")


def test_a_token_that_is_turned_off_is_no_token(
    tokenless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_token(tokenless)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(PermissionError, match=r"RAY_AUTH_MODE is 'disabled'.*unset it"):
        use_token("10.0.0.1:6379")


def test_ray_sends_the_token_once_it_is_used(tokenless: Path) -> None:
    """In a process of its own, since Ray keeps the mode."""
    give_token(tokenless)
    code = (
        "from trainers.cluster.token import use_token\n"
        "from ray._private.authentication.authentication_utils import is_token_auth_enabled as on\n"
        "before = on(); use_token('10.0.0.1:6379'); print(before, on())"
    )
    answer = Head("", tokenless).shell(sys.executable, "-c", code, token="")
    assert answer.stdout == "False True\n", answer.stderr
