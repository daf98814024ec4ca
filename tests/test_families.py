"""The contract of every model family, held over the table FAMILIES."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gaitforge.batch import Batch
from gaitforge.layout import LAYOUTS, Layout
from gaitforge.models import FAMILIES, Output, Sizes, make_sizes

PLATES = Layout(name="plates", joints=("one", "other"), bones=((0, 1),), up="none")
CLASSES = 4

# Small sizes where those by default take seconds; each switch of a family is on in one case.
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "ctrgcn": ("ctrgcn", {"widths": [8, 8, 16], "strides": [1, 2, 1]}),
    "dynstg_mamba": ("dynstg_mamba", {"widths": [8, 16], "strides": [1, 2], "states": 4}),
    "dynstg_mamba, all on": (
        "dynstg_mamba",
        {
            "widths": [8, 8],
            "strides": [2, 1],
            "states": 4,
            "phases": 4,
            "bidirectional": True,
            "kalman": True,
        },
    ),
    "dynstg_mamba, static": ("dynstg_mamba", {"widths": [8], "strides": [2], "filter": "static"}),
    "dynstg_mamba, bones": ("dynstg_mamba", {"widths": [8], "strides": [2], "filter": "none"}),
    "stgcn": ("stgcn", {}),
    "tcn": ("tcn", {}),
}

every_family = pytest.mark.parametrize("case", CASES)
every_layout = pytest.mark.parametrize(
    "layout", [LAYOUTS["coco17"], PLATES], ids=lambda layout: layout.name
)


def test_every_family_is_held_to_the_contract() -> None:
    assert {family for family, _ in CASES.values()} == set(FAMILIES)


@every_family
@every_layout
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("frames", [17, 48])
@pytest.mark.parametrize("channels", [2, 3])
def test_outputs_have_the_agreed_shapes(
    case: str, layout: Layout, batch_size: int, frames: int, channels: int
) -> None:
    model = _model(sizes_of(case), layout, channels)
    output: Output = model(_batch(batch_size, frames, layout.joint_count, channels))

    assert output.logits_BK.shape == (batch_size, CLASSES)
    assert output.joints_BDTV.shape[:2] == output.embedding_BD.shape
    assert output.embedding_BD.shape[0] == batch_size
    assert output.joints_BDTV.shape[2] <= frames
    assert output.joints_BDTV.shape[3] in (layout.joint_count, 1)


@every_family
@every_layout
def test_every_parameter_gets_a_finite_gradient(case: str, layout: Layout) -> None:
    """In the second step: what a weight that starts at 0 scales learns from then on."""
    model = _model(sizes_of(case), layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.step()
        optimizer.zero_grad()
        output: Output = model(_batch(4, 17, layout.joint_count))
        loss = nn.functional.cross_entropy(output.logits_BK, torch.tensor([0, 1, 2, 3]))
        loss.backward()  # type: ignore[no-untyped-call]

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_family
@pytest.mark.parametrize("training", [True, False])
def test_what_stands_in_for_a_missing_joint_changes_nothing(case: str, training: bool) -> None:
    model = _model(sizes_of(case, dropout=0.0), LAYOUTS["coco17"]).train(training)
    batch = _batch(3, 17, 17)
    seen = batch.seen_BTV.clone()
    seen[0, :, 5] = False
    seen[1] = False
    missing = ~seen.unsqueeze(-1)
    logits = [
        model(
            Batch(joints_BTVC=batch.joints_BTVC.masked_fill(missing, filler), seen_BTV=seen)
        ).logits_BK
        for filler in (float("nan"), 0.0, 1e3)
    ]

    assert logits[0].isfinite().all()
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2])


@every_family
def test_no_gradient_is_nan_where_joints_are_missing(case: str) -> None:
    model = _model(sizes_of(case), LAYOUTS["coco17"])
    batch = _batch(3, 17, 17)
    batch.joints_BTVC[:, ::2, 3] = float("nan")
    model(
        Batch(joints_BTVC=batch.joints_BTVC, seen_BTV=~batch.joints_BTVC.isnan().any(-1))
    ).logits_BK.sum().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.slow
@every_family
def test_first_missing_joint_after_complete_training_data_stays_in_range(case: str) -> None:
    model = _model(sizes_of(case, dropout=0.0), LAYOUTS["coco17"])
    batch = _batch(8, 17, 17)
    for _ in range(50):
        model(batch)
    model.eval()
    seen = batch.seen_BTV.clone()
    seen[:, :, 9] = False
    complete: Output = model(batch)
    with_a_gap: Output = model(Batch(joints_BTVC=batch.joints_BTVC, seen_BTV=seen))

    assert with_a_gap.embedding_BD.norm() < 3 * complete.embedding_BD.norm()


@every_family
def test_evaluation_of_a_window_does_not_depend_on_its_batch(case: str) -> None:
    model = _model(sizes_of(case), LAYOUTS["coco17"])
    for _ in range(3):
        model(_batch(8, 17, 17))
    model.eval()
    batch = _batch(5, 17, 17)
    together: Output = model(batch)
    alone: Output = model(Batch(joints_BTVC=batch.joints_BTVC[2:3], seen_BTV=batch.seen_BTV[2:3]))

    for whole, single in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[2:3], single, rtol=1e-4, atol=1e-5)


@every_family
def test_model_can_be_built_without_memory(case: str) -> None:
    with torch.device("meta"):
        model = sizes_of(case).build(LAYOUTS["coco17"], 3, CLASSES)

    assert all(parameter.is_meta for parameter in model.parameters())
    assert all(buffer.is_meta for buffer in model.buffers())


@every_family
def test_weights_survive_safetensors(case: str, tmp_path: Path) -> None:
    sizes = sizes_of(case)
    first, second = (
        _model(sizes, LAYOUTS["coco17"], seed=1),
        _model(sizes, LAYOUTS["coco17"], seed=2),
    )
    first(_batch(4, 17, 17))
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    second.load_state_dict(load_file(tmp_path / "model.safetensors"))
    batch = _batch(2, 17, 17)

    assert torch.equal(first.eval()(batch).logits_BK, second.eval()(batch).logits_BK)


@every_family
def test_bfloat16_autocast_trains(case: str) -> None:
    model = _model(sizes_of(case), LAYOUTS["coco17"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(_batch(4, 17, 17)).logits_BK
    logits.float().sum().backward()

    assert logits.isfinite().all()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@every_family
def test_same_seed_builds_the_same_model(case: str) -> None:
    sizes = sizes_of(case)
    first, second = (_model(sizes, PLATES, seed=3).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)


@every_family
def test_sizes_survive_their_dict(case: str) -> None:
    sizes = sizes_of(case, dropout=0)

    assert make_sizes(CASES[case][0], sizes.as_dict()) == sizes
    assert isinstance(sizes.as_dict()["dropout"], float)


def test_unknown_family_names_the_known_and_the_nearest() -> None:
    with pytest.raises(
        KeyError,
        match="no model family 'stgnc'; known are ctrgcn, dynstg_mamba, stgcn, tcn, the nearest is 'stgcn'",
    ):
        make_sizes("stgnc", {})


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"no size 'kernels'; .* the nearest is 'kernel'"):
        make_sizes("tcn", {"kernels": 5})


@pytest.mark.parametrize(
    ("family", "name", "value", "must"),
    [
        ("ctrgcn", "dilations", 2, "a list of whole numbers"),
        ("dynstg_mamba", "kalman", 1, "true or false"),
        ("tcn", "layers", 2.0, "a whole number"),
        ("tcn", "layers", True, "a whole number"),
        ("tcn", "dropout", "0.1", "a number"),
        ("tcn", "dropout", False, "a number"),
        ("stgcn", "widths", 64, "a list of whole numbers"),
        ("stgcn", "widths", [64, "64"], "a list of whole numbers"),
        ("stgcn", "temporal", 1, "a string"),
    ],
)
def test_size_of_another_type_is_refused(family: str, name: str, value: object, must: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{name}' of the family '{family}' is .* must be {must}"
    ):
        make_sizes(family, {name: value})


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("ctrgcn", {"widths": [6], "strides": [1]}),
        ("ctrgcn", {"widths": [], "strides": []}),
        ("ctrgcn", {"strides": [1]}),
        ("ctrgcn", {"kernel": 4}),
        ("ctrgcn", {"dilations": []}),
        ("ctrgcn", {"reduction": 0}),
        ("ctrgcn", {"dropout": 1.0}),
        ("dynstg_mamba", {"widths": []}),
        ("dynstg_mamba", {"strides": [1, 0, 1, 1]}),
        ("dynstg_mamba", {"states": 0}),
        ("dynstg_mamba", {"expand": 0}),
        ("dynstg_mamba", {"filter": "adaptive"}),
        ("dynstg_mamba", {"filter": "static", "phases": 4}),
        ("dynstg_mamba", {"dropout": -0.1}),
        ("stgcn", {"kernel": 4}),
        ("stgcn", {"widths": []}),
        ("stgcn", {"widths": [8, 0], "strides": [1, 1]}),
        ("stgcn", {"widths": [8, 8]}),
        ("stgcn", {"widths": [8], "strides": [0]}),
        ("stgcn", {"temporal": "sparse"}),
        ("stgcn", {"dropout": 1.0}),
        ("tcn", {"kernel": 4}),
        ("tcn", {"kernel": -1}),
        ("tcn", {"channels": 0}),
        ("tcn", {"layers": 0}),
        ("tcn", {"dilation_growth": 0}),
        ("tcn", {"dropout": -0.1}),
        ("tcn", {"layers": 12, "dilation_growth": 4}),
    ],
)
def test_impossible_sizes_are_refused(family: str, values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Sizes.*; |Sizes.*: "):
        make_sizes(family, values)


def test_batch_keeps_seen_boolean_when_floats_change_type() -> None:
    batch = _batch(2, 5, 3)
    moved = Batch(
        joints_BTVC=batch.joints_BTVC, seen_BTV=batch.seen_BTV, features_BF=torch.ones(2, 6)
    ).to("cpu", torch.float64)

    assert moved.joints_BTVC.dtype == torch.float64
    assert moved.seen_BTV.dtype == torch.bool
    assert moved.features_BF is not None
    assert moved.features_BF.dtype == torch.float64


def sizes_of(case: str, **changed: object) -> Sizes:
    family, values = CASES[case]
    return make_sizes(family, {**values, **changed})


def _model(sizes: Sizes, layout: Layout, channels: int = 3, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return sizes.build(layout, channels, CLASSES)


def _batch(size: int, frames: int, joints: int, channels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(size + frames)
    return Batch(
        joints_BTVC=torch.randn(size, frames, joints, channels, generator=generator),
        seen_BTV=torch.ones(size, frames, joints, dtype=torch.bool),
    )
