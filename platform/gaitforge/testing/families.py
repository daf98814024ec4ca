"""Rules that every model family must keep, as checks: those of this project and those of extensions alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import safetensors.torch
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.cost import count
from gaitforge.export import export_onnx
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import STREAMS, Output, Sizes, check_kind, sizes_from, with_streams
from gaitforge.models.streams import StreamedSizes
from gaitforge.testing import require

CLASSES = 4
COCO = LAYOUTS["coco17"]
PLATES = Layout(name="plates", joints=("one", "other"), bones=((0, 1),), up="none")


def check(kind: type[Sizes], *sizes: Sizes) -> None:
    """Check a family against every rule, at each of these sizes, or at its defaults where none are given.

    Raises AssertionError for the first rule that is broken. Small sizes take some seconds each; every
    switch of a family should be on in one of them.
    """
    try:
        check_kind(kind)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    make: Callable[[], Sizes] = kind
    for one in sizes or (make(),):
        require(
            isinstance(one, kind), f"{one!r} are no {kind.__name__}; give sizes of that family."
        )
        for holds in CHECKS.values():
            holds(one)


def check_dict(sizes: Sizes) -> None:
    """Check that the sizes survive JSON, because every artefact stores them in it."""
    values = json.loads(json.dumps(sizes.as_dict()))
    kind = type(sizes.inner if isinstance(sizes, StreamedSizes) else sizes)
    made = sizes_from(kind, kind.__name__, values)
    require(made == sizes, f"{sizes!r} come back from their as_dict() as {made!r}.")


def check_shapes(sizes: Sizes) -> None:
    """Check the shapes that losses and tables rely on: logits [B, K], embedding [B, D], last map [B, D, T', V'].

    T' is at most the number of frames, V' the number of joints or 1.
    """
    for layout, channels, batch_size, frames in _kinds_of_windows():
        model = _model(sizes, layout, channels)
        output = model(_batch(batch_size, frames, layout.joint_count, channels))
        of = (
            f"{sizes!r}, for {batch_size} windows of {frames} frames and {layout.joint_count} joints in {channels} "
            "coordinates, give"
        )
        require(
            isinstance(output, Output), f"{of} {type(output).__name__}, but must give an Output."
        )
        logits, embedding, joints = (tuple(part.shape) for part in output)
        require(
            logits == (batch_size, CLASSES),
            f"{of} logits of shape {logits}, but must give {(batch_size, CLASSES)} for {CLASSES} classes.",
        )
        require(
            len(embedding) == 2
            and len(joints) == 4
            and joints[:2] == embedding
            and embedding[0] == batch_size,
            f"{of} an embedding of shape {embedding} and a last map of shape {joints}, but must give [B, D] and "
            "[B, D, T', V'].",
        )
        require(
            joints[2] <= frames and joints[3] in (layout.joint_count, 1),
            f"{of} a last map of {joints[2]} frames and {joints[3]} joints, but must give no more frames than there "
            "were, and all joints or 1.",
        )  # fmt: skip


def check_gradients(sizes: Sizes) -> None:
    """Check that every parameter learns: in the second step its gradient is finite and not 0 everywhere.

    The second step counts, since a weight that is scaled by a factor starting at 0 learns nothing before.
    """
    for layout in (COCO, PLATES):
        model = _model(sizes, layout)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.step()
            optimizer.zero_grad()
            output = _outputs(model, _batch(4, 17, layout.joint_count))
            loss = nn.functional.cross_entropy(output.logits_BK, torch.arange(4) % CLASSES)
            loss.backward()  # type: ignore[no-untyped-call]
        _require_finite_gradients(model, sizes, "")
        for name, parameter in model.named_parameters():
            require(
                parameter.grad is not None and parameter.grad.any(),
                f"The parameter {name} of {sizes!r} learns nothing on the layout '{layout.name}'; use it or drop it.",
            )


def check_missing_joints(sizes: Sizes) -> None:
    """Check that values at unseen joints, NaN too, change no logits and leave all gradients finite."""
    seen = _batch(3, 17, 17).seen_BTV.clone()
    seen[0, :, 5] = False
    seen[1] = False
    missing = ~seen.unsqueeze(-1)
    for training in (True, False):
        model = _model(sizes, COCO).train(training)
        zeros, nans, thousands = (
            _outputs(
                model,
                Batch(
                    joints_BTVC=_batch(3, 17, 17).joints_BTVC.masked_fill(missing, filler),
                    seen_BTV=seen,
                ),
            )
            for filler in (0.0, float("nan"), 1e3)
        )
        when = "in training" if training else "in evaluation"
        for stands, output in (("NaN", nans), ("1000", thousands)):
            _require_close(
                output.logits_BK,
                zeros.logits_BK,
                f"{stands} in the place of unseen joints changes the logits of {sizes!r} {when}; mask them at the "
                "input, as models/inputs.py does",
            )
        if training:
            nans.logits_BK.sum().backward()  # type: ignore[no-untyped-call]
            _require_finite_gradients(model, sizes, " where joints are missing")


def check_first_missing_joint(sizes: Sizes) -> None:
    """Check that the first missing joint, after data in which none was, moves the embedding within reason.

    The norm of the embedding must stay below 3 times what it is without the gap.
    """
    model = _model(sizes, COCO)
    batch = _batch(8, 17, 17)
    for _ in range(50):  # what is averaged over batches has settled by then
        _outputs(model, batch)
    model.eval()
    seen = batch.seen_BTV.clone()
    seen[:, :, 9] = False
    complete = _outputs(model, batch).embedding_BD.norm().item()
    with_a_gap = _outputs(model, Batch(joints_BTVC=batch.joints_BTVC, seen_BTV=seen))
    times = with_a_gap.embedding_BD.norm().item() / complete
    require(
        times < 3,
        f"The first missing joint makes the embedding of {sizes!r} {times:.1f} times as large, but 3 is the most; do "
        "not normalise the flag that says what was seen.",
    )


def check_alone(sizes: Sizes) -> None:
    """Check that in evaluation a window's outputs do not depend on the other windows of its batch."""
    model = _model(sizes, COCO)
    for _ in range(3):
        _outputs(model, _batch(8, 17, 17))
    model.eval()
    batch = _batch(5, 17, 17)
    together = _outputs(model, batch)
    alone = _outputs(
        model, Batch(joints_BTVC=batch.joints_BTVC[2:3], seen_BTV=batch.seen_BTV[2:3])
    )
    for name, whole, single in zip(Output._fields, together, alone, strict=True):
        _require_close(
            whole[2:3], single, f"{name} of {sizes!r} depends on the other windows of a batch", 1e-4, 1e-5
        )  # fmt: skip


def check_meta(sizes: Sizes) -> None:
    """Check that a model can be built on the meta device, without memory, and is counted there as it is.

    A search sizes students in this way before any is trained.
    """
    with torch.device("meta"):
        model = sizes.build(COCO, 3, CLASSES)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        require(
            tensor.is_meta,
            f"{name} of {sizes!r} lies in memory although the model was built on the meta device; make it by torch "
            "without naming a device.",
        )
    cost = count(sizes, COCO, channels=3, classes=CLASSES, frames=32)
    params = sum(parameter.numel() for parameter in _model(sizes, COCO).parameters())
    require(
        cost.params == params and cost.macs > 0,
        f"{sizes!r} are counted as {cost.params} parameters and {cost.macs} MACs on the meta device, but the model "
        f"has {params} parameters.",
    )


def check_weights(sizes: Sizes) -> None:
    """Check that the weights survive a safetensors file, and that models with the same weights answer alike."""
    first, second = (_model(sizes, COCO, seed=seed) for seed in (1, 2))
    _outputs(first, _batch(4, 17, 17))
    state = safetensors.torch.load(safetensors.torch.save(first.state_dict()))
    second.load_state_dict(state)
    one, other = (_outputs(model.eval(), _batch(2, 17, 17)) for model in (first, second))
    require(
        torch.equal(one.logits_BK, other.logits_BK),
        f"Two models of {sizes!r} with the same weights answer differently; keep all that decides in parameters and "
        "buffers.",
    )


def check_bfloat16(sizes: Sizes) -> None:
    """Check that training under bfloat16 autocast, as on GPUs, gives finite logits and gradients."""
    model = _model(sizes, COCO)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = _outputs(model, _batch(4, 17, 17)).logits_BK
    require(logits.isfinite().all(), f"{sizes!r} give logits under bfloat16 that are not finite.")
    logits.float().sum().backward()  # type: ignore[no-untyped-call]
    _require_finite_gradients(model, sizes, " under bfloat16")


def check_seed(sizes: Sizes) -> None:
    """Check that the same seed builds the same model."""
    first, second = (_model(sizes, PLATES, seed=3).state_dict() for _ in range(2))
    for name, value in first.items():
        require(
            torch.equal(value, second[name]),
            f"{name} of {sizes!r} is another for the same seed; draw it from torch's own generator.",
        )


def check_export(sizes: Sizes) -> None:
    """Check that the network exported to ONNX answers as the model does."""
    model = _model(sizes, COCO)
    _outputs(model, _batch(4, 17, 17))
    batch = _batch(7, 16, 17)
    with TemporaryDirectory() as folder:
        path = Path(folder, "student.onnx")
        try:
            export_onnx(model.eval(), batch.joints_BTVC.numpy(), batch.seen_BTV.numpy(), path)
        except (ArithmeticError, RuntimeError) as error:
            raise AssertionError(f"{sizes!r} cannot be exported: {error}") from error


def check_streams(sizes: Sizes) -> None:
    """Check that a model which sees every stream holds all of these rules as well.

    Its `channels` are then more than the coordinates of a joint.
    """
    for holds in CHECKS.values():
        if holds is not check_streams:
            holds(with_streams(sizes, list(STREAMS)))


CHECKS: Mapping[str, Callable[[Sizes], None]] = MappingProxyType(
    {
        "dict": check_dict,
        "shapes": check_shapes,
        "gradients": check_gradients,
        "missing joints": check_missing_joints,
        "first missing joint": check_first_missing_joint,
        "alone": check_alone,
        "meta": check_meta,
        "weights": check_weights,
        "bfloat16": check_bfloat16,
        "seed": check_seed,
        "export": check_export,
        "streams": check_streams,
    }
)


def _kinds_of_windows() -> Iterator[tuple[Layout, int, int, int]]:
    """Yield the kinds of batches to try: layout, number of coordinates, of windows and of frames."""
    for layout in (COCO, PLATES):
        for channels in (2, 3):
            for batch_size in (1, 5):
                for frames in (17, 48):
                    yield layout, channels, batch_size, frames


def _model(sizes: Sizes, layout: Layout, channels: int = 3, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return sizes.build(layout, channels, CLASSES)


def _outputs(model: nn.Module, batch: Batch) -> Output:
    """Run the model on a batch; its dropout is the same in every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output: Output = model(batch)
    return output


def _batch(size: int, frames: int, joints: int, channels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(size + frames)
    return Batch(
        joints_BTVC=torch.randn(size, frames, joints, channels, generator=generator),
        seen_BTV=torch.ones(size, frames, joints, dtype=torch.bool),
    )


def _require_finite_gradients(model: nn.Module, sizes: Sizes, where: str) -> None:
    for name, parameter in model.named_parameters():
        require(
            parameter.grad is not None and parameter.grad.isfinite().all(),
            f"The parameter {name} of {sizes!r} has no finite gradient{where}.",
        )


def _require_close(
    found: Tensor,
    wanted: Tensor,
    sentence: str,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    torch.testing.assert_close(
        found, wanted, rtol=rtol, atol=atol, msg=lambda told: f"{sentence}. {told}"
    )
