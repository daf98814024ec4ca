"""Make training faster on a GPU: windows that lie on it, bf16, CUDA graphs, compiling.

None of it changes what a step is: with all of it off a step is that of a CPU, against which
`tests/test_gpu.py` checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.losses import Targets
from trainers.terminal.say import say

# The gradients of a batch take some hundred launches of about 10 us. A model below this size keeps
# a GPU busy for less than that, so that it waits for them; above it, a graph saves little.
LAUNCH_BOUND_PARAMS = 1_000_000
# Compiling takes about a minute. A teacher's step of 20 ms that becomes a quarter faster has saved
# that after 12,000 steps.
COMPILE_STEPS = 12_000
# Off until tests/test_gpu.py has held a graph's gradients against the CPU's on a real device: a graph that is
# wrong trains in silence.
CUDA_GRAPHS = False
WARM_UP = 3  # calls before one is recorded: the libraries choose their algorithms in the first
# of the memory that a process may take; the rest is for weights and activations. A part that was
# measured with the windows on the device is hardly larger than they are, and must not drive them off
ROOM_FOR_WINDOWS = 0.8
# where a compiler, Triton or an operation is missing; torch._dynamo's own are RuntimeErrors
COMPILE_ERRORS = (RuntimeError, OSError, ImportError)

Sent = tuple[Batch, Targets]


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The means of speeding up a training; on a CPU all are off."""

    bf16: bool = False
    cuda_graph: bool = False  # the gradients of a batch as one CUDA graph
    compiled: bool = False  # asks who builds the parallel model for `compile_model`

    @classmethod
    def choose(
        cls, model: nn.Module, device: torch.device, *, alone: bool = True, steps: int = 0
    ) -> Speed:
        """Choose what pays on this device for a model that has `steps` steps to go.

        `alone` says that no other process shares its batches: a CUDA graph cannot hold their all-reduce.
        """
        if device.type != "cuda":
            return cls()
        is_small = sum(weight.numel() for weight in model.parameters()) < LAUNCH_BOUND_PARAMS
        return cls(
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            cuda_graph=CUDA_GRAPHS and is_small and alone,
            compiled=not is_small and steps >= COMPILE_STEPS,
        )


def find_device() -> torch.device:
    """Return the device that a student's process trains on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_home(size_bytes: int, device: torch.device) -> torch.device:
    """Return where to keep windows of that size: on the device where they fit, else on the CPU."""
    if device.type != "cuda":
        return device
    free, total = torch.cuda.mem_get_info(device)
    # a student that shares the device has its part, however much the others have left so far
    part = torch.cuda.get_per_process_memory_fraction(device) * total
    free = min(free, int(part) - torch.cuda.memory_reserved(device))
    return device if size_bytes <= ROOM_FOR_WINDOWS * free else torch.device("cpu")


def send_ahead(batches: Iterable[Sent], device: torch.device) -> Iterator[Sent]:
    """Yield the same batches on the device; the next is gathered and copied while it works on this one."""
    stream = _stream(device) if device.type == "cuda" else None
    under_way: Sent | None = None
    for batch, targets in batches:
        sent = _send(batch, targets, device, stream)
        if under_way is not None:
            yield _receive(under_way, stream)
        under_way = sent
    if under_way is not None:
        yield _receive(under_way, stream)


class CudaGraphGradients:
    """Computes gradients by a CUDA graph, recorded once and replayed by one launch; all batches must have one shape.

    `gradients` must leave `grad` of all weights as new tensors, as it does after `zero_grad`: a replay
    writes into those of the recording. A model that cannot be recorded goes on without a graph.
    """

    def __init__(self, gradients: Callable[[Batch, Targets, None], dict[str, Tensor]]) -> None:
        self.gradients = gradients
        self.calls = 0
        self.stream = _stream(torch.device("cuda"))
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.terms: dict[str, Tensor] = {}

    def __call__(self, batch: Batch, targets: Targets, part: object = None) -> dict[str, Tensor]:
        """Return the loss terms of a batch, which the next call overwrites; no worker shares it, so `part` is None."""
        self.calls += 1
        if self.calls == WARM_UP + 1:
            self._record(batch, targets)
        if self.graph is None:
            return self._as_it_is(batch, targets)
        for kept, new in zip(self.inputs, list_tensors(batch, targets), strict=True):
            kept.copy_(new)
        self.graph.replay()
        return self.terms

    def _as_it_is(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        if self.calls > WARM_UP:
            return self.gradients(batch, targets, None)
        # on another stream than the default one, as recording asks of what comes before it
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            terms = self.gradients(batch, targets, None)
        torch.cuda.current_stream().wait_stream(self.stream)
        return terms

    def _record(self, batch: Batch, targets: Targets) -> None:
        """Record the graph; nothing is computed yet, so that neither weights nor statistics change."""
        graph = torch.cuda.CUDAGraph()
        kept = rebuild(batch, targets, [tensor.clone() for tensor in list_tensors(batch, targets)])
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.terms = self.gradients(*kept, None)
        except RuntimeError as error:
            say(f"  no CUDA graph for this model ({_reason(error)}); it is trained without one")
            return
        self.inputs, self.graph = list_tensors(*kept), graph


def compile_model(
    model: nn.Module, batch: Batch, bf16: bool, backend: str | Callable[..., object] = "inductor"
) -> nn.Module:
    """Compile the model and try it on a batch; where that fails, say why and return the model itself."""
    device = batch.joints_BTVC.device
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        quick = cast(nn.Module, torch.compile(model, backend=backend))
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        ):
            quick.train()
            quick(batch).logits_BK.float().sum().backward()
    except COMPILE_ERRORS as error:
        say(f"  torch.compile fails here ({_reason(error)}); the model is trained without it")
        return model
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(statistics[name])
        model.zero_grad()
    return quick


def _send(
    batch: Batch, targets: Targets, device: torch.device, stream: torch.cuda.Stream | None
) -> Sent:
    if stream is None:
        return batch, targets
    with torch.cuda.stream(stream):
        # from pinned memory a copy runs beside the host; torch keeps that memory until it has ended
        there = [
            tensor.pin_memory().to(device, non_blocking=True)
            for tensor in list_tensors(batch, targets)
        ]
    return rebuild(batch, targets, there)


def _receive(sent: Sent, stream: torch.cuda.Stream | None) -> Sent:
    if stream is not None:
        current = torch.cuda.current_stream()
        current.wait_stream(stream)
        for tensor in list_tensors(*sent):
            tensor.record_stream(current)
    return sent


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def list_tensors(batch: Batch, targets: Targets) -> list[Tensor]:
    found = (batch.joints_BTVC, batch.seen_BTV, batch.features_BF, *targets)
    return [tensor for tensor in found if tensor is not None]


def rebuild(batch: Batch, targets: Targets, tensors: list[Tensor]) -> Sent:
    """Build batch and targets from the list that `list_tensors` returns; what is None in the given ones stays None."""
    waiting = iter(tensors)
    joints, seen = next(waiting), next(waiting)
    features = None if batch.features_BF is None else next(waiting)
    again = Targets(*(None if kept is None else next(waiting) for kept in targets))  # type: ignore[arg-type]
    return Batch(joints_BTVC=joints, seen_BTV=seen, features_BF=features), again


def _reason(error: BaseException) -> str:
    """Return the first two lines of the message, since torch names the cause in its second."""
    return " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__
