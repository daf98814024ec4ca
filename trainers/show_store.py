"""What a store holds, in words: by class the people, recordings, lengths and rates; quality, quarantine, size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
import pyarrow.compute as pc

from gaitforge.quarantine import in_words
from gaitforge.records.store import StoreInfo
from gaitforge.store import SkeletonStore
from gaitforge.work import WorkFolder
from trainers.disk import say_size

MOST_CLASSES = 20  # shown one by one; of more, the largest
SEEN = 16 * 2**20  # bytes of positions that are looked through for missing joints
POSITIONS = "positions"


def describe_store(work: WorkFolder, store: StoreInfo) -> Iterator[str]:
    """Yield lines about a store; what of it cannot be read is one line that says so."""
    why = f" ({in_words(store.reasons)})" if store.reasons else ""
    yield (
        f"store: {store.recordings:,} recordings of {store.people} people in {len(store.classes)} classes"
        f" ({', '.join(store.classes)}), {store.quarantined} in quarantine{why}, version {store.version}"
    )
    try:
        yield from _details(SkeletonStore.open(work.store))
    except (OSError, ValueError) as error:
        yield f"  its recordings cannot be read: {error}"


def _details(store: SkeletonStore) -> Iterator[str]:
    index = store.read_index().select(["person", "label", "frames", "fps"]).to_pydict()
    people: dict[str, set[str]] = {}
    frames: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    for person, label, count, fps in zip(*index.values(), strict=True):
        people.setdefault(label, set()).add(person)
        frames.setdefault(label, []).append(count)
        seconds[label] = seconds.get(label, 0.0) + (count / fps if fps else 0.0)
    largest = sorted(people, key=lambda label: (-len(people[label]), label))[:MOST_CLASSES]
    width = max(map(len, largest))
    for label in sorted(largest):
        long = f", {seconds[label] / 60:,.1f} min" if seconds[label] else ""
        yield (
            f"  {label:<{width}}  {len(people[label]):>5,} people  {len(frames[label]):>7,} recordings of "
            f"{_span(frames[label])} frames{long}"
        )
    if len(people) > len(largest):
        yield f"  and {len(people) - len(largest):,} classes more, of fewer people"
    rates = Counter(index["fps"])
    told = ", ".join(
        f"{'no frame rate' if fps is None else f'{fps:g} Hz'}"
        + (f" ({count:,})" if len(rates) > 1 else "")
        for fps, count in rates.most_common(5)
    )
    more = f" and {len(rates) - 5} more" if len(rates) > 5 else ""
    shape = f"{store.layout.joint_count} joints of {store.info.channels} coordinates"
    yield f"  {told}{more}; {shape}, {_tell_missing(store)}"
    yield f"  {say_size(sum(path.stat().st_size for path in store.list_files()))} in Parquet files"


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return (
        f"{least:,}" if least == most else f"{least:,} to {most:,} (median {median(counts):,.0f})"
    )


def _tell_missing(store: SkeletonStore) -> str:
    missing = total = 0
    for group in store.sample([POSITIONS], SEEN):
        values = pc.list_flatten(group.column(POSITIONS))
        missing += int(np.isnan(values.to_numpy()).sum())
        total += len(values)
    share = missing / total if total else 0.0
    return f"{share:.1%} of their values missing" if missing else "none missing"
