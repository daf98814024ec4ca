"""What the checks of quality find in the real sets: their numbers over recordings, and the joints tracked worst.

    python -m benchmarks.quality [SET ...]

For each check: median, 95 % and greatest number over the recordings, and how many exceed its threshold. For each of
the worst joints: the shares of frames in which it is missing, and in which its confidence is below 1; how much the
bones at it change their length (median over recordings); and its steps beside the body (99 % of them are shorter, in
body sizes). Last, of how many recordings of other people predict would say that they are unlike the training people's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gaitforge.familiar import describe_training, find_unlike
from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import Layout, read_layout
from gaitforge.quality import CHECKS, PREFIX, Bodies, QualitySettings, medians_of
from gaitforge.recording import Recording, find_kind

Positions: TypeAlias = NDArray[np.float32]

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS: dict[str, ReadOptions] = {
    "ui_prmd_kinect": ReadOptions(),
    "ui_prmd_vicon": ReadOptions(),
    "irds_3patients": ReadOptions(confidence_channel=3),
    "auva_grf": ReadOptions(),
    "ipol_feet": ReadOptions(),
}
SPOILED: dict[str, Callable[[Positions], Positions]] = {
    "as they are": lambda frames: frames,
    "turned upside down": lambda frames: -frames,
    "with y and z exchanged": lambda frames: np.ascontiguousarray(frames[..., [0, 2, 1]]),
    "with joints in reverse order": lambda frames: np.ascontiguousarray(frames[:, ::-1]),
}
WORST = 4  # joints that are shown by each: how seldom they are seen, how much their bones change


def main(names: Sequence[str]) -> None:
    if not DATA.is_dir():
        print(f"Skipped: the real data are not at {DATA}.")
        return
    for name in names or SETS:
        layout = read_layout(str(DATA / f"{name}.layout.toml"))
        settings = QualitySettings()
        items = list(read_files([DATA / f"{name}.npz"], layout, SETS[name], quality=settings))
        recordings = [item for item in items if isinstance(item, Recording)]
        kinds = [find_kind(item.reason) for item in items if not isinstance(item, Recording)]
        print(f"{name}: {len(recordings)} recordings, {len(kinds)} set aside", *sorted(set(kinds)))
        print_numbers(recordings, settings)
        if layout.up_axis is not None:
            print_joints(recordings, layout)
            print_unlike(recordings, layout)


def print_numbers(recordings: Sequence[Recording], settings: QualitySettings) -> None:
    silent = []
    for name in CHECKS:
        found = [item.columns.get(PREFIX + name) for item in recordings]
        numbers = np.array([np.nan if its is None else its for its in found], dtype=np.float64)
        if np.isnan(numbers).all():
            silent.append(name)
            continue
        middle, high, most = np.nanquantile(numbers, (0.5, 0.95, 1))
        fired = int((numbers > settings.limit(name)).sum())
        worst = recordings[int(np.nanargmax(numbers))].recording if most > 0 else "-"
        print(f"  {name:16}{middle:9.3f}{high:9.3f}{most:9.3f}{fired:6} told   worst {worst}")
    if silent:
        print(f"  silent: {', '.join(silent)}")


def print_joints(recordings: Sequence[Recording], layout: Layout) -> None:
    unseen, unsure, spread, steps = [], [], [], []
    ends = np.array(layout.bones, dtype=np.int64).reshape(-1, 2)
    for recording in recordings:
        body = Bodies.of([recording], layout)
        unseen.append(~body.seen_VNT[:, 0].T)
        if recording.confidence_TV is not None:
            unsure.append(recording.confidence_TV < 1)
        lengths_TE, medians_E = body.lengths_NET[0].T, body.medians_NE[0]
        own_E = 1.4826 * medians_of(np.abs(lengths_TE - medians_E)) / medians_E
        at_EV = (ends[:, :, None] == np.arange(layout.joint_count)).any(axis=1)
        spread.append(medians_of(np.where(at_EV, own_E[:, None], np.nan)))
        positions_TVC = body.positions_CVNT[:, :, 0].transpose(2, 1, 0)
        moved = positions_TVC[1:] - positions_TVC[:-1]
        beside = moved - np.nanmean(moved, axis=1, keepdims=True)
        steps.append(np.linalg.norm(beside, axis=2) / body.size_N[0])
    unseen_V = np.concatenate(unseen).mean(axis=0)
    unsure_V = np.concatenate(unsure).mean(axis=0) if unsure else np.zeros(layout.joint_count)
    spread_V, steps_V = (
        medians_of(np.array(spread)),
        np.nanquantile(np.concatenate(steps), 0.99, axis=0),
    )
    print("  joint              missing   confidence < 1   bones change   99 % of steps")
    lost_V = unseen_V + unsure_V
    lost, changing = np.argsort(-lost_V)[: (lost_V > 0).sum()], np.argsort(-spread_V)
    for joint in dict.fromkeys([*lost[:WORST], *changing[:WORST]]):
        print(
            f"  {layout.joints[joint]:16}{100 * unseen_V[joint]:8.2f} %{100 * unsure_V[joint]:15.1f} %"
            f"{100 * spread_V[joint]:13.1f} %{steps_V[joint]:16.2f}"
        )


def print_unlike(recordings: Sequence[Recording], layout: Layout) -> None:
    """Hold the recordings of the last two people in five against those of the others, as they are and spoiled."""
    people = sorted({recording.person for recording in recordings})
    known = set(people[: 3 * len(people) // 5])
    familiar = describe_training((its for its in recordings if its.person in known), layout)
    new = [recording for recording in recordings if recording.person not in known]
    if familiar is None:
        return
    for name, spoil in SPOILED.items():
        told = sum(
            bool(
                find_unlike(replace(its, positions_TVC=spoil(its.positions_TVC)), layout, familiar)
            )
            for its in new
        )
        print(f"  unlike the others: {told:4} of {len(new)} {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
