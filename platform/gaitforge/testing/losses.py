"""Rules that every distillation term must keep, as checks: those of this project and those of extensions alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gaitforge.losses import DRAWN, STORED, Heads, Targets, Term
from gaitforge.losses.heads import HEADS
from gaitforge.losses.nodes import PHASES, pool_joints
from gaitforge.losses.sides import Sides
from gaitforge.models import Output
from gaitforge.testing import require

WIDTH, TEACHER_WIDTH, JOINTS, CLASSES = 5, 7, 3, 4
BATCH = 6


def check(term: Term, name: str = "of yours") -> None:
    """Check a term against every rule, in less than a second; `name` is what the sentences call it.

    Raises AssertionError for the first rule that is broken.
    """
    for holds in CHECKS.values():
        holds(term, name)


def check_declared(term: Term, name: str) -> None:
    """Check that a term reads only what it declares: of the teacher's outputs, of what is drawn, of the heads.

    Nothing else is loaded, drawn or built for it.
    """
    told = draw_teacher_targets()
    given = [STORED[term.stored], *([DRAWN[term.drawn]] if term.drawn else [])]
    only = Targets(told.label_B)._replace(**{field: getattr(told, field) for field in given})
    built = None
    if term.head is not None:
        built = Heads.new([term.head], WIDTH, TEACHER_WIDTH, 0)
    try:
        term.compute(Sides(draw_student_outputs(), only, built), term.default)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise AssertionError(
            f"The term '{name}' cannot be computed from what it declares (stored = {term.stored!r}, drawn = "
            f"{term.drawn!r}, head = {term.head!r}): {error!r}; declare what it reads."
        ) from error


def check_value(term: Term, name: str) -> None:
    """Check that a term is one finite number above 0 where student and teacher say different things."""
    for temperature in _ends(term):
        value = _value(term, draw_student_outputs(), draw_teacher_targets(), temperature)
        require(
            value.shape == (),
            f"The term '{name}' has the shape {tuple(value.shape)}, but must be one number: take its mean.",
        )
        require(
            value.isfinite() and value > 0,
            f"The term '{name}' is {value.item():g} at temperature {temperature:g} for a student that does not say "
            "what the teacher says, but must be finite and above 0.",
        )


def check_agreement(term: Term, name: str) -> None:
    """Check that a term is 0 for a student that says what the teacher says; else it would pull the student away.

    Held at temperature 1, or the nearest that the term has: one that softens the teacher alone is not 0 at others.
    """
    said = Output(*(tensor.detach() for tensor in draw_student_outputs()))
    told = draw_teacher_targets()._replace(
        teacher_logits_BK=said.logits_BK.clone(),
        teacher_embedding_BD=said.embedding_BD.clone(),
        teacher_joints_BQVD=pool_joints(said.joints_BDTV),
        memory_nodes_MVD=_drawn(5, JOINTS, WIDTH, seed=3),
        memory_graphs_MQVD=_drawn(5, PHASES, JOINTS, WIDTH, seed=4),
    )
    as_they_are = Heads({head: nn.Identity() for head in HEADS})
    nearest = min(max(1.0, _ends(term)[0]), _ends(term)[-1])
    value = term.compute(Sides(said, told, as_they_are), nearest).item()
    require(
        abs(value) < 1e-6,
        f"The term '{name}' is {value:.2g} for a student that says what the teacher says, but must be 0: it would pull "
        "the student away.",
    )


def check_gradients(term: Term, name: str) -> None:
    """Check that a term has a gradient in the student's outputs, and none in what teacher and memory hold."""
    said, told = draw_student_outputs(), draw_teacher_targets()
    held = [
        getattr(told, field).requires_grad_()
        for field in (*STORED.values(), "memory_nodes_MVD", "memory_graphs_MQVD")
    ]
    value = _value(term, said, told)
    require(
        value.requires_grad,
        f"The term '{name}' does not depend on the student's outputs, so that it teaches nothing.",
    )
    value.backward()  # type: ignore[no-untyped-call]
    gradients = [tensor.grad for tensor in said if tensor.grad is not None]
    require(
        gradients and all(gradient.isfinite().all() for gradient in gradients),
        f"The term '{name}' has no finite gradient in the student's outputs.",
    )
    require(
        any(gradient.any() for gradient in gradients),
        f"The gradient of the term '{name}' in the student's outputs is 0, so that it teaches nothing.",
    )
    require(
        all(tensor.grad is None for tensor in held),
        f"The term '{name}' has a gradient in what the teacher said, which is not learned; detach it.",
    )  # fmt: skip


def check_temperature(term: Term, name: str) -> None:
    """Check that the temperature changes the value of a term that declares a range of it."""
    if term.temperature is None:
        return
    cold, warm = (
        _value(term, draw_student_outputs(), draw_teacher_targets(), end).item()
        for end in term.temperature
    )
    require(
        not math.isclose(cold, warm, rel_tol=0.01),
        f"The term '{name}' is {cold:g} at both ends of its temperature, {term.temperature}; use it, or declare None.",
    )


def check_fewest_classes(term: Term, name: str) -> None:
    """Check that a term on logits teaches from `fewest_classes` classes on, and teaches nothing with fewer.

    A search refuses the term there: its student would count as distilled, but learn from labels alone.
    """
    if term.stored != "logits":
        return
    said, told = draw_student_outputs(), draw_teacher_targets()
    assert told.teacher_logits_BK is not None
    for classes in sorted({2, term.fewest_classes}):
        logits = said.logits_BK[:, :classes].detach().requires_grad_()
        few = told._replace(
            teacher_logits_BK=told.teacher_logits_BK[:, :classes], label_B=told.label_B % classes
        )
        _value(term, said._replace(logits_BK=logits), few).backward()  # type: ignore[no-untyped-call]
        teaches = logits.grad is not None and logits.grad.abs().max() > 1e-4
        require(
            teaches == (classes >= term.fewest_classes),
            f"With {classes} classes the term '{name}' {'teaches' if teaches else 'teaches nothing'}, but its "
            f"fewest_classes are {term.fewest_classes}.",
        )


def check_edges(term: Term, name: str) -> None:
    """Check that a term and its gradients are finite in extreme cases.

    These are windows of one class only, a teacher that is certain, and a student or a teacher whose outputs
    are all 0; each with two windows and with more.
    """
    for batch in (2, BATCH):
        for case, (said, told) in _edges(batch).items():
            for temperature in _ends(term):
                inputs = [tensor.detach().requires_grad_() for tensor in said]
                heads = _heads()
                value = term.compute(Sides(Output(*inputs), told, heads), temperature)
                value.backward()  # type: ignore[no-untyped-call]
                trained = [
                    value,
                    *(t.grad for t in (*inputs, *heads.parameters()) if t.grad is not None),
                ]
                require(
                    all(tensor.isfinite().all() for tensor in trained),
                    f"The term '{name}' or its gradient is not finite for {batch} windows with {case}, at temperature "
                    f"{temperature:g}.",
                )  # fmt: skip


def check_mixed_joints(term: Term, name: str) -> None:
    """Check that a term is finite and above 0 where student, teacher or both have mixed all joints into one."""
    for of_student, of_teacher in ((1, JOINTS), (JOINTS, 1), (1, 1)):
        value = _value(
            term, draw_student_outputs(joints=of_student), draw_teacher_targets(joints=of_teacher)
        )
        require(
            value.isfinite() and value > 0,
            f"The term '{name}' is {value.item():g} where the student has {of_student} joints and the teacher "
            f"{of_teacher}, but must be finite and above 0; compare what `Sides.joints` gives.",
        )


def check_mean_over_windows(term: Term, name: str) -> None:
    """Check that a term is a mean over windows, unless it declares `whole_batch`.

    Only a mean over windows may be computed by workers that share a batch.
    """
    if term.whole_batch:
        return
    whole = _of_rows(term, slice(0, BATCH))
    parts = (_of_rows(term, slice(0, BATCH // 2)) + _of_rows(term, slice(BATCH // 2, BATCH))) / 2
    require(
        math.isclose(whole, parts, rel_tol=1e-4),
        f"The term '{name}' is {whole:g} on a batch and {parts:g} as the mean of its halves, but must be the same: "
        "declare whole_batch = True.",
    )


CHECKS: Mapping[str, Callable[[Term, str], None]] = MappingProxyType(
    {
        "declared": check_declared,
        "value": check_value,
        "agreement": check_agreement,
        "gradients": check_gradients,
        "temperature": check_temperature,
        "fewest classes": check_fewest_classes,
        "edges": check_edges,
        "mixed joints": check_mixed_joints,
        "mean over windows": check_mean_over_windows,
    }
)


def draw_student_outputs(batch: int = BATCH, joints: int = JOINTS) -> Output:
    """Draw made-up outputs of a student, with gradients; the same in every call."""
    rng = torch.Generator().manual_seed(1)
    return Output(
        torch.randn(batch, CLASSES, generator=rng).requires_grad_(),
        torch.randn(batch, WIDTH, generator=rng).requires_grad_(),
        torch.randn(batch, WIDTH, 8, joints, generator=rng).requires_grad_(),
    )


def draw_teacher_targets(batch: int = BATCH, joints: int = JOINTS) -> Targets:
    """Draw made-up outputs of a teacher wider than the student, and all that is drawn for a step.

    They are the same in every call.
    """
    rng = torch.Generator().manual_seed(2)
    return Targets(
        torch.arange(batch) % CLASSES,
        torch.randn(batch, CLASSES, generator=rng),
        torch.randn(batch, TEACHER_WIDTH, generator=rng),
        torch.randn(batch, PHASES, joints, TEACHER_WIDTH, generator=rng),
        torch.randint(batch, (8, 2), generator=rng),
        torch.randn(5, joints, TEACHER_WIDTH, generator=rng),
        torch.randn(5, PHASES, joints, TEACHER_WIDTH, generator=rng),
    )


def _edges(batch: int) -> dict[str, tuple[Output, Targets]]:
    said, told = draw_student_outputs(batch), draw_teacher_targets(batch)
    certain = 50.0 * nn.functional.one_hot(told.label_B, CLASSES).float()
    assert told.teacher_embedding_BD is not None
    assert told.teacher_joints_BQVD is not None
    return {
        "one class": (said, told._replace(label_B=torch.zeros_like(told.label_B))),
        "a certain teacher": (said, told._replace(teacher_logits_BK=certain)),
        # as those of a net whose units have died
        "a student of zeros": (Output(*(torch.zeros_like(tensor) for tensor in said)), told),
        "a teacher of zeros": (
            said,
            told._replace(
                teacher_logits_BK=torch.zeros(batch, CLASSES),
                teacher_embedding_BD=torch.zeros_like(told.teacher_embedding_BD),
                teacher_joints_BQVD=torch.zeros_like(told.teacher_joints_BQVD),
            ),
        ),
    }


def _of_rows(term: Term, rows: slice) -> float:
    """Compute the term on some windows of the batch."""
    said = Output(*(tensor[rows] for tensor in draw_student_outputs()))
    told = draw_teacher_targets()
    kept = {field: getattr(told, field)[rows] for field in ("label_B", *STORED.values())}
    part = told._replace(**kept, pairs_X2=torch.tensor([[0, 1], [1, 2]]))
    return _value(term, said, part).item()


def _value(term: Term, said: Output, told: Targets, temperature: float | None = None) -> Tensor:
    at = term.default if temperature is None else temperature
    return term.compute(Sides(said, told, _heads()), at)


def _heads() -> Heads:
    return Heads.new(list(HEADS), WIDTH, TEACHER_WIDTH, 0)


def _ends(term: Term) -> tuple[float, ...]:
    return term.temperature or (term.default,)


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
