"""What a person sees in the terminal while long work runs: plain lines, with the time left."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from gaitforge.duration import say_duration
from gaitforge.failures import describe_student, find_top_frame
from gaitforge.front import spread_along_front
from gaitforge.objectives import SearchedFront
from gaitforge.records.json_file import Unreadable
from gaitforge.records.teacher import LIVE
from gaitforge.records.trial import ENDED, TRIAL, Trial
from gaitforge.settings import SearchSettings
from gaitforge.trials import TrialLog
from trainers.terminal.say import say

SHOWN = 4  # members of the front in a line of progress, spread over the sizes


@contextmanager
def print_teacher_epochs(live: Path) -> Iterator[None]:
    """Print each epoch that the teacher's worker writes to its live log, as it comes."""
    done = threading.Event()
    shown = 0

    def show_new() -> None:
        nonlocal shown
        if not live.is_file():
            return
        rows = [LIVE.parse(line, live) for line in live.read_text(encoding="utf-8").splitlines()]
        for row in rows[shown:]:
            left = (row.epochs - row.epoch) * float(np.median([one.seconds for one in rows]))
            say(
                f"  epoch {row.epoch:>3}/{row.epochs}  loss {row.train_loss:.3f}  validation macro F1 "
                f"{row.val_macro_f1:.3f}  accuracy {row.val_accuracy:.3f}  at most {say_duration(left)} left"
            )
        shown = len(rows)

    def watch() -> None:
        while not done.wait(0.5):
            show_new()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show_new()


class SearchProgress:
    """A line for each trial that ends, and one for the search as a whole every few seconds."""

    def __init__(
        self,
        log: TrialLog,
        settings: SearchSettings,
        front: SearchedFront,
    ) -> None:
        self.log = log
        self.wanted = settings.trials
        self.epochs = settings.fit.epochs
        self.front = front
        self.states: Counter[str] = Counter(trial.state for trial in log)
        self.before = self.states.total()
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def print_ended(self, trial: Trial) -> None:
        """Print a line for a trial that has ended, and one for the search."""
        self.states[trial.state] += 1
        text = f"  trial {trial.number:>3} {trial.state:<8}"
        if trial.state != "failed":
            text += f" {trial.family:<6} {trial.params:>8,} parameters"
        if trial.state == "finished" and trial.scores is not None:
            text += f"  validation macro F1 {trial.scores['val_macro_f1']:.3f}  {say_duration(trial.seconds)}"
        else:
            if trial.state == "failed":
                text += f" {describe_student(trial.family, trial.sizes)}"
            text += f": {trial.reason}"
            if frame := find_top_frame(trial.stderr):
                text += f", in {frame}"
        say(text, before=self._clear())
        say(self.format_line())

    def print_retry(self, trial: Trial, why: str) -> None:
        """Print a line for a trial that has lost its worker and goes on in another."""
        student = describe_student(trial.family, trial.sizes)
        say(f"  trial {trial.number:>3} again    {student}: {why}", before=self._clear())

    def format_line(self) -> str:
        """Return the state of the search in one line."""
        rows = self.front.list_rows()
        size = np.array([row.params for row in rows])
        shown = [rows[i] for i in spread_along_front(size, SHOWN)] if rows else []
        best = ", ".join(f"{row.val_macro_f1:.3f} at {row.params:,}" for row in shown)
        done = self.states.total()
        ended = ", ".join(f"{self.states[state]} {state}" for state in ENDED if self.states[state])
        parts = [f"  {done}/{self.wanted} ended ({ended})", f"front: {best or 'none yet'}"]
        volume = self.front.hypervolume
        if volume is not None:
            parts.append(f"hypervolume {volume:.3f}")
        if self.before < done < self.wanted:
            rate = (time.monotonic() - self.started) / (done - self.before)
            parts.append(f"about {say_duration(rate * (self.wanted - done))} left")
        return "  |  ".join(parts)

    def __enter__(self) -> SearchProgress:
        self.started = time.monotonic()
        if self.live:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            say("", before=self._clear(), end="")

    def _watch(self) -> None:
        """Rewrite the last line with what is running, where the output is a terminal."""
        while not self._done.wait(1.0):
            running = []
            for path in sorted(self.log.folder.running.glob("*.json")):
                try:
                    trial = TRIAL.read(path)
                except (OSError, Unreadable):
                    continue  # it ended while we looked
                running.append(f"{trial.number} ({trial.epochs}/{self.epochs})")
            say(f"  running: {', '.join(running) or 'starting'}", before=self._clear(), end="")

    def _clear(self) -> str:
        return "\r\x1b[K" if self.live else ""
