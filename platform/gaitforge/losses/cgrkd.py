"""Cross-graph relational distillation: how nodes relate to other windows' nodes and to a memory.

Our reconstruction. The relations are those of Yang et al. 2022, "Cross-Image Relational Knowledge
Distillation for Semantic Segmentation", with its code's temperature, normalisation and reductions;
the objects are a skeleton's: an image is a window, a pixel is a node (a joint in a phase), a region
is the mean of a window's nodes. Only the abstract of the paper that moved it to skeletons
(arXiv 2503.13156, withdrawn by its authors) was there to read. Ours besides: pairs of windows are
drawn, since all of them cost as much as a training step, and the student's nodes go through the head
there too; the memory is a frozen teacher's stored outputs, drawn anew for each step, instead of
queues, and holds every joint of each class alike, since a draw takes all joints of a window's phase.

Each function takes the student's nodes as its head brings them to the teacher's width; the teacher's
and the memory's get no gradient. `temperature` is that of cosines, 0.1 in the published code, with no
factor that undoes it. With n(x) = x / |x|, softmax over the last axis, and f_ia node a of window i,

    relation(f, r)   = softmax over r of (n(f) . n(r) / temperature)
    batch_relations  = mean over pairs i, j and nodes a of KL(relation(T_ia, T_j) || relation(S_ia, S_j))
    memory_relations = mean over windows i and nodes a of KL(relation(T_ia, memory) || relation(S_ia, memory))

where T are the teacher's nodes and S the student's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def batch_relations(
    student_BQVD: Tensor, teacher_BQVD: Tensor, pairs_X2: Tensor, temperature: float
) -> Tensor:
    """Return the KL of the similarities of a window's nodes to another's, mean over drawn pairs of windows.

    The published mean is over all B * B ordered pairs; that over drawn ones has the same expectation.
    """
    one, other = pairs_X2.unbind(1)
    student, teacher = (
        _unit(student_BQVD).flatten(1, 2),
        _unit(teacher_BQVD).flatten(1, 2),
    )  # [B, Q*V, D]
    return _relations_kl(
        student[one] @ student[other].transpose(1, 2),  # [X, Q*V, Q*V], X pairs
        teacher[one] @ teacher[other].transpose(1, 2),
        temperature,
    )


def memory_relations(
    student_BQVD: Tensor, teacher_BQVD: Tensor, memory_MD: Tensor, temperature: float
) -> Tensor:
    """Return the KL of the similarities of each node to the entries of a memory, mean over nodes."""
    memory_DM = _unit(memory_MD).T
    student_BQVM, teacher_BQVM = _unit(student_BQVD) @ memory_DM, _unit(teacher_BQVD) @ memory_DM
    return _relations_kl(student_BQVM, teacher_BQVM, temperature)


def average_nodes(nodes_MQVD: Tensor) -> Tensor:
    """Return one vector for each window [M, D]: the mean of its nodes' directions n(x)."""
    return _unit(nodes_MQVD).mean(dim=(1, 2))


def _relations_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(teacher / temperature) || softmax(student / temperature)), mean over all rows."""
    return functional.kl_div(
        torch.log_softmax(student / temperature, dim=-1).flatten(0, -2),
        torch.log_softmax(teacher / temperature, dim=-1).flatten(0, -2),
        reduction="batchmean",
        log_target=True,
    )


def _unit(nodes: Tensor) -> Tensor:
    return functional.normalize(nodes, dim=-1)
