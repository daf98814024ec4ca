"""The search: Ray Tune round `train_student`, one plain function trial per student."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
from ray import tune

import search_spaces
from gaitforge.cost import Cost
from gaitforge.losses import LOSSES, needed
from gaitforge.losses.nodes import check_joints
from gaitforge.models import make_sizes
from gaitforge.objectives import OBJECTIVES, SearchedFront
from gaitforge.settings import ClusterSettings, SearchSettings, as_dict
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import (
    SplitFolder,
    fingerprint,
    open_path,
    read_json,
    remove_tree,
    write_json,
    write_parquet,
)
from search_spaces import SPACES, Proposal
from trainers.arithmetic import Refused
from trainers.budget import Budget, CostCounter, check_budget
from trainers.cluster import (
    concurrent_trials,
    connect,
    filled_first,
    gpus_per_trial,
    nodes,
    room_for,
)
from trainers.examples import WindowFolder
from trainers.machines import check_arithmetic
from trainers.progress import SearchProgress
from trainers.scheduler import RungScheduler
from trainers.searcher import StudySearcher
from trainers.shares import keep_to_share, measured_share
from trainers.starts import read_starts
from trainers.teacher import Teacher
from trainers.trial import TrialContext, run_trial

# How often a trial goes on from its last rung after its worker was lost. Here, what dies twice most likely kills
# itself; in a cluster nodes come and go.
LIVES_HERE, LIVES_IN_CLUSTER = 1, 3
# Trials between two tables of them, for readers who look on: at 10,000 trials a table takes half a second.
COMPACT_EVERY = 100
IMPORTANCE: dict[str, pa.DataType] = {
    "family": pa.string(),
    "objective": pa.string(),
    "name": pa.string(),
    "importance": pa.float64(),
}
# Settings that may differ between the starts of one search.
FREE_TO_CHANGE = ("trials", "max_failed", "start_from", "start_with")
# Settings that older searches do not know, and the value with which one is the search that it was.
CAME_LATER: Mapping[str, Any] = {"terms_warmup": 0.0}


def search_students(
    settings: SearchSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    fresh: bool = False,
) -> None:
    """Try students until `settings.trials` have ended, and write `search/`; goes on where it was stopped.

    Raises ValueError where no student can meet the budget, or where the folder holds a search with
    other settings and `fresh` was not asked for; RuntimeError where the search gave up.
    """
    teacher = Teacher.read(folder)
    budget = Budget.of(settings, teacher.params)
    count_cost = CostCounter(windows)
    check_budget(settings, budget, count_cost)
    check_classes(settings, len(windows.classes))
    check_nodes(settings, windows, outputs)
    starts = read_starts(settings.start_from, partial(propose, settings), settings.start_with)
    reference = worst_values(settings, count_cost(make_sizes(teacher.family, teacher.sizes)))
    head = {
        "schema": 1, "identity": search_identity(settings, windows, teacher), "families": list(settings.families),
        "epochs": settings.fit.epochs, "rungs": list(settings.stopping.rungs(settings.fit.epochs)),
        "seed": settings.seed, "objectives": list(settings.objectives), "reference": reference,
        "max_params": budget.params, "settings": as_dict(settings),
    }  # fmt: skip
    earlier = claim_folder(folder, head, fresh)
    log = TrialLog(folder)
    front = SearchedFront(settings.objectives, reference)
    progress = SearchProgress(log, settings, front)

    def on_end(trial: Trial) -> None:
        if front.add(trial):
            write_json(folder.search / "front.json", front.as_dict())
        progress.ended(trial)
        keep_table(log, len(searcher.ended))

    searcher = StudySearcher(
        settings, log, budget, partial(propose, settings), count_cost, on_end, starts
    )
    for trial in searcher.ended.values():
        front.add(trial)
    spent = earlier.get("seconds", 0.0)

    def write_head(seconds: float) -> None:
        write_json(
            folder.search / "search.json",
            {**head, "trials": settings.trials, "rejected": searcher.rejected, "seconds": seconds},
        )

    write_head(spent)
    if len(searcher.ended) < settings.trials:
        started = time.monotonic()
        context = TrialContext(
            folder=str(folder.root), windows=str(windows.folder), outputs=str(windows.mapped_outputs(outputs)),
            objectives=settings.objectives, rungs=searcher.rungs.epochs, max_latency_ms=settings.max_latency_ms,
            data=windows.on_nodes("train", "validation", outputs=outputs, terms=settings.terms),
        )  # fmt: skip
        connect(cluster, folder.root)
        check_arithmetic(
            cluster, settings.families, windows, cluster.cpus_per_trial, gpus_per_trial(cluster)
        )
        gpus = measured_share(cluster, settings, budget, count_cost, windows, outputs, folder)
        trainable = tune.with_parameters(tune_trial, context=context)
        run_tune(searcher, trainable, cluster, gpus, folder.search / "ray", progress)
        write_head(spent + time.monotonic() - started)
    log.remove_drafts()
    log.compact()
    write_json(folder.search / "front.json", front.as_dict())
    write_importance(folder, searcher)
    if searcher.refused:
        raise RuntimeError(searcher.refused)
    if searcher.gave_up:
        raise RuntimeError(
            f"The search gave up: {searcher.gave_up.rstrip('.')}; mend that, then start it anew with --fresh."
        )
    if len(searcher.ended) < settings.trials:  # Tune ends quietly when it is interrupted
        raise RuntimeError(
            f"The search was stopped after {len(searcher.ended)} of {settings.trials} trials; the same command goes on."
        )


def run_tune(
    searcher: StudySearcher,
    trainable: Any,
    cluster: ClusterSettings,
    gpus: float,
    storage: Path,
    progress: AbstractContextManager[Any],
) -> None:
    """The whole Ray side of a search: warm workers that take one student after the other."""
    # Tune's state of an earlier start; the trial log is the truth
    remove_tree(storage)
    trials = concurrent_trials(cluster, gpus)
    resources = trial_resources(cluster, gpus, trials)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher.on_rung),
            num_samples=searcher.settings.trials - len(searcher.ended),
            max_concurrent_trials=trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"search-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            storage_path=str(storage.resolve()),
            verbose=0,
            callbacks=[],
            failure_config=tune.FailureConfig(
                max_failures=LIVES_HERE if cluster.address == "local" else LIVES_IN_CLUSTER
            ),
        ),
    )
    # a trial's end is told by our own line; Tune's traceback of a killed worker says no more
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with room_for(cluster, "A student", 1, cluster.cpus_per_trial, gpus), progress:
        tuner.fit()
    remove_tree(storage)


def trial_resources(
    cluster: ClusterSettings, gpus: float, trials: int
) -> tune.PlacementGroupFactory:
    """What a student asks for, `trials` of them at a time, and where in the cluster it had better be."""
    bundle = {"CPU": float(cluster.cpus_per_trial)} | ({"GPU": gpus} if gpus > 0 else {})
    if cluster.placement == "spread":
        return tune.PlacementGroupFactory([bundle], strategy="SPREAD")
    # Ray spreads what asks for one bundle at a time, PACK or not: each packs its own bundles only
    first = filled_first(nodes(), trials, cluster.cpus_per_trial, gpus)
    return tune.PlacementGroupFactory(
        [bundle], strategy="STRICT_PACK", _soft_target_node_id=first.id
    )


def tune_trial(config: dict[str, Any], context: TrialContext) -> None:
    """One trial in a Tune worker; what it reports comes back to `StudySearcher.on_rung`."""
    keep_to_share(SplitFolder(open_path(context.folder)))
    trial = Trial.from_dict(config["trial"], open_path(context.folder))
    silent = True
    try:
        for scores in run_trial(trial, context):
            tune.report({"rung": scores})
            silent = False
    except Refused as error:
        tune.report({"refused": str(error)})
        return
    if silent:  # of a trial without any report Tune prints a line of its own
        tune.report({"rung": {}})


def check_families(settings: SearchSettings) -> None:
    """Refuse a student family or a distillation term that does not exist."""
    for what, names, known in (
        ("student family", settings.families, SPACES),
        ("distillation term", settings.terms, LOSSES),
    ):
        for name in names:
            if name not in known:
                raise KeyError(f"There is no {what} '{name}'. Known: {', '.join(sorted(known))}.")


def check_classes(settings: SearchSettings, classes: int) -> None:
    """Refuse, before anything is trained, a term that has nothing to teach with so few classes."""
    for name in settings.terms:
        fewest = LOSSES[name].fewest_classes
        if classes < fewest:
            raise ValueError(
                f"search.terms has '{name}', but there are {classes} classes, and it teaches nothing with fewer than "
                f"{fewest}: z-scores of two logits are always the same; take '{name.removesuffix('_standardised')}'."
            )


def check_nodes(settings: SearchSettings, windows: WindowFolder, outputs: Path) -> None:
    """Refuse, before anything is trained, a family whose joints no term can match with the teacher's."""
    if "joints" not in needed(settings.terms, "stored"):
        return
    joints = read_json(outputs / "outputs.json")["joint_features"][1]
    for family in settings.families:
        sizes = SPACES[family].smallest.as_dict()
        check_joints(windows.nodes(family, sizes).joints, joints, family)


def propose(settings: SearchSettings, trial: optuna.trial.BaseTrial) -> Proposal:
    """One student of the settings' families, asked of an Optuna trial."""
    spaces = {family: SPACES[family].suggest for family in settings.families}
    return search_spaces.propose(trial, spaces, settings.terms, settings.terms_warmup)


def worst_values(settings: SearchSettings, teacher: Cost) -> list[float]:
    """What a student must beat in each objective to count in the hypervolume: the teacher in what it costs."""
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


def search_identity(settings: SearchSettings, windows: WindowFolder, teacher: Teacher) -> str:
    """A hash of all that the trials of one search must share; more trials are the same search."""
    shared = {
        key: value
        for key, value in as_dict(settings).items()
        if key not in FREE_TO_CHANGE and not (key in CAME_LATER and value == CAME_LATER[key])
    }
    versions = {family: SPACES[family].version for family in settings.families}
    later = {family: version for family, version in versions.items() if version > 1}
    return fingerprint(
        {"settings": shared, "windows": windows.key, "teacher": teacher.fingerprint}
        | ({"spaces": later} if later else {})
    )


def claim_folder(folder: SplitFolder, head: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """Make sure that the folder's trials belong to this search; what search.json said before, or {}."""
    path = folder.search / "search.json"
    if not path.is_file():
        return {}
    if fresh:
        set_aside(folder)
        return {}
    before: dict[str, Any] = read_json(path)
    if before["identity"] == head["identity"]:
        return before
    changed = _changed_keys(before.get("settings", {}), head["settings"])
    what = (
        f"search.{changed[0]}"
        if changed
        else "the data, the split, the teacher or a family's search space"
    )
    raise ValueError(
        f"{folder.search} holds a search with other settings ({what} has changed), and trials of both must not "
        "be mixed; undo the change, choose another work folder, or set the old search aside with --fresh."
    )


def set_aside(folder: SplitFolder) -> None:
    """Move a search, and all that was made from it, out of the way of another."""
    aside = folder.root / f"until-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    (aside / "predictions").mkdir(parents=True)
    for path in list(folder.predictions.glob("*-student*.parquet")):
        path.rename(aside / "predictions" / path.name)
    # search/ last: where a kill comes before, the search is still known, and set aside by the next --fresh
    for path in (folder.confirm, folder.search):
        if path.is_dir():
            path.rename(aside / path.name)


def keep_table(log: TrialLog, ended: int) -> None:
    """Write the table of trials anew now and then while a search runs."""
    if ended % COMPACT_EVERY == 0:
        log.compact()


def write_importance(folder: SplitFolder, searcher: StudySearcher) -> None:
    """`search/importance.parquet`: how much of each objective's variation each searched value explains.

    Over all families (`family` is null), and over the students of each.
    """
    rows = [
        {"family": family, "objective": objective, "name": name, "importance": value}
        for family in (None, *searcher.settings.families)
        for objective, importance in searcher.study.importance(family).items()
        for name, value in importance.items()
    ]
    if rows:
        write_parquet(
            folder.search / "importance.parquet",
            pa.Table.from_pylist(rows, schema=pa.schema(IMPORTANCE)),
        )


def _changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before = {**CAME_LATER, **before}
    return [key for key in now if key not in FREE_TO_CHANGE and before.get(key) != now[key]]
