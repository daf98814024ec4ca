"""The package of docs/extending.md, and others, as pip would have installed them: a folder for PYTHONPATH."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.small_line import ROOT

EntryPoints = Mapping[str, Mapping[str, str]]  # group -> name -> module:attribute


def blocks() -> dict[str, str]:
    """The files of docs/extending.md, by the name that stands in the first line of each."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^```\w+\n# (\S+\.(?:py|toml))\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return dict(found)


def install(
    folder: Path, name: str, entry_points: EntryPoints, files: Mapping[str, str] | None = None
) -> Path:
    """Lay a distribution of version 0.1 into a folder."""
    for path, content in (files or {}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    about = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines: list[str] = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {target}" for key, target in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def install_average(folder: Path) -> Path:
    """The package of docs/extending.md."""
    files = blocks()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {name: text for name, text in files.items() if name.startswith("gait_average/")}
    return install(folder, project["name"], project["entry-points"], modules)
