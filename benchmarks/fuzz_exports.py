"""Predict by exports and from recordings that were changed on purpose: what ends otherwise than with right words.

python -m benchmarks.fuzz_exports --cases 100 [--seed 0] [--patience 60]

Every case changes one thing of a small export (its card, the bytes of its graph, the graph itself) or of the
recordings, and runs `gaitforge predict` in a process of its own. Prints a line for each case that ends wrongly: with a
traceback or a signal, not at all, with another exit status than its rows tell, with text that a terminal or a
spreadsheet would obey, with more memory than 1 GB, or with an answer where none may be given.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gaitforge import onnx_file
from gaitforge.familiar import describe_training
from gaitforge.layout import Layout
from gaitforge.normalise import Normalisation
from gaitforge.recording import Recording
from gaitforge.records.export import CARD
from gaitforge.records.store import HowRead
from gaitforge.sentences import FORMULA
from gaitforge.windows import WindowSettings
from gaitforge.work import ExportFolder
from tests.made import made
from trainers.__main__ import main as gaitforge

LAYOUT = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
LENGTH, CHANNELS, CLASSES = 8, 3, ("ill", "well", "lame")
MOST_BYTES = 10**9
ANSWERED, SOME, NONE = 0, 1, 2  # exit statuses of predict

Random: TypeAlias = np.random.Generator
Graph: TypeAlias = onnx.GraphProto


# the export that is changed


def student() -> onnx.ModelProto:
    """A linear student: class k is the mean over a window of what a running sum, by a Scan, makes of joint k."""
    size = LAYOUT.joint_count * CHANNELS
    step = helper.make_graph(
        [helper.make_node("Add", ["sum", "now"], ["next"]), helper.make_node("Identity", ["next"], ["out"])],
        "step",
        [_value(name, "float", ["batch", size]) for name in ("sum", "now")],
        [_value(name, "float", ["batch", size]) for name in ("next", "out")],
    )  # fmt: skip
    weights = np.random.default_rng(0).normal(size=(size, len(CLASSES))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["seen"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "last"], ["mask"]),
        helper.make_node("Mul", ["joints", "mask"], ["kept"]),
        helper.make_node("Reshape", ["kept", "flat"], ["frames"]),
        helper.make_node("Transpose", ["frames"], ["times"], perm=[1, 0, 2]),
        helper.make_node("ReduceMean", ["frames", "one"], ["start"], keepdims=0),
        helper.make_node("Scan", ["start", "times"], ["sums", "all"], body=step, num_scan_inputs=1),
        helper.make_node("Gemm", ["sums", "weights", "bias"], ["logits"]),
    ]  # fmt: skip
    arrays = {
        "last": np.array([3]),
        "flat": np.array([-1, LENGTH, size]),
        "one": np.array([1]),
        "weights": weights,
        "bias": np.zeros(len(CLASSES), np.float32),
    }
    shape: tuple[str | int, ...] = ("batch", LENGTH, LAYOUT.joint_count)
    graph = helper.make_graph(
        nodes, "student",
        [_value("joints", "float", [*shape, CHANNELS]), _value("seen", "bool", shape)],
        [_value("logits", "float", ["batch", len(CLASSES)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_export(folder: Path, model: bytes | None = None) -> ExportFolder:
    """Write an export of the student, or of another model that the card then tells of."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ExportFolder(folder)
    content = student().SerializeToString() if model is None else model
    files.onnx.write_bytes(content)
    shape = (LAYOUT.joint_count, CHANNELS)
    card = replace(
        made(CARD),
        layout=LAYOUT,
        classes=CLASSES,
        channels=CHANNELS,
        windows=WindowSettings(mode="slide", length=LENGTH, stride=4, views=1),
        normalisation=Normalisation(
            mean_VC=np.zeros(shape, np.float32), std_VC=np.ones(shape, np.float32)
        ),
        read=HowRead(confidence_channel=None, fps=None),
        onnx_bytes=len(content),
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        familiar=describe_training(_training(), LAYOUT),
    )
    CARD.write(files.card, card)
    return files


def _frames() -> NDArray[np.float32]:
    frames = np.random.default_rng(1).normal(size=(60, LAYOUT.joint_count, CHANNELS))
    return frames.astype(np.float32)


def _training() -> list[Recording]:
    """The recordings that the student is taken to have learned from: those that it is asked about."""
    cut = [_frames()[start : start + 20] for start in (0, 20, 40)]
    return [
        Recording(recording=str(n), person="p", label=CLASSES[n], positions_TVC=frames)
        for n, frames in enumerate(cut)
    ]


def write_recordings(path: Path, **changed: Any) -> None:
    """Write three recordings of 20 frames; None leaves an array out."""
    arrays = {"frames": _frames(), "offsets": np.arange(0, 61, 20), **changed}
    told = {name: array for name, array in arrays.items() if array is not None}
    np.savez(path, allow_pickle=True, **told)


# what is changed


@dataclass(frozen=True, slots=True)
class Case:
    """An export and recordings in a folder, `must` being the exit statuses that are right for what was changed."""

    what: str
    must: tuple[int, ...] = (ANSWERED, SOME, NONE)


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**30, 2**62, "", "=1+1", "\x1b[31mred\x1b[0m", "\u202eabc", "a" * 100_000, "\ud800",
    [], {}, [[[]]], [None], {"a": None}, "NaN", float("nan"), float("inf"), -0.0, 0.5, "x\ny",
)  # fmt: skip


def change_card(files: ExportFolder, rng: Random) -> Case:
    """Replace, remove or repeat a value somewhere in the card."""
    card = json.loads(files.card.read_text())
    used = (
        "layout",
        "classes",
        "channels",
        "windows",
        "normalisation",
        "read",
        "onnx_bytes",
        "familiar",
    )
    spots = list(_spots({key: card[key] for key in used})) if rng.random() < 0.8 else None
    places = spots or list(_spots(card))
    place = places[int(rng.integers(len(places)))]
    holder = card
    for part in place[:-1]:
        holder = holder[part]
    last = place[-1]
    if rng.random() < 0.15:
        del holder[last]
        what = "without"
    elif rng.random() < 0.2 and isinstance(holder, list):
        holder.insert(int(last), holder[last])
        what = "twice"
    else:
        holder[last] = ODD[int(rng.integers(len(ODD)))]
        what = f"{holder[last]!r:.30}"
    files.card.write_text(json.dumps(card))
    return Case(f"card {'.'.join(map(str, place))} {what}")


def name_classes(files: ExportFolder, rng: Random) -> Case:
    """Give the card other classes than the student has."""
    lists: tuple[tuple[list[str], int], ...] = (
        (["ill", "well"], NONE), (["ill"], NONE), ([], NONE), (["ill", "ill", "well"], NONE), (["a"] * 4, NONE),
        (["=cmd|' /C calc'!A0", "@SUM(1)", "\x1b]0;title\x07"], ANSWERED), (["\u202ex", "a\r\nb", "+1 x"], ANSWERED),
    )  # fmt: skip
    classes, must = lists[int(rng.integers(len(lists)))]
    card = json.loads(files.card.read_text())
    files.card.write_text(json.dumps({**card, "classes": classes}))
    return Case(f"classes {classes!r:.60}", (must,))


def change_bytes(files: ExportFolder, rng: Random) -> Case:
    """Cut, flip or fill the bytes of the card or of the graph; the card may tell of what has become of the graph."""
    path = files.card if rng.random() < 0.3 else files.onnx
    content = bytearray(path.read_bytes())
    kinds = ("cut", "flip", "empty", "noise", "deep", "longer")
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "cut":
        content = content[: int(rng.integers(len(content)))]
    elif kind == "flip":
        for at in rng.integers(len(content), size=int(rng.integers(1, 9))):
            content[at] ^= 1 << int(rng.integers(8))
    elif kind == "empty":
        content = bytearray()
    elif kind == "noise":
        content = bytearray(rng.bytes(300))
    elif kind == "deep":
        content = bytearray(b"[" * 100_000)
    else:
        content += rng.bytes(20)
    path.write_bytes(content)
    told = path == files.onnx and rng.random() < 0.7
    if told:
        _tell(files)
    untold = path == files.onnx and not told
    return Case(
        f"bytes {path.name} {kind}{', told' if told else ''}",
        (NONE,) if untold else (ANSWERED, SOME, NONE),
    )


def change_files(files: ExportFolder, rng: Random) -> Case:
    """Put nothing, a folder, a pipe, an endless device or a link in the place of one of the files."""
    places = (files.card, files.onnx, files.root.parent / "new.npz")
    path = places[int(rng.integers(len(places)))]
    kinds = ("nothing", "a folder", "a pipe", "a device", "a link to itself")
    kind = kinds[int(rng.integers(len(kinds)))]
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to itself":
        path.symlink_to(path)
    return Case(f"files {path.name} {kind}", (NONE,))


def change_graph(files: ExportFolder, rng: Random) -> Case:
    """Make one of `ATTACKS` on the graph, or give one of its operators another type, attribute or input."""
    model = onnx.load_model_from_string(files.onnx.read_bytes())
    graph = model.graph
    names = list(ATTACKS)
    if rng.random() < 0.8:
        name = names[int(rng.integers(len(names)))]
        attack, must = ATTACKS[name]
        attack(model)
    else:
        node = graph.node[int(rng.integers(len(graph.node)))]
        kind = int(rng.integers(4))
        must = (ANSWERED, SOME, NONE)
        name = f"{node.op_type} {kind}"
        if kind == 0:
            others = ("Identity", "Relu", "Softmax", "Flatten", "NonZero", "Size", "Nothing")
            node.op_type = others[int(rng.integers(len(others)))]
        elif kind == 1 and node.input:
            node.input[0] = "\x1b[2Jnone"
        elif kind == 2:
            node.attribute.append(helper.make_attribute("axis", 2**62))
        else:
            graph.node.remove(node)
    files.onnx.write_bytes(model.SerializeToString())
    _tell(files)
    return Case(f"graph {name}", must)


def change_recordings(files: ExportFolder, rng: Random) -> Case:
    """Write recordings that cannot be used, or only just."""
    names = list(RECORDINGS)
    name = names[int(rng.integers(len(names)))]
    changed, must = RECORDINGS[name]
    path = files.root.parent / "new.npz"
    write_recordings(path, **changed())
    if name == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    return Case(f"recordings {name}", (must,))


CHANGES: tuple[Callable[[ExportFolder, Random], Case], ...] = (
    change_card, name_classes, change_bytes, change_files, change_graph, change_recordings,
)  # fmt: skip


def _append(model: onnx.ModelProto, *nodes: onnx.NodeProto, **arrays: NDArray[Any]) -> None:
    """Add operators between the logits so far, `old`, and the answer."""
    graph = model.graph
    graph.node[-1].output[0] = "old"
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in arrays.items()
    )


def _endless(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["go"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [_value("trip", "int64", []), _value("going", "bool", []), _value("x", "float", None)],
        [_value("go", "bool", []), _value("y", "float", None)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["trips", "on", "old"], ["logits"], body=body)
    _append(model, loop, trips=np.array(2**62), on=np.array(True))


def _branch(model: onnx.ModelProto) -> None:
    each = [
        helper.make_graph([helper.make_node("Identity", ["old"], [name])], name, [], [_value(name, "float", None)])
        for name in ("yes", "no")
    ]  # fmt: skip
    branch = helper.make_node("If", ["on"], ["logits"], then_branch=each[0], else_branch=each[1])
    _append(model, branch, on=np.array(True))


def _scan(length: int, within: onnx.NodeProto | None = None) -> onnx.NodeProto:
    body = helper.make_graph(
        [within or helper.make_node("Identity", ["s"], ["t"])], "b",
        [_value("s", "float", None), _value("nothing", "float", None)], [_value("t", "float", None)],
    )  # fmt: skip
    return helper.make_node("Scan", ["old", "long"], ["logits"], body=body, num_scan_inputs=1)


def _long_scan(model: onnx.ModelProto) -> None:
    """Scan something of no size at all, 2^62 times."""
    long = helper.make_node("ConstantOfShape", ["shape"], ["long"])
    _append(model, long, _scan(2**62), shape=np.array([2**62, 0]))


def _nested_scan(model: onnx.ModelProto) -> None:
    inner = helper.make_node(
        "Scan", ["s", "long"], ["t"], body=_scan(1).attribute[0].g, num_scan_inputs=1
    )
    _append(model, _scan(1, inner), long=np.zeros((9, 1), np.float32))


def _huge(model: onnx.ModelProto) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["old", "zero"], ["logits"]),
    ]
    _append(model, *nodes, shape=np.array([2**31]))


def _grown(model: onnx.ModelProto) -> None:
    """Double the answer's size forty times, then sum it."""
    names = ["old", *(f"d{i}" for i in range(40))]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    _append(model, *nodes, helper.make_node("Identity", [names[-1]], ["logits"]))


def _long_fold(model: onnx.ModelProto) -> None:
    """Multiply large constants a hundred times, which an optimiser would do while the graph is loaded."""
    names = ["ones", *(f"p{i}" for i in range(100))]
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"]),
        *(helper.make_node("MatMul", [a, "ones"], [b]) for a, b in pairwise(names)),
        helper.make_node("ReduceSum", [names[-1]], ["zero"], keepdims=0),
        helper.make_node("Add", ["old", "zero"], ["logits"]),
    ]
    _append(model, *nodes, shape=np.array([2000, 2000]))


def _outside(model: onnx.ModelProto) -> None:
    weights = next(one for one in model.graph.initializer if one.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def _weights(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        bias = next(one for one in model.graph.initializer if one.name == "bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(3, value, np.float32), "bias"))

    return change


def _functions(model: onnx.ModelProto) -> None:
    """Functions that call each other twice: 2^40 operators once they are written out."""
    for depth in range(40):
        inner = "Identity" if depth == 0 else f"f{depth - 1}"
        domain = "" if depth == 0 else "own"
        nodes = [
            helper.make_node(inner, [a], [b], domain=domain) for a, b in (("x", "m"), ("m", "y"))
        ]
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(
            helper.make_function("own", f"f{depth}", ["x"], ["y"], nodes, opsets)
        )
    model.opset_import.append(helper.make_opsetid("own", 1))
    _append(model, helper.make_node("f39", ["old"], ["logits"], domain="own"))


def _other_port(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "\x1b[31mjoints"
    model.graph.node[2].input[0] = model.graph.input[0].name


def _fewer_frames(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = LENGTH - 1


def _whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    _append(model, helper.make_node("Cast", ["old"], ["logits"], to=TensorProto.INT64))


def _wider(model: onnx.ModelProto) -> None:
    """Answer with six numbers where three are told."""
    _append(model, helper.make_node("Concat", ["old", "old"], ["logits"], axis=1))


def _far_index(model: onnx.ModelProto) -> None:
    _append(
        model,
        helper.make_node("Gather", ["old", "at"], ["logits"], axis=1),
        at=np.array([0, 1, 2**40]),
    )


ATTACKS: dict[str, tuple[Callable[[onnx.ModelProto], None], tuple[int, ...]]] = {
    "endless loop": (_endless, (NONE,)),
    "branch": (_branch, (NONE,)),
    "long scan": (_long_scan, (NONE,)),  # or told to stop
    "nested scan": (_nested_scan, (NONE,)),
    "huge tensor": (_huge, (NONE,)),
    "tensor that grows": (_grown, (NONE,)),
    "long fold": (_long_fold, (ANSWERED,)),  # or told to stop
    "weights outside": (_outside, (NONE,)),
    "NaN": (_weights(np.nan), (NONE,)),
    "infinity": (_weights(np.inf), (NONE,)),
    "large numbers": (_weights(3e38), (ANSWERED,)),
    "functions": (_functions, (NONE,)),
    "another input": (_other_port, (NONE,)),
    "fewer frames": (_fewer_frames, (NONE,)),
    "whole numbers": (_whole_numbers, (NONE,)),
    "more classes": (_wider, (NONE,)),
    "an index beyond": (_far_index, (NONE,)),
}  # fmt: skip


def _with_frames(value: float) -> Callable[[], dict[str, Any]]:
    def change() -> dict[str, Any]:
        frames = np.random.default_rng(2).normal(size=(60, 3, 3)).astype(np.float32)
        frames[25:30] = value
        frames[26:30:2] *= -1
        return {"frames": frames}

    return change


RECORDINGS: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {
    "plain": (dict, ANSWERED),
    "missing joints": (_with_frames(np.nan), ANSWERED),
    "infinities": (_with_frames(np.inf), SOME),
    "large": (_with_frames(1e30), ANSWERED),
    "too large": (lambda: {"frames": np.tile(np.array([[[3e38]], [[-3e38]]], np.float32), (30, 3, 3))}, NONE),
    "one frame": (lambda: {"offsets": np.array([0, 20, 21, 60])}, SOME),
    "no frame": (lambda: {"offsets": np.array([0, 20, 20, 60])}, SOME),
    "nothing seen": (lambda: {"frames": np.full((60, 3, 3), np.nan, np.float32)}, NONE),
    "other joints": (lambda: {"frames": np.zeros((60, 4, 3), np.float32)}, NONE),
    "other channels": (lambda: {"frames": np.zeros((60, 3, 2), np.float32)}, NONE),
    "odd ids": (
        lambda: {"clip_id": np.array(["=1+1", "\x1b[31m\ud800", "@a\r\nb"])}, ANSWERED,
    ),
    "one id": (lambda: {"clip_id": np.array(["a", "a", "a"])}, ANSWERED),
    "long": (
        lambda: {"frames": np.zeros((200_000, 3, 3), np.float32), "offsets": np.array([0, 200_000])}, ANSWERED,
    ),
    "no offsets": (lambda: {"offsets": None}, NONE),
    "objects": (lambda: {"extra": np.array([{}, {}, {}])}, NONE),
    "cut": (dict, NONE),
}  # fmt: skip


def _value(name: str, kind: str, shape: Sequence[str | int] | None) -> onnx.ValueInfoProto:
    kinds = {"float": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(name, kinds[kind], shape)


def _tell(files: ExportFolder) -> None:
    """Let the card tell of the graph that is there, as somebody would who changes both."""
    content = files.onnx.read_bytes()
    told = {"onnx_bytes": len(content), "onnx_sha256": hashlib.sha256(content).hexdigest()}
    files.card.write_text(json.dumps({**json.loads(files.card.read_text()), **told}))


def _spots(value: Any, above: tuple[Any, ...] = ()) -> Any:
    """Yield the path of every value within a card."""
    if above:
        yield above
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, its in inner:
        yield from _spots(its, (*above, key))


# what came of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended; `status` is negative where a signal ended it."""

    status: int
    out: str
    err: str
    seconds: float
    peak_bytes: int


def run_case(files: ExportFolder, patience_s: float) -> Outcome:
    """Run `gaitforge predict` in a fork of this process, which is killed when its time is over."""
    folder = files.root.parent
    out, err = folder / "out.csv", folder / "err.txt"
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # threads of libraries, which the child has no use for
        child = os.fork()
    if child == 0:
        _predict(files, out, err)
    status, usage = 0, None
    while usage is None:
        ended, status, its = os.wait4(child, os.WNOHANG)
        if ended:
            usage = its
        elif time.monotonic() - begin > patience_s:
            os.kill(child, 9)
            _, status, usage = os.wait4(child, 0)
        else:
            time.sleep(0.005)
    said, complained = (path.read_text("utf-8", "surrogateescape") for path in (out, err))
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code, said, complained, time.monotonic() - begin, usage.ru_maxrss * 1024)


def _predict(files: ExportFolder, out: Path, err: Path) -> None:
    """Become the command: nothing of the caller may run on."""
    status = 70
    try:
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (
            os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2)
        )
        warnings.resetwarnings()
        onnx_file.PATIENCE_S = 1.0
        try:
            status = gaitforge(["predict", str(files.root), str(files.root.parent / "new.npz")])
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
            status = 71
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def faults(case: Case, came: Outcome) -> list[str]:
    """Say in words what is wrong with how a case ended."""
    found = []
    if came.status < 0:
        found.append("it did not end" if came.status == -9 else f"signal {-came.status}")
    elif came.status not in case.must and not _was_stopped(came):
        found.append(f"exit status {came.status}, and not {' or '.join(map(str, case.must))}")
    if "Traceback" in came.err:
        found.append("a traceback")
    lines = came.err.splitlines()
    if len(lines) != (came.status != ANSWERED) or not all(
        one.startswith("gaitforge: ") and len(one) < 3000 for one in lines
    ):
        found.append("standard error holds something else than one sentence")
    if any(
        not one.isprintable() for one in (came.out + came.err).replace("\r\n", "\n").split("\n")
    ):
        found.append("text that a terminal would obey")
    if came.peak_bytes > MOST_BYTES:
        found.append(f"{came.peak_bytes / 1e9:.1f} GB of memory")
    found += _row_faults(came)
    return found


def _was_stopped(came: Outcome) -> bool:
    """Tell whether a student took longer than it may, which on a busy machine any graph does; no more rows follow."""
    return came.status == SOME and "has not answered a few windows within" in came.err


def _row_faults(came: Outcome) -> list[str]:
    head, *rows = list(csv.reader(came.out.splitlines())) or [[]]
    if not head:
        return ["no sentence and no table"] if came.status in (ANSWERED, SOME) else []
    found = []
    if any(len(row) != len(head) for row in rows):
        found.append("rows of another width than their head")
    cells = [cell for row in (head, *rows) for cell in row]
    if any(cell.startswith(FORMULA) for cell in cells):
        found.append("a cell that a spreadsheet would run")
    if any(cell in ("nan", "inf", "-inf") for cell in cells):
        found.append("a probability that is no number")
    answered = sum(bool(row[1]) for row in rows)
    right = ANSWERED if answered == len(rows) else SOME if answered else NONE
    if came.status >= 0 and came.status != right and not _was_stopped(came):
        found.append(f"exit status {came.status} of {answered} answers in {len(rows)} rows")
    return found


def run_cases(cases: int, seed: int, patience_s: float) -> list[tuple[Case, Outcome, list[str]]]:
    """Make and run seeded cases, one after another; return how each ended, with its faults."""
    ended = []
    for number in range(cases):
        rng = np.random.default_rng((seed, number))
        with tempfile.TemporaryDirectory() as folder:
            files = write_export(Path(folder) / "export")
            write_recordings(Path(folder) / "new.npz")
            case = CHANGES[number % len(CHANGES)](files, rng)
            came = run_case(files, patience_s)
        ended.append((case, came, faults(case, came)))
    return ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    ended = run_cases(options.cases, options.seed, options.patience)
    for number, (case, came, wrong) in enumerate(ended):
        for fault in wrong:
            print(f"{number:4} {case.what}: {fault}  {came.err.strip()[-300:]!r}")
    statuses = Counter(came.status for _, came, _ in ended)
    print(
        f"{len(ended)} cases, {sum(bool(wrong) for *_, wrong in ended)} that end wrongly; exit statuses "
        f"{', '.join(f'{count} x {status}' for status, count in sorted(statuses.items()))}; at most "
        f"{max(came.seconds for _, came, _ in ended):.1f} s and "
        f"{max(came.peak_bytes for _, came, _ in ended) / 1e6:.0f} MB"
    )
    return int(any(wrong for *_, wrong in ended))


if __name__ == "__main__":
    sys.exit(main())
