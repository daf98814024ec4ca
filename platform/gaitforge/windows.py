"""A recording to windows: gaps filled, resampled or cut, centred, in body sizes.

Training and prediction share this file and normalise.py; training keeps windows on disk by window_cache.py and adds
the views of views.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.layout import Layout
from gaitforge.quality import medians_of
from gaitforge.recording import Recording

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

MODES = ("resample", "slide")
CENTERS = ("first", "frame", "none")
SIZES = ("body", "none")

MOST_FPS = 10_000.0

_LEAST = {"length": 2, "stride": 1, "views": 1, "seed": 0}
_RANGES = {
    "min_confidence": (0.0, 1.0),
    "rotation_deg": (0.0, 180.0),
    "scale": (0.0, 0.9),
    "time_warp": (0.0, 0.9),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """How recordings become windows, and training windows their views."""

    mode: str = "resample"
    """What is cut: "resample", one window of each recording, whatever its tempo; "slide", windows
    of `length` frames every `stride` frames.
    """
    length: int = 64
    """Frames of a window."""
    stride: int = 32
    """Frames between windows of the mode "slide"."""
    fps: float | None = None
    """Frame rate in Hz to which the mode "slide" brings recordings before it cuts them, linearly
    between their frames; needed where they have different ones.
    """
    views: int = 4
    """Views of each training window, all of which the teacher answers; view 0 is the clean one. An epoch takes the next
    one of each window, so that with as many views as epochs none is seen twice.
    """
    center: str = "frame"
    """Subtract the layout's root in each "frame", in the window's "first" frame (keeps the path
    walked), or "none". A layout without an up axis is never centred nor divided, as its nodes
    are not points of a body.
    """
    size: str = "body"
    """Divide by the "body" (mean bone length) or "none"."""
    min_confidence: float = 0.3
    """A joint below this confidence counts as missing."""
    flip: bool = True
    """Mirror left and right in half of the views; turn it off where the side is part of the class."""
    rotation_deg: float = 30.0
    """Greatest turn about the up axis in degrees (with 2 coordinates, in the image, at most 5)."""
    scale: float = 0.1
    """Greatest relative change of size."""
    time_warp: float = 0.1
    """Greatest relative change of local tempo; 0 where cadence is the class."""
    seed: int = 0
    """Seed of the views."""

    def __post_init__(self) -> None:
        for key, known in (("mode", MODES), ("center", CENTERS), ("size", SIZES)):
            if getattr(self, key) not in known:
                raise ValueError(
                    f"windows.{key} is '{getattr(self, key)}', but must be one of "
                    f"{', '.join(known)}; choose one."
                )
        for key, least in _LEAST.items():
            value = getattr(self, key)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"windows.{key} is {value}, but must be a whole number of at least {least}; "
                    "change it."
                )
        for key, (low, high) in _RANGES.items():
            if not low <= getattr(self, key) <= high:
                raise ValueError(
                    f"windows.{key} is {getattr(self, key)}, but must be from {low:g} to "
                    f"{high:g}; change it."
                )
        if self.fps is not None and not 0 < self.fps <= MOST_FPS:
            raise ValueError(
                f"windows.fps is {self.fps}, but must be above 0 and at most {MOST_FPS:,} Hz; change it or leave it "
                "out."
            )
        if self.fps is not None and self.mode != "slide":
            raise ValueError(
                f"windows.fps is {self.fps}, but the mode '{self.mode}' makes one window of each recording, whatever "
                "its frame rate; leave it out, or choose the mode 'slide'."
            )
        if self.mode == "slide" and self.stride > self.length:
            raise ValueError(
                f"windows.stride is {self.stride}, but must not exceed the length {self.length}, "
                "or frames between windows would be lost; lower it."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for JSON, equal for equal settings (30 and 30.0 are one value)."""
        told = asdict(self) | {key: float(getattr(self, key)) for key in _RANGES}
        # left out where it is not used, as before there was such a key
        return {key: value for key, value in told.items() if key != "fps" or value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str) -> WindowSettings:
        """Read what `as_dict` gave; `source` names the file in what is raised (ValueError)."""
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(
                f"{source} holds no window settings ({error}); run its stage again."
            ) from error


def prepare(
    recording: Recording, layout: Layout, settings: WindowSettings
) -> tuple[Floats, Bools]:
    """Cut clean windows [N, T, V, C] from a recording, not normalised, and where seen [N, T, V].

    Values of joints that are not seen mean nothing until `normalise` has set them to 0.
    Raises ValueError where the recording does not fit the layout.
    """
    motion = FilledRecording.from_recording(recording, layout, settings)
    return motion.cut(window_times(recording, settings))


def prepare_in_parts(
    recording: Recording, layout: Layout, settings: WindowSettings, most: int
) -> Iterator[tuple[Floats, Bools]]:
    """Yield what `prepare` returns, at most `most` windows at a time; raises what it does."""
    motion = FilledRecording.from_recording(recording, layout, settings)
    times_NT = window_times(recording, settings)
    for start in range(0, len(times_NT), most):
        yield motion.cut(times_NT[start : start + most])


def window_times(recording: Recording, settings: WindowSettings) -> NDArray[np.float64]:
    """Return when each frame of each window [N, T] lies in a recording, in the recording's frames.

    "slide" ends with a window aligned to the last frame, so that none is lost; with `settings.fps` it counts frames of
    that rate. A recording shorter than a window is one window, whose times beyond the end are padding. Raises
    ValueError where a frame rate is needed and the recording has none.
    """
    frames = len(recording.positions_TVC)
    if settings.mode == "resample":
        return np.linspace(0, frames - 1, settings.length)[None]
    step = _frames_per_step(recording, settings)
    last = max(count_frames(recording, settings) - settings.length, 0)
    starts = np.unique([*range(0, last + 1, settings.stride), last])
    times: NDArray[np.float64] = (starts[:, None] + np.arange(settings.length)) * np.float64(step)
    return times


def count_frames(recording: Recording, settings: WindowSettings) -> int:
    """Return how many frames a recording has at the rate of the windows; raises as `window_times` does."""
    # a hair more, so that a quotient such as 2.9999999999999996 counts as the whole number that it stands for
    steps = (len(recording.positions_TVC) - 1) / _frames_per_step(recording, settings)
    return math.floor(steps * (1 + 1e-9)) + 1


def check_rates(rates: Collection[float | None], settings: WindowSettings) -> None:
    """Raise ValueError where windows would hold different times: frame rates in Hz that differ, or are not known."""
    if settings.mode != "slide":
        return
    known = sorted({rate for rate in rates if rate is not None})
    if settings.fps is None:
        if len(known) > 1:
            shown = ", ".join(f"{rate:g}" for rate in known[:5])
            raise ValueError(
                f"The recordings have frame rates of {shown} Hz, so that windows of {settings.length} frames would "
                f"last {settings.length / known[-1]:.3g} to {settings.length / known[0]:.3g} s; set windows.fps to "
                "one rate, or windows.mode to 'resample'."
            )
    elif None in rates:
        raise ValueError(
            f"windows.fps is {settings.fps:g}, but {sum(rate is None for rate in rates):,} recordings have no frame "
            "rate; name it in ingest.read.fps or in the layout, or leave windows.fps out."
        )


def _frames_per_step(recording: Recording, settings: WindowSettings) -> float:
    if settings.fps is None or settings.mode != "slide":
        return 1.0
    if recording.fps is None:
        raise ValueError(
            f"recording '{recording.recording}' has no frame rate, but its windows are cut at {settings.fps:g} Hz"
        )
    return recording.fps / settings.fps


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FilledRecording:
    """A recording without gaps, in body sizes: what windows and their views are cut from.

    `root` are the joints whose mean is the body's place; `center` is the setting, "none" where the
    layout has no up axis, whose nodes are not `in_space`.
    """

    positions_TVC: Floats
    seen_TV: Bools
    root: NDArray[np.int64]
    center: str
    in_space: bool = True

    @property
    def frames(self) -> int:
        return len(self.positions_TVC)

    @classmethod
    def from_recording(
        cls, recording: Recording, layout: Layout, settings: WindowSettings
    ) -> FilledRecording:
        _check_fit(recording, layout)
        in_space = layout.up_axis is not None
        seen_TV = recording.seen_TV(settings.min_confidence)
        positions = recording.positions_TVC
        if in_space and settings.size == "body":
            positions = positions / _body_size(positions, seen_TV, layout)
        return cls(
            positions_TVC=_fill(positions, seen_TV),
            seen_TV=seen_TV,
            root=_root(seen_TV, layout),
            center=settings.center if in_space else "none",
            in_space=in_space,
        )

    def cut(self, times_NT: NDArray[np.float64]) -> tuple[Floats, Bools]:
        """Cut clean windows [N, T, V, C] at the given times, placed as the setting wants, and where seen [N, T, V]."""
        windows, seen = self.sample(times_NT)
        return self.move_to_centre(windows), seen

    def sample(self, times_NT: NDArray[np.float64]) -> tuple[Floats, Bools]:
        """Interpolate positions [N, T, V, C] at the given times, and where they were seen [N, T, V].

        Positions are linear between frames; a joint counts as seen where it was in the nearest
        frame. Padding beyond the end repeats the last frame, unseen.
        """
        last = self.frames - 1
        low = np.clip(np.floor(times_NT).astype(np.int64), 0, last)
        high = np.minimum(low + 1, last)
        part = (times_NT - low).astype(np.float32)[..., None, None]
        before = self.positions_TVC[low]
        positions = before + part * (self.positions_TVC[high] - before)
        nearest = np.floor(times_NT + 0.5).astype(np.int64)
        seen = self.seen_TV[np.minimum(nearest, last)] & (nearest <= last)[..., None]
        return positions, seen

    def locate(self, positions: Floats) -> Floats:
        """Return where the body of positions [..., T, V, C] is in each frame [..., T, 1, C]."""
        place: Floats = positions[..., self.root, :].mean(axis=-2, keepdims=True)
        return place

    def find_place(self, windows_NTVC: Floats) -> Floats:
        """Return where the bodies of windows that `cut` gave stand [N, C]: about it they are turned and resized.

        0 where they are centred, or are no bodies.
        """
        if self.in_space and self.center == "none":
            return self.locate(windows_NTVC)[:, 0, 0]
        return np.zeros((len(windows_NTVC), windows_NTVC.shape[-1]), dtype=np.float32)

    def move_to_centre(self, positions: Floats) -> Floats:
        """Move windows [..., T, V, C] so that their bodies are placed as the setting wants."""
        if self.center == "none":
            return positions
        place = self.locate(positions)
        return positions - (place[..., :1, :, :] if self.center == "first" else place)


def _check_fit(recording: Recording, layout: Layout) -> None:
    joints, channels = recording.positions_TVC.shape[1:]
    if joints != layout.joint_count:
        raise ValueError(
            f"Recording '{recording.recording}' has {joints} joints, but layout '{layout.name}' "
            f"has {layout.joint_count}; name the layout that the recording was made with."
        )
    possible = {"x": (2, 3), "y": (2, 3), "z": (3,)}.get(layout.up[-1])
    if possible and channels not in possible:
        raise ValueError(
            f"Recording '{recording.recording}' has {channels} coordinates, but layout "
            f"'{layout.name}' with up = '{layout.up}' needs {' or '.join(map(str, possible))}; "
            "mend 'up' or the recording."
        )


def _body_size(positions_TVC: Floats, seen_TV: Bools, layout: Layout) -> np.float32:
    """Return the mean over bones of a bone's median length over the frames that show it; 1 without a bone.

    The median, because a joint that jumps for a few frames must not resize the person.
    """
    ends = np.array(layout.bones, dtype=np.int64).reshape(-1, 2)
    shown_TE = seen_TV[:, ends[:, 0]] & seen_TV[:, ends[:, 1]]
    ends, shown_TE = ends[shown_TE.any(axis=0)], shown_TE[:, shown_TE.any(axis=0)]
    if not len(ends):
        return np.float32(1)
    vectors = positions_TVC[:, ends[:, 0]] - positions_TVC[:, ends[:, 1]]
    lengths_TE = np.linalg.norm(vectors, axis=2)
    medians = medians_of(np.where(shown_TE, lengths_TE, np.nan))
    size = np.float32(medians.mean())
    return size if size > 0 else np.float32(1)


def _fill(positions_TVC: Floats, seen_TV: Bools) -> Floats:
    """Interpolate unseen joints linearly between the seen frames around them.

    Before the first and after the last seen frame that frame is held; a joint that is never seen
    is 0.
    """
    if seen_TV.all():
        return positions_TVC
    frames = len(seen_TV)
    time_T1 = np.arange(frames)[:, None]
    before_TV = np.maximum.accumulate(np.where(seen_TV, time_T1, -1))
    after_TV = np.minimum.accumulate(np.where(seen_TV, time_T1, frames)[::-1])[::-1]
    start_TV = np.where(before_TV < 0, after_TV, before_TV)
    end_TV = np.where(after_TV == frames, before_TV, after_TV)
    never_V = ~seen_TV.any(axis=0)
    start_TV[:, never_V] = end_TV[:, never_V] = 0
    part_TV = (time_T1 - start_TV) / np.maximum(end_TV - start_TV, 1)
    joints = np.arange(seen_TV.shape[1])
    start = positions_TVC[start_TV, joints]
    filled: Floats = start + part_TV.astype(np.float32)[..., None] * (
        positions_TVC[end_TV, joints] - start
    )
    filled[:, never_V] = 0
    return filled


def _root(seen_TV: Bools, layout: Layout) -> NDArray[np.int64]:
    """Return the layout's root joints that are ever seen; where none is, all joints that are."""
    ever = np.flatnonzero(seen_TV.any(axis=0))
    root = np.array(layout.root, dtype=np.int64)
    for joints in (np.intersect1d(root, ever), ever):
        if joints.size:
            return joints
    return root
