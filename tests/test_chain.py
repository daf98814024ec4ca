"""The chain of identities: whatever changes, a stage makes its artefact anew or refuses before it writes anything."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard.reading import work_folder
from dashboard.reading.model_files import read_export, read_tested_weights
from dashboard.reading.models import collect_models
from gaitforge.provenance import Provenance
from gaitforge.records.split import ROLES, SPLIT
from gaitforge.scorings import count_scorings, scored_sentence
from gaitforge.settings import SETTINGS
from gaitforge.weights import weights_of
from gaitforge.work import StoreFolder, WorkFolder, read_json, write_json
from tests.conftest import LineFolder
from tests.made import kind_of, read_provenance
from tests.small_line import Tables, write_recordings, write_run
from tests.test_cli import must_say, one_sentence, refused
from tests.test_trial import nan_logits
from tests.try_page import APP, open_page, words
from tests.without_ray import changed, do_without_ray
from trainers.__main__ import STAGES, main
from trainers.confirm import confirm
from trainers.training import scoring
from trainers.training.reference import load_reference

pytestmark = pytest.mark.slow

ORDER = [stage for stage in STAGES if stage != "run"]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    do_without_ray(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished line of a toy's run.toml."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        do_without_ray(patch)
        assert main(["run", str(write_run(folder, changed()))]) == 0
    return folder


@dataclass(frozen=True, slots=True)
class Copy(LineFolder):
    """A copy of the finished line, and other settings for it."""

    def change(self, *changes: Tables) -> None:
        write_run(self.folder, changed(*changes))

    def run(self, *arguments: str) -> int:
        return main([arguments[0], str(self.settings), *arguments[1:]])

    def tree(self) -> dict[str, str]:
        """Every file of the work folder with a hash of its content."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.work.root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def line(finished: Path, tmp_path: Path) -> Copy:
    shutil.copytree(finished / "work", tmp_path / "work")
    copy = Copy(tmp_path)
    copy.change()
    return copy


# what each change of an input must be refused by; every other stage has nothing to do with it

CHANGES: dict[str, tuple[Tables, str]] = {
    "recordings": ({"ingest.synthetic": {"seed": 1}}, "ingest run"),
    "layout": ({"ingest.synthetic": {"layout": "kinect25"}}, "ingest run"),
    "split seed": ({"split": {"seed": 5}}, "split teacher outputs search confirm export run"),
    "split fractions": (
        {"split": {"fractions": [0.25, 0.5, 0.25]}},
        "split teacher outputs search confirm export run",
    ),
    "split rule": (
        {"split": {"rule": "folds", "folds": 2, "fractions": [0.6, 0.2, 0.2]}},
        "split teacher outputs search confirm export run",
    ),
    "window length": ({"windows": {"length": 9}}, "teacher outputs search confirm export run"),
    "views": ({"windows": {"views": 2}}, "teacher outputs search confirm export run"),
    "teacher epochs": (
        {"teacher.fit": {"epochs": 2}},
        "teacher outputs search confirm export run",
    ),
    "teacher sizes": (
        {"teacher.sizes": {"channels": 8}},
        "teacher outputs search confirm export run",
    ),
    "search epochs": ({"search.fit": {"epochs": 2}}, "search confirm export run"),
    "objectives": ({"search": {"objectives": ["macro_f1", "macs"]}}, "search confirm export run"),
    "families": ({"search": {"families": ["stgcn"]}}, "search confirm export run"),
    "margin": ({"confirm": {"margin": 0.3}}, "export"),
    "seeds": ({"confirm": {"seeds": 2}}, "export"),
}


def heads_of(line: Copy) -> dict[str, Path]:
    """The files in which the artefacts of the main split tell of themselves, by their names."""
    folder = line.split
    return {
        "teacher": folder.teacher / "model.json",
        "outputs": folder.teacher_outputs / "outputs.json",
        "search": folder.search / "search.json",
        **{f"refit {p.stem}": p for p in (folder.confirm / "refits").glob("*.json")},
        "scores": folder.confirm / "scores.json",
        "export": line.work.export / "card.json",
    }


def check_chain(line: Copy, stage: str = "run") -> None:
    """What lies before a stage, and what it has made, belong together, and none has seen who is to be confirmed."""
    work = line.work
    split = SPLIT.read(work.split_file("main"))
    store = read_json(work.store / "store.json")["fingerprint"]
    assert split.store == store
    told: dict[str, Provenance] = {}
    for name, head in heads_of(line).items():
        # of an older confirm, which the next export will find out
        if name == "export" and stage not in ("export", "run"):
            continue
        found = read_provenance(head)
        assert found is not None, name
        told[name] = found
    used = {"windows": told["teacher"].made_from["windows"], "split": split.identity}
    meta = read_json(work.cache / "windows" / used["windows"] / "meta.json")
    assert (meta["store"], meta["roles"]) == (store, dict(split.roles))
    identities = used | {name: found.identity for name, found in told.items()}
    for name, found in told.items():
        for source, identity in found.made_from.items():
            if source in identities:
                assert identity == identities[source], f"{name} is of another {source}"
    confirm = set(split.people("confirm"))
    learned = set(split.people("train")) | set(split.people("validation"))
    for name, found in told.items():
        # what came of confirm was chosen by those whom it scored
        chosen = confirm if name in ("scores", "export") else set()
        assert found.seen == learned | chosen, name


def test_every_artefact_tells_what_it_was_made_from_and_whom_it_has_seen(line: Copy) -> None:
    check_chain(line)
    front = read_json(line.split.search / "front.json")
    assert front["search"] == read_json(line.split.search / "search.json")["identity"]


def test_every_json_file_of_a_line_is_a_record_that_is_written_again_as_it_is(
    finished: Path,
) -> None:
    work = WorkFolder(finished / "work")
    others = {work.settings, StoreFolder(work.store).layout, *work.store.rglob("_delta_log/*")}
    files = [path for path in work.root.rglob("*.json") if path not in others]
    for path in files:
        kind = kind_of(path.relative_to(work.root))
        assert kind.as_json(kind.read(path)) == path.read_bytes(), path
    assert len(files) > 15
    assert SETTINGS.as_json(SETTINGS.read(work.settings)) == work.settings.read_bytes()


def test_the_dashboard_reads_without_a_problem_what_the_line_has_trained(finished: Path) -> None:
    work = WorkFolder(finished / "work")
    found = work_folder.look(work)
    assert (found.splits, found.problems) == (("main",), ())
    line = work_folder.read_results(work, "main")
    assert line.problems == ()
    assert found.store is not None
    assert line.teacher is not None
    assert line.confirm is not None
    assert line.teacher.classes == found.store.classes
    assert [trial.number for trial in line.trials] == [0, 1]
    assert line.confirm.answer.trial in line.front
    told = collect_models(line)
    assert [len(told[number].curve) for number in sorted(told)] == [1, 1, 1]
    outdated = work_folder.read_outdated(work, "main", line)
    assert (outdated.answer, outdated.export) == (None, None)
    problems: list[work_folder.Problem] = []
    export = read_export(work, problems, outdated.export)
    assert problems == []
    assert export is not None
    assert export.trial == line.confirm.answer.trial
    weights = read_tested_weights(work, "main", line.confirm.answer, problems)
    assert weights is not None


def test_stages_that_are_run_again_write_nothing_new(line: Copy) -> None:
    assert line.run("ingest") == 0  # settings.json names the folder
    before = line.tree()
    for stage in (*ORDER, "run"):
        assert line.run(stage) == 0
        assert line.tree() == before, stage


def test_confirm_says_whom_of_the_front_it_leaves_out(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    front = read_json(line.split.search / "front.json")["front"]
    capsys.readouterr()
    assert line.run("confirm") == 0
    assert f"  1 of {len(front)} members of the front are confirmed" in capsys.readouterr().out


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_input_is_refused_before_anything_is_written_or_its_artefact_is_made_anew(
    name: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    change, stages = CHANGES[name]
    refusing = stages.split()
    line.change(change)
    before = line.tree()
    for stage in refusing:
        must_say(refused(capsys, stage, line.settings), ";")
        assert line.tree() == before, stage
    for stage in [stage for stage in (*ORDER, "run") if stage not in refusing]:
        assert line.run(stage) == 0, stage
        check_chain(line, stage)
    if (
        "ingest" not in refusing
    ):  # a command has had these settings, so that readers can know of them
        told = read_json(line.work.summary)["outdated"]
        assert (told["answer"] is None) == (told["export"] is None) == (line.run("export") == 0)


def test_other_recordings_in_the_store_are_refused_by_all_that_comes_after_it(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    line.change(CHANGES["recordings"][0])
    assert line.run("ingest", "--fresh") == 0
    before = line.tree()
    for stage in (*ORDER[1:], "run"):
        must_say(refused(capsys, stage, line.settings), "undo the change")
        assert line.tree() == before, stage


def shown(line: Copy, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["show", str(line.work.root)]) == 0
    return capsys.readouterr().out


def opened(line: Copy, patch: pytest.MonkeyPatch) -> str:
    """What the dashboard's first page says."""
    patch.setattr(sys, "argv", [str(APP), str(line.work.root)])
    return words(open_page("overview"))


OUTDATED: dict[str, tuple[Tables, list[str], str, str]] = {
    "more trials": (
        {"search": {"trials": 8}}, ["search"], "an earlier front of the search, or of another [confirm]", "confirm",
    ),
    "margin": (
        {"confirm": {"margin": 0.3}}, ["search"], "an earlier front of the search, or of another [confirm]", "confirm",
    ),
    "recordings": (CHANGES["recordings"][0], ["ingest", "--fresh"], "other recordings", "run"),
    "search epochs": (CHANGES["search epochs"][0], ["teacher"], "another [search]", "run"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [*OUTDATED],
)
def test_an_answer_that_export_would_refuse_is_nowhere_told_as_the_one_of_now(
    name: str, line: Copy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change, command, of, advice = OUTDATED[name]
    verdict = read_json(line.work.summary)["verdict"]["word"]
    assert "out of date" not in shown(line, capsys) + opened(line, monkeypatch)
    line.change(change)
    assert line.run(*command) == 0
    refused(capsys, "export", line.settings)
    summary = read_json(line.work.summary)
    assert summary["verdict"] is summary["exported"] is None
    for subject, sentence in (
        ("The confirmed answer", summary["outdated"]["answer"]),
        ("The exported student", summary["outdated"]["export"]),
    ):
        must_say(sentence, f"{subject} is out of date, being of {of}; ", f"`gaitforge {advice} ")
        assert sentence in shown(line, capsys)
        assert sentence in opened(line, monkeypatch)
    assert f"  verdict: {verdict}" not in shown(line, capsys)
    assert f"Out of date: {verdict}" in opened(line, monkeypatch)
    follow(line, "export", capsys)
    assert read_json(line.work.summary)["outdated"] == {"answer": None, "export": None}
    assert "out of date" not in shown(line, capsys) + opened(line, monkeypatch)


def test_an_export_of_before_the_last_confirm_is_told_to_be_so(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    line.change({"confirm": {"margin": 0.3}})
    assert line.run("confirm") == 0
    summary = read_json(line.work.summary)
    assert summary["verdict"] is not None
    assert summary["exported"] is summary["outdated"]["answer"] is None
    must_say(summary["outdated"]["export"], "being of an earlier answer", "`gaitforge export ")
    assert summary["outdated"]["export"] in shown(line, capsys)


def test_an_export_of_recordings_that_were_read_otherwise_is_refused_and_told_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, people, frames = Copy(tmp_path), 24, 40
    recordings = tmp_path / "walks.npz"
    write_recordings(
        recordings,
        frames=np.random.default_rng(0).random((people * frames, 17, 3), dtype=np.float32),
        offsets=np.arange(0, people * frames + 1, frames),
        subject=np.array([f"s{number}" for number in range(people)]),
        label=np.array(["healthy", "ataxia"] * (people // 2)),
    )

    def read(confidence_channel: int) -> None:
        tables: Tables = {
            "ingest": {"files": [recordings.name], "layout": "coco17"},
            "ingest.read": {"confidence_channel": confidence_channel, "fps": 20.0},
            "search": {"allow_chance": True},
        }
        write_run(line.folder, {**changed(tables), "ingest.synthetic": None})

    def refused_export(*words: str) -> None:
        before = line.tree()
        must_say(refused(capsys, "export", line.settings), *words, "undo the change")
        assert line.tree() == before

    read(2)
    assert line.run("run") == 0
    read(0)
    refused_export("confidence_channel = 2 and", "confidence_channel = 0 and")
    assert line.run("outputs") == 0  # it has no need of them, and readers know of the settings
    told = read_json(line.work.summary)["outdated"]
    for sentence in (told["answer"], told["export"]):
        must_say(sentence, "being of recordings read otherwise than [ingest.read] says", "--fresh")
    head = read_json(line.work.store_head)
    write_json(line.work.store_head, {key: head[key] for key in head if key != "read"})
    refused_export("read in another way", "confidence_channel = 0 and")  # as an older version's
    write_json(line.work.store_head, head)
    recordings.unlink()
    refused_export("confidence_channel = 2 and")
    read(2)
    assert line.run("export") == 0
    assert read_json(line.work.summary)["outdated"] == {"answer": None, "export": None}


@pytest.mark.parametrize("weights", [None, b"others"])
def test_an_answer_whose_refit_has_lost_its_weights_is_told_to_be_so(
    weights: bytes | None, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line.run("ingest") == 0  # settings.json names the copy
    assert read_json(line.work.summary)["outdated"] == {"answer": None, "export": None}
    head, *_ = sorted(line.split.refits.glob("*.json"))
    if weights is None:
        weights_of(head).unlink()
    else:
        weights_of(head).write_bytes(weights)
    refused(capsys, "export", line.settings)
    shown(line, capsys)
    told = read_json(line.work.summary)["outdated"]
    for sentence in (told["answer"], told["export"]):
        must_say(sentence, f"remove {head.name} and run `gaitforge confirm run.toml`")
    head.unlink()
    assert line.run("confirm") == 0
    assert read_json(line.work.summary)["outdated"]["answer"] is None


ADVICE = re.compile(r"`gaitforge (\w+)( --fresh)? run\.toml`")


def follow(line: Copy, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Do what refusals advise until the stage goes through."""
    command = [stage]
    for _ in range(12):
        capsys.readouterr()
        status = line.run(*command)
        if status == 0 and command[0] == stage:
            return
        if status == 0:
            command = [stage]
            continue
        *_, advice = ADVICE.finditer(capsys.readouterr().err)
        other, fresh = advice.groups()
        command = [other, *(["--fresh"] if fresh else [])]
    raise AssertionError(f"{stage} still refused after 12 commands, next {command}")


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("recordings", "ingest"),
        *(("split seed", stage) for stage in ("split", "teacher", "search", "confirm", "export")),
        *(("window length", stage) for stage in ("teacher", "outputs", "search", "confirm")),
        *(("search epochs", stage) for stage in ("search", "confirm", "export")),
    ],
)
def test_what_a_refusal_advises_helps_and_loses_nothing(
    name: str, stage: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    change, refusing = CHANGES[name]
    assert stage in refusing.split()
    kept = {
        path.name: path.read_bytes()
        for head, path in heads_of(line).items()
        if head not in ("outputs", "export")
    }
    times = count_scorings(line.work, SPLIT.read(line.work.split_file("main")).roles)
    assert times == 1
    roles = SPLIT.read(line.work.split_file("main")).roles
    line.change(change)
    follow(line, stage, capsys)
    follow(line, "export", capsys)
    if name in ("recordings", "split seed"):
        (split,) = line.split.root.glob("until-*/split.json")
        assert SPLIT.read(split).roles == roles
    check_chain(line)
    there = {path.read_bytes() for path in line.split.root.rglob("*.json")}
    assert [name for name, content in kept.items() if content not in there] == []


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("recordings", "ingest"),
        ("split fractions", "split"),
        ("split fractions", "confirm"),
        ("teacher epochs", "search"),
    ],
)
def test_one_command_as_a_refusal_spells_it_makes_all_of_a_changed_input_anew(
    name: str,
    stage: str,
    line: Copy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line.change(CHANGES[name][0])
    sentence = refused(capsys, stage, line.settings)
    (command,) = re.findall("`gaitforge (.+?)`", sentence)
    monkeypatch.chdir(line.folder)
    assert main(command.split()) == 0
    check_chain(line)


# people


@pytest.mark.parametrize("name", ["teacher", "outputs", "search", "refit student-"])
def test_confirm_refuses_by_name_whoever_has_been_seen(
    name: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = SPLIT.read(line.work.split_file("main")).people("confirm")
    (head,) = (path for key, path in heads_of(line).items() if key.startswith(name))
    told = read_json(head)
    told["provenance"]["seen"].append(first)
    write_json(head, told)
    before = line.tree()
    sentence = refused(capsys, "confirm", line.settings)
    must_say(sentence, name, "1 person", "never seen before", f"({first})", "another role")
    assert line.tree() == before


@pytest.mark.parametrize(
    ("file", "stage", "advice"),
    [
        ("search/front.json", "confirm", "run `gaitforge search run.toml` first"),
        ("confirm/scores.json", "export", "run `gaitforge confirm run.toml` first"),
        ("teacher_outputs/outputs.json", "search", "run `gaitforge outputs run.toml` first"),
        ("teacher_outputs/outputs.json", "confirm", "run `gaitforge outputs run.toml` first"),
    ],
)
def test_what_came_of_another_artefact_is_refused_and_made_again_as_advised(
    file: str, stage: str, advice: str, line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    head = line.split.root / file
    content = read_json(head)
    content["identity"] = content["search"] = "0123456789ab"
    content.get("provenance", {})["identity"] = "0123456789ab"
    write_json(head, content)
    before = line.tree()
    must_say(refused(capsys, stage, line.settings), advice)
    assert line.tree() == before
    follow(line, stage, capsys)
    check_chain(line)


def old(line: Copy) -> None:
    """Make it a folder of before artefacts told what they were made from."""
    for path in (*line.work.runs.rglob("*.json"), line.work.export / "card.json"):
        content = read_json(path)
        new = ("provenance", "search", "times_scored", "times_scored_sentence")
        if isinstance(content, dict):
            write_json(path, {key: value for key, value in content.items() if key not in new})
    shutil.rmtree(line.work.scorings, ignore_errors=True)


def test_an_older_folder_is_refused_in_a_sentence_and_set_aside_by_who_begins_anew(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    old(line)
    for stage in ("split", "teacher", "outputs", "search", "confirm", "export", "run"):
        must_say(refused(capsys, stage, line.settings), "provenance", "--fresh")
    assert line.run("run", "--fresh") == 0
    check_chain(line)
    assert list(line.split.root.glob("until-*/teacher/model.json"))


def test_a_search_without_the_teachers_outputs_is_refused_and_makes_none(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(line.split.teacher_outputs)
    before = line.tree()
    for arguments in ((), ("--fresh",)):
        sentence = refused(capsys, "search", line.settings, *arguments)
        must_say(sentence, "no outputs", "run `gaitforge outputs run.toml` first")
    assert line.tree() == before
    assert line.run("outputs") == line.run("search") == 0


def test_a_search_whose_head_is_gone_is_not_taken_for_another(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    (line.split.search / "search.json").unlink()
    must_say(refused(capsys, "search", line.settings), "no search.json", "search --fresh")
    assert line.run("search", "--fresh") == 0
    assert len(list(line.split.root.glob("until-*/search/trials/*.json"))) == 2


# how often they were scored


def scores(line: Copy) -> dict[str, Any]:
    content: dict[str, Any] = read_json(line.split.confirm / "scores.json")
    return content


def test_people_scored_again_with_other_models_or_margin_are_counted_through_fresh_and_said(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    people = SPLIT.read(line.work.split_file("main")).people("confirm")
    assert count_scorings(line.work, people) == scores(line)["times_scored"] == 1
    assert line.run("confirm") == 0  # the same models
    assert count_scorings(line.work, people) == 1
    line.change({"confirm": {"margin": 0.2}})  # the same models, asked another question
    assert line.run("confirm") == 0
    assert count_scorings(line.work, people) == 2
    line.change({"confirm": {"seeds": 2}})
    capsys.readouterr()
    assert line.run("confirm") == 0
    assert scores(line)["times_scored"] == 3
    said = scored_sentence(3)
    assert said is not None
    must_say(said, "scored 3 times in this work folder", "other work folders")
    assert said in capsys.readouterr().out
    assert main(["show", str(line.work.root)]) == 0
    assert said in capsys.readouterr().out
    line.change({"search": {"seed": 3}})
    assert line.run("run", "--fresh") == 0
    assert count_scorings(line.work, people) == scores(line)["times_scored"] == 4
    assert count_scorings(line.work, ["nobody"]) == 0


def test_a_look_counts_though_it_was_killed_and_once_when_it_goes_on(
    line: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = SPLIT.read(line.work.split_file("main")).people("confirm")
    line.change({"confirm": {"seeds": 2}})
    with monkeypatch.context() as patch:
        patch.setattr(confirm, "run_refits", killed)
        assert line.run("confirm") == 1
    assert count_scorings(line.work, people) == 2
    assert line.run("confirm") == 0
    assert count_scorings(line.work, people) == 2


def killed(*_: object) -> None:
    raise KeyboardInterrupt


# kills


@pytest.mark.parametrize("moved", range(1, 7))
def test_setting_aside_that_was_killed_is_gone_on_with_and_nothing_old_is_used(
    moved: int, line: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders of a run are moved one after the other; of a kill after `moved` of them the rest is left."""
    line.change(CHANGES["split seed"][0])
    renames = 0
    rename = Path.rename

    def killed_then(path: Path, target: Path) -> Path:
        nonlocal renames
        if path.is_dir() and path.parent == line.split.root:
            if renames == moved - 1:
                raise KeyboardInterrupt
            renames += 1
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_then)
        status = line.run("split", "--fresh")
    assert status == (1 if moved <= 5 else 0)  # confirm, outputs, teacher, reference, search
    for stage in ("teacher", "confirm", "export"):
        if status == 1:
            assert line.run(stage) == 2
    assert line.run("split", "--fresh") == 0
    for stage in ORDER[2:]:
        assert line.run(stage) == 0
    check_chain(line)
    assert len(list(line.split.root.glob("until-*/teacher/model.json"))) == 1
    assert len(list(line.split.root.glob("until-*/search/search.json"))) == 1


# students to start from


def test_a_front_that_has_seen_the_people_to_confirm_is_no_start(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = SPLIT.read(WorkFolder(finished / "work").split_file("main"))
    start: Tables = {"search": {"start_from": [str(finished / "work")]}}
    line = Copy(tmp_path)
    for roles, refusal in (
        # the first is scored by it, the other two have taught and chosen
        (("train", "validation", "confirm"), split.people("confirm")),
        (("confirm", "validation", "train"), split.people("train")),
        (("train", "confirm", "validation"), split.people("validation")),
    ):
        named = {role: list(split.people(other)) for role, other in zip(ROLES, roles, strict=True)}
        people: Tables = {"split": {"rule": "people", "fractions": [0.6, 0.2, 0.2], **named}}
        line.change(people, start)
        shutil.rmtree(line.work.root, ignore_errors=True)
        for stage in ("ingest", "split", "teacher", "outputs"):
            assert line.run(stage) == 0
        before = line.tree()
        sentence = refused(capsys, "search", line.settings)
        must_say(sentence, f"search.start_from {finished / 'work'}", refusal[0], "leave it out")
        assert line.tree() == before
        shutil.rmtree(line.work.root)
        assert line.run("ingest") == 0
        before = line.tree()
        assert refused(capsys, "run", line.settings) == sentence  # before a teacher is trained
        assert line.tree() == before


def test_a_search_tells_whom_those_have_seen_that_it_started_from(
    finished: Path, tmp_path: Path
) -> None:
    other = WorkFolder(finished / "work")
    listed = tmp_path / "list.json"
    (front, *_) = read_json(other.run("main").search / "front.json")["front"]
    values = read_json(other.run("main").trials / f"{front['trial']}.json")["suggested"]
    write_json(listed, [values])
    told = tmp_path / "told.json"
    provenance = Provenance(identity="x", seen=frozenset({"somebody"}))
    write_json(told, {"configurations": [values], "provenance": provenance.as_dict()})
    line = Copy(tmp_path)
    line.change({"search": {"start_from": [str(listed), str(told)]}})
    for stage in ("ingest", "split", "teacher", "outputs", "search"):
        assert line.run(stage) == 0
    found = read_provenance(line.split.search / "search.json")
    assert found is not None
    assert "somebody" in found.seen
    assert found.unknown == (f"search.start_from {listed}",)
    # and it is not forgotten where the search goes on without them
    line.change({"search": {"trials": 3}})
    assert line.run("search") == 0
    again = read_provenance(line.split.search / "search.json")
    assert again is not None
    assert (again.seen, again.unknown) == (found.seen, found.unknown)


# weights and their heads


def head_of(line: Copy, name: str) -> Path:
    (head,) = line.split.root.glob(name)
    return head


def change_weights(head: Path) -> None:
    path = head.with_suffix(".safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def forget_weights(head: Path) -> None:
    """Make it a head of before heads told the hash of their weights."""
    write_json(head, {k: v for k, v in read_json(head).items() if k != "weights_sha256"})


@pytest.mark.parametrize("what", [change_weights, forget_weights])
@pytest.mark.parametrize(
    ("name", "stages", "advice"),
    [
        ("teacher/model.json", "teacher outputs search confirm export run", "`gaitforge teacher --fresh run.toml`"),
        ("confirm/refits/student-*.json", "confirm export", "run `gaitforge confirm run.toml`, which trains it anew"),
    ],
)  # fmt: skip
def test_weights_that_are_not_those_of_their_head_are_refused_before_anything_is_written(
    name: str,
    stages: str,
    advice: str,
    what: Callable[[Path], None],
    line: Copy,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = head_of(line, name)
    what(head)
    before = line.tree()
    for stage in stages.split():
        must_say(refused(capsys, stage, line.settings), str(head.with_suffix("")), advice)
        assert line.tree() == before, stage
    if head.parent.name == "refits":
        head.unlink()
        assert line.run("confirm") == 0
    else:
        assert line.run("teacher", "--fresh") == 0
        kept = line.split.root.glob("until-*/teacher/model.safetensors")
        assert len(list(kept)) == 1
        follow(line, "export", capsys)
    check_chain(line)


@pytest.mark.parametrize(
    ("what", "stages"), [(change_weights, ("confirm",)), (forget_weights, ("teacher", "confirm"))]
)
def test_a_reference_with_other_weights_than_its_own_is_fitted_anew_and_that_is_said(
    what: Callable[[Path], None],
    stages: tuple[str, ...],
    line: Copy,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = line.split.reference / "reference.json"
    weights = head.with_suffix(".safetensors").read_bytes()
    what(head)
    with pytest.raises(ValueError, match=r"run `gaitforge teacher run\.toml`, which fits it anew"):
        load_reference(line.split)
    assert [line.run(stage) for stage in stages] == [0] * len(stages)
    must_say(capsys.readouterr().out, "the reference is fitted anew")
    assert head.with_suffix(".safetensors").read_bytes() == weights
    load_reference(line.split)


# answers that are no numbers


def test_a_refit_whose_answers_are_no_numbers_fails_with_that_reason_and_is_not_scored(
    line: Copy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line.change({"confirm": {"seeds": 2}})
    before = heads_of(line)
    monkeypatch.setattr(scoring, "window_logits", nan_logits)
    assert line.run("confirm") == 1
    said = capsys.readouterr().err
    must_say(said, "logits that are no finite numbers", "no class follows", "fit.lr")
    assert said.count("\n") == 1
    assert heads_of(line) == before


# folds


def test_every_fold_of_a_nested_search_scores_people_whom_its_own_chain_has_not_seen(
    tmp_path: Path,
) -> None:
    line = Copy(tmp_path)
    nested: Tables = {"split": {"rule": "folds", "folds": 2, "fractions": [0.6, 0.2, 0.2]}}
    line.change(nested)
    assert line.run("run") == 0
    for name in ("fold-1-of-2", "fold-2-of-2"):
        split = SPLIT.read(line.work.split_file(name))
        held_out = set(split.people("confirm"))
        for head in (
            "teacher/model.json",
            "teacher_outputs/outputs.json",
            "search/search.json",
        ):
            told = read_provenance(line.work.run(name).root / head)
            assert told is not None
            assert told.seen == set(split.roles) - held_out
    pooled = read_provenance(line.work.pooled)
    assert pooled is not None
    assert set(pooled.made_from) == {"fold-1-of-2", "fold-2-of-2"}
    before = line.tree()
    line.change({"split": {**nested["split"], "folds": 3}})  # type: ignore[dict-item]
    assert line.run("split") == 2
    assert line.tree() == before
    assert line.run("split", "--fresh") == 0
    assert {path.stem for path in line.work.splits.glob("*.json")} == {
        f"fold-{i}-of-3" for i in (1, 2, 3)
    }
    kept = line.work.runs.glob("fold-*-of-2/until-*/confirm/scores.json")
    assert len(list(kept)) == 2


def test_folds_of_the_answer_are_made_anew_for_other_people_and_the_old_are_kept(
    line: Copy,
) -> None:
    folds: Tables = {"confirm": {"folds": 2}}
    line.change(folds)
    assert line.run("confirm") == 0
    roles = SPLIT.read(line.work.split_file("main")).roles
    told = read_provenance(line.split.confirm / "folds.json")
    assert told is not None
    assert told.seen == set(
        roles
    )  # who has chosen the configuration, besides who taught the folds
    # confirm's own people once, the others by the folds
    assert count_scorings(line.work, roles) == 1

    def fold_refits() -> dict[str, Provenance]:
        found = {}
        for path in sorted(line.split.folds.glob("*/confirm/refits/*.json")):
            refit = read_provenance(path)
            assert refit is not None
            split = SPLIT.read(path.parents[2] / "split.json")
            assert refit.seen == set(split.roles) - set(split.people("confirm"))
            found[split.name] = refit
        return found

    first = fold_refits()
    assert set(first) == {"fold-1-of-2", "fold-2-of-2"}
    # nothing in run.toml deals them otherwise without another split
    other = line.split.fold("fold-1-of-2").root / "split.json"
    content = read_json(other)
    content["roles"] = dict(list(content["roles"].items())[1:])
    write_json(other, content)
    before = (line.split.fold("fold-1-of-2").teacher / "model.json").read_bytes()
    assert line.run("confirm") == 0
    fold_refits()
    (kept,) = line.split.folds.glob("fold-1-of-2/until-*/teacher/model.json")
    assert kept.read_bytes() == before


@pytest.mark.parametrize("content", ["{}", "[]"])
@pytest.mark.parametrize(
    "head",
    ["teacher/model.json", "teacher_outputs/outputs.json", "search/search.json", "search/front.json",
     "reference/reference.json", "confirm/refits/student-{}-seed10000.json"],
)  # fmt: skip
def test_a_head_that_tells_nothing_is_named_in_one_sentence(
    line: Copy, capsys: pytest.CaptureFixture[str], head: str, content: str
) -> None:
    (refit,) = (line.split.confirm / "refits").glob("*.json")
    path = line.split.root / head.format(refit.name.split("-")[1])
    path.write_text(content, encoding="utf-8")
    assert line.run("confirm") == 2
    said = one_sentence(capsys.readouterr().err)
    must_say(said, str(path), "cannot be used as", "`gaitforge ")


@pytest.mark.parametrize(
    ("head", "stage"),
    [("store/store.json", "ingest"), ("runs/main/teacher_outputs/outputs.json", "outputs"),
     ("runs/main/search/front.json", "search"), ("runs/main/confirm/scores.json", "confirm"),
     ("export/card.json", "export"), ("runs/main/reference/reference.json", "teacher")],
)  # fmt: skip
def test_what_a_later_version_wrote_is_left_as_it_is_but_for_fresh(
    line: Copy, capsys: pytest.CaptureFixture[str], head: str, stage: str
) -> None:
    path = line.work.root / head
    write_json(path, {**read_json(path), "schema": 9})
    before = line.tree()
    for asked in (stage, "run"):
        must_say(
            refused(capsys, asked, line.settings),
            str(path),
            "schema is 9",
            "the version",
            "--fresh",
        )
    assert line.tree() == before


def test_a_refit_of_other_sizes_than_its_weights_is_named(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    head = head_of(line, "confirm/refits/student-*.json")
    told = read_json(head)
    write_json(
        head, {**told, "sizes": {**told["sizes"], "channels": 2 * told["sizes"]["channels"]}}
    )
    shutil.rmtree(line.work.export)
    said = refused(capsys, "export", line.settings)
    must_say(said, str(weights_of(head)), "another model", f"remove {head.name}")


def test_windows_without_classes_are_named(line: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    metas = list(line.work.cache.rglob("meta.json"))
    for meta in metas:
        write_json(meta, {**read_json(meta), "classes": []})
    said = refused(capsys, "outputs", line.settings)
    must_say(said, "meta.json", "'classes' is [], but must be not empty", "remove the folder")


def test_an_answer_whose_teacher_outputs_are_gone_is_told_to_be_so(
    line: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line.run("ingest") == 0  # settings.json names the copy
    line.split.outputs.head.unlink()
    refused(capsys, "export", line.settings)
    shown(line, capsys)
    for sentence in read_json(line.work.summary)["outdated"].values():
        must_say(sentence, "teacher outputs that are not there", "`gaitforge outputs run.toml`")
    assert line.run("outputs") == 0
    assert read_json(line.work.summary)["outdated"] == {"answer": None, "export": None}
