"""Turn CSV files of poses into one .npz of the exchange format.

    python examples/csv_to_npz.py walks.csv --layout coco17 --out walks.npz

A row is one frame of one recording, and rows of a recording are in order of time. Columns: `recording`, `subject`,
`label`; for each joint of the layout `<joint>_x`, `<joint>_y` and, where there are such, `<joint>_z` and
`<joint>_confidence`. An empty cell is a missing joint. Further columns go along where each recording has one value of
them, such as a side or a speed; others, such as a time, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gaitforge.layout import Layout, read_layout
from gaitforge.regular_file import open_regular
from gaitforge.sentences import one_line

NAMED = ("recording", "subject", "label")
CHANNELS = ("x", "y", "z", "confidence")
FILE = "its file"
MOST_NAME = 1_000  # characters
MOST_HEADER = 1_000_000  # bytes; a body of 100 joints needs 10,000
Arrays = Mapping[str, NDArray[np.generic]]


def convert(files: Sequence[Path], layout: Layout) -> Arrays:
    """Return the arrays of the exchange format, recordings in order of their names.

    frames float32 [all frames, V, C] with C channels in the order x, y, z, confidence; offsets int64 [recordings + 1];
    one value per recording of everything else. Raises ValueError where a column is missing, a recording has two people
    or labels, or two files have a recording of one name.
    """
    tables = [read_table(file) for file in files]
    numbered = [part.assign(**{FILE: number}) for number, part in enumerate(tables)]
    table = pd.concat(numbered, ignore_index=True)
    columns = [str(name) for name in table.columns]
    channels = [name for name in CHANNELS if f"{layout.joints[0]}_{name}" in columns]
    poses = [f"{joint}_{channel}" for joint in layout.joints for channel in channels or ["x", "y"]]
    if missing := [name for name in (*NAMED, *poses) if name not in columns]:
        raise ValueError(
            f"The columns {', '.join(missing[:5])} are missing ({len(missing)} in all) for the layout "
            f"'{layout.name}'; add them, or choose the layout of these joints."
        )
    # a stable sort, so that the rows of a recording keep their order wherever they stand
    table = table.sort_values("recording", kind="stable")
    recordings = table.groupby("recording", sort=True)
    counts = {
        name: recordings[name].nunique(dropna=False) for name in columns if name not in poses
    }
    for name in ("subject", "label", FILE):
        if (counts[name] > 1).any():
            raise ValueError(
                f"The recording '{counts[name].idxmax()}' has {counts[name].max()} values of {name}, but must have "
                "one; mend that column, or give recordings names of their own."
            )
    first = recordings.nth(0).set_index("recording")
    further = [n for n in counts if n not in (*NAMED, FILE) and (counts[n] == 1).all()]
    return {
        "frames": table[poses].to_numpy(np.float32).reshape(len(table), layout.joint_count, -1),
        "offsets": np.cumsum([0, *recordings.size()]),
        "clip_id": first.index.to_numpy(np.str_),
        **{name: as_plain(first[name]) for name in ("subject", "label", *further)},
    }


def read_table(path: Path) -> pd.DataFrame:
    """Read one CSV file; raises OSError or ValueError, which names it."""
    with open_regular(path, "The CSV file", "mend its path") as file:
        if len(file.readline(MOST_HEADER)) == MOST_HEADER:
            raise ValueError(
                f"{path} has a first line of {MOST_HEADER:,} bytes or more, which names no columns; give a CSV file."
            )
        file.seek(0)
        try:
            table = pd.read_csv(file, dtype=dict.fromkeys(NAMED, str), low_memory=False)
        except ValueError as error:  # pandas' own are of this class
            raise ValueError(f"{path} is no CSV file ({error}); write it again.") from error
    if long := [name for name in map(str, table.columns) if len(name) > MOST_NAME]:
        raise ValueError(
            f"{path} has the column '{long[0]}', but a name has at most {MOST_NAME} characters; rename it."
        )
    return table


def as_plain(values: pd.Series[float] | pd.Series[str]) -> NDArray[np.generic]:
    """Return numbers as they are, and anything else as text."""
    array = values.to_numpy()
    return array if array.dtype.kind in "iuf" else values.to_numpy(np.str_)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="csv_to_npz.py", description="CSV files of poses to one .npz for gaitforge."
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.csv")
    parser.add_argument(
        "--layout", required=True, help="coco17, kinect25, or the path of a layout's .toml file"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    options = parser.parse_args()
    try:
        arrays = convert(options.files, read_layout(options.layout))
    except (ValueError, KeyError, OSError, OverflowError) as error:
        parser.exit(2, f"{parser.prog}: {one_line(str(error.args[0] if error.args else error))}\n")
    np.savez_compressed(options.out, allow_pickle=False, **arrays)
    frames, joints, channels = arrays["frames"].shape
    print(
        f"{options.out}: {len(arrays['label'])} recordings of {len(np.unique(arrays['subject']))} people, {frames} "
        f"frames of {joints} joints in {channels} channels"
    )


if __name__ == "__main__":
    main()
