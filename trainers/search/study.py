"""The Optuna study of a search: in memory and rebuilt from the ended trials, so that the log stays the only record."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from gaitforge.front import front_order
from gaitforge.objectives import OBJECTIVES, costs, value_of
from gaitforge.records.trial import Trial
from search_spaces import Proposal
from trainers.search.genetic import GENETIC, make_genetic_sampler

FEWEST_FOR_IMPORTANCE = 8
# TPE's time for a proposal grows with what its study holds (11 ms at 200 trials, 83 at 2,000): of a
# longer log it holds the front-most and the newest, chosen anew whenever so many have come.
REMEMBERED = 300
RANDOM_FIRST = 10  # trials proposed at random before a sampler has enough to learn from
# where so many in a row were over budget, what the sampler knows of the budget is needed
RANDOM_ATTEMPTS = 50
SAME_AGAIN = 3  # students tried already, after so many of which in a row the proposal is random


class Study:
    """Asks a sampler for students, and tells it how those did that have ended.

    For a finished trial it tells the objectives: means over the seeds that its configuration has had, and
    sizes as logarithms, since a sampler weighs its front by the room that it covers. A stopped trial is
    told as pruned with a broken constraint: worse than any that finished, the less so the longer it
    lasted. A proposal over budget is told likewise, as worse than all of them.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        sampler: str,
        seed: int,
        propose: Callable[[optuna.trial.BaseTrial], Proposal],
        explores: bool = False,
    ) -> None:
        self.objectives = tuple(objectives)
        self.sampler = sampler
        self.seed = seed
        self.propose = propose
        self.explores = explores  # every second proposal is a random one
        self.ended: dict[int, Trial] = {}
        # objectives of finished trials, by configuration and number
        self.seeds: dict[str, dict[int, list[float]]] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = self._new()

    def ask(
        self,
        number: int,
        attempt: int = 0,
        values: Mapping[str, Any] | None = None,
        repeats: int = 0,
    ) -> tuple[optuna.Trial, Proposal]:
        """Propose a student for a trial of that number: the sampler's, or the given values as if it had chosen them.

        `repeats` says how many of the `attempt` proposals before were students tried already.
        """
        # The sampler's randomness follows from the numbers, so that a search that was stopped and
        # started again proposes what it would have proposed without the stop.
        seeds = np.random.SeedSequence([self.seed % 2**64, number, attempt])
        seed = int(seeds.generate_state(1)[0])
        # Optuna's own count of random trials at the start would hold those over budget as well
        blind = number < RANDOM_FIRST and attempt < RANDOM_ATTEMPTS
        # Where a poor student costs an epoch, looking about is cheap: a sampler left to itself keeps
        # proposing what is like its first finds, which then compete with each other at the rungs.
        blind = blind or (self.explores and number % 2 == 1)
        # a genetic sampler's first generation is random, and holds only what it proposed itself
        blind = repeats >= SAME_AGAIN or (blind and self.sampler not in GENETIC)
        self.study.sampler = make_sampler("random" if blind else self.sampler, seed)
        if values is not None:
            self.study.enqueue_trial(dict(values))
        asked = self.study.ask()
        return asked, self.propose(asked)

    def ask_again(self, trial: Trial) -> optuna.Trial:
        """Propose again the student of a trial that was in flight when its search was killed."""
        self._add_rejected(trial)
        return self.ask(trial.number, values=trial.suggested)[0]

    def describe_choice(self, asked: optuna.Trial) -> dict[str, Any]:
        """Return what the sampler chose, from which ranges, and what it keeps with it: enough to rebuild it."""
        kept = self.study.get_trials(deepcopy=False)[asked.number].system_attrs
        return {
            "suggested": asked.params,
            "distributions": {
                name: distribution_to_json(kind) for name, kind in asked.distributions.items()
            },
            # a genetic sampler keeps there which generation a trial is of
            "sampler": {name: kept[name] for name in kept if name.endswith(":generation")},
        }

    def forget(self, asked: optuna.Trial) -> None:
        """Take back a proposal from which nothing is to be learned."""
        self.study.tell(asked, state=TrialState.FAIL)

    def reject(self, asked: optuna.Trial, excess: float) -> None:
        """Tell the sampler that a proposal was over budget by so much; it was never trained."""
        asked.set_constraint("budget", excess)
        self.study.tell(asked, state=TrialState.PRUNED)

    def add(self, trials: Sequence[Trial]) -> None:
        """Take up the ended trials of a log at the start of a search."""
        for trial in trials:
            self._remember(trial)
        self._rebuild()

    def tell(self, asked: optuna.Trial, trial: Trial) -> None:
        """Tell the sampler how a trial ended that `ask` had proposed."""
        self._remember(trial)
        same = asked.study is self.study and asked.params == dict(trial.suggested)
        if not same:
            # Another process has taken the number for its own student, or the study has been
            # rebuilt since.
            if asked.study is self.study:
                self.study.tell(asked, state=TrialState.FAIL)
            self._add_rejected(trial)
            self.study.add_trial(self._frozen(trial))
        elif trial.state == "finished":
            self.study.tell(asked, self._values(trial))
        elif trial.state == "stopped":
            asked.set_constraint("stopped", trial.violation)
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, state=TrialState.FAIL)
        if len(self.ended) >= 2 * REMEMBERED and len(self.ended) % REMEMBERED == 0:
            self._rebuild()

    def measure_importance(self, family: str | None = None) -> dict[str, dict[str, float]]:
        """Return, by objective, the share of its variation that each searched value explains (PED-ANOVA).

        It is worked out over the finished trials, or those of one family; {} with too few of them to tell. Only
        values that all these trials have are looked at. Over all families, objectives that count parameters or
        operations are left out: they follow by arithmetic from a model's sizes, which families do not share. Over
        one family they are explained by its own sizes alone, its streams among them.
        """
        finished = [
            trial
            for trial in self.ended.values()
            if trial.state == "finished" and family in (None, trial.family)
        ]
        if len(finished) < FEWEST_FOR_IMPORTANCE:
            return {}
        study = self._new()
        study.add_trials([self._frozen(trial) for trial in finished])
        shared = set.intersection(*(set(trial.suggested) for trial in finished))
        shared -= {"family"} if family else set()
        found = {}
        with warnings.catch_warnings():
            # it reminds of the sign, which is minded here
            warnings.simplefilter("ignore", UserWarning)
            for index, name in enumerate(self.objectives):
                counted = OBJECTIVES[name].counted
                values = sorted(
                    v
                    for v in shared
                    if not counted or v.startswith(f"{family}.") or (family and v == "streams")
                )
                if values:
                    sign = -1 if OBJECTIVES[name].up else 1
                    found[name] = optuna.importance.get_param_importances(
                        study,
                        params=values,
                        target=lambda t, i=index, s=sign: s * float(t.values[i]),  # type: ignore[misc]
                    )
        return found

    def _remember(self, trial: Trial) -> None:
        self.ended[trial.number] = trial
        if trial.state == "finished":
            row = costs([[value_of(trial, n) for n in self.objectives]], self.objectives)[0]
            signs = [-1 if OBJECTIVES[name].up else 1 for name in self.objectives]
            self.seeds.setdefault(trial.hash, {})[trial.number] = (row * signs).tolist()

    def _values(self, trial: Trial) -> list[float]:
        """Return a finished trial's objectives: the means over the seeds that its configuration had had by then."""
        rows = [row for n, row in self.seeds[trial.hash].items() if n <= trial.number]
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)]

    def _new(self) -> optuna.Study:
        return optuna.create_study(
            directions=[OBJECTIVES[name].direction for name in self.objectives]
        )

    def _rebuild(self) -> None:
        self.study = self._new()
        for number in self._remembered():
            self._add_rejected(self.ended[number])
            self.study.add_trial(self._frozen(self.ended[number]))

    def _add_rejected(self, trial: Trial) -> None:
        for proposal in trial.rejected:
            over = {"budget": float(proposal["excess"])}
            self.study.add_trial(_frozen(proposal, TrialState.PRUNED, over))

    def _remembered(self) -> list[int]:
        """List the trials that the study holds: all, or of a long log the front-most and the newest.

        It follows from the log alone, so that a study rebuilt after a stop is the one before it.
        """
        numbers = sorted(self.ended)
        recent = len(numbers) // REMEMBERED * REMEMBERED
        if recent < 2 * REMEMBERED:
            return numbers
        half = REMEMBERED // 2
        finished = [n for n in numbers[: recent - half] if self.ended[n].state == "finished"]
        values = [[value_of(self.ended[n], o) for o in self.objectives] for n in finished]
        best = front_order(costs(values, self.objectives)).tolist() if finished else []
        return sorted(finished[i] for i in best[:half]) + numbers[recent - half :]

    def _frozen(self, trial: Trial) -> FrozenTrial:
        searched = {
            "suggested": trial.suggested, "distributions": trial.distributions, "sampler": trial.sampler,
        }  # fmt: skip
        if trial.state == "finished":
            return _frozen(searched, TrialState.COMPLETE, {}, self._values(trial))
        if trial.state == "stopped":
            return _frozen(searched, TrialState.PRUNED, {"stopped": trial.violation})
        return _frozen(searched, TrialState.FAIL, {})


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Make the sampler that the settings name."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name in GENETIC:
        return make_genetic_sampler(name, seed)
    if name == "gp":
        return optuna.samplers.GPSampler(n_startup_trials=1, seed=seed)
    return optuna.samplers.TPESampler(n_startup_trials=1, seed=seed)


def _frozen(
    searched: Mapping[str, Any],
    state: TrialState,
    constraints: dict[str, float],
    values: list[float] | None = None,
) -> FrozenTrial:
    """Make a study's trial of what `Study.searched` returned."""
    distributions = searched["distributions"].items()
    return optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(searched["suggested"]),
        distributions={name: json_to_distribution(text) for name, text in distributions},
        constraints=constraints,
        system_attrs=dict(searched.get("sampler", {})),
    )
