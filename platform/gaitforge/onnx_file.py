"""Open ONNX files that others may have changed: looked through before they are loaded, and run within bounds.

onnxruntime writes a device id and a database of events below the user's home unless it is told not to before it is
imported, so that it is imported here alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from gaitforge.sentences import escape

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

Session: TypeAlias = onnxruntime.InferenceSession

AGAIN = "export the student again with `gaitforge export run.toml`"
# of our families, those with a recurrence over time export it as a Scan, which ends with its input
LOOPS = ("Loop", "If", "SequenceMap")
STANDARD = ""  # the domain of ONNX's own operators
# One run is over a few windows (predict.py), a matter of milliseconds: even a busy machine is far from these.
PATIENCE_S = 60.0
MEMORY_BYTES = 768 * 2**20
UNBOUNDED = ["ConstantFolding"]  # runs operators while a graph is loaded, where nothing stops them


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph: its name, ONNX's number of its type, its shape with None for a free size."""

    name: str
    kind: int
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{escape(self.name)} [{sizes}]"


@dataclass(frozen=True, slots=True)
class Ports:
    """Inputs and outputs of a graph."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of_student(cls, length: int, joints: int, channels: int, classes: int) -> Ports:
        """Return those of a student for windows of `length` frames."""
        number, truth = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
        return cls(
            (
                Port("joints", number, (None, length, joints, channels)),
                Port("seen", truth, (None, length, joints)),
            ),
            (Port("logits", number, (None, classes)),),
        )


def open_session(path: Path, *, bounded: bool = False) -> Session:
    """Load an ONNX file to run on one CPU thread; raises ValueError where it is none, or does not pass `look_through`.

    One that is `bounded` takes at most MEMORY_BYTES for all that it works on.
    """
    content = path.read_bytes()
    look_through(content, path)
    return load_session(content, path, bounded=bounded)


def load_session(content: bytes, path: Path, *, bounded: bool = False) -> Session:
    """Load the content of an ONNX file as `open_session` does, without looking through it; `path` names it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4 if bounded else 3  # what fails is said in our own sentence
    if bounded:
        _register_bounded_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(
            content,
            options,
            ["CPUExecutionProvider"],
            disabled_optimizers=UNBOUNDED if bounded else None,
        )
    except Exception as error:  # onnxruntime raises classes of its own that share no base but this
        raise _not_loaded(path) from error


def run_bounded(session: Session, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a session; raises ValueError where it cannot be run on this input, RuntimeError after PATIENCE_S.

    It is stopped between two operators: one that takes long by itself is waited for.
    """
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        options.terminate = True

    timer = Timer(PATIENCE_S, stop)
    timer.daemon = True
    timer.start()
    try:
        answers: list[NDArray[Any]] = session.run(None, feeds, options)
    except Exception as error:  # as above
        if stopped:
            raise RuntimeError(
                f"The student has not answered a few windows within {PATIENCE_S:g} s; {AGAIN}."
            ) from error
        first = str(error).partition("\n")[0][:200]
        raise ValueError(f"the student cannot be run on it ({first})") from error
    finally:
        timer.cancel()
    return answers


def look_through(content: bytes, path: Path) -> Ports:
    """Return the inputs and outputs of an ONNX file's content, which is not run; `path` names it.

    Raises ValueError where it is no ONNX file, or holds what no student needs and what may never end, or reach other
    files: loops and branches but for a Scan, functions and operators of its own, weights outside of the file.
    """
    try:
        model = onnx.load_model_from_string(content)
        held = next(_unwanted(model), None)
        ports = Ports(_ports(model.graph.input), _ports(model.graph.output))
    except (DecodeError, UnicodeDecodeError) as error:
        raise _not_loaded(path) from error
    if held is not None:
        raise ValueError(
            f"{path} holds {held}, which no student needs, so it is not run; {AGAIN}."
        )
    return ports


def _not_loaded(path: Path) -> ValueError:
    return ValueError(f"{path} cannot be loaded as an ONNX model; {AGAIN}.")


@cache
def _register_bounded_memory() -> None:
    """Tell onnxruntime, once in a process, how much memory its bounded sessions share."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_asked = 1  # grow by what is asked for, not to the next power of two
    bounds = onnxruntime.OrtArenaCfg({"max_mem": MEMORY_BYTES, "arena_extend_strategy": as_asked})
    onnxruntime.create_and_register_allocator(memory, bounds)


def _unwanted(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what an ONNX file holds and no student needs, in words."""
    if model.functions:
        yield "functions of its own"
    if model.training_info:
        yield "steps of a training"
    yield from _unwanted_in(model.graph, within_scan=False)


def _unwanted_in(graph: onnx.GraphProto, *, within_scan: bool) -> Iterator[str]:
    sparse = [part for one in graph.sparse_initializer for part in (one.values, one.indices)]
    yield from _outside([*graph.initializer, *sparse])
    for node in graph.node:
        if node.domain != STANDARD:
            yield f"an operator of '{escape(node.domain)}'"
        if node.op_type in LOOPS or (within_scan and node.op_type == "Scan"):
            yield f"the control flow {node.op_type}{' in a Scan' if within_scan else ''}"
        for value in node.attribute:
            sparse = [
                part
                for one in (value.sparse_tensor, *value.sparse_tensors)
                for part in (one.values, one.indices)
            ]
            yield from _outside([value.t, *value.tensors, *sparse])
            if not value.HasField("g") and not value.graphs:
                continue
            if node.op_type != "Scan" or value.graphs or within_scan:
                yield f"a graph in the operator {node.op_type}"
            else:
                yield from _unwanted_in(value.g, within_scan=True)


def _outside(tensors: list[onnx.TensorProto]) -> Iterator[str]:
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield "weights that lie in another file"


def _ports(values: Any) -> tuple[Port, ...]:
    return tuple(
        Port(
            value.name,
            value.type.tensor_type.elem_type,
            tuple(
                one.dim_value if one.HasField("dim_value") else None
                for one in value.type.tensor_type.shape.dim
            ),
        )
        for value in values
    )
