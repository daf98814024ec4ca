"""Rules of the first look at a file: what it tells, the layout that it finds or guesses, and settings that work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.look import (
    describe_lines,
    draw,
    find_layout,
    find_up,
    guess_layout,
    look,
    write_layout,
    write_settings,
)
from gaitforge.ingest.motion import Motion, MotionReader, Unusable
from gaitforge.layout import LAYOUTS, read_layout
from gaitforge.settings import read_settings
from tests.small_line import write_recordings
from tests.test_cli import must_say, one_sentence
from trainers.__main__ import main

# a chain of four points whose links keep their length while it bends: hip, knee, ankle, toe
BEND = np.linspace(0, 1, 20)
CHAIN = np.zeros((20, 4, 3), np.float32)
for joint in range(1, 4):
    CHAIN[:, joint, 0] = CHAIN[:, joint - 1, 0] + np.sin(BEND * joint)
    CHAIN[:, joint, 2] = CHAIN[:, joint - 1, 2] - np.cos(BEND * joint)
NAMES = ("LHip", "RKnee", "Ankle", "Toe")


def toy(monkeypatch: pytest.MonkeyPatch, *items: Motion | Unusable) -> None:
    def parse(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
        yield from items

    monkeypatch.setitem(READERS, ".toy", MotionReader(parse))


def test_the_bones_that_are_guessed_are_the_links_that_keep_their_length() -> None:
    order = [2, 0, 3, 1]  # of the file: ankle, hip, toe, knee
    layout = guess_layout(
        Motion(positions_TVC=CHAIN[:, order], points=tuple(NAMES[n] for n in order))
    )
    links = {frozenset((layout.joints[a], layout.joints[b])) for a, b in layout.bones}
    assert links == {
        frozenset(("LHip", "RKnee")), frozenset(("RKnee", "Ankle")), frozenset(("Ankle", "Toe")),
    }  # fmt: skip


def test_a_point_that_was_never_seen_is_joined_as_well() -> None:
    frames = CHAIN.copy()
    frames[:, 3] = np.nan
    layout = guess_layout(Motion(positions_TVC=frames, points=NAMES))
    assert len(layout.bones) == 3
    assert layout.hops_from_root().max() < 4


def test_left_and_right_are_paired_by_name() -> None:
    names = (
        "L_knee", "R_knee", "LKNE", "RKNE", "left_hip", "right_hip", "LeftToe", "RightToe", "hand L", "hand R", "Rear",
    )  # fmt: skip
    frames = np.random.default_rng(0).normal(size=(4, len(names), 2)).astype(np.float32)
    pairs = guess_layout(Motion(positions_TVC=frames, points=names)).left_right
    assert pairs == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


@pytest.mark.parametrize(
    ("head", "up"), [((0, 0, 9), "z"), ((0, -9, 0), "-y"), ((9, 1, 1), "x"), ((0, 0, 0), "")]
)
def test_up_is_where_heads_are_above_feet(head: tuple[float, ...], up: str) -> None:
    frames = np.zeros((2, 2, 3), np.float32)
    frames[:, 0] = head
    assert find_up(Motion(positions_TVC=frames, points=("Nose", "left_ankle"))) == up
    assert find_up(Motion(positions_TVC=frames, points=("A", "B"))) == ""
    assert find_up(Motion(positions_TVC=frames, points=("A", "B"), up="z")) == "z"


def test_a_layout_is_found_by_the_names_of_its_joints_or_by_their_number_without_names() -> None:
    coco = LAYOUTS["coco17"]
    frames = np.zeros((2, 17, 2), np.float32)
    shuffled = tuple(reversed(coco.joints))
    assert find_layout(Motion(positions_TVC=frames, points=shuffled)) == coco
    assert find_layout(Motion(positions_TVC=frames)) == coco
    others = tuple(f"m{n}" for n in range(17))
    assert find_layout(Motion(positions_TVC=frames, points=others)) is None


def test_a_standing_figure_is_drawn_head_up_whatever_axis_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.zeros((2, 3, 2), np.float32)
    frames[:, :, 1] = [100, 150, 200]  # pixels: y down
    frames[:, :, 0] = [10, 10, 60]
    points = ("nose", "hip", "left_foot")
    toy(monkeypatch, Motion(positions_TVC=frames, points=points, unit="px"))
    (tmp_path / "a.toy").touch()
    lines = list(draw(look(tmp_path / "a.toy")))
    assert lines[0].strip() == "o"  # the head
    assert lines[-1].endswith("o")  # the foot
    assert lines[-1].index("o") > lines[0].index("o")  # as in the picture: the foot right of it


def test_what_a_file_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = CHAIN.copy()
    frames[:5, 3] = np.nan
    toy(
        monkeypatch,
        Unusable(reason="cut off"),
        Motion(positions_TVC=frames[:9], points=NAMES, person="P2"),
        Motion(
            positions_TVC=frames, points=NAMES, unit="mm", fps=50.0, person="P1",
            confidence_TV=np.full((20, 4), 0.5, np.float32), columns={"side": "left"},
        ),
    )  # fmt: skip
    (tmp_path / "a.toy").touch()
    text = "\n".join(describe_lines(look(tmp_path / "a.toy")))
    for words in (
        "3 movements of 9 to 20 frames", "50 Hz", "4 points of 3 coordinates, unit mm",
        "LHip, RKnee, Ankle, Toe", "6.2% of points, most of Toe (25%)", "0.50 to 0.50", "P1, P2",
        "side", "unusable     cut off",
    ):  # fmt: skip
        assert words in text or words.replace("4 points", "points       4") in text, words


def test_the_settings_that_are_written_read_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recordings(tmp_path / "walks.npz")
    assert main(["ingest", "--look", str(tmp_path / "walks.npz"), "--write", str(tmp_path)]) == 0
    assert "layout       coco17 (17 of its 17 joints)" in capsys.readouterr().out
    assert main(["ingest", str(tmp_path / "run.toml")]) == 0
    assert "recordings of" in capsys.readouterr().out


def test_the_settings_and_the_layout_of_a_strange_file_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ('L hip "1"', "knee\\", "Ankle", "Toe")
    toy(monkeypatch, Motion(positions_TVC=CHAIN, points=names, fps=25.0))
    for name in ("A1_well", "B2_ill"):
        (tmp_path / f"{name}.toy").write_text(name)
    seen = look(tmp_path / "A1_well.toy")
    (tmp_path / "mine.layout.toml").write_text(write_layout(seen.layout), "utf-8")
    (tmp_path / "run.toml").write_text(write_settings(seen, tmp_path), "utf-8")
    assert read_layout(str(tmp_path / "mine.layout.toml")) == seen.layout
    read = read_settings(tmp_path / "run.toml").ingest.read
    assert read.path
    # both files hold the same frames of two people, which ingest refuses: so one at a time, which has one class
    (tmp_path / "B2_ill.toy").unlink()
    assert main(["ingest", str(tmp_path / "run.toml")]) == 2
    assert "All 1 recordings that can be used are of one class" in capsys.readouterr().err


def test_what_is_there_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recordings(tmp_path / "walks.npz")
    (tmp_path / "run.toml").write_text("mine")
    assert main(["ingest", "--look", str(tmp_path / "walks.npz"), "--write", str(tmp_path)]) == 2
    must_say(one_sentence(capsys.readouterr().err), "run.toml is there already")
    assert (tmp_path / "run.toml").read_text() == "mine"


def test_a_file_without_a_movement_and_a_file_of_no_format_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy(monkeypatch, Unusable(reason="cut off"))
    for name, words in (
        ("a.toy", "holds no movement that can be used (cut off)"),
        ("a.odd", "No reader for '.odd'"),
    ):
        (tmp_path / name).touch()
        assert main(["ingest", "--look", str(tmp_path / name)]) == 2
        must_say(one_sentence(capsys.readouterr().err), words)


def test_ingest_without_settings_and_without_a_file_says_what_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["ingest"]) == 2
    must_say(one_sentence(capsys.readouterr().err), "needs a run.toml, or --look FILE")


def test_coordinates_that_may_be_shares_of_an_image_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.linspace(0.1, 0.9, 24, dtype=np.float32).reshape(2, 4, 3)
    for unit, wanted in (("", True), ("m", False)):
        toy(monkeypatch, Motion(positions_TVC=frames, points=NAMES, unit=unit))
        (tmp_path / "a.toy").touch()
        seen = look(tmp_path / "a.toy")
        assert ("shares of an image?" in "\n".join(describe_lines(seen))) == wanted
        assert ("image = [1920, 1080]" in write_settings(seen)) == wanted
    toy(monkeypatch, Motion(positions_TVC=frames * 2, points=NAMES))
    assert "image" not in write_settings(look(tmp_path / "a.toy"))


def test_the_pattern_of_the_files_counts_from_the_folder_of_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    write_recordings(tmp_path / "data" / "walks.npz")
    where = tmp_path / "settings"
    assert (
        main(["ingest", "--look", str(tmp_path / "data" / "walks.npz"), "--write", str(where)])
        == 0
    )
    assert 'files = ["../data/*.npz"]' in (where / "run.toml").read_text()
    assert main(["ingest", str(where / "run.toml")]) == 0


def test_a_look_by_settings_tells_people_and_classes_as_they_will_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(monkeypatch, Motion(positions_TVC=CHAIN, points=NAMES))
    (tmp_path / "P1_ill.toy").touch()
    how = ReadOptions(path="(?P<person>P.)_(?P<label>[a-z]+)", relabel={"ill": "sick"}, up="z")
    seen = look(tmp_path / "P1_ill.toy", how)
    assert (seen.people, seen.labels, seen.shown.up) == (("P1",), ("sick",), "z")


def test_an_axis_that_points_up_and_a_rate_are_proposed_where_they_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco = LAYOUTS["coco17"]
    frames = np.zeros((2, 17, 2), np.float32)
    frames[:, :, 1] = np.linspace(100, 900, 17)  # the nose first, the ankles last: y down
    toy(monkeypatch, Motion(positions_TVC=frames, points=coco.joints))
    (tmp_path / "a.toy").touch()
    text = write_settings(look(tmp_path / "a.toy"))
    assert 'up = "-y"' in text
    assert "# fps = 30" in text
