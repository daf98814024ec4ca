"""Softened class probabilities of the teacher as targets (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from gaitforge.losses.targets import Targets
from gaitforge.models import Output


def soft_label_kl(output: Output, targets: Targets, temperature: float) -> Tensor:
    """KL(teacher || student) of softened classes, mean over the batch (Hinton 2015, sec. 2).

    Multiplied by temperature squared, so that its gradient keeps the size of the hard loss.
    Raises ValueError where the teacher's logits were not loaded.
    """
    if targets.teacher_logits_BK is None:
        raise ValueError(
            "The term 'kd' needs the teacher's outputs; run `gaitforge outputs` first."
        )
    log_student = functional.log_softmax(output.logits_BK / temperature, dim=-1)
    log_teacher = functional.log_softmax(targets.teacher_logits_BK / temperature, dim=-1)
    return (
        functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        * temperature**2
    )
