"""Rules of the command line: wrong input is answered by one sentence and exit status 2, and costs nothing."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.models import FAMILIES
from gaitforge.store import SkeletonStore
from gaitforge.work import WorkFolder, read_json
from search_spaces import SPACES
from tests.small_line import Tables, run, write_recordings, write_run
from trainers.__main__ import main


def with_files(**keys: object) -> Tables:
    """The changes by which run.toml reads `walks.npz`, with further keys of [ingest]."""
    return {
        "ingest": {"files": ["walks.npz"], "layout": "coco17", **keys},
        "ingest.synthetic": None,
    }


FILES = with_files()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that a command with wrong input says."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    return one_sentence(capsys.readouterr().err)


def one_sentence(err: str) -> str:
    assert err.startswith("gaitforge: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    sentence = err.removeprefix("gaitforge: ").strip()
    assert sentence.endswith((".", "?"))  # and not with the quotes of a KeyError
    return sentence


def must_say(sentence: str, *words: str) -> None:
    """The words stand for what was found, what must hold and what to do."""
    missing = [word for word in words if word not in sentence]
    assert not missing, f"{missing} not in: {sentence}"


def write_file_run(folder: Path, **changed: Any) -> Path:
    """run.toml that reads `walks.npz`, written beside it with `changed` arrays."""
    write_recordings(folder / "walks.npz", **changed)
    return write_run(folder, FILES)


FRAMES = np.random.default_rng(0).normal(size=(72, 17, 3)).astype(np.float32)

SPOILED: dict[str, tuple[dict[str, Any] | None, tuple[str, ...]]] = {
    "missing file": (None, ("walks.npz does not exist", "mend its path")),
    "no offsets": ({"offsets": None}, ("no array 'offsets'", "it has frames, label", "add it")),
    "backward offsets": (
        {"offsets": np.array([0, 12, 36, 24, 48, 60, 72])},
        ("offsets that run backward", "write them from 0 to 72"),
    ),
    "pickled": (
        {"label": np.array(["healthy", "ataxia"] * 3, dtype=object)},
        ("Python objects, which are never loaded", "plain"),
    ),
    "infinities everywhere": (
        {"frames": np.full_like(FRAMES, np.inf)},
        ("None of the 6 recordings", "infinities", "must be NaN", "mend the files"),
    ),
    "NaN only": (
        {"frames": np.full_like(FRAMES, np.nan)},
        ("None of the 6 recordings", "every joint of every frame is missing", "mend the files"),
    ),
    "another joint count": (
        {"frames": FRAMES[:, :16]},
        ("16 joints", "'coco17' has 17", "choose the layout"),
    ),
    "frames left over": (
        {"offsets": np.arange(0, 61, 10)},
        ("leave frames 60 to 71 to no recording", "write them from 0 to 72"),
    ),
}


def test_a_store_of_one_class_is_refused_and_the_one_before_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    before = SkeletonStore.open(tmp_path / "work" / "store").info
    write_file_run(tmp_path, label=np.array(["ataxia"] * 6))
    sentence = refused(capsys, "ingest", settings)
    must_say(sentence, "All 6 recordings", "one class, 'ataxia'", "two or more", "relabel")
    assert SkeletonStore.open(tmp_path / "work" / "store").info == before


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_file_is_refused_and_the_store_keeps_what_it_has(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, words = SPOILED[name]
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    before = SkeletonStore.open(tmp_path / "work" / "store")

    (tmp_path / "walks.npz").unlink()
    if changed is not None:
        write_recordings(tmp_path / "walks.npz", **changed)
    must_say(refused(capsys, "ingest", settings), *words)

    after = SkeletonStore.open(tmp_path / "work" / "store")
    assert after.info == before.info
    assert sum(1 for _ in after.read_recordings()) == 6


def test_a_recording_with_infinities_is_quarantined_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = FRAMES.copy()
    frames[13, 4, 0] = np.inf
    write_recordings(tmp_path / "walks.npz", frames=frames)
    settings = write_run(tmp_path, with_files(max_quarantined=0.2))
    assert main(["ingest", str(settings)]) == 0
    must_say(
        capsys.readouterr().out,
        "1 of 6 recordings could not be used (1 x positions hold infinities",
        "quarantine.parquet names each",
    )
    store = SkeletonStore.open(tmp_path / "work" / "store")
    assert (store.info.recordings, store.info.quarantined) == (5, 1)
    (row,) = store.read_quarantine().to_pylist()
    assert (row["position"], row["person"]) == (1, "s2")
    assert "infinities" in row["reason"]
    assert read_json(tmp_path / "work" / "summary.json")["store"]["quarantined"] == 1
    assert main(["show", str(tmp_path / "work")]) == 0
    assert "1 in quarantine (1 x positions hold infinities" in capsys.readouterr().out


def test_too_many_unusable_recordings_are_an_error_and_listed_and_the_store_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    before = SkeletonStore.open(tmp_path / "work" / "store").info
    offsets = np.array([0, 12, 24, 36, 48, 71, 72])
    write_recordings(tmp_path / "walks.npz", offsets=offsets)
    sentence = refused(capsys, "ingest", settings)
    must_say(sentence, "Of 6 recordings 1 cannot be used (1 x too few frames)", "ingest.max_quar")
    listed = tmp_path / "work" / "store" / "refused.csv"
    assert str(listed) in sentence
    with listed.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "source": str(tmp_path / "walks.npz"), "position": "5", "person": "s6", "label": "ataxia",
        "reason": "too few frames: 1, but a movement needs at least 2",
    }  # fmt: skip
    after = SkeletonStore.open(tmp_path / "work" / "store")
    assert after.info == before
    assert sum(1 for _ in after.read_recordings()) == 6

    allowed = with_files(max_quarantined=0.2)
    assert main(["ingest", str(write_run(tmp_path, allowed))]) == 0
    assert not listed.exists()
    # the store is there, and would not be made anew: the lower limit holds for it all the same
    refused(capsys, "ingest", write_run(tmp_path, FILES))
    assert listed.exists()


def test_ids_that_look_alike_leave_the_store_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    before = SkeletonStore.open(tmp_path / "work" / "store").info
    people = np.array(["p1", "p2", "p3", "P1", "p5", "p6"])
    write_recordings(tmp_path / "walks.npz", subject=people)
    must_say(
        refused(capsys, "ingest", settings),
        "'P1' and 'p1'",
        "write each person's id in one way",
        "ingest.distinct_people",
    )
    after = SkeletonStore.open(tmp_path / "work" / "store")
    assert after.info == before
    assert sum(1 for _ in after.read_recordings()) == 6

    apart = with_files(distinct_people=[["p1", "P1"]])
    assert main(["ingest", str(write_run(tmp_path, apart))]) == 0
    assert SkeletonStore.open(tmp_path / "work" / "store").info.people == 6
    # and refused again without, though these recordings are in the store
    refused(capsys, "ingest", write_run(tmp_path, FILES))


def test_a_class_of_one_person_cannot_be_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.array(["healthy", "ataxia", "healthy", "ataxia", "healthy", "limp"])
    settings = write_file_run(tmp_path, label=labels)
    assert main(["ingest", str(settings)]) == 0
    sentence = refused(capsys, "split", settings)
    must_say(sentence, "'limp'", "1 person has it (s6)", "record at least 3 people")
    assert not (tmp_path / "work" / "splits").exists()


WRONG_SETTINGS: dict[str, tuple[Tables, tuple[str, ...]]] = {
    "unknown teacher family": (
        {"teacher": {"family": "stgnc"}},
        (
            "no model family 'stgnc'",
            f"known are {', '.join(FAMILIES)}",
            "nearest is 'stgcn'",
        ),
    ),
    "unknown student family": (
        {"search": {"families": ["tcnn"]}},
        ("no student family 'tcnn'", f"Known: {', '.join(sorted(SPACES))}"),
    ),
    "unknown distillation term": (
        {"search": {"terms": ["kdd"]}},
        ("no distillation term 'kdd'", "kd"),
    ),
    "misspelt size": (
        {"teacher.sizes": {"chanels": 8}},
        ("'tcn' has no size 'chanels'", "nearest is 'channels'"),
    ),
    "impossible size": (
        {"teacher.sizes": {"kernel": 4}},
        ("kernel is 4", "must be odd"),
    ),
    "misspelt key": (
        {"teacher": {"patiense": 3}},
        ("unknown key 'patiense' in [teacher]", "did you mean 'patience'?"),
    ),
    "misspelt table": (
        {"serch": {"trials": 3}},
        ("unknown key 'serch'", "did you mean 'search'?"),
    ),
    "wrong type": (
        {"teacher.fit": {"epochs": "ten"}},
        ("'teacher.fit.epochs' is 'ten'", "mend it"),
    ),
    "out of range": ({"search": {"trials": 0}}, ("search.trials is 0", "at least 1")),
    "unknown layout": (
        {"ingest.synthetic": {"layout": "coco18"}},
        ("no layout 'coco18'", "coco17, kinect25", ".toml"),
    ),
    "work folder below a file": (
        {"": {"work": "run.toml/work"}},
        ("run.toml/work cannot be written", "choose another folder"),
    ),
    "work folder in a store that is not known": (
        {"": {"work": "gs://bucket/work"}},
        ("'gs://bucket/work'", "must be a path"),
    ),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_wrong_settings_are_refused_before_any_work(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, words = WRONG_SETTINGS[name]
    settings = write_run(tmp_path, changes)
    must_say(refused(capsys, "run", settings), *words)
    assert not (tmp_path / "work" / "store").exists()


def test_settings_that_are_no_toml_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text("work = \n", encoding="utf-8")
    must_say(refused(capsys, "run", path), "is not TOML", "line 1", "mend that line")
    path.write_bytes(b"work = '\xff'\n")
    must_say(refused(capsys, "run", path), "is not TOML", "mend that line")
    must_say(refused(capsys, "run", tmp_path), "is a folder", "give the path of a run.toml")


@pytest.mark.parametrize(
    ("done", "stage", "words"),
    [
        ([], "split", ("no store", "run `gaitforge ingest run.toml` first")),
        ([], "teacher", ("no store", "run `gaitforge ingest run.toml` first")),
        (["ingest"], "teacher", ("no split", "run `gaitforge split run.toml` first")),
        (["ingest", "split"], "outputs", ("no teacher", "run `gaitforge teacher run.toml` first")),
        (["ingest", "split"], "search", ("no teacher", "run `gaitforge teacher run.toml` first")),
        (
            ["ingest", "split"],
            "confirm",
            ("no searched front", "run `gaitforge search run.toml` first"),
        ),
        (
            ["ingest", "split"],
            "export",
            ("Nothing has been confirmed", "run `gaitforge confirm run.toml`"),
        ),
    ],
)
def test_a_stage_before_its_predecessor_names_the_one_to_run(
    done: list[str],
    stage: str,
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = write_run(tmp_path)
    for earlier in done:
        assert main([earlier, str(settings)]) == 0
    must_say(refused(capsys, stage, settings), *words)


def test_a_split_of_another_store_is_refused_until_it_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    assert main(["split", str(settings)]) == 0
    write_recordings(tmp_path / "walks.npz", frames=FRAMES * 2)
    assert main(["ingest", str(settings)]) == 0
    must_say(
        refused(capsys, "teacher", settings),
        "was made for the store",
        "the store is now",
        "run `gaitforge split run.toml` first",
    )


def test_predict_refuses_a_folder_that_is_no_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walks = write_recordings(tmp_path / "walks.npz")
    sentence = refused(capsys, "predict", tmp_path, walks)
    must_say(sentence, "no exported student", "give the folder that `gaitforge export` wrote")
    (tmp_path / "card.json").write_text("{}", encoding="utf-8")
    (tmp_path / "student.onnx").write_bytes(b"no model")
    must_say(refused(capsys, "predict", tmp_path, walks), "export the student again")


def test_a_folder_in_place_of_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.json").mkdir()
    sentence = refused(capsys, "predict", tmp_path, write_recordings(tmp_path / "walks.npz"))
    must_say(sentence, "card.json cannot be read", "it is a folder", "move it away, then export")


def test_show_refuses_a_folder_without_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        must_say(refused(capsys, "show", folder), "no work folder", "run `gaitforge ingest")
        assert not (folder / "summary.json").exists()


def test_show_says_what_is_there_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path / "work")]) == 0
    out = capsys.readouterr().out
    assert "24 recordings of 24 people in 4 classes" in out
    assert "not there yet: teacher, search, confirm, export" in out


def test_output_that_nobody_reads_ends_a_command_without_a_word(tmp_path: Path) -> None:
    assert main(["ingest", str(write_run(tmp_path))]) == 0
    show = ["show", str(tmp_path / "work")]
    # Python writes at the command's end, or else (unbuffered) at once
    for unbuffered, command in (("", ["--help"]), ("", show), ("1", show)):
        reading, writing = os.pipe()
        os.close(reading)  # as `| true` does, sooner or later
        try:
            answer = subprocess.run(
                [sys.executable, "-m", "trainers", *command], check=False,
                stdout=writing, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            )  # fmt: skip
        finally:
            os.close(writing)
        assert (answer.returncode, answer.stderr) == (141, ""), command


def test_a_broken_pipe_of_another_kind_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", broken)
    settings = write_run(tmp_path)
    with (tmp_path / "out").open("w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        with pytest.raises(BrokenPipeError, match="Broken pipe"):
            main(["ingest", str(settings)])


def test_ingest_again_keeps_the_version_and_new_input_makes_the_next(tmp_path: Path) -> None:
    settings = write_file_run(tmp_path)
    store = WorkFolder(tmp_path / "work").store
    for version, factor in ((0, 1), (0, 1), (1, 2)):
        write_recordings(tmp_path / "walks.npz", frames=FRAMES * factor)
        assert main(["ingest", str(settings)]) == 0
        assert SkeletonStore.open(store).info.version == version


def test_a_full_disk_is_told_in_a_sentence_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_file_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    store = WorkFolder(tmp_path / "work").store
    before = sorted(path for path in store.rglob("*") if path.name != "quarantine.parquet")
    info = SkeletonStore.open(store).info
    write_recordings(tmp_path / "walks.npz", frames=FRAMES * 2)

    written: list[int] = []

    def full(number: int) -> None:
        written.append(number)
        if len(written) == room:
            raise OSError(errno.ENOSPC, "No space left on device")

    room = 1
    while True:
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            capsys.readouterr()
            status = main(["ingest", str(settings)])
        if status == 0:
            break
        assert status == 1
        told = one_sentence(capsys.readouterr().err)
        must_say(told, "is full (No space left on device)", "free some room", "same command")
        # all of the old or, once it is whole, all of the new
        now = SkeletonStore.open(store)
        assert now.info == info or now.info.version > info.version
        assert sum(1 for _ in now.read_recordings()) == 6
        assert not [path for path in store.rglob(".*") if path.is_file()]  # no draft
        room += 1
    assert room > 3  # it was full at each of several places
    assert set(before) <= set(store.rglob("*"))


def test_a_stage_whose_code_is_at_fault_shows_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        int("1 o")  # raised below our frame: a fault, not a sentence for the user

    monkeypatch.setattr("trainers.pipeline.ingest_recordings", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["ingest", str(write_run(tmp_path))])


@pytest.mark.slow
def test_fresh_processes_answer_in_the_same_way(tmp_path: Path) -> None:
    settings = write_file_run(tmp_path)
    shutil.move(tmp_path / "walks.npz", tmp_path / "moved.npz")
    answer = run("ingest", settings, ray_home=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "ingest: recordings into the store\n")
    must_say(one_sentence(answer.stderr), "walks.npz does not exist", "mend its path")
    settings = write_run(tmp_path, {"search": {"sead": 3}})
    answer = run("run", settings, ray_home=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    must_say(one_sentence(answer.stderr), "'sead' in [search]", "did you mean 'seed'?")


def test_the_dashboard_takes_several_work_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: commands.append(command))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError):  # execv comes back here alone, with None for a status
        main(["dashboard", "one", "s3://bucket/two", "--port", "8600"])
    (command,) = commands
    assert command[command.index("--") + 1 :] == [str(tmp_path / "one"), "s3://bucket/two"]
    assert command[command.index("--server.port") + 1] == "8600"
