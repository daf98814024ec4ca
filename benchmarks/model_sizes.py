"""Parameters and multiply-accumulates of our families beside those counted elsewhere, as Markdown.

    python benchmarks/model_sizes.py

The other numbers are those of a prototype of the same reconstruction of DynSTG-Mamba, and of the authors' code of
ST-GCN and CTR-GCN, whose clips held two people; neither is part of this repository.
"By the same way" adds what the others compute and we do not, though the functions are the same:
they mix channels before joints, take psi and phi, or queries and keys, of every frame and their
mean afterwards, and run both depthwise convolutions of DynSTG-Mamba where we add their kernels. Of a
scan they count 5 operations per state, with the exponential; we the 4 multiplications, and 2 per channel.
Of the parameters of DynSTG-Mamba it is a guess that fits the description and the counts: one linear layer
for the learned filters of all hops where we have one for each, biases on 1x1 convolutions, a normalisation
where a residual changes its width, and no fourth input channel, which says what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from gaitforge.cost import count, scan_macs
from gaitforge.layout import LAYOUTS
from gaitforge.models.ctrgcn import INPUT_RELATIONS, CtrgcnSizes
from gaitforge.models.dynamic_filter import RELATION_WIDTH
from gaitforge.models.dynstg_mamba import HOPS, SHORT, DynstgMambaSizes
from gaitforge.models.graph import PARTITIONS
from gaitforge.models.stgcn import StgcnSizes

INPUTS = 4  # three coordinates, and whether a joint was seen
SCAN_OPERATIONS = (
    5  # per state in the prototype's count, which has the exponential too; we count 4
)

TEN_WIDTHS = (64,) * 4 + (128,) * 3 + (256,) * 3
TEN_STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
STGCN = StgcnSizes(widths=TEN_WIDTHS, strides=TEN_STRIDES, kernel=9, temporal="full")
CTRGCN = CtrgcnSizes()
L = DynstgMambaSizes(widths=(64, 64, 128, 128, 256, 256), strides=(1, 1, 2, 1, 2, 1))
M = DynstgMambaSizes()
S = DynstgMambaSizes(widths=(32, 32, 64), strides=(1, 2, 2), states=8, expand=1)
XS = DynstgMambaSizes(widths=(16, 32, 32), strides=(2, 2, 1), states=8, expand=1, filter="static")

# sizes here; parameters, MACs of one person and MACs of scans as counted elsewhere
OTHERS: dict[str, tuple[StgcnSizes | CtrgcnSizes | DynstgMambaSizes, float, float, float]] = {
    "ST-GCN": (STGCN, 3.099e6, 3.65e9 / 2, 0.0),
    "CTR-GCN": (CTRGCN, 1.447e6, 1.94e9 / 2, 0.0),
    "dynstg_mamba L": (L, 1.816e6, 1.48e9, 0.13e9),
    "dynstg_mamba M": (M, 0.456e6, 0.50e9, 0.07e9),
    "dynstg_mamba S": (S, 0.050e6, 0.060e9, 0.006e9),
    "dynstg_mamba XS": (XS, 0.023e6, 0.017e9, 0.002e9),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A model as counted here and elsewhere; MACs of one person and without scans, those apart."""

    name: str
    params: int
    params_same_way: int
    macs: int
    same_way: int
    scan: int
    scan_same_way: int
    other_params: float
    other_macs: float
    other_scan: float


def compared(name: str) -> Compared:
    sizes, other_params, other_macs, other_scan = OTHERS[name]
    if isinstance(sizes, DynstgMambaSizes):
        layout, classes, frames = LAYOUTS["coco17"], 4, 128
        unlike = dynstg_unlike(sizes, layout.joint_count)
        saved = dynstg_saved(sizes, layout.joint_count, frames)
        exponential = SCAN_OPERATIONS * sizes.states / (4 * sizes.states + 2)
    else:
        layout, classes, frames = LAYOUTS["kinect25"], 60, 64
        saved = unlike = 0
        if isinstance(sizes, CtrgcnSizes):
            saved = ctrgcn_saved(sizes, layout.joint_count, frames)
        exponential = 1.0
    cost = count(sizes, layout, channels=3, classes=classes, frames=frames)
    scan = scan_macs(sizes, layout, channels=3, classes=classes, frames=frames)
    return Compared(
        name=name,
        params=cost.params,
        params_same_way=cost.params + unlike,
        macs=cost.macs - scan,
        same_way=cost.macs - scan + saved,
        scan=scan,
        scan_same_way=round(scan * exponential),
        other_params=other_params,
        other_macs=other_macs,
        other_scan=other_scan,
    )


def ctrgcn_saved(sizes: CtrgcnSizes, joints: int, frames: int) -> int:
    """MACs of psi and phi on every frame, as published, beyond those on the mean of the frames."""
    saved, width_in, relations = 0, INPUTS, INPUT_RELATIONS
    for width, stride in zip(sizes.widths, sizes.strides, strict=True):
        saved += PARTITIONS * 2 * width_in * relations * joints * (frames - 1)
        frames = -(-frames // stride)
        width_in, relations = width, width // sizes.reduction
    return saved


def dynstg_saved(sizes: DynstgMambaSizes, joints: int, frames: int) -> int:
    """MACs of channels before joints, of queries and keys on every frame, and of the short convolution."""
    saved, width_in = 0, INPUTS
    for width, stride in zip(sizes.widths, sizes.strides, strict=True):
        saved += (HOPS + 1) * joints**2 * frames * (width - width_in)
        if sizes.filter == "dynamic":
            saved += 2 * RELATION_WIDTH * width_in * joints * (frames - sizes.phases)
        frames = -(-frames // stride)
        saved += SHORT * width * joints * frames
        width_in = width
    return saved


def dynstg_unlike(sizes: DynstgMambaSizes, joints: int) -> int:
    """Parameters of the prototype that we have not, less those that we have and it has not."""
    count, width_in = 0, INPUTS - 1
    for width in sizes.widths:
        if sizes.filter != "none":
            count -= HOPS * (joints**2 + joints)
        count += (
            HOPS + 1
        ) * width + width  # biases of the graph convolution, and behind the temporal one
        if width != width_in:
            count += 2 * width
        width_in = width
    seen = (HOPS + 1) * sizes.widths[0] + sizes.widths[0]
    return count - seen - (2 * RELATION_WIDTH if sizes.filter == "dynamic" else 0)


def table(rows: list[Compared]) -> str:
    lines = [
        "| | parameters | of theirs | by the same way | of theirs "
        "| GMACs | by the same way | of theirs | scan GMACs | by the same way | theirs |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        scans = (
            f"{row.scan / 1e9:.4f} | {row.scan_same_way / 1e9:.4f} | {row.other_scan / 1e9:.3f}"
        )
        lines.append(
            f"| {row.name} | {row.params:,} | {row.params / row.other_params:.3f} | "
            f"{row.params_same_way:,} | {row.params_same_way / row.other_params:.3f} | {row.macs / 1e9:.4f} | "
            f"{row.same_way / 1e9:.4f} | {row.same_way / row.other_macs:.3f} | {scans if row.scan else '| |'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([compared(name) for name in OTHERS]))
