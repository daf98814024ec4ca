"""Let the teacher's training survive lost nodes: checkpoints in good time, and which failures end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.train import UserCallback, get_preemption_info
from ray.train.collective import broadcast_from_rank_zero

from gaitforge.failures import find_top_frame
from gaitforge.work import open_path, write_whole
from trainers.cluster.deaths import LIVES, LOST_NODES, NODE, UNKNOWN, Death, find_death

ASK_S = 5.0  # from one question for notices to the next; clouds give 30 s of notice or more
KEEP_S = 300.0  # what a node that is lost without notice may cost of a long epoch
SAME_ERRORS = 2  # without a checkpoint between them: it is not the node
LOST_WORKERS = 10  # in a row, likewise: out of memory, say
LATE_STARTS = 720  # in all, of 5 s each, while a lost node is waited for


class Keeper:
    """Keeps checkpoints within an epoch: while a node is announced to go away, and every KEEP_S seconds.

    Asking for announcements is a barrier, so all workers ask after the same step, which rank 0 sets by its clock.
    """

    def __init__(
        self, keep: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.keep = keep
        self.clock = clock
        self.steps = 0  # since the last question
        self.steps_to_ask = 1
        self.asked = self.last_kept = clock()

    def note_kept(self) -> None:
        """Note that a checkpoint was kept just now by somebody else."""
        self.last_kept = self.clock()

    def after_step(self) -> None:
        self.steps += 1
        if self.steps < self.steps_to_ask:
            return
        now = self.clock()
        is_going = get_preemption_info() is not None
        told: dict[str, int] = broadcast_from_rank_zero(
            {
                "keep": int(is_going or now - self.last_kept >= KEEP_S),
                "steps": plan_next_question(self.steps, now - self.asked),
            }
        )
        if told["keep"]:
            self.keep()
            self.note_kept()
        self.steps, self.steps_to_ask = 0, told["steps"]
        self.asked = self.clock()


def plan_next_question(steps: int, seconds: float) -> int:
    """Return after how many steps ASK_S seconds will have passed, where `steps` took `seconds`.

    At most ten times as many as `steps`, since a few steps say little of the next ones.
    """
    return max(1, min(10 * steps, round(steps * ASK_S / max(seconds, 1e-6))))


class GivesUp(UserCallback):
    """Ends a training that gets no further; a node that is lost now and then does not end it.

    Ray calls it in the process that controls the run, and what it raises there ends the run. Only a report from
    farther than any before is progress: a training that goes on from a checkpoint may report the same step again.
    """

    def __init__(self, last_words: str | None = None) -> None:
        self.last_words = last_words  # file for those of the worker that ended it
        self.errors: list[str] = []  # since it got farther
        self.lost = self.died = self.unknown = 0  # likewise
        self.farthest = (0, 0)  # epochs, and steps of the next one

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        reached = (int(metrics[0]["epoch"]), int(metrics[0]["step"]))
        if reached > self.farthest:
            self.farthest = reached
            self.errors, self.lost, self.died, self.unknown = [], 0, 0, 0

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """Raise RuntimeError where an error came again, a worker died again, or too many were lost in a row.

        Workers lost with a node of which there was notice do not count.
        """
        errors = worker_exceptions.values()
        if any(is_announced(error) for error in errors):
            return
        deaths = [death for error in errors if (death := find_death(str(error)))]
        if own := [death for death in deaths if death.by not in (NODE, UNKNOWN)]:
            self.died += 1
            if self.died > LIVES:
                raise RuntimeError(self._died_again(own[0]))
            return
        if any(death.by == UNKNOWN for death in deaths):
            self.unknown += 1
            if self.unknown > LOST_NODES:
                raise RuntimeError(
                    f"{Death(by=UNKNOWN).reason}, {self.unknown} times before the next checkpoint"
                )
            return
        if any(type(error).__module__.startswith("ray.") for error in errors):
            # a process or a node is gone; what the others say then is that they were left alone
            self.lost += 1
            if self.lost >= LOST_WORKERS:
                raise RuntimeError(
                    f"{self.lost} times in a row a worker died before the next checkpoint (out of memory, say)"
                )
            return
        found = {(str(error).strip() or type(error).__name__).splitlines()[0] for error in errors}
        self.errors += found
        for reason in found:
            if self.errors.count(reason) >= SAME_ERRORS:
                raise RuntimeError(reason)

    def _died_again(self, death: Death) -> str:
        frame = find_top_frame(death.words)
        text = f"{death.reason}{f', in {frame}' if frame else ''}, {self.died} times before the next checkpoint"
        if self.last_words is None:
            return text
        write_whole(open_path(self.last_words), "\n".join(death.words).encode())
        return f"{text} (its last words are in {self.last_words})"


class KeepsItsName(UserCallback):
    """Keeps Ray's id of the run in a file, for `forget_killed`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_kept = False

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        if not self.is_kept:
            write_whole(open_path(self.path), run_context.run_id.encode())
            self.is_kept = True


def forget_killed(path: Path) -> None:
    """Give back what Ray holds for the run whose id is in the file, and whose driver was killed.

    Ray keeps what an elastic training asked for 180 s longer, and gives the next one nothing of it.
    There is no public call for that; where Ray's actor has changed or is gone, the next one waits.
    """
    if not path.is_file():
        return
    run = path.read_text(encoding="utf-8")
    try:
        actor = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
        ray.get(actor.cancel_request.remote(f"train-{run}"), timeout=5)
    except (ValueError, AttributeError, ray.exceptions.RayError):
        return


def is_announced(error: Exception) -> bool:
    """Tell whether a worker was lost with its node, of which there was notice."""
    return bool(getattr(getattr(error, "health_check_failure", error), "preempted", False))
