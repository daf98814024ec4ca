"""Teachers of several members: who trains on whom, what they answer together, and what each answers alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from gaitforge.batch import Batch
from gaitforge.models.ensemble import Ensemble
from gaitforge.models.output import Output
from gaitforge.records.split import SPLIT
from gaitforge.settings import (
    FitPlan,
    SearchSettings,
    TeacherSettings,
    read_settings,
    teacher_identity,
)
from gaitforge.work import SplitFolder, WorkFolder
from tests.conftest import own_ray
from tests.small_line import run, write_run
from tests.test_loop import examples
from tests.test_reference import two_sides
from trainers.pipeline import Line
from trainers.search.checks import check_cross_fit
from trainers.teacher.members import deal_parts
from trainers.teacher.outputs import answer_all, answer_unseen
from trainers.training.examples import load_examples, load_outputs
from trainers.training.teacher_file import Teacher


class Says(nn.Module):
    """A model whose logits are one number and its negative."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))

    def forward(self, batch: Batch) -> Output:
        ones_B = torch.ones(len(batch.seen_BTV))
        logits = torch.stack([self.number * ones_B, -self.number * ones_B], dim=1)
        return Output(logits, logits, logits[..., None, None])


def test_members_answer_by_the_mean_of_their_logits_and_the_features_of_the_first() -> None:
    together = Ensemble([Says(1.0), Says(4.0)])
    output = together(examples().take_batch(torch.arange(3)))
    assert output.logits_BK.tolist() == [[2.5, -2.5]] * 3
    assert output.embedding_BD.tolist() == [[1.0, -1.0]] * 3
    assert set(together.state_dict()) == {"members.0.number", "members.1.number"}


def test_people_of_a_class_are_dealt_in_turn_and_all_windows_of_a_person_go_together() -> None:
    """Classes alternate, so that people 0, 2, 4 are of the first and 1, 3, 5 of the second."""
    windows = two_sides(6)
    assert deal_parts(windows, 3).tolist() == [0, 0, 1, 1, 2, 2]
    twice = replace(windows, recording_N=np.array([0, 0, 1, 1, 2, 2]))
    part = deal_parts(twice, 2)
    assert (part[::2] == part[1::2]).all()
    with pytest.raises(ValueError, match=r"members is 7 with .* but there are 6 training people"):
        deal_parts(windows, 7)


def test_a_window_is_answered_by_the_member_that_has_not_seen_its_person() -> None:
    train = examples()
    arrays = {"logits": np.zeros((len(train), train.views, 2), np.float16)}
    part_N: NDArray[np.int64] = np.arange(len(train)) % 2
    answer_unseen(Ensemble([Says(1.0), Says(4.0)]), train, arrays, part_N)
    assert arrays["logits"][:, :, 0].tolist() == [[1.0, 1.0], [4.0, 4.0]] * 5
    with pytest.raises(TypeError, match="Says has no members"):
        answer_unseen(Says(1.0), train, arrays, part_N)


def test_answers_may_be_asked_for_some_windows_only() -> None:
    train = examples()
    arrays = {"logits": np.zeros((len(train), train.views, 2), np.float16)}
    answer_all(Says(3.0), train, arrays, index_N=torch.tensor([2, 5]))
    assert np.flatnonzero(arrays["logits"][:, 0, 0]).tolist() == [2, 5]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"members": 0}, r"teacher\.members is 0, but must be at least 1"),
        ({"cross_fit": True}, r"deals people among members, but teacher\.members is 1; raise it"),
        (
            {"members": 2, "workers": 2},
            r"members is 2, each .* but teacher\.workers is 2; make it 1",
        ),
    ],
)
def test_members_that_cannot_be_are_refused(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TeacherSettings(fit=FitPlan(batch=8), **settings)  # type: ignore[arg-type]


def test_terms_that_compare_features_are_refused_where_each_window_has_another_member() -> None:
    crossed = TeacherSettings(members=2, cross_fit=True)
    check_cross_fit(crossed, SearchSettings(terms=("kd", "wttm", "dist")))
    check_cross_fit(TeacherSettings(members=2), SearchSettings(terms=("hint", "rkd")))
    for name, reads in (("hint", "joints"), ("rkd", "embedding")):
        with pytest.raises(ValueError, match=rf"'{name}', which reads the teacher's {reads}, but"):
            check_cross_fit(crossed, SearchSettings(terms=("kd", name)))


def test_a_teacher_of_one_member_is_called_as_before() -> None:
    assert teacher_identity(TeacherSettings(members=1), "w") == teacher_identity(
        TeacherSettings(), "w"
    )
    assert teacher_identity(TeacherSettings(members=2), "w") != teacher_identity(
        TeacherSettings(), "w"
    )


@pytest.mark.cluster
def test_members_are_trained_side_by_side_and_answer_for_people_they_have_not_seen(
    tmp_path: Path,
) -> None:
    changes = {"teacher": {"members": 3, "cross_fit": True}, "teacher.fit": {"epochs": 2}}
    settings = write_run(tmp_path, changes)
    with own_ray() as home:
        for stage in ("ingest", "split", "teacher", "outputs"):
            answer = run(stage, settings, ray_home=home)
            assert answer.returncode == 0, answer.stderr
    work = WorkFolder(tmp_path / "work")
    folder = SplitFolder(work.run("main").root)
    teacher = Teacher.read(folder)
    assert (teacher.members, teacher.cross_fit, teacher.epochs) == (3, True, 2)
    split = SPLIT.read(work.split_file("main"))
    ((_, windows),) = Line(read_settings(settings)).open_windows("train")
    model = teacher.load(folder, windows)
    assert isinstance(model, Ensemble)
    first = [member.state_dict() for member in model.members]
    assert all(any((first[0][k] != other[k]).any() for k in other) for other in first[1:])
    train = load_examples(windows, "train")
    part_N = deal_parts(windows.open_role("train"), 3)
    assert len(split.people("train")) >= 3
    stored = load_outputs(folder.teacher_outputs, "logits")
    for part, member in enumerate(model.members):
        rows = torch.from_numpy(np.flatnonzero(part_N == part))
        with torch.no_grad():
            logits = member(train.take_batch(rows, torch.ones_like(rows))).logits_BK
        torch.testing.assert_close(stored[rows, 1].float(), logits, atol=2e-3, rtol=2e-3)
