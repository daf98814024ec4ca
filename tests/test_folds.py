"""Folds of the answer: who is dealt where, and that nothing of a fold's people reaches what scores them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from gaitforge.ingest.synthetic import SyntheticSettings
from gaitforge.losses import LOSSES
from gaitforge.recipe import Distillation
from gaitforge.recording import Recording
from gaitforge.records.confirm import FOLDS, Compared
from gaitforge.records.split import Split
from gaitforge.records.teacher import TEACHER as TEACHER_FILE
from gaitforge.settings import ConfirmSettings, IngestSettings, RunSettings, TeacherSettings
from gaitforge.splits import SplitSettings
from gaitforge.weights import write_weights
from gaitforge.window_cache import WindowCache, build_windows
from gaitforge.work import SplitFolder, WorkFolder, read_json
from tests.made import made
from tests.small_line import Tables, run, write_run
from tests.test_cli import must_say
from tests.test_confirm import CLASSES, LEGS, MEMBER, TEACHER, WINDOWS, walks
from trainers.confirm.answers import folds_sentence
from trainers.confirm.confirm import train_refit
from trainers.confirm.folds import deal_folds, train_fold
from trainers.confirm.refit_file import SEED, STUDENT, make_refits
from trainers.pipeline import check_folds
from trainers.teacher.outputs import write_outputs
from trainers.training.predictions import read_predictions
from trainers.training.window_folder import WindowFolder

PEOPLE = {f"p{i:02d}": {CLASSES[i % 2]} for i in range(12)}
ROLES = dict(zip(PEOPLE, 4 * ["train"] + 4 * ["validation"] + 4 * ["confirm"], strict=True))
SPLIT = Split(name="main", rule={}, store="s", roles=ROLES)
SETTINGS = RunSettings(work="", ingest=IngestSettings(synthetic=SyntheticSettings()))


# who is dealt where


def dealt(folds: int = 3, split: Split = SPLIT, **settings: int) -> list[Split]:
    return deal_folds(folds, SplitSettings(**settings), split, PEOPLE)  # type: ignore[arg-type]


def test_people_of_every_role_are_held_out_once() -> None:
    folds = dealt()
    assert [fold.name for fold in folds] == ["fold-1-of-3", "fold-2-of-3", "fold-3-of-3"]
    held_out = Counter(person for fold in folds for person in fold.people("confirm"))
    assert held_out == dict.fromkeys(PEOPLE, 1)
    for fold in folds:
        assert set(fold.roles) == set(PEOPLE)
        assert fold.people("train")
        assert fold.people("validation")
        # stratified: the classes of each part are those of all
        assert Counter(int(person[1:]) % 2 for person in fold.people("confirm")) == {0: 2, 1: 2}


def test_people_that_the_split_leaves_out_are_in_no_fold() -> None:
    some = replace(SPLIT, roles={person: ROLES[person] for person in list(PEOPLE)[2:]})
    assert {person for fold in dealt(2, some) for person in fold.roles} == set(some.roles)


def test_the_same_seed_deals_the_same_folds() -> None:
    assert dealt(seed=3) == dealt(seed=3)
    assert dealt(seed=3) != dealt(seed=4)


def test_folds_that_the_people_do_not_suffice_for_are_refused_by_their_setting() -> None:
    with pytest.raises(ValueError, match=r"confirm.folds is 13, but split 'main' has 12 people"):
        dealt(13)
    two = {person: ROLES[person] for person in ("p00", "p02", "p04", "p01", "p03")}
    with pytest.raises(ValueError, match=r"With confirm.folds = 2: Class 'well' has nobody"):
        dealt(2, replace(SPLIT, roles=two))


@pytest.mark.parametrize("rule", ["folds", "leave_one_person_out"])
def test_folds_of_splits_that_are_folds_are_refused(rule: str) -> None:
    settings = replace(SETTINGS, split=SplitSettings(rule=rule), confirm=ConfirmSettings(folds=3))
    with pytest.raises(ValueError, match=rf"confirm.folds is 3, but split.rule = '{rule}'"):
        check_folds(settings)
    check_folds(replace(settings, confirm=ConfirmSettings()))
    check_folds(replace(settings, split=SplitSettings()))


# nothing of the people held out reaches what scores them

RecordingsOf = Callable[[Collection[str]], Iterator[Recording]]


def walks_changed_for(changed: Collection[str]) -> RecordingsOf:
    """Everybody's walks; those of `changed` people are quite other ones."""

    def recordings(people: Collection[str]) -> Iterator[Recording]:
        for walk in walks(people):
            far = walk.positions_TVC[::-1] ** 3 * 40 + 7
            yield replace(walk, positions_TVC=far) if walk.person in changed else walk

    return recordings


def fold_windows(root: Path, fold: Split, changed: Collection[str]) -> WindowCache:
    cache = build_windows(
        root, store_fingerprint="s", split=fold, layout=LEGS, classes=CLASSES, settings=WINDOWS,
        recordings=walks_changed_for(changed),
    )  # fmt: skip
    for role in ("train", "validation", "confirm"):
        cache.open_role(role)
    return cache


@pytest.mark.parametrize("number", range(3))
def test_other_walks_of_the_people_held_out_change_no_window_that_is_learned_from(
    number: int, tmp_path: Path
) -> None:
    fold = dealt()[number]
    one = fold_windows(tmp_path / "a", fold, [])
    other = fold_windows(tmp_path / "b", fold, fold.people("confirm"))
    assert json.dumps(one.normalisation.as_dict()) == json.dumps(other.normalisation.as_dict())
    for role in ("train", "validation"):
        files = sorted(path.name for path in (one.folder / role).iterdir())
        assert "joints.npy" in files
        for file in files:
            same = (one.folder / role / file).read_bytes()
            assert same == (other.folder / role / file).read_bytes(), file
        assert set(one.open_role(role).persons).isdisjoint(fold.people("confirm"))
    assert not np.array_equal(one.open_role("confirm").joints, other.open_role("confirm").joints)


def taught_student(root: Path, fold: Split, changed: Collection[str]) -> SplitFolder:
    """One distilled student of a fold whose teacher has learned nothing, and its predictions."""
    windows = WindowFolder.open(fold_windows(root / "cache", fold, changed).folder)
    folder = SplitFolder(root).fold(fold.name)
    teacher = replace(TEACHER, family="tcn", sizes={"channels": 8, "layers": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = windows.build(teacher.family, teacher.sizes)
    head = folder.teacher_model
    told = write_weights(head, save(model.state_dict()))
    its = {
        "family": teacher.family,
        "sizes": teacher.sizes,
        "provenance": teacher.provenance.as_dict(),
    }
    TEACHER_FILE.write(head, made(TEACHER_FILE, fingerprint=teacher.fingerprint, **its, **told))
    outputs = write_outputs(windows, folder, LOSSES)
    # of all terms, those with a memory too
    distill = Distillation(weights=dict.fromkeys(LOSSES, 0.1))
    trial = replace(MEMBER, sizes={"channels": 4, "layers": 1}, distill=distill)
    refit = make_refits(ConfirmSettings(), trial, windows, outputs, teacher.fingerprint)[0]
    train_refit(refit, str(folder.root), None)
    return folder


def test_other_walks_of_the_people_held_out_change_no_output_and_no_weight(tmp_path: Path) -> None:
    fold = dealt()[1]
    one = taught_student(tmp_path / "a", fold, [])
    other = taught_student(tmp_path / "b", fold, fold.people("confirm"))
    (head,) = (one.confirm / "refits").glob("*.safetensors")
    assert head.read_bytes() == (other.confirm / "refits" / head.name).read_bytes()
    for name in ("logits", "embedding", "joints"):
        answers = (one.teacher_outputs / f"{name}.npy").read_bytes()
        assert answers == (other.teacher_outputs / f"{name}.npy").read_bytes(), name
    # only the scores of the people held out are other ones
    seed = int(head.stem.split("seed")[1])
    for role, same in (("validation", True), ("confirm", False)):
        tables = [
            read_predictions(folder, role, STUDENT, MEMBER.number, seed) for folder in (one, other)
        ]
        rows, others = (table.to_pylist() for table in tables)
        assert (rows == others) is same
        assert {row["person"] for row in rows} == set(fold.people(role))


def test_windows_of_the_people_held_out_are_not_there_while_a_teacher_learns(
    tmp_path: Path,
) -> None:
    asked: list[tuple[str, ...]] = []
    fold = dealt()[0]

    def windows_of(split: Split, *roles: str) -> WindowFolder:
        asked.append(roles)
        return WindowFolder.open(fold_windows(tmp_path / "cache", split, []).folder)

    nobody = replace(SETTINGS, teacher=TeacherSettings(family="nobody"))
    with pytest.raises(KeyError, match="nobody"):
        train_fold(nobody, fold, windows_of, SplitFolder(tmp_path), MEMBER)
    assert asked == [("train", "validation")]


# what is said


def test_the_sentence_says_that_the_configuration_has_seen_the_people() -> None:
    folds = made(
        FOLDS, splits=5, people=40, teacher={"macro_f1": 0.81}, alone=None,
        student={
            "macro_f1": 0.8, "params": [500, 500], "difference": -0.01, "difference_interval": [-0.04, 0.02],
        },
    )  # fmt: skip
    assert folds_sentence(folds, 7) == (
        "Trained anew in 5 folds over all 40 people, each scored by models that never saw them, the student of trial 7 "
        "has 500 parameters and macro F1 0.800 against 0.810 of the teacher; difference -0.010 (95 % interval -0.040 "
        "to +0.020). Its configuration was chosen with some of these people as validation and confirm people, which "
        'flatters it; a nested search, [split] with rule = "folds", does not have that.'
    )
    gain = Compared(
        macro_f1=0.79, interval=None, accuracy=0.8, balanced_accuracy=0.8, weighted_kappa=0.5, difference=0.01,
        difference_interval=(-0.01, 0.03),
    )  # fmt: skip
    must_say(
        folds_sentence(replace(folds, alone=gain), 7),
        "0.790 without distillation, which adds +0.010 (95 % interval -0.010 to +0.030). Its",
    )


# the whole of it


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_folds_score_everybody_once_and_a_second_run_redoes_none(
    tmp_path: Path, ray_home: Path
) -> None:
    changes: Tables = {
        "teacher.fit": {"epochs": 2},
        "search": {"trials": 1},
        "search.fit": {"epochs": 1},
        "confirm": {"members": 1, "folds": 2},
    }
    settings = write_run(tmp_path, changes)
    answer = run("run", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    work = WorkFolder(tmp_path / "work")
    split = work.run("main")
    folds = read_json(split.confirm / "folds.json")
    assert (folds["people"], folds["splits"], folds["nested"]) == (24, 2, False)
    assert folds["student"]["interval"] is not None
    # a student that refused every term is alone already
    taught = read_json(split.trial(folds["trial"]))["distill"]["weights"]
    assert (folds["alone"] is not None) == bool(taught)
    assert folds["sentence"] in answer.stdout
    everybody = read_json(work.split_file("main"))["roles"]
    scored: list[str] = []
    for name in ("fold-1-of-2", "fold-2-of-2"):
        fold = split.fold(name)
        roles = read_json(fold.root / "split.json")["roles"]
        assert set(roles) == set(everybody)
        rows = read_predictions(fold, "confirm", STUDENT, folds["trial"], SEED).to_pylist()
        assert {roles[row["person"]] for row in rows} == {"confirm"}
        scored += [row["person"] for row in rows]
    assert sorted(scored) == sorted(everybody)  # with one recording each

    def states() -> dict[Path, tuple[int, int]]:
        """What cost work, with its inode and time."""
        kept = [
            path
            for name in ("teacher", "teacher_outputs", "confirm")
            for path in (split.root / "folds").rglob(f"{name}/**/*")
            if path.is_file()
        ]
        assert kept
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept}

    before = states()
    home = set(ray_home.iterdir())
    answer = run("confirm", settings, ray_home=ray_home)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert states() == before
    assert set(ray_home.iterdir()) == home, "Ray was started for nothing"
    assert read_json(split.confirm / "folds.json") == folds
    shown = run("show", work.root, ray_home=ray_home)
    assert folds["sentence"] in shown.stdout

    off = write_run(tmp_path, {**changes, "confirm": {"members": 1}})
    assert run("confirm", off, ray_home=ray_home).returncode == 0
    assert not (split.confirm / "folds.json").exists(), "it says what the settings do not ask for"
