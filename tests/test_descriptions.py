"""Tables of people and recordings: a line is found however the table was saved, or it is said what was looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaitforge.ingest import ReadOptions
from gaitforge.ingest.descriptions import Description, describe

WALK = Path("lab/S01/walk_1.c3d")


def look_up(
    folder: Path, text: str, *, person: str = "", path: Path = WALK, pattern: str = ""
) -> Description:
    table = folder / "people.csv"
    table.write_bytes(text.encode())
    options = ReadOptions(table=str(table), path=pattern)
    return describe(path, "walk_1", person, "", options)


@pytest.mark.parametrize(
    "text",
    [
        "subject,label,age\nS01,ill,70\n",
        "subject;label;age\nS01;ill;70\n",
        "subject\tlabel\tage\r\nS01\till\t70\r\n",
        "\ufeffSubject ;LABEL;age\r\nS01;ill;70\r\n",
    ],
)
def test_a_table_is_read_however_it_was_saved(text: str, tmp_path: Path) -> None:
    found = look_up(tmp_path, text, person="S01")
    assert (found.person, found.label, dict(found.columns)) == ("S01", "ill", {"age": 70})
    assert found.reason == ""


def test_a_name_that_is_there_goes_before_one_that_is_only_alike(tmp_path: Path) -> None:
    found = look_up(tmp_path, "Label,subject,label\nx,S01,ill\n", person="S01")
    assert (found.label, dict(found.columns)) == ("ill", {"Label": "x"})


@pytest.mark.parametrize("file", ["S01\\walk_1.c3d", "lab\\S01\\walk_1.c3d", "./S01/walk_1.c3d"])
def test_folders_are_told_by_slashes_of_either_kind(file: str, tmp_path: Path) -> None:
    found = look_up(tmp_path, f"File,subject,label\n{file},1,ill\n")
    assert (found.person, found.label, dict(found.columns)) == ("1", "ill", {})


@pytest.mark.parametrize(
    ("text", "person", "lacking"),
    [
        ("person,label\nEla,ill\nBob,well\n", "Eli", "'Eli' in 'person', the nearest is 'Ela'"),
        ("person,label\nBob,well\nELI,ill\n", "Eli", "'Eli' in 'person', the nearest is 'ELI'"),
        ("person,label\nPQ,well\n", "Eli", "'Eli' in 'person', the first is 'PQ'"),
        ("person,label\n", "Eli", "'Eli' in 'person', which is empty"),
        (
            "recording,label\nwalk_2,ill\n",
            "Eli",
            "'walk_1' in 'recording', the nearest is 'walk_2'",
        ),
        (
            "file,label\nS01/Walk_1.C3D,ill\n",
            "Eli",
            "'lab/S01/walk_1.c3d' in 'file', the nearest is 'S01/Walk_1.C3D'",
        ),
    ],
)
def test_a_line_that_is_not_found_says_what_was_looked_for(
    text: str, person: str, lacking: str, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    table.write_text(text, encoding="utf-8")
    options = ReadOptions(table=str(table), person="person")
    found = describe(WALK, "walk_1", person, "", options)
    assert found.reason == f"the table ingest.read.table has no line for it: looked for {lacking}"


@pytest.mark.parametrize("pattern", ["", "(?P<label>walk)"])
def test_a_table_of_people_needs_to_know_the_person(pattern: str, tmp_path: Path) -> None:
    text = "subject,label\nS01,ill\n"
    with pytest.raises(ValueError, match=r"does not tell a person.*ingest\.read\.path.*'file'"):
        look_up(tmp_path, text, pattern=pattern)
    assert look_up(tmp_path, text, pattern="(?P<person>S..)").label == "ill"
