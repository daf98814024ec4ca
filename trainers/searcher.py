"""The Optuna study as a Tune searcher: kept in memory, rebuilt from the trial log, never a second truth."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState
from ray.tune.search import Searcher

from gaitforge.cost import Cost
from gaitforge.models import Sizes
from gaitforge.settings import FitPlan, SearchSettings, as_dict
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import fingerprint
from search_spaces import SPACES, Proposal, propose

# A space whose budget lets fewer than one proposal in 300 pass has the wrong ranges for it.
ATTEMPTS = 300
FEWEST_FOR_IMPORTANCE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The largest student that may be trained; None where there is no limit."""

    params: int | None
    macs: int | None

    def allows(self, cost: Cost) -> bool:
        return (self.params is None or cost.params <= self.params) and (
            self.macs is None or cost.macs <= self.macs
        )

    def excess(self, cost: Cost) -> float:
        """How far over the limits a student is, in powers of ten; 0 or less within them."""
        limits = [(cost.params, self.params), (cost.macs, self.macs)]
        return max(
            (math.log10(used / limit) for used, limit in limits if limit is not None), default=-1.0
        )

    def __str__(self) -> str:
        parts = [f"{self.params:,} parameters"] if self.params is not None else []
        parts += [f"{self.macs:,} multiply-accumulates"] if self.macs is not None else []
        return " and ".join(parts)


class StudySearcher(Searcher):
    """Asks Optuna for students within budget, and tells it how the ended ones did.

    Objectives: macro F1 on the validation people (up) and parameters (down). What has ended is
    read from the trial log, where the worker put it; Tune's word for the end of a trial only says
    when to look. `count_cost` counts a student's cost without building it.
    """

    def __init__(
        self,
        settings: SearchSettings,
        log: TrialLog,
        budget: Budget,
        count_cost: Callable[[Sizes], Cost],
        on_end: Callable[[Trial], None],
    ) -> None:
        super().__init__()
        self.settings = settings
        self.log = log
        self.budget = budget
        self.count_cost = count_cost
        self.on_end = on_end
        self.rejected = 0  # proposals over budget
        self.ended: dict[int, Trial] = {}
        self.in_flight: dict[str, tuple[Trial, optuna.Trial]] = {}
        self.gave_up: str | None = None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=self._sampler(0)
        )
        for trial in log:
            self._add(trial)

    def suggest(self, trial_id: str) -> Any:
        """The next student, for Tune; FINISHED when enough have ended or too many have failed."""
        if (
            self._too_many_failed()
            or len(self.ended) + len(self.in_flight) >= self.settings.trials
        ):
            return str(Searcher.FINISHED)
        number = self._next_number()
        # The sampler's randomness follows from the number, so that a search that was stopped and
        # started again proposes what it would have proposed without the stop.
        self.study.sampler = self._sampler(number)
        rejected: list[dict[str, Any]] = []
        for _ in range(ATTEMPTS):
            asked = self.study.ask()
            spaces = {family: SPACES[family].suggest for family in self.settings.families}
            proposal = propose(asked, spaces, self.settings.terms)
            cost = self.count_cost(proposal.sizes)
            asked.set_constraint("budget", self.budget.excess(cost))
            if self.budget.allows(cost):
                trial = self._trial(number, asked, proposal, cost, rejected)
                self.in_flight[trial_id] = (trial, asked)
                return {"trial": trial.as_dict()}
            # pruned and over its constraint: TPE learns from that, and no front can hold it
            self.study.tell(asked, state=TrialState.PRUNED)
            rejected.append({**_searched(asked), **dataclasses.asdict(cost)})
            self.rejected += 1
        self.gave_up = (
            f"{ATTEMPTS} proposals in a row were larger than {self.budget}; "
            "raise the budget or narrow the search space."
        )
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial, asked = self.in_flight.pop(trial_id)
        path = self.log.folder.trials / f"{trial.number}.json"
        if not path.is_file():  # the worker process died before it could write
            died = Trial.from_dict(
                {
                    **trial.as_dict(),
                    "state": "failed",
                    "reason": "the worker process died (out of memory, or killed)",
                },
                path,
            )
            self.log.add(died)
        ended = self.log.read(trial.number)
        if ended.hash != trial.hash:
            # a worker that outlived a killed driver has taken the number for its own student
            self.study.tell(asked, state=TrialState.FAIL)
            self._add(ended)
            self.on_end(ended)
            return
        self.ended[ended.number] = ended
        if ended.state == "finished" and ended.scores is not None:
            self.study.tell(asked, [ended.scores["val_macro_f1"], float(ended.params)])
        else:
            self.study.tell(asked, state=TrialState.FAIL)
        self.on_end(ended)

    def common_failure(self) -> str:
        """The reason that most failed trials gave."""
        reasons = Counter(trial.reason for trial in self.ended.values() if trial.state == "failed")
        return str(reasons.most_common(1)[0][0]) if reasons else ""

    def importance(self) -> dict[str, float]:
        """The share of macro F1's variation by value searched in all families; {} with too few trials to tell."""
        finished = [trial for trial in self.ended.values() if trial.state == "finished"]
        if len(finished) < FEWEST_FOR_IMPORTANCE:
            return {}
        shared = set.intersection(*(set(trial.suggested) for trial in finished))
        with warnings.catch_warnings():
            # it reminds of the sign, which is minded below
            warnings.simplefilter("ignore", UserWarning)
            return optuna.importance.get_param_importances(
                self.study, params=sorted(shared), target=lambda trial: -float(trial.values[0])
            )

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's copy of a searcher would be a second truth beside the trial log."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is rebuilt from the trial log."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for the same reason: what Tune pickles of its own state must not hold a study."""
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> StudySearcher:
        return self

    def _too_many_failed(self) -> bool:
        failed = sum(trial.state == "failed" for trial in self.ended.values())
        if len(self.ended) >= 4 and failed > self.settings.max_failed * len(self.ended):
            self.gave_up = (
                f"{failed} of {len(self.ended)} trials failed; most often: {self.common_failure()}"
            )
            return True
        return False

    def _next_number(self) -> int:
        taken = self.ended.keys() | {trial.number for trial, _ in self.in_flight.values()}
        return next(number for number in itertools.count() if number not in taken)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = (self.settings.seed * 100_003 + number) % 2**32  # numpy takes no larger one
        if self.settings.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)

    def _trial(
        self,
        number: int,
        asked: optuna.Trial,
        proposal: Proposal,
        cost: Cost,
        rejected: Sequence[Mapping[str, Any]],
    ) -> Trial:
        plan = {
            **as_dict(self.settings.fit),
            "lr": proposal.lr,
            "weight_decay": proposal.weight_decay,
            "seed": self.settings.fit.seed + number,
        }
        sizes = proposal.sizes.as_dict()
        distill = {
            "weights": dict(proposal.distillation.weights),
            "temperature": proposal.distillation.temperature,
        }
        recipe = {key: value for key, value in plan.items() if key != "seed"}
        return Trial(
            number=number, state="running", family=proposal.family, sizes=sizes, params=cost.params, macs=cost.macs,
            seed=FitPlan(**plan).seed, recipe=recipe, distill=distill,
            hash=fingerprint({"family": proposal.family, "sizes": sizes, "recipe": recipe, "distill": distill}),
            rejected=tuple(rejected), **_searched(asked),
        )  # fmt: skip

    def _add(self, trial: Trial) -> None:
        """Put a trial of the log, and what was rejected before it, into the study."""
        self.ended[trial.number] = trial
        self.rejected += len(trial.rejected)
        for proposal in trial.rejected:
            self.study.add_trial(self._frozen(proposal, TrialState.PRUNED))
        if trial.state == "finished" and trial.scores is not None:
            values = [trial.scores["val_macro_f1"], float(trial.params)]
            self.study.add_trial(self._frozen(trial.as_dict(), TrialState.COMPLETE, values))
        else:
            self.study.add_trial(self._frozen(trial.as_dict(), TrialState.FAIL))

    def _frozen(
        self, searched: Mapping[str, Any], state: TrialState, values: list[float] | None = None
    ) -> optuna.trial.FrozenTrial:
        """What `_searched` kept, as a trial of the study that it would be had it not stopped."""
        cost = Cost(params=searched["params"], macs=searched["macs"])
        distributions = searched["distributions"].items()
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=dict(searched["suggested"]),
            distributions={name: json_to_distribution(text) for name, text in distributions},
            constraints={"budget": self.budget.excess(cost)},
        )


def _searched(asked: optuna.Trial) -> dict[str, Any]:
    """What the sampler chose, and from which ranges."""
    return {
        "suggested": asked.params,
        "distributions": {
            name: distribution_to_json(kind) for name, kind in asked.distributions.items()
        },
    }
