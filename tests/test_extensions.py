"""Rules of extensions: a package adds to the tables without an edit of ours, or is refused by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.util

from gaitforge.export import export_onnx
from gaitforge.extensions import find_extensions, load_extensions, load_readers
from gaitforge.ingest import READERS
from gaitforge.losses import LOSSES
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.work import WorkFolder, read_json
from search_spaces import SPACES
from tests.extension_package import EntryPoints, blocks, install, install_average
from tests.small_line import Tables, run, write_run
from tests.without_ray import changed, do_without_ray
from trainers.__main__ import main
from trainers.arithmetic.check import Outcome
from trainers.cluster.joining import check_versions
from trainers.cluster.node import examine_node
from trainers.confirm import export

TABLES: tuple[dict[str, Any], ...] = (FAMILIES, LOSSES, READERS, SPACES)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path that packages may be laid into; what they add is taken away again."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before, modules = [dict(table) for table in TABLES], set(sys.modules)
    find_extensions.cache_clear()
    yield folder
    find_extensions.cache_clear()
    for table, content in zip(TABLES, before, strict=True):
        table.clear()
        table.update(content)
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("gait_average", "strange"):
            del sys.modules[name]


def test_a_package_adds_a_family_a_space_a_term_and_a_reader(site: Path) -> None:
    install_average(site)
    load_extensions(SPACES)
    assert make_sizes("average", {"width": 3}).as_dict() == {"width": 3}
    assert SPACES["average"].smallest == make_sizes("average", {"width": 4})
    assert LOSSES["logit_match"].stored == "logits"
    assert READERS[".walk"].__module__ == "gait_average.reader"
    before = [list(table) for table in TABLES]
    load_extensions(SPACES)  # a worker does so for every student
    assert [list(table) for table in TABLES] == before


def test_readers_are_added_without_the_rest(site: Path) -> None:
    install_average(site)
    load_readers()
    assert ".walk" in READERS
    assert "average" not in FAMILIES
    assert "logit_match" not in LOSSES


def test_no_import_adds_anything(site: Path) -> None:
    install_average(site)
    assert {item.name for item in find_extensions()} == {"average", "logit_match", ".walk"}
    assert "gait_average" not in sys.modules


@pytest.mark.parametrize("test", ["test_the_term", "test_the_reader"])
def test_the_package_of_the_docs_holds_the_contracts(
    test: str, site: Path, tmp_path: Path
) -> None:
    run_documented(test, site, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["test_the_family", "test_the_space"])
def test_the_family_of_the_docs_and_its_space_hold_theirs(
    test: str, site: Path, tmp_path: Path
) -> None:
    run_documented(test, site, tmp_path)


def run_documented(test: str, site: Path, tmp_path: Path) -> None:
    """One function of the test file that the docs show."""
    install_average(site)
    names: dict[str, Any] = {}
    exec(compile(blocks()["tests/test_gait_average.py"], "docs/extending.md", "exec"), names)
    names[test](*([tmp_path] if test == "test_the_reader" else []))


# what is refused

STRANGE = {
    "strange/__init__.py": "",
    "strange/things.py": """
from dataclasses import dataclass
from gaitforge.models.tcn import TcnSizes
from gaitforge.spaces import Space

A_NUMBER = 1
SPACE = Space(lambda trial: TcnSizes(), TcnSizes())

def read(path):
    return iter(())

@dataclass
class Changeable:
    width: int = 1
""",
    "strange/broken.py": "raise RuntimeError('no licence')",
}


@pytest.mark.parametrize(
    ("entry_points", "reason"),
    [
        ({"families": {"tcn": "gaitforge.models.stgcn:StgcnSizes"}}, "that name is taken"),
        ({"losses": {"kd": "strange.things:A_NUMBER"}}, "that name is taken"),
        ({"losses": {"mine": "nowhere.at_all:TERM"}}, "loaded .ModuleNotFoundError: No module named 'nowhere'"),
        ({"losses": {"mine": "strange.things:TERM"}}, "cannot be loaded .AttributeError"),
        ({"losses": {"mine": "strange.broken:TERM"}}, "cannot be loaded .RuntimeError: no licence"),
        ({"losses": {"mine": "strange.things:A_NUMBER"}}, "that is no term: 1 is no gaitforge.losses.Term"),
        ({"families": {"mine": "strange.things:A_NUMBER"}}, "that is no family: 1 is no dataclass"),
        ({"families": {"mine": "strange.things:Changeable"}}, "that is no family: Changeable can be changed"),
        ({"families": {"my-own": "gaitforge.models.tcn:TcnSizes"}}, "its name must be a plain word"),
        ({"spaces": {"mine": "strange.things:SPACE"}}, "that is no space: there is no model family 'mine'"),
        ({"spaces": {"tcn": "strange.things:SPACE"}}, "that name is taken"),
        ({"readers": {"csv": "strange.things:read"}}, "its name must be a suffix in lower case"),
        ({"readers": {".walk": "strange.things:read"}}, "that is no reader: it must take .path, layout, options"),
    ],
)  # fmt: skip
def test_what_cannot_be_added_is_refused_with_the_package(
    entry_points: dict[str, dict[str, str]], reason: str, site: Path
) -> None:
    install(site, "strange-things", in_groups(entry_points), STRANGE)
    with pytest.raises(ValueError, match=f"^The package strange-things 0.1 adds the .*{reason}"):
        load_extensions(SPACES)


def in_groups(entry_points: EntryPoints) -> EntryPoints:
    return {f"gaitforge.{group}": points for group, points in entry_points.items()}


def test_a_space_of_another_family_is_refused(site: Path) -> None:
    points = {
        "families": {"mine": "gaitforge.models.stgcn:StgcnSizes"},
        "spaces": {"mine": "strange.things:SPACE"},
    }
    install(site, "strange-things", in_groups(points), STRANGE)
    with pytest.raises(ValueError, match=r"its smallest is TcnSizes.*, but must be StgcnSizes"):
        load_extensions(SPACES)


def test_of_two_packages_with_one_name_the_second_is_refused(site: Path) -> None:
    for name, kind in (("one", "tcn:TcnSizes"), ("two", "stgcn:StgcnSizes")):
        points = {"families": {"mine": f"gaitforge.models.{kind}"}}
        install(site, f"strange-{name}", in_groups(points))
    with pytest.raises(ValueError, match=r"package strange-two 0\.1 .* that name is taken"):
        load_extensions(SPACES)


def test_the_command_line_ends_with_that_sentence(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(
        site,
        "strange-things",
        in_groups({"losses": {"mine": "strange.things:A_NUMBER"}}),
        STRANGE,
    )
    assert main(["ingest", str(write_run(tmp_path))]) == 2
    assert capsys.readouterr().err.startswith("gaitforge: The package strange-things 0.1 adds")
    assert not (tmp_path / "work").exists()


def test_a_family_without_a_space_cannot_be_searched_but_teach(
    site: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    do_without_ray(monkeypatch)
    points = {"families": {"alone": "gaitforge.models.tcn:TcnSizes"}}
    install(site, "strange-things", in_groups(points))
    students: Tables = {"search": {"families": ["alone"]}}
    assert main(["ingest", str(write_run(tmp_path, students))]) == 2
    assert "The family 'alone' has no search space" in capsys.readouterr().err
    teaches = changed({"teacher": {"family": "alone"}})
    for stage in ("ingest", "split", "teacher"):
        assert main([stage, str(write_run(tmp_path, teaches))]) == 0
    folder = WorkFolder(tmp_path / "work").run("main")
    assert read_json(folder.teacher / "model.json")["family"] == "alone"


# on a cluster


def test_a_node_without_the_package_is_refused_before_any_work(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.2")
    (tmp_path / ".probe-x").write_bytes(b"x")
    without = examine_node(str(tmp_path), "x", write=False)
    install_average(site)
    find_extensions.cache_clear()
    here = examine_node(str(tmp_path), "x", write=False)
    check_versions(here, here)
    check_versions(without, here)
    with pytest.raises(
        ValueError,
        match=r"10\.0\.0\.2 has gait-average not at all and not 0\.1; .* gait-average==0",
    ):
        check_versions(here, without)


# the doctor


@pytest.fixture
def _quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are looked at in tests/test_arithmetic.py."""
    monkeypatch.setattr(
        "trainers.arithmetic.check.examine",
        lambda asked, threads, anew: Outcome(
            machine="tin", family=asked.family, state="right", error=1e-6
        ),
    )


@pytest.mark.usefixtures("_quick_look")
def test_the_doctor_lists_each_with_its_package(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_average(site)
    points = {"families": {"alone": "gaitforge.models.tcn:TcnSizes"}}
    install(site, "strange-things", in_groups(points))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for line in (
        "  family 'average'    of gait-average 0.1\n",
        "  space 'average'     of gait-average 0.1\n",
        "  term 'logit_match'  of gait-average 0.1\n",
        "  reader '.walk'      of gait-average 0.1\n",
        "  family 'alone'      of strange-things 0.1; without a search space",
        "  average       right, to 1e-06",
    ):
        assert line in out


@pytest.mark.usefixtures("_quick_look")
def test_the_doctor_tells_of_what_cannot_be_added_and_goes_on(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_average(site)
    install(
        site, "strange-things", in_groups({"losses": {"mine": "strange.broken:TERM"}}), STRANGE
    )
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "! term 'mine'         of strange-things 0.1, cannot be added" in out
    assert "1 fault:\n  The package strange-things 0.1 adds the term 'mine'" in out
    assert "family 'average'" in out


# the line


def write_walks(path: Path) -> None:
    """Walks of eight people in two classes, as the reader of the docs takes them."""
    rng = np.random.default_rng(0)
    lines = []
    for person in range(8):
        frames = rng.normal(size=(16, 51)) + person % 2
        head = f"walk{person},p{person},{('healthy', 'ataxia')[person % 2]}"
        lines += [",".join([head, *(f"{value:.3f}" for value in frame)]) for frame in frames]
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.slow
def test_the_line_runs_with_what_a_package_adds(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ray_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Read, taught, searched and shipped by the package of the docs; the search by workers of Ray."""
    install_average(site)
    write_walks(tmp_path / "patients.walk")
    own: Tables = {
        "ingest": {"files": ["patients.walk"], "layout": "coco17"},
        "teacher": {"family": "average"},
        "search": {"families": ["average"], "terms": ["logit_match"]},
    }
    nothing: Tables = {"ingest.synthetic": None, "teacher.sizes": None}
    settings = write_run(tmp_path, {**changed(own), **nothing})
    with monkeypatch.context() as patch:
        do_without_ray(patch)
        for stage in ("ingest", "split", "teacher", "outputs"):
            assert main([stage, str(settings)]) == 0
    answer = run("search", settings, ray_home=ray_home, path=[site])
    assert answer.returncode == 0, answer.stderr
    with monkeypatch.context() as patch:
        do_without_ray(patch)
        patch.setattr(export, "export_onnx", export_onnx)
        for stage in ("confirm", "export"):
            assert main([stage, str(settings)]) == 0
    capsys.readouterr()
    assert (
        main(["predict", str(tmp_path / "work" / "export"), str(tmp_path / "patients.walk")]) == 0
    )
    assert capsys.readouterr().out.count("\nwalk") == 8
    summary = read_json(tmp_path / "work" / "summary.json")
    assert summary["teacher"]["family"] == "average"
    assert {row["family"] for row in summary["searched_front"]} == {"average"}
    trials = WorkFolder(tmp_path / "work").run("main").search / "trials"
    for path in trials.glob("*.json"):
        trial = read_json(path)
        assert trial["state"] == "finished"
        assert list(trial["distill"]["weights"]) == ["logit_match"]
