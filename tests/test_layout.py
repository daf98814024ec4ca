"""Layouts: checked where they enter, mirrored by their pairs, measured from their root."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.layout import LAYOUTS, Layout, read_layout, spell_joint

# hip - knee - foot on the left, a foot that hangs on the hip on the right
LEGS = Layout(
    name="legs",
    joints=("hip", "left_knee", "left_foot", "right_foot"),
    bones=((0, 1), (1, 2), (0, 3)),
    left_right=((2, 3),),
    parts={"left": (1, 2)},
    fps=30.0,
)

DATA = Path(__file__).parents[2] / "shared" / "data"
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
    spelt = [_spell(joint) for joint in layout.joints]
    for left, right in layout.left_right:
        assert spelt[left].startswith("left ")
        assert spelt[right] == spelt[left].replace("left ", "right ")
    sided = [joint for joint in spelt if joint.startswith(("left ", "right "))]
    assert len(sided) == 2 * len(layout.left_right)


def _spell(joint: str) -> str:
    """As `spell_joint`, also of OpenSim's markers, whose side may be one letter before a number or another capital."""
    return spell_joint(re.sub(r"^([LRr])(?:[._]|(?=HJC))", r"\1_x", joint))


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
        [0, 1, 0, 1],
        [1, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]


def test_hops_count_bones_from_the_nearest_root() -> None:
    assert LEGS.hops_from_root().tolist() == [0, 1, 2, 1]
    assert replace(LEGS, root=(0, 2)).hops_from_root().tolist() == [0, 1, 0, 1]
    apart = replace(LEGS, up="none", bones=((0, 1), (1, 2)))
    assert apart.hops_from_root().tolist() == [0, 1, 2, 4]  # 4 joints: no path


def test_up_axis_is_a_coordinate_or_none() -> None:
    assert (LEGS.up_axis, LEGS.up_sign) == (1, 1)
    assert (replace(LEGS, up="z").up_axis, replace(LEGS, up="z").up_sign) == (2, 1)
    assert (replace(LEGS, up="-x").up_axis, replace(LEGS, up="-x").up_sign) == (0, -1)
    assert replace(LEGS, up="none").up_axis is None


@pytest.mark.parametrize(
    ("change", "must"),
    [
        ({"bones": ((0, 0), (0, 1), (1, 2), (0, 3))}, "has a bone from 'hip' to itself"),
        (
            {"bones": ((0, 1), (1, 2), (0, 3), (1, 0))},
            "the bone between 'left_knee' and 'hip' twice",
        ),
        (
            {"bones": ((0, 1), (1, 2), (0, 3), (0, 1))},
            "the bone between 'hip' and 'left_knee' twice",
        ),
        (
            {"bones": ((0, 1), (1, 2))},
            "has no bone at 'right_foot', though other joints have some",
        ),
        (
            {"bones": ((0, 1), (2, 3))},
            "bones that hang together in 2 pieces, but a body is one; join 'hip' and",
        ),
        ({"left_right": ((3, 3),)}, "pairs 'right_foot' with itself"),
        ({"left_right": ((2, 3), (0, 2))}, "has 'left_foot' in two pairs"),
        ({"left_right": ((2, 3), (2, 3))}, "has 'left_foot' in two pairs"),
        ({"left_right": ((3, 2),)}, "has the pair 'right_foot' and 'left_foot' .* turn it round"),
        ({"left_right": ((2, 1),)}, "has the pair 'left_foot' and 'left_knee'"),
        ({"parts": {"left": (1, 2, 1)}}, "names 'left_knee' twice in left"),
        ({"root": (0, 0)}, "names 'hip' twice in root"),
        ({"joints": ("hip", "hip", "a", "b")}, "names a joint twice"),
        ({"joints": (), "bones": (), "left_right": (), "parts": {}}, "twice or none at all"),
        ({"up": "w"}, "must be one of x, y, z, -x, -y, -z, none"),
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


def test_bones_may_close_a_ring_and_a_layout_may_have_none() -> None:
    assert replace(LEGS, bones=((0, 1), (1, 2), (0, 3), (3, 2))).adjacency().sum() == 8
    assert replace(LEGS, bones=()).hops_from_root().tolist() == [0, 4, 4, 4]


def test_a_body_is_what_an_independent_reading_of_its_bones_finds_to_be_one() -> None:
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(400):
        count = int(rng.integers(2, 5))
        bones = tuple((int(a), int(b)) for a, b in rng.integers(0, count, (rng.integers(1, 5), 2)))
        linked = np.eye(count, dtype=int)
        for a, b in bones:
            linked[a, b] = linked[b, a] = 1
        # from any joint to any other in as many steps as there are joints; each bone once
        whole = (np.linalg.matrix_power(linked, count) > 0).all()
        once = len({frozenset(bone) for bone in bones}) == len(bones)
        right = bool(whole and once and all(a != b for a, b in bones))
        try:
            Layout(name="r", joints=tuple("abcdef"[:count]), bones=bones)
            assert right, bones
        except ValueError:
            assert not right, bones
        outcomes.append(right)
    assert 20 < sum(outcomes) < 380


@pytest.mark.parametrize("bones", [((0, 1),), ((0, 1), (2, 3))])
def test_nodes_that_are_no_body_need_not_hang_together(bones: tuple[tuple[int, int], ...]) -> None:
    assert replace(LEGS, up="none", bones=bones).bones == bones
    with pytest.raises(ValueError, match="to itself"):
        replace(LEGS, up="none", bones=(*bones, (3, 3)))


def test_a_joint_may_lie_in_two_parts() -> None:
    parts = {"left": (0, 1, 2), "right": (0, 3)}
    assert replace(LEGS, parts=parts).parts == parts


@pytest.mark.parametrize("path", sorted(DATA.glob("*.layout.toml")), ids=lambda path: path.name)
def test_the_layouts_of_real_sets_are_read(path: Path) -> None:
    assert read_layout(str(path)).name == path.name.removesuffix(".layout.toml")


@pytest.mark.parametrize(
    ("names", "spelt"),
    [
        (["LKnee", "left_knee", "KneeLeft", "Left.Knee", "knee_l", "l-knee"], "left knee"),
        (["RBigToe", "right_big_toe", "RIGHT_BIG_TOE", "Big Toe:R"], "right bigtoe"),
        (["MidHip", "mid_hip", "midHip"], "midhip"),
        (["L5", "l5"], "l5"),  # a vertebra
        (["LASI"], "lasi"),  # which letters are a side cannot be told
        (["left"], "left"),
        (["Root"], "root"),
        (["左膝"], "左膝"),
    ],
)
def test_names_are_spelt_alike_however_they_tell_the_side(names: list[str], spelt: str) -> None:
    assert {spell_joint(name) for name in names} == {spelt}


def test_layout_is_read_from_toml_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('name = "two"\njoints = ["a", "b"]\nbones = [[0, 1]]\nfps = 50\n')
    layout = read_layout(str(path))
    assert layout == Layout(name="two", joints=("a", "b"), bones=((0, 1),), fps=50.0)
    assert (layout.unit, layout.up, layout.root) == ("m", "y", (0,))


def test_layout_name_that_is_neither_built_in_nor_a_file_lists_the_built_in() -> None:
    with pytest.raises(
        KeyError, match=r"no layout 'coco18'. Built in: coco17, kinect25, .*; or give"
    ):
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
