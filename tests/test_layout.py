"""Layouts: checked where they enter, mirrored by their pairs, measured from their root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.layout import LAYOUTS, Layout, read_layout

# hip - knee - foot on the left, a foot that hangs on nothing on the right
LEGS = Layout(
    name="legs",
    joints=("hip", "left_knee", "left_foot", "right_foot"),
    bones=((0, 1), (1, 2)),
    left_right=((2, 3),),
    parts={"left": (1, 2)},
    fps=30.0,
)

every_builtin = pytest.mark.parametrize("name", LAYOUTS)


@every_builtin
def test_builtin_layout_is_one_body(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout.hops_from_root().max() < layout.joint_count  # every joint hangs on the root
    assert layout.name == name
    in_parts = [joint for part in layout.parts.values() for joint in part]
    assert sorted(in_parts) == list(range(layout.joint_count))


@every_builtin
def test_builtin_layout_pairs_left_with_the_right_of_the_same_name(name: str) -> None:
    layout = LAYOUTS[name]
    for left, right in layout.left_right:
        assert layout.joints[left].removeprefix("left_") == layout.joints[right].removeprefix(
            "right_"
        )
    sided = [joint for joint in layout.joints if joint.startswith(("left_", "right_"))]
    assert len(sided) == 2 * len(layout.left_right)


@every_builtin
def test_builtin_bones_are_mirror_images_of_each_other(name: str) -> None:
    layout = LAYOUTS[name]
    order = layout.mirrored()
    mirrored = layout.adjacency()[np.ix_(order, order)]
    np.testing.assert_array_equal(mirrored, layout.adjacency())


@every_builtin
def test_layout_survives_its_dict(name: str) -> None:
    assert Layout.from_dict(LAYOUTS[name].as_dict(), source="test") == LAYOUTS[name]


def test_a_mirrored_order_swaps_pairs_and_keeps_the_rest() -> None:
    assert LEGS.mirrored().tolist() == [0, 1, 3, 2]


def test_adjacency_is_symmetric_with_an_empty_diagonal() -> None:
    assert LEGS.adjacency().astype(int).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]


def test_hops_count_bones_from_the_nearest_root() -> None:
    assert LEGS.hops_from_root().tolist() == [0, 1, 2, 4]  # 4 joints: no path
    assert replace(LEGS, root=(0, 2)).hops_from_root().tolist() == [0, 1, 0, 4]


def test_up_axis_is_a_coordinate_or_none() -> None:
    assert LEGS.up_axis == 1
    assert replace(LEGS, up="z").up_axis == 2
    assert replace(LEGS, up="none").up_axis is None


@pytest.mark.parametrize(
    ("change", "must"),
    [
        ({"joints": ("hip", "hip", "a", "b")}, "names a joint twice"),
        ({"joints": (), "bones": (), "left_right": (), "parts": {}}, "twice or none at all"),
        ({"up": "w"}, "must be one of x, y, z, none"),
        ({"bones": ((0, 4),)}, "uses joint 4 in bones, but it has joints 0 to 3"),
        ({"left_right": ((-1, 2),)}, "uses joint -1 in left_right"),
        ({"parts": {"arm": (9,)}}, "uses joint 9 in parts"),
        ({"root": (4,)}, "uses joint 4 in root"),
        ({"root": ()}, "has no root joint"),
    ],
)
def test_impossible_layout_is_refused_by_name(change: dict[str, Any], must: str) -> None:
    with pytest.raises(ValueError, match=f"Layout 'legs' .*{must}"):
        replace(LEGS, **change)


def test_layout_is_read_from_toml_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('name = "two"\njoints = ["a", "b"]\nbones = [[0, 1]]\nfps = 50\n')
    layout = read_layout(str(path))
    assert layout == Layout(name="two", joints=("a", "b"), bones=((0, 1),), fps=50.0)
    assert (layout.unit, layout.up, layout.root) == ("m", "y", (0,))


def test_layout_name_that_is_neither_built_in_nor_a_file_lists_the_built_in() -> None:
    with pytest.raises(KeyError, match=r"no layout 'coco18'. Built in: coco17, kinect25; or give"):
        read_layout("coco18")
    with pytest.raises(FileNotFoundError, match=r"nowhere.toml does not exist; give the path"):
        read_layout("nowhere.toml")


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("name = ", "is not TOML"),
        ('name = "a"\njoints = ["b"]', "lacks 'bones'; a layout needs name, joints and bones"),
        ('name = "a"\njoints = ["b"]\nbones = []\nfsp = 3', "has the key 'fsp'; a layout knows"),
        ('name = "a"\njoints = ["b"]\nbones = [0, 1]', "is not a layout"),
        ('name = "a"\njoints = ["b", "c"]\nbones = [[0, 1, 1]]', "pairs of joint indices"),
        ('name = "a"\njoints = "bc"\nbones = []', "'bc' stands where a list must be"),
        ('name = 1\njoints = ["b", "c"]\nbones = []', "1 stands where a text must be"),
        (
            'name = "a"\njoints = ["b", "c"]\nbones = [[0, 1.5]]',
            "1.5 stands where a joint's index",
        ),
        (
            'name = "a"\njoints = ["b"]\nbones = []\nroot = [true]',
            "True stands where a joint's index",
        ),
        ('name = "a"\njoints = ["b"]\nbones = []\nfps = "5"', "'5' stands where a number must be"),
        (
            'name = "a"\njoints = ["b"]\nbones = []\nfps = 0',
            "fps = 0.0, but a frame rate must be above",
        ),
        (
            'name = "a"\njoints = ["b"]\nbones = []\nfps = inf',
            "fps is inf, but a number must be finite",
        ),
        ('name = "a"\njoints = ["b\\u0000"]\nbones = []', "NUL character in 'joints'"),
        (
            f'name = "a"\njoints = {[str(n) for n in range(6_000)]}\nbones = []',
            "6,000 joints, but may have at most",
        ),
    ],
)
def test_file_that_is_no_layout_is_refused(tmp_path: Path, text: str, must: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=must):
        read_layout(str(path))
