"""Run one trial in a worker: it goes on from its checkpoint, reports at rungs and logs its end; uses no Ray."""

from __future__ import annotations

import dataclasses
import math
import platform
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from gaitforge.objectives import OBJECTIVES
from gaitforge.records.trial import Trial
from gaitforge.trials import TrialLog
from gaitforge.work import NO_ROOM, SplitFolder, on_disk, open_path, write_whole
from trainers.arithmetic.check import Refused, trust
from trainers.training.examples import hold_examples
from trainers.training.fitting import Fitting
from trainers.training.measures import measure_exported_latency_ms, measure_validation
from trainers.training.predictions import write_predictions
from trainers.training.student import StudentSpec, new_student, train_student
from trainers.training.window_folder import NodeData, WindowFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialContext:
    """What all trials of a search share, as plain values that can be sent to other processes."""

    folder: str  # of the split
    windows: str
    outputs: str
    objectives: tuple[str, ...]
    rungs: tuple[int, ...]  # epochs
    max_latency_ms: float | None
    data: NodeData | None = None  # what a node lacks of them at first


# after these every later call to the device fails in the same process, whichever student makes it
STICKY = re.compile(
    "CUDA error|HIP error|CUDA driver error|device-side assert|illegal memory access|uncorrectable ECC"
    "|launch failure|CUBLAS_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)|CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)"
)


class BrokenAcceleratorError(RuntimeError):
    """This process can train no more students; the trial that found it out is in the log."""


def run_trial(
    proposed: Trial, context: TrialContext, prepare: Callable[[], None] = lambda: None
) -> Iterator[dict[str, float]]:
    """Train the student of a trial; yield its scores at each rung, and write its end to the log.

    Asking for the next rung lets the trial go on. Any exception of the trial, or of `prepare` before it,
    is logged as the reason for its end. A trial that has ended already, whose worker died before it could
    say so, is not trained again. Raises Refused, and leaves the trial to others, where this machine must not
    train its family or its disk is full; raises BrokenAcceleratorError, once the trial is logged, where the
    process can use its accelerator no more.
    """
    log = TrialLog(SplitFolder(open_path(context.folder)))
    if log.has(proposed.number):
        return
    try:
        prepare()
        if context.data is not None:
            context.data.bring()
        trust(proposed.family, context.windows)
        yield from _train(proposed, context, log)
    except Refused:  # the machine is at fault, not the student
        raise
    except Exception as error:  # the boundary of a trial: the search goes on whatever broke it
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise Refused.for_full_disk(error) from error
        trial = log.as_kept(proposed)
        text = str(error).splitlines()[0] if str(error) else "no message"
        reason = f"{type(error).__name__}: {text}"
        # the curve as far as the last whole epoch is kept, so that it can be seen
        log.add(
            dataclasses.replace(
                trial,
                state="failed",
                reason=reason,
                traceback="".join(traceback.format_exception(error)),
                scores=None,
                ended=now(),
            )
        )
        if is_sticky(error):
            raise BrokenAcceleratorError(reason) from error


def is_sticky(error: BaseException) -> bool:
    """Tell whether an error, or one that it came of, has left the accelerator unusable to this process."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.AcceleratorError):
            return True
        if isinstance(seen, RuntimeError) and STICKY.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _train(proposed: Trial, context: TrialContext, log: TrialLog) -> Iterator[dict[str, float]]:
    spec = StudentSpec.of(proposed, context.windows, context.outputs)
    fitting = new_student(spec)
    trial = go_on(proposed, fitting, log)
    windows = WindowFolder.open(Path(spec.windows))
    known: dict[str, float] = {}
    if context.max_latency_ms is not None:
        # measured once: a trial that goes on must not end, or change, by the noise of a second time
        measured = (trial.scores or {}).get("latency_ms")
        if measured is None:
            measured = measure_exported_latency_ms(new_student(spec).model, windows)
        known = {"latency_ms": measured}
        if known["latency_ms"] > context.max_latency_ms:
            log.add(_too_slow(trial, known, context))
            return
    valid = hold_examples(spec.windows, spec.teacher_outputs)[1]
    keys = [OBJECTIVES[name].key for name in context.objectives if OBJECTIVES[name].is_score]
    for metrics in train_student(spec, fitting):
        row = dataclasses.asdict(metrics)
        if set(keys) - row.keys():
            # another pass over the validation windows, only where what it gives is asked for
            scores, _ = measure_validation(fitting.result, valid, context.objectives)
            row |= {key: scores[key] for key in keys}
        trial = dataclasses.replace(
            trial,
            curve=(*trial.curve, row),
            scores={
                "val_macro_f1": metrics.val_macro_f1, "val_accuracy": metrics.val_accuracy, **known,
            },
            epochs=metrics.epoch,
            seconds=trial.seconds + metrics.seconds,
        )  # fmt: skip
        log.show_running(trial)
        if metrics.epoch in context.rungs:
            at_rung = {**average_rung_scores(trial.curve, keys), **known}
            yield at_rung
            trial = dataclasses.replace(trial, rungs=(*trial.rungs, at_rung))
            keep_checkpoint(trial, fitting, log)
    scores, scored = measure_validation(fitting.result, valid, context.objectives)
    write_predictions(
        log.folder, windows, "validation", "student", trial.number, trial.seed, scored
    )
    log.add(dataclasses.replace(trial, state="finished", scores={**scores, **known}, ended=now()))


def average_rung_scores(
    curve: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> dict[str, float]:
    """Return what a trial is compared by at a rung: its scores averaged over the later half of its epochs.

    One epoch's score of few people is noisy. On `benchmarks/students.py`'s table the mean tells the
    final order better than the last score.
    """
    later = curve[len(curve) // 2 :]
    means = {key: sum(float(row[key]) for row in later) / len(later) for key in keys}
    return {"epoch": curve[-1]["epoch"], **means}


def keep_checkpoint(trial: Trial, fitting: Fitting, log: TrialLog) -> None:
    """Save a trial that goes on from a rung, so that a kill costs it no more than the epochs since."""
    # in this order: a kill in between leaves scores of more epochs than the weights have, never of fewer
    log.show_running(trial)
    told = {"epoch": str(fitting.epoch), "hash": trial.hash, "seed": str(trial.seed)}
    write_whole(log.checkpoint(trial.number), save(fitting.tensors(), metadata=told))


def go_on(proposed: Trial, fitting: Fitting, log: TrialLog) -> Trial:
    """Return the trial, and load its student, as its checkpoint left them; begin anew where none can be used."""
    started = dataclasses.replace(
        proposed,
        curve=(),
        rungs=(),
        scores=None,
        epochs=0,
        seconds=0.0,
        node=platform.node(),
        started=now(),
    )
    path, known = log.checkpoint(proposed.number), log.read_running(proposed.number)
    if known is None or known.hash != proposed.hash or not path.is_file():
        log.show_running(started)
        return started
    with on_disk(path) as copy:
        tensors = load_file(copy)
        with safetensors.safe_open(copy, framework="pt") as file:
            told: Mapping[str, str] = file.metadata() or {}
    epoch = int(told.get("epoch", 0))
    curve = tuple(row for row in known.curve if row["epoch"] <= epoch)
    is_its_own = (told.get("hash"), told.get("seed")) == (proposed.hash, str(proposed.seed))
    # a power cut may have kept the weights and lost the scores, which are not written through
    if not is_its_own or len(curve) < epoch:
        log.show_running(started)
        return started
    fitting.load(tensors, epoch)
    return dataclasses.replace(
        known,
        state="running",
        node=platform.node(),
        curve=curve,
        rungs=tuple(row for row in known.rungs if row["epoch"] <= epoch),
        epochs=epoch,
        seconds=sum(float(row["seconds"]) for row in curve),
    )


def _too_slow(trial: Trial, known: Mapping[str, float], context: TrialContext) -> Trial:
    assert context.max_latency_ms is not None
    share = known["latency_ms"] / context.max_latency_ms
    return dataclasses.replace(
        trial,
        state="stopped",
        reason=(
            f"before training: {known['latency_ms']:.3g} ms a window once exported, and "
            f"search.max_latency_ms is {context.max_latency_ms:g}"
        ),
        # as a proposal over budget: behind all that were trained
        violation=len(context.rungs) + math.log10(share),
        ended=now(),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
