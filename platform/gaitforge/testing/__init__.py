"""Checks of the rules for families, terms, readers and spaces, which anybody can run on their own.

`families.check(MySizes)`, `losses.check(MY_TERM)`, `readers.check(read_mine, sample, layout)` and
`spaces.check("mine", MY_SPACE, MySizes)` raise AssertionError with a sentence for the first rule that
is broken. Each file's CHECKS names its rules one by one, for tests that want a failure per rule.
"""

from __future__ import annotations


def require(holds: object, sentence: str) -> None:
    """Raise AssertionError with the sentence unless `holds` is true."""
    if not holds:
        raise AssertionError(sentence)
