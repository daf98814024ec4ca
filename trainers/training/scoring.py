"""Score a model by recording: the mean logits of a recording's windows against its true class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaitforge.metrics import accuracy, confusion, macro_f1, recording_scores
from trainers.training.examples import Examples
from trainers.training.fitting import device_of
from trainers.training.sharing import Shard


@dataclass(frozen=True, slots=True)
class Scored:
    """Recordings scored by a model: their indices, true classes, and mean window logits [R, K]."""

    recording_R: NDArray[np.int64]
    true_R: NDArray[np.int64]
    logits_RK: NDArray[np.float64]

    @property
    def confusion_KK(self) -> NDArray[np.int64]:
        return confusion(self.true_R, self.logits_RK.argmax(axis=1), self.logits_RK.shape[1])

    @property
    def macro_f1(self) -> float:
        return float(macro_f1(self.confusion_KK))

    @property
    def accuracy(self) -> float:
        return float(accuracy(self.confusion_KK))


@torch.no_grad()
def window_logits(
    model: nn.Module, examples: Examples, batch: int, shard: Shard = Shard()
) -> NDArray[np.float64]:
    """Return the logits [N, K] of every clean window, in evaluation mode.

    Several workers compute a shard each and then all have the logits of all windows.
    """
    model.eval()
    device = device_of(model)
    logits_NK = torch.zeros((len(examples), examples.classes), device=device)
    for window_B in torch.split(shard.take_rows(torch.arange(len(examples))), batch):
        if len(window_B):  # there may be more workers than windows
            inputs = examples.take_batch(window_B)
            logits_NK[window_B] = model(inputs.to(device)).logits_BK.float()
    if shard.world > 1:
        torch.distributed.all_reduce(logits_NK)
    return logits_NK.cpu().double().numpy()


def score(model: nn.Module, examples: Examples, batch: int, shard: Shard = Shard()) -> Scored:
    """Score a model on the clean views, with the logits averaged over the windows of each recording."""
    return score_logits(window_logits(model, examples, batch, shard=shard), examples)


def score_logits(logits_NK: NDArray[np.float64], examples: Examples) -> Scored:
    """Average window logits [N, K] over the windows of each recording."""
    recording_R, logits_RK = recording_scores(logits_NK, examples.recording_N)
    _, first_R = np.unique(examples.recording_N, return_index=True)
    return Scored(recording_R, examples.label_N.cpu().numpy()[first_R], logits_RK)
