"""Rules of `gaitforge forget`: no file tells of the person any more, the others keep all that is theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trainers.forget
from gaitforge.hold import hold
from gaitforge.records.export import CARD
from gaitforge.records.search import SEARCH
from gaitforge.records.split import SPLIT
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.scorings import count_scorings, record_scoring
from gaitforge.store import SkeletonStore
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import (
    SplitFolder,
    WorkFolder,
    read_json,
    sweep_drafts,
    write_parquet,
    write_whole,
)
from tests.made import made
from tests.small_line import write_run
from tests.test_adding_people import add_people
from tests.test_cli import must_say, one_sentence, refused
from tests.toy_work import Toy, make_split, make_store, make_work
from trainers.__main__ import main
from trainers.disk import look_at_disk
from trainers.forget import forget_person

TOY = Toy(people=2, trials=6, running=0, split="main", classes=("ataxia", "healthy"))
TRAINS, VALIDATES, CONFIRMS = "P01", "P09", "P12"  # of 12 people
Forget = Callable[[str], None]


def make_folder(root: Path) -> WorkFolder:
    """A work folder in which every kind of file tells of each of the twelve people."""
    work = make_work(root, TOY)
    make_store(work, TOY)  # an earlier version is in the log from now on
    run, split = work.run("main"), SPLIT.read(work.split_file("main"))
    learned = [*split.people("train"), *split.people("validation")]
    seen = {"seen": learned, "made_from": {"split": split.identity}}
    TEACHER.write(run.teacher_model, made(TEACHER, provenance=seen))
    SEARCH.write(run.search_head, made(SEARCH, provenance=seen))
    OUTPUTS.write(run.outputs.head, made(OUTPUTS, provenance=seen))
    people = pa.table({"person": [*split.roles], "recording": [f"{its}-0" for its in split.roles]})
    write_parquet(run.predictions / "train.parquet", people)
    aside = SplitFolder(run.root / "until-20261120T060000")
    SPLIT.write(aside.split_copy, split)
    write_parquet(aside.predictions / "train.parquet", people)
    SPLIT.write(run.fold("fold-1-of-2").split_copy, split)
    for models in ("a", "b"):
        record_scoring(
            work, store=split.store, split="main", people=split.people("confirm"), models=models
        )
    record_scoring(work, store=split.store, split="main", people=[CONFIRMS], models="c")
    CARD.write(work.exported.card, made(CARD, provenance={"seen": [*split.roles]}))
    write_whole(work.export / "card.md", " ".join(split.roles).encode())
    store = SkeletonStore.open(work.store)
    windows = build_windows(
        work.cache, store_fingerprint=store.info.fingerprint, split=split, layout=store.layout,
        classes=store.classes, settings=WindowSettings(length=4), recordings=store.read_recordings,
    )  # fmt: skip
    for role in ("train", "validation", "confirm"):
        windows.open_role(role)
    write_whole(work.store / "refused.csv", " ".join(split.roles).encode())
    write_whole(work.settings, " ".join(split.roles).encode())
    write_whole(run.teacher / f".model.json.{'0' * 32}", " ".join(split.roles).encode())
    return work


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return make_folder(tmp_path / "work")


def list_tellers(work: WorkFolder, person: str) -> list[str]:
    """The files that tell of a person: by their name, by their text, or by a value of a Parquet file."""
    found = []
    for path in sorted(work.root.rglob("*")):
        if not path.is_file():
            continue
        told = str(path.relative_to(work.root))
        if path.suffix == ".parquet":
            told += str(pq.read_table(path).drop_columns(_numbers(path)).to_pylist())
            told += (
                path.read_bytes().decode("latin-1")
                if f"{person}-".encode() in path.read_bytes()
                else ""
            )
        elif path.suffix != ".npy":
            told += path.read_bytes().decode("latin-1")
        if person in told:
            found.append(str(path.relative_to(work.root)))
    return found


def _numbers(path: Path) -> list[str]:
    return [field.name for field in pq.read_schema(path) if not pa.types.is_string(field.type)]


def check_others(work: WorkFolder, person: str) -> None:
    """Everybody else is in the store and keeps the role."""
    store = SkeletonStore.open(work.store)
    others = {f"P{number:02d}" for number in range(1, 13)} - {person}
    counts = store.read_index().column("person").to_pylist()
    assert {its: counts.count(its) for its in others} == dict.fromkeys(others, 8)
    assert len(counts) == 8 * 11
    assert len(list(store.read_recordings())) == store.info.recordings == 8 * 11
    assert (store.info.fingerprint, store.info.quarantined) == ("0f3a5c7e9b1d", 5)
    roles = SPLIT.read(work.split_file("main")).roles
    before = {"P01": "train", "P09": "validation", "P12": "confirm"}
    assert set(roles) == others
    assert {its: roles[its] for its in before if its != person} == {
        its: role for its, role in before.items() if its != person
    }
    assert look_at_disk(work).unneeded == ()


@pytest.mark.parametrize("person", [TRAINS, VALIDATES, CONFIRMS])
def test_no_file_tells_of_who_was_forgotten_and_the_others_stay(
    person: str, work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told = list_tellers(work, person)
    # the log names the first and the last person
    log = "" if person == VALIDATES else "_delta_log"
    for place in (log, ".parquet", "refused.csv", "splits/", "runs/main/folds/", "until-"):
        assert any(place in name for name in told), place
    assert any(name.startswith("cache/") for name in told)
    assert any(name.startswith("export/") for name in told)
    assert main(["forget", str(work.root), person]) == 0
    assert list_tellers(work, person) == []
    check_others(work, person)
    assert read_json(work.summary)["teacher"] is None
    said = capsys.readouterr().out
    must_say(
        said, "runs/main: ", "to be trained again", "export: ", "8 recordings removed", "`gaitforge run run.toml`",
        "the files of [ingest] too",
    )  # fmt: skip
    seen = "seen by teacher, teacher outputs, search" in said
    assert seen == (person != CONFIRMS)
    must_say(refused(capsys, "forget", work.root, person), f"tells of a person '{person}'")
    check_others(work, person)


def test_how_often_the_other_confirm_people_were_scored_stays_known(work: WorkFolder) -> None:
    assert count_scorings(work, [CONFIRMS]) == 3
    forget_person(work, CONFIRMS, print)
    assert count_scorings(work, [CONFIRMS]) == 0
    assert count_scorings(work, ["P11"]) == 2
    assert len(list(work.scorings.iterdir())) == 2


class Killed(BaseException):
    """Stands for a kill: nothing in the code may catch it."""


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let the step-th change that forgetting makes to the disk be its last but one: it does not come to be."""
    left = [step]

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return change(*arguments, **named)

        return inner

    for name in ("remove_whole", "write_summary"):
        patch.setattr(trainers.forget, name, counted(getattr(trainers.forget, name)))
    patch.setattr(Path, "rename", counted(Path.rename))
    patch.setattr(Path, "replace", counted(Path.replace))


@pytest.mark.parametrize("swept", [False, True])
def test_forgetting_that_was_killed_is_finished_by_the_same_command(
    swept: bool, tmp_path: Path
) -> None:
    """Also where a stage that was started over a minute later has swept what killed commands leave."""
    step, killed = 0, True
    whole = make_folder(tmp_path / "whole")
    while killed:
        work = WorkFolder(tmp_path / str(step))
        copy_tree(whole.root, work.root)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(step, patch)
            try:
                forget_person(work, TRAINS, lambda _: None)
                killed = False
            except Killed:
                pass
        if killed:
            if swept:
                for path in work.root.rglob(".*"):
                    os.utime(path, (0, 0))
                sweep_drafts(work.root)
            answer = main(["forget", str(work.root), TRAINS])
            # where the old store, which was left over, has been swept, nothing tells of them any more
            assert answer == 0 or (swept and answer == 2 and step > 12), step
        assert list_tellers(work, TRAINS) == [], step
        check_others(work, TRAINS)
        assert swept or read_json(work.summary)["store"]["people"] == 11
        step += 1
    assert step > 15


def copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def test_what_was_made_without_the_person_stays_as_it_is(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    make_store(work, TOY)
    make_split(work, TOY)
    split = SPLIT.read(work.split_file("main"))
    roles = {its: role for its, role in split.roles.items() if its != TRAINS}
    SPLIT.write(work.split_file("main"), made(SPLIT, name="main", store=split.store, roles=roles))
    run = work.run("main")
    TEACHER.write(run.teacher_model, made(TEACHER, provenance={"seen": ["P02", "P03"]}))
    kept = (run.teacher_model, work.split_file("main"))
    before = [path.read_bytes() for path in kept]
    forget_person(work, TRAINS, print)
    assert [path.read_bytes() for path in kept] == before
    check_others(work, TRAINS)
    assert list_tellers(work, TRAINS) == []


def test_who_is_only_in_what_was_set_aside_is_known_and_forgotten(work: WorkFolder) -> None:
    forget_person(work, TRAINS, print)
    aside = SplitFolder(work.run("main").root / "until-20261120T060000")
    SPLIT.write(aside.split_copy, made(SPLIT, roles={TRAINS: "train"}))
    forget_person(work, TRAINS, print)
    assert list_tellers(work, TRAINS) == []


@pytest.mark.parametrize("person", ["P13", "train", "main", "P0", "healthy", ""])
def test_an_unknown_person_is_refused_and_nothing_is_changed(
    person: str, work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in work.root.rglob("*") if path.is_file()}
    must_say(refused(capsys, "forget", work.root, person), f"'{person}'", "take the id from")
    after = {path: path.read_bytes() for path in work.root.rglob("*") if path.is_file()}
    assert {path: its for path, its in after.items() if path.name != ".held"} == before


def test_a_link_is_refused_since_what_it_leads_to_would_stay(
    work: WorkFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work.cache.rename(tmp_path / "scratch")
    work.cache.symlink_to(tmp_path / "scratch")
    must_say(refused(capsys, "forget", work.root, TRAINS), str(work.cache), "is a link")
    assert list_tellers(work, TRAINS)


def test_the_only_person_of_a_store_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = make_folder(tmp_path / "work")
    store = SkeletonStore.open(work.store)
    SkeletonStore.write(work.store, store.layout, store.read_recordings([TRAINS]), "one")
    must_say(refused(capsys, "forget", work.root, TRAINS), "only one in the store", "remove")


def test_forgetting_is_refused_where_another_command_works_and_on_s3(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(work.root, "search", print, lambda: None):
        assert main(["forget", str(work.root), TRAINS]) == 1
    must_say(one_sentence(capsys.readouterr().err), "`gaitforge search`")
    must_say(refused(capsys, "forget", "s3://bucket/work", TRAINS), "is on S3", "copy the folder")


def test_the_line_goes_on_without_who_was_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, work = tmp_path / "run.toml", WorkFolder(tmp_path / "work")
    add_people(tmp_path, 12)
    for stage in ("ingest", "split"):
        assert main([stage, str(settings)]) == 0
    before = dict(SPLIT.read(work.split_file("main")).roles)
    person = next(its for its, role in before.items() if role == "train")
    assert main(["forget", str(work.root), person]) == 0
    capsys.readouterr()
    for stage in ("ingest", "split"):  # of the same files, in which the person still is
        assert main([stage, str(settings)]) == 0
    must_say(capsys.readouterr().out, "11 people are there already")
    del before[person]
    assert SPLIT.read(work.split_file("main")).roles == before


def test_a_stage_between_the_two_stores_of_a_killed_command_loses_neither_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_run(tmp_path)
    assert main(["ingest", str(settings)]) == 0
    work = WorkFolder(tmp_path / "work")
    person = SkeletonStore.open(work.store).read_index().column("person")[0].as_py()
    work.store.rename(work.root / trainers.forget.NEXT)  # as between the two renames
    capsys.readouterr()
    for stage in ("ingest", "split"):
        assert main([stage, str(settings)]) == 2
        must_say(
            one_sentence(capsys.readouterr().err), "was ended", "type it again", "finishes it"
        )
    assert main(["forget", str(work.root), str(person)]) == 0
    assert person not in SkeletonStore.open(work.store).read_index().column("person").to_pylist()
