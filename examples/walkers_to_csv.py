"""Write synthetic walkers as a CSV of poses, which the tutorial begins with.

python examples/walkers_to_csv.py walks.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.layout import read_layout
from gaitforge.recording import Recording


def write_csv(path: Path, settings: SyntheticSettings) -> None:
    """Write a row for each frame: recording, subject and label, then x, y and z of each joint."""
    joints = read_layout(settings.layout).joints
    header = [f"{joint}_{axis}" for joint in joints for axis in "xyz"[: settings.dimensions]]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", "subject", "label", *header])
        for recording in synthetic_cohort(settings):
            writer.writerows(list_rows(recording))


def list_rows(recording: Recording) -> Iterator[list[str]]:
    """Yield the rows of one recording in millimetres' precision; a missing joint has empty cells."""
    for frame in recording.positions_TVC.reshape(len(recording.positions_TVC), -1):
        cells = ["" if value != value else f"{value:.3f}" for value in frame.tolist()]
        yield [recording.recording, recording.person, recording.label, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description="Synthetic walkers as a CSV of poses.")
    parser.add_argument("out", type=Path, metavar="FILE.csv")
    parser.add_argument("--people", type=int, default=24, help="of each class (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_csv(
        options.out,
        SyntheticSettings(
            people_per_class=options.people, recordings_per_person=1, seed=options.seed
        ),
    )
    print(options.out)


if __name__ == "__main__":
    main()
