"""Rules of the tests' own node: it has the dependencies, and nothing of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.node_python import NodePython


@pytest.mark.parametrize("name", ["ray", "torch", "optuna", "deltalake"])
def test_a_node_has_the_dependencies(name: str, node_python: NodePython, tmp_path: Path) -> None:
    assert found(name, node_python, tmp_path)


@pytest.mark.parametrize("name", ["gaitforge", "trainers", "search_spaces", "dashboard"])
def test_a_node_has_nothing_of_ours(name: str, node_python: NodePython, tmp_path: Path) -> None:
    assert not found(name, node_python, tmp_path)


def found(name: str, node: NodePython, folder: Path) -> bool:
    """Whether the node's Python would import the package; nothing is imported, which takes seconds."""
    answer = subprocess.run(
        [
            node.python,
            "-c",
            f"import importlib.util as u; print(u.find_spec('{name}') is not None)",
        ],
        cwd=folder,
        env=node.environment(home=folder),
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip() == "True"
