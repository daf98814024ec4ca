"""Views of training windows: mirrored, turned, resized, warped in time and disturbed, computed where they are needed.

A view is a function of a clean window, its key, the view's number and the seed of the settings, and of nothing else:
the teacher and every student see the same, whatever else is in the batch, however many workers share it, and whether
or not the training was interrupted. View 0 is the clean window.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gaitforge.batch import Batch
from gaitforge.draws import draw_normal, draw_uniform, mix, number_elements
from gaitforge.layout import Layout
from gaitforge.normalise import FARTHEST, Normalisation
from gaitforge.recipe import Disturbance
from gaitforge.windows import WindowSettings

# An image has no vertical axis to turn about: a greater turn in it would be a fall.
MOST_2D_ROTATION_DEG = 5.0
# what is drawn for a view, each with numbers of its own
_CHANGE, _JITTER, _JOINTS, _PARTS = range(4)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Changes:
    """What makes views of some windows: B of them.

    `flip_B` bool, `angle_B` radians, `scale_B`, and `warp_B2`, the two waves of `warp_time`; floats are float64.
    """

    flip_B: Tensor
    angle_B: Tensor
    scale_B: Tensor
    warp_B2: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """How clean windows become views, and views become z-scores.

    The tensors lie on the device of the windows: `mean_VC` and `std_VC` of the training people, `pair_P2` left and
    right joints, `hops_P` how far a pair is from the root, `order_V` the joints of a mirrored body, `part_PV` the
    joints of each body part.
    """

    settings: WindowSettings
    up_axis: int | None
    mean_VC: Tensor
    std_VC: Tensor
    pair_P2: Tensor
    hops_P: Tensor
    order_V: Tensor
    part_PV: Tensor

    @classmethod
    def of(cls, settings: WindowSettings, layout: Layout, normalisation: Normalisation) -> Views:
        """Return the views of windows that were cut by these settings, on the CPU."""
        pairs = np.array(layout.left_right, dtype=np.int64).reshape(-1, 2)
        hops_V = layout.hops_from_root()
        part_PV = np.zeros((len(layout.parts), layout.joint_count), dtype=np.bool_)
        for row_V, joints in zip(part_PV, layout.parts.values(), strict=True):
            row_V[list(joints)] = True
        return cls(
            settings=settings,
            up_axis=layout.up_axis,
            mean_VC=torch.from_numpy(normalisation.mean_VC),
            std_VC=torch.from_numpy(normalisation.std_VC),
            pair_P2=torch.from_numpy(pairs),
            hops_P=torch.from_numpy(hops_V[pairs].sum(axis=1)),
            order_V=torch.from_numpy(layout.mirrored()),
            part_PV=torch.from_numpy(part_PV),
        )

    def to(self, device: torch.device) -> Views:
        tensors = {
            item.name: value.to(device)
            for item in dataclasses.fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return dataclasses.replace(self, **tensors)  # type: ignore[arg-type]

    @property
    def channels(self) -> int:
        return self.mean_VC.shape[1]

    @property
    def _stands(self) -> bool:
        """Tell whether bodies stand somewhere else than at 0."""
        return self.settings.center == "none" and self.up_axis is not None

    def draw(self, key_B: Tensor, view_B: Tensor) -> Changes:
        """Draw the changes of views within the ranges of the settings; view 0 has none.

        All numbers are always drawn, so that turning one kind of change off leaves the others alone.
        """
        settings = self.settings
        key_B1 = mix(key_B, settings.seed, _CHANGE, view_B)[:, None]
        count_5 = torch.arange(5, device=key_B.device)
        drawn_B5 = 2 * draw_uniform(mix(key_B1, count_5)) - 1
        drawn_B5 = drawn_B5 * (view_B != 0)[:, None]
        side_B, angle_B, size_B, *_ = drawn_B5.unbind(1)
        most_deg = settings.rotation_deg
        if self.channels == 2:
            most_deg = min(most_deg, MOST_2D_ROTATION_DEG)
        mirrored = settings.flip and self.up_axis is not None and len(self.pair_P2) > 0
        return Changes(
            flip_B=(side_B < 0) & mirrored,
            angle_B=angle_B * (math.radians(most_deg) if self.up_axis is not None else 0.0),
            scale_B=1 + size_B * settings.scale,
            warp_B2=drawn_B5[:, 3:] * (settings.time_warp / 2),
        )

    def change(
        self, joints_BTVC: Tensor, seen_BTV: Tensor, place_BC: Tensor, changes: Changes
    ) -> tuple[Tensor, Tensor]:
        """Warp, mirror, turn and resize windows about `place_BC`, where their bodies stand; not normalised.

        A window of a body that is centred stands at 0, and stays there.
        """
        if self.settings.time_warp:
            joints_BTVC, seen_BTV = warp_time(joints_BTVC, seen_BTV, changes.warp_B2)
        place_B11C = place_BC[:, None, None]
        if self._stands:
            joints_BTVC = joints_BTVC - place_B11C
        matrix_BCC = self._turn(changes)
        if self.settings.flip and self.up_axis is not None and len(self.pair_P2):
            mirror_BCC = self._mirror(joints_BTVC, seen_BTV, changes.flip_B)
            # term by term, so that rounding is the same in every batch
            matrix_BCC = (matrix_BCC[:, :, :, None] * mirror_BCC[:, None]).sum(2)
            flip_B11 = changes.flip_B[:, None, None]
            joints_BTVC = torch.where(
                flip_B11[..., None], joints_BTVC[:, :, self.order_V], joints_BTVC
            )
            seen_BTV = torch.where(flip_B11, seen_BTV[:, :, self.order_V], seen_BTV)
        joints_BTVC = _multiply(joints_BTVC, matrix_BCC)
        return joints_BTVC + place_B11C if self._stands else joints_BTVC, seen_BTV

    def make(
        self,
        joints_BTVC: Tensor,
        seen_BTV: Tensor,
        place_BC: Tensor,
        key_B: Tensor,
        view_B: Tensor | None,
    ) -> Batch:
        """Return views of clean windows as a model takes them; without `view_B` the clean ones.

        `key_B` are the windows' keys: a view depends on them and on nothing else of the batch.
        """
        if view_B is not None:
            changes = self.draw(key_B, view_B)
            clean_BTVC = joints_BTVC
            joints_BTVC, seen_BTV = self.change(joints_BTVC, seen_BTV, place_BC, changes)
            if self._stands:  # moved to 0 and back, a clean window would be rounded
                clean_B111 = (view_B == 0)[:, None, None, None]
                joints_BTVC = torch.where(clean_B111, clean_BTVC, joints_BTVC)
        return self.scale(joints_BTVC, seen_BTV)

    def scale(self, joints_BTVC: Tensor, seen_BTV: Tensor) -> Batch:
        """Return windows as z-scores, as `normalise` does; joints that were not seen become 0."""
        scores = (joints_BTVC - self.mean_VC) / self.std_VC
        scores = scores.clamp_(-float(FARTHEST), float(FARTHEST))
        return Batch(joints_BTVC=scores.masked_fill_(~seen_BTV[..., None], 0.0), seen_BTV=seen_BTV)

    def _turn(self, changes: Changes) -> Tensor:
        """Return the matrices [B, C, C] that turn about the up axis (in 2D within the image) and resize."""
        channels = self.channels
        matrix_BCC = torch.eye(channels, dtype=torch.float64, device=self.mean_VC.device)
        matrix_BCC = matrix_BCC.repeat(len(changes.angle_B), 1, 1)
        if self.up_axis is not None:
            level = [axis for axis in range(channels) if axis != self.up_axis or channels == 2]
            first, second = level[:2]
            cos_B, sin_B = changes.angle_B.cos(), changes.angle_B.sin()
            matrix_BCC[:, first, first] = matrix_BCC[:, second, second] = cos_B
            matrix_BCC[:, first, second], matrix_BCC[:, second, first] = -sin_B, sin_B
        return (matrix_BCC * changes.scale_B[:, None, None]).float()

    def _mirror(self, joints_BTVC: Tensor, seen_BTV: Tensor, flip_B: Tensor) -> Tensor:
        """Return the matrices [B, C, C] that mirror the windows of `flip_B`, the identity for the others.

        The upright mirror stands between the body's left and right, so that a body in 3D keeps its heading; across a
        fixed axis, people who walk along that axis would be turned round. In 2D the only upright mirror reverses the
        horizontal axis.
        """
        side_BC = self.find_sideways(joints_BTVC, seen_BTV)
        identity_CC = torch.eye(self.channels, device=side_BC.device)
        reflect_BCC = 2 * side_BC[:, :, None] * side_BC[:, None, :]
        return identity_CC - reflect_BCC * flip_B[:, None, None]

    def find_sideways(self, joints_BTVC: Tensor, seen_BTV: Tensor) -> Tensor:
        """Return the level unit vectors [B, C] from right to left, by the pairs nearest the root (hips, say).

        Farther pairs would tilt it: through a whole lunge one foot is in front of the other.
        The first level axis where no pair is seen together.
        """
        left_P, right_P = self.pair_P2.unbind(1)
        together_BTP = seen_BTV[:, :, left_P] & seen_BTV[:, :, right_P]
        far = torch.iinfo(torch.int64).max
        hops_BP = torch.where(together_BTP.any(dim=1), self.hops_P, far)
        nearest_BP = hops_BP == hops_BP.min(dim=1, keepdim=True).values
        used_BTP1 = (together_BTP & nearest_BP[:, None])[..., None]
        apart_BTPC = joints_BTVC[:, :, left_P] - joints_BTVC[:, :, right_P]
        side_BC = torch.where(used_BTP1, apart_BTPC, 0.0).sum(dim=(1, 2))
        level = [axis for axis in range(self.channels) if axis != self.up_axis]
        level_C = torch.zeros(self.channels, device=side_BC.device)
        level_C[level] = 1
        side_BC = side_BC * level_C
        length_B1 = side_BC.norm(dim=1, keepdim=True)
        first_C = torch.zeros_like(level_C)
        first_C[level[0]] = 1
        return torch.where(length_B1 > 0, side_BC / length_B1.clamp(min=1e-30), first_C)


def warp_time(joints_BTVC: Tensor, seen_BTV: Tensor, warp_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Let time pass at tempo 1 + warp[0] cos(pi u) + warp[1] cos(2 pi u) through each window, u from 0 to 1.

    Start and end stay where they are; time never stands still while |warp[0]| + |warp[1]| < 1. Positions are linear
    between frames; a joint counts as seen where it was in the nearest frame.
    """
    batch, frames = seen_BTV.shape[:2]
    time_BT = warped_times(frames, warp_B2)
    low_BT = time_BT.floor().clamp(0, frames - 1)
    part_BT11 = (time_BT - low_BT).float()[..., None, None]
    nearest_BT = (time_BT + 0.5).floor().clamp(0, frames - 1).long()
    low_BT = low_BT.long()
    first_B1 = torch.arange(batch, device=seen_BTV.device)[:, None] * frames

    def take(of_BT: Tensor, frame_BT: Tensor) -> Tensor:
        rows = (first_B1 + frame_BT).flatten()
        return of_BT.flatten(0, 1).index_select(0, rows).view(of_BT.shape)

    before = take(joints_BTVC, low_BT)
    after = take(joints_BTVC, (low_BT + 1).clamp(max=frames - 1))
    return torch.lerp(before, after, part_BT11), take(seen_BTV, nearest_BT)


def warped_times(frames: int, warp_B2: Tensor) -> Tensor:
    """Return the moments [B, T] at which warped windows look at theirs, in frames."""
    even_T = torch.arange(frames, dtype=torch.float64, device=warp_B2.device)
    u_T = even_T / max(frames - 1, 1)
    shift_BT = sum(
        (warp_B2[:, k - 1, None] * torch.sin(k * math.pi * u_T) / (k * math.pi) for k in (1, 2)),
        torch.zeros_like(u_T),
    )
    # the ends are whole frames, which a sine of pi is not
    shift_BT[:, 0] = shift_BT[:, -1] = 0.0
    return even_T + (frames - 1) * shift_BT


def disturb(batch: Batch, how: Disturbance, key_B: Tensor, part_PV: Tensor | None = None) -> Batch:
    """Return views with noise and hidden joints, which follow from the keys alone.

    `part_PV` tells which joints [P, V] make a body part. Raises ValueError where parts are to be hidden and there
    are none.
    """
    joints, seen = batch.joints_BTVC, batch.seen_BTV
    if how.jitter > 0:
        noise = draw_normal(mix(key_B, _JITTER), joints.shape[1:])
        joints = joints + how.jitter * noise.to(joints.dtype) * seen[..., None]
    hidden_BV = torch.zeros_like(seen[:, 0])
    if how.joint_drop > 0:
        drawn_BV = draw_uniform(number_elements(mix(key_B, _JOINTS), seen.shape[2:]))
        hidden_BV = hidden_BV | (drawn_BV < how.joint_drop)
    if how.part_drop > 0:
        if part_PV is None or not len(part_PV):
            raise ValueError(
                f"fit.part_drop is {how.part_drop}, but the layout names no body parts; name them under [parts], or "
                "make it 0."
            )
        drawn_BP = draw_uniform(number_elements(mix(key_B, _PARTS), part_PV.shape[:1]))
        lost_BP1 = (drawn_BP < how.part_drop)[:, :, None]
        hidden_BV = hidden_BV | (lost_BP1 & part_PV).any(dim=1)
    if how.joint_drop > 0 or how.part_drop > 0:
        seen = seen & ~hidden_BV[:, None]
        joints = joints * seen[..., None]
    return Batch(joints_BTVC=joints, seen_BTV=seen, features_BF=batch.features_BF)


def _multiply(joints_BTVC: Tensor, matrix_BCC: Tensor) -> Tensor:
    """Multiply each point by its window's matrix, term by term: the same rounding whatever else is in the batch."""
    coordinates = joints_BTVC.unbind(-1)
    rows = []
    for row_BC in matrix_BCC.unbind(1):
        factors = [factor_B[:, None, None] for factor_B in row_BC.unbind(1)]
        products = [one * factor for one, factor in zip(coordinates, factors, strict=True)]
        total = products[0]
        for product in products[1:]:
            total = total + product
        rows.append(total)
    return torch.stack(rows, dim=-1)
