"""What gaitforge needs of other packages, and which versions of them are here."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

NAME = "gaitforge"


@dataclass(frozen=True, slots=True)
class Needs:
    """The Python that gaitforge runs with, and its dependencies without those of the extras."""

    python: SpecifierSet
    packages: tuple[Requirement, ...]


def read_needs() -> Needs:
    """Read them from pyproject.toml in a checkout, else from what is installed.

    Raises FileNotFoundError where gaitforge lies here without either, as in a shipment.
    """
    checkout = Path(__file__).parents[2] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text(encoding="utf-8"))["project"]
        if project["name"] == NAME:
            return Needs(
                SpecifierSet(project["requires-python"]),
                tuple(map(Requirement, project["dependencies"])),
            )
    try:
        installed = importlib.metadata.metadata(NAME)
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            "gaitforge lies here without the list of its dependencies; install it with pip, or use its checkout."
        ) from error
    found = map(Requirement, installed.get_all("Requires-Dist") or [])
    return Needs(
        SpecifierSet(installed["Requires-Python"] or ""),
        tuple(requirement for requirement in found if requirement.marker is None),
    )


def write_range(specifiers: SpecifierSet) -> str:
    """Write a range with its lower end first."""
    return ",".join(sorted(map(str, specifiers), key=lambda text: text[0] == "<"))


def find_version(package: str) -> str | None:
    """Return the version of a package that is here; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
