"""The contract of every reader, held over the table READERS."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gaitforge.ingest import READERS, Reader, ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.testing import readers
from gaitforge.testing.readers import Sample
from tests.small_line import write_recordings

TWO_JOINTS = Layout(name="two", joints=("hip", "knee"), bones=((0, 1),), fps=50.0)
COCO = Layout(name="any", joints=tuple(f"j{n}" for n in range(17)), bones=((0, 1),), up="none")


def write_table(path: Path) -> Path:
    """Two recordings, one line a frame, of joints that are numbered."""
    table = pd.DataFrame({"recording": ["a"] * 9 + ["b"] * 9, "subject": "p1", "label": "ill"})
    numbers = np.random.default_rng(0).normal(size=(18, 34))
    names = [f"{axis}_{joint}" for joint in range(17) for axis in "xy"]
    table = table.join(pd.DataFrame(numbers, columns=names))
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


# suffix -> what writes a sample of 17 joints; a reader without one is held to less
SAMPLES: dict[str, Callable[[Path], Path]] = {
    ".npz": write_recordings,
    **dict.fromkeys((".csv", ".tsv", ".parquet"), write_table),
}


@pytest.mark.parametrize("suffix", READERS)
def test_every_reader_refuses_a_missing_file(suffix: str) -> None:
    readers.check_missing_file(
        READERS[suffix], Sample(path=Path(f"walks{suffix}"), layout=TWO_JOINTS)
    )


@pytest.mark.parametrize("suffix", SAMPLES)
@pytest.mark.parametrize("check", readers.CHECKS)
def test_every_reader_holds(check: str, suffix: str, tmp_path: Path) -> None:
    path = SAMPLES[suffix](tmp_path / f"walks{suffix}")
    readers.CHECKS[check](READERS[suffix], Sample(path=path, layout=COCO))


# what the contract refuses


def read_rows(
    path: Path,
    layout: Layout,
    options: ReadOptions,
    *,
    labelled: bool = True,
    name: str | None = None,
) -> Iterator[Recording | Rejected]:
    """A reader that holds the contract: each row has id, person, class and the numbers of all frames."""
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        for position, (mark, person, label, *numbers) in enumerate(rows):
            frames = np.array(numbers, np.float32).reshape(-1, layout.joint_count, 3)
            id_ = mark or f"{name or path.stem}-{position}"
            if len(frames) < 2:
                yield Rejected(
                    source=str(path), position=position, person=person, label=label, reason="short"
                )
            else:
                yield Recording(recording=id_, person=person, label=label, positions_TVC=frames)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); write it again.") from error


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    numbers = np.arange(42).tolist()  # 7 frames of two joints; of three they fill no frame
    rows = [
        ["a", "p1", "ill", *numbers],
        ["", "p2", "well", *numbers],
        ["", "p2", "well", *numbers[:6]],
    ]
    path = tmp_path / "walks.rows"
    path.write_text("\n".join(",".join(map(str, row)) for row in rows), encoding="utf-8")
    return Sample(path=path, layout=TWO_JOINTS)


def test_a_reader_of_anybody_is_checked_whole(sample: Sample) -> None:
    readers.check(read_rows, sample.path, sample.layout)


def changed(change: Callable[..., Iterator[Recording | Rejected]]) -> Reader:
    """That reader, with a fault."""

    def reader(
        path: Path,
        layout: Layout,
        options: ReadOptions,
        *,
        labelled: bool = True,
        name: str | None = None,
    ) -> Iterator[Recording | Rejected]:
        return change(path, layout, options, labelled=labelled, name=name)

    return reader  # fmt: skip


def nothing_for_a_missing_file(
    path: Path, *arguments: object, **named: object
) -> Iterator[Recording | Rejected]:
    return read_rows(path, *arguments, **named) if path.is_file() else iter(())  # type: ignore[arg-type]


def one_id(*arguments: object, **named: object) -> Iterator[Recording | Rejected]:
    for item in read_rows(*arguments, **named):  # type: ignore[arg-type]
        if isinstance(item, Recording):
            yield Recording(
                recording="walk", person=item.person, label=item.label, positions_TVC=item.positions_TVC
            )  # fmt: skip


def deaf_to_its_name(*arguments: object, **named: object) -> Iterator[Recording | Rejected]:
    return read_rows(*arguments)  # type: ignore[arg-type]


def only_labelled(
    *arguments: object, labelled: bool, **named: object
) -> Iterator[Recording | Rejected]:
    return read_rows(*arguments, **named) if labelled else iter(())  # type: ignore[arg-type]


def another_each_time() -> Reader:
    rng = np.random.default_rng(0)

    def reader(*arguments: object, **named: object) -> Iterator[Recording | Rejected]:
        items = list(read_rows(*arguments, **named))  # type: ignore[arg-type]
        return iter(
            [items[n] for n in rng.permutation(len(items))] + items[: int(rng.integers(3))]
        )

    return changed(reader)


def of_two_joints_always(
    path: Path, layout: Layout, *arguments: object, **named: object
) -> Iterator[Recording | Rejected]:
    return read_rows(path, TWO_JOINTS, *arguments, **named)  # type: ignore[arg-type]


def in_its_own_words(*arguments: object, **named: object) -> Iterator[Recording | Rejected]:
    try:
        yield from read_rows(*arguments, **named)  # type: ignore[arg-type]
    except ValueError as error:
        raise IndexError("out of range") from error


@pytest.mark.parametrize(
    ("check", "reader", "sentence"),
    [
        ("missing file", changed(nothing_for_a_missing_file), "raise FileNotFoundError"),
        ("ids", changed(one_id), "2 recordings of .* have the id 'walk'"),
        ("ids", changed(deaf_to_its_name), "or begin with that"),
        ("repeated", another_each_time(), "read them in the file's order"),
        ("unlabelled", changed(only_labelled), "leave none out"),
        ("other layout", changed(of_two_joints_always), "for a layout of 3 joints"),
        ("damaged", changed(in_its_own_words), r"raises IndexError\('out of range'\), but must raise ValueError"),
    ],
)  # fmt: skip
def test_a_reader_that_breaks_a_rule_is_told_which(
    check: str, reader: Reader, sentence: str, sample: Sample
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        readers.CHECKS[check](reader, sample)


def test_a_sample_of_which_nothing_can_be_used_shows_nothing(sample: Sample) -> None:
    sample.path.write_text("a,p1,ill,1,2,3,4,5,6", encoding="utf-8")
    with pytest.raises(AssertionError, match="check the reader on another sample"):
        readers.check(read_rows, sample.path, sample.layout)
