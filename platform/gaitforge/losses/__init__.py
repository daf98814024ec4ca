"""The training losses: cross entropy, and the table of distillation terms.

A term is a pure function of what the student puts out and what the teacher put out for the same
view of the same window: Sides hands it logits, embeddings or nodes of both, the student's first. To add
one: write it in a file here, and give it a line in LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gaitforge.losses.attention import attention_loss
from gaitforge.losses.cgrkd import batch_relations, memory_relations
from gaitforge.losses.dist import correlation_loss
from gaitforge.losses.dkd import decoupled_kl
from gaitforge.losses.heads import HEADS, Heads
from gaitforge.losses.hint import hint_loss
from gaitforge.losses.kd import soft_label_kl
from gaitforge.losses.rkd import relation_loss
from gaitforge.losses.sides import Sides, Targets, require
from gaitforge.losses.similarity import similarity_loss
from gaitforge.losses.standardise import standardise
from gaitforge.losses.wttm import transformed_teacher_kl
from gaitforge.models import Output
from gaitforge.recipe import Distillation

# what a term may read of the teacher's outputs, and have drawn for a step -> the field of Targets
STORED = {
    "logits": "teacher_logits_BK",
    "embedding": "teacher_embedding_BD",
    "joints": "teacher_joints_BQVD",
}
DRAWN = {"pairs": "pairs_X2", "nodes": "memory_nodes_MVD", "graphs": "memory_graphs_MQVD"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """A distillation term: what it computes, what it needs, and the ranges that a search may try it in.

    `stored` is what it reads of the teacher's outputs (logits, embedding or joints), `drawn` what is
    drawn for each step (pairs of windows, nodes or graphs of the memory), `head` which of HEADS trains
    along with the student. Terms of one `choice` teach the same thing: a search takes one of them at
    most. A term of the `whole_batch` is no mean over windows, or has a head, which workers that share
    a batch would each train for themselves.
    """

    compute: Callable[[Sides, float], Tensor]  # the last argument is the temperature
    stored: str
    weight: tuple[float, float]  # searched on a log scale, from a twentieth of the first; 0 is off
    temperature: tuple[float, float] | None = None  # None: it has none
    default: float = 1.0  # temperature, where none is given
    choice: str
    drawn: str | None = None
    head: str | None = None
    whole_batch: bool = False
    fewest_classes: int = 2  # with which it has something to teach

    def __post_init__(self) -> None:
        for what, value, known in (
            ("stored", self.stored, STORED),
            ("drawn", self.drawn, (None, *DRAWN)),
            ("head", self.head, (None, *HEADS)),
        ):
            if value not in known:
                raise ValueError(
                    f"Term.{what} is {value!r}, but must be one of {', '.join(map(str, known))}."
                )
        if not 0 < self.weight[0] < self.weight[1]:
            raise ValueError(
                f"Term.weight is {self.weight}, but must be a range above 0: it is searched on a log scale."
            )
        if self.temperature is not None:
            low, high = self.temperature
            if not 0 < low <= self.default <= high:
                raise ValueError(
                    f"Term.temperature is {self.temperature}, but must be a range above 0 that holds the default, "
                    f"{self.default}."
                )


def _kd(sides: Sides, temperature: float) -> Tensor:
    return soft_label_kl(*sides.pair_logits(), temperature)


def _kd_standardised(sides: Sides, temperature: float) -> Tensor:
    student, teacher = sides.pair_logits()
    return soft_label_kl(standardise(student), standardise(teacher), temperature)


def _dkd(sides: Sides, temperature: float) -> Tensor:
    return decoupled_kl(*sides.pair_logits(), sides.targets.label_B, temperature)


def _dkd_standardised(sides: Sides, temperature: float) -> Tensor:
    student, teacher = sides.pair_logits()
    label_B = sides.targets.label_B
    return decoupled_kl(standardise(student), standardise(teacher), label_B, temperature)


def _wttm(sides: Sides, temperature: float) -> Tensor:
    return transformed_teacher_kl(*sides.pair_logits(), temperature)


def _dist(sides: Sides, temperature: float) -> Tensor:
    return correlation_loss(*sides.pair_logits(), temperature)


def _rkd(sides: Sides, temperature: float) -> Tensor:
    return relation_loss(*sides.pair_embeddings())


def _sp(sides: Sides, temperature: float) -> Tensor:
    return similarity_loss(*sides.pair_embeddings())


def _hint(sides: Sides, temperature: float) -> Tensor:
    return hint_loss(*sides.project("hint"))


def _attention(sides: Sides, temperature: float) -> Tensor:
    return attention_loss(*sides.pair_joints())


def _cgrkd_batch(sides: Sides, temperature: float) -> Tensor:
    pairs_X2 = require(sides.targets.pairs_X2)
    return batch_relations(*sides.project("relations"), pairs_X2, temperature)


def _cgrkd_nodes(sides: Sides, temperature: float) -> Tensor:
    return memory_relations(*sides.project("relations"), sides.flatten_memory_nodes(), temperature)


def _cgrkd_graphs(sides: Sides, temperature: float) -> Tensor:
    return memory_relations(
        *sides.project("relations"), sides.average_memory_graphs(), temperature
    )


# Hinton 2015 uses 1 to 20; small nets do better with the low ones (his sec. 3), and a teacher that is soft already may
# be sharpened
SOFT = (0.5, 8.0)
COSINES = (0.05, 0.5)  # cosines are divided by it; 0.1 in CIRKD's code

# Weights: from about a tenth of the cross entropy's gradient in the student to several times as much, measured on small
# students of an ST-GCN teacher on auva_grf, before training and after three epochs. Published ones, for images: dkd 1,
# dist 1 to 2, rkd 1, sp 3000, hint 100, attention 1000, cgrkd 1, 0.1 and 0.1.
# Temperatures by default are those of the published code, but kd's 2, which is ours (4 in later comparisons).
LOSSES: dict[str, Term] = {
    "kd": Term(
        compute=_kd, stored="logits", choice="logits",
        weight=(0.1, 4.0), temperature=SOFT, default=2.0,
    ),
    "kd_standardised": Term(
        compute=_kd_standardised, stored="logits", choice="logits",
        weight=(0.1, 4.0), temperature=SOFT, default=2.0, fewest_classes=3,
    ),
    "dkd": Term(
        compute=_dkd, stored="logits", choice="logits",
        weight=(0.03, 1.0), temperature=SOFT, default=4.0,
    ),
    "dkd_standardised": Term(
        compute=_dkd_standardised, stored="logits", choice="logits",
        weight=(0.02, 1.0), temperature=SOFT, default=2.0, fewest_classes=3,
    ),
    "wttm": Term(  # below 1 its weights would turn round: those of certain teachers would be the larger ones
        compute=_wttm, stored="logits", choice="logits",
        weight=(0.1, 4.0), temperature=(1.0, 8.0), default=2.0,
    ),
    "dist": Term(
        compute=_dist, stored="logits", choice="logits", whole_batch=True,
        weight=(0.05, 2.0), temperature=SOFT, default=1.0,
    ),
    "rkd": Term(
        compute=_rkd, stored="embedding", choice="windows", whole_batch=True, weight=(0.01, 0.4),
    ),
    "sp": Term(
        compute=_sp, stored="embedding", choice="windows", whole_batch=True, weight=(10.0, 400.0),
    ),
    "hint": Term(
        compute=_hint, stored="joints", choice="maps", head="hint", whole_batch=True,
        weight=(0.3, 10.0),
    ),
    "attention": Term(
        compute=_attention, stored="joints", choice="maps", weight=(1.0, 40.0),
    ),
    "cgrkd_batch": Term(
        compute=_cgrkd_batch, stored="joints", choice="cgrkd_batch", drawn="pairs", head="relations",
        whole_batch=True, weight=(0.03, 1.0), temperature=COSINES, default=0.1,
    ),
    "cgrkd_nodes": Term(
        compute=_cgrkd_nodes, stored="joints", choice="cgrkd_nodes", drawn="nodes", head="relations",
        whole_batch=True, weight=(0.1, 4.0), temperature=COSINES, default=0.1,
    ),
    "cgrkd_graphs": Term(
        compute=_cgrkd_graphs, stored="joints", choice="cgrkd_graphs", drawn="graphs", head="relations",
        whole_batch=True, weight=(0.1, 4.0), temperature=COSINES, default=0.1,
    ),
}  # fmt: skip


def check_term(term: object) -> Term:
    """Return what LOSSES may hold; raises ValueError for anything else."""
    if not isinstance(term, Term):
        raise ValueError(f"{term!r} is no gaitforge.losses.Term.")
    return term


def collect_needed(terms: Iterable[str], what: str) -> tuple[str, ...]:
    """Collect the values of a field of these terms (stored, drawn or head), each once, in LOSSES' order."""
    asked = set(terms)
    found = [getattr(term, what) for name, term in LOSSES.items() if name in asked]
    return tuple(dict.fromkeys(value for value in found if value is not None))


def loss_terms(
    output: Output,
    targets: Targets,
    distillation: Distillation,
    class_weights_K: Tensor | None,
    label_smoothing: float,
    heads: Heads | None = None,
) -> dict[str, Tensor]:
    """Compute the named, weighted terms; their sum is what is minimised.

    loss = cross entropy + ramp * sum over terms of weight * term

    Raises ValueError where a term's part of the teacher's outputs was not loaded.
    """
    terms = {
        "cross_entropy": functional.cross_entropy(
            output.logits_BK,
            targets.label_B,
            weight=class_weights_K,
            label_smoothing=label_smoothing,
        )
    }
    sides = Sides(output, targets, heads)
    for name in distillation.terms:
        check_targets(name, targets)
        value = LOSSES[name].compute(sides, temperature_of(name, distillation))
        terms[name] = distillation.weights[name] * value
        if targets.ramp is not None:
            terms[name] = terms[name] * targets.ramp
    return terms


def temperature_of(name: str, distillation: Distillation) -> float:
    """Return the temperature of a term: the one that is given, else the term's default."""
    if name == "kd":
        return distillation.temperature
    return distillation.temperatures.get(name, LOSSES[name].default)


def check_known(distillation: Distillation) -> None:
    """Raise KeyError for a term that LOSSES does not have."""
    for name in (*distillation.weights, *distillation.temperatures):
        if name not in LOSSES:
            raise KeyError(f"There is no distillation term '{name}'. Known: {', '.join(LOSSES)}.")


def check_targets(name: str, targets: Targets) -> None:
    """Raise ValueError where the targets lack what a term compares with."""
    term = LOSSES[name]
    if getattr(targets, STORED[term.stored]) is None:
        raise ValueError(
            f"The term '{name}' needs the teacher's outputs ({term.stored}); run `gaitforge outputs run.toml` first."
        )
    if term.drawn is not None and getattr(targets, DRAWN[term.drawn]) is None:
        raise ValueError(f"The term '{name}' needs {term.drawn} drawn for the step; draw them.")


def class_weights(label_N: Tensor, classes: int) -> Tensor:
    """Return weights [K] proportional to 1 / number of windows of a class, with mean 1 over the classes present."""
    counts = torch.bincount(label_N, minlength=classes).float()
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), torch.zeros_like(counts))
    return inverse / inverse[counts > 0].mean()


__all__ = [
    "DRAWN",
    "LOSSES",
    "STORED",
    "Distillation",
    "Heads",
    "Targets",
    "Term",
    "check_known",
    "check_term",
    "class_weights",
    "collect_needed",
    "loss_terms",
    "temperature_of",
]  # fmt: skip
