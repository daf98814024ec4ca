"""The reference: what it learns, what it survives, what it costs nobody; and chance."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge import reference
from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation
from gaitforge.recording import Recording
from gaitforge.records.split import Split
from gaitforge.records.teacher import TEACHER
from gaitforge.reference import (
    RANDOM_PER_WINDOW,
    STRENGTHS,
    Lift,
    Reference,
    balance_weights,
    compute_features,
    fit_reference,
    majority_class,
    make_candidates,
    median_distance,
    recording_labels,
    score_chance,
    score_windows,
    solve,
)
from gaitforge.settings import SearchSettings
from gaitforge.window_cache import WindowSet, build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, open_path, read_json
from tests.made import made
from trainers.search.checks import check_teacher
from trainers.training.predictions import read_predictions
from trainers.training.reference import (
    load_reference,
    read_reference,
    say_beside_teacher,
    score_reference,
    write_reference,
)
from trainers.training.window_folder import WindowFolder


def windows_of(values: NDArray[np.float64], labels: list[int], **changed: object) -> WindowSet:
    """One recording and window of 4 frames a label; its 2 joints stand still at the given values [N, 6]."""
    joints = np.repeat(values.reshape(len(labels), 1, 2, 3), 4, axis=1).astype(np.float32)
    count = len(labels)
    plain = WindowSet(
        joints=joints, seen=np.ones(joints.shape[:-1], dtype=np.bool_), label_N=np.array(labels),
        recording_N=np.arange(count), recordings=tuple(f"r{i}" for i in range(count)),
        persons=tuple(f"p{i}" for i in range(count)), place_NC=np.zeros((count, 3), np.float32), key_N=np.arange(count),
        normalisation=Normalisation(mean_VC=np.zeros((2, 3), np.float32), std_VC=np.ones((2, 3), np.float32)),
    )  # fmt: skip
    return dataclasses.replace(plain, **changed)  # type: ignore[arg-type]


def two_shells(count: int, seed: int) -> WindowSet:
    """Class 0 lies in a ball of radius 1, class 1 on a shell of radius 3 around it: no plane parts them."""
    directions = np.random.default_rng(seed).normal(size=(count, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    labels = [i % 2 for i in range(count)]
    return windows_of(directions * np.array([[1.0], [3.0]])[labels, 0, None], labels)


def two_sides(count: int, seed: int = 0, far: float = 2.0) -> WindowSet:
    """Class 0 lies left of class 1."""
    values = np.random.default_rng(seed).normal(size=(count, 6))
    labels = [i % 2 for i in range(count)]
    values[:, 0] += np.array([-far, far])[labels]
    return windows_of(values, labels)


def answers(machine: Reference, windows: WindowSet) -> list[int]:
    found: list[int] = machine.logits(windows).argmax(axis=1).tolist()
    return found


# what it learns


def test_what_no_plane_parts_is_parted_by_a_kernel() -> None:
    machine, choice = fit_reference(two_shells(200, 0), two_shells(60, 1), 2)
    assert choice.width is not None
    assert choice.valid.macro_f1 > 0.95
    unseen = two_shells(100, 2)
    assert score_windows(machine.logits(unseen), unseen).accuracy > 0.95


def test_where_a_plane_serves_as_well_the_linear_machine_is_kept() -> None:
    machine, choice = fit_reference(two_sides(60, far=9.0), two_sides(20, 1, far=9.0), 2)
    assert choice.width is None
    assert choice.valid == (1.0, 1.0)
    assert machine.weight_DK.shape == (len(machine.lift.mean_F), 2)


def test_the_same_windows_and_seed_give_the_same_machine_and_another_seed_another() -> None:
    train, valid = two_shells(60, 0), two_shells(20, 1)
    one, other = (fit_reference(train, valid, 2, seed=3)[0].as_arrays() for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    another = fit_reference(train, valid, 2, seed=4)[0].as_arrays()
    assert not np.array_equal(one["phase_D"], another["phase_D"])


def test_the_ridge_is_that_of_weighted_least_squares() -> None:
    """Against another way to the same: rows scaled by the roots of their weights, and of the ridge."""
    train = two_sides(9)
    train = dataclasses.replace(train, label_N=np.array([0, 0, 0, 0, 0, 0, 1, 1, 1]))
    _, lift = next(make_candidates(train, np.random.default_rng(0)))
    weight_SDK, bias_SK = solve(lift, train, 2)
    ((_, lifted),) = lift.cut_chunks(train)
    weight_N = np.array([1 / 12] * 6 + [1 / 6] * 3)
    centred = lifted - weight_N @ lifted
    variance = float((weight_N[:, None] * centred**2).sum())
    for s, strength in enumerate(STRENGTHS):
        # a bias is an unshrunk column of ones
        rows = np.hstack([lifted, np.ones((9, 1))]) * np.sqrt(weight_N)[:, None]
        shrink = np.sqrt(strength * variance) * np.eye(lifted.shape[1], lifted.shape[1] + 1)
        targets = np.eye(2)[train.label_N] * np.sqrt(weight_N)[:, None]
        expected = np.linalg.lstsq(
            np.vstack([rows, shrink]), np.vstack([targets, np.zeros((lifted.shape[1], 2))])
        )[0]
        assert weight_SDK[s] == pytest.approx(expected[:-1], abs=1e-6)
        assert bias_SK[s] == pytest.approx(expected[-1], abs=1e-6)


def test_random_features_multiply_to_the_gaussian_kernel() -> None:
    train = two_shells(40, 0)
    plain = next(make_candidates(train, np.random.default_rng(0)))[1]
    median = median_distance(plain, train, np.random.default_rng(0))
    normal = np.random.default_rng(1).standard_normal((len(plain.mean_F), 20_000))
    lift = dataclasses.replace(
        plain, frequency_FD=(normal / (2.0 * median)).astype(np.float32),
        phase_D=np.random.default_rng(2).uniform(0, 2 * math.pi, 20_000),
    )  # fmt: skip
    ((_, scaled),) = plain.cut_chunks(train)
    ((_, lifted),) = lift.cut_chunks(train)
    squares = np.square(scaled[:, None] - scaled).sum(axis=2)
    kernel = np.exp(-squares / (2 * (2.0 * median) ** 2))
    assert lifted @ lifted.T == pytest.approx(kernel, abs=0.04)


def test_features_are_moments_deviation_and_speed() -> None:
    joints = np.array([0.0, 3.0], dtype=np.float32).reshape(1, 2, 1, 1)
    found = compute_features(joints, np.ones((1, 2, 1), dtype=np.bool_))[0]
    assert found[:16] == pytest.approx(np.linspace(0, 3, 16))
    assert found[16:] == pytest.approx([1.5, 3.0])


def test_each_class_weighs_the_same_whatever_its_windows() -> None:
    assert balance_weights(np.array([0, 0, 0, 2]), 3) == pytest.approx(
        [1 / 6, 1 / 6, 1 / 6, 1 / 2]
    )
    train = two_sides(60)
    rare = np.flatnonzero(train.label_N == 1)[:3]
    kept = np.concatenate([np.flatnonzero(train.label_N == 0), rare])
    few = dataclasses.replace(
        train, joints=train.joints[kept], seen=train.seen[kept], label_N=train.label_N[kept]
    )
    machine, _ = fit_reference(few, two_sides(20, 1), 2)
    said = np.array(answers(machine, two_sides(100, 2)))
    assert (said[1::2] == 1).mean() > 0.7  # 3 of 33 windows were of this class


def test_a_recording_is_judged_by_the_mean_of_its_windows() -> None:
    windows = two_sides(4)
    windows = dataclasses.replace(
        windows, label_N=np.array([0, 0, 0, 1]), recording_N=np.array([0, 0, 0, 1])
    )
    logits = np.array([[0.0, 0.2], [0.0, 0.2], [1.0, 0.0], [0.0, 1.0]])
    assert recording_labels(windows).tolist() == [0, 1]
    assert score_windows(logits, windows).accuracy == 1.0


# what it survives


def test_from_people_of_one_class_it_learns_to_answer_that_class() -> None:
    train = dataclasses.replace(two_sides(10), label_N=np.full(10, 1))
    machine, choice = fit_reference(train, two_sides(8, 1), 3)
    assert answers(machine, two_sides(20, 2)) == [1] * 20
    assert choice.valid.accuracy == 0.5


def test_a_class_without_training_windows_is_never_the_answer() -> None:
    machine, _ = fit_reference(two_sides(10), two_sides(8, 1), 3)
    far = two_sides(50, 2, far=1000.0)
    assert machine.logits(far)[:, 2] == pytest.approx(0)
    assert 2 not in answers(machine, far)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fewer_windows_than_features_are_enough(count: int) -> None:
    train = two_sides(count, far=5.0)
    machine, _ = fit_reference(train, two_sides(20, 1, far=5.0), 2)
    assert answers(machine, train) == train.label_N.tolist()
    assert np.isfinite(machine.logits(two_sides(20, 2))).all()
    assert machine.lift.phase_D.size in (0, RANDOM_PER_WINDOW * count)


def test_a_joint_that_no_training_window_shows_tells_nothing_later() -> None:
    train, valid, unseen = (two_shells(count, seed) for seed, count in enumerate((200, 40, 10)))
    seen = train.seen.copy()
    seen[..., 1] = False
    machine, choice = fit_reference(dataclasses.replace(train, seen=seen), valid, 2)
    assert choice.width is not None  # a linear machine gives such a joint no weight in any case
    wild = unseen.joints.copy()
    wild[..., 1, :] = 1e6
    same = dataclasses.replace(unseen, joints=wild)
    assert machine.logits(same) == pytest.approx(machine.logits(unseen))


def test_without_any_joint_every_window_gets_the_same_answer() -> None:
    blind = two_sides(10)
    blind = dataclasses.replace(
        blind, joints=np.zeros_like(blind.joints), seen=np.zeros_like(blind.seen)
    )
    machine, _ = fit_reference(blind, blind, 2)
    logits = machine.logits(two_sides(6, 1))
    assert np.isfinite(logits).all()
    assert logits == pytest.approx(np.full((6, 2), 0.5))
    # and one blind window among others gets a finite one
    machine, _ = fit_reference(two_sides(20), two_sides(10, 1), 2)
    assert np.isfinite(machine.logits(blind)).all()


def test_windows_that_are_all_alike_leave_the_weights_of_every_candidate_at_zero() -> None:
    alike = windows_of(np.full((30, 6), 0.7), [0] * 11 + [1] * 19)
    for _, lift in make_candidates(alike, np.random.default_rng(0)):
        weight_SDK, bias_SK = solve(lift, alike, 2)
        assert np.abs(weight_SDK).max() < 1e-9
        assert bias_SK == pytest.approx(np.full((len(STRENGTHS), 2), 0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_counts_as_not_seen(value: float) -> None:
    clean = two_sides(20)
    broken, seen = clean.joints.copy(), clean.seen.copy()
    broken[3, 1:3, 1] = value
    seen[3, 1:3, 1] = False
    expected = compute_features(np.where(seen[..., None], broken, 0), seen)
    assert compute_features(broken, clean.seen).tolist() == expected.tolist()
    train = dataclasses.replace(clean, joints=broken)
    arrays = fit_reference(train, two_sides(10, 1), 2)[0].as_arrays()
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_hidden_frame_is_no_movement() -> None:
    joints = np.array([5.0, 0.0, 5.0, 5.0], dtype=np.float32).reshape(1, 4, 1, 1)
    seen = np.array([True, False, True, True]).reshape(1, 4, 1)
    assert compute_features(joints, seen)[0, 16:] == pytest.approx([0.0, 0.0])


def test_windows_are_taken_in_chunks_without_changing_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, valid = two_shells(50, 0), two_shells(20, 1)
    whole, choice = fit_reference(train, valid, 2)
    sizes = []

    def watched(joints: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        sizes.append(len(joints))
        return compute_features(joints, seen)

    monkeypatch.setattr(reference, "CHUNK", 7)
    monkeypatch.setattr(reference, "compute_features", watched)
    parts, same = fit_reference(train, valid, 2)
    assert sorted(set(sizes)) == [1, 6, 7, 50]  # 50 = 7 * 7 + 1 and 20 = 2 * 7 + 6
    assert sizes.count(50) == 1  # the sample of the median, which is bounded by itself
    assert same.valid == choice.valid
    assert parts.logits(valid) == pytest.approx(whole.logits(valid), abs=1e-6)


def test_a_machine_comes_back_from_its_arrays() -> None:
    machine, _ = fit_reference(two_shells(30, 0), two_shells(20, 1), 2)
    again = Reference.from_arrays(machine.as_arrays())
    assert again.logits(two_shells(9, 2)).tolist() == machine.logits(two_shells(9, 2)).tolist()
    assert isinstance(again.lift, Lift)


# chance


def test_chance_always_answers_the_commonest_class_of_the_training_people() -> None:
    train, labels = np.array([0, 0, 1]), np.array([0, 1, 1, 1])
    assert majority_class(train, 2) == 0
    assert majority_class(np.array([2, 1]), 3) == 1  # the first of equals
    found = score_chance(train, labels, 2)
    assert found.accuracy == 0.25
    assert found.macro_f1 == pytest.approx(
        0.2
    )  # 2 * .25 / 1.25 of one class, nothing of the other


# on the line


LAYOUT = Layout(name="plates", joints=("left", "right"), bones=((0, 1),), up="none")
ROLES = {"a1": "train", "a2": "train", "b1": "train", "b2": "train"}
ROLES |= {"a3": "validation", "b3": "validation", "a4": "confirm", "b4": "confirm"}


def make_windows(folder: Path, length: int = 8) -> WindowFolder:
    """People a1 to a4 are ill, b1 to b4 stand elsewhere and are well; two recordings each."""

    def recordings(people: object) -> list[Recording]:
        assert isinstance(people, tuple)
        return [
            Recording(
                recording=f"{person}-{i}", person=person, label="ill" if person[0] == "a" else "well",
                positions_TVC=(
                    np.random.default_rng([*person.encode(), i]).normal(size=(12, 2, 3))
                    + (0.0 if person[0] == "a" else 9.0)
                ).astype(np.float32),
            )
            for person in people for i in range(2)
        ]  # fmt: skip

    split = Split(name="main", rule={"rule": "people"}, store="s", roles=ROLES)
    cache = build_windows(
        folder, store_fingerprint="s", split=split, layout=LAYOUT, classes=("ill", "well"),
        settings=WindowSettings(length=length, views=2, flip=False), recordings=recordings,
    )  # fmt: skip
    for role in ("train", "validation", "confirm"):
        cache.open_role(role)
    return WindowFolder.open(cache.folder)


@pytest.fixture(params=["folder", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> SplitFolder:
    if request.param == "s3":
        return SplitFolder(open_path(request.getfixturevalue("s3_folder")) / "runs" / "main")
    return SplitFolder(tmp_path / "runs" / "main")


def test_it_is_written_with_what_it_has_seen_and_scored_on_the_same_people(
    tmp_path: Path, folder: SplitFolder
) -> None:
    windows = make_windows(tmp_path)
    facts = write_reference(windows, folder)
    assert facts == read_reference(folder)
    assert facts.provenance.seen == {"a1", "a2", "a3", "b1", "b2", "b3"}
    assert facts.windows == windows.key
    assert facts.val_macro_f1 == 1.0
    assert (facts.chance_class, facts.chance_val_accuracy) == ("ill", 0.5)
    assert facts.params == sum(a.size for a in load_reference(folder).as_arrays().values())
    score_reference(windows, folder)
    for role, people in (("validation", "a3 a3 b3 b3"), ("confirm", "a4 a4 b4 b4")):
        rows = read_predictions(folder, role, "reference", None, 0).to_pylist()
        assert [row["person"] for row in rows] == people.split()
        assert [row["true_class"] for row in rows] == ["ill", "ill", "well", "well"]
        said = [windows.classes[int(np.argmax(row["probabilities"]))] for row in rows]
        assert said == ["ill", "ill", "well", "well"]


def test_one_of_the_same_windows_is_kept_and_one_of_others_is_not(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path / "runs" / "main")
    write_reference(make_windows(tmp_path), folder)
    files = [path for path in folder.root.rglob("*") if path.is_file()]
    assert len(files) == 3
    before = {path: path.stat().st_ino for path in files}
    write_reference(make_windows(tmp_path), folder)
    assert {path: path.stat().st_ino for path in files} == before
    other = write_reference(make_windows(tmp_path, length=6), folder)
    assert other.windows == make_windows(tmp_path, length=6).key
    assert all(path.stat().st_ino != before[path] for path in files)


@pytest.mark.parametrize("lost", ["reference.json", "reference.safetensors"])
def test_half_a_reference_is_made_whole(tmp_path: Path, lost: str) -> None:
    folder, windows = SplitFolder(tmp_path / "runs" / "main"), make_windows(tmp_path)
    facts = write_reference(windows, folder)
    weights = (folder.reference / "reference.safetensors").read_bytes()
    (folder.reference / lost).unlink()
    again = write_reference(windows, folder)
    assert dataclasses.replace(again, seconds=facts.seconds) == facts
    assert (folder.reference / "reference.safetensors").read_bytes() == weights


def test_before_the_teacher_stage_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no reference in .*; run `gaitforge teacher run.toml`"
    ):
        load_reference(SplitFolder(tmp_path))


def test_teacher_reference_and_chance_stand_in_one_line(tmp_path: Path) -> None:
    facts = write_reference(make_windows(tmp_path), SplitFolder(tmp_path / "runs" / "main"))
    line = say_beside_teacher(0.5, dataclasses.replace(facts, width=None))
    assert line == (
        "macro F1 on the validation people: teacher 0.500, reference 1.000 (ridge regression, linear), "
        "chance 0.333 (always 'ill')"
    )
    assert "(ridge regression, random features)" in say_beside_teacher(
        0.5, dataclasses.replace(facts, width=2.0)
    )


# a teacher at chance


def teach(folder: SplitFolder, f1: float) -> None:
    TEACHER.write(folder.teacher_model, made(TEACHER, val_macro_f1=f1))


@pytest.mark.parametrize("f1", [0.0, 0.2, 1 / 3])
def test_a_teacher_no_better_than_the_commonest_class_is_not_imitated(
    tmp_path: Path, f1: float
) -> None:
    windows, folder = make_windows(tmp_path), SplitFolder(tmp_path / "runs" / "main")
    teach(folder, f1)
    with pytest.raises(ValueError, match=r"more than the 0.333 of always.*search.allow_chance"):
        check_teacher(SearchSettings(), windows, folder)
    check_teacher(SearchSettings(allow_chance=True), windows, folder)
    assert [path.name for path in folder.root.rglob("*")] == ["teacher", "model.json"]


def test_a_teacher_above_chance_is_imitated(tmp_path: Path) -> None:
    windows, folder = make_windows(tmp_path), SplitFolder(tmp_path / "runs" / "main")
    teach(folder, 0.34)
    check_teacher(SearchSettings(), windows, folder)
    assert read_json(folder.teacher / "model.json")["val_macro_f1"] == 0.34
