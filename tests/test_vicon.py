"""The CSV of Vicon Nexus: parts of which any may be absent, each with its rate, names, fields and units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.testing import readers

LEG = Layout(name="leg", joints=("hip", "knee"), bones=((0, 1),), up="none")
MARKERS = ReadOptions(joints={"hip": ("LASI", "RASI"), "knee": ("LKNE",)})
NAN = float("nan")

JOINTS = """Joints
100
,,P 1:LHip,,,,,
Frame,Sub Frame,RX,RY,RZ,TX,TY,TZ
,,deg,deg,deg,mm,mm,mm
1,0,1,2,3,4,5,6
2,0,1,2,3,4,5,6
"""
OUTPUTS = """Model Outputs
50
,,P 1:LHipAngles,,,P 1:LHJC,,,P 1:LKJC,,,P 1:LHipPower
Frame,Sub Frame,X,Y,Z,X,Y,Z,X,Y,Z,X
,,deg,deg,deg,mm,mm,mm,mm,mm,mm,W
1,0,9,9,9,100,200,300,400,500,600,7
2,0,9,9,9,110,210,310,410,510,610,7
"""
TRAJECTORIES = """Trajectories
200
,,P 1:LKNE,,,P 1:LASI,,,P 1:RASI,,,*12,,
Frame,Sub Frame,X,Y,Z,X,Y,Z,X,Y,Z,X,Y,Z
,,mm,mm,mm,mm,mm,mm,mm,mm,mm,mm,mm,mm
101,0,1000,2000,3000,10,20,30,30,40,50,1,1,1
103,0,1001,2001,3001,,,,30,40,50
"""
DEVICES = """Devices
1000
,,Imported AMTI - Force,,,EMG,
Frame,Sub Frame,Fx,Fy,Fz,1,2
,,N,N,N,V,V
1,0,1,2,3,4,5
1,1,1,2,3,4,5
"""
EVENTS = """Events
100
Subject,Context,Name,Time (s),Description
P 1,Right,Foot Strike,1.2,The instant the heel strikes the ground
"""


def read(
    folder: Path, *parts: str, options: ReadOptions = MARKERS, labelled: bool = False
) -> list[Recording | Rejected]:
    path = folder / "walk.csv"
    path.write_text("\n".join(parts), encoding="utf-8")
    return list(READERS[".csv"](path, LEG, options, labelled=labelled))


def only(items: list[Recording | Rejected]) -> Recording:
    (item,) = items
    assert isinstance(item, Recording), item
    return item


@pytest.mark.parametrize(
    "parts",
    [
        (TRAJECTORIES,),
        (JOINTS, OUTPUTS, TRAJECTORIES, DEVICES),
        (EVENTS, DEVICES, TRAJECTORIES),
        (TRAJECTORIES, OUTPUTS),
        ("\n\n", TRAJECTORIES),
    ],
)
def test_trajectories_are_read_whatever_else_there_is(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    recording = only(read(tmp_path, *parts))
    expected = [
        [[0.02, 0.03, 0.04], [1, 2, 3]],
        [[NAN] * 3, [NAN] * 3],
        [[NAN] * 3, [1.001, 2.001, 3.001]],
    ]
    assert recording.positions_TVC == pytest.approx(np.array(expected), nan_ok=True, abs=1e-6)
    assert (recording.fps, recording.recording) == (200, "walk")


@pytest.mark.parametrize("parts", [(OUTPUTS,), (JOINTS, OUTPUTS, DEVICES)])
def test_model_outputs_are_read_where_there_are_no_trajectories(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    options = ReadOptions(joints={"hip": ("LHJC",), "knee": ("LKJC",)})
    recording = only(read(tmp_path, *parts, options=options))
    expected = [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[0.11, 0.21, 0.31], [0.41, 0.51, 0.61]]]
    assert recording.positions_TVC == pytest.approx(np.array(expected), abs=1e-6)
    assert recording.fps == 50
    # an angle is no place, whatever its fields are called
    with pytest.raises(ValueError, match=r"has the points LHJC, LKJC, none of which"):
        read(tmp_path, *parts, options=ReadOptions(joints={"hip": ("LHipAngles",)}))


def test_the_subject_is_the_person_where_all_markers_have_it(tmp_path: Path) -> None:
    labelled = ReadOptions(joints=MARKERS.joints, path="(?P<label>walk)")
    assert only(read(tmp_path, TRAJECTORIES, options=labelled, labelled=True)).person == "P 1"
    several = TRAJECTORIES.replace("P 1:RASI", "Stick:RASI")
    named = {"hip": ("P 1:LASI",), "knee": ("P 1:LKNE",)}
    recording = only(read(tmp_path, several, options=ReadOptions(joints=named)))
    assert recording.positions_TVC[0, 1] == pytest.approx([1, 2, 3])
    options = ReadOptions(joints=named, path=labelled.path)
    (item,) = read(tmp_path, several, options=options, labelled=True)
    assert isinstance(item, Rejected)
    assert item.reason == "the person or the label is empty"


def test_other_units_and_spellings(tmp_path: Path) -> None:
    text = (
        TRAJECTORIES.replace("mm", "m").replace(",", ";").replace("\n", "\r\n").replace("P 1:", "")
    )
    recording = only(read(tmp_path, "\ufeff" + text))
    assert recording.positions_TVC[0, 1].tolist() == [1000, 2000, 3000]
    padded = "\n".join(line + "," * (14 - line.count(",")) for line in TRAJECTORIES.splitlines())
    assert only(read(tmp_path, padded)).positions_TVC[0, 1] == pytest.approx([1, 2, 3])
    bare = "\n".join(line for line in TRAJECTORIES.splitlines() if not line.startswith(",,mm"))
    assert only(read(tmp_path, bare)).positions_TVC[0, 1].tolist() == [1000, 2000, 3000]
    commas = TRAJECTORIES.replace(",", ";").replace("1000;", "1000,5;").replace("200\n", "200,0\n")
    assert only(read(tmp_path, commas)).positions_TVC[0, 1] == pytest.approx([1.0005, 2, 3])
    tabs = only(read(tmp_path, TRAJECTORIES.replace(",", "\t")))
    assert tabs.positions_TVC[0, 1] == pytest.approx([1, 2, 3])


def test_a_file_holds_the_contract_of_readers(tmp_path: Path) -> None:
    path = tmp_path / "walk.csv"
    more = "".join(f"{frame},0{',1.5' * 12}\n" for frame in range(104, 150))
    path.write_text(TRAJECTORIES + more + "\n" + DEVICES, encoding="utf-8")
    options = ReadOptions(joints=MARKERS.joints, path="(?P<label>walk|a-copy)")
    readers.check(READERS[".csv"], path, LEG, options)


def changed(old: str, new: str) -> str:
    assert old in TRAJECTORIES
    return TRAJECTORIES.replace(old, new)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (DEVICES, "holds the parts devices, but no markers"),
        ("Trajectories\n", "holds the parts trajectories, but no markers"),
        (OUTPUTS.replace(",mm", ",deg"), "no markers"),
        (TRAJECTORIES + "\n" + TRAJECTORIES, "two parts 'trajectories'"),
        (changed("200\n", "0\n"), "the rate of the part trajectories is '0'"),
        (changed("200\n", "inf\n"), "the rate of the part trajectories is 'inf'"),
        (changed("Frame,", "Field,"), "begin with 'Field', but must with Frame"),
        (changed("P 1:RASI", "P 1:LASI"), "two columns X of 'P 1:LASI'"),
        (changed("mm,mm,mm\n", "m,m,m\n"), "several units"),
        (changed("10,20,30", "10,twenty,30"), "line 6 of"),
        (changed("1,1,1\n", "1,1,1,1\n"), "There are 15 cells in line 6 of"),
        (changed("103,", "101,"), "two lines of frame 101"),
        (changed("103,", "x,"), "cell in line 7 of"),
        (changed("103,", ",,"), "no number as a frame"),
        ("\n".join(TRAJECTORIES.splitlines()[:5]), "has no line of a frame"),
    ],
)  # fmt: skip
def test_what_is_no_whole_part_is_refused_in_a_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"walk\.csv") as told:
        read(tmp_path, text)
    assert sentence in str(told.value)


def test_a_frame_number_that_leaps_takes_no_memory(tmp_path: Path) -> None:
    (item,) = read(tmp_path, changed("103,", "1000000000000,"))
    assert isinstance(item, Rejected)
    assert item.reason.startswith("its frame numbers leap")
