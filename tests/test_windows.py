"""Windows and their cache: the same numbers for training and for prediction."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.layout import Layout, read_layout
from gaitforge.normalise import FARTHEST, Normalisation, fit_normalisation, normalise
from gaitforge.recording import Recording
from gaitforge.records.split import Split
from gaitforge.window_cache import WindowCache, build_windows, open_role, sweep_windows
from gaitforge.windows import (
    Bools,
    Floats,
    WindowSettings,
    check_rates,
    count_frames,
    prepare,
    window_times,
)

DATA = Path(__file__).parents[2] / "shared" / "data"

BODY = Layout(
    name="five",
    joints=("pelvis", "left_hip", "right_hip", "left_foot", "right_foot"),
    bones=((0, 1), (0, 2), (1, 3), (2, 4)),
    left_right=((1, 2), (3, 4)),
)
PLATES = Layout(name="plates", joints=("affected", "other"), bones=((0, 1),), up="none")
PLAIN = WindowSettings(length=8, center="none", size="none")


def walker(
    name: str = "r0",
    *,
    person: str = "p0",
    label: str = "walk",
    frames: int = 20,
    channels: int = 3,
    heading_deg: float = 0.0,
    confidence_TV: Floats | None = None,
) -> Recording:
    """Feet that swing while the body walks along z (in 2D x), turned about y by the heading."""
    rng = np.random.default_rng(sum(name.encode()))
    time = np.arange(frames) / 10
    positions = np.zeros((frames, 5, 3), dtype=np.float32)
    positions[:, :, 0] = [0.0, 0.2, -0.2, 0.25, -0.25]
    positions[:, :, 1] = [1.0, 0.9, 0.9, 0.0, 0.1]
    positions[:, 3:, 2] = np.sin(3 * time + rng.uniform(0, 6))[:, None] * [0.4, -0.5]
    positions[:, :, 2] += time[:, None]
    cos, sin = math.cos(math.radians(heading_deg)), math.sin(math.radians(heading_deg))
    positions = positions @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)
    if channels == 2:
        positions = positions[:, :, [2, 1]]
    return Recording(
        recording=name,
        person=person,
        label=label,
        positions_TVC=positions,
        confidence_TV=confidence_TV,
    )


def without(recording: Recording, frames: Collection[int] | slice, joint: int) -> Recording:
    positions = recording.positions_TVC.copy()
    positions[list(frames) if not isinstance(frames, slice) else frames, joint] = np.nan
    return replace(recording, positions_TVC=positions)


def all_seen(positions: Floats) -> Bools:
    return np.ones(positions.shape[:-1], dtype=np.bool_)


def bone_lengths(positions: Floats) -> Floats:
    ends = np.array(BODY.bones)
    bones: Floats = positions[..., ends[:, 0], :] - positions[..., ends[:, 1], :]
    lengths: Floats = np.linalg.norm(bones, axis=-1)
    return lengths


# resampling and cutting


def test_resampling_keeps_the_first_and_the_last_frame() -> None:
    recording = walker(frames=15)
    windows, seen = prepare(recording, BODY, PLAIN)
    assert windows.shape == (1, 8, 5, 3)
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows[0, 0], recording.positions_TVC[0])
    np.testing.assert_array_equal(windows[0, -1], recording.positions_TVC[-1])
    np.testing.assert_allclose(windows[0, 1], recording.positions_TVC[2], atol=1e-6)
    assert seen.all()


def test_resampling_lengthens_a_short_recording_linearly() -> None:
    recording = walker(frames=2)
    windows, _ = prepare(recording, BODY, replace(PLAIN, length=3))
    np.testing.assert_allclose(windows[0, 1], recording.positions_TVC.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(("frames", "starts"), [(20, [0, 6, 12]), (21, [0, 6, 12, 13]), (8, [0])])
def test_sliding_windows_cover_all_frames(frames: int, starts: list[int]) -> None:
    settings = replace(PLAIN, mode="slide", stride=6)
    recording = walker(frames=frames)
    times = window_times(recording, settings)
    assert times[:, 0].tolist() == starts
    assert set(times.ravel().tolist()) == set(range(frames))
    windows, seen = prepare(recording, BODY, settings)
    np.testing.assert_array_equal(windows[-1], recording.positions_TVC[-8:])
    assert seen.all()


def test_windows_of_one_rate_hold_the_same_movement_whatever_the_frame_rate_was() -> None:
    """At 100 Hz each fourth frame of the line that 25 Hz would have seen; at 10 Hz the points between."""
    settings = replace(PLAIN, mode="slide", stride=4, fps=25.0)

    def ramp(fps: float, seconds: float) -> Recording:
        times = np.arange(round(seconds * fps) + 1) / fps
        still = walker(frames=2).positions_TVC[:1]
        moving = still + times[:, None, None].astype(np.float32)
        return replace(walker(frames=2), positions_TVC=moving, fps=fps)

    wanted, wanted_seen = prepare(ramp(25.0, 0.6), BODY, settings)  # 16 frames at 25 Hz
    assert wanted.shape[0] == 3
    for fps in (100.0, 10.0, 25.0):
        recording = ramp(fps, 0.6)
        assert count_frames(recording, settings) == 16
        windows, seen = prepare(recording, BODY, settings)
        np.testing.assert_allclose(windows, wanted, atol=1e-5)
        np.testing.assert_array_equal(seen, wanted_seen)


def test_frame_rates_that_differ_are_refused_where_windows_would_last_other_times() -> None:
    slide = replace(PLAIN, mode="slide", stride=4)
    with pytest.raises(
        ValueError, match=r"rates of 25, 100 Hz.* last 0\.08 to 0\.32 s; set windows\.fps"
    ):
        check_rates([25.0, 100.0, None], slide)
    check_rates([25.0, 100.0], PLAIN)  # one window of each, whatever its tempo
    check_rates([25.0, 25.0, None], slide)
    check_rates([25.0, 100.0], replace(slide, fps=25.0))
    with pytest.raises(
        ValueError, match=r"windows\.fps is 25, but 2 recordings have no frame rate"
    ):
        check_rates([25.0, None, None], replace(slide, fps=25.0))


def test_a_frame_rate_of_windows_is_for_sliding_ones_and_left_out_of_what_knew_none() -> None:
    with pytest.raises(ValueError, match="whatever its frame rate"):
        replace(PLAIN, fps=25.0)
    for rate in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="must be above 0"):
            replace(PLAIN, mode="slide", stride=4, fps=rate)
    assert "fps" not in PLAIN.as_dict()
    assert replace(PLAIN, mode="slide", stride=4, fps=50).as_dict()["fps"] == 50


def test_a_recording_shorter_than_a_window_is_padded_unseen() -> None:
    recording = walker(frames=5)
    windows, seen = prepare(recording, BODY, replace(PLAIN, mode="slide", stride=4))
    assert windows.shape == (1, 8, 5, 3)
    np.testing.assert_array_equal(windows[0, :5], recording.positions_TVC)
    np.testing.assert_array_equal(windows[0, 5:], recording.positions_TVC[[4, 4, 4]])
    assert seen[0].all(axis=1).tolist() == [True] * 5 + [False] * 3


# missing joints


def test_gaps_are_interpolated_in_time_and_masked() -> None:
    whole = walker(frames=8)
    recording = without(whole, range(2, 5), joint=3)
    windows, seen = prepare(recording, BODY, PLAIN)
    before, after = whole.positions_TVC[1, 3], whole.positions_TVC[5, 3]
    np.testing.assert_allclose(windows[0, 3, 3], (before + after) / 2, atol=1e-6)
    assert seen[0, :, 3].tolist() == [True, True, False, False, False, True, True, True]
    assert seen[0, :, [0, 1, 2, 4]].all()


def test_gaps_at_the_edges_hold_the_nearest_seen_frame() -> None:
    whole = walker(frames=8)
    windows, seen = prepare(without(whole, [0, 1, 7], joint=3), BODY, PLAIN)
    np.testing.assert_array_equal(windows[0, 0, 3], whole.positions_TVC[2, 3])
    np.testing.assert_array_equal(windows[0, 7, 3], whole.positions_TVC[6, 3])
    assert seen[0, :, 3].tolist() == [False, False, True, True, True, True, True, False]


def test_the_seen_mask_is_resampled_by_the_nearest_frame() -> None:
    windows, seen = prepare(
        without(walker(frames=3), [1], joint=3), BODY, replace(PLAIN, length=9)
    )
    assert seen[0, :, 3].tolist() == [True, True, False, False, False, False, True, True, True]
    assert np.isfinite(windows).all()


def test_badly_seen_joints_count_as_missing() -> None:
    confidence = np.ones((8, 5), dtype=np.float32)
    confidence[4, 2] = 0.2
    windows, seen = prepare(walker(frames=8, confidence_TV=confidence), BODY, PLAIN)
    clean, _ = prepare(walker(frames=8), BODY, PLAIN)
    assert not seen[0, 4, 2]
    np.testing.assert_allclose(windows[0, 4, 2], (clean[0, 3, 2] + clean[0, 5, 2]) / 2, atol=1e-6)


@pytest.mark.parametrize("center", ["frame", "first", "none"])
def test_unseen_joints_are_zero_after_normalisation(center: str) -> None:
    settings = replace(PLAIN, center=center, size="body")
    recording = without(without(walker(), slice(None), joint=4), [0, 3], joint=0)
    windows, seen = prepare(recording, BODY, settings)
    scores = normalise(windows, seen, fit_normalisation([(windows, seen)]))
    assert not seen[:, :, 4].any()
    assert (scores[~seen] == 0).all()
    assert np.isfinite(scores).all()
    assert scores.dtype == np.float32


def test_a_recording_without_a_confident_joint_still_gives_a_window() -> None:
    recording = walker(confidence_TV=np.full((20, 5), 0.1, dtype=np.float32))
    windows, seen = prepare(recording, BODY, WindowSettings(length=8))
    assert not seen.any()
    assert np.isfinite(windows).all()


def test_the_body_is_placed_by_the_root_joints_that_were_seen() -> None:
    layout = replace(BODY, root=(1, 2))
    recording = without(walker(), slice(None), joint=1)
    windows, _ = prepare(recording, layout, replace(PLAIN, center="frame"))
    np.testing.assert_allclose(windows[0, :, 2], 0, atol=1e-6)


# place and size


def test_centring_by_frame_puts_the_root_at_zero_in_each_frame() -> None:
    windows, _ = prepare(walker(), BODY, replace(PLAIN, center="frame"))
    np.testing.assert_array_equal(windows[0, :, 0], 0)


def test_centring_by_the_first_frame_keeps_the_path() -> None:
    windows, _ = prepare(walker(frames=20), BODY, replace(PLAIN, center="first"))
    np.testing.assert_array_equal(windows[0, 0, 0], 0)
    np.testing.assert_allclose(windows[0, -1, 0], [0, 0, 1.9], atol=1e-6)


def test_body_size_makes_a_child_of_an_adult() -> None:
    adult = walker()
    child = replace(adult, positions_TVC=adult.positions_TVC * np.float32(0.5))
    settings = WindowSettings(length=8)
    windows, _ = prepare(adult, BODY, settings)
    np.testing.assert_allclose(prepare(child, BODY, settings)[0], windows, atol=1e-5)


def test_a_jump_of_one_joint_does_not_change_the_body_size() -> None:
    positions = walker().positions_TVC.copy()
    positions[3, 3] = 50
    settings = WindowSettings(length=20, center="none")
    windows, _ = prepare(replace(walker(), positions_TVC=positions), BODY, settings)
    np.testing.assert_allclose(windows[0, 10], prepare(walker(), BODY, settings)[0][0, 10], 0.05)


def test_nodes_without_an_up_axis_are_neither_centred_nor_divided() -> None:
    forces = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    recording = Recording(recording="r", person="p", label="knee", positions_TVC=forces)
    windows, seen = prepare(recording, PLATES, WindowSettings(length=8))
    np.testing.assert_array_equal(windows[0], forces)
    assert seen.all()


def test_a_recording_of_another_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="'r0' has 5 joints, but layout 'plates' has 2"):
        prepare(walker(), PLATES, PLAIN)


def test_an_up_axis_that_the_coordinates_lack_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'r0' has 2 coordinates, but layout 'five' with up = 'z'"
    ):
        prepare(walker(channels=2), replace(BODY, up="z"), PLAIN)


# normalisation


def test_normalisation_is_the_mean_and_deviation_of_seen_joints() -> None:
    windows = np.arange(8, dtype=np.float32).reshape(1, 4, 2, 1)
    seen = np.ones((1, 4, 2), dtype=np.bool_)
    seen[0, 3, 1] = False
    found = fit_normalisation([(windows[:, :2], seen[:, :2]), (windows[:, 2:], seen[:, 2:])])
    np.testing.assert_allclose(found.mean_VC[:, 0], [3, 3])
    np.testing.assert_allclose(found.std_VC[:, 0], [math.sqrt(5), math.sqrt(8 / 3)])


def test_a_joint_that_never_moves_is_divided_by_a_floor() -> None:
    windows, seen = prepare(walker(), BODY, replace(PLAIN, center="frame"))
    found = fit_normalisation([(windows, seen)])
    assert found.std_VC.min() == pytest.approx(0.01 * found.std_VC.max())
    still = fit_normalisation([(np.ones_like(windows), seen)])
    np.testing.assert_array_equal(still.std_VC, 1)


def test_normalisation_survives_json_to_the_last_bit() -> None:
    found = fit_normalisation([prepare(walker(), BODY, PLAIN)])
    again = Normalisation.from_dict(found.as_dict(), source="model.json")
    np.testing.assert_array_equal(again.mean_VC, found.mean_VC)
    np.testing.assert_array_equal(again.std_VC, found.std_VC)


@pytest.mark.parametrize(
    "data", [{}, {"mean": [[0.0]], "std": [[0.0]]}, {"mean": [[0.0]], "std": [["a"]]}]
)
def test_what_is_no_normalisation_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"model\.json holds"):
        Normalisation.from_dict(data, source="model.json")


def test_recordings_of_2_and_3_coordinates_are_refused_together() -> None:
    batches = [prepare(walker(channels=c), BODY, PLAIN) for c in (2, 3)]
    with pytest.raises(ValueError, match="2 and 3 coordinates"):
        fit_normalisation(batches)
    with pytest.raises(ValueError, match="5 joints of 3 coordinates"):
        normalise(*batches[1], fit_normalisation(batches[:1]))


# settings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mode": "cut"}, r"windows\.mode is 'cut', but must be one of resample, slide"),
        ({"center": "hip"}, r"windows\.center is 'hip'"),
        ({"size": "trunk"}, r"windows\.size is 'trunk'"),
        ({"length": 1}, r"windows\.length is 1, but must be a whole number of at least 2"),
        ({"length": 48.0}, r"windows\.length is 48\.0, but must be a whole number"),
        ({"views": 0}, r"windows\.views is 0"),
        ({"min_confidence": 1.5}, r"windows\.min_confidence is 1\.5, but must be from 0 to 1"),
        ({"rotation_deg": 200}, r"windows\.rotation_deg is 200, but must be from 0 to 180"),
        ({"time_warp": math.nan}, r"windows\.time_warp is nan"),
        ({"mode": "slide", "stride": 65}, r"windows\.stride is 65, but must not exceed the len"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        WindowSettings(**settings)


def test_settings_survive_json_and_name_unknown_keys() -> None:
    settings = WindowSettings(length=32, rotation_deg=45)
    assert WindowSettings.from_dict(settings.as_dict(), source="model.json") == settings
    assert settings.as_dict() == WindowSettings(length=32, rotation_deg=45.0).as_dict()
    with pytest.raises(ValueError, match=r"model\.json holds no window settings .*'jitter'"):
        WindowSettings.from_dict({"jitter": 1}, source="model.json")


# what scales them


def test_one_jump_of_one_joint_does_not_flatten_everybody() -> None:
    batches = [prepare(walker(f"r{i}"), BODY, PLAIN) for i in range(20)]
    clean = fit_normalisation(batches)
    jumped = batches[3][0].copy()
    jumped[0, 2, 3] = 1e6
    found = fit_normalisation([*batches[:3], (jumped, batches[3][1]), *batches[4:]])
    np.testing.assert_allclose(found.std_VC, clean.std_VC, rtol=0.02)
    np.testing.assert_allclose(found.mean_VC, clean.mean_VC, atol=0.02)
    scores = normalise(jumped, batches[3][1], found)
    assert scores[0, 2, 3].tolist() == [FARTHEST] * 3
    assert np.abs(scores[0, 3]).max() < 10  # of the next frame


def test_what_lies_within_reach_is_scaled_by_all_of_it() -> None:
    values = np.linspace(-1, 1, 40, dtype=np.float32).reshape(5, 8, 1, 1)
    found = fit_normalisation([(values, np.ones((5, 8, 1), dtype=np.bool_))])
    assert found.mean_VC.item() == pytest.approx(0, abs=1e-6)
    assert found.std_VC.item() == pytest.approx(values.std(), rel=1e-6)


def test_windows_that_jumped_are_asked_for_twice_and_others_once() -> None:
    class Counted:
        def __init__(self, value: float) -> None:
            self.value, self.asked = value, 0

        def __iter__(self) -> Iterator[tuple[Floats, Bools]]:
            self.asked += 1
            rng = np.random.default_rng(0)
            for number in range(50):
                windows = rng.normal(size=(1, 8, 2, 3)).astype(np.float32)
                windows[0, 0, 0, 0] += self.value if number == 7 else 0
                yield windows, np.ones((1, 8, 2), dtype=np.bool_)

    plain, jumped = Counted(0), Counted(1e9)
    assert fit_normalisation(plain).std_VC.max() < 1.2
    assert fit_normalisation(jumped).std_VC.max() < 1.2
    assert (plain.asked, jumped.asked) == (1, 2)


# the cache

PEOPLE = {"p0": "train", "p1": "train", "p2": "validation", "p3": "confirm"}
SPLIT = Split(name="main", rule={"rule": "people"}, store="abc", roles=PEOPLE)
SETTINGS = WindowSettings(length=8, stride=4, mode="slide")


def cohort() -> dict[str, Recording]:
    """Two recordings each of four people, with a gap in each first one."""
    recordings = {}
    for person in PEOPLE:
        for i, label in enumerate(("limp", "walk")):
            name = f"{person}-{label}"
            made = walker(name, person=person, label=label, frames=12 + 3 * i)
            recordings[name] = made if i else without(made, [3, 4], joint=3)
    return recordings


class ToyStore:
    """Recordings of people in a stable order, and the people that were ever asked for."""

    def __init__(self, recordings: Mapping[str, Recording]) -> None:
        self.held = recordings
        self.asked: set[str] = set()

    def recordings(self, people: Collection[str]) -> Iterator[Recording]:
        self.asked |= set(people)
        return (self.held[name] for name in self.held if self.held[name].person in people)


def build(
    cache: Path, store: ToyStore, split: Split = SPLIT, settings: WindowSettings = SETTINGS
) -> WindowCache:
    return build_windows(
        cache,
        store_fingerprint="abc",
        split=split,
        layout=BODY,
        classes=("limp", "walk"),
        settings=settings,
        recordings=store.recordings,
    )


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_cache_holds_every_window_with_its_class_recording_and_person(tmp_path: Path) -> None:
    train = build(tmp_path, ToyStore(cohort())).open_role("train")
    assert train.recordings == ("p0-limp", "p0-walk", "p1-limp", "p1-walk")
    assert train.persons == ("p0", "p0", "p1", "p1")
    assert train.n == 10  # two windows of 12 frames, three of 15
    assert train.recording_N.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert train.label_N.tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1, 1]
    assert train.joints.shape == (10, 8, 5, 3)
    assert train.joints.dtype == np.float32
    assert train.seen.shape == (10, 8, 5)
    assert len(set(train.key_N.tolist())) == 10
    assert not train.place_NC.any()  # they are centred
    assert not train.joints.flags.writeable
    assert isinstance(train.joints, np.memmap)
    scores, seen = train.score(slice(None))
    assert abs(scores[seen].mean()) < 0.1


def test_other_roles_hold_their_own_people(tmp_path: Path) -> None:
    cache = build(tmp_path, ToyStore(cohort()))
    assert cache.open_role("validation").joints.shape == (5, 8, 5, 3)
    assert cache.open_role("confirm").persons == ("p3", "p3")


def test_a_prediction_sees_exactly_the_cached_window(tmp_path: Path) -> None:
    recordings = cohort()
    cache = build(tmp_path, ToyStore(recordings))
    for role in ("train", "validation", "confirm"):
        held = cache.open_role(role)
        for i, name in enumerate(held.recordings):
            windows, seen = prepare(recordings[name], BODY, SETTINGS)
            mine = held.recording_N == i
            scores, held_seen = held.score(np.flatnonzero(mine))
            np.testing.assert_array_equal(normalise(windows, seen, cache.normalisation), scores)
            np.testing.assert_array_equal(seen, held_seen)


def test_confirm_people_are_not_touched_before_they_are_asked_for(tmp_path: Path) -> None:
    store = ToyStore(cohort())
    cache = build(tmp_path, store)
    cache.open_role("train")
    assert store.asked == {"p0", "p1"}
    cache.open_role("validation")
    assert store.asked == {"p0", "p1", "p2"}
    cache.open_role("confirm")
    assert store.asked == set(PEOPLE)


def test_normalisation_and_training_windows_do_not_know_the_other_people(tmp_path: Path) -> None:
    recordings = cohort()
    changed = {
        name: made
        if made.person in ("p0", "p1")
        else replace(made, positions_TVC=made.positions_TVC * np.float32(7))
        for name, made in recordings.items()
    }
    one = build(tmp_path / "one", ToyStore(recordings))
    two = build(tmp_path / "two", ToyStore(changed))
    two.open_role("confirm")
    assert one.normalisation.as_dict() == two.normalisation.as_dict()
    np.testing.assert_array_equal(one.open_role("train").joints, two.open_role("train").joints)


def test_windows_and_their_keys_do_not_depend_on_other_recordings_or_their_order(
    tmp_path: Path,
) -> None:
    recordings = cohort()
    fewer = {name: recordings[name] for name in ("p1-walk", "p1-limp", "p0-walk")}
    whole = build(tmp_path / "a", ToyStore(recordings)).open_role("train")
    part = build(tmp_path / "b", ToyStore(fewer)).open_role("train")
    for i, name in enumerate(part.recordings):
        mine, its = part.recording_N == i, whole.recording_N == whole.recordings.index(name)
        np.testing.assert_array_equal(part.joints[mine], whole.joints[its])
        np.testing.assert_array_equal(part.key_N[mine], whole.key_N[its])


def test_a_second_build_writes_nothing(tmp_path: Path) -> None:
    store = ToyStore(cohort())
    cache = build(tmp_path, store)
    cache.open_role("train")
    before = files(tmp_path)
    store.asked.clear()
    again = build(tmp_path, store)
    again.open_role("train")
    assert files(tmp_path) == before
    assert not store.asked
    assert again.folder == cache.folder


def test_the_key_changes_with_roles_and_settings_but_not_with_the_split_s_name(
    tmp_path: Path,
) -> None:
    store = ToyStore(cohort())
    folder = build(tmp_path, store).folder
    renamed = replace(SPLIT, name="other", rule={"rule": "folds"})
    moved = replace(SPLIT, roles={**PEOPLE, "p1": "validation"})
    assert build(tmp_path, store, split=renamed).folder == folder
    assert build(tmp_path, store, split=moved).folder != folder
    assert build(tmp_path, store, settings=replace(SETTINGS, seed=1)).folder != folder


def test_a_build_that_failed_leaves_nothing_and_one_that_was_killed_is_ignored(
    tmp_path: Path,
) -> None:
    cache = build(tmp_path, ToyStore(cohort()))
    killed = cache.folder / ".train.0123"
    killed.mkdir()
    (killed / "joints.npy").write_bytes(b"half")

    def broken(people: Collection[str]) -> Iterator[Recording]:
        yield from ToyStore(cohort()).recordings(people)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(cache, recordings=broken).open_role("train")
    assert sorted(os.listdir(cache.folder)) == [".train.0123", "meta.json"]
    assert cache.open_role("train").n == 10


def test_the_next_build_sweeps_what_a_killed_one_has_left_and_nothing_that_lives(
    tmp_path: Path,
) -> None:
    cache = build(tmp_path, ToyStore(cohort()))
    killed = cache.folder.parent / "other-key" / f".confirm.{'0' * 32}"
    killed.mkdir(parents=True)
    (killed / "joints.npy").write_bytes(b"half")
    kept = cache.folder / ".notes.txt"
    kept.write_text("somebody's own", encoding="utf-8")
    seen: list[list[str]] = []

    def watched(people: Collection[str]) -> Iterator[Recording]:
        sweep_windows(tmp_path)  # as another command does meanwhile
        seen.append(sorted(path.name for path in cache.folder.glob(".train.*")))
        return ToyStore(cohort()).recordings(people)

    assert replace(cache, recordings=watched).open_role("train").n == 10
    assert [len(drafts) for drafts in seen] == [1, 1]
    assert not killed.exists()
    assert sorted(os.listdir(cache.folder)) == [".notes.txt", "meta.json", "train"]


def test_windows_that_the_disk_cannot_hold_are_an_error_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = build(tmp_path, ToyStore(cohort()))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        cache.open_role("train")
    assert os.listdir(cache.folder) == ["meta.json"]


def test_a_builder_that_loses_the_race_uses_the_winner_s_windows(tmp_path: Path) -> None:
    cache = build(tmp_path, ToyStore(cohort()))
    winner: list[dict[str, int]] = []

    def overtaken(people: Collection[str]) -> Iterator[Recording]:
        if not winner:
            cache.open_role("train")
            winner.append(files(cache.folder / "train"))
        return ToyStore(cohort()).recordings(people)

    assert replace(cache, recordings=overtaken).open_role("train").n == 10
    assert files(cache.folder / "train") == winner[0]
    assert sorted(os.listdir(cache.folder)) == ["meta.json", "train"]


def test_a_built_role_opens_without_its_store_and_one_not_built_is_refused(tmp_path: Path) -> None:
    cache = build(tmp_path, ToyStore(cohort()))
    built = cache.open_role("train")
    np.testing.assert_array_equal(open_role(cache.folder, "train").joints, built.joints)
    with pytest.raises(FileNotFoundError, match="confirm are not there; run the stage again"):
        open_role(cache.folder, "confirm")


def test_a_split_of_another_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made for the store old, but the store is now abc"):
        build(tmp_path, ToyStore(cohort()), split=replace(SPLIT, store="old"))


def test_a_role_without_recordings_is_refused(tmp_path: Path) -> None:
    store = ToyStore({name: made for name, made in cohort().items() if made.person != "p3"})
    with pytest.raises(ValueError, match="no recording of the people p3"):
        build(tmp_path, store).open_role("confirm")


def test_an_unknown_class_is_refused_with_its_recording(tmp_path: Path) -> None:
    store = ToyStore({"x": walker("x", person="p0", label="jump")})
    with pytest.raises(ValueError, match="'x' has the label 'jump', but the classes are limp, wa"):
        build(tmp_path, store).open_role("train")


def test_a_recording_of_a_person_of_another_role_is_refused(tmp_path: Path) -> None:
    everything = cohort()
    store = ToyStore(everything)
    with pytest.raises(ValueError, match="'p2-limp' of person 'p2' came for the people p0, p1"):
        build_windows(
            tmp_path,
            store_fingerprint="abc",
            split=SPLIT,
            layout=BODY,
            classes=("limp", "walk"),
            settings=SETTINGS,
            recordings=lambda people: store.recordings(PEOPLE),
        )


# real data


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data do not lie beside the checkout")
@pytest.mark.parametrize("name", ["ui_prmd_kinect", "irds_3patients", "auva_grf"])
def test_real_recordings_become_finite_scores(name: str) -> None:
    arrays = np.load(DATA / f"{name}.npz", allow_pickle=False)
    layout = read_layout(str(DATA / f"{name}.layout.toml"))
    offsets = arrays["offsets"][:31]
    frames = arrays["frames"][: offsets[-1]]
    settings = WindowSettings(length=48)
    recordings = [
        Recording(
            recording=str(i),
            person="p",
            label="walk",
            positions_TVC=np.ascontiguousarray(frames[start:end, :, :3]),
            confidence_TV=frames[start:end, :, 3] if frames.shape[2] == 4 else None,
        )
        for i, (start, end) in enumerate(pairwise(offsets))
    ]
    found = fit_normalisation(prepare(recording, layout, settings) for recording in recordings)
    for recording in recordings:
        windows, seen = prepare(recording, layout, settings)
        scores = normalise(windows, seen, found)
        assert windows.shape == (1, 48, layout.joint_count, 3)
        assert np.isfinite(scores).all()
        assert np.abs(scores).mean() < 3
