"""What gaitforge needs of other packages, and which versions of them are here."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

NAME = "gaitforge"


def requirements() -> list[Requirement]:
    """Our dependencies without the extras: as pyproject.toml says in a checkout, else as installed.

    Raises FileNotFoundError where gaitforge lies here without either, as in a shipment.
    """
    checkout = Path(__file__).parents[1] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text(encoding="utf-8"))["project"]
        if project["name"] == NAME:
            return [Requirement(line) for line in project["dependencies"]]
    try:
        lines = importlib.metadata.requires(NAME) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            "gaitforge lies here without the list of its dependencies; install it with pip, or use its checkout."
        ) from error
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.marker is None]


def version(package: str) -> str | None:
    """The version of a package that is here; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
