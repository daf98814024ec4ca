"""Units of length as files spell them."""

from __future__ import annotations

from pathlib import Path

from gaitforge.ingest.options import ReadOptions
from gaitforge.sentences import one_line

_SPELT = {
    "m": "m meter meters metre metres",
    "dm": "dm decimeter decimeters decimetre decimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "in": 'in inch inches "',
    "ft": "ft foot feet '",
    "px": "px pixel pixels",
}
_NAMES = {spelt: unit for unit, words in _SPELT.items() for spelt in words.split()}


def name_unit(text: str, path: Path, options: ReadOptions) -> str:
    """Return the short name of a unit that a file tells, "" where it tells none.

    Raises ValueError for one that nobody knows, unless the options tell the unit.
    """
    word = text.strip().strip("\0[]()").strip().casefold()
    unit = _NAMES.get(word, word)
    if not unit or unit in _SPELT:
        return unit
    if options.unit:
        return ""
    raise ValueError(
        f"{path} has the unit '{one_line(word[:40])}', but known are {', '.join(_SPELT)}; tell which it is by "
        "ingest.read.unit, or write the file again."
    )
