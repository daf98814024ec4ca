"""The search as Tune asks for it: which student comes next, whether a student goes on, and how it ended."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from ray.tune.search import Searcher

from gaitforge.cost import Cost
from gaitforge.models import Sizes
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import SearchSettings, as_dict
from gaitforge.trials import TrialLog
from gaitforge.work import fingerprint
from search_spaces import Proposal
from trainers.cluster.deaths import LIVES, LOST_NODES, NODE, UNKNOWN, Death, find_death
from trainers.search.budget import Budget
from trainers.search.rungs import Rungs
from trainers.search.study import Study
from trainers.search.trial import now
from trainers.terminal.stopping import told_to_stop

# A space whose budget lets fewer than one proposal in 300 pass has the wrong ranges for it.
ATTEMPTS = 300
# A student that has been tried is proposed anew for so many times; then it is trained with a new seed.
MOST_REPEATS = 9


class StudySearcher(Searcher):
    """Gives Tune one student after the other, within budget, and learns from the trial log how they did.

    How a trial ended is read from the log, where the worker wrote it; Tune reports a finished trial and a
    stopped one alike, and only says when to look. `propose` draws a student from an Optuna trial,
    `count_cost` counts what it costs without building it, `on_end` is called with each trial that has
    ended, `starts` are searched values to try first, and `on_retry` is called with a trial that is tried
    once more, and the reason.
    """

    def __init__(
        self,
        settings: SearchSettings,
        log: TrialLog,
        budget: Budget,
        propose: Callable[[optuna.trial.BaseTrial], Proposal],
        count_cost: Callable[[Sizes], Cost],
        on_end: Callable[[Trial], None],
        starts: Sequence[Mapping[str, Any]] = (),
        on_retry: Callable[[Trial, str], None] = lambda trial, why: None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.log = log
        self.budget = budget
        self.count_cost = count_cost
        self.on_end = on_end
        self.starts = starts
        self.on_retry = on_retry
        self.rungs = Rungs(settings.stopping, settings.fit.epochs, settings.objectives)
        self.study = Study(
            settings.objectives, settings.sampler, settings.seed, propose, bool(self.rungs.epochs)
        )
        self.in_flight: dict[str, tuple[Trial, optuna.Trial]] = {}
        self.died: dict[str, dict[str, Any]] = {}  # how the worker of a trial in flight ended last
        self.lost_nodes: Counter[str] = Counter()
        self.gave_up: str | None = None
        self.refused = ""  # why a machine that joined late must not train
        ended = list(log)
        for trial in ended:
            self.rungs.add(trial)
        self.study.add(ended)
        self.rejected = sum(len(trial.rejected) for trial in ended)  # proposals over budget
        self.interrupted = log.list_interrupted()
        self.known = {trial.hash for trial in (*ended, *self.interrupted)}  # configurations

    @property
    def ended(self) -> Mapping[int, Trial]:
        """Return the ended trials of the log, by number."""
        return self.study.ended

    def suggest(self, trial_id: str) -> Any:
        """Return the next student, for Tune; FINISHED when enough are under way or too many have failed."""
        if (
            self.refused
            or self._too_many_failed()
            or len(self.ended) + len(self.in_flight) >= self.settings.trials
        ):
            return str(Searcher.FINISHED)
        trial = self._interrupted(trial_id) if self.interrupted else self._new(trial_id)
        return (
            str(Searcher.FINISHED) if trial is None else {"trial": TRIAL.as_json(trial).decode()}
        )

    def on_rung(self, trial_id: str, scores: Mapping[str, float]) -> bool:
        """Decide whether a trial goes on from a rung; where it does not, log its end and the reason."""
        trial = self.log.as_kept(self.in_flight[trial_id][0])
        at_rung = dataclasses.replace(trial, rungs=(*trial.rungs, dict(scores)))
        decision = self.rungs.judge(at_rung)
        if not decision.go_on:
            self.log.add(
                dataclasses.replace(
                    at_rung,
                    state="stopped",
                    reason=decision.reason,
                    violation=decision.violation,
                    ended=now(),
                )
            )
        return decision.go_on

    def on_error(self, trial_id: str, told: str, again: bool) -> bool:
        """Keep Ray's reason why a trial's worker failed; return whether that does not count against the trial.

        A worker that was lost with its node says nothing of its student, which goes on elsewhere. One that
        died of itself may have died of its student, which is then tried only once more.
        """
        trial = self.in_flight[trial_id][0]
        if self.log.has(trial.number):
            return False  # it had ended before its worker did
        death = find_death(told)
        self.died[trial_id] = _ended_by(death, told)
        if not again:
            return False
        self.on_retry(trial, str(self.died[trial_id]["reason"]))
        if death is None or death.by != NODE:
            return False
        self.lost_nodes[trial_id] += 1
        return self.lost_nodes[trial_id] <= LOST_NODES

    def count_lives(self) -> int:
        """Return how often the next trial goes on after its worker died: never while all that ended died alike."""
        ends = {trial.killed_by for trial in self.ended.values()}
        return 0 if len(ends) == 1 and not ends & {None, NODE} else LIVES

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial, asked = self.in_flight.pop(trial_id)
        self.refused = str((result or {}).get("refused", "")) or self.refused
        # a signal to the whole process group ends the workers as well
        if (self.refused or told_to_stop()) and not self.log.has(trial.number):
            return  # in flight still, for the next start
        if not self.log.has(trial.number):
            known = self.log.as_kept(trial)
            died = self.died.get(trial_id) or _ended_by(Death(by=UNKNOWN), "")
            self.log.add(
                dataclasses.replace(known, state="failed", scores=None, ended=now(), **died)
            )
        self.died.pop(trial_id, None)
        ended = self.log.read(trial.number)
        self.rungs.add(ended)
        self.study.tell(asked, ended)
        self.on_end(ended)

    def find_common_failure(self) -> str:
        """Return the reason that most failed trials gave; "" where none failed."""
        reasons = Counter(trial.reason for trial in self.ended.values() if trial.state == "failed")
        return str(reasons.most_common(1)[0][0]) if reasons else ""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: Tune's copy of a searcher would be a second truth beside the trial log."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is rebuilt from the trial log."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, for the same reason: what Tune pickles of its own state must not hold a study."""
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> StudySearcher:
        return self

    def _interrupted(self, trial_id: str) -> Trial:
        """Take up a trial that was in flight when the search was killed: the same student under its number."""
        trial = self.interrupted.pop(0)
        self.in_flight[trial_id] = (trial, self.study.ask_again(trial))
        self.rejected += len(trial.rejected)
        return trial

    def _new(self, trial_id: str) -> Trial | None:
        """Propose a new student within budget; where none is found, return None and keep the reason in `gave_up`."""
        number = self._next_number()
        rejected: list[dict[str, Any]] = []
        repeats = 0
        for attempt in range(ATTEMPTS):
            start = self.starts[number] if number < len(self.starts) and attempt == 0 else None
            asked, proposal = self.study.ask(number, attempt, start, repeats)
            cost = self.count_cost(proposal.sizes)
            searched = self.study.describe_choice(asked)
            if self.budget.allows(cost):
                trial = self._trial(number, proposal, cost, searched, rejected)
                if start is None and trial.hash in self.known and repeats < MOST_REPEATS:
                    self.study.forget(asked)
                    repeats += 1
                    continue
                self.known.add(trial.hash)
                self.in_flight[trial_id] = (trial, asked)
                self.log.show_running(trial)
                return trial
            # farther from the front than any that was stopped, since it may never start
            excess = self.budget.measure_excess(cost) + len(self.rungs.epochs)
            self.study.reject(asked, excess)
            rejected.append({**searched, **dataclasses.asdict(cost), "excess": excess})
            self.rejected += 1
        self.gave_up = (
            f"{ATTEMPTS} proposals in a row were larger than {self.budget}; "
            "raise the budget or narrow the search space."
        )
        return None

    def _too_many_failed(self) -> bool:
        failed = sum(trial.state == "failed" for trial in self.ended.values())
        if len(self.ended) >= 4 and failed > self.settings.max_failed * len(self.ended):
            self.gave_up = f"{failed} of {len(self.ended)} trials failed; most often: {self.find_common_failure()}"
            return True
        return False

    def _next_number(self) -> int:
        taken = (
            self.ended.keys()
            | {trial.number for trial, _ in self.in_flight.values()}
            | {trial.number for trial in self.interrupted}
        )
        return next(number for number in itertools.count() if number not in taken)

    def _trial(
        self,
        number: int,
        proposal: Proposal,
        cost: Cost,
        searched: Mapping[str, Any],
        rejected: Sequence[Mapping[str, Any]],
    ) -> Trial:
        fit = self.settings.fit
        recipe = dataclasses.replace(
            fit.recipe, lr=proposal.lr, weight_decay=proposal.weight_decay
        )
        sizes = proposal.sizes.as_dict()
        return Trial(
            number=number, state="running", family=proposal.family, sizes=sizes, **dataclasses.asdict(cost),
            seed=fit.seed + number, recipe=recipe, distill=proposal.distillation,
            hash=hash_configuration(proposal.family, sizes, recipe, proposal.distillation),
            rejected=tuple(rejected), **searched,
        )  # fmt: skip


def hash_configuration(
    family: str, sizes: Mapping[str, Any], recipe: Recipe, distillation: Distillation
) -> str:
    """Return a hash of a student's settings without the seed."""
    told = {"recipe": as_dict(recipe), "distill": distillation.as_dict()}
    return fingerprint({"family": family, "sizes": sizes, **told})


def _ended_by(death: Death | None, told: str) -> dict[str, Any]:
    """Return the fields of a trial that say how its worker failed."""
    if death is not None:
        return {"reason": death.reason, "killed_by": death.by, "stderr": death.words}
    lines = [line for line in told.splitlines() if line.strip()]
    return {
        "reason": f"in its worker, {lines[-1].strip()}" if lines else "no message",
        "traceback": told,
    }
