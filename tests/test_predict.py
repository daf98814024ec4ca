"""Predicting by exports that others may have changed: an answer, or a sentence, and nothing that a terminal obeys."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import fuzz_exports as fuzz
from gaitforge import onnx_file
from gaitforge.onnx_file import look_through, open_session
from gaitforge.predict import Predictor
from gaitforge.sentences import escape, escape_cell
from gaitforge.work import ExportFolder, read_json, write_json
from tests.small_line import ROOT
from tests.test_cli import must_say, one_sentence
from trainers.__main__ import main

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def export(tmp_path: Path) -> ExportFolder:
    """A small export, and recordings beside it."""
    fuzz.write_recordings(tmp_path / "new.npz")
    return fuzz.write_export(tmp_path / "export")


def said(export: ExportFolder, capsys: Capsys, *more: Path) -> tuple[int, list[list[str]], str]:
    """The exit status, the rows and what stands on standard error."""
    capsys.readouterr()
    files = [str(path) for path in (export.root.parent / "new.npz", *more)]
    status = main(["predict", str(export.root), *files])
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def altered(export: ExportFolder, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph, and let the card tell of the changed one."""
    model = onnx.load_model_from_string(export.onnx.read_bytes())
    change(model)
    fuzz.write_export(export.root, model.SerializeToString())


# the exit status tells whether all were answered


def test_all_answered_is_status_0(export: ExportFolder, capsys: Capsys) -> None:
    status, (head, *rows), err = said(export, capsys)
    assert (status, err) == (0, "")
    assert head == ["recording", "predicted", "ill", "well", "lame", "unlike", "reason"]
    assert [row[0] for row in rows] == ["new-00000", "new-00001", "new-00002"]
    for row in rows:
        numbers = [float(cell) for cell in row[2:5]]
        assert sum(numbers) == pytest.approx(1, abs=2e-4)
        assert row[1] == head[2 + int(np.argmax(numbers))]
        assert row[5:] == ["", ""]


def test_some_answered_is_status_1_and_the_others_have_their_reasons(
    export: ExportFolder, capsys: Capsys
) -> None:
    more = export.root.parent / "more.npz"
    fuzz.write_recordings(more, offsets=np.array([0, 20, 21, 60]))
    status, (_, *rows), err = said(export, capsys, more)
    assert status == 1
    must_say(one_sentence(err), "1 of 6 could not be used", "the column 'reason' says why")
    assert [bool(row[1]) for row in rows] == [True, True, True, True, False, True]
    assert rows[4] == ["more-00001", "", "", "", "", "", rows[4][6]]
    assert "too few frames: 1" in rows[4][6]


def test_none_answered_is_status_2(export: ExportFolder, capsys: Capsys) -> None:
    fuzz.write_recordings(export.root.parent / "new.npz", frames=np.zeros((60, 4, 3), np.float32))
    status, (_, row), err = said(export, capsys)
    assert status == 2
    must_say(one_sentence(err), "1 of 1 could not be used")
    assert row[0].endswith("new.npz")
    assert "4 joints" in row[6]


def test_the_help_tells_the_exit_status(capsys: Capsys) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "0 all recordings were answered, 1 some were, 2 none was" in " ".join(
        capsys.readouterr().out.split()
    )


def test_who_reads_one_line_of_many_ends_the_command_without_a_word(export: ExportFolder) -> None:
    long = export.root.parent / "new.npz"
    offsets = np.arange(0, 60_001, 2)  # more rows than a pipe holds
    fuzz.write_recordings(long, frames=np.zeros((60_000, 3, 3), np.float32), offsets=offsets)
    command = [sys.executable, "-m", "trainers", "predict", str(export.root), str(long)]
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"recording,")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# what is unlike the training people's recordings


def said_strictly(export: ExportFolder, capsys: Capsys) -> tuple[int, list[list[str]], str]:
    capsys.readouterr()
    status = main(["predict", "--strict", str(export.root), str(export.root.parent / "new.npz")])
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def test_what_is_unlike_is_said_and_strict_does_not_answer_it(
    export: ExportFolder, capsys: Capsys
) -> None:
    frames = np.random.default_rng(1).normal(size=(60, 3, 3)).astype(np.float32)
    frames[30, 2] += 500  # in the second of three
    fuzz.write_recordings(export.root.parent / "new.npz", frames=frames)
    status, (_, *rows), err = said(export, capsys)
    assert (status, err) == (0, "")
    assert [row[5].partition(" (")[0] for row in rows] == ["", "jumps", ""]
    assert all(row[1] for row in rows)
    status, (_, *strict), err = said_strictly(export, capsys)
    assert status == 1
    must_say(one_sentence(err), "1 of 3 could not be used")
    assert [strict[0], strict[2]] == [rows[0], rows[2]]
    assert strict[1][1:6] == ["", "", "", "", rows[1][5]]
    assert strict[1][6].startswith("it is unlike the training people's recordings: jumps")


def test_a_card_of_an_older_version_still_answers_but_not_strictly(
    export: ExportFolder, capsys: Capsys
) -> None:
    card = read_json(export.card)
    del card["familiar"]
    write_json(export.card, card)
    status, (_, *rows), _ = said(export, capsys)
    assert status == 0
    assert [row[5] for row in rows] == ["", "", ""]
    status, rows, err = said_strictly(export, capsys)
    assert (status, rows) == (2, [])
    must_say(one_sentence(err), "does not tell", "export the student again", "leave out --strict")


def test_a_card_of_training_people_with_other_joints_is_refused(
    export: ExportFolder, capsys: Capsys
) -> None:
    card = read_json(export.card)
    card["familiar"]["unseen"] = [0.0]
    write_json(export.card, card)
    status, rows, err = said(export, capsys)
    assert (status, rows) == (2, [])
    must_say(one_sentence(err), "training people with other joints", "export the student again")


# the graph


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("endless loop", "the control flow Loop"),
        ("branch", "the control flow If"),
        ("nested scan", "the control flow Scan in a Scan"),
        ("functions", "functions of its own"),
        ("weights outside", "weights that lie in another file"),
        ("another input", r"has \x1b[31mjoints [any, 8, 3, 3], seen"),
        ("fewer frames", "joints [any, 7, 3, 3]"),
    ],
)
def test_a_graph_that_no_student_has_is_refused_before_it_is_run(
    export: ExportFolder, capsys: Capsys, attack: str, words: str
) -> None:
    altered(export, fuzz.ATTACKS[attack][0])
    status, rows, err = said(export, capsys)
    assert (status, rows) == (2, [])
    must_say(one_sentence(err), "student.onnx", words, "export the student again")


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("NaN", "not all finite numbers"),
        ("more classes", "answers in the shape (4, 6)"),
        ("huge tensor", "cannot be run on it"),
    ],
)
def test_an_answer_that_is_none_gives_no_class(
    export: ExportFolder, capsys: Capsys, attack: str, reason: str
) -> None:
    altered(export, fuzz.ATTACKS[attack][0])
    status, (_, *rows), _ = said(export, capsys)
    assert status == 2
    assert all(row[1:6] == [""] * 5 and reason in row[6] for row in rows)


@pytest.mark.parametrize("attack", ["long scan", "long fold"])
def test_a_student_that_does_not_end_is_stopped(
    export: ExportFolder, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    altered(export, fuzz.ATTACKS[attack][0])
    monkeypatch.setattr(onnx_file, "PATIENCE_S", 0.05)
    status, rows, err = said(export, capsys)
    assert (status, len(rows)) == (1, 1)
    must_say(one_sentence(err), "has not answered a few windows within 0.05 s")


def test_our_own_scan_is_let_through(tmp_path: Path) -> None:
    ports = look_through(fuzz.student().SerializeToString(), tmp_path)
    assert [str(port) for port in (*ports.inputs, *ports.outputs)] == [
        "joints [any, 8, 3, 3]", "seen [any, 8, 3]", "logits [any, 3]",
    ]  # fmt: skip


# the card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["ill", "well"]}, ("logits [any, 3]", "tells of logits [any, 2]")),
        ({"classes": ["ill", "well", "ill"]}, ("names a class twice",)),
        ({"channels": 2}, ("tells of 3 joints of 2 coordinates",)),
        ({"onnx_bytes": 1}, ("is another file than card.json tells of",)),
    ],
)
def test_a_card_of_another_student_is_refused(
    export: ExportFolder, capsys: Capsys, change: dict[str, object], words: tuple[str, ...]
) -> None:
    write_json(export.card, {**read_json(export.card), **change})
    status, rows, err = said(export, capsys)
    assert (status, rows) == (2, [])
    must_say(one_sentence(err), *words, "export the student again")


def test_windows_that_no_memory_holds_are_refused(export: ExportFolder) -> None:
    card = read_json(export.card)
    card["windows"]["length"] = 10**9
    write_json(export.card, card)
    with pytest.raises(ValueError, match="windows of 1000000000 frames, which no student has"):
        Predictor.open(export.root)


# text of files


def test_names_of_classes_and_recordings_are_neither_run_nor_obeyed(
    export: ExportFolder, capsys: Capsys
) -> None:
    classes = ["=1+1", "\x1b[31mill", "-2"]
    write_json(export.card, {**read_json(export.card), "classes": classes})
    names = np.array(["@SUM(1)", "a\r\nb", "caf\u00e9 \ud800"])
    fuzz.write_recordings(export.root.parent / "new.npz", clip_id=names)
    status, (head, *rows), _ = said(export, capsys)
    assert status == 0
    assert head[2:5] == ["'=1+1", r"\x1b[31mill", "-2"]
    assert [row[0] for row in rows[:2]] == ["'@SUM(1)", r"a\r\nb"]
    assert rows[2][0].startswith("caf\u00e9 ")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("walk 1", "walk 1"), ("-5", "-5"), ("+1.5", "+1.5"), ("-a", "'-a"), (" =1", "' =1"), ("-5+cmd", "'-5+cmd"),
        ("\t=1", r"'\t=1"), ("\rx", r"'\rx"), ("a=1", "a=1"), ("\u202eabc", r"\u202eabc"), ("", ""),
    ],
)  # fmt: skip
def test_a_cell_is_never_a_formula_and_stays_a_number(text: str, cell: str) -> None:
    assert escape_cell(text) == cell


def test_text_with_half_a_character_can_be_printed() -> None:
    escape("a\udcffb\x9b").encode("utf-8")
    assert escape("\u00fcber \u0394") == "\u00fcber \u0394"


# at home nothing is written


def test_nothing_is_written_below_the_home_of_who_predicts(
    export: ExportFolder, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    environment = {
        key: its for key, its in os.environ.items() if not key.startswith(("ORT_", "XDG_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "trainers", "predict", str(export.root), str(tmp_path / "new.npz")],
        env={**environment, "HOME": str(home), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert [str(path) for path in home.rglob("*")] == []


# many at once


@pytest.mark.slow
def test_exports_and_recordings_that_are_changed_at_random_end_with_right_words() -> None:
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    command = (
        "-m",
        "benchmarks.fuzz_exports",
        "--cases",
        "30",
        "--seed",
        "7",
        "--patience",
        "900",
    )
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("30 cases, 0 that end wrongly"), done.stdout + done.stderr
    assert done.returncode == 0


def test_a_file_that_was_opened_before_is_opened_alike(export: ExportFolder) -> None:
    answers = [
        session.run(
            None,
            {"joints": np.ones((2, 8, 3, 3), np.float32), "seen": np.ones((2, 8, 3), np.bool_)},
        )[0]
        for session in (open_session(export.onnx), open_session(export.onnx, bounded=True))
    ]
    np.testing.assert_array_equal(*answers)
