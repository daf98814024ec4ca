"""Tables of what the store holds: people, lengths, missing joints, further columns, quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from gaitforge.recording import find_kind

OWN = ("recording", "person", "label", "frames", "fps")
ROLES = ("train", "validation", "confirm")
NO_ROLE = "in no role"
SECONDS, FRAMES = "seconds", "frames"


@dataclass(frozen=True, slots=True)
class Missing:
    """How often each joint is missing, in the `seen` recordings that were looked at.

    `joints` has columns joint and share (of frames). `recordings` lists those with missing joints, worst first,
    with columns recording, person, label and share (of joints and frames).
    """

    joints: pd.DataFrame
    recordings: pd.DataFrame
    seen: int


def people_table(index: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """Count people by class and role: columns class, role, people, recordings; one row for each pair that occurs."""
    rows = index.assign(role=[roles.get(person, NO_ROLE) for person in index["person"]])
    table = rows.groupby(["label", "role"], sort=True).agg(
        people=("person", "nunique"), recordings=("recording", "size")
    )
    table = table.reset_index().rename(columns={"label": "class"})
    place = {role: n for n, role in enumerate((*ROLES, NO_ROLE))}
    order = table["role"].map(lambda role: place.get(role, len(place)))
    return table.assign(order=order).sort_values(["class", "order"]).drop(columns="order")


def average_classes_per_person(index: pd.DataFrame) -> float:
    """Return the mean number of classes per person; above 1, `people_table` counts some people several times."""
    return float(index.groupby("person")["label"].nunique().mean()) if len(index) else 0.0


def add_lengths(index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Add a column `length` to the index and return its unit: seconds if all recordings have a rate, else frames."""
    if len(index) and index["fps"].notna().all() and (index["fps"] > 0).all():
        return index.assign(length=index["frames"] / index["fps"]), SECONDS
    return index.assign(length=index["frames"].astype("float64")), FRAMES


def lengths_table(index: pd.DataFrame) -> pd.DataFrame:
    """Summarise lengths per class: columns class, shortest, low, median, high, longest, recordings.

    low and high are the quartiles: half of the recordings lie between them.
    """
    table, _ = add_lengths(index)
    found = table.groupby("label")["length"].quantile(np.array([0, 0.25, 0.5, 0.75, 1])).unstack()
    found.columns = pd.Index(["shortest", "low", "median", "high", "longest"])
    found["recordings"] = table.groupby("label").size()
    return found.rename_axis("class").reset_index()


def count_missing_joints(
    groups: Iterable[pa.Table], joints: Sequence[str], channels: int
) -> Missing:
    """Count missing joints in the frames of row groups; a joint is missing if any of its channels is NaN.

    Groups have columns recording, person, label, frames, positions. Raises ValueError if the size of positions is
    not frames x joints x channels.
    """
    missing_V = np.zeros(len(joints), dtype=np.int64)
    frames, seen = 0, 0
    found: list[pd.DataFrame] = []
    for group in groups:
        table = group.select(["recording", "person", "label", "frames"]).to_pandas()
        flat = _flat(group.column("positions"))
        frames_N = table["frames"].to_numpy(dtype=np.int64)
        if flat.size != frames_N.sum() * len(joints) * channels:
            raise ValueError(
                f"a row group has {flat.size} coordinates for {frames_N.sum()} frames of "
                f"{len(joints)} joints; run `gaitforge ingest run.toml` again."
            )
        seen += len(table)
        frames += int(frames_N.sum())
        missing_TV = np.isnan(flat).reshape(-1, len(joints), channels).any(axis=2)
        missing_V += missing_TV.sum(axis=0)
        if missing_TV.any():
            ends = np.cumsum(frames_N)
            sums = np.concatenate([[0], np.cumsum(missing_TV.sum(axis=1))])
            table["share"] = (sums[ends] - sums[ends - frames_N]) / (frames_N * len(joints))
            found.append(table[table["share"] > 0])
    columns = ["recording", "person", "label", "share"]
    rows = pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)
    return Missing(
        joints=pd.DataFrame({"joint": list(joints), "share": missing_V / max(frames, 1)}),
        recordings=rows.sort_values("share", ascending=False, ignore_index=True),
        seen=seen,
    )


def summarise_further_columns(index: pd.DataFrame) -> pd.DataFrame:
    """Summarise the sources' further columns: columns column, known (percent of recordings), values (in words)."""
    rows = []
    for name in index.columns:
        if name in OWN:
            continue
        values = index[name].dropna()
        words = ""
        if len(values) and is_numeric_dtype(values):
            low, median, high = values.quantile([0, 0.5, 1])
            words = f"{low:.4g} to {high:.4g}, median {median:.4g}"
        elif len(values):
            counts = values.astype(str).value_counts()
            words = ", ".join(f"{value} ({count})" for value, count in counts.head(4).items())
            words += f" and {len(counts) - 4} more" if len(counts) > 4 else ""
        known = 100 * len(values) / len(index) if len(index) else 0.0
        rows.append({"column": name, "known": known, "values": words})
    return pd.DataFrame(rows, columns=["column", "known", "values"])


def reasons_table(quarantine: pd.DataFrame) -> pd.DataFrame:
    """Count the quarantine by kind of reason: columns reason, recordings, sources; the most frequent first."""
    kinds = quarantine.assign(reason=quarantine["reason"].map(find_kind))
    grouped = kinds.groupby("reason", dropna=False).agg(
        recordings=("reason", "size"), sources=("source", "nunique")
    )
    table = grouped.reset_index()
    return table.sort_values(["recordings", "reason"], ascending=[False, True], ignore_index=True)


def _flat(positions: pa.ChunkedArray[Any]) -> NDArray[np.float32]:
    return np.asarray(pc.list_flatten(positions).to_numpy(), dtype=np.float32)
