"""Streams: what a model of any family sees of a skeleton besides its joints, computed inside the model.

Bones as an input of their own come from Shi 2019 (2s-AGCN), which trains a model for each stream. They are put side by
side here, as channels of one small model, after Song 2022 (EfficientGCN) and Yang 2019 (DD-Net). Ours are the scaling,
and that 0 means "as the mean pose", or that something a value is made of is missing.

With z the z-scores of a window, s and m the deviation and mean of all, and x = z s (no mean added), joint v of frame t
has

    joints        z_v
    bones         (x_v - x_parent) / sqrt(s_v ** 2 + s_parent ** 2)
    velocity      PACE (z_v(t+1) - z_v(t-1)) / 2
    acceleration  PACE (z_v(t+1) - 2 z_v(t) + z_v(t-1))
    angles        TURN (angle between two bones at v in the pose m + x, less that in the pose m)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitforge.batch import Batch
from gaitforge.layout import Layout
from gaitforge.models.output import Output

if TYPE_CHECKING:
    from gaitforge.models import Sizes

KEY = "streams"  # among the sizes of every family
# Frames in which a stride of a second at 30 Hz goes through one radian: a velocity gets the size of what moves. So does
# an acceleration, of which noise is the greater part; squared it would be ten times as large.
PACE = 5.0
TURN = 3.0  # per radian: a joint that bends and stretches by 20 degrees has about unit size
LEAST_SQUARED = 1e-8  # of a bone's length, in body sizes: a shorter one has no direction
TINY = 1e-12  # keeps the slope of a root of 0 finite


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamedSizes:
    """Sizes of any family, whose model sees these streams; `with_streams` makes them."""

    inner: Sizes
    streams: tuple[str, ...] = ("joints",)
    """What the model sees of each joint, side by side as channels: its coordinates, the bone to its parent, how it
    moves, and the angle between its bones.
    """

    def build(self, layout: Layout, channels: int, classes: int) -> nn.Module:
        """Make the family's model behind its streams; raises ValueError for bones in a layout that has none."""
        for name in self.streams:
            if STREAMS[name].needs_bones and not layout.bones:
                raise ValueError(
                    f"The stream '{name}' is made of bones, but the layout '{layout.name}' has none; give it bones, "
                    f"or leave '{name}' out of the streams."
                )
        seen = sum(STREAMS[name].channels(channels) for name in self.streams)
        inner = self.inner.build(layout, seen, classes)
        return Streamed(inner, self.streams, layout, channels)

    def as_dict(self) -> dict[str, object]:
        return {**self.inner.as_dict(), KEY: list(self.streams)}


def with_streams(sizes: Sizes, streams: Sequence[str]) -> Sizes:
    """Return the same sizes for a model that sees these streams; of joints alone, the family's own sizes.

    Raises ValueError where they are no streams.
    """
    inner = sizes.inner if isinstance(sizes, StreamedSizes) else sizes
    ordered = order_streams(streams, "streams")
    return inner if ordered == ("joints",) else StreamedSizes(inner=inner, streams=ordered)


def order_streams(value: object, what: str) -> tuple[str, ...]:
    """Return names of streams in the order of STREAMS; raises ValueError, which calls it `what`, for anything else."""
    names = list(value) if isinstance(value, list | tuple) else []
    texts = [name for name in names if isinstance(name, str)]
    if not names or len(set(texts)) != len(names) or not set(texts) <= set(STREAMS):
        raise ValueError(
            f"{what} is {value!r}, but must be a list of one or more of {', '.join(STREAMS)}, each once; mend it."
        )
    return tuple(name for name in STREAMS if name in texts)


class Streamed(nn.Module):
    """Batch of z-scores -> the inner model's Output, which gets [B, T, V, C'] of the streams' channels side by side.

    `mean_VC` and `std_VC` are kept with the weights; `scale_by` sets them.
    """

    mean_VC: Tensor
    std_VC: Tensor
    parents_V: Tensor
    before_V: Tensor
    after_V: Tensor

    def __init__(
        self, inner: nn.Module, streams: tuple[str, ...], layout: Layout, channels: int
    ) -> None:
        super().__init__()
        self.inner = inner
        self.streams = streams
        self.register_buffer("mean_VC", torch.zeros(layout.joint_count, channels))
        self.register_buffer("std_VC", torch.ones(layout.joint_count, channels))
        parents = find_parents(layout)
        before, after = find_bent(layout, parents)
        # torch.tensor, unlike torch.from_numpy, obeys `with torch.device("meta")`
        for name, joints in (("parents_V", parents), ("before_V", before), ("after_V", after)):
            self.register_buffer(name, torch.tensor(joints), persistent=False)

    def scale_by(self, mean_VC: Tensor, std_VC: Tensor) -> None:
        """Take the mean and the deviation by which the windows were made z-scores."""
        with torch.no_grad():
            self.mean_VC.copy_(mean_VC)
            self.std_VC.copy_(std_VC)

    def forward(self, batch: Batch) -> Output:
        seen_BTV = batch.seen_BTV
        known_BTVC = torch.where(seen_BTV.unsqueeze(-1), batch.joints_BTVC, 0.0)
        parts = [STREAMS[name].compute(self, known_BTVC, seen_BTV) for name in self.streams]
        output: Output = self.inner(
            Batch(
                joints_BTVC=torch.cat(parts, dim=-1),
                seen_BTV=seen_BTV,
                features_BF=batch.features_BF,
            )
        )
        return output


# of z-scores [B, T, V, C], 0 where unseen, and what was seen [B, T, V]: one stream [B, T, V, its channels]


def find_joints(body: Streamed, known_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
    """Return the z-scores as they are."""
    return known_BTVC


def find_bones(body: Streamed, known_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
    """Return how each bone, from the parent to the joint, differs from that of the mean pose; 0 at a root.

    It is divided by the deviation that it would have if its two ends moved independently.
    """
    std_VC, parents = body.std_VC, body.parents_V
    x_BTVC = known_BTVC * std_VC
    both = seen_BTV & seen_BTV.index_select(2, parents)
    scale_VC = (std_VC.square() + std_VC.index_select(0, parents).square()).sqrt()
    bones_BTVC = (x_BTVC - x_BTVC.index_select(2, parents)) / scale_VC
    return torch.where(both.unsqueeze(-1), bones_BTVC, 0.0)


def find_velocity(body: Streamed, known_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
    """Return central differences over time; 0 in the first and the last frame, which lack a neighbour."""
    both = seen_BTV[:, 2:] & seen_BTV[:, :-2]
    moved = (known_BTVC[:, 2:] - known_BTVC[:, :-2]) * (PACE / 2)
    return _in_whole(torch.where(both.unsqueeze(-1), moved, 0.0))


def find_acceleration(body: Streamed, known_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
    """Return second differences over time; 0 in the first and the last frame."""
    all_three = seen_BTV[:, 2:] & seen_BTV[:, 1:-1] & seen_BTV[:, :-2]
    turned = known_BTVC[:, 2:] - 2 * known_BTVC[:, 1:-1] + known_BTVC[:, :-2]
    return _in_whole(torch.where(all_three.unsqueeze(-1), turned * PACE, 0.0))


def find_angles(body: Streamed, known_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
    """Return by how much each joint is bent more than in the mean pose [B, T, V, 1], by the bones of `find_bent`."""
    before, after = body.before_V, body.after_V
    angle_BTV, known_BTV = measure_angles(body.mean_VC + known_BTVC * body.std_VC, before, after)
    mean_V, _ = measure_angles(body.mean_VC, before, after)
    three = seen_BTV & seen_BTV.index_select(2, before) & seen_BTV.index_select(2, after)
    return torch.where(three & known_BTV, (angle_BTV - mean_V) * TURN, 0.0).unsqueeze(-1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """`compute` makes the stream's values; `channels` says how many each joint has, given those of its coordinates."""

    compute: Callable[[Streamed, Tensor, Tensor], Tensor]
    channels: Callable[[int], int] = int
    needs_bones: bool = False


STREAMS: Mapping[str, Stream] = MappingProxyType(
    {
        "joints": Stream(compute=find_joints),
        "bones": Stream(compute=find_bones, needs_bones=True),
        "velocity": Stream(compute=find_velocity),
        "acceleration": Stream(compute=find_acceleration),
        "angles": Stream(compute=find_angles, channels=lambda _: 1, needs_bones=True),
    }
)


def find_parents(layout: Layout) -> list[int]:
    """Return each joint's neighbour towards the root [V]; for a root joint, itself.

    Of several neighbours that are as near, the first that is reached counts. Where bones hang together in pieces, the
    first joint of each piece without a root joint is its root.
    """
    linked = layout.adjacency()
    parents = list(range(layout.joint_count))
    reached: set[int] = set()
    for start in (list(layout.root), *([joint] for joint in range(layout.joint_count))):
        frontier = [joint for joint in start if joint not in reached]
        reached.update(frontier)
        while frontier:
            found = []
            for joint in frontier:
                for other in np.flatnonzero(linked[joint]).tolist():
                    if other not in reached:
                        parents[other] = joint
                        reached.add(other)
                        found.append(other)
            frontier = found
    return parents


def find_bent(layout: Layout, parents: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return, for each joint, the two neighbours [V], [V] between which it bends; itself where it has no two.

    They are its parent and one child, at a root two children. Of several children those come first that lie in a
    left-right pair like the joint itself, or in none like it; then those that carry the most joints; then the
    layout's order. So limbs go on in limbs and the spine in the spine.
    """
    joints = range(layout.joint_count)
    paired = {joint for pair in layout.left_right for joint in pair}
    carried = _count_carried(parents)
    before, after = list(joints), list(joints)
    for joint in joints:
        children = sorted(
            (other for other in joints if parents[other] == joint and other != joint),
            key=lambda child, joint=joint: (  # type: ignore[misc]
                (child in paired) != (joint in paired),
                -carried[child],
                child,
            ),
        )
        ends = ([parents[joint]] if parents[joint] != joint else []) + children
        if len(ends) >= 2:
            before[joint], after[joint] = ends[:2]
    return before, after


def measure_angles(points: Tensor, before_V: Tensor, after_V: Tensor) -> tuple[Tensor, Tensor]:
    """Return angles [..., V] in radians at points [..., V, C], between those before and after, and where there are any.

    A bone of no length has no direction, and no angle: pi / 2 stands there. With unit vectors p and q it is
    2 atan(|p - q| / |p + q|), which float32 keeps exact near 0 and pi, where a cosine's is lost.
    """
    p, is_p = _direction(points.index_select(-2, before_V) - points)
    q, is_q = _direction(points.index_select(-2, after_V) - points)
    apart = ((p - q).square().sum(-1) + TINY).sqrt()
    along = ((p + q).square().sum(-1) + TINY).sqrt()
    return 2 * torch.atan(apart / along), is_p & is_q


def _direction(bones: Tensor) -> tuple[Tensor, Tensor]:
    """Return bones [..., C] of length 1, or 0 where they have none, and which have one [...]."""
    squared = bones.square().sum(-1)
    is_long = squared > LEAST_SQUARED
    length = torch.where(is_long, squared, 1.0).sqrt()
    return torch.where(is_long.unsqueeze(-1), bones / length.unsqueeze(-1), 0.0), is_long


def _in_whole(inside: Tensor) -> Tensor:
    """Put a frame of zeros before and after all frames but the first and the last [B, T-2, V, C]."""
    return functional.pad(inside, (0, 0, 0, 0, 1, 1))


def _count_carried(parents: Sequence[int]) -> list[int]:
    """Count the joints that hang on each, itself included [V]."""
    carried = [0] * len(parents)
    for joint in range(len(parents)):
        carried[joint] += 1
        while parents[joint] != joint:
            joint = parents[joint]
            carried[joint] += 1
    return carried
