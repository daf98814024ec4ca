"""Units of length as files spell them."""

from __future__ import annotations

_SPELT = {
    "m": "m meter meters metre metres",
    "dm": "dm decimeter decimeters decimetre decimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "in": "in inch inches",
}
_NAMES = {spelt: unit for unit, words in _SPELT.items() for spelt in words.split()}


def name_unit(text: str) -> str:
    """Return the short name of a unit that a file tells; one that nobody knows stays as it is."""
    word = text.strip().strip("\0[]()").casefold()
    return _NAMES.get(word, word)
