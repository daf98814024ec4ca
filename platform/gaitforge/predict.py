"""Predict class probabilities of new recordings by an exported student, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import Layout
from gaitforge.metrics import softmax
from gaitforge.normalise import Normalisation, normalise
from gaitforge.recording import Recording, Rejected
from gaitforge.records.export import CARD
from gaitforge.windows import WindowSettings, prepare
from gaitforge.work import ExportFolder, on_s3


@dataclass(frozen=True, slots=True)
class Predictor:
    """An exported student, with what is needed to prepare its input."""

    session: onnxruntime.InferenceSession
    layout: Layout
    classes: tuple[str, ...]
    windows: WindowSettings
    normalisation: Normalisation
    read: ReadOptions

    @classmethod
    def open(cls, folder: Path) -> Predictor:
        """Load the student from an export's folder; raises FileNotFoundError or ValueError where it is no export."""
        files = ExportFolder(folder)
        card = CARD.find(files.card)
        if card is None or not files.onnx.is_file():
            raise FileNotFoundError(
                f"{folder} holds no exported student ({files.card.name} and {files.onnx.name}); give the folder that "
                "`gaitforge export` wrote."
            )
        return cls(
            session=open_session(files.onnx),
            layout=card.layout,
            classes=card.classes,
            windows=card.windows,
            normalisation=card.normalisation,
            read=ReadOptions(confidence_channel=card.read.confidence_channel, fps=card.read.fps),
        )

    def probabilities(self, recording: Recording) -> NDArray[np.float64]:
        """Return class probabilities [K]: the softmax of the mean of the windows' logits.

        Raises ValueError where the recording does not fit the student's layout and coordinates.
        """
        channels, wanted = recording.positions_TVC.shape[2], self.normalisation.mean_VC.shape[1]
        if channels != wanted:
            raise ValueError(
                f"Recording '{recording.recording}' has {channels} coordinates, but the student "
                f"was trained on {wanted}; give it recordings of that kind."
            )
        windows, seen = prepare(recording, self.layout, self.windows)
        joints = normalise(windows, seen, self.normalisation)
        logits = self.session.run(None, {"joints": joints, "seen": seen})[0]
        return softmax(np.asarray(logits, dtype=np.float64).mean(axis=0))

    def files(self, paths: Sequence[Path]) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield the id and the class probabilities [K] of every recording of the files, in the files' order.

        The files need not tell classes and persons. Raises ValueError for a recording that cannot be used,
        besides what reading raises.
        """
        for item in read_files(paths, self.layout, self.read, labelled=False):
            if isinstance(item, Rejected):
                raise ValueError(
                    f"Recording {item.position} of {item.source} cannot be used: {item.reason}."
                )
            yield item.recording, self.probabilities(item)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Load an ONNX file to run on one CPU thread; raises ValueError where it is none."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = path.read_bytes() if on_s3(path) else str(path)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that share no base but this
        raise ValueError(
            f"{path} cannot be loaded as an ONNX model; export the student again."
        ) from error
