"""What models see besides joints: the values of each stream, what is missing in them, and that any family takes it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dashboard.reading.models import in_words
from gaitforge.batch import Batch
from gaitforge.cost import Cost, count
from gaitforge.export import export_onnx
from gaitforge.failures import describe_student
from gaitforge.ingest import ReadOptions
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.losses.heads import find_node_shape
from gaitforge.metrics import softmax
from gaitforge.models import FAMILIES, STREAMS, Output, Sizes, check_kind, make_sizes, with_streams
from gaitforge.models.streams import (
    PACE,
    TURN,
    Streamed,
    StreamedSizes,
    find_bent,
    find_parents,
)
from gaitforge.models.tcn import TcnSizes
from gaitforge.normalise import Normalisation, normalise
from gaitforge.onnx_file import open_session
from gaitforge.predict import Predictor
from gaitforge.records.confirm import REFIT, SCORES
from gaitforge.records.export import CARD
from gaitforge.settings import (
    ExportSettings,
    SearchSettings,
    TeacherSettings,
    as_dict,
    changed_search,
    read_settings,
    teacher_identity,
)
from gaitforge.spaces import Suggester
from gaitforge.weights import write_weights
from gaitforge.window_cache import build_windows
from gaitforge.windows import prepare
from gaitforge.work import SplitFolder
from search_spaces import SPACES, Proposal, propose
from tests import test_export as exports
from tests.made import made
from tests.small_line import write_run
from tests.small_sizes import small_sizes
from trainers.confirm.export import export_student
from trainers.search.budget import Budget, check_budget
from trainers.search.checks import check_families
from trainers.search.claim import search_identity
from trainers.search.gpu_shares import find_largest_students
from trainers.training.window_folder import WindowFolder

LEG = Layout(name="leg", joints=("hip", "knee", "ankle"), bones=((0, 1), (1, 2)))
LOOSE = Layout(name="loose", joints=("left", "right"), bones=(), up="none")
EVERY = list(STREAMS)


class Kept(nn.Module):
    """A model that keeps what it is given."""

    def forward(self, batch: Batch) -> Output:
        self.batch = batch
        pooled = batch.joints_BTVC.mean(dim=(1, 2))
        return Output(pooled, pooled, pooled[..., None, None])


def stream(
    name: str,
    scores_TVC: Sequence[Any] | Tensor,
    *,
    mean_VC: Sequence[Any] = ((0.0,), (0.0,), (0.0,)),
    std_VC: Sequence[Any] = ((1.0,), (1.0,), (1.0,)),
    unseen: Sequence[tuple[int, int]] = (),
    layout: Layout = LEG,
) -> Tensor:
    """One stream [T, V, its channels] of one window of z-scores; `unseen` are frames and joints that hold NaN."""
    scores = torch.as_tensor(scores_TVC, dtype=torch.float32).clone()
    model = Streamed(Kept(), (name,), layout, scores.shape[-1])
    model.scale_by(torch.tensor(mean_VC), torch.tensor(std_VC))
    seen = torch.ones(scores.shape[:2], dtype=torch.bool)
    for frame, joint in unseen:
        seen[frame, joint], scores[frame, joint] = False, math.nan
    model(Batch(joints_BTVC=scores[None], seen_BTV=seen[None]))
    assert isinstance(model.inner, Kept)
    assert torch.equal(model.inner.batch.seen_BTV[0], seen)
    return model.inner.batch.joints_BTVC[0]


def knees(*values: float) -> list[list[list[float]]]:
    """A knee that moves along one coordinate, one value a frame."""
    return [[[0.0], [value], [0.0]] for value in values]


# the values


def test_joints_are_the_z_scores_and_0_where_unseen() -> None:
    found = stream("joints", [[[1.0], [2.0], [3.0]]], unseen=[(0, 1)])
    assert found.tolist() == [[[1.0], [0.0], [3.0]]]


def test_a_bone_is_the_deviation_of_a_joint_less_its_parents() -> None:
    """The ankle is 2 * 4 from its mean and the knee 1 * 3: 8 - 3, of 5 = sqrt(3^2 + 4^2) that would be usual."""
    found = stream(
        "bones",
        [[[7.0], [1.0], [2.0]]],
        mean_VC=[[50.0], [60.0], [-70.0]],
        std_VC=[[0.01], [3.0], [4.0]],
    )
    assert found.flatten().tolist() == pytest.approx([0.0, (3 - 0.07) / math.hypot(3, 0.01), 1.0])


def test_the_mean_pose_is_0_in_every_stream() -> None:
    for name in STREAMS:
        found = stream(
            name,
            torch.zeros(4, 3, 2),
            mean_VC=[[0, 0], [0.1, -1], [0, -2]],
            std_VC=[[0.01, 1.0]] * 3,
        )
        assert found.abs().max() < 1e-6, name


def test_velocity_is_half_of_what_lies_between_the_frames_beside() -> None:
    found = stream("velocity", knees(0, 1, 4, 9), std_VC=[[2.0], [5.0], [3.0]])
    assert found[:, 1, 0].tolist() == [0.0, 2 * PACE, 4 * PACE, 0.0]
    assert not found[:, [0, 2]].any()


def test_acceleration_is_how_velocity_changes() -> None:
    found = stream("acceleration", knees(0, 1, 4, 9, 9))
    assert found[:, 1, 0].tolist() == pytest.approx([0.0, 2 * PACE, 2 * PACE, -5 * PACE, 0.0])


def test_two_frames_have_no_velocity() -> None:
    for name in ("velocity", "acceleration"):
        assert stream(name, knees(1, 2)).flatten().tolist() == [0.0] * 6


@pytest.mark.parametrize(
    ("ankle", "angle"),
    [
        ([0.0, -2.0], 180),
        ([1.0, -1.0], 90),
        ([-1.0, -1.0], 90),
        ([1.0, 0.0], 45),
        ([0.0, -1.0, 1.0], 90),
        ([0.0, 0.0, 1.0], 45),
        ([0.0, 0.0, 0.0], 0),
    ],
)
def test_an_angle_is_that_between_two_bones_less_the_mean_poses(
    ankle: list[float], angle: float
) -> None:
    """The leg is straight in the mean pose: the hip over the knee over the ankle."""
    straight = [[0.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, -2.0, 0.0]]
    mean = [joint[: len(ankle)] for joint in straight]
    std = [[0.5] * len(ankle)] * 3
    moved = (torch.tensor(ankle) - torch.tensor(mean[2])) / 0.5
    scores = torch.zeros(1, 3, len(ankle))
    scores[0, 2] = moved
    found = stream("angles", scores, mean_VC=mean, std_VC=std)
    assert found.shape == (1, 3, 1)
    assert found.flatten().tolist() == pytest.approx(
        [0.0, TURN * math.radians(angle - 180), 0.0], abs=1e-4
    )


def test_a_nearly_straight_knee_keeps_its_angle_in_single_precision() -> None:
    """By a cosine, a knee bent by 0.01 degrees would be straight."""
    bent = math.radians(0.01)
    ankle = [[math.sin(bent), -1 - math.cos(bent)]]
    found = stream(
        "angles",
        [[[0.0, 0.0], [0.0, 0.0], [ankle[0][0], ankle[0][1] + 2]]],
        mean_VC=[[0.0, 0.0], [0.0, -1.0], [0.0, -2.0]],
        std_VC=[[1.0, 1.0]] * 3,
    )
    assert found[0, 1].item() == pytest.approx(-TURN * bent, rel=0.02)


# what is missing


def test_a_bone_needs_both_of_its_ends() -> None:
    scores = torch.ones(1, 3, 1) * torch.tensor([1.0, 2.0, 4.0]).view(3, 1)
    assert stream("bones", scores, unseen=[(0, 1)]).flatten().tolist() == [0.0, 0.0, 0.0]
    far = stream("bones", scores, unseen=[(0, 0)]).flatten().tolist()
    assert far == pytest.approx([0.0, 0.0, 2 / math.sqrt(2)])


def test_velocity_needs_the_frames_beside_and_acceleration_all_three() -> None:
    scores = knees(0, 1, 4, 9, 16)
    fast = stream("velocity", scores, unseen=[(2, 1)])[:, 1, 0].tolist()
    assert fast == [0.0, 0.0, 4 * PACE, 0.0, 0.0]
    turned = stream("acceleration", scores, unseen=[(0, 1)])[:, 1, 0].tolist()
    assert turned == [0.0, 0.0, 2 * PACE, 2 * PACE, 0.0]
    assert not stream("acceleration", scores, unseen=[(2, 1)]).any()


@pytest.mark.parametrize("joint", [0, 1, 2])
def test_an_angle_needs_all_three_joints(joint: int) -> None:
    pose = torch.tensor([[[0.0, 0.0], [0.0, -1.0], [1.0, -1.0]]])
    scale: dict[str, Any] = {"mean_VC": [[0.0, 0.0]] * 3, "std_VC": [[1.0, 1.0]] * 3}
    assert not stream("angles", pose.expand(2, 3, 2), unseen=[(0, joint)], **scale)[0].any()


def test_a_bone_of_no_length_has_no_angle_and_finite_gradients() -> None:
    scores = torch.zeros(2, 4, 3, 3, requires_grad=True)  # all joints in one place
    model = Streamed(Kept(), tuple(STREAMS), LEG, 3)
    output = model(Batch(joints_BTVC=scores, seen_BTV=torch.ones(2, 4, 3, dtype=torch.bool)))
    assert not output.logits_BK.any()
    output.logits_BK.sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("ankle", [[0.0, -2.0], [0.0, 0.0]], ids=["stretched", "folded"])
def test_gradients_are_finite_where_bones_lie_in_one_line(ankle: list[float]) -> None:
    scores = torch.tensor([[[[0.0, 0.0], [0.0, -1.0], ankle]]], requires_grad=True)
    model = Streamed(Kept(), ("angles",), LEG, 2)
    model(
        Batch(joints_BTVC=scores, seen_BTV=torch.ones(1, 1, 3, dtype=torch.bool))
    ).logits_BK.sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


# which bones, and which angles


def test_a_parent_is_the_neighbour_towards_the_root() -> None:
    swapped = Layout(name="leg", joints=LEG.joints, bones=((2, 1), (0, 1)), root=(2,))
    assert find_parents(LEG) == [0, 0, 1]
    assert find_parents(swapped) == [1, 2, 2]


def test_pieces_without_a_root_hang_on_their_first_joints() -> None:
    plates = Layout(
        name="plates", joints=tuple("abcdef"), bones=((0, 1), (3, 2), (4, 3)), up="none"
    )
    assert find_parents(plates) == [0, 0, 2, 2, 3, 5]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_bone_of_the_tree_is_one_of_the_layouts(name: str) -> None:
    layout = LAYOUTS[name]
    bones = {frozenset(bone) for bone in layout.bones}
    hops = layout.hops_from_root()
    for joint, parent in enumerate(find_parents(layout)):
        if joint in layout.root:
            assert parent == joint
        else:
            assert frozenset((joint, parent)) in bones
            assert hops[parent] == hops[joint] - 1


@pytest.mark.parametrize(
    ("name", "joint", "ends"),
    [
        ("coco17", "left_knee", ("left_hip", "left_ankle")),
        ("coco17", "right_hip", ("right_shoulder", "right_knee")),  # a root: of its children the two with most joints
        ("coco17", "left_shoulder", ("left_hip", "left_elbow")),  # and not the nose, which is in no pair
        ("kinect25", "spine_shoulder", ("spine_mid", "neck")),
        ("ntu25", "right_ankle", ("right_knee", "right_foot")),
        ("body25", "left_ankle", ("left_knee", "left_big_toe")),
    ],
)  # fmt: skip
def test_limbs_bend_along_limbs_and_the_spine_along_the_spine(
    name: str, joint: str, ends: tuple[str, str]
) -> None:
    layout = LAYOUTS[name]
    before, after = find_bent(layout, find_parents(layout))
    index = layout.joints.index(joint)
    assert (layout.joints[before[index]], layout.joints[after[index]]) == ends


def test_a_joint_at_an_end_has_no_angle() -> None:
    assert find_bent(LEG, find_parents(LEG)) == ([0, 0, 2], [0, 2, 2])


# sizes


def test_sizes_with_streams_survive_json_and_build_the_model_behind_them() -> None:
    values = {"channels": 8, "streams": ["velocity", "joints", "angles"]}
    sizes = make_sizes("tcn", values)
    assert sizes == with_streams(TcnSizes(channels=8), ["joints", "velocity", "angles"])
    told = json.loads(json.dumps(sizes.as_dict()))
    assert told == {**TcnSizes(channels=8).as_dict(), "streams": ["joints", "velocity", "angles"]}
    assert make_sizes("tcn", told) == sizes
    model = sizes.build(LEG, 2, 4)
    first = model.get_submodule("inner.joint_input.norm")
    assert isinstance(first, nn.BatchNorm1d)
    assert first.num_features == 3 * (2 + 2 + 1)


def test_joints_alone_are_what_a_family_sees_anyway() -> None:
    assert make_sizes("tcn", {"streams": ["joints"]}) == TcnSizes()
    assert with_streams(with_streams(TcnSizes(), ["bones"]), ["joints"]) == TcnSizes()
    named, plain = (TeacherSettings(sizes=sizes) for sizes in ({"streams": ["joints"]}, {}))
    assert teacher_identity(named, "w") == teacher_identity(plain, "w")
    assert teacher_identity(
        TeacherSettings(sizes={"streams": ["bones"]}), "w"
    ) != teacher_identity(plain, "w")


@pytest.mark.parametrize("value", [[], ["bone"], ["bones", "bones"], "bones", [["bones"]], 3])
def test_what_is_no_list_of_streams_is_refused(value: object) -> None:
    with pytest.raises(
        ValueError,
        match=r"'streams' of the family 'tcn' is .* but must be a list of one or more of joints, bones",
    ):
        make_sizes("tcn", {"streams": value})


@pytest.mark.parametrize("name", ["bones", "angles"])
def test_a_layout_without_bones_has_none_and_no_angles(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"'{name}' is made of bones, but the layout 'loose' has none"
    ):
        make_sizes("tcn", {"streams": ["joints", name]}).build(LOOSE, 3, 2)
    make_sizes("tcn", {"streams": ["joints", "velocity", "acceleration"]}).build(LOOSE, 3, 2)


@dataclass(frozen=True, kw_only=True)
class Taken(TcnSizes):
    streams: int = 1


def test_no_family_may_have_a_size_of_that_name() -> None:
    with pytest.raises(
        ValueError, match="Taken has a size 'streams', but every family has that name"
    ):
        check_kind(Taken)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_counted_with_its_streams(family: str) -> None:
    plain, streamed = small_sizes(family), with_streams(small_sizes(family), EVERY)
    few, many = (count(sizes, LAYOUTS["coco17"], 3, 4, 32) for sizes in (plain, streamed))
    assert many.params > few.params
    assert many.macs >= few.macs
    shapes = [find_node_shape(sizes, LAYOUTS["coco17"], 3, 4, 32) for sizes in (plain, streamed)]
    assert shapes[0] == shapes[1]


def test_sizes_with_streams_are_shown_as_a_trial_names_them() -> None:
    told = in_words({"widths": [4, 8], "streams": ["joints", "bones"]}, "sizes")
    assert [setting.value for setting in told] == ["[4, 8]", "joints+bones"]
    searched = in_words({"streams": [["joints"], ["joints", "bones"]]}, "search")
    assert [setting.value for setting in searched] == ["joints, joints+bones"]
    assert describe_student("tcn", {"layers": 2, "streams": ["joints", "bones"]}) == (
        "tcn (layers 2, streams joints+bones)"
    )


# windows


def test_a_model_for_windows_takes_their_scale_and_keeps_it_with_its_weights(
    tmp_path: Path,
) -> None:
    scale = Normalisation(
        mean_VC=np.arange(6, dtype=np.float32).reshape(3, 2), std_VC=np.full((3, 2), 2, np.float32)
    )
    windows = WindowFolder(tmp_path / "key", LEG, ("ill", "well"), exports.WINDOWS, scale)
    values = {"channels": 4, "layers": 1, "streams": ["joints", "bones"]}
    model = windows.build("tcn", values)
    again = make_sizes("tcn", values).build(LEG, 2, 2)
    again.load_state_dict(model.state_dict())
    for one in (model, again):
        assert isinstance(one, Streamed)
        assert one.mean_VC.tolist() == scale.mean_VC.tolist()
        assert one.std_VC.tolist() == scale.std_VC.tolist()
    assert set(windows.build("tcn", {"layers": 1}).state_dict()) == {
        name.removeprefix("inner.") for name in model.state_dict() if name.startswith("inner.")
    }


# searches


def proposed(trial: optuna.trial.BaseTrial, *streams: tuple[str, ...]) -> Proposal:
    spaces = {"tcn": SPACES["tcn"].suggest}
    return propose(trial, spaces, [], 0.0, streams) if streams else propose(trial, spaces, [])


def random_trials(number: int) -> list[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [study.ask() for _ in range(number)]


def test_a_search_asks_for_streams_only_where_there_is_a_choice() -> None:
    plain, joints, bones = random_trials(3)
    assert isinstance(proposed(plain).sizes, TcnSizes)
    assert isinstance(proposed(joints, ("joints",)).sizes, TcnSizes)
    streamed = proposed(bones, ("bones", "joints")).sizes
    assert streamed.as_dict()["streams"] == ["joints", "bones"]
    for trial in (plain, joints, bones):
        assert "streams" not in trial.params


def test_of_several_streams_a_trial_chooses_by_their_names() -> None:
    choices = (("joints",), ("bones", "joints"), ("velocity",))
    taken = set()
    for trial in random_trials(20):
        sizes = proposed(trial, *choices).sizes
        name = trial.params["streams"]
        taken.add(name)
        assert sizes.as_dict().get("streams", ["joints"]) == name.split("+")
        again = proposed(optuna.trial.FixedTrial(trial.params), *choices)
        assert again.sizes == sizes
    assert taken == {"joints", "joints+bones", "velocity"}


def test_a_family_of_anybody_gets_its_streams_without_its_help() -> None:
    def space(trial: Suggester) -> Sizes:
        return TcnSizes(layers=trial.suggest_int("mine.layers", 1, 2))

    (trial,) = random_trials(1)
    sizes = propose(trial, {"mine": space}, [], 0.0, [["angles"]]).sizes
    assert isinstance(sizes, StreamedSizes)
    assert sizes.streams == ("angles",)


def settings_of(folder: Path, streams: object) -> SearchSettings:
    return read_settings(write_run(folder, {"search": {"streams": streams}})).search


def test_the_streams_of_a_search_are_read_from_its_settings(tmp_path: Path) -> None:
    found = settings_of(tmp_path, [["joints"], ["joints", "velocity"]])
    assert found.streams == (("joints",), ("joints", "velocity"))


@pytest.mark.parametrize(
    ("streams", "sentence"),
    [
        ([], "must hold lists of one or more names"),
        ([[]], "must hold lists of one or more names"),
        ([["bones", "bones"]], "must hold lists of one or more names, each once"),
        ([["joints", "bones"], ["bones", "joints"]], r'the choice \["bones", "joints"\] twice'),
        (["bones"], "no valid value"),
    ],
)
def test_streams_that_are_no_choice_are_refused(
    tmp_path: Path, streams: object, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings_of(tmp_path, streams)


def test_an_unknown_stream_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"There is no stream 'speed'. Known: acceleration, angles"):
        check_families(SearchSettings(streams=(("speed",),)))


def test_other_streams_are_another_search_and_joints_alone_are_none() -> None:
    names = {
        search_identity(SearchSettings(streams=streams), "windows", "teacher")
        for streams in ((("joints",),), (("bones",),), (("joints",), ("bones",)))
    }
    assert len(names) == 3
    before = as_dict(SearchSettings())
    assert "streams" not in before  # as searches were written before there were any
    assert changed_search(before, as_dict(SearchSettings())) == []
    assert changed_search(before, as_dict(SearchSettings(streams=(("bones",),)))) == ["streams"]


def count_channels(sizes: Sizes) -> Cost:
    return count(sizes, LEG, 3, 2, 16)


def test_a_budget_that_the_smallest_student_with_some_streams_breaks_is_refused() -> None:
    smallest = SPACES["tcn"].smallest
    settings = SearchSettings(families=("tcn",), streams=(("joints",), ("joints", "bones")))
    budget = Budget(params=count_channels(smallest).params)
    with pytest.raises(
        ValueError, match=r"tcn student that sees joints\+bones has .* out of search.streams"
    ):
        check_budget(settings, budget, count_channels)
    check_budget(replace(settings, streams=(("joints",),)), budget, count_channels)
    with pytest.raises(ValueError, match="the layout 'loose' has none"):
        check_budget(settings, Budget(), lambda sizes: count(sizes, LOOSE, 3, 2, 16))


def test_the_largest_student_that_is_measured_has_the_streams_of_the_search() -> None:
    def cost(sizes: Sizes) -> Cost:
        streams = sizes.as_dict().get("streams", [])
        assert isinstance(streams, list)
        return Cost(params=1, macs=1 + len(streams))

    found = find_largest_students(["tcn"], Budget(), cost, [["joints"], EVERY, ["bones"]])["tcn"]
    assert found.as_dict()["streams"] == EVERY
    smallest = find_largest_students(["tcn"], Budget(params=0), cost, [["bones"]])["tcn"]
    assert smallest == with_streams(SPACES["tcn"].smallest, ["bones"])


# exported and predicted with


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_student_with_every_stream_answers_alike_where_joints_are_missing(
    family: str, tmp_path: Path
) -> None:
    model = with_streams(small_sizes(family), EVERY).build(exports.LEGS, 3, 4)
    assert isinstance(model, Streamed)
    generator = torch.Generator().manual_seed(1)
    mean, std = torch.randn(3, 3, generator=generator), 0.2 + torch.rand(3, 3, generator=generator)
    model.scale_by(mean, std)
    joints = torch.randn(7, 16, 3, 3, generator=generator)
    seen = torch.rand(7, 16, 3, generator=generator) > 0.3
    model.eval()
    export_onnx(model, joints.numpy(), seen.numpy(), tmp_path / "student.onnx")
    with torch.no_grad():
        wanted = model(Batch(joints_BTVC=joints, seen_BTV=seen)).logits_BK.numpy()
    hidden = joints.masked_fill(~seen.unsqueeze(-1), math.nan)
    for given in (joints, hidden):
        feeds = {"joints": given.numpy(), "seen": seen.numpy()}
        (answer,) = open_session(tmp_path / "student.onnx").run(None, feeds)
        np.testing.assert_allclose(answer, wanted, atol=1e-5)


@pytest.mark.slow
def test_predict_takes_an_export_with_streams_as_any_other(tmp_path: Path) -> None:
    cache = build_windows(
        tmp_path / "cache", store_fingerprint="s", split=exports.SPLIT, layout=exports.LEGS,
        classes=("ill", "well"), settings=exports.WINDOWS, recordings=exports.walks,
    )  # fmt: skip
    cache.open_role("validation")
    windows = WindowFolder.open(cache.folder)
    sizes = with_streams(exports.SIZES, EVERY)
    model = windows.build("tcn", sizes.as_dict())
    folder = SplitFolder(tmp_path / "runs" / "main")
    SCORES.write(folder.scores, exports.SCORES)
    for trial in (1, 11):
        head = folder.refit("student", trial, 10_001)
        facts = {"seed": 10_001, "family": "tcn", "val_macro_f1": 0.7}
        told = made(REFIT, **facts, **write_weights(head, save(model.state_dict())))
        REFIT.write(head, replace(told, sizes=sizes.as_dict()))
    out = tmp_path / "export"
    export_student(ExportSettings(), windows, exports.SPLIT, folder, ReadOptions(), out)

    card = CARD.read(out / "card.json")
    assert card.sizes["streams"] == EVERY
    again = make_sizes(card.family, card.sizes).build(exports.LEGS, 3, 2)
    again.load_state_dict(load_file(out / "student.safetensors"))
    recording = exports.walk("p9")  # who has lost a joint for a while
    joints, seen = prepare(recording, exports.LEGS, exports.WINDOWS)
    assert not seen.all()
    scores = normalise(joints, seen, windows.normalisation)
    with torch.no_grad():
        batch = Batch(joints_BTVC=torch.from_numpy(scores), seen_BTV=torch.from_numpy(seen))
        logits = again.eval()(batch).logits_BK.numpy()
    found = Predictor.open(out).probabilities(recording)
    np.testing.assert_allclose(found, softmax(logits.mean(axis=0)), atol=1e-5)
