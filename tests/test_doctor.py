"""Rules of the doctor: what is missing is named with the command that mends it, and the exit status says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import packaging
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.small_line import ROOT, write_run
from trainers.__main__ import main
from trainers.arithmetic.check import Outcome
from trainers.cluster.listening import Listener
from trainers.cluster.node import NodeFacts
from trainers.cluster.requirements import read_needs, write_range
from trainers.doctor import (
    COLUMNS,
    Finding,
    Section,
    examine_folder,
    examine_guard,
    examine_listening,
    examine_machine,
    examine_packages,
    examine_port,
    examine_token,
    find_node_faults,
    format_node_row,
    render,
)


def needed(*lines: str) -> list[Finding]:
    return list(examine_packages([Requirement(line) for line in lines]))


@pytest.fixture(autouse=True)
def _quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are looked at in tests/test_arithmetic.py; here a look is no more than its answer."""
    monkeypatch.setattr(
        "trainers.arithmetic.check.examine",
        lambda asked, threads, anew: Outcome(
            machine="tin", family=asked.family, state="right", error=1e-6
        ),
    )


def test_all_is_here_for_the_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in (
        "  python  3.",
        "  ray ",
        "  torch ",
        "GPU",
        "  scan ",
        "  8265 ",
        "token",
        "  tcn           right, to 1e-06",
    ):
        assert name in out
    assert "!" not in out
    assert out.endswith("Nothing is missing.\n")


def test_a_package_out_of_its_range_or_missing_names_what_to_type() -> None:
    good, old, missing = needed("numpy>=1", "numpy>=99,<100", "no-such-package[extra]>=2")
    assert (good.fault, good.install) == ("", "")
    assert (old.fault, old.install) == ("out of its range", "numpy>=99,<100")
    assert (missing.fault, missing.install) == ("missing", "no-such-package[extra]>=2")


def test_a_missing_package_makes_the_status_1_and_leaves_the_run_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = read_needs()
    broken = type(needs)(needs.python, (Requirement("no-such-package"),))
    monkeypatch.setattr("trainers.doctor.read_needs", lambda: broken)
    settings = write_run(tmp_path)
    assert main(["doctor", str(settings)]) == 1
    out = capsys.readouterr().out
    assert "! no-such-package  missing" in out
    assert "run.toml is looked at when the packages are right" in out
    assert out.endswith(": pip install no-such-package\n")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("there", [(), ("packaging",)])
def test_a_python_without_our_dependencies_is_told_so(
    there: tuple[str, ...], tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / name).symlink_to(Path(packaging.__file__).parent)
    answer = subprocess.run(
        [sys.executable, "-S", "-m", "trainers", "doctor", "run.toml"],  # -S: without site-packages
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    if there:
        assert "! torch        missing" in answer.stdout
        assert "pip install 'ray[default,train,tune]>=2.60,<3' " in answer.stdout
    else:
        assert "packaging is missing; install gaitforge" in answer.stderr


def test_wrong_settings_are_refused_before_anything_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(write_run(tmp_path, {"search": {"trials": 0}}))]) == 2
    assert capsys.readouterr().out == ""


def test_the_needs_are_those_of_pyproject() -> None:
    needs = read_needs()
    assert {"ray", "torch", "pyyaml"} <= {package.name for package in needs.packages}
    assert write_range(needs.python) == ">=3.11,<3.14"
    assert all(package.marker is None for package in needs.packages)


def test_another_python_is_a_fault() -> None:
    (python, _) = examine_machine(SpecifierSet("<3"))
    assert "must be <3: make the environment" in python.fault
    (python, _) = examine_machine(SpecifierSet(">=3.11"))
    assert python.fault == ""


def test_a_port_says_who_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        taken = examine_port(port, "tests", "test --port 2")
        assert f"(process {os.getpid()}); another for tests: test --port 2" in taken.found
        assert taken.fault == ""  # it may be what should listen there
    assert examine_port(port, "tests", "").found == "free (tests)"


def test_a_token_that_others_can_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert "ray get-auth-token --generate" in examine_token().found
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret", encoding="utf-8")
    path.chmod(0o644)
    assert f"chmod 600 {path}" in examine_token().found
    path.chmod(0o600)
    assert examine_token().found == f"in {path}"


def test_what_listens_beyond_this_machine_is_a_fault() -> None:
    here = [Listener("raylet", "127.0.0.1", 1), Listener("gcs_server", "::ffff:127.0.0.1", 2)]
    closed = examine_listening(here)
    assert (closed.found, closed.fault) == ("2 ports, all on this machine's loopback", "")
    found = examine_listening([*here, Listener("raylet", "::", 3), Listener("raylet", "::", 4)])
    assert found.found == "beyond this machine: raylet on ::"
    assert "(raylet on ::), guarded by its token only" in found.fault


@pytest.mark.parametrize(("mode", "fault"), [("", False), ("token", False), ("disabled", True)])
def test_an_environment_that_turns_rays_token_off_is_a_fault(
    mode: str, fault: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    found = examine_guard()
    assert ("RAY_AUTH_MODE is 'disabled'" in found.fault) == fault
    assert ("127.0.0.1 alone" in found.found) != fault


def test_a_folder_is_written_and_read_and_left_as_it_was(tmp_path: Path) -> None:
    assert "written and read" in examine_folder("work folder", tmp_path).found
    for mode, words in (
        (0o700, "open to you alone"),
        (0o2770, "open to its group: chmod 700"),
        (0o755, "open to everybody here: chmod 700"),
    ):
        tmp_path.chmod(mode)
        assert words in examine_folder("work folder", tmp_path).found
    assert list(tmp_path.iterdir()) == []
    missing = examine_folder("work folder", tmp_path / "none")
    assert "cannot be used (No such file or directory): free it" in missing.fault


# nodes


def node(name: str, ray: str = "2.60.0", fault: str = "") -> NodeFacts:
    versions = {"python": "3.11", "ray": ray, "torch": "2.13.0"}
    return NodeFacts(name=name, versions=versions, fault=fault, free_bytes=3 << 30)


def test_a_node_with_other_versions_or_without_the_work_folder_is_a_fault() -> None:
    here = node("10.0.0.1")
    assert list(find_node_faults(here, node("10.0.0.2"), seen=True)) == []
    (old,) = find_node_faults(here, node("10.0.0.2", ray="2.59.0"), seen=True)
    assert "pip install ray==2.60.0" in old.fault
    for unshared in (
        find_node_faults(here, node("10.0.0.2", fault="No such file"), seen=False),
        find_node_faults(here, node("10.0.0.2"), seen=False),
    ):
        (fault,) = unshared
        assert "10.0.0.2 does not share the work folder: mount it" in fault.fault


def test_each_node_has_a_row_and_columns_are_aligned() -> None:
    resources = {
        "CPU": 16.0,
        "GPU": 2.0,
        "memory": float(64 << 30),
        "accelerator_type:H200": 1.0,
        "node:__internal_head__": 1.0,
    }
    right = Outcome(machine="10.0.0.1", family="tcn", state="right", error=1e-6)
    rows = [
        format_node_row(node("10.0.0.1"), resources, True, [right]),
        format_node_row(node("10.0.0.2"), {}, seen=False),
    ]
    assert rows[0][:4] == ["10.0.0.1 (head)", "16", "2 H200", "64.0 GiB"]
    assert rows[1][7] == "not shared"
    assert [row[-1] for row in rows] == ["tcn right to 1e-06", "not looked at"]
    text = render(
        Section(
            "Cluster", [Finding("all", "bad", "a fault"), Finding("a", "good")], [COLUMNS, *rows]
        )
    )
    heading, bad, good, names, first, second = text.rstrip("\n").split("\n")
    assert (heading, bad, good) == ("Cluster", "! all  bad", "  a    good")
    assert first.index("10.0.0.1") == second.index("10.0.0.2") == names.index("node")
    assert first.index("shared") == second.index("not shared") == names.index("work folder")
