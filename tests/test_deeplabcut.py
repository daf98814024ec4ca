"""DeepLabCut's CSV: three or four header lines, likelihood as confidence, pixels with y down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.testing import readers

SAMPLE = Path(__file__).parents[2] / "shared" / "samples" / "movement_DLC_sample_tracks.csv"
WASP = Layout(
    name="wasp", joints=("stinger", "head"), bones=((0, 1),), unit="px", up="none", fps=40.0
)
NAN = float("nan")


def read(path: Path, layout: Layout = WASP) -> list[Recording | Rejected]:
    return list(READERS[".csv"](path, layout, ReadOptions(), labelled=False))


def only(items: list[Recording | Rejected]) -> Recording:
    (item,) = items
    assert isinstance(item, Recording), item
    return item


def write(folder: Path, *lines: str) -> Path:
    path = folder / "wasp.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the sample is not part of this repository")
def test_the_sample_is_what_pandas_reads() -> None:
    recording = only(read(SAMPLE))
    table = pd.read_csv(SAMPLE, header=[0, 1, 2], index_col=0).droplevel(0, axis=1)
    assert len(table) == 1085
    for joint, name in enumerate(WASP.joints):
        expected = table[name].to_numpy().astype(np.float32)
        assert np.array_equal(recording.positions_TVC[:, joint], expected[:, :2])
        assert recording.confidence_TV is not None
        assert np.array_equal(recording.confidence_TV[:, joint], expected[:, 2])
    # two values as they stand in the file
    assert recording.positions_TVC[3, 1].tolist() == [1085.08447265625, 422.58984375]
    assert recording.confidence_TV is not None
    assert recording.confidence_TV[3, 0] == np.float32(0.1728968620300293)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the sample is not part of this repository")
def test_the_sample_holds_the_contract_of_readers() -> None:
    options = ReadOptions(path="(?P<person>DLC)_(?P<label>sample)")
    # a copy has another name, and so no person by it
    checks = [check for name, check in readers.CHECKS.items() if name != "ids"]
    for check in checks:
        check(READERS[".csv"], readers.Sample(path=SAMPLE, layout=WASP, options=options))


def test_other_counts_orders_and_gaps(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "scorer,net,net,net,net,net,net,net,net,net",
        "bodyparts,wing,wing,wing,head,head,head,stinger,stinger,stinger",
        "coords,x,y,likelihood,likelihood,y,x,x,y,likelihood",
        "7,9,9,1,.5,2,1,3,4,1",
        "5,9,9,1,.25,6,5,,8,0",
    )
    recording = only(read(path))
    assert recording.recording == "wasp"
    nothing = [[NAN, NAN], [NAN, NAN]]
    expected = [[[NAN, 8], [5, 6]], nothing, [[3, 4], [1, 2]]]
    assert np.array_equal(recording.positions_TVC, np.array(expected, np.float32), equal_nan=True)
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[0, 0.25], [0, 0], [1, 0.5]]


def test_y_of_an_image_points_down(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "scorer,net,net,net,net",
        "bodyparts,head,head,stinger,stinger",
        "coords,x,y,x,y",
        "0,10,20,11,40",
        "1,10,20,11,40",
    )
    recording = only(read(path, replace(WASP, up="y")))
    assert recording.confidence_TV is None
    stinger, head = recording.positions_TVC[0].tolist()
    assert head[1] - stinger[1] == 20


def test_three_coordinates_are_no_pixels(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "scorer,net,net,net,net,net,net",
        "bodyparts,head,head,head,stinger,stinger,stinger",
        "coords,x,y,z,x,y,z",
        "0,1,2,3,4,5,6",
        "1,1,2,3,4,5,6",
    )
    recording = only(read(path, replace(WASP, up="y")))
    assert recording.positions_TVC.tolist() == [[[4, 5, 6], [1, 2, 3]]] * 2


MANY = (
    "scorer,net,net,net,net,net,net,net,net,net",
    "individuals,one,one,one,one,two,two,two,two,single",
    "bodyparts,head,head,stinger,stinger,head,head,stinger,stinger,corner",
    "coords,x,y,x,y,x,y,x,y,x",
    "0,1,2,3,4,,,,,0",
    "1,5,6,7,8,1,1,1,1,0",
)


def test_each_individual_is_a_recording(tmp_path: Path) -> None:
    one, two = (only([item]) for item in read(write(tmp_path, *MANY)))
    assert (one.recording, one.columns) == ("wasp-one", {"individual": "one"})
    assert (two.recording, two.columns) == ("wasp-two", {"individual": "two"})
    assert one.positions_TVC.tolist() == [[[3, 4], [1, 2]], [[7, 8], [5, 6]]]
    assert np.isnan(two.positions_TVC[0]).all()
    assert two.positions_TVC[1].tolist() == [[1, 1], [1, 1]]


def test_an_individual_that_is_never_seen_is_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path, *MANY[:4], "0,1,2,3,4,,,,,0", "1,5,6,7,8,,,,,0")
    one, two = read(path)
    assert isinstance(one, Recording)
    assert isinstance(two, Rejected)
    assert two.reason == "every joint of every frame is missing"


def test_a_file_holds_the_contract_of_readers(tmp_path: Path) -> None:
    (tmp_path / "p1-walks").mkdir()
    path = write(tmp_path / "p1-walks", *MANY)
    table = tmp_path / "people.csv"
    table.write_text("file,subject,label\nwasp,p1,walks\na-copy,p1,walks\n", encoding="utf-8")
    readers.check(READERS[".csv"], path, WASP, ReadOptions(table=str(table)))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (MANY[:3], "lacks the line 'coords'"),
        (("scorer,a,a", "coords,x,y", "bodyparts,b,b"), "lacks the line"),
        ((*MANY[:3], "coords,x,y"), "10 cells in its line bodyparts, but 3 in its line coords"),
        (("scorer,a,a", "bodyparts,head,head", "coords,x,x", "0,1,2"), "two columns for x of 'head'"),
        (("scorer,a,a,a", "bodyparts,head,head,stinger", "coords,x,y,x", "0,1,2,3"), "other coordinates"),
        (("scorer,a,a", "bodyparts,head,head", "coords,u,w", "0,1,2"), "no columns x and y"),
        (("scorer,a,a", "bodyparts,head,head", "coords,x,y"), "no line of numbers"),
        (("scorer,a,a", "bodyparts,head,head", "coords,x,y", "labeled-data/img1.png,1,2"), "Line 4 of"),
        (("scorer,a,a", "bodyparts,head,head", "coords,x,y", "0,1,2", "0,3,4"), "two lines of frame 0"),
        (("scorer,a,a", "bodyparts,toe,toe", "coords,x,y", "0,1,2", "1,3,4"), "has the points toe"),
    ],
)  # fmt: skip
def test_what_is_no_whole_file_is_refused(
    lines: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"wasp\.csv") as told:
        read(write(tmp_path, *lines))
    assert sentence in str(told.value)
