"""Rules of the wheel: it takes one name of everybody's site-packages, and works where no checkout is."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from gaitforge.layout import LAYOUTS
from gaitforge.work import WorkFolder, read_json
from tests.node_python import NodePython, make_node_python
from tests.small_line import PATIENCE_S, ROOT, Tables, ended, wait_for, write_run
from tests.test_architecture import FOLDERS
from tests.test_jobs import free_ports
from tests.without_ray import TOY, changed
from trainers.cluster.shipment import pack

BELOW = {"gaitforge": "gaitforge"} | {
    name: f"gaitforge/_line/{name}" for name in ("trainers", "search_spaces", "dashboard")
}


def build(kind: str, folder: Path) -> zipfile.ZipFile:
    """The wheel, or the one of an editable install, by the build backend of pyproject.toml."""
    pytest.importorskip("hatchling", reason="hatchling is not here; `make install` brings it")
    code = f"import hatchling.build as b; b.build_{kind}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_takes_one_name_in_site_packages(wheel: zipfile.ZipFile) -> None:
    taken = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in taken if not name.endswith(".dist-info")} == {"gaitforge"}


def test_the_wheel_holds_every_source_file_of_the_four_folders(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{BELOW[package]}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*.py")
    }
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected
    assert {"gaitforge/py.typed", "gaitforge/_line/examples/demo.toml"} <= set(wheel.namelist())
    assert {f"gaitforge/layouts/{name}.toml" for name in LAYOUTS} <= set(wheel.namelist())


def test_the_wheel_says_who_made_it_and_under_which_licence(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "The gaitforge developers"
    licence = wheel.read(name.replace("METADATA", "licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    for part in (b"Version 2.0, January 2004", b"END OF TERMS AND CONDITIONS"):
        assert part in licence


def test_an_editable_install_takes_the_folders_of_the_checkout_as_they_are(tmp_path: Path) -> None:
    archive = build("editable", tmp_path)
    (paths,) = (name for name in archive.namelist() if ".dist-info/" not in name)
    assert archive.read(paths).decode().splitlines() == [str(ROOT), str(ROOT / "platform")]


# installed, in a Python that has the dependencies and no checkout


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> NodePython:
    python = make_node_python(tmp_path_factory.mktemp("installed") / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python.python, "install", "--quiet"]
    subprocess.run([*map(str, pip), "--no-index", "--no-deps", str(wheel.filename)], check=True)
    return python


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A current folder as somebody else has it, with a package named as one of ours."""
    (tmp_path / "dashboard").mkdir()
    (tmp_path / "dashboard" / "__init__.py").write_text("raise RuntimeError('not ours')")
    return tmp_path


def start(
    installed: NodePython, *command: object, cwd: Path, **more: str
) -> subprocess.Popen[str]:
    """A command of the installed Python in a folder, with this user's home."""
    return subprocess.Popen(
        [installed.bin / str(command[0]), *map(str, command[1:])],
        cwd=cwd,
        env=installed.environment(Path.home(), OMP_NUM_THREADS="1", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trainers", "search_spaces", "dashboard"])
def test_nobody_else_can_import_what_the_line_is_made_of(
    name: str, installed: NodePython, tmp_path: Path
) -> None:
    answer = ended(start(installed, "python", "-c", f"import {name}", cwd=tmp_path))
    assert f"No module named '{name}'" in answer.stderr
    assert ended(start(installed, "python", "-c", "import gaitforge", cwd=tmp_path)).stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_installed_doctor_knows_what_is_needed(
    installed: NodePython, elsewhere: Path, ray_home: Path
) -> None:
    """And of a run.toml, so that it looks at one family alone."""
    command = ("python", "-m", "gaitforge", "doctor", write_run(elsewhere, TOY))
    answer = ended(start(installed, *command, cwd=elsewhere, RAY_TMPDIR=str(ray_home)))
    assert answer.stderr == ""
    assert f"in {installed.folder}" in answer.stdout
    assert re.search(r"^  pydantic +\d.* >=2.10,<3$", answer.stdout, re.MULTILINE)
    assert re.search(r"^  all +2 cores, .* 1 trial at a time$", answer.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_line_runs_from_the_wheel_and_its_pages_are_served(
    installed: NodePython, elsewhere: Path, ray_home: Path
) -> None:
    """Ray's workers train the teacher and the students, by the names that the modules have in a checkout."""
    settings = write_run(elsewhere, TOY)
    answer = ended(
        start(installed, "gaitforge", "run", settings, cwd=elsewhere, RAY_TMPDIR=str(ray_home))
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    work = WorkFolder(elsewhere / "work")
    assert read_json(work.summary)["search"]["trials"]["finished"] == 2
    (port,) = free_ports(1)
    server = start(installed, "gaitforge", "dashboard", "work", "--port", port, cwd=elsewhere)
    try:
        wait_for(lambda: is_served(port), server)
    finally:
        server.terminate()
    assert "Traceback" not in ended(server).stderr


def is_served(port: int) -> bool:
    """Whether Streamlit says that it is well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_travels_to_a_cluster_is_the_same_from_the_wheel_as_from_a_checkout(
    installed: NodePython, elsewhere: Path
) -> None:
    shared: Tables = {"": {"work": "/shared/work"}}
    settings = write_run(elsewhere, changed(shared))
    command = ("gaitforge", "cluster", "ship", settings, "--out", elsewhere / "there")
    answer = ended(start(installed, *command, cwd=elsewhere))
    assert (answer.returncode, answer.stderr) == (0, "")
    pack(settings).write(elsewhere / "here")
    assert contents(elsewhere / "there") == contents(elsewhere / "here")


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its place there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
