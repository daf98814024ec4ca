"""The teacher's stored outputs: what is written, what of it is mapped and copied, and what students make of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from gaitforge.losses import LOSSES
from gaitforge.losses.nodes import PHASES
from gaitforge.recipe import Distillation
from gaitforge.records.split import Split
from gaitforge.records.teacher import OUTPUTS
from gaitforge.records.teacher import TEACHER as TEACHER_FILE
from gaitforge.settings import FitPlan, SearchSettings
from gaitforge.weights import write_weights
from gaitforge.window_cache import build_windows
from gaitforge.work import OutputsFolder, SplitFolder, read_json, write_json
from tests.made import made
from tests.test_confirm import CLASSES, LEGS, TEACHER, WINDOWS, walks
from trainers.search.checks import check_classes, check_joint_counts
from trainers.teacher.outputs import answer_all, write_outputs
from trainers.training import examples as examples_module
from trainers.training.examples import (
    Examples,
    hold_outputs,
    load_examples,
    load_outputs,
    load_taught,
)
from trainers.training.loop import fit
from trainers.training.student import StudentSpec, new_student
from trainers.training.window_folder import NodeData, WindowFolder, WindowRecipe

MAPS = Path("/proc/self/maps")
ROLES = {"p00": "train", "p01": "train", "p02": "validation", "p03": "validation"}
SPLIT = Split(name="main", rule={}, store="s", roles=ROLES)
STGCN: dict[str, object] = {"widths": [4, 6], "strides": [1, 2], "kernel": 3}
TCN: dict[str, object] = {"channels": 8, "layers": 1}


class Stored:
    """Windows, and the outputs of a teacher of a family that has learned nothing."""

    def __init__(self, root: Path, family: str) -> None:
        cache = build_windows(
            root / "cache", store_fingerprint="s", split=SPLIT, layout=LEGS, classes=CLASSES,
            settings=replace(WINDOWS, views=2), recordings=walks,
        )  # fmt: skip
        for role in ("train", "validation"):
            cache.open_role(role)
        self.windows = WindowFolder.open(cache.folder)
        self.folder = SplitFolder(root / "main")
        teacher = replace(TEACHER, family=family, sizes={"stgcn": STGCN, "tcn": TCN}[family])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.teacher = self.windows.build(teacher.family, teacher.sizes).eval()
        head = self.folder.teacher_model
        told = write_weights(head, save(self.teacher.state_dict()))
        its = {
            "family": teacher.family,
            "sizes": teacher.sizes,
            "provenance": teacher.provenance.as_dict(),
        }
        TEACHER_FILE.write(
            head, made(TEACHER_FILE, fingerprint=teacher.fingerprint, **its, **told)
        )
        self.outputs = write_outputs(self.windows, self.folder, LOSSES)

    def spec(self, family: str, *terms: str) -> StudentSpec:
        return StudentSpec(
            family=family, sizes={"stgcn": {**STGCN, "widths": [4, 4]}, "tcn": {**TCN, "channels": 4}}[family],
            plan=FitPlan(epochs=2, batch=4), distillation=Distillation(weights=dict.fromkeys(terms, 0.1)),
            windows=str(self.windows.folder), teacher_outputs=str(self.outputs),
        )  # fmt: skip


def asked(spec: StudentSpec) -> tuple[Examples, Examples]:
    """What a student trains and is scored with."""
    return load_taught(spec.windows, spec.teacher_outputs, spec.distillation.terms)


@pytest.fixture(scope="module", params=["stgcn", "tcn"])
def every(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(tmp_path_factory.mktemp("graph"), "stgcn")


# what is written


def test_the_outputs_are_of_all_views_of_the_training_people_alone(every: Stored) -> None:
    train = load_examples(every.windows, "train")
    head = read_json(every.outputs / "outputs.json")
    joints = np.load(every.outputs / "joints.npy")
    assert joints.shape == (len(train), train.views, *head["joint_features"])
    assert head["joint_features"][0] == PHASES
    batch, _ = train.take(torch.tensor([1]), torch.tensor([1]))
    with torch.no_grad():
        embedding = every.teacher(batch).embedding_BD[0].half()
    torch.testing.assert_close(load_outputs(every.outputs, "embedding")[1, 1], embedding)


def test_outputs_of_an_older_version_are_made_again(tmp_path: Path) -> None:
    old = Stored(tmp_path, "tcn")
    before = (old.outputs / "joints.npy").read_bytes()
    head = read_json(old.outputs / "outputs.json")
    write_json(old.outputs / "outputs.json", {**head, "schema": 1, "identity": "of before"})
    (old.outputs / "joints.npy").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"have no joints.npy; run `gaitforge outputs run.toml`"
    ):
        load_outputs(old.outputs, "joints")
    write_outputs(old.windows, old.folder, LOSSES)
    assert (old.outputs / "joints.npy").read_bytes() == before
    assert read_json(old.outputs / "outputs.json") == head


def test_a_teacher_whose_answers_are_no_numbers_teaches_nobody(graph: Stored) -> None:
    broken = copy.deepcopy(graph.teacher)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    train = load_examples(graph.windows, "train")
    arrays = {"logits": np.zeros((len(train), train.views, 2), np.float16)}
    with pytest.raises(FloatingPointError, match=r"of a training window are no finite numbers, "):
        answer_all(broken, train, arrays)


# what a node copies


def node_data(graph: Stored, root: Path, *terms: str) -> NodeData:
    recipe = WindowRecipe(
        store=str(root / "work" / "store"), folder=str(graph.windows.folder), split=SPLIT, settings=WINDOWS
    )  # fmt: skip
    data = replace(graph.windows, recipe=recipe).on_nodes(
        "train", outputs=graph.outputs, terms=terms
    )
    assert data is not None
    return replace(data, copy=str(root / "copies" / "of-a-teacher"))


def test_a_node_copies_what_its_terms_read_and_adds_what_others_need_later(
    graph: Stored, tmp_path: Path
) -> None:
    def copied() -> list[str]:
        return sorted(path.name for path in (tmp_path / "copies" / "of-a-teacher").iterdir())

    node_data(graph, tmp_path, "kd").bring()
    assert copied() == ["logits.npy"]
    first = (tmp_path / "copies" / "of-a-teacher" / "logits.npy").stat().st_ino
    node_data(graph, tmp_path, "rkd", "cgrkd_nodes").bring()
    assert copied() == ["embedding.npy", "joints.npy", "logits.npy"]
    copy = tmp_path / "copies" / "of-a-teacher"
    assert (copy / "joints.npy").read_bytes() == (graph.outputs / "joints.npy").read_bytes()
    assert (copy / "logits.npy").stat().st_ino == first


# students


def test_students_of_one_process_map_one_memory(graph: Stored) -> None:
    one, _ = asked(graph.spec("tcn", "cgrkd_nodes"))
    other, _ = asked(graph.spec("stgcn", "hint", "rkd"))
    assert one.teacher_joints_NWQVD is not None
    assert one.teacher_joints_NWQVD is other.teacher_joints_NWQVD
    assert one.joints_NTVC.data_ptr() == other.joints_NTVC.data_ptr()
    assert hold_outputs(str(graph.outputs), "joints").dtype == torch.float16


@pytest.mark.skipif(not MAPS.is_file(), reason="this system does not list its memory maps")
def test_the_memory_is_a_map_of_the_file_that_all_processes_share(graph: Stored) -> None:
    held = {name: load_outputs(graph.outputs, name) for name in ("logits", "embedding", "joints")}
    mapped = MAPS.read_text()
    assert all(str(graph.outputs / f"{name}.npy") in mapped for name in held)


def test_a_student_loads_nothing_that_its_terms_do_not_read(
    graph: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples_module, "hold_outputs", None)  # asking would fail
    train, _ = asked(graph.spec("tcn", "kd"))
    assert train.teacher_joints_NWQVD is None
    assert train.teacher_embedding_NWD is None


@pytest.mark.parametrize("family", ["stgcn", "tcn"])
def test_students_of_any_family_learn_every_term_of_teachers_of_any(
    every: Stored, family: str
) -> None:
    spec = every.spec(family, *LOSSES)
    fitting = new_student(spec)
    *_, last = fit(fitting, *asked(spec), spec.distillation)
    assert set(last.terms) == {"cross_entropy", *LOSSES}
    assert fitting.heads is not None


def test_heads_change_no_first_weight_and_no_size_of_the_student(graph: Stored) -> None:
    plain, rich = new_student(graph.spec("stgcn", "kd")), new_student(graph.spec("stgcn", *LOSSES))
    assert plain.heads is None
    one, other = plain.model.state_dict(), rich.model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    alone = new_student(graph.spec("stgcn", *LOSSES).alone())
    assert alone.heads is None


def test_families_whose_joints_match_are_let_through(every: Stored) -> None:
    check_joint_counts(SearchSettings(terms=("hint",)), every.windows, every.outputs)


def test_joints_that_match_nothing_are_refused_before_anything_is_trained(
    graph: Stored, tmp_path: Path
) -> None:
    OUTPUTS.write(OutputsFolder(tmp_path).head, made(OUTPUTS, joint_features=[PHASES, 17, 8]))
    check_joint_counts(SearchSettings(terms=("kd", "rkd")), graph.windows, tmp_path)
    with pytest.raises(ValueError, match="The stgcn's last map has 3 joints and the teacher's 17"):
        check_joint_counts(SearchSettings(terms=("kd", "cgrkd_batch")), graph.windows, tmp_path)


def test_a_term_that_teaches_nothing_with_two_classes_is_refused_for_them() -> None:
    check_classes(SearchSettings(terms=("kd", "dkd", "dist")), 2)
    check_classes(SearchSettings(terms=("kd_standardised",)), 3)
    with pytest.raises(
        ValueError, match=r"'dkd_standardised', but there are 2 classes.*take 'dkd'"
    ):
        check_classes(SearchSettings(terms=("kd", "dkd_standardised")), 2)
