"""How the docstring of a function begins: with a verb that says what the function does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What holds to the rule, relative to the repository; a folder counts with all that lies below it.
HELD = (
    "platform/gaitforge",
    "trainers",
    "dashboard",
    "search_spaces",
)

# Words that no verb is: a question, an article, a preposition, a name of what is returned.
NO_VERBS = {
    "A", "All", "An", "And", "As", "At", "Both", "By", "Each", "Every", "For", "From", "How", "If", "In", "It", "Its",
    "Nothing", "Of", "On", "One", "Or", "That", "The", "These", "This", "Those", "To", "True", "What", "When", "Where",
    "Whether", "Which", "Who", "Whose", "Why", "With", "Without",
}  # fmt: skip


def begins_without_a_verb(words: str) -> bool:
    """Tell by the first word: one of NO_VERBS, a plural or "Returns", or no word at all (a symbol, a number)."""
    first = words.split(maxsplit=1)[0].rstrip(",:;.")
    ends = first.endswith("s") and not first.endswith("ss")  # but "Pass", "Guess"
    return first in NO_VERBS or ends or not first.isalpha() or not first.istitle()


def functions_of(source: str) -> Iterator[tuple[str, str]]:
    """Yield each function that has a docstring, by name, and that docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node)
            if words:
                yield node.name, words


def files_of(place: str) -> list[Path]:
    """List the sources at a place of HELD; a place that is not there has none."""
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []


@pytest.mark.parametrize("place", HELD)
def test_the_docstring_of_a_function_begins_with_a_verb(place: str) -> None:
    files = files_of(place)
    assert files, f"{place} is not there any more; mend HELD"
    found = [
        f"{path.relative_to(ROOT)}: {name}: {words.splitlines()[0]}"
        for path in files
        for name, words in functions_of(path.read_text(encoding="utf-8"))
        if begins_without_a_verb(words)
    ]
    assert found == []


@pytest.mark.parametrize(
    "words",
    ["What it costs.", "The share of a class.", "As trials record it.", "`main` on a node.", "0 at 0.",
     "[S, P] from P.", "SD of step times.", "Weights of windows.", "Returns the share."],
)  # fmt: skip
def test_what_is_no_verb_is_told(words: str) -> None:
    assert begins_without_a_verb(words)


@pytest.mark.parametrize(
    "words",
    ["Return the share of a class.", "Compare, and where it is wrong, say so.", "Pass it on."],
)
def test_a_verb_is_none_of_them(words: str) -> None:
    assert not begins_without_a_verb(words)
