"""The gate before a search: who must be behind the teacher, that it decides once, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaitforge.recipe import Distillation
from gaitforge.records.search import GATE, Gate, GateStudent
from gaitforge.records.teacher import REFERENCE, TEACHER
from gaitforge.settings import ClusterSettings, FitPlan, SearchSettings
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder, WorkFolder, read_json
from tests.made import made
from tests.small_line import write_run
from tests.test_chain import no_ray
from tests.test_reference import make_windows
from tests.without_ray import changed
from trainers.__main__ import main
from trainers.search import gate
from trainers.search.gate import decide, pass_gate
from trainers.show import describe
from trainers.training.student import StudentSpec

__all__ = ["no_ray"]  # a fixture

SPEC = StudentSpec(
    family="tcn", sizes={}, plan=FitPlan(), distillation=Distillation(), windows="w", teacher_outputs="o"
)  # fmt: skip


def alone(f1: float) -> GateStudent:
    return GateStudent(
        family="tcn", sizes={"channels": 8}, params=6_344, epochs=8, seed=0, val_macro_f1=f1, val_accuracy=f1,
        seconds=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("teacher", "reference", "student", "teaches", "says"),
    [
        (0.8, 0.7, 0.75, True, r"0\.800 is ahead of the reference's 0\.700 and of the 0\.750 .*6,344"),
        (0.8, 0.8, None, False, r"0\.800 is not ahead of the reference's 0\.800; students learn"),
        (0.8, 0.9, None, False, r"not ahead of the reference's 0\.900"),
        (0.8, 0.7, 0.8, False, r"not ahead of the 0\.800 that the largest student \(tcn, 6,344"),
        (0.8, 0.7, 0.81, False, r"not ahead of the 0\.810"),
        (0.1 + 0.2, 0.1, 0.3, False, r"not ahead of the 0\.300"),  # equal but for rounding
    ],
)  # fmt: skip
def test_the_teacher_must_be_ahead_of_reference_and_largest_student(
    teacher: float, reference: float, student: float | None, teaches: bool, says: str
) -> None:
    found = decide("s", teacher, reference, None if student is None else alone(student))
    assert found.teaches == teaches
    assert pytest.approx((teacher, reference)) == (found.teacher, found.reference)
    with pytest.raises(ValueError, match=says):
        raise ValueError(found.sentence)


class Gated:
    """A folder with a teacher and a reference of given scores; the student's training is counted, not done."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, teacher: float, reference: float, student: float
    ) -> None:  # fmt: skip
        self.folder = SplitFolder(root / "runs" / "main")
        self.windows = make_windows(root)
        TEACHER.write(self.folder.teacher_model, made(TEACHER, val_macro_f1=teacher))
        self.trained = 0

        def train(*_: object) -> GateStudent:
            self.trained += 1
            return alone(student)

        patch.setattr(gate, "train_alone", train)
        patch.setattr(gate, "write_reference", lambda *_: made(REFERENCE, val_macro_f1=reference))

    def open(self, settings: SearchSettings, search: str = "s") -> tuple[str, ...]:
        """The terms that students may learn by."""
        cluster = ClusterSettings()
        passed = pass_gate(
            settings, cluster, self.windows, self.folder, search, Path("o"), lambda: SPEC
        )
        return passed.terms


def test_a_teacher_that_is_ahead_teaches_and_one_that_is_not_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = Gated(tmp_path / "a", monkeypatch, 0.8, 0.5, 0.7)
    assert ahead.open(SearchSettings()) == ("kd",)
    behind = Gated(tmp_path / "b", monkeypatch, 0.8, 0.5, 0.8)
    assert behind.open(SearchSettings()) == ()
    kept = GATE.read(behind.folder.gate)
    assert (kept.search, kept.teaches, kept.student) == ("s", False, alone(0.8))


def test_it_is_decided_once_for_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(tmp_path, monkeypatch, 0.8, 0.5, 0.9)
    assert [gated.open(SearchSettings()) for _ in range(3)] == [()] * 3
    assert gated.trained == 1
    gated.open(SearchSettings(), "another")
    assert gated.trained == 2
    assert GATE.read(gated.folder.gate).search == "another"


def test_behind_the_reference_no_student_is_trained_to_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(tmp_path, monkeypatch, 0.5, 0.5, 0.1)
    assert gated.open(SearchSettings()) == ()
    assert gated.trained == 0
    assert GATE.read(gated.folder.gate).student is None


@pytest.mark.parametrize("settings", [SearchSettings(gate=False), SearchSettings(terms=())])
def test_there_is_no_gate_where_it_is_off_or_there_are_no_terms(
    settings: SearchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(tmp_path, monkeypatch, 0.5, 0.9, 0.9)
    assert gated.open(settings) == settings.terms
    assert not gated.folder.gate.exists()


@pytest.mark.slow
@pytest.mark.parametrize("teaches", [False, True])
def test_a_line_whose_teacher_has_nothing_to_teach_tries_students_without_terms(
    teaches: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    start = {"family": "tcn", "tcn.channels": 4, "tcn.layers": 2, "tcn.kernel": 3, "tcn.dropout": 0.1,
             "lr": 1e-3, "weight_decay": 1e-2, "terms.logits": "kd", "weight.kd": 1.0, "temperature": 2.0}  # fmt: skip
    changes = {"search": {"gate": True, "allow_chance": True, "start_with": [start]}}
    settings = write_run(tmp_path, changed(changes))
    text = settings.read_text()  # TOML's tables are not JSON's
    settings.write_text("\n".join(_in_toml(line) for line in text.splitlines()))
    if not teaches:  # else what is trained here decides, with the teacher far ahead
        monkeypatch.setattr(gate, "train_alone", lambda *_: alone(1.0))
    monkeypatch.setattr(gate, "is_ahead", lambda teacher, other: other < 1.0 or teaches)
    assert main(["run", str(settings)]) == 0
    work = WorkFolder(tmp_path / "work")
    split = work.run("main")
    told: Gate = GATE.read(split.gate)
    assert told.teaches == teaches
    assert told.sentence in capsys.readouterr().out
    assert told.sentence in describe(work)
    assert read_json(work.summary)["search"]["gates"] == {"main": teaches}
    first, *_ = trials = list(TrialLog(split))
    assert len(trials) == 2
    assert first.distill.weights == ({"kd": 1.0} if teaches else {})
    for trial in trials:
        assert teaches or not trial.distill.terms
        assert ("terms.logits" in trial.suggested) == teaches
    # the same command goes on by the same decision
    before = split.gate.read_bytes()
    monkeypatch.setattr(gate, "is_ahead", lambda *_: not teaches)
    settings.write_text(settings.read_text().replace("trials = 2", "trials = 3"))
    assert main(["search", str(settings)]) == 0
    assert split.gate.read_bytes() == before
    assert ("terms.logits" in TrialLog(split).read(2).suggested) == teaches


def _in_toml(line: str) -> str:
    if not line.startswith("start_with"):
        return line
    return line.replace('": ', '" = ')
