"""When in a window the answer is decided: how much it changes where a phase is somebody else's (Dehigahawattage 2025).

Hewa Dehigahawattage, Nandakishor, Palaniswami 2025, "Learning to Reason: Temporal Saliency Distillation for
Interpretable Knowledge Transfer" (arXiv 2601.04263), by its abstract and its published code. With x a window, x_q the
same with phase q taken from a window of another class, and p = softmax(logits / temperature),

    s_bq = temperature ** 2 * KL(p(x_b) || p(x_bq))
    n_bq = s_bq / mean over b and q of s_bq                      student and teacher each by their own mean
    loss = mean over b and q of smooth L1 (student n_bq - teacher n_bq)

Published with 50 stretches of 10 steps at random places, each from another window, drawn anew at every step, which
needs the teacher beside the student. Ours are the PHASES of a window, all from one window that is drawn once, so that
the teacher's saliency can be stored. It is no map of features, as attention's is: it tells what answers rest on, and
costs a student PHASES more forward passes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gaitforge.batch import Batch
from gaitforge.losses.nodes import PHASES
from gaitforge.models.output import Output

LEAST = 1e-8  # of the mean saliency, as in the published code


def saliency_loss(student_BQ: Tensor, teacher_BQ: Tensor) -> Tensor:
    """Return the smooth L1 distance between saliencies, each in units of its mean over the batch.

    No mean over windows: the unit is that of the whole batch. Neither side is below 0.
    """
    return functional.smooth_l1_loss(_in_means(student_BQ), _in_means(teacher_BQ))


def measure_saliency(
    model: Callable[[Batch], Output], batch: Batch, donor: Batch, temperature: float
) -> Tensor:
    """Return a model's saliency [B, PHASES]: the divergence of its answer where a phase is the donor's.

    `donor` has one window of another class for each of the batch. Gradients reach the model's weights. A model in
    training takes whatever it keeps of batches (normalisation) from changed windows as well.
    """
    changed = _log_answer(model(replace_phases(batch, donor)), temperature)
    log_changed = changed.reshape(-1, PHASES, changed.shape[-1])  # [B, Q, K]
    log_asked = _log_answer(model(batch), temperature)[:, None].expand_as(log_changed)
    kl_BQK = functional.kl_div(log_changed, log_asked, reduction="none", log_target=True)
    return kl_BQK.sum(dim=-1) * temperature**2


def replace_phases(batch: Batch, donor: Batch) -> Batch:
    """Return PHASES windows for each of the batch [B * PHASES], in which one phase after the other is the donor's.

    What was seen comes with the joints; features of a window stay its own.
    """
    frames = batch.joints_BTVC.shape[1]
    frame_T = torch.arange(frames, device=batch.joints_BTVC.device)
    theirs_QT = frame_T * PHASES // frames == torch.arange(PHASES, device=frame_T.device)[:, None]
    joints = torch.where(
        theirs_QT[:, :, None, None], donor.joints_BTVC[:, None], batch.joints_BTVC[:, None]
    )
    seen = torch.where(theirs_QT[:, :, None], donor.seen_BTV[:, None], batch.seen_BTV[:, None])
    features = batch.features_BF
    return Batch(
        joints_BTVC=joints.flatten(0, 1),
        seen_BTV=seen.flatten(0, 1),
        features_BF=None if features is None else features.repeat_interleave(PHASES, dim=0),
    )


def draw_donors(label_N: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each window the number [N] of one of another class, all of those alike; the same for the same seed.

    Raises ValueError where all windows are of one class.
    """
    donor_N = torch.empty_like(label_N)
    for label in sorted(set(label_N.tolist())):
        own_M = torch.nonzero(label_N == label)[:, 0]
        others = torch.nonzero(label_N != label)[:, 0]
        if not len(others):
            raise ValueError(
                "All windows are of one class, but a donor is of another; there is nothing to distil."
            )
        drawn_M = torch.randint(len(others), (len(own_M),), generator=generator)
        donor_N[own_M] = others[drawn_M]
    return donor_N


def _log_answer(output: Output, temperature: float) -> Tensor:
    logits_BK = output.logits_BK
    logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
    return functional.log_softmax(logits_BK / temperature, dim=-1)


def _in_means(saliency_BQ: Tensor) -> Tensor:
    return saliency_BQ / (saliency_BQ.mean() + LEAST)
