"""Rules of what a terminal shows: one bounded line, and nothing that the terminal would obey."""

from __future__ import annotations

import pytest

from gaitforge.sentences import MOST, escape, one_line
from trainers.terminal.say import say


def test_a_short_sentence_stays_as_it_is() -> None:
    assert one_line("Zoë has 3 walks, but needs 4; add one.") == (
        "Zoë has 3 walks, but needs 4; add one."
    )


def test_a_sentence_of_several_lines_becomes_one() -> None:
    assert one_line("a library's\n   words\t.") == "a library's words ."


def test_a_long_sentence_loses_its_middle_and_keeps_both_ends() -> None:
    told = one_line(f"'a.key' is {'x' * 10_000}, but must be short; mend it.")
    assert len(told) == MOST
    assert told.startswith("'a.key' is xxx")
    assert " … " in told
    assert told.endswith("xxx, but must be short; mend it.")


def test_what_grows_by_being_written_out_is_bounded_all_the_same() -> None:
    assert len(one_line("\x1b" * 5_000)) == MOST


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("half \udce9", r"half \udce9"),
        ("turned \u202ernd", r"turned \u202ernd"),
        ("bell\a", r"bell\x07"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_file_name_cannot_colour_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("  walks of \x1b[31mred.npz")
    assert capsys.readouterr().out == "  walks of \\x1b[31mred.npz\n"
