"""Rules of `gaitforge disk`: every byte is told once, and what is swept is what nothing needs, and that alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gaitforge.hold import hold
from gaitforge.ingest.synthetic import SyntheticSettings
from gaitforge.records.split import SPLIT
from gaitforge.records.teacher import TEACHER
from gaitforge.settings import SETTINGS, IngestSettings, RunSettings
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, WorkFolder, open_path, write_whole
from tests.made import made
from tests.test_cli import must_say, one_sentence, refused
from tests.toy_work import Toy, make_split, make_store
from trainers.__main__ import main
from trainers.disk import describe_disk, look_at_disk, say_size, sweep_disk

TOY = Toy(people=1, split="main", classes=("healthy",))
RECORDINGS = 64  # of its 8 people
DRAFT = f".model.json.{'0' * 32}"
OLD_S = 1e9  # a time long ago


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return make_folder(tmp_path / "work")


def make_folder(root: Path) -> WorkFolder:
    """A work folder with a store, a split and the settings; besides, files of known size in every part."""
    work = WorkFolder(root)
    make_store(work, TOY)
    make_split(work, TOY)
    settings = RunSettings(
        work=str(root),
        ingest=IngestSettings(synthetic=SyntheticSettings()),
        windows=WindowSettings(length=4),
    )
    SETTINGS.write(work.settings, settings)
    run = work.run("main")
    TEACHER.write(run.teacher_model, made(TEACHER))
    for folder, size in (
        (run.reference, 10),
        (run.fold("fold-1-of-2").teacher, 100),
        (run.teacher_outputs, 1000),
        (run.trials, 20),
        (run.refits, 200),
        (run.predictions, 2000),
        (work.export, 30),
        (work.scorings, 300),
    ):
        write_whole(folder / "file", b"x" * size)
    return work


def make_windows(work: WorkFolder, length: int) -> Path:
    """The folder in which the windows of the split begin, for windows of that length."""
    store = SkeletonStore.open(work.store)
    return build_windows(
        work.cache, store_fingerprint=store.info.fingerprint, split=SPLIT.read(work.split_file("main")),
        layout=store.layout, classes=store.classes, settings=WindowSettings(length=length),
        recordings=store.read_recordings,
    ).folder  # fmt: skip


def make_old(path: Path, size: int = 7) -> Path:
    write_whole(path, b"x" * size)
    os.utime(path, (OLD_S, OLD_S))
    return path


def content(work: WorkFolder) -> dict[Path, bytes]:
    """Every file below the folder but that of the hold, whose owner ends with the command."""
    files = [path for path in work.root.rglob("*") if path.is_file() and path.name != ".held"]
    return {path: path.read_bytes() for path in files}


def sweep(work: WorkFolder) -> None:
    assert main(["disk", str(work.root), "--sweep"]) == 0


def test_every_byte_below_the_folder_is_told_in_one_part(work: WorkFolder) -> None:
    make_old(work.run("main").root / "until-20261120T060000" / "search" / "file", 50)
    make_old(work.run("main").teacher / DRAFT, 500)
    windows = make_windows(work, 4)
    told = describe_disk(look_at_disk(work)).splitlines()
    in_store = sum(path.stat().st_size for path in work.store.rglob("*") if path.is_file())
    in_teacher = 10 + 100 + work.run("main").teacher_model.stat().st_size
    expected = {
        "store": in_store, "windows": (windows / "meta.json").stat().st_size, "teacher": in_teacher,
        "teacher outputs": 1000, "search": 20, "refits": 200, "predictions": 2000, "export": 30, "set aside": 50,
        "drafts": 500,
        "other": 300 + work.settings.stat().st_size + work.split_file("main").stat().st_size,
        "all": sum(map(len, content(work).values())),
    }  # fmt: skip
    rows = [re.fullmatch(r" +(.+)  ([a-z ]+), [\d,]+ files?", line) for line in told]
    assert {row[2]: row[1] for row in rows if row} == {
        part: say_size(size) for part, size in expected.items()
    }
    assert sum(expected.values()) == 2 * expected["all"]


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2_340_000, "2.3 MB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_sizes_are_said_by_thousands(size: int, said: str) -> None:
    assert say_size(size) == said


def test_what_is_swept_is_what_was_named_and_that_alone(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = work.run("main")
    (first,) = work.store.glob("recordings/*.parquet")
    make_store(work, TOY)  # another version, which is in force
    needed = make_windows(work, 4)
    (needed / "train").mkdir()
    (needed / "train" / "joints.npy").write_bytes(b"x")
    before = content(work)
    del before[first]
    goes = (
        run.root / "until-20261120T060000" / "teacher" / "model.json",
        run.fold("fold-1-of-2").root / "until-20261120T060000-more" / "predictions" / "a.parquet",
        run.teacher / DRAFT,
        needed / f".validation.{'1' * 32}" / "joints.npy",
        make_windows(work, 5) / "train" / "joints.npy",
    )
    for path in goes:
        make_old(path)
    assert main(["disk", str(work.root)]) == 0
    told = capsys.readouterr().out
    must_say(
        told, "1 file in store/recordings: recordings of earlier versions",
        "runs/main/until-20261120T060000: set aside",
        "runs/main/folds/fold-1-of-2/until-20261120T060000-more: set aside",
        f"runs/main/teacher/{DRAFT}: half written", f"cache/windows/{goes[-1].parents[1].name}: windows that no split",
        f"{needed.name}/.validation.{'1' * 32}: half written", "--sweep` removes that",
    )  # fmt: skip
    assert all(path.is_file() for path in (*goes, first))
    sweep(work)
    must_say(capsys.readouterr().out, "removing runs/main/until-20261120T060000, 7 bytes")
    assert content(work) == before
    assert not goes[0].parents[1].exists()
    assert len(list(SkeletonStore.open(work.store).read_recordings())) == RECORDINGS
    sweep(work)
    must_say(capsys.readouterr().out, "nothing of it is known to be of no use", "0 bytes less now")
    assert content(work) == before


def test_the_version_in_force_stays_though_the_log_has_a_later_one(work: WorkFolder) -> None:
    head = work.store_head.read_bytes()
    (in_force,) = work.store.glob("recordings/*.parquet")
    make_store(work, TOY)
    work.store_head.write_bytes(head)  # as where the ingest was killed before its last step
    sweep(work)
    assert list(work.store.glob("recordings/*.parquet")) == [in_force]
    assert len(list(SkeletonStore.open(work.store).read_recordings())) == RECORDINGS
    make_store(work, TOY)  # and the log goes on from there
    assert SkeletonStore.open(work.store).info.version == 2


def test_windows_of_a_teacher_stay_though_the_settings_have_changed(work: WorkFolder) -> None:
    key = make_windows(work, 5).name
    teacher = made(TEACHER, provenance={"made_from": {"windows": key}})
    TEACHER.write(work.run("main").teacher_model, teacher)
    assert look_at_disk(work).unneeded == ()


def test_windows_of_a_fold_of_the_answer_stay(work: WorkFolder) -> None:
    key = make_windows(work, 4).name
    fold = work.run("main").fold("fold-1-of-2")
    SPLIT.write(fold.split_copy, SPLIT.read(work.split_file("main")))
    fewer = SPLIT.read(work.split_file("main"))
    roles = {**fewer.roles, "P01": "validation"}
    SPLIT.write(work.split_file("main"), SPLIT.record(
        name="main", rule=fewer.rule, store=fewer.store, roles=roles
    ))  # fmt: skip
    assert look_at_disk(work).unneeded == ()
    fold.split_copy.unlink()
    assert [one.what for one in look_at_disk(work).unneeded] == [f"cache/windows/{key}"]


def test_a_young_draft_may_be_of_a_command_at_work_and_stays(work: WorkFolder) -> None:
    write_whole(work.run("main").teacher / DRAFT, b"x")
    assert look_at_disk(work).unneeded == ()


def test_windows_stay_where_it_cannot_be_told_which_are_needed(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    made_windows = make_windows(work, 5)
    aside = make_old(work.run("main").root / "until-20261120T060000" / "file")
    work.run("main").teacher_model.write_text("{")
    sweep(work)
    must_say(capsys.readouterr().out, "which windows are needed cannot be told", "model.json")
    assert made_windows.is_dir()
    assert not aside.exists()


def test_what_a_link_leads_to_is_left_alone(work: WorkFolder, tmp_path: Path) -> None:
    elsewhere = make_old(tmp_path / "elsewhere" / "file").parent
    aside = make_old(work.run("main").root / "until-20261120T060000" / "file").parent
    (aside / "link").symlink_to(elsewhere)
    (work.run("main").root / "until-20261121T060000").symlink_to(elsewhere)
    sweep(work)
    assert not aside.exists()
    assert (elsewhere / "file").is_file()


def test_sweeping_is_refused_where_another_command_works_but_looking_is_not(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    aside = make_old(work.run("main").root / "until-20261120T060000" / "file")
    with hold(work.root, "search", print, lambda: None):
        assert main(["disk", str(work.root)]) == 0
        capsys.readouterr()
        assert main(["disk", str(work.root), "--sweep"]) == 1
    must_say(one_sentence(capsys.readouterr().err), "`gaitforge search`", "wait for its end")
    assert aside.is_file()


def test_a_folder_without_a_store_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = make_old(tmp_path / DRAFT)
    must_say(refused(capsys, "disk", tmp_path, "--sweep"), "no work folder with a store")
    assert list(tmp_path.iterdir()) == [draft]


def test_windows_outside_the_folder_are_said_to_be_there(work: WorkFolder) -> None:
    kept = SETTINGS.read(work.settings)
    text = SETTINGS.as_json(kept).replace(b'"cache": ""', b'"cache": "/scratch/gait"')
    work.settings.write_bytes(text)
    (note,) = look_at_disk(work).notes
    assert "/scratch/gait" in note


def test_a_folder_on_s3_is_looked_at_and_swept(s3_folder: str) -> None:
    work = make_folder(open_path(s3_folder))
    (first,) = work.store.glob("recordings/*.parquet")
    aside = SplitFolder(work.run("main").root / "until-20261120T060000").front
    write_whole(aside, b"x" * 40)
    make_store(work, TOY)
    disk = look_at_disk(work)
    assert {file.part: file.size for file in disk.files if file.size == 40} == {"set aside": 40}
    assert disk.to_spare == 40 + first.stat().st_size
    sweep_disk(disk, print)
    assert not aside.exists()
    assert not first.exists()
    assert look_at_disk(work).unneeded == ()
    assert len(list(SkeletonStore.open(work.store).read_recordings())) == RECORDINGS
