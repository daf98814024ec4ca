"""Rules by which a lab's file becomes recordings: points by name, units, the axis that is up, person and class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions, list_files, read_files
from gaitforge.ingest.motion import Motion, MotionReader, Unusable, match, turn_up
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording, Rejected

LEG = Layout(name="leg", joints=("hip", "left_knee", "foot"), bones=((0, 1), (1, 2)), unit="m")
# two frames of three points: (1, 2, 3) (4, 5, 6) (7, 8, 9), then ten more of each
NUMBERS = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
FRAMES = np.stack([NUMBERS, NUMBERS + 10])


def read(
    *motions: Motion | Unusable,
    options: ReadOptions | None = None,
    layout: Layout = LEG,
    path: Path = Path("P1_ill_3.toy"),
    several: bool = False,
    labelled: bool = True,
) -> list[Recording | Rejected]:
    def parse(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
        yield from motions

    reader = MotionReader(parse, several=several)
    options = options or ReadOptions(path=r"(?P<person>P\d)_(?P<label>[a-z]+)_(?P<trial>\d)")
    return list(reader(path, layout, options, labelled=labelled))


def only(items: list[Recording | Rejected]) -> Recording:
    (item,) = items
    assert isinstance(item, Recording)
    return item


def motion(
    points: tuple[str, ...] | None = ("hip", "left_knee", "foot"),
    unit: str = "",
    up: str = "",
    confidence: np.ndarray | None = None,
    columns: Mapping[str, str] | None = None,
) -> Motion:
    return Motion(
        positions_TVC=FRAMES, points=points, unit=unit, up=up, confidence_TV=confidence,
        columns=columns or {},
    )  # fmt: skip


def test_points_take_the_places_of_the_joints_of_their_names_and_what_no_joint_is_goes() -> None:
    frames = only(
        read(motion(points=("FOOT", "Left Knee", "belt"), confidence=np.ones((2, 3), np.float32)))
    )
    np.testing.assert_array_equal(frames.positions_TVC[:, 1], FRAMES[:, 1])
    np.testing.assert_array_equal(frames.positions_TVC[:, 2], FRAMES[:, 0])
    assert np.isnan(frames.positions_TVC[:, 0]).all()  # no hip: missing, not invented
    assert frames.confidence_TV is not None
    assert frames.confidence_TV.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_a_joint_may_be_the_mean_of_several_points_and_is_as_sure_as_the_least() -> None:
    options = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", joints={"hip": ("A", "b")})
    confidence = np.array([[0.5, 0.25, 1], [1, 1, 1]], np.float32)
    frames = only(read(motion(points=("a", "b", "foot"), confidence=confidence), options=options))
    np.testing.assert_array_equal(frames.positions_TVC[0, 0], [2.5, 3.5, 4.5])
    assert frames.confidence_TV is not None
    assert frames.confidence_TV[0, 0] == 0.25


def test_a_mean_of_which_a_point_is_not_in_the_file_is_missing() -> None:
    assert match(["a", "foot"], LEG, {"hip": ("a", "b")}) == [[], [], [1]]


def test_the_exact_name_goes_before_one_that_is_alike() -> None:
    assert match(["Foot", "foot", "FOOT"], LEG, {}) == [[], [], [1]]
    assert match(["F-O.O T", "foot_"], LEG, {}) == [[], [], [0]]


def test_points_without_names_are_taken_in_their_order_and_must_be_as_many_as_the_joints() -> None:
    np.testing.assert_array_equal(only(read(motion(points=None))).positions_TVC, FRAMES)
    with pytest.raises(
        ValueError, match=r"P1_ill_3\.toy has 3 joints, but the layout 'two' has 2"
    ):
        read(motion(points=None), layout=Layout(name="two", joints=("a", "b"), bones=((0, 1),)))


def test_a_file_none_of_whose_points_is_a_joint_is_refused_with_what_it_has() -> None:
    with pytest.raises(ValueError, match="has the points a, b, c, none of which is a joint"):
        read(motion(points=("a", "b", "c")))


def test_a_joint_that_the_layout_does_not_have_cannot_be_named() -> None:
    options = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", joints={"knee": ("a",)})
    with pytest.raises(ValueError, match="names 'knee', but the layout 'leg' has hip, left_knee"):
        read(motion(), options=options)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 0.001), ("cm", 0.01), ("m", 1), ("px", 1), ("", 1)]
)
def test_lengths_come_in_the_layouts_unit_and_what_is_no_length_stays(
    unit: str, factor: float
) -> None:
    frames = only(read(motion(unit=unit)))
    np.testing.assert_allclose(frames.positions_TVC, FRAMES * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "target", "turned"),
    [
        ("y", "y", [1, 2, 3]),
        ("z", "y", [1, 3, -2]),  # what was up along z is up along y; x stays
        ("y", "z", [1, -3, 2]),
        ("-y", "y", [1, -2, -3]),  # a half turn, not a mirror; x stays
        ("y", "-y", [1, -2, -3]),
        ("z", "-z", [-1, 2, -3]),
        ("-y", "z", [1, 3, -2]),
        ("x", "y", [-2, 1, 3]),
        ("-z", "y", [1, -3, 2]),
    ],
)
def test_what_points_up_in_the_file_points_up_in_the_layout_and_left_stays_left(
    source: str, target: str, turned: list[float]
) -> None:
    point = np.array([[[1, 2, 3]]], np.float32)
    result = turn_up(point, source, target)
    assert result.tolist() == [[turned]]
    # a turn keeps handedness: the matrix of the three unit vectors has the determinant 1
    units = turn_up(np.eye(3, dtype=np.float32)[None], source, target)[0]
    assert np.linalg.det(units) == pytest.approx(1)
    up = np.zeros((1, 1, 3), np.float32)
    up[..., "xyz".index(source[-1])] = -1 if source.startswith("-") else 1
    wanted = np.zeros(3)
    wanted["xyz".index(target[-1])] = -1 if target.startswith("-") else 1
    assert turn_up(up, source, target)[0, 0].tolist() == wanted.tolist()


def test_person_class_and_columns_come_from_the_path() -> None:
    frames = only(read(motion(columns={"side": "left"})))
    assert (frames.person, frames.label, frames.recording) == ("P1", "ill", "P1_ill_3")
    assert dict(frames.columns) == {"side": "left", "trial": "3"}


@pytest.mark.parametrize(
    ("path", "person"),
    [("/gait_study/P7_ill/P1_ill_3.toy", "P1"), ("/gait_study/P7_ill/3.toy", "P7")],
)
def test_the_name_of_a_file_goes_before_its_folders_and_near_ones_before_far_ones(
    path: str, person: str
) -> None:
    options = ReadOptions(path="(?P<person>[A-Za-z0-9]+)_(?P<label>[a-z]+)")
    assert only(read(motion(), options=options, path=Path(path))).person == person


@pytest.mark.parametrize(
    ("keys", "point"),
    [({"up": "z"}, [1, 3, -2]), ({"up": "z", "unit": "mm"}, [0.001, 0.003, -0.002])],
)
def test_the_settings_tell_unit_and_axis_of_files_that_do_not(
    keys: dict[str, str], point: list[float]
) -> None:
    options = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", **keys)  # type: ignore[arg-type]
    frames = only(read(motion(), options=options))
    np.testing.assert_allclose(frames.positions_TVC[0, 0], point, rtol=1e-6)
    # and go before what the file tells
    again = only(read(motion(unit="cm", up="x"), options=options))
    if "unit" in keys:
        np.testing.assert_allclose(again.positions_TVC[0, 0], point, rtol=1e-6)


def test_axes_and_units_that_there_are_none_of_are_refused() -> None:
    for keys, words in (
        ({"up": "up"}, "must be x, y or z"),
        ({"unit": "miles"}, "must be one of"),
    ):
        with pytest.raises(ValueError, match=words):
            ReadOptions(**keys)  # type: ignore[arg-type]


def test_a_side_may_be_a_letter_before_the_name() -> None:
    assert match(["LKNEE", "hip"], LEG, {}) == [[1], [0], []]
    assert match(["lknee", "RKNEE", "hip"], LEG, {}) == [[2], [0], []]


def test_coordinates_from_0_to_1_are_no_pixels() -> None:
    pixels = Layout(name="leg", joints=LEG.joints, bones=LEG.bones, unit="px", up="-y")
    shares = Motion(positions_TVC=FRAMES / np.float32(20), points=LEG.joints)
    for told in (shares, replace(shares, unit="px")):
        with pytest.raises(ValueError, match=r"coordinates from 0 to 1.*image = \[1920, 1080\]"):
            read(told, layout=pixels)
        how = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", image=(1000, 100))
        frames = only(read(told, layout=pixels, options=how))
        np.testing.assert_allclose(frames.positions_TVC[0, 0], [50, 10, 150], rtol=1e-5)
    how = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", unit="px")
    np.testing.assert_array_equal(
        only(read(shares, layout=pixels, options=how)).positions_TVC, FRAMES / 20
    )


def test_a_point_that_is_named_and_in_no_file_is_refused_with_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"P1_ill": ("hip", "LKNE", "foot"), "P2_well": ("hip", "knee", "foot")}

    def parse(path: Path, options: ReadOptions) -> Iterator[Motion]:
        shift = len(path.stem)
        yield Motion(positions_TVC=(FRAMES * shift).astype(np.float32), points=names[path.stem])

    monkeypatch.setitem(READERS, ".toy", MotionReader(parse))
    paths = [tmp_path / f"{name}.toy" for name in names]
    for path in paths:
        path.touch()

    def ingest(*points: str) -> int:
        path = "(?P<person>P.)_(?P<label>[a-z]+)"
        return len(
            list(read_files(paths, LEG, ReadOptions(path=path, joints={"left_knee": points})))
        )

    assert ingest("LKNE") == 2  # one file has it
    with pytest.raises(ValueError, match=r"the point 'LKNEE', which no file has.*is 'LKNE' meant"):
        ingest("LKNEE")


def test_a_path_that_is_not_as_described_makes_a_rejected_and_not_a_guess() -> None:
    (item,) = read(motion(), path=Path("other.toy"))
    assert isinstance(item, Rejected)
    assert item.reason == "the path of its file has no part that ingest.read.path describes"


@pytest.mark.parametrize("key", ["P1_ill_3.toy", "P1_ill_3", "walks/P1_ill_3.toy"])
def test_person_class_and_columns_come_from_the_line_of_the_file_in_a_table(
    key: str, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    table.write_text(
        f"file,subject,label,age,code\nother.toy,P2,well,50.5,7\n{key},P1,ill,61,A\n", "utf-8"
    )
    options = ReadOptions(table=str(table), relabel={"ill": "sick"})
    frames = only(read(motion(), options=options, path=Path("all/walks/P1_ill_3.toy")))
    assert (frames.person, frames.label) == ("P1", "sick")
    assert dict(frames.columns) == {"age": 61.0, "code": "A"}


def test_a_table_of_people_is_looked_up_by_the_person_that_the_path_tells(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("who,group\nP1,ill\nP2,well\n", "utf-8")
    options = ReadOptions(table=str(table), path="(?P<person>P.)_", person="who", label="group")
    assert only(read(motion(), options=options)).label == "ill"
    (item,) = read(motion(), options=options, path=Path("P3_x.toy"))
    assert isinstance(item, Rejected)
    assert "no line for it" in item.reason


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("age\n3\n", "needs one of recording, file or subject"),
        ("file,file\na,b\n", "names a column twice"),
        ("file,label\na,x\na,y\n", "two lines for 'a'"),
        ("file,label\na\n", "fewer cells in line 2"),
        ("file,label\na,b,c\n", "more cells in line 2"),
        ('file,label\n"a,b\n', "no CSV"),
        ("", "has the columns of none"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_fault(
    text: str, fault: str, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    table.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=fault):
        read(motion(), options=ReadOptions(table=str(table)))


def test_without_a_path_a_table_or_a_word_of_the_file_a_person_cannot_be_told() -> None:
    with pytest.raises(ValueError, match=r"does not tell a person; say it by a group"):
        read(motion(), options=ReadOptions())


def test_new_recordings_need_no_person_and_no_class() -> None:
    frames = only(read(motion(), options=ReadOptions(), labelled=False))
    assert (frames.person, frames.label) == ("unknown", "unknown")


def test_several_movements_of_a_file_are_numbered_and_one_that_cannot_be_used_keeps_its_place() -> (
    None
):
    items = read(motion(), Unusable(reason="cut off: 3 bytes"), motion(), several=True)
    assert [item.recording for item in items] == [f"P1_ill_3-{n:05d}" for n in range(3)]
    assert isinstance(items[1], Rejected)
    assert (items[1].reason, items[1].position, items[1].person) == ("cut off: 3 bytes", 1, "P1")


def test_a_pattern_stands_for_the_files_that_fit_it_each_once(tmp_path: Path) -> None:
    for name in ("b/2.toy", "b/1.toy", "a[1].toy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    under = str(tmp_path)
    assert list_files([f"{under}/a[1].toy", f"{under}/**/*.toy", f"{under}/b/*"]) == [
        tmp_path / "a[1].toy", tmp_path / "b/1.toy", tmp_path / "b/2.toy",
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError, match="No file fits the pattern"):
        list_files([f"{under}/*.c3d"])


def test_a_toy_format_goes_through_the_door_of_all_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(path: Path, options: ReadOptions) -> Iterator[Motion]:
        numbers = np.fromstring(path.read_text(), sep=" ", dtype=np.float32)
        yield Motion(positions_TVC=numbers.reshape(-1, 3, 3))

    monkeypatch.setitem(READERS, ".toy", MotionReader(parse))
    for name, shift in (("P1_ill", 0), ("P2_well", 1)):
        text = " ".join(map(str, (FRAMES + shift).ravel()))
        (tmp_path / f"{name}.toy").write_text(text)
    options = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)")
    items = list(read_files(list_files([str(tmp_path / "*.toy")]), LEG, options))
    assert [item.recording for item in items] == ["P1_ill", "P2_well"]


@pytest.mark.parametrize(
    ("source", "target", "turned"),
    [
        ("y", "y", [1, 2]),
        ("-y", "y", [1, -2]),
        ("y", "-y", [1, -2]),
        ("y", "x", [2, 1]),
        ("-x", "y", [2, -1]),
        ("z", "y", [1, 2]),  # what is up is not in the picture
    ],
)
def test_a_picture_looks_as_before_whichever_axis_is_up(
    source: str, target: str, turned: list[float]
) -> None:
    assert turn_up(np.array([[[1, 2]]], np.float32), source, target).tolist() == [[turned]]


def test_points_of_a_trc_file_are_the_joints_that_their_names_say() -> None:
    points = [
        "RHip",
        "RKnee",
        "RBigToe",
        "RHeel",
        "LHip",
        "LSmallToe",
        "Neck",
        "Head",
        "Nose",
        "RShoulder",
    ]
    places = match(points, LAYOUTS["halpe26"], {})
    found = {
        joint: place
        for joint, place in zip(LAYOUTS["halpe26"].joints, places, strict=True)
        if place
    }
    assert found == {
        "right_hip": [0], "right_knee": [1], "right_big_toe": [2], "right_heel": [3], "left_hip": [4],
        "left_small_toe": [5], "neck": [6], "head": [7], "nose": [8], "right_shoulder": [9],
    }  # fmt: skip


def test_points_are_found_however_they_tell_the_side_but_a_plainer_name_goes_first() -> None:
    body = Layout(name="b", joints=("left_knee", "right_big_toe", "l5"), bones=(), up="none")
    assert match(["RBigToe", "LKnee", "L5"], body, {}) == [[1], [0], [2]]
    assert match(["KneeLeft", "Left Knee"], body, {}) == [[1], [], []]


SHARES = Motion(positions_TVC=np.full((2, 3, 3), 0.5, np.float32), unit="share", up="-y")
IMAGE = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", image=(1920, 1080))


def test_shares_of_an_image_become_pixels_and_depth_is_a_share_of_the_width() -> None:
    frames = only(read(SHARES, options=IMAGE, layout=replace(LEG, up="-y", unit="px")))
    assert frames.positions_TVC[0, 0].tolist() == [960, 540, 960]
    flat = replace(SHARES, positions_TVC=SHARES.positions_TVC[..., :2], unit="")
    frames = only(read(flat, options=IMAGE, layout=LEG))
    assert frames.positions_TVC[0, 0].tolist() == [960, -540]


def test_shares_of_an_image_of_unknown_size_are_refused_as_they_are_distorted() -> None:
    with pytest.raises(ValueError, match=r"as shares of an image are.*ingest\.read\.image = \["):
        read(SHARES)


def test_lengths_are_no_shares_of_an_image() -> None:
    with pytest.raises(ValueError, match=r"has coordinates in mm, but ingest\.read\.image is for"):
        read(motion(unit="mm"), options=IMAGE)


@pytest.mark.parametrize("image", [(0, 1080), (1920, -1)])
def test_an_image_has_a_size(image: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="an image has a width and a height"):
        ReadOptions(image=image)


def test_two_coordinates_have_no_third_that_points_up() -> None:
    flat = replace(SHARES, positions_TVC=SHARES.positions_TVC[..., :2], unit="px")
    with pytest.raises(ValueError, match=r"has 2 coordinates per joint, .* up = 'z'"):
        read(flat, layout=replace(LEG, up="z"))


def test_the_mean_of_points_of_which_one_is_zero_is_zero_and_no_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.stack([NUMBERS + 10 * n for n in range(4)])
    frames[2, 1] = 0
    lost = Motion(positions_TVC=frames, points=("hip", "inner", "outer"))

    def parse(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
        yield lost

    monkeypatch.setitem(READERS, ".toy", MotionReader(parse))
    path = tmp_path / "a.toy"
    path.touch()
    for up, knee in (("y", np.nan), ("none", (0 + 27) / 2)):
        layout = Layout(name="leg", joints=("hip", "left_knee"), bones=((0, 1),), up=up)
        options = ReadOptions(joints={"left_knee": ("inner", "outer")})
        (item,) = read_files([path], layout, options, labelled=False)
        assert isinstance(item, Recording)
        np.testing.assert_array_equal(item.positions_TVC[2, 1, 0], np.float32(knee))
        assert item.columns == ({"quality_zeros": 1 / 8} if up == "y" else {})
        np.testing.assert_array_equal(item.positions_TVC[1, 1], [15.5, 16.5, 17.5])
