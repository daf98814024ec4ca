"""Export a student as ONNX, check the file against the original, time it, and describe it by a card."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.cost import latency_ms
from gaitforge.decision import HasDifference, say_difference, say_interval, say_judged
from gaitforge.onnx_file import Session, open_session
from gaitforge.records.confirm import Member, ModelScores, Network
from gaitforge.records.export import Card

# float32 sums in another order differ by about 1e-6 of the logits; more means another function
TOLERANCE = 1e-4
REPEATS, WARMUP = 200, 20


class Exportable(nn.Module):
    """Wraps a student so that it takes plain tensors instead of a Batch, as an ONNX export needs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, joints: Tensor, seen: Tensor) -> Tensor:
        """Return logits [B, K] for joints [B, T, V, C] float32 and seen [B, T, V] bool."""
        logits: Tensor = self.model(Batch(joints_BTVC=joints, seen_BTV=seen)).logits_BK
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was measured of an exported student.

    `max_abs_difference` is the largest between its logits and the original's; latencies are of one window
    on one CPU thread.
    """

    onnx_bytes: int
    max_abs_difference: float
    latency_ms_p50: float
    latency_ms_p95: float


def export_onnx(
    model: nn.Module, joints_NTVC: np.ndarray, seen_NTV: np.ndarray, path: Path
) -> Exported:
    """Write the ONNX file `path` and measure it on real windows: at least 7, as it is run at batch sizes 1 and 7.

    Raises ArithmeticError where the file's logits differ from the model's by more than TOLERANCE,
    RuntimeError where this version of torch cannot export the model, or predict would not run it.
    """
    exportable = Exportable(model).eval()
    example = (torch.from_numpy(joints_NTVC[:2].copy()), torch.from_numpy(seen_NTV[:2].copy()))
    batch_axis = {
        0: torch.export.Dim.AUTO
    }  # a named Dim would freeze the batch size without a word
    with _quiet_exporter():
        program = torch.onnx.export(
            exportable,
            example,
            dynamo=True,
            verbose=False,
            input_names=["joints", "seen"],
            output_names=["logits"],
            dynamic_shapes={"joints": batch_axis, "seen": batch_axis},
        )
    if program is None:
        raise RuntimeError(
            "torch.onnx.export gave no program: this version of torch cannot export the student; "
            "name another confirmed trial as export.trial, or export with another version of torch."
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces: this machine's paths, and ten times the size
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
    try:
        session = open_session(path)
    except ValueError as error:
        raise RuntimeError(
            f"`gaitforge predict` would not run the exported student ({error.args[0].partition('; ')[0]}); name "
            "another confirmed trial as export.trial."
        ) from error
    differences = [
        _difference(exportable, session, joints_NTVC[:size], seen_NTV[:size]) for size in (1, 7)
    ]
    difference = float(np.max(differences))  # unlike Python's, NaN wherever one is
    if not difference <= TOLERANCE:
        raise ArithmeticError(
            f"The exported student's logits differ by {difference:.2g}, but must agree within {TOLERANCE}; "
            "name another confirmed trial as export.trial, or export with another version of torch."
        )
    one = {"joints": joints_NTVC[:1].copy(), "seen": seen_NTV[:1].copy()}
    latency = latency_ms(lambda: session.run(None, one), repeats=REPEATS, warmup=WARMUP)
    return Exported(
        onnx_bytes=path.stat().st_size,
        max_abs_difference=difference,
        latency_ms_p50=latency.p50,
        latency_ms_p95=latency.p95,
    )


MARKS = {"good": "✓", "bad": "✗", "open": "?"}  # how a reason of the verdict speaks


def card_text(card: Card) -> str:
    """Write the model card in Markdown: the verdict, what was tested, on whom, and what it must not be used for.

    One network is handed out, so its own test comes first; the mean over seeds below it tells what training
    it anew would give.
    """
    recipe, network, teacher = card.confirmed, card.network, card.teacher
    params = f"{card.params:,}"
    lines = [
        f"# Student of trial {card.trial}: {card.family}, {params} parameters",
        "",
        f"**Verdict: {card.verdict.word}.**",
        "",
        card.sentence,
        "",
        *(f"- {MARKS[row.says]} {row.text}" for row in card.verdict.rests_on),
        "",
        *_of_another(card),
        "| | parameters | macro F1 | 95 % interval | accuracy | minus the teacher | 95 % interval "
        "| minus the reference | 95 % interval |",
        f"|{'---|' * 9}",
        f"| **this network** (seed {network.seed}) | {params} | {_row(network)} {_minus(network)} "
        f"{_minus(network.against_reference)}",
    ]
    if recipe.seeds > 1:
        lines.append(
            f"| its recipe, mean of {recipe.seeds} seeds | {params} | {_row(recipe)} {_minus(recipe)} | |"
        )
    if recipe.alone is not None:
        lines.append(
            f"| the recipe without distillation | {params} | {_row(recipe.alone)} | | | |"
        )
    lines += [
        f"| teacher ({teacher.family}) | {teacher.params:,} | {_row(teacher)} | | "
        f"{_minus(card.reference.teacher_minus_this)}",
        f"| reference (ridge regression) | | {_row(card.reference)} | | | |",
        f"| always the commonest class | | {_row(card.chance)} | | | |",
        "",
        "The exported weights are this network's, the seed with the best validation score; its intervals are over "
        f"people.{_over_seeds(recipe)}",
        "",
        f"- Against the teacher: {_tested(card)}",
        *(
            f"- Against {name}: macro F1 {say_difference(against)}"
            f"{'' if card.too_few else ', an interval that holds for all confirmed students at once'}"
            for name, against in (
                ("the reference", network.against_reference),
                ("always the commonest class", network.against_chance),
            )
        ),
        *_by_person(network),
        "",
        f"Scored on {card.people['confirm']} people who were used for nothing else; trained on "
        f"{card.people['train']}, chosen on {card.people['validation']}.",
        "",
        f"- Classes: {', '.join(card.classes)}",
        f"- Input: layout {card.layout.name} ({len(card.layout.joints)} joints, "
        f"unit {card.layout.unit}, "
        f"up {card.layout.up}), {card.channels} coordinates, windows of {card.windows.length} frames "
        f"({card.windows.mode})",
        f"- ONNX file: {card.onnx_bytes:,} bytes; largest difference of its logits from the original "
        f"{card.max_abs_difference:.1e} at batch sizes 1 and 7",
        f"- One window on one CPU thread: {card.latency_ms_p50:.2f} ms (median), "
        f"{card.latency_ms_p95:.2f} ms (95th "
        "percentile), on the machine that exported it",
        f"- {card.macs:,} multiply-accumulates for one window",
        "",
        "It was tested on recordings of the kind it was trained on, made and labelled the same way, and on no others. "
        "It is no medical device, and no diagnosis may rest on it.",
        "",
    ]
    return "\n".join(lines)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says on torchvision, its own old calls and shapes: nobody here can act on it."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("onnx", "fx.experimental")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _of_another(card: Card) -> list[str]:
    """Return a note where the verdict is about another student than this one, else nothing.

    That happens where run.toml names the student to export.
    """
    about = card.verdict.about
    if about == card.trial:
        return []
    return [f"This verdict is about trial {about}, not about this student, which was named.", ""]


def _row(scores: ModelScores) -> str:
    ends = scores.interval
    interval = "too few people" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
    return f"{scores.macro_f1:.3f} | {interval} | {scores.accuracy:.3f} |"


def _minus(scores: HasDifference) -> str:
    """Write the two cells of a difference, the model of the row minus that of the column."""
    ends = scores.difference_interval
    interval = "too few people" if ends is None else say_interval(ends)
    return f"{scores.difference:+.3f} | {interval} |"


def _tested(card: Card) -> str:
    network = card.network
    words = say_judged(tested=network.tested, noninferior=network.noninferior, margin=card.margin)
    return f"macro F1 {say_difference(network)}; {words}"


def _by_person(network: Network) -> list[str]:
    """Return a line with each person's difference; nothing where there are too many people to list."""
    each = network.by_person
    if each is None:
        return []
    people = ", ".join(f"{person} {value:+.2f}" for person, value in each.differences.items())
    return [
        f"- Share of right answers, minus the teacher's, by person: {people} (exact sign flips over people: "
        f"p = {each.sign_flip_p:.2g})"
    ]


def _over_seeds(recipe: Member) -> str:
    if recipe.seeds == 1:
        return ""
    return " Those of the recipe are over people and seeds: what another training would give."


def _difference(model: nn.Module, session: Session, joints: np.ndarray, seen: np.ndarray) -> float:
    with torch.no_grad():
        original = model(torch.from_numpy(joints.copy()), torch.from_numpy(seen.copy())).numpy()
    exported = session.run(None, {"joints": joints.copy(), "seen": seen.copy()})[0]
    return float(np.abs(original - exported).max())
