"""The search: Ray Tune trains one student per trial, each by one call of a plain function."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

import search_spaces
from gaitforge.cost import Cost
from gaitforge.extensions import load_extensions
from gaitforge.failures import count_failures, failure_note
from gaitforge.models import make_sizes
from gaitforge.objectives import OBJECTIVES, SearchedFront
from gaitforge.provenance import Provenance
from gaitforge.records.search import FRONT, SEARCH, SearchHead
from gaitforge.records.trial import TRIAL, Trial
from gaitforge.settings import (
    ClusterSettings,
    SearchSettings,
    as_dict,
)
from gaitforge.trials import TrialLog
from gaitforge.work import (
    SplitFolder,
    open_path,
    remove_tree,
    write_parquet,
)
from search_spaces import SPACES, Proposal
from trainers.arithmetic.check import Refused
from trainers.arithmetic.machines import check_arithmetic
from trainers.cluster.blind_gpus import check_gpus
from trainers.cluster.connection import (
    connect,
    count_concurrent_trials,
    gpus_per_trial,
    list_nodes,
    pick_packed_node,
    wait_for_room,
)
from trainers.cluster.deaths import LIVES, speak_when_dying, translate_memory_kills
from trainers.search.budget import Budget, CostCounter, check_budget
from trainers.search.checks import check_classes, check_joint_counts
from trainers.search.claim import (
    claim_folder,
    join_provenances,
    search_identity,
    search_provenance,
)
from trainers.search.gate import find_largest_student, pass_gate
from trainers.search.gpu_shares import find_gpu_share, keep_to_share
from trainers.search.searcher import StudySearcher
from trainers.search.starts import check_starts, read_starts
from trainers.search.trial import BrokenAcceleratorError, TrialContext, run_trial
from trainers.terminal.progress import SearchProgress
from trainers.terminal.say import say
from trainers.terminal.stopping import Stopped
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

# Trials between two tables of them, for readers who look on: at 10,000 trials a table takes half a second.
COMPACT_EVERY = 100
IMPORTANCE: dict[str, pa.DataType] = {
    "family": pa.string(),
    "objective": pa.string(),
    "name": pa.string(),
    "importance": pa.float64(),
}


def search_students(
    settings: SearchSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    fresh: bool = False,
) -> None:
    """Try students until `settings.trials` have ended, and write `search/`; go on where it was stopped.

    Raises ValueError where no student can meet the budget, or where the folder holds a search with
    other settings and `fresh` was not asked for; RuntimeError where the search gave up.
    """
    teacher = Teacher.read(folder)
    budget, count_cost = (
        Budget.of(settings, teacher.params // teacher.members),
        CostCounter(windows),
    )
    check_budget(settings, budget, count_cost)
    check_classes(settings, len(windows.classes))
    check_joint_counts(settings, windows, outputs)
    starts = read_starts(
        settings.start_from, partial(propose, settings), settings.start_with, settings.terms
    )
    sources = check_starts(settings.start_from, settings.start_with, windows.people("confirm"))
    worst = find_worst_values(settings, count_cost(make_sizes(teacher.family, teacher.sizes)))
    head = claim_head(settings, windows, folder, budget, worst, sources, fresh)
    largest = partial(find_largest_student, settings, windows, outputs, budget, count_cost)
    settings = pass_gate(settings, cluster, windows, folder, head.identity, outputs, largest)
    kept = SearchKeeper(settings, folder, head)
    searcher = StudySearcher(
        settings,
        kept.log,
        budget,
        partial(propose, settings),
        count_cost,
        kept.end_trial,
        starts,
        kept.progress.print_retry,
    )
    kept.take_up(searcher.ended.values())
    kept.write_head(searcher, head.seconds)
    if len(searcher.ended) < settings.trials:
        started = time.monotonic()
        train_students(searcher, cluster, windows, outputs, folder, kept.progress)
        kept.write_head(searcher, head.seconds + time.monotonic() - started)
    kept.close(searcher)
    check_complete(searcher)


def claim_head(
    settings: SearchSettings,
    windows: WindowFolder,
    folder: SplitFolder,
    budget: Budget,
    worst: Sequence[float],
    sources: Mapping[str, Provenance],
    fresh: bool,
) -> SearchHead:
    """Return what search.json will tell, after making sure that the folder's trials are of this search.

    `worst` is the value of each objective that a student must beat to count, `sources` what the students to try first
    come from. Its seconds are those that earlier starts have spent. Raises ValueError where the trials are of another
    search.
    """
    identity = search_identity(settings, windows.key, Teacher.read(folder).fingerprint)
    earlier = claim_folder(folder, identity, as_dict(settings), fresh)
    origin = search_provenance(identity, windows, folder, sources)
    return SearchHead(
        identity=identity, families=settings.families, epochs=settings.fit.epochs,
        rungs=settings.stopping.rungs(settings.fit.epochs), seed=settings.seed, objectives=settings.objectives,
        reference=tuple(worst), max_params=budget.params, settings=as_dict(settings),
        provenance=join_provenances(origin, earlier.provenance) if earlier else origin,
        trials=settings.trials, rejected=0, seconds=earlier.seconds if earlier else 0.0,
    )  # fmt: skip


class SearchKeeper:
    """Keeps a search's files up to date as it goes: the log, the front, search.json, and the tables made of them."""

    def __init__(self, settings: SearchSettings, folder: SplitFolder, head: SearchHead) -> None:
        self.folder = folder
        self.head = head
        self.log = TrialLog(folder)
        self.front = SearchedFront(head.objectives, head.reference)
        self.progress = SearchProgress(self.log, settings, self.front)
        self.ended = 0

    def take_up(self, trials: Collection[Trial]) -> None:
        """Begin with the trials that have ended in earlier starts."""
        for trial in trials:
            self.front.add(trial)
        self.ended = len(trials)

    def end_trial(self, trial: Trial) -> None:
        """Show a trial that has ended, and update front and table; the trial's own file is written already."""
        if self.front.add(trial):
            self.write_front()
        self.progress.print_ended(trial)
        self.ended += 1
        keep_table(self.log, self.ended)

    def write_front(self) -> None:
        """Write `search/front.json`."""
        FRONT.write(self.folder.front, self.front.as_record(self.head.identity))

    def write_head(self, searcher: StudySearcher, seconds: float) -> None:
        """Write `search/search.json`; `seconds` are those spent in all starts."""
        told = replace(self.head, rejected=searcher.rejected, seconds=seconds)
        SEARCH.write(self.folder.search_head, told)

    def close(self, searcher: StudySearcher) -> None:
        """Write what is made of all trials: the table, the front, the importance; say how many failed."""
        self.log.remove_drafts()
        self.log.compact()
        self.write_front()
        write_importance(self.folder, searcher)
        if note := failure_note(count_failures(searcher.ended.values())):
            say(f"  {note}")


def train_students(
    searcher: StudySearcher,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    progress: AbstractContextManager[Any],
) -> None:
    """Train on the cluster the students that the searcher proposes, until it has enough or gives up."""
    settings = searcher.settings
    context = TrialContext(
        folder=str(folder.root), windows=str(windows.folder), outputs=str(windows.mapped_outputs(outputs)),
        objectives=settings.objectives, rungs=searcher.rungs.epochs, max_latency_ms=settings.max_latency_ms,
        data=windows.on_nodes("train", "validation", outputs=outputs, terms=settings.terms),
    )  # fmt: skip
    connect(cluster, folder.root)
    check_arithmetic(
        cluster, settings.families, windows, cluster.cpus_per_trial, gpus_per_trial(cluster)
    )
    gpus = find_gpu_share(
        cluster, settings, searcher.budget, searcher.count_cost, windows, outputs, folder
    )
    trainable = tune.with_parameters(tune_trial, context=context)
    check_gpus(gpus)
    run_tune(searcher, trainable, cluster, gpus, folder.search / "ray", progress)


def check_complete(searcher: StudySearcher) -> None:
    """Raise RuntimeError, with the reason, where the search has not come to its end."""
    if searcher.refused:
        raise RuntimeError(searcher.refused)
    if searcher.gave_up:
        raise RuntimeError(
            f"The search gave up: {searcher.gave_up.rstrip('.')}; mend that, then start it anew with --fresh."
        )
    ended, wanted = len(searcher.ended), searcher.settings.trials
    if ended < wanted:  # Tune ends quietly when it is interrupted
        raise Stopped(
            f"The search was stopped after {ended} of {wanted} trials; the same command goes on."
        )


def run_tune(
    searcher: StudySearcher,
    trainable: Any,
    cluster: ClusterSettings,
    gpus: float,
    storage: Path,
    progress: AbstractContextManager[Any],
) -> None:
    """Run the search in Ray Tune, whose workers stay warm and train one student after the other."""
    # Tune's state of an earlier start; the trial log is the truth
    remove_tree(storage)
    trials = count_concurrent_trials(cluster, gpus)
    resources = trial_resources(cluster, gpus, trials)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher.on_rung, searcher.on_error, searcher.count_lives),
            num_samples=searcher.settings.trials - len(searcher.ended),
            max_concurrent_trials=trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"search-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            storage_path=str(storage.resolve()),
            verbose=0,
            callbacks=[],
            failure_config=tune.FailureConfig(max_failures=LIVES),  # `on_error` adds to them
        ),
    )
    # a trial's end is told by our own line; Tune's traceback of a killed worker says no more
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    room = wait_for_room(cluster, "A student", 1, cluster.cpus_per_trial, gpus)
    with room, progress, translate_memory_kills():
        tuner.fit()
    remove_tree(storage)


def trial_resources(
    cluster: ClusterSettings, gpus: float, trials: int
) -> tune.PlacementGroupFactory:
    """Return what a student asks Ray for, and which node it prefers, where `trials` are trained at a time."""
    bundle = {"CPU": float(cluster.cpus_per_trial)} | ({"GPU": gpus} if gpus > 0 else {})
    if cluster.placement == "spread":
        return tune.PlacementGroupFactory([bundle], strategy="SPREAD")
    # Ray spreads what asks for one bundle at a time, PACK or not: each packs its own bundles only
    first = pick_packed_node(list_nodes(), trials, cluster.cpus_per_trial, gpus)
    return tune.PlacementGroupFactory(
        [bundle], strategy="STRICT_PACK", _soft_target_node_id=first.id
    )


def tune_trial(config: dict[str, Any], context: TrialContext) -> None:
    """Run one trial in a Tune worker; what it reports comes to `StudySearcher.on_rung`."""
    speak_when_dying()
    load_extensions(SPACES)
    trial = TRIAL.parse(config["trial"], open_path(context.folder))
    prepare = partial(keep_to_share, SplitFolder(open_path(context.folder)))
    silent = True
    try:
        for scores in run_trial(trial, context, prepare):
            tune.report({"rung": scores})
            silent = False
    except Refused as error:
        tune.report({"refused": str(error)})
        return
    except BrokenAcceleratorError:
        # Tune hands the next student to a new worker, and this trial, which has ended, with it
        os._exit(1)
    if silent:  # of a trial without any report Tune prints a line of its own
        tune.report({"rung": {}})


def propose(settings: SearchSettings, trial: optuna.trial.BaseTrial) -> Proposal:
    """Draw one student of the settings' families from an Optuna trial."""
    spaces = {family: SPACES[family].suggest for family in settings.families}
    return search_spaces.propose(
        trial, spaces, settings.terms, settings.terms_warmup, settings.streams
    )


def find_worst_values(settings: SearchSettings, teacher: Cost) -> list[float]:
    """Return the value of each objective that a student must beat to count in the hypervolume.

    For sizes it is the teacher's, for scores the objective's own worst, for the latency its limit.
    """
    worst = []
    for name in settings.objectives:
        objective = OBJECTIVES[name]
        if objective.counted:
            worst.append(float(getattr(teacher, objective.key)))
        elif objective.worst is not None:
            worst.append(objective.worst)
        else:
            assert settings.max_latency_ms is not None  # the settings saw to that
            worst.append(settings.max_latency_ms)
    return worst


def keep_table(log: TrialLog, ended: int) -> None:
    """Write the table of trials anew after every COMPACT_EVERY trials, while a search runs."""
    if ended % COMPACT_EVERY == 0:
        log.compact()


def write_importance(folder: SplitFolder, searcher: StudySearcher) -> None:
    """Write `search/importance.parquet`: how much of each objective's variation each searched value explains.

    Rows whose `family` is null are over all families, the others over the students of one. Nothing is
    written with too few trials to tell.
    """
    rows = [
        {"family": family, "objective": objective, "name": name, "importance": value}
        for family in (None, *searcher.settings.families)
        for objective, importance in searcher.study.measure_importance(family).items()
        for name, value in importance.items()
    ]
    if rows:
        write_parquet(
            folder.importance,
            pa.Table.from_pylist(rows, schema=pa.schema(IMPORTANCE)),
        )


class RungScheduler(FIFOScheduler):
    """Passes a trial's reports and errors from Tune to two callbacks, which decide whether it goes on.

    `on_rung` takes Tune's name of the trial and the scores that it reported, and returns whether it goes on.
    `on_error` takes that name, what Ray says of the error, and whether Tune tries the trial again; it
    returns whether the trial may fail once more than it could before. `lives` says how often a new trial may fail.
    """

    def __init__(
        self,
        on_rung: Callable[[str, Mapping[str, Any]], bool],
        on_error: Callable[[str, str, bool], bool] = lambda name, told, again: False,
        lives: Callable[[], int] = lambda: LIVES,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_rung = on_rung
        self.on_error = on_error
        self.lives = lives

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        trial.max_failures = min(trial.max_failures, self.lives())

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        # Tune has flattened what was reported as {"rung": scores}, and added keys of its own
        scores = {
            name.removeprefix("rung/"): value
            for name, value in result.items()
            if name.startswith("rung/")
        }
        goes_on = not scores or self.on_rung(trial.trial_id, scores)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        # Tune counts a failure, decides, and only then tells: what it wrote is all that says which
        # failure it was
        file = Path(trial.error_file) if trial.error_file else None
        text = file.read_text(errors="replace") if file and file.is_file() else ""
        told = text.rpartition("Failure # ")[2].partition("\n")[2]  # without its number and time
        again = bool(trial.should_recover())  # type: ignore[no-untyped-call]
        if self.on_error(trial.trial_id, told, again):
            trial.max_failures += 1
