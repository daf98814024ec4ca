"""Units of length as files spell them."""

from __future__ import annotations

from pathlib import Path

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
_FOOT = 0.3048  # metres


def read_unit(text: str, path: Path) -> tuple[str, float]:
    """Return the short name of a unit that a file tells, and by what its numbers are to be multiplied to be in it.

    Feet become metres. The unit is "" where the file tells none; raises ValueError for one that nobody knows.
    """
    word = text.strip().strip("\0[]()").strip().casefold()
    unit = _NAMES.get(word, word)
    if unit and unit not in _SPELT:
        raise ValueError(
            f"{path} has the unit '{one_line(word[:40])}', but known are {', '.join(_SPELT)}, and none; mend the unit, "
            "or write the file again in one of these."
        )
    return ("m", _FOOT) if unit == "ft" else (unit, 1.0)
