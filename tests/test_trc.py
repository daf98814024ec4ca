"""Rules for TRC files, and for the MOT and STO files of the same programs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.mot import parse_mot
from gaitforge.ingest.motion import Motion, Parse, Unusable
from gaitforge.ingest.trc import parse_trc
from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.testing import readers

SAMPLE = Path(__file__).parents[2] / "shared" / "samples" / "pose2sim_StaticTrial_0-12.trc"
NAN = np.nan

TRC = """\
PathFileType\t4\t(X/Y/Z)\twalk.trc
DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate
100\t100\t3\t2\tmm\t100
Frame#\tTime\tHip\t\t\tKnee\t\t
\t\tX1\tY1\tZ1\tX2\tY2\tZ2

1\t0.00\t1\t2\t3\t4\t5\t6
2\t0.01\t7\t8\t9\t\t\t
3\t0.02\tnan\tNaN\tNAN\t-1.5\t2e3\t.5
"""
POSITIONS = np.array(
    [
        [[1, 2, 3], [4, 5, 6]],
        [[7, 8, 9], [NAN, NAN, NAN]],
        [[NAN, NAN, NAN], [-1.5, 2000, 0.5]],
    ]
)
MOT = """\
walk
version=1
nRows=3
nColumns=3
inDegrees=yes

Units are S.I. units (second, meters, Newtons, ...)
endheader
time\tpelvis_tilt\thip_flexion_r
0.00\t1.5\t-20
0.02\t2.5\t-21
0.04\t3.5\t-22
"""
LEG = Layout(name="leg", joints=("Hip", "Knee"), bones=((0, 1),), unit="m", up="z", fps=9)
ANGLES = Layout(
    name="angles", joints=("hip_flexion_r", "pelvis_tilt"), bones=((0, 1),), up="none"
)  # fmt: skip


def write(folder: Path, text: str, name: str = "walk.trc") -> Path:
    path = folder / name
    path.write_bytes(text.encode("latin-1"))
    return path


def only(parse: Parse, path: Path) -> Motion:
    (motion,) = parse(path, ReadOptions())
    assert isinstance(motion, Motion)
    return motion


def refusal(parse: Parse, path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        list(parse(path, ReadOptions()))
    return str(caught.value)


# TRC


def test_markers_are_read_with_rate_unit_and_gaps(tmp_path: Path) -> None:
    motion = only(parse_trc, write(tmp_path, TRC))
    np.testing.assert_array_equal(motion.positions_TVC, POSITIONS.astype(np.float32))
    assert motion.points == ("Hip", "Knee")
    assert (motion.fps, motion.unit, motion.up) == (100, "mm", "y")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n", "\r\n"),
        ("Z2\n\n", "Z2\n"),  # no empty line
        ("5\t6\n", "5\t6\t\n"),  # a tab too many
        ("9\t\t\t\n", "9\n"),  # missing fields that were stripped
        ("DataRate\tCameraRate\tNumFrames\t", "NumFrames\tCameraRate\tDataRate\t"),
        ("2e3\t.5\n", "2e3\t.5"),  # no end of line
        ("PathFileType", "\ufeffPathFileType".encode().decode("latin-1")),
        ("\tmm\t", "\tMillimeters\t"),
        ("PathFileType", "\n\t\nPathFileType"),
        ("Hip\t\t\tKnee", "S01:Hip\t\t\tS01:Knee"),
    ],
)
def test_what_other_programs_write_otherwise_is_read_alike(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in TRC
    text = TRC.replace(old, new)
    if old.startswith("DataRate"):
        text = text.replace("100\t100\t3\t2", "3\t100\t100\t2")
    motion = only(parse_trc, write(tmp_path, text))
    np.testing.assert_array_equal(motion.positions_TVC, POSITIONS.astype(np.float32))
    assert (motion.fps, motion.unit) == (100, "mm")


def test_axes_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    text = TRC.replace("X1\tY1\tZ1\tX2\tY2\tZ2", "Z1\tX1\tY1\tZ2\tX2\tY2")
    motion = only(parse_trc, write(tmp_path, text))
    np.testing.assert_array_equal(motion.positions_TVC[0], [[2, 3, 1], [5, 6, 4]])


def test_fields_that_spaces_part_are_read_where_none_is_missing(tmp_path: Path) -> None:
    text = TRC.replace("9\t\t\t", "9\tnan\tnan\tnan").replace("\t", "  ")
    motion = only(parse_trc, write(tmp_path, text))
    np.testing.assert_array_equal(motion.positions_TVC, POSITIONS.astype(np.float32))
    assert "has 5 fields in line 8" in refusal(parse_trc, write(tmp_path, TRC.replace("\t", "  ")))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("PathFileType", "Path", "must begin with PathFileType"),
        ("\t3\t2\tmm", "\t4\t2\tmm", "holds 3 frames, but its header promises 4"),
        ("\t3\t2\tmm", "\t1000000000000\t2\tmm", "but its header promises 1,000,000,000,000"),
        ("\t3\t2\tmm", "\t3\t3\tmm", "names 2 markers in line 4, but its header promises 3"),
        ("\t3\t2\tmm", "\t3\t1000000000000\tmm", "promises 1,000,000,000,000"),
        ("\t3\t2\tmm", "\t3\t-2\tmm", "'-2' as NumMarkers, but it must be a whole number"),
        ("\t3\t2\tmm", "\t" + "9" * 5000 + "\t2\tmm", "as NumFrames, but it must be a whole"),
        ("Units", "Unity", "does not tell its Units"),
        ("100\t100\t3", "0\t100\t3", "DataRate of 0, but it must be above 0 Hz"),
        ("100\t100\t3", "inf\t100\t3", "DataRate of inf"),
        ("Frame#\tTime", "Frame#\tClock", "no line 4 of Frame#, Time"),
        ("X2\tY2\tZ2", "X2\tY2\tY2", "needs X, Y and Z, in one order"),
        ("X2\tY2\tZ2", "Z2\tX2\tY2", "needs X, Y and Z, in one order"),
        ("7\t8\t9", "7\teight\t9", "'eight' in line 8, where a number must stand"),
        ("7\t8\t9", "7\t1_000\t9", "'1_000' in line 8, where a number must stand"),
        ("7\t8\t9", "7\t0,5\t9", "'0,5' in line 8, where a number must stand"),
        ("5\t6\n", "5\t6\t7\n", "has 9 fields in line 7, but 2 markers need 8"),
        ("2e3\t.5\n", "2e3", "has 7 fields in line 9, but 2 markers need 8"),
    ],
)
def test_a_trc_file_that_contradicts_itself_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in TRC
    assert sentence in refusal(parse_trc, write(tmp_path, TRC.replace(old, new, 1)))


def test_the_subject_before_all_markers_is_the_person(tmp_path: Path) -> None:
    named = TRC.replace("Hip\t\t\tKnee", "S01:Hip\t\t\tS01:Knee")
    assert only(parse_trc, write(tmp_path, named)).person == "S01"
    two = only(parse_trc, write(tmp_path, named.replace("S01:Knee", "S02:Knee")))
    assert (two.points, two.person) == (("S01:Hip", "S02:Knee"), "")


def test_frames_whose_numbers_are_left_out_are_missing(tmp_path: Path) -> None:
    text = TRC.replace("2\t0.01", "4\t0.03").replace("3\t0.02", "5\t0.04")
    motion = only(parse_trc, write(tmp_path, text))
    places = np.full((5, 2, 3), NAN)
    places[[0, 3, 4]] = POSITIONS
    np.testing.assert_array_equal(motion.positions_TVC, places.astype(np.float32))
    far = TRC.replace("3\t0.02", "1000000000000\t9999999999.99")
    assert "tells of 1,000,000,000,000 frames, of which 3" in refusal(
        parse_trc, write(tmp_path, far)
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("3\t0.02", "2\t0.02", "a frame is there twice: 2"),
        ("1\t0.00", "5\t0.00", "its frames are out of order: 2 behind 5"),
        ("1\t0.00", "1.5\t0.00", "its frames have numbers that are not whole"),
        (
            "100\t100\t3",
            "60\t100\t3",
            "its frame rate and its times do not agree: 60 Hz, and by the times 100 Hz",
        ),
    ],
)
def test_frames_that_contradict_each_other_cannot_be_used(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path, TRC.replace(old, new))
    assert list(parse_trc(path, ReadOptions())) == [Unusable(reason=reason)]


def test_a_rate_that_the_options_tell_goes_before_times_that_contradict_the_file(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, TRC.replace("100\t100\t3", "60\t100\t3"))
    (item,) = parse_trc(path, ReadOptions(fps=100))
    assert isinstance(item, Motion)


def test_times_that_are_all_the_same_or_rounded_contradict_no_rate(tmp_path: Path) -> None:
    same = TRC.replace("0.01\t", "0.00\t").replace("0.02\t", "0.00\t")
    assert only(parse_trc, write(tmp_path, same)).fps == 100
    rounded = TRC.replace("100\t100\t3", "120\t100\t3")  # .0167 s, of which .02 are printed
    assert only(parse_trc, write(tmp_path, rounded)).fps == 120


@pytest.mark.parametrize(
    ("spelt", "unit"),
    [("ft", "ft"), ("feet", "ft"), ("inch", "in"), ('"', "in"), ("[Meters]", "m"), ("px", "px")],
)
def test_units_are_known_however_they_are_spelt(spelt: str, unit: str, tmp_path: Path) -> None:
    path = write(tmp_path, TRC.replace("\tmm\t", f"\t{spelt}\t"))
    assert only(parse_trc, path).unit == unit


def test_feet_are_brought_to_the_layouts_unit(tmp_path: Path) -> None:
    path = write(tmp_path, TRC.replace("\tmm\t", "\tft\t"))
    for options in (ReadOptions(), ReadOptions(unit="ft")):
        (recording,) = READERS[".trc"](path, LEG, options, labelled=False)
        assert isinstance(recording, Recording)
        np.testing.assert_allclose(recording.positions_TVC[0, 0], [0.3048, -0.9144, 0.6096])


def test_a_unit_that_nobody_knows_is_refused_until_the_options_tell_it(tmp_path: Path) -> None:
    path = write(tmp_path, TRC.replace("\tmm\t", "\tcubits\t"))
    assert "has the unit 'cubits', but known are m, dm, cm, mm, in, ft, px" in refusal(
        parse_trc, path
    )
    (motion,) = parse_trc(path, ReadOptions(unit="in"))
    assert isinstance(motion, Motion)


def test_two_markers_of_one_name_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, TRC.replace("Knee", "Hip"))
    assert list(parse_trc(path, ReadOptions())) == [
        Unusable(reason="two points have one name: Hip")
    ]


def test_many_markers_that_are_missing_in_many_frames_take_no_memory(tmp_path: Path) -> None:
    """5,000 markers in 30,000 frames of a few bytes each would take 3.6 GB."""
    names = "".join(f"m{n}\t\t\t" for n in range(5_000))
    rows = "1\t0\n" * 30_000
    text = (
        "PathFileType\t4\nDataRate\tNumFrames\tNumMarkers\tUnits\n9\t30000\t5000\tm\n"
        f"Frame#\tTime\t{names}\n{rows}"
    )
    path = write(tmp_path, text)
    tracemalloc.start()
    try:
        sentence = refusal(parse_trc, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "takes at most 100 times its size" in sentence
    assert peak < 100_000_000


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    sentence = refusal(parse_trc, write(tmp_path, TRC + "1\t" * 2_500_000))
    assert "more than 4,194,304 bytes in line 10" in sentence


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the shared samples")
def test_the_sample_is_what_pandas_reads() -> None:
    table = pd.read_csv(SAMPLE, sep="\t", skiprows=5, header=None)
    names = pd.read_csv(SAMPLE, sep="\t", skiprows=3, nrows=0).columns[2::3]
    motion = only(parse_trc, SAMPLE)
    expected = table.to_numpy(np.float32)[:, 2:65].reshape(12, 21, 3)
    np.testing.assert_array_equal(motion.positions_TVC, expected)
    assert motion.points == tuple(names)
    assert (motion.fps, motion.unit, motion.up) == (60, "m", "y")


def test_the_trc_reader_holds_its_contract_and_turns_markers_to_the_layout(tmp_path: Path) -> None:
    path = write(tmp_path, TRC)
    options = ReadOptions(path=r"(?P<person>\w)(?P<label>\w)")
    readers.check(READERS[".trc"], path, LEG, options)
    (recording,) = READERS[".trc"](path, LEG, options)
    assert isinstance(recording, Recording)
    # z up in metres: y of the file
    np.testing.assert_allclose(recording.positions_TVC[0, 0], [0.001, -0.003, 0.002])
    assert recording.fps == 100


# MOT and STO


def test_columns_become_points_of_one_coordinate(tmp_path: Path) -> None:
    motion = only(parse_mot, write(tmp_path, MOT, "walk.mot"))
    assert motion.points == ("pelvis_tilt", "hip_flexion_r")
    assert motion.positions_TVC.tolist() == [[[1.5], [-20]], [[2.5], [-21]], [[3.5], [-22]]]
    assert (motion.fps, motion.unit, motion.up) == (50, "", "")
    assert motion.columns == {"inDegrees": "yes"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nRows=3\nnColumns=3\n", "datacolumns 3\ndatarows 3\nrange 0 0.04\n"),
        ("nRows=3\nnColumns=3\n", ""),
        ("nRows=3\n", "nRows = 3\n"),
        ("\t", "   "),
        ("endheader", "EndHeader"),
        ("-20\n", "-20\t\n"),
        ("\n", "\r\n"),
        ("0.02\t", "0.018\t"),  # times as they are rounded
    ],
)
def test_motions_that_are_written_otherwise_are_read_alike(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in MOT
    motion = only(parse_mot, write(tmp_path, MOT.replace(old, new), "walk.sto"))
    assert motion.positions_TVC[:, :, 0].tolist() == [[1.5, -20], [2.5, -21], [3.5, -22]]
    assert motion.fps == 50


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("endheader", "header", "not ended by a line endheader"),
        ("time\t", "frame\t", "no line of column names behind its endheader"),
        ("nRows=3", "nRows=1000000000000", "holds 3 rows, but its header promises 1000000000000"),
        ("nColumns=3", "nColumns=4", "holds 3 columns, but its header promises 4"),
        ("2.5\t-21", "2.5", "has 2 fields in line 11, but 3 columns"),
        ("2.5\t-21", "2.5\tx", "'x' in line 11, where a number must stand"),
    ],
)
def test_a_motion_that_contradicts_itself_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in MOT
    assert sentence in refusal(parse_mot, write(tmp_path, MOT.replace(old, new), "walk.mot"))


@pytest.mark.parametrize("time", ["0.035", "0.0", "-1", "nan", ""])
def test_a_motion_with_uneven_times_cannot_be_used(time: str, tmp_path: Path) -> None:
    text = MOT.replace("0.02\t", f"{time}\t")
    ((item),) = parse_mot(write(tmp_path, text, "walk.mot"), ReadOptions())
    assert isinstance(item, Unusable)
    assert "not evenly spaced" in item.reason


def timed(times: list[str]) -> str:
    """A motion whose one column counts its lines."""
    rows = "".join(f"{time}\t{n}\n" for n, time in enumerate(times))
    return f"walk\nendheader\ntime\tpelvis_tilt\n{rows}"


@pytest.mark.parametrize(
    ("rate", "decimals", "lost", "fps"),
    [
        (100, 5, [50], 100),
        (100, 2, [50], 100),  # as many digits as a step
        (100, 2, [1], 100),
        (120, 3, [98], 120),
        (120, 3, [30, 31, 70], 120),
        (120, 3, [], 120),
        (30, 2, [], 30),
        (40, 2, [], 40),  # steps of .02 and .03
        (45, 2, [], 45),
        (72, 2, [], 72),  # steps of .01 and .02
        (60, 2, [], 60),
        (240, 3, [77], 240),
        (29.97, 6, [10], 29.97),
        (100, 6, [*range(20, 60)], 100),
    ],
)
def test_a_line_that_is_lost_is_a_missing_frame_and_rounded_times_tell_the_rate(
    rate: float, decimals: int, lost: list[int], fps: float, tmp_path: Path
) -> None:
    kept = [n for n in range(400) if n not in lost]
    text = timed([f"{n / rate:.{decimals}f}" for n in kept])
    motion = only(parse_mot, write(tmp_path, text, "walk.mot"))
    found = motion.positions_TVC[:, 0, 0]
    assert len(found) == 400
    assert np.flatnonzero(np.isnan(found)).tolist() == lost
    assert found[kept].tolist() == list(range(len(kept)))
    assert motion.fps == pytest.approx(fps, rel=1e-5)
    assert float(motion.fps or 0).is_integer() == float(fps).is_integer()


def test_a_pause_that_is_far_longer_than_the_walk_is_refused(tmp_path: Path) -> None:
    text = timed([f"{n / 100:.3f}" for n in [*range(50), 9_000_000]])
    assert "tells of 9,000,001 frames, of which 51 hold anything" in refusal(
        parse_mot, write(tmp_path, text, "walk.mot")
    )


def test_two_columns_of_one_name_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, MOT.replace("pelvis_tilt", "hip_flexion_r"), "walk.mot")
    assert list(parse_mot(path, ReadOptions())) == [
        Unusable(reason="two columns have one name: hip_flexion_r")
    ]


def test_the_mot_reader_holds_its_contract_and_gives_angles_to_layouts_without_up_only(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, MOT, "walk.mot")
    options = ReadOptions(path=r"(?P<person>\w)(?P<label>\w)")
    readers.check(READERS[".mot"], path, ANGLES, options)
    (recording,) = READERS[".mot"](path, ANGLES, options)
    assert isinstance(recording, Recording)
    assert recording.positions_TVC[0].tolist() == [[-20], [1.5]]
    assert recording.columns["inDegrees"] == "yes"
    body = Layout(name="body", joints=ANGLES.joints, bones=((0, 1),), up="y")
    with pytest.raises(ValueError, match="one with up = 'none' for angles"):
        list(READERS[".mot"](path, body, options))
