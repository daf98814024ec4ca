"""Predict class probabilities of new recordings by an exported student, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaitforge.familiar import find_unlike
from gaitforge.ingest import ReadOptions, check_paths, file_names, read_file
from gaitforge.layout import Layout
from gaitforge.metrics import softmax
from gaitforge.normalise import Normalisation, normalise
from gaitforge.onnx_file import AGAIN, Ports, Session, load_session, look_through, run_bounded
from gaitforge.recording import Recording, Rejected
from gaitforge.records.export import CARD, Card, Familiar
from gaitforge.records.store import HowRead
from gaitforge.sentences import escape_cell
from gaitforge.windows import WindowSettings, count_frames, prepare_in_parts
from gaitforge.work import ExportFolder, read_bytes

# Numbers that one run takes at most, unless a single window has more: several runs instead of memory for all windows.
TOGETHER = 2**18
# An hour at 100 Hz of 68 joints in one window has 73 million, and no student could be trained on that.
MOST_OF_A_WINDOW = 2**24
MOST_TIMES = 2**26  # of all windows of a recording: a window every frame over hours


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The answer to one recording: its class probabilities [K], or None and the reason why there are none.

    Of a file that cannot be used as a whole, `recording` is the path. `unlike` says what of the recording is far
    outside the range of the training people's, whom alone the student knows.
    """

    recording: str
    probabilities_K: NDArray[np.float64] | None
    reason: str = ""
    unlike: str = ""


@dataclass(frozen=True, slots=True)
class Predictor:
    """An exported student, with what is needed to prepare its input."""

    session: Session
    layout: Layout
    classes: tuple[str, ...]
    windows: WindowSettings
    normalisation: Normalisation
    read: ReadOptions
    source: Layout | None = None
    """The layout of the files, where it is another than the student's."""
    familiar: Familiar | None = None

    @classmethod
    def open(cls, folder: Path) -> Predictor:
        """Load the student from an export's folder.

        Raises FileNotFoundError or ValueError where it is no export, or where its files do not belong together.
        """
        files = ExportFolder(folder)
        card = CARD.find(files.card)
        if card is None or not files.onnx.is_file():
            raise FileNotFoundError(
                f"{folder} holds no exported student ({files.card.name} and {files.onnx.name}); give the folder that "
                "`gaitforge export` wrote."
            )
        student = _student_of(card)
        # a file of another size is not even read, and what was hashed is what is run
        same_size = files.onnx.stat().st_size == card.onnx_bytes
        content = read_bytes(files.onnx, "an exported student", AGAIN) if same_size else b""
        if hashlib.sha256(content).hexdigest() != card.onnx_sha256:
            raise ValueError(
                f"{files.onnx} is another file than {files.card.name} tells of; {AGAIN}."
            )
        _check_ports(student, look_through(content, files.onnx), files)
        return cls(
            session=load_session(content, files.onnx, bounded=True),
            layout=card.layout,
            classes=card.classes,
            windows=card.windows,
            normalisation=card.normalisation,
            read=_read_as_told(card.read),
            source=card.read.from_layout,
            familiar=card.familiar,
        )

    def probabilities(self, recording: Recording) -> NDArray[np.float64]:
        """Return class probabilities [K]: the softmax of the mean of the windows' logits.

        Raises ValueError where the recording does not fit the student's layout and coordinates or has no finite
        answer, RuntimeError where the student does not come to an end.
        """
        channels, wanted = recording.positions_TVC.shape[2], self.normalisation.mean_VC.shape[1]
        if channels != wanted:
            raise ValueError(
                f"Recording '{recording.recording}' has {channels} coordinates, but the student "
                f"was trained on {wanted}; give it recordings of that kind."
            )
        length, stride = self.windows.length, self.windows.stride
        frames = count_frames(recording, self.windows)
        if self.windows.mode == "slide" and frames // stride * length > MOST_TIMES:
            raise ValueError(
                f"{frames} frames are too many for windows of {length} frames every {stride}; cut it into shorter ones"
            )
        most = max(1, TOGETHER // (length * self.normalisation.mean_VC.size))
        parts = prepare_in_parts(recording, self.layout, self.windows, most)
        # what overflows is refused below
        with np.errstate(over="ignore", invalid="ignore"):
            logits_NK = np.concatenate([self._logits(*part) for part in parts])
        return softmax(logits_NK.mean(axis=0))

    def check_strict(self) -> None:
        """Raise ValueError where the export does not tell with what new recordings could be compared."""
        if self.familiar is None and self.layout.up_axis is not None:
            raise ValueError(
                "The card of the exported student does not tell what the training people's recordings are like, so "
                f"nothing can be held against them; {AGAIN}, or leave out --strict."
            )
        if self.familiar is None:
            raise ValueError(
                f"The nodes of the layout '{self.layout.name}' are no points of a body, whose recordings alone are "
                "held against the training people's; leave out --strict."
            )

    def files(self, paths: Sequence[Path], *, strict: bool = False) -> Iterator[Prediction]:
        """Yield the answer to every recording of the files, in the files' order; one that cannot be used has a reason.

        With `strict`, neither has one that is unlike the training people's an answer. The files need not tell classes
        and persons. Raises, before any file is read, KeyError for a suffix without a reader, FileNotFoundError for a
        missing file and ValueError for one named twice; RuntimeError where the student does not come to an end.
        """
        check_paths(paths, "give the path of a file that does")
        return self._files(paths, strict)

    def _files(self, paths: Sequence[Path], strict: bool) -> Iterator[Prediction]:
        seen: set[str] = set()
        for path, name in zip(paths, file_names(paths), strict=True):
            try:
                items = read_file(
                    path, self.layout, self.read, source=self.source, labelled=False, name=name
                )
                for item in items:
                    yield self._answer(item, name, seen, strict)
            except (ValueError, OSError) as error:
                reason = str(error.args[0] if error.args else error)
                yield Prediction(recording=str(path), probabilities_K=None, reason=reason)

    def _answer(
        self, item: Recording | Rejected, name: str, seen: set[str], strict: bool
    ) -> Prediction:
        known = item.recording
        if isinstance(item, Rejected):
            # as readers name what has no id of its own
            known = known or f"{name}-{item.position:05d}"
            return Prediction(recording=known, probabilities_K=None, reason=item.reason)
        if known in seen:
            return Prediction(
                recording=known, probabilities_K=None, reason=f"the id occurs twice: '{known}'"
            )
        seen.add(known)
        try:
            unlike = self._tell_unlike(item)
            if strict and unlike:
                reason = f"it is unlike the training people's recordings: {unlike}"
                return Prediction(
                    recording=known, probabilities_K=None, reason=reason, unlike=unlike
                )
            probabilities_K = self.probabilities(item)
            return Prediction(recording=known, probabilities_K=probabilities_K, unlike=unlike)
        except MemoryError:
            reason = "it takes more memory than there is; cut it into shorter ones"
        except ValueError as error:
            reason = str(error)
        return Prediction(recording=known, probabilities_K=None, reason=reason)

    def _tell_unlike(self, recording: Recording) -> str:
        """Say what of a recording is unlike the training people's; nothing of one of other joints, which is none."""
        joints = recording.positions_TVC.shape[1]
        if self.familiar is None or joints != self.layout.joint_count:
            return ""
        return "; ".join(find_unlike(recording, self.layout, self.familiar))

    def _logits(
        self, windows: NDArray[np.float32], seen: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        joints = normalise(windows, seen, self.normalisation)
        if not np.isfinite(joints).all():
            raise ValueError("positions are too large to be those of a body")
        answers = run_bounded(self.session, {"joints": joints, "seen": seen})
        logits_NK = np.asarray(answers[0], dtype=np.float64)
        if logits_NK.shape != (len(joints), len(self.classes)):
            raise ValueError(
                f"the student answers in the shape {logits_NK.shape}, but must give each of {len(joints)} windows "
                f"{len(self.classes)} numbers; {AGAIN}"
            )
        if not np.isfinite(logits_NK).all():
            raise ValueError(f"the student's answer to it is not all finite numbers; {AGAIN}")
        return logits_NK


def name_columns(classes: Sequence[str]) -> list[str]:
    """Return the cells of the first line of a table of predictions."""
    return ["recording", "predicted", *map(escape_cell, classes), "unlike", "reason"]


def fill_row(prediction: Prediction, classes: Sequence[str]) -> list[str]:
    """Return the cells of a line of a table of predictions; without an answer they are empty but for the reason."""
    name, reason = escape_cell(prediction.recording), escape_cell(prediction.reason)
    unlike = escape_cell(prediction.unlike)
    probabilities = prediction.probabilities_K
    if probabilities is None:
        return [name, *[""] * (1 + len(classes)), unlike, reason]
    best = escape_cell(classes[int(probabilities.argmax())])
    return [name, best, *(f"{value:.4f}" for value in probabilities), unlike, reason]


def _read_as_told(read: HowRead) -> ReadOptions:
    """Return the options with which new recordings are read, as a card tells of them."""
    told = {
        item.name: getattr(read, item.name) for item in fields(read) if item.name != "from_layout"
    }
    return ReadOptions(**{name: value for name, value in told.items() if value is not None})


def _student_of(card: Card) -> Ports:
    """Return the inputs and outputs that a card's student must have; ValueError where the card contradicts itself."""
    joints, channels = card.normalisation.mean_VC.shape
    length, classes = card.windows.length, card.classes
    fault = None
    if len(set(classes)) < len(classes) or not all(classes):
        fault = "names a class twice, or one without a name"
    elif (joints, channels) != (card.layout.joint_count, card.channels):
        fault = (
            f"tells of {card.layout.joint_count} joints of {card.channels} coordinates, and of a normalisation of "
            f"{joints} of {channels}"
        )
    elif length * joints * channels > MOST_OF_A_WINDOW:
        fault = f"tells of windows of {length} frames, which no student has"
    elif card.familiar is not None and not _fits(card.familiar, card.layout):
        fault = "tells of training people with other joints or bones than its layout has"
    if fault is not None:
        raise ValueError(f"The card of the exported student {fault}; {AGAIN}.")
    return Ports.of_student(length, joints, channels, len(classes))


def _fits(familiar: Familiar, layout: Layout) -> bool:
    joints = {len(familiar.unseen), len(familiar.heights)}
    bones = {len(familiar.shortest), len(familiar.longest)}
    return joints == {layout.joint_count} and bones == {len(layout.bones)}


def _check_ports(wanted: Ports, found: Ports, files: ExportFolder) -> None:
    """Raise ValueError where a student's inputs or outputs are others than its card tells of."""
    for want, have in ((wanted.inputs, found.inputs), (wanted.outputs, found.outputs)):
        if have != want:
            raise ValueError(
                f"{files.onnx} has {', '.join(map(str, have)) or 'nothing'} where {files.card.name} tells of "
                f"{', '.join(map(str, want))}; {AGAIN}."
            )
