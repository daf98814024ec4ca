"""Rules of reading a pickle: numpy's arrays and plain containers, and no function of anybody is ever called."""

from __future__ import annotations

import os
import pickle
import pickletools
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.ingest import pickled
from gaitforge.ingest.pickled import ADMITTED, PickledArray, open_pickle
from tests.pose_files import annotation, write_pickle

CALLED: list[object] = []


def canary(*arguments: object) -> str:
    """What a reader must never call."""
    CALLED.append(arguments)
    return "called"


class Calls:
    """An object that asks the reader of its pickle to call something."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class Told(Calls):
    """An array whose state is told: a function, its arguments, and the state."""

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, *self.arguments


@pytest.fixture(autouse=True)
def _nothing_is_called() -> Any:
    CALLED.clear()
    yield
    assert not CALLED


def taken(value: object, opened: Any) -> object:
    """What a pickle holds, with arrays read."""
    match value:
        case PickledArray():
            return opened.load(value)
        case dict():
            return {key: taken(item, opened) for key, item in value.items()}
        case list():
            return [taken(item, opened) for item in value]
        case tuple():
            return tuple(taken(item, opened) for item in value)
    return value


def read(path: Path) -> Any:
    with open_pickle(path) as opened:
        return taken(opened.tree, opened)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read(path)
    (sentence,) = caught.value.args
    assert "\n" not in sentence
    assert len(sentence) < 600
    return str(sentence)


def same(one: Any, other: Any) -> bool:
    match one:
        case dict():
            return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case np.ndarray():
            return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
    return bool(one == other)


PLAIN: dict[str, Any] = {
    "none": None, "true": True, "false": False, "text": "Gängel €", "empty": "", "long": "x" * 5_000,
    "numbers": [0, 1, 255, 256, 65_536, -1, -300, 2**40, -(2**70), 1.5, -0.0, 1e300, float("inf")],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "nested": {"a": [{"b": ([],)}], 3: {}},
    "bytes": [b"", b"ab\xff"], "ordered": OrderedDict(a=1, b=2),
}  # fmt: skip
ARRAYS: dict[str, Any] = {
    **{kind: np.arange(12).astype(kind).reshape(3, 4) for kind in ("f2", "f4", ">f8", "<i2", "u1", "i8", ">u4")},
    "bool": np.array([[True, False]]), "large": np.arange(5_000, dtype=np.float32).reshape(50, 10, 10),
    "by columns": np.asfortranarray(np.arange(600.0).reshape(20, 30)), "nothing": np.empty((0, 3), np.float32),
    "one": np.float32(0.1), "whole": np.int64(-5), "truth": np.bool_(True), "no axis": np.array(3.0),
    "a part": np.arange(100, dtype=np.float32).reshape(10, 10)[2:4, ::3], "half": np.float16(2),
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "content", [PLAIN, ARRAYS, [PLAIN, ARRAYS]], ids=["plain", "arrays", "both"]
)
def test_what_is_admitted_is_read_as_pythons_own_reader_does(
    content: Any, protocol: int, tmp_path: Path
) -> None:
    if protocol == 0:  # writes text in lines, and may not be long
        content = {"a": [1, -5, True, 1.5, "ä\n\\", (None,), ()], "b": np.arange(5.0), "c": 2**80}
    path = write_pickle(tmp_path / "a.pkl", content, protocol)
    plain = content
    if isinstance(content, dict) and "long" in content:
        plain = {key: value for key, value in content.items() if key != "long"}
    found = read(path)
    if isinstance(found, dict):
        found.pop("long", None)
        assert same(plain, found)
    else:
        found[0].pop("long")
        assert same(ARRAYS, found[1])


def test_one_thing_that_is_named_twice_is_the_same_thing(tmp_path: Path) -> None:
    shared = ["walk"]
    found = read(write_pickle(tmp_path / "a.pkl", [shared, shared, (shared, "walk")]))
    assert found == [["walk"], ["walk"], (["walk"], "walk")]


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # numpy under Python 2 writes the bytes of an array as text; what was written by hand here, protocol 2
    array = np.arange(300, dtype="<f4")
    data = array.tobytes()
    text = (
        b"\x80\x02}U\x01k" + b"cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01M\x2c\x01\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + len(data).to_bytes(4, "little") + data + b"tbs."
    )  # fmt: skip
    path = tmp_path / "a.pkl"
    path.write_bytes(text)
    np.testing.assert_array_equal(pickle.loads(text, encoding="latin1")["k"], array)
    np.testing.assert_array_equal(read(path)["k"], array)


CALLS: dict[str, Any] = {
    "a function of ours": Calls(canary, "here"),
    "the shell": Calls(os.system, "touch /tmp/gaitforge-canary"),
    "eval": Calls(eval, "__import__('tests.test_pickles').test_pickles.canary()"),
    "exec": Calls(exec, "import tests.test_pickles as t; t.canary()"),
    "getattr": Calls(getattr, "a", "upper"),
    "import": Calls(__import__, "os"),
    "open": Calls(open, "/tmp/gaitforge-canary", "w"),
    "numpy.load": Calls(np.load, "/tmp/x.npy"),
    "numpy.fromfile": Calls(np.fromfile, "/etc/passwd"),
    "numpy.zeros": Calls(np.zeros, (10**12,)),
    "bytes of any length": Calls(bytes, 10**12),
    "a class": Calls,
    "a set": Calls(set, [1]),
    "a type": Calls(type, "a", (), {}),
    "a dictionary of a function": {"annotations": [annotation("a", label=Calls(canary))]},
    "copyreg": Path("a"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("what", CALLS)
def test_a_function_that_is_not_admitted_is_named_and_never_called(
    what: str, protocol: int, tmp_path: Path
) -> None:
    path = write_pickle(tmp_path / "a.pkl", CALLS[what], protocol)
    sentence = refusal(path)
    assert (
        "it calls for '" in sentence or "'builtins.bytes'" in sentence or "__builtin__" in sentence
    )
    assert not Path("/tmp/gaitforge-canary").exists()


def test_the_canary_is_called_by_pythons_own_reader(tmp_path: Path) -> None:
    # or the tests above would show nothing
    assert pickle.loads(pickle.dumps(Calls(canary, 1))) == "called"
    assert CALLED == [(1,)]
    CALLED.clear()


def test_only_what_writes_arrays_and_bytes_is_admitted() -> None:
    assert set(ADMITTED) == {
        *(f"numpy.{core}.multiarray.{f}" for core in ("core", "_core") for f in ("_reconstruct", "scalar")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "numpy.ndarray", "numpy.dtype", "_codecs.encode", "builtins.bytes", "__builtin__.bytes",
        "collections.OrderedDict",
    }  # fmt: skip


def le(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01bt"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends too soon"),
    "no end": (b"\x80\x04N", "ends too soon"),
    "no pickle": (b"\x89PNG\r\n\x1a\n", "it has the instruction"),
    "an end without anything": (b".", "takes more than it has put down"),
    "bytes without end": (b"\x8e" + le(2**62, 8) + b".", "ends too soon"),
    "text without end": (b"\x8d" + le(2**63, 8) + b".", "ends too soon"),
    "buffer without end": (b"\x96" + le(2**40, 8) + b".", "ends too soon"),
    "text of negative length": (b"T" + le(2**32 - 1, 4) + b".", "ends too soon"),
    "a far place": (b"Nr\xff\xff\xff\xff0N.", ""),
    "a number of very many digits": (b"I" + b"9" * 9_000 + b"\n.", "a number that is none"),
    "a line without end": (b"I" + b"9" * 90_000, "a line without an end"),
    "a long number": (b"\x8b" + le(10**6, 4) + bytes(10**6) + b".", "the instruction b'\\x8b'"),
    "very many parts": (b"}" * 50_000 + b".", "made of far more parts"),
    "very many marks": (b"(" * 50_000 + b".", "made of far more parts"),
    "a mark that is not there": (b"t.", "a mark that is not there"),
    "a thing not remembered": (b"h\x05.", "recalls what it has not remembered"),
    "a list of nothing": (b"a.", "takes more"),
    "to no list": (b"NNa.", "adds to what is no list"),
    "to no dictionary": (b"]NNs.", "sets a key of what is no dictionary"),
    "a key of tuples": (b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns.", "neither text nor a small"),
    "a key without a value": (b"(Nd.", "a key without a value"),
    "a large key": (b"}\x8a\x08" + le(2**62, 8) + b"Ns.", "neither text nor a small number"),
    "a call of text": (b"X\x01\x00\x00\x00a)R.", "calls what is no function"),
    "a call of an array": (b"cnumpy\nndarray\n)R.", "gives 'numpy.ndarray' what numpy does not"),
    "a call without arguments": (b"cnumpy\ndtype\nNR.", "gives 'numpy.dtype' what numpy does not"),
    "numpy's type set up": (b"cnumpy\ndtype\n}b.", "sets up what is neither"),
    "our list set up": (b"]}b.", "sets up what is neither"),
    "an extension": (b"\x82\x01.", "the instruction"),
    "a persistent thing": (b"Pa\n.", "the instruction"),
    "an instance": (b"(i__main__\nX\n.", "the instruction"),
    "a new object": (b"cnumpy\nndarray\n)\x81.", "the instruction"),
    "a later protocol": (b"\x80\x09N.", "the protocol 9"),
    "a name of two lines": (b"cos\nsystem\n.", "it calls for 'os.system'"),
    "a name that would move the cursor": (b"c\x1b[2J\nx\n.", r"it calls for '\x1b[2J.x'"),
    "no name": (b"NN\x93.", "what has no name"),
    "objects": (b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR.", "array of Python objects"),
    "texts": (b"cnumpy\ndtype\n(X\x02\x00\x00\x00U9K\x00K\x01tR.", "of the type 'U9'"),
    "an array without its type": (ARRAY + b"R(K\x01)NNNtb.", "an array has no type"),
    "no utf-8": (b"X\x02\x00\x00\x00\xff\xff.", "can't decode"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_is_refused_with_its_fault_in_little_memory(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "ALWAYS_STEPS", 1_000)
    data, sentence = HOSTILE[what]
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    if not sentence:
        assert read(path) is None
        return
    tracemalloc.start()
    try:
        assert sentence in refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + 130 * len(data)


def with_state(shape: bytes, order: bytes, content: bytes) -> bytes:
    """An array of <f4 of a shape that is given as code, with its bytes."""
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00" + order
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return ARRAY + b"R(K\x01" + shape + dtype + b"\x89B" + le(len(content), 4) + content + b"tb."


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (b"\x8a\x05" + le(2**38, 5) + b"\x85", "1,099,511,627,776 bytes by its shape has 8"),
        (b"\x8a\x08" + le(2**62, 8) + b"\x85", "an array has no shape"),
        (b"J\xff\xff\xff\xff\x85", "an array has no shape"),
        (b"K\x03\x85", "an array of 12 bytes by its shape has 8 in the file"),
        (b"K\x01\x85", "an array of 4 bytes by its shape has 8 in the file"),
        (b"\x88\x85", "an array has no shape"),
        (b"(" + b"K\x01" * 9 + b"t", "an array has no shape"),
        (b"N", "an array has no shape"),
    ],
)
def test_an_array_that_promises_other_than_it_has_is_refused(
    shape: bytes, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(with_state(b"K\x02\x85", b"<", bytes(8)))
    assert read(path).tolist() == [0, 0]
    path.write_bytes(with_state(shape, b"<", bytes(8)))
    assert fault in refusal(path)


def test_arrays_together_are_no_larger_than_the_file(tmp_path: Path) -> None:
    array = np.zeros(100_000, np.float32)
    path = write_pickle(tmp_path / "a.pkl", [array] * 50)  # one array, named fifty times
    assert "names its arrays again and again, 10 times its size in all" in refusal(path)
    # many arrays of which all are told to have the same bytes
    made, state = array.__reduce__()[:2], (1, array.shape, array.dtype, False, array.tobytes())
    write_pickle(path, [Told(*made, state) for _ in range(50)])
    assert "its arrays are together larger than itself" in refusal(path)


def test_an_array_that_several_share_is_in_the_file_once_and_read_for_each(tmp_path: Path) -> None:
    score = np.ones((1, 40, 17))
    walks = [np.full((1, 40, 17, 2), n, np.float32) for n in range(8)]
    content = [{"keypoint": walk, "keypoint_score": score} for walk in walks]
    assert same(content, read(write_pickle(tmp_path / "a.pkl", content)))


@pytest.mark.parametrize(
    ("protocol", "fault"), [(0, "a line without an end"), (1, "too soon"), (2, "too soon")]
)
def test_a_large_array_is_read_of_the_oldest_protocols(
    protocol: int, fault: str, tmp_path: Path
) -> None:
    # bytes of all values, which protocol 0 writes in a line of text: of one byte, or of six as of a backslash
    array = np.frombuffer(bytes(range(256)) * 85, np.float64, 2_720).reshape(1, 40, 34, 2)
    path = write_pickle(
        tmp_path / "a.pkl", {"keypoint": array, "text": "\\n\u20ac" * 900}, protocol
    )
    with open_pickle(path) as opened:
        assert isinstance(opened.tree, dict)
        found = opened.load(opened.tree["keypoint"])
    assert found.tobytes() == array.tobytes()
    path.write_bytes(path.read_bytes()[:9_000])
    assert fault in refusal(path)


def test_what_holds_itself_is_read_without_end_nowhere(tmp_path: Path) -> None:
    own: list[object] = []
    own.append(own)
    with open_pickle(write_pickle(tmp_path / "a.pkl", own)) as opened:
        assert isinstance(opened.tree, list)
        assert opened.tree[0] is opened.tree


def test_opening_a_pickle_of_large_arrays_takes_little_memory(tmp_path: Path) -> None:
    content = [
        annotation(f"w{n}", keypoint=np.zeros((1, 500, 17, 2), np.float32)) for n in range(50)
    ]
    for protocol in (2, 4, 5):
        path = write_pickle(tmp_path / "a.pkl", content, protocol)
        assert path.stat().st_size > 3_000_000
        tracemalloc.start()
        with open_pickle(path) as opened:
            assert isinstance(opened.tree, list)
            assert len(opened.tree) == 50
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 700_000


def test_the_instructions_that_are_known_are_pythons() -> None:
    names = {code.code.encode("latin-1"): code.name for code in pickletools.opcodes}
    known = {names[code] for code in pickled._STEPS}
    objects = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
    assert not known & objects
