"""The search: Ray Tune round `train_student`, one plain function trial per student."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
from ray import tune

import search_spaces
from gaitforge.cost import Cost
from gaitforge.extensions import load_extensions
from gaitforge.failures import count_failures, failure_note
from gaitforge.losses import LOSSES, needed
from gaitforge.losses.nodes import check_joints
from gaitforge.models import FAMILIES, make_sizes
from gaitforge.objectives import OBJECTIVES, SearchedFront
from gaitforge.provenance import Provenance, read_provenance
from gaitforge.settings import (
    CAME_LATER,
    FREE_TO_CHANGE,
    ClusterSettings,
    SearchSettings,
    as_dict,
    changed_search,
)
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import (
    SplitFolder,
    fingerprint,
    open_path,
    read_object,
    remove_tree,
    set_aside,
    write_json,
    write_parquet,
)
from search_spaces import SPACES, Proposal
from trainers.arithmetic import Refused
from trainers.blind_gpus import check_gpus
from trainers.budget import Budget, CostCounter, check_budget
from trainers.cluster import (
    concurrent_trials,
    connect,
    filled_first,
    gpus_per_trial,
    nodes,
    room_for,
)
from trainers.deaths import LIVES, memory_kills_told, speak_when_dying
from trainers.examples import WindowFolder
from trainers.machines import check_arithmetic
from trainers.outputs import outputs_provenance
from trainers.progress import SearchProgress, say
from trainers.reference import validation_chance
from trainers.scheduler import RungScheduler
from trainers.searcher import StudySearcher
from trainers.shares import keep_to_share, measured_share
from trainers.starts import check_starts, read_starts
from trainers.teacher import Teacher
from trainers.trial import BrokenAcceleratorError, TrialContext, run_trial

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
    sources = check_starts(settings.start_from, settings.start_with, windows.people("confirm"))
    reference = worst_values(settings, count_cost(make_sizes(teacher.family, teacher.sizes)))
    identity = search_identity(settings, windows.key, teacher.fingerprint)
    head: dict[str, Any] = {
        "schema": 1, "identity": identity, "families": list(settings.families),
        "epochs": settings.fit.epochs, "rungs": list(settings.stopping.rungs(settings.fit.epochs)),
        "seed": settings.seed, "objectives": list(settings.objectives), "reference": reference,
        "max_params": budget.params, "settings": as_dict(settings),
    }  # fmt: skip
    earlier = claim_folder(folder, head, fresh)
    origin = search_provenance(identity, windows, folder, sources)
    head["provenance"] = joined(origin, earlier, folder.search / "search.json").as_dict()

    def write_front() -> None:
        write_json(folder.search / "front.json", {**front.as_dict(), "search": identity})

    log = TrialLog(folder)
    front = SearchedFront(settings.objectives, reference)
    progress = SearchProgress(log, settings, front)

    def on_end(trial: Trial) -> None:
        if front.add(trial):
            write_front()
        progress.ended(trial)
        keep_table(log, len(searcher.ended))

    searcher = StudySearcher(
        settings,
        log,
        budget,
        partial(propose, settings),
        count_cost,
        on_end,
        starts,
        progress.tried_again,
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
        check_gpus(gpus)
        run_tune(searcher, trainable, cluster, gpus, folder.search / "ray", progress)
        write_head(spent + time.monotonic() - started)
    log.remove_drafts()
    log.compact()
    write_front()
    write_importance(folder, searcher)
    if note := failure_note(count_failures(searcher.ended.values())):
        say(f"  {note}")
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
            scheduler=RungScheduler(searcher.on_rung, searcher.on_error),
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
    room = room_for(cluster, "A student", 1, cluster.cpus_per_trial, gpus)
    with room, progress, memory_kills_told():
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
    speak_when_dying()
    load_extensions(SPACES)
    trial = Trial.from_dict(config["trial"], open_path(context.folder))
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


def check_families(settings: SearchSettings) -> None:
    """Refuse a student family or a distillation term that does not exist."""
    for what, names, known in (
        ("student family", settings.families, SPACES),
        ("distillation term", settings.terms, LOSSES),
    ):
        for name in names:
            if known is SPACES and name in FAMILIES and name not in known:
                raise KeyError(
                    f"The family '{name}' has no search space, so that no student of it can be drawn; give it one "
                    "under the same name, or search another family."
                )
            if name not in known:
                raise KeyError(f"There is no {what} '{name}'. Known: {', '.join(sorted(known))}.")


def check_teacher(settings: SearchSettings, windows: WindowFolder, folder: SplitFolder) -> None:
    """Refuse, before anything is written, a teacher from which there is nothing to learn.

    Raises ValueError where it is no better on the validation people than always answering the
    commonest class, and that was not allowed; FileNotFoundError where there is no teacher.
    """
    teacher = Teacher.read(folder)
    chance = validation_chance(windows).macro_f1
    # rounding must not tell a teacher of one answer from chance
    if teacher.val_macro_f1 <= chance + 1e-9 and not settings.allow_chance:
        raise ValueError(
            f"The teacher in {folder.teacher} has a macro F1 of {teacher.val_macro_f1:.3f} on the validation people, "
            f"but must have more than the {chance:.3f} of always answering the commonest class; train another one, or "
            "set search.allow_chance = true to search all the same."
        )


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
    joints = read_object(outputs / "outputs.json", "joint_features")["joint_features"][1]
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


def search_identity(settings: SearchSettings, windows: str, teacher: str) -> str:
    """A hash of all that the trials of one search must share; more trials are the same search.

    `windows` is the key of the windows, `teacher` the teacher's fingerprint.
    """
    shared = {
        key: value
        for key, value in as_dict(settings).items()
        if key not in FREE_TO_CHANGE and not (key in CAME_LATER and value == CAME_LATER[key])
    }
    versions = {family: SPACES[family].version for family in settings.families}
    later = {family: version for family, version in versions.items() if version > 1}
    return fingerprint(
        {"settings": shared, "windows": windows, "teacher": teacher}
        | ({"spaces": later} if later else {})
    )


def search_provenance(
    identity: str,
    windows: WindowFolder,
    folder: SplitFolder,
    starts: Mapping[str, Provenance],
) -> Provenance:
    """That of a search: windows, teacher and outputs, and the searches whose students it tries first."""
    teacher = Teacher.read(folder).provenance(folder, windows)
    return Provenance.of(
        identity,
        {
            "windows": windows.provenance,
            "teacher": teacher,
            "outputs": outputs_provenance(teacher, windows.provenance),
            **starts,
        },
        windows.people("train", "validation"),
    )


def told_by_search(windows: WindowFolder, folder: SplitFolder) -> Provenance:
    """The provenance of the search that lies in the folder; of an older one, what follows from its identity."""
    path = folder.search / "search.json"
    before = read_object(path, "identity")
    return read_provenance(path) or joined(
        search_provenance(before["identity"], windows, folder, {}), before, path
    )


def joined(now: Provenance, before: Mapping[str, Any], source: Path) -> Provenance:
    """Of a search that goes on: what it starts from may change, and whom that has seen stays seen.

    `before` is what its search.json said. An older one does not tell what it has started from.
    """
    if not before:
        return now
    if "provenance" not in before:
        settings = before.get("settings", {})
        started = any(settings.get(key) for key in ("start_from", "start_with"))
        return replace(now, unknown=(*now.unknown, "what it started from")) if started else now
    earlier = Provenance.from_dict(before["provenance"], str(source))
    return replace(
        now,
        made_from={**earlier.made_from, **now.made_from},
        seen=now.seen | earlier.seen,
        unknown=tuple(dict.fromkeys((*earlier.unknown, *now.unknown))),
    )


def claim_folder(folder: SplitFolder, head: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """Make sure that the folder's trials belong to this search; what search.json said before, or {}."""
    path = folder.search / "search.json"
    if fresh and (path.is_file() or any(folder.trials.glob("*.json"))):
        aside = set_aside(folder)
        say(f"  the search of before, and what was confirmed of it, lie in {aside} now")
        return {}
    check_claim(folder, head["identity"], head["settings"])
    return read_object(path) if path.is_file() else {}


def check_claim(folder: SplitFolder, identity: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where the folder's trials are of another search than that of this identity."""
    path = folder.search / "search.json"
    if not path.is_file():
        if any(folder.trials.glob("*.json")):
            raise ValueError(
                f"{folder.trials} holds trials, but no search.json tells what they were made from; set them aside "
                "with `gaitforge search --fresh`."
            )
        return
    before = read_object(path, "identity")
    if before["identity"] == identity:
        return
    changed = changed_search(before.get("settings", {}), settings)
    what = (
        f"search.{changed[0]}"
        if changed
        else "the data, the split, the teacher or a family's search space"
    )
    raise ValueError(
        f"{folder.search} holds a search with other settings ({what} has changed), and trials of both must not "
        "be mixed; undo the change, choose another work folder, or set the old search aside with "
        "`gaitforge search --fresh`."
    )


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
