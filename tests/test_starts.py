"""Students to try first: from fronts and files, only what the search space holds, each once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.search import FRONT
from gaitforge.records.trial import Trial
from gaitforge.settings import SearchSettings
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder
from search_spaces import Proposal
from tests.made import made
from trainers.search.search import propose
from trainers.search.starts import find_misfit, read_front_values, read_starts

SETTINGS = SearchSettings(families=("tcn", "stgcn"), terms=("kd",))


def of(*families: str) -> Any:
    return partial(propose, SearchSettings(families=families, terms=("kd",)))


EVERY = of("tcn", "stgcn")


def drawn(seed: int, family: str | None = None) -> dict[str, Any]:
    """Searched values as a search of both families draws them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    while True:
        trial = study.ask()
        EVERY(trial)
        if family in (None, trial.params["family"]):
            return trial.params


def searched(work: Path, students: dict[int, dict[str, Any]], split: str = "main") -> WorkFolder:
    """A work folder whose search has these students on its front, by trial number."""
    folder = WorkFolder(work).run(split)
    for number, suggested in students.items():
        TrialLog(folder).add(
            Trial(
                number=number, state="finished", family=suggested["family"], sizes={}, params=1, macs=1,
                seed=number, hash=str(number), suggested=suggested, distributions={}, recipe=Recipe(),
                distill=Distillation(),
                scores={"val_macro_f1": 0.5},
            )
        )  # fmt: skip
    FRONT.write(folder.front, made(FRONT, front=[{"trial": number} for number in students]))
    return WorkFolder(work)


def test_starts_of_a_search_that_did_not_ask_about_its_only_term_fit_all_the_same(
    tmp_path: Path,
) -> None:
    before = {"weight.kd": 0.5, "temperature": 3.5}
    drawn_now = {k: v for k, v in drawn(0).items() if k not in ("terms.logits", *before)}
    file = listed(tmp_path / "old.json", [{**drawn_now, **before}, drawn_now])
    on, off = read_starts([file], EVERY, [], ("kd",))
    assert (on["terms.logits"], off["terms.logits"]) == ("kd", "none")
    assert EVERY(optuna.trial.FixedTrial(on)).distillation.weights == {"kd": 0.5}
    with pytest.raises(ValueError, match=r"Configuration 0 .* does not fit"):
        read_starts([file], EVERY)


def listed(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


# what fits a search space


@pytest.mark.parametrize("seed", range(5))
def test_what_a_space_has_proposed_fits_it(seed: int) -> None:
    values = json.loads(json.dumps(drawn(seed)))  # as they come back from a file
    assert find_misfit(values, EVERY) is None
    proposal: Proposal = EVERY(optuna.trial.FixedTrial(values))
    assert proposal.family == values["family"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lr": 5.0}, "lr"),  # out of its range
        ({"tcn.layers": 1000}, "tcn.layers"),
        ({"family": "mlp"}, "mlp"),
        ({"tcn.layers": 2.5}, "tcn.layers"),
        ({"tcn.layers": None}, "None"),
        ({"width": 3}, "nothing is searched under the name width"),
        ({"stgcn.depth": 3}, "nothing is searched under the name stgcn.depth"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_told_with_its_name(change: dict[str, Any], why: str) -> None:
    reason = find_misfit({**drawn(0, "tcn"), **change}, EVERY)
    assert reason is not None
    assert why in reason
    assert not reason.endswith(".")
    assert "\n" not in reason


def test_a_value_that_is_missing_is_told_with_its_name() -> None:
    values = drawn(0)
    del values["lr"]
    assert "lr" in (find_misfit(values, EVERY) or "")


# where they come from


def test_a_work_folder_gives_the_members_of_its_fronts(tmp_path: Path) -> None:
    first, second, third = (drawn(seed) for seed in range(3))
    work = searched(tmp_path, {7: first, 2: second}, "fold0")
    searched(tmp_path, {0: third}, "fold1")
    assert read_front_values(work) == [first, second, third]
    assert read_starts([str(tmp_path)], EVERY) == [first, second, third]


def test_of_another_search_only_what_the_space_holds_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitting, other = drawn(0, "tcn"), drawn(0, "stgcn")
    searched(tmp_path, {0: fitting, 1: other})
    assert read_starts([str(tmp_path)], of("tcn")) == [fitting]
    assert f"starts from 1 of 2 students of {tmp_path}" in capsys.readouterr().out
    assert read_starts([str(tmp_path)], EVERY) == [fitting, other]


def test_a_file_is_a_list_of_searched_values(tmp_path: Path) -> None:
    values = [drawn(0), drawn(1)]
    assert read_starts([listed(tmp_path / "best.json", values)], EVERY) == values


def test_each_student_is_tried_once_in_the_order_of_the_paths(tmp_path: Path) -> None:
    first, second, third = (drawn(seed) for seed in range(3))
    searched(tmp_path / "work", {0: first, 1: second})
    file = listed(tmp_path / "best.json", [second, third, third])
    assert read_starts([file, str(tmp_path / "work")], EVERY) == [second, third, first]


def test_without_paths_there_is_nothing_to_try_first() -> None:
    assert read_starts([], EVERY) == []


# what is wrong


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"search\.start_from names .*none.*; mend the path"
    ):
        read_starts([str(tmp_path / "none")], EVERY)


def test_a_work_folder_without_a_searched_front_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no searched front is there; search there first"):
        read_starts([str(tmp_path)], EVERY)


@pytest.mark.parametrize("content", [{"lr": 1}, [1, 2], "tcn", [[]]])
def test_a_file_that_is_no_list_of_values_is_named(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match=r"best\.json must be a list of searched values"):
        read_starts([listed(tmp_path / "best.json", content)], EVERY)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text("family = 3")
    with pytest.raises(ValueError, match=r"best\.json is not JSON"):
        read_starts([str(tmp_path / "best.json")], EVERY)


def test_a_configuration_of_a_file_that_does_not_fit_is_named_by_its_place(
    tmp_path: Path,
) -> None:
    file = listed(tmp_path / "best.json", [drawn(0), {**drawn(1), "lr": 9.0}])
    with pytest.raises(ValueError, match=r"Configuration 1 of .*best\.json does not fit .*lr"):
        read_starts([file], EVERY)


def test_values_given_in_the_settings_come_after_those_of_the_paths_and_must_fit(
    tmp_path: Path,
) -> None:
    first, other = drawn(1, "tcn"), drawn(2, "tcn")
    file = listed(tmp_path / "best.json", [first])
    assert read_starts([file], EVERY, [first, other]) == [first, other]
    with pytest.raises(ValueError, match=r"Configuration 1 of search\.start_with does not fit"):
        read_starts([], EVERY, [other, {**other, "tcn.kernel": 4}])
