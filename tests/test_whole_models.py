"""The graph families against their equations, written anew from nothing but the parameters: whole networks, float64.

Channels come first here, [B, D, T, V], every sum is an einsum and every scan a loop, so that nothing but the
equations is shared with the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import make_sizes
from gaitforge.models.ctrgcn import CtrgcnSizes
from gaitforge.models.dynstg_mamba import DynstgMambaSizes

S = TypeVar("S")
COCO = LAYOUTS["coco17"]
ONE = Layout(name="one", joints=("a",), bones=(), up="none")
# a joint that hangs on nothing
APART = Layout(name="apart", joints=("a", "b", "c"), bones=((0, 1),), up="none")
WINDOWS = pytest.mark.parametrize(
    ("layout", "frames"), [(COCO, 13), (ONE, 1), (APART, 2)], ids=["coco17", "one", "apart"]
)


class Values:
    """A model's parameters and statistics by name, those of a part by its prefix."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.state

    def of(self, part: str) -> Values:
        return Values(self.state, f"{self.prefix}{part}.")


def along_channels(value_D: Tensor) -> Tensor:
    return value_D[None, :, None, None]


def norm(x: Tensor, of: Values) -> Tensor:
    spread = torch.sqrt(along_channels(of["running_var"]) + 1e-5)
    centred = (x - along_channels(of["running_mean"])) / spread
    return centred * along_channels(of["weight"]) + along_channels(of["bias"])


def linear(x: Tensor, of: Values) -> Tensor:
    made = torch.einsum("oc,bctv->botv", of["weight"].flatten(1), x)
    return made + along_channels(of["bias"]) if "bias" in of else made


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def entered(batch: Batch, of: Values) -> Tensor:
    """What was seen, normalised for each joint and channel, and the flag that says so."""
    joints, seen = batch.joints_BTVC, batch.seen_BTV[..., None]
    flat_BTF = torch.where(seen, joints, torch.zeros_like(joints)).flatten(2)
    spread_F = torch.sqrt(of["norm.running_var"] + 1e-5)
    normed_BTF = (flat_BTF - of["norm.running_mean"]) / spread_F * of["norm.weight"]
    whole = (normed_BTF + of["norm.bias"]).view_as(joints) * seen
    return torch.cat([whole, seen.double()], -1).permute(0, 3, 1, 2)


def parts(frames: int, count: int) -> list[slice]:
    """Equal parts of the frames, the first ones a frame longer."""
    size, longer = divmod(frames, count)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + size + (number < longer))
    return [slice(*pair) for pair in pairwise(ends)]


def means_of(x: Tensor, stride: int) -> Tensor:
    frames = range(0, x.shape[2], stride)
    return torch.stack([x[:, :, start : start + stride].mean(2) for start in frames], 2)


def hops(layout: Layout) -> Tensor:
    """Row-normalised: the joints 0, 1 and 2 bones away; a distance that no joints have is left out."""
    count = layout.joint_count
    near = torch.eye(count, dtype=torch.bool)
    for one, other in layout.bones:
        near[one, other] = near[other, one] = True
    reach = [torch.eye(count, dtype=torch.bool), near, (near.long() @ near.long()) > 0]
    rings = [reach[0], reach[1] & ~reach[0], reach[2] & ~reach[1]]
    rows = [ring / ring.sum(1, keepdim=True).clamp(min=1) for ring in rings if ring.any()]
    return torch.stack(rows).double()


def dynstg_mamba(batch: Batch, of: Values, sizes: DynstgMambaSizes, layout: Layout) -> Tensor:
    x = entered(batch, of.of("joint_input"))
    for number, stride in enumerate(sizes.strides):
        block = of.of(f"blocks.{number}")
        mixing = filters(x, block.of("spatial.filter"), sizes, hops(layout))
        x = filtered(x, block.of("spatial"), mixing, sizes.kalman)
        x = convolved(x, block.of("temporal"), stride)
        x = x + scanned(x, block.of("state_space"), mixing, sizes)
    return linear(x.mean((2, 3))[..., None, None], of.of("head.classify")).flatten(1)


def filters(x: Tensor, of: Values, sizes: DynstgMambaSizes, hops_kVV: Tensor) -> list[Tensor]:
    """(1 - gamma) A + gamma tanh(linear(B)) + rho D of every phase, [B, k, V, V]."""
    plain = hops_kVV[None].expand(len(x), -1, -1, -1)
    if sizes.filter == "none":
        return [plain]
    learned = torch.stack(
        [
            torch.tanh(base @ turn.T + shift)
            for base, turn, shift in zip(
                of["base_kVV"], of["turn_kVV"], of["shift_k1V"], strict=True
            )
        ]
    )
    gamma = of["gamma_k"][None, :, None, None]
    static = (1 - gamma) * plain + gamma * learned
    if sizes.filter == "static":
        return [static]
    found = []
    for frames in parts(x.shape[2], min(sizes.phases, x.shape[2])):
        query, key = linear(x[:, :, frames], of.of("relate")).mean(2).chunk(2, dim=1)
        moving = torch.softmax(torch.einsum("bcw,bcv->bwv", query, key) / 4, -1)
        found.append(static + of["rho_k"][None, :, None, None] * moving[:, None])
    return found


def filtered(x: Tensor, of: Values, mixing: list[Tensor], kalman: bool) -> Tensor:
    mixed = []
    for frames, every in zip(parts(x.shape[2], len(mixing)), mixing, strict=True):
        neighbours = torch.einsum("bkwv,bctv->kbctw", every, x[:, :, frames])
        told = [
            linear(hop, of.of(f"mix_channels.{number}")) for number, hop in enumerate(neighbours)
        ]
        mixed.append(torch.stack(told).sum(0))
    graph = norm(torch.cat(mixed, 2), of.of("norm"))
    raw = linear(x, of.of("carry")) if "carry.weight" in of else x
    if not kalman:
        return (graph + raw).relu()
    trust = math.log(1 + math.exp(of["trust"].item()))
    fused = []
    for one, other in zip(graph, raw, strict=True):
        s_graph, s_raw = (((z - z.mean()) ** 2).mean() + 1e-5 for z in (one, other))
        fused.append((one * s_raw * trust + other * s_graph) / (s_raw * trust + s_graph))
    return torch.stack(fused).relu()


def depthwise(x: Tensor, weight: Tensor, stride: int, before: int) -> Tensor:
    """A frame sees `before` frames before it, and as many of the kernel as are left at and after it."""
    kernel_DK = weight.flatten(1)
    size = kernel_DK.shape[1]
    padded = nn.functional.pad(x, (0, 0, before, size - 1 - before))
    frames = [
        sum(padded[:, :, start + k] * kernel_DK[None, :, k, None] for k in range(size))
        for start in range(0, x.shape[2], stride)
    ]
    return torch.stack([torch.as_tensor(frame) for frame in frames], 2)


def convolved(x: Tensor, of: Values, stride: int) -> Tensor:
    both = depthwise(x, of["short.weight"], stride, 1) + depthwise(x, of["long.weight"], stride, 3)
    return means_of(x, stride) + norm(linear(both, of.of("mix_channels")), of.of("norm"))


def scanned(x: Tensor, of: Values, mixing: list[Tensor], sizes: DynstgMambaSizes) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    deviation = torch.sqrt(x.var(1, keepdim=True, correction=0) + 1e-5)
    normed = centred / deviation * along_channels(of["norm.weight"])
    u, z = linear(normed + along_channels(of["norm.bias"]), of.of("enter")).chunk(2, 1)
    u = silu(depthwise(u, of["look_back.weight"], 1, 3) + along_channels(of["look_back.bias"]))
    rank = math.ceil(x.shape[1] / 16)
    low, b, c = torch.split(linear(u, of.of("select")), [rank, sizes.states, sizes.states], 1)
    delta = torch.log1p(torch.exp(linear(low, of.of("delta"))))
    shared = []
    for frames, every in zip(parts(x.shape[2], len(mixing)), mixing, strict=True):
        rows = torch.softmax(5 * every.sum(1), -1)  # from every joint w to joint v
        shared.append(torch.einsum("bvw,bctw->bctv", rows, delta[:, :, frames]))
    delta = torch.cat(shared, 2)
    y = recurrence(of, u, delta, b, c)
    if sizes.bidirectional:
        y = (y + recurrence(of, *(value.flip(2) for value in (u, delta, b, c))).flip(2)) / 2
    return linear(y * silu(z), of.of("leave"))


def recurrence(of: Values, u: Tensor, delta: Tensor, b: Tensor, c: Tensor) -> Tensor:
    decay_ES1 = -torch.exp(of["a_log_ES"])[..., None]
    h, y = torch.zeros(()), []
    for t in range(u.shape[2]):
        step = delta[:, :, None, t]  # [B, E, 1, V]
        h = torch.exp(step * decay_ES1) * h + step * b[:, None, :, t] * u[:, :, None, t]
        y.append((h * c[:, None, :, t]).sum(2) + of["skip_E"][None, :, None] * u[:, :, t])
    return torch.stack(y, 2)


def ctrgcn(batch: Batch, of: Values, sizes: CtrgcnSizes, layout: Layout) -> Tensor:
    x = entered(batch, of.of("joint_input"))
    for number, stride in enumerate(sizes.strides):
        block = of.of(f"blocks.{number}")
        y = branches(graphed(x, block.of("graph")), block.of("temporal"), sizes.dilations, stride)
        x = (y + shortcut(x, block.of("shortcut"), stride) if number else y).relu()
    return linear(x.mean((2, 3))[..., None, None], of.of("head.classify")).flatten(1)


def shortcut(x: Tensor, of: Values, stride: int) -> Tensor:
    return norm(linear(x[:, :, ::stride], of.of("0")), of.of("1")) if "0.weight" in of else x


def graphed(x: Tensor, of: Values) -> Tensor:
    """As published: psi and phi of every frame, then their means."""
    mixed = torch.zeros(())
    for part in range(3):
        refined = of.of(f"refined.{part}")
        target, source = (linear(x, refined.of(name)).mean(2) for name in ("phi", "psi"))
        apart = torch.tanh(source[:, :, None, :] - target[:, :, :, None])
        # graph_kvw holds the weight from v to w; here rows are targets
        rows = of["graph_kvw"][part].T + of["alpha"] * linear(apart, refined.of("xi"))
        told = linear(x, refined.of("mix_channels"))
        mixed = mixed + torch.einsum("bcwv,bctv->bctw", rows, told)
    return (norm(mixed, of.of("norm")) + shortcut(x, of.of("shortcut"), 1)).relu()


def branches(x: Tensor, of: Values, dilations: tuple[int, ...], stride: int) -> Tensor:
    made = []
    starts = range(0, x.shape[2], stride)
    for number, dilation in enumerate(dilations):
        branch = of.of(f"branches.{number}")
        reduced = norm(linear(x, branch.of("0")), branch.of("1")).relu()
        kernel = branch["3.weight"][..., 0]
        size = kernel.shape[2]
        margin = size // 2 * dilation
        padded = nn.functional.pad(reduced, (0, 0, margin, margin))
        frames = [
            torch.stack(
                [
                    torch.einsum(
                        "oc,bcv->bov", kernel[:, :, k], padded[:, :, start + k * dilation]
                    )
                    for k in range(size)
                ]
            ).sum(0)
            for start in starts
        ]
        made.append(norm(torch.stack(frames, 2), branch.of("4")))
    largest = of.of(f"branches.{len(dilations)}")
    reduced = norm(linear(x, largest.of("0")), largest.of("1")).relu()
    frames = [reduced[:, :, max(0, start - 1) : start + 2].amax(2) for start in starts]
    made.append(norm(torch.stack(frames, 2), largest.of("4")))
    plain = of.of(f"branches.{len(dilations) + 1}")
    made.append(norm(linear(x[:, :, ::stride], plain.of("0")), plain.of("1")))
    return torch.cat(made, 1)


def disturbed(model: nn.Module) -> nn.Module:
    """Off its start everywhere, so that no factor is 0 and no two are equal."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(generator=generator)
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
    return model.double().eval()


def differ(
    family: str,
    values: dict[str, object],
    layout: Layout,
    frames: int,
    oracle: Callable[[Batch, Values, S, Layout], Tensor],
    kind: type[S],
) -> float:
    """The largest difference of the logits of three windows with missing joints."""
    sizes = make_sizes(family, values)
    assert isinstance(sizes, kind)
    model = disturbed(sizes.build(layout, 3, 4))
    if hasattr(model, "hops_kVV"):
        model.hops_kVV = hops(layout)  # its own are float32
    generator = torch.Generator().manual_seed(1)
    shape = (3, frames, layout.joint_count)
    batch = Batch(
        joints_BTVC=torch.randn(*shape, 3, dtype=torch.float64, generator=generator),
        seen_BTV=torch.rand(shape, generator=generator) > 0.2,
    )
    with torch.no_grad():
        found = model(batch).logits_BK
        wanted = oracle(batch, Values(model.state_dict()), sizes, layout)
    return float((found - wanted).abs().max())


@WINDOWS
@pytest.mark.parametrize(
    "more",
    [
        {"filter": "none"},
        {"filter": "static", "bidirectional": True},
        {"filter": "dynamic", "kalman": True},
        {"filter": "dynamic", "phases": 4},
        {"filter": "dynamic", "phases": 4, "bidirectional": True, "kalman": True},
    ],
    ids=lambda more: " ".join(map(str, more.values())),
)
def test_dynstg_mamba_is_its_equations(
    layout: Layout, frames: int, more: dict[str, object]
) -> None:
    values = {"widths": [6, 20, 20], "strides": [2, 3, 1], "states": 3, "expand": 2, **more}
    assert differ("dynstg_mamba", values, layout, frames, dynstg_mamba, DynstgMambaSizes) < 1e-10


@WINDOWS
@pytest.mark.parametrize(
    "values",
    [
        {"widths": [8, 8, 16, 16], "strides": [1, 1, 2, 3]},
        {"widths": [12, 24], "strides": [2, 1], "kernel": 3, "dilations": [1, 2, 3, 4]},
    ],
    ids=["four blocks", "four dilations"],
)
def test_ctrgcn_is_its_equations(layout: Layout, frames: int, values: dict[str, object]) -> None:
    assert differ("ctrgcn", values, layout, frames, ctrgcn, CtrgcnSizes) < 1e-10


def test_dynstg_mamba_starts_near_the_bones_and_with_mambas_rates() -> None:
    sizes = make_sizes(
        "dynstg_mamba", {"widths": [4], "strides": [1], "states": 3, "kalman": True}
    )
    start = sizes.build(COCO, 3, 2).state_dict()
    block = "blocks.0."
    torch.testing.assert_close(start[f"{block}spatial.filter.gamma_k"], torch.full((3,), 0.1))
    assert not start[f"{block}spatial.filter.rho_k"].any()
    trust = nn.functional.softplus(start[f"{block}spatial.trust"])
    torch.testing.assert_close(trust, torch.tensor(1.0))
    rates = start[f"{block}state_space.a_log_ES"].exp()
    torch.testing.assert_close(rates, torch.tensor([1.0, 2.0, 3.0]).expand(8, 3))


def test_ctrgcn_starts_unrefined_with_its_graph_convolutions_as_their_shortcuts() -> None:
    start = (
        make_sizes("ctrgcn", {"widths": [8, 8], "strides": [1, 1]}).build(COCO, 3, 2).state_dict()
    )
    for number in range(2):
        assert start[f"blocks.{number}.graph.alpha"] == 0
        torch.testing.assert_close(
            start[f"blocks.{number}.graph.norm.weight"], torch.full((8,), 1e-6)
        )
