"""The run.toml of one student: it parses, names the student's family and sizes, and keeps people and teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from dashboard.student.run_file import run_toml
from gaitforge.recipe import Recipe
from gaitforge.records.search import SEARCH as SEARCH_FILE
from gaitforge.records.split import SPLIT
from gaitforge.records.trial import Trial
from gaitforge.settings import SETTINGS, RunSettings, SearchSettings, as_dict, read_settings
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder
from search_spaces import Proposal
from tests.made import made
from trainers.search.search import propose

EXAMPLES = Path(__file__).parents[1] / "examples"
SEARCH = SearchSettings(
    families=("stgcn", "tcn"), terms=("kd", "rkd"), trials=40, seed=3,
    streams=(("joints",), ("joints", "bones")),
)  # fmt: skip
ROLES = {"ann": "train", 'bo "the\nsecond"': "train", "cy": "validation", "dee": "confirm"}


def tried(number: int, seed: int) -> tuple[Trial, Proposal]:
    """A trial as a search keeps it, and what its search space had proposed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    asked = study.ask()
    student = propose(SEARCH, asked)
    trial = Trial(
        number=number, state="finished", family=student.family, sizes=student.sizes.as_dict(),
        params=5, macs=5, seed=number, hash="", suggested=asked.params, distributions={},
        recipe=Recipe(lr=student.lr), distill=student.distillation,
        scores={"val_macro_f1": 0.5, "val_accuracy": 0.5},
    )  # fmt: skip
    return trial, student


def kept(root: Path, trial: Trial, settings: RunSettings | None) -> WorkFolder:
    work = WorkFolder(root / "work")
    run = work.run("main")
    TrialLog(run).add(trial)
    SEARCH_FILE.write(run.search_head, made(SEARCH_FILE, settings=as_dict(SEARCH)))
    SPLIT.write(work.split_file("main"), made(SPLIT, name="main", roles=ROLES))
    if settings is not None:
        SETTINGS.write(work.settings, settings)
    return work


def read_back(root: Path, work: WorkFolder, number: int) -> RunSettings:
    path = root / "one.toml"
    path.write_text(run_toml(work, "main", number), encoding="utf-8")
    return read_settings(path)


@pytest.mark.parametrize("seed", range(6))
def test_the_only_trial_is_the_student_with_its_family_sizes_and_recipe(
    seed: int, tmp_path: Path
) -> None:
    trial, student = tried(17, seed)
    work = kept(tmp_path, trial, read_settings(EXAMPLES / "demo.toml"))
    settings = read_back(tmp_path, work, 17)
    search = settings.search
    assert (search.trials, search.families) == (1, (trial.family,))
    (values,) = search.start_with
    fixed = optuna.trial.FixedTrial(dict(values))
    assert propose(search, fixed) == student
    assert search.fit.seed == 17
    assert (settings.confirm.members, settings.confirm.neighbours) == (1, 0)


def test_people_keep_their_roles_and_the_teacher_its_settings(tmp_path: Path) -> None:
    made_with = read_settings(EXAMPLES / "demo.toml")
    work = kept(tmp_path, tried(2, 0)[0], made_with)
    settings = read_back(tmp_path, work, 2)
    split = settings.split
    people = {role: set(getattr(split, role)) for role in ("train", "validation", "confirm")}
    assert people == {role: {p for p, its in ROLES.items() if its == role} for role in people}
    for table in ("ingest", "windows", "teacher"):
        assert getattr(settings, table) == getattr(made_with, table)
    assert settings.work == str(tmp_path / "trial-2")
    same = dataclasses.replace(settings.confirm, members=3, neighbours=1)
    assert same == dataclasses.replace(made_with.confirm, members=3, neighbours=1, folds=0)


def test_a_familys_name_cannot_end_its_comment(tmp_path: Path) -> None:
    trial = dataclasses.replace(tried(2, 0)[0], family='tcn\nwork = "elsewhere"')
    work = kept(tmp_path, trial, read_settings(EXAMPLES / "demo.toml"))
    assert read_back(tmp_path, work, 2).work == str(tmp_path / "trial-2")
