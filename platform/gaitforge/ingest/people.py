"""Names that people and classes go by: which of them are the same one, written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

# What programs write where there is no value. A class may well be called "None", a person not.
_NO_CLASS = frozenset({"", "nan", "NaN", "NAN", "<NA>", "NaT"})
_NO_PERSON = _NO_CLASS | {"None", "none", "NONE", "null", "NULL"}

_LONG = 1_000  # characters
_SHOWN = 5  # groups in a sentence


def stands_for_none(person: str, label: str) -> str | None:
    """Return the person's or the class's name if programs write it for "no value", else None."""
    if person.strip() in _NO_PERSON:
        return person
    return label if label.strip() in _NO_CLASS else None


def likeness(name: str) -> str:
    """Return one form for all names that differ only in case, padding, white space or Unicode form.

    Padding is zeros before a whole number ("01", "P007") and ".0" behind one, as tables of
    numbers write it. Marks that nobody sees (a zero-width space, say) count as white space.
    """
    if len(name) > _LONG:
        return name  # nobody's, and some such text takes the square of its length
    # twice: folding the case of some letters leaves a form that is not normal
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = (c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    text = re.sub(r"(?<=[0-9])\.0+$", "", "".join(seen))
    # but not those behind a decimal point: 1.05 is not 1.5
    return re.sub(r"(?<![0-9])(?<![0-9]\.)0+(?=[0-9])", "", text)


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of two and more names that look alike, in order."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(likeness(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def refuse_look_alikes(
    people: Collection[str], classes: Collection[str], distinct: Sequence[Collection[str]]
) -> None:
    """Raise ValueError where one person, or one class, seems to go by several names.

    `distinct` holds groups of ids that look alike and do belong to different people.
    """
    mixed_up = [
        group
        for group in look_alikes(people)
        if not any(set(group) <= set(known) for known in distinct)
    ]
    if mixed_up:
        raise ValueError(
            f"Some ids of persons differ only in {_in_words(mixed_up)}, and one person under two ids "
            "would be taken for two; write each person's id in one way, or name ids that do belong "
            "to different people in ingest.distinct_people."
        )
    mixed_up = look_alikes(classes)
    if mixed_up:
        raise ValueError(
            f"Some classes differ only in {_in_words(mixed_up)}, and one class under two names would "
            "be taken for two; merge them, or name them apart, by ingest.read.relabel."
        )


def _in_words(groups: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" and ".join(_quote(group)) for group in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more such groups" if len(groups) > _SHOWN else ""
    return f"case, padding, white space or Unicode form ({shown}{more})"


def _quote(group: Sequence[str]) -> list[str]:
    """Quote names so that they can be told apart: by their code points where they look the same."""
    forms = {unicodedata.normalize("NFKC", name) for name in group}
    return [repr(name) if len(forms) == len(group) else ascii(name) for name in group]
