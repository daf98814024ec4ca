"""Damaged tables: whatever is done to a file, it is read, set aside or refused in one sentence, and takes no memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from tests.test_deeplabcut import MANY
from tests.test_vicon import DEVICES, JOINTS, OUTPUTS, TRAJECTORIES

Floats = NDArray[np.float32]
JOINT_NAMES = ("hip", "knee", "toe")
LEG = Layout(name="leg", joints=JOINT_NAMES, bones=((0, 1), (1, 2)), up="none")


def make_wide() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = {"recording": ["a"] * 12 + ["b"] * 8, "subject": "p", "label": "ill", "age": 70.5}
    table = pd.DataFrame({**frames, "frame": [*range(12), *range(5, 13)]})
    table["time"] = table["frame"] / 50
    for joint in JOINT_NAMES:
        for axis in ("x", "y", "z", "c"):
            table[f"{joint}_{axis}"] = rng.random(20).round(3)
    return table


def make_long() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = make_wide()[["recording", "subject", "label", "frame"]]
    table = frames.merge(pd.DataFrame({"landmark_index": range(3)}), how="cross")
    table[["x", "y", "z", "visibility"]] = rng.random((60, 4)).round(3)
    return table


def as_csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def as_parquet(table: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    table.to_parquet(sink, row_group_size=7)
    return sink.getvalue()


# name of a file -> its whole content
FILES: Mapping[str, Callable[[], bytes]] = {
    "wide.csv": lambda: as_csv(make_wide()),
    "long.csv": lambda: as_csv(make_long()),
    "semicolons.csv": lambda: as_csv(make_wide()).replace(b",", b";").replace(b".", b","),
    "one.tsv": lambda: as_csv(make_wide()[:12].drop(columns="recording")).replace(b",", b"\t"),
    "deeplabcut.csv": lambda: "\n".join(MANY).encode(),
    "vicon.csv": lambda: "\n".join([JOINTS, OUTPUTS, TRAJECTORIES, DEVICES]).encode(),
    "wide.parquet": lambda: as_parquet(make_wide()),
    "long.parquet": lambda: as_parquet(make_long()),
}
OPTIONS = {
    "deeplabcut.csv": ReadOptions(joints={"hip": ("head",), "knee": ("stinger",)}),
    "vicon.csv": ReadOptions(joints={"hip": ("LASI",), "knee": ("LKNE",)}),
}
CELLS = (
    b"", b"nan", b"inf", b"-1e39", b"1e400", b"1000000000000", b"9223372036854775808", b"0x10", b"1_0", b"-1", b"0.5",
    b'"', b'"a\nb"', b"\0", b"\xff", b"\xc3\xa4", b"frame", b"Trajectories", b"scorer", b",,,,", b"\r", b"\n\n", b"z_0",
    b"9" * 5000, b" ", b"2024-05-01",
)  # fmt: skip

DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("cell"), st.floats(0, 1), st.sampled_from(CELLS)),
        st.tuples(st.just("byte"), st.floats(0, 1), st.binary(min_size=1, max_size=1)),
        st.tuples(st.just("insert"), st.floats(0, 1), st.binary(max_size=8)),
        st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("leave out"), st.floats(0, 1), st.binary(max_size=40)),
        st.tuples(st.just("repeat"), st.floats(0, 1), st.binary(max_size=40)),
        st.tuples(st.just("move line"), st.floats(0, 1), st.just(b"")),
    ),
    min_size=1,
    max_size=4,
)


def damage(data: bytes, how: str, where: float, what: bytes) -> bytes:
    at = int(where * len(data))
    if how == "cell":
        begin = max(data.rfind(mark, 0, at) for mark in b",;\t\n") + 1
        ends = [end for mark in b",;\t\n" if (end := data.find(mark, at)) >= 0]
        return data[:begin] + what + data[min(ends, default=len(data)) :]
    if how == "move line":
        lines = data.split(b"\n")
        lines.insert(0, lines.pop(int(where * (len(lines) - 1))))
        return b"\n".join(lines)
    piece = data[at : at + len(what)]
    kinds = {
        "byte": data[:at] + what + data[at + 1 :],
        "insert": data[:at] + what + data[at:],
        "cut": data[:at],
        "leave out": data[:at] + data[at + len(what) :],
        "repeat": data[:at] + piece + data[at:],
    }
    return kinds[how]


def examine(path: Path, options: ReadOptions) -> str:
    """Read a file, and return what became of it; raises AssertionError where it breaks a rule."""
    size = path.stat().st_size
    try:
        items = list(READERS[path.suffix](path, LEG, options, labelled=False))
    except ValueError as error:
        sentence = str(error)
        assert path.name in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
        return "refused"
    for item in items:
        assert isinstance(item, Recording | Rejected)
        if isinstance(item, Recording):
            assert item.positions_TVC.shape[1] == 3
            assert item.positions_TVC.size <= 300_000 + 100 * size
    return "read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def fuzz(name: str, folder: Path, examples: int) -> set[str]:
    whole = FILES[name]()
    path = folder / name
    found: set[str] = set()

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(DAMAGE)
    def each(harms: list[tuple[str, float, bytes]]) -> None:
        data = whole
        for harm in harms:
            data = damage(data, *harm)
        path.write_bytes(data)
        found.add(examine(path, OPTIONS.get(name, ReadOptions())))

    each()
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(FILES[name]())
    items = READERS[path.suffix](path, LEG, OPTIONS.get(name, ReadOptions()), labelled=False)
    assert all(isinstance(item, Recording) for item in items)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_table_is_read_or_refused_in_a_sentence(name: str, folder: Path) -> None:
    assert fuzz(name, folder, 50) == {"read", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_table_damaged_in_many_ways_is_read_or_refused_in_a_sentence(
    name: str, folder: Path
) -> None:
    assert fuzz(name, folder, 300) == {"read", "refused"}


# what was written is what is read


class Line(NamedTuple):
    """A line of a long table."""

    recording: str
    frame: int
    joint: str
    x: float
    y: float
    c: float


@st.composite
def tables(draw: st.DrawFn) -> list[Line]:
    """Draw some recordings: some frames and joints left out, lines in any order."""
    number = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
    numbers = st.tuples(number, number, st.floats(0, 1, width=32))
    lines: list[Line] = []
    for id_ in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)):
        frames = draw(st.lists(st.integers(-20, 40), min_size=2, max_size=6, unique=True))
        cells = [(frame, joint) for frame in frames for joint in JOINT_NAMES]
        kept = draw(st.lists(st.sampled_from(cells), min_size=2, unique=True))
        lines += [Line(id_, *cell, *draw(numbers)) for cell in kept]
    return draw(st.permutations(lines))


def expect(lines: Sequence[Line]) -> tuple[Floats, Floats]:
    """Fill positions [T, V, 2] and confidence [T, V] line by line."""
    first, last = min(line.frame for line in lines), max(line.frame for line in lines)
    positions = np.full((last - first + 1, 3, 2), np.nan, np.float32)
    confidence = np.zeros((last - first + 1, 3), np.float32)
    for line in lines:
        positions[line.frame - first, JOINT_NAMES.index(line.joint)] = (line.x, line.y)
        confidence[line.frame - first, JOINT_NAMES.index(line.joint)] = line.c
    return positions, confidence


def widen(lines: Sequence[Line]) -> pd.DataFrame:
    """Put the lines of a frame into one."""
    rows: dict[tuple[str, int], dict[str, float]] = {}
    for line in lines:
        row = rows.setdefault((line.recording, line.frame), {})
        row |= {f"{line.joint}_{axis}": getattr(line, axis) for axis in "xyc"}
    names = [f"{joint}_{axis}" for joint in JOINT_NAMES for axis in "xyc"]
    return pd.DataFrame(
        [
            {"recording": id_, "frame": frame, **{name: row.get(name) for name in names}}
            for (id_, frame), row in rows.items()
        ]
    ).astype(dict.fromkeys(names, "float64"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("form", ["long", "wide"])
def test_what_was_written_is_what_is_read(form: str, suffix: str, folder: Path) -> None:
    path = folder / f"{form}{suffix}"

    @settings(max_examples=50, derandomize=True, deadline=None, database=None)
    @given(tables())
    def each(lines: list[Line]) -> None:
        table = pd.DataFrame(lines) if form == "long" else widen(lines)
        if suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, row_group_size=3)
        items = list(READERS[suffix](path, LEG, ReadOptions(), labelled=False))
        assert [item.recording for item in items] == [
            *dict.fromkeys(line.recording for line in lines)
        ]
        for item in items:
            own = [line for line in lines if line.recording == item.recording]
            positions, confidence = expect(own)
            if len(positions) < 2 or np.isnan(positions).all():
                assert isinstance(item, Rejected)
                continue
            assert isinstance(item, Recording), item
            assert np.array_equal(item.positions_TVC, positions, equal_nan=True)
            assert item.confidence_TV is not None
            assert np.array_equal(np.nan_to_num(item.confidence_TV), confidence)

    each()
