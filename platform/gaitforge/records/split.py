"""Who has which role: splits/<split>.json, and the copy that a fold of the answer keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gaitforge.records.json_file import JsonFile
from gaitforge.work import fingerprint

ROLES = ("train", "validation", "confirm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One role per person, the rule that gave it, and the store (fingerprint) it was made for.

    People that are not in `roles` are left out of every stage.
    """

    name: str
    rule: Mapping[str, Any]
    store: str
    roles: Mapping[str, str]

    def __post_init__(self) -> None:
        for person, role in self.roles.items():
            if role not in ROLES:
                raise ValueError(
                    f"person '{person}' has the role '{role}', but a role is one of {', '.join(ROLES)}"
                )

    @property
    def identity(self) -> str:
        """Return a hash that changes with the store and with every person's role."""
        return fingerprint({"store": self.store, "roles": dict(self.roles)})

    def people(self, role: str) -> tuple[str, ...]:
        """Return the people of a role, sorted; raises KeyError for a role that does not exist."""
        if role not in ROLES:
            raise KeyError(f"There is no role '{role}'; use one of {', '.join(ROLES)}.")
        return tuple(sorted(person for person, given in self.roles.items() if given == role))


SPLIT = JsonFile(
    record=Split,
    what="a split",
    stage="gaitforge split run.toml",
    remedy="remove it, and run `gaitforge split run.toml` again",
)
