"""Files of pose estimators and public sets with bytes that were changed: read, set aside or refused in a sentence."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaitforge.ingest import READERS, ReadOptions
from gaitforge.ingest.pickled import PickledArray, open_pickle
from gaitforge.ingest.tracking import follow_walker
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.recording import Recording, Rejected
from tests.pose_files import annotation, flat, frame_of, result, skeleton_text, walk

TOLD = ReadOptions(path="(?P<person>.)(?P<label>.)")
COCO = LAYOUTS["coco17"]
KINECT = LAYOUTS["kinect25"]
NAME = "S001C002P003R002A013"
CALLED: list[object] = []


def canary(*arguments: object) -> None:
    """What no reader may ever call."""
    CALLED.append(arguments)


class Calls:
    """An object whose pickle asks for a call of the canary."""

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return canary, (1,)


def as_npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


def two_people(n: int) -> list[dict[str, object]]:
    return [result(f"{n}.jpg", walk(1, 17, shift=shift)[0]) for shift in (n, 300 - n)]


ANNOTATIONS = [annotation(NAME), annotation("S001C001P001R001A001", label=np.int64(3))]
BODIES = walk(4, 25, 3)
POINTS_18 = flat(walk(1, 18)[0])
# suffix, layout and what is changed
SAMPLES: dict[str, tuple[str, Layout, bytes]] = {
    "AlphaPose": (".json", COCO, as_json([p for n in range(4) for p in two_people(n)])),
    "AlphaPose cmu": (".json", COCO, as_json({f"{n}.jpg": {"bodies": [{"joints": POINTS_18}]} for n in (1, 2)})),
    "OpenPose": ("/", COCO, as_json(frame_of(flat(walk(1, 25)[0]), flat(walk(1, 25, shift=400)[0])))),
    "pyskl 2": (".pkl", COCO, pickle.dumps(ANNOTATIONS, 2)),
    "pyskl 4": (".pkl", COCO, pickle.dumps({"split": {"a": [NAME]}, "annotations": ANNOTATIONS}, 4)),
    "pyskl 5": (".pickle", COCO, pickle.dumps(ANNOTATIONS, 5)),
    "pyskl that calls": (".pkl", COCO, pickle.dumps([annotation(NAME, label=Calls()), Calls()], 4)),
    "ST-GCN": (".npy", KINECT, as_npy(np.ones((3, 3, 4, 25, 2), np.float32))),
    "one": (".npy", KINECT, as_npy(BODIES)),
    "NTU": (".skeleton", KINECT, skeleton_text([[("7", b), ("8", b + 3)] for b in BODIES]).encode()),
}  # fmt: skip


PIECES = [b"\xff" * 8, b"NaN", b"1e999", b"9" * 30, b"[" * 2_000, b"}", b"R", b"cos\nsystem\n"]


@st.composite
def changes(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with some bytes changed, put in, taken out or repeated."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        # the head of a file decides most
        most = draw(st.sampled_from([40, 400, len(changed)]))
        at = draw(st.integers(0, min(most, len(changed))))
        end = min(len(changed), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:
                changed[at:end] = draw(st.binary(max_size=12))
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = changed[at:end] * draw(st.sampled_from([1, 3, 300]))
            case 3:
                changed[at:end] = draw(st.sampled_from(PIECES))
            case _:
                for n in range(at, end):
                    changed[n] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def hold(suffix: str, layout: Layout, data: bytes) -> None:
    """Read a file's bytes; raises AssertionError for whatever is neither read, set aside nor refused in a sentence."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"walks{suffix.replace('/', '')}")
        if suffix == "/":
            path.mkdir()
            path.joinpath("a1.json").write_bytes(data)
            path.joinpath("a2.json").write_bytes(SAMPLES["OpenPose"][2])
        else:
            path.write_bytes(data)
        try:
            for item in READERS[suffix](path, layout, TOLD):
                assert isinstance(item, Recording | Rejected)
        except ValueError as error:
            (sentence,) = error.args
            assert str(path) in sentence
            assert "\n" not in sentence
            assert len(sentence) < 1_000
    assert not CALLED


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("what", SAMPLES)
def test_what_is_changed_can_be_read_unless_it_calls(what: str) -> None:
    # or the tests below would show little
    suffix, layout, data = SAMPLES[what]
    with TemporaryDirectory() as folder:
        path = Path(folder, f"walks{suffix.replace('/', '')}")
        if suffix == "/":
            path.mkdir()
            for n in (1, 2):
                path.joinpath(f"a{n}.json").write_bytes(data)
        else:
            path.write_bytes(data)
        if what == "pyskl that calls":
            with pytest.raises(ValueError, match=rf"it calls for '{canary.__module__}\.canary'"):
                list(READERS[suffix](path, layout, TOLD))
        else:
            items = list(READERS[suffix](path, layout, TOLD))
            assert all(isinstance(item, Recording) for item in items)
            assert items


@pytest.mark.parametrize("what", SAMPLES)
def test_changed_bytes_are_read_set_aside_or_refused_in_a_sentence(what: str) -> None:
    suffix, layout, data = SAMPLES[what]

    @fuzz(50)
    @given(changes(data))
    def few(changed: bytes) -> None:
        hold(suffix, layout, changed)

    few()


@pytest.mark.slow
@pytest.mark.parametrize("what", SAMPLES)
def test_many_changed_bytes_are_read_set_aside_or_refused_in_a_sentence(what: str) -> None:
    suffix, layout, data = SAMPLES[what]

    @fuzz(400)
    @given(changes(data))
    def many(changed: bytes) -> None:
        hold(suffix, layout, changed)

    many()


# programs of instructions that a pickle may have, in any order
INSTRUCTIONS = [
    b"(", b"0", b"1", b"N", b"\x88", b"]", b"}", b")", b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"a", b"e", b"s",
    b"u", b"\x94", b"h\x00", b"h\x01", b"q\x00", b"R", b"b", b"\x93", b"K\x01", b"K\x03", b"X\x01\x00\x00\x00b",
    b"\x8c\x02f4", b"\x8c\x01<", b"C\x04\x00\x00\x80?", b"J\xff\xff\xff\xff", b"\x8c\x08builtins\x8c\x04eval",
    b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.numeric\n_frombuffer\n", b"c_codecs\nencode\n",
    b"cbuiltins\nbytes\n", b"ccollections\nOrderedDict\n", b"ctests.test_fuzz_poses\ncanary\n", b"cos\nsystem\n",
    b"(K\x01K\x01\x85h\x01\x89C\x04\x00\x00\x80?tb", b"\x81", b"\x82\x01", b"\x8c\x06latin1",
    b"G?\xf0\x00\x00\x00\x00\x00\x00",
]  # fmt: skip


def forbidden() -> Iterator[Any]:
    """Stand-ins for what a pickle likes to call, which fail if anybody does."""
    for name in ("os.system", "numpy.core.multiarray._reconstruct", "builtins.eval", "builtins.exec"):  # fmt: skip
        yield mock.patch(name.replace("numpy.core", "numpy._core"), side_effect=canary)


def run_program(program: list[bytes]) -> None:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "a.pkl")
        path.write_bytes(b"\x80\x04" + b"".join(program) + b".")
        for patch in forbidden():
            stack.enter_context(patch)
        try:
            with open_pickle(path) as opened:
                if isinstance(opened.tree, PickledArray):
                    opened.load(opened.tree)
        except ValueError as error:
            (sentence,) = error.args
            assert str(path) in sentence
            assert "\n" not in sentence
    assert not CALLED


@fuzz(50)
@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=40))
def test_no_program_of_a_pickle_calls_anything(program: list[bytes]) -> None:
    run_program(program)


@pytest.mark.slow
@fuzz(1_500)
@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=60))
def test_no_program_of_many_calls_anything(program: list[bytes]) -> None:
    run_program(program)


NUMBERS = st.one_of(
    st.floats(width=32), st.sampled_from([np.nan, 0.0, 1.0, 100.0]), st.floats(0, 1_000, width=32)
)


@fuzz(50)
@given(st.data())
def test_whoever_is_followed_is_followed_once_a_frame_and_the_same_again(data: st.DataObject) -> None:  # fmt: skip
    count = data.draw(st.integers(0, 12))
    frames = np.array(
        data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)), np.int64
    )
    numbers = data.draw(st.lists(NUMBERS, min_size=6 * count, max_size=6 * count))
    positions = np.array(numbers, np.float32).reshape(count, 3, 2)
    marks = st.lists(st.integers(-2, 2), min_size=count, max_size=count)
    known = data.draw(st.none() | marks)
    kept = follow_walker(frames, positions, known)
    assert frames[kept].tolist() == sorted(set(frames[kept].tolist()))
    assert kept.tolist() == follow_walker(frames, positions, known).tolist()
    some = ~np.isnan(positions).any(axis=2).all(axis=1)
    assert bool(len(kept)) == bool(some.any())
    assert some[kept].all()
