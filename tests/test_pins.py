"""The versions that the tests ran with are versions that pyproject.toml allows, and none is left to chance."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# what `make install` does not install: a site's and a GPU's packages
NOT_INSTALLED = ("docs", "gpu")


def read_pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line.strip()]
    assert all(equal for _, equal, _ in pins)
    assert len({canonicalize_name(name) for name, _, _ in pins}) == len(pins)
    return {canonicalize_name(name): Version(version) for name, _, version in pins}


def requirements() -> Iterator[tuple[str, Requirement]]:
    """Yield what pyproject.toml asks for, with the extra that asks ("" for none)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for line in lines:
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) != project["name"]:
                yield extra, requirement


def test_every_pin_lies_in_the_range_of_pyproject_and_every_requirement_has_a_pin() -> None:
    pins = read_pins()
    outside = [
        f"{requirement} ({pins.get(canonicalize_name(requirement.name))})"
        for extra, requirement in requirements()
        if extra not in NOT_INSTALLED
        and not requirement.specifier.contains(
            pins.get(canonicalize_name(requirement.name), Version("0")), prereleases=True
        )
    ]
    assert outside == []


def test_what_runs_on_a_gpu_is_pinned_in_its_extra() -> None:
    """No file pins it, since it is built against the torch that is there."""
    specifiers = [str(r.specifier) for extra, r in requirements() if extra == "gpu"]
    assert specifiers
    assert all(text.startswith("==") for text in specifiers)


@pytest.mark.parametrize("answer", [None, "{}", '{"vulnerabilities": []}'])
def test_an_audit_without_its_database_says_that_it_was_skipped(
    answer: str | None, tmp_path: Path
) -> None:
    """A mirror may answer without what is known: all pins would be found good."""
    database = tmp_path / "answer.json"
    if answer is not None:
        database.write_text(answer, encoding="utf-8")
    audit = subprocess.run(
        [ROOT / ".ci" / "audit", "constraints.txt"],
        env={"PATH": "/usr/bin:/bin", "AUDIT_DATABASE": database.as_uri()},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert audit.returncode == 0, audit.stderr
    assert audit.stdout.startswith("audit: skipped, file://")
