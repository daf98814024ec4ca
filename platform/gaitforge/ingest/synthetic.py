"""Synthetic cohort: parametric walkers of four classes whose true gait is known.

A walk is planned as foot strikes and lifts. The feet rock over heel and toe without sliding, the
pelvis passes as high above them as both legs reach, and two-link inverse kinematics bends the
knees; so bone lengths are constant and the true gait is read from the plan itself.

Directions in this file: f forward, l to the walker's left, u up (right-handed), last axis FLU,
metres. Pairs are (left, right), side 0 is left and 1 right, K counts foot strikes.

The directions of the effects are those of the literature (less knee motion and shorter stance on
an arthritic leg; short quick steps, stoop and little arm swing in Parkinson's disease; a wide base
and uneven steps in ataxia). Their sizes are ours: mild people overlap with healthy ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import Layout, read_layout
from gaitforge.recording import Recording, Value

CLASSES = ("ataxia", "healthy", "knee_osteoarthritis", "parkinson")
# How much of a disorder each severity is: from half of it, or the mild would all pass for healthy.
AMOUNT_BY_SEVERITY = (0.0, 0.5, 0.8, 1.1)

MOST_FRAMES = 100_000_000  # about 20 GB: all recordings are held in memory as they are stored

UPPER_PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hand", "hand_tip", "thumb")
KNOWN_JOINTS = frozenset(
    {"spine_base", "spine_mid", "spine_shoulder", "neck", "head", "nose"}
    | {f"left_{joint}" for joint in (*UPPER_PAIRS, "hip", "knee", "ankle", "foot")}
    | {f"right_{joint}" for joint in (*UPPER_PAIRS, "hip", "knee", "ankle", "foot")}
)

Floats = NDArray[np.float64]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSettings:
    """How many synthetic walkers there are and how well they are seen."""

    layout: str = "coco17"
    """Joints of the walkers: coco17 or kinect25, or a .toml file with joints of those names."""
    people_per_class: int = 10
    """Walkers of each class."""
    recordings_per_person: int = 4
    """Walks of each, all a little different."""
    seconds: float = 4.0
    """Length of a recording."""
    fps: float = 25.0
    """Frame rate in Hz."""
    dimensions: int = 3
    """3: walks in any direction over the floor; 2: seen from the side (x, y as the layout has it)."""
    noise: float = 0.015
    """Standard deviation of each coordinate's jitter, in metres."""
    missing: float = 0.02
    """Share of joint observations that are lost, in short runs of frames."""
    seed: int = 0
    """Seed of the walkers."""

    def __post_init__(self) -> None:
        layout = read_layout(self.layout)
        unknown = [joint for joint in layout.joints if joint not in KNOWN_JOINTS]
        if unknown:
            raise ValueError(
                f"Layout '{layout.name}' has the joint '{unknown[0]}', but a synthetic walker has "
                f"only {', '.join(sorted(KNOWN_JOINTS))}; use a layout of these."
            )
        _up_axis(layout)
        for name in ("people_per_class", "recordings_per_person"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"SyntheticSettings.{name} is {getattr(self, name)}, but must be at least 1."
                )
        if not 2.5 <= self.seconds < math.inf:
            raise ValueError(
                f"SyntheticSettings.seconds is {self.seconds}, but must be at least 2.5, "
                "so that the slowest walker strikes the floor twice."
            )
        if not 10.0 <= self.fps < math.inf:
            raise ValueError(
                f"SyntheticSettings.fps is {self.fps}, but must be at least 10 Hz to show a step."
            )
        walks = len(CLASSES) * self.people_per_class * self.recordings_per_person
        if walks * self.seconds * self.fps > MOST_FRAMES:
            raise ValueError(
                f"SyntheticSettings ask for {walks:,} recordings of {self.seconds:g} s at {self.fps:g} Hz, but may "
                f"have {MOST_FRAMES:,} frames in all; lower one of them."
            )
        if self.dimensions not in (2, 3):
            raise ValueError(
                f"SyntheticSettings.dimensions is {self.dimensions}, but must be 2 or 3."
            )
        if not 0.0 <= self.noise < math.inf:
            raise ValueError(
                f"SyntheticSettings.noise is {self.noise}, but must be 0 metres or more."
            )
        if not 0.0 <= self.missing <= 0.9:
            raise ValueError(
                f"SyntheticSettings.missing is {self.missing}, but must be from 0 to 0.9."
            )
        if self.seed < 0:
            raise ValueError(f"SyntheticSettings.seed is {self.seed}, but must be 0 or more.")


def synthetic_cohort(settings: SyntheticSettings) -> Iterator[Recording]:
    """Yield recordings of `4 * people_per_class` people, person by person, the classes shuffled.

    The columns hold `severity` (0 healthy, else 1 to 3) and the gait that this recording really
    shows before noise: `cadence_spm`, `step_length_m` and `step_width_m` (between footprints),
    `step_time_cv` (percent, None for too few steps), `stance_share` and `knee_range_deg` (means
    of both legs), `stance_share_left`, `knee_range_left_deg` and their `right` ones. Of each leg
    the strides between the first frame and the last count, or the one most so if none is whole.
    The same settings give the same arrays.
    """
    layout = read_layout(settings.layout)
    people = len(CLASSES) * settings.people_per_class
    order_rng, *person_rngs = np.random.default_rng(settings.seed).spawn(1 + people)
    times_s = np.arange(round(settings.seconds * settings.fps)) / settings.fps
    for number, place in enumerate(order_rng.permutation(people)):
        rng = person_rngs[number]
        label = CLASSES[place % len(CLASSES)]
        severity = 0 if label == "healthy" else 1 + int(place) // len(CLASSES) % 3
        amount = AMOUNT_BY_SEVERITY[severity] * rng.uniform(0.8, 1.2)
        habits = _add_disorder(_draw_healthy_gait(rng), label, amount, rng)
        for take in range(settings.recordings_per_person):
            joints, truth = _walk(_vary_by_day(habits, rng), times_s, rng)
            body_TVC = np.stack([joints[name] for name in layout.joints], axis=1)
            if settings.dimensions == 2:
                seen_TVC = _view_from_side(body_TVC, layout, rng)
            else:
                seen_TVC = _place_in_world(body_TVC, layout, rng)
            seen_TVC += rng.normal(0.0, settings.noise, seen_TVC.shape)
            seen_TVC[_draw_lost_TV(seen_TVC.shape[:2], settings, rng)] = np.nan
            yield Recording(
                recording=f"p{number:03d}_{take}",
                person=f"p{number:03d}",
                label=label,
                positions_TVC=seen_TVC.astype(np.float32),
                fps=settings.fps,
                columns={"severity": severity, **truth},
            )


# --- who walks how ---


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gait:
    """How somebody walks; pairs are (left, right)."""

    height_m: float
    cadence_spm: float
    step_length_m: float
    step_width_m: float
    stance_share: Pair  # of the stride time
    haste: float  # share by which the right foot follows the left one sooner than half a stride
    push_off_deg: Pair  # foot pitch when the toe leaves the floor
    swing_lift_m: Pair  # lifts the swinging ankle above its smooth path
    least_bend_deg: Pair  # the knee is never straighter
    midstance_bend_deg: float
    toe_out_deg: float
    lean_deg: float  # of the upper trunk, forward
    lurch_deg: Pair  # sideways over that leg while it carries
    sway_deg: float  # SD of slow sideways trunk motion
    arm_swing_deg: Pair  # half of the range
    arm_spread_deg: float
    elbow_bend_deg: float
    time_cv: float  # of step times, per step
    length_cv: float
    width_sd_m: float


def _draw_healthy_gait(rng: np.random.Generator) -> _Gait:
    height = float(np.clip(rng.normal(1.70, 0.09), 1.48, 1.95))
    pace = rng.normal(0.0, 1.0)  # quick people take both longer and quicker steps
    length = float(np.clip(0.385 + 0.02 * pace + rng.normal(0.0, 0.015), 0.30, 0.45))
    arms = rng.uniform(8.0, 26.0)
    return _Gait(
        height_m=height,
        cadence_spm=float(np.clip(110.0 + 5.0 * pace + rng.normal(0.0, 4.0), 90.0, 130.0)),
        step_length_m=height * length,
        step_width_m=float(np.clip(rng.normal(0.095, 0.022), 0.04, 0.16)),
        stance_share=_draw_pair(rng, 0.615 - 0.006 * pace, 0.006),
        haste=float(rng.normal(0.0, 0.01)),
        push_off_deg=_draw_pair(rng, rng.normal(56.0, 4.0), 1.5),
        swing_lift_m=_draw_pair(rng, rng.normal(0.035, 0.010), 0.004),
        least_bend_deg=_draw_pair(rng, rng.uniform(4.0, 10.0), 1.0),
        midstance_bend_deg=rng.uniform(8.0, 16.0),
        toe_out_deg=float(rng.normal(7.0, 4.0)),
        lean_deg=float(rng.normal(5.0, 3.5)),
        lurch_deg=_draw_pair(rng, rng.uniform(0.0, 3.0), 0.4),
        sway_deg=rng.uniform(0.4, 1.4),
        arm_swing_deg=_draw_pair(rng, arms, 0.12 * arms),
        arm_spread_deg=rng.uniform(5.0, 14.0),
        elbow_bend_deg=rng.uniform(12.0, 38.0),
        time_cv=rng.uniform(0.012, 0.026),
        length_cv=rng.uniform(0.018, 0.036),
        width_sd_m=rng.uniform(0.010, 0.020),
    )


def _add_disorder(gait: _Gait, label: str, amount: float, rng: np.random.Generator) -> _Gait:
    """Change a healthy gait by a disorder; `amount` is 0 for none and about 1 for the severest."""
    worse = int(rng.integers(2))  # the side that suffers, or suffers more
    if label == "knee_osteoarthritis":
        return replace(
            gait,
            cadence_spm=gait.cadence_spm * (1 - 0.08 * amount),
            step_length_m=gait.step_length_m * (1 - 0.12 * amount),
            stance_share=_by_side(gait.stance_share, worse, -0.035 * amount, 0.035 * amount),
            haste=gait.haste + (0.07 if worse == 0 else -0.07) * amount,
            push_off_deg=_by_side(gait.push_off_deg, worse, -14.0 * amount),
            swing_lift_m=_by_side(gait.swing_lift_m, worse, -0.035 * amount),
            least_bend_deg=_by_side(gait.least_bend_deg, worse, 11.0 * amount),
            lurch_deg=_by_side(gait.lurch_deg, worse, 6.0 * amount),
        )
    if label == "parkinson":
        swing = _by_side(gait.arm_swing_deg, worse, -0.25 * amount * gait.arm_swing_deg[worse])
        return replace(
            gait,
            cadence_spm=gait.cadence_spm * (1 + 0.14 * amount),
            step_length_m=gait.step_length_m * (1 - 0.38 * amount),
            stance_share=_by_side(gait.stance_share, worse, 0.03 * amount, 0.03 * amount),
            push_off_deg=_by_side(gait.push_off_deg, worse, -8.0 * amount, -8.0 * amount),
            lean_deg=gait.lean_deg + 14.0 * amount,
            arm_swing_deg=(swing[0] * (1 - 0.6 * amount), swing[1] * (1 - 0.6 * amount)),
            elbow_bend_deg=gait.elbow_bend_deg + 20.0 * amount,
        )
    if label == "ataxia":
        return replace(
            gait,
            cadence_spm=gait.cadence_spm * (1 - 0.10 * amount),
            step_length_m=gait.step_length_m * (1 - 0.12 * amount),
            step_width_m=gait.step_width_m + 0.13 * amount,
            stance_share=_by_side(gait.stance_share, worse, 0.02 * amount, 0.02 * amount),
            toe_out_deg=gait.toe_out_deg + 6.0 * amount,
            sway_deg=gait.sway_deg + 2.5 * amount,
            arm_spread_deg=gait.arm_spread_deg + 8.0 * amount,
            time_cv=gait.time_cv + 0.075 * amount,
            length_cv=gait.length_cv + 0.11 * amount,
            width_sd_m=gait.width_sd_m + 0.028 * amount,
        )
    return gait


def _vary_by_day(gait: _Gait, rng: np.random.Generator) -> _Gait:
    """Draw one recording's gait: the same person, not quite the same pace, posture and arms."""
    pace = rng.normal(0.0, 0.025)
    arms = rng.uniform(0.8, 1.2)
    return replace(
        gait,
        cadence_spm=gait.cadence_spm * (1 + pace),
        step_length_m=gait.step_length_m * (1 + pace + rng.normal(0.0, 0.012)),
        step_width_m=gait.step_width_m * rng.uniform(0.9, 1.1),
        haste=gait.haste + rng.normal(0.0, 0.004),
        lean_deg=gait.lean_deg + rng.normal(0.0, 1.2),
        arm_swing_deg=(gait.arm_swing_deg[0] * arms, gait.arm_swing_deg[1] * arms),
        elbow_bend_deg=gait.elbow_bend_deg * rng.uniform(0.85, 1.15),
    )


def _draw_pair(rng: np.random.Generator, mean: float, sd: float) -> Pair:
    return float(mean + rng.normal(0.0, sd)), float(mean + rng.normal(0.0, sd))


def _by_side(pair: Pair, worse: int, change: float, other_change: float = 0.0) -> Pair:
    left, right = (change, other_change) if worse == 0 else (other_change, change)
    return pair[0] + left, pair[1] + right


# --- one walk ---

# Segment lengths as shares of body height, near Drillis and Contini's table (from memory).
THIGH, SHANK, ANKLE_HEIGHT, TOE_AHEAD, HEEL_BEHIND = 0.245, 0.246, 0.039, 0.10, 0.03
HIPS, SHOULDERS, LOWER_TRUNK, UPPER_TRUNK, NECK, HEAD = 0.105, 0.215, 0.135, 0.145, 0.045, 0.075
UPPER_ARM, FOREARM, HAND = 0.172, 0.146, 0.045

HEEL_ROCKER_ENDS, TOE_ROCKER_STARTS = 0.15, 0.55  # shares of stance; between them the foot is flat
HEEL_STRIKE_DEG = 19.0
TOE_CLEARANCE_M = 0.012
REACH_SOFTNESS_M = 0.012  # rounds the corner where the pelvis' limit passes to the other leg


def _walk(
    gait: _Gait, times_s: Floats, rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Value]]:
    """Return joint name -> positions [T, FLU] of one walk, about the origin, and its true gait."""
    steps = _plan_steps(gait, float(times_s[-1]), rng)
    feet = [_move_foot(gait, steps.pick_side(side), times_s, side) for side in (0, 1)]
    strike_phase = np.pi * (np.arange(len(steps.strike_s)) + steps.side[0])  # even at left strikes
    phase_T = _interpolate(times_s, steps.strike_s, strike_phase)
    mid_hip, hips = _place_pelvis(gait, steps, [ankle for ankle, _ in feet], times_s, phase_T)
    joints = {"spine_base": mid_hip, **_place_upper_body(gait, mid_hip, times_s, phase_T, rng)}
    bends_deg: list[Floats] = []
    for name, hip, (ankle, toe) in zip(("left", "right"), hips, feet, strict=True):
        knee, bend_deg = _place_knee(gait, hip, ankle)
        bends_deg.append(bend_deg)
        leg = {"hip": hip, "knee": knee, "ankle": ankle, "foot": toe}
        joints |= {f"{name}_{joint}": points for joint, points in leg.items()}
    middle_m = np.array([mid_hip[:, 0].mean(), 0.0, 0.0])
    centred = {name: points - middle_m for name, points in joints.items()}
    return centred, _measure_truth(steps, bends_deg, times_s)


class _Steps(NamedTuple):
    """When and where feet strike the floor, and when they leave it again; all [K]."""

    strike_s: Floats
    lift_s: Floats
    stride_s: Floats
    forward_m: Floats
    lateral_m: Floats
    side: NDArray[np.int64]  # 0 left, 1 right

    def pick_side(self, side: int) -> _Steps:
        return _Steps(*(column[self.side == side] for column in self))


def _plan_steps(gait: _Gait, seconds: float, rng: np.random.Generator) -> _Steps:
    """Plan foot strikes from some steps before time 0 to some after `seconds`."""
    step_s = 60.0 / gait.cadence_spm
    count = math.ceil(seconds / (0.7 * step_s)) + 14
    side = (np.arange(count) + rng.integers(2)) % 2
    unevenness = np.clip(rng.normal(0.0, 1.0, (2, count)), -2.0, 2.0)
    evenly_s = step_s * (1 + np.where(side == 0, -gait.haste, gait.haste))
    interval_s = evenly_s * (1 + gait.time_cv * unevenness[0])
    lead_s = step_s * (4 + 2 * rng.uniform())
    strike_s = np.cumsum(interval_s) - interval_s - lead_s
    forward_m = np.cumsum(gait.step_length_m * (1 + gait.length_cv * unevenness[1]))
    width_m = gait.step_width_m + 2 * rng.normal(0.0, gait.width_sd_m, count)
    lateral_m = np.where(side == 0, 0.5, -0.5) * np.maximum(width_m, 0.02)
    stride_s = strike_s[2:] - strike_s[:-2]
    # Both feet are down for at least 3 % of a stride: this is walking, however uneven the steps.
    share = np.maximum(np.take(gait.stance_share, side[:-2]), interval_s[:-2] / stride_s + 0.03)
    lift_s = strike_s[:-2] + share * stride_s
    return _Steps(strike_s[:-2], lift_s, stride_s, forward_m[:-2], lateral_m[:-2], side[:-2])


def _move_foot(gait: _Gait, own: _Steps, times_s: Floats, side: int) -> tuple[Floats, Floats]:
    """Move ankle and toe [T, FLU]: roll over the heel, rest, roll over the toe, swing onward."""
    k = np.searchsorted(own.strike_s, times_s, side="right") - 1
    stance_s = (own.lift_s - own.strike_s)[k]
    swing_s = own.stride_s[k] - stance_s
    stance = (times_s - own.strike_s[k]) / stance_s  # 0 to 1, more in swing
    swing = np.clip((times_s - own.lift_s[k]) / swing_s, 0.0, 1.0)
    is_down = stance < 1

    boldness = min(gait.step_length_m / (0.385 * gait.height_m), 1.15)
    strike = np.radians(HEEL_STRIKE_DEG * boldness)  # short steps land flat and push off little
    lift = -np.radians(gait.push_off_deg[side] * boldness**0.7)
    heel = strike * np.clip(1 - stance / HEEL_ROCKER_ENDS, 0.0, 1.0) ** 2
    toe = lift * np.clip((stance - TOE_ROCKER_STARTS) / (1 - TOE_ROCKER_STARTS), 0.0, 1.0) ** 2
    # Pitch rates in rad/s at the two ends of stance; the ankle swings from one speed to the other.
    strike_rate = -2 * strike / HEEL_ROCKER_ENDS / stance_s
    lift_rate = 2 * lift / (1 - TOE_ROCKER_STARTS) / stance_s

    out = np.radians(gait.toe_out_deg) * (1 if side == 0 else -1)
    ahead_3, up_3 = np.array([np.cos(out), np.sin(out), 0.0]), np.array([0.0, 0.0, 1.0])
    ankle_m, heel_m, toe_m = gait.height_m * np.array([ANKLE_HEIGHT, -HEEL_BEHIND, TOE_AHEAD])

    def pitch_up(pitch: Floats, ahead: float, up: float) -> Floats:
        """Turn a vector of the foot [..., FLU] as its toe is turned up by `pitch` radians."""
        cos, sin = np.cos(pitch)[..., None], np.sin(pitch)[..., None]
        turned: Floats = (ahead * cos - up * sin) * ahead_3 + (ahead * sin + up * cos) * up_3
        return turned

    def roll_over(pitch: Floats, pivot_m: float) -> Floats:
        """Return the ankle [..., FLU] when the foot has turned about a point on the floor."""
        return pitch_up(pitch, -pivot_m, ankle_m) + pivot_m * ahead_3

    place = np.stack([own.forward_m, own.lateral_m, np.zeros_like(own.forward_m)], axis=-1)
    resting = roll_over(heel, heel_m) + roll_over(toe, toe_m) - ankle_m * up_3
    landing = place[k + 1] - place[k] + roll_over(strike, heel_m)
    leave = (lift_rate * swing_s)[:, None] * pitch_up(lift + np.pi / 2, -toe_m, ankle_m)
    arrive = (strike_rate * swing_s)[:, None] * pitch_up(strike + np.pi / 2, -heel_m, ankle_m)
    swinging = _hermite(swing[:, None], roll_over(lift, toe_m), landing, leave, arrive)
    swinging[:, 2] += gait.swing_lift_m[side] * _early_bump(swing)
    from_place = np.where(is_down[:, None], resting, swinging)

    free = _hermite(swing, lift, strike, lift_rate * swing_s, 0.0)
    clear = (from_place[:, 2] - TOE_CLEARANCE_M * np.sin(np.pi * swing)) / np.hypot(toe_m, ankle_m)
    toe_clears = np.arctan(ankle_m / toe_m) - np.arcsin(np.clip(clear, -1.0, 1.0))
    pitch = np.where(is_down, heel + toe, np.maximum(free, toe_clears))
    ankle = place[k] + from_place
    return ankle, ankle + pitch_up(pitch, toe_m, -ankle_m)


def _place_pelvis(
    gait: _Gait, steps: _Steps, ankles: list[Floats], times_s: Floats, phase_T: Floats
) -> tuple[Floats, list[Floats]]:
    """Place mid-hip [T, FLU] and both hips: between the feet, and as high as both legs reach."""
    behind, ahead = steps.forward_m[:-1], steps.forward_m[1:]
    forward_T = _interpolate(times_s, steps.strike_s[1:], behind + 0.47 * (ahead - behind))
    lateral_T = (0.2 * gait.step_width_m + 0.004) * np.sin(phase_T)
    tilted = _axes(yaw_deg=-5.0 * np.cos(phase_T), lean_deg=3.0, roll_deg=3.0 * np.sin(phase_T))
    low = np.stack([forward_T, lateral_T, np.zeros_like(forward_T)], axis=-1)
    half_m = HIPS / 2 * gait.height_m
    low_hips = [low + half_m * tilted.left, low - half_m * tilted.left]

    standing_m = ANKLE_HEIGHT * gait.height_m + _reach_m(gait, gait.midstance_bend_deg)
    ceilings = [np.full_like(forward_T, standing_m)]
    for hip, ankle, bend_deg in zip(low_hips, ankles, gait.least_bend_deg, strict=True):
        across = ((hip - ankle)[:, :2] ** 2).sum(axis=-1)
        ceilings.append(ankle[:, 2] - hip[:, 2] + np.sqrt(_reach_m(gait, bend_deg) ** 2 - across))
    height_T = _soft_minimum(np.stack(ceilings), REACH_SOFTNESS_M)
    raised = height_T[:, None] * np.array([0.0, 0.0, 1.0])
    return low + raised, [hip + raised for hip in low_hips]


def _reach_m(gait: _Gait, bend_deg: float) -> float:
    """Return the distance from hip to ankle with the knee bent that far (law of cosines)."""
    square = THIGH**2 + SHANK**2 + 2 * THIGH * SHANK * math.cos(math.radians(bend_deg))
    return gait.height_m * math.sqrt(square)


def _place_knee(gait: _Gait, hip: Floats, ankle: Floats) -> tuple[Floats, Floats]:
    """Place the knee [T, FLU] of the two-link leg that bends forward; return its flexion in degrees [T] too."""
    thigh, shank = THIGH * gait.height_m, SHANK * gait.height_m
    leg = ankle - hip
    length = np.linalg.norm(leg, axis=-1, keepdims=True)
    along = leg / length
    forward = np.array([1.0, 0.0, 0.0]) - along * along[:, :1]
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    down = (thigh**2 - shank**2 + length**2) / (2 * length)
    knee = hip + down * along + np.sqrt(thigh**2 - down**2) * forward
    cos = (length[:, 0] ** 2 - thigh**2 - shank**2) / (2 * thigh * shank)
    return knee, np.degrees(np.arccos(cos))


def _place_upper_body(
    gait: _Gait, mid_hip: Floats, times_s: Floats, phase_T: Floats, rng: np.random.Generator
) -> dict[str, Floats]:
    """Place spine, head and arms [T, FLU]; arms swing against the legs, the chest against the pelvis."""
    size, sin, cos = gait.height_m, np.sin(phase_T), np.cos(phase_T)
    turns = rng.uniform(0.2, 0.9, (3, 1)) * times_s + rng.uniform(0.0, 1.0, (3, 1))
    roll = gait.sway_deg * math.sqrt(2 / 3) * np.sin(2 * np.pi * turns).sum(axis=0) - sin
    roll -= gait.lurch_deg[0] * ((1 + sin) / 2) ** 2 - gait.lurch_deg[1] * ((1 - sin) / 2) ** 2
    lean = gait.lean_deg + np.cos(2 * phase_T)
    loin = _axes(yaw_deg=-2.0 * cos, lean_deg=0.6 * lean, roll_deg=0.6 * roll)
    chest = _axes(yaw_deg=4.0 * cos, lean_deg=lean, roll_deg=roll)
    nape = _axes(yaw_deg=0.0, lean_deg=1.3 * lean + 8.0, roll_deg=0.5 * roll)
    skull = _axes(yaw_deg=0.0, lean_deg=0.5 * lean, roll_deg=0.3 * roll)

    spine_mid = mid_hip + LOWER_TRUNK * size * loin.up
    spine_shoulder = spine_mid + UPPER_TRUNK * size * chest.up
    neck = spine_shoulder + NECK * size * nape.up
    head = neck + HEAD * size * skull.up
    joints = {"spine_mid": spine_mid, "spine_shoulder": spine_shoulder, "neck": neck, "head": head}
    joints["nose"] = head + size * 0.060 * skull.forward
    for side, (name, sign) in enumerate((("left", 1), ("right", -1))):
        swing_deg = 2.0 - sign * gait.arm_swing_deg[side] * cos
        fore_deg = 1.4 * swing_deg + gait.elbow_bend_deg
        upper, _ = _arm_directions(swing_deg, sign * gait.arm_spread_deg)
        fore, thumbward = _arm_directions(fore_deg, sign * 0.4 * gait.arm_spread_deg)
        outward = sign * skull.left
        eye = head + size * (0.050 * skull.forward + 0.018 * outward + 0.020 * skull.up)
        ear = head + size * (0.043 * outward + 0.008 * skull.up)
        shoulder = spine_shoulder + size * (sign * SHOULDERS / 2 * chest.left - 0.012 * chest.up)
        elbow = shoulder + UPPER_ARM * size * upper
        wrist = elbow + FOREARM * size * fore
        hand = wrist + HAND * size * fore
        tip, thumb = hand + HAND * size * fore, hand + 0.4 * HAND * size * (fore + thumbward)
        points = (eye, ear, shoulder, elbow, wrist, hand, tip, thumb)
        joints |= {f"{name}_{joint}": at for joint, at in zip(UPPER_PAIRS, points, strict=True)}
    return joints


def _arm_directions(raised_deg: Floats, spread_deg: float) -> tuple[Floats, Floats]:
    """Return vectors [T, FLU] along an arm raised forward from hanging, and square to it, thumb side."""
    angle, spread = np.radians(raised_deg), np.radians(spread_deg)
    sin, cos, still = np.sin(angle), np.cos(angle), np.zeros_like(angle)
    hanging = np.stack([sin, still, -cos], axis=-1)
    along = np.cos(spread) * hanging + np.sin(spread) * np.array([0.0, 1.0, 0.0])
    return along, np.stack([cos, still, sin], axis=-1)


def _measure_truth(steps: _Steps, bends_deg: list[Floats], times_s: Floats) -> dict[str, Value]:
    """Measure the gait that the plan and the knees show between the first frame and the last."""
    seen = np.flatnonzero((steps.strike_s >= 0) & (steps.strike_s <= times_s[-1]))
    step_s = np.diff(steps.strike_s[seen])
    shares, ranges = [], []
    for side, bend_deg in enumerate(bends_deg):
        own = steps.pick_side(side)
        strides = _find_strides_seen(own, float(times_s[-1]))
        shares.append(float(((own.lift_s - own.strike_s) / own.stride_s)[strides].mean()))
        starts_s, ends_s = own.strike_s[strides], (own.strike_s + own.stride_s)[strides]
        frames = [(a <= times_s) & (times_s <= b) for a, b in zip(starts_s, ends_s, strict=True)]
        ranges.append(float(np.mean([np.ptp(bend_deg[stride]) for stride in frames])))
    return {
        "cadence_spm": 60.0 / float(step_s.mean()),
        "step_length_m": float((steps.forward_m[seen] - steps.forward_m[seen - 1]).mean()),
        "step_width_m": float(np.abs(steps.lateral_m[seen] - steps.lateral_m[seen - 1]).mean()),
        "step_time_cv": _measure_variation(step_s, steps.side[seen[1:]]),
        "stance_share": (shares[0] + shares[1]) / 2,
        "stance_share_left": shares[0],
        "stance_share_right": shares[1],
        "knee_range_deg": (ranges[0] + ranges[1]) / 2,
        "knee_range_left_deg": ranges[0],
        "knee_range_right_deg": ranges[1],
    }


def _measure_variation(step_s: Floats, side: NDArray[np.int64]) -> float | None:
    """Return the SD of step times after removing each side's mean, in percent of their mean."""
    sides = np.unique(side)
    free = len(step_s) - len(sides)
    if free < 1:
        return None
    squares_s2 = sum(step_s[side == one].var() * (side == one).sum() for one in sides)
    return 100.0 * math.sqrt(squares_s2 / free) / float(step_s.mean())


def _find_strides_seen(own: _Steps, seconds: float) -> NDArray[np.int64]:
    """Return indices of one leg's strides that lie whole in 0 to `seconds`, else of the one most so."""
    ends_s = own.strike_s + own.stride_s
    unseen_s = own.stride_s - (np.minimum(ends_s, seconds) - np.maximum(own.strike_s, 0.0))
    whole = np.flatnonzero(unseen_s <= 0)
    return whole if len(whole) else np.array([int(unseen_s.argmin())])


# --- how it is seen ---


def _place_in_world(body_TVC: Floats, layout: Layout, rng: np.random.Generator) -> Floats:
    """Turn the walk in a random direction over the layout's floor."""
    up = _up_axis(layout)
    heading, (first_m, second_m) = rng.uniform(0.0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    forward, left = body_TVC[..., 0], body_TVC[..., 1]
    seen = np.empty_like(body_TVC)
    seen[..., up] = layout.up_sign * body_TVC[..., 2]
    seen[..., (up + 1) % 3] = first_m + np.cos(heading) * forward - np.sin(heading) * left
    seen[..., (up + 2) % 3] = second_m + np.sin(heading) * forward + np.cos(heading) * left
    # where height grows downwards a second axis turns too, or left would become right
    seen[..., 0 if up == 2 else 2] *= layout.up_sign
    return seen


def _up_axis(layout: Layout) -> int:
    if layout.up_axis is None:
        raise ValueError(
            f"Layout '{layout.name}' has no up axis, but a walker needs one; name it in 'up'."
        )
    return layout.up_axis


def _view_from_side(body_TVC: Floats, layout: Layout, rng: np.random.Generator) -> Floats:
    """Project to image x and y, of somebody who passes the camera to the right or to the left."""
    across = rng.choice([-1.0, 1.0]) * body_TVC[..., 0] + rng.uniform(-0.5, 0.5)
    return np.stack([across, layout.up_sign * body_TVC[..., 2]], axis=-1)


def _draw_lost_TV(
    shape: tuple[int, ...], settings: SyntheticSettings, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw where a joint is lost: True in runs of up to 0.4 s, each joint's its own length."""
    frames, joints = shape
    longest = max(round(0.4 * settings.fps), 1)
    run_V = rng.integers(1, longest + 1, joints)
    # A frame is seen if no run began in it or just before: chance_V makes that 1 - missing.
    chance_V = 1 - (1 - settings.missing) ** (1 / run_V)
    starts = rng.uniform(size=(longest + frames, joints)) < chance_V
    begun = np.cumsum(starts, axis=0)
    ends, every = np.arange(longest, longest + frames)[:, None], np.arange(joints)
    lost: NDArray[np.bool_] = begun[ends, every] > begun[ends - run_V, every]
    return lost


# --- curves and axes ---


class _Axes(NamedTuple):
    """A body segment's own directions [T, FLU]."""

    forward: Floats
    left: Floats
    up: Floats


def _axes(*, yaw_deg: Floats | float, lean_deg: Floats | float, roll_deg: Floats) -> _Axes:
    """Return directions after a tilt to the right, then a lean forward, then a turn to the left."""
    yaw, lean, roll = np.radians(np.broadcast_arrays(yaw_deg, lean_deg, roll_deg))
    cos_y, sin_y, cos_l, sin_l = np.cos(yaw), np.sin(yaw), np.cos(lean), np.sin(lean)
    ahead_l, ahead_u = sin_l * np.sin(roll), cos_l * np.sin(roll)
    forward = np.stack([cos_y * cos_l, sin_y * cos_l, -sin_l], axis=-1)
    left_f = cos_y * ahead_l - sin_y * np.cos(roll)
    left_l = sin_y * ahead_l + cos_y * np.cos(roll)
    left = np.stack([left_f, left_l, ahead_u], axis=-1)
    return _Axes(forward, left, np.cross(forward, left))


def _hermite(
    u: Floats, start: Floats, end: Floats, leave: Floats, arrive: Floats | float
) -> Floats:
    """Return a cubic from `start` to `end` over u in 0 to 1, with its slopes per unit of u at both ends."""
    bend: Floats = leave * u * (1 - u) ** 2 - arrive * u**2 * (1 - u)
    return start + (end - start) * _smoothstep(u) + bend


def _interpolate(times_s: Floats, knots_s: Floats, values: Floats) -> Floats:
    """Return a smooth curve through the knots, with slopes from each knot's neighbours."""
    k = np.searchsorted(knots_s, times_s, side="right") - 1
    span = (knots_s[1:] - knots_s[:-1])[k]
    u = (times_s - knots_s[k]) / span
    slopes = np.gradient(values, knots_s)
    return _hermite(u, values[k], values[k + 1], span * slopes[k], span * slopes[k + 1])


def _smoothstep(u: Floats) -> Floats:
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3 - 2 * u)


def _early_bump(u: Floats) -> Floats:
    """Return 0 at 0 and 1 with flat ends, 1 at u = 0.4."""
    return u**2 * (1 - u) ** 3 / (0.4**2 * 0.6**3)


def _soft_minimum(values: Floats, softness: float) -> Floats:
    """Return a smooth curve just below the least of `values` along the first axis."""
    least: Floats = values.min(axis=0)
    below: Floats = softness * np.log(np.exp((least - values) / softness).sum(axis=0))
    return least - below
