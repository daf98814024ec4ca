from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest.motion import turn_up
from gaitforge.ingest.synthetic import CLASSES, KNOWN_JOINTS, SyntheticSettings, synthetic_cohort
from gaitforge.layout import LAYOUTS
from gaitforge.recording import Recording
from gaitforge.toml import write_toml

CLEAN = SyntheticSettings(
    layout="kinect25", people_per_class=3, recordings_per_person=1, seconds=8.0, noise=0, missing=0
)
MANY = SyntheticSettings(people_per_class=15, recordings_per_person=2)
WALKERS = ("coco17", "kinect25")
STIFF_KINECT = LAYOUTS["kinect25"].bones  # in this layout every bone is a stiff segment
STIFF_COCO = (
    "left_hip-right_hip left_hip-left_knee left_knee-left_ankle right_hip-right_knee "
    "right_knee-right_ankle left_shoulder-right_shoulder left_shoulder-left_elbow "
    "left_elbow-left_wrist right_shoulder-right_elbow right_elbow-right_wrist nose-left_eye "
    "nose-right_eye left_eye-left_ear right_eye-right_ear"
)


@cache
def cohort(settings: SyntheticSettings) -> tuple[Recording, ...]:
    return tuple(synthetic_cohort(settings))


def joint(recording: Recording, name: str, layout: str = "kinect25") -> NDArray[np.float64]:
    """Positions [T, C] of one joint."""
    index = LAYOUTS[layout].joints.index(name)
    return recording.positions_TVC[:, index].astype(np.float64)


def forward(recording: Recording) -> NDArray[np.float64]:
    """Unit vector [C] of the mid-hip's way."""
    way = joint(recording, "spine_base")[-1] - joint(recording, "spine_base")[0]
    way[1] = 0.0
    return np.asarray(way / np.linalg.norm(way))


def true(recording: Recording, column: str) -> float:
    value = recording.columns[column]
    assert isinstance(value, int | float)
    return float(value)


def strikes_s(recording: Recording, side: str) -> NDArray[np.float64]:
    """Times at which the ankle is farthest ahead of the hips, between frames by a parabola."""
    ahead = (joint(recording, f"{side}_ankle") - joint(recording, "spine_base")) @ forward(
        recording
    )
    middle = ahead[1:-1]
    at = 1 + np.flatnonzero((middle > ahead[:-2]) & (middle >= ahead[2:]) & (middle > 0.05))
    before, here, after = ahead[at - 1], ahead[at], ahead[at + 1]
    assert recording.fps is not None
    return np.asarray((at + 0.5 * (before - after) / (before - 2 * here + after)) / recording.fps)


def knee_flexion_deg(recording: Recording, side: str) -> NDArray[np.float64]:
    hip, knee, ankle = (joint(recording, f"{side}_{name}") for name in ("hip", "knee", "ankle"))
    thigh, shank = hip - knee, ankle - knee
    cos = (
        (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
    )
    return np.asarray(180.0 - np.degrees(np.arccos(cos)))


# --- the cohort ---


def test_people_have_one_class_and_names_that_do_not_tell_it() -> None:
    recordings = cohort(MANY)
    label_of = {r.person: r.label for r in recordings}
    assert len(label_of) == 60
    assert all(label_of[r.person] == r.label for r in recordings)
    assert len({r.recording for r in recordings}) == len(recordings)
    in_order = [label_of[f"p{number:03d}"] for number in range(60)]
    assert {label: in_order.count(label) for label in CLASSES} == dict.fromkeys(CLASSES, 15)
    assert all(len(set(in_order[start : start + 15])) > 1 for start in (0, 15, 30, 45))


def test_severity_is_0_for_the_healthy_and_1_to_3_for_the_others() -> None:
    for label in CLASSES:
        severities = {r.columns["severity"] for r in cohort(MANY) if r.label == label}
        assert severities == ({0} if label == "healthy" else {1, 2, 3})


def test_same_seed_gives_identical_arrays_and_another_does_not() -> None:
    small = SyntheticSettings(people_per_class=1, recordings_per_person=2)
    once, again = list(synthetic_cohort(small)), list(synthetic_cohort(small))
    other = list(synthetic_cohort(replace(small, seed=1)))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a.positions_TVC, b.positions_TVC)
        assert a.columns == b.columns
    assert not any(
        np.array_equal(a.positions_TVC, b.positions_TVC, equal_nan=True)
        for a, b in zip(once, other, strict=True)
    )


@pytest.mark.parametrize("layout", WALKERS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_layout_is_filled_in_2_and_3_dimensions(layout: str, dimensions: int) -> None:
    settings = SyntheticSettings(
        layout=layout, dimensions=dimensions, people_per_class=1, recordings_per_person=1, fps=30.0
    )
    for recording in synthetic_cohort(settings):
        assert recording.positions_TVC.shape == (120, LAYOUTS[layout].joint_count, dimensions)
        assert recording.fps == 30.0
        up_range = np.nanpercentile(recording.positions_TVC[..., 1], [1, 99])
        assert -0.1 < up_range[0] < 0.3
        assert 1.1 < up_range[1] < 2.0


def test_known_joints_are_those_of_the_layouts_of_walkers() -> None:
    assert {name for layout in WALKERS for name in LAYOUTS[layout].joints} == KNOWN_JOINTS


def test_a_layout_with_other_joints_is_refused() -> None:
    with pytest.raises(ValueError, match="'body25' has the joint 'mid_hip', but a synthetic"):
        SyntheticSettings(layout="body25")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_walkers_whose_height_grows_downwards_are_the_same_walkers(
    dimensions: int, tmp_path: Path
) -> None:
    """In space they are turned over and not mirrored: what they have on their left stays there."""
    text = write_toml(replace(LAYOUTS["coco17"], up="-y", fps=25.0).as_dict())
    (tmp_path / "down.toml").write_text(text)
    settings = SyntheticSettings(
        dimensions=dimensions, people_per_class=1, recordings_per_person=1
    )
    down = replace(settings, layout=str(tmp_path / "down.toml"), noise=0, missing=0)
    up = replace(settings, noise=0, missing=0)
    for one, other in zip(synthetic_cohort(up), synthetic_cohort(down), strict=True):
        assert np.median(other.positions_TVC[..., 1]) < 0
        turned = turn_up(other.positions_TVC, "-y", "y")
        np.testing.assert_array_equal(turned, one.positions_TVC)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_missing_joints_come_in_the_asked_share(share: float) -> None:
    lost = np.concatenate(
        [
            np.isnan(r.positions_TVC).any(axis=2)
            for r in synthetic_cohort(replace(MANY, missing=share))
        ]
    )
    assert abs(lost.mean() - share) <= share / 2
    if share:
        runs = (lost[1:] & ~lost[:-1]).sum()
        assert 2.0 < lost.sum() / runs < 12.0


def test_noise_has_the_asked_spread() -> None:
    clean = replace(CLEAN, people_per_class=1)
    moved = np.concatenate(
        [
            (noisy.positions_TVC - still.positions_TVC).ravel()
            for noisy, still in zip(
                synthetic_cohort(replace(clean, noise=0.02, recordings_per_person=1)),
                synthetic_cohort(clean),
                strict=True,
            )
        ]
    )
    assert moved.std() == pytest.approx(0.02, rel=0.05)


def test_160_recordings_take_less_than_3_seconds() -> None:
    start = time.process_time()
    assert sum(1 for _ in synthetic_cohort(SyntheticSettings())) == 160
    assert time.process_time() - start < 3.0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"people_per_class": 0}, "people_per_class is 0"),
        ({"recordings_per_person": 0}, "recordings_per_person is 0"),
        ({"seconds": 1.0}, "seconds is 1.0"),
        ({"fps": 5.0}, "fps is 5.0"),
        ({"dimensions": 4}, "dimensions is 4"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"missing": 1.0}, "missing is 1.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SyntheticSettings(**wrong)  # type: ignore[arg-type]


def test_unknown_layouts_are_refused() -> None:
    with pytest.raises(KeyError, match="no layout 'openpose'"):
        SyntheticSettings(layout="openpose")


# --- a walk ---


def test_bones_keep_their_length() -> None:
    for recording in cohort(CLEAN):
        for a, b in STIFF_KINECT:
            length = np.linalg.norm(
                recording.positions_TVC[:, a] - recording.positions_TVC[:, b], axis=1
            )
            assert np.ptp(length) < 1e-5
    for recording in cohort(replace(CLEAN, layout="coco17")):
        for pair in STIFF_COCO.split():
            start, end = (joint(recording, name, "coco17") for name in pair.split("-"))
            assert np.ptp(np.linalg.norm(start - end, axis=1)) < 1e-5


def test_left_is_left_of_the_way_and_knees_bend_forward() -> None:
    for recording in cohort(CLEAN):
        to_left = np.cross([0.0, 1.0, 0.0], forward(recording))
        for name in ("shoulder", "elbow", "hip", "knee", "ankle", "foot"):
            across = (
                joint(recording, f"left_{name}") - joint(recording, f"right_{name}")
            ) @ to_left
            assert across.mean() > 0.03
        for side in ("left", "right"):
            ends = (joint(recording, f"{side}_hip") + joint(recording, f"{side}_ankle")) / 2
            assert ((joint(recording, f"{side}_knee") - ends) @ forward(recording)).min() > 0.0
        assert (
            (joint(recording, "left_foot") - joint(recording, "left_ankle")) @ forward(recording)
        ).mean() > 0.0


def test_walkers_go_in_all_directions() -> None:
    headings = [
        np.arctan2(*forward(r)[[2, 0]]) for r in cohort(replace(CLEAN, people_per_class=10))
    ]
    quadrants = np.unique(np.floor(np.array(headings) / (np.pi / 2)))
    assert len(quadrants) == 4
    ways = [
        float(np.diff(joint(r, "spine_base")[[0, -1], 0])[0])
        for r in cohort(replace(CLEAN, dimensions=2))
    ]
    assert min(ways) < -1.0
    assert max(ways) > 1.0


def test_a_carrying_foot_does_not_slide() -> None:
    for recording in cohort(CLEAN):
        for side in ("left", "right"):
            toe = joint(recording, f"{side}_foot")
            is_down = toe[:, 1] < 1e-5
            carries = is_down[1:] & is_down[:-1]
            assert 0.3 < carries.mean() < 0.7
            assert np.linalg.norm(np.diff(toe, axis=0), axis=1)[carries].max() < 0.001


def test_feet_stay_above_the_floor_and_one_always_carries() -> None:
    for recording in cohort(CLEAN):
        toes = np.stack([joint(recording, f"{side}_foot")[:, 1] for side in ("left", "right")])
        ankles = np.stack([joint(recording, f"{side}_ankle")[:, 1] for side in ("left", "right")])
        assert toes.min() > -1e-6
        assert ankles.min() > 0.05
        assert ankles.min(axis=0).max() < 0.12


def test_arms_swing_against_the_legs() -> None:
    for recording in cohort(CLEAN):
        if recording.label != "healthy":
            continue
        arms = joint(recording, "left_wrist") - joint(recording, "right_wrist")
        legs = joint(recording, "left_ankle") - joint(recording, "right_ankle")
        assert np.corrcoef(arms @ forward(recording), legs @ forward(recording))[0, 1] < -0.8


# --- the true gait ---


def test_cadence_is_found_in_the_ankles() -> None:
    for recording in cohort(CLEAN):
        times = np.sort(np.concatenate([strikes_s(recording, side) for side in ("left", "right")]))
        found = 60.0 * (len(times) - 1) / (times[-1] - times[0])
        assert found == pytest.approx(true(recording, "cadence_spm"), rel=0.02)


def test_knee_ranges_are_found_in_the_legs() -> None:
    for recording in cohort(CLEAN):
        assert recording.fps is not None
        for side in ("left", "right"):
            flexion = knee_flexion_deg(recording, side)
            cuts = (strikes_s(recording, side) * recording.fps).round().astype(int)
            ranges = [np.ptp(flexion[a : b + 1]) for a, b in pairwise(cuts)]
            truth = true(recording, f"knee_range_{side}_deg")
            assert np.mean(ranges) == pytest.approx(truth, abs=2.0)


def test_step_lengths_and_widths_are_found_in_the_resting_ankles() -> None:
    for recording in cohort(CLEAN):
        to_left = np.cross([0.0, 1.0, 0.0], forward(recording))
        prints = []
        for side in ("left", "right"):
            ankle = joint(recording, f"{side}_ankle")
            rests = np.linalg.norm(np.diff(ankle, axis=0), axis=1) < 1e-5
            starts = np.flatnonzero(rests[1:] & ~rests[:-1]) + 1
            prints += [(frame, *ankle[frame]) for frame in starts]
        places = np.array(sorted(prints))[:, 1:]
        steps = np.diff(places, axis=0)
        length, width = (steps @ forward(recording)).mean(), np.abs(steps @ to_left).mean()
        assert length == pytest.approx(true(recording, "step_length_m"), rel=0.05)
        assert width == pytest.approx(true(recording, "step_width_m"), abs=0.03)


def test_stance_shares_are_found_in_the_feet() -> None:
    # The ankle is farthest ahead of the hips some 20 ms before it lands.
    for recording in cohort(replace(CLEAN, fps=100.0)):
        for side in ("left", "right"):
            toe = joint(recording, f"{side}_foot")
            lifts_s = (np.flatnonzero((toe[1:, 1] > 1e-4) & (toe[:-1, 1] <= 1e-4)) + 0.5) / 100.0
            strikes = strikes_s(recording, side)
            shares = []
            for a, b in pairwise(strikes):
                lift = lifts_s[(lifts_s > a + 0.3 * (b - a)) & (lifts_s < b)]
                shares += [(lift[-1] - a) / (b - a)] if len(lift) else []
            truth = true(recording, f"stance_share_{side}")
            assert np.mean(shares) == pytest.approx(truth, abs=0.035)


def test_short_recordings_have_a_true_gait_too() -> None:
    for recording in synthetic_cohort(SyntheticSettings(seconds=2.5)):
        for column, value in recording.columns.items():
            assert column == "step_time_cv" or np.isfinite(true(recording, column)), value
        assert 20.0 < true(recording, "knee_range_deg") < 80.0


# --- the classes ---


def mean_of(label: str, column: str) -> float:
    return float(np.mean([true(r, column) for r in cohort(MANY) if r.label == label]))


def asymmetry(recording: Recording, column: str) -> float:
    left, right = (
        true(recording, column.replace("_side", f"_{side}")) for side in ("left", "right")
    )
    return abs(left - right)


def test_each_disorder_changes_the_gait_in_its_own_way() -> None:
    assert mean_of("parkinson", "step_length_m") < 0.85 * mean_of("healthy", "step_length_m")
    assert mean_of("parkinson", "cadence_spm") > mean_of("healthy", "cadence_spm")
    assert mean_of("parkinson", "stance_share") > mean_of("healthy", "stance_share")
    assert mean_of("ataxia", "step_width_m") > 1.4 * mean_of("healthy", "step_width_m")
    assert mean_of("ataxia", "step_time_cv") > 2.0 * mean_of("healthy", "step_time_cv")
    assert mean_of("ataxia", "cadence_spm") < mean_of("healthy", "cadence_spm")
    assert (
        mean_of("knee_osteoarthritis", "knee_range_deg") < mean_of("healthy", "knee_range_deg") - 4
    )


def test_arthritis_shortens_stance_on_the_leg_with_the_stiffer_knee() -> None:
    arthritic = [
        r for r in cohort(MANY) if r.label == "knee_osteoarthritis" and true(r, "severity") > 1
    ]
    for recording in arthritic:
        knees = true(recording, "knee_range_left_deg") - true(recording, "knee_range_right_deg")
        stances = true(recording, "stance_share_left") - true(recording, "stance_share_right")
        assert abs(knees) > 5.0
        assert knees * stances > 0


def test_parkinson_stoops_and_hardly_swings_the_arms() -> None:
    lean, swing = {}, {}
    for label in ("healthy", "parkinson"):
        walkers = [r for r in cohort(replace(CLEAN, people_per_class=10)) if r.label == label]
        up = [joint(r, "spine_shoulder") - joint(r, "spine_base") for r in walkers]
        lean[label] = np.mean(
            [np.arctan2(u @ forward(r), u[:, 1]).mean() for u, r in zip(up, walkers, strict=True)]
        )
        swing[label] = np.mean(
            [
                np.ptp((joint(r, "left_wrist") - joint(r, "left_shoulder")) @ forward(r))
                for r in walkers
            ]
        )
    assert lean["parkinson"] > lean["healthy"] + np.radians(5.0)
    assert swing["parkinson"] < 0.75 * swing["healthy"]


def test_effects_grow_with_severity() -> None:
    by_severity = {
        severity: [r for r in cohort(MANY) if r.columns["severity"] == severity]
        for severity in (1, 3)
    }

    def mean(severity: int, label: str, column: str) -> float:
        return float(np.mean([true(r, column) for r in by_severity[severity] if r.label == label]))

    assert mean(3, "parkinson", "step_length_m") < mean(1, "parkinson", "step_length_m")
    assert mean(3, "ataxia", "step_time_cv") > mean(1, "ataxia", "step_time_cv")
    assert mean(3, "knee_osteoarthritis", "knee_range_deg") < mean(
        1, "knee_osteoarthritis", "knee_range_deg"
    )


# --- how hard it is ---


def is_training(recordings: tuple[Recording, ...]) -> NDArray[np.bool_]:
    return np.array([int(r.person[1:]) % 3 > 0 for r in recordings])


def standardised(values: NDArray[np.float64], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray((values - values[train].mean(axis=0)) / (values[train].std(axis=0) + 1e-9))


def flattened(recording: Recording, frames: int = 32) -> NDArray[np.float64]:
    """Root-centred coordinates, resampled over gaps to one length, as one row."""
    layout = LAYOUTS["coco17"]
    positions = recording.positions_TVC.astype(np.float64)
    columns = positions.reshape(len(positions), -1)
    wanted = np.linspace(0, len(positions) - 1, frames)
    filled = np.empty((frames, columns.shape[1]))
    for index, column in enumerate(columns.T):
        known = np.flatnonzero(~np.isnan(column))
        filled[:, index] = np.interp(wanted, known, column[known])
    joints = filled.reshape(frames, layout.joint_count, -1)
    return np.asarray((joints - joints[:, list(layout.root)].mean(axis=1, keepdims=True)).ravel())


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_linear_classifier_on_coordinates_is_above_chance_and_far_from_done(
    dimensions: int,
) -> None:
    accuracies = []
    for seed in (0, 1):
        recordings = cohort(
            replace(MANY, dimensions=dimensions, seed=seed, recordings_per_person=4)
        )
        train, labels = (
            is_training(recordings),
            np.array([CLASSES.index(r.label) for r in recordings]),
        )
        rows = standardised(np.stack([flattened(r) for r in recordings]), train)
        wanted = np.eye(len(CLASSES))[labels[train]]
        gram = rows[train] @ rows[train].T
        weights = rows[train].T @ np.linalg.solve(gram + 300.0 * np.eye(len(gram)), wanted - 0.25)
        accuracies.append(((rows[~train] @ weights).argmax(axis=1) == labels[~train]).mean())
    assert 0.27 < np.mean(accuracies) < 0.7


def test_the_true_gait_of_unseen_people_tells_their_class() -> None:
    recordings = cohort(MANY)
    train, labels = is_training(recordings), np.array([CLASSES.index(r.label) for r in recordings])
    names = ("cadence_spm", "step_length_m", "step_width_m")
    gait = [
        [*(true(r, name) for name in names), asymmetry(r, "stance_share_side")] for r in recordings
    ]
    rows = standardised(np.array(gait), train)
    centres = np.stack([rows[train & (labels == k)].mean(axis=0) for k in range(len(CLASSES))])
    nearest = ((rows[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == labels)[~train].mean() >= 0.75
