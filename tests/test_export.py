"""Export: the file answers as the student does, prediction needs no torch, and the card tells its limits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from gaitforge import export as export_module
from gaitforge.batch import Batch
from gaitforge.cost import count
from gaitforge.export import TOLERANCE, Exported, card_text, export_onnx
from gaitforge.ingest import ReadOptions
from gaitforge.layout import Layout
from gaitforge.metrics import softmax
from gaitforge.models import Output, make_sizes
from gaitforge.models.tcn import TcnSizes
from gaitforge.normalise import normalise
from gaitforge.onnx_file import open_session
from gaitforge.predict import Predictor
from gaitforge.recording import Recording
from gaitforge.records.confirm import REFIT
from gaitforge.records.confirm import SCORES as SCORES_FILE
from gaitforge.records.export import CARD
from gaitforge.records.json_file import plain
from gaitforge.records.split import Split
from gaitforge.settings import ExportSettings
from gaitforge.weights import write_weights
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings, prepare
from gaitforge.work import SplitFolder, read_json, write_json
from tests.made import made
from trainers.confirm.export import export_student, pick_member
from trainers.confirm.refit_file import find_best_refit
from trainers.training.window_folder import WindowFolder

pytestmark = pytest.mark.slow

LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
SIZES = TcnSizes(channels=4, layers=1, kernel=3)
WINDOWS = WindowSettings(mode="slide", length=16, stride=8, views=1)
SPLIT = Split(
    name="main", rule={}, store="s", roles={"p0": "train", "p1": "train", "p2": "validation"}
)
ROOT = Path(__file__).parents[1]


def walk(person: str = "p0", *, frames: int = 30, channels: int = 3, joints: int = 3) -> Recording:
    rng = np.random.default_rng(sum(person.encode()))
    positions = rng.normal(size=(frames, joints, channels)).astype(np.float32)
    positions[3:6, 1] = np.nan  # a joint that is lost for a while
    return Recording(
        recording=f"{person}-0",
        person=person,
        label="ill" if person == "p0" else "well",
        positions_TVC=positions,
    )


def walks(people: Collection[str]) -> Iterator[Recording]:
    return (walk(person) for person in sorted(people))


def confirmed(trial: int, macro_f1: float = 0.8) -> dict[str, Any]:
    params = count(SIZES, LEGS, 3, 2, WINDOWS.length)
    return {
        "trial": trial, "family": "tcn", "params": params.params, "macs": params.macs, "macro_f1": macro_f1,
        "interval": None, "accuracy": 0.8, "seeds": 2, "noninferior": None, "difference": -0.1,
        "difference_interval": None, "alone": {"macro_f1": 0.7, "interval": None, "accuracy": 0.75},
        "network": {
            "seed": 10_001, "macro_f1": macro_f1 + 0.02, "interval": None, "accuracy": 0.82, "difference": -0.08,
            "difference_interval": None, "tested": False,
            "against_reference": {"difference": 0.12, "difference_interval": None},
            "against_chance": {"difference": 0.52, "difference_interval": None},
            "by_person": {"differences": {"p3": -0.5, "p4": 0.25}, "sign_flip_p": 1.0},
        },
    }  # fmt: skip


def beaten(macro_f1: float, lead: float) -> dict[str, Any]:
    """The reference or chance, which the teacher beats by `lead`."""
    better = {"difference": lead, "difference_interval": None}
    return {
        "macro_f1": macro_f1,
        "interval": None,
        "accuracy": macro_f1,
        "teacher_minus_this": better,
    }


REASONS = [
    {"about": "people", "says": "good", "text": "Enough people."},
    {"about": "seeds", "says": "open", "text": "One seed."},
]
TOLD: dict[str, Any] = {
    "margin": 0.05,
    "too_few": True,
    "members": [confirmed(1), confirmed(11, 0.9)],
    "chosen": 1,
    "teacher": {
        "macro_f1": 0.9, "interval": [0.8, 0.95], "accuracy": 0.9, "params": 10_000, "family": "stgcn",
    },
    "reference": beaten(0.7, 0.2),
    "chance": beaten(0.3, 0.6),
    "verdict": {"word": "cannot tell", "sentence": "The student has a score.", "rests_on": REASONS},
    "sentence": "The student has a score.",
}  # fmt: skip


SCORES = made(SCORES_FILE, **TOLD)


def new_student(seed: int) -> nn.Module:
    """A student whose batch norms have seen something, so that evaluation is not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SIZES.build(LEGS, 3, 2)
        for _ in range(5):
            seen = torch.rand(4, 16, 3) > 0.2
            model(Batch(joints_BTVC=1 + 2 * torch.randn(4, 16, 3, 3), seen_BTV=seen))
    return model.eval()


def write_refit(folder: SplitFolder, trial: int, seed: int, val_macro_f1: float) -> None:
    head = folder.refit("student", trial, seed)
    told = write_weights(head, save(new_student(seed).state_dict()))
    facts = {"seed": seed, "family": "tcn", "val_macro_f1": val_macro_f1, **told}
    REFIT.write(head, replace(made(REFIT, **facts), sizes=SIZES.as_dict()))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export as the stage leaves it: trial 1 was chosen, and its seed 10001 validates best."""
    root = tmp_path_factory.mktemp("work")
    cache = build_windows(
        root / "cache", store_fingerprint="s", split=SPLIT, layout=LEGS, classes=("ill", "well"),
        settings=WINDOWS, recordings=walks,
    )  # fmt: skip
    cache.open_role("validation")
    folder = SplitFolder(root / "runs" / "main")
    SCORES_FILE.write(folder.scores, SCORES)
    write_refit(folder, 1, 10_000, 0.6)
    write_refit(folder, 1, 10_001, 0.7)
    write_refit(folder, 11, 10_000, 0.9)
    windows = WindowFolder.open(cache.folder)
    export_student(ExportSettings(), windows, SPLIT, folder, ReadOptions(), root / "export")
    return root / "export"


@pytest.fixture(scope="module")
def student(exported: Path) -> nn.Module:
    """The original of the export, from its weights."""
    card = read_json(exported / "card.json")
    model = make_sizes(card["family"], card["sizes"]).build(LEGS, 3, 2)
    model.load_state_dict(load_file(exported / "student.safetensors"))
    return model.eval()


def logits_of(student: nn.Module, joints: Any, seen: Any) -> np.ndarray:
    with torch.no_grad():
        output: Output = student(
            Batch(joints_BTVC=torch.from_numpy(joints), seen_BTV=torch.from_numpy(seen))
        )
    return output.logits_BK.numpy()


# the file


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_file_answers_as_the_student_does_at_any_batch_size(
    exported: Path, student: nn.Module, batch: int
) -> None:
    rng = np.random.default_rng(batch)
    joints = rng.normal(size=(batch, 16, 3, 3)).astype(np.float32)
    seen = rng.uniform(size=(batch, 16, 3)) > 0.3
    (answer,) = open_session(exported / "student.onnx").run(None, {"joints": joints, "seen": seen})
    np.testing.assert_allclose(answer, logits_of(student, joints, seen), atol=1e-5)


def test_the_file_tells_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    """The exporter writes stack traces, with paths and lines of source, beside every node."""
    written = (exported / "student.onnx").read_bytes()
    for code in (export_module.__file__, torch.__file__):
        assert str(Path(code).parent).encode() not in written
    assert b"stack_trace" not in written


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("ctrgcn", {"widths": [4, 8], "strides": [1, 2]}),
        ("dynstg_mamba", {"widths": [4], "strides": [2], "states": 4}),
        (
            "dynstg_mamba",
            {
                "widths": [4, 4],
                "strides": [2, 1],
                "phases": 4,
                "bidirectional": True,
                "kalman": True,
            },
        ),
        ("stgcn", {"widths": [4, 4], "strides": [1, 2], "kernel": 3}),
    ],
)
def test_students_of_the_graph_families_can_be_exported_too(
    tmp_path: Path, family: str, values: dict[str, object]
) -> None:
    sizes = make_sizes(family, values)
    rng = np.random.default_rng(0)
    facts = export_onnx(
        sizes.build(LEGS, 2, 3),
        rng.normal(size=(7, 17, 3, 2)).astype(np.float32),
        rng.uniform(size=(7, 17, 3)) > 0.3,
        tmp_path / "student.onnx",
    )
    assert facts.max_abs_difference < TOLERANCE
    assert facts.onnx_bytes == (tmp_path / "student.onnx").stat().st_size
    assert 0 < facts.latency_ms_p50 <= facts.latency_ms_p95


class Moody(nn.Module):
    """Another answer at every call, which no file can give."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0.0]

    def forward(self, batch: Batch) -> Output:
        self.calls[0] += 1
        logits = batch.joints_BTVC.mean(dim=(1, 2)) + self.calls[0]
        return Output(logits, logits, logits[..., None, None])


def test_a_file_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    joints, seen = np.zeros((7, 16, 3, 2), np.float32), np.ones((7, 16, 3), np.bool_)
    with pytest.raises(ArithmeticError, match=r"logits differ by .* but must agree within"):
        export_onnx(Moody(), joints, seen, tmp_path / "student.onnx")


class Mean(nn.Module):
    """The mean of each window, so that one window's NaN is its own answer's alone."""

    def forward(self, batch: Batch) -> Output:
        logits = batch.joints_BTVC.mean(dim=(1, 2))
        return Output(logits, logits, logits[..., None, None])


def test_an_answer_that_is_no_number_is_refused_whichever_window_gives_it(tmp_path: Path) -> None:
    joints, seen = np.zeros((7, 16, 3, 2), np.float32), np.ones((7, 16, 3), np.bool_)
    joints[3] = np.nan
    with pytest.raises(ArithmeticError, match=r"differ by nan, .*; name another confirmed trial"):
        export_onnx(Mean(), joints, seen, tmp_path / "student.onnx")


# predicting


def test_predicting_a_recording_equals_the_way_of_training(
    exported: Path, student: nn.Module
) -> None:
    predictor = Predictor.open(exported)
    for person in ("p0", "p7"):
        recording = walk(person)
        windows, seen = prepare(recording, LEGS, WINDOWS)
        assert len(windows) == 3  # their logits are averaged
        joints = normalise(windows, seen, predictor.normalisation)
        expected = softmax(logits_of(student, joints, seen).astype(np.float64).mean(axis=0))
        np.testing.assert_allclose(predictor.probabilities(recording), expected, atol=1e-6)


def test_a_recording_shorter_than_a_window_can_be_predicted(exported: Path) -> None:
    assert Predictor.open(exported).probabilities(walk(frames=7)).sum() == pytest.approx(1.0)


def test_a_recording_that_does_not_fit_the_student_is_refused(exported: Path) -> None:
    predictor = Predictor.open(exported)
    with pytest.raises(ValueError, match="has 2 coordinates, but the student was trained on 3"):
        predictor.probabilities(walk(channels=2))
    with pytest.raises(ValueError, match="has 4 joints, but layout 'legs' has 3"):
        predictor.probabilities(walk(joints=4))


def test_files_without_classes_and_persons_are_predicted_in_their_order(
    exported: Path, tmp_path: Path
) -> None:
    first, second = walk("p5"), walk("p6", frames=40)
    frames = np.concatenate([first.positions_TVC, second.positions_TVC])
    np.savez(tmp_path / "new.npz", frames=frames, offsets=np.array([0, 30, 70]))
    predictor = Predictor.open(exported)
    predicted = {
        one.recording: one.probabilities_K for one in predictor.files([tmp_path / "new.npz"])
    }
    assert list(predicted) == ["new-00000", "new-00001"]
    np.testing.assert_array_equal(predicted["new-00000"], predictor.probabilities(first))
    np.testing.assert_array_equal(predicted["new-00001"], predictor.probabilities(second))


def test_a_recording_that_cannot_be_used_is_named_and_the_others_are_answered(
    exported: Path, tmp_path: Path
) -> None:
    good = walk(frames=4).positions_TVC
    huge = np.full((4, 3, 3), 3e38, np.float32)
    huge[::2] *= -1  # the way between overflows
    frames = np.concatenate([good, np.full((4, 3, 3), np.nan, np.float32), good[:1], huge, good])
    names = ["a", "b", "c", "=d", "e"]
    np.savez(tmp_path / "new.npz", frames=frames, offsets=[0, 4, 8, 9, 13, 17], clip_id=names)
    (tmp_path / "no.npz").write_bytes(b"no archive")
    predictor = Predictor.open(exported)
    said = list(predictor.files([tmp_path / "no.npz", tmp_path / "new.npz"]))
    assert [one.recording for one in said] == [str(tmp_path / "no.npz"), *names]
    assert [one.probabilities_K is not None for one in said] == [0, 1, 0, 0, 0, 1]
    reasons = ("is not an .npz", "", "every joint of", "too few frames: 1", "too large", "")
    for one, reason in zip(said, reasons, strict=True):
        assert (reason in one.reason) if reason else one.reason == ""
    np.testing.assert_array_equal(said[1].probabilities_K, said[5].probabilities_K)


def test_a_file_that_is_missing_is_refused_before_any_is_read(
    exported: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "new.npz", frames=walk().positions_TVC, offsets=[0, 30])
    with pytest.raises(FileNotFoundError, match=r"other.npz does not exist"):
        Predictor.open(exported).files([tmp_path / "new.npz", tmp_path / "other.npz"])


def test_windows_of_many_runs_are_answered_as_by_one(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.open(exported)
    expected = predictor.probabilities(walk(frames=200))
    monkeypatch.setattr("gaitforge.predict.TOGETHER", 16 * 3 * 3 * 5)  # of 24 windows
    np.testing.assert_allclose(predictor.probabilities(walk(frames=200)), expected, atol=1e-6)


def test_predicting_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, gaitforge.predict;"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'ray', 'optuna', 'streamlit'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "platform",
    )
    assert done.stdout.strip() == ""


def test_a_folder_without_an_export_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no exported student .*; give the folder that"):
        Predictor.open(tmp_path)


@pytest.mark.parametrize("missing", ["normalisation", "windows", "classes", "layout", "read"])
def test_a_card_that_lacks_something_is_refused(
    exported: Path, tmp_path: Path, missing: str
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    card = read_json(folder / "card.json")
    del card[missing]
    write_json(folder / "card.json", card)
    with pytest.raises(
        ValueError, match=f"as the card of an export: it lacks '{missing}'; export the"
    ):
        Predictor.open(folder)


def test_a_model_file_that_the_card_does_not_tell_of_is_named(
    exported: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    content = (folder / "student.onnx").read_bytes()
    for other in (b"\x00" * 100, content[:-1], content[:-1] + b"\x01"):
        (folder / "student.onnx").write_bytes(other)
        with pytest.raises(ValueError, match=r"student.onnx is another file than .*; export the"):
            Predictor.open(folder)


# which student, and what its card says


def test_the_seed_that_validates_best_is_exported(exported: Path) -> None:
    card = read_json(exported / "card.json")
    assert (card["trial"], card["seed"]) == (1, 10_001)
    assert card["network"]["seed"] == 10_001
    expected = new_student(10_001).state_dict()
    weights = load_file(exported / "student.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_seeds_of_trial_1_are_not_those_of_trial_11(exported: Path) -> None:
    folder = SplitFolder(exported.parent / "runs" / "main")
    assert find_best_refit(folder, 11, seeds=1).val_macro_f1 == 0.9
    assert find_best_refit(folder, 1, seeds=2).val_macro_f1 == 0.7


def test_the_settings_may_name_the_student() -> None:
    assert pick_member(ExportSettings(trial=11), SCORES).trial == 11
    with pytest.raises(KeyError, match=r"export.trial is 5, but the confirmed trials are 1, 11"):
        pick_member(ExportSettings(trial=5), SCORES)


def test_where_none_was_chosen_the_best_is_exported_and_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pick_member(ExportSettings(), replace(SCORES, chosen=None)).trial == 11
    assert "no student is shown to be as good as the teacher" in capsys.readouterr().out


def test_nothing_is_exported_before_it_is_confirmed(exported: Path, tmp_path: Path) -> None:
    cache = next((exported.parent / "cache" / "windows").iterdir())
    windows = WindowFolder.open(cache)
    with pytest.raises(FileNotFoundError, match=r"run `gaitforge confirm run.toml` first"):
        export_student(
            ExportSettings(), windows, SPLIT, SplitFolder(tmp_path), ReadOptions(), tmp_path
        )


def export_again(exported: Path, target: Path, fps: float | None = 25.0) -> None:
    """Another export into a folder: recordings were read at another rate since."""
    windows = WindowFolder.open(next((exported.parent / "cache" / "windows").iterdir()))
    folder = SplitFolder(exported.parent / "runs" / "main")
    export_student(ExportSettings(), windows, SPLIT, folder, ReadOptions(fps=fps), target)


@pytest.mark.parametrize("other", [None, b"junk"])
def test_an_export_whose_model_file_is_another_is_made_again(
    exported: Path, tmp_path: Path, other: bytes | None
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    if other is None:
        (folder / "student.onnx").unlink()
    else:
        (folder / "student.onnx").write_bytes(other)
    export_again(exported, folder, fps=None)  # all else is as it was
    assert Predictor.open(folder).classes == ("ill", "well")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_export_that_fails_leaves_the_one_before_as_it_was(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Exported:
        raise ArithmeticError("The exported student's logits differ.")

    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    monkeypatch.setattr("trainers.confirm.export.export_onnx", fails)
    with pytest.raises(ArithmeticError):
        export_again(exported, folder)
    assert contents(folder) == contents(exported)
    assert Predictor.open(folder).classes == ("ill", "well")


@pytest.mark.parametrize("killed_at", range(4))
def test_a_killed_export_leaves_no_card_of_other_files(
    killed_at: int, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exports(_model: object, _joints: object, _seen: object, path: Path) -> Exported:
        path.write_bytes(b"another student")
        return Exported(
            onnx_bytes=15, max_abs_difference=0.0, latency_ms_p50=1.0, latency_ms_p95=2.0
        )

    def writes(path: Path, data: bytes) -> None:
        if len(written) == killed_at:
            raise KeyboardInterrupt
        written.append(path.name)
        path.write_bytes(data)

    written: list[str] = []
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    monkeypatch.setattr("trainers.confirm.export.export_onnx", exports)
    monkeypatch.setattr("trainers.confirm.export.write_whole", writes)
    with pytest.raises(KeyboardInterrupt):
        export_again(exported, folder)
    assert written == ["student.safetensors", "student.onnx", "card.md"][:killed_at]
    assert not (folder / "card.json").exists()
    assert (folder / "card.md").exists() == (killed_at == 3)
    monkeypatch.undo()
    export_again(exported, folder)  # and the next one makes it whole
    assert read_json(folder / "card.json")["read"]["fps"] == 25.0
    assert Predictor.open(folder).read.fps == 25.0


def test_the_card_begins_with_the_verdict_and_the_network_that_was_tested(exported: Path) -> None:
    lines = (exported / "card.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Student of trial 1: tcn, ")
    assert lines[2] == "**Verdict: cannot tell.**"
    assert lines[4] == TOLD["sentence"]
    assert lines[6:8] == ["- ✓ Enough people.", "- ? One seed."]
    params, few = f"{TOLD['members'][0]['params']:,}", "too few people"
    assert lines[9] == (
        "| | parameters | macro F1 | 95 % interval | accuracy | minus the teacher | 95 % interval "
        "| minus the reference | 95 % interval |"
    )
    # the row minus the column, everywhere
    assert lines[11:17] == [
        f"| **this network** (seed 10001) | {params} | 0.820 | {few} | 0.820 | -0.080 | {few} | +0.120 | {few} |",
        f"| its recipe, mean of 2 seeds | {params} | 0.800 | {few} | 0.800 | -0.100 | {few} | | |",
        f"| the recipe without distillation | {params} | 0.700 | {few} | 0.750 | | | | |",
        f"| teacher (stgcn) | 10,000 | 0.900 | 0.800 to 0.950 | 0.900 | | | +0.200 | {few} |",
        f"| reference (ridge regression) | | 0.700 | {few} | 0.700 | | | | |",
        f"| always the commonest class | | 0.300 | {few} | 0.300 | | | | |",
    ]
    assert {line.count("|") for line in lines[9:17]} == {10}


def test_the_card_tells_people_and_limits(exported: Path) -> None:
    text = (exported / "card.md").read_text(encoding="utf-8")
    assert "Scored on 0 people who were used for nothing else; trained on 2, chosen on 1." in text
    assert "no medical device" in text
    assert "recordings of the kind it was trained on" in text
    assert "Classes: ill, well" in text


def test_of_too_few_people_the_card_says_nothing_is_shown_and_tells_them_one_by_one(
    exported: Path,
) -> None:
    text = (exported / "card.md").read_text(encoding="utf-8")
    assert "shown" not in text
    assert "Against the teacher: macro F1 -0.080; too few people to test it" in text
    assert "Against the reference: macro F1 +0.120\n" in text
    assert "by person: p3 -0.50, p4 +0.25 (exact sign flips over people: p = 1)" in text


def card_with(exported: Path, **changes: Any) -> str:
    card = json.loads((exported / "card.json").read_text(encoding="utf-8"))
    return card_text(CARD.parse(json.dumps({**card, **changes}), exported / "card.json"))


def test_the_card_leaves_out_what_was_not_trained(exported: Path) -> None:
    recipe = replace(SCORES.members[0], alone=None, seeds=1)
    text = card_with(exported, confirmed=plain(recipe))
    assert "without distillation" not in text
    assert "recipe" not in text


@pytest.mark.parametrize(
    ("noninferior", "tested", "words"),
    [
        (True, True, "shown to lose less than 0.05 macro F1 to the teacher"),
        (False, True, "not shown to lose less than 0.05 macro F1 to the teacher"),
        (False, False, "not tested, since a larger student failed"),
    ],
)
def test_the_card_says_what_came_of_the_networks_own_test(
    noninferior: bool, tested: bool, words: str, exported: Path
) -> None:
    network = plain(SCORES.members[0].network) | {
        "difference_interval": [-0.1, 0.01], "noninferior": noninferior, "tested": tested, "by_person": None,
    }  # fmt: skip
    text = card_with(exported, network=network)
    assert f"macro F1 -0.080 (95 % interval -0.100 to +0.010); {words}\n" in text
    assert "by person" not in text


def test_a_named_student_is_not_called_that_of_the_verdict(exported: Path) -> None:
    assert "not about this student" not in card_with(exported)
    text = card_with(exported, verdict={**TOLD["verdict"], "about": 11})
    assert "This verdict is about trial 11, not about this student" in text


def test_scores_of_an_older_confirm_are_not_exported(exported: Path, tmp_path: Path) -> None:
    cache = next((exported.parent / "cache" / "windows").iterdir())
    folder = SplitFolder(tmp_path)
    write_json(folder.scores, {**SCORES_FILE.as_dict(SCORES), "schema": 1})
    with pytest.raises(
        ValueError, match=r"its schema is 1, but must be 3; run `gaitforge confirm run.toml` again"
    ):
        export_student(
            ExportSettings(), WindowFolder.open(cache), SPLIT, folder, ReadOptions(), tmp_path
        )


def test_the_card_holds_what_a_program_needs(exported: Path) -> None:
    card = read_json(exported / "card.json")
    assert card["schema"] == 2
    assert card["onnx_bytes"] == (exported / card["onnx"]).stat().st_size
    assert card["max_abs_difference"] <= TOLERANCE
    assert card["people"] == {"train": 2, "validation": 1, "confirm": 0}
    assert WindowSettings.from_dict(card["windows"], "card") == replace(WINDOWS)
    assert Layout.from_dict(card["layout"], "card") == LEGS
