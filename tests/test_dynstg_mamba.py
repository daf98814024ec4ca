"""DynSTG-Mamba: its graph, its filter against the plain graph convolution, its scan against plain Mamba."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import make_sizes
from gaitforge.models.dynamic_filter import (
    DynamicFilter,
    DynamicFilterConvolution,
    fuse,
    mix_joints,
)
from gaitforge.models.dynstg_mamba import DynstgMamba, TemporalConvolution
from gaitforge.models.graph import hop_adjacency
from gaitforge.models.gssm import STEPS, GraphSelectiveStateSpace, normalise_rows
from gaitforge.weights import write_weights
from gaitforge.work import write_json
from trainers.training.kept_weights import load_kept

# a chain a - b - c, and d, which hangs on nothing
CHAIN = Layout(name="chain", joints=("a", "b", "c", "d"), bones=((0, 1), (1, 2)), up="none")
PLATES = Layout(name="plates", joints=("one", "other"), bones=((0, 1),), up="none")
COCO = LAYOUTS["coco17"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disturbed(module: nn.Module) -> nn.Module:
    """With every parameter off its start, so that nothing is 0 or equal by chance."""
    generator = seeded()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def layer(kind: str = "dynamic", *, phases: int = 1, kalman: bool = False) -> nn.Module:
    return disturbed(
        DynamicFilterConvolution(
            hops=3, joints=17, width_in=5, width=6, kind=kind, phases=phases, kalman=kalman
        )
    )


# the graph


def test_hops_hold_the_joints_that_are_exactly_so_many_bones_away() -> None:
    itself, one, two = hop_adjacency(CHAIN, 2)

    torch.testing.assert_close(itself, torch.eye(4))
    # rows are targets; b averages a and c, and d has nobody
    expected_one = torch.zeros(4, 4)
    expected_one[0, 1] = expected_one[2, 1] = 1
    expected_one[1, 0] = expected_one[1, 2] = 0.5
    torch.testing.assert_close(one, expected_one)
    expected_two = torch.zeros(4, 4)
    expected_two[0, 2] = expected_two[2, 0] = 1
    torch.testing.assert_close(two, expected_two)


def test_a_distance_that_no_joints_have_is_left_out() -> None:
    assert hop_adjacency(PLATES, 2).shape == (2, 2, 2)
    alone = Layout(name="alone", joints=("one",), bones=(), up="none")
    assert hop_adjacency(alone, 2).tolist() == [[[1.0]]]


# the filter


def test_without_its_learned_parts_the_filter_is_a_plain_hop_partition_graph_convolution() -> None:
    convolution = layer()
    assert isinstance(convolution, DynamicFilterConvolution)
    nn.init.zeros_(convolution.filter.gamma_k)
    nn.init.zeros_(convolution.filter.rho_k)
    hops, x_BVTD = hop_adjacency(COCO, 2), torch.randn(2, 17, 7, 5, generator=seeded())
    made, _ = convolution(x_BVTD, hops)

    weights_kod = torch.stack([mix.weight for mix in convolution.mix_channels])  # type: ignore[misc]
    plain = torch.einsum("kod,kwv,bvtd->bwto", weights_kod, hops, x_BVTD)
    plain = convolution.norm(plain) + convolution.carry(x_BVTD)
    torch.testing.assert_close(made, torch.relu(plain))


@pytest.mark.parametrize("phases", [1, 4])
@pytest.mark.parametrize("kalman", [False, True])
def test_joints_in_another_order_give_the_same_in_that_order(phases: int, kalman: bool) -> None:
    first, second = layer(phases=phases, kalman=kalman), layer(phases=phases, kalman=kalman)
    order = torch.randperm(17, generator=seeded())
    assert isinstance(second, DynamicFilterConvolution)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        filter_ = second.filter
        filter_.base_kVV.copy_(filter_.base_kVV[:, order][:, :, order])
        filter_.turn_kVV.copy_(filter_.turn_kVV[:, order][:, :, order])
        filter_.shift_k1V.copy_(filter_.shift_k1V[:, :, order])
    hops, x_BVTD = hop_adjacency(COCO, 2), torch.randn(2, 17, 9, 5, generator=seeded())
    made, mixing = first(x_BVTD, hops)
    moved, moved_mixing = second(x_BVTD[:, order], hops[:, order][:, :, order])

    torch.testing.assert_close(moved, made[:, order])
    torch.testing.assert_close(moved_mixing, mixing[..., order, :][..., order])


def test_every_phase_has_the_filter_of_its_own_frames() -> None:
    four, one = (
        disturbed(DynamicFilter(hops=3, joints=17, width=5, kind="dynamic", phases=phases))
        for phases in (4, 1)
    )
    hops, x_BVTD = hop_adjacency(COCO, 2), torch.randn(2, 17, 14, 5, generator=seeded())
    one.load_state_dict(four.state_dict())
    mixing = four(x_BVTD, hops)

    # 14 frames in four parts: 4, 4, 3, 3
    for phase, frames in enumerate([(0, 4), (4, 8), (8, 11), (11, 14)]):
        own = one(x_BVTD[:, :, slice(*frames)], hops)
        torch.testing.assert_close(mixing[:, phase : phase + 1], own)
        mixed = mix_joints(mixing[:, :, 0], x_BVTD)[:, :, slice(*frames)]
        torch.testing.assert_close(
            mixed, torch.einsum("bwv,bvtd->bwtd", own[:, 0, 0], x_BVTD[:, :, slice(*frames)])
        )


def test_a_static_filter_does_not_look_at_the_movement() -> None:
    hops = hop_adjacency(COCO, 2)
    for kind, same in (("none", True), ("static", True), ("dynamic", False)):
        convolution = layer(kind)
        mixings = [
            convolution(torch.randn(1, 17, 7, 5, generator=seeded(seed)), hops)[1]
            for seed in (0, 1)
        ]
        assert torch.equal(*mixings) == same


def test_fusion_is_the_inverse_variance_mean_of_each_window() -> None:
    generator = seeded()
    graph = 2 * torch.randn(3, 4, 50, 5, generator=generator)
    raw = torch.randn(3, 4, 50, 5, generator=generator)
    raw[1] *= 10
    even = torch.tensor(math.log(math.e - 1))  # softplus of it is 1
    made = fuse(graph, raw, even)

    for window in range(3):
        precise_graph = 1 / graph[window].var(correction=0)
        precise_raw = 1 / raw[window].var(correction=0)
        mean = graph[window] * precise_graph + raw[window] * precise_raw
        expected = mean / (precise_graph + precise_raw)
        torch.testing.assert_close(made[window], expected, rtol=1e-4, atol=1e-4)
    for trust in (-3.0, 3.0):
        # whatever the trust, the weights sum to 1: equal maps give themselves
        torch.testing.assert_close(fuse(graph, graph, torch.tensor(trust)), graph)


def test_fusion_of_windows_without_a_seen_joint_is_finite() -> None:
    assert (
        fuse(torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), torch.tensor(0.5)).isfinite().all()
    )


# the scan


def plain_mamba(block: GraphSelectiveStateSpace, x_TD: Tensor) -> Tensor:
    """An ordinary Mamba block on one joint, written from its equations frame by frame."""
    inner = len(block.skip_E)
    normed = nn.functional.layer_norm(
        x_TD, x_TD.shape[1:], block.norm.weight, block.norm.bias, block.norm.eps
    )
    u, z = (normed @ block.enter.weight.T).chunk(2, dim=1)
    kernel_E4 = block.look_back.weight.reshape(inner, 4)
    before = torch.cat([torch.zeros(3, inner), u])
    u = torch.stack([(before[t : t + 4].T * kernel_E4).sum(1) for t in range(len(u))])
    assert block.look_back.bias is not None
    u = nn.functional.silu(u + block.look_back.bias)
    low, b, c = torch.split(u @ block.select.weight.T, block.widths, dim=1)
    delta = nn.functional.softplus(low @ block.delta.weight.T + block.delta.bias)
    a_ES = -block.a_log_ES.exp()
    h_ES = torch.zeros_like(a_ES)
    y = []
    for t in range(len(u)):
        h_ES = (
            torch.exp(delta[t, :, None] * a_ES) * h_ES + (delta[t] * u[t])[:, None] * b[t][None, :]
        )
        y.append((h_ES * c[t]).sum(1) + block.skip_E * u[t])
    return x_TD + (torch.stack(y) * nn.functional.silu(z)) @ block.leave.weight.T


def state_space(*, bidirectional: bool = False) -> GraphSelectiveStateSpace:
    block = disturbed(
        GraphSelectiveStateSpace(width=6, states=4, expand=2, bidirectional=bidirectional)
    )
    assert isinstance(block, GraphSelectiveStateSpace)
    return block


@pytest.mark.slow
def test_without_mixing_it_is_an_ordinary_mamba_per_joint() -> None:
    block, x_BVTD = state_space(), torch.randn(2, 3, 11, 6, generator=seeded())
    apart = 1e4 * torch.eye(3)[None, None, None]  # so sharp that its softmax is the identity
    made = block(x_BVTD, apart)

    for window in range(2):
        for joint in range(3):
            torch.testing.assert_close(
                made[window, joint], plain_mamba(block, x_BVTD[window, joint])
            )


def test_mixing_shares_the_steps_among_the_joints() -> None:
    block, x_BVTD = state_space(), torch.randn(1, 3, 11, 6, generator=seeded())
    apart, together = 1e4 * torch.eye(3)[None, None, None], torch.zeros(1, 1, 1, 3, 3)
    other = x_BVTD.clone()
    other[:, 2] = torch.randn(11, 6, generator=seeded(1))

    assert torch.equal(block(x_BVTD, apart)[:, 0], block(other, apart)[:, 0])
    assert not torch.allclose(block(x_BVTD, together)[:, 0], block(other, together)[:, 0])


def test_mixed_steps_are_never_negative_nor_larger_than_the_largest() -> None:
    generator = seeded()
    mixing = normalise_rows(5 * torch.randn(2, 4, 3, 17, 17, generator=generator))
    delta = torch.rand(2, 17, 8, 5, generator=generator)
    mixed = mix_joints(mixing, delta)

    torch.testing.assert_close(mixing.sum(-1), torch.ones(2, 4, 17))
    assert (mixed >= 0).all()
    assert mixed.amax() <= delta.amax()


def test_a_joint_counts_the_steps_of_nearer_joints_more() -> None:
    layout = Layout(
        name="five", joints=tuple("abcde"), bones=((0, 1), (1, 2), (2, 3), (3, 4)), up="none"
    )
    share_VV = normalise_rows(hop_adjacency(layout, 2)[None, None])[0, 0]

    # c has itself, and a half each of b and d, a bone away, and of a and e, two bones away
    itself, half = math.exp(5), math.exp(2.5)
    expected = torch.tensor([half, half, itself, half, half]) / (itself + 4 * half)
    torch.testing.assert_close(share_VV[2], expected)
    # a has one joint a bone away and one two; d and e are farther
    expected = torch.tensor([itself, itself, itself, 1, 1]) / (3 * itself + 2)
    torch.testing.assert_close(share_VV[0], expected)


def test_at_first_most_of_a_joints_step_is_its_own_and_hardly_any_from_afar() -> None:
    hops = hop_adjacency(COCO, 2)
    far_VV = hops.sum(0) == 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        filters = [
            DynamicFilter(hops=3, joints=17, width=5, kind="dynamic", phases=1) for _ in range(20)
        ]
    mixing_BkVV = torch.cat([filter_(torch.zeros(1, 17, 2, 5), hops) for filter_ in filters])
    share_VV = normalise_rows(mixing_BkVV).mean((0, 1)).detach()

    assert share_VV.diagonal().mean().item() == pytest.approx(0.56, abs=0.01)
    assert (share_VV * far_VV).sum(1).mean().item() == pytest.approx(0.06, abs=0.01)


def test_steps_start_in_their_range_from_end_to_end() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = GraphSelectiveStateSpace(width=512, states=2, expand=2, bidirectional=False)
    first_E = nn.functional.softplus(block.delta.bias.detach().double())
    low, high = STEPS

    assert low * (1 - 1e-3) <= first_E.min() < low * 1.02
    assert high / 1.02 < first_E.max() <= high * (1 + 1e-3)
    # even on the scale of logarithms
    middle = math.sqrt(low * high)
    assert (first_E < middle).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_weights_stored_when_the_hops_were_averaged_are_refused(tmp_path: Path) -> None:
    sizes = make_sizes("dynstg_mamba", {"widths": [4], "strides": [2], "states": 4})
    model = sizes.build(COCO, 3, 2)
    state = model.state_dict()
    head = tmp_path / "model.json"
    for older in (False, True):
        kept = {
            name.replace(".delta.", ".pace.") if older else name: value
            for name, value in state.items()
        }
        write_json(head, write_weights(head, save(kept)))
        if older:
            with pytest.raises(
                ValueError, match=r"of another model than model\.json tells of; train anew"
            ):
                load_kept(model, head, "train anew")
        else:
            assert load_kept(model, head, "train anew").keys() == state.keys()


def test_one_direction_never_looks_ahead_and_two_do() -> None:
    mixing = torch.randn(1, 1, 3, 4, 4, generator=seeded())
    x_BVTD = torch.randn(2, 4, 12, 6, generator=seeded())
    later = x_BVTD.clone()
    later[:, :, 7] = torch.randn(6, generator=seeded(1))
    one, both = state_space(), state_space(bidirectional=True)
    before, changed = (one(x, mixing) for x in (x_BVTD, later))

    assert torch.equal(before[:, :, :7], changed[:, :, :7])
    assert (before[:, :, 7:] - changed[:, :, 7:]).abs().amax(dim=(0, 1, 3)).min() > 0
    seen = (both(x_BVTD, mixing) - both(later, mixing)).abs().amax(dim=(0, 1, 3))
    assert seen.min() > 0


def test_long_recordings_stay_finite() -> None:
    block = state_space()
    with torch.no_grad():
        block.delta.bias.add_(5)  # steps of about 5, five times the largest at the start
        made = block(
            10 * torch.randn(1, 2, 2000, 6, generator=seeded()), torch.zeros(1, 1, 1, 2, 2)
        )

    assert made.isfinite().all()


# the whole


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_temporal_convolution_is_its_formula(stride: int) -> None:
    block = disturbed(TemporalConvolution(width=6, stride=stride))
    assert isinstance(block, TemporalConvolution)
    x_BVTD = torch.randn(2, 3, 11, 6, generator=seeded())
    x_BDVT = x_BVTD.permute(0, 3, 1, 2)
    short, long = (
        nn.functional.conv2d(
            x_BDVT, conv.weight, stride=(1, stride), padding=(0, size // 2), groups=6
        )
        for conv, size in ((block.short, 3), (block.long, 7))
    )
    mixed = block.norm((short + long).permute(0, 2, 3, 1) @ block.mix_channels.weight.T)
    pooled = torch.stack([part.mean(2) for part in torch.split(x_BVTD, stride, dim=2)], dim=2)

    torch.testing.assert_close(block(x_BVTD), pooled + mixed)


@pytest.mark.parametrize("layout", [COCO, PLATES], ids=lambda layout: layout.name)
def test_a_window_alone_is_answered_as_among_others(layout: Layout) -> None:
    sizes = make_sizes(
        "dynstg_mamba",
        {"widths": [8, 16], "strides": [1, 2], "phases": 4, "bidirectional": True, "kalman": True},
    )
    model = disturbed(sizes.build(layout, 3, 4))
    assert isinstance(model, DynstgMamba)
    joints = torch.randn(6, 24, layout.joint_count, 3, generator=seeded())
    joints[3:] *= 10
    seen = torch.rand(6, 24, layout.joint_count, generator=seeded(1)) > 0.2
    together = model(Batch(joints_BTVC=joints, seen_BTV=seen)).logits_BK
    for window in range(6):
        own = slice(window, window + 1)
        alone = model(Batch(joints_BTVC=joints[own], seen_BTV=seen[own])).logits_BK
        scale = together[own].abs().max().clamp_min(1)
        assert ((alone - together[own]) / scale).abs().max() <= 1e-6


def test_strides_shorten_the_map_rounded_up() -> None:
    sizes = make_sizes("dynstg_mamba", {"widths": [4, 8, 8], "strides": [1, 2, 2], "states": 4})
    batch = Batch(
        joints_BTVC=torch.randn(2, 17, 17, 3), seen_BTV=torch.ones(2, 17, 17, dtype=torch.bool)
    )

    assert sizes.build(COCO, 3, 2)(batch).joints_BDTV.shape == (2, 8, 5, 17)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_window_shorter_than_the_phases_is_answered(frames: int) -> None:
    values = {"widths": [4, 4], "strides": [2, 2], "states": 4, "phases": 4}
    model = disturbed(make_sizes("dynstg_mamba", values).build(COCO, 3, 4))
    batch = Batch(
        joints_BTVC=torch.randn(2, frames, 17, 3, generator=seeded()),
        seen_BTV=torch.ones(2, frames, 17, dtype=torch.bool),
    )

    assert model(batch).logits_BK.isfinite().all()
