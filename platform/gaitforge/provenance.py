"""Provenance: what an artefact is, what it was made from, and the people whom it has seen.

Every artefact of the line keeps its own in the file that describes it, under the key `provenance`. A stage refuses
an artefact that was made from something else than lies before it, and confirm refuses people who are
among those that anything before it has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMED = 4  # people that a sentence names before it only counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Identity of an artefact, identities of what it was made from by name, and whom it has seen.

    `seen` are the people by whom it was scaled, fitted or selected, those of what it was made from
    included. `unknown` names sources of which nobody knows whom they have seen.
    """

    identity: str
    made_from: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        identity: str,
        sources: Mapping[str, Provenance],
        seen: Iterable[str] = (),
        unknown: Iterable[str] = (),
    ) -> Provenance:
        """That of an artefact made from these; `seen` and `unknown` are what it adds to theirs."""
        return cls(
            identity=identity,
            made_from={name: source.identity for name, source in sources.items()},
            seen=frozenset(seen).union(*(source.seen for source in sources.values())),
            unknown=tuple(
                dict.fromkeys((*(name for s in sources.values() for name in s.unknown), *unknown))
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "made_from": dict(self.made_from),
            "seen": sorted(self.seen),
            "unknown": list(self.unknown),
        }

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Provenance:
        """The inverse of `as_dict`; `source` names the file in what is raised (ValueError)."""
        try:
            return cls(
                identity=str(data["identity"]),
                made_from={str(name): str(value) for name, value in data["made_from"].items()},
                seen=frozenset(map(str, data["seen"])),
                unknown=tuple(map(str, data["unknown"])),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{source} does not tell what it was made from ({error}); run its stage again."
            ) from error

    def check_made_from(self, what: str, now: Mapping[str, Provenance], remedy: str) -> None:
        """Raise ValueError where a source that it names is not the one of now."""
        for name, source in now.items():
            before = self.made_from.get(name, source.identity)
            if before != source.identity:
                raise ValueError(
                    f"{what} was made from other {name} ({before}) than there are now ({source.identity}); {remedy}."
                )

    def check_unseen(self, what: str, people: Iterable[str], remedy: str) -> None:
        """Raise ValueError where it has seen somebody of these people, who are to be scored as unseen."""
        known = sorted(self.seen.intersection(people))
        if known:
            are = "is" if len(known) == 1 else "are"
            raise ValueError(
                f"{what} has seen {count_people(known)} who {are} to be confirmed as never seen before "
                f"({named(known)}); {remedy}."
            )


def named(people: Iterable[str]) -> str:
    """The first few of them."""
    names = sorted(people)
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def count_people(people: Iterable[str]) -> str:
    count = len(set(people))
    return "1 person" if count == 1 else f"{count} people"
