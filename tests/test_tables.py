"""Tables of joints, wide and long, in CSV and Parquet: what each says is what is read, and nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.table_files import BLOCK_BYTES
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.testing import readers

LEG = Layout(name="leg", joints=("hip", "left_knee"), bones=((0, 1),), up="none", fps=25.0)
NAN = math.nan


def read(
    path: Path, options: ReadOptions | None = None, *, labelled: bool = False, layout: Layout = LEG
) -> list[Recording | Rejected]:
    reader = READERS[path.suffix]
    return list(reader(path, layout, options or ReadOptions(), labelled=labelled))


def read_text(
    folder: Path, text: str, options: ReadOptions | None = None, *, labelled: bool = False
) -> list[Recording | Rejected]:
    path = folder / "walk.csv"
    path.write_text(text, encoding="utf-8")
    return read(path, options, labelled=labelled)


def only(items: Sequence[Recording | Rejected]) -> Recording:
    (item,) = items
    assert isinstance(item, Recording), item
    return item


def assert_frames(recording: Recording, frames: Sequence[object]) -> None:
    assert np.array_equal(recording.positions_TVC, np.array(frames, np.float32), equal_nan=True)


def refusal(folder: Path, text: str, *, labelled: bool = False) -> str:
    with pytest.raises(ValueError, match=r"walk\.csv") as told:
        read_text(folder, text, labelled=labelled)
    sentence = str(told.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


# wide: a line for each frame


@pytest.mark.parametrize(
    "header",
    [
        "hip_x,hip_y,left_knee_x,left_knee_y",
        "Hip_X,Hip_Y,Left Knee_X,Left Knee_Y",
        "x_hip,y_hip,x_left_knee,y_left_knee",
        "hip.x,hip.y,left_knee.x,left_knee.y",
        "hip x,hip y,left_knee x,left_knee y",
        "hip:x,hip:y,left_knee:x,left_knee:y",
        "x_0,y_0,x_1,y_1",
        "0_x,0_y,1_x,1_y",
        "x0,y0,x1,y1",
        "x1,y1,x2,y2",
        "x_00,y_00,x_01,y_01",
    ],
)
def test_usual_headers_of_wide_tables_are_known(header: str, tmp_path: Path) -> None:
    recording = only(read_text(tmp_path, f"{header}\n1,2,3,4\n5,6,7,8\n"))
    assert_frames(recording, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert (recording.recording, recording.fps, recording.confidence_TV) == ("walk", 25.0, None)


def test_another_header_is_told_by_a_pattern(tmp_path: Path) -> None:
    text = "knee|pos|X,knee|pos|Y,hip|pos|X,hip|pos|Y,hip_x,hip_y\n3,4,1,2,9,9\n7,8,5,6,9,9\n"
    options = ReadOptions(wide="{joint}|pos|{axis}", joints={"left_knee": ("knee",)})
    assert_frames(only(read_text(tmp_path, text, options)), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])


@pytest.mark.parametrize(
    "word", ["confidence", "visibility", "likelihood", "Score", "c", "CONF", "v"]
)
def test_a_word_for_the_confidence_is_no_coordinate(word: str, tmp_path: Path) -> None:
    text = f"{word}_1,x_1,y_1,z_1,x_0,y_0,z_0,{word}_0\n.5,4,5,6,1,2,3,.25\n1,4,5,6,1,2,3,0\n"
    recording = only(read_text(tmp_path, text))
    assert_frames(recording, [[[1, 2, 3], [4, 5, 6]]] * 2)
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[0.25, 0.5], [0, 1]]


def test_joints_that_are_bare_numbers_can_be_named(tmp_path: Path) -> None:
    text = "x_23,y_23,x_25,y_25,x_0,y_0\n1,2,3,4,0,0\n5,6,7,8,0,0\n"
    options = ReadOptions(joints={"hip": ("23",), "left_knee": ("25",)})
    assert_frames(only(read_text(tmp_path, text, options)), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert "name them in [ingest.read.joints]" in refusal(tmp_path, text)


def test_numbers_from_0_keep_their_names_where_joints_are_named(tmp_path: Path) -> None:
    text = "x_0,y_0,x_1,y_1\n3,4,1,2\n7,8,5,6\n"
    options = ReadOptions(joints={"hip": ("1",), "left_knee": ("0",)})
    assert_frames(only(read_text(tmp_path, text, options)), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])


def test_numbered_joints_are_in_the_order_in_which_they_count(tmp_path: Path) -> None:
    eleven = Layout(name="e", joints=tuple(f"j{n}" for n in range(11)), bones=((0, 1),), up="none")
    order = [3, 10, 2, 0, 1, 9, 8, 7, 6, 5, 4]
    header = ",".join(f"x_{n},y_{n}" for n in order)
    line = ",".join(f"{n},{n}" for n in order)
    path = tmp_path / "walk.csv"
    path.write_text(f"{header}\n{line}\n{line}\n", encoding="utf-8")
    recording = only(read(path, layout=eleven))
    assert recording.positions_TVC[0, :, 0].tolist() == list(range(11))


def test_lines_are_sorted_by_frame_and_frames_left_out_are_missing(tmp_path: Path) -> None:
    text = "frame,hip_x,hip_y,left_knee_x,left_knee_y,hip_c\n12,5,6,7,8,.5\n10,1,2,3,4,1\n"
    recording = only(read_text(tmp_path, text))
    nothing = [[NAN, NAN], [NAN, NAN]]
    assert_frames(recording, [[[1, 2], [3, 4]], nothing, [[5, 6], [7, 8]]])
    # the knee, of which nobody tells a confidence, was seen all the same
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[1, 1], [0, 0], [0.5, 1]]


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "null", "None"])
def test_a_cell_without_a_number_is_missing(empty: str, tmp_path: Path) -> None:
    text = f"hip_x,hip_y,left_knee_x,left_knee_y\n1,{empty},3,4\n5,6,7,8\n"
    assert_frames(only(read_text(tmp_path, text)), [[[1, NAN], [3, 4]], [[5, 6], [7, 8]]])


@pytest.mark.parametrize(
    "text",
    [
        "frame,x_0,y_0,x_1,y_1\n0, 1, 2, 3, 4\n1, ,  ,\t,\n2, nan ,1,2,3 \n",
        "frame,x_0,y_0,x_1,y_1\n0,1,2,3,4,\n1,,,,,\n2,,1,2,3, \n",
        "frame,x_0,y_0,x_1,y_1,\n0,1,2,3,4\n1,,,,\n2,,1,2,3\n",
        "frame,x_0,y_0,x_1,y_1,\n0,1,2,3,4,\n1,,,,,\n2,,1,2,3,\n",
    ],
)
def test_blanks_and_a_comma_behind_each_line_are_nothing(text: str, tmp_path: Path) -> None:
    recording = only(read_text(tmp_path, text))
    assert_frames(recording, [[[1, 2], [3, 4]], [[NAN] * 2] * 2, [[NAN, 1], [2, 3]]])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("\n\nx_0,y_0,x_1,y_1\n1,2,3,4\n\n5,6,7,high\n", "Line 6 of .* has 'high' in its column 'y_1'"),
        ('subject,x_0,y_0,x_1,y_1\n"a",1,2,3,4\n"a",1,"high",3,4\n', "Line 3 of .* has 'high' in its column 'y_0'"),
        ("x_0,y_0,x_1,y_1\n1, ,3,4\n5,6\n", "Line 3 of .* has 2 cells, but the table has 4 columns"),
        ("x_0,y_0,x_1,y_1\n1,2,3,4,\n1,2,3,4,5\n", "Line 3 of .* has 5 cells, but the table has 4 columns"),
        ("x_0;y_0;x_1;y_1\n1,5;2;3;4\n1;1.234;3;4\n", "'1.234' .* 'y_0', but must have a number with a decimal comma"),
        ("x_0,y_0,x_1,y_1\n1,2,3,\"4,5\"\n", "'4,5' .* 'y_1', but must have a number with a decimal point"),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_its_line_and_column(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=fault):
        read_text(tmp_path, text)


def test_a_number_beyond_float32_sets_the_recording_aside(tmp_path: Path) -> None:
    (item,) = read_text(tmp_path, "x_0,y_0,x_1,y_1\n1,2,3,1e39\n5,6,7,8\n")
    assert isinstance(item, Rejected)
    assert item.reason.startswith("positions hold infinities")


def test_semicolons_tabs_and_decimal_commas_are_read(tmp_path: Path) -> None:
    frames = [[[1.5, 2], [3, 4]], [[5, 6], [7, -8.25]]]
    assert_frames(only(read_text(tmp_path, "x_0;y_0;x_1;y_1\n1,5;2;3;4\n5;6;7;-8,25\n")), frames)
    assert_frames(only(read_text(tmp_path, "x_0;y_0;x_1;y_1\n1.5;2;3;4\n5;6;7;-8.25\n")), frames)
    path = tmp_path / "walk.tsv"
    path.write_text(
        "\ufeffx_0\ty_0\tx_1\ty_1\r\n1.5\t2\t3\t4\r\n\r\n5\t6\t7\t-8.25", encoding="utf-8"
    )
    assert_frames(only(read(path)), frames)


def test_pandas_index_column_without_a_name_is_none_of_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"x_0": [1.5, 2], "y_0": [3, 4], "x_1": [5, 6], "y_1": [7, 8]})
    table.to_csv(tmp_path / "walk.csv")
    recording = only(read(tmp_path / "walk.csv"))
    assert_frames(recording, [[[1.5, 3], [5, 7]], [[2, 4], [6, 8]]])
    assert recording.columns == {}


def test_pandas_index_numbers_frames_where_nothing_else_does(tmp_path: Path) -> None:
    table = pd.DataFrame({"x_0": [1, 2, 3], "y_0": [3, 4, 5], "x_1": [5, 6, 7], "y_1": [7, 8, 9]})
    table.index = pd.Index([4, 5, 7])
    gap = [[[1, 3], [5, 7]], [[2, 4], [6, 8]], [[NAN] * 2] * 2, [[3, 5], [7, 9]]]
    table.to_csv(tmp_path / "walk.csv")
    table.to_parquet(tmp_path / "walk.parquet")
    assert_frames(only(read(tmp_path / "walk.csv")), gap)
    assert_frames(only(read(tmp_path / "walk.parquet")), gap)
    for index in ([7, 5, 4], [0.5, 1, 7], ["a", "b", "c"]):
        table.index = pd.Index(index)
        table.to_csv(tmp_path / "walk.csv")
        assert len(only(read(tmp_path / "walk.csv")).positions_TVC) == 3
    table.index = pd.Index([4, 5, 7])
    table.assign(frame=[0, 1, 2]).to_csv(tmp_path / "walk.csv")
    assert len(only(read(tmp_path / "walk.csv")).positions_TVC) == 3


def test_pandas_index_numbers_no_frames_of_recordings_whose_lines_are_mixed(
    tmp_path: Path,
) -> None:
    table = pd.DataFrame({name: [1.0, 2, 3, 4] for name in ("x_0", "y_0", "x_1", "y_1")})
    for names in ("aabb", "abab"):
        table.assign(recording=list(names)).to_csv(tmp_path / "walk.csv")
        found = [only([item]) for item in read(tmp_path / "walk.csv")]
        assert [len(item.positions_TVC) for item in found] == [2, 2]


def test_a_velocity_is_no_confidence(tmp_path: Path) -> None:
    text = "hip_x,hip_y,hip_v,left_knee_x,left_knee_y\n1,2,-7,3,4\n5,6,9,7,8\n"
    assert only(read_text(tmp_path, text)).confidence_TV is None
    told = only(read_text(tmp_path, text.replace("-7", "0.5"), ReadOptions(wide="{joint}_{axis}")))
    assert told.confidence_TV is not None
    assert told.confidence_TV[0].tolist() == [0.5, 1]
    for header in ("x1,y1,v1,x2,y2", "x_0,y_0,v_0,x_1,y_1"):
        numbered = only(read_text(tmp_path, f"{header}\n1,2,.5,3,4\n5,6,1,7,8\n"))
        assert numbered.confidence_TV is not None
        assert numbered.confidence_TV[0].tolist() == [0.5, 1]
    long = "frame,joint,x,y,v\n0,hip,1,2,-7\n0,left_knee,3,4,9\n1,hip,1,2,3\n"
    assert only(read_text(tmp_path, long)).confidence_TV is None
    named = read_text(tmp_path, long.replace("-7", ".5"), ReadOptions(columns={"confidence": "v"}))
    assert only(named).confidence_TV is not None
    counted = long.replace("hip", "0").replace("left_knee", "1")
    assert only(read_text(tmp_path, counted)).confidence_TV is not None


# long: a line for each joint of a frame


@pytest.mark.parametrize("joints", ["0 1", "0.0 1.0", "hip left_knee"])
def test_a_line_without_a_joint_is_a_frame_in_which_nobody_is_seen(
    joints: str, tmp_path: Path
) -> None:
    first, second = joints.split()
    text = (
        f"frame,landmark,x,y,c\n0,{first},1,2,1\n0,{second},3,4,1\n1,,,,\n2,{first},5,6,1\n3,,,,\n"
    )
    recording = only(read_text(tmp_path, text))
    nothing = [[NAN, NAN], [NAN, NAN]]
    assert_frames(recording, [[[1, 2], [3, 4]], nothing, [[5, 6], [NAN, NAN]], nothing])
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[1, 1], [0, 0], [1, 0], [0, 0]]
    assert "lines without a 'landmark'" in refusal(tmp_path, text + "4,,5,6,1\n")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("frame,landmark_index,x,y,z,visibility", ("0", "1")),
        ("frame_number,joint,X,Y,Z,confidence", ("hip", "left_knee")),
        ("Frame,bodypart,x,y,z,likelihood", ("Hip", "LEFT-KNEE")),
        ("frame_idx,keypoint_name,x,y,z,score", ("hip", "left knee")),
    ],
)
def test_usual_headers_of_long_tables_are_known(
    header: str, names: tuple[str, str], tmp_path: Path
) -> None:
    hip, knee = names
    lines = [f"7,{knee},4,5,6,.5", f"5,{hip},1,2,3,1", f"7,{hip},7,8,9,.25", f"5,{knee},0,0,,0"]
    recording = only(read_text(tmp_path, "\n".join([header, *lines])))
    nothing = [[NAN] * 3] * 2
    assert_frames(recording, [[[1, 2, 3], [0, 0, NAN]], nothing, [[7, 8, 9], [4, 5, 6]]])
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[1, 0], [0, 0], [0.25, 0.5]]


def test_columns_of_a_long_table_can_be_named(tmp_path: Path) -> None:
    text = "n,who,u,v,p,x,y\n0,hip,1,2,.5,9,9\n1,left_knee,3,4,1,9,9\n"
    columns = {"frame": "n", "joint": "who", "x": "u", "y": "v", "confidence": "p"}
    recording = only(read_text(tmp_path, text, ReadOptions(columns=columns)))
    assert_frames(recording, [[[1, 2], [NAN, NAN]], [[NAN, NAN], [3, 4]]])
    assert recording.confidence_TV is not None
    assert recording.confidence_TV.tolist() == [[0.5, 0], [0, 1]]


def test_a_joint_that_one_recording_lacks_is_missing_there(tmp_path: Path) -> None:
    text = "recording,frame,joint,x,y\na,0,0,1,2\na,1,0,3,4\nb,0,0,5,6\nb,1,1,7,8\n"
    a, b = (only([item]) for item in read_text(tmp_path, text))
    assert_frames(a, [[[1, 2], [NAN, NAN]], [[3, 4], [NAN, NAN]]])
    assert_frames(b, [[[5, 6], [NAN, NAN]], [[NAN, NAN], [7, 8]]])


# several recordings, and what is known of them


WIDE = "recording,subject,label,age,side,note,hip_x,hip_y,left_knee_x,left_knee_y\n"


def test_each_recording_has_its_person_class_and_columns(tmp_path: Path) -> None:
    text = WIDE + (
        "b,p1,ill,71.5,left,1,1,2,3,4\nb,p1,ill,71.5,left,2,5,6,7,8\n"
        "a,p2,well,70,,x,1,1,1,1\na,p2,well,70,,x,2,2,2,2\n"
    )
    first, second = (only([item]) for item in read_text(tmp_path, text, labelled=True))
    assert (first.recording, first.person, first.label) == ("b", "p1", "ill")
    assert (second.recording, second.person, second.label) == ("a", "p2", "well")
    # a note that changes from line to line is none of a recording
    assert first.columns == {"age": 71.5, "side": "left"}
    assert second.columns == {"age": 70.0, "note": "x"}
    assert_frames(first, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert_frames(second, [[[1, 1], [1, 1]], [[2, 2], [2, 2]]])


def test_lines_of_recordings_may_be_mixed(tmp_path: Path) -> None:
    text = (
        "frame,take,hip_x,hip_y,left_knee_x,left_knee_y\n"
        "1,b,5,6,7,8\n1,a,2,2,2,2\n0,b,1,2,3,4\n0,a,1,1,1,1\n"
    )
    items = read_text(tmp_path, text, ReadOptions(columns={"recording": "take"}))
    assert [item.recording for item in items] == ["b", "a"]
    assert_frames(only(items[:1]), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert_frames(only(items[1:]), [[[1, 1], [1, 1]], [[2, 2], [2, 2]]])


def test_several_columns_can_tell_recordings_apart(tmp_path: Path) -> None:
    text = (
        "subject,trial,label,x_0,y_0,x_1,y_1\n"
        "p1,1,ill,1,2,3,4\np1,1,ill,5,6,7,8\np1,2,ill,1,1,1,1\np1,2,ill,2,2,2,2\n"
        "p2,1,well,3,3,3,3\np2,1,well,4,4,4,4\n"
    )
    options = ReadOptions(columns={"recording": "subject, trial"})
    found = [only([item]) for item in read_text(tmp_path, text, options, labelled=True)]
    told = [(item.recording, item.person, item.label) for item in found]
    assert told == [("p1/1", "p1", "ill"), ("p1/2", "p1", "ill"), ("p2/1", "p2", "well")]
    assert_frames(found[1], [[[1, 1], [1, 1]], [[2, 2], [2, 2]]])


def test_recordings_are_whole_where_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    """A recording goes over the end of a block, and the block's end cuts a line."""
    frames, joints = 700, 60
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, frames, joints, 2)).round(6)
    lines = ["recording,frame," + ",".join(f"x_{n},y_{n}" for n in range(joints))]
    for walk in range(3):
        for frame in range(frames):
            numbers = ",".join(map(str, values[walk, frame].ravel().tolist()))
            lines.append(f"w{walk},{frame},{numbers}")
    path = tmp_path / "walk.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert path.stat().st_size > BLOCK_BYTES
    body = Layout(
        name="b", joints=tuple(f"j{n}" for n in range(joints)), bones=((0, 1),), up="none"
    )
    found = [only([item]) for item in read(path, layout=body)]
    assert [item.recording for item in found] == ["w0", "w1", "w2"]
    for item, own in zip(found, values, strict=True):
        assert np.array_equal(item.positions_TVC, own.astype(np.float32))
    # the line of a fault is counted from the file's first
    bad = [*lines[:-3], lines[-3] + "x", *lines[-2:]]
    path.write_text("\n".join(bad), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^Line {3 * frames - 1} of .* its column 'y_59'"):
        read(path, layout=body)


def test_memory_is_that_of_a_recording_and_a_block(tmp_path: Path) -> None:
    body = Layout(name="b", joints=tuple(f"j{n}" for n in range(20)), bones=((0, 1),), up="none")
    path = tmp_path / "walk.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("recording," + ",".join(f"x_{n},y_{n}" for n in range(20)) + "\n")
        for walk in range(400):
            file.write(f"w{walk}{',0.1234567' * 40}\n" * 100)
    assert path.stat().st_size > 7 * BLOCK_BYTES
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    held = [
        pool.bytes_allocated() - before
        for _ in READERS[".csv"](path, body, ReadOptions(), labelled=False)
    ]
    assert len(held) == 400
    assert max(held) < 3 * BLOCK_BYTES


def test_two_persons_in_a_recording_are_refused(tmp_path: Path) -> None:
    text = WIDE + "b,p1,ill,7,l,1,1,2,3,4\nb,p2,ill,7,l,2,5,6,7,8\n"
    sentence = refusal(tmp_path, text, labelled=True)
    assert "recording 'b', has 'p1' and 'p2' in its column 'subject'" in sentence
    sentence = refusal(tmp_path, text.replace("p2,ill", "p1,well"), labelled=True)
    assert "has 'ill' and 'well' in its column 'label'" in sentence


def test_person_and_class_have_columns_of_any_name(tmp_path: Path) -> None:
    text = "id,group,x_0,y_0,x_1,y_1\n07,A,1,2,3,4\n07,A,5,6,7,8\n"
    recording = only(
        read_text(tmp_path, text, ReadOptions(person="id", label="group"), labelled=True)
    )
    assert (recording.person, recording.label, recording.columns) == ("07", "A", {})


# frame numbers and times


@pytest.mark.parametrize("leap", ["1000000000000", "-9007199254740000", "100000"])
def test_a_frame_number_that_leaps_takes_no_memory(leap: str, tmp_path: Path) -> None:
    (item,) = read_text(tmp_path, f"frame,x_0,y_0,x_1,y_1\n0,1,2,3,4\n{leap},5,6,7,8\n")
    assert isinstance(item, Rejected)
    assert item.reason.startswith("its frame numbers leap: from ")


def test_many_joints_of_which_each_frame_has_one_take_no_memory(tmp_path: Path) -> None:
    lines = [f"{n},p{n},1,2" for n in range(3000)]  # 9 million places for 3,000 points
    (item,) = read_text(tmp_path, "\n".join(["frame,joint,x,y", *lines, "0,hip,1,2"]))
    assert isinstance(item, Rejected)


@pytest.mark.parametrize("frame", ["0.5", "1e300", "inf", ""])
def test_what_is_no_frame_number_is_refused(frame: str, tmp_path: Path) -> None:
    sentence = refusal(tmp_path, f"frame,x_0,y_0,x_1,y_1\n0,1,2,3,4\n{frame},5,6,7,8\n")
    assert "frames are counted in whole numbers" in sentence


def test_a_frame_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    text = "frame,x_0,y_0,x_1,y_1\n3,1,2,3,4\n4,1,2,3,4\n3,1,2,3,4\n"
    assert "two lines of frame 3, but may have one" in refusal(tmp_path, text)
    text = "frame,joint,x,y\n3,hip,1,2\n3,left_knee,1,2\n4,hip,1,2\n3,hip,1,2\n"
    assert "two lines of frame 3 for the joint 'hip'" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("column", "times", "fps"),
    [
        ("time", "0 0.02 0.04 0.06", 50),
        ("Time", "12.5 12.51 12.52 12.53", 100),
        ("timestamp", "0 33 67 100", 30),
        ("timestamp_ms", "0 0.5 1 1.5", 2000),
        ("time (s)", "0 2 4 6", 0.5),
        ("t", "0.06 0.04 0.02 0", 50),  # from the last frame to the first
        ("time_us", "0 40000 80000 120000", 25),
        ("timestamp_ns", "0 33366700 66733400 100100100", 29.97),
        ("timestamp", "2024-05-01T10:00:59.96 2024-05-01T10:01:00 2024-05-01T10:01:00.04 2024-05-01T10:01:00.08", 25),
        ("time", "0 1 2 3", None),  # frames rather than times
        ("time", "0 0.02 0.5 0.52", None),  # the camera stood still
        ("time", "0.1 0.1 0.1 0.1", None),
        ("timestamp", "1600000000000000 1600000000016667 1600000000033333 1600000000050000", 60),  # microseconds
        ("timestamp", "1600000000000000000 1600000000010000000 1600000000020000000 1600000000030000000", 100),
        ("time", "00:00:59.990 00:01:00.000 00:01:00.010 00:01:00.020", 100),
        ("time", "1:59,96 2:00,00 2:00,04 2:00,08", 25),
        ("timestamp_ms", "00:00:00 00:00:02 00:00:04 00:00:06", 0.5),  # a clock says what it counts
        ("timestamp", "2024-05-01T10:00+02 2024-05-01T10:00:02+02 2024-05-01T08:00:04Z 2024-05-01T08:00:06Z", 0.5),
    ],
)  # fmt: skip
def test_times_that_are_regular_tell_the_frame_rate(
    column: str, times: str, fps: float | None, tmp_path: Path
) -> None:
    order = "3 2 1 0" if times.startswith("0.06") else "0 1 2 3"
    lines = [
        f"{frame};{time};1;2;3;{frame}"
        for frame, time in zip(order.split(), times.split(), strict=True)
    ]
    recording = only(read_text(tmp_path, "\n".join([f"frame;{column};x_0;y_0;x_1;y_1", *lines])))
    assert recording.positions_TVC[:, 1, 1].tolist() == [0, 1, 2, 3]
    assert recording.fps == pytest.approx(25.0 if fps is None else fps, rel=1e-4)
    told = read_text(
        tmp_path, "\n".join([f"frame;{column};x_0;y_0;x_1;y_1", *lines]), ReadOptions(fps=10)
    )
    assert only(told).fps == 10


@pytest.mark.parametrize(
    "times",
    ["a b", "0.1 b", f"{'9' * 400}:00:00 1:00:00", "0.1 00:00:01", "00:00:00:01 00:00:00:02"],
)
def test_times_that_cannot_be_read_are_refused_unless_the_rate_is_told(
    times: str, tmp_path: Path
) -> None:
    lines = [f"{time},1,2,3,{n}" for n, time in enumerate(times.split())]
    text = "\n".join(["time,x_0,y_0,x_1,y_1", *lines])
    sentence = refusal(tmp_path, text)
    assert "in its column of times 'time'" in sentence
    assert "time in ingest.read.columns" in sentence
    assert "ingest.read.fps" in sentence
    recording = only(read_text(tmp_path, text, ReadOptions(fps=10)))
    assert (recording.fps, recording.positions_TVC[:, 1, 1].tolist()) == (10, [0, 1])
    lines = [f"30,{line}" for line in lines]
    assert only(read_text(tmp_path, "\n".join(["fps,time,x_0,y_0,x_1,y_1", *lines]))).fps == 30


def test_several_recordings_are_not_taken_for_one(tmp_path: Path) -> None:
    header = "subject,label,trial,time,x_0,y_0,x_1,y_1"
    walk = [f"{time},{n},2,3,4" for n, time in enumerate(("0", "0.04", "0.08"))]
    lines = [header, *(f"p,ill,{trial},{line}" for trial in (1, 2) for line in walk)]
    sentence = refusal(tmp_path, "\n".join(lines))
    assert "from the time 0.08 to 0.0 in 'time'" in sentence
    assert 'as recording in ingest.read.columns (such as "subject, trial")' in sentence
    apart = ReadOptions(columns={"recording": "subject, trial"})
    found = [only([item]) for item in read_text(tmp_path, "\n".join(lines), apart)]
    assert [item.positions_TVC[:, 0, 0].tolist() for item in found] == [[0, 1, 2]] * 2
    # two people seen at once
    twice = "time,x_0,y_0,x_1,y_1\n0,1,2,3,4\n0,5,6,7,8\n1,1,2,3,4\n1,5,6,7,8\n"
    assert "from the time 0.0 to 0.0 in 'time'" in refusal(tmp_path, twice)
    long = "time,joint,x,y\n0,hip,1,2\n1,hip,1,2\n0,hip,5,6\n1,hip,5,6\n"
    assert "from the time 1.0 to 0.0 in 'time'" in refusal(tmp_path, long)


def test_a_long_table_may_go_from_joint_to_joint(tmp_path: Path) -> None:
    text = "time,joint,x,y\n0,hip,1,2\n0.5,hip,5,6\n0,left_knee,3,4\n0.5,left_knee,7,8\n"
    recording = only(read_text(tmp_path, text))
    assert_frames(recording, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert recording.fps == 2


def test_without_frame_numbers_times_are_counted(tmp_path: Path) -> None:
    wide = "time,x_0,y_0,x_1,y_1\n0,1,2,3,4\n0.04,3,3,3,3\n0.12,5,6,7,8\n"
    nothing = [[NAN, NAN], [NAN, NAN]]
    expected = [[[1, 2], [3, 4]], [[3, 3], [3, 3]], nothing, [[5, 6], [7, 8]]]
    # of three lines the usual step is that of most
    recording = only(read_text(tmp_path, wide + "0.16,1,1,1,1\n"))
    assert_frames(recording, [*expected, [[1, 1], [1, 1]]])
    assert recording.fps == 25
    long = "time,joint,x,y\n0,hip,1,2\n0,left_knee,3,4\n0.5,hip,5,6\n0.5,left_knee,7,8\n"
    recording = only(read_text(tmp_path, long))
    assert_frames(recording, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert recording.fps == 2


def test_times_that_are_not_regular_only_tell_the_order(tmp_path: Path) -> None:
    text = "time,x_0,y_0,x_1,y_1\n0,1,1,1,1\n1,2,2,2,2\n1.3,3,3,3,3\n3,4,4,4,4\n3.2,5,5,5,5\n"
    recording = only(read_text(tmp_path, text))
    assert recording.positions_TVC[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert recording.fps == 25


def test_a_column_of_the_rate_is_the_rate(tmp_path: Path) -> None:
    text = "fps,x_0,y_0,x_1,y_1\n29.97,1,2,3,4\n29.97,5,6,7,8\n"
    assert only(read_text(tmp_path, text)).fps == 29.97


# what is refused


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("\n\n  \n", "is empty"),
        ("x_0,y_0,x_1,y_1\n", "holds no line of numbers"),
        ("recording,x_0,y_0,x_1,y_1\n", "holds no line of numbers"),
        ("a,b\n1,2\n", "has the columns a, b, but needs columns of joints"),
        ("x_0,y_0,x_1,y_1\n1,2,3\n", "has 3 cells, but the table has 4 columns"),
        ("x_0,y_0,x_1,y_1\n1,2,3,high\n", "has 'high' in its column 'y_1', but must have a number"),
        ("x_0,y_0,x_0,y_1\n1,2,3,4\n", "two columns 'x_0'"),
        ("x_0,y_0,X_0,x_1,y_1\n1,2,3,4,5\n", "two columns for x of '0'"),
        ("x_0,y_0,z_0,x_1,y_1\n1,2,3,4,5\n", "no z of '1'"),
        ("joint,x,y\nhip,1,2\n", "needs a column of frame numbers, or of times"),
        ("frame,joint,x,y\n0,hip,1,2\n1,,3,4\n", "lines without a 'joint'"),
        ("time,joint,x,y\n0,hip,1,2\n,hip,3,4\n", "lines without a time in 'time'"),
        ("recording,x_0,y_0,x_1,y_1\na,1,2,3,4\n,5,6,7,8\n", "lines without a 'recording'"),
        ('"x_0,y_0,x_1,y_1\n1,2,3,4\n', "mend its quotes"),
        ("x_0,y_0,x_1,y_1,x_2,y_2\n1,2,3,4,5,6\n1,2,3,4,5,6\n", "has 3 joints, but the layout 'leg' has 2"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_joints_is_refused_in_a_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    assert sentence in refusal(tmp_path, text)


def test_a_table_without_persons_asks_for_them(tmp_path: Path) -> None:
    text = "frame,x_0,y_0,x_1,y_1\n0,1,2,3,4\n1,5,6,7,8\n"
    assert "does not tell a person" in refusal(tmp_path, text, labelled=True)
    assert only(read_text(tmp_path, text)).person == "unknown"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ReadOptions(columns={"frame": "nr"}), "needs the column 'nr' that ingest.read.columns names"),
        (ReadOptions(columns={"recording": "a,b"}), "needs the column 'a'"),
        (ReadOptions(columns={"joint": "frame"}), "needs a column 'x'"),
        (ReadOptions(wide="{joint}/{axis}"), "needs columns of joints"),
        (ReadOptions(joints={"toe": ("1",)}), "names 'toe'"),
        (ReadOptions(label="frame"), "has the column 'frame' for two things"),
        (ReadOptions(columns={"recording": "y_0,frame", "frame": "frame"}), "has the column 'frame' for two things"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_table_are_refused(
    options: ReadOptions, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "walk.csv"
    path.write_text("frame,x_0,y_0,x_1,y_1\n0,1,2,3,4\n1,5,6,7,8\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ingest\.read[.\]]") as told:
        read(path, options)
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"columns": {"body": "a"}}, "columns names 'body'"),
        ({"columns": {"x": "a", "y": "a"}}, "names a column twice"),
        ({"wide": "{joint}"}, "must have {joint} and {axis} once each"),
        ({"wide": "{joint}{axis}{axis}"}, "must have {joint} and {axis} once each"),
    ],
)
def test_settings_that_fit_no_table_are_refused(
    given: Mapping[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"columns|wide") as told:
        ReadOptions(**given)  # type: ignore[arg-type]
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("x_0,y_0,x_1,y_1\n1,2,3,4\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\0\0\0\0", "no text"),
        (b"x_0,y_\xe4,x_1,y_1\n1,2,3,4\n", "no text in UTF-8"),
        (b"x_0,y_0,x_1,y_1,label\n1,2,3,4,\xe4\n", "in its column 'label' that are no text in UTF-8"),
        (b"x" * (BLOCK_BYTES + 10), "no line end"),
        (b"x_0,y_0,x_1,y_1\n" + b"1" * (2 * BLOCK_BYTES + 10), "a line of more than"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_table_are_refused(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "walk.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"walk\.csv") as told:
        read(path)
    assert sentence in str(told.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_pipe_is_not_waited_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"walk{suffix}"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is a named pipe"):
        read(path)


# Parquet


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "recording": ["b", "b", "a", "a"],
            "subject": pd.Categorical(["p1", "p1", "p2", "p2"]),
            "label": [1, 1, 2, 2],
            "frame": [4, 2, 0, 1],
            "hip.x": np.array([1, 2, 3, 4], np.float32),
            "hip.y": [1.5, None, 3.5, 4.5],
            "left_knee.x": pd.array([1, 2, None, 4], "Int64"),
            "left_knee.y": [5, 6, 7, 8],
            "age": [70.5, 70.5, 71, 71],
            "side": ["l", "l", None, None],
            "tags": [[1], [2], [3], [4]],
        }
    )
    table.to_parquet(tmp_path / "walk.parquet", row_group_size=3)
    table.drop(columns="tags").to_csv(tmp_path / "walk.csv", index=False)
    found = read(tmp_path / "walk.parquet", labelled=True)
    told = [(item.person, item.label, only([item]).columns) for item in found]
    assert told == [("p1", "1", {"age": 70.5, "side": "l"}), ("p2", "2", {"age": 71.0})]
    assert_frames(only(found[:1]), [[[2, NAN], [2, 6]], [[NAN] * 2] * 2, [[1, 1.5], [1, 5]]])
    assert_frames(only(found[1:]), [[[3, 3.5], [NAN, 7]], [[4, 4.5], [4, 8]]])
    for mine, its in zip(found, read(tmp_path / "walk.csv", labelled=True), strict=True):
        assert_frames(only([its]), only([mine]).positions_TVC.tolist())
        assert only([its]).columns == only([mine]).columns


def test_times_of_parquet_tell_the_rate(tmp_path: Path) -> None:
    moments = pa.array([0, 40_000, 80_000], pa.timestamp("us"))
    numbers = {name: [1.0, 2.0, 3.0] for name in ("x_0", "y_0", "x_1", "y_1")}
    pq.write_table(pa.table({"timestamp": moments, **numbers}), tmp_path / "walk.parquet")
    assert only(read(tmp_path / "walk.parquet")).fps == 25


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us", tz="Europe/Vienna"), pa.duration("us"), pa.time64("us")]
)
def test_times_of_parquet_may_be_of_any_kind(kind: pa.DataType, tmp_path: Path) -> None:
    moments = pa.array([59_960_000, 60_000_000, 60_040_000], pa.int64()).cast(kind)
    numbers = {name: [1.0, 2.0, 3.0] for name in ("x_0", "y_0", "x_1", "y_1")}
    pq.write_table(pa.table({"time_ms": moments, **numbers}), tmp_path / "walk.parquet")
    assert only(read(tmp_path / "walk.parquet")).fps == 25


def test_text_in_parquet_is_read_where_it_is_of_numbers(tmp_path: Path) -> None:
    numbers = {name: ["1", " ", "3"] for name in ("x_0", "y_0", "x_1", "y_1")}
    pq.write_table(pa.table(numbers), tmp_path / "walk.parquet")
    recording = only(read(tmp_path / "walk.parquet"))
    assert_frames(recording, [[[1, 1]] * 2, [[NAN, NAN]] * 2, [[3, 3]] * 2])
    pq.write_table(pa.table({**numbers, "y_1": ["1", "high", "3"]}), tmp_path / "walk.parquet")
    with pytest.raises(ValueError, match=r"walk\.parquet .*its column 'y_1' has 'high'"):
        read(tmp_path / "walk.parquet")


def test_parquet_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    rows = 2_000_000  # of nothing but zeros
    column = pa.array(np.zeros(rows))
    path = tmp_path / "walk.parquet"
    pq.write_table(pa.table(dict.fromkeys(("x_0", "y_0", "x_1", "y_1"), column)), path)
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"walk\.parquet .*it promises 2,000,000 rows"):
        read(path)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walk.parquet"
    path.write_bytes(b"PAR1 and nothing of it PAR1")
    with pytest.raises(ValueError, match=r"walk\.parquet is damaged"):
        read(path)


# the contract of readers


def write_table(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("recording", [[], ["recording"]])
@pytest.mark.parametrize("form", ["wide", "long"])
def test_tables_hold_the_contract_of_readers(
    form: str, recording: list[str], suffix: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    frames = pd.DataFrame({"subject": "p", "label": "ill", "frame": range(20)})
    for column in recording:
        frames[column] = ["a"] * 10 + ["b"] * 10
    if form == "wide":
        for name in ("hip_x", "hip_y", "left_knee_x", "left_knee_y"):
            frames[name] = rng.normal(size=20)
    else:
        frames = frames.merge(pd.DataFrame({"joint": LEG.joints}), how="cross")
        frames[["x", "y"]] = rng.normal(size=(40, 2))
    path = write_table(tmp_path / f"walk{suffix}", frames)
    readers.check(READERS[suffix], path, LEG)
