"""A Python as a node of a cluster has it: Ray, torch and the dependencies, but nothing of gaitforge."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# variables through which a checkout, or the tests' own cluster, would reach the node
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RAY_ADDRESS", "RAY_AUTH_TOKEN")


@dataclass(frozen=True, slots=True)
class NodePython:
    """A virtual environment of a node; `bin` holds `python` and `ray`."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def ray(self) -> Path:
        return self.bin / "ray"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables of a shell on the node: its programs first, `home` for Ray's token and files."""
        own = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        own["PATH"] = f"{self.bin}{os.pathsep}{own['PATH']}"
        own["HOME"] = str(home)
        own["RAY_USAGE_STATS_ENABLED"] = "0"
        return own | more


def make_node_python(folder: Path) -> NodePython:
    """A virtual environment in `folder` that sees the packages of the one that runs the tests.

    It names their folder in a .pth file. The .pth files in that folder are not read then, so that
    what is installed as editable, gaitforge among it, is not there.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    node = NodePython(folder)
    answer = subprocess.run(
        [node.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(answer.stdout.strip(), "packages.pth").write_text("\n".join(sorted(ours)) + "\n")
    node.ray.write_text(
        f'#!/bin/sh\nexec {shlex.quote(str(node.python))} -m ray.scripts.scripts "$@"\n'
    )
    node.ray.chmod(0o755)
    return node
