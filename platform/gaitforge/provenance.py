"""Provenance: what an artefact is, what it was made from, and the people whom it has seen.

The file that describes an artefact keeps its provenance under the key `provenance`. A stage refuses an artefact that
was made from other things than it finds now, and confirm refuses people whom anything before it has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMED = 4  # people that a sentence names before it only counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The identity of an artefact, the identities of its sources by name, and the people whom it has seen.

    `seen` are the people by whom it was scaled, fitted or selected, and those whom its sources have seen.
    `unknown` names sources of which nobody knows whom they have seen.
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
        """Return the provenance of an artefact made from `sources`; `seen` and `unknown` are added to theirs."""
        return cls(
            identity=identity,
            made_from={name: source.identity for name, source in sources.items()},
            seen=frozenset(seen).union(*(source.seen for source in sources.values())),
            unknown=tuple(
                dict.fromkeys((*(name for s in sources.values() for name in s.unknown), *unknown))
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as values for JSON, with people sorted."""
        return {
            "identity": self.identity,
            "made_from": dict(self.made_from),
            "seen": sorted(self.seen),
            "unknown": list(self.unknown),
        }

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Provenance:
        """Make it from what `as_dict` gave; raises ValueError, naming the file `source`, where a part is missing."""
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
        """Raise ValueError where a source had another identity when this was made than it has in `now`.

        `what` names this artefact in the sentence, `remedy` says what to do.
        """
        for name, source in now.items():
            before = self.made_from.get(name, source.identity)
            if before != source.identity:
                raise ValueError(
                    f"{what} was made from other {name} ({before}) than there are now ({source.identity}); {remedy}."
                )

    def check_unseen(self, what: str, people: Iterable[str], remedy: str) -> None:
        """Raise ValueError where it has seen any of these people, who are to be scored as unseen.

        `what` names this artefact in the sentence, `remedy` says what to do.
        """
        known = sorted(self.seen.intersection(people))
        if known:
            are = "is" if len(known) == 1 else "are"
            raise ValueError(
                f"{what} has seen {count_people(known)} who {are} to be confirmed as never seen before "
                f"({join_people(known)}); {remedy}."
            )


def join_people(people: Iterable[str]) -> str:
    """Join the first NAMED of these people, sorted; "…" stands for the others."""
    names = sorted(people)
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def count_people(people: Iterable[str]) -> str:
    """Count different people in words, such as "1 person" or "5 people"."""
    count = len(set(people))
    return "1 person" if count == 1 else f"{count} people"
