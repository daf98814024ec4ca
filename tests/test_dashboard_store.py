"""The store's page: people by class and role, lengths, missing joints, quarantine, from the store's own files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.reading.files import Problem
from dashboard.store import tables as store_tables
from dashboard.store.reading import read_roles, read_store
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.records.split import SPLIT, Split
from gaitforge.store import SkeletonStore
from gaitforge.work import WorkFolder, write_json
from tests.toy_work import make_split
from tests.try_page import APP, Show, open_page, table, words

LEG = Layout(name="leg", joints=("hip", "knee"), bones=((0, 1),), parts={"leg": (0, 1)})


def recording(
    name: str, person: str, label: str = "healthy", frames: int = 4, fps: float | None = 2.0
) -> Recording:
    return Recording(
        recording=name,
        person=person,
        label=label,
        positions_TVC=np.ones((frames, 2, 3), dtype=np.float32),
        fps=fps,
        columns={"side": "left", "speed": 1.5},
    )


def with_gap(made: Recording) -> Recording:
    """The knee has no height in its first frame."""
    made.positions_TVC[0, 1, 1] = np.nan
    return made


def index(*rows: tuple[str, str, str, int, float | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["recording", "person", "label", "frames", "fps"])


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    """Three people, of whom one has the class "knee", and one recording in quarantine."""
    work = WorkFolder(tmp_path / "work")
    work.make()
    items: list[Recording | Rejected] = [
        recording("a", "p1"),
        recording("b", "p1", frames=8),
        with_gap(recording("c", "p2", "knee")),
        recording("d", "p3"),
        Rejected(source="a.npz", position=7, person="p9", label="knee", reason="0 **frames**"),
    ]
    SkeletonStore.write(work.store, LEG, items, "f00d", group_bytes=1)
    roles = {"p1": "train", "p2": "confirm"}
    SPLIT.write(work.split_file("main"), Split(name="main", rule={}, store="f00d", roles=roles))
    return work


# ---------------------------------------------------------------- tables


def test_people_are_counted_by_class_and_role_once() -> None:
    held = index(
        ("a", "p1", "knee", 1, None),
        ("b", "p1", "knee", 1, None),
        ("c", "p1", "healthy", 1, None),
        ("d", "p2", "knee", 1, None),
        ("e", "p3", "knee", 1, None),
    )
    people = store_tables.people_table(held, {"p1": "train", "p2": "confirm"})
    assert people.values.tolist() == [
        ["healthy", "train", 1, 1],
        ["knee", "train", 1, 2],
        ["knee", "confirm", 1, 1],
        ["knee", "in no role", 1, 1],
    ]
    assert store_tables.average_classes_per_person(held) == pytest.approx(4 / 3)


def test_lengths_are_in_seconds_where_each_recording_has_a_frame_rate() -> None:
    known = index(("a", "p", "x", 30, 10.0), ("b", "p", "x", 10, 10.0), ("c", "p", "x", 20, 10.0))
    assert store_tables.add_lengths(known)[1] == "seconds"
    row = store_tables.lengths_table(known).to_dict("records")[0]
    assert row == {
        "class": "x", "shortest": 1.0, "low": 1.5, "median": 2.0, "high": 2.5, "longest": 3.0, "recordings": 3,
    }  # fmt: skip
    unknown = index(("a", "p", "x", 30, 10.0), ("b", "p", "x", 10, None))
    assert store_tables.add_lengths(unknown)[1] == "frames"
    assert store_tables.add_lengths(unknown)[0]["length"].tolist() == [30.0, 10.0]


def test_further_columns_are_summed_up() -> None:
    held = index(("a", "p", "x", 1, None), ("b", "p", "x", 1, None))
    held = held.assign(rep=[1, 3], side=pd.Series(["left", None], dtype=object))
    assert store_tables.summarise_further_columns(held).values.tolist() == [
        ["rep", 100.0, "1 to 3, median 2"],
        ["side", 50.0, "left (1)"],
    ]


def test_reasons_are_counted_the_most_frequent_first() -> None:
    rows = [("a.npz", "short: 0"), ("b.npz", "short: 1"), ("b.npz", "empty")]
    quarantine = pd.DataFrame(rows, columns=["source", "reason"])
    assert store_tables.reasons_table(quarantine).values.tolist() == [
        ["short", 2, 2],
        ["empty", 1, 1],
    ]


# ---------------------------------------------------------------- reading


def test_missing_joints_are_counted_over_frames_and_recordings(work: WorkFolder) -> None:
    problems: list[Problem] = []
    held = read_store(work, problems)
    assert problems == []
    assert held is not None
    assert held.missing is not None
    assert held.missing.seen == 4
    assert held.missing.joints.values.tolist() == [["hip", 0.0], ["knee", 1 / 20]]
    assert held.missing.recordings.values.tolist() == [["c", "p2", "knee", 1 / 8]]


def test_of_a_large_store_row_groups_from_all_over_are_looked_at(work: WorkFolder) -> None:
    store = SkeletonStore.open(work.store)
    names = ["recording", "positions"]
    everything = [group["recording"].to_pylist() for group in store.sample(names, 10**9)]
    assert everything == [["a"], ["b"], ["c"], ["d"]]
    size = sum(group.nbytes for group in store.sample(names, 10**9))
    some = [group["recording"].to_pylist() for group in store.sample(names, size // 2)]
    assert ["a"] in some
    assert 1 <= len(some) <= 3
    assert [g.column_names for g in store.sample(names, 1)] == [names]


def test_a_log_that_names_files_elsewhere_is_not_followed(work: WorkFolder) -> None:
    log = next((work.store / "recordings" / "_delta_log").glob("*.json"))
    part = next((work.store / "recordings").glob("*.parquet"))
    part.rename(work.root / part.name)
    log.write_text(log.read_text().replace(f'"{part.name}"', f'"../../{part.name}"'))
    problems: list[Problem] = []
    held = read_store(work, problems)
    assert held is not None
    assert held.index is None
    assert "no file of its own" in problems[0].reason


def test_roles_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    assert read_roles(work, "main") == {}
    write_json(work.split_file("main"), {"schema": 1, "roles": {"p1": 3}})
    assert read_roles(work, "main") == {}


# ---------------------------------------------------------------- the page


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "store", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def test_the_page_says_what_the_store_holds(work: WorkFolder, show: Show) -> None:
    app = show(work)
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics == {
        "People": "3", "Recordings": "4", "Recorded": "0.2 min", "Joints": "2", "In quarantine": "1",
    }  # fmt: skip
    said = words(app)
    assert "Layout leg, 3 channels in m, 2 frames a second. Version 0 of the store" in said
    assert "**Lengths in seconds**" in said
    assert "1 recording misses some" in said
    assert "stands in each of them" not in said
    assert table(app, "column")["column"].tolist() == ["side", "speed"]
    assert table(app, "sources")["reason"].tolist() == ["0 **frames**"]
    assert "**frames**" not in said
    assert len(app.get("vega_lite_chart")) == 3


def test_a_damaged_file_is_named_and_the_rest_is_shown(work: WorkFolder, show: Show) -> None:
    part = next((work.store / "recordings").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    app = show(work)
    said = words(app)
    assert "The recordings cannot be read" in said
    assert table(app, "File")["File"].tolist() == ["store/recordings"]
    assert table(app, "sources")["recordings"].tolist() == [1]


def test_without_a_store_or_with_one_that_says_less_the_page_says_so(
    tmp_path: Path, show: Show
) -> None:
    work = WorkFolder(tmp_path / "work")
    make_split(work)
    assert "Nothing is ingested yet" in words(show(work))
    counts = {"recordings": 1, "people": 1, "classes": ["x"], "quarantined": 0}
    write_json(work.store / "store.json", {"schema": 1, **counts})
    app = show(work)
    assert "or the store cannot be read" in words(app)
    assert table(app, "File")["File"].tolist() == ["store/store.json"]
