"""Z-scores of windows, by the mean and deviation of the training people alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaitforge.windows import Bools, Floats


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

    Raises ValueError where joints or coordinates differ from those of the training windows.
    """
    if windows.shape[-2:] != normalisation.mean_VC.shape:
        raise ValueError(
            f"The windows have {windows.shape[-2]} joints of {windows.shape[-1]} coordinates, but "
            f"the normalisation is for {normalisation.mean_VC.shape[0]} of "
            f"{normalisation.mean_VC.shape[1]}; use recordings of the layout that was trained on."
        )
    scores = (windows - normalisation.mean_VC) / normalisation.std_VC
    return np.where(seen[..., None], scores, np.float32(0))


def fit_normalisation(batches: Iterable[tuple[Floats, Bools]]) -> Normalisation:
    """Fit mean and deviation over the seen joints of (windows [N, T, V, C], seen [N, T, V]), in one pass.

    A deviation below a hundredth of the greatest one is raised to that: the root has none after
    centring, and dividing by almost nothing would turn rounding into movement. A joint that is
    never seen gets mean 0. Raises ValueError without windows or where shapes differ.
    """
    count_V1 = sum_VC = squares_VC = np.zeros((1, 1))
    shape: tuple[int, ...] | None = None
    for windows, seen in batches:
        if shape is not None and windows.shape[2:] != shape:
            raise ValueError(
                f"Recordings have {shape[1]} and {windows.shape[3]} coordinates, but one model "
                "takes one number of them; ingest them into two stores."
            )
        shape = windows.shape[2:]
        values = np.where(seen[..., None], windows, 0).astype(np.float64)
        count_V1 = count_V1 + seen.sum(axis=(0, 1))[:, None]
        sum_VC = sum_VC + values.sum(axis=(0, 1))
        squares_VC = squares_VC + np.square(values).sum(axis=(0, 1))
    if shape is None:
        raise ValueError(
            "There is no training window to normalise by; give people the train role."
        )
    count_V1 = np.maximum(count_V1, 1)
    mean_VC = sum_VC / count_V1
    std_VC = np.sqrt(np.maximum(squares_VC / count_V1 - mean_VC**2, 0))
    floor = 0.01 * std_VC.max() or 1.0
    return Normalisation(
        mean_VC=mean_VC.astype(np.float32),
        std_VC=np.maximum(std_VC, floor).astype(np.float32),
    )
