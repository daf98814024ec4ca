"""Text for a person at a terminal: on one line, bounded, and without what a terminal would obey."""

from __future__ import annotations

# No longer sentence is read; the longest of our own that quotes nothing long has about 500.
MOST = 1_000


def escape(text: str) -> str:
    """Write out what a terminal would obey, hide or refuse (control characters, halves of characters).

    Line ends stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    """Return a sentence on one line of at most MOST characters; a longer one loses its middle.

    Its head says what was found, and its end what to do, so that neither may go.
    """
    return _shorten(escape(_shorten(" ".join(text.split()))))


def _shorten(text: str) -> str:
    if len(text) <= MOST:
        return text
    tail = MOST // 3
    return f"{text[: MOST - tail - 3]} … {text[-tail:]}"
