"""METHODS: what a replayed search asks for its next student, and whether to go on with one.

Tune's own searchers and schedulers are driven, in the order in which Tune's controller calls them,
with a toy trial in place of a Ray process. Nothing of theirs is written again here.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import optuna
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.utils import flatten_dict

from benchmarks.replay_table import Table, costs_by_sizes
from benchmarks.students import EPOCHS, GRACE, REDUCTION, suggest
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import SAMPLERS, FitPlan, SearchSettings, StoppingSettings
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder
from trainers.search.budget import Budget
from trainers.search.search import RungScheduler
from trainers.search.searcher import StudySearcher
from trainers.search.trial import average_rung_scores


class Method(Protocol):
    """One search. Trials are named by their number, 0 for the first that is asked for."""

    def ask(self, number: int) -> Mapping[str, Any] | None:
        """The searched values of the next student; None where the search is over."""

    def report(self, number: int, result: dict[str, Any]) -> bool:
        """Whether the student goes on after an epoch.

        `result` holds epoch and training_iteration (1 for the first), val_macro_f1 and params.
        """

    def end(self, number: int, result: dict[str, Any]) -> None:
        """The student has had its last epoch, or was stopped; `result` is its last one."""

    def claimed(self) -> Sequence[int]:
        """The numbers of the trials that the method itself would hand out as its front."""


@dataclass(slots=True)
class ToyTrial:
    """What schedulers look at in a Tune trial."""

    trial_id: str
    config: dict[str, Any]
    status: str = "RUNNING"
    last_result: dict[str, Any] = field(default_factory=dict)


class Tuned:
    """A Tune searcher and a Tune scheduler, called as Tune calls them."""

    def __init__(self, searcher: Searcher, scheduler: TrialScheduler) -> None:
        self.searcher = searcher
        self.scheduler = scheduler
        self.trials: dict[int, ToyTrial] = {}

    def ask(self, number: int) -> Mapping[str, Any] | None:
        config = self.searcher.suggest(str(number))
        if not isinstance(config, dict):  # Searcher.FINISHED
            return None
        self.trials[number] = ToyTrial(str(number), config)
        self.scheduler.on_trial_add(cast(Any, None), self.tune_trial(number))
        return self.searched(number, config)

    def report(self, number: int, result: dict[str, Any]) -> bool:
        trial = self.tune_trial(number)
        decision = self.scheduler.on_trial_result(cast(Any, None), trial, result)
        self.trials[number].last_result = result
        if decision == TrialScheduler.STOP:
            return False
        self.searcher.on_trial_result(str(number), result)
        return True

    def end(self, number: int, result: dict[str, Any]) -> None:
        self.scheduler.on_trial_complete(cast(Any, None), self.tune_trial(number), result)
        self.searcher.on_trial_complete(str(number), result=result)
        del self.trials[number]

    def claimed(self) -> Sequence[int]:
        return ()

    def searched(self, number: int, config: dict[str, Any]) -> Mapping[str, Any]:
        """The searched values in what the searcher suggests."""
        return config

    def tune_trial(self, number: int) -> TuneTrial:
        return cast(TuneTrial, self.trials[number])


class StockOptuna(Tuned):
    """`ray.tune.search.optuna.OptunaSearch` over both objectives, with one of Optuna's samplers."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, scheduler: TrialScheduler) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna = OptunaSearch(
            space=_space, metric=["val_macro_f1", "params"], mode=["max", "min"], sampler=sampler
        )
        super().__init__(self.optuna, scheduler)

    def claimed(self) -> Sequence[int]:
        # Optuna numbers its trials in the order in which they were asked for, as a replay does.
        study: Any = self.optuna._ot_study
        return [trial.number for trial in study.best_trials]


def _space(trial: optuna.Trial) -> None:
    suggest(trial)  # OptunaSearch notes what was suggested; it wants no object back


def never() -> TrialScheduler:
    """No stopping."""
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def asha() -> TrialScheduler:
    """Tune's successive halving, which knows one metric."""
    return ASHAScheduler(
        time_attr="epoch", metric="val_macro_f1", mode="max",
        max_t=EPOCHS, grace_period=GRACE, reduction_factor=REDUCTION,
    )  # fmt: skip


class Ours(Tuned):
    """gaitforge's own searcher and rungs; the trial log, which a real worker writes, is written here."""

    def __init__(self, table: Table, sampler: str, seed: int, stopping: bool) -> None:
        # in memory where there is such a folder: a search of some hundred trials writes as many files
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = tempfile.TemporaryDirectory(prefix="gaitforge-replay-", dir=memory)
        self.log = TrialLog(SplitFolder(Path(self.folder.name)))
        settings = SearchSettings(
            trials=10**9,  # the budget of epochs ends the search
            sampler=sampler,
            seed=seed,
            fit=FitPlan(epochs=EPOCHS),
            stopping=StoppingSettings() if stopping else StoppingSettings(first=0),
        )
        costs = costs_by_sizes(table)
        self.study = StudySearcher(
            settings, self.log, Budget(), suggest, costs.__getitem__, on_end=lambda trial: None
        )
        self.workers: dict[int, Trial] = {}
        super().__init__(self.study, RungScheduler(self.study.on_rung))

    def searched(self, number: int, config: dict[str, Any]) -> Mapping[str, Any]:
        self.workers[number] = TRIAL.parse(config["trial"], Path(self.folder.name))
        return self.workers[number].suggested

    def report(self, number: int, result: dict[str, Any]) -> bool:
        row = {name: result[name] for name in ("epoch", "val_macro_f1")}
        trial = self.workers[number]
        trial = dataclasses.replace(
            trial, scores={"val_macro_f1": row["val_macro_f1"]}, curve=(*trial.curve, row), epochs=row["epoch"]
        )  # fmt: skip
        self.workers[number] = trial
        if trial.epochs not in self.study.rungs.epochs:  # then a worker says nothing
            return True
        at_rung = average_rung_scores(trial.curve, ["val_macro_f1"])
        self.log.show_running(trial)
        if not super().report(number, flatten_dict({"rung": at_rung})):
            return False
        self.workers[number] = dataclasses.replace(trial, rungs=(*trial.rungs, at_rung))
        self.log.show_running(self.workers[number])
        return True

    def end(self, number: int, result: dict[str, Any]) -> None:
        trial = self.workers.pop(number)
        if trial.epochs == EPOCHS:  # a stopped one is in the log already
            self.log.add(dataclasses.replace(trial, state="finished"))
        super().end(number, result)


def moasha(seed: int, ranked: bool) -> Method:
    """Syne Tune's multi-objective successive halving; ValueError where it is not installed."""
    if importlib.util.find_spec("syne_tune") is None:
        raise ValueError(
            "syne_tune is not installed here; install it into an environment of its own "
            "(benchmarks/replay_moasha.py says how) and run this method there."
        )
    from benchmarks.replay_moasha import Moasha

    return Moasha(seed, ranked)


def stock(
    sampler: Callable[..., optuna.samplers.BaseSampler], scheduler: Callable[[], TrialScheduler]
) -> Callable[[int, Table], Method]:
    return lambda seed, table: StockOptuna(sampler(seed=seed), scheduler())


def ours(sampler: str, stopping: bool) -> Callable[[int, Table], Method]:
    return lambda seed, table: Ours(table, sampler, seed, stopping)


# A method starts from a seed and the table, of which it may look at costs only.
METHODS: dict[str, Callable[[int, Table], Method]] = {
    "random": stock(optuna.samplers.RandomSampler, never),
    "stock:tpe": stock(optuna.samplers.TPESampler, never),
    "stock:nsga2": stock(optuna.samplers.NSGAIISampler, never),
    "stock:tpe+asha": stock(optuna.samplers.TPESampler, asha),
    "syne:moasha": lambda seed, table: moasha(seed, ranked=False),
    "syne:moasha-ranked": lambda seed, table: moasha(seed, ranked=True),
    **{f"ours:{sampler}": ours(sampler, stopping=False) for sampler in SAMPLERS},
    **{f"ours:{sampler}+rungs": ours(sampler, stopping=True) for sampler in SAMPLERS},
}
# What runs when no methods are named: what needs no other package, and each idea once.
STANDARD = (
    "random", "stock:tpe", "stock:nsga2", "stock:tpe+asha", "ours:tpe", "ours:random+rungs", "ours:tpe+rungs",
)  # fmt: skip
