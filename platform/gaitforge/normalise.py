"""Z-scores of windows, by the mean and deviation of the training people alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.windows import Bools, Floats

Doubles = NDArray[np.float64]

FARTHEST = np.float32(50.0)  # standard deviations
OUTLYING = 20.0  # ranges of the middle 98 %
SAMPLE = 8192  # frames of which that range is taken


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normalisation:
    """Mean and standard deviation [V, C] of the training people's clean windows."""

    mean_VC: Floats
    std_VC: Floats

    def as_dict(self) -> dict[str, Any]:
        return {"mean": self.mean_VC.tolist(), "std": self.std_VC.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str) -> Normalisation:
        """Read what `as_dict` gave; `source` names the file in what is raised (ValueError)."""
        try:
            with np.errstate(over="ignore"):  # what is beyond float32 is refused below
                mean_VC = np.array(data["mean"], dtype=np.float32)
                std_VC = np.array(data["std"], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{source} holds no normalisation ({error!r}); run its stage again."
            ) from error
        finite = np.isfinite(mean_VC).all() and np.isfinite(std_VC).all()
        if (
            mean_VC.ndim != 2
            or mean_VC.shape != std_VC.shape
            or not (std_VC > 0).all()
            or not finite
        ):
            raise ValueError(
                f"{source} holds a normalisation of shapes {mean_VC.shape} and {std_VC.shape}, but both must be "
                "[V, C] of finite numbers and each deviation above 0; run its stage again."
            )
        return cls(mean_VC=mean_VC, std_VC=std_VC)


def normalise(windows: Floats, seen: Bools, normalisation: Normalisation) -> Floats:
    """Turn windows [..., V, C] into z-scores; joints that were not seen [..., V] become 0, the mean.

    A score beyond FARTHEST becomes that: a joint that jumped out of the room must not outweigh all others.
    Raises ValueError where joints or coordinates differ from those of the training windows.
    """
    if windows.shape[-2:] != normalisation.mean_VC.shape:
        raise ValueError(
            f"The windows have {windows.shape[-2]} joints of {windows.shape[-1]} coordinates, but "
            f"the normalisation is for {normalisation.mean_VC.shape[0]} of "
            f"{normalisation.mean_VC.shape[1]}; use recordings of the layout that was trained on."
        )
    scores = (windows - normalisation.mean_VC) / normalisation.std_VC
    scores = np.clip(scores, -FARTHEST, FARTHEST)
    return np.where(seen[..., None], scores, np.float32(0))


def fit_normalisation(batches: Iterable[tuple[Floats, Bools]]) -> Normalisation:
    """Fit mean and deviation over the seen joints of (windows [N, T, V, C], seen [N, T, V]).

    Coordinates that lie farther out than OUTLYING times the range of the middle 98 % are left out: one jump of a
    joint in one frame would flatten the movement of everybody. Where there are any, the batches are asked for a
    second time, so that they must not be a generator then.

    A deviation below a hundredth of the greatest one is raised to that: the root has none after
    centring, and dividing by almost nothing would turn rounding into movement. A joint that is
    never seen gets mean 0. Raises ValueError without windows or where shapes differ.
    """
    first = _Moments()
    for windows, seen in batches:
        first.add(windows, seen)
    low_VC, high_VC = first.find_limits()
    if (first.least_VC >= low_VC).all() and (first.most_VC <= high_VC).all():
        return first.fit()
    within = _Moments()
    for windows, seen in batches:
        within.add(windows, seen, (low_VC, high_VC))
    return within.fit()


class _Moments:
    """Counts, sums and squares of coordinates, their extremes, and some frames from all over the windows."""

    def __init__(self) -> None:
        self.count_VC = self.sum_VC = self.squares_VC = np.zeros((1, 1))
        self.least_VC = np.full((1, 1), np.inf)
        self.most_VC = np.full((1, 1), -np.inf)
        self.shape: tuple[int, ...] | None = None
        self.sample: list[Floats] = []  # [V, C] each, NaN where not seen
        self.windows, self.step = 0, 1  # every `step`-th window gives a frame

    def add(
        self, windows: Floats, seen: Bools, limits_VC: tuple[Doubles, Doubles] | None = None
    ) -> None:
        if self.shape is not None and windows.shape[2:] != self.shape:
            raise ValueError(
                f"Recordings have {self.shape[1]} and {windows.shape[3]} coordinates, but one model "
                "takes one number of them; ingest them into two stores."
            )
        self.shape = windows.shape[2:]
        used = np.broadcast_to(seen[..., None], windows.shape)
        if limits_VC is not None:
            used = used & (windows >= limits_VC[0]) & (windows <= limits_VC[1])
        values = np.where(used, windows, 0).astype(np.float64)
        self.count_VC = self.count_VC + used.sum(axis=(0, 1))
        self.sum_VC = self.sum_VC + values.sum(axis=(0, 1))
        self.squares_VC = self.squares_VC + np.square(values).sum(axis=(0, 1))
        least_VC = np.where(used, windows, np.inf).min(axis=(0, 1))
        most_VC = np.where(used, windows, -np.inf).max(axis=(0, 1))
        self.least_VC = np.minimum(self.least_VC, least_VC)
        self.most_VC = np.maximum(self.most_VC, most_VC)
        self._keep(windows, seen)

    def _keep(self, windows: Floats, seen: Bools) -> None:
        for number in range(len(windows)):
            if self.windows % self.step == 0:
                # another moment of each, so that all phases of a movement are there
                frame = (self.windows // self.step * 7) % windows.shape[1]
                shown = seen[number, frame, :, None]
                self.sample.append(np.where(shown, windows[number, frame], np.float32(np.nan)))
            self.windows += 1
            if len(self.sample) > SAMPLE:
                self.sample, self.step = self.sample[::2], 2 * self.step

    def find_limits(self) -> tuple[Doubles, Doubles]:
        """Return the least and the greatest coordinate [V, C] that count; infinite where nothing was seen."""
        if not self.sample:
            raise ValueError(
                "There is no training window to normalise by; give people the train role."
            )
        sample = np.stack(self.sample)
        never_VC = np.isnan(sample).all(axis=0)
        sample[0][never_VC] = 0
        low_VC, high_VC = np.nanquantile(sample.astype(np.float64), (0.01, 0.99), axis=0)
        range_VC = high_VC - low_VC
        # what hardly moves, as the root does, may move as the others do
        range_VC = np.maximum(range_VC, 0.05 * range_VC.max())
        reach_VC = np.where(never_VC | (range_VC == 0), np.inf, OUTLYING * range_VC)
        return low_VC - reach_VC, high_VC + reach_VC

    def fit(self) -> Normalisation:
        count_VC = np.maximum(self.count_VC, 1)
        mean_VC = self.sum_VC / count_VC
        std_VC = np.sqrt(np.maximum(self.squares_VC / count_VC - mean_VC**2, 0))
        floor = 0.01 * std_VC.max() or 1.0
        return Normalisation(
            mean_VC=mean_VC.astype(np.float32),
            std_VC=np.maximum(std_VC, floor).astype(np.float32),
        )
