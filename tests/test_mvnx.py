"""Rules for MVNX files: an Xsens suit's segments, and XML that was made to harm."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.mvnx import parse_mvnx
from gaitforge.layout import Layout
from gaitforge.recording import Recording
from gaitforge.testing import readers

MVNX = """\
<?xml version="1.0" encoding="UTF-8"?>
<mvnx version="4" xmlns="http://www.xsens.com/mvn/mvnx">
<mvn version="2021.2" build="x"/>
<comment>a walk &amp; a turn</comment>
<subject label="Ann-001" torsoColor="white" frameRate="60" segmentCount="2" recDate="today">
<comment/>
<segments>
<segment label="Pelvis" id="1"><points><point label="pHipOrigin"><pos_b>0 0 0</pos_b></point></points></segment>
<segment label="L5" id="2"/>
</segments>
<sensors><sensor label="Pelvis"/></sensors>
<joints><joint label="jL5S1"><connector1>Pelvis/jL5S1</connector1></joint></joints>
<frames segmentCount="2" sensorCount="1" jointCount="1">
<frame time="0" type="identity"><orientation>1 0 0 0 1 0 0 0</orientation><position>9 9 9 9 9 9</position></frame>
<frame time="0" type="tpose"><position>8 8 8 8 8 8</position></frame>
<frame time="0" index="0" type="normal">
<orientation>1 0 0 0 1 0 0 0</orientation><position>1 2 3 4 5 6</position><velocity>7 7 7 7 7 7</velocity>
</frame>
<frame time="16" index="1" type="normal"><position>-1.5 2e0
 .5 NaN NaN NaN</position></frame>
</frames>
</subject>
</mvnx>
"""
TWO = Layout(name="two", joints=("Pelvis", "L5"), bones=((0, 1),), unit="m", up="y")


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "walk.mvnx"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def only(path: Path) -> Motion:
    (motion,) = parse_mvnx(path, ReadOptions())
    assert isinstance(motion, Motion)
    return motion


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        list(parse_mvnx(path, ReadOptions()))
    return str(caught.value)


def test_positions_of_normal_frames_are_read_with_segments_rate_and_person(tmp_path: Path) -> None:
    motion = only(write(tmp_path, MVNX))
    nan = np.nan
    expected = [[[1, 2, 3], [4, 5, 6]], [[-1.5, 2, 0.5], [nan, nan, nan]]]
    np.testing.assert_array_equal(motion.positions_TVC, np.array(expected, np.float32))
    assert motion.points == ("Pelvis", "L5")
    assert (motion.fps, motion.unit, motion.up, motion.person) == (60, "m", "z", "Ann-001")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('xmlns="http://www.xsens.com/mvn/mvnx"', ""),
        ("\n", "\r\n"),
        ("<?xml", "\ufeff<?xml"),
        ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", ""),
    ],
)  # fmt: skip
def test_files_that_are_written_otherwise_are_read_alike(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in MVNX
    expected = only(write(tmp_path, MVNX)).positions_TVC
    np.testing.assert_array_equal(
        only(write(tmp_path, MVNX.replace(old, new))).positions_TVC, expected
    )


def test_tags_of_a_named_namespace_are_read(tmp_path: Path) -> None:
    text = MVNX.replace("<", "<x:").replace("<x:/", "</x:").replace("<x:?", "<?")
    text = text.replace("xmlns=", "xmlns:x=")
    assert only(write(tmp_path, text)).points == ("Pelvis", "L5")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<mvnx ", "<xml ", "begins with <xml>, but an MVNX file begins with <mvnx>"),
        ("</mvnx>", "", "is no XML or is damaged"),
        ("1 2 3 4 5 6", "1 2 3 4 5", "has 5 numbers in the positions of its normal frame 1, but its 2 segments need 6"),
        ("1 2 3 4 5 6", "1 2 3 4 5 six", "'six' in line"),
        ("<position>1 2 3 4 5 6</position>", "", "frames without a position|numbers in the positions"),
        ('frameRate="60"', 'frameRate="0"', "'0' as its frameRate, but it must be above 0 Hz"),
        ('frameRate="60"', 'frameRate="fast"', "'fast' in line"),
        ('frameRate="60"', "", "'' as its frameRate"),
        ("</mvnx>", '<subject label="Bob" frameRate="60"/></mvnx>', "two subjects"),
        ("<segments>", "<parts>", "is no XML or is damaged"),
        ("<mvnx version", "<!DOCTYPE mvnx><mvnx version", "declares a document type"),
    ],
)  # fmt: skip
def test_an_mvnx_file_that_contradicts_itself_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in MVNX
    with pytest.raises(ValueError, match=sentence):
        list(parse_mvnx(write(tmp_path, MVNX.replace(old, new, 1)), ReadOptions()))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "begins with <html>" in refusal(write(tmp_path, "<html></html>"))
    assert "no subject with segments" in refusal(write(tmp_path, "<mvnx></mvnx>"))
    assert "is no XML" in refusal(write(tmp_path, ""))


def test_entities_are_never_expanded_nor_fetched(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    text = MVNX.replace(
        "<mvnx version", f'<!DOCTYPE mvnx [<!ENTITY a0 "ha">{laughs}]>\n<mvnx version'
    ).replace("1 2 3 4 5 6", "&a11;")
    assert "declares a document type" in refusal(write(tmp_path, text))
    secret = tmp_path / "secret"
    secret.write_text("1 2 3 4 5 6", encoding="utf-8")
    text = MVNX.replace(
        "<mvnx version", f'<!DOCTYPE mvnx [<!ENTITY s SYSTEM "{secret.as_uri()}">]>\n<mvnx version'
    ).replace("1 2 3 4 5 6", "&s;")
    assert "declares a document type" in refusal(write(tmp_path, text))


def test_tags_without_end_take_no_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        assert "more than 100 tags" in refusal(write(tmp_path, "<mvnx>" + "<a>" * 3_000_000))
        long = b"<mvnx a='" + b"x" * 30_000_000
        path = write(tmp_path, long)
        del long
        tracemalloc.reset_peak()
        assert "more than 8,388,608 bytes" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    for encoding in ("UTF-8", "ISO-8859-1", "windows-1252"):
        text = MVNX.replace("Ann-001", "J\u00f6rg").replace("UTF-8", encoding)
        assert only(write(tmp_path, text.encode(encoding))).person == "J\u00f6rg"
    assert "is damaged" in refusal(
        write(tmp_path, text.encode("latin-1").replace(b"windows-1252", b"UTF-8"))
    )


def test_a_frame_whose_index_is_left_out_is_missing(tmp_path: Path) -> None:
    motion = only(write(tmp_path, MVNX.replace('"16" index="1"', '"33" index="2"')))
    assert motion.positions_TVC.shape == (3, 2, 3)
    assert np.isnan(motion.positions_TVC[1]).all()
    assert motion.positions_TVC[2, 0].tolist() == [-1.5, 2, 0.5]


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ('time="16" index="0"', "a frame is there twice: 0"),
        ('time="16" index="-1"', "its frames are out of order: -1 behind 0"),
        ('time="16"', "its frames have numbers that are not whole"),
        (
            'time="40" index="1"',
            "its frame rate and its times do not agree: 60 Hz, and by the times 25 Hz",
        ),
    ],
)
def test_frames_that_contradict_each_other_cannot_be_used(
    new: str, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path, MVNX.replace('time="16" index="1"', new))
    assert list(parse_mvnx(path, ReadOptions())) == [Unusable(reason=reason)]


def test_two_segments_of_one_name_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, MVNX.replace('"L5"', '"Pelvis"'))
    assert list(parse_mvnx(path, ReadOptions())) == [
        Unusable(reason="two segments have one name: Pelvis")
    ]


def test_the_mvnx_reader_holds_its_contract(tmp_path: Path) -> None:
    path = write(tmp_path, MVNX)
    options = ReadOptions(path=r"(?P<label>\w)")
    readers.check(READERS[".mvnx"], path, TWO, options)
    (recording,) = READERS[".mvnx"](path, TWO, options)
    assert isinstance(recording, Recording)
    # y up: z of the file
    assert recording.positions_TVC[0, 0].tolist() == [1, 3, -2]
    assert (recording.person, recording.fps) == ("Ann-001", 60)
