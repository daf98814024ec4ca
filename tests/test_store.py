"""Rules of the store: what is written comes back, whole snapshots only, damage is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from benchmarks.store_kills import run as run_kills
from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import Layout, read_layout
from gaitforge.recording import Recording, Rejected
from gaitforge.recording_files import read_recordings
from gaitforge.records.store import StoreInfo
from gaitforge.store import FILE_BYTES, GROUP_BYTES, SkeletonStore

DATA = Path(__file__).parents[2] / "shared" / "data"
LEG = Layout(name="leg", joints=("hip", "knee"), bones=((0, 1),), parts={"leg": (0, 1)}, fps=50.0)
REJECTED = Rejected(source="a.npz", position=7, person="p9", label="knee", reason="0 frames")


def recording(name: str, person: str, frames: int = 4, **other: Any) -> Recording:
    """Positions count up from a number that the name decides."""
    start = sum(name.encode())
    positions = np.arange(start, start + frames * 6, dtype=np.float32).reshape(frames, 2, 3)
    made = Recording(recording=name, person=person, label="healthy", positions_TVC=positions)
    return replace(made, **other)


def write(
    folder: Path,
    *items: Recording | Rejected,
    group_bytes: int = GROUP_BYTES,
    file_bytes: int = FILE_BYTES,
) -> StoreInfo:
    return SkeletonStore.write(
        folder, LEG, items, "f00d", group_bytes=group_bytes, file_bytes=file_bytes
    )


def ids(folder: Path) -> list[str]:
    return [item.recording for item in SkeletonStore.open(folder).read_recordings()]


def parquet_files(folder: Path) -> list[Path]:
    return sorted((folder / "recordings").glob("*.parquet"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_recordings_come_back_as_they_were(tmp_path: Path) -> None:
    gaps = recording("a", "p1").positions_TVC.copy()
    gaps[1, 0] = np.nan
    confidence = np.array([[1, 0.5], [0, np.nan], [1, 1], [0, 0]], np.float32)
    written = [
        recording("a", "p1", positions_TVC=gaps, confidence_TV=confidence, fps=50.0),
        recording("b", "p1", frames=2, columns={"rep": 3, "speed": 1.5, "side": "left"}),
    ]
    write(tmp_path, *written)
    for before, after in zip(written, SkeletonStore.open(tmp_path).read_recordings(), strict=True):
        assert np.array_equal(before.positions_TVC, after.positions_TVC, equal_nan=True)
        assert (before.recording, before.person, before.label, before.fps) == (
            after.recording,
            after.person,
            after.label,
            after.fps,
        )
    first, second = SkeletonStore.open(tmp_path).read_recordings()
    assert first.confidence_TV is not None
    assert np.array_equal(first.confidence_TV, confidence, equal_nan=True)
    assert (second.confidence_TV, second.fps) == (None, None)
    assert first.columns == {"rep": None, "speed": None, "side": None}
    assert second.columns == {"rep": 3, "speed": 1.5, "side": "left"}


def test_arrays_of_the_store_can_be_written_to(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    (item,) = SkeletonStore.open(tmp_path).read_recordings()
    assert item.positions_TVC.flags.writeable


def test_open_says_what_write_said(tmp_path: Path) -> None:
    info = write(tmp_path, recording("a", "p1"), recording("b", "p2", label="knee"), REJECTED)
    store = SkeletonStore.open(tmp_path)
    assert store.info == info
    assert store.layout == LEG
    assert store.classes == ("healthy", "knee")
    assert (info.recordings, info.people, info.channels, info.quarantined) == (2, 2, 3, 1)
    assert (info.fingerprint, info.version) == ("f00d", 0)


def test_order_is_by_person_and_id_whatever_the_input_order(tmp_path: Path) -> None:
    people = {"a": "p2", "b": "p10", "c": "p1", "d": "p2"}
    items = [recording(name, person) for name, person in people.items()]
    write(tmp_path, *reversed(items), group_bytes=100, file_bytes=150)
    assert len(parquet_files(tmp_path)) == 2
    assert ids(tmp_path) == ["c", "b", "a", "d"]
    index = SkeletonStore.open(tmp_path).read_index()
    assert index["recording"].to_pylist() == ["c", "b", "a", "d"]


def test_index_holds_descriptions_and_further_columns_but_no_movement(tmp_path: Path) -> None:
    write(
        tmp_path,
        recording("a", "p1", fps=50.0, columns={"age": 61, "BMI (kg/m2)": 22}),
        recording("b", "p1", frames=9, columns={"BMI (kg/m2)": 23.5}),
    )
    assert SkeletonStore.open(tmp_path).read_index().to_pydict() == {
        "recording": ["a", "b"],
        "person": ["p1", "p1"],
        "label": ["healthy", "healthy"],
        "frames": [4, 9],
        "fps": [50.0, None],
        "age": [61, None],
        "BMI (kg/m2)": [22.0, 23.5],
    }


def test_row_groups_end_between_people_unless_one_is_too_big(tmp_path: Path) -> None:
    names = {"a": "p1", "b": "p2", "c": "p2", "d": "p3", "e": "p3", "f": "p3"}
    items = [recording(name, person) for name, person in names.items()]
    write(tmp_path, *items, group_bytes=2 * 4 * 6 * 4)  # two recordings
    (path,) = parquet_files(tmp_path)
    with pq.ParquetFile(path) as file:
        people = [
            file.read_row_group(i, columns=["person"])["person"].to_pylist()
            for i in range(file.num_row_groups)
        ]
    assert people == [["p1"], ["p2", "p2"], ["p3", "p3"], ["p3"]]


def test_one_person_is_read_without_the_row_groups_of_others(tmp_path: Path) -> None:
    items = [recording(name, f"p{i}") for i, name in enumerate("abcde")]
    write(tmp_path, *items, group_bytes=1)
    (path,) = parquet_files(tmp_path)
    with pq.ParquetFile(path) as file:
        # the other people's pages are damaged: whoever reads them raises
        chunks = [file.metadata.row_group(i).column(1) for i in (0, 1, 3, 4)]
    for chunk in chunks:
        flip(path, chunk.data_page_offset + chunk.total_compressed_size // 2)
    store = SkeletonStore.open(tmp_path)
    assert [item.recording for item in store.read_recordings(["p2"])] == ["c"]
    with pytest.raises(ValueError, match="damaged"):
        list(store.read_recordings(["p3"]))


def test_people_can_be_chosen_across_files_and_groups(tmp_path: Path) -> None:
    items = [recording(f"{person}-{i}", f"p{person}") for person in range(9) for i in range(3)]
    for sizes in ({"group_bytes": 1, "file_bytes": 500}, {"group_bytes": 700}, {}):
        write(tmp_path, *items, **sizes)
        store = SkeletonStore.open(tmp_path)
        found = [item.recording for item in store.read_recordings({"p7", "p2"})]
        assert found == ["2-0", "2-1", "2-2", "7-0", "7-1", "7-2"]
        assert list(store.read_recordings([])) == []


def test_person_without_a_recording_is_a_key_error(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    with pytest.raises(KeyError, match="no recording of 'p2'"):
        list(SkeletonStore.open(tmp_path).read_recordings(["p1", "p2"]))


def test_quarantine_keeps_source_position_and_reason(tmp_path: Path) -> None:
    write(tmp_path, REJECTED, recording("a", "p1"))
    assert SkeletonStore.open(tmp_path).read_quarantine().to_pylist() == [
        {
            "source": "a.npz",
            "position": 7,
            "person": "p9",
            "label": "knee",
            "reason": "0 frames",
        }
    ]
    write(tmp_path, recording("a", "p1"))
    assert len(SkeletonStore.open(tmp_path).read_quarantine()) == 0


def test_a_damaged_quarantine_is_named_and_mended_by_the_next_write(tmp_path: Path) -> None:
    write(tmp_path, REJECTED, recording("a", "p1"))
    (tmp_path / "quarantine.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"quarantine\.parquet is damaged"):
        SkeletonStore.open(tmp_path).read_quarantine()
    write(tmp_path, REJECTED, recording("a", "p1"))
    assert len(SkeletonStore.open(tmp_path).read_quarantine()) == 1


def test_each_write_replaces_the_content_and_old_versions_stay_readable(tmp_path: Path) -> None:
    assert write(tmp_path, recording("a", "p1", columns={"rep": 1})).version == 0
    assert write(tmp_path, recording("b", "p1"), recording("c", "p2")).version == 1
    assert write(tmp_path, recording("d", "p1", columns={"rep": "one"})).version == 2
    assert ids(tmp_path) == ["d"]
    contents = [
        DeltaTable(tmp_path / "recordings", version=version).to_pyarrow_dataset().to_table()
        for version in range(3)
    ]
    assert [table["recording"].to_pylist() for table in contents] == [["a"], ["b", "c"], ["d"]]
    assert contents[0]["rep"].to_pylist() == [1]
    assert contents[2]["positions"].to_pylist() == [
        recording("d", "p1").positions_TVC.ravel().tolist()
    ]


def test_many_writes_keep_the_first_version(tmp_path: Path) -> None:
    for name in "abcdefghijkl":
        write(tmp_path, recording(name, "p1"))
    first = DeltaTable(tmp_path / "recordings", version=0).to_pyarrow_dataset().to_table()
    assert first["recording"].to_pylist() == ["a"]


def test_input_that_fails_midway_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    def failing() -> Iterator[Recording]:
        yield recording("b", "p1")
        raise ValueError("the second file is damaged")

    write(tmp_path, recording("a", "p1"))
    before = parquet_files(tmp_path)
    with pytest.raises(ValueError, match="the second file is damaged"):
        SkeletonStore.write(tmp_path, LEG, failing(), "beef")
    assert ids(tmp_path) == ["a"]
    assert parquet_files(tmp_path) == before


def test_write_that_fails_on_the_disk_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, recording("a", "p1"))
    before = parquet_files(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, recording("b", "p1"))
    assert parquet_files(tmp_path) == before
    assert ids(tmp_path) == ["a"]


def test_write_killed_before_its_last_step_is_not_in_force(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    in_force = (tmp_path / "store.json").read_bytes()
    write(tmp_path, recording("b", "p1"), REJECTED)
    (tmp_path / "store.json").write_bytes(in_force)  # as if killed before it was replaced
    assert ids(tmp_path) == ["a"]
    assert len(SkeletonStore.open(tmp_path).read_quarantine()) == 0
    assert write(tmp_path, recording("c", "p1")).version == 2
    assert ids(tmp_path) == ["c"]


@pytest.mark.parametrize("place", [0.1, 0.3, 0.9, 0.99])
def test_a_flipped_bit_is_found(tmp_path: Path, place: float) -> None:
    write(tmp_path, *(recording(f"{i}", "p1", frames=500) for i in range(20)))
    (path,) = parquet_files(tmp_path)
    flip(path, int(place * path.stat().st_size))
    with pytest.raises(
        ValueError, match=r"part-00000.* is damaged .*run `gaitforge ingest run.toml`"
    ):
        list(SkeletonStore.open(tmp_path).read_recordings())


@pytest.mark.parametrize("from_end", [1, 6, 20, 100, 1000])
def test_a_flipped_bit_in_the_footer_is_found(tmp_path: Path, from_end: int) -> None:
    write(tmp_path, recording("a", "p1"))
    (path,) = parquet_files(tmp_path)
    flip(path, path.stat().st_size - from_end)
    store = SkeletonStore.open(tmp_path)
    with pytest.raises(ValueError, match="its footer does not have the checksum in its name"):
        list(store.read_recordings(["p1"]))
    with pytest.raises(ValueError, match="damaged"):
        store.read_index()


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    (path,) = parquet_files(tmp_path)
    for size in (0, 5, path.stat().st_size // 2):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match="damaged"):
            list(read_recordings(path, LEG, None))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    (path,) = parquet_files(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is gone from the store"):
        list(SkeletonStore.open(tmp_path).read_recordings())


def test_a_log_without_the_version_in_force_is_named(tmp_path: Path) -> None:
    write(tmp_path, recording("a", "p1"))
    next((tmp_path / "recordings" / "_delta_log").glob("*.json")).unlink()
    with pytest.raises(ValueError, match="Version 0 of the store"):
        list(SkeletonStore.open(tmp_path).read_recordings())


def test_open_before_the_first_ingest_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run `gaitforge ingest run\.toml` first"):
        SkeletonStore.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 2}', '{"schema": 1}'])
def test_store_json_that_describes_no_store_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(ValueError, match=r"store\.json"):
        SkeletonStore.open(tmp_path)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "no recording to store"),
        ([REJECTED], r"None of the 1 recordings can be used \(1 x 0 frames\); mend"),
        ([recording("b", "p1"), recording("b", "p2")], "'b' occurs twice"),
        ([recording("b", "p1", columns={"Person": 1})], "'Person' has the name of another"),
        ([recording("b", "p1", columns={"Rep": 1, "rep": 1})], "'rep' has the name of another"),
        (
            [recording("b", "p1", columns={"rep": 1}), recording("c", "p1", columns={"rep": "x"})],
            "'rep' holds both text and numbers",
        ),
        ([recording("b", "p1", positions_TVC=np.zeros((2, 3, 3), np.float32))], "3 joints"),
        (
            [
                recording("b", "p1"),
                recording("c", "p1", positions_TVC=np.zeros((2, 2, 2), np.float32)),
            ],
            "'c' has 2 channels, but 'b' has 3",
        ),
    ],
)
def test_items_that_make_no_store_are_refused_and_leave_the_old_one(
    tmp_path: Path, items: list[Recording | Rejected], sentence: str
) -> None:
    write(tmp_path, recording("a", "p1"))
    with pytest.raises(ValueError, match=sentence):
        write(tmp_path, *items)
    assert ids(tmp_path) == ["a"]


def test_folder_that_the_log_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a '%'"):
        write(tmp_path / "50%20", recording("a", "p1"))


def test_folder_may_have_spaces_and_accents(tmp_path: Path) -> None:
    write(tmp_path / "Zürich #1 (a)", recording("a", "p1"))
    assert ids(tmp_path / "Zürich #1 (a)") == ["a"]


def test_reasons_are_counted_by_kind_the_most_frequent_first(tmp_path: Path) -> None:
    short = [replace(REJECTED, reason=f"too few frames: {n}") for n in (0, 1)]
    info = write(tmp_path, recording("a", "p1"), REJECTED, *short)
    assert list(info.reasons.items()) == [("too few frames", 2), ("0 frames", 1)]
    assert SkeletonStore.open(tmp_path).info == info


def test_a_share_of_unusable_recordings_is_too_many_above_the_limit(tmp_path: Path) -> None:
    at_the_limit: list[Recording | Rejected] = [REJECTED]
    at_the_limit += [recording(name, "p1") for name in "abcdefghi"]
    SkeletonStore.write(tmp_path, LEG, at_the_limit, "f00d", max_quarantined=0.1)
    with pytest.raises(ValueError, match=r"Of 11 recordings 2 cannot be used \(2 x 0 frames\)"):
        SkeletonStore.write(tmp_path, LEG, [*at_the_limit, REJECTED], "f00d", max_quarantined=0.1)
    assert SkeletonStore.open(tmp_path).info.quarantined == 1
    assert (tmp_path / "refused.csv").read_text(encoding="utf-8").splitlines() == [
        "source,position,person,label,reason",
        "a.npz,7,p9,knee,0 frames",
        "a.npz,7,p9,knee,0 frames",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "recordings", "people", "copies"),
    [
        ("ui_prmd_kinect", ReadOptions(), 2000, 10, 0),
        ("irds_3patients", ReadOptions(confidence_channel=3, label="correct"), 188, 3, 0),
        ("auva_grf", ReadOptions(relabel={"healthy": "healthy", "*": "disorder"}), 970, 194, 0),
        ("ipol_feet", ReadOptions(), 459, 101, 1),
    ],
)
def test_real_data_come_back_as_they_were(
    tmp_path: Path, name: str, options: ReadOptions, recordings: int, people: int, copies: int
) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real data are not at {DATA}")
    layout = read_layout(str(DATA / f"{name}.layout.toml"))
    items = list(read_files([DATA / f"{name}.npz"], layout, options))
    info = SkeletonStore.write(tmp_path, layout, items, "f00d")
    assert (info.recordings, info.people, info.quarantined) == (recordings, people, copies)
    before = {item.recording: item for item in items if isinstance(item, Recording)}
    for after in SkeletonStore.open(tmp_path).read_recordings():
        assert np.array_equal(
            before[after.recording].positions_TVC, after.positions_TVC, equal_nan=True
        )
        assert before[after.recording].columns == after.columns


def test_a_writer_that_comes_late_does_not_put_an_older_version_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was first in the log, but another one, which was later there, was sooner with store.json."""

    def write_another(*_: object) -> int:
        monkeypatch.undo()
        write(tmp_path, recording("b", "p2"), recording("c", "p3"))
        return 0  # the version of the first

    monkeypatch.setattr("gaitforge.store._version_of", write_another)
    assert write(tmp_path, recording("a", "p1")).version == 0
    assert SkeletonStore.open(tmp_path).info.version == 1
    assert ids(tmp_path) == ["b", "c"]


def test_a_store_whose_log_was_begun_anew_is_in_force_again(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path, recording(name, "p1"))
    shutil.rmtree(tmp_path / "recordings")
    assert write(tmp_path, recording("d", "p1")).version == 0
    assert ids(tmp_path) == ["d"]


def test_a_file_of_another_user_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, recording("a", "p1"))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("gaitforge.recording_files._open", refuse)
    with pytest.raises(PermissionError, match=r"cannot be read by this user; let its owner"):
        list(SkeletonStore.open(tmp_path).read_recordings())


@pytest.mark.slow
def test_two_writers_that_are_killed_leave_one_whole_version(tmp_path: Path) -> None:
    assert run_kills(tmp_path / "store", kills=3, seed=1) == []
