"""Rules of what travels to a cluster: our code, run.toml, the files it names; and what must be there."""

from __future__ import annotations

import io
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gaitforge.layout import LAYOUTS, read_layout
from gaitforge.settings import read_settings
from gaitforge.toml import write_toml
from tests.node_python import NodePython
from tests.small_line import Tables, write_recordings, write_run
from trainers.cluster.shipment import list_package_folders, pack

SHARED: Tables = {"": {"work": "/shared/work"}}


def test_a_node_without_gaitforge_runs_the_command_in_the_shipment(
    node_python: NodePython, tmp_path: Path
) -> None:
    pack(write_run(tmp_path, SHARED)).write(tmp_path / "run")
    answer = subprocess.run(
        [node_python.python, "-m", "trainers", "split", "none.toml"],
        cwd=tmp_path / "run",
        env=node_python.environment(home=tmp_path),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2
    assert "none.toml does not exist" in answer.stderr


def test_the_settings_there_say_the_same_and_take_the_cluster_of_their_head(
    tmp_path: Path,
) -> None:
    path = write_run(tmp_path, {**SHARED, "ingest.read.relabel": {"mild": "sick \u007f ü"}})
    path.write_text(path.read_text(encoding="utf-8").replace("\x7f", "\\u007f"), encoding="utf-8")
    pack(path).write(tmp_path / "run")
    here, there = read_settings(path), read_settings(tmp_path / "run" / "run.toml")
    assert there.work == "/shared/work"
    assert (there.cluster.address, there.cluster.cpus) == ("auto", None)
    assert (here.cluster.address, here.cluster.cpus) == ("local", 2)
    for table in ("ingest", "split", "windows", "teacher", "search", "confirm", "export"):
        assert getattr(there, table) == getattr(here, table)


def test_files_named_relative_to_run_toml_travel_and_others_must_be_there(tmp_path: Path) -> None:
    write_recordings(tmp_path / "walks.npz")
    (tmp_path / "more").mkdir()
    write_recordings(tmp_path / "more" / "walks.npz", label=None)
    path = write_run(
        tmp_path,
        {
            **SHARED,
            "ingest": {"files": ["walks.npz", "/data/big.npz", "more/walks.npz"], "layout": "coco17"},
            "ingest.synthetic": None,
        },
    )  # fmt: skip
    shipment = pack(path)
    assert shipment.expected == ("/data/big.npz",)
    shipment.write(tmp_path / "run")
    first, big, second = read_settings(tmp_path / "run" / "run.toml").ingest.files
    assert big == "/data/big.npz"
    assert Path(first).read_bytes() == (tmp_path / "walks.npz").read_bytes()
    assert Path(second).read_bytes() == (tmp_path / "more" / "walks.npz").read_bytes()


def test_the_layout_of_the_files_travels_where_it_is_a_file(tmp_path: Path) -> None:
    write_recordings(tmp_path / "walks.npz")
    (tmp_path / "own.toml").write_text(write_toml(LAYOUTS["kinect25"].as_dict()), encoding="utf-8")
    path = write_run(
        tmp_path,
        {
            **SHARED,
            "ingest": {"files": ["walks.npz"], "layout": "coco17"},
            "ingest.read": {"from_layout": "own.toml", "fps": 25.0},
            "ingest.synthetic": None,
        },
    )
    pack(path).write(tmp_path / "run")
    read = read_settings(tmp_path / "run" / "run.toml").ingest.read
    assert Path(read.from_layout).is_relative_to(tmp_path / "run")
    assert read_layout(read.from_layout) == LAYOUTS["kinect25"]
    assert read.fps == 25.0


REFUSED: dict[str, tuple[Tables, str]] = {
    "work folder of this machine": ({}, "work is 'work', .* absolute path of a folder that every"),
    "home of this machine": ({"": {"work": "~/work"}}, "work is '~/work'"),
    "missing file": (
        {
            **SHARED,
            "ingest": {"files": ["none.npz"], "layout": "coco17"},
            "ingest.synthetic": None,
        },
        "ingest.files names .*none.npz",
    ),
    "folder": ({**SHARED, "search": {"start_from": ["."]}}, "search.start_from names"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_found_there_is_refused_here(name: str, tmp_path: Path) -> None:
    changes, sentence = REFUSED[name]
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        pack(write_run(tmp_path, changes))


def test_data_too_large_for_a_job_must_lie_in_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.cluster.shipment.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="in a folder that every node sees"):
        pack(write_run(tmp_path, SHARED))


def test_a_zip_of_the_same_run_has_the_same_bytes_and_one_folder(tmp_path: Path) -> None:
    path = write_run(tmp_path, SHARED)
    data = pack(path).as_zip()
    path.touch()
    assert pack(path).as_zip() == data
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert {name.split("/")[0] for name in names} == {"gaitforge-run"}  # Ray takes it away
    for name in (
        "run.toml",
        "gaitforge/layout.py",
        "gaitforge/layouts/coco17.toml",
        "trainers/__main__.py",
        "search_spaces/tcn.py",
    ):
        assert f"gaitforge-run/{name}" in names
    assert not [name for name in names if "__pycache__" in name]


def test_writing_again_leaves_nothing_of_before_and_never_empties_another_folder(
    tmp_path: Path,
) -> None:
    shipment = pack(write_run(tmp_path, SHARED))
    folder = tmp_path / "run"
    shipment.write(folder)
    (folder / "files").mkdir()
    (folder / "files" / "old.npz").touch()
    shipment.write(folder)
    assert not (folder / "files").exists()
    with pytest.raises(ValueError, match="holds something else than a shipment"):
        shipment.write(tmp_path)
    assert (tmp_path / "run.toml").is_file()


def test_the_packages_that_travel_are_found_without_being_installed() -> None:
    assert [folder.name for folder in list_package_folders()] == [
        "gaitforge",
        "trainers",
        "search_spaces",
    ]
    for folder in list_package_folders():
        assert (folder / "__init__.py").is_file()


PLAIN: dict[str, Any] = {
    "text": 'quotes " and \\ and\nlines',
    "numbers": [1, 2.5, 1e-05, True],
    "empty": {},
    "outer": {"inner": {"a.b": "c", "list": [{"x": 1}, {"y": [2]}]}, "key": 1},
}


def test_plain_values_come_back_from_toml_as_they_were() -> None:
    assert tomllib.loads(write_toml(PLAIN)) == PLAIN
